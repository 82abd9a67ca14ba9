"""The self-documenting log: one JSON object a line, the same fields for every class.

    {"schema": "log/1", "id": ..., "parents": [...], "event": "trained", "time": "2026-...", "seconds": 12.3,
     "seed": 1, "versions": {...}, "device": "cpu", "numbers": {...}, "warnings": [...]}

`id` is the fingerprint of the object, `parents` those of what it was made from. Times and versions are in the log and
in no fingerprint. Given a path, events are appended and flushed as they happen; a torn last line (a kill while
writing) is dropped with a warning when the log is read.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import CorruptFile, DnnLikelihoodError
from .jsonfiles import canonical, strict_loads, validate

__all__ = ["RunLog", "versions"]

logger = logging.getLogger(__name__)
SCHEMA = "log/1"


@cache
def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it computes with; nothing is imported to find out."""
    found = {"python": platform.python_version()}
    for name in (
        "dnnlikelihood",
        "numpy",
        "scipy",
        "tensorflow",
        "keras",
        "tensorflow-probability",
        "emcee",
        "onnxruntime",
    ):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class RunLog:
    """Append-only record of what happened to one object."""

    def __init__(self, events: Sequence[Mapping[str, Any]] = (), path: Path | None = None) -> None:
        self._events = [dict(e) for e in events]
        self._path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def record(
        self,
        event: str,
        *,
        id: str,
        parents: Sequence[str] = (),
        seconds: float | None = None,
        seed: int | None = None,
        device: str = "cpu",
        numbers: Mapping[str, Any] | None = None,
        warnings: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Add one event, checked against the schema, and append it to the file if there is one."""
        entry = {
            "schema": SCHEMA,
            "id": id,
            "parents": list(parents),
            "event": event,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "seconds": seconds,
            "seed": seed,
            "versions": versions(),
            "device": device,
            "numbers": dict(numbers or {}),
            "warnings": list(warnings),
        }
        line = canonical(entry)
        entry = strict_loads(line)
        validate(entry, "log", f"event {event!r}")
        self._events.append(entry)
        for warning in warnings:
            logger.warning("%s: %s", event, warning)
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return entry

    @contextmanager
    def timed(self, event: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Record an event with the seconds its block took; the block may fill the yielded `numbers`."""
        numbers: dict[str, Any] = dict(fields.pop("numbers", {}))
        start = time.perf_counter()
        yield numbers
        self.record(event, seconds=round(time.perf_counter() - start, 6), numbers=numbers, **fields)

    def text(self) -> bytes:
        """The whole log as the lines of `log.jsonl`."""
        return b"".join(canonical(e) + b"\n" for e in self._events)

    @classmethod
    def read(cls, path: Path, *, follow: bool = False) -> RunLog:
        """Read a log strictly; a torn last line is dropped and said.

        Args:
            path: the file; an absent one is an empty log.
            follow: whether later events are appended to this file; a torn last line is then cut off.
        """
        events: list[dict[str, Any]] = []
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        for i, line in enumerate(lines):
            if not line:
                continue
            try:
                entry = strict_loads(line, f"{path}:{i + 1}")
                validate(entry, "log", f"{path}:{i + 1}")
            except DnnLikelihoodError as error:
                if i == len(lines) - 1 and isinstance(error, CorruptFile):
                    logger.warning("%s: the last line is torn (a kill while writing) and was dropped", path)
                    continue
                raise
            events.append(entry)
        if follow and lines and lines[-1]:
            _end_line(path, keep=len(events) == sum(1 for line in lines if line), last=len(lines[-1]))
        return cls(events, path if follow else None)


def _end_line(path: Path, *, keep: bool, last: int) -> None:
    """Finish the last line of a log, or cut it off, so that the next event begins a line."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if keep:
            file.write(b"\n")
        else:
            file.truncate(end - last)
