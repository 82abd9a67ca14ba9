"""`dnnlik tune`: hyper-parameters searched with Optuna, on validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import MissingArtifact
from . import tables
from .command import Command, Report, output_option, progress_option
from .train import recipe

if TYPE_CHECKING:
    from ..data import Data
    from ..dnnlik import DnnLikConfig
    from ..tune import TuneConfig

__all__ = ["tune"]

_PATH = click.Path(path_type=Path)


class _Choices(click.ParamType):
    """a,b,c: what is tried, numbers or words."""

    name = "choices"

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        try:
            return tuple(self.kind(part.strip()) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list; write {'256,512' if self.kind is int else 'silu,relu'}", param, ctx)


def _choices(name: str, kind: type, text: str) -> Any:
    metavar = "N,N,..." if kind is int else "A,B,..."
    return click.option(name, type=_Choices(kind), metavar=metavar, help=f"{text} to try.")


@click.command(
    cls=Command,
    resumes=True,
    short_help="Search for the recipe that learns rows best.",
    example="dnnlik tune runs/data --trials 40 --output runs/search\n"
    "dnnlik train runs/data --config runs/search/config.json --output runs/dnnlik",
)
@click.argument("data", nargs=-1, required=True, type=_PATH)
@output_option
@click.option("--preset", help="The recipe to begin with: default, paper, cms, slides, counting or quartic.")
@click.option("--config", type=_PATH, metavar="JSON", help="The recipe to begin with, from a file; not with --preset.")
@click.option("--trials", "n_trials", type=int, help="Recipes tried, those of earlier calls counted.  [default: 40]")
@click.option("--epochs", "n_epochs", type=int, help="Of every trial that is not given up.  [default: 30]")
@click.option(
    "--objective",
    type=click.Choice(["rmse", "accuracy"]),
    help="Of validation rows: root mean square error, or share within 0.05 nats or 1 %.  [default: rmse]",
)
@_choices("--architectures", str, "Beside that of the preset: dense, monomials, counting, quartic")
@_choices("--nodes", int, "Units of each hidden layer")
@_choices("--layers", int, "Numbers of hidden layers")
@_choices("--forms", int, "Learned yields of a counting network")
@_choices("--batch-sizes", int, "Rows a step")
@_choices("--activations", str, "Activations: silu, relu, ...")
@_choices("--losses", str, "mse, huber")
@_choices("--optimisers", str, "adam, nadam, rmsprop, sgd")
@_choices("--schedules", str, "cosine, plateau")
@click.option("--learning-rates", type=(float, float), metavar="LOW HIGH", help="Range, searched logarithmically.")
@click.option("--seed", type=int, help="Of the search.")
@progress_option
def tune(
    data: Sequence[Path], output: Path, preset: str | None, config: Path | None, *, progress: bool, **options: Any
) -> Report:
    """Search the table of hyper-parameters for the recipe that learns labelled rows best.

    DATA is a folder that `dnnlik label` wrote, or a run of `dnnlik learn`, whose rows are taken; of several, all rows
    are. Every trial learns the training rows and is judged on the validation rows; test rows are not read. What was
    found goes to DIR/config.json, for `dnnlik train --config`. A search that was killed continues when the command is
    given again.
    """
    from ..tune import tune as search

    rows = _rows(data)
    asked = _search(recipe(preset, config, rows.counts["train"]), options)
    found = search(rows, output, asked, progress=progress)
    facts = {"winner": output / "config.json", "all trials": output / "trials.json"}
    numbers = {"folder": str(output), "config": found.config.to_json(), **found.to_json()}
    table = found.table()
    shown = tables.table(table.title, table.columns, table.rows, "\n".join(table.notes))
    return Report(numbers, (shown, tables.facts(facts)))


def _search(base: DnnLikConfig, options: dict[str, Any]) -> TuneConfig:
    from ..tune import TuneConfig

    return TuneConfig(base=base, **{name: value for name, value in options.items() if value is not None})


def _rows(folders: Sequence[Path]) -> Data:
    """All rows of data folders and of runs of `dnnlik learn`; of active runs, weighted as they were learned from."""
    from ..active import lessons
    from ..data import Data
    from ..jsonfiles import read_json

    parts, active = [], False
    for folder in folders:
        if not _is_run(folder):
            parts.append(Data.load(folder))
            continue
        found = [path for path in sorted(folder.rglob("metadata.json")) if _is_lesson(read_json(path))]
        if not found:
            raise MissingArtifact(f"{folder} is a run without rows; name a folder that `dnnlik label` wrote")
        parts += [Data.load(path.parent) for path in found]
        active |= any(path.parent.name == "rows_first" for path in found)
    data = parts[0] if len(parts) == 1 else Data.concatenate(parts, drop_duplicates=True)
    return lessons(data) if active else data


def _is_run(folder: Path) -> bool:
    return (folder / "request.json").exists() and not (folder / "metadata.json").exists()


def _is_lesson(about: Any) -> bool:
    """Whether a metadata.json is of rows that something was learned from."""
    return about.get("noun") == "data" and bool(about["splits"].get("train"))
