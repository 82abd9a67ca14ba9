r"""CL_s in the asymptotic limit: Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727, sections 3.6, 3.7 and 4.

With q of the data and q_A of the Asimov data of the background alone (mu' = 0), a = sqrt(q_A),

    Delta  = sqrt(q) - a                                 q_mu, and q~_mu where q <= q_A       (eqs. 57, 65)
    Delta  = (q - q_A) / (2 a)                           q~_mu where q > q_A                  (eq. 66)
    CL_sb  = Phi(-Delta - a),    CL_b = Phi(-Delta),     CL_s = CL_sb / CL_b

A background that fluctuates by N sigma has Delta = -N. Bands are listed from the strongest exclusion to the weakest,
N = -2, -1, 0, 1, 2, as limits ascend. The limit at level 1 - alpha lies where

    a = -v - Phi^-1(alpha Phi(-v)),   v = -N
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..errors import ConfigError, DomainError

__all__ = [
    "N_SIGMA",
    "Statistic",
    "band_reach",
    "check_level",
    "check_statistic",
    "expected_log_cls",
    "log_cls",
    "p_values",
]

Statistic = Literal["qmu", "qmu_tilde"]
N_SIGMA = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
"""The fluctuations of the background that bands are made of."""


def _delta(q: Any, q_asimov: Any, statistic: str) -> tuple[np.ndarray, np.ndarray]:
    """Delta and a; negative q, which only errors of a surrogate or a fit can cause, count as 0."""
    check_statistic(statistic)
    q, q_asimov = np.maximum(np.asarray(q, float), 0.0), np.maximum(np.asarray(q_asimov, float), 0.0)
    a = np.sqrt(q_asimov)
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.sqrt(q) - a
        beyond = (q - q_asimov) / (2 * a)
    far = (q > q_asimov) & (statistic == "qmu_tilde")
    return np.where(np.isinf(a), np.where(np.isinf(q), np.inf, near), np.where(far, beyond, near)), a


def p_values(q: Any, q_asimov: Any, statistic: Statistic = "qmu_tilde") -> tuple[np.ndarray, np.ndarray]:
    """CL_sb and CL_b.

    Args:
        q: test statistic of the data.
        q_asimov: of the Asimov data of the background.
        statistic: "qmu_tilde" (mu >= 0, the rule) or "qmu".

    Raises:
        ConfigError: another statistic.
    """
    from scipy.special import ndtr

    delta, a = _delta(q, q_asimov, statistic)
    return ndtr(-delta - a), ndtr(-delta)


def log_cls(q: Any, q_asimov: Any, statistic: Statistic = "qmu_tilde") -> np.ndarray:
    """Natural logarithm of CL_s; it stays finite where both p-values underflow.

    >>> float(np.exp(log_cls(2.706, 2.706)))  # doctest: +ELLIPSIS
    0.0999...
    """
    from scipy.special import log_ndtr

    delta, a = _delta(q, q_asimov, statistic)
    with np.errstate(invalid="ignore"):
        found = log_ndtr(-delta - a) - log_ndtr(-delta)
    unseen = np.where(np.isinf(a), -np.inf, -0.5 * np.asarray(q, float))  # the limit of a -> 0, where Delta is infinite
    return np.where(np.isinf(delta), unseen, found)


def expected_log_cls(q_asimov: Any, n_sigma: Any = N_SIGMA) -> np.ndarray:
    """Natural logarithm of the CL_s of a background that fluctuates by N sigma: shapes broadcast.

    Args:
        q_asimov: (..., 1) or a number.
        n_sigma: (k,); those of the bands if not given.
    """
    from scipy.special import log_ndtr

    a, n = np.sqrt(np.maximum(np.asarray(q_asimov, float), 0.0)), np.asarray(n_sigma, float)
    return log_ndtr(n - a) - log_ndtr(n)


def band_reach(level: float, n_sigma: Any = N_SIGMA) -> np.ndarray:
    """The a = sqrt(q_A) at which a background that fluctuates by N sigma excludes mu at a confidence level.

    >>> band_reach(0.95).round(3)
    array([1.052, 1.412, 1.96 , 2.727, 3.656])
    """
    from scipy.special import ndtr, ndtri

    n = np.asarray(n_sigma, float)
    return n - ndtri((1 - check_level(level)) * ndtr(n))


def check_level(level: float) -> float:
    """The level, if it is one.

    Raises:
        DomainError: outside (0.5, 1): a CL_s limit would lie below the best fit.
    """
    if not 0.5 < level < 1:
        raise DomainError(f"level {level} must lie between 0.5 and 1, such as 0.95")
    return level


def check_statistic(statistic: str) -> Statistic:
    """The name of a statistic for limits, if it is one.

    Raises:
        ConfigError: another name.
    """
    if statistic == "qmu" or statistic == "qmu_tilde":
        return statistic  # type: ignore[return-value]
    raise ConfigError(f"statistic {statistic!r} is neither 'qmu' nor 'qmu_tilde'")
