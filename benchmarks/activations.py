"""Which activation the networks should have: the same points and the same budget for each.

    python benchmarks/activations.py [--smoke] [--output FOLDER]

The design and the epochs of the preset "quick" (3e4 points), three members a network, each activation at two learning
rates, of which the better by validation counts. Targets are those of the full recipe at a third of its points.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from effort import SMOKE
from report import HERE, Claim, one_thread, sgemm_gflops, table, write
from toy_lhc import MU, rms

from dnnlikelihood import Data, DnnLik, Inference, Likelihood, reference
from dnnlikelihood.curriculum import LearnConfig, training_data, unseen_data
from dnnlikelihood.ensemble import ACTIVATIONS

RATES = (2e-3, 4e-3)
SEED = 515_000
"""Used nowhere else."""
logger = logging.getLogger("benchmark")


@dataclass(frozen=True)
class Outcome:
    """What one activation reached."""

    rmse: float
    """Of the ensemble, nats."""
    single: np.ndarray
    """(3,) RMSE of each member."""
    tmu: np.ndarray
    """(11,) |t_mu error|."""
    unfinished: int
    """Fits of these 11 that did not converge."""
    rate: float
    cpu_seconds: float
    """Of training one ensemble."""


def judge(activation: str, data: Data, test: Data, config: LearnConfig) -> Outcome:
    """Train at each learning rate, keep the better, and ask it."""
    candidates = []
    for rate in RATES:
        recipe = config.model.replace(
            network=config.model.network.replace(activation=activation, n_members=3),
            training=config.model.training.replace(learning_rate=rate),
        )
        start = time.process_time()
        model = DnnLik.fit(data, recipe, progress=True)
        validation = rms(errors(model, data, "validation").mean(axis=1))
        candidates.append((validation, rate, time.process_time() - start, model))
    _, rate, seconds, model = min(candidates, key=lambda c: c[0])
    off = errors(model, test, "test")
    # An activation with creases stops fits before the top; what they reached is what a user would get.
    scan = Inference(model, test.theta("test")[:1000]).tmu("mu", MU, progress=True)
    exact = reference.tmu("toy_lhc")
    tmu, unfinished = np.abs(scan.tmu - [exact[m] for m in MU]), int((scan.status != "converged").sum())
    logger.info("%s: %.4f nats, t_mu %.4f, rate %g", activation, rms(off.mean(axis=1)), tmu.mean(), rate)
    return Outcome(rms(off.mean(axis=1)), np.sqrt((off**2).mean(axis=0)), tmu, unfinished, rate, seconds)


def errors(model: DnnLik, data: Data, split: str) -> np.ndarray:
    """(n, K) of every member, nats."""
    return model.members_logpdf(data.theta(split)) - data.logpdf(split)[:, None]  # type: ignore[arg-type]


def claims_of(activation: str, o: Outcome, n_train: int) -> list[Claim]:
    how = (
        f"{n_train} points, 3 members, learning rate {o.rate:g} (the better of {RATES} by validation), "
        f"{o.cpu_seconds:.0f} CPU-s"
    )
    return [
        Claim(
            claim=f"Test RMSE of logpdf with {activation}",
            value=o.rmse,
            unit="nats",
            target=0.08,
            spread=(float(o.single.min()), float(o.single.max())),
            seeds=len(o.single),
            how=f"{how}; spread: the members alone",
        ),
        Claim(
            claim=f"Mean |t_mu error| at mu = 0, 0.1 ... 1 with {activation}",
            value=float(o.tmu.mean()),
            unit="",
            target=0.01,
            spread=(float(o.tmu.min()), float(o.tmu.max())),
            how=f"{how}; {o.unfinished} of 11 fits did not converge; spread: smallest and largest over mu",
        ),
    ]


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small numbers: does it run?")
    parser.add_argument("--output", type=Path, help="folder of activations.json; results/, or runs/smoke for --smoke")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    started, sgemm = time.perf_counter(), sgemm_gflops()
    config = (SMOKE.learn if arguments.smoke else LearnConfig.preset("quick")).replace(seed=SEED)
    likelihood = Likelihood.from_source("toy_lhc")
    with tempfile.TemporaryDirectory() as work:
        data = training_data(likelihood, config, Path(work)).data
        test, _ = unseen_data(likelihood, config)
        names = ("silu", "selu") if arguments.smoke else sorted(ACTIVATIONS)
        outcomes = {name: judge(name, data, test, config) for name in names}
    claims = [c for name, o in outcomes.items() for c in claims_of(name, o, data.counts["train"])]
    output = arguments.output or (HERE.parent / "runs" / "smoke" if arguments.smoke else HERE / "results")
    print(write("activations", claims, started, sgemm, output))
    table(claims)


if __name__ == "__main__":
    main()
