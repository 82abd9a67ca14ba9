r"""The distribution of t_mu from pseudo-experiments of a counting likelihood.

    n_I ~ Poisson(nu_I(mu, delta)),        t_mu(n) = 2 [max log p(n; mu', delta') - max_delta' log p(n; mu, delta')]

"profile" toys are thrown at the nuisances profiled at mu on the data; the centres of their normal constraints, which
stand for auxiliary measurements, are thrown too (held if `throw_constraints` is False, as in arXiv:1911.03305).
"hybrid" toys draw the nuisances from their normal priors instead, and leave the centres where they are. In the limit of
many events t_mu follows chi^2 with one degree of freedom (Wilks); few events, bounds and kinks spoil that.

All toys of a block are fitted at once (`maximise_between_kinks`). A fit that does not converge is counted, not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..config import require
from ..differentiation import value_grad_arrow, value_grad_hess
from ..errors import DomainError, ParameterError, ShapeError
from ..results import Fit
from ..sources.source import Source
from ..tracing import tensorflow
from .blocks import blocks
from .curvature import Arrow
from .maximise import maximise_between_kinks

__all__ = ["PseudoExperiments", "pseudo_experiments"]

BLOCK = 256


@dataclass(frozen=True, slots=True)
class PseudoExperiments:
    """t_mu of many pseudo-experiments."""

    mu: float
    method: str
    tmu: np.ndarray
    """(n,) of the toys whose two fits converged."""
    muhat: np.ndarray
    """(n,) their best fits."""
    failed: int
    """Toys left out because a fit did not converge."""
    seed: int

    @property
    def ks(self) -> tuple[float, float]:
        """Kolmogorov-Smirnov distance to chi^2_1 and its p-value."""
        from scipy.stats import chi2, kstest

        found = kstest(np.maximum(self.tmu, 0.0), chi2(1).cdf)
        return float(found.statistic), float(found.pvalue)

    def quantile(self, level: float) -> tuple[float, float]:
        """The t that holds `level` of the toys, and its standard error from order statistics.

        Raises:
            DomainError: a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise DomainError(f"level {level} must lie strictly between 0 and 1")
        n = len(self.tmu)
        half = np.sqrt(level * (1 - level) / n)
        low, middle, high = np.quantile(self.tmu, np.clip([level - half, level, level + half], 0.0, 1.0))
        return float(middle), float(high - low) / 2

    def p_value(self, observed: float) -> tuple[float, float]:
        """Fraction of toys with t_mu at least the observed one, and its binomial standard error."""
        p = float((self.tmu >= observed).mean())
        return p, float(np.sqrt(max(p * (1 - p), 1 / len(self.tmu)) / len(self.tmu)))


