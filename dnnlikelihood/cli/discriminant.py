"""`dnnlik discriminant train` and `compare`: systematic-aware discriminants from events."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, SingularFisher
from . import tables
from .command import Command, Report, new_folder, new_folder_option, progress_option

if TYPE_CHECKING:
    from ..discriminant import Discriminant, DiscriminantConfig
    from ..discriminants.events import EventModel
    from ..discriminants.examples import Example
    from ..discriminants.uncertainty import ExpectedUncertainty

__all__ = ["discriminant"]

DEFAULT_EVENTS = {"example": "shifted_gaussian"}
DEFAULT_TRAINERS = ("cross-entropy", "sannt", "kernel-histogram", "inferno", "efficient-score")
KEYS: dict[str, tuple[type, str]] = {
    "events": (dict, "object"),
    "discriminant": (dict, "object"),
    "trainers": (list, "array"),
}
_CONFIG = click.Path(path_type=Path, exists=True, dir_okay=False)
config_argument = click.argument("config", type=_CONFIG, required=False)
seed_option = click.option("--seed", type=int, help="Of splits, weights and batches, instead of what CONFIG says.")


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
@seed_option
@progress_option
def train(config: Path | None, output: Path, trainer: str | None, seed: int | None, *, progress: bool) -> Report:
    """Train a discriminant, judge it on independent events, save it, and write DIR.workspace.json beside it.

    Trainings that are done are kept in DIR.training until all are: a killed command continues when given again.
    """
    path = new_folder(_beside(output, "workspace.json"))
    document, example = _read(config, seed)
    chosen = _config(document, seed, **({"trainer": trainer} if trainer else {}))
    kept = _beside(output, "training")
    made = _trained(example, chosen, kept, progress=progress)
    judged = _judged(example, chosen)
    rows = _rows(made, example, judged, made.folds[0].trainer)
    made.save(output)
    shutil.rmtree(kept)
    workspace, notes = _workspace(made, judged, path)
    impacts = _impacts(made.expected(judged))
    about = {"bins": made.n_bins, "saved in": output, "workspace": workspace or "none"}
    numbers = {"folder": str(output), "workspace": workspace and str(workspace), "fingerprint": made.fingerprint}
    columns = ("nuisance", *(f"shift of {poi}" for poi in judged.pois))
    shown = tables.table("Impacts", columns, [(n, *(f"{i:+.4f}" for i in shifts)) for n, shifts in impacts.items()])
    notes += [f"note: {message}" for message in (*_scatter(rows), *made.templates(judged).messages)]
    return Report(
        numbers | {"uncertainties": rows, "impacts": impacts, "messages": notes},
        (_table(rows), shown, tables.facts(about), *notes),
    )


def _impacts(found: ExpectedUncertainty, most: int = 10) -> dict[str, list[float]]:
    """Shifts of all signal strengths by the nuisances that shift any of them most."""
    largest = sorted(zip(found.nuisances, found.impacts.T.tolist(), strict=True), key=lambda n: -max(map(abs, n[1])))
    return dict(largest[:most])


def _beside(output: Path, ending: str) -> Path:
    return output.with_name(f"{output.name}.{ending}")


def _workspace(made: Discriminant, judged: EventModel, path: Path) -> tuple[Path | None, list[str]]:
    """Where the workspace is, and why there is none."""
    from ..jsonfiles import pretty
    from ..store import write_text

    try:
        write_text(path, pretty(made.to_workspace(judged)))
    except ConfigError as error:
        return None, [f"note: no workspace: {error}"]
    return path, []


@discriminant.command(
    cls=Command,
    resumes=True,
    short_help="Train by several methods and compare them.",
    example="dnnlik discriminant compare --seed 1 --output runs/methods",
)
@config_argument
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Where figures and numbers go; or none.")
@seed_option
@progress_option
def compare(config: Path | None, output: Path | None, seed: int | None, *, progress: bool) -> Report:
    """Train by several methods on the same events and compare them on independent ones.

    The total uncertainty is that of the Fisher information, "simulated" counts the finite simulation too; +/- are those
    of the profile likelihood on Asimov data. Efficiency is the share of the information that the bins keep, where the
    unbinned bound is known. Figures: scans, impacts, templates, training, repetitions, classes. Trainings that are done
    are kept in DIR.training until all are: a killed command continues when given again.
    """
    if output is not None:
        new_folder(output)
    document, example = _read(config, seed)
    trained: dict[str, Discriminant] = {}
    rows, notes = [], []
    entries = document.get("trainers", DEFAULT_TRAINERS)
    chosen = [_config(document, seed, trainer=entry) for entry in entries]
    for i, one in enumerate(chosen):
        kept = None if output is None else _beside(output, "training") / f"{i:02d}"
        made = _trained(example, one, kept, progress=progress)
        name, judged = _free(made.folds[0].trainer, trained), _judged(example, one)
        try:
            rows += _rows(made, example, judged, name)
        except SingularFisher as error:
            notes.append(f"note: {name}: no result: {error}")
            continue
        mine = [row for row in rows if row["trainer"] == name]
        notes += [f"note: {name}: {message}" for message in (*_scatter(mine), *made.templates(judged).messages)]
        trained[name] = made
    shown: list[Any] = [_table(rows), *notes]
    if output is not None and trained:
        shown.append(tables.facts({"written to": output}))
        _write(output, rows, trained, _judged(example, chosen[0]), example)
        shutil.rmtree(_beside(output, "training"))
    failures = [] if trained else ["no training came to a result"]
    return Report({"uncertainties": rows, "messages": notes}, shown, failures)


@discriminant.command(
    "export",
    cls=Command,
    short_help="Write a discriminant as SavedModel and ONNX.",
    example="dnnlik discriminant export runs/discriminant --output runs/discriminant-model",
)
@click.argument("folder", type=click.Path(path_type=Path))
@new_folder_option
def export_(folder: Path, output: Path) -> Report:
    """Write a trained discriminant as SavedModel and ONNX: features in, bin and score out.

    With two folds there is a network for each, in DIR/fold-0 and DIR/fold-1.
    """
    from ..discriminant import Discriminant

    found = Discriminant.load(folder)
    found.export(output)
    about = {"features, in this order": ", ".join(found.features), "bins": found.n_bins, "written to": output}
    return Report(
        {"folder": str(output), "features": found.features, "bins": found.n_bins, "networks": len(found.folds)},
        (tables.facts(about),),
    )


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
    bounds = dict(zip(judged.pois, example.bound.total.tolist(), strict=True)) if example.scores is not None else {}
    figures = {"templates_" + name.replace(" ", "_"): plots.shifted_templates(t) for name, t in templates.items()}
    for poi in judged.pois:
        figures[f"scan_{poi}"] = plots.strength_scans(templates, poi)
        if judged.nuisances:
            figures[f"impacts_{poi}"] = plots.strength_impacts(templates, poi)
    descents = {name: made.folds[0] for name, made in trained.items() if "uncertainty" in made.folds[0].history}
    if descents:
        figures["training"] = plots.training_evolution(descents, bound=sum(bounds.values()) or None)
    if any(len(made.trainings) > 1 for made in trained.values()):
        spreads = {name: made.repetitions(judged) for name, made in trained.items()}
        for poi in judged.pois:
            figures[f"repetitions_{poi}"] = plots.repeated_trainings(spreads, poi, bound=bounds.get(poi))
    for name, made in trained.items():
        if getattr(made.config.trainer, "classes", "") == "processes":
            shares = class_shares(made.folds[0], judged)
            figures["classes_" + name.replace(" ", "_")] = plots.shares_of_classes(shares, judged.names)
    folder.mkdir(parents=True)
    write_text(folder / "uncertainties.json", pretty(rows))
    for name, figure in figures.items():
        plots.save(figure, folder, name)


def _read(config: Path | None, seed: int | None) -> tuple[dict[str, Any], Example]:
    from ..discriminants.description import described
    from ..jsonfiles import read_json

    document = {} if config is None else read_json(config)
    if not isinstance(document, dict) or set(document) - set(KEYS):
        raise ConfigError(f"{config}: expected a JSON object with {sorted(KEYS)}")
    for key, (kind, name) in KEYS.items():
        if not isinstance(document.get(key, kind()), kind):
            raise ConfigError(f"{config}: {key} is {document[key]!r}, must be a JSON {name}")
    chosen = _config(document, seed)
    events = document.get("events", {**DEFAULT_EVENTS, "seed": chosen.seed})
    return document, described(events, config.parent if config else Path(), chosen.seed, chosen.n_folds)


def _config(document: dict[str, Any], seed: int | None, **changes: Any) -> DiscriminantConfig:
    """What the document says of the discriminant; the command line wins."""
    from ..discriminant import DiscriminantConfig

    given = {} if seed is None else {"seed": seed}
    return DiscriminantConfig.from_json(document.get("discriminant", {}) | changes | given)


def _trained(example: Example, config: DiscriminantConfig, folder: Path | None, *, progress: bool) -> Discriminant:
    from ..discriminant import Discriminant

    validation = example.validation if config.n_folds == 1 else None
    return Discriminant.fit(example.train, config, validation=validation, folder=folder, progress=progress)


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
    spread = made.repetitions(judged) if len(made.trainings) > 1 else None
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
                "repetitions": None if spread is None else [float(spread.median[s]), *spread.interval()[s].tolist()],
            }
        )
    return rows


def _scatter(rows: list[dict[str, Any]]) -> list[str]:
    """Median and interval of repeated trainings, in words."""
    return [
        "Delta {} of all repetitions: median {:.4f}, 68 % in {:.4f} to {:.4f}".format(row["poi"], *row["repetitions"])
        for row in rows
        if row["repetitions"]
    ]


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
