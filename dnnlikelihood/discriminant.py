r"""`Discriminant`: events in, a bin and a score out, chosen so that signal strengths will be measured best.

    model = EventModel(processes, nuisances)
    discriminant = Discriminant.fit(model, DiscriminantConfig(trainer=EfficientScore(n_bins=8)))
    discriminant.expected(test).total          Delta r of every signal strength on independent events
    discriminant.to_workspace(test)            a HistFactory workspace: Likelihood.from_workspace takes it on

Trainers are those of `dnnlikelihood.discriminants`: efficient score, cross entropy, SANNT, INFERNO, kernel histogram.
A training may be repeated from other initial weights (the best on validation events is used, the others tell how much
depends on them), and done twice on halves of the events, each judging the half it has not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .config import Config, require
from .discriminants.efficient_score import EfficientScore
from .discriminants.events import EventModel
from .discriminants.repetitions import (
    Kept,
    Spread,
    fold_models,
    names,
    read_training,
    repetition_seed,
    write_training,
)
from .discriminants.templates import Templates
from .discriminants.trained import Trained, Transformed
from .discriminants.trainers import AnyTrainer, BinCurve, bin_curve, mean_templates, name_of
from .discriminants.trainers import trainer as trainer_of
from .discriminants.uncertainty import ExpectedUncertainty, expected_uncertainty, summed_uncertainty
from .discriminants.workspace import to_workspace
from .errors import ConfigError, ShapeError
from .jsonfiles import fingerprint, pretty, read_json
from .runlog import RunLog
from .store import Artifact, check_file, lock

__all__ = ["Discriminant", "DiscriminantConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminantConfig(Config):
    """How a discriminant is trained.

    Attributes:
        trainer: the method and its options.
        n_bins: candidates, of which a validation curve chooses; empty to take the trainer's own number.
        n_repetitions: trainings from different initial weights.
        n_folds: 1, or 2 for two-fold cross validation.
        nuisances: those that training knows, such as the few of largest impact; all if empty. Results count all.
        seed: of splits, weights and batches.

    >>> config = DiscriminantConfig(trainer=EfficientScore(n_bins=4), n_repetitions=3)
    >>> DiscriminantConfig.from_json(config.to_json()) == config
    True
    """

    trainer: Config = field(default_factory=EfficientScore)
    n_bins: tuple[int, ...] = ()
    n_repetitions: int = 1
    n_folds: int = 1
    nuisances: tuple[str, ...] = ()
    seed: int = 0

    def validate(self) -> None:
        """A trainer of the package, one repetition at least, one fold or two."""
        require(
            hasattr(self.trainer, "fit"), f"trainer is {self.trainer!r}, must be one of dnnlikelihood.discriminants"
        )
        require(all(k >= 2 for k in self.n_bins), f"n_bins {self.n_bins} must be at least 2 each")
        require(self.n_repetitions >= 1, f"n_repetitions is {self.n_repetitions}, must be at least 1")
        require(self.n_folds in (1, 2), f"n_folds is {self.n_folds}, must be 1 or 2")
        require(self.seed >= 0, f"seed is {self.seed}, must not be negative")

    def to_json(self) -> dict[str, Any]:
        """With the trainer's name."""
        trainer: Any = self.trainer
        counts = {"n_bins": list(self.n_bins), "n_repetitions": self.n_repetitions, "n_folds": self.n_folds}
        fields = {**counts, "nuisances": list(self.nuisances), "seed": self.seed}
        return {"trainer": {"name": name_of(trainer), **trainer.to_json()}, **fields}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Inverse of `to_json`.

        Raises:
            ConfigError: unknown keys or trainers.
        """
        known = {"trainer", "n_bins", "n_repetitions", "n_folds", "nuisances", "seed"}
        require(isinstance(value, dict), f"{cls.__name__} is a JSON object with fields {sorted(known)}, got {value!r}")
        unknown = sorted(set(value) - known)
        require(not unknown, f"{cls.__name__} has no fields {unknown}; it knows {sorted(known)}")
        fields = dict(value)
        if "trainer" in fields:
            given = {"name": fields["trainer"]} if isinstance(fields["trainer"], str) else dict(fields["trainer"])
            require("name" in given, "the trainer has no name")
            fields["trainer"] = trainer_of(given.pop("name"), given)
        for name in ("n_bins", "nuisances"):
            require(isinstance(fields.get(name, []), list | tuple), f"{name} is {fields.get(name)!r}, must be a list")
            fields[name] = tuple(fields.get(name, ()))
        return cls(**fields)


def _known(part: tuple[EventModel, EventModel], config: DiscriminantConfig) -> tuple[EventModel, EventModel]:
    """Training and validation events with the nuisances that training may know."""
    if not config.nuisances:
        return part
    return part[0].only(config.nuisances), part[1].only(config.nuisances)


class Discriminant(Artifact):
    """A trained discriminant; made by `fit` and `load`.

    Attributes:
        config: how it was trained; `config.trainer.n_bins` is the number that was chosen.
        trainings: (repetitions, folds) trained networks.
        chosen: which repetition is used.
        curve: the validation curve, if the number of bins was chosen by one.
        log: what happened.
    """

    noun: ClassVar[str] = "discriminant"

    def __init__(
        self,
        config: DiscriminantConfig,
        trainings: Sequence[Sequence[Trained]],
        chosen: int = 0,
        curve: BinCurve | None = None,
        model_fingerprint: str = "",
    ) -> None:
        self.config, self.chosen, self.curve = config, chosen, curve
        self.trainings = tuple(tuple(folds) for folds in trainings)
        self._model = model_fingerprint
        self.log = RunLog()

    # Making ----------------------------------------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        model: EventModel,
        config: DiscriminantConfig | None = None,
        *,
        validation: EventModel | None = None,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Train.

        Args:
            model: events to learn from; with two folds also the events to be judged.
            config: how.
            validation: independent events to choose by; a fifth of `model` is held out if None.
            folder: where every finished training is kept, so that the same call continues after a kill, to the same
                result; None for nowhere.
            progress: whether to show bars on a terminal.

        Raises:
            ConfigError: validation events with two folds, more bins than the events support, or unknown nuisances.
            TrainingError: a loss left the real numbers.
            StaleArtifact, Locked: a folder that holds something else, or is in use.
        """
        config = config or DiscriminantConfig()
        if config.n_folds == 2 and validation is not None:
            raise ConfigError("with two folds each network validates on its own half: leave validation out")
        parts = fold_models(model, validation, config.n_folds, config.seed)
        watched = [v.fingerprint for _, v in parts]
        request = {"config": config.to_json(), "model": model.fingerprint, "validation": watched}
        folder = None if folder is None else Path(folder)
        with nullcontext() if folder is None else lock(folder):
            return cls._trained(Kept(folder, request), config, parts, model.fingerprint, progress=progress)

    @classmethod
    def _trained(
        cls,
        kept: Kept,
        config: DiscriminantConfig,
        parts: Sequence[tuple[EventModel, EventModel]],
        model: str,
        *,
        progress: bool,
    ) -> Self:
        trainer: AnyTrainer = config.trainer  # type: ignore[assignment]
        candidates, seed, curve = config.n_bins, config.seed, None
        if candidates:
            first = _known(parts[0], config)
            curve = kept.curve(lambda: bin_curve(trainer, *first, candidates, seed=seed, progress=progress))
            trainer = trainer.replace(n_bins=curve.chosen)
            config = config.replace(trainer=trainer, n_bins=())
        trainings, judged = [], []
        for r, row in enumerate(names(config.n_repetitions, config.n_folds)):
            seed = repetition_seed(config.seed, r)
            folds = [
                kept(name, trainer, *_known(part, config), seed, progress=progress)
                for name, part in zip(row, parts, strict=True)
            ]
            trainings.append(folds)
            judged.append(
                float(np.mean([summed_uncertainty(t.templates(w)) for t, (_, w) in zip(folds, parts, strict=True)]))
            )
        made = cls(config, trainings, int(np.argmin(judged)), curve, model)
        every = [t for folds in trainings for t in folds]
        known = [u if np.isfinite(u) else None for u in judged]
        made.log.record(
            "trained",
            id=made.fingerprint,
            parents=made.parents,
            seconds=sum(t.cpu_seconds for t in every),
            seed=config.seed,
            numbers={"validation_uncertainty": known, "chosen": made.chosen, "cpu_seconds": made.cpu_seconds},
            warnings=list(dict.fromkeys(m for t in made.folds for m in t.messages)),
        )
        return made

    # Using -----------------------------------------------------------------------------------------------------------

    @property
    def folds(self) -> tuple[Trained, ...]:
        """The networks in use: one, or one for each fold."""
        return self.trainings[self.chosen]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features."""
        return self.folds[0].features

    @property
    def n_bins(self) -> int:
        """Bins of the templates, before empty ones are merged."""
        return self.folds[0].n_bins

    @property
    def cpu_seconds(self) -> float:
        """Of all trainings."""
        return sum(t.cpu_seconds for folds in self.trainings for t in folds)

    def transform(self, events: Any, *, fold: Any = None) -> Transformed:
        """Bin and score of events.

        Args:
            events: `Events`, or a table whose columns are matched by name, or an (n, m) array in the trained order.
            fold: (n,) 0 or 1, with two folds only: the network of that number is used, which must not have been
                trained on the event (the parity of the event number, say).

        Raises:
            ShapeError: missing features, values that are not finite, folds that are missing or do not fit.
        """
        if len(self.folds) == 1:
            return self.folds[0].transform(events)
        parts = [trained.transform(events) for trained in self.folds]
        which = np.asarray(-1 if fold is None else fold)
        if which.shape != parts[0].bin_index.shape or not np.isin(which, (0, 1)).all():
            raise ShapeError("two-fold discriminant: give fold, (n,) numbers 0 or 1 that say which network to use")
        bins = np.where(which == 0, parts[0].bin_index, parts[1].bin_index)
        return Transformed(bins, np.where((which == 0)[:, None], parts[0].score, parts[1].score))

    def templates(self, model: EventModel, *, repetition: int | None = None) -> Templates:
        """Yields in every bin with all variations, empty bins merged; `messages` says what to beware of.

        With two folds the events are dealt as in training, each half judged by the network that has not seen it.

        Raises:
            ShapeError: a model with other features.
        """
        folds = self.trainings[self.chosen if repetition is None else repetition]
        halves = [model] if len(folds) == 1 else [test for _, test in model.folds(self.config.seed)]
        return mean_templates([t.templates(half, merge=False) for t, half in zip(folds, halves, strict=True)])

    def expected(self, model: EventModel, *, mc_statistics: bool = False) -> ExpectedUncertainty:
        """Expected uncertainties of all signal strengths, impacts and all, on these events."""
        return expected_uncertainty(self.templates(model), mc_statistics=mc_statistics)

    def repetitions(self, model: EventModel) -> Spread:
        """Uncertainties of every repetition on these events."""
        found = [expected_uncertainty(self.templates(model, repetition=r)) for r in range(len(self.trainings))]
        return Spread(found[0].pois, np.stack([f.total for f in found]), np.stack([f.stat for f in found]))

    def to_workspace(self, model: EventModel, **options: Any) -> dict[str, Any]:
        """A pyhf workspace of the templates of these events; options are those of `discriminants.workspace`."""
        return to_workspace(self.templates(model), **options)

    def export(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write SavedModel and ONNX, features in, bin and score out; a subfolder a network if there are two folds.

        Raises:
            ArtifactExists: the folder exists.
            MissingDependency: ONNX or TensorFlow is not installed.
        """
        from .export.discriminant import write_discriminant

        return write_discriminant(self.folds, Path(folder), overwrite=overwrite)

    # The artifact ----------------------------------------------------------------------------------------------------

    @property
    def parents(self) -> tuple[str, ...]:
        """The fingerprint of the events it was trained on."""
        return (self._model,) if self._model else ()

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        """sha256 of configuration, parents and networks."""
        digest = hashlib.sha256()
        for trained in (t for folds in self.trainings for t in folds):
            for name, array in sorted(trained.arrays().items()):
                digest.update(name.encode() + str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return fingerprint([self.config.to_json(), list(self.parents), self.chosen, digest.hexdigest()])

    def _metadata(self) -> dict[str, Any]:
        return {
            "config": self.config.to_json(),
            "features": list(self.features),
            "n_bins": self.n_bins,
            "chosen": self.chosen,
            "curve": None if self.curve is None else self.curve.to_json(),
        }

    def _write(self, folder: Path) -> None:
        (folder / "config.json").write_text(pretty(self.config.to_json()), "utf-8")
        for row, folds in zip(names(len(self.trainings), len(self.folds)), self.trainings, strict=True):
            for name, trained in zip(row, folds, strict=True):
                write_training(folder, name, trained)

    @classmethod
    def _read(cls, folder: Path, metadata: dict[str, Any]) -> Self:
        check_file(folder, "config.json")
        config = DiscriminantConfig.from_json(read_json(folder / "config.json"))
        rows = names(config.n_repetitions, config.n_folds)
        for name in (name for row in rows for name in row):
            check_file(folder, f"{name}.npz")
        curve = None if metadata["curve"] is None else BinCurve.from_json(metadata["curve"])
        trainings = [[read_training(folder, name) for name in row] for row in rows]
        return cls(config, trainings, metadata["chosen"], curve, *metadata["parents"])
