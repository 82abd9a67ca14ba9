r"""One network of an ensemble as plain arrays: layers that read earlier outputs, forward and backward.

    h_0 = f                                    features (n, m), or, expanded, (f_i, f_i f_j for i <= j)
    a_i = [h_j for j in inputs_i] W_i + b_i,   h_i = act_i(a_i),   i = 1 ... L,   act_L = identity
    N(f) = h_L  (n, H),                        one column for each head

    backward, for head h:   g_L = e_h,   [g_j for j in inputs_i] += (g_i * act_i'(a_i)) W_i^T,   dN_h/df = g_0 dh_0/df

A dense network is the chain inputs_i = (i - 1,). Monomials with ReLU layers are the network that CMS used
(doi:10.1051/epjconf/202429509041). Logarithms of positive quadratic forms, followed by squares and excesses, are the
shape of a profiled counting likelihood (`networks.architectures`).

Computed in float32, where a network is good to about 1e-7 of its scale; in float64 if asked, for differences.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from .errors import ConfigError

__all__ = [
    "ACTIVATIONS",
    "FUNCTIONS",
    "SLOPES",
    "Layer",
    "Member",
    "average",
    "monomials",
    "monomials_pull_back",
    "pairs",
]

Function = Callable[[np.ndarray], np.ndarray]

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
LEAKY_SLOPE = 0.01
"""The slope of leaky_relu below zero: PyTorch's default. (Keras's layer has 0.3, its function and TensorFlow's 0.2.)"""
LOG_FLOOR = 1e-4
"""log is of max(a, LOG_FLOOR); a positive form keeps well above."""
EXCESS_KNEE = 6.0
"""Where excess goes on as a straight line, so that no exponential overflows."""
GELU_RATE, GELU_CUBIC = float(np.sqrt(2 / np.pi)), 0.044715


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form, as `keras.activations.gelu(approximate=True)`."""
    return 0.5 * x * (1 + np.tanh(GELU_RATE * (x + GELU_CUBIC * x**3)))


def _gelu_slope(x: np.ndarray) -> np.ndarray:
    t = np.tanh(GELU_RATE * (x + GELU_CUBIC * x**3))
    return 0.5 * (1 + t + x * (1 - t * t) * GELU_RATE * (1 + 3 * GELU_CUBIC * x * x))


def _silu_slope(x: np.ndarray) -> np.ndarray:
    s = _sigmoid(x)
    return s + x * s * (1 - s)


def _excess(x: np.ndarray) -> np.ndarray:
    r"""exp(x) - 1 - x, and its tangent beyond the knee: e^c (1 + x - c) - 1 - x with c = min(x, knee)."""
    return np.exp(np.minimum(x, EXCESS_KNEE)) * (1 + np.maximum(x - EXCESS_KNEE, 0)) - (1 + x)


ACTIVATIONS: dict[str, Function] = {
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": _gelu,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, LEAKY_SLOPE * x),
}
"""What the hidden units of a network may do, elementwise."""

FUNCTIONS: dict[str, Function] = {
    **ACTIVATIONS,
    "identity": lambda x: x,
    "square": np.square,
    "log": lambda x: np.log(np.maximum(x, LOG_FLOOR)),
    "excess": _excess,
}
"""What a layer may do: the activations, and the parts of counting likelihoods."""

SLOPES: dict[str, Function] = {
    "selu": lambda x: SELU_SCALE * np.where(x > 0, 1, SELU_ALPHA * np.exp(np.minimum(x, 0))),
    "silu": _silu_slope,
    "gelu": _gelu_slope,
    "softplus": _sigmoid,
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "relu": lambda x: np.where(x > 0, 1, 0),
    "leaky_relu": lambda x: np.where(x > 0, 1, LEAKY_SLOPE),
    "identity": np.ones_like,
    "square": lambda x: 2 * x,
    "log": lambda x: np.where(x > LOG_FLOOR, 1 / np.maximum(x, LOG_FLOOR), 0),
    "excess": lambda x: np.expm1(np.minimum(x, EXCESS_KNEE)),
}
"""Their derivatives."""


def pairs(m: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns i <= j of the products f_i f_j, row by row."""
    return np.triu_indices(m)


def monomials(f: np.ndarray) -> np.ndarray:
    """(n, m) -> (n, m + m (m + 1) / 2): f_i, then f_i f_j for i <= j.

    >>> monomials(np.array([[2.0, 3.0]]))
    array([[2., 3., 4., 6., 9.]])
    """
    return np.concatenate([f, *(f[:, i : i + 1] * f[:, i:] for i in range(f.shape[1]))], axis=1)


