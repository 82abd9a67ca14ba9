"""`dnnlik scan`: the likelihood along one or two parameters, frozen or profiled, with disjoint intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from . import tables
from .command import Command, Report, new_folder, progress_option
from .eft import effective_theory

if TYPE_CHECKING:
    from ..inference import Inference
    from ..protocols import LogDensity
    from ..results import Interval, ProfileScan
    from ..statistics.scans import Search

__all__ = ["scan"]

OWN, BESIDE = "scan", "beside"


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
@click.option("--beside", metavar="MODEL", help="Another density of the same parameters, the truth say, scanned and "
              "drawn beside it.")  # fmt: skip
@click.option("--points", "n_points", type=click.IntRange(2, 2000), help="Along each parameter.  [default: 81, or 101]")
@click.option("--search", type=click.Choice(["valleys", "multistart"]), default="valleys", show_default=True,
              help="Of a profiled scan: five points along each axis have starts of their own, or all.")  # fmt: skip
@click.option("--starts", "n_starts", type=click.IntRange(1, 100_000), default=64, show_default=True,
              help="Climbs that look for valleys; starts of each point that has its own.")  # fmt: skip
@click.option(
    "--level", "levels", type=click.FloatRange(0, 1, min_open=True, max_open=True), multiple=True,
    default=(0.6827, 0.95), show_default=True, help="Of confidence; may be given several times.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="DIR",
    callback=lambda _context, _parameter, folder: None if folder is None else new_folder(folder),
    help="Where numbers and plots go: a folder that does not exist yet. Nothing is written if not given.",
)  # fmt: skip
@progress_option
def scan(
    model: str,
    names: Sequence[str],
    ranges: Sequence[tuple[float, float]],
    at: float | None,
    beside: str | None,
    n_points: int | None,
    search: Search,
    n_starts: int,
    levels: Sequence[float],
    output: Path | None,
    *,
    profiled: bool,
    progress: bool,
) -> Report:
    """Scan a likelihood or a surrogate along one or two parameters; --output keeps numbers and plots.

    MODEL is a published model, a DnnLik, a saved likelihood, a recipe, the name of a source, or a JSON file of an
    effective-theory fit; `eft` is the generated one. Every valley is followed; of one parameter, intervals come in as
    many pieces as there are valleys below the threshold. With --beside, each of the two begins at the valleys of both,
    and the plot of one parameter is drawn twice: from each curve's own minimum, and from that of the one beside. The
    exit code is 1 if points have no answer, or one at the edge of a surrogate's domain.
    """
    from ..inference import Inference

    if ranges and len(ranges) != len(names):
        raise ConfigError(f"{len(names)} parameters need as many ranges, {len(ranges)} are given")
    if at is not None and profiled:
        raise ConfigError("--at says where the others are held: use it with --frozen")
    if search != "valleys" and not profiled:
        raise ConfigError(f"--search {search} is of profiled scans: leave --frozen out")
    asked = {OWN: _density(model)} | ({BESIDE: _density(beside)} if beside is not None else {})
    both = {who: Inference(density) for who, density in asked.items()}
    axes = _axes(ranges, n_points or (81 if len(names) == 1 else 101))
    if axes is None and len(both) > 1:
        axes = _shared(asked, names, n_points or (81 if len(names) == 1 else 101))
    options: dict[str, Any] = {"profiled": profiled, "at": at, "n_points": n_points, "n_starts": n_starts}
    options |= {"search": search, "progress": progress}
    if profiled:
        _valleys(both, n_starts)
    found = {who: i.scan(list(names), axes, **options) for who, i in both.items()}
    pieces = {}
    if len(names) == 1:
        pieces = {who: i.intervals(names[0], levels, found[who], **options) for who, i in both.items()}
    report = _report(asked[OWN].parameters.names, both, found, pieces)
    if output is None:
        return report
    for who, inference in both.items():
        inference.save(output if who == OWN else output / who)
    saved = {"saved in": output, "plot": _draw(output, asked[OWN], found, levels)[0]}
    return replace(
        report, numbers={"folder": str(output), **report.numbers}, parts=[*report.parts, tables.facts(saved)]
    )


def _density(model: str) -> LogDensity:
    """An effective-theory fit, generated or in a JSON file; else as everywhere."""
    from ..jsonfiles import read_json
    from .opening import density

    path = Path(model)
    if model == "eft":
        return effective_theory(None)
    if path.suffix == ".json" and path.is_file():
        document = read_json(path)
        if not (isinstance(document, dict) and "source" in document):
            return effective_theory(path)
    return density(model)


def _axes(ranges: Sequence[tuple[float, float]], n_points: int) -> Any:
    import numpy as np

    axes = [np.linspace(low, high, n_points) for low, high in ranges]
    return None if not axes else axes[0] if len(axes) == 1 else axes


def _shared(densities: Mapping[str, LogDensity], names: Sequence[str], n_points: int) -> Any:
    """Values over the range in which all of them are defined."""
    import numpy as np

    from ..statistics.profile import limits

    ends = []
    for density in densities.values():
        columns = density.parameters.indices(tuple(names))
        ends.append([bound[columns] for bound in limits(density)])
    low, high = np.max([e[0] for e in ends], axis=0), np.min([e[1] for e in ends], axis=0)
    if not np.isfinite([low, high]).all():
        raise ConfigError(f"{', '.join(names)} have no finite range; give --range")
    return _axes(list(zip(low, high, strict=True)), n_points)


def _valleys(both: Mapping[str, Inference], n_starts: int) -> None:
    """Each knows the valleys of the other."""
    known = None
    for who in [*both, OWN] if len(both) > 1 else [OWN]:
        density = both[who].density
        starts = None if known is None or density is None else known[density.support(known)]
        known = both[who].valleys(n_starts=n_starts, starts=starts).theta


def _draw(folder: Path, density: LogDensity, found: Mapping[str, ProfileScan], levels: Sequence[float]) -> list[Path]:
    """The scan beside the answers; what it is compared with in black."""
    from .. import plots

    curves = {"exact" if who == BESIDE else "surrogate": scan for who, scan in reversed(list(found.items()))}
    if len(found) == 1:
        curves = {"scan": found[OWN]}
    names = found[OWN].names
    options: dict[str, Any] = {"parameters": density.parameters, "levels": levels}
    if len(names) == 2:
        return plots.save(plots.scan_contours([curves], **options), folder / "plots", "scan")
    drawn = plots.save(plots.scan_lines({names[0]: curves}, **options), folder / "plots", "scan")
    if len(found) > 1:
        unshifted = plots.scan_lines({names[0]: curves}, shifted=False, **options)
        drawn += plots.save(unshifted, folder / "plots", "scan_unshifted")
    return drawn


def _report(
    names: Sequence[str],
    both: Mapping[str, Inference],
    found: Mapping[str, ProfileScan],
    pieces: Mapping[str, Mapping[float, Sequence[Interval]]],
) -> Report:
    parts: list[Any] = []
    warnings = [(who, w) for who, i in both.items() for answer in i.answers.values() for w in answer["warnings"]]
    said = dict.fromkeys(w if who == OWN else f"{who}: {w}" for who, w in warnings)
    if pieces:
        parts.append(_intervals(found[OWN].names[0], pieces))
    facts: dict[str, Any] = {"points": f"{len(found[OWN].points):,}"}
    for who, scan in found.items():
        best = dict(zip(names, scan.bestfit.theta[0], strict=True))
        facts["best fit" if who == OWN else f"best fit, {who}"] = ", ".join(f"{n} = {best[n]:.4g}" for n in scan.names)
    parts.append(tables.facts(facts))
    parts += [f"note: {note}" for note in said if "points:" not in note]
    numbers: dict[str, Any] = {"answers": both[OWN].answers}
    if BESIDE in both:
        numbers["beside"] = both[BESIDE].answers
    return Report(numbers, parts, [note for note in said if "points:" in note])


def _intervals(name: str, pieces: Mapping[str, Mapping[float, Sequence[Interval]]]) -> Any:
    places = tables.decimals(
        min((i.width for found in pieces.values() for v in found.values() for i in v), default=1.0)
    )
    rows = [
        (
            f"{100 * level:g} %",
            *(" and ".join(f"{tables.interval((i.low, i.high), places)}" for i in v[level]) for v in pieces.values()),
        )
        for level in pieces[OWN]
    ]
    columns = ("level", *("2 delta NLL" if who == OWN else who for who in pieces))
    return tables.table(f"Intervals of {name}", columns, rows, left=len(columns))
