r"""`EftCounts`: yields of an `EftModel` and their derivatives in closed form, for the profiler (`statistics.counting`).

With y_bp = r_bp Q_bp(c) exp(...) and the slope of an exponent g_kbp = a_kbp + h'(t_k) d_kbp,

    d lambda_b / d t_k        = sum_p y_bp g_kbp
    d2 lambda_b / d t_k d t_l = sum_p y_bp g_kbp g_lbp + delta_kl h''(t_k) sum_p y_bp d_kbp
    d lambda_b / d c_i        = 2 sum_p r_bp exp(...) (S_bp x)_i

Effects much larger on one side than on the other may give log L two maxima: in the cusp where t_k ~ 0 and h bends, to
which the bend adds a curvature of sum_b (n_b / lambda_b - 1) sum_p y_bp d_kbp / 0.3, and on the steep side beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..statistics.counting import Constraints, Observation
from .eft_model import BEND, EftModel

__all__ = ["EftCounts", "monomials"]

STEEP = 0.25
"""|d| of an effect above which its two sides may hold a maximum each."""
CUSP = -2.0
"""Curvature of log L from a bend in which a nuisance is held."""
BEYOND = 1.5
"""Standard deviations: where the maximum beyond a cusp is looked for."""
UNTHREADED = 250_000
"""Products of matrices with fewer multiplications are left on one thread by BLAS; many small ones gain by none."""


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product (n, k) @ (k, m), in pieces for which no threads are woken."""
    out = np.empty((len(a), b.shape[1]))
    for i in range(0, len(a), step := max(1, UNTHREADED // max(b.size, 1))):
        np.matmul(a[i : i + step], b, out=out[i : i + step])
    return out


def monomials(c: np.ndarray) -> np.ndarray:
    """(n, d) -> (n, (d + 1) (d + 2) / 2): x_i x_j, i <= j, of x = (1, c), those with i < j twice."""
    x = np.concatenate([np.ones((len(c), 1)), c], axis=1)
    i, j = np.triu_indices(x.shape[1])
    return x[:, i] * x[:, j] * np.where(i == j, 1.0, 2.0)


class EftCounts:
    """An `EftModel` as a `CountingModel`: inputs are the coefficients (n, d), nuisances t (n, k)."""

    def __init__(self, model: EftModel) -> None:
        self.model = model
        k = len(model.nuisances)
        self.observation = Observation(np.asarray(model.observed, float), np.zeros(k), np.zeros(k))
        self.constraints = Constraints(np.ones(k), np.zeros(k))
        self.lower, self.upper, self.start = np.full(k, -np.inf), np.full(k, np.inf), np.zeros(k)
        self._shape = model.rate.shape
        size = len(model.coefficients) + 1
        i, j = np.triu_indices(size)
        self._triangle = np.ascontiguousarray(model.structure[:, :, i, j].reshape(-1, len(i)).T)
        even, odd = 0.5 * (model.up + model.down), 0.5 * (model.up - model.down)
        self._bent = np.flatnonzero(np.any(odd != 0, axis=(1, 2)))
        """Nuisances whose effect is not symmetric."""
        columns = model.rate.size
        self._even, self._odd = even.reshape(k, columns), odd[self._bent].reshape(len(self._bent), columns)
        both = np.concatenate([even, odd[self._bent]])
        self._slopes = np.ascontiguousarray(both.transpose(1, 2, 0))
        """(B, P, k + bent)."""
        shared = model.structure[:, :, :, 1:] * model.rate[:, model.touched, None, None]
        self._inputs = 2 * shared.reshape(len(model.bins), -1, size - 1)
        """(B, signals * (d + 1), d)."""

    def hold(self, x: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, B, P): the rates, those of signals times Q(c)."""
        n = len(x)
        q = (monomials(x) @ self._triangle).reshape(n, self._shape[0], len(self.model.touched))
        held = np.tile(self.model.rate, (n, 1, 1))
        held[:, :, self.model.touched] *= q
        return held

    def _bend(self, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h(t) and sqrt(t^2 + 0.09) of the nuisances that need it."""
        root = np.sqrt(nu[:, self._bent] ** 2 + BEND**2)
        return root - BEND, root

    def _factors(self, nu: np.ndarray) -> np.ndarray:
        """(n, B, P) exp(...)."""
        exponent = _product(nu, self._even)
        if len(self._bent):
            exponent += self._bend(nu)[0] @ self._odd
        return np.exp(exponent, out=exponent).reshape(len(nu), *self._shape)

    def expected(self, held: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, B) lambda."""
        return np.einsum("nbp,nbp->nb", held, self._factors(nu))

    def jacobian(self, held: np.ndarray, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, B) lambda and (n, B, k) d lambda / dt."""
        yields = self._factors(nu)
        yields *= held
        k = nu.shape[1]
        out = (yields.transpose(1, 0, 2) @ self._slopes).transpose(1, 0, 2)
        jacobian = out[:, :, :k]
        if len(self._bent):
            slope = nu[:, self._bent] / self._bend(nu)[1]
            jacobian[:, :, self._bent] += out[:, :, k:] * slope[:, None, :]
        return yields.sum(axis=2), jacobian

    def inputs_jacobian(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, B, d) d lambda / dc."""
        n, bins = len(x), self._shape[0]
        factors = self._factors(nu)[:, :, self.model.touched]
        one = np.concatenate([np.ones((n, 1)), x], axis=1)
        terms = (factors[:, :, :, None] * one[:, None, None, :]).reshape(n, bins, -1)
        return (terms.transpose(1, 0, 2) @ self._inputs).transpose(1, 0, 2)

    def curvature(self, held: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(n, k, k) sum_b w_b d2 lambda_b / dt dt."""
        n = len(nu)
        yields = (weights[:, :, None] * held * self._factors(nu)).reshape(n, -1)
        slopes = np.broadcast_to(self._even, (n, *self._even.shape)).copy()
        root = self._bend(nu)[1]
        slopes[:, self._bent] += (nu[:, self._bent] / root)[:, :, None] * self._odd
        out = np.zeros((n, nu.shape[1], nu.shape[1]))
        for i in range(0, slopes.shape[2], step := max(1, UNTHREADED // max(nu.shape[1] ** 2, 1))):
            some = slopes[:, :, i : i + step]
            out += (some * yields[:, None, i : i + step]) @ some.transpose(0, 2, 1)
        out[:, self._bent, self._bent] += BEND**2 / root**3 * (yields @ self._odd.T)
        return out

    def inputs_curvature(self, x: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, d, d), (n, d, k): sum_b w_b d2 lambda_b / dc dc and sum_b w_b d2 lambda_b / dc dt."""
        n, d = x.shape
        touched = self.model.touched
        factors = (weights[:, :, None] * self._factors(nu)[:, :, touched]).reshape(n, -1, 1)
        table = self._inputs.reshape(-1, d + 1, d)
        both = (factors[:, :, 0] @ table[:, 1:].reshape(len(table), -1)).reshape(n, d, d)
        one = np.concatenate([np.ones((n, 1)), x], axis=1)
        by_x = factors * np.einsum("nj,pji->npi", one, table, optimize=True)
        columns = (np.arange(len(self.model.bins))[:, None] * self._shape[1] + touched).ravel()
        mixed = by_x.transpose(0, 2, 1) @ self._even[:, columns].T
        slope = nu[:, self._bent] / self._bend(nu)[1]
        mixed[:, :, self._bent] += (by_x.transpose(0, 2, 1) @ self._odd[:, columns].T) * slope[:, None, :]
        return both, mixed

    def other_sides(self, x: np.ndarray, nu: np.ndarray, seen: Observation) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Where fits that ended at nu might find a higher maximum: rows (m,) and starts (m, k), on the other side.

        Args:
            x: (n, d) coefficients.
            nu: (n, k) where the fits ended.
            seen: with a row for each fit.
        """
        steep = np.flatnonzero(np.abs(self._odd).max(axis=1, initial=0.0) > STEEP)
        if not len(steep):
            return
        yields = self.hold(x) * self._factors(nu)
        yields *= (seen.counts / yields.sum(axis=2) - 1)[:, :, None]
        bend = yields.reshape(len(x), -1) @ self._odd[steep].T / BEND
        for j, column in enumerate(self._bent[steep]):
            up, down = np.abs(self.model.up[column]).max(), np.abs(self.model.down[column]).max()
            side, t = (1.0 if up > down else -1.0), nu[:, column]
            held, beyond = (np.abs(t) < BEND) & (bend[:, j] < CUSP), side * t > BEND
            rows = np.flatnonzero(held | beyond)
            start = nu[rows].copy()
            start[:, column] = np.where(held[rows], side * BEYOND, 0.0)
            yield rows, start
