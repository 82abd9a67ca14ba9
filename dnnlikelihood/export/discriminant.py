r"""A discriminant as SavedModel and ONNX: features in physical units in, bin and score out.

    input     features   double [batch, m]     columns in the order of the metadata
    outputs   bin        int64  [batch]        0 .. K - 1; -1 if a feature is no finite number
              score      double [batch, D]     NaN if a feature is no finite number

    z = network(float32((x - shift) / scale)),   score and bin as in `discriminants.trained`

Everything but the network is float64. Runtimes differ in the last bits of float32, so that an event whose score lies
within that of an edge may fall on the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..discriminants.trained import ClassBins, Trained
from ..jsonfiles import canonical, pretty
from ..store import writing
from ..tracing import tensorflow
from .onnx_graph import IR_VERSION, METADATA_KEY, OPSET
from .onnx_nodes import Graph, Network, onnx_package
from .savedmodel import file_system_errors

__all__ = ["write_discriminant", "write_discriminant_onnx", "write_discriminant_saved_model"]


def write_discriminant(folds: Sequence[Trained], folder: Path, *, overwrite: bool = False) -> Path:
    """Write `model.onnx`, `saved_model/1` and `discriminant.json`; in `fold-0`, `fold-1` if there are two.

    Raises:
        ArtifactExists: the folder exists.
        MissingDependency: ONNX or TensorFlow is not installed.
    """
    with writing(folder, overwrite=overwrite) as temporary:
        for i, trained in enumerate(folds):
            where = temporary if len(folds) == 1 else temporary / f"fold-{i}"
            where.mkdir(exist_ok=True)
            write_discriminant_onnx(trained, where / "model.onnx")
            write_discriminant_saved_model(trained, where / "saved_model" / "1")
            (where / "discriminant.json").write_text(pretty(_about(trained)), "utf-8")
    return folder


def _about(trained: Trained) -> dict[str, Any]:
    return {
        "features": list(trained.features),
        "trainer": trained.trainer,
        "n_bins": trained.n_bins,
        "structure": trained.network.member.structure,
    }


def write_discriminant_onnx(trained: Trained, path: Path) -> None:
    """One file, checked by ONNX; its metadata names the features."""
    onnx, g, d = onnx_package(), Graph(), trained.score.constant.shape[1]
    types, info = onnx.TensorProto, onnx.helper.make_tensor_value_info
    centred = g("Sub", "features", g.constant("shift", trained.network.shift))
    x = g("Cast", g("Div", centred, g.constant("scale", trained.network.scale)), to=types.FLOAT)
    z = g("Cast", Network(g, 0, trained.network.member, x).outputs[-1], to=types.DOUBLE)
    lost = g("ReduceSum", g("Sub", "features", "features"), g.axis(1), keepdims=1)
    score = g("Add", _score(g, trained, z), lost, output="score")
    nowhere = g("IsNaN", g("Squeeze", lost, g.axis(1)))
    g("Where", nowhere, g.constant("nowhere", -1, np.int64), _bins(g, trained, score), output="bin")
    graph = onnx.helper.make_graph(
        g.nodes,
        "discriminant",
        [info("features", types.DOUBLE, ["batch", len(trained.features)])],
        [info("bin", types.INT64, ["batch"]), info("score", types.DOUBLE, ["batch", d])],
        [onnx.numpy_helper.from_array(array, name) for name, array in g.initializers.items()],
    )
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="dnnlikelihood")
    onnx.helper.set_model_props(model, {METADATA_KEY: canonical(_about(trained)).decode()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _score(g: Graph, trained: Trained, z: str) -> str:
    score = trained.score
    p, n_ratios, d = score.slope.shape
    heads = z
    if n_ratios:
        heads, ratios = g.split("Split", z, g.axis(p, n_ratios), outputs=("classes", "ratios"), axis=1)
    shifted = g("Add", heads, g.constant("offset", score.offset))
    pi = g("Sigmoid", shifted) if score.link == "sigmoid" else g("Softmax", shifted, axis=1)
    constant = g.constant("constant", score.constant)
    if not n_ratios:
        return g("MatMul", pi, constant)
    flat = np.transpose(score.slope, (1, 0, 2)).reshape(n_ratios, p * d)
    slopes = g("Reshape", g("MatMul", ratios, g.constant("slope", flat)), g.axis(-1, p, d))
    moved = g("ReduceSum", g("Mul", slopes, g("Unsqueeze", pi, g.axis(2))), g.axis(1), keepdims=0)
    return g("Add", g("MatMul", pi, constant), moved)


def _bins(g: Graph, trained: Trained, score: str) -> str:
    int64, bins = g.onnx.TensorProto.INT64, trained.bins
    if not isinstance(bins, ClassBins):
        squares = g.constant("squares", (bins.centres**2).sum(axis=1))
        distance = g("Sub", squares, g("MatMul", score, g.constant("twice_centres", 2.0 * bins.centres.T)))
        return g("ArgMin", distance, axis=1, keepdims=0)
    n_edges = bins.edges.shape[1]
    if not n_edges:
        return g("ArgMax", score, axis=1, keepdims=0)
    label = g("ArgMax", score, axis=1, keepdims=0)
    edges = g("Gather", g.constant("edges", bins.edges), label, axis=0)
    above = g("Cast", g("GreaterOrEqual", g("ReduceMax", score, g.axis(1), keepdims=1), edges), to=int64)
    inside = g("ReduceSum", above, g.axis(1), keepdims=0)
    return g("Add", g("Mul", label, g.constant("per_class", n_edges + 1, np.int64)), inside)


def write_discriminant_saved_model(trained: Trained, folder: Path) -> None:
    """A SavedModel with the signature `serving_default`: features -> bin, score."""
    from ..networks.forward import network

    tf = tensorflow()
    score, bins, module = trained.score, trained.bins, tf.Module()
    p = score.n_classes

    def answers(features: Any) -> dict[str, Any]:
        x = tf.cast((features - trained.network.shift) / trained.network.scale, tf.float32)
        z = tf.cast(network(trained.network.member.layers, x, expand=trained.network.member.expand), tf.float64)
        shifted = z[:, :p] + score.offset
        pi = tf.sigmoid(shifted) if score.link == "sigmoid" else tf.nn.softmax(shifted)
        value = pi @ score.constant + tf.einsum("np,ng,pgd->nd", pi, z[:, p:], tf.constant(score.slope))
        known = tf.reduce_all(tf.math.is_finite(features), axis=1)
        value = tf.where(known[:, None], value, np.nan)
        return {"bin": tf.where(known, inside(value), -1), "score": value}

    def inside(value: Any) -> Any:
        if not isinstance(bins, ClassBins):
            distance = (bins.centres**2).sum(axis=1) - 2.0 * value @ bins.centres.T
            return tf.argmin(distance, axis=1)
        label = tf.argmax(value, axis=1)
        above = tf.reduce_max(value, axis=1, keepdims=True) >= tf.gather(tf.constant(bins.edges), label)
        return label * (bins.edges.shape[1] + 1) + tf.math.count_nonzero(above, axis=1)

    shape = [None, len(trained.features)]
    module.answers = tf.function(answers, input_signature=[tf.TensorSpec(shape, tf.float64, name="features")])
    with file_system_errors():
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.answers})
