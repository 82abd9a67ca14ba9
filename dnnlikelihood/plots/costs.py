"""What one answer costs, here and elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import ShapeError
from .style import GREY, SURROGATE, new, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["speed"]

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@styled
def speed(seconds: Mapping[str, float]) -> Figure:
    """Seconds of one answer as bars on a logarithmic axis, the slowest on top, with how much faster the others are.

    Args:
        seconds: of one answer, by who gives it.

    Raises:
        ShapeError: none, or seconds that are not positive.
    """
    if not seconds or not min(seconds.values()) > 0:
        raise ShapeError(f"speed needs positive seconds, got {dict(seconds)}")
    ordered = sorted(seconds.items(), key=lambda item: item[1])
    slowest = ordered[-1][1]
    figure = new(6.8, 0.9 + 0.5 * len(ordered))
    ax = figure.subplots()
    for row, (_, value) in enumerate(ordered):
        ax.barh(row, value, color=GREY if value == slowest else SURROGATE, height=0.6)
        size, unit = next((u for u in UNITS if value >= u[0]), UNITS[-1])
        faster = "" if value == slowest else f"  ({slowest / value:,.0f} times faster)"
        ax.annotate(f" {value / size:.3g} {unit}{faster}", (value, row), va="center", fontsize=8)
    ax.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    ax.set(xscale="log", xlabel="CPU seconds of one answer", xlim=(0.3 * ordered[0][1], 300 * slowest))
    ax.tick_params(axis="y", which="both", length=0)
    return figure
