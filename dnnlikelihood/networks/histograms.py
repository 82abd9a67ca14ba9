r"""Histograms with gradients: the share of every event in each of K bins, as TensorFlow expressions.

    counted     B_k(y) = 1 if y lies in bin k of K equal ones in [0, 1], else 0; with a stand-in for its derivative
                linear    dB_k/dy = -(y - m_k) / sigma^2   inside the bin, 0 outside           (SANNT)
                gaussian  dB_k/dy = -(y - m_k) / sigma^2 exp(-(y - m_k)^2 / 2 sigma^2)         (Wunsch et al. 2021)
                identity  dB_k/dy = 1                      inside the bin, 0 outside           (straight through)
    smoothed    B_k(y) = Phi((e_k+1 - y) / h) - Phi((e_k - y) / h), outermost edges at infinity  (neos)
    softened    B_k(z) = softmax(z / tau)_k                                                    (INFERNO)

m_k is the middle of a bin, sigma half its width. The forward pass of `counted` is the histogram itself, whatever goes
back. With sigma of the bin, every Gaussian reaches into its neighbours, which moves all events the same way and ends
in few bins; the linear form treats all bins alike and keeps events in order.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ..tracing import tensorflow

__all__ = ["HistogramGradient", "counted", "hardened", "in_classes", "smoothed", "softened"]

HistogramGradient = Literal["linear", "gaussian", "identity"]


def counted(y: Any, n_bins: int, gradient: HistogramGradient) -> Any:
    """(n,) in [0, 1] -> (n, K) of zeros and ones, with a stand-in gradient."""
    tf = tensorflow()
    middle = tf.constant((np.arange(n_bins) + 0.5) / n_bins, tf.float32)
    sigma = 0.5 / n_bins

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def count(y: Any) -> tuple[Any, Any]:
        inside = hardened(y, n_bins)

        def backward(upstream: Any) -> Any:
            if gradient == "identity":
                return tf.reduce_sum(upstream * inside, axis=1)
            distance = y[:, None] - middle
            kernel = inside if gradient == "linear" else tf.exp(-0.5 * (distance / sigma) ** 2)
            return tf.reduce_sum(upstream * kernel * (-distance / sigma**2), axis=1)

        return inside, backward

    return count(y)


def hardened(y: Any, n_bins: int) -> Any:
    """(n,) in [0, 1] -> (n, K) of zeros and ones, without a gradient."""
    tf = tensorflow()
    index = tf.clip_by_value(tf.cast(tf.floor(y * n_bins), tf.int32), 0, n_bins - 1)
    return tf.one_hot(index, n_bins, dtype=tf.float32)


def smoothed(y: Any, n_bins: int, bandwidth: float) -> Any:
    """(n,) in [0, 1] -> (n, K): every event a normal density of width `bandwidth`, integrated over the bins."""
    tf = tensorflow()
    edges = tf.constant(np.arange(1, n_bins) / n_bins, tf.float32)
    below = 0.5 * (1.0 + tf.math.erf((edges - y[:, None]) / (bandwidth * math.sqrt(2.0))))
    ends = tf.zeros_like(y[:, None])
    return tf.concat([below, ends + 1.0], axis=1) - tf.concat([ends, below], axis=1)


def softened(z: Any, temperature: float) -> Any:
    """(n, K) -> (n, K)."""
    return tensorflow().nn.softmax(z / temperature)


def in_classes(y: Any, inside: Any) -> Any:
    """The class with the largest score, and the bin of that score.

    Args:
        y: (n, C) scores.
        inside: (n, K) the largest score's bin.

    Returns:
        (n, C K); gradients reach the largest score of every event through `inside` alone.
    """
    tf = tensorflow()
    label = tf.one_hot(tf.argmax(y, axis=1), y.shape[1], dtype=tf.float32)
    return tf.reshape(label[:, :, None] * inside[:, None, :], [-1, y.shape[1] * inside.shape[1]])
