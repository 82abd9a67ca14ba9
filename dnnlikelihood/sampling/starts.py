"""Where chains start: draws of the prior, or given points, checked before anything moves."""

from __future__ import annotations

import numpy as np

from ..errors import ConfigError, DomainError, LikelihoodError
from ..protocols import LogDensity

__all__ = ["check_start", "from_prior"]

ROUNDS = 100


def from_prior(density: LogDensity, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, d) draws of the prior inside the support; uniform in the bounds where a parameter has no prior.

    Raises:
        ConfigError: a parameter without prior and without finite bounds.
        LikelihoodError: hardly any draw is inside the support.
    """
    space = density.parameters
    prior = density.prior.columns(space)
    low, high = np.maximum(space.lower, prior.low), np.minimum(space.upper, prior.high)
    normal = prior.precision > 0
    lost = [space.names[i] for i in np.flatnonzero(~normal & ~np.isfinite(high - low))]
    if lost:
        more = f" and {len(lost) - 8} more" if len(lost) > 8 else ""
        raise ConfigError(f"nowhere to start {lost[:8]}{more}: give them a prior or finite bounds, or give `start`")
    sigma = np.where(normal, prior.precision, 1.0) ** -0.5
    low, high = np.where(normal, 0.0, low), np.where(normal, 1.0, high)
    found = np.empty((0, len(space)))
    for _ in range(ROUNDS):
        uniform, gauss = rng.uniform(low, high, (n, len(space))), rng.normal(prior.mean, sigma, (n, len(space)))
        theta = np.where(normal, gauss, uniform)
        found = np.concatenate([found, theta[density.support(theta)]])
        if len(found) >= n:
            return found[:n]
    raise LikelihoodError(
        f"only {len(found)} of {ROUNDS * n} draws of the prior have a finite logpdf (the first is -inf); "
        f"check the likelihood, or give `start`. First draw: {_point(density, theta[0])}"
    )


def check_start(density: LogDensity, theta: np.ndarray) -> np.ndarray:
    """(n,) logpdf of starting points, all finite.

    Raises:
        DomainError: points outside the bounds; lists the parameters.
        LikelihoodError: NaN, +inf or -inf at a point; names it.
    """
    space = density.parameters
    prior = density.prior.columns(space)
    low, high = np.maximum(space.lower, prior.low), np.minimum(space.upper, prior.high)
    outside = ~((theta >= low) & (theta <= high))
    if outside.any():
        columns = np.flatnonzero(outside.any(axis=0))
        what = ", ".join(f"{space.names[i]} outside [{low[i]:g}, {high[i]:g}]" for i in columns[:8])
        rows = np.flatnonzero(outside.any(axis=1))
        raise DomainError(f"{len(rows)} of {len(theta)} starting points (the first is {rows[0]}) have {what}")
    logpdf = density.logpdf(theta)
    impossible = np.flatnonzero(np.isneginf(logpdf))
    if len(impossible):
        i = impossible[0]
        raise LikelihoodError(
            f"logpdf is -inf at {len(impossible)} of {len(theta)} starting points, where a chain cannot start; the "
            f"first is {i}: {_point(density, theta[i])}"
        )
    return logpdf


def _point(density: LogDensity, theta: np.ndarray) -> str:
    pairs = list(zip(density.parameters.names, theta, strict=True))
    return ", ".join(f"{name}={value:.6g}" for name, value in pairs[:8]) + (", ..." if len(pairs) > 8 else "")
