"""Columns of event files: Parquet, ROOT, comma-separated values and npz, each read where it is used.

    Events.of(read_columns("events.parquet", ["pt", "eta", "weight"]), ["pt", "eta"], weights="weight", expected=120.0)

pandas DataFrames, dictionaries of arrays and plain arrays need no reader: `Events.of` takes them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import ConfigError, CorruptFile, MissingArtifact, MissingDependency, ShapeError
from ..npzfiles import read_npz

__all__ = ["read_columns"]

TREES = ("TTree", "TNtuple", "RNTuple")
EXTRA = "pip install 'dnnlikelihood[discriminant]'"


def read_columns(path: str | Path, columns: Sequence[str], *, tree: str | None = None) -> dict[str, np.ndarray]:
    """Columns of a file by name.

    Args:
        path: ends in .parquet, .root, .csv, .csv.gz or .npz.
        columns: names.
        tree: of a ROOT file, the name of the tree (or RNTuple); not needed if it has only one.

    Returns:
        name -> (n,) array.

    Raises:
        MissingArtifact: no such file.
        MissingDependency: the library for this format is not installed.
        CorruptFile: the file is not what its name says.
        ShapeError: columns are missing or hold several numbers an event.
        ConfigError: an unknown ending, or a tree that has to be named.
    """
    path, names = Path(path), list(columns)
    readers = {".parquet": _parquet, ".csv": _csv, ".csv.gz": _csv, ".npz": _npz}
    if not path.exists():
        raise MissingArtifact(f"{path} does not exist")
    ending = path.name.lower()
    if ending.endswith(".root"):
        found = _root(path, names, tree)
    else:
        reader = next((r for known, r in readers.items() if ending.endswith(known)), None)
        if reader is None:
            raise ConfigError(f"{path.name} ends in none of .root, {', '.join(readers)}")
        found = reader(path, names)
    return {name: _flat(path, name, column) for name, column in found.items()}


def _flat(path: Path, name: str, column: np.ndarray) -> np.ndarray:
    """A column of numbers, or of texts."""
    if column.dtype.kind == "O" and all(isinstance(item, str) for item in column):
        column = column.astype(str)
    if column.ndim != 1 or column.dtype.kind == "O":
        raise ShapeError(f"{path}: column {name!r} has no single number an event; flatten it first")
    return column


def _lacking(path: Path, names: Sequence[str], known: Sequence[str]) -> None:
    missing = [name for name in names if name not in set(known)]
    if missing:
        raise ShapeError(f"{path} has no columns {missing}; it has {list(known)[:30]}")


def _parquet(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise MissingDependency(f"reading Parquet needs pyarrow: {EXTRA}") from error
    try:
        with parquet.ParquetFile(path) as file:
            _lacking(path, names, file.schema_arrow.names)
            table = file.read(columns=names)
    except (OSError, pyarrow.ArrowException) as error:
        raise CorruptFile(f"{path} is not a readable Parquet file: {error}") from error
    return {name: table.column(name).to_numpy() for name in names}


def _root(path: Path, names: list[str], tree: str | None) -> dict[str, np.ndarray]:
    try:
        import uproot
    except ModuleNotFoundError as error:
        raise MissingDependency(f"reading ROOT files needs uproot: {EXTRA}") from error
    try:
        with uproot.open(path) as file:
            kinds = file.classnames().items()
            trees = sorted({key.split(";")[0] for key, kind in kinds if any(name in kind for name in TREES)})
            if tree is None and len(trees) != 1:
                raise ConfigError(f"{path} holds the trees (or tuples) {trees}; name one with tree=")
            chosen = tree.split(";")[0] if tree else trees[0]
            if chosen not in trees:
                raise ConfigError(f"{path} has no tree {chosen!r}; it has {trees}")
            _lacking(path, names, file[chosen].keys())
            arrays = file[chosen].arrays(names, library="np")
            return {name: np.asarray(arrays[name]) for name in names}
    except (OSError, ValueError, uproot.DeserializationError) as error:
        if isinstance(error, ConfigError | ShapeError):
            raise
        raise CorruptFile(f"{path} is not a readable ROOT file: {error}") from error


def _csv(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise MissingDependency(f"reading comma-separated values needs pandas: {EXTRA}") from error
    try:
        _lacking(path, names, list(pandas.read_csv(path, nrows=0).columns))
        frame = pandas.read_csv(path, usecols=names)
    except (OSError, EOFError, UnicodeDecodeError, pandas.errors.ParserError, pandas.errors.EmptyDataError) as error:
        raise CorruptFile(f"{path} is not readable: {error}") from error
    return {name: frame[name].to_numpy() for name in names}


def _npz(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    arrays = read_npz(path)
    _lacking(path, names, list(arrays))
    return {name: arrays[name] for name in names}
