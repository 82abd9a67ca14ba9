r"""Expected counts of a HistFactory model with their first and second derivatives, for `statistics.counting`.

The inputs x are the signal yields of the bins, which the luminosity scales if the workspace has a lumi modifier; the
nuisances are the free parameters of the background. With F_c, T_c (nominal and histosys) and N_c = F_c T_c of each cell
(see `histfactory_model`), L_pc = d log F_c / d theta_p and D_pc = d T_c / d theta_p,

    lambda_b              = sum_c N_c + lumi x_b
    d lambda_b / d p      = sum_c [ N_c L_pc + F_c D_pc ]
    d^2 lambda_b / dp dq  = sum_c [ N_c L_pc L_qc + F_c (L_pc D_qc + D_pc L_qc) ],    p != q
    d^2 lambda_b / dp^2   = sum_c [ N_c f''_pc / f_pc + 2 F_c L_pc D_pc + F_c D'_pc ]

Arrays have the rows of the batch last, so that every elementary operation runs along memory, and polynomials are
products of coefficients with powers. A factor that is 0 is replaced by 1e-30, so that N L is its derivative. What only
shapes steps, the second derivatives, is in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..statistics.counting import Constraints, Observation
from .histfactory_model import Model
from .sides import Sides, other_side, sides_of

__all__ = ["Yields"]

TINY = 1e-30
NEGATIVE = 1e-6
"""Events below zero that are rounding."""
CHUNK = 16
"""Rows whose second derivatives are made at a time, so that they stay in the cache."""


@dataclass(frozen=True)
class _Point:
    """What cells are made of at some points, rows of the batch last."""

    slopes: np.ndarray
    """(q, G, n) f' / f of each normsys; empty if not asked for, as are the next."""
    bends: np.ndarray
    """(q, G, n) f'' / f."""
    factors: np.ndarray
    """(C, n) F."""
    plain: np.ndarray
    """(M, C, n) the plain factors of each cell."""
    shapes: np.ndarray
    """(C, n) T."""


