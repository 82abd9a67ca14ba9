r"""Highest posterior density intervals and regions (HPDI).

    region(level) = { x : f(x) >= t },      t such that  int_{f >= t} f dx = level

From samples, f is the kernel estimate of `density.py`. The shortest interval that holds enough samples, the usual
estimator, has edges that fluctuate as n^(-1/3); the threshold of a smooth density does better (n^(-4/9)), and it may
find several intervals. A gap or an island is believed if it exceeds three standard deviations of the estimate,
var f = f R(K) / (n h); otherwise it is noise and is closed or dropped.
"""

from __future__ import annotations

import numbers
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import DomainError, ShapeError
from ..results import Contours, Hpdi, Interval
from .density import ROUGHNESS, density_1d, density_2d
from .weighted import checked, effective_size

__all__ = ["hpdi", "hpdi_2d", "hpdi_of_density"]

BELIEVED = 3.0
BATCHES = 20


def hpdi(
    x: Any,
    level: float,
    weights: Any = None,
    *,
    lower: float | None = None,
    upper: float | None = None,
    support: tuple[float, float] = (-np.inf, np.inf),
    n_eff: float | None = None,
) -> Hpdi:
    """The HPDI of a sample.

    Args:
        x: (n,) values, in the order in which a chain drew them.
        level: probability inside, in (0, 1).
        weights: (n,) weights >= 0.
        lower: ask under the condition x >= lower; an interval that ends there is open.
        upper: likewise.
        support: hard ends of the distribution itself (a parameter's bounds).
        n_eff: effective number of independent values; Kish's if None. Give the chain's.

    Raises:
        DomainError: a level outside (0, 1), or a condition that less than 1 % of the sample meets.
        ShapeError: values that are no sample.
    """
    _check(level)
    values, w = checked(x, weights)
    low, high = -np.inf if lower is None else lower, np.inf if upper is None else upper
    inside = (values >= low) & (values <= high)
    if not low < high or w[inside].sum() < 0.01:
        raise DomainError(f"[{low:g}, {high:g}] holds {w[inside].sum():.2%} of the sample; HPDI needs at least 1 %")
    size = effective_size(w) if n_eff is None else n_eff
    found = _from_sample(values, w, level, (low, high), support, size)
    return replace(found, uncertainty=_uncertainty(found, values, w, level, (low, high), support, size))


def _check(level: float) -> None:
    if not (isinstance(level, numbers.Real) and 0 < level < 1):
        raise DomainError(f"level {level!r} must be a number strictly between 0 and 1, such as 0.6827 or 0.95")


def _from_sample(
    x: np.ndarray,
    w: np.ndarray,
    level: float,
    window: tuple[float, float],
    support: tuple[float, float],
    size: float,
) -> Hpdi:
    """The density of the whole sample, cut to the window: so its edges are no edges of the estimate."""
    grid, f, h = density_1d(x, w, support=support, n_eff=size)
    ends = np.clip(window, grid[0], grid[-1])
    new = np.concatenate([[ends[0]], grid[(grid > ends[0]) & (grid < ends[1])], [ends[1]]])
    g = np.interp(new, grid, f)
    share = np.trapezoid(g, new)
    deviation = np.sqrt(ROUGHNESS * np.maximum(g, 0) / (size * h)) / share
    return _region(new, g / share, level, deviation, (max(window[0], support[0]), min(window[1], support[1])))


def hpdi_of_density(x: Any, log_density: Any, level: float) -> Hpdi:
    """The HPDI of a tabulated density, by a cubic spline of its logarithm; deterministic.

    Args:
        x: (m,) ascending, m >= 4; the density is taken to be 0 outside.
        log_density: (m,) up to a constant, finite.
        level: probability inside, in (0, 1).

    Raises:
        ShapeError: a table that does not ascend or is not finite.
        DomainError: a level outside (0, 1).
    """
    from scipy.interpolate import CubicSpline

    _check(level)
    points, values = np.asarray(x, float), np.asarray(log_density, float)
    if points.ndim != 1 or points.shape != values.shape or len(points) < 4 or not (np.diff(points) > 0).all():
        raise ShapeError(f"a tabulated density needs >= 4 ascending points, got {points.shape} and {values.shape}")
    if not np.isfinite([points, values]).all():
        raise ShapeError("a tabulated log-density must be finite; leave out the points where the density vanishes")
    fine = np.linspace(points[0], points[-1], 65537)
    g = CubicSpline(points, values)(fine)
    f = np.exp(g - g.max())
    return _region(fine, f / np.trapezoid(f, fine), level, np.zeros(len(fine)), (points[0], points[-1]))


