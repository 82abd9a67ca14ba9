"""Rows of (theta, logpdf, gradient, weight), in memory or on disk, read by split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..config import require
from ..errors import LikelihoodError
from .rows import Column, batches
from .splitting import SPLITS, Split, split_codes

__all__ = ["Rows", "Table"]


class Rows(NamedTuple):
    """Some rows in memory."""

    theta: np.ndarray
    """(n, d)."""
    logpdf: np.ndarray
    """(n,), or (n, H) if the data have heads."""
    gradient: np.ndarray | None
    """(n, d) or (n, H, d), or None if the data have none."""
    weight: np.ndarray
    """(n,)."""


class Table:
    """Columns of equal length, one of which says to which split a row belongs.

    Args:
        columns: "theta", "logpdf", "weight", "split", "kind" and perhaps "gradient".
        kind_names: what the codes in the column "kind" mean.
    """

    def __init__(self, columns: Mapping[str, Column], kind_names: Sequence[str]) -> None:
        self._columns = dict(columns)
        self._kind_names = tuple(kind_names)

    def __len__(self) -> int:
        return len(self._columns["logpdf"])

    @property
    def has_gradient(self) -> bool:
        """Whether every row has its gradient."""
        return "gradient" in self._columns

    @cached_property
    def _split(self) -> np.ndarray:
        return self._columns["split"][:]

    @property
    def counts(self) -> dict[str, int]:
        """Rows in each split."""
        return {name: int((self._split == code).sum()) for code, name in enumerate(SPLITS)}

    def _rows_of(self, split: Split | None) -> np.ndarray:
        return np.ones(len(self), bool) if split is None else self._split == int(split_codes(split, 1)[0])

    def theta(self, split: Split | None = None) -> np.ndarray:
        """(n, d) points of a split, or of all."""
        return self._columns["theta"].where(self._rows_of(split))

    def logpdf(self, split: Split | None = None) -> np.ndarray:
        """(n,) labels, natural log; (n, H) if the data have heads."""
        return self._columns["logpdf"].where(self._rows_of(split))

    def gradient(self, split: Split | None = None) -> np.ndarray:
        """(n, d) gradients of logpdf; (n, H, d) if the data have heads.

        Raises:
            LikelihoodError: the data have none.
        """
        if not self.has_gradient:
            raise LikelihoodError("these data have no gradients; label the points with a density that has one")
        return self._columns["gradient"].where(self._rows_of(split))

    def weights(self, split: Split | None = None) -> np.ndarray:
        """(n,) weights."""
        return self._columns["weight"].where(self._rows_of(split))

    def kinds(self, split: Split | None = None) -> np.ndarray:
        """(n,) of str: where each row comes from."""
        return np.array(self._kind_names)[self._columns["kind"].where(self._rows_of(split))]

    def splits(self) -> np.ndarray:
        """(n,) of str: the split of each row."""
        return np.array(SPLITS)[self._split]

    def batches(self, split: Split | None, size: int, *, seed: int | None = None) -> Iterator[Rows]:
        """Rows of a split in batches of `size` (the last may be shorter), a few pieces of the file in memory.

        Args:
            split: which rows; None for all.
            size: rows in a batch, >= 1.
            seed: None for the order of the rows; otherwise pieces are visited in random order and rows shuffled
                within pools of 8 pieces (about 64 MB a column). Give another seed for another epoch.
        """
        require(size >= 1, f"size must be at least 1, got {size}")
        columns = {name: self._columns[name] for name in Rows._fields if name in self._columns}
        for batch in batches(columns, self._rows_of(split), size, seed):
            yield Rows(batch["theta"], batch["logpdf"], batch.get("gradient"), batch["weight"])
