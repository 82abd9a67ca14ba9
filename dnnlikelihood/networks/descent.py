"""Full-batch descent on any loss of a dense network: compiled Adam steps, a watched quantity, early stopping.

Nothing here knows what is minimised. The loss is a TensorFlow expression of (network, step); what is watched is a
number of independent events, looked at every few steps, and never the test sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..config import Config, require
from ..errors import TrainingError
from ..members import ACTIVATIONS, Layer, Member
from ..tracing import tensorflow

__all__ = ["Descent", "DescentConfig"]

Forward = Callable[[Any], Any]
Loss = Callable[[Forward, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescentConfig(Config):
    """A dense network and how it is trained on full batches."""

    widths: tuple[int, ...] = (100,)
    activation: str = "relu"
    learning_rate: float = 1e-3
    n_steps: int = 300
    pretraining_steps: int = 100
    """Steps on cross entropy that come first."""
    patience: int = 150
    """Steps without improvement on the validation events after which training ends."""
    check_every: int = 10
    """Steps between two looks at the validation events."""
    keep: Literal["best", "last"] = "best"
    """Weights of the best look, or of the last step (which then runs to its end)."""
    batch_size: int = 0
    """Events of every sample in a step, drawn anew each time; 0 for all, which is what these losses are meant for."""

    def validate(self) -> None:
        """At least one layer, positive rates, a known activation."""
        require(bool(self.widths) and all(w >= 1 for w in self.widths), f"widths {self.widths} must be positive")
        require(self.activation in ACTIVATIONS, f"activation {self.activation!r} is none of {sorted(ACTIVATIONS)}")
        for name in ("n_steps", "learning_rate", "patience", "check_every"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, must be > 0")
        for name in ("pretraining_steps", "batch_size"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, must not be negative")


@dataclass(frozen=True)
class Phase:
    """What one stretch of training came to."""

    steps: list[float]
    losses: list[float]
    watched: list[tuple[float, ...]]
    """What was watched after each stretch of steps; the first number decides."""


class Descent:
    """A network under training.

    Args:
        n_features, n_outputs: its widths at both ends.
        config: the recipe.
        seed: of the initial weights.
    """

    def __init__(self, n_features: int, n_outputs: int, config: DescentConfig, seed: int) -> None:
        from .heads import initial_layers

        self._config = config
        layers = initial_layers(n_features, n_outputs, config.widths, config.activation, seed)
        last = layers[-1].kernel
        rng = np.random.default_rng([seed, 1])
        last.assign(rng.normal(0.0, np.sqrt(1.0 / last.shape[0]), last.shape))
        self._trainable = [w for layer in layers for w in (layer.kernel, layer.bias)]
        self._inner = [Layer(item.inputs, item.kernel.value, item.bias.value, item.activation) for item in layers]

    @property
    def member(self) -> Member:
        """The network as arrays."""
        weights = [w.numpy() for w in self._trainable]
        return Member.dense(weights[0::2], weights[1::2], self._config.activation)

    def forward(self, x: Any) -> Any:
        """(n, m) -> (n, H), with gradients in the weights."""
        from .forward import network

        return network(self._inner, x)

    def run(
        self,
        loss: Loss,
        n_steps: int,
        watch: Callable[[], Sequence[float]],
        *,
        stops: bool,
        each_look: Callable[[int, str], None] | None = None,
    ) -> Phase:
        """Descend.

        Args:
            loss: (network, number of the step) -> scalar.
            n_steps: most steps.
            watch: numbers of the validation events, the first of which should fall.
            stops: whether to stop early and go back to the best weights (unless the configuration keeps the last).
            each_look: called with the number of steps since the last look, and a note.

        Raises:
            TrainingError: the loss left the real numbers.
        """
        from .backend import keras

        tf = tensorflow()
        optimizer = keras.optimizers.Adam(self._config.learning_rate)
        optimizer.build(self._trainable)
        variables = [w.value for w in self._trainable]

        @tf.function  # type: ignore[untyped-decorator]
        def stretch(first: Any, count: Any) -> Any:
            value = tf.zeros((), tf.float64)
            for step in tf.range(first, first + count):
                with tf.GradientTape() as tape:
                    value = tf.cast(loss(self.forward, step), tf.float64)
                optimizer.apply(tape.gradient(value, variables), self._trainable)
            return value

        stops = stops and self._config.keep == "best"
        phase, best, since = Phase([], [], []), (math.inf, [w.numpy() for w in self._trainable]), 0
        done = 0
        while done < n_steps and (not stops or since < self._config.patience):
            count = min(self._config.check_every, n_steps - done)
            value = float(stretch(tf.constant(done), tf.constant(count)))
            done += count
            if not (math.isfinite(value) and all(np.isfinite(w.numpy()).all() for w in self._trainable)):
                raise TrainingError(
                    f"loss or weights of the network are no numbers after {done} steps (loss {value}); lower "
                    "learning_rate, look for outliers and for events of large negative weight"
                )
            numbers = tuple(float(n) for n in watch())
            phase.steps.append(float(done))
            phase.losses.append(value)
            phase.watched.append(numbers)
            since += count
            if numbers[0] < best[0]:
                best, since = (numbers[0], [w.numpy() for w in self._trainable]), 0
            if each_look is not None:
                each_look(count, f"{numbers[0]:.4f}")
        if stops:
            for w, value in zip(self._trainable, best[1], strict=True):
                w.assign(value)
        return phase
