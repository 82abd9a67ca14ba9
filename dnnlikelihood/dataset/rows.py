"""Columns of rows that need not fit into memory: read by slices, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import LikelihoodError, ShapeError
from ..parameters import ParameterSpace
from ..priors import Prior

__all__ = [
    "Column",
    "batches",
    "checked_column",
    "finite_points",
    "finite_rows",
    "labelled_rows",
    "piece_rows",
    "pieces",
    "row_hashes",
    "supported_rows",
]

PIECE_BYTES = 8 * 1024 * 1024
MOST_ROWS = 65536
POOL_PIECES = 8
LARGEST = 1e150
"""Coordinates whose squares are numbers still: without them there is no covariance."""


def piece_rows(width: int) -> int:
    """Rows of `width` float64 numbers in one piece: about 8 MB, at most 65536."""
    return max(1, min(MOST_ROWS, PIECE_BYTES // (8 * max(width, 1))))


def pieces(n: int, width: int) -> Iterator[slice]:
    """Slices that cover n rows, one piece each."""
    size = piece_rows(width)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


class Column:
    """One quantity of every row: arrays, memory maps or HDF5 datasets one after another, some of their rows left out.

    Only slices `column[a:b]` are read. Order and length are those of the rows that are kept.
    """

    def __init__(self, parts: Sequence[tuple[Any, np.ndarray | None]]) -> None:
        self._parts = tuple(parts)
        lengths = [len(array) if kept is None else len(kept) for array, kept in self._parts]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)

    @classmethod
    def of(cls, array: Any) -> Column:
        """A column of one array (or memory map, or dataset)."""
        return cls([(array, None)])

    @classmethod
    def chain(cls, columns: Sequence[Column]) -> Column:
        """Columns one after another."""
        return cls([part for column in columns for part in column._parts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row: () or (d,)."""
        return tuple(self._parts[0][0].shape[1:])

    @property
    def width(self) -> int:
        """Numbers in one row."""
        return int(np.prod(self.row_shape, dtype=int))

    def keep(self, mask: np.ndarray) -> Column:
        """The rows where the mask (n,) is True."""
        if mask.all():
            return self
        parts = []
        for (array, kept), start, stop in zip(self._parts, self._starts[:-1], self._starts[1:], strict=True):
            here = np.flatnonzero(mask[start:stop])
            parts.append((array, here if kept is None else kept[here]))
        return Column(parts)

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        out = []
        for (array, kept), first in zip(self._parts, self._starts[:-1], strict=True):
            length = len(array) if kept is None else len(kept)
            a, b = max(start - first, 0), min(stop - first, length)
            if a >= b:
                continue
            if kept is None:
                out.append(np.asarray(array[a:b]))
            else:
                wanted = kept[a:b]
                out.append(np.asarray(array[wanted[0] : wanted[-1] + 1])[wanted - wanted[0]])
        if not out:
            return np.empty((0, *self.row_shape), self._parts[0][0].dtype)
        return out[0] if len(out) == 1 else np.concatenate(out)

    def pieces(self) -> Iterator[np.ndarray]:
        """All rows, a piece at a time."""
        return (self[rows] for rows in pieces(len(self), self.width))

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of each number of a row."""
        bounds = [(piece.min(axis=0), piece.max(axis=0)) for piece in self.pieces()]
        return np.min([low for low, _ in bounds], axis=0), np.max([high for _, high in bounds], axis=0)

    def sha256(self) -> str:
        """Hash of type, shape and all numbers; where they lie does not matter."""
        first = self[0:1]
        digest = hashlib.sha256(f"{first.dtype.str} {len(self)} {self.row_shape}".encode())
        for piece in self.pieces():
            digest.update(np.ascontiguousarray(piece).tobytes())
        return digest.hexdigest()

    def where(self, mask: np.ndarray) -> np.ndarray:
        """The rows where the mask is True, as one array in memory."""
        out = np.empty((int(mask.sum()), *self.row_shape), self._parts[0][0].dtype)
        filled = 0
        for rows in pieces(len(self), self.width):
            chosen = self[rows][mask[rows]]
            out[filled : filled + len(chosen)] = chosen
            filled += len(chosen)
        return out


def checked_column(values: Any, name: str, shape: tuple[int, ...]) -> Column:
    """Values as a float64 column of that shape.

    Raises:
        ShapeError: another shape, or not real numbers.
    """
    if isinstance(values, Column):
        column = values
    else:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise ShapeError(f"{name} must be real numbers of shape {shape}, got {array.dtype}")
        column = Column.of(array.astype(float, copy=False))
    if (len(column), *column.row_shape) != shape:
        raise ShapeError(f"{name} has shape {(len(column), *column.row_shape)}, expected {shape}")
    return column


def finite_points(space: ParameterSpace, theta: Any) -> np.ndarray:
    """Points as (n, d) float64, refusing what is not finite or has no finite variance; a memory map stays one.

    Raises:
        ShapeError: wrong shape or names, NaN, infinite or absurdly large coordinates.
    """
    theta = space.array(theta)
    for rows in pieces(len(theta), len(space)):
        bad = np.argwhere(~(np.abs(theta[rows]) <= LARGEST))
        if len(bad):
            row, column = bad[0]
            raise ShapeError(
                f"theta[{rows.start + row}] is {theta[rows][row, column]} for {space.names[column]!r}; "
                f"every coordinate must be finite, and below {LARGEST:g}; choose a unit that fits"
            )
    return theta


def finite_rows(columns: Mapping[str, Column], among: np.ndarray | None = None) -> np.ndarray:
    """(n,) bool: False where logpdf (of any head) is -inf, or the row is not `among` (n,) those asked for.

    Raises:
        LikelihoodError: NaN or +inf in logpdf, non-finite gradients in the support, weights that are not > 0; with
            their number and the first rows.
    """
    keep = np.ones(len(next(iter(columns.values()))), bool) if among is None else among.copy()
    refused: dict[str, np.ndarray] = {}
    if "logpdf" in columns:
        y = columns["logpdf"][:]
        y = y if y.ndim == 2 else y[:, None]
        bad = (np.isnan(y) | (y == np.inf)).any(axis=1)
        refused["logpdf is NaN or +inf"] = bad & keep
        keep &= (y > -np.inf).all(axis=1) | bad
    if "gradient" in columns:
        gradient = columns["gradient"]
        wrong = [~np.isfinite(piece).all(axis=tuple(range(1, piece.ndim))) for piece in gradient.pieces()]
        refused["the gradient is not finite"] = np.concatenate([np.zeros(0, bool), *wrong]) & keep
    w = columns["weight"][:]
    refused["the weight is not finite and > 0"] = ~(np.isfinite(w) & (w > 0))
    _refuse(refused)
    return keep


def labelled_rows(failed: Any, n: int) -> tuple[np.ndarray, dict[str, int]]:
    """(n,) bool: which rows have a label; and how many have none, by reason.

    Args:
        failed: (n,) of str, "" where the row has a label; None if all have.
        n: rows.
    """
    if failed is None:
        return np.ones(n, bool), {}
    reasons = np.asarray(failed).astype(str)
    if reasons.shape != (n,):
        raise ShapeError(f"failed has shape {reasons.shape}, expected ({n},): a reason a row")
    found, counts = np.unique(reasons[reasons != ""], return_counts=True)
    return reasons == "", dict(zip(found.tolist(), counts.tolist(), strict=True))


def supported_rows(space: ParameterSpace, prior: Prior, theta: Column, keep: np.ndarray) -> None:
    """Refuse rows that are to be kept although a density of these parameters and this prior is zero there.

    Raises:
        LikelihoodError: such rows; with their number and the first ones.
    """
    ranges = prior.columns(space)
    inside = [space.inside(piece) & ranges.inside(piece) for piece in theta.pieces()]
    beyond = keep & ~np.concatenate([np.zeros(0, bool), *inside])
    _refuse({"logpdf is finite outside the declared bounds or the range of a prior": beyond})


def _refuse(refused: Mapping[str, np.ndarray]) -> None:
    for complaint, rows in refused.items():
        if rows.any():
            where = np.flatnonzero(rows)[:8].tolist()
            raise LikelihoodError(f"{complaint} in {rows.sum()} of {len(rows)} rows: {where}; mend or leave them out")


def batches(
    columns: Mapping[str, Column], mask: np.ndarray, size: int, seed: int | None
) -> Iterator[dict[str, np.ndarray]]:
    """Masked rows in batches of `size`, shuffled by pools of pieces if there is a seed; the last may be shorter."""
    slices = list(pieces(len(mask), max(column.width for column in columns.values())))
    rng = None if seed is None else np.random.default_rng(seed)
    if rng is not None:
        slices = [slices[i] for i in rng.permutation(len(slices))]
    left = {name: column[0:0] for name, column in columns.items()}
    for i in range(0, len(slices), POOL_PIECES):
        together = slices[i : i + POOL_PIECES]
        pool = {name: np.concatenate([column[s][mask[s]] for s in together]) for name, column in columns.items()}
        if rng is not None:
            order = rng.permutation(len(next(iter(pool.values()))))
            pool = {name: array[order] for name, array in pool.items()}
        pool = {name: np.concatenate([left[name], array]) for name, array in pool.items()}
        n = len(next(iter(pool.values())))
        stop = n if i + POOL_PIECES >= len(slices) else n - n % size
        for a in range(0, stop, size):
            yield {name: array[a : min(a + size, stop)] for name, array in pool.items()}
        left = {name: array[stop:] for name, array in pool.items()}


def row_hashes(column: Column) -> np.ndarray:
    """(n,) uint64 hash of the bytes of each float64 row; +0 and -0 are the same number.

    Each word is scrambled by the finaliser of splitmix64 (a bijection) and the words are summed with random odd
    weights: two different rows of n collide with probability of about n^2 / 2^65.
    """
    weights = np.random.default_rng(20191108).integers(0, 2**63, size=column.width, dtype=np.uint64) * np.uint64(2) + (
        np.uint64(1)
    )
    hashes = np.empty(len(column), np.uint64)
    for rows in pieces(len(column), column.width):
        words = (np.ascontiguousarray(column[rows], np.float64) + 0.0).view(np.uint64)
        words ^= words >> np.uint64(30)
        words *= np.uint64(0xBF58476D1CE4E5B9)
        words ^= words >> np.uint64(27)
        words *= np.uint64(0x94D049BB133111EB)
        words ^= words >> np.uint64(31)
        hashes[rows] = (words * weights).sum(axis=1, dtype=np.uint64)
    return hashes
