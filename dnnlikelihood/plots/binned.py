r"""A binned search: observed counts, the background with its uncertainties, and the signal.

Both kinds of uncertainty come from the counting model itself. A nuisance with prior N(m, s) moved to m ± s changes

    correlated     several bins: its shifts are drawn as lines, and for all such nuisances added in quadrature
    uncorrelated   one bin alone (a Monte Carlo error): the half-differences of a bin, in quadrature, are its band

Counts have central 68.27 % Poisson intervals (Garwood 1936): gamma quantiles of shape n (low) and n + 1 (high).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParameterError, ShapeError
from ..priors import Normal
from ..sources import Source
from .arrays import finite
from .style import SURROGATE, TRUTH, colours, label, new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["search"]

POINTS: dict[str, Any] = {"fmt": "o", "ms": 3.0, "lw": 0.9, "color": "black"}
BAND: dict[str, Any] = {"fill": True, "color": TRUTH, "alpha": 0.3, "lw": 0}
RATIO_TOP = 2.4


@dataclass(frozen=True)
class _Bins:
    """Everything that is drawn, (n_bins,) each."""

    observed: np.ndarray
    background: np.ndarray
    signal: np.ndarray
    uncorrelated: np.ndarray
    shifts: dict[str, tuple[np.ndarray, np.ndarray]]
    """Label of a nuisance -> changes of the background for +1 sigma and -1 sigma."""

    @property
    def edges(self) -> np.ndarray:
        """(n_bins + 1,) of bins numbered from 1."""
        return np.arange(len(self.observed) + 1) + 0.5

    @property
    def centres(self) -> np.ndarray:
        """Bin numbers."""
        return np.arange(1.0, len(self.observed) + 1)

    @property
    def correlated(self) -> tuple[np.ndarray, np.ndarray]:
        """Quadratic sums of the changes upwards and downwards."""
        both = np.array([np.stack(s) for s in self.shifts.values()]).reshape(-1, 2, len(self.observed))
        up = np.sqrt((np.maximum(both.max(axis=1), 0) ** 2).sum(axis=0))
        down = np.sqrt((np.minimum(both.min(axis=1), 0) ** 2).sum(axis=0))
        return up, down


@styled
def search(source: Source, categories: Mapping[str, int] | None = None, *, mu: float = 1.0) -> Figure:
    """Counts, background and signal bin by bin; below, counts and uncertainties relative to the background.

    Args:
        source: a source that counts, with one parameter of interest; at 0 there is background alone.
        categories: label -> number of bins, in order; one nameless category if None.
        mu: value of the parameter of interest at which the signal is drawn.

    Raises:
        ShapeError: a source without counts, or categories that do not add up to its bins.
        ParameterError: not exactly one parameter of interest.
    """
    if source.counting is None:
        raise ShapeError(f"source {source.name!r} does not count events; search draws binned counts")
    if len(source.parameters.pois) != 1:
        raise ParameterError(f"search needs one parameter of interest, {source.name!r} has {source.parameters.pois}")
    n = len(source.counting.observed)
    groups = {"": n} if categories is None else dict(categories)
    if sum(groups.values()) != n or min(groups.values()) < 1:
        raise ShapeError(f"categories {groups} must add up to the {n} bins of {source.name!r}, each with at least 1")
    bins = _evaluated(source, mu)
    poi = source.parameters[source.parameters.pois[0]]
    figure = new(10.0, 6.4)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    _counts(top, bins, f"signal, {label(poi, unit=False)} = {mu:g}")
    _ratio(bottom, bins)
    _divide(top, bottom, groups)
    _legend(figure, top, bottom)
    figure.align_ylabels()
    return figure


def _evaluated(source: Source, mu: float) -> _Bins:
    """Expected counts at the centre, with signal, and with each nuisance moved; all in one batch."""
    assert source.counting is not None
    space = source.parameters
    poi = space.index(space.pois[0])
    terms = {i: source.prior.terms.get(p.name) for i, p in enumerate(space)}
    normal = {i: t for i, t in terms.items() if isinstance(t, Normal) and i != poi}
    centre = np.array([t.mean if i in normal and isinstance(t, Normal) else 0.0 for i, t in terms.items()])
    centre[poi] = 0.0
    theta = np.tile(centre, (2 + 2 * len(normal), 1))
    theta[1, poi] = mu
    for k, (i, t) in enumerate(normal.items()):
        theta[2 + 2 * k, i] += t.sigma
        theta[3 + 2 * k, i] -= t.sigma
    expected = np.asarray(source.counting.expected(theta))
    n = len(source.counting.observed)
    background = finite("expected counts", expected, len(theta), n)[0]
    moved = (expected[2:] - background).reshape(-1, 2, n)
    touched = (np.abs(moved).max(axis=1) > 1e-12 * background).sum(axis=1)
    alone = moved[touched == 1]
    return _Bins(
        observed=np.asarray(source.counting.observed, float),
        background=background,
        signal=expected[1] - background,
        uncorrelated=np.sqrt(((0.5 * (alone[:, 0] - alone[:, 1])) ** 2).sum(axis=0)),
        shifts={
            label(space.parameters[i], unit=False): (moved[k, 0], moved[k, 1])
            for k, i in enumerate(normal)
            if touched[k] > 1
        },
    )


def _poisson(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the lower and the upper error bar of counts."""
    from scipy.special import gammaincinv

    tail = 0.15865525393145707
    low = np.where(n > 0, gammaincinv(np.maximum(n, 1), tail), 0.0)
    return n - low, gammaincinv(n + 1, 1 - tail) - n


