"""What every benchmark says in the same words: claims, the machine they were measured on, one JSON an area."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dnnlikelihood.jsonfiles import pretty
from dnnlikelihood.runlog import versions

__all__ = ["HERE", "Claim", "one_thread", "sgemm_gflops", "table", "write"]

HERE = Path(__file__).parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of results."""

    claim: str
    value: float
    unit: str
    target: float
    better: str = "lower"
    peer: str | None = None
    peer_value: float | None = None
    spread: tuple[float, float] | None = None
    seeds: int = 1
    left_out: str | None = None
    """What was asked for and is not among the measured, and why."""
    how: str

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


def one_thread() -> None:
    """One thread for every library, on both sides of every comparison; call it before NumPy and TensorFlow load.

    OpenBLAS reads the environment when it is loaded, so the script starts itself again if need be.
    """
    if any(os.environ.get(name) != "1" for name in THREADS):
        import sys

        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **dict.fromkeys(THREADS, "1")})


def sgemm_gflops(n: int = 10_000, width: int = 256, seconds: float = 1.0) -> float:
    """Measured rate of (n, width) @ (width, width) in float32, the product a hidden layer is, by CPU time."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, width)).astype(np.float32), rng.normal(size=(width, width)).astype(np.float32)
    a @ b
    runs, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        a @ b
        runs += 1
    return 2 * n * width * width * runs / (time.process_time() - start) / 1e9


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _machine(sgemm: float) -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count() or 1,
        "memory": round(memory, 1),
        "cpu": _cpu(),
        "gpu": None,
        "sgemm_gflops": round(sgemm, 1),
    }


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../dnnlikelihood", ".", ":!results")
    return (git("rev-parse", "HEAD") or "unknown") + ("+changes" if changed else "")


def write(area: str, claims: Sequence[Claim], started: float, sgemm: float, folder: Path) -> Path:
    """Write `<folder>/<area>.json`, held against the schema; `started` is time.perf_counter() at the beginning."""
    import jsonschema

    document = {
        "area": area,
        "commit": _commit(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(sgemm),
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 1),
        "claims": [{**asdict(c), "met": c.met} for c in claims],
    }
    text = pretty(document)
    jsonschema.validate(json.loads(text), json.loads((HERE / "results.schema.json").read_text("utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{area}.json"
    path.write_text(text, "utf-8")
    return path


def table(claims: Sequence[Claim]) -> None:
    """Print the claims."""
    for c in claims:
        sign = "<=" if c.better == "lower" else ">="
        print(f"{'met ' if c.met else 'MISS'}  {c.value:10.4g} {c.unit:12s} {sign} {c.target:<8.4g} {c.claim}")
