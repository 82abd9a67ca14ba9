"""Event models described in JSON: an example of the package, or files of events.

    {"example": "shifted_gaussian", "seed": 0}
    {"example": "higgsml", "tau_energy_scale": 0.03}              real events, in the folder DNNLIKELIHOOD_DATA

    {"features": ["pt", "eta"],
     "processes": {"S": {"file": "s.parquet", "weights": "w", "expected": 50, "poi": "r"},
                   "B": {"file": "b.root", "tree": "events", "weights": "w"}},
     "nuisances": {"energy": {"kind": "samples", "constraint": 1, "same_events": false,
                              "B": [{"file": "b_up.root", "weights": "w"}, {"file": "b_down.root", "weights": "w"}]},
                   "tune": {"kind": "weights", "B": ["w_up", "w_down"]},
                   "lumi": {"kind": "normalisation", "S": [1.02, 0.98], "B": [1.02, 0.98]}}}

Columns of "weights" nuisances are ratios to the nominal weight and lie in the file of the process; a nuisance whose
"constraint" is null is free. Varied samples have tree and weights of their process unless they say otherwise. Paths
are relative to the file of the description.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..config import require
from ..errors import ConfigError, DnnLikelihoodError
from ..jsonfiles import validate
from .events import EventModel, Events, EventWeights, Normalisation, Process, ShiftedSamples
from .examples import Example, blobs, inferno, shifted_gaussian, two_signals
from .higgsml import higgsml
from .many_nuisances import many_nuisances
from .many_signals import many_signals
from .nuisances import Nuisance
from .readers import read_columns

__all__ = ["EXAMPLES", "described"]

EXAMPLES: dict[str, Callable[..., Example]] = {
    f.__name__: f for f in (shifted_gaussian, two_signals, blobs, inferno, many_nuisances, many_signals)
}
REAL: dict[str, Callable[..., EventModel]] = {"higgsml": higgsml}


def described(document: Mapping[str, Any], folder: Path, seed: int = 0, n_folds: int = 1) -> Example:
    """Train, validation and test models.

    Args:
        document: as above.
        folder: to which paths are relative.
        seed: of the deal of files: half of the events train, a quarter validates, a quarter tests.
        n_folds: 2 deals nothing out, since every event is then judged by the network that has not seen it.

    Raises:
        ConfigError: unknown examples or options, or nuisances of unknown processes.
        SchemaError: fields that are missing, unknown or of another type.
        MissingArtifact, CorruptFile, ShapeError: files that are absent, unreadable or lack columns.
    """
    if "example" in document:
        options = {k: v for k, v in document.items() if k != "example"}
        known: dict[str, Callable[..., Example | EventModel]] = {**EXAMPLES, **REAL}
        name = document["example"]
        require(isinstance(name, str) and name in known, f"no example {name!r}; there are {sorted(known)}")
        try:
            found = known[name](**options)
        except (TypeError, ValueError) as error:
            if isinstance(error, DnnLikelihoodError):
                raise
            raise ConfigError(f"example {name!r}: {error}") from error
        return _dealt(found, seed, n_folds) if isinstance(found, EventModel) else found
    validate(document, "events", "events")
    files = _Files(folder, tuple(document["features"]))
    processes = tuple(
        Process(name, files.events(entry), poi=entry.get("poi")) for name, entry in document["processes"].items()
    )
    nuisances = tuple(
        _nuisance(name, dict(entry), files, document["processes"])
        for name, entry in document.get("nuisances", {}).items()
    )
    return _dealt(EventModel(processes, nuisances), seed, n_folds)


def _dealt(model: EventModel, seed: int, n_folds: int) -> Example:
    if n_folds == 2:
        return Example(model, model, model)
    train, rest = model.split(0.5, seed)
    return Example(train, *rest.split(0.5, seed))


class _Files:
    """Event files of one folder."""

    def __init__(self, folder: Path, features: tuple[str, ...]) -> None:
        self._folder, self._features = folder, features

    def events(self, entry: Mapping[str, Any]) -> Events:
        weights = entry.get("weights")
        columns = [*self._features, *([weights] if weights else [])]
        table = read_columns(self._folder / entry["file"], columns, tree=entry.get("tree"))
        return Events.of(table, self._features, weights=weights, expected=entry.get("expected"))

    def columns(self, entry: Mapping[str, Any], names: list[str]) -> list[Any]:
        table = read_columns(self._folder / entry["file"], names, tree=entry.get("tree"))
        return [table[name] for name in names]


def _nuisance(name: str, entry: dict[str, Any], files: _Files, processes: Mapping[str, Any]) -> Nuisance:
    kind, width, same = entry.pop("kind"), entry.pop("constraint", 1.0), entry.pop("same_events", False)
    constraint = math.inf if width is None else width
    unknown = sorted(set(entry) - set(processes))
    require(not unknown, f"nuisance {name!r} varies {unknown}; the processes are {sorted(processes)}")
    if kind == "samples":
        pairs = {
            process: tuple(files.events(_like(processes[process], sample, name)) for sample in pair)
            for process, pair in entry.items()
        }
        return ShiftedSamples(name, pairs, constraint=constraint, same_events=same)
    if kind == "weights":
        ratios = {process: tuple(files.columns(processes[process], pair)) for process, pair in entry.items()}
        return EventWeights(name, ratios, constraint=constraint)
    return Normalisation(name, {process: tuple(pair) for process, pair in entry.items()}, constraint=constraint)


def _like(process: Mapping[str, Any], sample: Mapping[str, Any], nuisance: str) -> dict[str, Any]:
    """A varied sample, read from the tree and with the weights of its process unless it says otherwise."""
    scaled = "expected" in process and "expected" not in sample
    require(not scaled, f"nuisance {nuisance!r}: its process is scaled to an expected yield; give {sample} one, too")
    return {**{key: process[key] for key in ("tree", "weights") if key in process}, **sample}
