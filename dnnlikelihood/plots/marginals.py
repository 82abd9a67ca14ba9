"""One- and two-dimensional marginals of samples, with their regions of highest posterior density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..parameters import Parameter, ParameterSpace
from ..results import Hpdi, Samples
from ..statistics.hpdi import hpdi, hpdi_2d
from ..statistics.weighted import checked, quantile
from .arrays import finite, some
from .style import DASHES, bracket, colours, label, new, select, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["corner"]

SIGMAS = (0.6827, 0.9545, 0.9973)


@styled
def corner(
    samples: Mapping[str, Samples | Any],
    parameters: ParameterSpace,
    names: Sequence[str] | None = None,
    *,
    weights: Mapping[str, Any] | None = None,
    levels: Sequence[float] = SIGMAS,
    n_eff: Mapping[str, float] | None = None,
    bins: int = 50,
) -> Figure:
    """Marginals of one or more samples of the same parameters.

    On the diagonal, histograms of integral 1 with the edges of the HPDI of each level; below it, the contours of the
    two-dimensional HPD regions. The titles give the first level's HPDI.

    Args:
        samples: label ("truth", "surrogate") -> Samples, or (n, d) theta.
        parameters: the columns of theta.
        names: parameters to draw, in this order; all if None (at most 12).
        weights: label -> (n,) weights of the samples that have some.
        levels: up to three probabilities, dashed, dash-dotted and dotted.
        n_eff: label -> effective number of independent points, for the smoothing; Kish's if absent, and the verdict's
            of Samples.
        bins: of the histograms.

    Raises:
        ShapeError: no sample, more than 12 parameters, other shapes, values outside their parameter's bounds.
        ParameterError: an unknown name.
        DomainError: a level outside (0, 1).
    """
    some("samples", samples)
    columns, chosen = select(parameters, names)
    if len(chosen) > 12 or not 1 <= len(levels) <= len(DASHES):
        raise ShapeError(f"{len(chosen)} parameters and {len(levels)} levels; a corner shows up to 12 and 1 to 3")
    unknown = (set(weights or {}) | set(n_eff or {})) - set(samples)
    if unknown:
        raise ShapeError(f"weights or n_eff of {sorted(unknown)}, but there are only samples {list(samples)}")
    clouds = [
        _Cloud(name, given, parameters, columns, (weights or {}).get(name), (n_eff or {}).get(name))
        for name, given in samples.items()
    ]
    d = len(chosen)
    figure, axes, cell = _grid(d, len(clouds))
    ranges = [_range(p, [(c.theta[:, i], c.weights) for c in clouds]) for i, p in enumerate(chosen)]
    hues = colours(len(clouds))
    for i in range(d):
        edges = np.linspace(*ranges[i], bins + 1)
        regions = [_marginal(axes[i, i], c, i, chosen[i], edges, levels, h) for c, h in zip(clouds, hues, strict=True)]
        _title(axes[i, i], regions, hues, levels[0])
        for j in range(i):
            for cloud, hue in zip(clouds, hues, strict=True):
                _contours(axes[i, j], cloud, j, i, levels, hue)
        for j in range(d):
            _dress(axes[i, j], i, j, ranges, chosen, cell)
    _legend(figure, [c.name for c in clouds], hues, levels)
    return figure


def _grid(d: int, n_samples: int) -> tuple[Figure, np.ndarray, float]:
    """Square panels, and the side of one in inches; a single panel leaves room for the legend at its right."""
    cell = {1: 3.4, 2: 2.3}.get(d, 1.65)
    left, bottom, right, top = 0.7, 0.6, 2.4 if d == 1 else 0.15, 0.15 + 0.16 * n_samples
    gap = 0.07
    inner = cell * (d + gap * (d - 1))
    width, height = left + inner + right, bottom + inner + top
    figure = new(width, height, layout=None)
    axes = figure.subplots(d, d, squeeze=False)
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, wspace=gap, hspace=gap)
    return figure, axes, cell


class _Cloud:
    """The chosen columns of a sample, with weights that sum to 1."""

    def __init__(
        self, name: str, given: Any, parameters: ParameterSpace, columns: list[int], weights: Any, n_eff: float | None
    ) -> None:
        self.name = name
        self.sizes: np.ndarray | None = None
        if isinstance(given, Samples):
            if tuple(given.names) != parameters.names:
                raise ShapeError(f"{name} is a sample of other parameters, or in another order")
            self.sizes = given.verdict.ess[columns]
            given = given.theta
        self.theta = finite(name, given, None, len(parameters))[:, columns]
        _, self.weights = checked(self.theta[:, 0], weights)
        self.weighted = weights is not None
        self.given_size = n_eff

    def size(self, *columns: int) -> float | None:
        """Effective number of points for the marginal of some columns; None for Kish's."""
        if self.given_size is not None:
            return self.given_size
        if self.sizes is None or self.weighted:
            return None
        return float(min(self.sizes[list(columns)].min(), len(self.theta)))


