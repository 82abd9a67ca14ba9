"""Publishing: one folder that says what a surrogate is, how good it is, and that runs everywhere.

    metadata.json          what it is; every field has its place in schemas/published.json
    model.onnx             logpdf, error, in_domain, spread        model_gradient.onnx   the same and gradient
    saved_model/1/         for TensorFlow Serving                  model.keras           the ensemble as trained
    reference.npz          points with the exact and the network's value, against which `verify` holds every runtime,
                           and the nats by which a runtime may differ at each
    history.json log.jsonl how it was made                         README.md, plots/     the model card
    CITATION.cff .zenodo.json hepdata.json                         for archives          manifest.json   hashes

The folder appears whole or not at all, and only after the graphs gave the network's values back at the reference
points.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..ensemble import Ensemble
from ..errors import ConfigError, CorruptFile, IntegrityError, ShapeError
from ..jsonfiles import canonical, pretty, validate
from ..npzfiles import read_npz, write_npz
from ..parameters import ParameterSpace
from ..priors import Prior
from ..protocols import Kind
from ..runlog import RunLog, versions
from ..store import writing
from .card import card_files
from .onnx_graph import write_onnx
from .runtimes import OnnxModel
from .savedmodel import write_saved_model

__all__ = [
    "CARRIED",
    "MIN_REFERENCE",
    "TOLERANCE",
    "PublishedMetadata",
    "Reference",
    "publish",
    "read_reference",
    "tolerated",
]

TOLERANCE = {"logpdf": 1e-5, "gradient": 1e-4, "exact": 1e-8}
"""Nats per max(1, |residual|, output scale); per max(1, largest slope); nats per max(1, |logpdf|)."""
LOST = 1e-6
"""Of what a bias takes away."""
MIN_REFERENCE = 100
CARRIED = (
    *("schema", "name", "fingerprint", "parameters", "prior", "kind"),
    *("output", "licence", "references", "domain", "tolerance"),
)
"""The fields of metadata.json that the graphs carry inside."""
_REFERENCE_ARRAYS = ("theta", "exact", "logpdf", "gradient", "error", "in_domain")
_LATER_ARRAYS = ("tolerance", "guard_theta", "guard_in_domain")
"""What folders of the first version do not have."""
BEYOND = 2.0
"""How far out guards are tried, in radii of the ellipsoid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Points (n, d) with the exact log-density and the network's, (n,) or with heads (n, H), as it was trained."""

    theta: np.ndarray
    exact: np.ndarray
    logpdf: np.ndarray

    def check(self, d: int, heads: Sequence[str] = ()) -> None:
        """Enough points, of the right shape, all finite."""
        n = len(self.theta)
        value = (n, len(heads)) if heads else (n,)
        if n < MIN_REFERENCE:
            raise ConfigError(f"{n} reference points; publish at least {MIN_REFERENCE}")
        shapes, expected = (self.theta.shape, self.exact.shape, self.logpdf.shape), ((n, d), value, value)
        if shapes != expected:
            raise ShapeError(f"reference of shapes {shapes}, expected {expected}")
        if not all(np.isfinite(a).all() for a in (self.theta, self.exact, self.logpdf)):
            raise ConfigError("reference points and values must be finite; leave points outside the support out")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedMetadata:
    """What a person has to say about a model; the rest of metadata.json is derived from the ensemble.

    `definition` says in words what logpdf is (profiled over what, of which data, up to which constant); `recipe` is
    that of the likelihood it was learned from ({"source", "arguments"}), None if it has none; `accuracy` has a row
    {"where", "n", "rmse", "baseline_rmse", "max"} for each region, in nats; `coverage` one
    {"low", "high", "n", "covered"} for each bin of logpdf, and for each "kind" of points if there are several;
    `command` rebuilds the model.

    Of a surrogate with heads, `heads` says of each what it is: {"name", "definition"}, and "data", "offset" and
    "profiled" where they are not those of the whole. Rows of `accuracy` and `coverage` then name their "head".
    """

    name: str
    description: str
    parameters: ParameterSpace
    prior: Prior
    kind: Kind
    definition: str
    command: str
    licence: str
    authors: Sequence[Mapping[str, str]]
    references: Sequence[str] = ()
    data: str = "observed"
    offset: str = "none: the value of the source, all constants kept"
    profiled: Sequence[str] = ()
    heads: Sequence[Mapping[str, Any]] = ()
    recipe: Mapping[str, Any] | None = None
    source_fingerprint: str | None = None
    source_reference: str = ""
    parents: Sequence[str] = ()
    seeds: Mapping[str, int] | None = None
    domain: str = "box and ellipsoid around the training points, where the members agree"
    accuracy: Sequence[Mapping[str, Any]] = ()
    coverage: Sequence[Mapping[str, Any]] = ()
    limits: Sequence[str] = ()

    def document(self, ensemble: Ensemble) -> dict[str, Any]:
        """metadata.json, checked against its schema.

        Raises:
            SchemaError: a field that the schema refuses.
            ShapeError: parameters or heads that are not those of the ensemble.
        """
        d = ensemble.n_parameters
        if len(self.parameters) != d:
            raise ShapeError(f"{len(self.parameters)} parameters for an ensemble of {d} inputs")
        names = tuple(str(head["name"]) for head in self.heads)
        if names != ensemble.heads:
            raise ShapeError(
                f"heads {list(names)} are described, the ensemble has {list(ensemble.heads)}, in this order"
            )
        about = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters.to_json(),
            "prior": self.prior.to_json(),
            "kind": self.kind,
            "output": {
                "quantity": "logpdf",
                "definition": self.definition,
                "sign": 1,
                "factor": 1,
                "offset": self.offset,
                "data": self.data,
                "profiled": list(self.profiled),
                **({"heads": [self._head(head) for head in self.heads]} if self.heads else {}),
            },
            "source": {
                "recipe": None if self.recipe is None else dict(self.recipe),
                "fingerprint": self.source_fingerprint,
                "reference": self.source_reference,
            },
            "licence": self.licence,
            "authors": [dict(a) for a in self.authors],
            "references": list(self.references),
            "seeds": dict(self.seeds or {}),
            "domain": {"description": self.domain, **_box(ensemble)},
            "accuracy": [dict(row) for row in self.accuracy],
            "coverage": [dict(row) for row in self.coverage],
            "network": _network(ensemble),
            "tolerance": TOLERANCE,
            "command": self.command,
            "limits": list(self.limits),
        }
        head = {"schema": "published/1", "noun": "published", "fingerprint": _fingerprint(about, ensemble)}
        document = {**head, "parents": list(self.parents), "versions": versions(), **about}
        validate(document, "published", f"metadata of {self.name!r}")
        return document

    def _head(self, head: Mapping[str, Any]) -> dict[str, Any]:
        return {"data": self.data, "offset": self.offset, "profiled": list(self.profiled), **head}