class Yields:
    """A `counting.CurvedModel` of a HistFactory model with the signal yields as inputs.

    Args:
        model: the background's arrays, without parameter of interest.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.start, self.lower, self.upper = model.start, model.lower, model.upper
        self.constraints = Constraints(precision=model.sigma**-2.0, rate=model.rate)
        self.observation = Observation(counts=model.observed, means=model.mean, auxiliary=model.count)
        self._both = np.concatenate([model.straight, model.curved])
        first = np.searchsorted(model.bin_of, np.arange(len(model.bins)))
        self._first = first
        ends = [*first[1:], len(model.nominal)]
        self._cuts = [slice(a, b) for a, b in zip(first, ends, strict=True)]
        self._groups = [slice(model.group_of[a], model.group_of[b - 1] + 1) for a, b in zip(first, ends, strict=True)]

    @cached_property
    def _collect(self) -> Any:
        """(B k, M C) sums slopes of cells with respect to plain factors into those of bins."""
        from scipy.sparse import csr_array

        m, k = self.model, len(self.start)
        row = m.bin_of * k + m.factor_columns
        entry = np.flatnonzero((m.factor_columns < k).ravel())
        shape = (len(m.bins) * k, m.factor_columns.size)
        return csr_array((np.ones(len(entry)), (row.ravel()[entry], entry)), shape=shape)

    @cached_property
    def _straight(self) -> np.ndarray:
        """(h, C) S, float32."""
        return self.model.straight.astype(np.float32)

    @cached_property
    def _curved(self) -> np.ndarray:
        """(h, C) A, float32."""
        return self.model.curved.astype(np.float32)

    @cached_property
    def _polynomials(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(q, G, 7), (q, 2 G, 7), (q, 3 G, 7) coefficients of f, of f and f', and of f, f' and f''."""
        value = self.model.coefficients
        powers = np.arange(1.0, 7.0)
        slope, bend = np.zeros((2, *value.shape))
        slope[:, :, :-1] = value[:, :, 1:] * powers
        bend[:, :, :-1] = slope[:, :, 1:] * powers
        return value, np.concatenate([value, slope], axis=1), np.concatenate([value, slope, bend], axis=1)

    # The protocol ----------------------------------------------------------------------------------------------------

    def hold(self, x: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, d): signals are used as they are."""
        return x

    def expected(self, held: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, B), (n, k) -> (n, B)."""
        point = self._point(np.ascontiguousarray(nu.T), 0)
        return np.add.reduceat(point.factors * point.shapes, self._first).T + self._signal(held, nu)

    def jacobian(self, held: np.ndarray, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, B), (n, k) -> (n, B), (n, B, k)."""
        model, columns = self.model, np.ascontiguousarray(nu.T)
        k, n = columns.shape
        point = self._point(columns, 1)
        cells = point.factors * point.shapes
        jacobian = (self._collect @ (cells / point.plain).reshape(-1, n)).reshape(-1, k, n)
        h = len(model.shape_columns)
        feature = _feature(columns[model.shape_columns], 1)[1]
        for b, (cut, groups) in enumerate(zip(self._cuts, self._groups, strict=True)):
            pulls = self._both[:, cut] @ point.factors[cut]
            pulls[h:] *= feature
            jacobian[b, model.shape_columns] += pulls[:h] + pulls[h:]
            jacobian[b, model.scale_columns] += np.einsum("pgn,gn->pn", point.slopes[:, groups], cells[cut])
        if model.lumi is not None:
            jacobian[:, model.lumi] += held.T
        expected = np.add.reduceat(cells, self._first).T + self._signal(held, nu)
        return expected, np.ascontiguousarray(jacobian.transpose(2, 0, 1))

    def inputs_jacobian(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, B), (n, k) -> (n, B, B): lumi on the diagonal."""
        return self._lumi(nu)[:, None, None] * np.eye(x.shape[1])

    def curvature(self, held: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(n, B), (n, k), (n, B) -> (n, k, k)."""
        parts = [slice(i, i + CHUNK) for i in range(0, max(len(nu), 1), CHUNK)]
        return np.concatenate([self._curvature(np.ascontiguousarray(nu[p].T), weights[p].T) for p in parts])

    def _curvature(self, nu: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(k, n), (B, n) -> (n, k, k)."""
        m = self.model
        k = len(nu)
        point = self._point(nu, 2)
        forces = weights[m.bin_of] * point.factors
        cells = forces * point.shapes
        _, feature, bend = _feature(nu[m.shape_columns], 2)
        slopes = self._slopes(point)
        shapes = np.zeros(slopes.shape, np.float32)
        shapes[:, m.shape_columns] = self._straight + _rows_first(feature)[:, :, None] * self._curved
        shapes *= _rows_first(forces)[:, None]
        diagonal = 2.0 * np.einsum("nkc,nkc->nk", slopes, shapes).astype(float)
        half = slopes * (0.5 * _rows_first(cells))[:, None]
        half += shapes
        lower = half @ slopes.transpose(0, 2, 1)
        out = (lower + lower.transpose(0, 2, 1)).astype(float)
        diagonal[:, m.factor_columns[m.factor_columns < k]] = 0.0
        diagonal[:, m.shape_columns] += (bend * (m.curved @ forces)).T
        for cut, groups in zip(self._cuts, self._groups, strict=True):
            diagonal[:, m.scale_columns] += np.einsum("pgn,gn->np", point.bends[:, groups], cells[cut])
        out[:, np.arange(k), np.arange(k)] = diagonal
        return out

    def _slopes(self, point: _Point) -> np.ndarray:
        """(n, k, C) L, float32."""
        m = self.model
        q, g, n = point.slopes.shape
        by_group = _rows_first(point.slopes.reshape(q * g, n)).reshape(n, q, g)
        out = np.zeros((n, len(self.start), len(m.nominal)), np.float32)
        for cut, groups in zip(self._cuts, self._groups, strict=True):
            out[:, m.scale_columns, cut] = by_group[:, :, groups]
        for plain, columns in zip(point.plain, m.factor_columns, strict=True):
            used = np.flatnonzero(columns < len(self.start))
            out[:, columns[used], used] = _rows_first(1.0 / plain[used])
        return out

    def inputs_curvature(self, x: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, B), (n, k), (n, B) -> (n, B, B), (n, B, k): 0, and the weights where the nuisance is the luminosity."""
        n, d = x.shape
        mixed = np.zeros((n, d, nu.shape[1]))
        if self.model.lumi is not None:
            mixed[:, :, self.model.lumi] = weights
        return np.zeros((n, d, d)), mixed

    @cached_property
    def sides(self) -> Sides:
        """Which nuisances may have several valleys."""
        return sides_of(self, len(self.model.bins))

    def other_sides(self, x: np.ndarray, nu: np.ndarray, seen: Observation) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(n, B), (n, k) where fits ended -> rows (m,) and starts (m, k) from which they may end higher."""
        yield other_side(self, self.sides, x, seen, nu)

    # Pieces ----------------------------------------------------------------------------------------------------------

    def sensible(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, B), (n, k) -> (n,) bool: whether the background is negative in no bin."""
        return np.all(self.expected(np.zeros_like(x), nu) >= -NEGATIVE, axis=1)

    def _lumi(self, nu: np.ndarray) -> np.ndarray:
        """(n,) what scales the signal."""
        m = self.model
        return nu[:, m.lumi] if m.lumi is not None else np.full(len(nu), m.lumi_value)

    def _signal(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        return self._lumi(nu)[:, None] * x

    def _point(self, nu: np.ndarray, order: int) -> _Point:
        """(k, n) -> what cells are made of, with derivatives up to an order."""
        m = self.model
        plain = np.concatenate([nu, np.ones((1, nu.shape[1]))])[m.factor_columns]
        plain[plain == 0] = TINY
        factors = plain.prod(axis=0)
        value, slopes, bends = self._scales(nu[m.scale_columns], order)
        factors *= value.prod(axis=0)[m.group_of]
        alpha = nu[m.shape_columns]
        features = np.concatenate([alpha, _feature(alpha, 0)[0]])
        return _Point(slopes, bends, factors, plain, self._both.T @ features + m.nominal[:, None])

    def _scales(self, alpha: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(q, n) -> f, f' / f and f'' / f of every normsys in every group, (q, G, n)."""
        m = self.model
        beyond = np.abs(alpha) >= 1.0
        inner = np.where(beyond, 0.0, alpha)
        powers = np.ones((len(alpha), 7, alpha.shape[1]))
        for i in range(1, 7):
            np.multiply(powers[:, i - 1], inner, out=powers[:, i])
        g = m.coefficients.shape[1]
        found = self._polynomials[order] @ powers
        value, slope, bend = found[:, :g], found[:, g : 2 * g], found[:, 2 * g :]
        p, row = np.nonzero(beyond)
        far = alpha[p, row][:, None]
        base = np.where(far > 0, m.log_up[p], -m.log_down[p])
        power = np.exp(base * far)
        value[p, :, row] = power
        if order > 0:
            slope[p, :, row] = base * power
            slope /= value
        if order > 1:
            bend[p, :, row] = base**2 * power
            bend /= value
        return value, slope, bend


def _rows_first(array: np.ndarray) -> np.ndarray:
    """(m, n) -> (n, m), float32."""
    return np.ascontiguousarray(array.T, np.float32)


def _feature(alpha: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The g of code4p and its first two derivatives, as many as asked for."""
    inside = np.abs(alpha) <= 1.0
    a = np.where(inside, alpha, 0.0)
    square = a * a
    value = np.where(inside, square * (15.0 - square * (10.0 - 3.0 * square)), 8.0 * np.abs(alpha))
    slope = bend = value
    if order > 0:
        slope = np.where(inside, a * (30.0 - square * (40.0 - 18.0 * square)), 8.0 * np.sign(alpha))
    if order > 1:
        bend = np.where(inside, 30.0 - square * (120.0 - 90.0 * square), 0.0)
    return value, slope, bend
