r"""Profile-likelihood test statistics of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727.

    t_mu        = 2 [logpdf(muhat) - logpdf(mu)],  nuisances profiled in both            (eq. 8)
    q_0         = t_0 for muhat >= 0, else 0                                             (eq. 12)
    q_mu        = t_mu for muhat <= mu, else 0                                           (eq. 14)
    q~_mu       = 2 [logpdf(max(muhat, 0)) - logpdf(mu)] for muhat <= mu, else 0         (eq. 16)

For many events t_mu follows chi^2 with one degree of freedom, and the one-sided ones half of it (sections 3.3 to 3.7).
Nothing is clipped: a negative t_mu says that a fit went wrong.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..config import require
from ..errors import DomainError, ShapeError
from ..results import Interval

__all__ = ["interval", "p_value", "q0", "qmu", "qmu_tilde", "threshold", "tmu", "tmu_of_samples"]


def tmu(max_logpdf: Any, profiled_logpdf: Any) -> np.ndarray:
    """t_mu, two-sided (eq. 8)."""
    return 2.0 * (np.asarray(max_logpdf, float) - np.asarray(profiled_logpdf, float))


def tmu_of_samples(values: Any, logpdf: Any, mu: Any, width: float) -> np.ndarray:
    """t_mu from labelled points alone: the highest logpdf of all, and of those in a bin about each mu.

    Nothing is fitted, so that it is worth what the points are: they have to come near the profile, and wide bins take
    their highest point from the side where the profile is higher.

    Args:
        values: (n,) mu of the points.
        logpdf: (n,) their log-density.
        mu: (k,) centres of the bins.
        width: of a bin.

    Returns:
        (k,) t_mu; nan where no point is in the bin.

    Raises:
        ShapeError: values and logpdf that do not fit, are empty or not finite.
        ConfigError: a width that is not positive.

    >>> tmu_of_samples([-0.1, 0.0, 0.9, 1.1], [-0.1, 0.0, -0.9, -1.1], [0.0, 1.0, 2.0], 0.5)
    array([0. , 1.8, nan])
    """
    require(width > 0, f"the width of a bin must be positive, got {width}")
    x, y = np.asarray(values, float), np.asarray(logpdf, float)
    if x.ndim != 1 or x.shape != y.shape or not len(x) or not np.isfinite([x, y]).all():
        raise ShapeError(f"points need finite values and logpdf of one shape (n,), got {x.shape} and {y.shape}")
    inside = (np.abs(x - centre) <= 0.5 * width for centre in np.asarray(mu, float))
    return tmu(y.max(), np.array([y[near].max() if near.any() else np.nan for near in inside]))


def q0(muhat: Any, max_logpdf: Any, profiled_logpdf_at_0: Any) -> np.ndarray:
    """q_0 for the discovery of a positive signal (eq. 12)."""
    return np.where(np.asarray(muhat) >= 0, tmu(max_logpdf, profiled_logpdf_at_0), 0.0)


def qmu(mu: Any, muhat: Any, max_logpdf: Any, profiled_logpdf: Any) -> np.ndarray:
    """q_mu for upper limits (eq. 14)."""
    return np.where(np.asarray(muhat) <= np.asarray(mu), tmu(max_logpdf, profiled_logpdf), 0.0)


def qmu_tilde(mu: Any, muhat: Any, max_logpdf: Any, profiled_logpdf: Any, profiled_logpdf_at_0: Any) -> np.ndarray:
    """q~_mu for upper limits on mu >= 0 (eq. 16): a negative muhat is compared with mu = 0."""
    top = np.where(np.asarray(muhat) < 0, profiled_logpdf_at_0, max_logpdf)
    return qmu(mu, muhat, top, profiled_logpdf)


def p_value(statistic: Any, kind: Literal["tmu", "q0", "qmu"] = "tmu") -> np.ndarray:
    """Asymptotic p-value under the tested hypothesis: P(chi^2_1 > t) for t_mu, half of it for q_0 and q_mu.

    Raises:
        ConfigError: another kind.
    """
    require(kind in ("tmu", "q0", "qmu"), f"kind {kind!r} is none of 'tmu', 'q0', 'qmu'")
    from scipy.special import erfc

    p = erfc(np.sqrt(np.maximum(np.asarray(statistic, float), 0.0) / 2.0))
    return p if kind == "tmu" else 0.5 * p


def threshold(level: float, n_parameters: int = 1) -> float:
    """The t that chi^2 stays below with probability `level`.

    Of one parameter 0.6827 -> 1 and 0.95 -> 3.84, of two at once 2.30 and 5.99.

    Raises:
        DomainError: a level outside (0, 1).
        ConfigError: more than two parameters.
    """
    require(n_parameters in (1, 2), f"thresholds are known for one or two parameters, not {n_parameters}")
    if not 0 < level < 1:
        raise DomainError(f"level {level} must lie strictly between 0 and 1, such as 0.6827 or 0.95")
    if n_parameters == 2:
        return -2.0 * float(np.log1p(-level))
    from scipy.special import erfinv

    return 2.0 * float(erfinv(level)) ** 2


def interval(mu: Any, t: Any, muhat: float, level: float) -> tuple[Interval, ...]:
    """Where t_mu stays below its threshold: one interval, or several if the curve has several valleys.

    What is interpolated, by monotone cubics, is the signed root sign(mu - muhat) sqrt(t), a straight line for a
    Gaussian. An end at which the scan stops below the threshold is open.

    Args:
        mu: (n,) ascending scan points, n >= 2.
        t: (n,) t_mu there.
        muhat: the best fit, where t = 0; added as a point of its own if it lies within the scan.
        level: confidence level.

    Raises:
        ShapeError: points that do not ascend, or values that are not finite.
        DomainError: a level outside (0, 1), or no point of the scan below the threshold.
    """
    x, y = np.asarray(mu, float), np.asarray(t, float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not (np.diff(x) > 0).all() or not np.isfinite([x, y]).all():
        raise ShapeError(f"a t_mu curve needs ascending mu and finite t of one shape, got {x.shape} and {y.shape}")
    from scipy.interpolate import PchipInterpolator

    if x[0] < muhat < x[-1] and not np.isclose(x, muhat, rtol=0, atol=1e-12 * (x[-1] - x[0])).any():
        place = int(np.searchsorted(x, muhat))
        x, y = np.insert(x, place, muhat), np.insert(y, place, 0.0)
    root = np.sqrt(threshold(level))
    curve = PchipInterpolator(x, np.sign(x - muhat) * np.sqrt(np.maximum(y, 0.0)))
    crossings = np.concatenate([curve.solve(s * root, extrapolate=False) for s in (-1, 1)])
    ends = np.unique(np.concatenate([x[[0, -1]], crossings[np.isfinite(crossings)]]))
    below = np.abs(curve(0.5 * (ends[1:] + ends[:-1]))) < root
    if not below.any():
        raise DomainError(f"t_mu is above {root**2:.4g} in all of [{x[0]:g}, {x[-1]:g}]; scan nearer to {muhat:g}")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], below, [False]]).astype(int)))
    return tuple(
        Interval(float(ends[a]), float(ends[b]), open_low=bool(a == 0), open_high=bool(b == len(ends) - 1))
        for a, b in edges.reshape(-1, 2)
    )
