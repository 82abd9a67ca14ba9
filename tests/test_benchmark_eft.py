"""The benchmark of effective-theory fits runs, and fails where its data are absent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "eft.py"


def run(tmp_path, **environment):
    command = [sys.executable, str(SCRIPT), "--smoke", "--labels", "--output", str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif("DNNLIKELIHOOD_DATA" not in os.environ, reason="needs eft/top16_*.json in DNNLIKELIHOOD_DATA")
def test_labels_are_measured_and_right(tmp_path):
    done = run(tmp_path, **os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    claims = json.loads((tmp_path / "eft.json").read_text("utf-8"))["claims"]
    assert all(c["met"] for c in claims if "ms" not in c["unit"])
    assert any("One label with gradient" in c["claim"] and c["peer_value"] > 0 for c in claims)


def test_absent_data_fail(tmp_path):
    done = run(tmp_path, **{k: v for k, v in os.environ.items() if k != "DNNLIKELIHOOD_DATA"})
    assert done.returncode != 0
    assert "DNNLIKELIHOOD_DATA" in done.stderr