def pseudo_experiments(
    source: Source,
    poi: str,
    mu: float,
    n: int,
    *,
    theta: Any = None,
    method: Literal["profile", "hybrid"] = "profile",
    throw_constraints: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> PseudoExperiments:
    """Throw and fit pseudo-experiments at poi = mu.

    Args:
        source: one with `counting`; its parameters, bounds, kinks and priors are those of the fits.
        poi: name of the parameter of interest.
        mu: its true value.
        n: number of pseudo-experiments.
        theta: (d,) the point profiled at mu, which "profile" toys are thrown at; fitted to the data if None.
        method: where the nuisances come from.
        throw_constraints: whether "profile" toys throw the centres of the normal constraints.
        seed: of the random numbers; equal seeds give equal toys.
        progress: whether a bar is shown.

    Raises:
        ConfigError: another method, n < 2, or a source that has no counts.
        ParameterError, DomainError: unknown name, or mu outside its range.
        ShapeError: a theta of another shape.
    """
    require(method in ("profile", "hybrid"), f"method {method!r} is neither 'profile' nor 'hybrid'")
    require(source.counting is not None, f"source {source.name!r} has no counts to throw; use a counting source")
    require(n >= 2, f"n = {n} pseudo-experiments are too few")
    fits = _CountingFits(source)
    column = source.parameters.index(poi)
    if not fits.lower[column] <= mu <= fits.upper[column]:
        raise DomainError(f"{poi} = {mu} is outside [{fits.lower[column]}, {fits.upper[column]}]")
    if not source.prior.is_constant(poi):
        raise ParameterError(f"{poi!r} has a normal prior; t_mu needs a parameter of interest without one")
    prior, rng = fits.prior, np.random.default_rng(seed)
    truth = fits.profiled(column, mu) if theta is None else np.asarray(theta, float).copy()
    if truth.shape != prior.mean.shape:
        raise ShapeError(f"theta has shape {truth.shape}, expected {prior.mean.shape}")
    truth[column] = mu
    constrained = prior.precision > 0
    sigma = np.where(constrained, 1 / np.sqrt(np.where(constrained, prior.precision, 1.0)), 0.0)
    t, muhat, good = [], [], []
    for b in blocks(n, BLOCK, f"pseudo-experiments at {poi} = {mu:g}", progress=progress):
        size = b.stop - b.start
        thrown = sigma * rng.standard_normal((size, len(truth)))
        if method == "hybrid":
            points = np.clip(np.where(constrained, prior.mean + thrown, truth), fits.lower, fits.upper)
            centres = np.tile(prior.mean, (size, 1))
        else:
            points = np.tile(truth, (size, 1))
            centres = np.where(constrained, truth, prior.mean) + (thrown if throw_constraints else 0.0)
            centres = centres if throw_constraints else np.tile(prior.mean, (size, 1))
        counts = rng.poisson(fits.expected(points)).astype(float)
        held = fits.fit(points, counts, centres, {column: mu})
        free = fits.fit(held.theta, counts, centres, {})
        t.append(2 * (free.value - held.value))
        muhat.append(free.theta[:, column])
        good.append(free.converged & held.converged)
    used = np.concatenate(good)
    return PseudoExperiments(
        float(mu), method, np.concatenate(t)[used], np.concatenate(muhat)[used], int((~used).sum()), seed
    )


class _CountingFits:
    """Batched fits of a counting source in which every row has counts and constraint centres of its own."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.prior = source.prior.columns(source.parameters)
        self.lower = np.maximum(source.parameters.lower, self.prior.low)
        self.upper = np.minimum(source.parameters.upper, self.prior.high)
        self.kinks = [p.kinks for p in source.parameters]
        self._derivatives = self._trace()

    def _trace(self) -> Callable[..., Any]:
        tf, counting, d = tensorflow(), self.source.counting, len(self.source.parameters)
        assert counting is not None
        dense = self.source.dense_columns
        if dense is None:
            function = value_grad_hess(counting.log_likelihood, d)
        else:
            function = value_grad_arrow(counting.log_likelihood, d, dense)
        bins = len(counting.observed)
        signature = [tf.TensorSpec([None, d], tf.float64), tf.TensorSpec([None, bins], tf.float64)]
        return tf.function(function, input_signature=signature)

    def expected(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, n_bins) expected counts."""
        assert self.source.counting is not None
        nu = self.source.counting.expected(tensorflow().constant(theta, "float64")).numpy()
        if (nu < 0).any():
            raise DomainError(
                f"{(nu < 0).any(axis=1).sum()} of {len(nu)} points expect negative counts: there are no "
                "pseudo-experiments there"
            )
        return nu

    def fit(self, start: np.ndarray, counts: np.ndarray, centres: np.ndarray, held: dict[int, float]) -> Fit:
        """Fit all rows, some coordinates held at a value."""
        lower, upper = self.lower.copy(), self.upper.copy()
        for column, value in held.items():
            lower[column] = upper[column] = value
        precision = self.prior.precision

        def objective(theta: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | Arrow]:
            value, grad, *parts = (p.numpy() for p in self._derivatives(theta, counts[rows]))
            pull = theta - centres[rows]
            value = value - 0.5 * (pull**2 @ precision)
            possible = np.isfinite(value)
            grad = np.where(possible[:, None], grad - precision * pull, 0.0)
            return value, grad, _with_prior(parts, precision, self.source.dense_columns)

        return maximise_between_kinks(objective, start, lower, upper, self.kinks)

    def profiled(self, column: int, mu: float) -> np.ndarray:
        """(d,) the maximiser at poi = mu on the data."""
        assert self.source.counting is not None
        start = np.clip(self.prior.mean, self.lower, self.upper)[None].copy()
        start[:, column] = mu
        fit = self.fit(start, self.source.counting.observed[None], self.prior.mean[None], {column: mu})
        return fit.theta[0]


def _with_prior(parts: list[np.ndarray], precision: np.ndarray, dense: tuple[int, ...] | None) -> np.ndarray | Arrow:
    """Add the priors' curvature to a Hessian's parts."""
    if dense is None:
        return parts[0] - np.diag(precision)
    columns, diagonal = parts[0].copy(), parts[1].copy()
    sparse = np.ones(len(precision))
    sparse[list(dense)] = 0.0
    diagonal -= sparse * precision
    for j, column in enumerate(dense):
        columns[:, column, j] -= precision[column]
    return Arrow(columns, diagonal, dense)
