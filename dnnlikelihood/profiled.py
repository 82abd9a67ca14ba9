r"""`ProfiledLikelihood`: a counting likelihood whose nuisances are maximised away, as a function of its inputs.

    logpdf_h(x) = max over nu of log L(x, nu | data_h)                 one head h for each data set

with all constants kept, so that -logpdf is the negative log-likelihood that pyhf reports. The gradient is that of log L
at the maximum (envelope theorem). Every answer comes from a fit, and every fit has a status: `fit` and `label` say
which failed, `logpdf` refuses to answer with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .errors import DomainError, NotConverged, ParameterError
from .jsonfiles import fingerprint
from .priors import Prior
from .progress import progress_bar
from .protocols import Labels, LogDensity
from .runlog import RunLog
from .sources.asimov_signal import AsimovOfSignal, fit_head
from .sources.eft_model import EftModel
from .sources.histfactory_patches import signals_of
from .sources.profiled import ProfiledSource, build_profiled, fits_begin, refusal, sensible
from .sources.strength import maximise_along
from .statistics.counting import CountingFit, CurvedModel, Observation
from .statistics.counting_hessian import profiled_hessian
from .store import Artifact

__all__ = ["ProfiledFit", "ProfiledLikelihood"]

BLOCK = 512
"""Rows of a batch that one worker fits at a time."""
NEGATIVE = "negative background"
PLAIN = "logpdf"
"""The name of the data of a density without heads."""


@dataclass(frozen=True)
class ProfiledFit:
    """Maxima over the nuisances, one for each point (n) and head (H)."""

    heads: tuple[str, ...]
    nuisances: tuple[str, ...]
    """The k names of the columns of `nu`."""
    value: np.ndarray
    """(n, H) profiled logpdf; -inf where the fit is "outside"."""
    gradient: np.ndarray
    """(n, H, d) with respect to the inputs; of `maximum_along` (n, H, 0)."""
    nu: np.ndarray
    """(n, H, k) the nuisances at the maximum."""
    pull: np.ndarray
    """(n, H, k) (nu - centre) / sigma of those with a normal constraint, 0 of the others."""
    status: np.ndarray
    """(n, H) of str: "converged", "stalled", "iterations", "outside" as in `statistics.counting`."""
    error: np.ndarray
    """(n, H) upper estimate of what the maximum lacks, nats."""
    sensible: np.ndarray
    """(n, H) bool: whether the maximum makes sense; not if the background of a bin is negative there."""
    mu: np.ndarray | None = None
    """(n, H) strengths that maximise; from `maximum_along` alone."""

    @property
    def converged(self) -> np.ndarray:
        """(n,) bool: in every head."""
        return (self.status == "converged").all(axis=1)


class ProfiledLikelihood(LogDensity, Artifact):
    """A profiled likelihood with inputs (signal yields, Wilson coefficients) and one head a data set.

    From a pyhf workspace, as a function of the signal yield of every bin::

        likelihood = ProfiledLikelihood.from_workspace("BkgOnly.json", include_control_regions=True)
        likelihood.heads                      # ("observed", "expected", "asimov_observed")
        likelihood.heads_logpdf(yields)       # (n, 3)

    Args:
        source: what is profiled, and the recipe that rebuilds it.
    """

    noun: ClassVar[str] = "profiled"

    def __init__(self, source: ProfiledSource) -> None:
        self.source = source
        self.parameters = source.parameters
        self.prior = Prior({})
        self.kind = "profiled"
        self.heads = () if list(source.data) == [PLAIN] else tuple(source.data)
        self._fingerprint: str | None = None
        self.log = RunLog()
        self.n_fits = 0
        """Fits that this object has made so far: one a point and head."""

    @classmethod
    def from_workspace(
        cls,
        workspace: Mapping[str, Any] | str | Path,
        *,
        patch: Mapping[str, Any] | Sequence[Any] | str | Path | None = None,
        patch_name: str | None = None,
        measurement: str | None = None,
        signal_regions: Sequence[str] | None = None,
        include_control_regions: bool = True,
        discovery: bool = False,
    ) -> Self:
        """The profiled likelihood of a pyhf workspace; see `sources.histfactory_profiled` for the definitions.

        Args:
            workspace: path (`.json`, `.json.gz`), JSON text or dict; its signal, if it has one, is left out.
            patch: a JSON patch or a patch set to apply first.
            patch_name: which patch of a patch set.
            measurement: its name; the first one if None.
            signal_regions: names of channels; those that begin with "SR" if None.
            include_control_regions: whether the other channels, "VR..." apart, are fitted too and have signal yields.
            discovery: whether there is a fourth head, "asimov_signal", for expected significances.

        Raises:
            SchemaError: what is no workspace, or a patch that does not fit it.
            ParameterError: signal regions that the workspace does not have.
            LikelihoodError: the likelihood does not depend on the signal.
            MissingDependency: pyhf is not installed.
        """
        return cls.from_source(
            "histfactory",
            workspace=workspace,
            patch=patch,
            patch_name=patch_name,
            measurement=measurement,
            signal_regions=signal_regions,
            include_control_regions=include_control_regions,
            discovery=discovery,
        )

    @classmethod
    def from_eft(
        cls, model: EftModel | Mapping[str, Any] | str | Path | None = None, *, seed: int | None = None
    ) -> Self:
        """The profiled likelihood of a counting experiment in effective-theory coefficients; see `sources.eft_model`.

        Args:
            model: an EftModel, a document of schema eft_counts/1, or the path of one; the generated search if None.
            seed: of the generated search.

        >>> ProfiledLikelihood.from_eft(seed=1).parameters.pois[:2]
        ('ctW', 'ctZ')
        """
        return cls.from_source("eft", document=model, seed=seed)

    @classmethod
    def from_source(cls, name: str, **arguments: Any) -> Self:
        """A profiled likelihood of one of the package's sources, by name and arguments (its recipe)."""
        return cls(build_profiled(name, arguments))

    def signals_from_patchset(self, patches: Any) -> dict[str, np.ndarray]:
        """(d,) yields of every patch, by its name: real signals on which to test.

        Args:
            patches: a patch set made for the workspace (path, text or parsed), or a mapping from names to JSON patches.

        Raises:
            ParameterError: this likelihood was not made from a workspace.
            SchemaError: patches that add no signal, or do not fit.
        """
        if "workspace" not in self.source.arguments:
            raise ParameterError(f"patches are made for workspaces; this likelihood is of source {self.source.name!r}")
        return dict(signals_of(patches, self.source.arguments["workspace"], self.parameters.names))

    # Fits ------------------------------------------------------------------------------------------------------------

    def fit(self, theta: Any, *, executor: Executor | None = None, progress: bool = False) -> ProfiledFit:
        """Maximise over the nuisances at points (n, d), for every head.

        Args:
            theta: as for `logpdf`; inside the bounds.
            executor: spreads the rows over its workers.
            progress: whether long work shows a bar.

        Raises:
            DomainError: points outside the bounds, or without events where fits begin: there is nothing to fit.
        """
        theta = self.points(theta)
        within = self._within(theta)
        if not within.all():
            raise refusal(self.source, theta, within)
        self.n_fits += len(theta) * len(self.source.data)
        source = ProfiledSource(**{**vars(self.source), "arguments": {}})
        blocks = [theta[i : i + BLOCK] for i in range(0, len(theta), BLOCK)] or [theta]
        run = executor.map if executor is not None else map
        parts = []
        with progress_bar("profiling", len(theta), shown=progress) as advance:
            for part in run(_fit_block, [source] * len(blocks), blocks):
                parts.append(part)
                advance(len(part[0].value))
        return self._gathered([_joined(fits) for fits in zip(*parts, strict=True)], theta)

    def _gathered(self, fits: list[CountingFit], theta: np.ndarray) -> ProfiledFit:
        model = self.source.model
        k = len(self.source.nuisances)
        data = self.source.data
        nu = np.stack([f.nu[:, :k] for f in fits], axis=1)
        spread = np.sqrt(model.constraints.precision)
        return ProfiledFit(
            heads=tuple(self.source.data),
            nuisances=self.source.nuisances,
            value=np.stack(
                [f.value + _constant(self.source, head) for f, head in zip(fits, data, strict=True)], axis=1
            ),
            gradient=np.stack([f.gradient for f in fits], axis=1),
            nu=nu,
            pull=np.stack([(nu[:, h] - d.means) * spread for h, d in enumerate(data.values())], axis=1),
            status=np.stack([f.status for f in fits], axis=1),
            error=np.stack([f.error for f in fits], axis=1),
            sensible=np.stack([sensible(model, theta, nu[:, h]) for h in range(len(fits))], axis=1),
        )

    @cached_property
    def null_logpdf(self) -> np.ndarray:
        """(H,) logpdf of every head without signal."""
        return self.heads_logpdf(np.zeros((1, len(self.parameters))))[0]

    def maximum_along(self, signals: Any, *, allow_negative: bool = False) -> ProfiledFit:
        """The maxima over nuisances and strength mu at once, x = mu s, for every head.

        Args:
            signals: (n, d) directions s.
            allow_negative: whether mu may be below 0, as far as the bounds of the parameters.

        Raises:
            DomainError: a direction that is zero.
        """
        s = self.points(signals)
        if not s.any(axis=1).all():
            raise DomainError(f"signal {int(np.argmin(s.any(axis=1)))} is zero in every bin: it has no direction")
        fits, unit = maximise_along(self.source, s, allow_negative=allow_negative)
        mu = np.stack([f.nu[:, -1] * unit for f in fits], axis=1)
        return ProfiledFit(**{**vars(self._gathered(fits, s)), "mu": mu})

    # The density -----------------------------------------------------------------------------------------------------

    @property
    def has_gradient(self) -> bool:
        """Always."""
        return True

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        """Where the yields at which fits begin are positive, or 0 like the counts of every head."""
        begins, _ = fits_begin(self.source, theta)
        return np.all(begins, axis=1)

    def support(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) bool: where there is something to fit; found without a fit."""
        return self._within(self.points(theta))

    def _heads_logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fit = self._converged(theta)
        return fit.value, fit.gradient

    def _converged(self, theta: np.ndarray) -> ProfiledFit:
        """Fits of which none failed."""
        fit = self.fit(theta)
        if not fit.converged.all():
            i = int(np.argmin(fit.converged))
            where = ", ".join(f"{n}={x:.6g}" for n, x in list(zip(self.parameters.names, theta[i], strict=True))[:8])
            raise NotConverged(
                f"{(~fit.converged).sum()} of {len(theta)} fits failed, the first at point {i} ({where}): "
                f"{dict(zip(fit.heads, fit.status[i].tolist(), strict=True))}; ask fit() or label() for the others",
                fit,
            )
        return fit

    def _heads_logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._heads_logpdf_and_grad(theta)[0]

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._logpdf_and_grad(theta)[0]

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = self.select(self.heads[0]) if self.heads else self
        value, grad = first._heads_logpdf_and_grad(theta)
        return value[:, 0], grad[:, 0]

    def _logpdf_grad_hess(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """In closed form where the model offers second derivatives and one fit a point finds the maximum."""
        seen = None if self.heads else self.source.data[PLAIN]
        if not isinstance(seen, Observation) or not isinstance(self.source.model, CurvedModel):
            return super()._logpdf_grad_hess(theta)
        fit = self._converged(theta)
        hess = profiled_hessian(self.source.model, theta, fit.nu[:, 0], seen)
        return fit.value[:, 0], fit.gradient[:, 0], hess

    def label(self, theta: Any) -> Labels:
        """Values, gradients and which fits can be trusted; (n,) of a single head, (n, H) of several."""
        theta = self.points(theta)
        n, h = len(theta), self.n_outputs
        value, gradient = np.full((n, h), -np.inf), np.zeros((n, h, theta.shape[1]))
        ok, reason = np.ones(n, bool), np.full(n, "", dtype="<U80")
        inside = np.flatnonzero(self._within(theta))
        if len(inside):
            fit = self.fit(theta[inside])
            makes_sense = fit.sensible.all(axis=1)
            value[inside], gradient[inside], ok[inside] = fit.value, fit.gradient, fit.converged & makes_sense
            reason[inside[~makes_sense]] = NEGATIVE
            for i in np.flatnonzero(~fit.converged):
                bad = [f"{name}: {s}" for name, s in zip(fit.heads, fit.status[i], strict=True) if s != "converged"]
                reason[inside[i]] = "fit " + ", ".join(bad)
        return Labels(value, gradient, ok, reason) if self.heads else Labels(value[:, 0], gradient[:, 0], ok, reason)

    def select(self, head: str) -> LogDensity:
        """The density of one head alone, which costs one fit a point; "asimov_expected" is "expected".

        Raises:
            ParameterError: no such head, or nominal parameters do not give the nominal yields and the two differ.
        """
        if head == "asimov_expected" and "expected" in self.heads:
            _check_nominal(self.source)
            head = "expected"
        name = list(self.source.data)[self.head_index(head)]
        if not self.heads:
            return self
        one = {
            part: {PLAIN: getattr(self.source, part)[name]}
            for part in ("data", "starts", "constants")
            if name in getattr(self.source, part)
        }
        chosen = type(self)(ProfiledSource(**{**vars(self.source), **one}))
        chosen._fingerprint = fingerprint([self.fingerprint, name])
        return chosen

    # The artifact ----------------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> dict[str, Any]:
        """Source and arguments: what rebuilds this likelihood."""
        return {"source": self.source.name, "arguments": self.source.arguments}

    @property
    def fingerprint(self) -> str:
        """sha256 of the recipe."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.recipe)
        return self._fingerprint

    def _metadata(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "parameters": self.parameters.to_json(),
            "prior": self.prior.to_json(),
            "kind": self.kind,
            "heads": list(self.heads),
            "nuisances": list(self.source.nuisances),
            "reference": self.source.reference,
        }

    def _write(self, folder: Path) -> None:
        if self._fingerprint not in (None, fingerprint(self.recipe)):
            raise ParameterError(
                "one head of a profiled likelihood is not saved by itself: save the whole, then select"
            )

    @classmethod
    def _read(cls, folder: Path, metadata: Mapping[str, Any]) -> Self:
        return cls.from_source(metadata["recipe"]["source"], **metadata["recipe"]["arguments"])


