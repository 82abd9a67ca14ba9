"""HDF5 as the package writes and reads it: flat, uncompressed tables of numbers; anything else is refused unread.

HDF5 can name other files of the machine (external links, external storage, virtual datasets), carry Python objects and
declare terabytes in a kilobyte. `open_checked` looks at what a file declares before a single number is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorruptFile, MissingArtifact, SafetyError
from .rows import Column, piece_rows

if TYPE_CHECKING:
    import h5py

ROOM_FOR_STRUCTURE = 1024 * 1024

__all__ = ["check_shapes", "open_checked", "write_columns"]


def open_checked(path: Path, datasets: Iterable[str] = ()) -> h5py.File:
    """Open a file for reading after looking at everything it declares.

    Args:
        path: the file.
        datasets: names (paths inside the file) that must be there.

    Raises:
        MissingArtifact: no such file.
        CorruptFile: truncated, not HDF5, a dataset missing or never written.
        SafetyError: links, external or virtual storage, filters, object types, declared sizes beyond the file.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise MissingArtifact(f"{path} does not exist; is this the folder that was saved?")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CorruptFile(f"{path}: truncated, or not HDF5 ({error}); make or fetch it again") from error
    try:
        _inspect(file, path, path.stat().st_size)
        missing = [name for name in datasets if not isinstance(file.get(name), h5py.Dataset)]
        if missing:
            raise CorruptFile(f"{path}: datasets {missing} are missing; it holds {sorted(file)}")
    except (CorruptFile, SafetyError):
        file.close()
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        file.close()
        raise CorruptFile(f"{path}: damaged inside ({error}); make or fetch it again") from error
    return file


def _inspect(group: Any, path: Path, size: int, seen: frozenset[int] = frozenset()) -> None:
    """Refuse what a table of numbers does not need, group by group."""
    import h5py

    seen = seen | {h5py.h5o.get_info(group.id).addr}
    for name in group:
        where = f"{path}:{group.name.rstrip('/')}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise SafetyError(f"{where} is a link; a file of numbers has none, do not trust this one")
        item = group[name]
        if isinstance(item, h5py.Dataset):
            _inspect_dataset(item, where, size)
        elif isinstance(item, h5py.Group) and h5py.h5o.get_info(item.id).addr not in seen:
            _inspect(item, path, size, seen)
        else:
            raise SafetyError(f"{where} is neither a dataset nor a plain group; do not trust this file")


def _inspect_dataset(dataset: Any, where: str, size: int) -> None:
    if dataset.external or dataset.is_virtual:
        raise SafetyError(f"{where} keeps its numbers in other files of the machine; do not trust this file")
    if dataset.dtype.kind not in "fiub" or dataset.dtype.subdtype is not None:
        raise SafetyError(f"{where} has type {dataset.dtype}; only plain numbers are read")
    if dataset.id.get_create_plist().get_nfilters():
        raise SafetyError(f"{where} is compressed or filtered; rewrite it without, so that its size can be checked")
    declared = dataset.size * dataset.dtype.itemsize if dataset.shape is not None else 0
    if declared > size:
        raise SafetyError(f"{where} declares {declared} bytes in a file of {size}; do not trust this file")
    if dataset.id.get_storage_size() < declared:
        raise CorruptFile(f"{where}: {declared} bytes declared and not all written; make or fetch it again")


def write_columns(path: Path, columns: Mapping[str, Column]) -> None:
    """Write columns as datasets in chunks of one piece (at most 65536 rows), a piece at a time.

    That there is room is made sure of first: HDF5 does not survive a disk that fills up while it writes, and takes the
    process along.

    Raises:
        OSError: no room.
    """
    import h5py

    chunks = {name: min(piece_rows(column.width), max(len(column), 1)) for name, column in columns.items()}
    n_chunks = {name: -(-len(column) // chunks[name]) for name, column in columns.items()}
    room = sum(n_chunks[name] * (chunks[name] * 8 * column.width + 256) for name, column in columns.items())
    with path.open("wb") as reserved:
        os.posix_fallocate(reserved.fileno(), 0, room + ROOM_FOR_STRUCTURE)
    plain, versions = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    plain.set_obj_track_times(False)  # equal rows make equal files, whenever they are written
    versions.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_LATEST)
    with h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, plain, versions)) as file:
        for name, column in columns.items():
            n, row = len(column), column.row_shape
            dataset = file.create_dataset(name, (n, *row), column[0:1].dtype, chunks=(chunks[name], *row))
            start = 0
            for piece in column.pieces():
                dataset[start : start + len(piece)] = piece
                start += len(piece)


def check_shapes(file: Any, rows: Mapping[str, tuple[int, ...]], n: int) -> None:
    """Check that each dataset has n rows of the given shape, () for a number a row."""
    for name, shape in rows.items():
        if file[name].shape != (n, *shape) or not np.issubdtype(file[name].dtype, np.number):
            raise CorruptFile(
                f"{file.filename}: {name} has shape {file[name].shape} of {file[name].dtype}, expected {(n, *shape)}; "
                "metadata.json and the numbers do not belong together"
            )
