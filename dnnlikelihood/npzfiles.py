"""Named arrays in one npz file: written atomically, read without ever unpickling."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .errors import CorruptFile, MissingArtifact, SafetyError, SaveFailed

__all__ = ["first_drawn", "read_npz", "write_npz"]


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write beside the target, sync, rename: a kill or a full disk leaves the old file as it was.

    Raises:
        SaveFailed: the operating system refused.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SaveFailed(f"could not write {path}: {error}; what stood there before is untouched") from error


def read_npz(path: Path, hint: str = "fetch or make it again") -> dict[str, np.ndarray]:
    """All arrays of a file.

    Raises:
        MissingArtifact: no such file.
        CorruptFile: truncated, not an npz file, or holding Python objects.
        SafetyError: compressed, or arrays larger than the file: what is read must not exceed what lies there.
    """
    try:
        _refuse_inflation(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise MissingArtifact(f"{path} does not exist") from error
    except (SafetyError, CorruptFile):
        raise
    except (OSError, ValueError, KeyError, EOFError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise CorruptFile(f"{path} is not a readable npz file ({error}); {hint}") from error


def first_drawn(path: Path, theta: np.ndarray) -> np.ndarray:
    """The points (n, d) that the first call with this path was given.

    Work that was killed and continued with another number of threads rounds otherwise, and its chains end elsewhere;
    what was asked, and perhaps labelled, stays.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_npz(path, {"theta": theta})
    return read_npz(path)["theta"]


def _refuse_inflation(path: Path) -> None:
    """Look at what an archive declares before a number is read."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > path.stat().st_size:
                raise SafetyError(f"{path}: {entry.filename} is compressed, or larger than the file; do not trust it")
            with archive.open(entry) as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise CorruptFile(f"{path}: {entry.filename} is no plain array; fetch or make it again")
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if math.prod(shape) * dtype.itemsize > entry.file_size:
                raise SafetyError(f"{path}: {entry.filename} declares shape {shape} and holds less; do not trust it")
