"""The steps of `counting`: a pool of fits, each on its own way; those that are done make room for the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .counting import Constraints, CountingFit, CountingModel, Observation

__all__ = ["Pool", "constraint_slopes", "information", "log_likelihood", "pull"]

RISE = 1e-4
"""The part of a step's promise that has to come true (Armijo)."""
SHORTEST = 1e-10
"""A step of which not even this fraction improves log L is none."""
NEAREST = 0.01
"""A fit that cannot begin at this part of the way from the model's start to its own cannot begin."""
CREEP = 0.7
"""Steps whose promise has not shrunk to this fraction of the last one's need the exact curvature."""
NEARLY, LEAST = 0.1, 0.2
"""Nats that a step promises from where on it learns from the last one, and the part of its own slope that it keeps."""
ROUNDING = 1e-15
"""Relative to all counts: what no comparison of two values of log L can see."""
DAMPING = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""How much of the expected information is added to a Hessian until it is definite."""
NEAR = 1e-8
"""A nuisance so near its bound rests on it: rounding may leave it beside, from where no step outwards helps."""
EMPTY = 1e-30
"""Expected counts below which a bin is empty."""
RIDGE = 1e-6
"""Curvature lent to nuisances without a constraint, relative to what the counts say: it costs 1e-6 of their step."""


def pull(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(n, B) d log L / d lambda = n / lambda - 1, with 0 / 0 = 0."""
    return np.divide(counts, expected, out=np.zeros(expected.shape), where=counts > 0) - 1.0


def information(expected: np.ndarray) -> np.ndarray:
    """1 / lambda, what a count says of its expectation; 0 where nothing is expected, for no nuisance changes that."""
    return np.divide(1.0, expected, out=np.zeros(expected.shape), where=expected > EMPTY)


