"""`dnnlik discriminant`: from a description of events to a workspace."""

import json

import numpy as np
import pytest

SHORT = {"widths": [16], "n_steps": 20, "pretraining_steps": 10, "learning_rate": 0.01}
EXAMPLE = {"example": "shifted_gaussian", "seed": 1, "n": 2000, "n_test": 5000}


@pytest.fixture
def config(tmp_path):
    def write(**document):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(document))
        return path

    return write


def test_compare(run, config):
    trainers = [{"name": name, "training": SHORT} for name in ("cross-entropy", "sannt")]
    found = json.loads(run("discriminant", "compare", config(events=EXAMPLE, trainers=trainers), "--json").stdout)
    rows = found["uncertainties"]
    assert [row["trainer"] for row in rows] == ["cross entropy", "SANNT"]
    for row in rows:
        assert row["stat"] < row["total"]
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


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"events": {"example": "nothing"}}, "no example"),
        ({"events": {"example": "inferno"}}, "benchmark"),
        ({"events": {"features": ["x"]}}, "processes"),
        ({"colour": 1}, "expected a JSON object"),
        ({"events": EXAMPLE, "trainers": ["annealing"]}, "no trainer"),
    ],
)
def test_bad_descriptions(run, config, document, said):
    assert said in run("discriminant", "compare", config(**document), code=2).output
