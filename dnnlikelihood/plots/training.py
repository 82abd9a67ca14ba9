"""What training did: losses, accuracy and learning rate, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ShapeError
from .arrays import finite
from .style import colours, new, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["loss_curves"]

HIGHEST = 1 - 1e-4
"""Share up to which accuracies are drawn."""
History = Mapping[str, Sequence[float]]


@styled
def loss_curves(histories: Sequence[History], *, output_scale: float | None = None) -> Figure:
    """Training (dashed) and validation (solid) losses of every member, and the learning rate, on logarithmic axes.

    Where training recorded it, also the share of validation answers within 0.05 nats or 1 % of delta_nll.

    Args:
        histories: one a member, as `DnnLik.history`: lists with one number an epoch under the keys "loss",
            "val_loss", "gradient_loss", "val_gradient_loss", "learning_rate", "val_accuracy". Gradient losses may be
            absent or 0, accuracies absent.
        output_scale: nats of one unit of the network's output; adds an axis with the root mean square in nats.

    Raises:
        ShapeError: no history, a missing key, empty lists, or lists of different length.
    """
    curves = [_checked(k, history) for k, history in enumerate(histories)]
    if not curves:
        raise ShapeError("histories is empty: nothing was trained")
    gradient = any(c["val_gradient_loss"].any() for c in curves)
    accurate = all("val_accuracy" in c for c in curves)
    heights = [3.0, *[2.0] * gradient, *[2.0] * accurate, 1.0]
    figure = new(6.4, 1.4 + sum(heights))
    rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _losses(rows[0], curves, "loss", "value loss")
    if output_scale is not None:
        right = rows[0].secondary_yaxis(
            "right",
            functions=(lambda v: output_scale * np.sqrt(np.maximum(v, 0)), lambda r: (r / output_scale) ** 2),
        )
        rows[0].tick_params(which="both", right=False)
        right.set_ylabel("r.m.s. error [nats]")
    if gradient:
        _losses(rows[1], curves, "gradient_loss", "gradient loss")
    if accurate:
        _accuracies(rows[-2], curves)
    for colour, c in zip(colours(len(curves)), curves, strict=True):
        rows[-1].plot(c["epoch"], c["learning_rate"], color=colour, lw=1.2)
    rows[-1].set(yscale="log", ylabel="learning rate", xlabel="epoch")
    _legend(rows[0], len(curves))
    figure.align_ylabels(rows)
    return figure


def _checked(k: int, history: History) -> dict[str, np.ndarray]:
    try:
        loss = finite(f"loss of member {k}", history["loss"], None)
        n = len(loss)
        out = {"loss": loss}
        for key in ("val_loss", "learning_rate"):
            out[key] = finite(f"{key} of member {k}", history[key], n)
    except (KeyError, TypeError) as error:
        raise ShapeError(f"the history of member {k} has no {error}; give DnnLik.history") from error
    for key in ("gradient_loss", "val_gradient_loss"):
        out[key] = finite(f"{key} of member {k}", history.get(key, np.zeros(n)), n)
    if "val_accuracy" in history:
        out["val_accuracy"] = finite(f"val_accuracy of member {k}", history["val_accuracy"], n)
    return out | {"epoch": np.arange(1, n + 1)}


def _losses(ax: Axes, curves: list[dict[str, np.ndarray]], key: str, name: str) -> None:
    for colour, c in zip(colours(len(curves)), curves, strict=True):
        ax.plot(c["epoch"], c[key], color=colour, lw=1.0, ls="--", alpha=0.8)
        ax.plot(c["epoch"], c[f"val_{key}"], color=colour, lw=1.5)
    ax.set(yscale="log", ylabel=name)


def _accuracies(ax: Axes, curves: list[dict[str, np.ndarray]]) -> None:
    """On a scale that tells 99 % from 99.9 %."""
    for colour, c in zip(colours(len(curves)), curves, strict=True):
        ax.plot(c["epoch"], np.clip(c["val_accuracy"], 1 - HIGHEST, HIGHEST), color=colour, lw=1.5)
    shares = [s for s in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999) if s > 0.5 * min(c["val_accuracy"].min() for c in curves)]
    ax.set_yscale("logit")
    ax.set_yticks(shares, [f"{100 * s:g} %" for s in shares])
    ax.set_yticks([], minor=True)
    ax.set_ylabel("accurate")


def _legend(ax: Axes, n: int) -> None:
    """Line styles once, and the colour of each member while there are few."""
    handles = [ax.plot([], [], color="black", lw=1.5, ls=ls)[0] for ls in ("-", "--")]
    names = ["validation", "training"]
    if 1 < n <= 10:
        handles += [ax.plot([], [], color=c)[0] for c in colours(n)]
        names += [f"member {k + 1}" for k in range(n)]
    ax.legend(handles, names, ncols=2 if len(names) > 4 else 1, loc="upper right")
