"""Samplings: where they lie in log-density, and whether their chains have converged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..parameters import ParameterSpace
from .arrays import finite, real, some
from .style import GREY, colours, label, new, on, select, shades, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..results import Samples
    from ..sampling.convergence import GelmanRubin

__all__ = ["autocorrelation", "chains", "gelman_rubin", "logpdf_distributions"]


@styled
def logpdf_distributions(
    samplings: Mapping[str, Any],
    *,
    weights: Mapping[str, Any] | None = None,
    maximum: float | None = None,
    bins: int = 80,
    ax: Axes | None = None,
) -> Figure:
    """Histograms of the log-density of samplings, each of integral 1, on a logarithmic axis.

    Args:
        samplings: label -> (n,) log-densities.
        weights: label -> (n,) weights of the samplings that have some.
        maximum: the largest log-density there is, drawn as a line.
        bins: between the lowest and the highest value of all.
        ax: where to draw; a new figure if None.

    Raises:
        ShapeError: no sampling, empty or not finite values, weights that do not fit.
    """
    some("samplings", samplings)
    values = {name: finite(f"log-density of {name}", v, None) for name, v in samplings.items()}
    unknown = set(weights or {}) - set(values)
    if unknown:
        raise ShapeError(f"weights of {sorted(unknown)}, but there are only samplings {list(values)}")
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    figure, axes = on(ax, 6.4, 4.4)
    for colour, (name, v) in zip(colours(len(values)), values.items(), strict=True):
        w = finite(f"weights of {name}", weights[name], len(v)) if weights and name in weights else None
        height = np.histogram(v, edges, weights=w, density=True)[0]
        axes.stairs(height, edges, color=colour, lw=1.5, label=name)
    if maximum is not None:
        axes.axvline(maximum, color="black", lw=1.0, ls=":", label="maximum")
    axes.set(yscale="log", xlabel="log-density [nats]", ylabel="probability density")
    axes.margins(x=0.02)
    axes.legend()
    return figure


@styled
def gelman_rubin(development: GelmanRubin, parameters: ParameterSpace, names: Sequence[str] | None = None) -> Figure:
    """R_c, and sqrt V (solid) and sqrt W (dashed), against the number of steps.

    Converged when R_c is near 1, and V and W are flat and equal.

    Args:
        development: what `sampling.convergence.gelman_rubin` returned.
        parameters: the columns of its arrays.
        names: parameters to draw; all if None.

    Raises:
        ShapeError: arrays that do not fit.
        ParameterError: an unknown name.
    """
    columns, chosen = select(parameters, names)
    steps = finite("steps", development.steps, None)
    shape = (len(steps), len(parameters))
    r_c, sqrt_v, sqrt_w = (
        real(key, getattr(development, key), *shape)[:, columns] for key in ("r_c", "sqrt_v", "sqrt_w")
    )
    figure = new(6.4, 6.2)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1])
    for i, (colour, parameter) in enumerate(zip(colours(len(chosen)), chosen, strict=True)):
        top.plot(steps, r_c[:, i], color=colour, label=label(parameter, unit=False))
        bottom.plot(steps, sqrt_v[:, i], color=colour)
        bottom.plot(steps, sqrt_w[:, i], color=colour, ls="--")
    top.axhline(1.0, color=GREY, lw=0.8, ls=":")
    top.set(xscale="log", ylabel=r"$R_c$")
    bottom.set(ylabel=r"$\sqrt{V}$,  $\sqrt{W}$", xlabel=r"steps $S$")
    if len(chosen) <= 12:
        top.legend(ncols=2 if len(chosen) > 3 else 1)
    styles = [bottom.plot([], [], color="black", ls=ls)[0] for ls in ("-", "--")]
    low, high = bottom.get_ylim()
    bottom.set_ylim(low, high + 0.2 * (high - low))
    bottom.legend(styles, [r"$\sqrt{V}$ (all chains)", r"$\sqrt{W}$ (within chains)"], ncols=2, loc="upper right")
    figure.align_ylabels()
    return figure


@styled
def autocorrelation(
    steps: Any, tau: Any, parameters: ParameterSpace, names: Sequence[str] | None = None, *, ax: Axes | None = None
) -> Figure:
    """Integrated autocorrelation time against the number of steps, with the line tau = S / 50 below which to trust it.

    Args:
        steps: (k,) numbers of steps S.
        tau: (k, d) times, as `sampling.convergence.running_tau` returns them.
        parameters: the columns of tau.
        names: parameters to draw; all if None.
        ax: where to draw; a new figure if None.

    Raises:
        ShapeError: arrays that do not fit.
        ParameterError: an unknown name.
    """
    columns, chosen = select(parameters, names)
    s = finite("steps", steps, None)
    times = real("tau", tau, len(s), len(parameters))[:, columns]
    figure, axes = on(ax, 6.4, 4.4)
    for i, (colour, parameter) in enumerate(zip(colours(len(chosen)), chosen, strict=True)):
        axes.plot(s, times[:, i], color=colour, marker="o", ms=3.5, label=label(parameter, unit=False))
    axes.plot(s, s / 50, color="black", lw=1.0, ls="--", label=r"$\tau = S/50$")
    axes.set(xscale="log", yscale="log", xlabel=r"steps $S$", ylabel=r"autocorrelation time $\tau$ [steps]")
    if len(chosen) <= 12:
        axes.legend(ncols=2 if len(chosen) > 4 else 1)
    return figure


@styled
def chains(
    samples: Samples,
    parameters: ParameterSpace,
    names: Sequence[str],
    *,
    n_chains: int = 20,
    log_steps: bool = False,
) -> Figure:
    """Traces of parameters and of the log-density.

    Args:
        samples: chains (n_steps, n_chains, d).
        parameters: what plots call the columns; must have the names of the samples.
        names: parameters to draw.
        n_chains: chains drawn, evenly chosen.
        log_steps: a logarithmic axis of steps, which shows the burn-in.

    Raises:
        ShapeError: arrays that do not fit, or no chain.
        ParameterError: an unknown name.
    """
    n, m, d = real("chains", samples.chains, None, None, None).shape
    logpdf = real("logpdf", samples.logpdf, n, m)
    if d != len(samples.names) or n_chains < 1:
        raise ShapeError(f"{d} columns for {len(samples.names)} names, {n_chains} chains to draw: nothing to show")
    _, chosen = select(parameters, names)
    columns, _ = select(ParameterSpace.of(*samples.names), [p.name for p in chosen])
    shown = np.unique(np.linspace(0, m - 1, min(n_chains, m)).round().astype(int))
    steps = np.arange(1, n + 1)
    figure = new(7.0, 1.2 + 1.45 * (len(chosen) + 1))
    rows = figure.subplots(len(chosen) + 1, 1, sharex=True)
    for k, ax in enumerate(rows):
        traces = logpdf if k == len(chosen) else samples.chains[:, :, columns[k]]
        for colour, chain in zip(shades(len(shown)), shown, strict=True):
            ax.plot(steps, traces[:, chain], color=colour, lw=0.6, alpha=0.8, rasterized=True)
        ax.set_ylabel("log-density" if k == len(chosen) else label(chosen[k]))
    rows[-1].set(xlabel="step", xscale="log" if log_steps else "linear", xlim=(1, max(n, 2)))
    rows[0].set_title(f"{len(shown)} of {m} chains", loc="right")
    figure.align_ylabels(rows)
    return figure
