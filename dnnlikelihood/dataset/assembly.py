"""Rows put together: checked column by column, dealt to splits, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import CorruptFile, ParameterError, ShapeError
from ..parameters import ParameterSpace
from ..priors import Prior
from .hdf5files import check_shapes, open_checked
from .provenance import DataConfig
from .rows import (
    Column,
    checked_column,
    finite_points,
    finite_rows,
    labelled_rows,
    row_hashes,
    supported_rows,
)
from .splitting import SPLITS, deal, duplicates, split_codes

__all__ = ["Assembled", "assemble", "examine", "read_columns"]


class Assembled(NamedTuple):
    """Columns of the rows that are kept, and what was not."""

    columns: dict[str, Column]
    hashes: np.ndarray
    excluded: int
    failed: dict[str, int]


def assemble(
    space: ParameterSpace,
    prior: Prior,
    heads: Sequence[str],
    values: tuple[Any, Any, Any, Any],
    failed: Any,
    split: Any,
    config: DataConfig,
) -> Assembled:
    """Columns from theta, logpdf, gradient (or None) and weights (or None); see `Data.from_arrays`.

    Raises:
        ShapeError, LikelihoodError, ParameterError: what is no table of labelled rows.
    """
    theta, logpdf, gradient, weights = values
    theta = finite_points(space, theta)
    n, shape = len(theta), (len(heads),) if heads else ()
    if len(set(heads)) < len(heads) or not all(heads):
        raise ParameterError(f"heads {list(heads)} must have names, and each its own")
    columns = {"theta": Column.of(theta), "logpdf": checked_column(logpdf, "logpdf", (n, *shape))}
    columns["weight"] = checked_column(np.ones(n) if weights is None else weights, "weights", (n,))
    if gradient is not None:
        columns["gradient"] = checked_column(gradient, "gradient", (n, *shape, len(space)))
    labelled, why = labelled_rows(failed, n)
    keep = finite_rows(columns, labelled)
    supported_rows(space, prior, columns["theta"], keep)
    codes = None if split is None else split_codes(split, n)[keep]
    columns = {name: column.keep(keep) for name, column in columns.items()}
    hashes = row_hashes(columns["theta"])
    columns["split"] = Column.of(deal(hashes, config.fractions, config.seed) if codes is None else codes)
    columns["kind"] = Column.of(np.zeros(len(hashes), np.uint8))
    return Assembled(columns, hashes, int(labelled.sum() - keep.sum()), why)


def examine(space: ParameterSpace, theta: Column, split: np.ndarray, hashes: np.ndarray) -> tuple[int, list[str]]:
    """How many rows repeat an earlier one, and what the log should warn of.

    Raises:
        ShapeError: one point in two splits.
    """
    repeated, across = duplicates(hashes, split)
    if across:
        raise ShapeError(
            f"{across} points are in more than one split ({repeated} repeated rows in all), so a test would see "
            "what was trained on; pass drop_duplicates=True to keep the first of each"
        )
    warnings = [f"{repeated} rows repeat an earlier one"] if repeated else []
    low, high = theta.extremes()
    constant = [name for name, a, b in zip(space.names, low, high, strict=True) if a == b]
    if constant:
        warnings.append(f"constant columns {constant[:8]}: nothing can be learned about them")
    return repeated, warnings


def read_columns(
    path: Path, d: int, n_heads: int, n: int, kinds: Sequence[str], *, gradient: bool
) -> dict[str, Column]:
    """The columns of a file of n rows, left on disk.

    Raises:
        MissingArtifact, CorruptFile, SafetyError: see `open_checked`; or codes without a meaning.
    """
    heads = (n_heads,) if n_heads else ()
    rows: dict[str, tuple[int, ...]] = {"theta": (d,), "logpdf": heads, "weight": (), "split": (), "kind": ()}
    if gradient:
        rows["gradient"] = (*heads, d)
    file = open_checked(path, rows)
    check_shapes(file, rows, n)
    columns = {name: Column.of(file[name]) for name in rows}
    for name, known in (("split", SPLITS), ("kind", kinds)):
        codes = columns[name][:]
        if codes.dtype != np.uint8 or codes.max(initial=0) >= len(known):
            raise CorruptFile(f"{path}: {name} holds other codes than those of {known}; make it again")
    return columns
