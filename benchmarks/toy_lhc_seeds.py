"""The toy LHC search from five seeds: the whole chain again and again, with median and worst of every accuracy.

    python benchmarks/toy_lhc_seeds.py [--seeds 11 12 13 14 15] [--smoke] [--output FOLDER]

A seed decides everything: the points, their deal, the first weights, the order of the batches. The test points and the
draws are the ones of toy_lhc.py. One thread of one core.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from effort import FULL, SMOKE, Effort
from report import HERE, Claim, one_thread, sgemm_gflops, table, write
from toy_lhc import HPDI_SEED, edge_errors, posterior_of, profile_errors, rms, test_points, train

import dnnlikelihood
from dnnlikelihood import Likelihood, reference
from dnnlikelihood.runlog import RunLog

SEEDS = (11, 12, 13, 14, 15)
ESS = 2e5
"""Effective draws for a seed's HPDIs; the standard error of an edge is then 0.001 to 0.005."""
logger = logging.getLogger("benchmark")


@dataclass(frozen=True)
class Outcome:
    """What one seed reached."""

    rmse: float
    mean_tmu: float
    max_tmu: float
    maximum: float
    edge: float
    cpu_seconds: float


def outcome(likelihood: Likelihood, effort: Effort, seed: int, points: tuple[np.ndarray, np.ndarray]) -> Outcome:
    """Train from this seed, publish, and measure the published file."""
    training = replace(effort.learn.model.training, seed=seed)
    learn = effort.learn.replace(seed=seed, model=effort.learn.model.replace(training=training))
    with tempfile.TemporaryDirectory() as work:
        folder = train(likelihood, replace(effort, learn=learn), Path(work))
        model = dnnlikelihood.open(folder, outside="-inf", threads=1)
        errors, maximum = profile_errors(model, model.reference()["theta"])
        mu, ess, _ = posterior_of(model, min(effort.ess, ESS), effort, HPDI_SEED, Path(work))
        theta, exact = points
        trained = next(e for e in RunLog.read(folder / "log.jsonl") if e["event"] == "trained")["numbers"]
        return Outcome(
            rmse=rms(model.guarded("ignore").logpdf(theta) - exact),
            mean_tmu=float(errors.mean()),
            max_tmu=float(errors.max()),
            maximum=abs(maximum - (reference.maximum("toy_lhc") or 0.0)),
            edge=max(error for error, _, _ in edge_errors(mu, ess).values()),
            cpu_seconds=trained["cpu_seconds"],
        )


ROWS = (
    ("rmse", "Test RMSE of logpdf on unbiased samples", "nats", 0.08),
    ("mean_tmu", "Mean |t_mu error| at mu = 0, 0.1 ... 1", "", 0.01),
    ("max_tmu", "Largest |t_mu error| at mu = 0, 0.1 ... 1", "", 0.03),
    ("maximum", "Error of the maximum", "nats", 0.02),
    ("edge", "Worst error of an HPDI edge of mu, all levels, mu > -1 and mu > 0", "", 0.01),
    ("cpu_seconds", "CPU seconds of training the whole ensemble", "CPU-s", 300),
)


def run(effort: Effort, seeds: list[int]) -> list[Claim]:
    """Median and worst of every row."""
    likelihood = Likelihood.from_source("toy_lhc")
    theta, exact = test_points(likelihood, effort)
    points = theta[: effort.n_test], exact[: effort.n_test]
    outcomes = []
    for seed in seeds:
        outcomes.append(outcome(likelihood, effort, seed, points))
        logger.info("seed %d: %s", seed, outcomes[-1])
    claims = []
    for name, claim, unit, target in ROWS:
        values = [getattr(o, name) for o in outcomes]
        spread = (min(values), max(values))
        each = ", ".join(f"{v:.4g}" for v in values)
        for word, value in (("median", float(np.median(values))), ("worst", max(values))):
            claims.append(
                Claim(
                    claim=f"{claim}: {word} of the seeds",
                    value=value,
                    unit=unit,
                    target=target,
                    spread=spread,
                    seeds=len(seeds),
                    how=f"whole chains from seeds {seeds}: {each}",
                )
            )
    return claims


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--smoke", action="store_true", help="small numbers: does it run?")
    parser.add_argument("--output", type=Path, help="folder of toy_lhc_seeds.json")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    started, sgemm = time.perf_counter(), sgemm_gflops()
    claims = run(SMOKE if arguments.smoke else FULL, arguments.seeds)
    output = arguments.output or (HERE.parent / "runs" / "smoke" if arguments.smoke else HERE / "results")
    print(write("toy_lhc_seeds", claims, started, sgemm, output))
    table(claims)


if __name__ == "__main__":
    main()
