"""A DnnLik's training as seen from its data: which rows, which anchor, which folder."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..ensemble import Ensemble
from ..errors import ShapeError
from ..jsonfiles import fingerprint
from ..store import lock
from .fit import Labelled, Watch, fit_ensemble
from .recipe import DnnLikConfig

if TYPE_CHECKING:
    from ..data import Data

__all__ = ["numbers", "train"]


def train(
    data: Data,
    config: DnnLikConfig,
    anchor: tuple[Any, Any] | None,
    folder: Path | None,
    *,
    progress: bool,
    watch: Watch | None = None,
) -> tuple[Ensemble, list[dict[str, list[float]]]]:
    """The ensemble and its history, from the checkpoints in `folder` if there are any; it is locked meanwhile.

    `watch` is told of every epoch.
    """
    fixed = None if anchor is None else anchor_row(data, *anchor)
    at = [] if fixed is None else [fixed[0].tolist(), fixed[1].tolist()]

    def rows(split: Literal["train", "validation"]) -> Labelled:
        gradient = data.gradient(split) if data.has_gradient and config.training.gradient_weight > 0 else None
        weight = data.weights(split) if config.training.weighted else np.ones(data.counts[split])
        return Labelled(data.theta(split), data.logpdf(split), gradient, weight, data.kinds(split))

    with nullcontext() if folder is None else lock(folder):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return fit_ensemble(
            data.parameters,
            rows("train"),
            rows("validation"),
            config.network,
            config.training,
            standardise=config.standardise,
            quadratic=config.baseline == "quadratic",
            scale_output=config.scale_output,
            heads=data.heads,
            anchor=None if fixed is None else Labelled(*fixed, None, np.ones(1)),
            checkpoints=folder,
            identity=fingerprint([config.to_json(), data.fingerprint, *at]),
            watch=watch,
            progress=progress,
        )


def anchor_row(data: Data, theta: Any, logpdf: Any) -> tuple[np.ndarray, np.ndarray]:
    """One labelled row as (1, d) and (1,) or (1, H)."""
    point, value = data.parameters.array(theta), np.asarray(logpdf, float)
    shape = (1, len(data.heads)) if data.heads else (1,)
    if len(point) != 1 or value.size != np.prod(shape) or not (np.isfinite(point).all() and np.isfinite(value).all()):
        raise ShapeError(
            f"an anchor is one point with {shape[-1]} finite logpdf, got shapes {point.shape} and {value.shape}"
        )
    return point, value.reshape(shape)


def numbers(ensemble: Ensemble, data: Data, history: list[dict[str, list[float]]], cpu: float) -> dict[str, Any]:
    """What the log keeps of a training; validation_rmse is of the mean of the members, nats, for each head.

    One that was killed and continued spent more than the CPU seconds of its last run: its epochs tell.
    """
    exact = data.logpdf("validation").reshape(-1, len(ensemble.outputs))
    off = ensemble.heads_logpdf(data.theta("validation")).mean(axis=1) - exact
    return {
        "cpu_seconds": max(cpu, sum(sum(member["cpu_seconds"]) for member in history)),
        "n_train": data.counts["train"],
        "weights_per_member": ensemble.members[0].n_weights,
        "validation_rmse": np.sqrt((off**2).mean(axis=0)).tolist(),
        "epochs": [len(h["val_loss"]) for h in history],
    }
