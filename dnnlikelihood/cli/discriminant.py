"""`dnnlik discriminant train` and `compare`: systematic-aware discriminants from events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from . import tables
from .command import Command, Report, new_folder_option, progress_option

if TYPE_CHECKING:
    from ..discriminant import Discriminant
    from ..discriminants.examples import Example

__all__ = ["discriminant"]

DEFAULT_EVENTS = {"example": "shifted_gaussian"}
DEFAULT_TRAINERS = ("cross-entropy", "sannt", "kernel-histogram", "inferno", "efficient-score")
KEYS = {"events", "discriminant", "trainers"}
_CONFIG = click.Path(path_type=Path, exists=True, dir_okay=False)
config_argument = click.argument("config", type=_CONFIG, required=False)


@click.group(short_help="Classifiers trained on the uncertainty they lead to.")
def discriminant() -> None:
    """Classifiers trained on the expected uncertainty of signal strengths, from events to a workspace.

    CONFIG is a JSON file {"events": ..., "discriminant": {"trainer": {"name": "efficient-score", "n_bins": 8}, ...},
    "trainers": [...]}, all of it optional: events are those of the synthetic example otherwise.
    """


@discriminant.command(
    cls=Command,
    resumes=True,
    short_help="Train a discriminant and write its workspace.",
    example="dnnlik discriminant train --output runs/discriminant",
)
@config_argument
@new_folder_option
@click.option("--trainer", help="Its name, instead of what CONFIG says: " + ", ".join(DEFAULT_TRAINERS) + ".")
@click.option("--seed", type=int, default=0, show_default=True, help="Of splits, weights and batches.")
@progress_option
def train(config: Path | None, output: Path, trainer: str | None, seed: int, *, progress: bool) -> Report:
    """Train a discriminant, judge it on independent events, save it, and write workspace.json beside it.

    Trainings that are done are kept in DIR.training until all are: a killed command continues when given again.
    """
    from ..discriminant import Discriminant, DiscriminantConfig
    from ..jsonfiles import pretty
    from ..store import write_text

    document, example = _read(config, seed)
    options = {"seed": seed, **document.get("discriminant", {})}
    chosen = DiscriminantConfig.from_json(options | ({"trainer": trainer} if trainer else {}))
    kept = output.with_name(f"{output.name}.training")
    made = Discriminant.fit(
        example.train, chosen, validation=_validation(example, chosen), folder=kept, progress=progress
    )
    judged = example.train if chosen.n_folds == 2 else example.test
    rows = _rows(made, example, judged)
    made.save(output)
    path = output.with_name(f"{output.name}.workspace.json")
    write_text(path, pretty(made.to_workspace(judged)))
    impacts = made.expected(judged).ranked()[:10]
    about = {"bins": made.n_bins, "saved in": output, "workspace": path}
    numbers = {"folder": str(output), "workspace": str(path), "fingerprint": made.fingerprint, "uncertainties": rows}
    shown = tables.table("Impacts", ("nuisance", "shift of r"), [(n, f"{i:+.4f}") for n, i in impacts])
    notes = [f"note: {message}" for message in made.templates(judged).messages]
    return Report(
        numbers | {"impacts": dict(impacts), "messages": notes}, (_table(rows), shown, tables.facts(about), *notes)
    )


@discriminant.command(
    cls=Command,
    short_help="Train by several methods and compare them.",
    example="dnnlik discriminant compare --seed 1",
)
@config_argument
@click.option("--seed", type=int, default=0, show_default=True, help="Of splits, weights and batches.")
@progress_option
def compare(config: Path | None, seed: int, *, progress: bool) -> Report:
    """Train by several methods on the same events and compare them on independent ones.

    The total uncertainty is that of the Fisher information; +/- are those of the profile likelihood on Asimov data.
    Efficiency is the share of the information that the bins keep, where the unbinned bound is known.
    """
    from ..discriminant import Discriminant, DiscriminantConfig

    document, example = _read(config, seed)
    rows = []
    for entry in document.get("trainers", DEFAULT_TRAINERS):
        options = {"seed": seed, **document.get("discriminant", {}), "trainer": entry}
        chosen = DiscriminantConfig.from_json(options)
        made = Discriminant.fit(example.train, chosen, validation=_validation(example, chosen), progress=progress)
        rows += _rows(made, example, example.train if chosen.n_folds == 2 else example.test)
    return Report({"uncertainties": rows}, (_table(rows),))


def _read(config: Path | None, seed: int) -> tuple[dict[str, Any], Example]:
    from ..discriminants.description import described
    from ..jsonfiles import read_json

    document = {} if config is None else read_json(config)
    if not isinstance(document, dict) or set(document) - KEYS:
        raise ConfigError(f"{config}: expected a JSON object with {sorted(KEYS)}")
    events = document.get("events", {**DEFAULT_EVENTS, "seed": seed})
    return document, described(events, config.parent if config else Path(), seed)


def _validation(example: Example, config: Any) -> Any:
    return example.validation if config.n_folds == 1 else None


def _rows(made: Discriminant, example: Example, judged: Any) -> list[dict[str, Any]]:
    """One row for each signal strength."""
    from ..discriminants.scan import asymmetric
    from ..discriminants.uncertainty import expected_uncertainty

    templates = made.templates(judged)
    found = expected_uncertainty(templates)
    bound = example.bound.total if example.scores is not None else None
    rows = []
    for s, poi in enumerate(found.pois):
        sides = asymmetric(templates, poi)
        rows.append(
            {
                "trainer": made.folds[0].trainer,
                "poi": poi,
                "total": float(found.total[s]),
                "stat": float(found.stat[s]),
                "up": sides.up,
                "down": sides.down,
                "efficiency": None if bound is None else float((bound[s] / found.total[s]) ** 2),
                "bins": templates.n_bins,
                "cpu_seconds": made.cpu_seconds,
            }
        )
    return rows


def _table(rows: list[dict[str, Any]]) -> Any:
    columns = ("trainer", "strength", "total", "stat", "+", "-", "efficiency", "bins filled", "CPU s")
    cells = (
        (
            *(r["trainer"], r["poi"]),
            *(f"{r[k]:.4f}" for k in ("total", "stat", "up", "down")),
            None if r["efficiency"] is None else f"{r['efficiency']:.3f}",
            str(r["bins"]),
            f"{r['cpu_seconds']:.1f}",
        )
        for r in rows
    )
    return tables.table("Expected uncertainties on independent events", columns, cells, left=2)
