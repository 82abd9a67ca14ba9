"""Profiling a surrogate's coefficients: by default, by multi-start, from known valleys, and by the recipe of CMS.

    python benchmarks/eft_profiling.py [--smoke] [--model FOLDER] [--output FOLDER]

Scans of all 16 coefficients of a published model over their whole ranges, and a plane. What a profile should be is the
highest that any of the searches found at a point. The truth is the generated search. One thread; CPU seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import HERE, Claim, one_thread, sgemm_gflops, table, write

if __name__ == "__main__":
    one_thread()

import numpy as np

import dnnlikelihood as dl
from dnnlikelihood import Inference
from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.protocols import LogDensity
from dnnlikelihood.results import Fit, Valleys
from dnnlikelihood.statistics.multistart import descend, multistart_maxima
from dnnlikelihood.statistics.profile import limits, profile
from dnnlikelihood.statistics.scans import profiled_scan
from dnnlikelihood.statistics.valleys import held_maxima, starting_points

CMS = "the recipe of CMS, EPJ Web Conf. 295 (2024) 09041: 200 steps of Adam, rate 4 for all, 50 starts a point"
CMS_STARTS, CMS_RATE, CMS_STEPS = 50, 4.0, 200
CMS_SECONDS = 2.6
SEEDS = (101, 102, 103)
"""Used nowhere else."""
PAIR = ("ctG", "ctp")
NEAR = 1e-3
"""2 delta NLL within which two profiles agree."""
Solver = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Effort:
    """How much is done."""

    coefficients: int
    points: int
    grid: int
    exact_points: int
    exact_starts: int


FULL, SMOKE = Effort(16, 81, 41, 21, 32), Effort(2, 9, 5, 3, 4)


class Counted:
    """Points at which a density is asked, and CPU seconds, of what is run."""

    def __init__(self, density: LogDensity) -> None:
        self.density, self.points, self.hessians = density, 0, 0
        for name in ("logpdf", "logpdf_and_grad", "logpdf_grad_hess"):
            setattr(density, name, self._counting(getattr(density, name), hessian=name == "logpdf_grad_hess"))

    def _counting(self, ask: Callable[[Any], Any], *, hessian: bool) -> Callable[[Any], Any]:
        def asked(theta: Any) -> Any:
            self.points += len(theta) * (not hessian)
            self.hessians += len(theta) * hessian
            return ask(theta)

        return asked

    def run(self, solve: Solver, name: str, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) profiled logpdf, and (CPU seconds, values and gradients, Hessians)."""
        self.points = self.hessians = 0
        start = time.process_time()
        value = solve(name, axis)
        return value, np.array([time.process_time() - start, self.points, self.hessians])


def adam(density: LogDensity, column: int, axis: np.ndarray, seed: int, top: float) -> np.ndarray:
    """(n, 50, d) the best points seen by CMS's descent, one rate for all parameters.

    Theirs start in +-20 whatever the parameter, where three of four points have no answer here: so, all over the box.
    """
    low, high = limits(density)
    rng, n = np.random.default_rng(seed), len(axis)
    theta = rng.uniform(low, high, (n, CMS_STARTS, len(low)))
    theta[:, :, column] = axis[:, None]
    theta = theta.reshape(-1, len(low))
    best, value = theta.copy(), np.full(len(theta), -np.inf)
    first, second, rate, lowest, waited = np.zeros_like(theta), np.zeros_like(theta), CMS_RATE, np.inf, 0
    for step in range(1, CMS_STEPS + 1):
        logpdf, grad = density.logpdf_and_grad(theta)
        higher = logpdf > value
        best[higher], value[higher] = theta[higher], logpdf[higher]
        argument = np.maximum(np.where(np.isfinite(logpdf), top - logpdf, 1e3), 0.0) + 10.0
        total = float(np.log(argument).sum())
        waited = 0 if total < lowest * (1 - 1e-4) else waited + 1
        lowest = min(lowest, total)
        if waited > 1:
            rate, waited = 0.2 * rate, 0
        slope = -grad / argument[:, None]
        slope[:, column] = 0.0
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        move = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        theta = np.clip(theta - rate * move, low, high)
    return best.reshape(n, CMS_STARTS, -1)


def searches(density: LogDensity, known: Valleys) -> dict[str, Callable[[int], Solver]]:
    """For a seed the solver (name, axis) -> (n,) profiled logpdf, of each search."""
    names = density.parameters.names

    def scanned(search: Any) -> Callable[[int], Solver]:
        return lambda seed: (
            lambda name, axis: (
                profiled_scan(
                    density, name, axis, known=known, search=search, seed=seed, progress=False
                ).profiled_logpdf
            )
        )

    def alone(seed: int) -> Solver:
        return lambda name, axis: (
            multistart_maxima(
                density, axis[:, None], np.array([names.index(name)]), known.theta[0], 64, seed=seed
            ).value
        )

    def plain(seed: int) -> Solver:
        def solve(name: str, axis: np.ndarray) -> np.ndarray:
            end = adam(density, names.index(name), axis, seed, float(known.logpdf[0]))
            return density.logpdf(end.reshape(-1, end.shape[2])).reshape(end.shape[:2]).max(axis=1)

        return solve

    def from_known(seed: int) -> Solver:
        return lambda name, axis: profile(density, name, axis, starts=known.theta).profiled_logpdf

    return {
        "valleys": scanned("valleys"),
        "multistart": scanned("multistart"),
        "alone": alone,
        "known": from_known,
        "cms": plain,
    }


