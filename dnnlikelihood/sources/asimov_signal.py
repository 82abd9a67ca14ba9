r"""The Asimov data of each signal itself: what a discovery may expect (arXiv:1007.1727, eqs. 12 and 17).

    theta^ = argmax over theta of log L(s, theta | n_obs, a_0)
    n_A = lambda(s, theta^),   a_A = the auxiliary data that theta^ predicts                       the data set of s
    logpdf(s) = max over theta of log L(0, theta | n_A, a_A) - log L(s, theta^ | n_A, a_A)  =  - q_0,A / 2

Nothing describes n_A and a_A better than s and theta^ do, which made them. So the second term is the maximum over
everything, and the difference is log L relative to the saturated one, as `statistics.counting` has it.

    d logpdf / ds = sum_b log(lambda_b / n_A,b) dn_A,b / ds + sum_k [P_k (theta_k - theta^_k) + tau_k log(theta_k /
    theta^_k)] d theta^_k / ds,       dn_A / ds = d lambda / ds + J d theta^ / ds

by the envelope theorem, lambda and theta of no signal, J = d lambda / d theta at s and theta^.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..statistics.counting import CountingFit, CountingModel, CurvedModel, Observation
from ..statistics.counting_hessian import maximiser_pullback
from .profiled import Starts, profile_from
from .starts import find_starts

__all__ = ["AsimovOfSignal", "asimov", "fit_head"]


def asimov(model: CountingModel, x: np.ndarray, nu: np.ndarray) -> Observation:
    """The data sets that inputs (n, d) and nuisances (n, k) predict, a row for each."""
    constraints = model.constraints
    means = np.where(constraints.precision > 0, nu, 0.0)
    return Observation(model.expected(model.hold(x), nu), means, constraints.rate * nu)


@dataclass(frozen=True)
class AsimovOfSignal:
    """A data set that is another one for every signal; see the module."""

    observed: Observation
    """From which the nuisances of the Asimov data are fitted."""
    starts: Starts
    """Where those fits begin."""

    @property
    def counts(self) -> np.ndarray:
        """(B,) of the observed data: bins without any are empty in the Asimov data of no signal too."""
        return self.observed.counts

    @property
    def means(self) -> np.ndarray:
        """(k,) centres of the nuisances before any data."""
        return self.observed.means

    def fit(self, model: Any, x: np.ndarray, starts: Starts) -> CountingFit:
        """Fits without signal to the Asimov data of signals (n, d), with gradient; `starts` are theirs."""
        first = self.first_fit(model, x)
        nothing = np.zeros_like(x)
        made = asimov(model, x, first.nu)
        fit = profile_from(model, nothing, made, starts, gradient=False)
        status = np.where(first.converged, fit.status, first.status)
        known = np.flatnonzero(np.isfinite(first.value) & np.isfinite(fit.value))
        gradient = np.zeros(x.shape)
        gradient[known] = _gradient(
            model, x[known], first.nu[known], fit.nu[known], self.observed.each(len(known)), made.rows(known)
        )
        value = np.where(np.isfinite(first.value), fit.value, -np.inf)
        return replace(fit, value=value, gradient=gradient, status=status)

    def first_fit(self, model: CountingModel, x: np.ndarray) -> CountingFit:
        """theta^: the fits of signals to the observed data."""
        return profile_from(model, x, self.observed, self.starts, gradient=False)

    def maximum(self, model: CountingModel, x: np.ndarray, one: np.ndarray) -> CountingFit:
        """The maximum over nuisances and strength, in units in which `one` (n,) is a strength of 1: 0, at theta^."""
        first = self.first_fit(model, x)
        value = np.where(np.isfinite(first.value), 0.0, -np.inf)
        return replace(first, nu=np.column_stack([first.nu, one]), value=value)

    def find_starts(self, model: CountingModel, signals: np.ndarray) -> Starts:
        """Where fits without signal begin, found on the Asimov data of trial signals, the first of them zero."""
        made = asimov(model, signals, self.first_fit(model, signals).nu)
        return find_starts(model, np.zeros_like(signals), {"made": made})["made"]


def fit_head(model: CountingModel, x: np.ndarray, seen: Observation | AsimovOfSignal, starts: Starts) -> CountingFit:
    """The maxima over the nuisances of a data set of either kind, with gradient."""
    return seen.fit(model, x, starts) if isinstance(seen, AsimovOfSignal) else profile_from(model, x, seen, starts)


def _gradient(
    model: CurvedModel, x: np.ndarray, hat: np.ndarray, nu: np.ndarray, observed: Observation, made: Observation
) -> np.ndarray:
    """(n, d), see the module: what changes with s directly, and with theta^."""
    constraints = model.constraints
    expected, slope = model.jacobian(model.hold(x), hat)
    without = model.expected(model.hold(np.zeros_like(x)), nu)
    some = made.counts > 0
    ratio = np.log(np.divide(without, made.counts, out=np.ones_like(expected), where=some))
    counted = constraints.rate > 0
    logs = np.log(np.divide(nu, hat, out=np.ones_like(nu), where=np.broadcast_to(counted, nu.shape)))
    to_hat = (ratio[:, None, :] @ slope)[:, 0] + constraints.precision * (nu - hat) + constraints.rate * logs
    direct = (ratio[:, None, :] @ model.inputs_jacobian(x, hat))[:, 0]
    return direct + maximiser_pullback(model, x, hat, to_hat, observed)
