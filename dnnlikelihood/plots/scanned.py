"""Scans of densities with several valleys: lines of one parameter each, and contours of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..parameters import ParameterSpace
from ..results import ProfileScan
from ..statistics.teststats import threshold
from .arrays import some
from .style import GREY, against_exact, label, new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["scan_contours", "scan_lines"]

HIGHEST = 9.0
"""t up to which lines are drawn."""
LOWER = 0.2
"""t below 0 that is shown at least, where curves do not count from their own minimum."""
DASHED = ("solid", "dashed", "dotted")
"""Of regions, the narrowest first."""
STYLES = ("-", "--", ":", "-.")


@styled
def scan_lines(
    scans: Mapping[str, Mapping[str, ProfileScan]],
    *,
    parameters: ParameterSpace | None = None,
    levels: Sequence[float] = (0.6827, 0.95),
    shifted: bool = True,
    highest: float = HIGHEST,
) -> Figure:
    """Lines of 2 delta NLL along one parameter a panel, of a truth and of its surrogates.

    Args:
        scans: parameter -> label -> scan of that parameter. The first label is the exact curve, drawn in black.
        parameters: for labels of the axes.
        levels: of confidence, at whose thresholds lines are drawn.
        shifted: whether each curve counts from its own minimum; all count from that of the first one otherwise, so
            that an error of the minimum shows.
        highest: end of the axis.

    Raises:
        ShapeError: nothing to draw, or a scan of two parameters.
        DomainError: a level outside (0, 1).
    """
    some("scans", scans)
    across = min(4, len(scans))
    rows = -(-len(scans) // across)
    figure = new(0.6 + 2.7 * across, 0.6 + 2.3 * rows)
    panels = figure.subplots(rows, across, squeeze=False, sharey=True).ravel()
    for ax, (name, curves) in zip(panels, scans.items(), strict=False):
        some(f"scans of {name}", curves)
        exact = next(iter(curves.values()))
        hues = ["black", *against_exact(list(curves)[1:])]
        for k, (origin, scan) in enumerate(curves.items()):
            if len(scan.names) != 1:
                raise ShapeError(f"{origin} of {name} scans {list(scan.names)}; scan_contours draws two parameters")
            top = float((scan if shifted else exact).bestfit.value[0])
            t = np.where(np.isfinite(scan.profiled_logpdf), 2 * (top - scan.profiled_logpdf), np.nan)
            ax.plot(scan.points[:, 0], t, color=hues[k], ls=STYLES[k % len(STYLES)], label=origin)
        for level in levels:
            ax.axhline(threshold(level), color=GREY, lw=0.8, ls=":")
        ax.set(ylim=(_lowest(curves, exact) if not shifted else 0.0, highest), xlabel=_named(parameters, name))
    for ax in panels[len(scans) :]:
        ax.set_visible(False)
    for ax in panels[::across]:
        ax.set_ylabel(r"$2\,\Delta\mathrm{NLL}$")
    if any(len(curves) > 1 for curves in scans.values()):
        entries = panels[0].get_legend_handles_labels()
        figure.legend(*entries, loc="outside upper center", ncols=len(entries[1]), fontsize=9)
    return figure


def _lowest(curves: Mapping[str, ProfileScan], exact: ProfileScan) -> float:
    """The least 2 delta NLL of all curves, counted from the minimum of the exact one, and a little room."""
    lowest = 2 * (float(exact.bestfit.value[0]) - max(scan.profiled_logpdf.max() for scan in curves.values()))
    return 1.1 * lowest if lowest < -LOWER else -LOWER


@styled
def scan_contours(
    scans: Sequence[Mapping[str, ProfileScan]],
    *,
    parameters: ParameterSpace | None = None,
    levels: Sequence[float] = (0.6827, 0.95),
) -> Figure:
    """Regions of two parameters at a time: thresholds of chi^2 with two degrees of freedom.

    Args:
        scans: a panel each: label -> scan of the same two parameters over a grid. The first is drawn in black.
        parameters: for labels of the axes.
        levels: of confidence, the narrowest drawn fully.

    Raises:
        ShapeError: nothing to draw, or no scan over a grid of two parameters.
        DomainError: a level outside (0, 1).
    """
    if not scans:
        raise ShapeError("scans is empty: give at least one panel")
    across = min(4, len(scans))
    rows = -(-len(scans) // across)
    figure = new(0.6 + 2.9 * across, 0.6 + 2.7 * rows)
    panels = figure.subplots(rows, across, squeeze=False).ravel()
    for ax, curves in zip(panels, scans, strict=False):
        some("scans of a panel", curves)
        hues = ["black", *against_exact(list(curves)[1:])]
        for k, (origin, scan) in enumerate(curves.items()):
            _contours(ax, origin, scan, hues[k], sorted(levels), filled=k == 0)
        if ax is panels[0]:
            for level, dash in zip(sorted(levels), DASHED, strict=False):
                ax.plot([], [], color=GREY, ls=dash, label=f"{100 * level:.4g} %")
        first, second = next(iter(curves.values())).names
        ax.set(xlabel=_named(parameters, first), ylabel=_named(parameters, second))
    for ax in panels[len(scans) :]:
        ax.set_visible(False)
    entries = panels[0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside upper center", ncols=len(entries[1]) if across > 1 else 2, fontsize=9)
    return figure


def _named(parameters: ParameterSpace | None, name: str) -> str:
    return label(parameters[name]) if parameters is not None else name


def _contours(ax: Axes, origin: str, scan: ProfileScan, colour: Any, levels: Sequence[float], *, filled: bool) -> None:
    x, y = (np.unique(scan.points[:, k]) for k in range(2)) if scan.points.shape[1] == 2 else (np.zeros(0),) * 2
    if len(x) * len(y) != len(scan.points) or len(x) < 2 or len(y) < 2:
        raise ShapeError(f"{origin} is no scan over a grid of two parameters")
    t = np.where(np.isfinite(scan.profiled_logpdf), scan.tmu, np.inf).reshape(len(x), len(y)).T
    heights = [threshold(level, 2) for level in levels]
    t = np.minimum(t, 1e3 + heights[-1])
    if filled:
        greys = np.linspace(0.7, 0.9, len(heights)) if len(heights) > 1 else [0.8]
        ax.contourf(x, y, t, [-np.inf, *heights], colors=[str(g) for g in greys])
    dashes = [DASHED[min(k, len(DASHED) - 1)] for k in range(len(heights))]
    ax.contour(x, y, t, heights, colors=[colour], linestyles=dashes, linewidths=1.3)
    ax.plot(*scan.bestfit.theta[0, scan.columns], "x" if filled else "+", color=colour, label=origin)
