"""`dnnlik limit` on a workspace of our own, beside pyhf."""

import gzip
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
    (base / "workspace.json.gz").write_bytes(gzip.compress(json.dumps(workspace).encode()))
    control = {"name": "control", "data": [50.0, 60.0], "modifiers": []}
    workspace["channels"] = [
        {"name": "A", "samples": workspace["channels"][0]["samples"]},
        {"name": "B", "samples": [control]},
    ]
    workspace["observations"] = [{"name": "A", "data": COUNTS}, {"name": "B", "data": [52, 58]}]
    (base / "own_names.json").write_text(json.dumps(workspace))
    (base / "own_names_signal.json").write_text(json.dumps({"A-0": 3.0, "A-1": 2.0}))
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


def test_regions_of_any_name_are_reached(run, files):
    """Region A alone is the search above; with the control region B, that has signal yields too."""
    alone = ("limit", files / "own_names.json", "--signal", files / "own_names_signal.json", "--json")
    assert "name them" in run(*alone, code=2).output
    found = json.loads(run(*alone, "--signal-regions", "A", "--no-control-regions").stdout)
    plain = json.loads(run("limit", files / "workspace.json.gz", "--signal", files / "one.json", "--json").stdout)
    assert found["observed"] == pytest.approx(plain["observed"])
    assert "B-0" in run(*alone, "--signal-regions", "A", code=2).output


def test_regions_go_with_a_workspace(run, files, chain):
    for option in (["--signal-regions", "A"], ["--no-control-regions"]):
        result = run("limit", chain / "model", "--signal", files / "one.json", *option, code=2)
        assert "go with a pyhf workspace, which" in result.output


def test_of_a_run_the_parts_that_are_there_are_named(run, files, tmp_path):
    (tmp_path / "request.json").write_text("{}")
    asked = ("limit", tmp_path, "--signal", files / "one.json")
    assert "continue it with the same command" in run(*asked, code=2).output
    for part in ("dnnlik", "model"):
        (tmp_path / part).mkdir()
    assert run(*asked, code=2).output.endswith(f"name a part of it: {tmp_path}/dnnlik or {tmp_path}/model\n")


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
    (tmp_path / "tiny.json").write_text(json.dumps({p["name"]: 1e-6 for p in bins}))
    result = run("limit", model, "--signal", tmp_path / "tiny.json", code=1)
    assert "tiny: no observed limit and no expected limit below mu = 1e+06\n" in result.output


def test_a_signal_too_weak_for_a_limit(run, files, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(dict.fromkeys(SIGNALS["weak"], 1e-6)))
    result = run("limit", files / "workspace.json", "--signal", tmp_path / "tiny.json", code=1)
    assert "tiny: no observed limit and no expected limit below mu = 1e+06\n" in result.output
