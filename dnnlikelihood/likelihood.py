"""`Likelihood`: what is to be learned, and the recipe that rebuilds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from .errors import ConfigError, LikelihoodError, NotSerializable
from .jsonfiles import fingerprint
from .parameters import ParameterSpace
from .priors import Prior
from .protocols import LogDensity
from .runlog import RunLog
from .sources import Source, build
from .store import Artifact
from .tracing import TracedDensity

__all__ = ["Likelihood"]

Gradient = Callable[[np.ndarray], np.ndarray]


class Likelihood(LogDensity, Artifact):
    """A likelihood with named parameters, priors and bounds.

    From a source, float64 TensorFlow inside, with exact gradients and Hessians::

        toy = Likelihood.from_source("toy_lhc")
        search = Likelihood.from_workspace("BkgOnly.json", patch="patchset.json", patch_name="C1N2_Wh_hbb_700_0")

    From any Python callable, which then cannot be saved (a callable is no recipe)::

        Likelihood(lambda theta: -0.5 * (theta**2).sum(axis=1), ParameterSpace.of("a", "b", poi="a"))

    Args:
        logpdf: theta (n, d) -> (n,) log-likelihood without the prior; or (d,) -> number if not `vectorised`.
        parameters: the columns of theta.
        prior: multiplied with it; none if None.
        vectorised: whether `logpdf` takes all points at once.
        gradient: None; a callable (n, d) -> (n, d); or "finite-difference" (central, 2 d evaluations a point).
    """

    noun: ClassVar[str] = "likelihood"

    def __init__(
        self,
        logpdf: Callable[[np.ndarray], Any],
        parameters: ParameterSpace,
        *,
        prior: Prior | None = None,
        vectorised: bool = True,
        gradient: Gradient | Literal["finite-difference"] | None = None,
    ) -> None:
        if not callable(logpdf):
            raise ConfigError(f"logpdf must be callable, got {type(logpdf).__name__}")
        if not (gradient is None or callable(gradient) or gradient == "finite-difference"):
            raise ConfigError(f"gradient must be None, a callable or 'finite-difference', got {gradient!r}")
        if not isinstance(parameters, ParameterSpace) or not isinstance(prior, Prior | None):
            raise ConfigError(
                f"parameters must be a ParameterSpace and prior a Prior, got {type(parameters).__name__} and "
                f"{type(prior).__name__}"
            )
        parameters.indices(list(prior.terms) if prior else [])
        self.source: Source | None = None
        self._density: LogDensity = _Callable(logpdf, parameters, prior or Prior({}), gradient, vectorised=vectorised)
        self._adopt()

    @classmethod
    def from_source(cls, name: str, **arguments: Any) -> Self:
        """A likelihood of one of the package's sources, by name and arguments (its recipe).

        >>> Likelihood.from_source("gaussian", mean=[0.0], covariance=[[4.0]]).parameters.names
        ('x0',)
        """
        source = build(name, arguments)
        likelihood = cls.__new__(cls)
        likelihood.source = source
        likelihood._density = TracedDensity(
            source.log_likelihood,
            source.parameters,
            source.prior,
            "posterior" if source.prior else "likelihood",
            source.dense_columns,
            source.chunk,
        )
        likelihood._adopt()
        return likelihood

    @classmethod
    def from_workspace(
        cls,
        workspace: Mapping[str, Any] | str | Path,
        *,
        patch: Mapping[str, Any] | Sequence[Any] | str | Path | None = None,
        patch_name: str | None = None,
        measurement: str | None = None,
    ) -> Self:
        """The likelihood of a pyhf workspace over all its parameters; its logpdf is pyhf's, constants and all.

        Args:
            workspace: path (`.json`, `.json.gz`), JSON text or dict.
            patch: a JSON patch or a patch set, likewise.
            patch_name: which patch of a patch set.
            measurement: its name; the first one if None.

        Raises:
            SchemaError: what is no workspace, or a patch that does not fit it.
            MissingDependency: pyhf is not installed.
        """
        return cls.from_source(
            "histfactory", workspace=workspace, patch=patch, patch_name=patch_name, measurement=measurement
        )

    def _adopt(self) -> None:
        self.parameters = self._density.parameters
        self.prior = self._density.prior
        self.kind = self._density.kind
        self.log = RunLog()

    # The density -----------------------------------------------------------------------------------------------------

    @property
    def has_gradient(self) -> bool:
        """Whether `logpdf_and_grad` can be called."""
        return self._density.has_gradient

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._density._logpdf(theta)

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._density._logpdf_and_grad(theta)

    def _logpdf_grad_hess(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._density._logpdf_grad_hess(theta)

    def _trace(self) -> Callable[[Any], Any]:
        return self._density._trace()

    # The artifact ----------------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> dict[str, Any]:
        """Source and arguments: what rebuilds this likelihood.

        Raises:
            NotSerializable: it was made from a bare callable.
        """
        if self.source is None:
            raise NotSerializable(
                "a likelihood made from a Python callable has no recipe and cannot be saved; keep the script that "
                "makes it, save the Data and DnnLik made from it, and export that without `likelihood`"
            )
        return {"source": self.source.name, "arguments": self.source.arguments}

    @property
    def fingerprint(self) -> str:
        """sha256 of the recipe; of a bare callable, of its parameters, prior and qualified name."""
        if self.source is not None:
            return fingerprint(self.recipe)
        name = getattr(self._density, "name", "")
        return fingerprint([name, self.parameters.to_json(), self.prior.to_json()])

    def _metadata(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "parameters": self.parameters.to_json(),
            "prior": self.prior.to_json(),
            "kind": self.kind,
            "reference": self.source.reference if self.source else "",
        }

    def _write(self, folder: Path) -> None:
        self.recipe  # noqa: B018 - raises before anything is written

    @classmethod
    def _read(cls, folder: Path, metadata: Mapping[str, Any]) -> Self:
        recipe = metadata["recipe"]
        return cls.from_source(recipe["source"], **recipe["arguments"])


class _Callable(LogDensity):
    """A user's function as a log-density."""

    def __init__(
        self,
        function: Callable[[np.ndarray], Any],
        parameters: ParameterSpace,
        prior: Prior,
        gradient: Gradient | str | None,
        *,
        vectorised: bool,
    ) -> None:
        self.parameters = parameters
        self.prior = prior
        self.kind = "posterior" if prior else "likelihood"
        self.name = getattr(function, "__qualname__", type(function).__name__)
        self._function = function
        self._gradient = gradient
        self._vectorised = vectorised

    @property
    def has_gradient(self) -> bool:
        return self._gradient is not None

    @property
    def _hessian_step(self) -> float:  # type: ignore[override]
        """Second differences of first differences lose more digits, and want longer steps."""
        return 1e-3 if self._gradient == "finite-difference" else 1e-5

    def _log_likelihood(self, theta: np.ndarray) -> np.ndarray:
        try:
            values = self._function(theta) if self._vectorised else [self._function(point) for point in theta]
        except Exception as error:
            one = "; pass vectorised=False if it takes one point" if self._vectorised else ", one point at a time"
            error.add_note(f"{self.name} was called with theta of shape {theta.shape}{one}")
            raise
        array = np.asarray(values)
        if array.dtype.kind not in "fiub" or array.shape != (len(theta),):
            hint = "; pass vectorised=False if it takes one point" if self._vectorised else ""
            raise LikelihoodError(
                f"{self.name} returned {array.dtype} of shape {array.shape} for {len(theta)} points, expected real "
                f"numbers of shape ({len(theta)},){hint}"
            )
        return array.astype(float)

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._log_likelihood(theta) + self.prior.columns(self.parameters).smooth(theta)

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._gradient is None:
            return super()._logpdf_and_grad(theta)
        likelihood = self._log_likelihood(theta)
        prior = self.prior.columns(self.parameters)
        value = likelihood + prior.smooth(theta)
        if callable(self._gradient):
            grad = np.asarray(self._gradient(theta), float)
            if grad.shape != theta.shape:
                raise LikelihoodError(f"the gradient of {self.name} has shape {grad.shape}, expected {theta.shape}")
        else:
            grad = np.zeros(theta.shape)
            inside = np.isfinite(likelihood)
            grad[inside] = self._differences(theta[inside], likelihood[inside])
        grad = np.where(np.isfinite(value)[:, None], grad + prior.gradient(theta), 0.0)
        return value, grad

    def _differences(self, theta: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Central differences; one-sided where a neighbour is outside the support."""
        n, d = theta.shape
        step = 6e-6 * np.maximum(1.0, np.abs(theta))
        shift = step[:, :, None] * np.eye(d)
        sides = []
        for edge in (
            np.minimum(theta[:, None, :] + shift, self.parameters.upper),
            np.maximum(theta[:, None, :] - shift, self.parameters.lower),
        ):
            there = self._log_likelihood(edge.reshape(-1, d)).reshape(n, d)
            moved = np.einsum("nkk->nk", edge) - theta
            outside = there == -np.inf
            sides.append((np.where(outside, value[:, None], there), np.where(outside, 0.0, moved)))
        (up, right), (down, left) = sides
        length = right - left
        return np.where(length > 0, up - down, 0.0) / np.where(length > 0, length, 1.0)
