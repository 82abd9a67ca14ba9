"""Systematic-aware discriminants: every trainer on problems with known bounds.

    python benchmarks/discriminants.py [--smoke] [--output FOLDER]

Hard bins, independent test samples, one thread; medians over five seeds (of samples, weights and batches alike) with
their range. CPU seconds exclude imports and sampling. Writes results/discriminants.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import HERE, Claim, one_thread, sgemm_gflops, table, write

from dnnlikelihood.discriminants.efficient_score import EfficientScore
from dnnlikelihood.discriminants.examples import Example, inferno, shifted_gaussian, two_signals
from dnnlikelihood.discriminants.many_nuisances import many_nuisances
from dnnlikelihood.discriminants.trained import Trained, Trainer
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.networks.heads_config import HeadsConfig

FIRST_SEED = 502_047
SMOKE = HeadsConfig(n_steps=40, widths=(16,))
INFERNO = {0: (14.85, 15.51), 1: (15.75, 16.79), 2: (15.90, 16.95), 3: (15.85, 16.89), 4: (17.20, 18.68)}
"""Benchmark -> (target, sigma(s) of INFERNO trained on it: arXiv:1806.04743)."""


@dataclass(frozen=True)
class Measured:
    """One training, judged on test events."""

    total: np.ndarray
    stat: np.ndarray
    efficiency: np.ndarray
    occupied: int
    cpu_seconds: float


def measure(trainer: Trainer, example: Example, seed: int) -> Measured:
    trained: Trained = trainer.fit(example.train, validation=example.validation, seed=seed, progress=False)
    templates = trained.templates(example.test)
    found = expected_uncertainty(templates)
    return Measured(found.total, found.stat, found.efficiency(example.bound), templates.n_bins, trained.cpu_seconds)


def repeated(trainer: Trainer, build: Callable[[int], Example], seeds: Sequence[int]) -> list[Measured]:
    return [measure(trainer, build(seed), seed) for seed in seeds]


def claim(
    sentence: str,
    values: Sequence[float],
    target: float,
    how: str,
    unit: str = "",
    peer: str | None = None,
    peer_value: float | None = None,
) -> Claim:
    return Claim(
        claim=sentence,
        value=float(np.median(values)),
        unit=unit,
        target=target,
        peer=peer,
        peer_value=peer_value,
        spread=(float(min(values)), float(max(values))),
        seeds=len(values),
        how=how,
    )


def synthetic(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    trainer = EfficientScore(n_bins=8, heads=SMOKE) if smoke else EfficientScore(n_bins=8)
    runs = repeated(trainer, lambda seed: shifted_gaussian(seed, **sizes), seeds)
    share = np.median([r.efficiency[0] for r in runs])
    return [
        claim(
            "Delta r of the synthetic example in 8 bins, efficient score",
            [r.total[0] for r in runs],
            0.370,
            f"{share:.3f} of the unbinned information; statistical part {np.median([r.stat[0] for r in runs]):.4f}; at "
            f"least {min(r.occupied for r in runs)} bins filled",
            peer="histograms of kernel densities (neos)",
            peer_value=0.374,
        ),
        claim(
            "CPU seconds of the efficient score on the synthetic example",
            [r.cpu_seconds for r in runs],
            10.0,
            "training and binning, 50,000 events of each sample, one thread",
            "s",
            "full-batch training on Delta r",
            40.0,
        ),
    ]


def inferno_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    trainer = EfficientScore(n_bins=10, heads=SMOKE) if smoke else EfficientScore(n_bins=10)
    out = []
    for number, (target, published) in INFERNO.items():
        runs = repeated(trainer, lambda seed, b=number: inferno(b, seed, **sizes), seeds)
        out.append(
            claim(
                f"sigma(s) of INFERNO's benchmark {number} in 10 bins, efficient score",
                [50 * r.total[0] for r in runs],
                target,
                f"test sample of 500,000 events a process, {np.median([r.efficiency[0] for r in runs]):.3f} of the "
                f"unbinned information, {np.median([r.cpu_seconds for r in runs]):.1f} CPU-s",
                "events",
                "INFERNO, median of 100 initialisations (arXiv:1806.04743)",
                published,
            )
        )
    return out


def two_signal_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    trainer = EfficientScore(n_bins=16, heads=SMOKE) if smoke else EfficientScore(n_bins=16)
    runs = repeated(trainer, lambda seed: two_signals(seed, **sizes), seeds)
    return [
        claim(
            "Sum of Delta r of two signals with three nuisances in 16 bins, efficient score",
            [float(r.total.sum()) for r in runs],
            1.12,
            f"unbinned bound {two_signals(0, 100, 200_000).bound.total.sum():.4f}, "
            f"{np.median([r.cpu_seconds for r in runs]):.1f} CPU-s",
        )
    ]


def many_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    sizes = {"n": 1_000, "n_test": 2_000} if smoke else {}
    trainer = EfficientScore(n_bins=16, statistics=0.3)
    if smoke:
        trainer = trainer.replace(heads=SMOKE, n_bins=6)
    ratios, seconds = [], []
    for seed in seeds:
        example = many_nuisances(seed, **sizes)
        run = measure(trainer, example, seed)
        ratios.append(float(run.total[0] / example.bound.total[0]))
        seconds.append(run.cpu_seconds)
    return [
        claim(
            "Delta r of the generated analysis with 86 nuisances over its unbinned bound, efficient score",
            ratios,
            1.05,
            f"16 bins of efficient and statistical score, {np.median(seconds):.0f} CPU-s",
        )
    ]


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small samples, one seed: does it run?")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the JSON file")
    arguments = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if arguments.smoke else 5))
    started, sgemm = time.perf_counter(), sgemm_gflops()
    claims = [
        row for rows in (synthetic, inferno_rows, two_signal_rows, many_rows) for row in rows(seeds, arguments.smoke)
    ]
    print(write("discriminants", claims, started, sgemm, arguments.output))
    table(claims)


if __name__ == "__main__":
    main()
