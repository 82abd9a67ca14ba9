"""Scans of a likelihood as ROOT files: the `limit` trees that CMS's Combine writes, read in a stream, and written.

A row of the tree is a point: a branch for each parameter, `deltaNLL` (-log L relative to the best fit of the job), and
`quantileExpected` (-1 for a best fit). Combine's best fit need not be the lowest point of a scan: what is read is
shifted so that the lowest one is 0, and the shift is kept. Rows that are not finite, or whose fit failed (Combine then
writes deltaNLL = 9990), are kept out and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CorruptFile, MissingArtifact, MissingDependency, ParameterError, ShapeError
from .progress import progress_bar

__all__ = ["CombineScan", "read_combine", "write_combine"]

logger = logging.getLogger(__name__)
TREE = "limit"
TREES = ("TTree", "ROOT::RNTuple")
FAILED = 9990.0
"""What Combine writes where it could not evaluate the likelihood."""
BOOKKEEPING = (
    *("limit", "limitErr", "mh", "syst", "iToy", "iSeed", "iChannel", "t_cpu", "t_real"),
    *("quantileExpected", "deltaNLL", "nll", "nll0"),
)
"""Branches that are no parameters."""
CHUNK = 500_000
"""Rows written at a time."""


@dataclass(frozen=True)
class CombineScan:
    """The usable rows of a scan."""

    names: tuple[str, ...]
    theta: np.ndarray
    """(n, d)."""
    delta_nll: np.ndarray
    """(n,) -log L relative to the lowest row, >= 0."""
    shift: float
    """The lowest deltaNLL in the files, which was subtracted."""
    bestfit: np.ndarray
    """(n,) bool: rows that Combine calls a best fit."""
    not_finite: int
    """Rows kept out because a number in them is not finite."""
    failed: int
    """Rows kept out because Combine says that the fit failed."""


def _uproot() -> Any:
    try:
        import uproot
    except ModuleNotFoundError as error:
        raise MissingDependency("reading and writing ROOT files needs uproot: pip install 'dnnlikelihood[root]'") from (
            error
        )
    return uproot


def read_combine(
    files: str | Path | Sequence[str | Path],
    names: Sequence[str] | None = None,
    *,
    max_delta_nll: float = np.inf,
    step: str = "50 MB",
    progress: bool = True,
) -> CombineScan:
    """The points of one or more Combine outputs, read piece by piece.

    Args:
        files: ROOT files of jobs on the same workspace (relative to the same best fit).
        names: the parameters; if None, every branch of numbers that is not Combine's bookkeeping or a tracked
            parameter.
        max_delta_nll: rows above are left out (and counted with neither of the two).
        step: how much of a file is in memory at a time.
        progress: show a bar on a terminal.

    Raises:
        MissingArtifact: a file that does not exist.
        CorruptFile: a file that is no ROOT file, or has no such tree or branches; names them.
        ShapeError: no usable row.
        MissingDependency: uproot is not installed.
    """
    paths = [Path(f) for f in ([files] if isinstance(files, str | Path) else files)]
    if not paths:
        raise ParameterError("no files to read")
    wanted = None if names is None else tuple(names)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    not_finite = failed = 0
    with progress_bar("reading", len(paths), shown=progress and len(paths) > 1) as advance:
        for path in paths:
            for columns, rows in _pieces(path, wanted, step):
                wanted = columns
                finite = np.isfinite(rows).all(axis=1)
                bad = finite & (rows[:, -2] >= FAILED)
                not_finite, failed = not_finite + int((~finite).sum()), failed + int(bad.sum())
                good = rows[finite & ~bad]
                parts.append((good[:, :-2], good[:, -2], good[:, -1] == -1.0))
            advance()
    theta, delta_nll, bestfit = (np.concatenate([p[i] for p in parts]) for i in range(3))
    if not len(theta):
        raise ShapeError(f"{paths[0]} ...: no usable row ({not_finite} not finite, {failed} failed fits)")
    if not_finite or failed:
        logger.warning("%d rows that are not finite and %d failed fits are kept out", not_finite, failed)
    shift = float(delta_nll.min())
    keep = delta_nll - shift <= max_delta_nll
    return CombineScan(wanted or (), theta[keep], delta_nll[keep] - shift, shift, bestfit[keep], not_finite, failed)


def _pieces(path: Path, names: tuple[str, ...] | None, step: str) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """(names, rows (m, d + 2)) of a file: parameters, deltaNLL, quantileExpected."""
    uproot = _uproot()
    if not path.exists():
        raise MissingArtifact(f"{path} does not exist")
    try:
        file = uproot.open(path)
    except (ValueError, OSError, EOFError) as error:
        raise CorruptFile(f"{path} is no ROOT file that can be read ({str(error).splitlines()[0]})") from error
    with file:
        if file.classnames(cycle=False).get(TREE) not in TREES:
            raise CorruptFile(f"{path} has no tree {TREE!r}; it holds {file.classnames(cycle=False)}")
        tree = file[TREE]
        branches = tree.keys(recursive=False)
        if names is None:
            names = tuple(b for b in branches if b not in BOOKKEEPING and not b.startswith("trackedParam"))
        wanted = [*names, "deltaNLL", "quantileExpected"]
        missing = [b for b in wanted if b not in branches]
        if missing or not names:
            raise CorruptFile(
                f"{path}: tree {TREE!r} lacks the branches {missing or 'of any parameter'}; it has {branches[:40]}. "
                "Scans are written by combine -M MultiDimFit"
            )
        yield names, np.zeros((0, len(wanted)))
        for piece in tree.iterate(wanted, step_size=step, library="np"):
            try:
                yield names, np.stack([np.asarray(piece[b], float) for b in wanted], axis=1)
            except (TypeError, ValueError) as error:
                raise CorruptFile(f"{path}: branches {wanted} are not all plain numbers ({error})") from error


def write_combine(
    path: str | Path,
    names: Sequence[str],
    theta: np.ndarray,
    delta_nll: np.ndarray,
    bestfit: np.ndarray | None = None,
) -> Path:
    """Write a scan as Combine would: single precision, `quantileExpected` the p-value of 2 deltaNLL.

    Args:
        path: the file, written anew.
        names: of the parameters.
        theta: (n, d) points.
        delta_nll: (n,) -log L relative to the best fit.
        bestfit: (n,) bool, rows that are best fits; the lowest row if None.

    Raises:
        ShapeError: arrays that do not fit each other, or are not finite.
        ParameterError: a name that is one of Combine's own branches.
    """
    from scipy.special import chdtrc

    theta, delta_nll = np.asarray(theta, float), np.asarray(delta_nll, float)
    if theta.shape != (len(delta_nll), len(names)) or not (np.isfinite(theta).all() and np.isfinite(delta_nll).all()):
        raise ShapeError(f"a scan needs finite theta (n, {len(names)}) and delta_nll (n,), got {theta.shape}")
    taken = sorted(set(names) & set(BOOKKEEPING))
    if taken or len(set(names)) < len(names):
        raise ParameterError(f"parameters {taken or list(names)} cannot be branches beside Combine's own; rename them")
    best = np.arange(len(theta)) == delta_nll.argmin() if bestfit is None else np.asarray(bestfit, bool)
    quantile = np.where(best, -1.0, chdtrc(len(names), 2 * np.maximum(delta_nll, 0)))
    integers, doubles, singles = ("syst", "iToy", "iSeed", "iChannel"), ("limit", "limitErr", "mh"), ("t_cpu", "t_real")
    types = dict.fromkeys(doubles, np.float64) | dict.fromkeys(integers, np.int32) | dict.fromkeys(singles, np.float32)
    columns = dict(zip(names, theta.T, strict=True)) | {"deltaNLL": delta_nll, "quantileExpected": quantile}
    with _uproot().recreate(path) as file:
        tree = file.mktree(TREE, types | dict.fromkeys(columns, np.float32))
        for i in range(0, len(theta), CHUNK):
            rows = slice(i, min(i + CHUNK, len(theta)))
            zeros = {name: np.zeros(rows.stop - i, kind) for name, kind in types.items()}
            tree.extend(zeros | {name: column[rows].astype(np.float32) for name, column in columns.items()})
    return Path(path)