def scan_claims(counted: Counted, known: Valleys, effort: Effort) -> Iterator[Claim]:
    """Scans of every coefficient by every search."""
    density, (low, high) = counted.density, limits(counted.density)
    names = density.parameters.names[: effort.coefficients]
    values: dict[str, list[np.ndarray]] = {}
    costs: dict[str, list[np.ndarray]] = {}
    for how, of_seed in searches(density, known).items():
        for seed in SEEDS if how in SEEDED else SEEDS[:1]:
            done = [
                counted.run(of_seed(seed), name, np.linspace(low[k], high[k], effort.points))
                for k, name in enumerate(names)
            ]
            values.setdefault(how, []).append(np.array([value for value, _ in done]))
            costs.setdefault(how, []).append(np.array([cost for _, cost in done]).mean(axis=0))
    deepest = np.max([v for found in values.values() for v in found], axis=0)
    above = {how: [2 * (deepest - v) for v in found] for how, found in values.items()}
    yield from _above_claims(above, names, effort.points)
    yield from _cost_claims({how: np.array(c) for how, c in costs.items()})


SAID = {
    "valleys": "Profiled scans by default, 64 starts at 5 points",
    "multistart": "Profiled scans by multistart, 64 starts a point",
    "alone": "The descents and climbs of each point alone, without valleys and neighbours",
    "known": "Known valleys and neighbours alone, no starts",
}
SEEDED = ("valleys", "multistart", "alone")


def _above_claims(above: dict[str, list[np.ndarray]], names: tuple[str, ...], n: int) -> Iterator[Claim]:
    for how in SAID:
        off = above[how]
        worst = [float(o.max()) for o in off]
        missed = {k: float(max(o[i].max() for o in off)) for i, k in enumerate(names)}
        said = ", ".join(f"{k} {v:.2g}" for k, v in missed.items() if v > NEAR) or "none"
        share = np.mean([(o < NEAR).mean() for o in off])
        yield Claim(
            claim=f"{SAID[how]}: largest 2 delta NLL above the deepest known",
            value=float(np.median(worst)),
            unit="2 delta NLL",
            target=0.005,
            peer=CMS,
            peer_value=float(max(o.max() for o in above["cms"])),
            spread=(min(worst), max(worst)),
            seeds=len(worst),
            how=f"{len(names)} coefficients, {n} points each; {100 * share:.1f} % within {NEAR:g}; beyond it: {said}",
        )


def _cost_claims(costs: dict[str, np.ndarray]) -> Iterator[Claim]:
    cms = costs["cms"].mean(axis=0)
    for how in ("valleys", "multistart"):
        seconds, points, hessians = costs[how].mean(axis=0)
        yield Claim(
            claim=f"{SAID[how]}: CPU seconds a scan",
            value=float(seconds),
            unit="CPU s",
            target=CMS_SECONDS,
            peer=f"{CMS}, here ({cms[1]:,.0f} gradients); theirs took {CMS_SECONDS} s on a GPU",
            peer_value=float(cms[0]),
            spread=(float(costs[how][:, 0].min()), float(costs[how][:, 0].max())),
            seeds=len(costs[how]),
            how=f"mean over the coefficients; {points:,.0f} values or gradients and {hessians:,.0f} Hessians; the "
            "search for valleys before, once for all scans, is not counted",
        )


def offset_claims(density: LogDensity, known: Valleys, effort: Effort) -> Iterator[Claim]:
    """What the logarithm is worth: the descent alone, c from 1 nat to so many that the sum is that of Delta itself."""
    low, high = limits(density)
    share = {}
    for offset in (1.0, 10.0, 100.0, 1e4):
        near = []
        for k in range(effort.coefficients):
            axis, columns = np.linspace(low[k], high[k], effort.points), np.array([k])
            drawn = starting_points(density, 64 * len(axis), SEEDS[0], known.theta[0], power=0.0)
            start = np.resize(drawn, (len(axis), 64, len(low)))
            start[:, :, k] = axis[:, None]
            end = descend(density, start.reshape(-1, len(low)), columns, known.theta[0], offset=offset, rounds=1)
            fit = _climbed(density, end.reshape(start.shape), k)
            begun = density.logpdf(end).reshape(start.shape[:2]).max(axis=1)
            near.append(2 * (fit.value - begun) < 0.05)
        share[offset] = float(np.mean(near))
    said = ", ".join(f"{100 * v:.1f} % with c = {k:g}" for k, v in share.items())
    yield Claim(
        claim="Points that a round of the common descent brings within 0.05 in 2 delta NLL of where climbs lead",
        value=share[10.0],
        unit="share",
        target=share[1e4],
        better="higher",
        peer="c = 10,000 nats: the sum of delta NLL itself, almost",
        peer_value=share[1e4],
        how=f"64 starts a point, no climbs, one round; {said}",
    )


