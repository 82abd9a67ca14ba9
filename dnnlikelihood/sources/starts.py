"""Where fits of a profiled likelihood begin, so that each finds the highest of several valleys.

On a few trial signals every fit is begun at many places: the nominal nuisances, each free normalisation high and low,
random draws. Where all of them meet, one start will do. Elsewhere the highest maxima found become starts themselves,
each standing for its valley, and the fewest are kept that together reach the top on every trial signal.
"""

from __future__ import annotations

import numpy as np

from ..statistics.counting import CountingModel, Observation, maximise_nuisances

__all__ = ["find_starts"]

DRAWS, SEED = 8, 1
SAME = 1e-5
"""Maxima that differ by less, in nats, are one."""
MOST = 6
"""Starts that are kept at most."""


def find_starts(model: CountingModel, signals: np.ndarray, seen: Observation) -> np.ndarray:
    """(m, k) starts from which the highest maximum known of each trial signal (n, d) is reached; the first one is the
    maximum of the first signal.

    Args:
        model: the experiment.
        signals: (n, d) trial signals, the first of them zero.
        seen: the data set.
    """
    fits = [_run(model, signals, seen, start) for start in _places(model)]
    value, nu = np.stack([v for v, _ in fits]), np.stack([n for _, n in fits])
    best, rows = value.argmax(axis=0), np.arange(len(signals))
    top, summits = value[best, rows], nu[best, rows]
    several = np.flatnonzero((np.isfinite(value) & (value < top - SAME)).any(axis=0))
    tried = [0, *several[several > 0]]
    reached = np.stack([_run(model, signals, seen, summits[i])[0] for i in tried])
    top = np.maximum(top, reached.max(axis=0))
    kept = [0]
    while len(kept) < MOST:
        covered = (reached[kept] > top - SAME).any(axis=0)
        gains = (reached > top - SAME)[:, ~covered].sum(axis=1)
        if not gains.any():
            break
        kept.append(int(gains.argmax()))
    return summits[np.array(tried)[kept]]


def _places(model: CountingModel) -> np.ndarray:
    """(m, k) where to begin when nothing is known."""
    precision = model.constraints.precision
    loose = np.flatnonzero((precision == 0) & (model.constraints.rate == 0))
    width = np.where(precision > 0, 1.0 / np.sqrt(np.where(precision > 0, precision, 1.0)), 0.3)
    drawn = model.start + 0.7 * width * np.random.default_rng(SEED).normal(size=(DRAWS, len(model.start)))
    moved = np.tile(model.start, (2 * len(loose), 1))
    for i, (column, factor) in enumerate((c, f) for c in loose for f in (0.02, 2.0)):
        moved[i, column] *= factor
    return np.clip(np.concatenate([model.start[None], moved, drawn]), model.lower, model.upper)


def _run(
    model: CountingModel, signals: np.ndarray, seen: Observation, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) maxima, -inf where the fit failed, and (n, k) where they are."""
    fit = maximise_nuisances(model, signals, seen, start=start, gradient=False)
    return np.where(fit.converged, fit.value, -np.inf), fit.nu
