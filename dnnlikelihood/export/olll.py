r"""A surrogate of profiled likelihoods in the format of OLLL, schema 0.1, which SModelS reads.

    input    features   float32 [batch, n]   total yields of the bins: background and signal
    output   nLLs       float32 [batch, 8]   delta nll of four data sets, and the standard deviation of each

    s = features - zero,   zero_b = background of a signal region, observed counts of a control region
    t = min(1, the largest t for which t s is in the domain of the surrogate)
    delta_h = [c_h - logpdf_h(t s)] / t,     sigma_h = error_h(t s) / (1.645 t) + |delta_h| (1 - t)

in the order expected, observed, Asimov expected (the same as expected, exactly), Asimov observed; c_h is logpdf_h
without signal, so that delta is 0 there to the last bit. Inside the domain t = 1. Beyond it, where programs that search
for a limit go uninvited, delta follows its chord, a lower bound of a convex function, and sigma says so. sigma is the
calibrated 90 % error as that of a normal distribution. The format has no word for "members disagree": sigma, which
grows with their spread, has to do.

OLLL keeps pre- and postprocessing in metadata which readers interpret; here all of it is in the graph, and the metadata
say "standardise by 0 and 1". The entries of control regions in `bkg_yields` are their observed counts: SModelS adds the
signal to one or the other, depending on how many bins a control region has, and both have to mean no signal.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..ensemble import Ensemble
from ..errors import ConfigError, StaleArtifact
from ..jsonfiles import canonical
from .onnx_graph import write_onnx
from .onnx_nodes import Graph, onnx_package

__all__ = ["HEADS", "LABELS", "SCHEMA_VERSION", "OlllModel", "write_olll"]

SCHEMA_VERSION = "0.1"
HEADS = ("expected", "observed", "expected", "asimov_observed")
"""Of the four deltas."""
LABELS = ("nLL_exp", "nLL_obs", "nLLA_exp", "nLLA_obs")
NORMAL_90 = 1.6448536269514722
LEAST = 1e-6
"""The smallest t."""
SLACK = 1e-4
"""Of the width of the box: how far below it a yield may be for rounding alone."""
SAME = 1e-3
"""Nats by which network and likelihood may differ without signal: an anchor is exact, fits are to 1e-7."""
N_RANGE = 4096
"""Points at which the range of the output is measured."""
RUN_CONFIG = """# written by dnnlikelihood: pre- and postprocessing are in the graph
data:
  trafos:
    fvs_standardized: [standardization]
  nLL_trafos: [standardization]
