"""Where fits of a profiled likelihood begin, so that each finds the highest of several valleys.

On a few trial signals every fit is begun at many places: the nominal nuisances and random
draws; the highest then tries its other sides. Where all of them meet, one start will do. Elsewhere the highest
maxima found become starts themselves, each standing for its valley, and the fewest are kept that together reach the top
on every trial signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np

from ..statistics.counting import CountingModel, Observation, maximise_nuisances
from .profiled import higher_of, try_other_sides

__all__ = ["find_starts", "share_starts"]

DRAWS, SEED = 16, 1
REACH, LEVELS = (0.4, 1.6), (0.02, 3.0)
"""Of random draws: standard deviations of the nuisances, and parts of where fits begin of free normalisations."""
SAME = 1e-5
"""Maxima that differ by less, in nats, are one."""
CLOSE = 0.03
"""Nats within which a maximum is reached: what small sides of single nuisances are worth, which every fit tries."""
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
        seen: the data set.
    """
    fits = [maximise_nuisances(model, signals, seen, start=start, gradient=False) for start in _places(model)]
    value = np.stack([np.where(fit.converged, fit.value, -np.inf) for fit in fits])
    highest = reduce(higher_of, fits)
    try_other_sides(model, signals, seen.each(len(signals)), highest, gradient=False)
    top, summits = np.where(highest.converged, highest.value, -np.inf), highest.nu
    several = np.flatnonzero((np.isfinite(value) & (value < top - SAME)).any(axis=0))
    tried = [0, *several[several > 0]]
    reached = np.stack([_reached(model, signals, seen, summits[i]) for i in tried])
    top = np.maximum(top, reached.max(axis=0))
    kept = [0]
    while len(kept) < MOST:
        covered = (reached[kept] > top - CLOSE).any(axis=0)
        gains = (reached > top - CLOSE)[:, ~covered].sum(axis=1)
        if not gains.any():
            break
        kept.append(int(gains.argmax()))
    return summits[np.array(tried)[kept]]


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


def _reached(model: CountingModel, signals: np.ndarray, seen: Observation, start: np.ndarray) -> np.ndarray:
    """(n,) maxima, -inf where the fit failed."""
    fit = maximise_nuisances(model, signals, seen, start=start, gradient=False)
    return np.where(fit.converged, fit.value, -np.inf)
