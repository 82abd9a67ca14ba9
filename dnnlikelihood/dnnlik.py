"""`DnnLik`: a trained ensemble of networks that is itself a log-density."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from .ensemble import Ensemble
from .errors import ConfigError
from .guard import Domain
from .hessians import value_gradient_hessian
from .jsonfiles import canonical, pretty, read_json
from .members import average
from .networks.recipe import DnnLikConfig
from .parameters import ParameterSpace
from .priors import Prior
from .protocols import Kind, LogDensity
from .runlog import RunLog
from .store import Artifact, check_manifest
from .tracing import TracedDensity

if TYPE_CHECKING:
    from .data import Data
    from .likelihood import Likelihood

__all__ = ["DnnLik", "DnnLikConfig"]


class DnnLik(LogDensity, Artifact):
    """A surrogate likelihood. Made by `fit`, kept by `save`, published by `export`.

    Its `logpdf` is the mean of the members inside the domain in which it was trained, and -inf outside; `spread` is
    their standard deviation, `error` the calibrated half-width of a 90 % band, `in_domain` says where a point is.
    Learned from data with heads, it has the same heads: one ensemble answers for all of them.
    """

    noun: ClassVar[str] = "dnnlik"

    def __init__(
        self,
        ensemble: Ensemble,
        parameters: ParameterSpace,
        prior: Prior,
        kind: Kind,
        config: DnnLikConfig,
        history: Sequence[Mapping[str, Sequence[float]]] = (),
        parents: Sequence[str] = (),
    ) -> None:
        self.ensemble = ensemble
        self.parameters = parameters
        self.prior = prior
        self.kind = kind
        self.heads = ensemble.heads
        self.config = config
        self.history = tuple({k: list(v) for k, v in h.items()} for h in history)
        self._parents = tuple(parents)
        self.log = RunLog()

    @classmethod
    def fit(
        cls,
        data: Data,
        config: DnnLikConfig | None = None,
        *,
        anchor: tuple[Any, Any] | None = None,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Train an ensemble on the train split of `data`, watched and calibrated on its validation split.

        Args:
            data: labelled points; their gradients are used if there are any.
            config: the recipe.
            anchor: a point (d,) and its exact logpdf, a number or one for each head: there the surrogate is exact, to
                the last bit. Of a profiled likelihood the point without signal, so that delta_nll is 0 for no signal.
            folder: where checkpoints are kept; training killed at any moment continues from there to the identical
                result. None keeps none.
            progress: show a bar on a terminal.

        Raises:
            TrainingError: data that cannot be learned from, or a loss that diverged.
            ShapeError: an anchor that is not one point with a value for each head.
            StaleArtifact: `folder` holds the checkpoints of another training.
            Locked: another process trains in `folder`.
            ConfigError: something else than a Data.
        """
        from .networks.train_on_data import numbers, train

        _check_is_data(data)
        config = config or DnnLikConfig()
        cpu, wall = time.process_time(), time.perf_counter()
        ensemble, history = train(data, config, anchor, None if folder is None else Path(folder), progress=progress)
        parents = tuple(dict.fromkeys([data.fingerprint, *data.parents]))
        dnnlik = cls(ensemble, data.parameters, data.prior, data.density_kind, config, history, parents)
        dnnlik.log.record(
            "trained",
            id=dnnlik.fingerprint,
            parents=dnnlik.parents,
            seconds=time.perf_counter() - wall,
            seed=config.training.seed,
            numbers=numbers(ensemble, data, history, time.process_time() - cpu),
        )
        return dnnlik

    # The density -----------------------------------------------------------------------------------------------------

    rounding = 1e-5

    @cached_property
    def _traced(self) -> TracedDensity:
        prior = self.prior.columns(self.parameters)
        trace = self._trace()
        return TracedDensity(lambda theta: trace(theta) - prior.smooth(theta), self.parameters, self.prior, self.kind)

    def known_points(self) -> np.ndarray:
        """(n, d) points of the domain, the highest first."""
        return self.ensemble.known_points()

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        """The support ends with the domain; where members disagree each evaluation finds itself, from their answers."""
        return self.ensemble.domain(self.ensemble.coordinates(theta))

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._traced._logpdf(theta)

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._traced._logpdf_and_grad(theta)

    def _logpdf_grad_hess(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value, gradient, hessian = value_gradient_hessian(self.ensemble, theta)
        unknown = ~self.ensemble.agree(self.ensemble.heads_logpdf(theta))
        value[unknown], gradient[unknown], hessian[unknown] = -np.inf, 0.0, 0.0
        return value, gradient, hessian

    def _heads_logpdf(self, theta: np.ndarray) -> np.ndarray:
        members = self.ensemble.heads_logpdf(theta)
        return np.where(self.ensemble.agree(members)[:, None], average(members), -np.inf)

    def _heads_logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        members, gradient = self.ensemble.members_and_grad(theta)
        known = self.ensemble.agree(members)[:, None]
        return np.where(known, average(members), -np.inf), np.where(known[:, :, None], gradient, 0.0)

    def _trace(self) -> Callable[[Any], Any]:
        from .networks.forward import guarded

        return guarded(self.ensemble)

    # What a surrogate knows about itself -----------------------------------------------------------------------------

    def members_logpdf(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n, K) every member's answer; (n, K, H) with heads."""
        answers = self.ensemble.heads_logpdf(self.points(theta))
        return answers if self.heads else answers[:, :, 0]

    def spread(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) standard deviation of the members, nats; (n, H) with heads."""
        return self.members_logpdf(theta).std(axis=1)

    def error(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) half-width of the calibrated 90 % band, nats, infinite outside; (n, H) with heads."""
        points = self.points(theta)
        band, inside = np.full((len(points), self.n_outputs), np.inf), self._inside(points)
        members = self.ensemble.heads_logpdf(points[inside])
        band[inside] = np.where(self.ensemble.agree(members)[:, None], self.ensemble.error(members), np.inf)
        return band if self.heads else band[:, 0]

    def in_domain(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) bool: inside the box and the ellipsoid of the training points, where the members agree."""
        return self.ensemble.in_domain(self.points(theta))

    def member(self, k: int | None = None) -> DnnLik:
        """One member as a surrogate of its own; the best on the validation rows if `k` is None."""
        if k is None:
            k = int(np.argmin([min(h["val_loss"]) for h in self.history]))
        if not 0 <= k < len(self.ensemble.members):
            raise ConfigError(f"member {k} of an ensemble of {len(self.ensemble.members)}")
        config = self.config.replace(network=self.config.network.replace(n_members=1))
        ensemble = replace(self.ensemble, members=(self.ensemble.members[k],))
        return self._with(ensemble, config=config, history=self.history[k : k + 1])

    def select(self, head: str) -> DnnLik:
        """One head as a surrogate of its own.

        Raises:
            ParameterError: no such head.
        """
        column = self.head_index(head)
        return self._with(self.ensemble.select(column)) if self.heads else self

    def reparametrise(self, matrix: Any, names: Sequence[str]) -> Any:
        """In new parameters phi, theta = matrix @ phi, matrix (d, e): a fixed linear layer in front, exported as such.

        Nothing is trained again, and the domain is the same region. Returns a DnnLik; where priors of old parameters
        would have to be told in new ones, which no file can, the Composite of any other density.

        Raises:
            ShapeError: wrong shape, not finite, or rank deficient.
        """
        composed = super().reparametrise(matrix, names)
        if composed.shaped:
            return composed
        ensemble = replace(self.ensemble.reparametrise(np.asarray(matrix, float)), domain=_known_box(self))
        return self._with(ensemble, parameters=composed.parameters, prior=composed.prior)

    def _with(self, ensemble: Ensemble, **changes: Any) -> DnnLik:
        """Another ensemble of the same training."""
        same = ("parameters", "prior", "kind", "config", "history", "parents")
        other = DnnLik(ensemble, **({name: getattr(self, name) for name in same} | changes))
        other.log = self.log
        return other

    # The artifact ----------------------------------------------------------------------------------------------------

    @property
    def parents(self) -> tuple[str, ...]:
        """Fingerprints of the data, and of what they were made from."""
        return self._parents

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the configuration, the parents and every weight."""
        import hashlib

        digest = hashlib.sha256(canonical([self.config.to_json(), list(self.parents)]))
        for name, array in sorted(self.ensemble.arrays().items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _metadata(self) -> dict[str, Any]:
        return {
            "config": self.config.to_json(),
            "parameters": self.parameters.to_json(),
            "prior": self.prior.to_json(),
            "kind": self.kind,
        }

    def write_keras(self, path: Path) -> None:
        """Write the ensemble as one Keras model: theta (n, d) -> (n, K)."""
        from .networks.build import ensemble_model

        ensemble_model(self.ensemble).save(path)

    def export(
        self,
        folder: str | Path,
        *,
        name: str,
        description: str,
        definition: str,
        command: str,
        points: tuple[np.ndarray, np.ndarray],
        likelihood: Likelihood | None = None,
        licence: str = "CC-BY-4.0",
        authors: Sequence[Mapping[str, str]] = ({"name": "The dnnlikelihood developers"},),
        overwrite: bool = False,
        plots: Sequence[Path] = (),
        **about: Any,
    ) -> Path:
        """Publish: Keras, SavedModel and ONNX files, metadata, reference points, model card, in one folder.

        Args:
            folder: where.
            name: of the model, as a file name.
            description: one sentence for people.
            definition: what the number is: of which data, profiled over what, up to which constant.
            command: rebuilds the model.
            points: theta (n, d) and exact logpdf (n,), with heads (n, H), n >= 100, kept as the reference every
                runtime is held against.
            likelihood: what was learned, if it can be rebuilt from a recipe.
            licence: SPDX identifier.
            authors: {"name", "orcid", "affiliation"} each.
            overwrite: replace what is there.
            plots: images for the model card.
            **about: further fields of `PublishedMetadata`: heads (what each of them is), accuracy, coverage,
                references, limits, profiled, ...

        Raises:
            IntegrityError: an exported file disagrees with this ensemble; nothing is published.
        """
        from .export.publish import PublishedMetadata, Reference, publish

        theta, exact = points
        metadata = PublishedMetadata(
            name=name,
            description=description,
            parameters=self.parameters,
            prior=self.prior,
            kind=self.kind,
            definition=definition,
            command=command,
            licence=licence,
            authors=authors,
            parents=(self.fingerprint, *self.parents),
            seeds={"training": self.config.training.seed},
            **_origin(likelihood),
            **about,
        )
        reference = Reference(theta=theta, exact=exact, logpdf=self.members_logpdf(theta).mean(axis=1))
        return publish(
            self.ensemble,
            folder,
            metadata=metadata,
            reference=reference,
            history={"schema": "history/1", "members": list(self.history)},
            log=self.log,
            keras_writer=self.write_keras,
            plots=plots,
            overwrite=overwrite,
        )

    def _write(self, folder: Path) -> None:
        self.ensemble.save(folder / "ensemble.npz")
        self.write_keras(folder / "model.keras")
        (folder / "history.json").write_text(pretty({"schema": "history/1", "members": list(self.history)}), "utf-8")

    @classmethod
    def _read(cls, folder: Path, metadata: dict[str, Any]) -> Self:
        check_manifest(folder)  # a surrogate with other weights or names would answer all the same
        return cls(
            Ensemble.load(folder / "ensemble.npz"),
            ParameterSpace.from_json(metadata["parameters"]),
            Prior.from_json(metadata["prior"]),
            metadata["kind"],
            DnnLikConfig.from_json(metadata["config"]),
            read_json(folder / "history.json")["members"],
            metadata["parents"],
        )


def _origin(likelihood: Likelihood | None) -> dict[str, Any]:
    """What metadata.json says of what was learned."""
    if likelihood is None:
        return {}
    origin = {"recipe": likelihood.recipe, "source_fingerprint": likelihood.fingerprint}
    return origin | ({"source_reference": likelihood.source.reference} if likelihood.source is not None else {})


def _known_box(dnnlik: DnnLik) -> Domain:
    """The domain within the bounds and the ranges of the priors, which new parameters may not be able to state."""
    domain, ranges, space = dnnlik.ensemble.domain, dnnlik.prior.columns(dnnlik.parameters), dnnlik.parameters
    if dnnlik.ensemble.matrix is not None:
        return domain  # was narrowed when it was reparametrised first
    low = np.maximum.reduce([domain.low, space.lower, ranges.low])
    return replace(domain, low=low, high=np.minimum.reduce([domain.high, space.upper, ranges.high]))


def _check_is_data(data: Any) -> None:
    from .data import Data

    if not isinstance(data, Data):
        made = "Data.label(likelihood, theta) or Data.from_arrays(theta, logpdf, ...)"
        raise ConfigError(f"a DnnLik is trained on a Data, not on {type(data).__name__}; make one with {made}")
