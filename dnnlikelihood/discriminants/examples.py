r"""Event models with known answers.

Every example returns an `Example`: independent train, validation and test models, and, where the densities are known,
the unbinned bound computed from exact scores on the test events.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import ConfigError
from .events import EventModel, Events, Normalisation, Nuisance, Process, ShiftedSamples
from .uncertainty import ExpectedUncertainty, unbinned_bound

__all__ = ["Example", "blobs", "inferno", "shifted_gaussian", "three_samples", "two_signals"]


@dataclass(frozen=True, eq=False)
class Example:
    """A problem with independent samples.

    Attributes:
        train, validation, test: the models.
        scores: exact scores (n, S + J) of features (n, m), if the densities are known.
    """

    train: EventModel
    validation: EventModel
    test: EventModel
    scores: Callable[[np.ndarray], np.ndarray] | None = None

    @cached_property
    def bound(self) -> ExpectedUncertainty:
        """The unbinned bound, from the exact scores of the test events."""
        if self.scores is None:
            raise ConfigError("the densities of this example are not known: take learned_bound of its trained scores")
        model = self.test
        scores = np.concatenate([self.scores(p.events.values) for p in model.processes])
        weights = np.concatenate([p.events.weights for p in model.processes])
        return unbinned_bound(scores, weights, model.pois, model.nuisance_names, model.constraints)

    def inclusive(self, poi: str = "r") -> Example:
        """The same events with one strength for all signals; their scores add up."""
        n = len(self.test.pois)

        def one(model: EventModel) -> EventModel:
            return model.with_pois({p.name: poi for p in model.processes if p.is_signal})

        def added(x: np.ndarray) -> np.ndarray:
            assert self.scores is not None
            every = self.scores(x)
            return np.concatenate([every[:, :n].sum(axis=1, keepdims=True), every[:, n:]], axis=1)

        scores = None if self.scores is None else added
        return Example(one(self.train), one(self.validation), one(self.test), scores)


def _log_normal(x: np.ndarray, mean: tuple[float, ...], variance: tuple[float, ...] | None = None) -> np.ndarray:
    v = np.ones(len(mean)) if variance is None else np.array(variance)
    return -0.5 * (((x - np.array(mean)) ** 2 / v).sum(axis=1) + np.log(2 * np.pi * v).sum())


Parts = tuple[EventModel, EventModel, EventModel]


def three_samples(build: Callable[[np.random.Generator, int], EventModel], seed: int, n: int, n_test: int) -> Parts:
    """Train, validation and test from three independent streams."""
    streams = np.random.SeedSequence(seed).spawn(3)
    train, validation, test = (
        build(np.random.default_rng(s), size) for s, size in zip(streams, (n, n, n_test), strict=True)
    )
    return train, validation, test


def shifted_gaussian(seed: int = 0, n: int = 50_000, n_test: int = 400_000) -> Example:
    """The synthetic example of Wunsch et al. (CSBS 5 (2021) 4) in the form of CMS-MLG-23-005.

    S ~ N((0, 0), I), B ~ N((1, 1), I), 50 and 1000 expected; one nuisance moves the x2 of B by +-1, simulated anew.
    The unbinned bound is 0.356 in total and 0.329 from statistics.

    Args:
        seed: of all samples.
        n: events of each process and variation in train and in validation.
        n_test: in the test model.
    """
    return _gaussian_pair(
        seed, n, n_test, signal=((0.0, 0.0), 50.0), background=((1.0, 1.0), 1000.0), up=(1.0, 2.0), down=(1.0, 0.0)
    )


def blobs(seed: int = 0, n: int = 10_000, n_test: int = 400_000) -> Example:
    """The blobs of neos (arXiv:2203.05570): S at (-1, 1), B at (1, -1), B up at (2.5, 2), B down at (-2.5, -1.5)."""
    return _gaussian_pair(
        seed, n, n_test, signal=((-1.0, 1.0), 20.0), background=((1.0, -1.0), 100.0), up=(2.5, 2.0), down=(-2.5, -1.5)
    )


def _gaussian_pair(
    seed: int,
    n: int,
    n_test: int,
    *,
    signal: tuple[tuple[float, float], float],
    background: tuple[tuple[float, float], float],
    up: tuple[float, float],
    down: tuple[float, float],
) -> Example:
    (mean_s, s), (mean_b, b) = signal, background

    def build(rng: np.random.Generator, size: int) -> EventModel:
        def events(mean: tuple[float, float], expected: float) -> Events:
            return Events.of(rng.normal(mean, 1.0, (size, 2)), ("x1", "x2"), expected=expected)

        signal, background = events(mean_s, s), events(mean_b, b)
        shift = ShiftedSamples("shift", {"B": (events(up, b), events(down, b))})
        return EventModel((Process("S", signal, poi="r"), Process("B", background)), (shift,))

    def scores(x: np.ndarray) -> np.ndarray:
        fs, fb, fu, fd = (
            y * np.exp(_log_normal(x, mean)) for y, mean in ((s, mean_s), (b, mean_b), (b, up), (b, down))
        )
        return np.stack([fs, 0.5 * (fu - fd)], axis=1) / (fs + fb)[:, None]

    return Example(*three_samples(build, seed, n, n_test), scores=scores)


INFERNO_NUISANCES = {0: (), 1: ("r_shift",), 2: ("r_shift", "lambda"), 3: ("r_shift", "lambda")}
INFERNO_NUISANCES[4] = (*INFERNO_NUISANCES[3], "b_norm")


def inferno(benchmark: int, seed: int = 0, n: int = 100_000, n_test: int = 500_000) -> Example:
    """The synthetic benchmarks 0 to 4 of INFERNO (arXiv:1806.04743): 50 Delta r is their sigma(s).

    B: (x0, x1) ~ N((2 + r, 0), diag(5, 9)), x2 ~ Exp(lambda); S: (x0, x1) ~ N((0, 0), I), x2 ~ Exp(2);
    s = 50, b = 1000.
    (The mean of S is that of the published code, which gives the published numbers; the text of the paper has (1, 1).)
    Shifts: r by 0.2, lambda = 3 by 0.5, as in the paper's templates. Benchmark 1: r free. 2: r and lambda free.
    3: r ~ N(0, 0.4), lambda ~ N(3, 1). 4: b ~ N(1000, 100) too. 0: none.

    Raises:
        ConfigError: another benchmark.
    """
    if benchmark not in INFERNO_NUISANCES:
        raise ConfigError(f"benchmark is {benchmark!r}, must be one of {sorted(INFERNO_NUISANCES)}")
    features, chosen = ("x0", "x1", "x2"), INFERNO_NUISANCES[benchmark]
    width = math.inf if benchmark <= 2 else 2.0
    step, rate = 0.2, 0.5

    def build(rng: np.random.Generator, size: int) -> EventModel:
        def events(mean: float, spread: tuple[float, float], rate: float, expected: float) -> Events:
            x = np.stack([rng.normal(mean, spread[0], size), rng.normal(0.0, spread[1], size)], axis=1)
            return Events.of(
                np.column_stack([x, rng.exponential(1 / rate, size)]).astype(np.float32), features, expected=expected
            )

        s, b = events(0.0, (1.0, 1.0), 2.0, 50.0), events(2.0, (5**0.5, 3.0), 3.0, 1000.0)

        def moved(shift: float, stretch: float) -> Events:
            values = b.values * np.array([1.0, 1.0, stretch]) + np.array([shift, 0.0, 0.0])
            return Events(features, values.astype(np.float32), b.weights)

        pairs = {
            "r_shift": (moved(step, 1.0), moved(-step, 1.0)),
            "lambda": (moved(0.0, 3 / (3 + rate)), moved(0.0, 3 / (3 - rate))),
        }
        nuisances: dict[str, Nuisance] = {
            name: ShiftedSamples(name, {"B": pair}, constraint=width, same_events=True) for name, pair in pairs.items()
        }
        nuisances["b_norm"] = Normalisation("b_norm", {"B": (1.1, 0.9)})
        return EventModel((Process("S", s, poi="r"), Process("B", b)), tuple(nuisances[name] for name in chosen))

    def scores(x: np.ndarray) -> np.ndarray:
        x = x.astype(float)
        s = 50 * np.exp(_log_normal(x[:, :2], (0.0, 0.0)) + np.log(2.0) - 2 * x[:, 2])

        def background(mean: float, rate: float) -> np.ndarray:
            return 1000 * np.exp(_log_normal(x[:, :2], (mean, 0.0), (5.0, 9.0)) + np.log(rate) - rate * x[:, 2])

        b = background(2.0, 3.0)
        columns = {
            "r_shift": 0.5 * (background(2 + step, 3.0) - background(2 - step, 3.0)),
            "lambda": 0.5 * (background(2.0, 3 + rate) - background(2.0, 3 - rate)),
            "b_norm": 0.1 * b,
        }
        return np.stack([s, *(columns[name] for name in chosen)], axis=1) / (s + b)[:, None]

    return Example(*three_samples(build, seed, n, n_test), scores)


def two_signals(seed: int = 0, n: int = 50_000, n_test: int = 300_000) -> Example:
    """Two signals, two backgrounds and three nuisances in two dimensions: r_1 and r_2 are measured together.

    S1 ~ N((1.5, 0), 0.64 I), S2 ~ N((0, 1.5), 0.64 I), B1 ~ N((0, 0), I), B2 ~ N((1, 1), 1.44 I), expected 60, 47, 1000
    and 300. B1 moves along x1 and x2 together by +-0.3, B2 along x1 by +-0.3, and the yield of B1 has 10 %.
    """
    means = {"S1": (1.5, 0.0), "S2": (0.0, 1.5), "B1": (0.0, 0.0), "B2": (1.0, 1.0)}
    spreads = {"S1": 0.8, "S2": 0.8, "B1": 1.0, "B2": 1.2}
    expected = {"S1": 60.0, "S2": 47.0, "B1": 1000.0, "B2": 300.0}
    steps = {"B1_shift": ("B1", np.array([0.3, 0.3])), "B2_shift": ("B2", np.array([0.3, 0.0]))}

    def build(rng: np.random.Generator, size: int) -> EventModel:
        events = {
            p: Events.of(rng.normal(means[p], spreads[p], (size, 2)), ("x1", "x2"), expected=expected[p]) for p in means
        }

        def moved(p: str, step: np.ndarray) -> Events:
            return Events(("x1", "x2"), events[p].values + step, events[p].weights)

        shifts = [
            ShiftedSamples(name, {p: (moved(p, step), moved(p, -step))}, same_events=True)
            for name, (p, step) in steps.items()
        ]
        pois = {"S1": "r_1", "S2": "r_2"}
        processes = tuple(Process(p, events[p], poi=pois.get(p)) for p in means)
        return EventModel(processes, (*shifts, Normalisation("B1_norm", {"B1": (1.1, 0.9)})))

    def scores(x: np.ndarray) -> np.ndarray:
        def f(p: str, step: np.ndarray | float = 0.0) -> np.ndarray:
            return expected[p] * np.exp(_log_normal(x - step, means[p], (spreads[p] ** 2,) * 2))

        moves = [0.5 * (f(p, step) - f(p, -step)) for p, step in steps.values()]
        total = np.sum([f(p) for p in means], axis=0)
        return np.stack([f("S1"), f("S2"), *moves, 0.1 * f("B1")], axis=1) / total[:, None]

    return Example(*three_samples(build, seed, n, n_test), scores)
