"""`dnnlik scan`: the likelihood along one or two parameters, frozen or profiled, with disjoint intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from . import tables
from .command import Command, Report, new_folder_option, progress_option

if TYPE_CHECKING:
    from ..inference import Inference
    from ..protocols import LogDensity
    from ..results import Interval, ProfileScan

__all__ = ["scan"]


@click.command(
    cls=Command,
    short_help="Scans of one or two parameters, and intervals.",
    example="dnnlik scan saved_models/eft_sixteen --parameter ctW --profiled --output runs/ctW",
)
@click.argument("model")
@click.option(
    "--parameter", "names", multiple=True, required=True, help="What is scanned; given twice, a grid of two parameters."
)
@click.option(
    "--profiled/--frozen", default=True, show_default=True, help="Whether the other parameters are maximised, or held."
)
@click.option("--at", type=float, help="With --frozen: the value of all others; where the best fit is if not given.")
@click.option(
    "--range", "ranges", type=(float, float), multiple=True, metavar="LOW HIGH",
    help="Of each parameter in turn; the whole range if not given.",
)  # fmt: skip
@click.option("--points", "n_points", type=click.IntRange(2, 2000), help="Along each parameter.  [default: 81, or 101]")
@click.option("--starts", "n_starts", type=click.IntRange(1, 100_000), default=64, show_default=True,
              help="Climbs that look for valleys.")  # fmt: skip
@click.option(
    "--level", "levels", type=click.FloatRange(0, 1, min_open=True, max_open=True), multiple=True,
    default=(0.6827, 0.95), show_default=True, help="Of confidence; may be given several times.",
)  # fmt: skip
@new_folder_option
@progress_option
def scan(
    model: str,
    names: Sequence[str],
    ranges: Sequence[tuple[float, float]],
    at: float | None,
    n_points: int | None,
    n_starts: int,
    levels: Sequence[float],
    output: Path,
    *,
    profiled: bool,
    progress: bool,
) -> Report:
    """Scan a likelihood or a surrogate along one or two parameters, and save numbers and plot.

    MODEL is a published model, a DnnLik, a saved likelihood, a recipe, the name of a source, or a JSON file of an
    effective-theory fit. Every valley is followed; of one parameter, intervals come in as many pieces as there are
    valleys below the threshold. The exit code is 1 if points have no answer.
    """
    from ..inference import Inference

    if ranges and len(ranges) != len(names):
        raise ConfigError(f"{len(names)} parameters need as many ranges, {len(ranges)} are given")
    if at is not None and profiled:
        raise ConfigError("--at says where the others are held: use it with --frozen")
    target = _density(model)
    inference = Inference(target)
    axes = _axes(ranges, n_points or (81 if len(names) == 1 else 101))
    options: dict[str, Any] = {"profiled": profiled, "at": at, "n_points": n_points, "n_starts": n_starts}
    if profiled:
        inference.valleys(n_starts=n_starts)
    found = inference.scan(list(names), axes, progress=progress, **options)
    pieces = {}
    if len(names) == 1:
        pieces = inference.intervals(names[0], levels, axes, progress=progress, **options)
    inference.save(output)
    plots = _draw(output, target, found, levels)
    return _report(inference, found, pieces, output, plots)


def _density(model: str) -> LogDensity:
    """An effective-theory fit in a JSON file as the profiled likelihood that it is; else as everywhere."""
    from ..jsonfiles import read_json
    from .opening import density

    path = Path(model)
    if path.suffix == ".json" and path.is_file() and not {"source"} & set(read_json(path)):
        from ..profiled import ProfiledLikelihood

        return ProfiledLikelihood.from_eft(path)
    return density(model)


def _axes(ranges: Sequence[tuple[float, float]], n_points: int) -> Any:
    import numpy as np

    axes = [np.linspace(low, high, n_points) for low, high in ranges]
    return None if not axes else axes[0] if len(axes) == 1 else axes


def _draw(folder: Path, density: LogDensity, found: ProfileScan, levels: Sequence[float]) -> list[Path]:
    """The scan beside the answers."""
    from .. import plots

    label = {"scan": found}
    if len(found.names) == 1:
        figure = plots.scan_lines({found.names[0]: label}, parameters=density.parameters, levels=levels)
    else:
        figure = plots.scan_contours([label], parameters=density.parameters, levels=levels)
    return plots.save(figure, folder / "plots", "scan")


def _report(
    inference: Inference,
    found: ProfileScan,
    pieces: Mapping[float, Sequence[Interval]],
    folder: Path,
    plots: Sequence[Path],
) -> Report:
    parts: list[Any] = []
    failures = [w for answer in inference.answers.values() for w in answer["warnings"] if "points:" in w]
    notes = [w for answer in inference.answers.values() for w in answer["warnings"] if "points:" not in w]
    if pieces:
        places = tables.decimals(min((i.width for v in pieces.values() for i in v), default=1.0))
        rows = [
            (f"{100 * level:g} %", " and ".join(f"{tables.interval((i.low, i.high), places)}" for i in v))
            for level, v in pieces.items()
        ]
        parts.append(tables.table(f"Intervals of {found.names[0]}", ("level", "2 delta NLL"), rows, left=2))
    best = dict(zip(inference.density.parameters.names, found.bestfit.theta[0], strict=True))  # type: ignore[union-attr]
    at = ", ".join(f"{name} = {best[name]:.4g}" for name in found.names)
    facts = {"points": f"{len(found.points):,}", "best fit": at, "saved in": folder, "plot": plots[0]}
    parts.append(tables.facts(facts))
    parts += [f"note: {note}" for note in dict.fromkeys(notes)]
    return Report({"folder": str(folder), "answers": inference.answers}, parts, failures)
