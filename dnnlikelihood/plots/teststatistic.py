r"""The test statistic t_mu = 2 [max logpdf - profiled logpdf(mu)]: curves with their errors, and its distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..parameters import Parameter
from ..results import ProfileScan
from ..statistics.teststats import p_value, threshold
from .arrays import finite, some
from .style import GREY, SURROGATE, TRUTH, against_exact, label, new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["tmu", "tmu_distribution"]

Curve = ProfileScan | tuple[Any, ...]
MARKERS = "osD^vP"
LINES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


@styled
def tmu(
    exact: Curve,
    curves: Mapping[str, Curve],
    points: Mapping[str, Curve] | None = None,
    *,
    parameter: Parameter | None = None,
    levels: Sequence[float] = (0.6827, 0.95),
) -> Figure:
    """t_mu of the truth and of its surrogates; below, the absolute differences on a logarithmic axis.

    A curve is a ProfileScan of one parameter, or (mu, t), or (mu, t, error) with the half-width of a band.
    Differences are taken at the mu that a curve has in common with the exact one.

    Args:
        exact: of the true likelihood.
        curves: label -> what is drawn as a line (surrogates).
        points: label -> what is drawn as markers (from samples, published numbers).
        parameter: the parameter of interest, for its label; mu if None.
        levels: of confidence, at whose asymptotic thresholds lines are drawn.

    Raises:
        ShapeError: curves that are empty, do not fit, or share no mu with the exact one.
        DomainError: a level outside (0, 1).
    """
    some("curves", curves)
    reference = _curve("exact", exact)
    figure = new(6.4, 6.4)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    top.plot(*reference[:2], color="black", lw=1.8, label="exact")
    drawn = [(name, c, True) for name, c in curves.items()]
    drawn += [(name, c, False) for name, c in (points or {}).items()]
    hues = against_exact(name for name, _, _ in drawn)
    for k, (name, given, line) in enumerate(drawn):
        mu, t, band = _curve(name, given)
        style: dict[str, Any] = {"color": hues[k], "ms": 4}
        style |= {"ls": LINES[k % len(LINES)]} if line else {"ls": "", "mfc": "none"}
        if not line or len(mu) <= 25:
            style["marker"] = MARKERS[k % len(MARKERS)]
        top.plot(mu, t, label=name, **style)
        if band is not None:
            top.fill_between(mu, t - band, t + band, color=style["color"], alpha=0.2, lw=0)
        common, difference = _difference(name, reference, mu, t)
        bottom.plot(common, np.where(difference == 0, np.nan, np.abs(difference)), **{**style, "lw": 1.0})
    for level in levels:
        top.axhline(threshold(level), color=GREY, lw=0.8, ls=":")
        top.annotate(
            f"{100 * level:.4g} %",
            (1.0, threshold(level)),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 2),
            textcoords="offset points",
            ha="right",
            color=GREY,
            fontsize=9,
        )
    name = r"$\mu$" if parameter is None else label(parameter)
    plain = r"\mu" if parameter is None or not parameter.latex else parameter.latex
    top.set_ylabel(rf"$t_{{{plain}}}$")
    top.legend(loc="upper center" if reference[0].min() < 0 else "upper left")
    bottom.set(yscale="log", xlabel=name, ylabel=rf"$|\Delta t_{{{plain}}}|$ to exact")
    bottom.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
    figure.align_ylabels()
    return figure


def _curve(name: str, curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """mu, t and half-width of the band, or None, in ascending mu."""
    if isinstance(curve, ProfileScan):
        if len(curve.names) != 1:
            raise ShapeError(f"{name}: a curve of t_mu scans one parameter, this scan has {curve.names}")
        curve = (curve.points[:, 0], curve.tmu)
    if not isinstance(curve, tuple) or len(curve) not in (2, 3):
        raise ShapeError(f"{name} must be a ProfileScan, (mu, t) or (mu, t, error), got {type(curve).__name__}")
    mu = finite(f"mu of {name}", curve[0], None)
    rest = [finite(f"{what} of {name}", v, len(mu)) for what, v in zip(("t", "error"), curve[1:], strict=False)]
    order = np.argsort(mu, kind="stable")
    return mu[order], rest[0][order], rest[1][order] if len(rest) == 2 else None


def _difference(name: str, exact: tuple[Any, ...], mu: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mu in common, and t minus the exact t there."""
    x, y = exact[:2]
    nearest = np.abs(mu[:, None] - x).argmin(axis=1)
    same = np.abs(mu - x[nearest]) < 1e-9 * max(1.0, float(np.abs(x).max()))
    if not same.any():
        raise ShapeError(f"{name} shares no mu with the exact curve; scan both at the same points")
    return mu[same], t[same] - y[nearest[same]]


