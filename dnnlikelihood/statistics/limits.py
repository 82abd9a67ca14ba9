r"""Tests of signals and upper limits on their strength mu, for many signals at once.

    q_mu   = 2 [nll(mu) - nll(muhat)] for muhat <= mu, else 0                     muhat in [floor, inf)
    q~_mu  = the same with muhat in [0, inf)                                      (arXiv:1007.1727, eqs. 14 and 16)
    q_A    = 2 [nll_A(mu) - nll_A(0)]        of the Asimov data of the background, which are best described by mu = 0
    q_0    = 2 [nll(0) - nll(muhat)] for muhat >= 0, else 0,    p_0 = 1 - Phi(sqrt(q_0))                     (eq. 12)
    q_0,A  = the same of the Asimov data of the signal at mu', whose best fit is mu' by construction: the median q_0

The upper limit at a confidence level is the mu at which CL_s(q, q_A) = 1 - level (`asymptotics`). A surrogate knows how
wrong its nll may be, e(mu): q moves by at most 2 [e(mu) + e(muhat)], so ln CL_s by some D, and the limit by
D / |d ln CL_s / d mu|, which is its `error`: of 90 % like the band of nll, and rather too wide, as nothing cancels.

Every signal has a status: "converged"; "no limit" (CL_s stays above: the limit is infinite); "outside" (the answer lies
beyond the domain of the surrogate, or the support: NaN); "failed" (a fit failed: NaN).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError
from .asymptotics import (
    N_SIGMA,
    Statistic,
    band_reach,
    check_level,
    check_statistic,
    expected_log_cls,
    log_cls,
    p_values,
)
from .roots import Minima, Roots, expand, minimise, solve
from .signals import SignalCurves

__all__ = [
    "Discovery",
    "HypothesisTest",
    "UpperLimits",
    "discovery",
    "expected_discovery",
    "hypotest",
    "upper_limits",
]

OBSERVED, ASIMOV, SIGNAL = "observed", "asimov_observed", "asimov_signal"
MOST = 1e6
"""The largest mu that is looked at."""
TOLERANCE = 1e-3
"""In ln CL_s: a root further from zero is a jump, where the curve ended."""
CORNERS = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])


@dataclass(frozen=True, slots=True)
class HypothesisTest:
    """Tests of n signals at given strengths."""

    mu: np.ndarray
    """(n,)."""
    muhat: np.ndarray
    """(n,) best fit."""
    q: np.ndarray
    """(n,) test statistic of the data."""
    q_asimov: np.ndarray
    """(n,) of the Asimov data of the background."""
    clsb: np.ndarray
    """(n,) p-value of signal and background."""
    clb: np.ndarray
    """(n,) one minus the p-value of the background."""
    cls: np.ndarray
    """(n,) CL_sb / CL_b: below 0.05 mu is excluded at 95 %. NaN where refused."""
    cls_expected: np.ndarray
    """(n, 5) of a background that fluctuates by -2, -1, 0, 1, 2 sigma; ascending."""
    error: np.ndarray
    """(n,) how far CL_s may be off, from the calibrated 90 % error of the surrogate; 0 for a truth."""
    error_expected: np.ndarray
    """(n, 5) likewise."""
    in_domain: np.ndarray
    """(n,) bool: the surrogate was trained there."""
    status: np.ndarray
    """(n,) of str, see the module."""


@dataclass(frozen=True, slots=True)
class UpperLimits:
    """Upper limits on the strengths of n signals."""

    level: float
    observed: np.ndarray
    """(n,); inf where there is none, NaN where refused."""
    expected: np.ndarray
    """(n, 5) of a background that fluctuates by -2, -1, 0, 1, 2 sigma; ascending."""
    muhat: np.ndarray
    """(n,) best fit."""
    error: np.ndarray
    """(n,) how far the observed limit may be off, from the calibrated 90 % error of the surrogate; 0 for a truth."""
    error_expected: np.ndarray
    """(n, 5) likewise."""
    in_domain: np.ndarray
    """(n,) bool: the surrogate was trained at the observed limit."""
    status: np.ndarray
    """(n,) of str, of the observed limit."""
    status_expected: np.ndarray
    """(n, 5)."""

    @property
    def converged(self) -> np.ndarray:
        """(n,) bool: observed limit and all bands."""
        return (self.status == "converged") & (self.status_expected == "converged").all(axis=1)


@dataclass(frozen=True, slots=True)
class Discovery:
    """Tests of the background alone against n signals of any strength; in the data, or in the median experiment."""

    muhat: np.ndarray
    """(n,); of what is expected, the strength that it is expected of."""
    q0: np.ndarray
    """(n,)."""
    p0: np.ndarray
    """(n,) probability of a background at least as signal-like."""
    significance: np.ndarray
    """(n,) sqrt(q_0), standard deviations."""
    error: np.ndarray
    """(n,) how far the significance may be off, from the calibrated 90 % error of the surrogate."""
    status: np.ndarray
    """(n,) of str."""


class _Data:
    """Curves of the data and of the Asimov data, with the points that all test statistics refer to."""

    def __init__(self, curves: SignalCurves, statistic: Statistic, asimov: str) -> None:
        self.curves, self.asimov = curves, asimov
        self.statistic = check_statistic(statistic)
        self.every, self.zero = np.arange(curves.n), np.zeros(curves.n)
        self.nll_asimov_0 = curves.curve(asimov)(self.every, self.zero)[0]
        self.best: Minima | None = None

    def fit(self, high: np.ndarray) -> Minima:
        """The best fit; the scan for it begins with [lowest mu, high]."""
        low = self.zero if self.statistic == "qmu_tilde" else np.maximum(self.curves.floor, -MOST)
        self.best = minimise(self.curves.curve(OBSERVED), low, high, MOST)
        return self.best

    def q_asimov(self, rows: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """(m,) q_A; +inf where the curve has ended."""
        with np.errstate(invalid="ignore"):
            return 2 * (self.curves.curve(self.asimov)(rows, mu)[0] - self.nll_asimov_0[rows])

    def both(self, rows: np.ndarray, mu: np.ndarray) -> _Both:
        """Test statistics of data and Asimov data, and their slopes in mu."""
        assert self.best is not None
        nll, slope = self.curves.evaluate((OBSERVED, self.asimov), rows, mu)
        above = self.best.x[rows] <= mu
        with np.errstate(invalid="ignore"):
            q = np.where(above, 2 * (nll[:, 0] - self.best.value[rows]), 0.0)
            q_asimov = 2 * (nll[:, 1] - self.nll_asimov_0[rows])
        return _Both(q, q_asimov, np.where(above, 2 * slope[:, 0], 0.0), 2 * slope[:, 1])

    def errors(self, rows: np.ndarray, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(m,), (m,) how far q and q_A may be off."""
        assert self.best is not None
        observed = self.curves.error(OBSERVED, rows, mu) + self.curves.error(OBSERVED, rows, self.best.x[rows])
        asimov = self.curves.error(self.asimov, rows, mu) + self.curves.error(self.asimov, rows, self.zero[rows])
        return 2 * observed, 2 * asimov


