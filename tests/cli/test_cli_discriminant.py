"""`dnnlik discriminant`: from a description of events to a workspace."""

import json
import os

import numpy as np
import pytest

from dnnlikelihood.cli.opening import likelihood

SHORT = {"widths": [16], "n_steps": 20, "pretraining_steps": 10, "learning_rate": 0.01}
FILES = {"features": ["x"], "processes": {"S": {"file": "s.npz", "poi": "r"}, "B": {"file": "b.npz"}}}
EXAMPLE = {"example": "shifted_gaussian", "seed": 1, "n": 2000, "n_test": 5000}


@pytest.fixture
def config(tmp_path):
    def write(**document):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(document))
        return path

    return write


def test_compare(run, config, tmp_path):
    trainers = [{"name": name, "training": SHORT} for name in ("cross-entropy", "sannt")]
    path = config(events=EXAMPLE, trainers=trainers)
    found = json.loads(run("discriminant", "compare", path, "--output", tmp_path / "out", "--json").stdout)
    rows = found["uncertainties"]
    assert [row["trainer"] for row in rows] == ["cross entropy", "SANNT"]
    assert json.loads((tmp_path / "out" / "uncertainties.json").read_text()) == rows
    figures = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert {"scan_r", "impacts_r", "training", "templates_SANNT", "templates_cross_entropy"} <= figures
    for row in rows:
        assert row["stat"] < row["total"] < row["simulated"]
        assert row["down"] < row["up"]
        assert 0 < row["efficiency"] < 1


def test_train_from_files(run, config, tmp_path):
    rng = np.random.default_rng(0)
    for name, mean in (("s", 0.0), ("b", 1.0), ("up", 1.3), ("down", 0.7)):
        np.savez(tmp_path / f"{name}.npz", x=rng.normal(mean, 1, 3000), w=np.ones(3000), more=np.full(3000, 1.2))
    samples = {"kind": "samples", "B": [{"file": f"{side}.npz", "expected": 900} for side in ("up", "down")]}
    events = {
        "features": ["x"],
        "processes": {
            "S": {"file": "s.npz", "expected": 50, "poi": "r"},
            "B": {"file": "b.npz", "weights": "w", "expected": 900},
        },
        "nuisances": {
            "scale": samples,
            "tune": {"kind": "weights", "B": ["more", "w"]},
            "lumi": {"kind": "normalisation", "S": [1.02, 0.98], "B": [1.02, 0.98]},
        },
    }
    trainer = {"name": "efficient-score", "n_bins": 4, "heads": {"widths": [8], "n_steps": 40}}
    path = config(events=events, discriminant={"trainer": trainer})
    run("discriminant", "train", path, "--output", tmp_path / "out", "--no-progress")
    workspace = json.loads((tmp_path / "out.workspace.json").read_text())
    kinds = {(m["name"], m["type"]) for s in workspace["channels"][0]["samples"] for m in s["modifiers"]}
    assert {("r", "normfactor"), ("scale", "histosys"), ("tune", "normsys"), ("lumi", "normsys")} <= kinds
    assert sum(workspace["observations"][0]["data"]) == pytest.approx(950)


def test_two_folds_judge_every_event_of_the_files(run, config, tmp_path):
    rng = np.random.default_rng(0)
    for name, mean in (("s", 0.0), ("b", 1.0)):
        np.savez(tmp_path / f"{name}.npz", x=rng.normal(mean, 1, 500))
    processes = {"S": {"file": "s.npz", "expected": 50, "poi": "r"}, "B": {"file": "b.npz", "expected": 900}}
    trainer = {"name": "cross-entropy", "classes": "processes", "n_bins": 2, "training": SHORT}
    path = config(
        events={"features": ["x"], "processes": processes},
        discriminant={"n_folds": 2, "n_repetitions": 2},
        trainers=[trainer],
    )
    out = tmp_path / "out"
    found = json.loads(run("discriminant", "compare", path, "--output", out, "--json").stdout)
    assert any("fluctuates more than the data" in message for message in found["messages"])
    (row,) = found["uncertainties"]
    median, low, high = row["repetitions"]
    assert low <= median <= high
    assert any(f"median {median:.4f}" in message for message in found["messages"])
    assert {"classes_cross_entropy", "repetitions_r"} <= {path.stem for path in out.glob("*.png")}


