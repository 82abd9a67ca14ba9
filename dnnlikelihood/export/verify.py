"""`verify`: is this folder what was published, and does every runtime give its numbers?

A row for each check: passed, failed, or skipped with the reason; nothing is left out in silence. Values agree when

    |logpdf - reference| <= 1e-5 max(1, |residual|, output scale) nats,      residual = logpdf - baseline,
                            or 1e-6 of what the last bias takes away, if that is more
    |gradient - reference| <= 1e-4 max(1, largest slope)
    |exact likelihood - reference| <= 1e-8 max(1, |logpdf|)

The gradient itself is held against central differences of the arrays, evaluated in double precision by NumPy. Nothing
is run before every file has the hash it was published with. The guard of every runtime is tried beyond the domain too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ..ensemble import Ensemble
from ..errors import DnnLikelihoodError, IntegrityError, MissingArtifact, MissingDependency, SchemaError
from ..jsonfiles import read_json, strict_loads
from ..parameters import ParameterSpace
from ..runlog import RunLog
from ..store import check_manifest
from .publish import BEYOND, CARRIED, MIN_REFERENCE, TOLERANCE, read_reference, tolerated
from .runtimes import Answers, KerasModel, OnnxModel, SavedModel

__all__ = [
    "N_DIFFERENCES",
    "NotHere",
    "Numbers",
    "Row",
    "VerifyReport",
    "check_guard",
    "checked",
    "slopes_in_tolerances",
    "verify",
]

Status = Literal["passed", "failed", "skipped"]
Numbers = dict[str, float]
Subject = TypeVar("Subject")
N_DIFFERENCES = 5
"""Reference points at which the gradient is held against differences."""


class NotHere(Exception):
    """Raised by a check that cannot be made here; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Row:
    """One check."""

    check: str
    status: Status
    detail: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All checks of one folder, or of one file."""

    folder: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(row.status != "failed" for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        rows = [
            {"check": r.check, "status": r.status, "detail": r.detail, "numbers": dict(r.numbers)} for r in self.rows
        ]
        about = {"schema": "verify/1", "folder": self.folder, "passed": self.passed}
        return {**about, "tolerance": TOLERANCE, "rows": rows}


class _Folder:
    """The folder under test; what several checks need is read once."""

    def __init__(self, path: Path, *, trust: bool) -> None:
        self.path = path
        self.trust = trust
        self.metadata: dict[str, Any] = {}
        self.reference: dict[str, np.ndarray] = {}

    def compare(self, answers: Answers, ensemble: Ensemble | None = None) -> dict[str, float]:
        """Largest deviations from the reference, as multiples of the tolerance; IntegrityError beyond 1."""
        ensemble = ensemble or self.onnx("model.onnx").ensemble
        r = self.reference
        nats = tolerated(ensemble, r["theta"], r["logpdf"])
        scale = {
            "logpdf": nats,
            "error": nats * max(float(o.calibration.factors.max()) for o in ensemble.outputs),
            "gradient": TOLERANCE["gradient"] * np.maximum(1.0, np.abs(r["gradient"]).max(axis=-1, keepdims=True)),
        }
        found = {k: float(np.max(np.abs(answers[k] - r[k]) / s)) for k, s in scale.items() if k in answers}
        for name, ratio in found.items():
            if not ratio <= 1:
                raise IntegrityError(f"{name} is off by {ratio:.3g} times the tolerance")
        if "in_domain" in answers and not np.array_equal(answers["in_domain"], r["in_domain"]):
            raise IntegrityError("in_domain differs from the reference")
        return {f"{name}_in_tolerances": ratio for name, ratio in found.items()}

    def onnx(self, name: str) -> OnnxModel:
        """One of the two graphs, checked and loaded."""
        return OnnxModel(self.path / name, threads=1)


def _hashes(f: _Folder) -> tuple[str, Numbers]:
    names = check_manifest(f.path)
    size = sum((f.path / name).stat().st_size for name in names)
    return "every file has the hash it was published with", {"files": len(names), "bytes": size}


def _documents(f: _Folder) -> tuple[str, Numbers]:
    f.metadata = read_json(f.path / "metadata.json", "published")
    space = ParameterSpace.from_json(f.metadata["parameters"])
    read_json(f.path / "history.json")
    events = len(RunLog.read(f.path / "log.jsonl"))
    return "metadata, history and log follow their schemas", {"parameters": len(space), "events": events}


def _pairs(f: _Folder) -> tuple[str, Numbers]:
    f.reference = read_reference(f.path)
    n = len(f.reference["theta"])
    if n < MIN_REFERENCE:
        raise IntegrityError(f"{n} reference points, fewer than {MIN_REFERENCE}")
    heads = [head["name"] for head in f.metadata["output"].get("heads", ())]
    if f.reference["logpdf"].shape != ((n, len(heads)) if heads else (n,)):
        raise IntegrityError(f"reference of shape {f.reference['logpdf'].shape} for heads {heads or 'none'}")
    shape, d = f.reference["theta"].shape, len(f.metadata["parameters"])
    if shape[1] != d:
        raise IntegrityError(f"reference points of shape {shape} for {d} parameters")
    off = f.reference["logpdf"] - f.reference["exact"]
    return "reference pairs are there", {"points": n, "rmse_nats": float(np.sqrt(np.mean(off**2)))}


def _one_model(f: _Folder) -> tuple[str, Numbers]:
    values, gradients = f.onnx("model.onnx"), f.onnx("model_gradient.onnx")
    if not values.metadata.get("fingerprint") == gradients.metadata.get("fingerprint") == f.metadata["fingerprint"]:
        raise IntegrityError("the graphs and metadata.json carry different fingerprints")
    differ = [key for key in CARRIED for g in (values, gradients) if g.metadata.get(key) != f.metadata[key]]
    if differ:
        raise IntegrityError(f"metadata.json and the graphs say different things of {', '.join(dict.fromkeys(differ))}")
    a, b = values.ensemble.arrays(), gradients.ensemble.arrays()
    if a.keys() != b.keys() or not all(np.array_equal(a[name], b[name]) for name in a):
        raise IntegrityError("the two graphs hold different weights")
    granted = f.reference.get("tolerance")
    nats = tolerated(values.ensemble, f.reference["theta"], f.reference["logpdf"])
    if granted is not None and not np.allclose(granted, nats, rtol=1e-6, atol=0):
        raise IntegrityError("reference.npz grants other tolerances than those of the published rule")
    if list(values.ensemble.heads) != [head["name"] for head in f.metadata["output"].get("heads", ())]:
        raise IntegrityError("the graphs and metadata.json name different heads")
    return "both graphs are safe and hold one ensemble", {"weights": values.ensemble.n_weights}


def _onnx_values(f: _Folder) -> tuple[str, Numbers]:
    model = f.onnx("model.onnx")
    check_guard(model, model.ensemble)
    return "model.onnx on onnxruntime", f.compare(model(f.reference["theta"]))


def _onnx_gradient(f: _Folder) -> tuple[str, Numbers]:
    model = f.onnx("model_gradient.onnx")
    check_guard(model, model.ensemble)
    return "model_gradient.onnx on onnxruntime", f.compare(model(f.reference["theta"]))


def check_guard(ask: Callable[[np.ndarray], Answers], ensemble: Ensemble) -> None:
    """A runtime refuses what the arrays refuse, inside and beyond: the reference points may all lie inside.

    Raises:
        IntegrityError: it does not, at more than one point, which could lie on an edge to rounding.
    """
    theta = ensemble.points_about(BEYOND)
    differ = ask(theta)["in_domain"] != ensemble.in_domain(theta)
    if differ.sum() > 1:
        raise IntegrityError(f"in_domain is not what the arrays give at {differ.sum()} of {len(theta)} points")


def _numpy(f: _Folder) -> tuple[str, Numbers]:
    ensemble, theta = f.onnx("model.onnx").ensemble, f.reference["theta"]
    members = ensemble.heads_logpdf(theta)
    value, error = members.mean(axis=1), ensemble.error(members)
    answers = {
        "logpdf": value if ensemble.heads else value[:, 0],
        "error": error if ensemble.heads else error[:, 0],
        "in_domain": ensemble.in_domain(theta),
    }
    if (
        "guard_theta" in f.reference
        and (ensemble.in_domain(f.reference["guard_theta"]) != f.reference["guard_in_domain"]).any()
    ):
        raise IntegrityError("reference.npz says another domain than the arrays")
    return "the arrays in model.onnx, by NumPy alone", f.compare(answers, ensemble)


def slopes_in_tolerances(ensemble: Ensemble, theta: np.ndarray, gradient: np.ndarray) -> float:
    """How far gradients (n, d), or (n, H, d), are off the differences of the arrays, as a multiple of the tolerance."""
    n, d = theta.shape
    gradient = gradient.reshape(n, -1, d)
    hull = ensemble.hull
    step = 2.5e-7 * (hull.high - hull.low)
    shift = np.diag(step)

    def in_double(points: np.ndarray) -> np.ndarray:
        return ensemble.heads_logpdf(points.reshape(-1, d), np.float64).mean(axis=1).reshape(n, d, -1)

    up, down = (in_double(theta[:, None, :] + sign * shift) for sign in (1, -1))
    slope = np.swapaxes((up - down) / (2 * step[:, None]), 1, 2)
    limit = TOLERANCE["gradient"] * np.maximum(1.0, np.abs(gradient).max(axis=2, keepdims=True))
    return float(np.max(np.abs(slope - gradient) / limit))


def _differences(f: _Folder) -> tuple[str, Numbers]:
    theta, gradient = (f.reference[name][:N_DIFFERENCES] for name in ("theta", "gradient"))
    ratio = slopes_in_tolerances(f.onnx("model.onnx").ensemble, theta, gradient)
    if not ratio <= 1:
        raise IntegrityError(f"the gradient is off the differences by {ratio:.3g} times the tolerance")
    return "the gradient against central differences of the arrays", {"gradient_in_tolerances": ratio}


def _saved_model(f: _Folder) -> tuple[str, Numbers]:
    if not f.trust:
        raise NotHere("a SavedModel is a program; pass trust=True (--trust) if you trust where the folder comes from")
    model = SavedModel(f.path / "saved_model" / "1")
    info = strict_loads(model.run("info")["info"], "signature info")
    if info.get("fingerprint") != f.metadata["fingerprint"]:
        raise IntegrityError("the signature info carries another fingerprint")
    check_guard(model, f.onnx("model.onnx").ensemble)
    return "saved_model/1 in TensorFlow's session loader", f.compare(model(f.reference["theta"]))


def _keras(f: _Folder) -> tuple[str, Numbers]:
    if not (f.path / "model.keras").exists():
        raise NotHere("the folder has no model.keras")
    return "model.keras", f.compare(KerasModel(f.path / "model.keras")(f.reference["theta"]))


def _files(value: Any) -> list[str]:
    """Strings in a recipe that are files of this machine: a stranger's folder does not say which of them are read."""
    if isinstance(value, dict | list):
        return [name for part in (value.values() if isinstance(value, dict) else value) for name in _files(part)]
    try:
        return [value] if isinstance(value, str) and Path(value).exists() else []
    except (OSError, ValueError):  # no name a file could have
        return []