class _Both(NamedTuple):
    q: np.ndarray
    q_asimov: np.ndarray
    slope: np.ndarray
    slope_asimov: np.ndarray


def hypotest(
    curves: SignalCurves, mu: Any = 1.0, *, statistic: Statistic = "qmu_tilde", bands: str = ASIMOV
) -> HypothesisTest:
    """CL_s of every signal at a strength, observed and expected.

    Args:
        curves: of the signals, see `signals.along`.
        mu: number or (n,), positive.
        statistic: "qmu_tilde" or "qmu".
        bands: the head of the expected values: "asimov_observed" (nuisances as the data prefer them, as pyhf does), or
            "expected" (before any fit).

    Raises:
        ShapeError: mu of another shape, or not positive.
        ParameterError: a head that the density does not have.
    """
    mu, data = _strengths(curves, mu), _Data(curves, statistic, ASIMOV)
    best, rows = data.fit(2 * mu), data.every
    found = data.both(rows, mu)
    expected = _Data(curves, statistic, bands).q_asimov(rows, mu) if bands != ASIMOV else found.q_asimov
    refused = ~(np.isfinite(found.q) & np.isfinite(found.q_asimov)) | (~best.inside & (best.x < mu))
    failed = np.isnan(found.q) | np.isnan(found.q_asimov) | np.isnan(expected) | np.isnan(best.value)
    status = np.where(failed, "failed", np.where(refused, "outside", "converged"))
    clsb, clb = p_values(found.q, found.q_asimov, statistic)
    cls, band = np.exp(log_cls(found.q, found.q_asimov, statistic)), np.exp(expected_log_cls(expected[:, None]))
    errors = data.errors(rows, mu)
    with np.errstate(invalid="ignore"):  # inf - inf outside of the domain, where the answer is blank
        moved = np.exp(
            [log_cls(found.q + i * errors[0], found.q_asimov + j * errors[1], statistic) for i, j in CORNERS]
        )
        e = 2 * (curves.error(bands, rows, mu) + curves.error(bands, rows, data.zero))
        moved_band = np.exp([expected_log_cls((expected + i * e)[:, None]) for i in (-1, 1)])
    blank = np.where(status == "converged", 1.0, np.nan)
    return HypothesisTest(
        mu=mu, muhat=best.x, q=found.q, q_asimov=found.q_asimov,
        clsb=clsb * blank, clb=clb * blank, cls=cls * blank, cls_expected=band * blank[:, None],
        error=np.abs(moved - cls).max(axis=0) * blank,
        error_expected=np.abs(moved_band - band).max(axis=0) * blank[:, None],
        in_domain=curves.in_domain(rows, mu), status=status,
    )  # fmt: skip


