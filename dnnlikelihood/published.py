"""`PublishedLikelihood`: a published model folder as a log-density, on ONNX Runtime and NumPy alone.

    likelihood = dnnlikelihood.open("saved_models/toy_lhc")
    likelihood.logpdf(theta), likelihood.error(theta), likelihood.in_domain(theta)

Outside the region in which it was trained, a surrogate knows nothing. What then happens is the policy `outside`:

    "raise"    DomainError naming the first such point (the default)
    "-inf"     the support ends there: for samplers and fits, which must step over the edge to find it
    "warn"     the plain number, and a logged warning
    "nan"      NaN from `logpdf` and `logpdf_and_grad`; in compositions, which know no NaN, -inf
    "ignore"   the plain number

A model with heads answers for all of them: `heads_logpdf`, `error` and `spread` give (n, H), `logpdf` is the first, and
`likelihood.select("asimov")` is one of them as a likelihood of its own.

`likelihood.guarded("-inf")` is the same likelihood under another policy. The guard lives in the support, so everything
made from a guarded likelihood (`with_prior`, `condition`, `combine`, `trace`) is guarded too.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from .errors import ConfigError, DomainError, IntegrityError, MissingArtifact, SchemaError
from .export.runtimes import Answers, OnnxModel
from .guard import Domain
from .hessians import value_gradient_hessian
from .jsonfiles import fingerprint, read_json
from .parameters import ParameterSpace
from .priors import Prior, PriorColumns
from .protocols import LogDensity
from .runlog import RunLog
from .store import check_manifest

__all__ = ["Outside", "PublishedLikelihood", "open"]

logger = logging.getLogger(__name__)
Outside = Literal["raise", "-inf", "warn", "nan", "ignore"]


def open(
    folder: str | Path, *, check: bool = True, outside: Outside = "raise", threads: int | None = None
) -> PublishedLikelihood:
    """Open a published model folder for reading.

    Args:
        folder: the folder `publish` wrote.
        check: compare every file with its sha256 first. Graphs and metadata are checked in any case.
        outside: what happens outside the training domain; see the module.
        threads: how many chunks of rows are evaluated at once; one a core if None.

    Raises:
        MissingArtifact: no such folder, or files are missing.
        IntegrityError: a file was edited or added, or metadata and graphs are of different models.
        SchemaError, CorruptFile, SafetyError: metadata or graphs that are not those of a published likelihood.
        MissingDependency: onnx or onnxruntime is not installed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingArtifact(f"{folder} is not a folder; expected a published model")
    if check:
        check_manifest(folder)
    metadata = read_json(folder / "metadata.json", "published")
    values = OnnxModel(folder / "model.onnx", threads=threads)
    gradients = OnnxModel(folder / "model_gradient.onnx", threads=threads)
    for model in (values, gradients):
        _check_same(model, metadata)
    return PublishedLikelihood(folder, metadata, values, gradients, outside=outside, threads=threads)