def _exact(f: _Folder) -> tuple[str, Numbers]:
    from ..sources import build
    from ..tracing import TracedDensity

    if f.metadata["kind"] == "profiled":
        raise NotHere("an exact value of a profiled likelihood is a fit; rebuild the likelihood and ask it")
    recipe = f.metadata["source"]["recipe"]
    if recipe is None:
        raise NotHere("the likelihood it was learned from has no recipe; its exact values cannot be computed again")
    named = _files(recipe["arguments"])
    if named and not f.trust:
        raise NotHere(f"the recipe names the file {named[0]}; pass trust=True (--trust) to have it read")
    try:
        source = build(recipe["source"], recipe["arguments"])
    except MemoryError as error:
        raise IntegrityError("the likelihood of the recipe does not fit into the memory of this machine") from error
    truth = TracedDensity(
        source.log_likelihood, source.parameters, source.prior, f.metadata["kind"], source.dense_columns, source.chunk
    )
    again, exact = truth.logpdf(f.reference["theta"]), f.reference["exact"]
    off = float(np.max(np.abs(again - exact) / np.maximum(1.0, np.abs(exact))))
    if not off <= TOLERANCE["exact"]:
        raise IntegrityError(f"the exact likelihood differs from the reference by {off:.3g} (relative)")
    return "the exact likelihood, evaluated again", {"largest_relative_deviation": off}


