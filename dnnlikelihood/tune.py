"""Which network, trained how: `tune(data, folder, config)` searches a table of hyper-parameters with Optuna.

    values of a trial -> DnnLikConfig -> one member, watched on the validation rows -> told to the sampler

The table is the one that CMS searched by hand (EPJ Web Conf. 295 (2024) 09041): nodes, layers, batch size, activation,
loss, optimiser, schedule and learning rate, and which architecture if several are named. Every trial sees the same
training rows as often, and is judged on the same validation rows; test rows are never read. The tree-structured Parzen
estimator (Bergstra et al., NeurIPS 24 (2011) 2546) proposes, and a trial that is worse than the median of its
predecessors at the same epoch is given up.

    folder/journal.jsonl   Optuna's journal: every trial, epoch by epoch; optuna-dashboard reads it
    folder/training        checkpoint of the trial that runs
    folder/config.json     the winner: a DnnLikConfig, for `dnnlik train --config`
    folder/trials.json     what each trial was and found

Called again on the same folder it continues, with more trials if they are asked for, and to the identical result: what
a trial tries depends on the seed and on the trials before it alone.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .accuracy import tolerance
from .config import Config, require
from .errors import MissingDependency, TrainingError
from .jsonfiles import pretty
from .metrics import MetricTable
from .networks.config import NetworkConfig, TrainingConfig
from .networks.recipe import DnnLikConfig
from .progress import progress_bar
from .store import lock, write_text

if TYPE_CHECKING:
    from .data import Data
    from .ensemble import Ensemble

__all__ = ["Trial", "TuneConfig", "Tuned", "recipe_of", "tune", "values_of"]

HUBER = 0.3
"""Of the Huber loss, where the base has squares."""
PLAIN = ("dense", "monomials")
"""Architectures of hidden layers."""
SHAPE = ("architecture", "nodes", "layers", "forms")
RANDOM = 10
"""Trials that are drawn at random before the estimator proposes."""
COMPARED = 5
"""Finished trials without which none is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneConfig(Config):
    """What is searched. The rest is as in `base`, whose own values are always among the choices and are tried first."""

    base: DnnLikConfig = field(default_factory=DnnLikConfig)
    n_trials: int = 40
    n_epochs: int = 30
    """Of every trial that is not given up."""
    objective: Literal["rmse", "accuracy"] = "rmse"
    """Of the validation rows: root mean square error in nats, or the share within 0.05 nats or 1 % of delta_nll."""
    architectures: tuple[str, ...] = ()
    """Beside that of the base: "dense", "monomials", "counting", "quartic"."""
    nodes: tuple[int, ...] = (128, 256, 512, 700)
    """Units of each hidden layer, dense or monomials."""
    layers: tuple[int, ...] = (2, 3, 4)
    """Hidden layers, dense or monomials."""
    forms: tuple[int, ...] = (32, 64, 96)
    """Quadratic forms (learned yields) of a counting or quartic network."""
    batch_sizes: tuple[int, ...] = (128, 256, 512, 1024)
    activations: tuple[str, ...] = ("silu", "gelu", "selu", "relu")
    losses: tuple[str, ...] = ("mse", "huber")
    optimisers: tuple[str, ...] = ("adam", "nadam", "rmsprop", "sgd")
    schedules: tuple[str, ...] = ("cosine", "plateau")
    learning_rates: tuple[float, ...] = (1e-4, 1e-2)
    """Lowest and highest; searched logarithmically."""
    seed: int = 1
    """Of the search; that of the networks is the base's, the same for all trials."""

    def validate(self) -> None:
        """Counts, choices that a configuration can have, rates that ascend."""
        for name, least in (("n_trials", 1), ("n_epochs", 1), ("seed", 0)):
            require(getattr(self, name) >= least, f"{name} is {getattr(self, name)}, must be at least {least}")
        for name in ("nodes", "layers", "forms", "batch_sizes"):
            require(all(n >= 1 for n in getattr(self, name)), f"{name} {getattr(self, name)} must be positive")
        for loss in self.losses:
            require(loss in ("mse", "huber"), f"loss {loss!r} is neither mse nor huber")
        rates = self.learning_rates
        require(len(rates) == 2 and 0 < rates[0] < rates[1], f"learning_rates {rates} must be two, > 0, ascending")
        for activation in self.activations:
            NetworkConfig(activation=activation)
        for architecture in self.architectures:
            NetworkConfig(architecture=architecture, widths=_widths(architecture, 8, 1))  # type: ignore[arg-type]
        for optimiser in self.optimisers:
            TrainingConfig(optimiser=optimiser)  # type: ignore[arg-type]
        for schedule in self.schedules:
            TrainingConfig(schedule=schedule)  # type: ignore[arg-type]

    def choices(self) -> dict[str, tuple[Any, ...]]:
        """What each name may be: what is listed, and the base's own."""
        listed = {
            "architecture": self.architectures,
            "nodes": self.nodes,
            "layers": self.layers,
            "forms": self.forms,
            "batch_size": self.batch_sizes,
            "activation": self.activations,
            "loss": self.losses,
            "optimiser": self.optimisers,
            "schedule": self.schedules,
        }
        own = values_of(self.base)
        return {k: tuple(dict.fromkeys([*v, own[k]] if k in own else v)) for k, v in listed.items()}


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe that was tried."""

    values: dict[str, Any]
    state: Literal["finished", "given up", "diverged"]
    epochs: int
    cpu_seconds: float
    rmse: float | None
    """Of the validation rows, nats; of the last epoch if it was given up."""
    accuracy: float | None
    """Share of validation rows within 0.05 nats or 1 % of delta_nll."""

    def loss(self, objective: str) -> float:
        """What the search minimises; infinite unless the trial was finished."""
        if self.state != "finished" or self.rmse is None or self.accuracy is None:
            return math.inf
        return self.rmse if objective == "rmse" else 1 - self.accuracy


@dataclass(frozen=True)
class Tuned:
    """What `tune` returns."""

    config: DnnLikConfig
    """The winner, with as many members as the base."""
    trials: tuple[Trial, ...]
    best: int
    """Which trial won."""
    objective: str

    def ranked(self) -> list[Trial]:
        """Finished trials, the best first."""
        finished = [t for t in self.trials if t.state == "finished"]
        return sorted(finished, key=lambda t: t.loss(self.objective))

    def table(self, n: int = 10) -> MetricTable:
        """The n best, and the base for comparison; to print, or as Markdown."""
        ranked, base = self.ranked(), self.trials[0]
        shown = [(i, t) for i, t in enumerate(ranked, 1) if i <= n or t is base]
        names = list(dict.fromkeys(k for _, t in shown for k in t.values))
        rows = tuple(
            (
                f"{i}, base" if t is base else str(i),
                *(_shown(t.values.get(k)) for k in names),
                f"{t.accuracy:.2%}",
                f"{t.rmse:.4f}",
                f"{t.cpu_seconds:.0f}",
            )
            for i, t in shown
        )
        states = [t.state for t in self.trials]
        count = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
        note = f"{len(states)} trials: {count}; figures of the validation rows, which chose the winner"
        columns = ("", *(k.replace("_", " ") for k in names), "accurate", "RMSE [nats]", "CPU s")
        return MetricTable("Trials", columns, rows, (note,))

    def to_json(self) -> dict[str, Any]:
        """All trials, in the order they were tried."""
        return {"objective": self.objective, "best": self.best, "trials": [asdict(t) for t in self.trials]}


def tune(data: Data, folder: str | Path, config: TuneConfig | None = None, *, progress: bool = True) -> Tuned:
    """Search for the recipe that learns `data` best, and write it to `folder/config.json`.

    Args:
        data: labelled rows with training and validation split.
        folder: where everything goes; a search of the same data and configuration is continued.
        config: what is searched, and how long.
        progress: show a bar on a terminal.

    Raises:
        MissingDependency: Optuna is not installed.
        StaleArtifact: the folder holds a search of other data or of another configuration.
        TrainingError: data that cannot be learned from, or no trial that was finished.
        Locked: another process searches in `folder`.
    """
    from .learn import claim

    folder, config = Path(folder), config or TuneConfig()
    for split in ("train", "validation"):
        if data.counts[split] < 2:
            raise TrainingError(f"the {split} split has {data.counts[split]} rows, at least 2 are needed")
    with lock(folder):
        claim(folder, {"data": data.fingerprint, "config": config.replace(n_trials=1).to_json()})
        search = _Search(data, folder, config)
        done = len(search.told())
        with progress_bar("tuning", config.n_trials, shown=progress, done=done) as advance:
            for _ in range(done, config.n_trials):
                search.next()
                advance(1, _best(search.told(), config.objective))
        found = _result(search.told(), config)
        write_text(folder / "trials.json", pretty(found.to_json()))
        write_text(folder / "config.json", pretty(found.config.to_json()))
    return found


def _result(trials: list[Trial], config: TuneConfig) -> Tuned:
    """The winner among all trials.

    Raises:
        TrainingError: none was finished.
    """
    best = int(np.argmin([t.loss(config.objective) for t in trials]))
    if trials[best].state != "finished":
        raise TrainingError(f"none of {len(trials)} trials was finished: lower learning_rates, or try more")
    return Tuned(recipe_of(trials[best].values, config.base, config.n_epochs), tuple(trials), best, config.objective)


def values_of(recipe: DnnLikConfig) -> dict[str, Any]:
    """The values of a recipe in the table; `recipe_of` is its inverse. Hidden layers count as wide as their first."""
    network, training = recipe.network, recipe.training
    size = {"nodes": network.widths[0], "layers": len(network.widths)}
    if network.architecture not in PLAIN:
        size = {"forms": network.widths[0]}
    return {
        "architecture": network.architecture,
        **size,
        "batch_size": training.batch_size,
        "activation": network.activation,
        "loss": "mse" if training.huber is None else "huber",
        "optimiser": training.optimiser,
        "schedule": training.schedule,
        "learning_rate": training.learning_rate,
    }


def recipe_of(values: Mapping[str, Any], base: DnnLikConfig, n_epochs: int) -> DnnLikConfig:
    """The base with the values of a trial.

    >>> recipe_of(values_of(DnnLikConfig()), DnnLikConfig(), 30) == DnnLikConfig()
    True
    """
    architecture = values["architecture"]
    size = values["forms"] if "forms" in values else values["nodes"]
    widths = _widths(architecture, size, values.get("layers", 1))
    if all(values.get(k) == v for k, v in values_of(base).items() if k in SHAPE):
        widths = base.network.widths
    training: dict[str, Any] = {k: values[k] for k in ("batch_size", "optimiser", "schedule", "learning_rate")}
    training["huber"] = None if values["loss"] == "mse" else base.training.huber or HUBER
    if values["schedule"] == "plateau":
        training |= {"plateau_patience": max(1, n_epochs // 10), "stop_patience": n_epochs}
    return base.replace(
        network=base.network.replace(architecture=architecture, widths=widths, activation=values["activation"]),
        training=base.training.replace(n_epochs=n_epochs, **training),
    )


def _widths(architecture: str, size: int, layers: int) -> tuple[int, ...]:
    """Of a network: as in the recipe `counting`, its parts in proportion to its yields."""
    if architecture == "counting":
        return size, size, 3 * size // 2, 2 * size
    return (size,) if architecture == "quartic" else (size,) * layers


def _best(trials: list[Trial], objective: str) -> str:
    best = min(trials, key=lambda t: t.loss(objective))
    return f"best: RMSE {best.rmse:.4f} nats, {best.accuracy:.2%} accurate" if best.state == "finished" else ""


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.2g}" if isinstance(value, float) else str(value)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingDependency("tuning needs Optuna: pip install 'dnnlikelihood[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class _GivenUp(Exception):
    """A trial worse than the median of its predecessors."""


class _Watch:
    """Tells Optuna of every epoch, once, and ends what is not worth going on with."""

    def __init__(self, trial: Any, objective: str) -> None:
        self.trial, self.objective = trial, objective
        self.epochs, self.cpu_seconds = 0, 0.0
        self.rmse: float | None = None
        self.accuracy: float | None = None

    def __call__(self, history: dict[str, list[float]], nats: float) -> None:
        for epoch in range(self.epochs, len(history["loss"])):
            self.epochs, self.cpu_seconds = epoch + 1, self.cpu_seconds + history["cpu_seconds"][epoch]
            self.rmse, self.accuracy = nats * history["val_loss"][epoch] ** 0.5, history["val_accuracy"][epoch]
            self.trial.report(self.rmse if self.objective == "rmse" else 1 - self.accuracy, epoch)
            if self.trial.should_prune():
                raise _GivenUp


class _Search:
    """Optuna's study in a folder: asked for values, told what came of them."""

    def __init__(self, data: Data, folder: Path, config: TuneConfig) -> None:
        optuna = _optuna()
        from optuna.storages.journal import JournalFileBackend

        self.data, self.folder, self.config, self.states = data, folder, config, optuna.trial.TrialState
        self.study = optuna.create_study(
            study_name="tune",
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / "journal.jsonl"))),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=COMPARED, n_warmup_steps=config.n_epochs // 3),
            load_if_exists=True,
        )
        for killed in self.study.get_trials(states=(self.states.RUNNING,)):
            self.study.tell(killed.number, state=self.states.FAIL)

    def told(self) -> list[Trial]:
        """All trials but those that were killed."""
        found = self.study.get_trials(deepcopy=False, states=(self.states.COMPLETE, self.states.PRUNED))
        return [Trial(**trial.user_attrs["found"]) for trial in found]

    def next(self) -> None:
        """One trial: what it tries depends on the seed and on those before it alone."""
        number = len(self.told())
        seed = int(np.random.SeedSequence([self.config.seed, number]).generate_state(1)[0])
        self.study.sampler = _optuna().samplers.TPESampler(n_startup_trials=RANDOM, seed=seed)
        if number == 0 and not self.study.get_trials(states=(self.states.WAITING,)):
            self.study.enqueue_trial(values_of(self.config.base))
        trial = self.study.ask()
        checkpoints = self.folder / "training" / str(number)
        found = self._tried(trial, self._suggested(trial), checkpoints)
        trial.set_user_attr("found", asdict(found))
        if found.state == "finished":
            self.study.tell(trial, found.loss(self.config.objective))
        else:
            self.study.tell(trial, state=self.states.PRUNED)
        shutil.rmtree(checkpoints, ignore_errors=True)

    def _suggested(self, trial: Any) -> dict[str, Any]:
        choices = self.config.choices()
        architecture = trial.suggest_categorical("architecture", choices.pop("architecture"))
        for name in ("forms",) if architecture in PLAIN else ("nodes", "layers"):
            choices.pop(name)
        own, (low, high) = self.config.base.training.learning_rate, self.config.learning_rates
        values = {name: trial.suggest_categorical(name, options) for name, options in choices.items()}
        rate = trial.suggest_float("learning_rate", min(low, own), max(high, own), log=True)
        return {"architecture": architecture, **values, "learning_rate": rate}

    def _tried(self, trial: Any, values: dict[str, Any], checkpoints: Path) -> Trial:
        """One member, and what it is worth on the validation rows."""
        from .networks.train_on_data import train

        recipe, watch = recipe_of(values, self.config.base, self.config.n_epochs), _Watch(trial, self.config.objective)
        one, state = recipe.replace(network=recipe.network.replace(n_members=1)), "finished"
        rmse: float | None
        accuracy: float | None
        try:
            ensemble, _ = train(self.data, one, None, checkpoints, progress=False, watch=watch)
            rmse, accuracy = _score(ensemble, self.data)
        except (_GivenUp, TrainingError) as end:
            state = "given up" if isinstance(end, _GivenUp) else "diverged"
            rmse, accuracy = watch.rmse, watch.accuracy
        return Trial(values, state, watch.epochs, watch.cpu_seconds, rmse, accuracy)  # type: ignore[arg-type]


def _score(ensemble: Ensemble, data: Data) -> tuple[float, float]:
    """Root mean square error in nats, and the share of accurate answers, on the validation rows, over all heads."""
    theta, n_heads = data.theta("validation"), len(ensemble.outputs)
    learned, exact = (data.logpdf(split).reshape(-1, n_heads) for split in ("train", "validation"))
    off = np.abs(ensemble.heads_logpdf(theta).mean(axis=1) - exact)
    top = np.maximum(learned.max(axis=0), exact.max(axis=0))
    return float(np.sqrt(np.mean(off**2))), float(np.mean(off < tolerance(exact, top)))
