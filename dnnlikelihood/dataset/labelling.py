"""Labelling: logpdf and gradient of many points, in batches, on one machine or many, resumable after a kill.

A row whose fit failed has no label: its reason is kept instead, and it is left out when the rows are collected.

With a folder, every finished batch is appended to plain files of float64 and synced. A kill loses the batch in the air
and no more; what a torn write left behind is cut off on return, so that the continued run writes the bytes that an
uninterrupted one would have written.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from ..composition import Composite, Selected
from ..errors import LikelihoodError, SaveFailed, StaleArtifact
from ..jsonfiles import fingerprint, pretty, read_json
from ..progress import progress_bar
from ..protocols import Labels, LogDensity
from ..runlog import RunLog
from ..store import write_text
from .rows import Column

__all__ = ["Partial", "label", "labels", "lineage", "same_values"]

REASON_BYTES = 32
"""Of the reason why a row is no label."""


def _evaluate(density: LogDensity, theta: np.ndarray) -> Labels:
    return density.label(theta)


def labels(
    density: LogDensity,
    theta: Any,
    start: int = 0,
    *,
    batch_size: int,
    executor: Executor | None = None,
    progress: bool = True,
) -> Iterator[Labels]:
    """The labels of theta[start:], batch after batch, in order; no gradients if the density has none.

    Raises:
        LikelihoodError: the density gave NaN or +inf; says in which rows.
    """
    starts = range(start, len(theta), batch_size)
    batches = (np.asarray(theta[i : i + batch_size], float) for i in starts)
    results = map(_evaluate, _forever(density), batches) if executor is None else _spread(executor, density, batches)
    with progress_bar("labelling", len(theta), shown=progress, done=start) as advance:
        for i in starts:
            try:
                found = next(results)
            except LikelihoodError as error:
                last = min(i + batch_size, len(theta)) - 1
                raise LikelihoodError(f"labelling rows {i} to {last}: {error}") from error
            advance(len(found.ok))
            yield found


def label(density: LogDensity, theta: Any, **run: Any) -> dict[str, Column]:
    """The columns logpdf, reason and gradient (if there is one), in memory; arguments as of `labels`."""
    done = [_arrays(found) for found in labels(density, theta, **run)]
    if not done:
        heads = (len(density.heads),) if density.heads else ()
        return {"logpdf": Column.of(np.empty((0, *heads))), "reason": Column.of(np.empty(0, f"S{REASON_BYTES}"))}
    return {name: Column([(arrays[name], None) for arrays in done]) for name in done[0]}


def _arrays(found: Labels) -> dict[str, np.ndarray]:
    """Columns of a batch; what is no label is NaN with a gradient of zero, whatever the density said."""
    reason = np.where(found.ok, "", np.where(found.reason == "", "failed", found.reason))
    encoded = [text.encode("ascii", "replace")[:REASON_BYTES] for text in reason.tolist()]
    arrays = {"logpdf": np.array(found.value, float), "reason": np.array(encoded, f"S{REASON_BYTES}")}
    arrays["logpdf"][~found.ok] = np.nan
    if found.gradient is not None:
        arrays["gradient"] = np.array(found.gradient, float)
        arrays["gradient"][~found.ok] = 0.0
    return arrays


def _forever(density: LogDensity) -> Iterator[LogDensity]:
    while True:
        yield density


def _spread(executor: Executor, density: LogDensity, batches: Iterable[np.ndarray]) -> Iterator[Labels]:
    """Results in the order of the batches, a bounded number of them under way."""
    ahead = 4 * getattr(executor, "_max_workers", 16)
    waiting: deque[Any] = deque()
    try:
        for batch in batches:
            waiting.append(executor.submit(_evaluate, density, batch))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class Partial:
    """Labels on their way into a folder: what is done is kept.

    Args:
        folder: where the files lie; made if absent.
        request: what is being labelled, as JSON; a folder begun with another one is refused.
        density: what labels; it says how wide the rows are.

    Raises:
        StaleArtifact: the folder was begun with another request.
        SaveFailed: it cannot be written.
    """

    def __init__(self, folder: Path, request: dict[str, Any], density: LogDensity) -> None:
        self.folder = folder
        self.name = fingerprint(request)
        heads, d = (len(density.heads),) if density.heads else (), len(density.parameters)
        self._rows = {"logpdf": np.dtype((float, heads)), "reason": np.dtype(f"S{REASON_BYTES}")}
        if density.has_gradient:
            self._rows["gradient"] = np.dtype((float, (*heads, d)))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveFailed(f"cannot make {folder}: {error}; choose a folder you may write to") from error
        stated = folder / "request.json"
        if not stated.exists():
            write_text(stated, pretty(request))
        before = read_json(stated)
        changed = sorted(k for k in {*before, *request} if before.get(k) != request.get(k))
        if changed:
            raise StaleArtifact(
                f"{folder} holds a labelling begun with another {', '.join(changed)}; continue that one, remove the "
                "folder, or choose another"
            )
        self.log = RunLog.read(folder / "log.jsonl", follow=True)

    def fill(self, density: LogDensity, theta: Any, batch_size: int, **run: Any) -> dict[str, Column]:
        """Label what is not labelled yet; the columns logpdf, reason and gradient (if there is one) of all rows.

        Raises:
            StaleArtifact: the density no longer gives the numbers that are stored.
            LikelihoodError, SaveFailed: see `labels` and `append`; what is done stays.
        """
        done = self._resume(batch_size, len(theta))
        if done:
            now = _arrays(density.label(np.asarray(theta[: min(done, 100)], float)))["logpdf"]
            same_values(now, self._columns()["logpdf"][0 : len(now)], f"{self.folder} was begun with another density")
        self.log.record("labelling", id=self.name, numbers={"from": done, "to": len(theta)})
        for found in labels(density, theta, done, batch_size=batch_size, **run):
            self._append(_arrays(found))
        return self._columns()

    def _path(self, name: str) -> Path:
        return self.folder / (f"{name}.s{REASON_BYTES}" if name == "reason" else f"{name}.f64")

    def _resume(self, batch_size: int, n: int) -> int:
        """Cut off what is torn; the number of rows that are done."""
        for name in self._rows:
            self._path(name).touch()
        done = min(self._path(name).stat().st_size // row.itemsize for name, row in self._rows.items())
        if done < n:
            done -= done % batch_size
        for name, row in self._rows.items():
            os.truncate(self._path(name), row.itemsize * done)
        return done

    def _append(self, arrays: dict[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            try:
                with self._path(name).open("ab") as file:
                    file.write(np.ascontiguousarray(array).tobytes())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise SaveFailed(
                    f"could not write {self._path(name)}: {error}; make room and run again, it continues from there"
                ) from error

    def _columns(self) -> dict[str, Column]:
        """What is stored, read from disk on demand."""
        stored = {}
        for name, row in self._rows.items():
            flat = np.memmap(self._path(name), row.base, "r")
            stored[name] = Column.of(flat.reshape(-1, *row.shape))
        return stored


def same_values(now: np.ndarray, before: np.ndarray, complaint: str) -> None:
    """Raise StaleArtifact(complaint) unless two evaluations of one density agree to rounding."""
    finite = np.isfinite(before)
    if (
        now.shape != before.shape
        or (np.isfinite(now) != finite).any()
        or not np.allclose(now[finite], before[finite], rtol=1e-7, atol=1e-6)
    ):
        with np.errstate(invalid="ignore"):
            worst = np.nanmax(np.abs(now - before))
        raise StaleArtifact(f"{complaint}: logpdf differs by up to {worst:.3g}")


def lineage(density: LogDensity) -> list[str]:
    """Fingerprints of what a density is made of."""
    if isinstance(density, Composite):
        return [f for term in density.terms for f in lineage(term.density)]
    if isinstance(density, Selected):
        return lineage(density.density)
    own = getattr(density, "fingerprint", None)
    return [] if own is None else [own]
