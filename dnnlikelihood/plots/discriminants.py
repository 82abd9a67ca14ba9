"""What a systematic-aware discriminant gains: scans, impacts, templates, and how training came there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..discriminants.repetitions import Spread
from ..discriminants.scan import profile_scan
from ..discriminants.templates import Templates
from ..discriminants.trained import Trained
from ..discriminants.uncertainty import expected_uncertainty
from ..errors import ShapeError
from .style import GREY, SURROGATE, TRUTH, colours, new, shades, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "repeated_trainings",
    "shares_of_classes",
    "shifted_templates",
    "strength_impacts",
    "strength_scans",
    "training_evolution",
]

POINTS = 61
LEGEND_COLUMNS = 3
MOST_TICKS = 20


@styled
def strength_scans(templates: Mapping[str, Templates], poi: str | None = None, *, widths: float = 2.2) -> Figure:
    """2 Delta NLL of a signal strength on Asimov data: all nuisances profiled (solid), and held fixed (dashed).

    Args:
        templates: by the name of the training.
        poi: the signal strength; the first one if None.
        widths: how far the axis reaches, in uncertainties of the widest.
    """
    if not templates:
        raise ShapeError("templates is empty: give those of one training at least")
    figure = new(5.6, 4.2)
    ax = figure.add_subplot()
    reach = widths * max(_total(t, poi) for t in templates.values())
    values = 1.0 + np.linspace(-reach, reach, POINTS)
    for colour, (name, t) in zip(colours(len(templates)), templates.items(), strict=True):
        ax.plot(values, 2 * profile_scan(t, values, poi), color=colour, label=f"{name}: $\\pm${_total(t, poi):.3f}")
        ax.plot(values, 2 * profile_scan(t, values, poi, systematics=False), color=colour, ls="--", lw=1.0)
    for height in (1.0, 4.0):
        ax.axhline(height, color=GREY, lw=0.6, ls=":")
    ax.plot([], [], color=GREY, ls="--", lw=1.0, label="nuisances fixed")
    ax.set(xlabel=_strength(poi), ylabel=r"$2\,\Delta\mathrm{NLL}$", ylim=(0, 5), xlim=values[[0, -1]])
    ax.legend(loc="upper center")
    return figure


def _strength(poi: str | None) -> str:
    return "signal strength" + (f" {poi}" if poi else "")


def _total(templates: Templates, poi: str | None) -> float:
    found = expected_uncertainty(templates.without_empty_bins())
    return float(found.total[0 if poi is None else found.pois.index(poi)])


@styled
def strength_impacts(templates: Mapping[str, Templates], poi: str | None = None, *, most: int = 15) -> Figure:
    """Shifts of a signal strength when a nuisance moves by one post-fit standard deviation, the largest first.

    Args:
        templates: by the name of the training; the first one ranks.
        poi: the signal strength; the first one if None.
        most: nuisances shown.
    """
    found = {name: dict(expected_uncertainty(t.without_empty_bins()).ranked(poi)) for name, t in templates.items()}
    if not found or not next(iter(found.values())):
        raise ShapeError("no nuisances: nothing has an impact")
    shown = list(next(iter(found.values())))[:most]
    rows = -(-len(found) // LEGEND_COLUMNS)
    figure = new(6.0, 0.9 + 0.3 * rows + 0.28 * len(shown) * max(1, len(found) / 2))
    ax = figure.add_subplot()
    height = 0.8 / len(found)
    for i, (colour, (name, values)) in enumerate(zip(colours(len(found)), found.items(), strict=True)):
        place = np.arange(len(shown)) + (i - (len(found) - 1) / 2) * height
        ax.barh(place, [values.get(n, 0.0) for n in shown], height, color=colour, label=name)
    ax.set(yticks=range(len(shown)), xlabel=f"impact on the {_strength(poi)}")
    ax.set_yticklabels([name.replace("_", " ") for name in shown])
    ax.tick_params(axis="y", which="both", left=False, right=False)
    ax.invert_yaxis()
    ax.axvline(0, color="black", lw=0.6)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(found), LEGEND_COLUMNS))
    return figure


@styled
def shifted_templates(templates: Templates, *, scale: float = 1.0) -> Figure:
    """Processes stacked in every bin, the largest shifts of the total below, and the simulation's own uncertainty.

    Args:
        templates: yields.
        scale: factor on the signal's line.
    """
    figure = new(5.6, 5.4)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    edges = np.arange(templates.n_bins + 1) + 0.5
    base = np.zeros(templates.n_bins)
    backgrounds = [p for p, poi in enumerate(templates.pois) if poi is None]
    filled = [TRUTH, "#56B4E9", "#E69F00", "#CC79A7", "#009E73", GREY]
    for i, p in enumerate(backgrounds):
        upper = base + templates.nominal[p]
        top.stairs(
            upper, edges, baseline=base, fill=True, color=filled[i % 6], alpha=0.75, label=templates.processes[p]
        )
        base = upper
    names = templates.poi_names
    lines = [SURROGATE] if len(names) == 1 else shades(len(names))
    for colour, poi, signal in zip(lines, names, templates.signals, strict=True):
        name = f"signal ({poi})" + (f" x {scale:g}" if scale != 1 else "")
        top.stairs(scale * signal, edges, color=colour, lw=1.8, label=name)
    top.set(yscale="log", ylabel="expected events")
    total, noise = templates.total, templates.relative_mc_error
    bottom.stairs(1 + noise, edges, baseline=1 - noise, fill=True, color=GREY, alpha=0.35, label="simulation")
    up, down = (getattr(templates, side).sum(axis=1) - total for side in ("up", "down"))
    largest = np.argsort(-np.abs(up - down).sum(axis=1))[:3]
    # Sums over processes count the nominal yields once, so that up - total is the shift of the total.
    for colour, j in zip(colours(3), largest, strict=False):
        name = templates.nuisances[j].replace("_", " ")
        bottom.stairs(1 + up[j] / total, edges, baseline=None, color=colour, label=name)
        bottom.stairs(1 + down[j] / total, edges, baseline=None, color=colour, ls="--")
    if len(largest):
        bottom.plot([], [], color=GREY, ls="--", label="down")
    bottom.axhline(1, color="black", lw=0.6)
    step = -(-templates.n_bins // MOST_TICKS)
    bottom.set(xlabel="bin", ylabel="shifted / nominal", xticks=np.arange(1, templates.n_bins + 1, step))
    bottom.tick_params(axis="x", which="minor", bottom=False, top=False)
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=9)
    figure.align_ylabels([top, bottom])
    return figure


@styled
def training_evolution(trained: Mapping[str, Trained], *, bound: float | None = None) -> Figure:
    """Delta r of validation events in hard bins while a network trains, and how many bins it fills.

    Histograms whose stand-in gradients reach into other bins, or keep no order, end in few bins: it is seen here.

    Args:
        trained: by name; trainings by gradient descent.
        bound: the unbinned bound, drawn as a line.
    """
    figure = new(5.8, 5.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for colour, (name, one) in zip(colours(len(trained)), trained.items(), strict=True):
        if "uncertainty" not in one.history:
            raise ShapeError(f"{name!r} was not trained by gradient descent: it has no evolution")
        history = {key: np.asarray(values) for key, values in one.history.items()}
        top.plot(history["step"], history["uncertainty"], color=colour, label=name)
        top.plot(history["step"], history["stat_uncertainty"], color=colour, ls="--", lw=1.0)
        bottom.plot(history["step"], history["occupied_bins"], color=colour, drawstyle="steps-mid")
    before = max((max((s for s, p in zip(t.history["step"], t.history["pretraining"], strict=True) if p), default=0)
                  for t in trained.values()), default=0)  # fmt: skip
    for ax in (top, bottom):
        if before:
            ax.axvspan(0, before, color=GREY, alpha=0.12, lw=0, label="pre-training")
    if bound is not None:
        top.axhline(bound, color="black", lw=0.8, ls=":", label="unbinned bound")
    top.plot([], [], color=GREY, ls="--", lw=1.0, label="nuisances fixed")
    top.set(ylabel=r"$\Delta r$")
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=LEGEND_COLUMNS)
    bottom.set(xlabel="step", ylabel="bins filled")
    bottom.set_ylim(bottom=0)
    bottom.set_xlim(left=0)
    figure.align_ylabels([top, bottom])
    return figure


@styled
def repeated_trainings(spreads: Mapping[str, Spread], poi: str | None = None, *, bound: float | None = None) -> Figure:
    """Uncertainties of repeated trainings: every one a point, median and central 68 % interval.

    Args:
        spreads: by the name of the training, as `Discriminant.repetitions` gives them.
        poi: the signal strength; the first one if None.
        bound: the unbinned bound.
    """
    figure = new(5.6, 1.3 + 0.6 * len(spreads))
    ax = figure.add_subplot()
    for i, (colour, (_, spread)) in enumerate(zip(colours(len(spreads)), spreads.items(), strict=True)):
        s = 0 if poi is None else spread.pois.index(poi)
        total, median, (low, high) = spread.total[:, s], spread.median[s], spread.interval()[s]
        ax.plot(total, np.full(len(total), i + 0.18), "|", color=colour, ms=7, alpha=0.6)
        ax.errorbar(median, i, xerr=[[median - low], [high - median]], fmt="o", color=colour, capsize=3)
    if bound is not None:
        ax.axvline(bound, color="black", lw=0.8, ls=":", label="unbinned bound")
        ax.legend()
    ax.set(
        yticks=range(len(spreads)),
        xlabel=r"$\Delta r$" if poi is None else rf"$\Delta$ {poi}",
        ylim=(len(spreads) - 0.5, -0.5),
    )
    ax.set_yticklabels(list(spreads))
    ax.tick_params(axis="y", which="both", left=False, right=False)
    return figure


@styled
def shares_of_classes(shares: np.ndarray, processes: Sequence[str]) -> Figure:
    """Where the yield of every process ends up, in percent: rows are processes, columns classes.

    Args:
        shares: (P, C), as `discriminants.diagnostics.class_shares` gives them.
        processes: (P,) names; the classes bear the same ones.

    Raises:
        ShapeError: names that do not fit the shares.
    """
    shares = np.asarray(shares, float)
    if shares.ndim != 2 or shares.shape != (len(processes), len(processes)):
        raise ShapeError(f"shares of shape {shares.shape} do not fit the {len(processes)} processes {list(processes)}")
    n = len(processes)
    figure = new(2.4 + 0.5 * n, 1.8 + 0.42 * n)
    ax = figure.add_subplot()
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), share in np.ndenumerate(shares):
        ax.text(j, i, f"{100 * share:.0f}", ha="center", va="center", color="white" if share > 0.55 else "black")
    ax.set(xticks=range(n), yticks=range(n), xlabel="class", ylabel="process")
    ax.set_xticklabels(processes)
    ax.set_yticklabels(processes)
    ax.tick_params(which="both", length=0)
    ax.minorticks_off()
    return figure
