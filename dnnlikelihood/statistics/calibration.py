r"""Split-conformal calibration of a spread, separately in bins of the answer (Mondrian conformal prediction).

With answers y_i, spreads s_i and truths t_i of points never trained on, scores q_i = |y_i - t_i| / (s_i + floor), the
factor of a bin with n points is the ceil((n + 1) level)-th smallest score. Then |y - t| <= factor (s + floor) holds
with probability at least `level` for a new point of the bin, whatever the distribution of errors (arXiv:2107.07511).
Fewer than 9 points say nothing about 90 %: the factor is then infinite.
Points of several kinds in a bin (samples, profiles, slices) are not equally hard, and users ask of one kind: the factor
is the largest of theirs, so that the band holds with that probability for each.
The floor says how far the spread is to be believed: large where it says nothing, small where it tells good from bad.

Errors grow fast where the answer is low and shrink fast near the maximum, so bins halve in content towards both ends:
they end at the quantiles ..., 1/8, 1/4, 1/2, 3/4, 7/8, ... as far as a bin has 30 points (its coverage is then known to
0.05), which five bins of equal content get wrong by 0.17 in the lowest twentieth of an effective-theory fit.

A factor learned from spreads s_i says nothing of a spread far above all of them. A new point of the same distribution
is above the largest of n with probability 1 / (n + 1); beyond twice the largest in its bin and the two beside it the
band is not stated.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..guard import Calibration

__all__ = ["conformal", "coverage"]

MINIMUM_ROWS = 30
DISAGREEMENT = 2.0
"""Largest spread of which a band is stated, in units of the largest one among calibration points of like answer."""
FLOORS = (0.1, 0.5, 2.0, 8.0)
"""Tried floors, in median deviations: the one of the narrowest bands wins."""


def conformal(
    answer: np.ndarray, spread: np.ndarray, truth: np.ndarray, level: float = 0.9, kinds: np.ndarray | None = None
) -> Calibration:
    """Factors per bin of the answer, from every second row; the floor is chosen on the other rows.

    Args:
        answer: (n,) surrogate's logpdf.
        spread: (n,) of its members.
        truth: (n,) labels.
        level: of the band.
        kinds: (n,) where each row comes from; those with fewer than 30 rows in a bin are not told from others there.
    """
    deviation = np.abs(answer - truth)
    kind = np.zeros(len(answer), int) if kinds is None else np.unique(kinds, return_inverse=True)[1]
    choosing, calibrating = slice(0, None, 2), slice(1, None, 2)
    typical = max(float(np.median(deviation[choosing])), 1e-9)

    def fitted(rows: slice, floor: float) -> Calibration:
        return _factors(answer[rows], deviation[rows] / (spread[rows] + floor), kind[rows], floor, level)

    trials = [fitted(choosing, f * typical) for f in FLOORS]
    floor = min(trials, key=lambda c: float(c.error(answer, spread)[choosing].mean())).floor
    found = fitted(calibrating, floor)
    return replace(found, limits=_limits(found.bins(answer), spread, len(found.factors)))


def _factors(answer: np.ndarray, score: np.ndarray, kind: np.ndarray, floor: float, level: float) -> Calibration:
    edges = np.quantile(answer, _shares(len(answer)))
    where = np.searchsorted(edges, answer, side="right")
    factors = []
    for b in range(len(edges) + 1):
        inside = where == b
        groups = [inside, *(inside & (kind == k) for k in np.unique(kind[inside]))]
        factors.append(max(_ranked(score[g], level) for g in groups if g is inside or g.sum() >= MINIMUM_ROWS))
    return Calibration(edges, np.array(factors), floor, np.full(len(factors), np.inf))


def _ranked(score: np.ndarray, level: float) -> float:
    """The ceil((n + 1) level)-th smallest, infinite if there are not as many."""
    rank = int(np.ceil((len(score) + 1) * level))
    return float(np.sort(score)[rank - 1]) if rank <= len(score) else np.inf


def _limits(bins: np.ndarray, spread: np.ndarray, n_bins: int) -> np.ndarray:
    """(B,) largest spreads that the factors know; those next to a bin count, so that few rows do not decide alone."""
    largest = np.array([spread[bins == b].max(initial=0.0) for b in range(n_bins)])
    around = np.pad(largest, 1)
    return DISAGREEMENT * np.max([around[:-2], largest, around[2:]], axis=0)


def _shares(n: int) -> np.ndarray:
    """(B - 1,) quantiles at which n points are cut: halving towards both ends."""
    tail = [0.5**k for k in range(1, 64) if n * 0.5**k >= MINIMUM_ROWS]
    return np.unique([*tail, *(1.0 - share for share in tail)])


def coverage(calibration: Calibration, answer: np.ndarray, spread: np.ndarray, truth: np.ndarray) -> float:
    """Share of points whose truth lies in the band."""
    return float(np.mean(np.abs(answer - truth) <= calibration.error(answer, spread)))
