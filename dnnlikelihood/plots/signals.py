r"""Limits on signals: Delta NLL along them, upper limits of a surrogate against the truth's, exclusion of a grid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import finite, some
from .style import GREY, SURROGATE, TRUTH, new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["along_signals", "exclusion", "limits_of_signals", "planes_of"]

COLOURS = {"truth": "black", "surrogate": SURROGATE, "simplified": TRUTH}
STYLES = {"truth": "-", "surrogate": "--", "simplified": ":"}
MOST_PLANES, LEAST_SIGNALS = 3, 8
"""Planes of masses that are drawn at most, and signals that one needs."""


@styled
def along_signals(curves: Mapping[str, tuple[Any, Any, Any]], heads: Sequence[str]) -> Figure:
    """NLL(mu s) - NLL(0) of truth and surrogate, a panel for each signal, and their difference below.

    Args:
        curves: name of a signal -> mu (m,), Delta NLL of the truth (m, H), of the surrogate (m, H).
        heads: H names.

    Raises:
        ShapeError: no signals, or arrays that are not finite.
    """
    some("curves", curves)
    figure = new(3.9 * len(curves), 5.2)
    panels = figure.subplots(2, len(curves), sharex="col", squeeze=False, height_ratios=[2, 1])
    for k, (name, (mu, truth, surrogate)) in enumerate(curves.items()):
        x, top, bottom = finite("mu", mu, None), panels[0, k], panels[1, k]
        for h, head in enumerate(heads):
            line = top.plot(x, np.asarray(truth)[:, h], lw=1.6, label=head)[0]
            top.plot(x, np.asarray(surrogate)[:, h], ls="", marker="o", ms=3, mfc="none", color=line.get_color())
            bottom.plot(x, np.asarray(surrogate)[:, h] - np.asarray(truth)[:, h], color=line.get_color())
        bottom.axhline(0.0, color=GREY, lw=0.8)
        top.set_title(name, fontsize=9)
        bottom.set_xlabel(r"$\mu$")
    panels[0, 0].set_ylabel(r"$\Delta$NLL (line: truth, circle: surrogate)")
    panels[1, 0].set_ylabel("surrogate - truth [nats]")
    panels[0, 0].legend()
    return figure


@styled
def limits_of_signals(truth: Any, others: Mapping[str, Any]) -> Figure:
    """Relative difference of upper limits to those of the truth, signal by signal.

    Args:
        truth: (n,) limits; not finite where there are none.
        others: label -> (n,).
    """
    some("others", others)
    exact = np.asarray(truth, float)
    figure = new(6.4, 4.2)
    ax = figure.subplots()
    for name, limits in others.items():
        off = np.abs(np.asarray(limits, float) / exact - 1)
        good = np.isfinite(off)
        text = f"{name}: median {np.median(off[good]):.2%}, largest {off[good].max():.2%}" if good.any() else name
        ax.plot(exact[good], np.maximum(off[good], 1e-7), ls="", marker=".", color=COLOURS.get(name), label=text)
    ax.set(xscale="log", yscale="log", xlabel=r"$\mu_{95}$ of the truth", ylabel=r"$|\mu_{95} / \mu_{95}$ truth $- 1|$")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
    return figure


@styled
def exclusion(planes: Mapping[str, Any], limits: Mapping[str, Any]) -> Figure:
    """Where mu = 1 is excluded in grids of signals: contours of the upper limit at 1, a panel for each plane of masses.

    Args:
        planes: what a plane has in common -> (n, 2) two masses of each signal; NaN of those in other planes.
        limits: label -> (n,) upper limits on mu.

    Raises:
        ShapeError: no planes or no limits.
    """
    some("planes", planes)
    some("limits", limits)
    figure = new(0.6 + 5.0 * len(planes), 4.6)
    panels = figure.subplots(1, len(planes), squeeze=False)[0]
    for ax, (title, grid) in zip(panels, planes.items(), strict=True):
        points = np.asarray(grid, float)
        ax.plot(points[:, 0], points[:, 1], ls="", marker=".", ms=2, color=GREY)
        drawn = [
            _contour(ax, points, np.asarray(mu, float), COLOURS.get(name, GREY), STYLES.get(name, "-."))
            for name, mu in limits.items()
        ]
        text = title if any(drawn) else f"{title} (all or none excluded)"
        ax.set(xlabel="first mass [GeV]", ylabel="second mass [GeV]", title=text)
    lines = [panels[0].plot([], [], color=COLOURS.get(n, GREY), ls=STYLES.get(n, "-."))[0] for n in limits]
    names = [f"{name}: " + r"$\mu_{95} = 1$" for name in limits]
    figure.legend(lines, names, loc="outside upper center", ncols=len(names))
    return figure


def _contour(ax: Axes, points: np.ndarray, mu: np.ndarray, colour: str, style: str) -> bool:
    """Draw mu = 1; returns whether there are limits on both sides of it."""
    good = np.isfinite(points).all(axis=1) & np.isfinite(mu) & (mu > 0)
    if good.sum() < 4 or not (mu[good].min() < 1 < mu[good].max()):
        return False
    x, y = points[good].T
    ax.tricontour(x, y, np.log(mu[good]), levels=[0.0], colors=[colour], linestyles=[style])
    return True


def planes_of(names: Sequence[str]) -> dict[str, np.ndarray]:
    """(n, 2) the first two numbers in the names, masses in most patch sets; NaN of signals of other planes.

    Of three masses, a plane holds the third one, or its distance from the second. Those of most signals come first.
    """
    numbers = [[float(x) for x in re.findall(r"(?<=_)\d+(?:\.\d+)?(?=_|$)", name.replace("p", "."))] for name in names]
    if len({len(row) for row in numbers}) != 1:
        return {}
    table = np.array(numbers)
    table = table[:, [len(np.unique(column)) > 1 for column in table.T]]
    if table.shape[1] < 2:
        return {}
    keys = {"": np.zeros(len(table))}
    if table.shape[1] > 2:
        keys = {"third mass {:g} GeV": table[:, 2], "second - third mass {:g} GeV": table[:, 1] - table[:, 2]}
    planes: dict[str, np.ndarray] = {}
    left = np.ones(len(table), bool)
    while len(planes) < MOST_PLANES:
        groups = [(text.format(value), left & (key == value)) for text, key in keys.items() for value in np.unique(key)]
        title, inside = max(groups, key=lambda group: group[1].sum())
        if inside.sum() < LEAST_SIGNALS:
            break
        planes[title] = np.where(inside[:, None], table[:, :2], np.nan)
        left &= ~inside
    return planes
