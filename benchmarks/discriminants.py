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
from typing import Any

import numpy as np
from report import HERE, Claim, one_thread, sgemm_gflops, table, write

from dnnlikelihood.discriminants.efficient_score import EfficientScore
from dnnlikelihood.discriminants.examples import Example, inferno, shifted_gaussian, two_signals
from dnnlikelihood.discriminants.gradient import CrossEntropy, Inferno, KernelHistogram, Sannt
from dnnlikelihood.discriminants.many_nuisances import many_nuisances
from dnnlikelihood.discriminants.templates import Templates
from dnnlikelihood.discriminants.trained import Trained, Trainer
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.discriminants.workspace import to_workspace
from dnnlikelihood.networks.descent import DescentConfig
from dnnlikelihood.networks.heads_config import HeadsConfig

FIRST_SEED = 502_047
SMOKE = HeadsConfig(n_steps=40, widths=(16,))
SHORT = DescentConfig(n_steps=10, pretraining_steps=10, widths=(16,), batch_size=500)
MANY = DescentConfig(n_steps=300, pretraining_steps=150, learning_rate=3e-3, batch_size=1_000)
INFERNO = {0: (14.85, 15.51), 1: (15.75, 16.79), 2: (15.90, 16.95), 3: (15.85, 16.89), 4: (17.20, 18.68)}
"""Benchmark -> (target, sigma(s) of INFERNO trained on it: arXiv:1806.04743)."""


@dataclass(frozen=True)
class Measured:
    """One training, judged on test events."""

    total: np.ndarray
    stat: np.ndarray
    templates: Templates
    efficiency: np.ndarray
    occupied: int
    cpu_seconds: float


def measure(trainer: Trainer, example: Example, seed: int) -> Measured:
    trained: Trained = trainer.fit(example.train, validation=example.validation, seed=seed, progress=False)
    templates = trained.templates(example.test)
    found = expected_uncertainty(templates)
    share = found.efficiency(example.bound)
    return Measured(found.total, found.stat, templates, share, templates.n_bins, trained.cpu_seconds)


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


def gradient_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    """The competitors on the synthetic example."""
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    short = {"training": SHORT} if smoke else {}
    to_the_end = DescentConfig(keep="last") if not smoke else SHORT.replace(keep="last")
    in_nodes = DescentConfig(learning_rate=3e-3, pretraining_steps=0, n_steps=600, patience=300, batch_size=5_000)
    build = lambda seed: shifted_gaussian(seed, **sizes)
    entropy = repeated(CrossEntropy(**short), build, seeds)
    sannt = repeated(Sannt(training=to_the_end), build, seeds)
    smeared = repeated(KernelHistogram(**short), build, seeds)
    nodes = repeated(Inferno(n_bins=8, training=SHORT if smoke else in_nodes), build, seeds)

    def told(runs: Sequence[Measured]) -> str:
        stat, seconds = np.median([r.stat[0] for r in runs]), np.median([r.cpu_seconds for r in runs])
        return f"statistical part {stat:.4f}; at least {min(r.occupied for r in runs)} bins filled; {seconds:.0f} CPU-s"

    return [
        claim(
            "Delta r of the synthetic example in 8 bins, cross entropy, against the reference (relative)",
            [abs(r.total[0] / 0.448 - 1) for r in entropy],
            0.02,
            f"median {np.median([r.total[0] for r in entropy]):.4f}; {told(entropy)}",
            peer="cross entropy in 8 equal bins",
            peer_value=0.448,
        ),
        claim(
            "Delta r of the synthetic example in 8 bins, SANNT at its last step",
            [r.total[0] for r in sannt],
            0.395,
            f"linear gradients; {told(sannt)}",
            peer="SANNT, reference runs 0.385 to 0.397",
            peer_value=0.391,
        ),
        claim(
            "Bins of eight that SANNT fills at its last step, fewest of all seeds",
            [8.0 - min(r.occupied for r in sannt)],
            0.0,
            "empty bins of 8; linear gradients keep events in order",
            "empty bins",
        ),
        claim(
            "Delta r of the synthetic example in 8 bins, kernel histogram",
            [r.total[0] for r in smeared],
            0.380,
            told(smeared),
            peer="histograms of kernel densities (neos)",
            peer_value=0.374,
        ),
        claim(
            "Delta r of the synthetic example in 8 bins, INFERNO",
            [r.total[0] for r in nodes],
            0.387,
            told(nodes),
            peer="softmax histogram, reference runs 0.374 and 0.387",
            peer_value=0.381,
        ),
    ]


