"""Training of one member: resumable at every epoch, bit-identical after a kill, complete history.

An epoch is one compiled function: the rows are permuted by a stateless seed (seed, epoch), gathered from tensors that
stay on the device, and stepped through by a Keras optimiser. All that the next epoch needs - weights, optimiser,
averaged weights, best weights, schedule - is written after each epoch, atomically.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..ensemble import Features
from ..errors import StaleArtifact, TrainingError
from ..jsonfiles import canonical, strict_loads
from ..members import Layer, Member
from ..npzfiles import read_npz, write_npz
from ..tracing import tensorflow
from .architectures import architecture
from .backend import keras
from .config import NetworkConfig, TrainingConfig
from .forward import network

__all__ = ["Residuals", "train_member"]

OPTIMISERS = {
    "adam": keras.optimizers.Adam,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
}


@dataclass(frozen=True)
class Residuals:
    """What a member learns: residuals over the baseline, in standardised coordinates, float32."""

    z: np.ndarray
    """(n, d)."""
    value: np.ndarray
    """(n, H) in units of each head's output scale."""
    gradient: np.ndarray | None
    """(n, H, d) in z."""
    weight: np.ndarray
    """(n,) mean 1."""
    tolerance: np.ndarray | None = None
    """(n, H) how far an answer may be off and still count as accurate, in the units of `value`; None: not counted."""

    def __len__(self) -> int:
        return len(self.z)


@dataclass
class _State:
    """Everything the next epoch depends on."""

    epoch: int = 0
    learning_rate: float = 0.0
    best: float = math.inf
    since_best: int = 0
    since_lowered: int = 0
    stopped: bool = False
    history: dict[str, list[float]] = field(default_factory=dict)

    def append(self, numbers: dict[str, float]) -> None:
        for name, number in numbers.items():
            self.history.setdefault(name, []).append(float(number))