def _box(ensemble: Ensemble) -> dict[str, Any]:
    domain = ensemble.hull
    return {
        "low": domain.low.tolist(),
        "high": domain.high.tolist(),
        "center": domain.center.tolist(),
        "radius": float(domain.radius),
        "spread": [[x if np.isfinite(x) else None for x in o.calibration.limits.tolist()] for o in ensemble.outputs],
    }


def _network(ensemble: Ensemble) -> dict[str, Any]:
    return {
        "n_members": len(ensemble.members),
        "widths": list(ensemble.members[0].widths),
        "activations": sorted({layer.activation for m in ensemble.members for layer in m.layers[:-1]}),
        "n_weights": ensemble.n_weights,
    }


def _fingerprint(about: Mapping[str, Any], ensemble: Ensemble) -> str:
    """sha256 of what the model says it is and of every array; versions and times are outside."""
    digest = hashlib.sha256(canonical(about))
    for name, array in sorted(ensemble.arrays().items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def publish(
    ensemble: Ensemble,
    folder: str | Path,
    *,
    metadata: PublishedMetadata,
    reference: Reference,
    history: Any,
    log: RunLog,
    keras_writer: Callable[[Path], None] | None = None,
    plots: Sequence[Path] = (),
    overwrite: bool = False,
) -> Path:
    """Write a published model.

    Args:
        ensemble: the surrogate.
        folder: where; its last part is usually the model's name.
        metadata: what it is.
        reference: at least 100 points with exact and network values.
        history: the training history, JSON.
        log: the log of the model so far; an event "published" is added to the copy in the folder.
        keras_writer: writes `model.keras` to the path it is given; none is written if None.
        plots: images for the model card.
        overwrite: replace what is there.

    Raises:
        ArtifactExists, Locked, SaveFailed: see `store.writing`; nothing that was there is lost.
        SchemaError, ConfigError, ShapeError: metadata or reference that cannot be published.
        IntegrityError: the graphs do not give the network's values back.
        MissingDependency: onnx, onnxruntime or TensorFlow is not installed.
    """
    document = metadata.document(ensemble)
    reference.check(len(metadata.parameters), ensemble.heads)
    with writing(Path(folder), overwrite=overwrite) as target:
        inside = {key: document[key] for key in CARRIED}
        write_onnx(ensemble, target / "model.onnx", gradient=False, metadata=inside)
        write_onnx(ensemble, target / "model_gradient.onnx", gradient=True, metadata=inside)
        _write_reference(ensemble, reference, target)
        write_saved_model(ensemble, target / "saved_model" / "1", metadata=inside)
        if keras_writer is not None:
            keras_writer(target / "model.keras")
        pictures = []
        for plot in plots:
            (target / "plots").mkdir(exist_ok=True)
            pictures.append(shutil.copyfile(plot, target / "plots" / Path(plot).name).relative_to(target).as_posix())
        (target / "metadata.json").write_text(pretty(document), "utf-8")
        (target / "history.json").write_text(pretty(history), "utf-8")
        copy = RunLog(list(log))
        copy.record("published", id=document["fingerprint"], parents=metadata.parents, numbers=document["network"])
        (target / "log.jsonl").write_bytes(copy.text())
        for name, text in card_files(document, pictures).items():
            (target / name).write_text(text, "utf-8")
    return Path(folder)


def _write_reference(ensemble: Ensemble, reference: Reference, target: Path) -> None:
    """Evaluate the graph at the reference points, refuse to publish one that disagrees, and store the pairs."""
    model = OnnxModel(target / "model_gradient.onnx", threads=1)
    answers = model(reference.theta)
    nats = tolerated(ensemble, reference.theta, reference.logpdf)
    off = np.abs(answers["logpdf"] - reference.logpdf) / nats
    if not off.max() <= 1:
        i = np.unravel_index(int(np.argmax(off)), off.shape)
        raise IntegrityError(
            f"the exported graph gives {answers['logpdf'][i]:.9g} at reference point {i[0]}, the network "
            f"{reference.logpdf[i]:.9g}: they are not the same model. Were the values taken from this ensemble?"
        )
    pairs = {"theta": reference.theta, "exact": reference.exact, "logpdf": reference.logpdf}
    derived = {name: answers[name] for name in ("gradient", "error", "in_domain")}
    about = ensemble.points_about(BEYOND)
    about = about[model(about)["in_domain"] == ensemble.in_domain(about)]  # rounding has a say on the edge
    guard = {"guard_theta": about, "guard_in_domain": ensemble.in_domain(about)}
    write_npz(target / "reference.npz", {**pairs, **derived, "tolerance": nats, **guard})


def tolerated(ensemble: Ensemble, theta: np.ndarray, logpdf: np.ndarray) -> np.ndarray:
    """Nats by which runtimes may differ at points (n, d) with answers (n,), or with heads (n, H).

    Networks round in float32, each relative to what it sums up: about its residual, or the scale of its output. Heads
    share their hidden layers, and so what the largest of their residuals rounds. Where the last sum is large, and its
    bias takes most of it away, 1e-6 of that is lost: sixteen roundings.
    """
    residual = np.abs(logpdf.reshape(len(theta), -1) - ensemble.baseline_logpdf(theta)).max(axis=1, keepdims=True)
    scales = np.array([output.scale for output in ensemble.outputs])
    biases = np.abs([member.layers[-1].bias for member in ensemble.members]).max(axis=0)
    nats = np.maximum(TOLERANCE["logpdf"] * np.maximum(np.maximum(1.0, scales), residual), LOST * scales * biases)
    return nats.reshape(logpdf.shape)


def read_reference(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of reference.npz.

    Raises:
        CorruptFile: not such a file, or arrays that do not belong together.
    """
    path = Path(folder) / "reference.npz"
    found = read_npz(path)
    halves = {"guard_theta", "guard_in_domain"} & set(found)
    if len(halves) == 1 or not set(_REFERENCE_ARRAYS) <= set(found) <= {*_REFERENCE_ARRAYS, *_LATER_ARRAYS}:
        raise CorruptFile(f"{path}: holds {sorted(found)}, expected {sorted(_REFERENCE_ARRAYS)}")
    types = {name: "b" if name.endswith("in_domain") else "f" for name in found}
    value, alike = found["logpdf"].shape, ("exact", "error", *({"tolerance"} & set(found)))
    shapes = {"theta": (*value[:1], *found["theta"].shape[1:2]), "in_domain": value[:1], **dict.fromkeys(alike, value)}
    if halves:
        n = found["guard_in_domain"].shape
        shapes |= {"guard_theta": (*n, *found["theta"].shape[1:2]), "guard_in_domain": n}
    shapes["gradient"] = (*value, *found["theta"].shape[1:2])
    if (
        len(value) not in (1, 2)
        or found["theta"].ndim != 2
        or any(found[name].shape != shape for name, shape in shapes.items())
        or any(found[name].dtype.kind != kind for name, kind in types.items())
    ):
        raise CorruptFile(f"{path}: its arrays have different shapes, or are not of numbers")
    return found