class PublishedLikelihood(LogDensity):
    """A published surrogate. Made by `dnnlikelihood.open`.

    Attributes:
        folder: where it was read from.
        metadata: what metadata.json says.
        domain: box and ellipsoid of the training points; where members disagree, `in_domain` ends too.
        outside: the policy outside of them.
    """

    def __init__(
        self,
        folder: Path,
        metadata: Mapping[str, Any],
        values: OnnxModel,
        gradients: OnnxModel,
        *,
        outside: Outside = "raise",
        threads: int | None = None,
    ) -> None:
        self.folder = folder
        self.metadata = metadata
        self.parameters = ParameterSpace.from_json(metadata["parameters"])
        self.prior = Prior.from_json(metadata["prior"])
        self.kind = metadata["kind"]
        self._values, self._gradients, self._threads = values, gradients, threads
        self.heads = values.ensemble.heads
        self._head = ""
        self.outside: Outside = _policy(outside)

    def __repr__(self) -> str:
        heads = f"head {self._head!r}, " if self._head else f"heads {self.heads}, " if self.heads else ""
        return (
            f"<PublishedLikelihood {self.metadata['name']!r}, {heads}{len(self.parameters)} parameters, {self.folder}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.folder, self.outside, self._threads, self._head)

    rounding = 1e-5

    @property
    def fingerprint(self) -> str:
        """sha256 of what the model says it is and of every array in it; and of the head, if one was selected."""
        whole = str(self.metadata["fingerprint"])
        return fingerprint([whole, self._head]) if self._head else whole

    def select(self, head: str) -> Self:
        """One head as a likelihood of its own, on the same graphs.

        Raises:
            ParameterError: no such head.
        """
        self.head_index(head)
        if not self.heads:
            return self
        other = copy.copy(self)
        other.heads, other._head = (), head
        return other

    def known_points(self) -> np.ndarray:
        """(n, d) points of the domain and the support, the highest first; the centre if there are none."""
        points = self._values.ensemble.known_points()
        supported = self._supported(points)
        return points[supported] if supported.any() else points[:1]

    # The density -----------------------------------------------------------------------------------------------------

    def _ask(self, model: OnnxModel, theta: np.ndarray) -> Answers:
        """What the graph says; of the selected head alone, if there is one."""
        answers = model(theta)
        if self._head:
            column = model.ensemble.heads.index(self._head)
            answers = {k: v if k == "in_domain" else np.ascontiguousarray(v[:, column]) for k, v in answers.items()}
        return answers

    def _heads_logpdf(self, theta: np.ndarray) -> np.ndarray:
        answers = self._ask(self._values, theta)
        value = answers["logpdf"].reshape(len(theta), -1)
        return np.where(self._stands(theta, answers["in_domain"])[:, None], value, -np.inf)

    def _heads_logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answers = self._ask(self._gradients, theta)
        value = answers["logpdf"].reshape(len(theta), -1)
        gradient = answers["gradient"].reshape(*value.shape, theta.shape[1])
        known = self._stands(theta, answers["in_domain"])
        return np.where(known[:, None], value, -np.inf), np.where(known[:, None, None], gradient, 0.0)

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._heads_logpdf(theta)[:, 0]

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, grad = self._heads_logpdf_and_grad(theta)
        return value[:, 0], grad[:, 0]

    def _logpdf_grad_hess(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """In closed form, from the arrays in the file."""
        ensemble = self._values.ensemble
        found = value_gradient_hessian(ensemble, theta, ensemble.heads.index(self._head) if self._head else 0)
        known = self._stands(theta, self._values(theta)["in_domain"])
        value, gradient, hessian = found
        value[~known], gradient[~known], hessian[~known] = -np.inf, 0.0, 0.0
        return value, gradient, hessian

    # The guard -------------------------------------------------------------------------------------------------------

    def guarded(self, outside: Outside) -> Self:
        """The same likelihood under another policy outside its domain."""
        other = copy.copy(self)
        other.outside = _policy(outside)
        return other

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        """What compositions ask; where members disagree is found by each evaluation itself."""
        ensemble = self._values.ensemble
        return self._stands(theta, ensemble.domain(ensemble.coordinates(theta)))

    def _stands(self, theta: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.ones(len(theta), bool) if self.outside == "ignore" else self._judge(theta, known)

    def _judge(self, theta: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Apply the policy; (n,) bool: whose number stands."""
        if self.outside in ("-inf", "nan") or known.all():
            return known
        if self.outside == "raise":
            raise DomainError(self._complaint(theta, known))
        if self.outside == "warn":
            logger.warning("%s", self._complaint(theta, known))
        return np.ones(len(theta), bool)

    def _complaint(self, theta: np.ndarray, known: np.ndarray) -> str:
        i = int(np.argmin(known))
        excess = np.maximum(self.domain.low - theta[i], theta[i] - self.domain.high)
        j = int(np.argmax(excess))
        if excess[j] > 0:
            low, high = self.domain.low[j], self.domain.high[j]
            where = f"{self.parameters.names[j]} = {theta[i, j]:.6g} is not in [{low:.6g}, {high:.6g}]"
        elif (distance := float(self.domain.distance(theta[i : i + 1])[0])) > self.domain.radius:
            where = (
                f"its distance from the centre is {distance:.4g}, the training points end at {self.domain.radius:.4g}"
            )
        else:
            where = self._values.ensemble.dispute(theta[i])
        return (
            f"{np.sum(~known)} of {len(theta)} points lie outside the training domain of {self.metadata['name']!r}; "
            f"the first is point {i}: {where}. Stay where in_domain(theta) holds, or choose a policy: guarded('-inf') "
            "for samplers and fits, guarded('warn') for the plain numbers"
        )

    def _answer(self, theta: Any, model: OnnxModel) -> tuple[np.ndarray, np.ndarray]:
        """Values (n, H) and gradients (n, H, d), zeros if the model has none.

        They are guarded by the `in_domain` of the same evaluation.
        """
        theta = self.points(theta)
        value = np.full((len(theta), self.n_outputs), -np.inf)
        grad = np.zeros((*value.shape, theta.shape[1]))
        inside = self._supported(theta)
        if inside.any():
            points = theta[inside]
            answers = self._ask(model, points)
            found = answers["logpdf"].reshape(len(points), -1)
            slope = answers["gradient"].reshape(*found.shape, -1) if "gradient" in answers else None
            nan = np.flatnonzero(np.isnan(found).any(axis=1))  # no disagreement, but weights that are not numbers
            nan = nan[self.domain(points[nan])]
            self._check_heads(found[nan], points[nan])
            known = self._judge(points, answers["in_domain"])
            self._check_heads(found[known], points[known], None if slope is None else slope[known])
            nothing = (np.nan, np.nan) if self.outside == "nan" else (-np.inf, 0.0)
            value[inside] = np.where(known[:, None], found, nothing[0])
            if slope is not None:
                grad[inside] = np.where(known[:, None, None], slope, nothing[1])
        return value, grad

    @cached_property
    def _ranges(self) -> PriorColumns:
        return self.prior.columns(self.parameters)

    def _supported(self, theta: np.ndarray) -> np.ndarray:
        """(n,) bool: within the bounds and the ranges of the prior."""
        return self.parameters.inside(theta) & self._ranges.inside(theta)

    def logpdf(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) log-density, -inf outside the support; outside the domain what the policy says.

        Raises:
            DomainError: outside the domain, under the policy "raise".
        """
        return self._answer(theta, self._values)[0][:, 0]

    def logpdf_and_grad(self, theta: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) -> (n,), (n, d): value and gradient, guarded as `logpdf`."""
        value, grad = self._answer(theta, self._gradients)
        return value[:, 0], grad[:, 0]

    def heads_logpdf(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n, H) of all heads, guarded as `logpdf`."""
        return self._answer(theta, self._values)[0]

    def heads_logpdf_and_grad(self, theta: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) -> (n, H), (n, H, d) of all heads, guarded as `logpdf`."""
        return self._answer(theta, self._gradients)

    # What a surrogate knows about itself -----------------------------------------------------------------------------

    @cached_property
    def domain(self) -> Domain:
        """Box and ellipsoid of the training points; `in_domain` is the judge, which asks for more."""
        return self._values.ensemble.hull

    def in_domain(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) bool: where the surrogate was trained."""
        return self._values(self.points(theta))["in_domain"]

    def error(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) half-width of the calibrated 90 % band, nats; (n, H) with heads.

        It holds inside the domain; outside it is infinite, or a DomainError under the policy "raise".
        """
        points = self.points(theta)
        answers = self._ask(self._values, points)
        known = answers["in_domain"]
        if self.outside == "raise":
            self._judge(points, known)
        return np.where(known.reshape(-1, *[1] * (answers["error"].ndim - 1)), answers["error"], np.inf)

    def answers(self, theta: Any, *, gradient: bool = False) -> Answers:
        """All that the file says of each point, from one evaluation and under no policy.

        Outside the support logpdf is -inf and its gradient 0. Outside the domain stand the plain numbers, which mean
        nothing there: whoever takes them looks at `in_domain`.

        Args:
            theta: (n, d) points.
            gradient: whether the gradient is computed too.

        Returns:
            logpdf, error, spread (n,) in nats, in_domain (n,) bool, and gradient (n, d); with heads (n, H) and
            (n, H, d).
        """
        points = self.points(theta)
        answers = self._ask(self._gradients if gradient else self._values, points)
        beyond = ~self._supported(points)
        answers["logpdf"][beyond] = -np.inf
        if gradient:
            answers["gradient"][beyond] = 0.0
        return answers

    def spread(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) standard deviation of the members, nats; (n, H) with heads."""
        return self._ask(self._values, self.points(theta))["spread"]

    def reference(self) -> dict[str, np.ndarray]:
        """The published pairs: theta (n, d), exact, logpdf and error (n,), gradient (n, d), in_domain (n,).

        With heads (n, H) and (n, H, d), also where one head was selected.
        """
        from .export.publish import read_reference

        return read_reference(self.folder)

    @property
    def log(self) -> RunLog:
        """How the model was made."""
        return RunLog.read(self.folder / "log.jsonl")


def _check_same(model: OnnxModel, metadata: Mapping[str, Any]) -> None:
    """What a graph says about itself is what metadata.json says, and it has an input for every parameter."""
    for name in ("fingerprint", "parameters", "prior", "kind"):
        if model.metadata.get(name) != metadata[name]:
            raise IntegrityError(
                f"{model.path} is of another model than metadata.json ({name} differs); fetch it again"
            )
    heads = [head["name"] for head in metadata["output"].get("heads", ())]
    if list(model.ensemble.heads) != heads:
        raise IntegrityError(
            f"{model.path} has the heads {list(model.ensemble.heads)}, metadata.json describes {heads}"
        )
    if model.n_parameters != len(metadata["parameters"]):
        raise SchemaError(
            f"{model.path} takes {model.n_parameters} numbers for {len(metadata['parameters'])} parameters"
        )


def _policy(outside: str) -> Any:
    if outside not in get_args(Outside):
        raise ConfigError(f"outside={outside!r} is none of {list(get_args(Outside))}")
    return outside


def _reopen(folder: Path, outside: Outside, threads: int | None, head: str) -> PublishedLikelihood:
    found = open(folder, outside=outside, threads=threads)
    return found.select(head) if head else found