def _range(parameter: Parameter, samples: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """From the lowest to the highest 0.05 % quantile of all samples, and a margin."""
    ends = np.array([quantile(x, [0.0005, 0.9995], w) for x, w in samples])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if not low < high:
        raise ShapeError(f"{parameter.name!r} is constant, {low:g}, in the sample: leave it out of the names to draw")
    margin = 0.1 * (high - low)
    return low - margin, high + margin


def _marginal(
    ax: Axes, cloud: _Cloud, i: int, parameter: Parameter, edges: np.ndarray, levels: Sequence[float], hue: Any
) -> Hpdi:
    """Histogram and HPDI edges; gives back the first level's HPDI."""
    x = cloud.theta[:, i]
    counts = np.histogram(x, edges, weights=cloud.weights)[0]
    ax.stairs(counts / np.diff(edges), edges, color=hue, lw=1.3)
    found = [hpdi(x, v, cloud.weights, support=parameter.bounds, n_eff=cloud.size(i)) for v in levels]
    for region, dashes in zip(found, DASHES, strict=False):
        for part in region.intervals:
            for edge in (part.low, part.high):
                ax.axvline(edge, color=hue, lw=0.9, ls=dashes)
    return found[0]


def _contours(ax: Axes, cloud: _Cloud, j: int, i: int, levels: Sequence[float], hue: Any) -> None:
    """Regions of parameters j (horizontal) and i (vertical)."""
    region = hpdi_2d(cloud.theta[:, j], cloud.theta[:, i], levels, cloud.weights, n_eff=cloud.size(i, j))
    order = np.argsort(region.thresholds)
    ax.contour(
        region.x,
        region.y,
        region.density.T,
        levels=np.array(region.thresholds)[order],
        linestyles=[DASHES[k] for k in order],
        colors=[hue],
        linewidths=1.1,
    )


def _title(ax: Axes, regions: list[Hpdi], hues: list[Any], level: float) -> None:
    """One line a sample, in its colour, from the top: the HPDI of the first level."""
    for k, (region, hue) in enumerate(zip(regions, hues, strict=True)):
        parts = r" $\cup$ ".join(bracket(p.low, p.high) for p in region.intervals)
        ax.annotate(
            f"{100 * level:.0f} % HPDI {parts}",
            (0.5, 1.0),
            xycoords="axes fraction",
            xytext=(0, 4 + 11 * (len(regions) - 1 - k)),
            textcoords="offset points",
            ha="center",
            color=hue,
            fontsize=9,
        )


def _dress(ax: Axes, i: int, j: int, ranges: list[tuple[float, float]], chosen: list[Parameter], cell: float) -> None:
    """Limits, and labels at the outer sides only."""
    from matplotlib.ticker import MaxNLocator

    if j > i:
        ax.set_axis_off()
        return
    last = i == len(chosen) - 1
    ax.set_xlim(ranges[j])
    ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], prune="both"))
    ax.tick_params(axis="x", labelbottom=last)
    if last:
        ax.set_xlabel(label(chosen[j]))
        ax.xaxis.set_label_coords(0.5, -0.29 / cell)
    if i == j:
        ax.set_ylim(bottom=0)
        ax.set_yticks([])
        ax.tick_params(axis="y", which="both", left=False, right=False)
        return
    ax.set_ylim(ranges[i])
    ax.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], prune="both"))
    ax.tick_params(axis="y", labelleft=j == 0)
    if j == 0:
        ax.set_ylabel(label(chosen[i]))
        ax.yaxis.set_label_coords(-0.43 / cell, 0.5)


def _legend(figure: Figure, names: list[str], hues: list[Any], levels: Sequence[float]) -> None:
    """In the empty upper right."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=h, lw=2.2) for h in hues]
    handles += [Line2D([], [], color="black", lw=1.2, ls=ls) for ls, _ in zip(DASHES, levels, strict=False)]
    entries = [*names, *(f"{100 * v:.4g} % HPD region" for v in levels)]
    top = figure.subplotpars.top
    figure.legend(
        handles, entries, loc="upper right", bbox_to_anchor=(0.995, top), fontsize=13 if len(figure.axes) > 4 else 10
    )