def _climbed(density: LogDensity, offered: np.ndarray, column: int) -> Fit:
    held = np.zeros((len(offered), offered.shape[2]), bool)
    held[:, column] = True
    return held_maxima(density, offered, held, 4, tolerance=1e-3)


def plane_claims(counted: Counted, known: Valleys, n: int) -> Iterator[Claim]:
    """A plane by both searches."""
    density, (low, high) = counted.density, limits(counted.density)
    columns = density.parameters.indices(PAIR)
    axes: Any = [np.linspace(low[k], high[k], n) for k in columns]
    found = {}
    for search in ("valleys", "multistart"):
        options: Any = {"known": known, "search": search, "seed": SEEDS[0], "progress": False}
        found[search] = counted.run(lambda names, a, o=options: profiled_scan(density, names, a, **o).profiled_logpdf,
                                    PAIR, axes)  # type: ignore[arg-type]  # fmt: skip
    (usual, cost), (own, dearer) = found["valleys"], found["multistart"]
    both = np.isfinite(usual) & np.isfinite(own)
    gain = 2 * (own - usual)[both]
    yield Claim(
        claim=f"Profiled plane of {PAIR[0]} and {PAIR[1]}, {n} x {n}, by default",
        value=float(cost[0]),
        unit="CPU s",
        target=60.0,
        peer="the same by multistart",
        peer_value=float(dearer[0]),
        how=f"{cost[1]:,.0f} values or gradients, {dearer[1]:,.0f} by multistart, which is deeper in "
        f"{(gain > NEAR).mean() * 100:.1f} % of the points by up to {gain.max():.2f} in 2 delta NLL, less deep in "
        f"{(gain < -NEAR).mean() * 100:.1f} %, by up to {-gain.min():.2f}",
    )


def truth_claims(density: LogDensity, truth: LogDensity, known: Valleys, effort: Effort) -> Iterator[Claim]:
    """The scans of truth and surrogate, by default, beside the deepest known of the truth."""
    exact, ours = Inference(truth), Inference(density)
    for inference in (exact, ours):
        inference.valleys(n_starts=32, starts=known.theta)
    off, missed, start = {}, {}, time.process_time()
    for k, name in enumerate(truth.parameters.names[: effort.coefficients]):
        low, high = (f(b[k] for b in ends) for f, ends in zip((max, min), _ends(truth, density), strict=True))
        axis = np.linspace(low, high, effort.exact_points)
        own: Any = {"search": "multistart", "progress": False}
        theirs, mine = exact.scan(name, axis, **own, n_starts=effort.exact_starts), ours.scan(name, axis, **own)
        usual, surrogate = (i.scan(name, axis, progress=False) for i in (exact, ours))
        met = np.stack([mine.theta, surrogate.theta], axis=1)
        found = [theirs.profiled_logpdf, usual.profiled_logpdf, _climbed(truth, met, k).value]
        best = np.max(found, axis=0)
        t = 2 * (max(best.max(), float(theirs.bestfit.value[0])) - best)
        off[name] = float(np.abs(surrogate.tmu - t)[t < 9].max())
        missed[name] = float(2 * (best - usual.profiled_logpdf)[t < 9].max())
    worst = max(off, key=lambda name: off[name])
    said = ", ".join(f"{k} {v:.2g}" for k, v in missed.items() if v > NEAR) or "none"
    yield Claim(
        claim="Profiled scans by default, surrogate beside truth: largest error where below 9",
        value=off[worst],
        unit="2 delta NLL",
        target=0.05,
        how=f"{len(off)} coefficients, {effort.exact_points} points each; truth: deepest of its scans by default, by "
        f"multistart with {effort.exact_starts} starts a point, and of climbs from the surrogate's; worst is {worst}; "
        f"{time.process_time() - start:.0f} CPU s in all",
    )
    yield Claim(
        claim="The truth's scans by default: largest 2 delta NLL above the deepest known, where below 9",
        value=max(missed.values()),
        unit="2 delta NLL",
        target=0.005,
        how=f"the same points; beyond {NEAR:g}: {said}",
    )


def _ends(truth: LogDensity, density: LogDensity) -> tuple[list[np.ndarray], list[np.ndarray]]:
    ends = [limits(d) for d in (truth, density)]
    return [e[0] for e in ends], [e[1] for e in ends]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a minute's worth of everything")
    parser.add_argument("--model", type=Path, default=HERE.parent / "saved_models" / "eft_sixteen")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    started, effort = time.perf_counter(), SMOKE if arguments.smoke else FULL
    model = dl.open(arguments.model, outside="-inf")
    known = Inference(model).valleys()
    counted = Counted(model)
    claims = [
        *truth_claims(model, ProfiledLikelihood.from_eft(), known, effort),
        *scan_claims(counted, known, effort),
        *offset_claims(model, known, effort),
        *plane_claims(counted, known, effort.grid),
    ]
    table(claims)
    print(write("eft_profiling", claims, started, sgemm_gflops(seconds=0.2), arguments.output))


if __name__ == "__main__":
    main()
