r"""The simplified likelihood with third moments (A. Buckley et al., JHEP 04 (2019) 064, arXiv:1809.05548).

Whatever made the background uncertain is replaced by one parabola a bin in a correlated normal variable:

    n_I ~ Poisson(mu s_I + a_I + b_I theta_I + c_I theta_I^2),      theta ~ N(0, rho)

whose first three central moments are those of the background under the prior of its nuisances:

    m1_I = a_I + c_I        m2_IJ = b_I b_J rho_IJ + 2 c_I c_J rho_IJ^2        m3_I = 6 b_I^2 c_I + 8 c_I^3

With m2 = m2_II, m3 = 6 m2 c - 4 c^3 is 3 s - 4 s^3 = sin 3 phi in s = sin phi = c / sqrt(2 m2). The root that vanishes
with m3 is

    c = sqrt(2 m2) sin[ arcsin(m3 / sqrt(8 m2^3)) / 3 ]       b = sqrt(m2 - 2 c^2)       a = m1 - c
    rho_IJ = 2 m2_IJ / [ b_I b_J + sqrt((b_I b_J)^2 + 8 c_I c_J m2_IJ) ]

which are the paper's solutions in a form that knows no 0 / 0 at c = 0. A parabola is at most sqrt(8) skew: beyond, its
skewness is that and its variance the one asked for. A rho_IJ beyond what the parabolas can do is the nearest they can,
and eigenvalues of rho that come out negative are 0. Nuisances are the independent z with theta = rho^(1/2) z.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..parameters import Parameter, ParameterSpace
from ..priors import Normal, Prior, Uniform
from ..tracing import tensorflow
from .source import Counting, Source

__all__ = ["Parabolas", "parabolas", "simplified", "simplify"]

logger = logging.getLogger(__name__)
CHUNK = 8192


@dataclass(frozen=True)
class Parabolas:
    """Background a + b theta + c theta^2 in each bin, theta ~ N(0, rho)."""

    a: np.ndarray
    """(n_bins,)."""
    b: np.ndarray
    """(n_bins,), >= 0."""
    c: np.ndarray
    """(n_bins,)."""
    rho: np.ndarray
    """(n_bins, n_bins) correlation matrix."""
    root: np.ndarray
    """(n_bins, n_bins) with root root^T = rho: theta = root z."""

    @property
    def mean(self) -> np.ndarray:
        """(n_bins,) m1."""
        return self.a + self.c

    @property
    def covariance(self) -> np.ndarray:
        """(n_bins, n_bins) m2."""
        return np.outer(self.b, self.b) * self.rho + 2 * np.outer(self.c, self.c) * self.rho**2

    @property
    def third_moment(self) -> np.ndarray:
        """(n_bins,) m3."""
        return 6 * self.b**2 * self.c + 8 * self.c**3


def parabolas(mean: np.ndarray, covariance: np.ndarray, third_moment: np.ndarray) -> Parabolas:
    """The parabolas with these moments, or as near as parabolas come.

    Args:
        mean: (n_bins,) m1.
        covariance: (n_bins, n_bins) m2.
        third_moment: (n_bins,) m3, central.
    """
    variance = np.diag(covariance)
    limit = np.sqrt(8 * variance**3)
    skewness = np.divide(third_moment, limit, out=np.zeros_like(mean), where=limit > 0)
    beyond = np.flatnonzero(np.abs(skewness) > 1)
    if len(beyond):
        logger.warning("simplified: bins %s are more skew than a parabola can be; taken at sqrt(8)", beyond.tolist())
    c = np.sqrt(2 * variance) * np.sin(np.arcsin(np.clip(skewness, -1, 1)) / 3)
    b = np.sqrt(np.maximum(variance - 2 * c**2, 0.0))
    bb, cc = np.outer(b, b), np.outer(c, c)
    inner = np.maximum(bb**2 + 8 * cc * covariance, 0.0)
    below = bb + np.sqrt(inner)
    rho = np.clip(np.divide(2 * covariance, below, out=np.zeros_like(below), where=below > 0), -1.0, 1.0)
    np.fill_diagonal(rho, 1.0)
    root = _root(rho)
    return Parabolas(mean - c, b, c, root @ root.T, root)


def _root(rho: np.ndarray) -> np.ndarray:
    """The symmetric root of a correlation matrix, negative eigenvalues left out and the diagonal back at 1."""
    values, vectors = np.linalg.eigh(0.5 * (rho + rho.T))
    if values[0] < -1e-6 * len(rho):
        logger.warning("simplified: rho has the eigenvalue %.3g; negative ones are taken as 0", values[0])
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root / np.sqrt((root**2).sum(axis=1, keepdims=True))


def simplified(
    observed: Sequence[float],
    signal: Sequence[float],
    mean: Sequence[float],
    covariance: Sequence[Sequence[float]],
    third_moment: Sequence[float] | None = None,
    mu_range: Sequence[float] | None = None,
    reference: str = "",
) -> Source:
    """The simplified likelihood from published moments.

    Args:
        observed: (n_bins,) counts.
        signal: (n_bins,) signal expected at mu = 1.
        mean: (n_bins,) expected background.
        covariance: (n_bins, n_bins) of the background, symmetric, positive semi-definite.
        third_moment: (n_bins,) central third moments; 0 if None, the Gaussian simplified likelihood.
        mu_range: (low, high) of a uniform prior of mu; none if None.
        reference: where the moments were published.

    Raises:
        ConfigError: arrays that do not fit, are not finite, or a covariance that is none.
    """
    n, s, m1 = (np.asarray(v, float) for v in (observed, signal, mean))
    m2 = np.asarray(covariance, float)
    m3 = np.zeros(n.shape) if third_moment is None else np.asarray(third_moment, float)
    bins = len(n) if n.ndim == 1 else 0
    if not bins or any(v.shape != (bins,) for v in (s, m1, m3)) or m2.shape != (bins, bins):
        shapes = [v.shape for v in (n, s, m1, m2, m3)]
        raise ConfigError(f"simplified: observed, signal, mean, covariance and third_moment of shapes {shapes}")
    if not all(np.isfinite(v).all() for v in (n, s, m1, m2, m3)) or (n < 0).any():
        raise ConfigError("simplified: counts must be >= 0, and all numbers finite")
    scale = max(float(np.abs(m2).max()), 1e-300)
    if np.abs(m2 - m2.T).max() > 1e-9 * scale or np.linalg.eigvalsh(m2)[0] < -1e-6 * scale:
        raise ConfigError("simplified: the covariance must be symmetric and positive semi-definite")
    names = [f"z_{i}" for i in range(1, bins + 1)]
    ranges: dict[str, Normal | Uniform] = {} if mu_range is None else {"mu": Uniform(*(float(v) for v in mu_range))}
    counting = Counting(_expected(s, parabolas(m1, m2, m3)), n)
    return Source(
        name="simplified",
        arguments={
            "observed": n.tolist(),
            "signal": s.tolist(),
            "mean": m1.tolist(),
            "covariance": m2.tolist(),
            "third_moment": m3.tolist(),
            "mu_range": None if mu_range is None else [float(v) for v in mu_range],
            "reference": reference,
        },
        parameters=ParameterSpace(
            (
                Parameter(name="mu", role="poi", latex=r"\mu"),
                *(Parameter(name=name, latex=f"z_{{{i}}}") for i, name in enumerate(names, 1)),
            )
        ),
        prior=Prior({**ranges, **{name: Normal() for name in names}}),
        log_likelihood=counting.log_likelihood,
        counting=counting,
        reference=reference or "arXiv:1809.05548",
    )


def _expected(signal: np.ndarray, shape: Parabolas) -> Any:
    """nu(mu, z), (n, 1 + n_bins) -> (n, n_bins)."""

    def expected(theta: Any) -> Any:
        t = theta[:, 1:] @ shape.root.T
        return theta[:, :1] * signal + shape.a + t * (shape.b + shape.c * t)

    return expected


def simplify(source: Source, n: int = 400_000, seed: int = 0) -> Source:
    """The simplified likelihood of a counting likelihood: its nuisances drawn from their prior, mu = 0.

    The signal is that at nominal nuisances, as the method has it. A Likelihood with a recipe::

        Likelihood.from_source("simplified", **simplify(toy.source).arguments)

    Args:
        source: one POI, and a normal prior for every other parameter.
        n: draws; a standard error of m3 is sqrt(6 / n) m2^(3/2) or more.
        seed: of the draws.

    Raises:
        ConfigError: a source without counts, with another number of POIs, or with nuisances without a normal prior.
    """
    space = source.parameters
    if source.counting is None or len(space.pois) != 1:
        raise ConfigError(f"simplify needs a counting source with one parameter of interest, {source.name} is none")
    poi = space.index(space.pois[0])
    terms = [source.prior.terms.get(name) for name in space.names]
    free = [name for name, t in zip(space.names, terms, strict=True) if not isinstance(t, Normal)]
    if set(free) - {space.names[poi]}:
        raise ConfigError(f"simplify draws nuisances from normal priors; {free[:8]} have none")
    center = np.array([t.mean if isinstance(t, Normal) else 0.0 for t in terms])
    sigma = np.array([t.sigma if isinstance(t, Normal) else 0.0 for t in terms])
    sigma[poi] = center[poi] = 0.0
    with_signal = center.copy()
    with_signal[poi] = 1.0
    compute = tensorflow().function(source.counting.expected, reduce_retracing=True)
    nominal, full = compute(np.stack([center, with_signal])).numpy()
    rng = np.random.default_rng(seed)
    first, second, third = np.zeros(len(nominal)), np.zeros((len(nominal), len(nominal))), np.zeros(len(nominal))
    for start in range(0, n, CHUNK):
        drawn = center + sigma * rng.standard_normal((min(CHUNK, n - start), len(space)))
        shift = compute(drawn).numpy() - nominal
        first += shift.sum(axis=0) / n
        second += shift.T @ shift / n
        third += (shift**3).sum(axis=0) / n
    variance = np.diag(second) - first**2
    prior = terms[poi]
    return simplified(
        observed=source.counting.observed.tolist(),
        signal=(full - nominal).tolist(),
        mean=(nominal + first).tolist(),
        covariance=(second - np.outer(first, first)).tolist(),
        third_moment=(third - 3 * first * variance - first**3).tolist(),
        mu_range=(prior.low, prior.high) if isinstance(prior, Uniform) else None,
        reference=f"moments of {source.name} (seed {seed}, {n} draws)",
    )
