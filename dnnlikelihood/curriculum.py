r"""What a surrogate learns from: points of five kinds, for a parameter of interest mu (posterior mean m, width s).

    posterior   HMC at temperature 1: where Bayesian answers come from
    broadened   HMC on logpdf + (strength / 2) ((mu - m) / s)^2: the tails of the posterior of mu
    profile     scattered about the exact profile over mu: where frequentist answers come from, far from all samples
    displaced   points of the profile with a few parameters moved far
    slices      likewise, but only parameters of interest and those with kinks, which are least like Gaussians

In 95 dimensions no posterior sample comes within 20 nats of the maximum, so no kind can stand for another: each is
learned from, and each has a say in the calibration of the error. Every stage is kept in the folder, and a run that was
killed continues where it stopped.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from .chains import draw, has_proper_prior
from .config import Config, require
from .data import Data, DataConfig
from .dnnlik import DnnLikConfig
from .errors import NotConverged
from .likelihood import Likelihood
from .networks.config import NetworkConfig, TrainingConfig
from .protocols import LogDensity
from .results import ProfileScan, Samples
from .sampler import Sampler, SamplerConfig
from .sampling.designs import around, broadened, displaced
from .statistics.profile import maximum, profile

__all__ = ["LearnConfig", "Lesson", "learn_points", "training_data", "unseen_data", "unseen_slices"]

logger = logging.getLogger(__name__)
KINDS = ("posterior", "broadened", "profile", "displaced", "slices")
VALIDATION_SHARE = 0.06
"""Of all training points: as many calibrate the error, the same number of each kind."""
REACH, MOST = 3.0, 5
"""Posterior widths by which parameters are displaced at most, and how many of them."""
LEAST_STEPS = 600
"""Shorter chains cannot show that they agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnConfig(Config):
    """How much of everything.

    `preset("quick")` trains in half a CPU-minute and is good to 0.05 nats on the toy search; `preset("full")`, the
    default, takes a few CPU-minutes and is good to 0.02.
    """

    n_posterior: int = 50_000
    n_broadened: int = 20_000
    n_profile: int = 20_000
    n_displaced: int = 5_000
    n_slices: int = 5_000
    n_test: int = 20_000
    strength: float = 0.75
    profile_reach: float = 6.0
    """The profile is taken from m - reach s to m + reach s, within the bounds."""
    profile_width: float = 0.6
    """Largest scatter about the profile, in posterior widths."""
    model: DnnLikConfig = field(default_factory=DnnLikConfig)
    n_chains: int = 256
    n_inference: int = 2_000_000
    """Draws from the surrogate."""
    seed: int = 1

    def validate(self) -> None:
        """Positive counts."""
        for name in (*(f"n_{kind}" for kind in KINDS), "n_test", "n_inference"):
            require(getattr(self, name) >= 100, f"{name} is {getattr(self, name)}, must be at least 100")
        require(self.n_chains >= 16, f"n_chains is {self.n_chains}, must be at least 16")
        require(0 <= self.strength < 1, f"strength is {self.strength}, must be in [0, 1)")

    @property
    def amounts(self) -> dict[str, int]:
        """Training points of each kind."""
        return {kind: getattr(self, f"n_{kind}") for kind in KINDS}

    @property
    def n_validation(self) -> int:
        """Points of each kind, on which the error is calibrated."""
        return round(VALIDATION_SHARE * sum(self.amounts.values()) / len(self.amounts))

    @classmethod
    def preset(cls, name: str) -> Self:
        """The preset of that name.

        Raises:
            ConfigError: neither "quick" nor "full".
        """
        require(name in ("quick", "full"), f"preset {name!r} is neither 'quick' nor 'full'")
        if name == "full":
            return cls()
        training = TrainingConfig(n_epochs=12, batch_size=128)
        return cls(
            n_posterior=14_000,
            n_broadened=7_000,
            n_profile=6_000,
            n_displaced=1_500,
            n_slices=1_500,
            n_test=10_000,
            n_inference=200_000,
            model=DnnLikConfig(network=NetworkConfig(n_members=2), training=training),
        )


