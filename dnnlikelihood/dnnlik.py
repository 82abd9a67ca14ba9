"""`DnnLik`: a trained ensemble of networks that is itself a log-density."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from .config import Config, require
from .ensemble import Ensemble
from .errors import ConfigError
from .jsonfiles import canonical, fingerprint, pretty, read_json
from .networks.config import NetworkConfig, TrainingConfig
from .parameters import ParameterSpace
from .priors import Prior
from .protocols import Kind, LogDensity
from .runlog import RunLog
from .store import Artifact, check_manifest, lock
from .tracing import TracedDensity

if TYPE_CHECKING:
    from .data import Data
    from .likelihood import Likelihood

__all__ = ["DnnLik", "DnnLikConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DnnLikConfig(Config):
    """What is learned and how.

    `DnnLikConfig()` is the recipe to use: standardised parameters and their kinks as features, a quadratic baseline
    carried exactly, networks for the residual, gradient labels in the loss. `DnnLikConfig.paper(n)` is the recipe of
    arXiv:1911.03305: raw parameters, standardised target, no baseline, no gradients.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    standardise: bool = True
    """Whether features are standardised parameters."""
    baseline: Literal["quadratic", "constant"] = "quadratic"
    scale_output: bool = False
    """Whether the network's target is divided by the standard deviation of logpdf."""

    def validate(self) -> None:
        """A known baseline."""
        require(self.baseline in ("quadratic", "constant"), f"baseline {self.baseline!r} is not quadratic or constant")

    @classmethod
    def paper(cls, n_train: int, width: int = 500, n_epochs: int = 400, n_members: int = 5) -> Self:
        """The recipe of arXiv:1911.03305 at a training size; batch = power of two next to n / 200."""
        training = TrainingConfig(
            n_epochs=n_epochs,
            batch_size=2 ** max(3, round(float(np.log2(max(n_train, 1600) / 200)))),
            learning_rate=1e-3,
            schedule="plateau",
            averaging=0.0,
            gradient_weight=0.0,
            huber=None,
            plateau_min_delta=1.0 / n_train,
            min_learning_rate=8e-5,
        )
        network = NetworkConfig(
            widths=(width, width), activation="selu", n_members=n_members, bias_scale=0.0, zero_output=False
        )
        return cls(network=network, training=training, standardise=False, baseline="constant", scale_output=True)


