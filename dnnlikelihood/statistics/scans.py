r"""Scans of one or two parameters of a density with several valleys, the others frozen or profiled.

    frozen      f(x) = logpdf(x, others at a stated point)
    profiled    f(x) = max over the others of logpdf(x, others)

A profiled scan starts on a coarse grid, where every point climbs from every known valley, moved to it with and without
the valley's tangent, and keeps the highest. Points then try what their neighbours found, until nobody gains: valleys
spread over the grid as far as they win. Finer grids follow, each between the last one's points: a point begins at the
interpolation of its neighbours' solutions, or at the best of them where they lie in different valleys, and needs two or
three steps with a neighbour's curvature (`polish`). So a grid of 300 x 300 costs little more than its evaluations.

What is a valley where one parameter is held need not be one of the whole density, and then no known valley leads there.
So a few points of the first grid, its corners among them, also descend from starts of their own (`multistart`), and
neighbours carry what they find; with `search="multistart"` every point of the first grid does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from ..errors import ConfigError, DomainError, ParameterError, ShapeError
from ..progress import progress_bar
from ..protocols import LogDensity
from ..results import Fit, ProfileScan, Valleys
from .curvature import Dense
from .multistart import multistart_maxima
from .polish import polish
from .profile import limits, maximum
from .valleys import climb, held_maxima, valleys

__all__ = ["Search", "frozen_scan", "profiled_scan"]

Search = Literal["valleys", "multistart"]
"""Which points of a first grid have starts of their own, besides the known valleys: a few, or all."""
COARSE = 25
"""Points of the first grid along each of two axes."""
TRIED = 6
"""Starts that a point of the first grid climbs from: the best of those that the valleys offer."""
SCOUTS = 5
"""Points along each axis of the first grid that have starts of their own in any case."""
PROMISING = 5.0
"""A neighbour's solution is tried where, moved over, it lies at most so many nats below the point's own."""
SAME = 1e-3
"""Of the spread of all solutions: two that are nearer are one."""
JUMP = 4.0
"""Usual steps from a neighbour's solution beyond which, on finer grids, it lies in another valley."""
CURVED = 3000
"""Points of a grid that have curvatures of their own; finer grids borrow those of the nearest."""
TOLERANCE = 1e-3
"""Newton decrement of a scan, in standard deviations: 5e-7 nats."""


def _axes(density: LogDensity, names: str | Sequence[str], axes: Any) -> tuple[tuple[str, ...], list[np.ndarray]]:
    labels = (names,) if isinstance(names, str) else tuple(names)
    if len(labels) not in (1, 2) or len(set(labels)) < len(labels):
        raise ParameterError(f"a scan is of one parameter or two different ones, not of {list(labels)}")
    plain = np.isscalar(axes) or (len(labels) == 1 and not (len(axes) and np.ndim(axes[0])))
    given = [axes] if plain else list(axes)
    values = [np.asarray(a, float) for a in given]
    ascending = all(a.ndim == 1 and len(a) > 1 and np.isfinite(a).all() and (np.diff(a) > 0).all() for a in values)
    if len(values) != len(labels) or not ascending:
        raise ShapeError(f"each of {list(labels)} needs its own ascending values, at least two")
    columns = density.parameters.indices(labels)
    lower, upper = limits(density)
    for label, column, a in zip(labels, columns, values, strict=True):
        if a[0] < lower[column] or a[-1] > upper[column]:
            raise ParameterError(
                f"the scan of {label!r} from {a[0]:g} to {a[-1]:g} leaves its range [{lower[column]:g}, "
                f"{upper[column]:g}]; stay inside"
            )
    return labels, values


def _grid(axes: Sequence[np.ndarray]) -> np.ndarray:
    """(n, k) all combinations, the last axis running fastest."""
    return np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)


