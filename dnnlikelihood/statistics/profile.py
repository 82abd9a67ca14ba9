r"""Profiles of a log-density: its maximum over all parameters but the scanned ones, for many points at once.

    profiled_logpdf(mu) = max over delta of logpdf(mu, delta),        t_mu = 2 (max logpdf - profiled_logpdf(mu))

Scanned parameters are coordinates held in place, so that a scan is one batch for `maximise_between_kinks`. A point
starts from the best fit moved along the profile's own tangent, d delta / d mu = -K_dd^-1 K_dmu, which is exact for a
Gaussian; afterwards it may try again from the solutions of its neighbours, which finds other valleys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DomainError, LikelihoodError, ParameterError, ShapeError
from ..priors import Prior
from ..protocols import LogDensity
from ..results import Fit, ProfileScan
from .blocks import blocks
from .curvature import Dense
from .maximise import FIELDS, maximise_between_kinks

__all__ = ["limits", "maximum", "profile", "standard_deviation", "without_prior"]

PROMISING = 0.5
"""A neighbour's solution is tried where, moved over, it lies at most so many nats below the point's own."""
BLOCK_BYTES = 2**27
"""Memory for the Hessians of one block of points."""


def limits(density: LogDensity) -> tuple[np.ndarray, np.ndarray]:
    """(d,), (d,): bounds of the parameters, narrowed by the ranges of the prior."""
    ranges = density.prior.columns(density.parameters)
    return np.maximum(density.parameters.lower, ranges.low), np.minimum(density.parameters.upper, ranges.high)


def _middle(density: LogDensity) -> np.ndarray:
    """(1, d) where to start: as known or declared, else means of priors, middles of ranges, 0 or a bound."""
    lower, upper = limits(density)
    known = density.known_points()
    if known is not None:
        starts = np.clip(known, lower, upper)
        # held in place or moved into a range, the best may lie beyond a domain
        best = 0 if np.isfinite(density.logpdf(starts[:1])[0]) else int(np.argmax(density.logpdf(starts)))
        return starts[[best]]
    prior = density.prior.columns(density.parameters)
    bounded = np.isfinite(lower) & np.isfinite(upper)
    with np.errstate(invalid="ignore"):
        middle = np.where(bounded, 0.5 * (lower + upper), np.clip(0.0, lower, upper))
    declared = np.array([np.nan if p.start is None else p.start for p in density.parameters])
    start = np.where(np.isnan(declared), np.where(prior.precision > 0, prior.mean, middle), declared)
    return np.clip(start, lower, upper)[None]


def _fit(
    density: LogDensity, start: np.ndarray, lower: np.ndarray, upper: np.ndarray, label: str = "", **options: Any
) -> Fit:
    """Fit a batch in blocks that fit into memory; `lower` and `upper` are (n, d)."""
    kinks = [p.kinks for p in density.parameters]
    d = start.shape[1]
    cells = min(64, int(np.prod([len(k) + 1 for k in kinks])))
    size = max(1, BLOCK_BYTES // (8 * d * d * cells))
    progress = options.pop("progress", False)
    options["noise"] = max(options.get("noise", 0.0), density.rounding)
    parts = [
        maximise_between_kinks(
            lambda theta, rows: density.logpdf_grad_hess(theta), start[b], lower[b], upper[b], kinks, **options
        )
        for b in blocks(len(start), size, label, progress=progress)
    ]
    return Fit(*(np.concatenate([getattr(p, name) for p in parts]) for name in FIELDS))


def maximum(density: LogDensity, starts: Any = None, **options: Any) -> Fit:
    """The maximum of `logpdf` over all parameters, as a Fit of one row: the highest of those found from the starts.

    Args:
        density: any LogDensity with a gradient.
        starts: (m, d) points to start from; the middle of priors and ranges if None.
        **options: `tolerance`, `noise`, `max_iterations` as in `maximise`.

    Raises:
        LikelihoodError: no gradient, or no start where the density is positive.
    """
    start = _middle(density) if starts is None else density.points(starts)
    lower, upper = limits(density)
    fit = _fit(density, start, np.tile(lower, (len(start), 1)), np.tile(upper, (len(start), 1)), **options)
    best = int(np.argmax(fit.value))
    if not np.isfinite(fit.value[best]):
        raise LikelihoodError(
            f"none of {len(start)} starts has a finite log-density (the first begins with {start[0][:5]}); "
            "pass starts=... inside the support"
        )
    return fit.take(np.array([best]))


def standard_deviation(density: LogDensity, theta: np.ndarray, column: int) -> float:
    """sqrt((K^-1)_ii) at one point (d,), K = -Hessian: the scale of a scan; 1 where K gives none."""
    _, _, hess = density.logpdf_grad_hess(theta)
    unit = np.zeros((1, hess.shape[1]))
    unit[0, column] = 1.0
    step = Dense(-hess).solve(unit, np.ones(unit.shape, bool), np.zeros(1))
    variance = float(step.p[0, column])
    return float(np.sqrt(variance)) if step.definite[0] and 0 < variance < np.inf else 1.0


def profile(
    density: LogDensity,
    names: str | Sequence[str],
    points: Any,
    *,
    starts: Any = None,
    bestfit: Fit | None = None,
    neighbours: int = 2,
    progress: bool = True,
    **options: Any,
) -> ProfileScan:
    """Maximise over all other parameters at each point.

    Args:
        density: any LogDensity with a gradient.
        names: the scanned parameters, one or several.
        points: (n, k) their values; (n,) for one name.
        starts: (m, d) further points whose other coordinates every scan point starts from as well.
        bestfit: the unconditional maximum if known already.
        neighbours: how many of the nearest points each point tries to improve on; 0 for none.
        progress: whether a long scan shows a bar.
        **options: `tolerance`, `noise`, `max_iterations` as in `maximise`.

    Raises:
        ParameterError: unknown or repeated names.
        ShapeError: points of another shape, or not finite.
        DomainError: points outside the bounds or the range of the prior.
    """
    labels = (names,) if isinstance(names, str) else tuple(names)
    grid = _grid(density, labels, points)
    columns = density.parameters.indices(labels)
    extra = None if starts is None else density.points(starts)
    best = bestfit or maximum(density, extra, **options)
    lower, upper = (np.tile(b, (len(grid), 1)) for b in limits(density))
    lower[:, columns] = upper[:, columns] = grid
    settings = {"progress": progress, "label": f"profile of {', '.join(labels)}", **options}
    fit = _fit(density, _starts(density, columns, grid, best), lower, upper, **settings)
    for point in () if extra is None else extra:
        _improve(density, fit, np.tile(point, (len(grid), 1)), np.arange(len(grid)), lower, upper, settings)
    for j in range(min(neighbours, len(grid) - 1)):
        near = _nearest(grid, j)
        moved = fit.theta[near].copy()
        moved[:, columns] = grid
        # Only where the neighbour's valley, taken over as it is, is not clearly worse than the point's own.
        promising = np.flatnonzero(density.logpdf(moved) > fit.value - PROMISING)
        other_valley = np.abs(moved - fit.theta)[promising].max(axis=1, initial=0) > 0
        rows = promising[other_valley]
        _improve(density, fit, moved[rows], rows, lower, upper, settings)
    if len(grid) and fit.value.max() > best.value[0] + 1e-9:
        best = maximum(density, fit.theta[[int(np.argmax(fit.value))]], **options)
    return ProfileScan(labels, grid, fit.value, fit.theta, fit.status, best)


def _improve(
    density: LogDensity,
    fit: Fit,
    start: np.ndarray,
    rows: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    settings: dict[str, Any],
) -> None:
    """Fit some rows again from other starts and keep what is higher."""
    if not len(rows):
        return
    other = _fit(density, start, lower[rows], upper[rows], **settings)
    better = other.value > fit.value[rows]
    for name in FIELDS:
        getattr(fit, name)[rows[better]] = getattr(other, name)[better]


def _grid(density: LogDensity, names: tuple[str, ...], points: Any) -> np.ndarray:
    """(n, k) scan points, checked."""
    if not names or len(set(names)) < len(names):
        raise ParameterError(f"scanned parameters {list(names)} must be at least one, and none twice")
    columns = density.parameters.indices(names)
    grid = np.asarray(points, float)
    grid = grid.reshape(-1, 1) if len(names) == 1 and grid.ndim < 2 else np.atleast_2d(grid)
    if grid.ndim != 2 or not len(grid) or grid.shape[1] != len(names) or not np.isfinite(grid).all():
        raise ShapeError(f"points have shape {np.shape(points)}, expected (n, {len(names)}) finite values of {names}")
    low, high = (b[columns] for b in limits(density))
    outside = (grid < low) | (grid > high)
    if outside.any():
        i, j = np.argwhere(outside)[0]
        raise DomainError(
            f"scan point {i}: {names[j]} = {grid[i, j]:g} is outside [{low[j]:g}, {high[j]:g}] "
            f"({outside.any(axis=1).sum()} such points); scan inside the bounds and the range of the prior"
        )
    return grid


def _starts(density: LogDensity, columns: np.ndarray, grid: np.ndarray, best: Fit) -> np.ndarray:
    """(n, d) the best fit moved along the profile's tangent, or only in the scanned coordinates if that is higher."""
    lower, upper = limits(density)
    _, _, hess = density.logpdf_grad_hess(best.theta)
    stay = np.tile(best.theta[0], (len(grid), 1))
    stay[:, columns] = grid
    move = stay - best.theta[0]
    free = np.ones((1, len(lower)), bool)
    free[:, columns] = False
    curvature = Dense(-hess)
    tangent = np.zeros((len(columns), len(lower)))
    for k, column in enumerate(columns):
        unit = np.zeros((1, len(lower)))
        unit[0, column] = 1.0
        tangent[k] = curvature.solve(-curvature.times(unit, np.zeros(1)), free, np.zeros(1)).p[0]
    follow = np.clip(stay + move[:, columns] @ tangent, lower, upper)
    return np.where((density.logpdf(follow) >= density.logpdf(stay))[:, None], follow, stay)


def _nearest(grid: np.ndarray, j: int) -> np.ndarray:
    """(n,) the (j + 1)-th nearest other point of each, coordinates scaled to their spread."""
    scaled = grid / np.maximum(grid.std(axis=0), 1e-300)
    distance = ((scaled[:, None, :] - scaled[None, :, :]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, j]


def without_prior(density: LogDensity, names: Sequence[str]) -> LogDensity:
    """The density divided by the normal priors of some parameters."""
    from ..composition import Composite, Quadratic, Term

    d = len(density.parameters)
    correction = Quadratic.zero(d).plus(density.prior.only(names), density.parameters, -1.0)
    rest = Prior({n: t for n, t in density.prior.terms.items() if n not in names})
    term = Term(density, np.eye(d), np.zeros(d))
    return Composite([term], density.parameters, rest, density.kind, correction)