def _region(x: np.ndarray, f: np.ndarray, level: float, deviation: np.ndarray, limits: tuple[float, float]) -> Hpdi:
    """Intervals of the piecewise linear density f above the threshold at which they hold `level`; more than that where
    a gap closes just there, or on a plateau.
    """
    below = np.concatenate([[0.0], np.cumsum(0.5 * (f[1:] + f[:-1]) * np.diff(x))])
    low, high = 0.0, float(f.max())
    for _ in range(60):
        t = 0.5 * (low + high)
        # What noise adds or takes away counts: the intervals that are told must hold the level, not the set {f >= t}.
        inside = sum(_mass(x, f, below, right) - _mass(x, f, below, left) for left, right in _edges(x, f, t, deviation))
        low, high = (t, high) if inside > level else (low, t)
    return Hpdi(
        level,
        tuple(
            Interval(left, right, open_low=bool(left <= limits[0]), open_high=bool(right >= limits[1]))
            for left, right in _edges(x, f, low, deviation)
        ),
    )


def _edges(x: np.ndarray, f: np.ndarray, t: float, deviation: np.ndarray) -> list[tuple[float, float]]:
    """Where f >= t, without the gaps and islands that noise makes."""
    believed = BELIEVED * float(deviation[np.argmin(np.abs(f - t))])
    merged: list[list[int]] = []
    for a, b in _pieces(f >= t):
        if merged and t - f[merged[-1][1] : a + 1].min() <= believed:
            merged[-1][1] = b
        else:
            merged.append([a, b])
    kept = [[a, b] for a, b in merged if f[a : b + 1].max() - t > believed] or [max(merged, key=lambda p: p[1] - p[0])]
    return [
        (
            float(x[a] if a == 0 else np.interp(t, f[[a - 1, a]], x[[a - 1, a]])),
            float(x[b] if b == len(x) - 1 else np.interp(t, f[[b + 1, b]], x[[b + 1, b]])),
        )
        for a, b in kept
    ]


def _mass(x: np.ndarray, f: np.ndarray, below: np.ndarray, at: float) -> float:
    """Integral of the piecewise linear f from x[0] to `at`; `below` holds it at the points."""
    i = min(max(int(np.searchsorted(x, at)) - 1, 0), len(x) - 2)
    return float(below[i] + 0.5 * (f[i] + np.interp(at, x[i : i + 2], f[i : i + 2])) * (at - x[i]))


def _pieces(above: np.ndarray) -> np.ndarray:
    """(k, 2) first and last index of each run of True."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], above, [False]]).astype(int)))
    return change.reshape(-1, 2) - [0, 1]


def _uncertainty(
    found: Hpdi,
    x: np.ndarray,
    w: np.ndarray,
    level: float,
    window: tuple[float, float],
    support: tuple[float, float],
    size: float,
) -> tuple[tuple[float, float], ...]:
    """Standard errors of the edges: the jackknife over consecutive batches, each left out in turn.

        se^2 = (k - 1) / k * sum_j (edge without batch j - their mean)^2

    It knows nothing of bias: far edges of a long tail lie further in than it says. A batch alone would be smoothed more
    than the sample is, and its far edges would hardly move. Parts whose region falls into another number of intervals
    are left out; nan if fewer than five remain.
    """
    edges = []
    for part in np.array_split(np.arange(len(x)), BATCHES):
        v, u = np.delete(x, part), np.delete(w, part)
        if len(part) < 50 or u[(v >= window[0]) & (v <= window[1])].sum() <= 0.005 * u.sum():
            continue
        rest = _from_sample(v, u / u.sum(), level, window, support, max(size * (1 - 1 / BATCHES), 2.0))
        if len(rest.intervals) == len(found.intervals):
            edges.append([(i.low, i.high) for i in rest.intervals])
    if len(edges) < 5:
        return tuple((float("nan"), float("nan")) for _ in found.intervals)
    spread = np.std(edges, axis=0) * np.sqrt(BATCHES - 1)
    return tuple((float(a), float(b)) for a, b in spread)


def hpdi_2d(x: Any, y: Any, levels: Any, weights: Any = None, *, n_eff: float | None = None) -> Contours:
    """Regions of highest density in the plane: the density on a grid, and the height of the contour of each level.

    Args:
        x: (n,) values.
        y: (n,) values.
        levels: probabilities inside, each in (0, 1).
        weights: (n,) weights >= 0.
        n_eff: effective number of independent points; Kish's if None.

    Raises:
        DomainError: a level outside (0, 1).
        ShapeError: samples that do not fit, or lie on a line.
    """
    chosen = tuple(float(v) for v in np.atleast_1d(levels))
    for level in chosen:
        _check(level)
    if np.shape(x) != np.shape(y):
        raise ShapeError(f"x and y must have one shape, got {np.shape(x)} and {np.shape(y)}")
    a, b, f = density_2d(x, y, weights, n_eff=n_eff)
    height = np.sort(f.ravel())[::-1]
    mass = np.cumsum(height) / height.sum()
    thresholds = tuple(float(np.interp(level, mass, height)) for level in chosen)
    return Contours(chosen, thresholds, a, b, f)