def test_real_events(run, config):
    """ATLAS's open simulation through two folds, with what its size means said."""
    if "DNNLIKELIHOOD_DATA" not in os.environ:
        pytest.skip("set DNNLIKELIHOOD_DATA to the folder with discriminants/atlas-higgs-challenge-2014-v2...")
    trainers = [{"name": "efficient-score", "heads": {"widths": [16], "n_steps": 150}}]
    path = config(events={"example": "higgsml"}, discriminant={"n_folds": 2}, trainers=trainers)
    found = json.loads(run("discriminant", "compare", path, "--json").stdout)
    (row,) = found["uncertainties"]
    assert 0.25 < row["stat"] <= row["total"] < 0.6
    assert row["simulated"] > 2 * row["total"]
    assert any("fluctuates more than the data" in message for message in found["messages"])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"events": {"example": "nothing"}}, "no example"),
        ({"events": {"example": "inferno"}}, "benchmark"),
        ({"events": {"features": ["x"]}}, "processes"),
        ({"events": FILES | {"features": "x"}}, "'x' is not of type 'array'"),
        (
            {"events": FILES | {"nuisances": {"n": {"kind": "samples", "same_events": "false"}}}},
            "not of type 'boolean'",
        ),
        ({"events": FILES | {"nuisances": {"n": {"kind": "weights", "B": ["up"]}}}}, "too short"),
        ({"events": FILES | {"nuisances": {"n": {"kind": "pull"}}}}, "'pull' is not one of"),
        ({"events": EXAMPLE | {"seed": -1}}, "non-negative"),
        ({"events": {"example": "many_signals", "n_signals": 16}}, "choose 1 to 15"),
        ({"events": EXAMPLE, "discriminant": {"nuisances": ["pileup"]}}, "pileup"),
        ({"events": EXAMPLE, "discriminant": {"nuisances": "shift"}}, "must be a list"),
        ({"events": EXAMPLE, "discriminant": {"n_folds": 3}}, "n_folds"),
        ({"colour": 1}, "expected a JSON object"),
        ({"trainers": "sannt"}, "must be a JSON array"),
        ({"discriminant": [1]}, "must be a JSON object"),
        ({"events": EXAMPLE, "trainers": ["annealing"]}, "no trainer"),
    ],
)
def test_bad_descriptions(run, config, document, said):
    assert said in run("discriminant", "compare", config(**document), code=2).output


def test_from_the_command_line_to_a_likelihood_and_to_files_for_other_programs(run, config, tmp_path):
    """A config with a seed, which the command line overrides; nothing is left over; the workspace is a likelihood."""
    trainer = {"name": "efficient-score", "n_bins": 4, "heads": {"widths": [8], "n_steps": 40}}
    path = config(events=EXAMPLE, discriminant={"trainer": trainer, "seed": 3})
    out = tmp_path / "out"
    found = json.loads(run("discriminant", "train", path, "--seed", 5, "--output", out, "--json").stdout)
    assert json.loads((out / "config.json").read_text())["seed"] == 5
    assert not (tmp_path / "out.training").exists()
    assert list(found["impacts"]) == ["shift"]
    assert likelihood(found["workspace"]).parameters.pois == ("r",)
    pytest.importorskip("onnx")
    exported = json.loads(run("discriminant", "export", out, "--output", tmp_path / "model", "--json").stdout)
    assert exported["features"] == ["x1", "x2"]
    assert {"model.onnx", "saved_model"} <= {path.name for path in (tmp_path / "model").iterdir()}


def test_a_trainer_without_a_result_leaves_that_of_the_others(run, config, tmp_path):
    """Two bins cannot tell the free nuisances of INFERNO's benchmark 2 apart, and no workspace can hold them."""
    events = {"example": "inferno", "benchmark": 2, "seed": 1, "n": 1500, "n_test": 3000}
    score = {"name": "efficient-score", "n_bins": 5, "heads": {"widths": [8], "n_steps": 40}}
    path = config(events=events, trainers=[{"name": "cross-entropy", "n_bins": 2, "training": SHORT}, score])
    found = json.loads(run("discriminant", "compare", path, "--json").stdout)
    assert [row["trainer"] for row in found["uncertainties"]] == ["efficient score"]
    assert any("cross entropy: no result" in message and "r_shift" in message for message in found["messages"])
    path = config(events=events, discriminant={"trainer": score})
    found = json.loads(run("discriminant", "train", path, "--output", tmp_path / "one", "--json").stdout)
    assert found["workspace"] is None
    assert any("no workspace" in message and "free" in message for message in found["messages"])