def frozen_scan(density: LogDensity, names: str | Sequence[str], axes: Any, at: Any) -> ProfileScan:
    """The density along one or two parameters, all others at `at`.

    Args:
        density: any LogDensity with a gradient.
        names: one or two scanned parameters.
        axes: (n,) ascending values of the one, or a pair of such arrays.
        at: (d,) point, or mapping from every name to its value: where the others are frozen.

    Returns:
        ProfileScan over the grid (all combinations, the last axis fastest); its best fit is the highest point of the
        frozen plane. Where the density is not defined, the status is "outside".

    Raises:
        DomainError: it is defined nowhere on the scan.
        ParameterError: the others are frozen out of their ranges.
    """
    labels, values = _axes(density, names, axes)
    columns, points = density.parameters.indices(labels), _grid(values)
    theta = np.tile(density.points(at)[0], (len(points), 1))
    theta[:, columns] = points
    _check_frozen(density, labels, theta[0])
    value = density.logpdf(theta)
    _answered(value, labels, points)
    status = np.where(np.isfinite(value), "converged", "outside")
    low, high = (b.copy() for b in limits(density))
    start = theta[np.argsort(-value)[:TRIED]]
    box = np.tile(start[0], (len(start), 1))
    lower, upper = box.copy(), box.copy()
    lower[:, columns], upper[:, columns] = low[columns], high[columns]
    fit = climb(density, start, lower, upper)
    return ProfileScan(labels, points, value, theta, status, _best(fit))


def _check_frozen(density: LogDensity, labels: Sequence[str], point: np.ndarray) -> None:
    """Raise ParameterError if a parameter that is not scanned lies outside its range."""
    for name, x, low, high in zip(density.parameters.names, point, *limits(density), strict=True):
        if name not in labels and not low <= x <= high:
            raise ParameterError(f"{name!r} is frozen at {x:g}, outside its range [{low:g}, {high:g}]")


def _answered(value: np.ndarray, labels: Sequence[str], points: np.ndarray) -> None:
    """Raise DomainError if there is no number anywhere on a scan."""
    if not np.isfinite(value).any():
        ends = zip(labels, points.min(axis=0), points.max(axis=0), strict=True)
        where = ", ".join(f"{label} from {low:g} to {high:g}" for label, low, high in ends)
        raise DomainError(f"the density is defined nowhere on the scan of {where}; a surrogate ends with its domain")


def _best(fit: Fit) -> Fit:
    """The highest row alone."""
    return fit.take(np.array([np.argmax(fit.value)]))


def profiled_scan(
    density: LogDensity,
    names: str | Sequence[str],
    axes: Any,
    *,
    known: Valleys | None = None,
    search: Search = "valleys",
    n_starts: int = 64,
    seed: int = 1,
    progress: bool = True,
) -> ProfileScan:
    """The highest log-density over all other parameters, along one or two.

    Args:
        density: any LogDensity with a gradient.
        names: one or two scanned parameters.
        axes: (n,) ascending values of the one, or a pair of such arrays.
        known: valleys of the density; searched for if None.
        search: "valleys", or "multistart": every point of the first grid has starts of its own, not only a few.
        n_starts: climbs of the search for valleys; starts of each point that has its own.
        seed: of both.
        progress: show a bar on a terminal.

    Returns:
        ProfileScan over the grid (all combinations, the last axis fastest), with the highest maximum known as best fit.

    Raises:
        ConfigError: no such search, or no starts.
        DomainError: the density is defined nowhere on the scan.
        ParameterError: names or ranges that cannot be scanned.
        ShapeError: values that do not ascend.
    """
    if search not in get_args(Search):
        raise ConfigError(f"search must be one of {', '.join(map(repr, get_args(Search)))}, got {search!r}")
    labels, values = _axes(density, names, axes)
    if not isinstance(n_starts, int | np.integer) or n_starts < 1:
        raise ConfigError(f"n_starts of a scan must be a whole number >= 1, got {n_starts!r}")
    known = known or valleys(density, n_starts, seed=seed)
    if len(labels) == len(density.parameters):
        # Nothing is left to be maximised.
        plain = frozen_scan(density, labels, axes, known.theta[0])
        return replace(plain, bestfit=_best_of(maximum(density, known.theta[:1]), plain.bestfit))
    scan = _Grid(density, labels, values)
    scouts = scan.nodes() if search == "multistart" else scan.nodes(SCOUTS)
    own = scan.descend(scouts, known, n_starts, seed, progress=progress)
    with progress_bar(f"profile of {', '.join(labels)}", int(np.prod([len(a) for a in values])), shown=progress) as on:
        scan.begin(known, scouts, own, on)
        while scan.refine(on):
            pass
    best = maximum(density, known.theta[:1])
    top = int(np.argmax(scan.value))
    if scan.value.ravel()[top] > best.value[0] + density.rounding:
        best = _best_of(best, maximum(density, scan.theta.reshape(-1, scan.theta.shape[-1])[[top]]))
    return ProfileScan(
        labels,
        _grid(values),
        scan.value.ravel(),
        scan.theta.reshape(-1, scan.theta.shape[-1]),
        scan.status.ravel(),
        best,
    )


