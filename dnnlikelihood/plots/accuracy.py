"""How far a surrogate is from its truth, in nats: along parameters, and over a set of points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..parameters import ParameterSpace
from .arrays import finite, real
from .style import GREY, SURROGATE, TRUTH, label, new, select, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["agreement_along", "residuals"]

Density = Callable[[np.ndarray], Any]
"""(n, d) -> (n,): `logpdf` of any log-density."""


@styled
def agreement_along(
    truth: Density,
    surrogate: Density,
    parameters: ParameterSpace,
    point: Any,
    ranges: Mapping[str, tuple[float, float]],
    *,
    error: Density | None = None,
    n_points: int = 81,
) -> Figure:
    """Truth and surrogate along single parameters through a point, all others frozen there, and their difference.

    Args:
        truth: (n, d) -> (n,) log-density.
        surrogate: the same.
        parameters: the columns of theta.
        point: (d,) the point, marked where its value lies in the range.
        ranges: name -> (low, high) of each parameter to draw.
        error: (n, d) -> (n,) half-width of the surrogate's calibrated band, drawn around difference 0.
        n_points: on each line. Where a log-density is -inf its line is interrupted.

    Raises:
        ShapeError: no range, one that does not ascend, or log-densities of another shape.
        ParameterError: an unknown name.
    """
    columns, chosen = select(parameters, list(ranges))
    centre = finite("point", point, len(parameters))
    across = min(3, len(chosen))
    rows = -(-len(chosen) // across)
    figure = new(0.8 + 3.3 * across, 0.5 + 3.5 * rows)
    ratios = [2.2, 1.0] * rows
    panels = figure.subplots(2 * rows, across, squeeze=False, height_ratios=ratios)
    for k, (column, parameter) in enumerate(zip(columns, chosen, strict=True)):
        low, high = ranges[parameter.name]
        if not low < high:
            raise ShapeError(f"the range ({low}, {high}) of {parameter.name!r} must ascend")
        x = np.linspace(low, high, n_points)
        theta = np.tile(centre, (n_points, 1))
        theta[:, column] = x
        t, s = (_broken(name, f(theta), n_points) for name, f in (("truth", truth), ("surrogate", surrogate)))
        band = None if error is None else real("error", error(theta), n_points)
        top, bottom = panels[2 * (k // across) : 2 * (k // across) + 2, k % across]
        _along(top, bottom, x, t, s, band)
        if low <= centre[column] <= high:
            for ax in (top, bottom):
                ax.axvline(centre[column], color=GREY, lw=0.7, ls=":")
        bottom.set_xlabel(label(parameter))
        if k % across == 0:
            top.set_ylabel("log-density")
            bottom.set_ylabel(r"$\Delta$ [nats]")
    for k in range(len(chosen), rows * across):
        for ax in panels[2 * (k // across) : 2 * (k // across) + 2, k % across]:
            ax.set_visible(False)
    handles, names = panels[0, 0].get_legend_handles_labels()
    more, others = panels[1, 0].get_legend_handles_labels()
    figure.legend(handles + more, names + others, loc="outside upper center", ncols=4)
    figure.align_ylabels(panels[:, 0])
    return figure


def _broken(name: str, values: Any, n: int) -> np.ndarray:
    """Log-densities with NaN in place of -inf, at which lines break."""
    array = real(name, values, n)
    return np.where(np.isfinite(array), array, np.nan)


def _along(
    top: Axes, bottom: Axes, x: np.ndarray, truth: np.ndarray, surrogate: np.ndarray, band: np.ndarray | None
) -> None:
    top.plot(x, truth, color=TRUTH, lw=2.2, label="truth")
    top.plot(x, surrogate, color=SURROGATE, ls="--", lw=1.4, label="surrogate")
    top.tick_params(labelbottom=False)
    if band is not None:
        bottom.fill_between(x, -band, band, color=GREY, alpha=0.25, lw=0, label=r"$\pm$ calibrated error")
    bottom.axhline(0.0, color=TRUTH, lw=0.8)
    bottom.plot(x, surrogate - truth, color=SURROGATE, label=r"$\Delta$ = surrogate $-$ truth")
    bottom.sharex(top)


@styled
def residuals(
    truth: Any,
    surrogate: Any,
    *,
    baseline: Any = None,
    error: Any = None,
    bands: int = 20,
) -> Figure:
    """Surrogate minus truth against the true log-density, the baseline's beside it, and both distributions.

    Lines are the median and the central 68.27 % of the residuals in `bands` bins of equal content. Panels against the
    log-density show the 99 % of the points where it is highest. Axes of residuals hold the central 99.9 %; the
    outermost bins of each histogram also hold what lies beyond.

    Args:
        truth: (n,) true log-density.
        surrogate: (n,) the surrogate's.
        baseline: (n,) that of the quadratic baseline.
        error: (n,) half-width of the surrogate's calibrated band; drawn as its mean in each bin.
        bands: bins of the lines, fewer if a bin would hold less than 20 points.

    Raises:
        ShapeError: arrays that are empty, not finite or of different length.
    """
    t = finite("truth", truth, None)
    deviations = {"surrogate": finite("surrogate", surrogate, len(t)) - t}
    if baseline is not None:
        deviations["baseline"] = finite("baseline", baseline, len(t)) - t
    half = None if error is None else finite("error", error, len(t))
    hues = {"surrogate": SURROGATE, "baseline": TRUTH}
    figure = new(3.9 * (len(deviations) + 1), 4.1)
    panels = figure.subplots(1, len(deviations) + 1)
    for ax, (name, r) in zip(panels, deviations.items(), strict=False):
        _against(ax, t, r, half if name == "surrogate" else None, bands)
        ax.set(xlabel="true log-density", title=name)
    panels[0].set_ylabel("residual [nats]")
    for name, r in deviations.items():
        reach = _reach(r)
        edges = np.linspace(-reach, reach, 81)
        height = np.histogram(np.clip(r, -reach, reach), edges)[0] / (len(r) * np.diff(edges))
        text = f"{name}\nRMSE {np.sqrt(np.mean(r**2)):.3g} nats"
        panels[-1].stairs(height, edges, color=hues[name], label=text)
        panels[-1].stairs(height, edges, color=hues[name], fill=True, alpha=0.15)
    panels[-1].set(yscale="log", xlabel="residual [nats]", ylabel="probability density")
    low, high = panels[-1].get_ylim()
    panels[-1].set_ylim(low, high * (high / low) ** 0.3)
    panels[-1].legend(loc="upper left", ncols=2, fontsize=9, columnspacing=1.0)
    return figure


def _reach(residual: np.ndarray) -> float:
    """Half-width of an axis that holds 99.9 % of the residuals."""
    return float(1.15 * np.quantile(np.abs(residual), 0.999)) or 1e-6


def _against(ax: Axes, t: np.ndarray, r: np.ndarray, half: np.ndarray | None, bands: int) -> None:
    shown = t >= np.quantile(t, 0.01)
    t, r, half = t[shown], r[shown], None if half is None else half[shown]
    reach = _reach(r)
    span = (t.min(), t.max()) if t.max() > t.min() else (t.min() - 1, t.max() + 1)
    ax.hexbin(
        t,
        r,
        gridsize=(60, 34),
        extent=(*span, -reach, reach),
        bins="log",
        cmap="Greys",
        mincnt=1,
        linewidths=0.1,
        rasterized=True,
    )
    n = max(1, min(bands, len(t) // 20))
    groups = np.array_split(np.argsort(t, kind="stable"), n)
    centres = np.array([np.median(t[g]) for g in groups])
    quantiles = np.array([np.quantile(r[g], [0.15865, 0.5, 0.84135]) for g in groups]).T
    ax.axhline(0.0, color=GREY, lw=0.8)
    ax.plot(centres, quantiles[1], color=SURROGATE, label="median")
    ax.plot(centres, quantiles[0], color=SURROGATE, ls="--", lw=1.1, label="central 68.27 %")
    ax.plot(centres, quantiles[2], color=SURROGATE, ls="--", lw=1.1)
    if half is not None:
        width = np.array([np.mean(half[g]) for g in groups])
        ax.plot(centres, width, color=TRUTH, lw=1.4, ls="-.", label=r"$\pm$ calibrated error")
        ax.plot(centres, -width, color=TRUTH, lw=1.4, ls="-.")
    ax.set(xlim=span, ylim=(-reach, 1.35 * reach))
    ax.legend(loc="upper left", fontsize=9, ncols=2, columnspacing=1.0)
