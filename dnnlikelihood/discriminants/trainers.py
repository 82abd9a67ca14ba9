"""All trainers by name, the number of bins by a validation curve, and two-fold cross validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ConfigError
from .efficient_score import EfficientScore, quantise, train_scores
from .events import EventModel
from .gradient import CrossEntropy, Inferno, KernelHistogram, Sannt
from .templates import Templates
from .uncertainty import summed_uncertainty

__all__ = ["TRAINERS", "AnyTrainer", "BinCurve", "bin_curve", "mean_templates", "name_of", "trainer"]

AnyTrainer = EfficientScore | CrossEntropy | Sannt | Inferno | KernelHistogram
TRAINERS: dict[str, type[AnyTrainer]] = {
    "efficient-score": EfficientScore,
    "cross-entropy": CrossEntropy,
    "sannt": Sannt,
    "inferno": Inferno,
    "kernel-histogram": KernelHistogram,
}


def trainer(name: str, options: dict[str, Any] | None = None) -> AnyTrainer:
    """A trainer from its name and the fields of its configuration (JSON).

    Raises:
        ConfigError: an unknown name or field.

    >>> trainer("sannt", {"n_bins": 4}).n_bins
    4
    """
    if name not in TRAINERS:
        raise ConfigError(f"no trainer {name!r}; there are {sorted(TRAINERS)}")
    return TRAINERS[name].from_json(options or {})


def name_of(found: AnyTrainer) -> str:
    """The name of a trainer.

    >>> name_of(Sannt())
    'sannt'
    """
    return next(name for name, kind in TRAINERS.items() if type(found) is kind)


@dataclass(frozen=True)
class BinCurve:
    """Expected uncertainty on validation events against the number of bins, finite simulation counted.

    Attributes:
        n_bins: ascending candidates.
        uncertainty: sum of Delta r of each; infinite where the events do not support so many bins.
        chosen: the smallest number within `tolerance` of the best.
    """

    n_bins: tuple[int, ...]
    uncertainty: tuple[float, ...]
    chosen: int

    @classmethod
    def of(cls, n_bins: Sequence[int], uncertainty: Sequence[float], tolerance: float = 0.01) -> BinCurve:
        """Choose.

        Raises:
            ConfigError: no candidate works.

        >>> BinCurve.of([4, 8, 16], [0.40, 0.372, 0.370]).chosen
        8
        """
        best = min(uncertainty)
        if not np.isfinite(best):
            raise ConfigError(f"none of {list(n_bins)} bins is supported by the events; simulate more")
        chosen = next(k for k, u in zip(n_bins, uncertainty, strict=True) if u <= (1 + tolerance) * best)
        return cls(tuple(n_bins), tuple(uncertainty), chosen)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, null for what is infinite."""
        heights = [u if np.isfinite(u) else None for u in self.uncertainty]
        return {"n_bins": list(self.n_bins), "uncertainty": heights, "chosen": self.chosen}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BinCurve:
        """Inverse of `to_json`."""
        heights = tuple(np.inf if u is None else u for u in value["uncertainty"])
        return cls(tuple(value["n_bins"]), heights, value["chosen"])


def bin_curve(
    found: AnyTrainer,
    model: EventModel,
    validation: EventModel,
    candidates: Sequence[int],
    *,
    seed: int = 0,
    progress: bool = True,
) -> BinCurve:
    """Try numbers of bins; the efficient score trains once, all others once for each.

    Args:
        found: the trainer.
        model: events to learn from.
        validation: events to choose by.
        candidates: numbers of bins.
        seed: of the trainings.
        progress: whether to show bars.
    """
    ascending = sorted(set(candidates))
    network = None
    if isinstance(found, EfficientScore):
        network = train_scores(model, found.heads, seed, progress=progress)[0]

    def judged(k: int) -> float:
        try:
            if network is not None and isinstance(found, EfficientScore):
                options = {"statistics": found.statistics, "refinements": found.refinements, "seed": seed}
                one = quantise(network, model, validation, k, **options)  # type: ignore[arg-type]
            else:
                one = found.replace(n_bins=k).fit(model, validation=validation, seed=seed, progress=progress)
            return summed_uncertainty(one.templates(validation))
        except ConfigError:
            return np.inf

    return BinCurve.of(ascending, [judged(k) for k in ascending])


def mean_templates(parts: Sequence[Templates]) -> Templates:
    """The mean of templates with the same bins, each filled from other events with the full yields.

    Two-fold cross validation: each half of the events is judged by the network that was trained on the other half.
    """
    if len(parts) == 1:
        return parts[0].without_empty_bins()
    n = len(parts)
    means = {name: np.mean([getattr(t, name) for t in parts], axis=0) for name in ("nominal", "up", "down")}
    noise = {name: np.sum([getattr(t, name) for t in parts], axis=0) / n**2 for name in ("variance", "shift_variance")}
    return replace(parts[0], **means, **noise).without_empty_bins()