@dataclass(frozen=True)
class Lesson:
    """What the truth gave: points, their profile, and what they cost."""

    data: Data
    samples: Samples
    """Of the posterior, training part."""
    profile: ProfileScan
    """Of the truth over the POI."""
    cpu_seconds: dict[str, float]


class _Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def measure(self, stage: str, start: float) -> float:
        now = time.process_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - start
        return now


def _sample(
    density: LogDensity,
    n: int,
    config: LearnConfig,
    seed: int,
    folder: Path | None,
    *,
    progress: bool,
) -> Samples:
    """At least `n` draws by HMC.

    Chains that do not agree yet are made longer, once.

    Raises:
        NotConverged: they still do not; the verdict is attached.
    """
    steps = max(LEAST_STEPS, -(-n // config.n_chains))
    chains = max(16, -(-n // steps))
    start = None if has_proper_prior(density) else maximum(density).theta
    for longer in (1, 3):
        settings: dict[str, Any] = {"n_chains": chains, "n_steps": longer * steps, "n_warmup": 300, "seed": seed}
        samples = draw(density, "hmc", folder, around=start, progress=progress, **settings)
        if samples.verdict.converged:
            return samples
        logger.info("HMC goes on: %s", "; ".join(samples.verdict.reasons))
    raise NotConverged(f"HMC did not converge: {'; '.join(samples.verdict.reasons)}", samples.verdict)


def _spread_out(
    density: LogDensity, n: int, config: LearnConfig, folder: Path | None, near: np.ndarray, *, progress: bool
) -> Samples:
    """At least `n` draws by HMC, from chains that start at random rows of `near`.

    They are points to learn from, not a sample to integrate over: chains that do not agree are no fault here.
    """
    steps = -(-n // config.n_chains)
    settings = SamplerConfig(
        n_chains=config.n_chains, n_steps=max(steps, 50), n_warmup=200, seed=config.seed + 1, start="given"
    )
    rng = np.random.default_rng(config.seed + 1)
    rows = rng.choice(np.flatnonzero(density.support(near)), config.n_chains)
    jitter = 1e-3 * rng.normal(size=(config.n_chains, near.shape[1])) * near.std(axis=0)
    start = near[rows] + jitter
    start = np.where(density.support(start)[:, None], start, near[rows])
    return Sampler(density, settings).run(folder, start=start, must_converge=False, progress=progress)


def _distinct(samples: Samples, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, d) of the draws at random, none twice (a rejected step repeats one)."""
    return rng.permutation(np.unique(samples.theta, axis=0))[:n]


def _covariance(posterior: Samples) -> np.ndarray:
    """(d, d)."""
    return np.cov(posterior.theta[:: max(1, len(posterior.theta) // 20_000)].T)


def _on_profile(scan: ProfileScan) -> np.ndarray:
    """(k, d) where the fits of the profile ended, and the maximum."""
    return np.concatenate([scan.theta[scan.status == "converged"], scan.bestfit.theta])


def _displaced(
    likelihood: Likelihood,
    posterior: Samples,
    scan: ProfileScan,
    n: int,
    rng: np.random.Generator,
    *,
    slices: bool = False,
) -> np.ndarray:
    """(n, d) points of the profile with a few parameters moved; fewer if less than half of them are in the support."""
    reach = REACH * np.sqrt(np.diag(np.atleast_2d(_covariance(posterior))))
    if slices:
        reach *= [p.role == "poi" or bool(p.kinks) for p in likelihood.parameters]
    moved = displaced(_on_profile(scan), reach, min(MOST, int(np.count_nonzero(reach))), 2 * n, rng)
    return moved[likelihood.support(moved)][:n]


def learn_points(
    likelihood: Likelihood, config: LearnConfig, folder: Path | None = None, *, progress: bool = True
) -> tuple[dict[str, np.ndarray], Samples, ProfileScan, dict[str, float]]:
    """Training points by kind, the posterior samples, the truth's profile, and CPU seconds by stage."""
    space, poi = likelihood.parameters, likelihood.parameters.pois[0]
    column = space.index(poi)
    rng = np.random.default_rng(config.seed)
    clock, mark = _Clock(), time.process_time()

    def where(name: str) -> Path | None:
        return None if folder is None else folder / name

    total = {kind: n + config.n_validation for kind, n in config.amounts.items()}
    posterior = _sample(likelihood, 2 * total["posterior"], config, config.seed, where("samples"), progress=progress)
    mark = clock.measure("sampling", mark)
    center, sigma = float(posterior.column(poi).mean()), float(posterior.column(poi).std())
    wide = broadened(likelihood, poi, center, sigma, config.strength, config.profile_reach)
    near = posterior.theta[:: max(1, len(posterior.theta) // 10_000)]
    wider = _spread_out(wide, 2 * total["broadened"], config, where("broadened"), near, progress=progress)
    mark = clock.measure("sampling", mark)

    ranges = likelihood.prior.columns(space)
    low = max(center - config.profile_reach * sigma, space.lower[column], ranges.low[column])
    high = min(center + config.profile_reach * sigma, space.upper[column], ranges.high[column])
    grid = np.linspace(low, high, 82)[1:-1]
    scan = profile(likelihood, poi, grid, bestfit=maximum(likelihood), progress=progress)
    mark = clock.measure("profiling", mark)
    exact = _on_profile(scan)
    covariance = _covariance(posterior)
    scattered = around(exact, covariance, (0.0, config.profile_width), round(1.05 * total["profile"]), rng)
    points = {
        "posterior": _distinct(posterior, total["posterior"], rng),
        "broadened": _distinct(wider, total["broadened"], rng),
        "profile": scattered[likelihood.support(scattered)][: total["profile"]],
        "displaced": _displaced(likelihood, posterior, scan, total["displaced"], rng),
        "slices": _displaced(likelihood, posterior, scan, total["slices"], rng, slices=True),
    }
    clock.measure("profiling", mark)
    return points, posterior, scan, clock.seconds


def training_data(
    likelihood: Likelihood, config: LearnConfig, folder: Path | None = None, *, progress: bool = True
) -> Lesson:
    """Sample, profile and label: everything a DnnLik learns from, and nothing it will be tested on.

    Args:
        likelihood: the truth, with a gradient and at least one POI.
        config: how many points of each kind.
        folder: where samples and rows are kept; a killed run continues there.
        progress: show bars on a terminal.
    """
    points, samples, scan, seconds = learn_points(likelihood, config, folder, progress=progress)
    mark, parts = time.process_time(), []
    for kind, theta in points.items():
        split = np.where(np.arange(len(theta)) < config.n_validation, "validation", "train")
        where = None if folder is None else folder / f"rows_{kind}"
        parts.append(
            Data.label(likelihood, theta, folder=where, progress=progress, split=split, kind=kind, drop_duplicates=True)
        )
    data = Data.concatenate(parts, drop_duplicates=True)
    seconds["labelling"] = time.process_time() - mark
    return Lesson(data, samples, scan, seconds)


def unseen_slices(likelihood: Likelihood, lesson: Lesson, config: LearnConfig) -> tuple[np.ndarray, np.ndarray]:
    """(n, d), (n,) such slices as nobody trained on, a tenth as many as posterior points, and their log-densities."""
    rng = np.random.default_rng(config.seed + 1000)
    theta = _displaced(likelihood, lesson.samples, lesson.profile, config.n_test // 10, rng, slices=True)
    exact = likelihood.logpdf(theta)
    return theta[np.isfinite(exact)], exact[np.isfinite(exact)]


def unseen_data(likelihood: Likelihood, config: LearnConfig, *, progress: bool = True) -> tuple[Data, Samples]:
    """Unbiased points nobody trained on: HMC from a seed used nowhere else."""
    samples = _sample(likelihood, 2 * config.n_test, config, config.seed + 1000, None, progress=progress)
    rng = np.random.default_rng(config.seed + 1000)
    theta = _distinct(samples, config.n_test, rng)
    deal = DataConfig(fractions=(0.0, 0.0, 1.0))
    return Data.label(likelihood, theta, split="test", kind="posterior", config=deal, progress=progress), samples
