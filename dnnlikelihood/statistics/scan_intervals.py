r"""Confidence intervals of one parameter from a scan with several valleys: disjoint pieces, edges refined.

With t(x) = 2 (max logpdf - scan(x)) below its threshold inside, each round adds points where the interpolated curve
crosses a threshold and at the vertices of the parabolas through its local minima, which a coarse scan may have stepped
over, until the edges move by less than 1e-4 of the range that the intervals cover. New points of a profiled scan climb
from what their neighbours on both sides found, so that a point between two valleys tries both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import NotConverged
from ..protocols import LogDensity
from ..results import Fit, Interval, ProfileScan
from .profile import limits, maximum
from .teststats import interval, threshold
from .valleys import held_maxima

__all__ = ["scan_intervals"]

ROUNDS = 12
SETTLED = 1e-4
SIDES = 3
"""Neighbours on each side whose solutions a new point tries."""
TOLERANCE = 1e-4
MERGED = 1e-9
"""Points nearer than this share of the range are one."""


def scan_intervals(
    density: LogDensity, scan: ProfileScan, levels: Sequence[float], *, frozen: bool = False
) -> tuple[dict[float, tuple[Interval, ...]], ProfileScan]:
    """Where t stays below the threshold of each level, and the scan with the points that were added.

    Args:
        density: what was scanned.
        scan: of one parameter, at two points or more.
        levels: of confidence.
        frozen: whether the others are frozen, as `frozen_scan` does, not profiled.

    Returns:
        level -> intervals in ascending order; those that end where the scan ends are open. And the finer scan.

    Raises:
        NotConverged: the edges did not settle; `evidence` is the scan.
    """
    scan = _defined(scan)
    edges: np.ndarray | None = None
    depth = np.inf
    for _ in range(ROUNDS):
        new = np.concatenate([_crossings(scan, levels), _vertices(scan, levels)])
        scan = _with_points(density, scan, new, frozen=frozen)
        found = {level: _intervals(scan, level) for level in levels}
        before, edges = edges, np.array([[i.low, i.high] for level in levels for i in found[level]]).ravel()
        if before is not None and len(before) == len(edges):
            still = np.abs(edges - before).max() <= SETTLED * np.ptp(edges)
            if still and abs(depth - _depth(scan)) < SETTLED:
                return found, scan
        depth = _depth(scan)
    raise NotConverged(f"the intervals of {scan.names[0]!r} did not settle; look at the scan (evidence)", scan)


def _defined(scan: ProfileScan) -> ProfileScan:
    """Without the points where the density is not defined."""
    good = np.isfinite(scan.profiled_logpdf)
    if good.sum() < 2:
        raise NotConverged(f"the scan of {scan.names[0]!r} has {good.sum()} points that could be answered", scan)
    return _of(scan, scan.points[good], scan.profiled_logpdf[good], scan.theta[good], scan.status[good])


def _of(scan: ProfileScan, points: np.ndarray, value: np.ndarray, theta: np.ndarray, status: np.ndarray) -> ProfileScan:
    return ProfileScan(scan.names, points, value, theta, status, scan.bestfit)


def _intervals(scan: ProfileScan, level: float) -> tuple[Interval, ...]:
    return interval(scan.points[:, 0], scan.tmu, float(scan.bestfit.theta[0, scan.columns[0]]), level)


def _crossings(scan: ProfileScan, levels: Sequence[float]) -> np.ndarray:
    """Where the interpolated curve crosses a threshold."""
    x = scan.points[:, 0]
    edges = [e for level in levels for i in _intervals(scan, level) for e in (i.low, i.high)]
    return np.array([e for e in edges if x[0] < e < x[-1]])


def _depth(scan: ProfileScan) -> float:
    """The sum of t over its local minima: what vertices may still lower."""
    t = scan.tmu
    return float(t[1:-1][(t[1:-1] < t[:-2]) & (t[1:-1] <= t[2:])].sum())


def _vertices(scan: ProfileScan, levels: Sequence[float]) -> np.ndarray:
    """Vertices of the parabolas through local minima that lie above a threshold, where a valley may hide."""
    x, t = scan.points[:, 0], scan.tmu
    low = np.flatnonzero((t[1:-1] < t[:-2]) & (t[1:-1] <= t[2:])) + 1
    low = low[t[low] > min(threshold(level) for level in levels)]
    a, b = x[low] - x[low - 1], x[low] - x[low + 1]
    rise, fall = t[low] - t[low + 1], t[low] - t[low - 1]
    denominator = a * rise - b * fall
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = x[low] - 0.5 * (a**2 * rise - b**2 * fall) / denominator
    return vertex[np.isfinite(vertex) & (vertex > x[low - 1]) & (vertex < x[low + 1])]


def _with_points(density: LogDensity, scan: ProfileScan, new: np.ndarray, *, frozen: bool) -> ProfileScan:
    """The scan and new points within its range, in order."""
    x = scan.points[:, 0]
    new = np.unique(new)
    apart = MERGED * np.ptp(x)
    new = new[(np.abs(new[:, None] - x).min(axis=1) > apart)]
    if not len(new):
        return scan
    column = scan.columns[0]
    if frozen:
        theta = np.tile(scan.theta[0], (len(new), 1))
        theta[:, column] = new
        value = density.logpdf(theta)
        status = np.where(np.isfinite(value), "converged", "outside").astype("<U10")
    else:
        place = np.searchsorted(x, new)
        near = np.clip(place[:, None] + np.arange(-SIDES, SIDES), 0, len(x) - 1)
        offered = scan.theta[near].copy()
        offered[:, :, column] = new[:, None]
        held = np.zeros((len(new), scan.theta.shape[1]), bool)
        held[:, column] = True
        fit = held_maxima(density, offered, held, tried=2 * SIDES, tolerance=TOLERANCE)
        theta, value, status = fit.theta, fit.value, fit.status
    good = np.isfinite(value)
    order = np.argsort(np.concatenate([x, new[good]]), kind="stable")
    joined = _of(
        scan,
        np.concatenate([x, new[good]])[order, None],
        np.concatenate([scan.profiled_logpdf, value[good]])[order],
        np.concatenate([scan.theta, theta[good]])[order],
        np.concatenate([scan.status, status[good]])[order],
    )
    return joined if frozen else _raised(density, joined)


def _raised(density: LogDensity, scan: ProfileScan) -> ProfileScan:
    """With the best fit that a point of the scan leads to, should it lie higher than the one known."""
    top = int(np.argmax(scan.profiled_logpdf))
    if scan.profiled_logpdf[top] <= scan.bestfit.value[0] + density.rounding:
        return scan
    better: Fit = maximum(density, scan.theta[[top]])
    low, high = limits(density)
    inside = ((better.theta >= low) & (better.theta <= high)).all()
    return (
        ProfileScan(scan.names, scan.points, scan.profiled_logpdf, scan.theta, scan.status, better) if inside else scan
    )
