r"""The classification tasks that hold all there is to know of an event model near its nominal point.

    class task:     which process?      balanced, so that z_p - z_q = log f_p / f_q of unit densities
    ratio tasks:    up or down?         with the physical weights of all processes a nuisance affects, so that
                                        d_j = log A_up / A_down includes changes of the yield

Normalisations need no task: their scores follow from the class task. Reweighted events serve both sides of a ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .events import EventModel, Events
from .nuisances import Normalisation, Nuisance

if TYPE_CHECKING:
    from ..networks.heads import HeadRows

__all__ = ["FeatureTable", "class_rows", "ratio_rows", "standardisation", "trained_nuisances"]


class FeatureTable:
    """All feature arrays of a model one below the other, each once."""

    def __init__(self, shift: np.ndarray, scale: np.ndarray) -> None:
        self._shift, self._scale = shift, scale
        self._first: dict[int, int] = {}
        self._arrays: list[np.ndarray] = []
        self._rows = 0

    def first_row(self, events: Events) -> int:
        """Row of the first event."""
        key = id(events.values)
        if key not in self._first:
            self._first[key] = self._rows
            self._arrays.append(events.values)
            self._rows += len(events)
        return self._first[key]

    def values(self) -> np.ndarray:
        """(N, m) float32, standardised."""
        return np.concatenate([((a - self._shift) / self._scale).astype(np.float32) for a in self._arrays])


def standardisation(model: EventModel) -> tuple[np.ndarray, np.ndarray]:
    """(m,) mean and standard deviation of every feature over processes in equal parts."""
    means = np.mean([p.events.values.mean(axis=0, dtype=float) for p in model.processes], axis=0)
    squares = np.mean([((p.events.values - means) ** 2).mean(axis=0, dtype=float) for p in model.processes], axis=0)
    scale = np.sqrt(squares)
    return means, np.where(scale > 1e-9 * np.maximum(1.0, np.abs(means)), scale, 1.0)


def trained_nuisances(model: EventModel) -> tuple[Nuisance, ...]:
    """Nuisances that need a ratio task."""
    return tuple(n for n in model.nuisances if not isinstance(n, Normalisation))


@dataclass
class _Rows:
    event: list[np.ndarray]
    head: list[np.ndarray]
    target: list[np.ndarray]
    weight: list[np.ndarray]

    @classmethod
    def empty(cls) -> _Rows:
        return cls([], [], [], [])

    def add(self, event: np.ndarray, head: int, target: np.ndarray, weight: np.ndarray) -> None:
        self.event.append(event)
        self.head.append(np.full(len(event), head))
        self.target.append(target)
        self.weight.append(weight)

    def joined(self, order: np.ndarray | None = None) -> HeadRows:
        from ..networks.heads import HeadRows

        columns = [
            np.concatenate([np.zeros(0, kind), *c]).astype(kind)
            for c, kind in (
                (self.event, np.int32),
                (self.head, np.int32),
                (self.target, np.float32),
                (self.weight, np.float32),
            )
        ]
        return HeadRows(*(c if order is None else c[order] for c in columns))


def class_rows(model: EventModel, table: FeatureTable, rng: np.random.Generator) -> HeadRows:
    """Rows of the class task, every process with the same total weight."""
    rows = _Rows.empty()
    n = sum(len(p.events) for p in model.processes)
    for c, p in enumerate(model.processes):
        size = len(p.events)
        weight = p.events.weights / p.total * (n / len(model.processes))
        rows.add(table.first_row(p.events) + np.arange(size), 0, np.full(size, c), weight)
    return rows.joined(rng.permutation(n)[: n - n % 2])


def ratio_rows(model: EventModel, table: FeatureTable, rng: np.random.Generator, most_pairs: int) -> HeadRows:
    """Rows of the ratio tasks: pairs (up, down), at most `most_pairs` of every nuisance."""
    rows = _Rows.empty()
    for head, nuisance in enumerate(trained_nuisances(model)):
        sides: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []), ([], [])]
        for process in nuisance.processes:
            for (event, weight), sample in zip(sides, model.varied(nuisance, process), strict=True):
                event.append(table.first_row(sample) + np.arange(len(sample)))
                weight.append(sample.weights)
        (up, up_weight), (down, down_weight) = ((np.concatenate(e), np.concatenate(w)) for e, w in sides)
        n = max(len(up), len(down))
        chosen = rng.permutation(n)[:most_pairs]
        pairs = np.stack([_stretched(up, n)[chosen], _stretched(down, n)[chosen]], axis=1)
        w = np.stack([_stretched(w, n)[chosen] * (len(w) / n) for w in (up_weight, down_weight)], axis=1)
        rows.add(pairs.ravel(), head, np.tile([1.0, 0.0], len(pairs)), (w / np.abs(w).mean()).ravel())
    return rows.joined()


def _stretched(a: np.ndarray, n: int) -> np.ndarray:
    """An array repeated until it has n entries."""
    return np.resize(a, n)