@styled
def tmu_distribution(
    experiments: Mapping[float, Any],
    *,
    bins: int = 40,
    upper: float = 10.0,
    parameter: Parameter | None = None,
) -> Figure:
    """Distribution of t_mu in pseudo-experiments made at the same mu, beside chi^2 with one degree of freedom.

    Each panel also tells the share of experiments above the asymptotic 68.27 % and 95 % thresholds: 31.7 % and 5 %
    if the asymptotic formula held.

    Args:
        experiments: mu -> (n,) t_mu. Values above `upper` count in the normalisation but are not drawn.
        bins: between 0 and `upper`; values in [-0.05, 0) are fits that stopped short of 0 and go into the first bin.
        upper: end of the axis.
        parameter: the parameter of interest, for its label; mu if None.

    Raises:
        ShapeError: no experiment, or values that are not finite or lie below -0.05.
    """
    some("experiments", experiments)
    values = {mu: finite(f"t at mu = {mu:g}", t, None) for mu, t in experiments.items()}
    for mu, t in values.items():
        if t.min() < -0.05:
            raise ShapeError(f"t at mu = {mu:g} falls to {t.min():.4g}; t_mu is never negative, so a fit went wrong")
    plain = r"\mu" if parameter is None or not parameter.latex else parameter.latex
    columns = min(2, len(values))
    rows = -(-len(values) // columns)
    figure = new(4.6 * columns, 0.4 + 3.3 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, (mu, t) in zip(panels, values.items(), strict=False):
        _panel(ax, t, np.linspace(0.0, upper, bins + 1))
        ax.set_title(rf"${plain} = {mu:g}$   ({len(t)} experiments)")
    for ax in panels[len(values) :]:
        ax.set_visible(False)
    for k, ax in enumerate(panels[: len(values)]):
        if k % columns == 0:
            ax.set_ylabel(rf"$f(t_{{{plain}}}\,|\,{plain})$")
        if k + columns >= len(values):
            ax.set_xlabel(rf"$t_{{{plain}}}$")
            ax.tick_params(labelbottom=True)
    return figure


def _panel(ax: Axes, t: np.ndarray, edges: np.ndarray) -> None:
    width = np.diff(edges)
    counts = np.histogram(np.maximum(t, 0.0), edges)[0]
    scale = 1.0 / (len(t) * width)
    ax.stairs(counts * scale, edges, color=SURROGATE, fill=True, alpha=0.25, lw=0)
    ax.stairs(counts * scale, edges, color=SURROGATE, label="pseudo-experiments")
    centres = 0.5 * (edges[1:] + edges[:-1])
    ax.errorbar(centres, counts * scale, yerr=np.sqrt(counts) * scale, fmt="none", color=SURROGATE, lw=0.8)
    # The density diverges at 0: what a bin should hold is its integral over the bin.
    asymptotic = -np.diff(p_value(edges)) / width
    ax.stairs(asymptotic, edges, color=TRUTH, ls="--", baseline=None, label=r"$\chi^2_1$")
    ax.set(
        yscale="log", xlim=(0, edges[-1]), ylim=(0.3 * asymptotic[-1], 3 * max(asymptotic[0], (counts * scale).max()))
    )
    lines = []
    for level in (0.6827, 0.95):
        share = np.mean(t > threshold(level))
        uncertainty = np.sqrt(share * (1 - share) / len(t))
        lines.append(
            rf"$P(t > {threshold(level):.2f}) = {share:.3f} \pm {uncertainty:.3f}$   ($\chi^2_1$: {1 - level:.3f})"
        )
    ax.text(0.97, 0.74, "\n".join(lines), transform=ax.transAxes, ha="right", va="top", fontsize=9.5)
    ax.legend(loc="upper right")
