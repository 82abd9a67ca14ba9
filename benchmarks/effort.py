"""How much the benchmark of the toy search does of everything."""

from __future__ import annotations

from dataclasses import dataclass

from dnnlikelihood.curriculum import LearnConfig
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig

__all__ = ["FULL", "SMOKE", "Effort"]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much of everything."""

    learn: LearnConfig
    n_test: int = 20_000
    ess: float = 1e6
    """Effective draws from the surrogate for its HPDIs."""
    chains: int = 256
    steps: int = 2000
    warmup: int = 300
    speed_steps: int = 800
    walkers: int = 1000
    """Of emcee, as in the paper."""
    stretch_steps: int = 80_000
    stretch_warmup: int = 10_000
    stretch_thin: int = 100
    stretch_least: float = 50.0
    """Autocorrelation times that the stretch move must run for."""
    plain_steps: int = 40
    batches: int = 50
    simplified_draws: int = 400_000
    simplified_ess: float = 1e5


FULL = Effort(learn=LearnConfig.preset("full"))
SMOKE = Effort(
    learn=LearnConfig(
        n_posterior=3000,
        n_broadened=3000,
        n_profile=500,
        n_displaced=500,
        n_slices=500,
        n_test=3000,
        n_chains=100,
        model=DnnLikConfig(
            network=NetworkConfig(widths=(32, 32), n_members=2), training=TrainingConfig(n_epochs=3, batch_size=128)
        ),
    ),
    n_test=500,
    ess=2000,
    chains=64,
    steps=250,
    warmup=200,
    speed_steps=200,
    walkers=200,
    stretch_steps=600,
    stretch_warmup=200,
    stretch_thin=10,
    stretch_least=0.0,
    plain_steps=3,
    batches=3,
    simplified_draws=20_000,
    simplified_ess=2000,
)
