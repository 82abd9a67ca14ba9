"""The benchmark of effective-theory fits runs, and fails where its data are absent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "eft.py"


needs_data = pytest.mark.skipif("DNNLIKELIHOOD_DATA" not in os.environ, reason="needs eft/*.json in DNNLIKELIHOOD_DATA")


def run(tmp_path, *options, **environment):
    command = [sys.executable, str(SCRIPT), "--smoke", *options, "--output", str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@needs_data
def test_labels_are_measured_and_right(tmp_path):
    done = run(tmp_path, "--labels", **os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    claims = json.loads((tmp_path / "eft.json").read_text("utf-8"))["claims"]
    assert all(c["met"] for c in claims if "ms" not in c["unit"])
    assert any("One label with gradient" in c["claim"] and c["peer_value"] > 0 for c in claims)


@needs_data
@pytest.mark.slow
def test_every_row_is_measured(tmp_path):
    done = run(tmp_path, **os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    claims = " / ".join(c["claim"] for c in json.loads((tmp_path / "eft.json").read_text("utf-8"))["claims"])
    for words in (
        *(
            "held out, delta_nll < 10",
            "own posterior",
            "own profile minimisers",
            "fits in all",
            "Training of the final",
        ),
        *(
            "frozen 2-sigma",
            "profiled 2-sigma",
            "Profiled scans",
            "Frozen scans",
            "above the exact profile",
            "x 20",
            "over the surrogate",
        ),
        *("SELU", "the preset cms", "SMEFiT"),
    ):
        assert words in claims


def test_absent_data_fail(tmp_path):
    done = run(tmp_path, "--labels", **{k: v for k, v in os.environ.items() if k != "DNNLIKELIHOOD_DATA"})
    assert done.returncode != 0
    assert "DNNLIKELIHOOD_DATA" in done.stderr


@pytest.mark.slow
def test_profiling_is_measured(tmp_path):
    command = [sys.executable, str(SCRIPT.parent / "eft_profiling.py"), "--smoke", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    claims = {c["claim"]: c for c in json.loads((tmp_path / "eft_profiling.json").read_text("utf-8"))["claims"]}
    assert all(c["met"] for said, c in claims.items() if "surrogate beside truth" in said or "by default" in said)
    for words in ("Known valleys", "alone", "CPU seconds a scan", "common descent", "5 x 5"):
        assert any(words in said for said in claims)