def upper_limits(
    curves: SignalCurves, level: float = 0.95, *, statistic: Statistic = "qmu_tilde", bands: str = ASIMOV
) -> UpperLimits:
    """The strength above which every signal is excluded by CL_s, observed and expected.

    Args:
        curves: of the signals, see `signals.along`.
        level: confidence level.
        statistic: "qmu_tilde" or "qmu".
        bands: as for `hypotest`.

    Raises:
        DomainError: a level outside (0.5, 1).
        ParameterError: a head that the density does not have.
    """
    target = np.log(1 - check_level(level))
    data = _Data(curves, statistic, ASIMOV)
    expected, status_expected, error_expected = _bands(_Data(curves, statistic, bands), level)
    widest = np.where(np.isfinite(expected), expected, 0.0).max(axis=1)
    widest[widest == 0] = 1.0
    best = data.fit(widest)

    def short(rows: np.ndarray, mu: np.ndarray) -> np.ndarray:
        found = data.both(rows, mu)
        return np.clip(target - log_cls(found.q, found.q_asimov, statistic), -50.0, 50.0)

    low = np.maximum(best.x, 0.0)
    high, found = expand(short, np.maximum(2 * low, widest), MOST)
    root = solve(short, low, high)
    status = _status(root, found, np.isnan(best.value), ~best.inside)
    good = np.flatnonzero(status == "converged")
    error = np.full(curves.n, np.nan)
    error[good] = _limit_error(data, good, root.x[good], statistic)
    observed = _numbers(root.x, status)
    at = np.where(np.isfinite(observed), observed, low)
    return UpperLimits(
        level, observed, expected, best.x, error, error_expected, curves.in_domain(data.every, at), status,
        status_expected,
    )  # fmt: skip