class DnnLik(LogDensity, Artifact):
    """A surrogate likelihood. Made by `fit`, kept by `save`, published by `export`.

    Its `logpdf` is the mean of the members inside the domain in which it was trained, and -inf outside; `spread` is
    their standard deviation, `error` the calibrated half-width of a 90 % band, `in_domain` says where a point is.
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
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Train an ensemble on the train split of `data`, watched and calibrated on its validation split.

        Args:
            data: labelled points; their gradients are used if there are any.
            config: the recipe.
            folder: where checkpoints are kept; training killed at any moment continues from there to the identical
                result. None keeps none.
            progress: show a bar on a terminal.

        Raises:
            TrainingError: data that cannot be learned from, or a loss that diverged.
            StaleArtifact: `folder` holds the checkpoints of another training.
            Locked: another process trains in `folder`.
        """
        from .networks.fit import Labelled, fit_ensemble

        config = config or DnnLikConfig()
        identity = fingerprint([config.to_json(), data.fingerprint])

        def rows(split: Literal["train", "validation"]) -> Labelled:
            gradient = data.gradient(split) if data.has_gradient and config.training.gradient_weight > 0 else None
            weight = data.weights(split) if config.training.weighted else np.ones(data.counts[split])
            return Labelled(data.theta(split), data.logpdf(split), gradient, weight)

        def fit() -> tuple[Ensemble, list[dict[str, list[float]]]]:
            return fit_ensemble(
                data.parameters,
                rows("train"),
                rows("validation"),
                config.network,
                config.training,
                standardise=config.standardise,
                quadratic=config.baseline == "quadratic",
                scale_output=config.scale_output,
                checkpoints=None if folder is None else Path(folder),
                identity=identity,
                progress=progress,
            )

        cpu, wall = time.process_time(), time.perf_counter()
        if folder is None:
            ensemble, history = fit()
        else:
            with lock(Path(folder)):
                Path(folder).mkdir(parents=True, exist_ok=True)
                ensemble, history = fit()
        dnnlik = cls(
            ensemble,
            data.parameters,
            data.prior,
            data.density_kind,
            config,
            history,
            tuple(dict.fromkeys([data.fingerprint, *data.parents])),
        )
        dnnlik.log.record(
            "trained",
            id=dnnlik.fingerprint,
            parents=dnnlik.parents,
            seconds=time.perf_counter() - wall,
            seed=config.training.seed,
            numbers={
                "cpu_seconds": time.process_time() - cpu,
                "n_train": data.counts["train"],
                "weights_per_member": ensemble.members[0].n_weights,
                "validation_rmse": [float(h["val_loss"][-1]) ** 0.5 * ensemble.output_scale for h in history],
                "epochs": [len(h["val_loss"]) for h in history],
            },
        )
        return dnnlik

    # The density -----------------------------------------------------------------------------------------------------

    rounding = 1e-5

    @cached_property
    def _traced(self) -> TracedDensity:
        prior = self.prior.columns(self.parameters)
        trace = self._trace()
        return TracedDensity(lambda theta: trace(theta) - prior.smooth(theta), self.parameters, self.prior, self.kind)

    def known_point(self) -> np.ndarray:
        """(d,) the middle of the training points."""
        return self.ensemble.domain.center

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        """A surrogate knows nothing outside its domain: there its support ends."""
        return self.ensemble.domain(theta)

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._traced._logpdf(theta)

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._traced._logpdf_and_grad(theta)

    def _logpdf_grad_hess(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._traced._logpdf_grad_hess(theta)

    def _trace(self) -> Callable[[Any], Any]:
        from .networks.forward import guarded

        return guarded(self.ensemble)

    # What a surrogate knows about itself -----------------------------------------------------------------------------

    def members_logpdf(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n, K) every member's answer."""
        return self.ensemble.members_logpdf(self.points(theta))

    def spread(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) standard deviation of the members, nats."""
        return self.members_logpdf(theta).std(axis=1)

    def error(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) half-width of the calibrated 90 % band, nats; infinite outside the domain."""
        answers = self.members_logpdf(theta)
        band = self.ensemble.calibration.error(answers.mean(axis=1), answers.std(axis=1))
        return np.where(self.in_domain(theta), band, np.inf)

    def in_domain(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) bool: inside the box and the ellipsoid of the training points."""
        return self.ensemble.domain(self.points(theta))

    def member(self, k: int | None = None) -> DnnLik:
        """One member as a surrogate of its own; the best on the validation rows if `k` is None."""
        if k is None:
            k = int(np.argmin([min(h["val_loss"]) for h in self.history]))
        if not 0 <= k < len(self.ensemble.members):
            raise ConfigError(f"member {k} of an ensemble of {len(self.ensemble.members)}")
        alone = DnnLik(
            replace(self.ensemble, members=(self.ensemble.members[k],)),
            self.parameters,
            self.prior,
            self.kind,
            self.config.replace(network=self.config.network.replace(n_members=1)),
            self.history[k : k + 1],
            self.parents,
        )
        alone.log = self.log
        return alone

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
            points: theta (n, d) and exact logpdf (n,), n >= 100, kept as the reference every runtime is held against.
            likelihood: what was learned, if it can be rebuilt from a recipe.
            licence: SPDX identifier.
            authors: {"name", "orcid", "affiliation"} each.
            overwrite: replace what is there.
            plots: images for the model card.
            **about: further fields of `PublishedMetadata`: accuracy, coverage, references, limits, profiled, ...

        Raises:
            IntegrityError: an exported file disagrees with this ensemble; nothing is published.
        """
        from .export.publish import PublishedMetadata, Reference, publish

        theta, exact = points
        recipe: dict[str, Any] = {}
        if likelihood is not None:
            recipe = {"recipe": likelihood.recipe, "source_fingerprint": likelihood.fingerprint}
        if likelihood is not None and likelihood.source is not None:
            recipe["source_reference"] = likelihood.source.reference
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
            **recipe,
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
