"""A short load of the real process, by the benchmark's own clients: no wrong answer, malformed requests refused."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read a server's memory")
def test_two_seconds_of_load(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from serve import server_claims

    claims = {c.claim.partition(": ")[2]: c for c in server_claims(ROOT / "saved_models" / "toy_lhc", 2.0)}
    wrong = claims["answers other than the right one"]
    assert wrong.value == 0, wrong.how
    assert claims["99th percentile of the answer time"].value < 1000
    assert claims["growth of its memory"].value < 20
