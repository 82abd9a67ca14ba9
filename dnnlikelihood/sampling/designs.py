"""Where to evaluate a log-density in order to learn it: training points as pure functions, without labels.

A sample of the density itself (S1 of arXiv:1911.03305) never comes near its maximum in many dimensions: the typical
set lies d/2 nats below. What a surrogate is asked about at the maximum and along the profile has to be put in by hand:

    tempered     p^(1/T): T < 1 shrinks the sample by sqrt(T) towards the maximum, T > 1 spreads it
    broadened    a density made flatter in one parameter, to be sampled or tempered like any other
    around       Gaussian scatter of random width about given points, such as a profile
    displaced    given points with a few parameters moved far: slices, as people draw them
    sobol        an even cover of a box, for few parameters
    s3_mixture   the paper's own: 70 % S1, all of S2 near the maximum, the rest of S2 to fill
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..composition import Composite, Quadratic, Term
from ..errors import ConfigError, ShapeError
from ..parameters import ParameterSpace
from ..protocols import LogDensity
from .hmc import Hamiltonian
from .starts import check_start, from_prior

__all__ = ["Mixture", "around", "broadened", "displaced", "s3_mixture", "sobol", "tempered"]


def sobol(space: ParameterSpace, n: int, rng: np.random.Generator, low: Any = None, high: Any = None) -> np.ndarray:
    """(n, d) scrambled Sobol points in the box [low, high]; the bounds of the space if None.

    Raises:
        ConfigError: an edge that is not finite; names the parameter.
    """
    from scipy.stats.qmc import Sobol

    lower = np.broadcast_to(space.lower if low is None else np.asarray(low, float), (len(space),))
    upper = np.broadcast_to(space.upper if high is None else np.asarray(high, float), (len(space),))
    bad = [space.names[i] for i in np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper) & (lower < upper)))]
    if bad:
        raise ConfigError(f"a box needs finite low < high for {bad[:8]}; pass low and high")
    unit = Sobol(len(space), rng=rng).random(1 << max(n - 1, 0).bit_length())[:n]
    return lower + (upper - lower) * unit


def tempered(
    density: LogDensity,
    temperatures: Sequence[float],
    n_each: int,
    rng: np.random.Generator,
    *,
    n_chains: int = 512,
    n_warmup: int = 200,
    thin: int = 1,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws from p^(1/T), many temperatures at once by HMC.

    Args:
        density: must have a gradient.
        temperatures: (k,) T > 0.
        n_each: points at each.
        rng: random numbers.
        n_chains: about as many chains, shared out among the temperatures, at least one each.
        n_warmup: steps thrown away.
        thin: transitions a point.
        start: (m, d) points to start from, in turn; draws of the prior if None.

    Returns:
        theta (k n_each, d) and its temperatures (k n_each,), the temperatures in blocks.
    """
    ladder = np.asarray(temperatures, float)
    if ladder.ndim != 1 or not len(ladder) or not ((ladder > 0) & np.isfinite(ladder)).all():
        raise ConfigError(f"temperatures must be positive numbers, got {temperatures}")
    each = min(n_each, max(1, n_chains // len(ladder)))
    chains = np.repeat(ladder, each)
    engine = Hamiltonian(density, n_warmup=n_warmup, thin=thin, seed=int(rng.integers(2**31)), temperature=chains)
    if start is None:
        theta = from_prior(density, len(chains), rng)
    else:
        points = density.points(start)
        theta = points[np.arange(len(chains)) % len(points)]
    state = engine.start(theta, check_start(density, theta))
    for window in range(len(engine.windows)):
        state = engine.warm(state, window).state
    drawn = engine.draw(state, -(-n_each // each)).chain
    by_temperature = drawn.reshape(len(drawn), len(ladder), each, -1).swapaxes(0, 1)
    by_temperature = by_temperature.reshape(len(ladder), len(drawn) * each, -1)[:, :n_each]
    return by_temperature.reshape(len(ladder) * n_each, -1), np.repeat(ladder, n_each)


def broadened(
    density: LogDensity, name: str, centre: float, sigma: float, strength: float, reach: float = np.inf
) -> Composite:
    """The density with (strength / 2) ((x - centre) / sigma)^2 added to its logpdf, within centre +- reach sigma.

    Where x is normal with this centre and sigma, its width grows by 1 / sqrt(1 - strength). A density whose tails fall
    more slowly than that needs the finite reach: without it nothing holds the sample together.
    """
    if not (0 <= strength < 1 and sigma > 0 and reach > 0):
        raise ConfigError(
            f"broadening needs 0 <= strength < 1, sigma > 0 and reach > 0, got {strength}, {sigma} and {reach}"
        )
    d, i = len(density.parameters), density.parameters.index(name)
    linear, matrix = np.zeros(d), np.zeros((d, d))
    matrix[i, i] = -strength / sigma**2
    linear[i] = -strength * centre / sigma**2
    added = Quadratic(0.5 * strength * centre**2 / sigma**2, linear, matrix)
    low, high = density.parameters[name].bounds
    low, high = max(low, centre - reach * sigma), min(high, centre + reach * sigma)
    narrowed = replace(density.parameters[name], bounds=(low, high), start=None)
    space = ParameterSpace(tuple(narrowed if p.name == name else p for p in density.parameters))
    return Composite([Term(density, np.eye(d), np.zeros(d))], space, density.prior, density.kind, added)


def around(
    points: np.ndarray, covariance: np.ndarray, widths: tuple[float, float], n: int, rng: np.random.Generator
) -> np.ndarray:
    """(n, d) points scattered about (k, d) given ones.

    Each is a given point, drawn at random, plus s N(0, covariance) with s uniform in `widths`.
    """
    points = np.atleast_2d(np.asarray(points, float))
    d = points.shape[1]
    if np.shape(covariance) != (d, d):
        raise ShapeError(f"covariance has shape {np.shape(covariance)}, expected ({d}, {d}) as the points")
    if not 0 <= widths[0] <= widths[1]:
        raise ConfigError(f"widths {widths} must be 0 <= low <= high")
    scale = rng.uniform(*widths, size=(n, 1))
    scatter = rng.normal(size=(n, d)) @ np.linalg.cholesky(covariance).T
    return points[rng.integers(len(points), size=n)] + scale * scatter


def displaced(points: np.ndarray, reach: np.ndarray, most: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, d) of (k, d) given points, drawn at random, with one to `most` parameters moved by up to `reach`.

    No sample comes there: where many parameters are at their best and a few are not, a slice is drawn, or a fit starts.

    Args:
        points: (k, d).
        reach: (d,) uniform in (-reach, reach); those of reach 0 are never moved.
        most: parameters that are moved at most, as often as any smaller number of them.
        n: points.
        rng: random numbers.
    """
    points, columns = np.atleast_2d(np.asarray(points, float)), np.flatnonzero(reach)
    if np.shape(reach) != points.shape[1:]:
        raise ShapeError(f"reach has shape {np.shape(reach)}, expected {points.shape[1:]} as the points")
    if not 1 <= most <= len(columns):
        raise ConfigError(f"most is {most}, must be between 1 and {len(columns)} parameters")
    rank = rng.uniform(size=(n, len(columns))).argsort(axis=1).argsort(axis=1)
    moved = rank < rng.integers(1, most + 1, size=(n, 1))
    out = points[rng.integers(len(points), size=n)]
    out[:, columns] += moved * reach[columns] * rng.uniform(-1, 1, size=moved.shape)
    return out


@dataclass(frozen=True, slots=True)
class Mixture:
    """Points of several samples, shuffled."""

    theta: np.ndarray
    """(n, d)."""
    logpdf: np.ndarray
    """(n,)."""
    origin: np.ndarray
    """(n,) of str: "S1", "S2 near the maximum" or "S2"."""


def s3_mixture(
    s1: tuple[np.ndarray, np.ndarray],
    s2: tuple[np.ndarray, np.ndarray],
    n: int,
    rng: np.random.Generator,
    *,
    share: float = 0.7,
    threshold: float = -290.0,
) -> Mixture:
    """Sampling S3 of arXiv:1911.03305.

    Args:
        s1: theta (n1, d) and logpdf (n1,) of the unbiased sample.
        s2: the same of the sample biased to the profile.
        n: points in all.
        rng: random numbers.
        share: fraction taken from S1, at random.
        threshold: all of S2 with logpdf above it is taken (at random, if that is more than there is room for).

    Raises:
        ConfigError: fewer points than asked for.
    """
    n1 = round(share * n)
    near, far = np.flatnonzero(s2[1] > threshold), np.flatnonzero(s2[1] <= threshold)
    near = rng.permutation(near)[: n - n1]
    n_far = n - n1 - len(near)
    if len(s1[0]) < n1 or len(far) < n_far:
        raise ConfigError(f"{n} points need {n1} of S1 and {n - n1} of S2, got {len(s1[0])} and {len(s2[0])}")
    chosen = rng.choice(len(s1[0]), n1, replace=False), near, rng.choice(far, n_far, replace=False)
    theta = np.concatenate([s1[0][chosen[0]], s2[0][chosen[1]], s2[0][chosen[2]]])
    logpdf = np.concatenate([s1[1][chosen[0]], s2[1][chosen[1]], s2[1][chosen[2]]])
    origin = np.repeat(["S1", "S2 near the maximum", "S2"], [len(rows) for rows in chosen])
    order = rng.permutation(n)
    return Mixture(theta[order], logpdf[order], origin[order])
