"""HPD intervals of several origins side by side, and how far their edges are from the first one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..parameters import Parameter
from ..results import Hpdi
from .arrays import finite, some
from .style import GREY, against_exact, bracket, label, new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["hpdi_summary"]

Given = Hpdi | Sequence[float]
"""An Hpdi of one interval, or its edges (low, high)."""


@styled
def hpdi_summary(intervals: Mapping[str, Mapping[float, Given]], *, parameter: Parameter | None = None) -> Figure:
    """Intervals grouped by level, and the absolute differences of their edges to those of the first origin.

    Where an Hpdi knows the standard errors of its edges, they are drawn on the differences.

    Args:
        intervals: origin ("exact", "paper", "surrogate") -> level -> interval. The first origin is the reference and
            has every level; others may lack some.
        parameter: what the intervals are of; mu if None.

    Raises:
        ShapeError: nothing to draw, several disjoint intervals, edges that do not ascend, or a level that the
            reference lacks.
    """
    some("intervals", intervals)
    origins = {name: {level: _edges(name, level, v) for level, v in rows.items()} for name, rows in intervals.items()}
    levels = sorted(next(iter(origins.values())))
    for name, rows in origins.items():
        if not rows or set(rows) - set(levels):
            raise ShapeError(f"{name} has the levels {sorted(rows)}, the reference has {levels}")
    figure = new(9.0, 1.2 + 0.27 * len(levels) * (len(origins) + 1))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.3, 1])
    first, *others = origins
    hues = {first: "black"} | dict(zip(others, against_exact(others), strict=True))
    step = len(origins) + 1
    for k, (name, rows) in enumerate(origins.items()):
        colour = hues[name]
        for level, (edges, uncertainty) in rows.items():
            y = levels.index(level) * step + k
            _interval(left, y, edges, colour)
            if k:
                _differences(right, y, edges - origins[first][level][0], uncertainty, colour)
        left.plot([], [], color=colour, lw=2.2, label=name)
    for ax in (left, right):
        ax.tick_params(axis="y", which="both", left=False, right=False)
        for i in range(1, len(levels)):
            ax.axhline(i * step - 1, color=GREY, lw=0.6, alpha=0.5)
    middle = 0.5 * (len(origins) - 1)
    left.set_yticks([i * step + middle for i in range(len(levels))], [f"{100 * v:.4g} %" for v in levels])
    left.set(ylim=(len(levels) * step - 1, -1), xlabel=r"$\mu$" if parameter is None else label(parameter))
    _decades(right)
    right.set_xlabel(rf"|edge $-$ edge of {first}|   ($\triangleleft$ low, $\triangleright$ high)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=min(len(origins), 5))
    return figure


def _interval(ax: Axes, y: int, edges: np.ndarray, colour: str) -> None:
    """A bar with caps, and its edges in print at the right of the axes."""
    half = 0.5 * np.diff(edges)
    ax.errorbar(edges.mean(), y, xerr=half, fmt="none", color=colour, lw=2.2, capsize=4, capthick=1.5)
    ax.annotate(
        bracket(edges[0], edges[1], decimals=3),
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=colour,
    )


def _differences(ax: Axes, y: int, difference: np.ndarray, uncertainty: Sequence[float], colour: str) -> None:
    """Absolute differences of the two edges; none where the edges are the same number."""
    for d, u, marker, shift in zip(np.abs(difference), uncertainty, "<>", (-0.18, 0.18), strict=True):
        if d > 0:
            ax.errorbar(d, y + shift, xerr=u or None, fmt=marker, ms=6, color=colour, lw=1.0, mfc="none")


def _decades(ax: Axes) -> None:
    """A logarithmic axis from a power of ten to a power of ten, which has room for its labels."""
    found = [x for container in ax.containers for x in container[0].get_xdata()]
    if found:
        ax.set_xscale("log")
        ax.set_xlim(10 ** np.floor(np.log10(0.8 * min(found))), 10 ** np.ceil(np.log10(1.25 * max(found))))
        ax.grid(axis="x", color=GREY, alpha=0.25, lw=0.6)


def _edges(name: str, level: float, given: Given) -> tuple[np.ndarray, Any]:
    """(low, high) and their standard errors, 0 where unknown."""
    uncertainty: Any = (0.0, 0.0)
    if isinstance(given, Hpdi):
        if len(given.intervals) != 1:
            raise ShapeError(f"{name} at {level:g} has {len(given.intervals)} intervals; the summary draws one")
        if given.uncertainty:
            uncertainty = np.nan_to_num(given.uncertainty[0])
        given = (given.intervals[0].low, given.intervals[0].high)
    edges = finite(f"interval of {name} at {level:g}", given, 2)
    if not edges[0] < edges[1]:
        raise ShapeError(f"{name} at {level:g}: {list(edges)} does not ascend")
    return edges, uncertainty
