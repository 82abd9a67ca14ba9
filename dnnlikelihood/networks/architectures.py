r"""What a member may look like: initial variables from a seed, and the layers that variables make.

What is trained and what is stored are two things: an architecture trains `variables`, and `layers` maps them,
differentiably, to the kernels of a `Member`.

    dense       f -> hidden layers -> H
    monomials   (f_i, f_i f_j) -> hidden layers -> H                     the network of CMS (EPJ Web Conf. 295, 09041)
    counting    q_b = |V_b (1, f)|^2 + eps,   l_b = log q_b
                N = w.q + v.l + sum_r s_r (W^T l)_r^2 + sum_e a_e (exp u_e - 1 - u_e) + hidden units(l) + c
    quartic     q'_r = a quadratic of f,      N = w.(f_i, f_i f_j) + sum_r s_r q'_r^2 + c

A counting likelihood with yields quadratic in the parameters is sum_b q_b - n_b log q_b; profiled log-normal nuisances
add a quadratic form of the log-yields, and its exponentials: so `counting` has the form of the truth, with learned
yields that are positive by construction. A Gaussian likelihood of quadratic predictions is a `quartic` exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..members import Layer, Member, pairs
from ..tracing import tensorflow
from .backend import keras
from .config import NetworkConfig

__all__ = ["ARCHITECTURES", "Architecture", "architecture"]

POSITIVE = 1e-2
"""eps: what keeps the logarithm of a learned yield finite."""
YIELD_SCALE = 0.12
"""Standard deviation of the initial V."""


@dataclass(frozen=True)
class Architecture:
    """One architecture for so many features and heads."""

    variables: Callable[[int], list[np.ndarray]]
    """seed -> initial float32 arrays."""
    layers: Callable[[Sequence[Any]], tuple[Layer, ...]]
    """Variables, or tensors of their shapes -> layers whose kernels are tensors."""
    expand: bool

    def member(self, variables: Sequence[Any]) -> Member:
        """The network that trained variables make."""
        layers = self.layers([np.asarray(v, np.float32) for v in variables])
        return Member(
            tuple(Layer(x.inputs, np.asarray(x.kernel), np.asarray(x.bias), x.activation) for x in layers), self.expand
        )


def _dense(m: int, n_heads: int, config: NetworkConfig, *, expand: bool = False) -> Architecture:
    scheme = "HeNormal" if "relu" in config.activation else "LecunNormal"
    sizes = (m + m * (m + 1) // 2 if expand else m, *config.widths, n_heads)

    def variables(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)

        def draw(kind: str, shape: tuple[int, ...], **options: Any) -> np.ndarray:
            initializer = getattr(keras.initializers, kind)(seed=int(rng.integers(2**31)), **options)
            return keras.ops.convert_to_numpy(initializer(shape, "float32"))

        out: list[np.ndarray] = []
        for shape in pairwise(sizes[:-1]):
            out.append(draw(scheme, shape))
            out.append(draw("RandomNormal", shape[1:], mean=0.0, stddev=config.bias_scale))
        last = (sizes[-2], n_heads)
        out.append(np.zeros(last, np.float32) if config.zero_output else draw(scheme, last))
        return [*out, np.zeros(n_heads, np.float32)]

    def layers(v: Sequence[Any]) -> tuple[Layer, ...]:
        acts = [config.activation] * len(config.widths) + ["identity"]
        return tuple(Layer((i,), v[2 * i], v[2 * i + 1], act) for i, act in enumerate(acts))

    return Architecture(variables, layers, expand)


def _monomials(m: int, n_heads: int, config: NetworkConfig) -> Architecture:
    return _dense(m, n_heads, config, expand=True)


def _counting(m: int, n_heads: int, config: NetworkConfig) -> Architecture:
    n_yields, n_squares, n_exponentials, n_units = config.widths
    size = m + 1
    rows, columns = pairs(size)
    place, twice = rows * size + columns, np.where(rows == columns, 1, 2).astype(np.float32)[:, None]

    def variables(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)

        def normal(*shape: int, scale: float) -> np.ndarray:
            return (scale * rng.normal(size=shape)).astype(np.float32)

        v = normal(n_yields, size, size, scale=YIELD_SCALE)
        v[:, 0, 0] += 1.0
        widths, narrow = (n_squares, n_exponentials, n_units), n_yields**-0.5
        inner = [normal(n_yields, width, scale=narrow) for width in widths]
        biases = [normal(width, scale=config.bias_scale) for width in widths[1:]]
        outer = [np.zeros((w, n_heads), np.float32) for w in (n_yields, n_yields, *widths)]
        if not config.zero_output:
            outer = [normal(*w.shape, scale=len(w) ** -0.5) for w in outer]
        return [v, *inner, *biases, *outer, np.zeros(n_heads, np.float32)]

    def layers(v: Sequence[Any]) -> tuple[Layer, ...]:
        tf = tensorflow()
        forms, squares, exponentials, units, lift, bend, w_q, w_l, w_s, w_e, w_u, offset = v
        folded = tf.transpose(tf.reshape(tf.matmul(forms, forms, transpose_a=True), [n_yields, size * size]))
        folded = tf.gather(folded, place) * twice  # 1, f_i, f_i f_j
        outer = tf.concat([folded[1:] @ w_q, w_l, w_s, w_e, w_u], axis=0)
        return (
            Layer((0,), folded[1:], folded[0] + POSITIVE, "log"),
            Layer((1,), squares, tf.zeros(n_squares), "square"),
            Layer((1,), exponentials, lift, "excess"),
            Layer((1,), units, bend, config.activation),
            Layer((0, 1, 2, 3, 4), outer, offset),
        )

    return Architecture(variables, layers, expand=True)


def _quartic(m: int, n_heads: int, config: NetworkConfig) -> Architecture:
    (n_forms,) = config.widths
    n = m + m * (m + 1) // 2

    def variables(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        forms = (n**-0.5 * rng.normal(size=(n, n_forms))).astype(np.float32)
        offsets = (config.bias_scale * rng.normal(size=n_forms)).astype(np.float32)
        outer = np.zeros((n + n_forms, n_heads), np.float32)
        if not config.zero_output:
            outer = (n_forms**-0.5 * rng.normal(size=outer.shape)).astype(np.float32)
        return [forms, offsets, outer, np.zeros(n_heads, np.float32)]

    def layers(v: Sequence[Any]) -> tuple[Layer, ...]:
        return Layer((0,), v[0], v[1], "square"), Layer((0, 1), v[2], v[3])

    return Architecture(variables, layers, expand=True)


ARCHITECTURES: dict[str, Callable[[int, int, NetworkConfig], Architecture]] = {
    "dense": _dense,
    "monomials": _monomials,
    "counting": _counting,
    "quartic": _quartic,
}


def architecture(n_features: int, n_heads: int, config: NetworkConfig) -> Architecture:
    """The architecture that a configuration names."""
    return ARCHITECTURES[config.architecture](n_features, n_heads, config)