def checked(
    checks: Mapping[str, Callable[[Subject], tuple[str, Numbers]]], subject: Subject, foundations: Collection[str]
) -> tuple[Row, ...]:
    """A row for each check; what comes after a foundation that failed is skipped."""
    rows: list[Row] = []
    broken = ""
    for name, check in checks.items():
        if broken:
            rows.append(Row(name, "skipped", f"the check {broken!r} failed"))
            continue
        try:
            detail, numbers = check(subject)
            rows.append(Row(name, "passed", detail, {k: float(v) for k, v in numbers.items()}))
        except (NotHere, MissingDependency) as reason:
            rows.append(Row(name, "skipped", str(reason)))
        except DnnLikelihoodError as error:
            rows.append(Row(name, "failed", f"{type(error).__name__}: {error}"))
            broken = name if name in foundations else ""
    return tuple(rows)


_CHECKS: dict[str, Callable[[_Folder], tuple[str, Numbers]]] = {
    "hashes": _hashes,
    "documents": _documents,
    "reference": _pairs,
    "graphs": _one_model,
    "onnxruntime": _onnx_values,
    "onnxruntime-gradient": _onnx_gradient,
    "numpy": _numpy,
    "differences": _differences,
    "saved-model": _saved_model,
    "keras": _keras,
    "exact": _exact,
}
_FOUNDATIONS = ("hashes", "documents", "reference")


def _check_noun(folder: Path) -> None:
    try:
        noun = read_json(folder / "metadata.json").get("noun", "published")
    except (DnnLikelihoodError, AttributeError):
        return  # the checks say what is wrong with it
    if noun != "published":
        raise SchemaError(f"{folder} is not a published model: it holds a {noun}")


def verify(folder: str | Path, *, trust: bool = False) -> VerifyReport:
    """Check a published folder.

    Args:
        folder: what `publish` wrote.
        trust: whether the SavedModel, which is a program, may be run.

    Raises:
        MissingArtifact: the folder is no published model at all. SchemaError: it is another artifact.
    """
    if not any((Path(folder) / name).is_file() for name in ("metadata.json", "manifest.json", "model.onnx")):
        raise MissingArtifact(
            f"{folder} is not a published model: it has no metadata.json, manifest.json or model.onnx"
        )
    _check_noun(Path(folder))
    f = _Folder(Path(folder), trust=trust)
    return VerifyReport(str(folder), checked(_CHECKS, f, _FOUNDATIONS))
