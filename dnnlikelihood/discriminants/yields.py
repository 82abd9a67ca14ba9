r"""An event model as the few arrays from which every yield of every bin follows by matrix products.

Each feature array of the model is a block of rows X_i with weight columns W_i (n_i, C_i). With memberships B_i (n_i, K)
of its events in bins, the yields T_i = W_i^T B_i (C_i, K) of all blocks, one below the other, give by one constant
matrix

    (S_1 .. S_S, dlambda/dtheta_1 .. dlambda/dtheta_J, lambda, sum w^2) = A T

Normalisations need no column of their own, reweighted events no rows of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .events import EventModel, Events
from .nuisances import EventWeights, Normalisation, ShiftedSamples

__all__ = ["Block", "YieldRows"]


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one feature array."""

    first: int
    """Row of the table at which it begins."""
    weights: np.ndarray
    """(n, C) float32."""
    group: int
    """Blocks of one group hold the same events and are drawn together."""


@dataclass(frozen=True, eq=False)
class YieldRows:
    """All rows, weights and the matrix A.

    Attributes:
        values: (N, m) float32 standardised features.
        blocks: of rows; the first P are the nominal events of the processes.
        matrix: (S + J + 2, sum C).
        n_pois, n_nuisances: S and J.
        signal: (P,) whether a process is scaled by a POI.
    """

    values: np.ndarray
    blocks: tuple[Block, ...]
    matrix: np.ndarray
    n_pois: int
    n_nuisances: int
    signal: tuple[bool, ...]

    @classmethod
    def of(cls, model: EventModel, shift: np.ndarray, scale: np.ndarray) -> YieldRows:
        """The rows of a model, standardised."""
        builder, s = _Builder(shift, scale), len(model.pois)
        total, variance = s + len(model.nuisances), s + len(model.nuisances) + 1
        nominal = {}
        for i, process in enumerate(model.processes):
            w = process.events.weights
            column = builder.add(process.events, i, [w, w**2])
            nominal[process.name] = column
            builder.entry(total, column, 1.0)
            builder.entry(variance, column + 1, 1.0)
            if process.poi is not None:
                builder.entry(model.pois.index(process.poi), column, 1.0)
        for j, nuisance in enumerate(model.nuisances, start=s):
            for name in nuisance.processes:
                up, down = model.varied(nuisance, name)
                if isinstance(nuisance, Normalisation):
                    high, low = nuisance.variations[name]
                    builder.entry(j, nominal[name], 0.5 * (high - low))
                elif isinstance(nuisance, EventWeights):
                    i = model.names.index(name)
                    builder.entry(j, builder.column(i, 0.5 * (up.weights - down.weights)), 1.0)
                else:
                    shared = isinstance(nuisance, ShiftedSamples) and nuisance.same_events
                    for events, sign in ((up, 0.5), (down, -0.5)):
                        group = model.names.index(name) if shared else len(builder.columns)
                        builder.entry(j, builder.add(events, group, [events.weights]), sign)
        return builder.finished(s, len(model.nuisances), tuple(p.is_signal for p in model.processes))


class _Builder:
    """Blocks and entries of A under construction; columns are numbered in order of appearance."""

    def __init__(self, shift: np.ndarray, scale: np.ndarray) -> None:
        self._shift, self._scale = shift, scale
        self._values: list[np.ndarray] = []
        self._groups: list[int] = []
        self.columns: list[list[tuple[int, np.ndarray]]] = []
        self._entries: list[tuple[int, int, float]] = []
        self._count = 0

    def add(self, events: Events, group: int, weights: list[np.ndarray]) -> int:
        """A block; returns the number of its first column."""
        self._values.append(((events.values - self._shift) / self._scale).astype(np.float32))
        self._groups.append(group)
        self.columns.append([])
        first = self._count
        for w in weights:
            self.column(len(self.columns) - 1, w)
        return first

    def column(self, block: int, weights: np.ndarray) -> int:
        """One more column of a block."""
        self.columns[block].append((self._count, weights.astype(np.float32)))
        self._count += 1
        return self._count - 1

    def entry(self, row: int, column: int, factor: float) -> None:
        self._entries.append((row, column, factor))

    def finished(self, s: int, j: int, signal: tuple[bool, ...]) -> YieldRows:
        place = {number: k for k, (number, _) in enumerate(c for columns in self.columns for c in columns)}
        matrix = np.zeros((s + j + 2, self._count))
        for row, column, factor in self._entries:
            matrix[row, place[column]] += factor
        firsts = np.concatenate([[0], np.cumsum([len(v) for v in self._values])])
        blocks = tuple(
            Block(int(first), np.stack([w for _, w in columns], axis=1), group)
            for first, columns, group in zip(firsts, self.columns, self._groups, strict=False)
        )
        return YieldRows(np.concatenate(self._values), blocks, matrix, s, j, signal)