def _bands(data: _Data, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected limits (n, 5), their status and error: where sqrt(q_A) is as far as `band_reach`."""
    reach, k = band_reach(level), len(N_SIGMA)
    n = data.curves.n

    def short(rows: np.ndarray, mu: np.ndarray) -> np.ndarray:
        return np.minimum(np.sqrt(np.maximum(data.q_asimov(rows // k, mu), 0.0)) - reach[rows % k], 50.0)

    def widest(rows: np.ndarray, mu: np.ndarray) -> np.ndarray:
        return short(k * rows + k - 1, mu)

    high, found = (np.repeat(a, k) for a in expand(widest, np.ones(n), MOST))
    # Where there is no number at the far end, the nearer bands may have one: each is bracketed alone.
    alone = np.flatnonzero(np.repeat(np.isnan(widest(np.arange(n), high[::k])), k))
    high[alone], found[alone] = expand(lambda i, mu: short(alone[i], mu), np.ones(len(alone)), MOST)
    root = solve(short, np.zeros(n * k), high)
    status = _status(root, found, *(np.zeros((2, n * k), bool)))
    error = np.full(n * k, np.nan)
    good = np.flatnonzero(status == "converged")
    rows, mu = good // k, root.x[good]
    slope = data.curves.curve(data.asimov)(rows, mu)[1]
    e = data.curves.error(data.asimov, rows, mu) + data.curves.error(data.asimov, rows, data.zero[rows])
    error[good] = _ratio(e, np.abs(slope))
    return _numbers(root.x, status).reshape(n, k), status.reshape(n, k), error.reshape(n, k)


def _status(root: Roots, found: np.ndarray, failed: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """(m,) what became of each search."""
    broken = failed | np.isnan(root.value)
    jumped = ended | (np.abs(root.value) > TOLERANCE)
    return np.select([broken, ~found, jumped], ["failed", "no limit", "outside"], "converged")


def _numbers(x: np.ndarray, status: np.ndarray) -> np.ndarray:
    """(m,) limits: inf where there is none, NaN where there is no answer."""
    return np.select([status == "converged", status == "no limit"], [x, np.inf], np.nan)


def _limit_error(data: _Data, rows: np.ndarray, mu: np.ndarray, statistic: Statistic) -> np.ndarray:
    """How far ln CL_s may be off at the limit, over its slope there."""
    found, (e, e_asimov) = data.both(rows, mu), data.errors(rows, mu)
    here = log_cls(found.q, found.q_asimov, statistic)
    moved = [log_cls(found.q + i * e, found.q_asimov + j * e_asimov, statistic) for i, j in CORNERS]
    h = 1e-4 * mu
    up, down = (
        log_cls(found.q + s * h * found.slope, found.q_asimov + s * h * found.slope_asimov, statistic) for s in (1, -1)
    )
    return _ratio(np.abs(np.array(moved) - here).max(axis=0), np.abs(up - down) / (2 * h))


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A / b, and 0 where there is no error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a == 0, 0.0, a / b)


def discovery(curves: SignalCurves) -> Discovery:
    """q_0, p_0 and significance of every signal in the data; the best fit looks at mu >= 0 alone.

    Raises:
        ParameterError: the density has no head "observed".
    """
    rows, zero = np.arange(curves.n), np.zeros(curves.n)
    curve = curves.curve(OBSERVED)
    best = minimise(curve, zero, np.ones(curves.n), MOST)
    q0 = 2 * (curve(rows, zero)[0] - best.value)
    e = 2 * (curves.error(OBSERVED, rows, zero) + curves.error(OBSERVED, rows, best.x))
    return _significance(best.x, q0, e, ended=~best.inside)


def expected_discovery(curves: SignalCurves, mu: Any = 1.0) -> Discovery:
    """The medians of q_0, p_0 and significance if every signal is there with strength mu.

    Experiments that fluctuate by N sigma have a significance N higher.

    Args:
        curves: of the signals, with a head "asimov_signal", whose nll is q_0,A / 2 (`sources.asimov_signal`).
        mu: number or (n,), positive.

    Raises:
        ShapeError: mu of another shape, or not positive.
        ParameterError: the density has no such head.
    """
    curve, mu = curves.curve(SIGNAL), _strengths(curves, mu)
    rows = np.arange(curves.n)
    return _significance(mu, 2 * curve(rows, mu)[0], 2 * curves.error(SIGNAL, rows, mu), ended=np.zeros(curves.n, bool))


def _strengths(curves: SignalCurves, mu: Any) -> np.ndarray:
    """(n,) positive numbers."""
    mu = np.broadcast_to(np.asarray(mu, float), (curves.n,))
    if not (np.isfinite(mu) & (mu > 0)).all():
        raise ShapeError(f"the tested mu must be positive and finite, got {mu[~(mu > 0) | ~np.isfinite(mu)][:3]}")
    return mu


def _significance(mu: np.ndarray, q0: np.ndarray, error: np.ndarray, *, ended: np.ndarray) -> Discovery:
    """What q_0 (n,) and its error mean; `ended` where the curve did before its minimum."""
    from scipy.special import ndtr

    status = np.select([np.isnan(q0), ended | ~np.isfinite(q0)], ["failed", "outside"], "converged")
    q = np.where(status == "converged", q0, np.nan)
    z, far, near = (np.sqrt(np.maximum(moved, 0.0)) for moved in (q, np.maximum(q, 0.0) + error, q - error))
    return Discovery(mu, q0, ndtr(-z), z, np.maximum(far - z, z - near), status)
