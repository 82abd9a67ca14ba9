"""Labelled rows as a table of text (CSV), with 17 digits, so that every number comes back as it was.

    <parameter> ...     logpdf     gradient:<parameter> ...     weight     split     kind
    with heads:         logpdf:<head> ...     gradient:<head>:<parameter> ...

Gradients, weight, split and kind may be absent; the order of the columns does not matter.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingArtifact, SchemaError
from ..parameters import ParameterSpace

__all__ = ["read_csv", "write_csv"]

OPTIONAL = ("weight", "split", "kind")


def _labels(heads: Sequence[str]) -> list[str]:
    return [f"logpdf:{h}" for h in heads] or ["logpdf"]


def _slopes(heads: Sequence[str], space: ParameterSpace) -> list[str]:
    prefixes = [f"gradient:{h}:" for h in heads] or ["gradient:"]
    return [prefix + name for prefix in prefixes for name in space.names]


def write_csv(
    path: Path, space: ParameterSpace, heads: Sequence[str], batches: Iterator[Any], words: Sequence[np.ndarray]
) -> None:
    """Write rows batch after batch.

    Args:
        path: the file.
        space: the columns of theta.
        heads: those of logpdf.
        batches: `Rows` in the order of the rows.
        words: split and kind of each row, (n,) of str.
    """
    start = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for rows in batches:
            if start == 0:
                slopes = [] if rows.gradient is None else _slopes(heads, space)
                writer.writerow([*space.names, *_labels(heads), *slopes, *OPTIONAL])
            n = len(rows.theta)
            parts = [rows.theta, rows.logpdf, *([] if rows.gradient is None else [rows.gradient]), rows.weight]
            numbers = np.concatenate([part.reshape(n, -1) for part in parts], axis=1)
            here = slice(start, start + n)
            for line, split, kind in zip(numbers.tolist(), words[0][here], words[1][here], strict=True):
                writer.writerow([*map(repr, line), split, kind])
            start += n


def read_csv(path: Path, space: ParameterSpace, heads: Sequence[str]) -> dict[str, Any]:
    """The arguments of `Data.from_arrays`: theta, logpdf, gradient, weights (None where absent) and split.

    Raises:
        MissingArtifact: no such file.
        SchemaError: columns that are missing, unknown or there twice, or fields that are no numbers.
    """
    if not path.is_file():
        raise MissingArtifact(f"{path} does not exist")
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file), [])
    labels, slopes = _labels(heads), _slopes(heads, space)
    _check_header(path, header, [*space.names, *labels], slopes)
    gradient = slopes if slopes[0] in header else []
    wanted = [*space.names, *labels, *gradient, *(["weight"] if "weight" in header else [])]
    numbers = _read(path, [header.index(name) for name in wanted], float)
    n, d = len(numbers), len(space)
    values = np.split(numbers, np.cumsum([d, len(labels), len(gradient)]), axis=1)
    shape = (len(heads),) if heads else ()
    return {
        "theta": values[0],
        "logpdf": values[1].reshape(n, *shape),
        "gradient": values[2].reshape(n, *shape, d) if gradient else None,
        "weights": values[3][:, 0] if "weight" in header else None,
        "split": _read(path, [header.index("split")], str)[:, 0] if "split" in header else None,
    }


def _check_header(path: Path, header: list[str], needed: list[str], slopes: list[str]) -> None:
    if not header:
        raise SchemaError(f"{path}: no header; the first line names the columns")
    if len(set(header)) < len(header):
        raise SchemaError(f"{path}: a column is there twice: {header}")
    if set(slopes) & set(header):
        needed = [*needed, *slopes]
    missing = [name for name in needed if name not in header]
    unknown = [name for name in header if name not in {*needed, *OPTIONAL}]
    if missing or unknown:
        raise SchemaError(f"{path}: columns {missing[:8]} are missing, unknown columns {unknown[:8]}")


def _read(path: Path, columns: list[int], kind: type) -> np.ndarray:
    """(n, len(columns)) of the fields below the header."""
    try:
        return np.loadtxt(
            path,
            kind,
            delimiter=",",
            skiprows=1,
            usecols=columns,
            ndmin=2,
            quotechar='"',
            comments=None,
            encoding="utf-8",
        )
    except ValueError as error:
        raise SchemaError(f"{path}: {error}; every field of a row must be there, and be a number") from error
