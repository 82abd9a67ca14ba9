"""`verify` of one ONNX file that came without its folder.

It is held against itself: it has to be a safe graph of ours, ONNX Runtime has to give what NumPy makes of the arrays
inside, at points of its own domain, and to refuse what lies beyond, and its gradient has to be their slope. The hash is
compared if the manifest it was published with lies beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..ensemble import Ensemble
from ..errors import IntegrityError, SchemaError
from ..store import check_file
from .onnx_graph import METADATA_KEY
from .publish import tolerated
from .runtimes import OnnxModel, metadata_keys
from .verify import N_DIFFERENCES, NotHere, Numbers, VerifyReport, check_guard, checked, slopes_in_tolerances

__all__ = ["verify_file"]


def _hash(path: Path) -> tuple[str, Numbers]:
    if not (path.parent / "manifest.json").is_file():
        raise NotHere("no manifest lies beside the file; `dnnlik verify FOLDER` would compare its hash")
    check_file(path.parent, path.name)
    return "the file has the hash it was published with", {}


def _graph(path: Path) -> tuple[str, Numbers]:
    model = OnnxModel(path, threads=1)
    numbers = {"parameters": float(model.n_parameters), "weights": float(model.ensemble.n_weights)}
    return "a safe graph that holds one ensemble", numbers


def _runtime(path: Path) -> tuple[str, Numbers]:
    model = OnnxModel(path, threads=1)
    ensemble = model.ensemble
    theta = _inside(ensemble)
    answers = model(theta)
    expected = ensemble.heads_logpdf(theta).mean(axis=1).reshape(answers["logpdf"].shape)
    ratio = float(np.max(np.abs(answers["logpdf"] - expected) / tolerated(ensemble, theta, expected)))
    if not ratio <= 1:
        raise IntegrityError(f"logpdf is off what the arrays give by {ratio:.3g} times the tolerance")
    check_guard(model, ensemble)
    return "onnxruntime against the arrays by NumPy", {"logpdf_in_tolerances": ratio}


def _slopes(path: Path) -> tuple[str, Numbers]:
    model = OnnxModel(path, threads=1)
    theta = _inside(model.ensemble)[:N_DIFFERENCES]
    answers = model(theta)
    if "gradient" not in answers:
        raise NotHere("the graph has no gradient")
    ratio = slopes_in_tolerances(model.ensemble, theta, answers["gradient"])
    if not ratio <= 1:
        raise IntegrityError(f"the gradient is off the differences by {ratio:.3g} times the tolerance")
    return "the gradient against central differences of the arrays", {"gradient_in_tolerances": ratio}


def _inside(ensemble: Ensemble) -> np.ndarray:
    """(n, d) points of the domain."""
    inside = ensemble.known_points()
    if not ensemble.in_domain(inside).all():
        raise IntegrityError("no point of its ellipsoid lies in its domain")
    return inside


_CHECKS: dict[str, Callable[[Path], tuple[str, Numbers]]] = {
    "hash": _hash,
    "graph": _graph,
    "onnxruntime": _runtime,
    "differences": _slopes,
}
_FOUNDATIONS = ("hash", "graph")


def verify_file(path: str | Path) -> VerifyReport:
    """Check `model.onnx` or `model_gradient.onnx` alone.

    Raises:
        MissingArtifact, CorruptFile: no file, or no ONNX file.
        SchemaError: a graph that is not ours, and does not claim to be.
    """
    path = Path(path)
    if METADATA_KEY not in metadata_keys(path):
        raise SchemaError(f"{path} is not a published model: its metadata has no entry {METADATA_KEY!r}")
    return VerifyReport(str(path), checked(_CHECKS, path, _FOUNDATIONS))
