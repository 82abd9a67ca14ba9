"""Which row is for training, for validation, for testing: dealt once, equal rows together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import ConfigError, ShapeError

__all__ = ["SPLITS", "Split", "deal", "duplicates", "first_of_each", "split_codes"]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_codes(split: str | Sequence[str], n: int) -> np.ndarray:
    """(n,) uint8 positions in SPLITS of one name for all rows, or of a name a row.

    Raises:
        ConfigError: a name that is no split.
        ShapeError: another number of names than rows.
    """
    names = np.full(n, split) if isinstance(split, str) else np.asarray(split)
    if names.shape != (n,):
        raise ShapeError(f"split has shape {names.shape} for {n} rows; give one name, or a name a row")
    unknown = sorted(set(names.tolist()) - set(SPLITS))
    if unknown:
        raise ConfigError(f"no split {unknown[:3]}; there are {list(SPLITS)}")
    return np.select([names == s for s in SPLITS], range(len(SPLITS))).astype(np.uint8)


def deal(hashes: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """(n,) uint8 codes at random, equal rows (equal hashes) in one split; exact fractions if no row repeats."""
    _, group, size = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(size))
    before = np.cumsum(size[order]) - size[order]
    edges = np.rint(np.cumsum(fractions)[:2] * len(hashes))
    code = np.empty(len(size), np.uint8)
    code[order] = np.searchsorted(edges, before, side="right")
    return code[group]


def first_of_each(hashes: np.ndarray) -> np.ndarray:
    """(n,) bool: the first of equal rows."""
    first = np.zeros(len(hashes), bool)
    first[np.unique(hashes, return_index=True)[1]] = True
    return first


def duplicates(hashes: np.ndarray, codes: np.ndarray) -> tuple[int, int]:
    """Rows that repeat an earlier one; and distinct rows that are in more than one split."""
    _, group = np.unique(hashes, return_inverse=True)
    n_groups = int(group.max()) + 1
    present = np.zeros((n_groups, len(SPLITS)), bool)
    present[group, codes] = True
    return len(hashes) - n_groups, int((present.sum(axis=1) > 1).sum())
