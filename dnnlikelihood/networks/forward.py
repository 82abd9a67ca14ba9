"""An `Ensemble` as TensorFlow functions: what sampling, training, exact derivatives and the SavedModel run on.

The arrays of the surrogate come by the names of `Ensemble.arrays`, as constants or as variables of a module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..ensemble import Ensemble
from ..members import EXCESS_KNEE, LEAKY_SLOPE, LOG_FLOOR, Layer, Member, average, pairs
from ..tracing import tensorflow

__all__ = [
    "coordinates",
    "functions",
    "guarded",
    "heads_logpdf",
    "in_domain",
    "members_logpdf",
    "monomials",
    "network",
    "numbers",
]

Arrays = Mapping[str, Any]


@cache
def functions() -> dict[str, Callable[[Any], Any]]:
    """`members.FUNCTIONS` in TensorFlow."""
    tf = tensorflow()

    def excess(x: Any) -> Any:
        return tf.exp(tf.minimum(x, EXCESS_KNEE)) * (1.0 + tf.nn.relu(x - EXCESS_KNEE)) - (1.0 + x)

    return {
        "selu": tf.nn.selu,
        "silu": tf.nn.silu,
        "gelu": lambda x: tf.nn.gelu(x, approximate=True),
        "softplus": tf.nn.softplus,
        "tanh": tf.tanh,
        "relu": tf.nn.relu,
        "leaky_relu": lambda x: tf.nn.leaky_relu(x, alpha=LEAKY_SLOPE),
        "identity": lambda x: x,
        "square": tf.square,
        "log": lambda x: tf.math.log(tf.maximum(x, LOG_FLOOR)),
        "excess": excess,
    }


def monomials(f: Any) -> Any:
    """(n, m) -> (n, m + m (m + 1) / 2), in the order of `members.monomials`.

    Columns are picked by products with zeros and ones: their derivatives are products again, and no scatter.
    """
    tf = tensorflow()
    m = f.shape[1]
    first, second = (tf.constant(np.eye(m)[:, columns], f.dtype) for columns in pairs(m))
    return tf.concat([f, (f @ first) * (f @ second)], axis=1)


def network(layers: Sequence[Layer], f: Any, *, expand: bool = False) -> Any:
    """Layers, whose kernels may be variables, applied to features: (n, m) -> (n, H)."""
    tf = tensorflow()
    outputs = [monomials(f) if expand else f]
    for layer in layers:
        h = [outputs[j] for j in layer.inputs]
        x = h[0] if len(h) == 1 else tf.concat(h, axis=1)
        outputs.append(functions()[layer.activation](x @ layer.kernel + layer.bias))
    return outputs[-1]


def numbers(ensemble: Ensemble) -> dict[str, np.ndarray]:
    """The arrays of an ensemble that are numbers, by name."""
    return {name: a for name, a in ensemble.arrays().items() if a.dtype.kind in "fi"}


def _with(member: Member, k: int, v: Arrays) -> list[Layer]:
    return [
        Layer(layer.inputs, v[f"members/{k}/{i}/kernel"], v[f"members/{k}/{i}/bias"], layer.activation)
        for i, layer in enumerate(member.layers)
    ]


def heads_logpdf(ensemble: Ensemble, arrays: Arrays | None = None) -> Callable[[Any], Any]:
    """float64 theta (n, d) -> (n, K, H) float64, traceable and differentiable; the networks run in float32.

    Args:
        ensemble: the surrogate.
        arrays: its `numbers`, as variables perhaps; constants if None.
    """
    tf = tensorflow()
    v = numbers(ensemble) if arrays is None else arrays
    members = [(_with(member, k, v), member.expand) for k, member in enumerate(ensemble.members)]
    n_heads, m = len(ensemble.outputs), ensemble.features.width
    has_kinks = len(ensemble.features.kink_columns) > 0

    def features(theta: Any) -> Any:
        f = (theta - v["features/shift"]) / v["features/scale"]
        if not has_kinks:
            return f
        columns = v["features/kink_columns"]
        beyond = tf.gather(theta, columns, axis=1) - v["features/kink_values"]
        return tf.concat([f, tf.nn.relu(beyond / tf.gather(v["features/scale"], columns))], axis=1)

    def forward(theta: Any) -> Any:
        theta = coordinates(theta, v)
        f = features(theta)
        slope = tf.reshape(v["baseline/linear"] + 0.5 * (f @ v["baseline/matrix"]), [-1, n_heads, m])
        b = v["baseline/constant"] + tf.reduce_sum(f[:, None, :] * slope, axis=2)
        single = tf.cast(f, tf.float32)
        networks = tf.stack([network(layers, single, expand=expand) for layers, expand in members], axis=1)
        residuals = v["output_scale"] * tf.cast(networks, tf.float64)
        if ensemble.anchored:
            here = tf.cast(tf.reduce_all(theta == v["features/shift"], axis=1), tf.float64)
            residuals -= tf.stop_gradient(residuals * here[:, None, None])
        return b[:, None, :] + residuals

    return forward


def coordinates(points: Any, v: Arrays) -> Any:
    """`Ensemble.coordinates` of tensors: theta = M phi where there is a matrix."""
    return tensorflow().matmul(points, v["matrix"], transpose_b=True) if "matrix" in v else points


def members_logpdf(ensemble: Ensemble, head: int = 0) -> Callable[[Any], Any]:
    """float64 theta (n, d) -> (n, K) float64 of one head, traceable and differentiable."""
    forward = heads_logpdf(ensemble if len(ensemble.outputs) == 1 else ensemble.select(head))
    return lambda theta: forward(theta)[:, :, 0]


def guarded(ensemble: Ensemble, head: int = 0) -> Callable[[Any], Any]:
    """float64 theta (n, d) -> (n,) mean of the members for one head in the domain, -inf outside; traceable."""
    tf = tensorflow()
    v = numbers(ensemble)
    members, known = heads_logpdf(ensemble), in_domain(v)

    def logpdf(points: Any) -> Any:
        each = members(points)
        mean = average(each[:, :, head])
        return tf.where(known(points, each), mean, tf.constant(-np.inf, tf.float64))

    return logpdf


def in_domain(v: Arrays) -> Callable[[Any, Any], Any]:
    """Of points (n, d) and the members' answers there (n, K, H) -> (n,) bool, as `Ensemble.in_domain`; traceable."""
    tf = tensorflow()

    def known(points: Any, members: Any) -> Any:
        theta = coordinates(points, v)
        box = tf.reduce_all((theta >= v["domain/low"]) & (theta <= v["domain/high"]), axis=1)
        white = (theta - v["domain/center"]) @ v["domain/whitening"]
        ellipsoid = tf.sqrt(tf.reduce_sum(white**2, axis=1)) <= v["domain/radius"]
        # the slope of a standard deviation is 0/0 where members agree to the last bit
        each = tf.stop_gradient(members)
        limits = of_bin(v, "calibration/limits", tf.reduce_mean(each, axis=1))
        return box & ellipsoid & tf.reduce_all(tf.math.reduce_std(each, axis=1) <= limits, axis=1)

    return known


def of_bin(v: Arrays, table: str, logpdf: Any) -> Any:
    """(n, H) entries of a table with a row for each head, in the calibration bins of its answers (n, H)."""
    tf = tensorflow()
    n_heads = logpdf.shape[1]
    edges = tf.reshape(v["calibration/edges"], [n_heads, -1])
    place = tf.reduce_sum(tf.cast(logpdf[:, :, None] >= edges, tf.int32), axis=2)
    return tf.gather(v[table], place + tf.size(v[table]) // n_heads * tf.range(n_heads))
