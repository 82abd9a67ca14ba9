"""Workspaces among the arguments of commands; what `dnnlik learn WORKSPACE.json` does and shows."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import SchemaError
from . import tables
from .command import Report

if TYPE_CHECKING:
    import numpy as np

    from ..learn_profiled import LearnedProfiled
    from ..profiled import ProfiledLikelihood

__all__ = ["WorkspaceOptions", "is_workspace", "learn_workspace_file", "region_options"]


def region_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which channels of a workspace a command looks at: `signal_regions`, a tuple of names, and `control_regions`."""
    signal = click.option(
        "--signal-regions",
        metavar="A,B",
        callback=lambda _context, _parameter, text: tuple(filter(None, map(str.strip, (text or "").split(",")))),
        help="Of a workspace: channels with signal; SR... by default.",
    )
    control = click.option(
        "--control-regions/--no-control-regions", default=True, help="Of a workspace: whether to fit them."
    )
    return signal(control(command))


@dataclass(frozen=True)
class WorkspaceOptions:
    """Options of `dnnlik learn` that only workspaces take."""

    patchset: Path | None = None
    signal_regions: tuple[str, ...] = ()
    control_regions: bool = True
    simplified: Path | None = None
    references: Sequence[str] = ()
    discovery: bool = False
    labels: int | None = None
    contamination: float | None = None

    @property
    def given(self) -> bool:
        """Whether any was."""
        return self != WorkspaceOptions()

    def words(self) -> list[str]:
        """As they stand on the command line, files by their names alone."""
        files = [("--patchset", self.patchset), ("--simplified", self.simplified)]
        words = [word for option, path in files if path is not None for word in (option, path.name)]
        if self.signal_regions:
            words += ["--signal-regions", ",".join(self.signal_regions)]
        words += ["--labels", str(self.labels)] if self.labels is not None else []
        words += ["--contamination", str(self.contamination)] if self.contamination is not None else []
        words += ["--discovery"] if self.discovery else []
        words += [word for reference in self.references for word in ("--reference", reference)]
        return words if self.control_regions else [*words, "--no-control-regions"]


def is_workspace(source: str) -> bool:
    """Whether a file of that name holds a pyhf workspace."""
    from ..sources.histfactory_workspace import read_document

    path = Path(source)
    if not (path.name.endswith((".json", ".json.gz")) and path.is_file()):
        return False
    document = read_document(path, "source")
    return isinstance(document, dict) and "channels" in document


def learn_workspace_file(
    source: str, output: Path, preset: str, name: str | None, options: WorkspaceOptions, *, progress: bool
) -> Report:
    """Learn the profiled likelihood of a workspace, and say what came out."""
    from ..learn_workspace import LearnWorkspaceConfig, learn_workspace
    from ..profiled import ProfiledLikelihood

    path, regions = Path(source), options.signal_regions or None
    truth = ProfiledLikelihood.from_workspace(
        path,
        signal_regions=regions,
        include_control_regions=options.control_regions,
        discovery=options.discovery,
    )
    signals = None if options.patchset is None else _signals(truth, options.patchset)
    simplified = None
    if options.simplified is not None:
        simplified = ProfiledLikelihood.from_workspace(
            options.simplified, signal_regions=regions, include_control_regions=False
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = [] if name is None else ["--name", name]
    words = ["dnnlik", "learn", path.name, *named, *options.words(), "--preset", preset, "--output", "DIR"]
    chosen = truth.source.arguments["signal_regions"]
    asked: dict[str, Any] = {"n_labels": options.labels, "contamination": options.contamination}
    config = LearnWorkspaceConfig.preset(preset, len(truth.parameters))
    learned = learn_workspace(
        truth,
        output,
        config=replace(config, **{key: value for key, value in asked.items() if value is not None}),
        signals=signals,
        simplified=simplified,
        name=name or path.name.split(".json")[0],
        command=shlex.join(words),
        description=(
            f"Profiled likelihood of the pyhf workspace {path.name} as a function of the signal yields in "
            f"{len(truth.parameters)} bins (signal regions: {', '.join(chosen)}); "
            f"{len(truth.source.nuisances)} nuisance parameters profiled."
        ),
        source_reference=f"{path.name}, sha256 {digest}; {truth.source.reference}",
        references=list(options.references),
        progress=progress,
    )
    return Report({"folder": str(output), **learned.summary}, tuple(_parts(learned)), tables.failures(learned))


def _signals(truth: ProfiledLikelihood, path: Path) -> dict[str, np.ndarray]:
    """Yields of the patches of a file or folder, which is named where they do not fit."""
    from ..learn_workspace import read_patches

    patches = read_patches(path)
    try:
        return truth.signals_from_patchset(patches)
    except SchemaError as error:
        raise SchemaError(f"{path}, {error}") from error


def _parts(learned: LearnedProfiled) -> Iterator[Any]:
    summary = learned.summary
    percent = {(row["where"], row["head"]): row for row in summary["percent"]}
    rows = []
    for row in summary["accuracy"]:
        numbers = [tables.number(row[k]) for k in ("mean", "q999", "max", "baseline_rmse")]
        relative = percent.get((row["where"], row["head"]), {})
        shares = [tables.number(relative.get(k)) for k in ("mape", "max_ape")]
        rows.append((row["where"], row["head"], f"{row['n']:,}", *numbers, *shares))
    columns = ("where", "head", "points", "mean", "99.9 % below", "largest", "RMSE, baseline", "MAPE %", "MaxAPE %")
    yield tables.table("Errors in nats, and in percent of -log L", columns, rows, left=2)
    if "limits" in summary:
        found = summary["limits"]
        cells: list[tuple[str | None, ...]] = [
            (which, str(found[which]["answered"]), str(found[which]["refused"]), *_relative(found[which]))
            for which in ("observed", "expected")
        ]
        if "simplified" in found:
            cells.append(("observed, simplified likelihood", str(found["simplified"]["n"]), None,
                          *_relative(found["simplified"])))  # fmt: skip
        head = ("upper limits on mu", "signals", "refused", "median error", "largest error")
        yield tables.table(f"Limits of {found['signals']} real signals", head, cells)
    targets = [
        (t["target"], tables.number(t["value"]), f"{t['limit']:g}", tables.verdict(t["met"]))
        for t in summary["targets"]
    ]
    yield tables.table("Targets", ("", "value", "limit", ""), targets)
    seconds = [(stage, f"{t:,.1f}") for stage, t in summary["cpu_seconds"].items()]
    yield tables.table("CPU seconds", ("stage", "seconds"), seconds)
    yield tables.facts({
        "training points": f"{summary['n_train']:,}",
        "failed fits": sum(summary["failed_fits"].values()),
        **{
            f"not tested on, for {why}": f"{len(names)}: {', '.join(names[:5])}{', ...' * (len(names) > 5)}"
            for why, names in summary["left_out"].items()
        },
        "published model": learned.folder / "model",
        "model card": learned.folder / "model" / "README.md",
    })  # fmt: skip


def _relative(found: dict[str, Any]) -> tuple[str | None, str | None]:
    return (None, None) if found["median"] is None else (f"{found['median']:.3%}", f"{found['largest']:.3%}")