def _counts(ax: Axes, bins: _Bins, signal: str) -> None:
    up, down = bins.correlated
    b, band = bins.background, bins.uncorrelated
    # On a logarithmic axis a band must end above 0.
    floor = 0.3 * min(b[b > 0].min(), 1.0)
    ax.errorbar(bins.centres, bins.observed, yerr=_poisson(bins.observed), label="observed", **POINTS)
    ax.stairs(b, bins.edges, color=TRUTH, lw=1.5, label="background", baseline=None)
    lowest = np.maximum(b - band, floor)
    ax.stairs(b + band, bins.edges, baseline=lowest, label=r"uncorrelated $\pm1\sigma$", **BAND)
    if bins.shifts:
        line: dict[str, Any] = {"color": TRUTH, "lw": 0.9, "ls": "--", "baseline": None}
        ax.stairs(b + up, bins.edges, label=r"correlated $\pm1\sigma$", **line)
        ax.stairs(b - down, bins.edges, **line)
    ax.stairs(bins.signal, bins.edges, color=SURROGATE, lw=1.5, label=signal, baseline=None)
    ax.set(yscale="log", ylabel="events", ylim=(floor, 4 * max((b + up + band).max(), bins.observed.max())))


def _ratio(ax: Axes, bins: _Bins) -> None:
    b = bins.background
    low, high = _poisson(bins.observed)
    ax.stairs(1 + bins.uncorrelated / b, bins.edges, baseline=1 - bins.uncorrelated / b, **BAND)
    ax.axhline(1.0, color=TRUTH, lw=0.8)
    for colour, (name, (up, down)) in zip(colours(len(bins.shifts) + 2)[2:], bins.shifts.items(), strict=True):
        ax.stairs(1 + up / b, bins.edges, color=colour, lw=1.2, baseline=None, label=rf"{name} $+1\sigma$")
        ax.stairs(1 + down / b, bins.edges, color=colour, lw=1.2, ls="--", baseline=None, label=r"$-1\sigma$")
    ratio = bins.observed / b
    ax.errorbar(bins.centres, ratio, yerr=(low / b, high / b), alpha=0.75, **POINTS)
    outside = ratio > RATIO_TOP
    ax.plot(bins.centres[outside], np.full(outside.sum(), 0.96 * RATIO_TOP), ls="", marker="^", ms=4, color="black")
    ax.set(ylim=(0, RATIO_TOP), ylabel="ratio to\nbackground", xlabel="bin")


def _divide(top: Axes, bottom: Axes, groups: Mapping[str, int]) -> None:
    """Lines between the categories, and their names."""
    start = 0
    for name, n in groups.items():
        if start:
            for ax in (top, bottom):
                ax.axvline(start + 0.5, color="black", lw=0.8, zorder=4)
        top.text(start + 0.5 + n / 2, 0.94, name, transform=top.get_xaxis_transform(), ha="center", va="top")
        start += n
    bottom.set_xlim(0.5, start + 0.5)


def _legend(figure: Figure, top: Axes, bottom: Axes) -> None:
    """Above the axes: nothing inside can be covered. Nuisances below the axes, while there are few."""
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    handles, names = bottom.get_legend_handles_labels()
    if 0 < len(handles) <= 16:
        figure.legend(handles, names, loc="outside lower center", ncols=len(handles), columnspacing=1.1, fontsize=9.5)