def log_likelihood(constraints: Constraints, seen: Observation, expected: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """(n,) log L relative to the saturated one; -inf where a yield cannot be."""
    value = _poisson(seen.counts, expected)
    value -= 0.5 * (constraints.precision * (nu - seen.means) ** 2).sum(axis=1)
    counted = np.flatnonzero(constraints.rate)
    if len(counted):
        value += _poisson(seen.auxiliary[:, counted], constraints.rate[counted] * nu[:, counted])
    return value


def _poisson(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(n,) sum of n log(lambda / n) + n - lambda."""
    some = counts > 0
    with np.errstate(all="ignore"):
        ratio = np.divide(expected, counts, out=np.ones(expected.shape), where=some)
        value = (counts * np.log(ratio) + counts - expected).sum(axis=1)
        possible = ((expected > 0) | ((expected == 0) & ~some)).all(axis=1)
    return np.where(possible & ~np.isnan(value), value, -np.inf)


def constraint_slopes(constraints: Constraints, seen: Observation, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) first derivatives of the auxiliary measurements' log L, and (n, k) minus the second ones."""
    precision, rate = constraints.precision, constraints.rate
    grad = -precision * (nu - seen.means)
    curvature = np.tile(precision, (len(nu), 1))
    counted = np.flatnonzero(rate)
    if len(counted):
        there = seen.auxiliary[:, counted] / nu[:, counted]
        grad[:, counted] += there - rate[counted]
        curvature[:, counted] += there / nu[:, counted]
    return grad, curvature


class Pool:
    """Fits under way: a slot each, refilled until all rows of a block are done.

    Args:
        model: see `counting.CountingModel`.
        held: (n, ...) what the model made of the inputs.
        seen: with a row for each fit.
        fit: where the results go; `nu` holds the starts.
        tolerance: nats.
        max_iterations: of a row.
        size: number of slots.
    """

    def __init__(
        self,
        model: CountingModel,
        held: np.ndarray,
        seen: Observation,
        fit: CountingFit,
        tolerance: float,
        max_iterations: int,
        size: int,
    ) -> None:
        self.model, self.held, self.seen, self.fit = model, held, seen, fit
        self.tolerance, self.max_iterations, self.size = tolerance, max_iterations, size
        self.loose = np.flatnonzero(model.constraints.precision == 0)
        """Nuisances whose constraint, if there is one, may have no curvature."""
        self.entered = 0
        k = fit.nu.shape[1]
        self.rows = np.zeros(0, int)
        self.trial = np.zeros((0, k))
        """Where log L is evaluated next: nu + length * step, in the box."""
        self.step = np.zeros((0, k))
        self.length, self.gain = np.zeros(0), np.zeros(0)
        self.creeping = np.zeros(0, bool)
        self.last = np.zeros((0, 3, k))
        """Nuisances, step and gradient one step ago; NaN at the first."""

    def run(self) -> None:
        """Until every row has left."""
        self._fill()
        while len(self.rows):
            leaving = self._advance()
            if leaving.any():
                stay = ~leaving
                for name in ("rows", "trial", "step", "length", "gain", "creeping", "last"):
                    setattr(self, name, getattr(self, name)[stay])
                self._fill()

    def _fill(self) -> None:
        new = np.arange(self.entered, min(self.entered + self.size - len(self.rows), len(self.held)))
        self.entered += len(new)
        self.rows = np.concatenate([self.rows, new])
        self.trial = np.concatenate([self.trial, self.fit.nu[new]])
        self.step = np.concatenate([self.step, np.zeros((len(new), self.trial.shape[1]))])
        self.length = np.concatenate([self.length, np.ones(len(new))])
        self.gain = np.concatenate([self.gain, np.zeros(len(new))])
        self.creeping = np.concatenate([self.creeping, np.zeros(len(new), bool)])
        self.last = np.concatenate([self.last, np.full((len(new), *self.last.shape[1:]), np.nan)])

    def _advance(self) -> np.ndarray:
        """One evaluation of every slot; (m,) bool, which of them leave."""
        rows, fit = self.rows, self.fit
        held, seen = self.held[rows], self.seen.rows(rows)
        with np.errstate(all="ignore"):
            expected, jacobian = self.model.jacobian(held, self.trial)
        value = log_likelihood(self.model.constraints, seen, expected, self.trial)
        fit.iterations[rows] += 1
        before = fit.value[rows]
        rounding = ROUNDING * (seen.counts.sum(axis=1) + seen.counts.shape[1])
        better = np.isfinite(value) & (value >= before + RISE * self.length * self.gain - rounding)
        leaving = fit.iterations[rows] >= self.max_iterations
        taken = np.flatnonzero(better)
        fit.nu[rows[taken]], fit.value[rows[taken]] = self.trial[taken], value[taken]
        if len(taken) < len(rows):
            leaving |= self._shorten(~better, np.isfinite(before))
            held, seen, expected, jacobian = held[taken], seen.rows(taken), expected[taken], jacobian[taken]
        if len(taken):
            leaving[taken] |= self._aim(taken, held, seen, expected, jacobian, rounding[taken])
        return leaving

    def _shorten(self, refused: np.ndarray, begun: np.ndarray) -> np.ndarray:
        """Halve the steps that failed, and the way from the model's start of fits that cannot begin where they should;
        (m,) bool, which are out of steps.
        """
        self.length[refused] *= 0.5
        lost = refused & ~begun & (self.length < NEAREST)
        self.fit.status[self.rows[lost]] = "outside"
        stalled = refused & begun & (self.length < SHORTEST)
        self.fit.status[self.rows[stalled]] = "stalled"
        nu = self.fit.nu[self.rows[refused]] + self.length[refused, None] * self.step[refused]
        back = self.model.start + 0.5 * (self.trial[refused] - self.model.start)
        nu = np.where(begun[refused, None], nu, back)
        self.trial[refused] = np.clip(nu, self.model.lower, self.model.upper)
        return lost | stalled

    def _aim(
        self,
        taken: np.ndarray,
        held: np.ndarray,
        seen: Observation,
        expected: np.ndarray,
        jacobian: np.ndarray,
        rounding: np.ndarray,
    ) -> np.ndarray:
        """New steps from where the slots `taken` stand; (len(taken),) bool, which of them are done."""
        fit, rows = self.fit, self.rows[taken]
        nu = fit.nu[rows]
        slope = pull(seen.counts, expected)
        grad, curvature = constraint_slopes(self.model.constraints, seen, nu)
        grad += (slope[:, None, :] @ jacobian)[:, 0]
        low, high = self.model.lower + NEAR, self.model.upper - NEAR
        free = ~(((nu <= low) & (grad < 0)) | ((nu >= high) & (grad > 0)))
        grad *= free
        if len(self.loose):
            told = (jacobian[:, :, self.loose] ** 2 * information(expected)[:, :, None]).sum(axis=1)
            curvature[:, self.loose] = np.maximum(curvature[:, self.loose], RIDGE * np.maximum(told, RIDGE))
        # Where every nuisance is constrained the system is well conditioned, and a step need not have 16 digits.
        kind = np.float64 if len(self.loose) else np.float32
        step = scoring_step(grad, curvature, expected, jacobian.astype(kind, copy=False), free)
        gain = 0.5 * (step * grad).sum(axis=1)
        plain, step = step, secant_step(nu, step, grad, free, self.last[taken])
        self.last[taken] = np.stack([nu, plain, grad], axis=1)
        exact = np.flatnonzero(self.creeping[taken])
        if len(exact):
            sharper = self._newton_step(exact, held, seen, nu, grad, curvature, expected, jacobian, slope, free)
            up = np.isfinite(sharper).all(axis=1) & ((sharper * grad[exact]).sum(axis=1) > 0)
            step[exact] = np.where(up[:, None], sharper, plain[exact])
            gain[exact] = 0.5 * (step[exact] * grad[exact]).sum(axis=1)
        first = fit.iterations[rows] <= 1
        if hasattr(self.model, "curvature"):
            self.creeping[taken] |= ~first & (gain > CREEP * self.gain[taken] / 2)
        self.step[taken], self.gain[taken], self.length[taken] = step, 2 * gain, 1.0
        self.trial[taken] = np.clip(nu + step, self.model.lower, self.model.upper)
        fit.error[rows] = gain
        done = gain < np.maximum(self.tolerance, rounding)
        self._finish(taken[done], held[done], seen.rows(done))
        return done

    def _newton_step(
        self,
        some: np.ndarray,
        held: np.ndarray,
        seen: Observation,
        nu: np.ndarray,
        grad: np.ndarray,
        curvature: np.ndarray,
        expected: np.ndarray,
        jacobian: np.ndarray,
        slope: np.ndarray,
        free: np.ndarray,
    ) -> np.ndarray:
        """Steps with the exact Hessian, for some of the rows."""
        model: Any = self.model
        with np.errstate(all="ignore"):
            bent = model.curvature(held[some], nu[some], slope[some])
        inverse = information(expected[some])
        weights = (slope[some] + 1.0) * inverse
        hess = (jacobian[some] * weights[:, :, None]).transpose(0, 2, 1) @ jacobian[some] - bent
        diagonal = (jacobian[some] ** 2 * inverse[:, :, None]).sum(axis=1) + curvature[some]
        return _saddle_free_step(grad[some], hess, curvature[some], diagonal, free[some])

    def _finish(self, slots: np.ndarray, held: np.ndarray, seen: Observation) -> None:
        """Take the last step where it does not fall, and write what was found."""
        fit, rows = self.fit, self.rows[slots]
        with np.errstate(all="ignore"):
            expected = self.model.expected(held, self.trial[slots])
        value = log_likelihood(self.model.constraints, seen, expected, self.trial[slots])
        up = value >= fit.value[rows]
        fit.nu[rows[up]], fit.value[rows[up]] = self.trial[slots[up]], value[up]
        fit.status[rows] = "converged"
        nu = fit.nu[rows]
        fit.at_bound[rows] = ((nu <= self.model.lower) | (nu >= self.model.upper)).any(axis=1)


def secant_step(nu: np.ndarray, step: np.ndarray, grad: np.ndarray, free: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(n, k) scoring steps that learn from the last ones: near the maximum they err by alike factors from step to step
    (Anderson acceleration of depth one, J. ACM 12 (1965) 547, in the metric of the expected information).

    Args:
        nu: (n, k) where the steps begin.
        step: (n, k) by `scoring_step`.
        grad: (n, k), 0 where not free.
        free: (n, k) bool.
        last: (n, 3, k) nu, step and grad one step ago; rows with NaN keep their steps.
    """
    move, change, bend = nu - last[:, 0], step - last[:, 1], grad - last[:, 2]
    with np.errstate(all="ignore"):
        along = (grad * change).sum(axis=1) / (bend * change).sum(axis=1)
    learned = (step - along[:, None] * (move + change)) * free
    slope = (step * grad).sum(axis=1)
    use = (0.5 * slope < NEARLY) & ((learned * grad).sum(axis=1) > LEAST * slope) & np.isfinite(learned).all(axis=1)
    return np.where(use[:, None], learned, step)


def scoring_step(
    grad: np.ndarray, curvature: np.ndarray, expected: np.ndarray, jacobian: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """(n, k) Fisher-scoring steps in the free nuisances; in bin space if there are fewer bins than nuisances.

    Args:
        grad: (n, k), 0 where not free.
        curvature: (n, k) > 0, of the constraints.
        expected: (n, B).
        jacobian: (n, B, k).
        free: (n, k) bool.
    """
    bins, k = jacobian.shape[1:]
    if bins >= k:
        weights = information(expected).astype(jacobian.dtype)
        hess = (jacobian * weights[:, :, None]).transpose(0, 2, 1) @ jacobian
        return _dense_step(grad, hess, curvature, free)
    spread = free / curvature
    half = jacobian * np.sqrt(spread)[:, None, :].astype(jacobian.dtype)
    system = half @ half.transpose(0, 2, 1)
    diagonal = np.arange(bins)
    system[:, diagonal, diagonal] += np.where(expected > EMPTY, expected, 1.0)
    move = spread * grad
    right = jacobian @ move[:, :, None].astype(jacobian.dtype)
    z = np.linalg.solve(system, right)
    return move - spread * (z.transpose(0, 2, 1) @ jacobian)[:, 0]


def _saddle_free_step(
    grad: np.ndarray, hess: np.ndarray, curvature: np.ndarray, information: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """As `_dense_step`; a matrix that is not positive gets so much of the expected information (n, k) as makes it so
    (K. Levenberg, Q. Appl. Math. 2 (1944) 164), so that fits leave saddles and do not seek them.
    """
    from scipy.linalg.lapack import dpotrf, dpotrs

    diagonal = np.arange(grad.shape[1])
    hess = np.where(free[:, :, None] & free[:, None, :], hess, 0.0)
    hess[:, diagonal, diagonal] += np.where(free, curvature, 1.0)
    out = np.zeros(grad.shape)
    for i, matrix in enumerate(hess):
        for damping in DAMPING:
            damped = matrix.copy()
            damped[diagonal, diagonal] += damping * information[i]
            factor, indefinite = dpotrf(damped.T, lower=1, clean=0, overwrite_a=1)
            if not indefinite:
                out[i] = dpotrs(factor, grad[i], lower=1)[0] * free[i]
                break
    return out


def _dense_step(grad: np.ndarray, hess: np.ndarray, curvature: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(n, k) solutions of (hess + diag curvature) p = grad among the free nuisances."""
    k = grad.shape[1]
    diagonal = np.arange(k)
    both = free[:, :, None] & free[:, None, :]
    hess = np.where(both, hess, 0.0)
    hess[:, diagonal, diagonal] += np.where(free, curvature, 1.0)
    return np.linalg.solve(hess, grad[:, :, None].astype(hess.dtype))[:, :, 0] * free
