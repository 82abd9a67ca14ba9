"""`dnnlik discriminant train` and `compare`: systematic-aware discriminants from events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from . import tables
from .command import Command, Report, new_folder, new_folder_option, progress_option

if TYPE_CHECKING:
    from ..discriminant import Discriminant, DiscriminantConfig
    from ..discriminants.events import EventModel
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
    "trainers": [...]}, all of it optional: events are those of the synthetic example otherwise. Other examples have
    names, such as {"events": {"example": "higgsml"}, "discriminant": {"n_folds": 2}}, real simulated events of ATLAS.
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
    judged = _judged(example, chosen)
    rows = _rows(made, example, judged, made.folds[0].trainer)
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
    example="dnnlik discriminant compare --seed 1 --output runs/methods",
)
@config_argument
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Where figures and numbers go; or none.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of splits, weights and batches.")
@progress_option
def compare(config: Path | None, output: Path | None, seed: int, *, progress: bool) -> Report:
    """Train by several methods on the same events and compare them on independent ones.

    The total uncertainty is that of the Fisher information, "simulated" counts the finite simulation too; +/- are those
    of the profile likelihood on Asimov data. Efficiency is the share of the information that the bins keep, where the
    unbinned bound is known. Figures: scans, impacts, templates, training, repetitions, classes.
    """
    from ..discriminant import Discriminant, DiscriminantConfig

    if output is not None:
        new_folder(output)
    document, example = _read(config, seed)
    trained: dict[str, Discriminant] = {}
    rows, notes = [], []
    for entry in document.get("trainers", DEFAULT_TRAINERS):
        options = {"seed": seed, **document.get("discriminant", {}), "trainer": entry}
        chosen = DiscriminantConfig.from_json(options)
        made = Discriminant.fit(example.train, chosen, validation=_validation(example, chosen), progress=progress)
        name = _free(made.folds[0].trainer, trained)
        judged = _judged(example, chosen)
        rows += _rows(made, example, judged, name)
        notes += [f"note: {name}: {message}" for message in made.templates(judged).messages]
        trained[name] = made
    shown: list[Any] = [_table(rows), *notes]
    if output is not None:
        shown.append(tables.facts({"written to": output}))
        _write(output, rows, trained, _judged(example, chosen), example)
    return Report({"uncertainties": rows, "messages": notes}, shown)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, numbered if there is one already.

    >>> _free("SANNT", {"SANNT": None, "SANNT #2": None})
    'SANNT #3'
    """
    number = sum(other.split(" #")[0] == name for other in taken)
    return f"{name} #{number + 1}" if number else name


def _write(
    folder: Path, rows: list[dict[str, Any]], trained: Mapping[str, Discriminant], judged: EventModel, example: Example
) -> None:
    """Numbers and figures."""
    from .. import plots
    from ..discriminants.diagnostics import class_shares
    from ..jsonfiles import pretty
    from ..store import write_text

    templates = {name: made.templates(judged) for name, made in trained.items()}
    bound = float(example.bound.total[0]) if example.scores is not None else None
    figures = {"templates_" + name.replace(" ", "_"): plots.shifted_templates(t) for name, t in templates.items()}
    for poi in judged.pois:
        figures[f"scan_{poi}"] = plots.strength_scans(templates, poi)
        if judged.nuisances:
            figures[f"impacts_{poi}"] = plots.strength_impacts(templates, poi)
    descents = {name: made.folds[0] for name, made in trained.items() if "uncertainty" in made.folds[0].history}
    if descents:
        figures["training"] = plots.training_evolution(descents, bound=bound if len(judged.pois) == 1 else None)
    if any(len(made.trainings) > 1 for made in trained.values()):
        spreads = {name: made.repetitions(judged) for name, made in trained.items()}
        figures["repetitions"] = plots.repeated_trainings(spreads, bound=bound)
    for name, made in trained.items():
        if getattr(made.config.trainer, "classes", "") == "processes":
            shares = class_shares(made.folds[0], judged)
            figures["classes_" + name.replace(" ", "_")] = plots.shares_of_classes(shares, judged.names)
    folder.mkdir(parents=True)
    write_text(folder / "uncertainties.json", pretty(rows))
    for name, figure in figures.items():
        plots.save(figure, folder, name)


def _read(config: Path | None, seed: int) -> tuple[dict[str, Any], Example]:
    from ..discriminants.description import described
    from ..jsonfiles import read_json

    document = {} if config is None else read_json(config)
    if not isinstance(document, dict) or set(document) - KEYS:
        raise ConfigError(f"{config}: expected a JSON object with {sorted(KEYS)}")
    events = document.get("events", {**DEFAULT_EVENTS, "seed": seed})
    n_folds = document.get("discriminant", {}).get("n_folds", 1)
    return document, described(events, config.parent if config else Path(), seed, n_folds)


def _validation(example: Example, config: DiscriminantConfig) -> EventModel | None:
    return example.validation if config.n_folds == 1 else None


def _judged(example: Example, config: DiscriminantConfig) -> EventModel:
    """With two folds the training events themselves, each by the network that has not seen it."""
    return example.train if config.n_folds == 2 else example.test


def _rows(made: Discriminant, example: Example, judged: EventModel, name: str) -> list[dict[str, Any]]:
    """One row for each signal strength."""
    from ..discriminants.scan import asymmetric
    from ..discriminants.uncertainty import expected_uncertainty

    templates = made.templates(judged)
    found, simulated = expected_uncertainty(templates), expected_uncertainty(templates, mc_statistics=True)
    bound = example.bound.total if example.scores is not None else None
    rows = []
    for s, poi in enumerate(found.pois):
        sides = asymmetric(templates, poi)
        rows.append(
            {
                "trainer": name,
                "poi": poi,
                "total": float(found.total[s]),
                "stat": float(found.stat[s]),
                "simulated": float(simulated.total[s]),
                "up": sides.up,
                "down": sides.down,
                "efficiency": None if bound is None else float((bound[s] / found.total[s]) ** 2),
                "bins": templates.n_bins,
                "cpu_seconds": made.cpu_seconds,
            }
        )
    return rows


def _table(rows: list[dict[str, Any]]) -> Any:
    columns = ("trainer", "strength", "total", "stat", "simulated", "+", "-", "efficiency", "bins filled", "CPU s")
    cells = (
        (
            *(r["trainer"], r["poi"]),
            *(f"{r[k]:.4f}" for k in ("total", "stat", "simulated", "up", "down")),
            None if r["efficiency"] is None else f"{r['efficiency']:.3f}",
            str(r["bins"]),
            f"{r['cpu_seconds']:.1f}",
        )
        for r in rows
    )
    return tables.table("Expected uncertainties on independent events", columns, cells, left=2)
