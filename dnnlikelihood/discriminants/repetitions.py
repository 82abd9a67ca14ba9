"""Trainings repeated from other initial weights, each kept on disk as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptFile, StaleArtifact
from ..jsonfiles import canonical, pretty, read_json
from ..npzfiles import read_npz, write_npz
from ..store import write_text
from .events import EventModel
from .trained import Trained
from .trainers import AnyTrainer, BinCurve

__all__ = ["Kept", "Spread", "fold_models", "read_training", "repetition_seed", "write_training"]


@dataclass(frozen=True, eq=False)
class Spread:
    """Uncertainties of all repetitions.

    Attributes:
        pois: (S,) names.
        total: (R, S).
        stat: (R, S).
    """

    pois: tuple[str, ...]
    total: np.ndarray
    stat: np.ndarray

    @property
    def median(self) -> np.ndarray:
        """(S,) of the total."""
        return np.median(self.total, axis=0)

    def interval(self, level: float = 0.68) -> np.ndarray:
        """(S, 2) central interval of the total."""
        return np.quantile(self.total, [(1 - level) / 2, (1 + level) / 2], axis=0).T


def repetition_seed(seed: int, repetition: int) -> int:
    """Other initial weights and batches; the first repetition has the seed itself."""
    return seed if repetition == 0 else int(np.random.SeedSequence([seed, repetition]).generate_state(1)[0] >> 1)


def fold_models(
    model: EventModel, validation: EventModel | None, n_folds: int, seed: int
) -> list[tuple[EventModel, EventModel]]:
    """(train, validation) of each fold; validation events come from the events that a fold trains on."""
    if n_folds == 1:
        return [model.held_out(seed) if validation is None else (model, validation)]
    return [train.held_out(seed) for train, _ in model.folds(seed)]


def write_training(folder: Path, name: str, trained: Trained) -> None:
    """`name.npz` and then `name.json`, whose presence says that both are whole."""
    write_npz(folder / f"{name}.npz", trained.arrays())
    told = {"history": trained.history, "cpu_seconds": trained.cpu_seconds, "messages": trained.messages}
    history = {key: [float(v) if np.isfinite(v) else None for v in values] for key, values in trained.history.items()}
    write_text(folder / f"{name}.json", pretty({**told, "history": history, "messages": list(trained.messages)}))


def read_training(folder: Path, name: str) -> Trained:
    """The inverse of `write_training`.

    Raises:
        MissingArtifact, CorruptFile: files that are absent or something else.
    """
    told = read_json(folder / f"{name}.json")
    try:
        history = {key: [np.nan if v is None else float(v) for v in values] for key, values in told["history"].items()}
        numbers: dict[str, Any] = {"cpu_seconds": float(told["cpu_seconds"]), "messages": tuple(told["messages"])}
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{folder / name}.json tells of no training: {error}") from error
    return replace(Trained.from_arrays(read_npz(folder / f"{name}.npz")), history=history, **numbers)


class Kept:
    """Trainings in a folder, made when they are missing.

    Args:
        folder: where they are kept, or None for nowhere.
        request: what they depend on, JSON.

    Raises:
        StaleArtifact: the folder holds trainings of another request.
    """

    def __init__(self, folder: Path | None, request: Any) -> None:
        self._folder = folder
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path, document = folder / "request.json", pretty(request)
        if not path.exists():
            write_text(path, document)
        elif canonical(read_json(path)) != canonical(request):
            raise StaleArtifact(f"{folder} holds trainings of another model or configuration; choose another folder")

    def curve(self, make: Callable[[], BinCurve]) -> BinCurve:
        """The validation curve, read or made."""
        if self._folder is None:
            return make()
        path = self._folder / "curve.json"
        if path.exists():
            return BinCurve.from_json(read_json(path))
        curve = make()
        write_text(path, pretty(curve.to_json()))
        return curve

    def __call__(
        self, name: str, trainer: AnyTrainer, train: EventModel, validation: EventModel, seed: int, *, progress: bool
    ) -> Trained:
        """The training of that name, read or made."""
        if self._folder is not None and (self._folder / f"{name}.json").exists():
            return read_training(self._folder, name)
        trained = trainer.fit(train, validation=validation, seed=seed, progress=progress)
        if self._folder is not None:
            write_training(self._folder, name, trained)
        return trained


def names(n_repetitions: int, n_folds: int) -> Sequence[Sequence[str]]:
    """File names, (R, F)."""
    return [[f"training-{r:03d}-{f}" for f in range(n_folds)] for r in range(n_repetitions)]
