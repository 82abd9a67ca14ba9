r"""The metric tables of arXiv:1911.03305, its recipe run again beside its numbers and beside this package's recipe.

    B1 B2 B3   trained on S1, the unbiased sample, with 1, 2 and 5 x 1e5 points        F1 F2 F3   on S3, the mixture

Each network has n training, n/2 validation and n/2 test points of its own sampling. With y = logpdf, r = network - y
and s the standard deviation of y over the training points:

    MSE = mean r^2 / s^2          ME = |mean r| / s          (the paper's units; nats where it says so)
    KS  = median over the parameters of the p-value of two samples; "pred" ones are weighted by exp(r)

The paper's networks were the best of several of 2 x 5000 units; here they are the best by validation of `n_members` of
`width` units, and all of them averaged ("stacked") if there are several. S1 is drawn by Hamiltonian Monte Carlo: the
distribution is that of the paper's sampling, which takes 1e9 evaluations for as many independent points
(`SamplerConfig.paper_s1` as `s1`).
Every run is kept in the folder: a killed comparison goes on where it stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from . import reference
from .config import Config, require
from .curriculum import LearnConfig, training_data
from .data import Data, DataConfig
from .dnnlik import DnnLik, DnnLikConfig
from .errors import ConfigError, StaleArtifact
from .inference import Inference
from .jsonfiles import canonical, pretty, read_json, strict_loads
from .likelihood import Likelihood
from .metrics import LEVELS, SETS, Comparison, MetricTable
from .parameters import ParameterSpace
from .results import Samples
from .sampler import Sampler, SamplerConfig
from .sampling.designs import s3_mixture
from .store import lock, write_text

__all__ = ["CompareConfig", "Comparison", "MetricTable", "compare"]

logger = logging.getLogger(__name__)
CHUNK = 20_000
Points = tuple[np.ndarray, np.ndarray]
"""theta (n, d) and logpdf (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig(Config):
    """How much of everything; the defaults are the paper's, but for the width, and take many hours on a CPU."""

    sizes: tuple[int, ...] = (100_000, 200_000, 500_000)
    """Training points of B1, B2, ... and of F1, F2, ..."""
    width: int = 500
    n_members: int = 5
    n_epochs: int = 400
    s1: SamplerConfig = field(default_factory=lambda: SamplerConfig(n_chains=1000, n_steps=1500))
    s2: SamplerConfig = field(default_factory=lambda: SamplerConfig.paper_s2(n_steps=5000, thin=20))
    resampling: SamplerConfig = field(default_factory=lambda: SamplerConfig(start="given"))
    """Of the networks, for their HPDIs."""
    ours: LearnConfig = field(default_factory=LearnConfig)
    """This package's recipe: the column it is compared in."""
    seed: int = 1

    def validate(self) -> None:
        """Sizes ascend, and S1 is large enough for the largest."""
        sizes = self.sizes
        ascend = list(sizes) == sorted(set(sizes)) and 1 <= len(sizes) <= 3 and sizes[0] >= 100
        require(ascend, f"sizes {sizes} must be one to three ascending numbers, at least 100")
        for name in ("width", "n_members", "n_epochs"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, must be at least 1")
        drawn = self.s1.n_steps * self.s1.n_chains
        require(drawn >= 2 * sizes[-1], f"S1 gives {drawn} points, {sizes[-1]} training points need {2 * sizes[-1]}")
        require(self.resampling.start == "given", "resampling starts from points of S1: start='given'")

    @property
    def networks(self) -> dict[str, int]:
        """{"B1": its training points, ..., "F1": ...}."""
        return {f"{kind}{i}": n for kind in "BF" for i, n in enumerate(self.sizes, 1)}


def compare(
    folder: str | Path,
    config: CompareConfig | None = None,
    *,
    only: Sequence[str] | None = None,
    progress: bool = True,
) -> Comparison:
    """Run what is missing, and put together what is there.

    Args:
        folder: where samplings, trainings and results are kept; `comparison.md` is written after every run.
        config: how much of everything.
        only: the runs to do now ("B1", ..., "F3", "ours"); all if None.
        progress: show bars on a terminal.

    Raises:
        StaleArtifact: the folder holds a comparison of another configuration.
        Locked: another process works in it.
        ConfigError: a run that this configuration does not have.
    """
    config, folder = config or CompareConfig(), Path(folder)
    known = [*config.networks, "ours"]
    wanted = known if only is None else list(only)
    unknown = [name for name in wanted if name not in known]
    require(not unknown, f"no runs {unknown}; there are {known}")
    with lock(folder):
        _claim(folder, config)
        work = _Work(folder, config, progress=progress)
        for name in known:
            if name in wanted and not _result(folder, name).exists():
                logger.info("comparison: %s", name)
                write_text(_result(folder, name), pretty(work.ours() if name == "ours" else work.network(name)))
                write_text(folder / "comparison.md", read_comparison(folder, config).markdown())
    return read_comparison(folder, config)


def read_comparison(folder: Path, config: CompareConfig) -> Comparison:
    """The results that a folder holds; nothing is run."""
    names = [name for name in [*config.networks, "ours"] if _result(folder, name).exists()]
    return Comparison({name: read_json(_result(folder, name)) for name in names})


def _result(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _claim(folder: Path, config: CompareConfig) -> None:
    """Write down what the folder is for, or refuse one that is for something else."""
    path, wanted = folder / "config.json", strict_loads(canonical(config.to_json()))
    if path.exists():
        if read_json(path) != wanted:
            raise StaleArtifact(f"{folder} holds a comparison of another configuration; choose another folder")
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise StaleArtifact(f"{folder} is not empty and holds no comparison; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, pretty(wanted))


class _Work:
    """The stages of a comparison; samplings are read from the folder or drawn into it."""

    def __init__(self, folder: Path, config: CompareConfig, *, progress: bool) -> None:
        self.folder, self.config, self.progress = folder, config, progress
        self.likelihood = Likelihood.from_source("toy_lhc")
        self.doubts: list[str] = []

    @cached_property
    def s1(self) -> Points:
        """The unbiased sample, shuffled, no point twice."""
        samples = Sampler(self.likelihood, self.config.s1).run(self.folder / "S1", progress=self.progress)
        self.doubts = [f"S1 not converged: {reason}" for reason in samples.verdict.reasons]
        return _shuffled(samples, self.config.seed)

    @cached_property
    def s2(self) -> Points:
        """The sample about the profile, started at profiled maxima with mu uniform in (-1, 1)."""
        c = self.config
        mu = np.sort(np.random.default_rng(c.seed + 1).uniform(-1.0, 1.0, c.s2.n_chains))
        scan = Inference(self.likelihood).profile("mu", mu, progress=self.progress)
        samples = Sampler(self.likelihood, c.s2).run(self.folder / "S2", start=scan.theta, progress=self.progress)
        return _shuffled(samples, c.seed + 1)

    def data(self, name: str) -> Data:
        """The 2 n points of a network, dealt into train, validation and test."""
        n, seed = self.config.networks[name], self.config.seed + 2
        # The paper's networks know nothing of kinks: fits of theirs need not look into every cell between them.
        space = ParameterSpace(tuple(replace(p, kinks=()) for p in self.likelihood.parameters))
        if name.startswith("B"):
            theta, logpdf = (a[: 2 * n] for a in self.s1)
            if len(theta) < 2 * n:
                raise ConfigError(f"S1 has {len(theta)} distinct points, {name} needs {2 * n}: more s1.n_steps or thin")
        else:
            mixture = s3_mixture(self.s1, self.s2, 2 * n, np.random.default_rng(seed))
            theta, logpdf = mixture.theta, mixture.logpdf
        deal = DataConfig(fractions=(0.5, 0.25, 0.25), seed=seed)
        about: dict[str, Any] = {"prior": self.likelihood.prior, "density_kind": self.likelihood.kind, "config": deal}
        return Data.from_arrays(space, theta, logpdf, parents=(self.likelihood.fingerprint,), **about)

    def network(self, name: str) -> dict[str, Any]:
        """Train the paper's recipe and ask the best member and all of them."""
        c, data = self.config, self.data(name)
        recipe = DnnLikConfig.paper(c.networks[name], c.width, c.n_epochs, c.n_members)
        model, seconds = self._fit(name, data, recipe)
        sets = {s: (data.theta(s), data.logpdf(s)) for s in SETS}  # type: ignore[arg-type]
        return self._ask(model, sets, seconds, data.counts["train"])

    def ours(self) -> dict[str, Any]:
        """The same questions to this package's recipe, on unbiased points: of its own, and of S1 for the test."""
        data = training_data(self.likelihood, self.config.ours, self.folder / "ours", progress=self.progress).data
        model, seconds = self._fit("ours", data, self.config.ours.model)
        theta, logpdf = self.s1
        some = slice(0, max(self.config.sizes[0] // 2, 1))
        sets: dict[str, Points] = {"test": (theta[some], logpdf[some])}
        for name in ("train", "validation"):
            unbiased = data.kinds(name) == "posterior"
            sets[name] = data.theta(name)[unbiased], data.logpdf(name)[unbiased]
        return self._ask(model, sets, seconds, data.counts["train"])

    def _fit(self, name: str, data: Data, recipe: DnnLikConfig) -> tuple[DnnLik, float | None]:
        """A trained ensemble, and the CPU seconds it took: None if a killed training was continued."""
        folder, start = self.folder / f"{name}_training", time.process_time()
        resumed = folder.exists()
        model = DnnLik.fit(data, recipe, folder=folder, progress=self.progress)
        return model, None if resumed else time.process_time() - start

    def _ask(self, model: DnnLik, sets: Mapping[str, Points], seconds: float | None, n_train: int) -> dict[str, Any]:
        start = self.s1[0][: 100 * self.config.resampling.n_chains]
        out = {}
        variants = {"best": model.member()} | ({"stacked": model} if len(model.ensemble.members) > 1 else {})
        for variant, density in variants.items():
            asked = _answers_to(_posterior(density, self.config.resampling, start))
            errors = {name: _answers(density, theta) - logpdf for name, (theta, logpdf) in sets.items()}
            asked |= _fit_metrics(errors, sets) | _ks_metrics(errors, sets)
            asked["predict_us"] = _microseconds(density, sets["test"][0])
            asked["n_train"], asked["train_seconds"] = n_train, seconds
            asked["epochs"] = max(len(h["val_loss"]) for h in density.history)
            asked["parameters"] = density.ensemble.members[0].n_weights
            asked["warnings"] = self.doubts + asked["warnings"]
            out[variant] = asked
        return out


def _shuffled(samples: Samples, seed: int) -> Points:
    """Points with their labels in random order, each once: where two have the same label, one is a rejected step."""
    _, first = np.unique(samples.flat_logpdf, return_index=True)
    order = np.random.default_rng(seed).permutation(first)
    return samples.theta[order], samples.flat_logpdf[order]


def _answers(model: DnnLik, theta: np.ndarray) -> np.ndarray:
    """(n,) the ensemble's mean, everywhere."""
    parts = [model.members_logpdf(theta[i : i + CHUNK]).mean(axis=1) for i in range(0, len(theta), CHUNK)]
    return np.concatenate(parts)


def _fit_metrics(errors: Mapping[str, np.ndarray], sets: Mapping[str, Points]) -> dict[str, float]:
    scale = float(sets["train"][1].std())
    out = {f"mse_{name}": float(np.mean(r**2)) / scale**2 for name, r in errors.items()}
    out |= {f"me_{name}": abs(float(r.mean())) / scale for name, r in errors.items()}
    r = errors["test"]
    return out | {"mse_test_nats": float(np.mean(r**2)), "mae_test_nats": float(np.abs(r).mean())}


def _microseconds(model: DnnLik, theta: np.ndarray) -> float:
    """Wall time of a prediction, in a batch of 1e4."""
    batch = np.resize(theta, (10_000, theta.shape[1]))
    model.logpdf(batch)
    start = time.perf_counter()
    model.logpdf(batch)
    return 1e6 * (time.perf_counter() - start) / len(batch)


def _ks_metrics(errors: Mapping[str, np.ndarray], sets: Mapping[str, Points]) -> dict[str, float]:
    """Median p-values over the parameters; the reweighted sample counts with Kish's effective size."""
    from .statistics.weighted import ks_two_sample

    weights = {name: np.exp(r - r.max()) for name, r in errors.items()}

    def median(one: str, other: str, weight: np.ndarray | None) -> float:
        x, y = sets[one][0], sets[other][0]
        return float(np.median([ks_two_sample(x[:, i], y[:, i], None, weight)[1] for i in range(x.shape[1])]))

    pairs = (("test", "train"), ("test", "validation"), ("validation", "test"))
    out = {f"ks_{a}_pred_{b}": median(a, b, weights[b]) for a, b in pairs}
    return out | {"ks_train_test": median("train", "test", None)}


def _posterior(model: DnnLik, config: SamplerConfig, points: np.ndarray) -> Inference:
    """Samples of the network, begun at points of S1 in its domain."""
    start = points[model.support(points)][: config.n_chains]
    return Inference(model, Sampler(model, config).run(start=start, progress=False))


def _answers_to(inference: Inference) -> dict[str, Any]:
    """Upper edges of the HPDIs of mu > 0, and t_mu from the network's own maximum against the exact one."""
    out: dict[str, Any] = {f"hpdi_{v:g}": inference.hpdi("mu", v, lower=0.0).intervals[-1].high for v in LEVELS}
    exact, maximum = reference.tmu("toy_lhc"), reference.maximum("toy_lhc")
    mu = np.array(sorted(exact))
    scan = inference.tmu("mu", mu, progress=False)
    bad = ~np.isin(scan.status, ("converged", "stalled")) | ~np.isfinite(scan.tmu)
    out["tmu"] = [None if b else float(t) for t, b in zip(scan.tmu, bad, strict=True)]
    out["tmu_mean_error"] = None if bad.any() else float(np.abs(scan.tmu - [exact[m] for m in mu]).mean())
    out["maximum_error"] = abs(float(scan.bestfit.value[0]) - (maximum or 0.0))
    doubts = [f"sampling not converged: {reason}" for reason in inference.samples.verdict.reasons]
    doubts += (
        [f"fits at mu = {mu[bad].tolist()} ended as {sorted(set(scan.status[bad].tolist()))}"] if bad.any() else []
    )
    return out | {"warnings": doubts}
