r"""The surrogate as an ONNX graph, written node by node, with its backward pass spelled out.

    inputs   theta      double [batch, d]      physical parameters
    outputs  logpdf     double [batch]         b(f) + mean_k r_k,   the offset and the quadratic b in float64
             error      double [batch]         half-width of the calibrated 90 % band, nats
             in_domain  bool   [batch]         inside the box and the ellipsoid of the training points
             spread     double [batch]         standard deviation of the members, nats
             gradient   double [batch, d]      d logpdf / d theta (only in the gradient graph)

    backward   g_L = 1,   g_{i-1} = (g_i * act'(a_i)) W_i^T,   d logpdf/df = l + Q f + (output_scale / K) sum_k g_0k

Every initialiser has the name that `Ensemble.arrays` gives it, unchanged and once, so the file holds the whole
ensemble: `read_ensemble` gets it back without a runtime. The members stay apart: side by side in one product they were
not faster in onnxruntime. Its Softplus is scalar code, so softplus is written with Sigmoid and Log.

Opset 20 is the first with the tanh form of Gelu as one operator, IR 9 belongs to it, and onnxruntime reads both since
1.17 (January 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..ensemble import SELU_ALPHA, SELU_SCALE, Ensemble, Member
from ..errors import MissingDependency
from ..jsonfiles import canonical

__all__ = ["IR_VERSION", "METADATA_KEY", "OPSET", "OUTPUTS", "onnx_package", "write_onnx"]

OPSET, IR_VERSION = 20, 9
METADATA_KEY = "dnnlikelihood"
OUTPUTS = ("logpdf", "error", "in_domain", "spread")
GELU_RATE, GELU_CUBIC = float(np.sqrt(2 / np.pi)), 0.044715

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


_NODES: dict[str, Callable[[Graph, str], tuple[str, Derivative]]] = {
    "selu": _selu,
    "silu": _silu,
    "gelu": _gelu,
    "softplus": _softplus,
    "tanh": _tanh,
    "relu": _relu,
}


# The parts of the surrogate ------------------------------------------------------------------------------------------


def _features(g: Graph, e: Ensemble) -> tuple[str, str]:
    """Features f (batch, m), and the name of "beyond the kink" (batch, p), "" if there is none."""
    z = g("Div", g("Sub", "theta", g.constant("features/shift", e.features.shift)),
          g.constant("features/scale", e.features.scale))  # fmt: skip
    if not len(e.features.kink_columns):
        return z, ""
    columns = g.constant("features/kink_columns", e.features.kink_columns, np.int64)
    beyond = g("Sub", g("Gather", "theta", columns, axis=1), g.constant("features/kink_values", e.features.kink_values))
    rising = g("Relu", g("Div", beyond, g("Gather", "features/scale", columns, axis=0)))
    return g("Concat", z, rising, axis=1), beyond


def _baseline(g: Graph, e: Ensemble, f: str) -> tuple[str, str]:
    """Returns b (batch,) and its slope l + Q f (batch, m); b = c + f.(slope + l) / 2."""
    linear = g.constant("baseline/linear", e.baseline.linear)
    slope = g("Gemm", f, g.constant("baseline/matrix", e.baseline.matrix), linear)
    twice = g("ReduceSum", g("Mul", f, g("Add", slope, linear)), g.axis(1), keepdims=0)
    half = g("Mul", twice, g.constant("constant/half", 0.5))
    return g("Add", half, g.constant("baseline/constant", e.baseline.constant)), slope


def _member(g: Graph, k: int, member: Member, f: str) -> tuple[str, Derivative]:
    """Network output (batch, 1) float32, and how to add its gradient in the features (batch, m)."""
    derivatives: list[Derivative] = []
    h, last = f, len(member.kernels) - 1
    for i, (kernel, bias) in enumerate(zip(member.kernels, member.biases, strict=True)):
        weights = g.constant(f"members/{k}/{i}/kernel", kernel, np.float32)
        a = g("Gemm", h, weights, g.constant(f"members/{k}/{i}/bias", bias, np.float32))
        if i < last:
            h, derivative = _NODES[member.activation](g, a)
            derivatives.append(derivative)

    def backward() -> str:
        upstream = g("Reshape", f"members/{k}/{last}/kernel", g.axis(1, -1))
        for i in range(last - 1, -1, -1):
            upstream = g("Gemm", g("Mul", derivatives[i](), upstream), f"members/{k}/{i}/kernel", transB=1)
        return upstream

    return a, backward


def _domain(g: Graph, e: Ensemble) -> str:
    """in_domain (batch,) bool."""
    low, high = g.constant("domain/low", e.domain.low), g.constant("domain/high", e.domain.high)
    excess = g("ReduceMax", g("Max", g("Sub", low, "theta"), g("Sub", "theta", high)), g.axis(1), keepdims=0)
    centred = g("Sub", "theta", g.constant("domain/center", e.domain.center))
    white = g("MatMul", centred, g.constant("domain/whitening", e.domain.whitening))
    distance = g("Sqrt", g("ReduceSum", g("Mul", white, white), g.axis(1), keepdims=0))
    box = g("LessOrEqual", excess, g.constant("constant/zero", 0.0))
    ellipsoid = g("LessOrEqual", distance, g.constant("domain/radius", e.domain.radius))
    return g("And", box, ellipsoid, output="in_domain")


def _error(g: Graph, e: Ensemble) -> str:
    """factor(logpdf) (spread + floor): the bin is the number of edges at or below logpdf."""
    width = g("Add", "spread", g.constant("calibration/floor", e.calibration.floor))
    factors = g.constant("calibration/factors", e.calibration.factors)
    if not len(e.calibration.edges):
        return g("Mul", width, factors, output="error")
    edges = g.constant("calibration/edges", e.calibration.edges)
    above = g("GreaterOrEqual", g("Unsqueeze", "logpdf", g.axis(1)), edges)
    place = g("ReduceSum", g("Cast", above, to=g.onnx.TensorProto.INT64), g.axis(1), keepdims=0)
    return g("Mul", width, g("Gather", factors, place, axis=0), output="error")


def _gradient(g: Graph, e: Ensemble, slope: str, beyond: str, backward: list[Derivative]) -> str:
    """Pull the gradient in the features back to theta; the left slope exactly at a kink."""
    double = g.onnx.TensorProto.DOUBLE
    total = [b() for b in backward]
    residual = g("Cast", g("Sum", *total) if len(total) > 1 else total[0], to=double)
    share = g.constant("constant/share", e.output_scale / len(e.members))
    in_features = g("Add", slope, g("Mul", residual, share))
    if beyond:
        d, p = len(e.features.shift), len(e.features.kink_columns)
        outputs = ("gradient_z", "gradient_kinks")
        direct, kinked = g.split("Split", in_features, g.axis(d, p), outputs=outputs, axis=1)
        on = g("Cast", g("Greater", beyond, "constant/zero"), to=double)
        place = g.constant("constant/kink_places", np.eye(d)[e.features.kink_columns])
        in_features = g("Add", direct, g("MatMul", g("Mul", kinked, on), place))
    return g("Div", in_features, "features/scale", output="gradient")


def _build(e: Ensemble, *, gradient: bool) -> Graph:
    g = Graph()
    f, beyond = _features(g, e)
    baseline, slope = _baseline(g, e, f)
    single = g("Cast", f, to=g.onnx.TensorProto.FLOAT)
    values, backward = zip(*[_member(g, k, m, single) for k, m in enumerate(e.members)], strict=True)
    stacked = g("Concat", *values, axis=1) if len(values) > 1 else values[0]
    scale = g.constant("output_scale", e.output_scale)
    residuals = g("Mul", g("Cast", stacked, to=g.onnx.TensorProto.DOUBLE), scale)
    mean = g("ReduceMean", residuals, g.axis(1), keepdims=1)
    g("Add", baseline, g("Squeeze", mean, g.axis(1)), output="logpdf")
    deviation = g("Sub", residuals, mean)
    g("Sqrt", g("ReduceMean", g("Mul", deviation, deviation), g.axis(1), keepdims=0), output="spread")
    _domain(g, e)
    _error(g, e)
    if gradient:
        _gradient(g, e, slope, beyond, list(backward))
    return g


def write_onnx(ensemble: Ensemble, path: Path, *, gradient: bool, metadata: dict[str, Any]) -> None:
    """Write the graph to one file, checked by ONNX.

    Args:
        ensemble: what to write.
        path: the file.
        gradient: whether the output `gradient` is there (a runtime computes the whole graph whichever output it is
            asked for, so values alone want a graph of their own).
        metadata: JSON object that the file carries under the key "dnnlikelihood".
    """
    onnx = onnx_package()
    g = _build(ensemble, gradient=gradient)
    types, d = onnx.TensorProto, len(ensemble.features.shift)
    info = onnx.helper.make_tensor_value_info
    outputs = [info(name, types.BOOL if name == "in_domain" else types.DOUBLE, ["batch"]) for name in OUTPUTS]
    if gradient:
        outputs.append(info("gradient", types.DOUBLE, ["batch", d]))
    graph = onnx.helper.make_graph(
        g.nodes,
        "surrogate",
        [info("theta", types.DOUBLE, ["batch", d])],
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in g.initializers.items()],
    )
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="dnnlikelihood")
    activations = [member.activation for member in ensemble.members]
    text = canonical({**metadata, "activations": activations}).decode()
    onnx.helper.set_model_props(model, {METADATA_KEY: text})
    onnx.checker.check_model(model, full_check=True)
    Path(path).write_bytes(model.SerializeToString(deterministic=True))