"""


@dataclass(frozen=True, kw_only=True)
class OlllModel:
    """What OLLL asks for besides the network.

    Attributes:
        name: of the model.
        author: who made it.
        licence: SPDX identifier.
        bins: names `<channel>-<i>` in the order of the surrogate's parameters.
        control: (n,) bool: bins of control regions.
        background: (n,) nominal.
        observed: (n,) counts.
        uncertainty: (n,) of the nominal background.
        null_logpdf: by head, of the data that these yields are of: what the network has to answer without signal.
        source: {"analysis_id", "arxiv", "experiment", "sqrt_s", "statistical_model": {"type", "reference", "filename"}}
    """

    name: str
    author: str
    licence: str
    bins: Sequence[str]
    control: np.ndarray
    background: np.ndarray
    observed: np.ndarray
    uncertainty: np.ndarray
    null_logpdf: Mapping[str, float]
    source: Mapping[str, Any]
    about: Mapping[str, str] = field(default_factory=dict)
    """Further entries: training_date, ..."""

    @property
    def zero(self) -> np.ndarray:
        """(n,) total yields without signal."""
        return np.where(self.control, self.observed, self.background)

    @property
    def channels(self) -> dict[str, str]:
        """SR or CR of every channel."""
        return {b.rpartition("-")[0]: "CR" if c else "SR" for b, c in zip(self.bins, self.control, strict=True)}


def write_olll(ensemble: Ensemble, model: OlllModel, path: str | Path) -> None:
    """Write the file.

    Args:
        ensemble: with the heads observed, expected and asimov_observed, anchored at no signal.
        model: what the metadata say.
        path: the file.

    Raises:
        ConfigError: a surrogate without those heads, anchored elsewhere, or with other bins; or control regions whose
            counts are not whole, which OLLL cannot write.
        StaleArtifact: a surrogate of other data than those that `model` describes.
    """
    _check(ensemble, model)
    onnx = onnx_package()
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(ensemble, Path(folder) / "model.onnx", gradient=False, metadata={})
        plain = onnx.load(Path(folder) / "model.onnx", load_external_data=False)
    before, after = _before(ensemble, model), _after(ensemble)
    nodes = [*before.nodes, *plain.graph.node, *after.nodes]
    arrays = {t.name: t for t in plain.graph.initializer}
    added = {**before.initializers, **after.initializers}
    arrays |= {name: onnx.numpy_helper.from_array(array, name) for name, array in added.items()}
    nodes = _needed(nodes, "nLLs")
    used = {name for node in nodes for name in node.input}
    types, n, info = onnx.TensorProto, len(model.bins), onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "surrogate",
        [info("features", types.FLOAT, ["batch", n])],
        [info("nLLs", types.FLOAT, ["batch", 8])],
        [t for name, t in arrays.items() if name in used],
    )
    found = onnx.helper.make_model(
        graph, opset_imports=plain.opset_import, ir_version=plain.ir_version, producer_name="dnnlikelihood"
    )
    onnx.helper.set_model_props(found, _metadata(ensemble, model))
    onnx.checker.check_model(found, full_check=True)
    Path(path).write_bytes(found.SerializeToString(deterministic=True))


def _check(ensemble: Ensemble, model: OlllModel) -> None:
    missing = set(HEADS) - set(ensemble.heads)
    if missing:
        raise ConfigError(f"OLLL has the heads observed, expected and asimov_observed; this surrogate lacks {missing}")
    anchor = ensemble.anchor
    if anchor is None or anchor.any():
        raise ConfigError("OLLL needs a difference that is 0 without signal; train with `anchor` at zero yields")
    if len(model.bins) != len(anchor) or not ensemble.domain(anchor[None])[0]:
        raise ConfigError(
            f"a surrogate of {len(anchor)} yields, no signal among them, does not fit {len(model.bins)} bins"
        )
    counts = np.asarray(model.observed)[np.asarray(model.control, bool)]
    if (counts != np.round(counts)).any():
        raise ConfigError(f"observed counts of control regions must be whole numbers for OLLL, got {counts}")
    _check_data(_null(ensemble), model.null_logpdf)


def _check_data(learned: Mapping[str, float], described: Mapping[str, float]) -> None:
    """Bins of another workspace may have the same names; without signal, a surrogate says whose data it has learned."""
    off = [head for head in dict.fromkeys(HEADS) if not abs(learned[head] - described[head]) <= SAME]
    if off:
        numbers = "; ".join(f"{head}: surrogate {learned[head]:.4f}, likelihood {described[head]:.4f}" for head in off)
        raise StaleArtifact(
            f"the surrogate has learned other data than those of the likelihood; their logpdf without signal differ "
            f"({numbers}). Give the workspace that it was learned from, with the same patch and measurement"
        )


def _null(e: Ensemble) -> dict[str, float]:
    """The logpdf of every head without signal, which is exact at the anchor."""
    return {head: output.baseline.constant for head, output in zip(e.heads, e.outputs, strict=True)}


def _before(e: Ensemble, model: OlllModel) -> Graph:
    """From total yields to theta = t s, and t (batch, 1)."""
    g = Graph()
    s = g("Cast", "features", to=g.onnx.TensorProto.DOUBLE, output="olll/total")
    s = g("Sub", s, g.constant("olll/zero", np.asarray(model.zero, np.float32).astype(float)), output="olll/signal")
    slack, tiny = SLACK * (e.domain.high - e.domain.low), g.constant("olll/tiny", 1e-300)
    high = g.constant("olll/high", np.maximum(e.domain.high, slack))
    low = g.constant("olll/low", np.maximum(-e.domain.low, slack))
    rising = g("Div", high, g("Max", s, tiny, output="olll/rising"), output="olll/to_high")
    falling = g(
        "Div", low, g("Max", g("Neg", s, output="olll/minus"), tiny, output="olll/falling"), output="olll/to_low"
    )
    box = g("ReduceMin", g("Min", rising, falling, output="olll/ends"), g.axis(1), keepdims=1, output="olll/box")
    u = g("MatMul", s, g.constant("olll/whitening", e.domain.whitening), output="olll/white")
    v = e.domain.center @ e.domain.whitening
    uv = g(
        "ReduceSum",
        g("Mul", u, g.constant("olll/center", v), output="olll/u_v"),
        g.axis(1),
        keepdims=1,
        output="olll/uv",
    )
    uu = g("ReduceSum", g("Mul", u, u, output="olll/u_u"), g.axis(1), keepdims=1, output="olll/uu")
    room = g.constant("olll/room", e.domain.radius**2 - v @ v)
    inner = g(
        "Add",
        g("Mul", uv, uv, output="olll/uv2"),
        g("Mul", uu, room, output="olll/uu_room"),
        output="olll/discriminant",
    )
    far = g("Add", uv, g("Sqrt", inner, output="olll/root"), output="olll/far")
    ellipsoid = g("Div", far, g("Max", uu, tiny, output="olll/uu_safe"), output="olll/raw_ellipsoid")
    empty = g("Equal", uu, g.constant("olll/nothing", 0.0), output="olll/empty")
    ellipsoid = g("Where", empty, g.constant("olll/one", 1.0), ellipsoid, output="olll/ellipsoid")
    t = g("Min", g("Min", box, ellipsoid, output="olll/reach"), "olll/one", output="olll/t_raw")
    g("Max", t, g.constant("olll/least", LEAST), output="olll/t")
    g("Mul", s, "olll/t", output="theta")
    return g


def _after(e: Ensemble) -> Graph:
    """From logpdf and error (batch, H) at t s to the output."""
    g = Graph()
    columns = [e.heads.index(head) for head in HEADS]
    picked = g.constant("olll/columns", columns, np.int64)
    null = g.constant("olll/null", [_null(e)[head] for head in HEADS])
    at_edge = g("Sub", null, g("Gather", "logpdf", picked, axis=1, output="olll/logpdf"), output="olll/delta_at_edge")
    delta = g("Div", at_edge, "olll/t", output="olll/delta")
    half_width = g("Gather", "error", picked, axis=1, output="olll/error")
    sigma = g("Div", half_width, g.constant("olll/normal_90", NORMAL_90), output="olll/sigma_at_edge")
    sigma = g("Div", sigma, "olll/t", output="olll/sigma_scaled")
    beyond = g("Sub", g.constant("olll/unit", 1.0), "olll/t", output="olll/beyond")
    length = g("Mul", g("Abs", delta, output="olll/size"), beyond, output="olll/extrapolated")
    both = g("Concat", delta, g("Add", sigma, length, output="olll/sigma"), axis=1, output="olll/both")
    g("Cast", both, to=g.onnx.TensorProto.FLOAT, output="nLLs")
    return g


def _needed(nodes: Sequence[Any], output: str) -> list[Any]:
    """The nodes that an output depends on, in their order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _metadata(e: Ensemble, model: OlllModel) -> dict[str, str]:
    """Every entry as a string; lists and mappings as JSON."""
    n = len(model.bins)
    null = {head: -value for head, value in _null(e).items()}
    low, high, lowest = _ranges(e)
    parts: dict[str, Any] = {
        "source": model.source,
        "channels": model.channels,
        "obs_yields": _pairs(model.bins, model.observed),
        "bkg_yields": _pairs(model.bins, model.zero),
        "bkg_unc": _pairs(model.bins, model.uncertainty),
        "removeCRsVRs": False,
        "remove_channels": [],
        "x_min": model.zero + e.domain.low,
        "x_max": model.zero + e.domain.high,
        "y_min": low,
        "y_max": high,
        "preprocessing": {"features_pipeline": ["standardization"], "nLLs_pipeline": ["standardization"]},
        "standardization": {
            "features_mean": [[0.0] * n],
            "features_std": [[1.0] * n],
            "nLLs_mean": [[0.0] * 4],
            "nLLs_std": [[1.0] * 4],
        },
        **{f"{label}_mu0": null[head] for label, head in zip(LABELS, HEADS, strict=True)},
        **{f"{label}_max": [0.0, null[head]] for label, head in zip(LABELS, HEADS, strict=True)},
    }
    parts["nLL_obs_max"] = [1.0, null["observed"] + lowest]
    words = {
        "olll_schema_version": SCHEMA_VERSION,
        "model_type": "ensemble of networks and quadratic form",
        "model_name": model.name,
        "model_author": model.author,
        "model_license": model.licence,
        "input_type": "total_yields",
        "run_config": RUN_CONFIG,
    }
    return {**words, **{k: canonical(v).decode() for k, v in parts.items()}, **model.about}


def _pairs(bins: Sequence[str], values: np.ndarray) -> list[list[Any]]:
    return [[name, float(value)] for name, value in zip(bins, values, strict=True)]


def _ranges(e: Ensemble) -> tuple[np.ndarray, np.ndarray, float]:
    """(4,), (4,): smallest and largest delta in the domain, where it was looked at; and the smallest observed one."""
    rng = np.random.default_rng(0)
    theta = e.domain.low + rng.uniform(size=(N_RANGE, len(e.domain.low))) * (e.domain.high - e.domain.low)
    theta *= rng.uniform(size=(N_RANGE, 1))
    theta = np.concatenate([theta[e.domain(theta)], np.zeros((1, theta.shape[1]))])
    value = e.heads_logpdf(theta).mean(axis=1)
    delta = np.array([o.baseline.constant for o in e.outputs]) - value
    columns = [e.heads.index(head) for head in HEADS]
    observed = delta[:, e.heads.index("observed")]
    return delta[:, columns].min(axis=0), delta[:, columns].max(axis=0), float(observed.min())