def _constant(source: ProfiledSource, head: str) -> float:
    """From log L relative to the saturated one to log L: sum of n log n - n - log n! of all counts."""
    from scipy.special import gammaln, xlogy

    seen, rated = source.data[head], source.model.constraints.rate > 0
    if isinstance(seen, AsimovOfSignal):  # a ratio of likelihoods, of which constants are gone
        return 0.0
    n = np.concatenate([seen.counts, seen.auxiliary[rated]])
    return source.constants.get(head, 0.0) + float((xlogy(n, n) - n - gammaln(n + 1.0)).sum())


def _fit_block(source: ProfiledSource, theta: np.ndarray) -> list[CountingFit]:
    """The fits of some rows, a list over heads; here so that other processes find it."""
    return [fit_head(source.model, theta, seen, source.starts[head]) for head, seen in source.data.items()]


def _joined(fits: Sequence[CountingFit]) -> CountingFit:
    return CountingFit(*(np.concatenate([getattr(f, n) for f in fits]) for n in CountingFit.__dataclass_fields__))


def _check_nominal(source: ProfiledSource) -> None:
    """Raise ParameterError if the Asimov data of the expected data are other data than these."""
    model = source.model
    nominal = model.expected(model.hold(np.zeros((1, len(source.parameters)))), model.start[None])[0]
    if not np.allclose(nominal, source.data["expected"].counts, rtol=1e-9, atol=1e-12):
        raise ParameterError("nominal parameters do not give the nominal yields: asimov_expected is not expected")
