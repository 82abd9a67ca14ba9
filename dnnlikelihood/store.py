"""Artifact folders: explicit, atomic saves; loading that never writes; a sha256 for every file.

A save is written to a folder beside the target, synced to disk, and renamed into place, so that a reader sees the old
artifact or the new one and never half of one, and a full disk leaves the old one as it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from .errors import (
    ArtifactExists,
    DnnLikelihoodError,
    IntegrityError,
    Locked,
    MissingArtifact,
    SafetyError,
    SaveFailed,
    SchemaError,
)
from .jsonfiles import pretty, read_json
from .runlog import RunLog, versions

__all__ = ["Artifact", "check_file", "check_manifest", "lock", "sha256", "write_text", "writing"]


def sha256(path: Path) -> str:
    """Hash of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str | bytes) -> None:
    """Write a small file atomically: beside it, synced, renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SaveFailed(f"could not write {path}: {error}; what stood there before is untouched") from error


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder for one process; released also when the process dies.

    Raises:
        Locked: another process holds it.
        SaveFailed: the lock file cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder.parent / f".{folder.name}.lock", timeout=0)
        held.acquire()
    except Timeout:
        raise Locked(f"another process is working in {folder}; wait for it, or choose another folder") from None
    except OSError as error:
        raise SaveFailed(f"cannot write beside {folder}: {error}; choose a folder you may write to") from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def writing(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block ends without an error.

    Raises:
        ArtifactExists: `folder` exists and `overwrite` is False.
        Locked: another process is writing it.
        SaveFailed: the operating system refused; the old folder is intact.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise ArtifactExists(f"{folder} exists; pass overwrite=True to replace it, or choose another folder")
    with lock(folder):
        temporary = None
        try:
            temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            yield temporary
            _write_manifest(temporary)
            _sync(temporary)
            temporary.chmod(0o755)
            _swap(temporary, folder)
        except OSError as error:
            if isinstance(error, DnnLikelihoodError):
                raise
            raise SaveFailed(f"could not save {folder}: {error}; what stood there before is untouched") from error
        finally:
            if temporary is not None and temporary.exists():
                shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        new.replace(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent)) / target.name
    target.replace(old)
    try:
        new.replace(target)
    except OSError:
        old.replace(target)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder, folder.parent]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_manifest(folder: Path) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    entries = {p.relative_to(folder).as_posix(): {"sha256": sha256(p), "bytes": p.stat().st_size} for p in files}
    (folder / "manifest.json").write_text(pretty({"schema": "manifest/1", "files": entries}), "utf-8")


def check_manifest(folder: Path) -> list[str]:
    """Compare every file with the manifest; the names of those that fit.

    Raises:
        MissingArtifact: no manifest, or a listed file is absent.
        IntegrityError: a file was edited, or one lies there that the manifest does not list.
        SafetyError: a name that leaves the folder, or a link.
    """
    listed = read_json(folder / "manifest.json", "manifest")["files"]
    inside = folder.resolve()
    for name, entry in listed.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or path.resolve() != inside / name:
            raise SafetyError(f"{folder}: manifest names {name!r}, which leaves the folder")
        if not path.is_file():
            raise MissingArtifact(f"{path} is in the manifest but not in the folder; fetch the artifact again")
        if path.stat().st_size != entry["bytes"] or sha256(path) != entry["sha256"]:
            raise IntegrityError(f"{path} is not the file that was saved (sha256 differs); fetch the artifact again")
    extra = (
        {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - set(listed) - {"manifest.json"}
    )
    if extra:
        raise IntegrityError(f"{folder} holds files that were not saved with it: {sorted(extra)[:5]}; remove them")
    return sorted(listed)


def check_file(folder: Path, name: str) -> None:
    """Compare one file with the manifest; `check_manifest` looks at all.

    Raises:
        IntegrityError: it was edited, or the manifest does not know it.
    """
    listed = read_json(folder / "manifest.json", "manifest")["files"].get(name)
    path = folder / name
    if listed is None or (path.is_file() and sha256(path) != listed["sha256"]):
        raise IntegrityError(
            f"{path} is not the file that was saved (sha256 differs); make or fetch the artifact again"
        )


class Artifact(ABC):
    """What the five nouns share: a log, a fingerprint, `save(folder)` and `load(folder)`.

    A noun says what makes it itself (`_identity`), what it came from (`parents`) and how its own files are written
    and read. `metadata.json` is made here from identity and log, never by hand.
    """

    noun: ClassVar[str]
    log: RunLog

    @property
    def parents(self) -> tuple[str, ...]:
        """Fingerprints of the objects this one was made from."""
        return ()

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 of what makes this object itself: its configuration, its parents, its numbers."""

    def _metadata(self) -> dict[str, Any]:
        """What a reader of metadata.json should know, beyond the fields all nouns have."""
        return {}

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write the noun's own files into an empty folder."""

    @classmethod
    @abstractmethod
    def _read(cls, folder: Path, metadata: dict[str, Any]) -> Self:
        """Build the object from a folder whose metadata has been checked; open arrays lazily."""

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the artifact atomically.

        Raises:
            ArtifactExists, Locked, SaveFailed: see `writing`; nothing that was there is lost.
        """
        folder = Path(folder)
        with writing(folder, overwrite=overwrite) as temporary:
            self._write(temporary)
            document = {
                "schema": f"{self.noun}/1",
                "noun": self.noun,
                "fingerprint": self.fingerprint,
                "parents": list(self.parents),
                "versions": versions(),
                **self._metadata(),
            }
            (temporary / "metadata.json").write_text(pretty(document), "utf-8")
            (temporary / "log.jsonl").write_bytes(self.log.text())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read an artifact; nothing is written, large arrays stay on disk until asked for.

        Raises:
            MissingArtifact, SchemaError: no such artifact, one of another noun, or one from a newer version.
            IntegrityError: its metadata.json was edited.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise MissingArtifact(f"{folder} is not a folder; expected a saved {cls.noun}")
        metadata = read_json(folder / "metadata.json", "metadata")
        if metadata["noun"] != cls.noun:
            raise SchemaError(f"{folder} holds a {metadata['noun']}, not a {cls.noun}")
        found, known = metadata["schema"], f"{cls.noun}/1"
        if found != known:
            raise SchemaError(f"{folder}: written as {found}, this version reads {known}; upgrade dnnlikelihood")
        loaded = cls._read(folder, metadata)
        # Last, because what is wrong with an edited file says more than that it was edited. It is the one file that
        # says what all numbers mean.
        check_file(folder, "metadata.json")
        loaded.log = RunLog.read(folder / "log.jsonl")
        return loaded
