r"""What gradient trainers minimise, as TensorFlow expressions of a network: cross entropies, and uncertainties of bins.

cross entropy    balanced: every class has the same total weight
uncertainty      sum_s Delta r_s of the yields A [W_i^T B_i], Fisher information in closed form and float64
constrained      sum_s Delta r_s + omega max(CE' - CE'_min, 0),   omega <- omega + eta g, 0 where the constraint
                 holds  (differential multiplier: Platt and Barr 1987)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..tracing import tensorflow
from .uncertainty import differentiable
from .yields import YieldRows

__all__ = ["LEAST_PRIOR", "Constrained", "Drawn", "Link", "uncertainties"]

Link = Literal["sigmoid", "softmax"]
Forward = Callable[[Any], Any]
Membership = Callable[[Any], Any]
LEAST_PRIOR = 1e-2
"""1 / the widest constraint during training: bins may collapse, but the Fisher matrix of free nuisances may not."""


class Drawn:
    """Rows of a model as tensors: all of them, or some of every sample drawn anew in every step.

    Args:
        rows: of the model.
        batch_size: events of each sample in a step; 0 for all.
        seed: of the draws.
    """

    def __init__(self, rows: YieldRows, batch_size: int, seed: int) -> None:
        tf = tensorflow()
        self.rows, self._seed = rows, seed
        self._sizes = [len(b.weights) for b in rows.blocks]
        self._drawn = [min(batch_size, n) if batch_size else n for n in self._sizes]
        self._full = self._drawn == self._sizes
        self._table = tf.constant(rows.values)
        self._weights = [tf.constant(b.weights) for b in rows.blocks]
        self._matrix = tf.constant(rows.matrix)

    def _indices(self, step: Any) -> list[Any]:
        """Rows of each block; the same ones in blocks that hold the same events."""
        tf = tensorflow()
        by_group: dict[int, Any] = {}
        for block, n, k in zip(self.rows.blocks, self._sizes, self._drawn, strict=True):
            if block.group not in by_group:
                seed = tf.stack([tf.cast(step, tf.int64), self._seed * 4096 + block.group])
                by_group[block.group] = tf.random.stateless_uniform([k], seed, maxval=n, dtype=tf.int32)
        return [by_group[block.group] for block in self.rows.blocks]

    def _chosen(self, step: Any) -> tuple[Any, list[Any]]:
        """(n, m) features, and the weights of every block."""
        tf = tensorflow()
        if self._full:
            return self._table, self._weights
        found = self._indices(step)
        where = tf.concat([b.first + i for b, i in zip(self.rows.blocks, found, strict=True)], axis=0)
        scales = [n / k for n, k in zip(self._sizes, self._drawn, strict=True)]
        weights = [tf.gather(w, i) * scale for w, i, scale in zip(self._weights, found, scales, strict=True)]
        return tf.gather(self._table, where), weights

    def yields(self, forward: Forward, membership: Membership, step: Any) -> tuple[Any, Any]:
        """(S + J + 2, K) float64 rows of A T, and the outputs (n, H) of the nominal events."""
        tf = tensorflow()
        x, weights = self._chosen(step)
        z = forward(x)
        parts = tf.split(membership(z), self._drawn)
        counts = [tf.matmul(w, b, transpose_a=True) for w, b in zip(weights, parts, strict=True)]
        nominal = sum(self._drawn[: len(self.rows.signal)])
        return self._matrix @ tf.cast(tf.concat(counts, axis=0), tf.float64), z[:nominal]

    def nominal(self, forward: Forward, step: Any) -> Any:
        """Outputs (n, H) of the nominal events."""
        tf = tensorflow()
        p = len(self.rows.signal)
        if self._full:
            return forward(self._table[: sum(self._drawn[:p])])
        found = self._indices(step)[:p]
        where = tf.concat([b.first + i for b, i in zip(self.rows.blocks[:p], found, strict=True)], axis=0)
        return forward(tf.gather(self._table, where))

    def cross_entropy(self, z: Any, link: Link, step: Any) -> Any:
        """Balanced mean over the nominal events, outputs (n, H): signal against background, or processes.

        One output: signals against backgrounds. Sigmoids of P outputs: each process against all others.
        """
        tf = tensorflow()
        p = len(self.rows.signal)
        weights = [w[:, 0] for w in (self._weights if self._full else self._chosen(step)[1])[:p]]
        labels = np.array(self.rows.signal, int) if z.shape[1] == 1 else np.arange(p)
        totals = [sum(tf.reduce_sum(w) for w, other in zip(weights, labels, strict=True) if other == c) for c in labels]
        n_classes = len(set(labels.tolist()))
        w = tf.concat([w / (t * n_classes) for w, t in zip(weights, totals, strict=True)], axis=0)
        label = tf.concat([tf.fill([n], int(c)) for n, c in zip(self._drawn[:p], labels, strict=True)], axis=0)
        if link == "softmax":
            return tf.reduce_sum(w * tf.nn.sparse_softmax_cross_entropy_with_logits(label, z))
        target = tf.cast(label[:, None], tf.float32) if z.shape[1] == 1 else tf.one_hot(label, p)
        return tf.reduce_sum(w[:, None] * tf.nn.sigmoid_cross_entropy_with_logits(target, z))


def uncertainties(
    rows: YieldRows, yields: Any, constraints: np.ndarray, *, mc_statistics: bool = False
) -> tuple[Any, Any]:
    """(S,) total and (S,) statistical uncertainties of yields (S + J + 2, K), differentiable."""
    s, j = rows.n_pois, rows.n_nuisances
    widths = np.minimum(constraints, 1.0 / LEAST_PRIOR)
    variance = yields[s + j + 1] if mc_statistics else None
    return differentiable(yields[:s], yields[s : s + j], yields[s + j], widths, variance)


class Constrained:
    """The multiplier that keeps a cross entropy from growing beyond its value after pre-training."""

    def __init__(self, least: float, rate: float) -> None:
        self._least, self._rate = least, rate
        self.omega = tensorflow().Variable(0.0, trainable=False)

    def __call__(self, cross_entropy: Any) -> Any:
        """The penalty omega g, float64; the multiplier takes its step of ascent."""
        tf = tensorflow()
        g = tf.maximum(cross_entropy - self._least, 0.0)
        held = tf.stop_gradient(g)
        self.omega.assign(tf.where(held > 0, self.omega + self._rate * held, 0.0))
        return tf.cast(tf.stop_gradient(self.omega) * g, tf.float64)
