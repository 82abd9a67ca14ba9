"""Where fits of a profiled likelihood begin, so that each finds the highest of several valleys.

On trial signals every fit is begun at many places: the nominal nuisances and random draws; the highest then tries its
other sides. Where one start reaches all of these maxima, it will do. Otherwise some of those that it misses are tried
as the next start, and the one that brings most signals to their top is kept, until all are there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..statistics.counting import CountingFit, CountingModel, Observation, maximise_nuisances
from .profiled import SOUND, challenge, keep_better, profile_from, rank, try_other_sides

__all__ = ["find_starts", "share_starts"]

DRAWS, SEED = 8, 1
REACH, LEVELS = (0.4, 1.6), (0.02, 3.0)
"""Of random draws: standard deviations of the nuisances, and parts of where fits begin of free normalisations."""
CLOSE, SHARE = 0.03, 0.002
"""A maximum is reached within so many nats, which small sides of single nuisances are worth, and such a part of what
the signal costs."""
CANDIDATES = 6
"""Maxima that are tried as the next start."""
ELSEWHERE = 0.3
"""Standard deviations between starts, in some nuisance."""
MOST = 8
"""Starts that are kept at most."""


def find_starts(model: CountingModel, signals: np.ndarray, seen: Observation) -> np.ndarray:
    """(m, k) starts from which the highest maximum known of each trial signal (n, d) is reached; the first one is the
    maximum of the first signal.

    Args:
        model: the experiment.
        signals: (n, d) trial signals, the first of them zero.
        seen: the data set, or one for each signal.
    """
    seen, every = seen.each(len(signals)), np.arange(len(signals))
    top = _search(model, signals, seen)
    starts = top.nu[:1].copy()
    best = profile_from(model, signals, seen, starts, gradient=False)
    while len(starts) < MOST:
        keep_better(model, signals, top, every, best)
        missed = _missed(model, signals, top, best)
        tried = top.nu[missed[np.linspace(0, len(missed) - 1, min(CANDIDATES, len(missed))).astype(int)]]
        of_those = model, signals[missed], seen.rows(missed), top.rows(missed), best.rows(missed)
        reached = [_reached(*of_those, start) for start in tried]
        if not any(reached):
            break
        starts = np.concatenate([starts, tried[[int(np.argmax(reached))]]])
        challenge(model, signals, seen, best, every, starts[-1], gradient=False)
        try_other_sides(model, signals, seen, best, gradient=False)
    return starts


def share_starts(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The starts of each data set and those of all others that are somewhere else: valleys are of the experiment.

    Args:
        found: name of a data set -> (m, k).
    """
    shared = {}
    for name, own in found.items():
        kept = list(own)
        for start in (start for other in found.values() for start in other):
            if all(np.abs(start - known).max() > ELSEWHERE for known in kept):
                kept.append(start)
        shared[name] = np.stack(kept)
    return shared


def _search(model: CountingModel, signals: np.ndarray, seen: Observation) -> CountingFit:
    """The highest maximum of each signal, begun wherever one may begin when nothing is known."""
    first, *places = _places(model)
    top = maximise_nuisances(model, signals, seen, start=first, gradient=False)
    for place in places:
        challenge(model, signals, seen, top, np.arange(len(signals)), place, gradient=False)
    try_other_sides(model, signals, seen, top, gradient=False)
    return top


def _places(model: CountingModel) -> np.ndarray:
    """(m, k) where to begin when nothing is known."""
    rng = np.random.default_rng(SEED)
    precision = model.constraints.precision
    loose = np.flatnonzero((precision == 0) & (model.constraints.rate == 0))
    width = np.where(precision > 0, 1.0 / np.sqrt(np.where(precision > 0, precision, 1.0)), 0.3)
    drawn = model.start + np.linspace(*REACH, DRAWS)[:, None] * width * rng.normal(size=(DRAWS, len(model.start)))
    drawn[:, loose] = model.start[loose] * np.exp(
        rng.uniform(np.log(LEVELS[0]), np.log(LEVELS[1]), size=(DRAWS, len(loose)))
    )
    return np.clip(np.concatenate([model.start[None], drawn]), model.lower, model.upper)


def _missed(model: CountingModel, signals: np.ndarray, top: CountingFit, best: CountingFit) -> np.ndarray:
    """(m,) signals whose top the best fit does not reach, the worst ones first."""
    lack = top.value - best.value - CLOSE - SHARE * (top.value.max() - top.value)
    lack[rank(model, signals, best) < SOUND] = np.inf
    lack[rank(model, signals, top) < SOUND] = -np.inf
    order = np.argsort(-lack, kind="stable")
    return order[lack[order] > 0]


def _reached(
    model: CountingModel, signals: np.ndarray, seen: Observation, top: CountingFit, best: CountingFit, start: np.ndarray
) -> int:
    """How many signals reach their top from a start, that the best fits do not reach."""
    best = best.rows(slice(None))
    challenge(model, signals, seen, best, np.arange(len(signals)), start, gradient=False)
    return len(signals) - len(_missed(model, signals, top, best))