def pyhf_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    """Fisher's uncertainty against a full profile fit of the workspace."""
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    trainer = EfficientScore(n_bins=8, heads=SMOKE) if smoke else EfficientScore(n_bins=8)
    ratios = []
    for run in repeated(trainer, lambda seed: shifted_gaussian(seed, **sizes), seeds[:1]):
        up, down = asimov_interval(to_workspace(run.templates, mc_statistics=False), run.total[0])
        ratios.append(abs(0.5 * (up + down) / run.total[0] - 1))
    return [
        claim(
            "Delta r of Fisher against the Asimov interval of a full pyhf profile fit of the workspace (relative)",
            ratios,
            0.02,
            "mean of both sides of Delta log L = 1/2, interpolation code4p",
        )
    ]


def asimov_interval(workspace: dict[str, Any], width: float) -> tuple[float, float]:
    """Both sides of Delta log L = 1/2 for the first POI, looked for between a half and twice of a width."""
    import pyhf
    from scipy.optimize import brentq

    model = pyhf.Workspace(workspace).model(modifier_settings={"histosys": {"interpcode": "code4p"}})
    data = [*workspace["observations"][0]["data"], *model.config.auxdata]
    best = float(pyhf.infer.mle.twice_nll(model.config.suggested_init(), data, model)[0])

    def grown(value: float) -> float:
        fitted = pyhf.infer.mle.fixed_poi_fit(value, data, model, return_fitted_val=True)[1]
        return 0.5 * (float(fitted) - best) - 0.5

    up = brentq(grown, 1.0 + 0.5 * width, 1.0 + 2.0 * width, xtol=1e-4) - 1.0
    return up, 1.0 - brentq(grown, 1.0 - 2.0 * width, 1.0 - 0.5 * width, xtol=1e-4)


def our_inferno_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    """INFERNO, trained here, over the published figures."""
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    trainer = Inferno(training=SHORT) if smoke else Inferno()
    out = []
    for number, (_, published) in INFERNO.items():
        runs = repeated(trainer, lambda seed, b=number: inferno(b, seed, **sizes), seeds)
        values = [50 * r.total[0] for r in runs]
        out.append(
            claim(
                f"sigma(s) of INFERNO's benchmark {number} in 10 bins, INFERNO trained here",
                values,
                1.02 * published,
                f"softmax histogram, Adam; {np.median([r.cpu_seconds for r in runs]):.0f} CPU-s",
                "events",
                "INFERNO, median of 100 initialisations (arXiv:1806.04743)",
                published,
            )
        )
    return out


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
    entropy, sannt = CrossEntropy(n_bins=16, training=MANY), Sannt(n_bins=16, training=MANY)
    if smoke:
        entropy, sannt = entropy.replace(training=SHORT), sannt.replace(training=SHORT)
    runs: dict[str, list[Measured]] = {"best": [], "entropy": [], "sannt": []}
    bounds = []
    for seed in seeds:
        example = many_nuisances(seed, **sizes)
        bounds.append(example.bound.total[0])
        for name, one in (("best", trainer), ("entropy", entropy), ("sannt", sannt)):
            runs[name].append(measure(one, example, seed))

    def told(name: str) -> str:
        total, stat, seconds = (
            np.median([f(r) for r in runs[name]])
            for f in (lambda r: r.total[0], lambda r: r.stat[0], lambda r: r.cpu_seconds)
        )
        return f"{total:.4f} (stat {stat:.4f}, {seconds:.0f} CPU-s)"

    gains = [r.total[0] / c.total[0] for r, c in zip(runs["best"], runs["entropy"], strict=True)]
    return [
        claim(
            "Delta r of the generated analysis with 86 nuisances over its unbinned bound, efficient score",
            [r.total[0] / b for r, b in zip(runs["best"], bounds, strict=True)],
            1.05,
            f"16 bins of efficient and statistical score {told('best')}; cross entropy {told('entropy')}; "
            f"SANNT in batches of {MANY.batch_size} events a sample {told('sannt')}",
        ),
        claim(
            "Statistical Delta r of the same over that of cross entropy in 16 equal bins",
            [r.stat[0] / c.stat[0] for r, c in zip(runs["best"], runs["entropy"], strict=True)],
            1.03,
            f"the total is {np.median(gains):.3f} of that of cross entropy, at unchanged statistics",
        ),
    ]


AREAS = (synthetic, gradient_rows, pyhf_rows, inferno_rows, our_inferno_rows, two_signal_rows, many_rows)


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small samples, one seed: does it run?")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the JSON file")
    arguments = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if arguments.smoke else 5))
    started, sgemm = time.perf_counter(), sgemm_gflops()
    claims = [row for rows in AREAS for row in rows(seeds, arguments.smoke)]
    print(write("discriminants", claims, started, sgemm, arguments.output))
    table(claims)


if __name__ == "__main__":
    main()
