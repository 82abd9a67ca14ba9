r"""One network with several cross entropies: process classes, and "up against down" for every nuisance.

    outputs z = (z_1 .. z_P, d_1 .. d_G) of one dense network
    loss = mean_i w_i [-log softmax(z)_{c_i}]  +  mean_i w_i [t_i log(1 + e^-d) + (1 - t_i) log(1 + e^d)]

At its minimum z_p - z_q = log f_p / f_q and d_g = log f_up / f_down: ratios of densities, the ingredients of scores.
Rows lie in pairs that share a batch, so that the two shifted versions of one event are always seen together: what
fluctuates in common drops out of the gradient. Adam, cosine schedule, averaged weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import TrainingError
from ..members import Layer, Member
from ..tracing import tensorflow
from .backend import keras
from .forward import network
from .heads_config import HeadsConfig

__all__ = ["HeadRows", "initial_layers", "train_heads"]

BLOCKS = 10


@dataclass(frozen=True)
class HeadRows:
    """What one task learns: rows in pairs (0, 1), (2, 3), ... ; their number is even."""

    event: np.ndarray
    """(n,) row of the feature table."""
    head: np.ndarray
    """(n,) which ratio output; not used by the class task."""
    target: np.ndarray
    """(n,) the class, or the probability of "up"."""
    weight: np.ndarray
    """(n,)."""


def initial_layers(n_features: int, n_outputs: int, widths: tuple[int, ...], activation: str, seed: int) -> list[Layer]:
    """A dense network of Keras variables, initialised from a seed; its outputs start at 0.

    Normal kernels of variance gain / inputs: gain 2 for relu (He et al. 2015), 1 otherwise (LeCun et al. 1998).
    """
    rng = np.random.default_rng(seed)
    gain = 2.0 if activation == "relu" else 1.0
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise([n_features, *widths, n_outputs])):
        last = i == len(widths)
        kernel = np.zeros((n_in, n_out)) if last else rng.normal(0.0, np.sqrt(gain / n_in), (n_in, n_out))
        kernel_variable, bias = (keras.Variable(a.astype(np.float32)) for a in (kernel, np.zeros(n_out)))
        layers.append(Layer((i,), kernel_variable, bias, "identity" if last else activation))
    return layers


def train_heads(
    values: np.ndarray,
    classes: HeadRows,
    ratios: HeadRows,
    n_classes: int,
    n_ratios: int,
    config: HeadsConfig,
    seed: int,
    each_block: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[Member, dict[str, list[float]]]:
    """Train the network.

    Args:
        values: (N, m) standardised features, float32.
        classes: rows of the class task.
        ratios: rows of the ratio tasks; empty if there are none.
        n_classes: P.
        n_ratios: G.
        config: the recipe.
        seed: of the initial weights and the batches.
        each_block: called with the number of steps and the mean losses of each tenth of the training.

    Returns:
        The network of the averaged weights, and the history.

    Raises:
        TrainingError: the loss left the real numbers.
    """
    tf = tensorflow()
    layers = initial_layers(values.shape[1], n_classes + n_ratios, config.widths, config.activation, seed)
    trainable = [w for layer in layers for w in (layer.kernel, layer.bias)]
    variables = [w.value for w in trainable]
    inner = [Layer(layer.inputs, layer.kernel.value, layer.bias.value, layer.activation) for layer in layers]
    rising = max(1, int(config.warmup * config.n_steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, config.n_steps - rising), warmup_target=config.learning_rate, warmup_steps=rising
    )
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(trainable)
    average = [tf.Variable(w) for w in variables]
    table = tf.constant(values, tf.float32)
    class_columns, ratio_columns = _on_device(classes, n_classes), _on_device(ratios, n_classes)
    sees_ratios = len(ratios.event) > 0

    def losses(batch: Any, other: Any) -> tuple[Any, Any]:
        event, _, target, weight = (tf.gather(a, batch) for a in class_columns)
        rows = tf.gather(table, event)
        if not sees_ratios:
            z = network(inner, rows)[:, :n_classes]
            return tf.reduce_mean(weight * _class_loss(z, target)), tf.zeros(())
        event, head, label, ratio_weight = (tf.gather(a, other) for a in ratio_columns)
        out = network(inner, tf.concat([rows, tf.gather(table, event)], axis=0))
        n = tf.shape(rows)[0]
        d = tf.gather(out[n:], head, axis=1, batch_dims=1)
        first = tf.reduce_mean(weight * _class_loss(out[:n, :n_classes], target))
        ratio = tf.nn.sigmoid_cross_entropy_with_logits(label, d)
        return first, tf.reduce_mean(ratio_weight * ratio)

    @tf.function
    def block(order: Any, other: Any) -> Any:
        total = tf.zeros(2)
        for i in tf.range(tf.shape(order)[0]):
            with tf.GradientTape() as tape:
                parts = losses(order[i], other[i])
                loss = parts[0] + parts[1]
            optimizer.apply(tape.gradient(loss, variables), trainable)
            step = tf.cast(optimizer.iterations.value, tf.float32)
            decay = tf.minimum(config.averaging, (1.0 + step) / (10.0 + step))
            for a, w in zip(average, variables, strict=True):
                a.assign(decay * a + (1.0 - decay) * w)
            total += tf.stack(parts)
        return total / tf.cast(tf.shape(order)[0], tf.float32)

    rng = np.random.default_rng([seed, 1])
    class_order = _batches(len(classes.event), config, rng)
    ratio_order = _batches(len(ratios.event), config, rng) if sees_ratios else class_order
    history: dict[str, list[float]] = {"step": [], "class_loss": [], "ratio_loss": []}
    for part, other in zip(np.array_split(class_order, BLOCKS), np.array_split(ratio_order, BLOCKS), strict=True):
        if not len(part):
            continue
        numbers = block(tf.constant(part), tf.constant(other)).numpy().tolist()
        done = int(sum(history["step"][-1:])) + len(part)
        if not all(math.isfinite(n) for n in numbers):
            raise TrainingError(f"the loss is {numbers} after {done} steps; lower learning_rate, or look for outliers")
        for name, number in zip(history, (done, *numbers), strict=True):
            history[name].append(number)
        if each_block is not None:
            each_block(len(part), {"class_loss": numbers[0], "ratio_loss": numbers[1]})
    weights = [a.numpy() for a in average]
    return Member.dense(weights[0::2], weights[1::2], config.activation), history


def _class_loss(z: Any, target: Any) -> Any:
    tf = tensorflow()
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(target, tf.int32), z)


def _on_device(rows: HeadRows, first_ratio: int) -> tuple[Any, ...]:
    tf = tensorflow()
    return (
        tf.constant(rows.event, tf.int32),
        tf.constant(rows.head + first_ratio, tf.int32),
        tf.constant(rows.target, tf.float32),
        tf.constant(rows.weight, tf.float32),
    )


def _batches(n: int, config: HeadsConfig, rng: np.random.Generator) -> np.ndarray:
    """(steps, rows) int32: epoch after epoch of shuffled pairs, cut into batches of whole pairs."""
    pairs = n // 2
    size = min(max(1, config.batch_size // 2), pairs)
    per_epoch = pairs // size
    epochs = math.ceil(config.n_steps / per_epoch)
    chosen = [rng.permutation(pairs)[: per_epoch * size].reshape(per_epoch, size) for _ in range(epochs)]
    first = 2 * np.concatenate(chosen)[: config.n_steps]
    return np.concatenate([first, first + 1], axis=1).astype(np.int32)
