"""Confidence intervals from t_mu curves whose scan range finds itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import NotConverged
from ..results import Interval, ProfileScan
from .teststats import interval, threshold

__all__ = ["scan_interval"]

ROUNDS = 12
SETTLED = 1e-4


def scan_interval(
    scan: Callable[[np.ndarray], ProfileScan],
    centre: float,
    sigma: float,
    limits: tuple[float, float],
    level: float,
) -> tuple[Interval, ...]:
    """Where t_mu is below its threshold.

    The range grows until t_mu crosses on both sides or the parameter's own range ends; points are added at the
    crossings until these move by less than 1e-4 of the width.

    Args:
        scan: profile at given points of one parameter.
        centre: its best fit.
        sigma: the scale of the first range.
        limits: the parameter's range.
        level: confidence level.

    Raises:
        NotConverged: fits failed, or the edges did not settle; `evidence` is the scan.
    """
    root = np.sqrt(threshold(level))
    reach = np.full(2, 1.3 * root * sigma)
    known, edges = scan(np.clip([centre], *limits)), None
    for _ in range(ROUNDS):
        ends = np.clip([centre - reach[0], centre + reach[1]], *limits)
        new = _unseen(np.linspace(ends[0], ends[1], 13) if edges is None else edges, known.points[:, 0])
        known = _joined(known, scan(new)) if len(new) else known
        if np.isin(known.status, ("outside", "iterations")).any():
            raise NotConverged(
                f"fits failed in the scan of {known.names[0]!r}: {sorted(set(known.status.tolist()))}", known
            )
        x, t = known.points[:, 0], known.tmu
        short = np.array([t[0] < root**2 and x[0] > limits[0], t[-1] < root**2 and x[-1] < limits[1]])
        if short.any():
            reach, edges = np.where(short, 2 * reach, reach), None
            continue
        found = interval(x, t, float(known.bestfit.theta[0, known.columns[0]]), level)
        previous, edges = edges, np.array([[p.low, p.high] for p in found]).ravel()
        same = previous is not None and len(previous) == len(edges)
        if same and np.abs(edges - previous).max() < SETTLED * (edges[-1] - edges[0]):
            return found
    raise NotConverged(f"the interval of {known.names[0]!r} did not settle; look at the scan (evidence)", known)


def _unseen(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The new points that are not among the old ones."""
    x = np.unique(new)
    return x[~np.isclose(x[:, None], old[None, :], rtol=0, atol=1e-12 * max(1.0, np.ptp(x))).any(axis=1)]


def _joined(a: ProfileScan, b: ProfileScan) -> ProfileScan:
    """Two scans of one parameter in order."""
    points = np.concatenate([a.points, b.points])
    order = np.argsort(points[:, 0], kind="stable")
    value, theta, status = (
        np.concatenate([getattr(a, n), getattr(b, n)])[order] for n in ("profiled_logpdf", "theta", "status")
    )
    best = a.bestfit if a.bestfit.value[0] >= b.bestfit.value[0] else b.bestfit
    return ProfileScan(a.names, points[order], value, theta, status, best)