def _best_of(a: Fit, b: Fit) -> Fit:
    return a if a.value[0] >= b.value[0] else b


class _Grid:
    """Solutions on the nodes of a grid, filled from coarse to fine."""

    def __init__(self, density: LogDensity, labels: Sequence[str], axes: list[np.ndarray]) -> None:
        self.density, self.labels, self.axes = density, labels, axes
        self.columns = density.parameters.indices(labels)
        self.shape = tuple(len(a) for a in axes)
        self.theta = np.full((*self.shape, len(density.parameters)), np.nan)
        self.value = np.full(self.shape, -np.inf)
        self.status = np.full(self.shape, "outside", "<U10")
        self.lower, self.upper = limits(density)
        self.free = np.setdiff1d(np.arange(len(self.lower)), self.columns)
        self.curved: list[np.ndarray] = []
        """Lines of the grid whose points have curvatures."""
        self.curvature = np.zeros((0, len(self.free), len(self.free)))
        self.stride = 1 if len(axes) == 1 else 2 ** max(0, int(np.ceil(np.log2(max(self.shape) / COARSE))))

    def _lines(self, stride: int) -> list[np.ndarray]:
        """Indices of a coarser grid along each axis; the last point always belongs to it."""
        return [np.unique(np.append(np.arange(0, n, stride), n - 1)) for n in self.shape]

    def _at(self, nodes: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Points (..., d) moved to the nodes (n, k): their scanned coordinates set."""
        moved = np.array(theta, float)
        for axis, column, index in zip(self.axes, self.columns, nodes.T, strict=True):
            moved[..., column] = axis[index].reshape(-1, *[1] * (moved.ndim - 2))
        return moved

    def _keep(self, nodes: np.ndarray, fit: Fit) -> np.ndarray:
        """Take over what is higher than what the nodes have; which were improved."""
        where = tuple(nodes.T)
        better = fit.value > self.value[where] + self.density.rounding
        chosen = tuple(nodes[better].T)
        self.theta[chosen], self.value[chosen] = fit.theta[better], fit.value[better]
        self.status[chosen] = fit.status[better]
        return better

    def _fit(self, start: np.ndarray) -> Fit:
        lower, upper = np.tile(self.lower, (len(start), 1)), np.tile(self.upper, (len(start), 1))
        lower[:, self.columns] = upper[:, self.columns] = start[:, self.columns]
        return climb(self.density, start, lower, upper, tolerance=TOLERANCE)

    def nodes(self, most: int | None = None) -> np.ndarray:
        """(n, k) indices of all points of the grid that is solved now, or of at most so many along each axis."""
        lines = self._lines(self.stride)
        if most is not None:
            lines = [line[np.unique(np.linspace(0, len(line) - 1, most).round().astype(int))] for line in lines]
        return _grid([line.astype(float) for line in lines]).astype(int)

    def descend(self, nodes: np.ndarray, known: Valleys, n_starts: int, seed: int, *, progress: bool) -> Fit:
        """Solutions at some nodes from starts of each one's own."""
        points = np.stack([axis[index] for axis, index in zip(self.axes, nodes.T, strict=True)], axis=1)
        options: dict[str, Any] = {"seed": seed, "tolerance": TOLERANCE, "progress": progress}
        options["label"] = f"descents in {', '.join(self.labels)}"
        return multistart_maxima(self.density, points, self.columns, known.theta[0], n_starts, **options)

    def begin(self, known: Valleys, scouts: np.ndarray, own: Fit, advance: Any) -> None:
        """Solve the first grid from every valley, take over what scouts found, then let neighbours teach each other."""
        nodes = self.nodes()
        offered = np.concatenate([np.tile(known.theta, (len(nodes), 1, 1)), self._tangents(nodes, known)], axis=1)
        held = np.zeros((len(nodes), len(self.lower)), bool)
        held[:, self.columns] = True
        self._keep(nodes, held_maxima(self.density, self._at(nodes, offered), held, TRIED, tolerance=TOLERANCE))
        self._keep(scouts, own)
        _answered(self.value, self.labels, _grid(self.axes))
        self._spread(nodes)
        advance(len(nodes))

    def _tangents(self, nodes: np.ndarray, known: Valleys) -> np.ndarray:
        """(n, m, d) each valley moved to each node along d others / d scanned = -K_oo^-1 K_os."""
        d = len(self.lower)
        _, _, hess = self.density.logpdf_grad_hess(known.theta)
        free = np.ones((len(hess), d), bool)
        free[:, self.columns] = False
        curvature, moved = Dense(-hess), self._at(nodes, np.tile(known.theta, (len(nodes), 1, 1)))
        for column in self.columns:
            unit = np.zeros((len(hess), d))
            unit[:, column] = 1.0
            along = curvature.solve(-curvature.times(unit, np.zeros(len(hess))), free, np.zeros(len(hess))).p
            moved += (moved[:, :, column] - known.theta[:, column])[:, :, None] * along
        return moved

    def _spread(self, nodes: np.ndarray, least: float = SAME) -> None:
        """Every node tries its neighbours' solutions that are at least so far from its own, while that improves any.

        A round carries a valley one point further: as many are enough as lie between opposite corners of the grid.
        """
        lines = self._lines_of(nodes)
        active = nodes
        for _ in range(sum(len(line) for line in lines)):
            improved = []
            for near in self._neighbours(active, lines):
                known = np.isfinite(self.value[tuple(near.T)])
                start = self._at(active[known], self.theta[tuple(near[known].T)])
                here = tuple(active[known].T)
                promising = self.density.logpdf(start) > self.value[here] - PROMISING
                # A node without a solution, whose theta is NaN, is far from every other.
                promising &= ~(np.abs(start - self.theta[here]) <= least * self._scale()).all(axis=1)
                rows = active[known][promising]
                if len(rows):
                    improved.append(rows[self._keep(rows, self._fit(start[promising]))])
            changed = np.unique(np.concatenate(improved), axis=0) if improved else nodes[:0]
            if not len(changed):
                break
            active = np.unique(np.concatenate(list(self._neighbours(changed, lines))), axis=0)

    def _scale(self) -> np.ndarray:
        """(d,) spread of the solutions: what counts as another one."""
        solved = self.theta[np.isfinite(self.value)]
        return np.maximum(solved.std(axis=0), 1e-12)

    def _lines_of(self, nodes: np.ndarray) -> list[np.ndarray]:
        return [np.unique(nodes[:, k]) for k in range(nodes.shape[1])]

    def _neighbours(self, nodes: np.ndarray, lines: list[np.ndarray]) -> list[np.ndarray]:
        """For each direction, the next node along it, or the node itself at the end of a line."""
        out = []
        for k, line in enumerate(lines):
            place = np.searchsorted(line, nodes[:, k])
            for step in (-1, 1):
                near = nodes.copy()
                near[:, k] = line[np.clip(place + step, 0, len(line) - 1)]
                out.append(near)
        return out

    def refine(self, advance: Any) -> bool:
        """Solve the grid of half the stride; False if there is none."""
        if self.stride == 1:
            return False
        coarse, self.stride = self._lines(self.stride), self.stride // 2
        nodes = self.nodes()
        new = nodes[~np.logical_and.reduce([np.isin(nodes[:, k], line) for k, line in enumerate(coarse)])]
        if not self.curved or np.prod([len(line) for line in coarse]) <= CURVED:
            self._bend(coarse)
        for i in range(0, len(new), 4096):
            part = new[i : i + 4096]
            start = self._interpolated(part, coarse)
            near = polish(self.density, start, self.free, self._curvature_near(part), self.lower, self.upper, TOLERANCE)
            self._keep(part[near.converged], near.take(near.converged))
            far = ~near.converged
            if far.any():
                self._keep(part[far], self._fit(start[far]))
            advance(len(part))
        self._spread(new, max(SAME, JUMP * self._usual_step(new)))
        return True

    def _bend(self, lines: list[np.ndarray]) -> None:
        """Curvatures at the solved points of a grid; those without a number get that of a unit normal density."""
        theta = self.theta[np.ix_(*lines)].reshape(-1, len(self.lower))
        known = np.isfinite(theta).all(axis=1)
        _, _, hess = self.density.logpdf_grad_hess(theta[known])
        self.curved, self.curvature = lines, np.tile(np.eye(len(self.free)), (len(theta), 1, 1))
        self.curvature[known] = -hess[:, self.free][:, :, self.free]

    def _curvature_near(self, nodes: np.ndarray) -> np.ndarray:
        """(n, k, k) of the nearest point that has one."""
        place = np.zeros(len(nodes), int)
        for line, index in zip(self.curved, nodes.T, strict=True):
            right = np.clip(np.searchsorted(line, index), 1, len(line) - 1)
            nearest = right - (index - line[right - 1] <= line[right] - index)
            place = place * len(line) + nearest
        return self.curvature[place]

    def _usual_step(self, nodes: np.ndarray) -> float:
        """Median distance to the neighbours' solutions, relative to the spread of all: that within a valley."""
        near = np.concatenate(list(self._neighbours(nodes, self._lines_of(nodes))))
        own = np.tile(nodes, (len(near) // len(nodes), 1))
        moved = self._at(own, self.theta[tuple(near.T)])
        return float(np.nanmedian((np.abs(moved - self.theta[tuple(own.T)]) / self._scale()).max(axis=1)))

    def _interpolated(self, nodes: np.ndarray, lines: list[np.ndarray]) -> np.ndarray:
        """(n, d) the best start that the surrounding solved nodes offer: their interpolation, or one of them."""
        corners, weights = [nodes * 0], [np.ones(len(nodes))]
        for k, line in enumerate(lines):
            right = np.clip(np.searchsorted(line, nodes[:, k]), 1, len(line) - 1)
            low, high = line[right - 1], line[right]
            axis = self.axes[k]
            share = (axis[nodes[:, k]] - axis[low]) / (axis[high] - axis[low])
            sides = ((low, 1 - share), (high, share))
            corners = [np.concatenate([c[:, :k], s[:, None], c[:, k + 1 :]], axis=1) for c in corners for s, _ in sides]
            weights = [w * f for w in weights for _, f in sides]
        solved = np.stack([self.theta[tuple(c.T)] for c in corners], axis=1)
        with np.errstate(invalid="ignore"):
            middle = (np.stack(weights, axis=1)[:, :, None] * solved).sum(axis=1)
        offered = np.concatenate([middle[:, None], solved], axis=1)
        known = np.isfinite(offered).all(axis=2)
        offered = self._at(nodes, np.where(known[:, :, None], offered, 0.0))
        n, m, d = offered.shape
        value = np.where(known, self.density.logpdf(offered.reshape(-1, d)).reshape(n, m), -np.inf)
        return offered[np.arange(n), np.argmax(value, axis=1)]
