"""`dnnlik learn WORKSPACE.json`: from a workspace of random structure to a published folder, held against the fits."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from workspaces import absorbed, random_workspace

pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")
import dnnlikelihood
from dnnlikelihood.cli import main
from dnnlikelihood.errors import MissingArtifact, SchemaError
from dnnlikelihood.inference import Inference
from dnnlikelihood.jsonfiles import read_json
from dnnlikelihood.learn_workspace import LearnWorkspaceConfig, _planes, learn_workspace, read_patches
from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sampling.signal_designs import SignalRays

SEED = 3


def command(*arguments):
    return CliRunner().invoke(main, ["learn", *map(str, arguments), "--no-progress", "--json"])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A workspace, and a folder of patches in a grid of two masses, one of them without signal."""
    base = tmp_path_factory.mktemp("workspace")
    document, rng = random_workspace(SEED), np.random.default_rng(5)
    (base / "search.json").write_text(json.dumps(document))
    (base / "patches").mkdir()
    for heavy in (100, 200, 300, 400):
        for light in (10, 20, 30, 40):
            steps = []
            for i, channel in enumerate(document["channels"]):
                bins = len(channel["samples"][0]["data"])
                data = (
                    1600.0 / heavy * rng.exponential(size=bins) * (0.2 if channel["name"][:2] == "CR" else 1)
                ).tolist()
                value = {"name": "new", "data": data, "modifiers": []}
                steps.append({"op": "add", "path": f"/channels/{i}/samples/0", "value": value})
            (base / "patches" / f"patch.pair_{heavy}_{light}.json").write_text(json.dumps(steps))
    (base / "patches" / "patch.pair_500_10.json").write_text(json.dumps([{"op": "remove", "path": "/channels/0"}]))
    return base


@pytest.fixture(scope="module")
def learned(files):
    result = command(
        files / "search.json", "--patchset", files / "patches", "--reference", "doi:10.1/x", "--output", files / "run"
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_workspace_never_seen_is_learned_and_published(learned, files):
    assert learned["passed"]
    assert learned["limits"]["signals"] == learned["limits"]["observed"]["answered"] == 16
    published = dnnlikelihood.open(files / "run" / "model")
    truth = ProfiledLikelihood.from_workspace(files / "search.json")
    null = np.zeros(len(truth.parameters))
    assert (published.heads_logpdf(null) == truth.heads_logpdf(null)).all()
    signals = np.stack(list(truth.signals_from_patchset(read_patches(files / "patches")).values()))
    ours, theirs = (Inference(d).upper_limit(signals).observed for d in (published, truth))
    off = np.abs(ours / theirs - 1)
    assert learned["limits"]["observed"]["largest"] == pytest.approx(off.max(), rel=0.05)
    assert off.max() < 0.1


def test_it_says_how_wrong_it_is(learned):
    places = {row["where"] for row in learned["accuracy"]}
    assert {"held out", "unseen signals", "real signals", "real signals at their limits"} <= places
    assert {row["where"] for row in learned["percent"]} >= {"held out", "real signals"}
    assert all(0 < row["mape"] <= row["max_ape"] for row in learned["percent"])
    assert len([t for t in learned["targets"] if "unseen signals" in t["target"]]) == 6


def test_the_card_names_the_workspace_and_what_was_tested(learned, files):
    card = (files / "run" / "model" / "README.md").read_text("utf-8")
    assert "upper limits on mu of 16 real signals" in card
    assert "dnnlik learn search.json --patchset patches --preset quick --output DIR" in card
    assert "doi:10.1/x" in card
    metadata = (files / "run" / "model" / "metadata.json").read_text("utf-8")
    assert "search.json, sha256" in metadata
    assert {p.stem for p in (files / "run" / "plots").iterdir()} >= {"along_signals", "limits", "exclusion"}


def test_signals_of_three_masses_are_drawn_in_planes():
    """A contour never joins signals of another third mass."""
    fixed = [f"pair_{a}_{b}_60" for a in (400, 500, 600) for b in (100, 200, 300, 350)]
    apart = [f"pair_{a}_{b + 130}_{b}" for a in (400, 500, 600) for b in (1, 90, 200)]
    planes = _planes([*fixed, *apart])
    assert list(planes) == ["third mass 60 GeV", "second - third mass 130 GeV"]
    first, second = (np.isfinite(grid).all(axis=1) for grid in planes.values())
    assert first.sum() == len(fixed)
    assert first[: len(fixed)].all()
    np.testing.assert_array_equal(second, ~first)
    np.testing.assert_array_equal(planes["second - third mass 130 GeV"][-1], [600, 330])
    two = _planes([f"pair_{a}_{b}" for a in (100, 200, 300) for b in (1, 2, 3)])
    assert list(two) == [""]
    assert _planes(["a", "b_1"]) == _planes(["a", "b"]) == _planes(["pair_1_2", "pair_3_4"]) == {}


def test_again_it_reads_what_is_there(learned, files, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("rows are labelled already")

    monkeypatch.setattr("dnnlikelihood.data.label", refuse)
    again = command(
        files / "search.json", "--patchset", files / "patches", "--reference", "doi:10.1/x", "--output", files / "run"
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["accuracy"] == learned["accuracy"]
    other = command(files / "search.json", "--contamination", 0.3, "--output", files / "run")
    assert other.exit_code != 0
    assert "holds another run" in other.output


def test_what_does_not_fit_is_refused(files, tmp_path):
    result = command("gaussian", "--patchset", files / "patches", "--output", tmp_path / "x")
    assert result.exit_code == 2
    assert "go with a pyhf workspace" in result.output
    result = command(files / "search.json", "--signal-regions", "SR9", "--output", tmp_path / "x")
    assert result.exit_code == 2
    assert "SR9" in result.output
    (tmp_path / "absorbed.json").write_text(json.dumps(absorbed()))
    result = command(tmp_path / "absorbed.json", "--no-control-regions", "--output", tmp_path / "x")
    assert result.exit_code in (1, 2)
    assert not (tmp_path / "x").exists()
    (tmp_path / "none").mkdir()
    with pytest.raises(MissingArtifact, match="holds no patches"):
        read_patches(tmp_path / "none")
    with pytest.raises((MissingArtifact, SchemaError)):
        read_patches(tmp_path / "missing.json")


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_signals_of_workspaces_of_any_structure(seed):
    """Points to learn from lie within the bounds, nearly all of them can be fitted, and most are of interest."""
    truth = ProfiledLikelihood.from_workspace(random_workspace(seed))
    theta = SignalRays()(truth, 300, np.random.default_rng(0))
    pure = SignalRays(contamination=0.1)(truth, 300, np.random.default_rng(0))
    control = [i for i, name in enumerate(truth.parameters.names) if not name.startswith("SR")]
    assert (np.abs(pure) <= -0.1001 * truth.parameters.lower)[:, control].all()
    assert truth.support(theta).all()
    found = truth.label(theta)
    assert found.ok.mean() > 0.98
    rise = truth.null_logpdf - found.value[found.ok]
    assert (np.abs(rise[:, 0]) < 10.5).mean() > 0.5
    assert (rise[:, 0] > 1).mean() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_workspaces_of_other_structure(seed, tmp_path):
    truth = ProfiledLikelihood.from_workspace(random_workspace(seed))
    config = LearnWorkspaceConfig.preset("quick", len(truth.parameters))
    learned = learn_workspace(truth, tmp_path / "run", config=config, progress=False)
    assert learned.passed, learned.summary["targets"]
    assert read_json(tmp_path / "run" / "summary.json") == learned.summary
