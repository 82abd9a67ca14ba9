r"""The surrogate as an ONNX graph, written node by node, with its backward pass spelled out.

    inputs   theta      double [batch, d]      physical parameters
    outputs  logpdf     double [batch]         b(f) + mean_k r_k,   the offset and the quadratic b in float64
             error      double [batch]         half-width of the calibrated 90 % band, nats
             in_domain  bool   [batch]         inside the box and the ellipsoid of the training points, members agree
             spread     double [batch]         standard deviation of the members, nats
             gradient   double [batch, d]      d logpdf / d theta (only in the gradient graph)

    backward   as in `members`,                d logpdf/df = l + Q f + (output_scale / K) sum_k g_0k

With heads, logpdf, error and spread are [batch, H] and gradient [batch, H, d]. A reparametrised surrogate has its
matrix in front, in float64: one product, and one more behind the gradient.

Every initialiser has the name that `Ensemble.arrays` gives it, unchanged and once, so the file holds the whole
ensemble: `read_ensemble` gets it back without a runtime. The members stay apart: side by side in one product they were
not faster in onnxruntime.

Opset 20 is the first with the tanh form of Gelu as one operator, IR 9 belongs to it, and onnxruntime reads both since
1.17 (January 2024).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..ensemble import Ensemble
from ..jsonfiles import canonical
from .onnx_nodes import Graph, Network, onnx_package

__all__ = ["IR_VERSION", "METADATA_KEY", "OPSET", "OUTPUTS", "write_onnx"]

OPSET, IR_VERSION = 20, 9
METADATA_KEY = "dnnlikelihood"
OUTPUTS = ("logpdf", "error", "in_domain", "spread")


def _coordinates(g: Graph, e: Ensemble) -> str:
    """What the networks know, M theta where the surrogate is reparametrised."""
    if e.matrix is None:
        return "theta"
    return g("Transpose", g("Gemm", g.constant("matrix", e.matrix), "theta", transB=1), perm=[1, 0])


def _features(g: Graph, e: Ensemble, theta: str) -> tuple[str, str, str]:
    """Standardised parameters z, features f (batch, m), and "beyond the kink" (batch, p), "" if there is none."""
    z = g("Div", g("Sub", theta, g.constant("features/shift", e.features.shift)),
          g.constant("features/scale", e.features.scale))  # fmt: skip
    if not len(e.features.kink_columns):
        return z, z, ""
    columns = g.constant("features/kink_columns", e.features.kink_columns, np.int64)
    beyond = g("Sub", g("Gather", theta, columns, axis=1), g.constant("features/kink_values", e.features.kink_values))
    rising = g("Relu", g("Div", beyond, g("Gather", "features/scale", columns, axis=0)))
    return z, g("Concat", z, rising, axis=1), beyond


def _apart(g: Graph, e: Ensemble, values: str) -> str:
    """(batch, H m) -> (batch, H, m) if there are heads."""
    return g("Reshape", values, g.axis(-1, len(e.outputs), e.features.width)) if e.heads else values


def _last(g: Graph, e: Ensemble) -> str:
    """The last axis, a feature's or a bin's; onnxruntime takes a negative one amiss when there are no rows."""
    return g.axis(2 if e.heads else 1)


def _summed(g: Graph, e: Ensemble, values: str) -> str:
    """(batch[, H], k) -> (batch[, H]), in two steps: OpenVINO adds wrong numbers to a sum that drops its axis itself.

    Its CPU plugin (2026.4.1) folds a vector that is added to such a sum, here one number a head, into the summation.
    """
    if not e.heads:
        return g("ReduceSum", values, _last(g, e), keepdims=0)
    return g("Squeeze", g("ReduceSum", values, _last(g, e), keepdims=1), _last(g, e))


def _baseline(g: Graph, e: Ensemble, f: str, arrays: dict[str, np.ndarray]) -> tuple[str, str]:
    """Returns b (batch[, H]) and its slope l + Q f (batch[, H], m); b = c + f.(slope + l) / 2."""
    linear, matrix = (g.constant(f"baseline/{part}", arrays[f"baseline/{part}"]) for part in ("linear", "matrix"))
    slope = g("Gemm", f, matrix, linear)
    sides = g("Unsqueeze", f, g.axis(1)) if e.heads else f
    product = g("Mul", sides, _apart(g, e, g("Add", slope, linear)))
    half = g("Mul", _summed(g, e, product), g.constant("constant/half", 0.5))
    return g("Add", half, g.constant("baseline/constant", arrays["baseline/constant"])), _apart(g, e, slope)


def _domain(g: Graph, e: Ensemble, theta: str, arrays: dict[str, np.ndarray], place: str) -> str:
    """in_domain (batch,) bool, from theta, the output `spread` and its calibration bin."""
    low, high = g.constant("domain/low", e.domain.low), g.constant("domain/high", e.domain.high)
    excess = g("ReduceMax", g("Max", g("Sub", low, theta), g("Sub", theta, high)), g.axis(1), keepdims=0)
    centred = g("Sub", theta, g.constant("domain/center", e.domain.center))
    white = g("MatMul", centred, g.constant("domain/whitening", e.domain.whitening))
    distance = g("Sqrt", g("ReduceSum", g("Mul", white, white), g.axis(1), keepdims=0))
    box = g("LessOrEqual", excess, g.constant("constant/zero", 0.0))
    ellipsoid = g("LessOrEqual", distance, g.constant("domain/radius", e.domain.radius))
    agree = g("LessOrEqual", "spread", _of_bin(g, e, "calibration/limits", arrays, place))
    if e.heads:
        worst = g("ReduceMin", g("Cast", agree, to=g.onnx.TensorProto.DOUBLE), g.axis(1), keepdims=0)
        agree = g("Greater", worst, "constant/zero")
    return g("And", g("And", box, ellipsoid), agree, output="in_domain")


def _place(g: Graph, e: Ensemble, arrays: dict[str, np.ndarray]) -> str:
    """Calibration bin of the output `logpdf`, the number of edges at or below it, in the tables of all heads."""
    n_heads, n_bins = len(e.outputs), len(e.calibration.factors)
    if n_bins == 1:
        return ""
    edges = g.constant("calibration/edges", arrays["calibration/edges"])
    edges = g("Reshape", edges, g.axis(n_heads, n_bins - 1)) if e.heads else edges
    above = g("GreaterOrEqual", g("Unsqueeze", "logpdf", _last(g, e)), edges)
    place = _summed(g, e, g("Cast", above, to=g.onnx.TensorProto.INT64))
    return g("Add", place, g.axis(*(n_bins * h for h in range(n_heads)))) if e.heads else place


def _of_bin(g: Graph, e: Ensemble, table: str, arrays: dict[str, np.ndarray], place: str) -> str:
    """(batch[, H]) entries of a table of all heads; with one bin each the table itself."""
    values = g.constant(table, arrays[table])
    return g("Gather", values, place, axis=0) if place else values


def _error(g: Graph, e: Ensemble, arrays: dict[str, np.ndarray], place: str) -> str:
    """factor(logpdf) (spread + floor)."""
    width = g("Add", "spread", g.constant("calibration/floor", arrays["calibration/floor"]))
    return g("Mul", width, _of_bin(g, e, "calibration/factors", arrays, place), output="error")


def _gradient(g: Graph, e: Ensemble, slope: str, beyond: str, networks: list[Network]) -> str:
    """Pull the gradient in the features back to theta; the left slope exactly at a kink."""
    double = g.onnx.TensorProto.DOUBLE
    heads = []
    for h in range(len(e.outputs)):
        total = [network.backward(h) for network in networks]
        heads.append(g("Sum", *total) if len(total) > 1 else total[0])
    residual = heads[0]
    shares = np.array([output.scale for output in e.outputs]) / len(e.members)
    if e.heads:
        residual = g("Concat", *(g("Unsqueeze", head, g.axis(1)) for head in heads), axis=1)
        shares = shares[:, None]
    share = g.constant("constant/share", shares)
    in_features = g("Add", slope, g("Mul", g("Cast", residual, to=double), share))
    if beyond:
        d, p = len(e.features.shift), len(e.features.kink_columns)
        outputs = ("gradient_z", "gradient_kinks")
        direct, kinked = g.split("Split", in_features, g.axis(d, p), outputs=outputs, axis=-1)
        on = g("Cast", g("Greater", beyond, "constant/zero"), to=double)
        on = g("Unsqueeze", on, g.axis(1)) if e.heads else on
        place = g.constant("constant/kink_places", np.eye(d)[e.features.kink_columns])
        in_features = g("Add", direct, g("MatMul", g("Mul", kinked, on), place))
    if e.matrix is None:
        return g("Div", in_features, "features/scale", output="gradient")
    return g("MatMul", g("Div", in_features, "features/scale"), "matrix", output="gradient")


def _residuals(g: Graph, e: Ensemble, z: str, networks: list[Network]) -> str:
    """Nats over the baseline, (batch, K[, H]) double; nothing at the anchor."""
    values = [network.outputs[-1] for network in networks]
    stacked = g("Concat", *values, axis=1) if len(values) > 1 else values[0]
    if e.heads:
        stacked = g("Reshape", stacked, g.axis(-1, len(networks), len(e.outputs)))
    scale = g.constant("output_scale", [output.scale for output in e.outputs])
    residuals = g("Mul", g("Cast", stacked, to=g.onnx.TensorProto.DOUBLE), scale)
    if not e.anchored:
        return residuals
    farthest = g("ReduceMax", g("Abs", z), g.axis(1), keepdims=1)
    elsewhere = g("Cast", g("Greater", farthest, g.constant("constant/zero", 0.0)), to=g.onnx.TensorProto.DOUBLE)
    return g("Mul", residuals, g("Unsqueeze", elsewhere, g.axis(1)) if e.heads else elsewhere)


def _build(e: Ensemble, *, gradient: bool) -> Graph:
    g, arrays = Graph(), e.arrays()
    theta = _coordinates(g, e)
    z, f, beyond = _features(g, e, theta)
    baseline, slope = _baseline(g, e, f, arrays)
    single = g("Cast", f, to=g.onnx.TensorProto.FLOAT)
    networks = [Network(g, k, member, single) for k, member in enumerate(e.members)]
    residuals = _residuals(g, e, z, networks)
    mean = g("ReduceMean", residuals, g.axis(1), keepdims=1)
    g("Add", baseline, g("Squeeze", mean, g.axis(1)), output="logpdf")
    deviation = g("Sub", residuals, mean)
    g("Sqrt", g("ReduceMean", g("Mul", deviation, deviation), g.axis(1), keepdims=0), output="spread")
    place = _place(g, e, arrays)
    _domain(g, e, theta, arrays, place)
    _error(g, e, arrays, place)
    if gradient:
        _gradient(g, e, slope, beyond, networks)
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
    types, d = onnx.TensorProto, ensemble.n_parameters
    info = onnx.helper.make_tensor_value_info
    shape = ["batch", len(ensemble.outputs)] if ensemble.heads else ["batch"]
    outputs = [
        info(name, types.BOOL, ["batch"]) if name == "in_domain" else info(name, types.DOUBLE, shape)
        for name in OUTPUTS
    ]
    if gradient:
        outputs.append(info("gradient", types.DOUBLE, [*shape, d]))
    graph = onnx.helper.make_graph(
        g.nodes,
        "surrogate",
        [info("theta", types.DOUBLE, ["batch", d])],
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in g.initializers.items()],
    )
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="dnnlikelihood")
    form: dict[str, Any] = {"activations": [m.structure for m in ensemble.members]}
    if ensemble.heads or ensemble.anchored:
        form |= {"heads": list(ensemble.heads), "anchored": ensemble.anchored}
    onnx.helper.set_model_props(model, {METADATA_KEY: canonical({**metadata, **form}).decode()})
    onnx.checker.check_model(model, full_check=True)
    Path(path).write_bytes(model.SerializeToString(deterministic=True))