def monomials_pull_back(f: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Gradients (n, H, monomials) at features (n, m) -> (n, H, m)."""
    m = f.shape[1]
    out, start, f = gradient[..., :m].copy(), m, f[:, None, :]
    for i in range(m):
        part = gradient[..., start : start + m - i]
        out[..., i:] += part * f[..., i : i + 1]
        out[..., i] += (part * f[..., i:]).sum(axis=-1)
        start += m - i
    return out


@dataclass(frozen=True)
class Layer:
    """h = activation([outputs of `inputs`] kernel + bias)."""

    inputs: tuple[int, ...]
    """Earlier outputs, 0 for the features or their monomials, in the order of the kernel's rows."""
    kernel: Any
    """float32 (sum of their widths, w)."""
    bias: Any
    """float32 (w,)."""
    activation: str = "identity"


@dataclass(frozen=True)
class Member:
    """One network, (n, m) features -> (n, H)."""

    layers: tuple[Layer, ...]
    expand: bool = False
    """Whether output 0 is the monomials of the features."""

    def __post_init__(self) -> None:
        widths = [len(self.layers[0].kernel)] if self.layers else [0]
        for i, layer in enumerate(self.layers, 1):
            if layer.activation not in FUNCTIONS:
                raise ConfigError(f"activation {layer.activation!r} is none of {sorted(FUNCTIONS)}")
            known = [widths[j] for j in layer.inputs if 0 <= j < i]
            shape = (sum(known), len(layer.bias))
            if len(known) != len(layer.inputs) or tuple(np.shape(layer.kernel)) != shape:
                raise ConfigError(
                    f"layer {i} has a kernel of shape {np.shape(layer.kernel)}, expected {shape} from inputs "
                    f"{layer.inputs} among outputs of widths {widths}"
                )
            widths.append(shape[1])
        if not self.layers or self.layers[0].inputs != (0,) or self.layers[-1].activation != "identity":
            raise ConfigError("a network begins with a layer on the features alone and ends with a linear one")

    @classmethod
    def dense(
        cls, kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray], activation: str, *, expand: bool = False
    ) -> Self:
        """A chain of layers with one activation, linear at the end."""
        acts = [activation] * (len(kernels) - 1) + ["identity"]
        chain = zip(kernels, biases, acts, strict=True)
        return cls(tuple(Layer((i,), k, b, a) for i, (k, b, a) in enumerate(chain)), expand)

    @property
    def structure(self) -> str:
        """The network without its arrays: the activation of a dense one, otherwise JSON."""
        hidden = {layer.activation for layer in self.layers[:-1]}
        chain = all(layer.inputs == (i,) for i, layer in enumerate(self.layers))
        if chain and not self.expand and len(hidden) == 1:
            return hidden.pop()
        layers = [{"inputs": list(layer.inputs), "activation": layer.activation} for layer in self.layers]
        return json.dumps({"expand": self.expand, "layers": layers}, separators=(",", ":"))

    @classmethod
    def from_structure(cls, structure: str, kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> Self:
        """Inverse of `structure`, with the arrays.

        Raises:
            ConfigError: a structure that is none, or that the arrays do not fit.
        """
        if not structure.startswith("{"):
            return cls.dense(kernels, biases, structure)
        try:
            plan = json.loads(structure)
            layers = [
                Layer(tuple(int(j) for j in part["inputs"]), kernel, bias, str(part["activation"]))
                for part, kernel, bias in zip(plan["layers"], kernels, biases, strict=True)
            ]
            return cls(tuple(layers), bool(plan["expand"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{structure[:200]!r} is not the structure of a network: {error}") from error

    @property
    def n_weights(self) -> int:
        """How many numbers it holds."""
        return sum(layer.kernel.size + layer.bias.size for layer in self.layers)

    @property
    def n_heads(self) -> int:
        """Its outputs, H."""
        return len(self.layers[-1].bias)

    @property
    def widths(self) -> tuple[int, ...]:
        """Outputs of each hidden layer."""
        return tuple(len(layer.bias) for layer in self.layers[:-1])

    def _forward(self, f: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Outputs h_0 ... h_L, and what went into the activations, a_1 ... a_L."""
        outputs, before = [monomials(f) if self.expand else f], []
        for layer in self.layers:
            h = [outputs[j] for j in layer.inputs]
            x = h[0] if len(h) == 1 else np.concatenate(h, axis=1)
            before.append(x @ layer.kernel.astype(f.dtype, copy=False) + layer.bias.astype(f.dtype, copy=False))
            outputs.append(FUNCTIONS[layer.activation](before[-1]))
        return outputs, before

    def __call__(self, f: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """(n, m) -> (n, H) network output, computed in `dtype`."""
        return self._forward(f.astype(dtype))[0][-1]

    def value_and_gradient(self, f: np.ndarray, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """(n, m) -> (n, H), and the gradient of every head in the features, (n, H, m)."""
        f = f.astype(dtype)
        outputs, before = self._forward(f)
        n, n_heads = len(f), self.n_heads
        upstream: list[Any] = [0.0] * len(outputs)
        upstream[-1] = np.broadcast_to(np.eye(n_heads, dtype=dtype), (n, n_heads, n_heads))
        for i in range(len(self.layers), 0, -1):
            layer = self.layers[i - 1]
            if np.ndim(upstream[i]) == 0:
                continue  # nobody reads this layer
            slope = SLOPES[layer.activation](before[i - 1]).astype(dtype, copy=False)
            gradient = (upstream[i] * slope[:, None, :]) @ layer.kernel.T.astype(dtype, copy=False)
            cuts = [0, *np.cumsum([outputs[j].shape[1] for j in layer.inputs])]
            for j, (start, stop) in zip(layer.inputs, pairwise(cuts), strict=True):
                upstream[j] = upstream[j] + gradient[..., start:stop]
        return outputs[-1], monomials_pull_back(f, upstream[0]) if self.expand else upstream[0]


def average(answers: Any) -> Any:
    """(n, K, ...) answers, arrays or tensors -> (n, ...) their mean; what all members say, to the last bit."""
    first = answers[:, 0]
    return first + sum(answers[:, k] - first for k in range(1, answers.shape[1])) / answers.shape[1]
