"""An `Ensemble` as a TensorFlow function: what sampling and exact derivatives of a surrogate run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ensemble import Ensemble
from ..tracing import tensorflow

__all__ = ["guarded", "members_logpdf", "network"]


def _activations() -> dict[str, Callable[[Any], Any]]:
    tf = tensorflow()
    return {
        "selu": tf.nn.selu,
        "silu": tf.nn.silu,
        "gelu": lambda x: tf.nn.gelu(x, approximate=True),
        "softplus": tf.nn.softplus,
        "tanh": tf.tanh,
        "relu": tf.nn.relu,
    }


def network(weights: list[Any], activation: str, f: Any) -> Any:
    """Kernel, bias, kernel, bias ... applied to features (n, m) -> (n,)."""
    act = _activations()[activation]
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        f = act(f @ kernel + bias)
    return (f @ weights[-2] + weights[-1])[:, 0]


def members_logpdf(ensemble: Ensemble) -> Callable[[Any], Any]:
    """float64 theta (n, d) -> (n, K) float64, traceable and differentiable; the networks run in float32."""
    tf = tensorflow()
    features, baseline = ensemble.features, ensemble.baseline
    columns = [int(k) for k in features.kink_columns]
    members = [
        ([np.asarray(a) for pair in zip(m.kernels, m.biases, strict=True) for a in pair], m.activation)
        for m in ensemble.members
    ]

    def forward(theta: Any) -> Any:
        f = (theta - features.shift) / features.scale
        if columns:
            beyond = (tf.gather(theta, columns, axis=1) - features.kink_values) / features.scale[columns]
            f = tf.concat([f, tf.nn.relu(beyond)], axis=1)
        b = baseline.constant + tf.reduce_sum(f * (baseline.linear + 0.5 * (f @ baseline.matrix)), axis=1)
        single = tf.cast(f, tf.float32)
        residuals = tf.stack([network(weights, activation, single) for weights, activation in members], axis=1)
        return b[:, None] + ensemble.output_scale * tf.cast(residuals, tf.float64)

    return forward


def guarded(ensemble: Ensemble) -> Callable[[Any], Any]:
    """float64 theta (n, d) -> (n,) mean of the members inside the domain, -inf outside; traceable."""
    tf = tensorflow()
    members, domain = members_logpdf(ensemble), ensemble.domain

    def logpdf(theta: Any) -> Any:
        box = tf.reduce_all((theta >= domain.low) & (theta <= domain.high), axis=1)
        distance = tf.reduce_sum(((theta - domain.center) @ domain.whitening) ** 2, axis=1)
        inside = box & (distance <= domain.radius**2)
        return tf.where(inside, tf.reduce_mean(members(theta), axis=1), tf.constant(-np.inf, tf.float64))

    return logpdf