class _Training:
    """One member in training: variables, compiled epoch, checkpoint."""

    def __init__(
        self,
        features: Features,
        train: Residuals,
        validation: Residuals,
        network_config: NetworkConfig,
        config: TrainingConfig,
        seed: int,
        *,
        anchored: bool,
    ) -> None:
        tf = tensorflow()
        self.anchored, self.n_heads = anchored, train.value.shape[1]
        self.config, self.network_config, self.seed = config, network_config, seed
        self.network = architecture(features.width, self.n_heads, network_config)
        initial = self.network.variables(seed)
        self.shapes = [v.shape for v in initial]
        self.weights = keras.Variable(np.concatenate([v.ravel() for v in initial]), dtype="float32")
        self.n_batches = max(1, len(train) // config.batch_size)
        self.state = _State(learning_rate=config.learning_rate)
        self.optimizer = OPTIMISERS[config.optimiser](self._schedule(), global_clipnorm=config.clip_norm)
        self.optimizer.build([self.weights])
        self.average, self.best = tf.Variable(self.weights.value), tf.Variable(self.weights.value)
        self.sees_gradient = train.gradient is not None and config.gradient_weight > 0
        self._features = self._feature_map(features)
        self._tensors = self._on_device(train)
        self._validation = self._on_device(validation)
        self._limit = None if validation.tolerance is None else tf.constant(validation.tolerance, tf.float32)
        self.run_epoch = tf.function(self._epoch)
        self.take_step = tf.function(self._step, jit_compile=config.compiled)
        self.evaluate = tf.function(self._evaluate)

    def _schedule(self) -> Any:
        c = self.config
        if c.schedule == "plateau":
            return c.learning_rate
        steps = c.n_epochs * self.n_batches
        rising = max(1, int(c.warmup * steps))
        return keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - rising), alpha=0.0, warmup_target=c.learning_rate, warmup_steps=rising
        )

    def _feature_map(self, features: Features) -> Callable[[Any], Any]:
        """The map z -> f in float32, the same map as `Features`, from standardised coordinates."""
        tf = tensorflow()
        columns = [int(k) for k in features.kink_columns]
        offset = ((features.shift[columns] - features.kink_values) / features.scale[columns]).astype(np.float32)
        if not columns:
            return lambda z: z
        return lambda z: tf.concat([z, tf.nn.relu(tf.gather(z, columns, axis=1) + offset)], axis=1)

    def _on_device(self, rows: Residuals) -> tuple[Any, ...]:
        tf = tensorflow()
        gradient = rows.gradient if self.sees_gradient else np.zeros((len(rows), 0, 0), np.float32)
        return tuple(tf.constant(a, tf.float32) for a in (rows.z, rows.value, gradient, rows.weight))

    def _apart(self, weights: Any) -> list[Any]:
        """The variables of the architecture. They are trained as one vector, with one update for all."""
        tf = tensorflow()
        parts = tf.split(weights, [math.prod(shape) for shape in self.shapes])
        return [tf.reshape(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _errors(self, variables: list[Any], z: Any, value: Any, gradient: Any) -> tuple[Any, Any]:
        """Squared error of the value (n, H), and of the gradient (n,), summed over coordinates and heads."""
        tf = tensorflow()
        layers = self.network.layers(variables)
        if not self.sees_gradient:
            return (self._answer(layers, z) - value) ** 2, tf.zeros(tf.shape(z)[0])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(z)
            out = self._answer(layers, z)
            heads = tf.unstack(out, self.n_heads, axis=1)
        slope = tf.stack([tape.gradient(head, z) for head in heads], axis=1)
        return (out - value) ** 2, tf.reduce_sum((slope - gradient) ** 2, axis=(1, 2))

    def _answer(self, layers: Sequence[Layer], z: Any) -> Any:
        """(n, d) -> (n, H): the network, minus what it is at the anchor, where all features are zero."""
        tf, f = tensorflow(), self._features(z)
        if not self.anchored:
            return network(layers, f, expand=self.network.expand)
        out = network(layers, tf.concat([f, tf.zeros_like(f[:1])], axis=0), expand=self.network.expand)
        return out[:-1] - out[-1:]

    def _robust(self, q: Any) -> Any:
        """The pseudo-Huber loss of a sum of squares."""
        h = self.config.huber
        return q if h is None else 2.0 * h**2 * (tensorflow().sqrt(1.0 + q / h**2) - 1.0)

    def _order(self) -> Any:
        """The rows of the next epoch in random order, as the seed and the epoch say."""
        tf = tensorflow()
        n = len(self._tensors[0])
        return tf.argsort(tf.random.stateless_uniform([n], tf.constant([self.seed, self.state.epoch])))

    def _step(self, z: Any, value: Any, gradient: Any, weight: Any) -> Any:
        """One step of the optimiser and of the average; returns the batch's mean squared errors, (2,)."""
        tf, c = tensorflow(), self.config
        with tf.GradientTape() as tape:
            variables = self._apart(self.weights.value)
            errors, eg = self._errors(variables, z, value, gradient)
            ev = tf.reduce_sum(errors, axis=1)
            loss = tf.reduce_mean(weight * self._robust(ev + c.gradient_weight * eg))
            if c.l2 > 0:
                loss += c.l2 * tf.add_n([tf.reduce_sum(v**2) for v in variables if len(v.shape) > 1])
        self.optimizer.apply([tape.gradient(loss, self.weights.value)], [self.weights])
        if c.averaging > 0:
            n = tf.cast(self.optimizer.iterations.value, tf.float32)
            decay = tf.minimum(c.averaging, (1.0 + n) / (10.0 + n))
            self.average.assign(decay * self.average + (1.0 - decay) * self.weights.value)
        return tf.stack([tf.reduce_mean(ev), tf.reduce_mean(eg)])

    def _epoch(self, order: Any) -> Any:
        tf = tensorflow()
        size = min(self.config.batch_size, len(self._tensors[0]))
        total = tf.zeros(2)
        for i in tf.range(self.n_batches):
            rows = order[i * size : (i + 1) * size]
            total += self.take_step(*(tf.gather(a, tf.ensure_shape(rows, [size])) for a in self._tensors))
        if self.config.averaging == 0:
            self.average.assign(self.weights.value)
        return total / tf.cast(self.n_batches, tf.float32)

    def _evaluate(self) -> Any:
        """Mean squared errors of the averaged weights on the validation rows, in pieces of 4096; share accurate."""
        tf = tensorflow()
        z, value, gradient, _ = self._validation
        total = tf.zeros(3)
        variables = self._apart(self.average)
        for start in range(0, len(z), 4096):
            rows = slice(start, start + 4096)
            ev, eg = self._errors(variables, z[rows], value[rows], gradient[rows])
            right = tf.zeros(1) if self._limit is None else tf.cast(ev < self._limit[rows] ** 2, tf.float32)
            total += tf.stack([tf.reduce_sum(ev), tf.reduce_sum(eg), tf.reduce_sum(right) / self.n_heads])
        return total / float(len(z))

    def step(self) -> None:
        """One epoch and all that follows from it."""
        s, c = self.state, self.config
        start = time.process_time()
        value, slope = self.run_epoch(self._order()).numpy()
        val_value, val_slope, accuracy = self.evaluate().numpy()
        numbers = {"loss": value, "gradient_loss": slope, "val_loss": val_value, "val_gradient_loss": val_slope}
        if not all(math.isfinite(n) for n in numbers.values()):
            raise TrainingError(
                f"the loss is not finite after epoch {s.epoch + 1}: {numbers}; lower learning_rate (now "
                f"{c.learning_rate}) or look for outliers in the data"
            )
        if self._limit is not None:
            numbers["val_accuracy"] = accuracy
        s.append({**numbers, "learning_rate": float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))})
        s.append({"cpu_seconds": time.process_time() - start})
        s.epoch += 1
        if c.schedule == "plateau":
            self._plateau(float(val_value))
        else:
            self._keep()
        s.stopped = s.stopped or s.epoch >= c.n_epochs

    def _keep(self) -> None:
        self.best.assign(self.average)

    def _plateau(self, loss: float) -> None:
        """Lower the rate when the validation loss stalls; stop, with the best weights, when it stalls for long."""
        s, c = self.state, self.config
        if loss < s.best - c.plateau_min_delta:
            s.since_best = s.since_lowered = 0
        else:
            s.since_best += 1
            s.since_lowered += 1
        if loss < s.best:
            s.best = loss
            self._keep()
        if s.since_lowered >= c.plateau_patience:
            s.learning_rate = max(s.learning_rate * c.plateau_factor, c.min_learning_rate)
            self.optimizer.learning_rate = s.learning_rate
            s.since_lowered = 0
        s.stopped = s.since_best >= c.stop_patience

    # Checkpoint ------------------------------------------------------------------------------------------------------

    def _variables(self) -> list[Any]:
        return [self.weights.value, *(v.value for v in self.optimizer.variables), self.average, self.best]

    def save(self, path: Path, identity: str) -> None:
        """Write weights, optimiser and schedule, atomically."""
        s = self.state
        header = canonical({**s.__dict__, "identity": identity, "best": s.best if math.isfinite(s.best) else None})
        arrays = {f"v{i}": v.numpy() for i, v in enumerate(self._variables())}
        write_npz(path, {"header": np.frombuffer(header, np.uint8), **arrays})

    def restore(self, path: Path, identity: str) -> None:
        """Continue from a checkpoint.

        Raises:
            StaleArtifact: it belongs to other data or another configuration.
        """
        arrays = read_npz(path, "remove it to train this member anew")
        header = strict_loads(arrays["header"].tobytes(), str(path))
        if header.pop("identity") != identity:
            raise StaleArtifact(f"{path} belongs to other data or another configuration; choose another folder")
        header["best"] = math.inf if header["best"] is None else header["best"]
        self.state = _State(**header)
        for i, variable in enumerate(self._variables()):
            variable.assign(arrays[f"v{i}"])


