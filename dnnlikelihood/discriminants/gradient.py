r"""Trainers by gradient descent: cross entropy, SANNT, INFERNO and histograms of kernel densities.

    CrossEntropy      minimises the cross entropy; knows no nuisance (CENNT)
    Sannt             cross entropy first, then sum_s Delta r_s of the hard histogram with a stand-in gradient
                      (CMS-MLG-23-005, arXiv:2502.13047; gradient="gaussian": Wunsch et al., CSBS 5 (2021) 4)
    Inferno           sum_s Delta r_s of a softmax histogram, whose bins are the outputs (arXiv:1806.04743)
    KernelHistogram   sum_s Delta r_s of a histogram smeared by a normal density (neos, arXiv:2203.05570)

All are judged in hard bins. With one output, signals stand against backgrounds in bins of [0, 1]; with one output a
process, an event lies in the class of its largest score. sum_s Delta r_s alone does not mind events that trade
classes, so that `Sannt` with classes keeps the cross entropy at its value after pre-training, by a multiplier.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..config import Config, require
from ..errors import ConfigError
from ..networks.descent import Descent, DescentConfig
from ..networks.histograms import HistogramGradient, counted, hardened, in_classes, smoothed, softened
from ..progress import progress_bar
from ..tracing import tensorflow
from .binning import LEAST_EVENTS, equal_bins
from .events import EventModel
from .objectives import Constrained, Drawn, Link, uncertainties
from .tasks import standardisation
from .trained import ClassBins, Network, Score, Trained
from .yields import YieldRows

__all__ = ["Classes", "CrossEntropy", "Inferno", "KernelHistogram", "Sannt"]

Classes = Literal["signal", "processes"]
"""One output, signals against backgrounds; or one for every process."""
WATCHED_BATCHES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy(Config):
    """Trainer: cross entropy, balanced between classes; equal bins. `n_steps` counts its steps."""

    n_bins: int = 8
    """Of every class."""
    classes: Classes = "signal"
    training: DescentConfig = field(default_factory=lambda: DescentConfig(pretraining_steps=0))

    def validate(self) -> None:
        """At least two bins."""
        _enough(self.n_bins)

    def fit(
        self, model: EventModel, *, validation: EventModel | None = None, seed: int = 0, progress: bool = True
    ) -> Trained:
        """Train; see `Trainer.fit`."""
        link: Link = "sigmoid" if self.classes == "signal" else "softmax"
        form = _form(model, self.classes, self.n_bins, link, hardened)
        return _train("cross entropy", form, model, validation, self.training, seed, progress=progress, aim=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sannt(Config):
    """Trainer: the expected uncertainty of a hard histogram with a stand-in gradient."""

    n_bins: int = 8
    """Of every class."""
    classes: Classes = "signal"
    gradient: HistogramGradient = "linear"
    pretraining: Literal["cross_entropy", "statistics"] = "cross_entropy"
    """"statistics": sum_s Delta r_s without nuisances, which orders no bins."""
    multiplier_rate: float = 1.0
    """eta of the multiplier on the cross entropy, used with classes of processes; 0 for none."""
    mc_statistics: bool = False
    """Count the finite simulation in every bin, so that its fluctuations are not learned."""
    training: DescentConfig = field(default_factory=DescentConfig)

    def validate(self) -> None:
        """At least two bins."""
        _enough(self.n_bins)
        require(self.multiplier_rate >= 0, f"multiplier_rate is {self.multiplier_rate}, must not be negative")

    def fit(
        self, model: EventModel, *, validation: EventModel | None = None, seed: int = 0, progress: bool = True
    ) -> Trained:
        """Train; see `Trainer.fit`."""
        form = _form(model, self.classes, self.n_bins, "sigmoid", lambda y, k: counted(y, k, self.gradient))
        aim = _Aim(self.mc_statistics, self.pretraining, self.multiplier_rate if self.classes == "processes" else 0.0)
        return _train("SANNT", form, model, validation, self.training, seed, progress=progress, aim=aim)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelHistogram(Config):
    """Trainer: the expected uncertainty of a histogram in which every event is a normal density."""

    n_bins: int = 8
    bandwidth: float = 0.05
    mc_statistics: bool = False
    training: DescentConfig = field(default_factory=DescentConfig)

    def validate(self) -> None:
        """At least two bins, a positive bandwidth."""
        _enough(self.n_bins)
        require(self.bandwidth > 0, f"bandwidth is {self.bandwidth}, must be > 0")

    def fit(
        self, model: EventModel, *, validation: EventModel | None = None, seed: int = 0, progress: bool = True
    ) -> Trained:
        """Train; see `Trainer.fit`."""
        form = _form(model, "signal", self.n_bins, "sigmoid", lambda y, k: smoothed(y, k, self.bandwidth))
        aim = _Aim(self.mc_statistics)
        return _train("kernel histogram", form, model, validation, self.training, seed, progress=progress, aim=aim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferno(Config):
    """Trainer: the expected uncertainty of a softmax histogram; no pre-training."""

    n_bins: int = 10
    temperature: float = 0.1
    mc_statistics: bool = False
    training: DescentConfig = field(
        default_factory=lambda: DescentConfig(
            widths=(100, 100), learning_rate=3e-3, pretraining_steps=0, n_steps=800, patience=300, batch_size=2000
        )
    )

    def validate(self) -> None:
        """At least two bins, a positive temperature."""
        _enough(self.n_bins)
        require(self.temperature > 0, f"temperature is {self.temperature}, must be > 0")

    def fit(
        self, model: EventModel, *, validation: EventModel | None = None, seed: int = 0, progress: bool = True
    ) -> Trained:
        """Train; see `Trainer.fit`."""
        k = self.n_bins

        def hard(z: Any) -> Any:
            tf = tensorflow()
            return tf.one_hot(tf.argmax(z, axis=1), k, dtype=tf.float32)

        score = Score.classes(k, "softmax")
        form = _Form(k, "softmax", lambda z: softened(z, self.temperature), hard, score, ClassBins(np.zeros((k, 0))))
        aim = _Aim(self.mc_statistics)
        return _train("INFERNO", form, model, validation, self.training, seed, progress=progress, aim=aim)


def _enough(n_bins: int) -> None:
    require(n_bins >= 2, f"n_bins is {n_bins}, must be at least 2")


@dataclass(frozen=True)
class _Form:
    """What the outputs of a network mean, during training and afterwards."""

    n_outputs: int
    link: Link
    soft: Callable[[Any], Any]
    """(n, H) -> (n, K) in training."""
    hard: Callable[[Any], Any]
    """(n, H) -> (n, K) when judged."""
    score: Score
    bins: ClassBins


@dataclass(frozen=True)
class _Aim:
    """Which uncertainty is minimised."""

    mc_statistics: bool
    pretraining: Literal["cross_entropy", "statistics"] = "cross_entropy"
    multiplier_rate: float = 0.0


def _form(model: EventModel, classes: Classes, n_bins: int, link: Link, inside: Callable[[Any, int], Any]) -> _Form:
    """Scores in [low, 1], where the largest of C softmax outputs is never below 1 / C."""
    if classes == "signal" and all(p.is_signal for p in model.processes):
        raise ConfigError("no background: signal has nothing to stand against; train with classes='processes'")
    c = 1 if classes == "signal" else len(model.processes)
    low = 1.0 / c if link == "softmax" else 0.0

    def membership(way: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
        tf = tensorflow()

        def share(z: Any) -> Any:
            y = tf.sigmoid(z) if link == "sigmoid" else tf.nn.softmax(z)
            largest = (tf.reduce_max(y, axis=1) - low) / (1.0 - low)
            return way(largest, n_bins) if c == 1 else in_classes(y, way(largest, n_bins))

        return share

    score = Score.classes(c, link)
    return _Form(c, link, membership(inside), membership(hardened), score, equal_bins(n_bins, c, low=low))


class _Watch:
    """Validation events in hard bins: cross entropy, Delta r, statistical Delta r, occupied bins."""

    def __init__(self, form: _Form, drawn: Drawn, constraints: np.ndarray, descent: Descent, aim: _Aim | None) -> None:
        tf = tensorflow()
        self._by_entropy, binary = aim is None, form.n_outputs == 1 or aim is None or aim.multiplier_rate > 0

        @tf.function  # type: ignore[untyped-decorator]
        def look() -> Any:
            yields, z = drawn.yields(descent.forward, form.hard, tf.constant(0))
            total, stat = uncertainties(
                drawn.rows, yields, constraints, mc_statistics=aim is not None and aim.mc_statistics
            )
            entropy = drawn.cross_entropy(z, form.link, tf.constant(0)) if binary else tf.constant(np.nan)
            occupied = tf.math.count_nonzero(yields[-2] > 0)
            parts = (tf.reduce_sum(total), tf.reduce_sum(stat), occupied, entropy)
            return tf.stack([tf.cast(part, tf.float64) for part in parts])

        self._look = look

    def __call__(self) -> tuple[float, ...]:
        """What decides, then all four numbers."""
        numbers = self._look().numpy().tolist()
        return (numbers[3] if self._by_entropy else numbers[0], *numbers)


def _train(
    trainer: str,
    form: _Form,
    model: EventModel,
    validation: EventModel | None,
    training: DescentConfig,
    seed: int,
    *,
    progress: bool,
    aim: _Aim | None,
) -> Trained:
    start = time.process_time()
    if validation is None:
        model, validation = model.held_out(seed)
    most = int(sum(p.events.effective_size for p in model.processes) / LEAST_EVENTS)
    if form.bins.n_bins > most:
        raise ConfigError(
            f"{form.bins.n_bins} bins are more than the events support: their effective number allows {most}; use "
            "fewer bins or simulate more"
        )
    shift, scale = standardisation(model)
    drawn = Drawn(YieldRows.of(model, shift, scale), training.batch_size, seed)
    watched = Drawn(YieldRows.of(validation, shift, scale), WATCHED_BATCHES * training.batch_size, seed)
    descent = Descent(len(model.features), form.n_outputs, training, seed)
    watch = _Watch(form, watched, model.constraints, descent, aim)
    history: dict[str, list[float]] = {}

    def entropy(forward: Any, step: Any) -> Any:
        return drawn.cross_entropy(drawn.nominal(forward, step), form.link, step)

    def uncertainty(part: int, multiplier: Constrained | None = None) -> Callable[[Any, Any], Any]:
        def loss(forward: Any, step: Any) -> Any:
            yields, z = drawn.yields(forward, form.soft, step)
            found = uncertainties(drawn.rows, yields, model.constraints, mc_statistics=bool(aim and aim.mc_statistics))
            value = tensorflow().reduce_sum(found[part])
            return value if multiplier is None else value + multiplier(drawn.cross_entropy(z, form.link, step))

        return loss

    before = training.pretraining_steps if aim is not None else 0
    with progress_bar(trainer, before + training.n_steps, shown=progress) as advance:
        if before and aim is not None:
            first = entropy if aim.pretraining == "cross_entropy" else uncertainty(1)
            _noted(history, descent.run(first, before, watch, stops=False, each_look=advance), 0, before)
        multiplier = None
        if aim is not None and aim.multiplier_rate > 0:
            least = float(entropy(descent.forward, tensorflow().constant(0)))
            multiplier = Constrained(least, aim.multiplier_rate)
        loss = entropy if aim is None else uncertainty(0, multiplier)
        phase = descent.run(loss, training.n_steps, watch, stops=True, each_look=advance)
        _noted(history, phase, before, before)
    trained = Trained(
        trainer=trainer,
        features=model.features,
        network=Network(shift, scale, descent.member),
        score=form.score,
        bins=form.bins,
        history=history,
        messages=(),
    )
    return _judged(trained, validation, time.process_time() - start)


def _judged(trained: Trained, validation: EventModel, cpu_seconds: float) -> Trained:
    return replace(trained, messages=trained.templates(validation).messages, cpu_seconds=cpu_seconds)


def _noted(history: dict[str, list[float]], phase: Any, offset: int, pretraining: int) -> None:
    """One entry a look: step, loss, and what the validation events said."""
    columns = {"step": [offset + s for s in phase.steps], "loss": phase.losses}
    names = ("uncertainty", "stat_uncertainty", "occupied_bins", "cross_entropy")
    for i, name in enumerate(names, start=1):
        columns[name] = [w[i] for w in phase.watched]
    columns["pretraining"] = [float(s <= pretraining) for s in columns["step"]]
    for name, values in columns.items():
        history.setdefault(name, []).extend(values)
