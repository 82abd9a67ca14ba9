"""A surrogate of a profiled likelihood in terms of delta NLL: where it was trained, and how far it is off.

delta_nll = top - logpdf,        top the highest logpdf known
accurate    |error| < max(0.05, 0.01 delta_nll)                     (EPJ Web Conf. 295 (2024) 09041)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..accuracy import NEAR, RELATIVE, tolerance
from ..errors import ShapeError
from .arrays import finite, some
from .style import GREY, SURROGATE, TRUTH, colours, new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["delta_nll_distributions", "delta_nll_residuals"]

INNER = 1.0
"""delta_nll below which the axis of residuals is linear."""


@styled
def delta_nll_distributions(samplings: Mapping[str, Any], top: float, *, bins: int = 80) -> Figure:
    """How many rows there are at which delta NLL, on a logarithmic axis.

    Args:
        samplings: label -> (n,) logpdf: of the kinds of training rows, say.
        top: logpdf from which delta NLL counts.
        bins: from 0 to the highest delta NLL; the last also holds what lies beyond the central 99.9 %.

    Raises:
        ShapeError: nothing to draw, or logpdf that are not finite or lie above `top`.
    """
    some("samplings", samplings)
    drops = {name: _drop(name, v, top) for name, v in samplings.items()}
    end = max(float(np.quantile(d, 0.999)) for d in drops.values()) or 1.0
    edges = np.linspace(0.0, end, bins + 1)
    figure = new(6.4, 4.4)
    ax = figure.add_subplot()
    for colour, (name, drop) in zip(colours(len(drops)), drops.items(), strict=True):
        counts = np.histogram(np.minimum(drop, end), edges)[0]
        ax.stairs(counts, edges, color=colour, lw=1.5, label=f"{name} ({len(drop):,})")
    ax.set(yscale="log", xlabel=r"$\Delta\mathrm{NLL}$", ylabel=f"rows in {edges[1]:.2g} nats")
    ax.margins(x=0.02)
    ax.legend()
    return figure


@styled
def delta_nll_residuals(truth: Any, surrogate: Any, top: float) -> Figure:
    """Surrogate minus truth of delta NLL against delta NLL, with what is not accurate marked, and its distribution.

    Args:
        truth: (n,) true logpdf.
        surrogate: (n,) the surrogate's.
        top: true logpdf from which delta NLL counts.

    Raises:
        ShapeError: arrays that are empty, not finite, of different length, or above `top`.
    """
    drop = _drop("truth", truth, top)
    off = -(finite("surrogate", surrogate, len(drop)) - (top - drop))
    limit = tolerance(top - drop, top)
    bad = np.abs(off) >= limit
    figure = new(9.6, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=[2.2, 1])
    _scatter(left, drop, off, bad)
    edge = float(max(0.06, 1.1 * np.abs(off).max()))
    edges = np.linspace(-edge, edge, 81)
    for colour, name, chosen in ((TRUTH, "all", drop >= 0), (SURROGATE, r"$\Delta\mathrm{NLL} < 10$", drop < 10)):
        if chosen.any():
            share = np.mean(~bad[chosen])
            text = f"{name}: {share:.2%}\naccurate, RMSE {np.sqrt(np.mean(off[chosen] ** 2)):.2g}"
            right.stairs(np.histogram(off[chosen], edges)[0], edges, color=colour, label=text)
    right.set(yscale="log", xlabel=r"residual of $\Delta\mathrm{NLL}$", ylabel="points")
    low, high = right.get_ylim()
    right.set_ylim(0.5, high * (high / low) ** 0.45)
    right.legend(loc="upper left", fontsize=9)
    return figure


def _drop(name: str, logpdf: Any, top: float) -> np.ndarray:
    drop = top - finite(f"logpdf of {name}", logpdf, None)
    if drop.min() < -1e-6:
        raise ShapeError(f"logpdf of {name} is {-drop.min():.3g} above top = {top}: delta NLL would be negative")
    return np.maximum(drop, 0.0)


def _scatter(ax: Axes, drop: np.ndarray, off: np.ndarray, bad: np.ndarray) -> None:
    ax.plot(drop[~bad], off[~bad], ".", color="black", ms=2.5, alpha=0.35, rasterized=True, label="accurate")
    ax.plot(drop[bad], off[bad], "o", color=SURROGATE, ms=4, mfc="none", label=f"not: {bad.sum()} of {len(bad)}")
    x = np.geomspace(1e-3, max(1.0, drop.max()), 200)
    for sign in (-1, 1):
        ax.plot(x, sign * np.maximum(NEAR, RELATIVE * x), color=GREY, lw=1.0, ls="--")
    ax.axhline(0.0, color=GREY, lw=0.8)
    reach = 1.3 * max(NEAR, float(np.abs(off).max()))
    ax.set_xscale("symlog", linthresh=INNER, linscale=0.7)
    ax.set(xlim=(0.0, 1.1 * max(1.0, drop.max())), ylim=(-reach, reach), xlabel=r"$\Delta\mathrm{NLL}$")
    ax.set_ylabel(r"residual of $\Delta\mathrm{NLL}$ [nats]")
    ax.legend(loc="upper left", fontsize=9)