def train_member(
    features: Features,
    train: Residuals,
    validation: Residuals,
    network_config: NetworkConfig,
    config: TrainingConfig,
    seed: int,
    *,
    anchored: bool = False,
    checkpoint: Path | None = None,
    identity: str = "",
    each_epoch: Callable[[dict[str, list[float]]], None] | None = None,
) -> tuple[Member, dict[str, list[float]]]:
    """Train one network.

    Args:
        features: the map from z to what the network sees.
        train: rows to learn from.
        validation: rows to watch.
        network_config: architecture, widths and activation.
        config: the recipe.
        seed: of this member: initial weights and order of rows.
        anchored: whether the network is zero where all features are.
        checkpoint: file to continue from and to write after every epoch.
        identity: fingerprint that the checkpoint must carry.
        each_epoch: called with the history after each epoch, and when it was read from a checkpoint.

    Returns:
        The member, and its history: lists with one number an epoch.

    Raises:
        TrainingError: the loss left the real numbers.
        StaleArtifact: the checkpoint is not this training's.
    """
    training = _Training(features, train, validation, network_config, config, seed, anchored=anchored)
    if checkpoint is not None and checkpoint.exists():
        training.restore(checkpoint, identity)
        if each_epoch is not None and training.state.epoch:
            each_epoch(training.state.history)
    while not training.state.stopped:
        training.step()
        if checkpoint is not None:
            training.save(checkpoint, identity)
        if each_epoch is not None:
            each_epoch(training.state.history)
    member = training.network.member(training._apart(training.best))
    return _lowered(member, features.width) if anchored else member, training.state.history


def _lowered(member: Member, n_features: int) -> Member:
    """The network minus its value at zero features."""
    last = member.layers[-1]
    bias = last.bias - member(np.zeros((1, n_features)))[0]
    return replace(member, layers=(*member.layers[:-1], replace(last, bias=bias)))
