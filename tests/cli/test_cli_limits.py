"""`dnnlik limit` on a workspace of our own, beside pyhf."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")

BACKGROUND, UNCERTAINTY, COUNTS = [10.0, 8.0], [2.0, 1.5], [12, 9]
SIGNALS = {"weak": {"SR-0": 3.0, "SR-1": 2.0}, "strong": {"SR-0": 20.0, "SR-1": 30.0}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    base = tmp_path_factory.mktemp("limits")
    sample = {
        "name": "background",
        "data": BACKGROUND,
        "modifiers": [{"name": "uncertainty", "type": "shapesys", "data": UNCERTAINTY}],
    }
    workspace = {
        "channels": [{"name": "SR", "samples": [sample]}],
        "observations": [{"name": "SR", "data": COUNTS}],
        "measurements": [{"name": "search", "config": {"poi": "", "parameters": []}}],
        "version": "1.0.0",
    }
    (base / "workspace.json").write_text(json.dumps(workspace))
    (base / "signals.json").write_text(json.dumps(SIGNALS))
    (base / "one.json").write_text(json.dumps(SIGNALS["weak"]))
    return base


def test_the_same_as_pyhf(run, files):
    import pyhf

    found = json.loads(run("limit", files / "workspace.json", "--signal", files / "signals.json", "--json").stdout)
    assert found["signals"] == list(SIGNALS)
    assert found["status"] == ["converged"] * 2
    for i, signal in enumerate(SIGNALS.values()):
        model = pyhf.simplemodels.uncorrelated_background(list(signal.values()), BACKGROUND, UNCERTAINTY)
        data = COUNTS + model.config.auxdata
        observed, expected = pyhf.infer.hypotest(1.0, data, model, test_stat="qtilde", return_expected_set=True)
        assert found["cls"][i] == pytest.approx(float(observed), abs=1e-5)
        np.testing.assert_allclose(found["cls_expected"][i], expected, atol=1e-5)
    assert found["observed"][0] > found["observed"][1]


def test_a_table_for_people(run, files):
    text = run("limit", files / "workspace.json", "--signal", files / "one.json", "--level", 0.9).stdout
    assert "Upper limits on mu at 90 %" in text
    assert "one" in text
    assert "converged" in text


def test_prefit_bands_differ(run, files):
    plain, prefit = (
        json.loads(run("limit", files / "workspace.json", "--signal", files / "one.json", "--json", *extra).stdout)
        for extra in ((), ("--prefit",))
    )
    assert plain["observed"] == pytest.approx(prefit["observed"])
    assert plain["expected"] != prefit["expected"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{}", "no signals"),
        ('{"a": "b"}', "no signals"),
        ('{"a": {"SR-0": 1, "SR-1": 1}, "b": {"SR-0": 1}}', "'b' has other bins"),
        ('{"SR-0": 1.0}', "SR-1"),
        ('{"SR-0": 1.0, "SR-1": -1.0}', "negative yield"),
        ('{"SR-0": NaN, "SR-1": 1.0}', "NaN"),
        ('{"SR-0": 0, "SR-1": 0}', "zero in every bin"),
    ],
)
def test_bad_signals(run, files, tmp_path, content, match):
    (tmp_path / "bad.json").write_text(content)
    result = run("limit", files / "workspace.json", "--signal", tmp_path / "bad.json", code=2)
    assert match in result.output


def test_what_is_not_answered_is_told_by_name(run, files, tmp_path):
    """Of a surrogate: its limits are told, CLs at a strength far outside its domain are not."""
    model = Path(__file__).parents[2] / "saved_models" / "atlas_susy_2018_31_a"
    bins = json.loads((model / "metadata.json").read_text("utf-8"))["parameters"]
    (tmp_path / "gluino.json").write_text(json.dumps({p["name"]: 1.0 for p in bins}))
    result = run("limit", model, "--signal", tmp_path / "gluino.json", "--mu", 1000, code=1)
    assert "gluino: no CLs at 1000" in result.output
    run("limit", model, "--signal", tmp_path / "gluino.json")
