r"""What a source returns, and the Poisson likelihood all counting sources share.

log L(theta; n) = sum_I [ n_I log nu_I(theta) - nu_I(theta) - log n_I! ],      -inf if any nu_I < 0 (or = 0 < n_I)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..parameters import ParameterSpace
from ..priors import Prior
from ..tracing import tensorflow

__all__ = ["Counting", "Source"]


@dataclass(frozen=True)
class Counting:
    """A likelihood made of Poisson counts: what pseudo-experiments need."""

    expected: Callable[[Any], Any]
    """Traceable, float64 (n, d) -> (n, n_bins) expected counts nu."""
    observed: np.ndarray
    """(n_bins,) counts."""

    @cached_property
    def _log_factorial(self) -> float:
        from scipy.special import gammaln

        return float(gammaln(self.observed + 1.0).sum())

    def log_likelihood(self, theta: Any, observed: Any = None) -> Any:
        """(n, d) -> (n,) log-likelihood of the observed counts, or of other counts (n, n_bins) without log n!.

        The logarithm is evaluated at max(nu, tiny), and the row is -inf where nu < 0, so that neither the value nor
        the gradient is ever NaN.
        """
        tf = tensorflow()
        nu = self.expected(theta)
        constant = 0.0 if observed is not None else self._log_factorial
        n = tf.constant(self.observed, tf.float64) if observed is None else observed
        safe = tf.maximum(nu, 1e-300)
        value = tf.reduce_sum(n * tf.math.log(safe) - safe, axis=1) - constant
        possible = tf.reduce_all((nu > 0) | ((nu == 0) & (n == 0)), axis=1)
        return tf.where(possible, value, tf.constant(-np.inf, tf.float64))


@dataclass(frozen=True)
class Source:
    """A likelihood as mathematics: what to compute, and the recipe that rebuilds it."""

    name: str
    arguments: dict[str, Any]
    """JSON-able arguments; with the name, the recipe."""
    parameters: ParameterSpace
    prior: Prior
    log_likelihood: Callable[[Any], Any]
    """Traceable, float64 (n, d) -> (n,), without the prior."""
    counting: Counting | None = None
    dense_columns: tuple[int, ...] | None = None
    """Columns outside which the Hessian is diagonal, or None."""
    reference: str = ""
    """Where the likelihood was published."""
    chunk: int = 2048
    """Rows to evaluate at once."""
    exact: dict[str, Any] = field(default_factory=dict)
    """Answers known in closed form, for tests."""
