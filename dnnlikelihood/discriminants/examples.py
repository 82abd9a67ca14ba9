r"""Event models with known answers.

Every example returns an `Example`: independent train, validation and test models, and, where the densities are known,
the unbinned bound computed from exact scores on the test events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .events import EventModel, Events, Process, ShiftedSamples
from .uncertainty import ExpectedUncertainty, unbinned_bound

__all__ = ["Example", "blobs", "shifted_gaussian"]


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

    @property
    def bound(self) -> ExpectedUncertainty:
        """The unbinned bound, from the exact scores of the test events."""
        if self.scores is None:
            raise NotImplementedError("the densities of this example are not known in closed form")
        model = self.test
        scores = np.concatenate([self.scores(p.events.values) for p in model.processes])
        weights = np.concatenate([p.events.weights for p in model.processes])
        return unbinned_bound(scores, weights, model.pois, model.nuisance_names, model.constraints)


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
