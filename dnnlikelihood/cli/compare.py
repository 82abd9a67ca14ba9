"""`dnnlik compare`: the metric tables of arXiv:1911.03305, its recipe run again beside its numbers and beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from . import tables
from .command import Command, Report, output_option, progress_option

__all__ = ["compare"]


@click.command(
    cls=Command,
    resumes=True,
    short_help="The metric tables of the original paper.",
    example="dnnlik compare --only B1 --only ours --output runs/compare",
)
@output_option
@click.option("--only", multiple=True, metavar="NAME", help="A run to do now: B1, ..., F3 or ours; all if not given.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Amounts, as JSON; others are the paper's.")
@progress_option
def compare(output: Path, only: Sequence[str], file: Path | None, *, progress: bool) -> Report:
    """Run the recipe of arXiv:1911.03305 again, beside its published numbers and beside this package's recipe.

    B1, B2, B3 learn from an unbiased sampling with 1, 2 and 5 x 1e5 points, F1, F2, F3 from the mixture. Each is a
    run of its own that is kept in DIR: those that are there are read, a killed one continues. With the paper's
    amounts this takes many hours; --config takes others, for example {"sizes": [10000], "width": 200}.
    """
    from ..compare import CompareConfig
    from ..compare import compare as run
    from ..jsonfiles import read_json

    config = CompareConfig() if file is None else CompareConfig.from_json(read_json(file))
    found = run(output, config, only=only or None, progress=progress)
    parts = [tables.table(t.title, t.columns, t.rows, "\n".join(t.notes), left=2) for t in found.tables()]
    return Report({"folder": str(output), "runs": found.runs}, parts)
