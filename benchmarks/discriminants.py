"""Systematic-aware discriminants: every trainer on problems with known bounds.

    python benchmarks/discriminants.py [--smoke] [--output FOLDER]

Hard bins, independent test samples, one thread; medians over five seeds (of samples, weights and batches alike) with
their range. CPU seconds exclude imports and sampling. Writes results/discriminants.json. INFERNO's benchmarks are in
inferno.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from report import HERE, Claim, one_thread, sgemm_gflops, table, write

from dnnlikelihood.discriminants.efficient_score import EfficientScore
from dnnlikelihood.discriminants.examples import Example, shifted_gaussian, two_signals
from dnnlikelihood.discriminants.gradient import CrossEntropy, Inferno, KernelHistogram, Sannt
from dnnlikelihood.discriminants.many_nuisances import many_nuisances
from dnnlikelihood.discriminants.scan import asymmetric
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
LARGE = MANY.replace(batch_size=5_000)
"""Of SANNT with 86 nuisances: in batches of 1,000 it learns little but their noise (a seed used nowhere else)."""


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


def scores(n_bins: int, smoke: bool, **options: Any) -> EfficientScore:  # noqa: FBT001
    """The efficient score at its defaults."""
    return EfficientScore(n_bins=n_bins, **options, **({"heads": SMOKE} if smoke else {}))


@cache
def synthetic_runs(seeds: Sequence[int], smoke: bool) -> list[Measured]:  # noqa: FBT001
    """The efficient score on the synthetic example."""
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    return repeated(scores(8, smoke), lambda seed: shifted_gaussian(seed, **sizes), seeds)


def synthetic(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    runs = synthetic_runs(seeds, smoke)
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
    """The competitors on the synthetic example, at the size of the reference runs."""
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {"n": 25_000}
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
    """Fisher's uncertainty against full profile fits of the workspaces."""
    analyses = {
        "of the synthetic example": synthetic_runs(seeds, smoke),
        "of the first of two signals with three nuisances": two_signal_runs(seeds, smoke),
    }
    return [pyhf_row(name, runs) for name, runs in analyses.items()]


def pyhf_row(name: str, runs: Sequence[Measured]) -> Claim:
    sides = [asimov_interval(to_workspace(r.templates, mc_statistics=False), r.total[0]) for r in runs]
    (up, down), fisher = np.median(sides, axis=0), np.median([r.total[0] for r in runs])
    return claim(
        f"Delta r of Fisher against the Asimov interval of full pyhf profile fits (relative), {name}",
        [abs(0.5 * sum(pair) / r.total[0] - 1) for pair, r in zip(sides, runs, strict=True)],
        0.02,
        f"mean of +{up:.4f} and -{down:.4f}, where Delta log L = 1/2, against {fisher:.4f}; interpolation code4p",
    )


def asimov_interval(workspace: dict[str, Any], width: float) -> tuple[float, float]:
    """Both sides of Delta log L = 1/2 for the first POI: secants of sqrt(2 Delta log L), nearly a straight line."""
    import pyhf

    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-10))
    model = pyhf.Workspace(workspace).model(modifier_settings={"histosys": {"interpcode": "code4p"}})
    data = [*workspace["observations"][0]["data"], *model.config.auxdata]
    best = float(pyhf.infer.mle.twice_nll(model.config.suggested_init(), data, model)[0])

    def height(value: float) -> float:
        fitted = pyhf.infer.mle.fixed_poi_fit(value, data, model, return_fitted_val=True)[1]
        return float(np.sqrt(max(float(fitted) - best, 0.0)))

    def side(sign: float) -> float:
        step = width
        for _ in range(3):
            step /= max(height(1.0 + sign * step), 0.1)
        return step

    return side(1.0), side(-1.0)


@cache
def two_signal_runs(seeds: Sequence[int], smoke: bool) -> list[Measured]:  # noqa: FBT001
    """The efficient scores of two signals."""
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    return repeated(scores(16, smoke), lambda seed: two_signals(seed, **sizes), seeds)


def two_signal_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    runs = two_signal_runs(seeds, smoke)
    return [
        claim(
            "Sum of Delta r of two signals with three nuisances in 16 bins, efficient score",
            [float(r.total.sum()) for r in runs],
            1.12,
            f"unbinned bound {two_signals(0, 100, 200_000).bound.total.sum():.4f}, "
            f"{np.median([r.cpu_seconds for r in runs]):.1f} CPU-s",
            peer="classes of cross entropy x bins, 16 bins",
            peer_value=1.524,
        )
    ]


@cache
def many_runs(seeds: Sequence[int], smoke: bool) -> dict[str, list[Measured]]:  # noqa: FBT001
    """Three trainers on the generated analysis; SANNT, the slowest by far, on one sample."""
    sizes = {"n": 1_000, "n_test": 2_000} if smoke else {"n_test": 50_000}
    training = SHORT if smoke else MANY
    trainers = {
        "best": scores(6 if smoke else 16, smoke, statistics=0.3),
        "entropy": CrossEntropy(n_bins=16, training=training),
        "sannt": Sannt(n_bins=16, training=SHORT if smoke else LARGE),
    }
    runs: dict[str, list[Measured]] = {name: [] for name in trainers}
    for seed in seeds:
        example = many_nuisances(seed, **sizes)
        for name, trainer in trainers.items():
            if name != "sannt" or seed == seeds[0]:
                runs[name].append(measure(trainer, example, seed))
    return runs


def many_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    runs = many_runs(seeds, smoke)

    def told(name: str) -> str:
        total, stat, seconds = (
            np.median([f(r) for r in runs[name]])
            for f in (lambda r: r.total[0], lambda r: r.stat[0], lambda r: r.cpu_seconds)
        )
        return f"{total:.4f} (stat {stat:.4f}, {seconds:.0f} CPU-s)"

    sides = asymmetric(runs["best"][0].templates)
    gains = [r.total[0] / c.total[0] for r, c in zip(runs["best"], runs["entropy"], strict=True)]
    return [
        claim(
            "Delta r of the generated analysis with 86 nuisances over its unbinned bound, efficient score",
            [r.efficiency[0] ** -0.5 for r in runs["best"]],
            1.05,
            f"16 bins of efficient and statistical score {told('best')}; cross entropy {told('entropy')}; "
            f"SANNT in batches of {LARGE.batch_size} events a sample, one seed, {told('sannt')}; profile fit of the "
            f"first seed +{sides.up:.4f} -{sides.down:.4f}",
        ),
        claim(
            "Statistical Delta r of the same over that of cross entropy in 16 equal bins",
            [r.stat[0] / c.stat[0] for r, c in zip(runs["best"], runs["entropy"], strict=True)],
            1.03,
            f"the total is {np.median(gains):.3f} of that of cross entropy, at unchanged statistics",
        ),
    ]


AREAS = (synthetic, two_signal_rows, pyhf_rows, many_rows, gradient_rows)


Rows = Callable[[Sequence[int], bool], list[Claim]]


def run(area: str, rows: Sequence[Rows], about: str) -> None:
    """The command line of an area."""
    one_thread()
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--smoke", action="store_true", help="small samples, one seed: does it run?")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the JSON file")
    arguments = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if arguments.smoke else 5))
    started, sgemm = time.perf_counter(), sgemm_gflops()
    claims = []
    for part in rows:
        claims += part(seeds, arguments.smoke)
        table(claims)
    print(write(area, claims, started, sgemm, arguments.output))


if __name__ == "__main__":
    run("discriminants", AREAS, __doc__.splitlines()[0])
