"""Nodes of an ONNX graph under construction: the functions of layers, whole networks, and their backward passes.

onnxruntime's Softplus is scalar code, so softplus is written with Sigmoid and Log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import MissingDependency
from ..members import (
    EXCESS_KNEE,
    GELU_CUBIC,
    GELU_RATE,
    LEAKY_SLOPE,
    LOG_FLOOR,
    SELU_ALPHA,
    SELU_SCALE,
    Layer,
    Member,
    pairs,
)

__all__ = ["Graph", "Network", "onnx_package"]

Derivative = Callable[[], str]


def onnx_package() -> Any:
    """The `onnx` package.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ModuleNotFoundError as error:
        raise MissingDependency("this needs ONNX: pip install 'dnnlikelihood[onnx]'") from error
    return onnx


class Graph:
    """Nodes and initialisers under construction; calling it adds a node and returns the name of its output."""

    def __init__(self) -> None:
        self.onnx = onnx_package()
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}

    def __call__(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """One node with one output."""
        return self.split(op, *inputs, outputs=(output or f"{op}_{len(self.nodes)}",), **attributes)[0]

    def split(self, op: str, *inputs: str, outputs: tuple[str, ...], **attributes: Any) -> tuple[str, ...]:
        """One node with several outputs."""
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), list(outputs), outputs[0], **attributes))
        return outputs

    def constant(self, name: str, value: Any, dtype: Any = np.float64) -> str:
        """An initialiser; the same name twice is the same array."""
        self.initializers[name] = np.array(value, dtype, order="C")
        return name

    def single(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(f"constant/{value!r}", value, np.float32)

    def axis(self, *axes: int) -> str:
        """An int64 vector of axes or sizes."""
        return self.constant("axis/" + "_".join(map(str, axes)), axes, np.int64)


# Activations: each adds its nodes to the graph and returns its output and how to add those of its derivative ---------


def _selu(g: Graph, a: str) -> tuple[str, Derivative]:
    h = g("Selu", a)

    def derivative() -> str:
        rising = g.single(SELU_SCALE)
        return g("Where", g("Greater", h, g.single(0.0)), rising, g("Add", h, g.single(SELU_SCALE * SELU_ALPHA)))

    return h, derivative


def _silu(g: Graph, a: str) -> tuple[str, Derivative]:
    s = g("Sigmoid", a)
    h = g("Mul", a, s)
    return h, lambda: g("Add", s, g("Mul", h, g("Sub", g.single(1.0), s)))


def _gelu(g: Graph, a: str) -> tuple[str, Derivative]:
    """Returns a (1 + t) / 2 with t = tanh(u), u = c (a + k a^3).

    Its slope is ((1 + t) + a (1 - t^2) c (1 + 3 k a^2)) / 2.
    """

    def derivative() -> str:
        one, square = g.single(1.0), g("Mul", a, a)
        u = g("Mul", a, g("Add", g("Mul", square, g.single(GELU_RATE * GELU_CUBIC)), g.single(GELU_RATE)))
        t = g("Tanh", u)
        slope = g("Add", g("Mul", square, g.single(3 * GELU_RATE * GELU_CUBIC)), g.single(GELU_RATE))
        bend = g("Mul", g("Mul", a, slope), g("Sub", one, g("Mul", t, t)))
        return g("Mul", g("Add", g("Add", one, t), bend), g.single(0.5))

    return g("Gelu", a, approximate="tanh"), derivative


def _softplus(g: Graph, a: str) -> tuple[str, Derivative]:
    """max(a, 0) - log sigmoid(|a|)."""
    h = g("Sub", g("Relu", a), g("Log", g("Sigmoid", g("Abs", a))))
    return h, lambda: g("Sigmoid", a)


def _tanh(g: Graph, a: str) -> tuple[str, Derivative]:
    h = g("Tanh", a)
    return h, lambda: g("Sub", g.single(1.0), g("Mul", h, h))


def _relu(g: Graph, a: str) -> tuple[str, Derivative]:
    h = g("Relu", a)
    return h, lambda: g("Cast", g("Greater", h, g.single(0.0)), to=g.onnx.TensorProto.FLOAT)


def _leaky_relu(g: Graph, a: str) -> tuple[str, Derivative]:
    h = g("LeakyRelu", a, alpha=LEAKY_SLOPE)
    return h, lambda: g("Where", g("Greater", a, g.single(0.0)), g.single(1.0), g.single(LEAKY_SLOPE))


def _square(g: Graph, a: str) -> tuple[str, Derivative]:
    return g("Mul", a, a), lambda: g("Add", a, a)


def _log(g: Graph, a: str) -> tuple[str, Derivative]:
    """Returns log x with x = max(a, floor); its slope is 1 / x above the floor."""
    x = g("Max", a, g.single(LOG_FLOOR))

    def derivative() -> str:
        above = g("Cast", g("Greater", a, g.single(LOG_FLOOR)), to=g.onnx.TensorProto.FLOAT)
        return g("Div", above, x)

    return g("Log", x), derivative


def _excess(g: Graph, a: str) -> tuple[str, Derivative]:
    """Returns e (1 + max(0, a - knee)) - (1 + a) with e = exp(min(a, knee)); its slope is e - 1."""
    one, knee = g.single(1.0), g.single(EXCESS_KNEE)
    e = g("Exp", g("Min", a, knee))
    rising = g("Mul", e, g("Add", one, g("Relu", g("Sub", a, knee))))
    return g("Sub", rising, g("Add", one, a)), lambda: g("Sub", e, one)


_NODES: dict[str, Callable[[Graph, str], tuple[str, Derivative]]] = {
    "leaky_relu": _leaky_relu,
    "square": _square,
    "log": _log,
    "excess": _excess,
    "selu": _selu,
    "silu": _silu,
    "gelu": _gelu,
    "softplus": _softplus,
    "tanh": _tanh,
    "relu": _relu,
}


# Networks -------------------------------------------------------------------------------------------------------------


class Network:
    """One member: its forward nodes when it is made, the backward ones of each head when asked for."""

    def __init__(self, g: Graph, k: int, member: Member, f: str) -> None:
        self.g, self.k, self.member, self.f = g, k, member, f
        self.widths = [len(member.layers[0].kernel)]
        self.outputs = [self._monomials() if member.expand else f]
        self.derivatives: list[Derivative | None] = []
        self.found: dict[int, str] = {}
        for i, layer in enumerate(member.layers):
            self._add(i, layer)

    def _monomials(self) -> str:
        """Features picked by products with zeros and ones, whose backward pass is a product again."""
        g = self.g
        n = len(self.member.layers[0].kernel)  # m + m (m + 1) / 2
        self.m = (round(np.sqrt(9 + 8 * n)) - 3) // 2
        self.picks = [
            g.constant(f"constant/{name}", np.eye(self.m)[:, columns], np.float32)
            for name, columns in zip(("first", "second"), pairs(self.m), strict=True)
        ]
        self.factors = [g("MatMul", self.f, pick) for pick in self.picks]
        return g("Concat", self.f, g("Mul", *self.factors), axis=1)

    def _add(self, i: int, layer: Layer) -> None:
        g, name = self.g, f"members/{self.k}/{i}"
        h = [self.outputs[j] for j in layer.inputs]
        x = h[0] if len(h) == 1 else g("Concat", *h, axis=1)
        kernel = g.constant(f"{name}/kernel", layer.kernel, np.float32)
        a = g("Gemm", x, kernel, g.constant(f"{name}/bias", layer.bias, np.float32))
        linear = layer.activation == "identity"
        h_i, derivative = (a, None) if linear else _NODES[layer.activation](g, a)
        self.outputs.append(h_i)
        self.derivatives.append(derivative)
        self.widths.append(len(layer.bias))

    def _derivative(self, i: int) -> str:
        """Of layer i, one for all heads."""
        if i not in self.found:
            derivative = self.derivatives[i]
            self.found[i] = derivative() if derivative else ""
        return self.found[i]

    def backward(self, head: int) -> str:
        """The gradient of one head in the features, (batch, m)."""
        g, layers = self.g, self.member.layers
        last = f"members/{self.k}/{len(layers) - 1}/kernel"
        if self.member.n_heads > 1:
            last = g("Gather", last, g.axis(head), axis=1)
        upstream: dict[int, str] = {}
        self._spread(upstream, layers[-1].inputs, g("Reshape", last, g.axis(1, -1)))
        for i in range(len(layers) - 2, -1, -1):
            if i + 1 not in upstream:
                continue
            slope = self._derivative(i)
            above = g("Mul", slope, upstream[i + 1]) if slope else upstream[i + 1]
            # W above^T, turned: OpenVINO mixes up a square constant that is read both as it is and transposed.
            turned = g("Gemm", f"members/{self.k}/{i}/kernel", above, transB=1)
            self._spread(upstream, layers[i].inputs, g("Transpose", turned, perm=[1, 0]))
        return self._to_features(upstream[0]) if self.member.expand else upstream[0]

    def _spread(self, upstream: dict[int, str], inputs: tuple[int, ...], gradient: str) -> None:
        """Add the parts of a gradient to the outputs that they belong to."""
        g = self.g
        parts: tuple[str, ...] = (gradient,)
        if len(inputs) > 1:
            outputs = tuple(f"{gradient}_{p}" for p in range(len(inputs)))
            parts = g.split("Split", gradient, g.axis(*(self.widths[j] for j in inputs)), outputs=outputs, axis=1)
        for j, part in zip(inputs, parts, strict=True):
            upstream[j] = g("Add", upstream[j], part) if j in upstream else part

    def _to_features(self, gradient: str) -> str:
        g, outputs = self.g, (f"{gradient}_single", f"{gradient}_pairs")
        sizes = g.axis(self.m, self.m * (self.m + 1) // 2)
        single, products = g.split("Split", gradient, sizes, outputs=outputs, axis=1)
        for pick, other in zip(self.picks, reversed(self.factors), strict=True):
            single = g("Add", single, g("MatMul", g("Mul", products, other), g("Transpose", pick, perm=[1, 0])))
        return single
