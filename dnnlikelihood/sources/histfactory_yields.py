r"""Expected counts of a HistFactory model with their first and second derivatives, for `statistics.counting`.

The inputs x are the signal yields of the bins, which the luminosity scales if the workspace has a lumi modifier; the
nuisances are the free parameters of the background. With F_c, T_c (nominal and histosys) and N_c = F_c T_c of each cell
(see `histfactory_model`), L_pc = d log F_c / d theta_p and D_pc = d T_c / d theta_p,

    lambda_b              = sum_c N_c + lumi x_b
    d lambda_b / d p      = sum_c [ N_c L_pc + F_c D_pc ]
    d^2 lambda_b / dp dq  = sum_c [ N_c L_pc L_qc + F_c (L_pc D_qc + D_pc L_qc) ],    p != q
    d^2 lambda_b / dp^2   = sum_c [ N_c f''_pc / f_pc + 2 F_c L_pc D_pc + F_c D'_pc ]

L is sparse: only cells that a modifier touches are visited. Arrays have the rows of the batch last, so that every
elementary operation runs along memory. A factor that is 0 is replaced by 1e-150, so that N L is its derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..statistics.counting import Constraints, Observation
from .histfactory_model import Model

__all__ = ["Yields"]

TINY = 1e-150


@dataclass(frozen=True)
class _Point:
    """What cells are made of at some points, rows of the batch last."""

    scales: np.ndarray
    """(G, n) products of normsys."""
    slopes: np.ndarray
    """(Q, G, n) f' / f of each."""
    bends: np.ndarray
    """(Q, G, n) f'' / f of each; empty if not asked for."""
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

    @cached_property
    def _first(self) -> np.ndarray:
        """(B,) the first cell of each bin."""
        return np.searchsorted(self.model.bin_of, np.arange(len(self.model.bins)))

    @cached_property
    def _collect(self) -> Any:
        """(B k, (Q + M) C) sums slopes of cells into those of bins: of normsys, then of plain factors."""
        from scipy.sparse import csr_array

        m, k = self.model, len(self.start)
        used = np.any(m.coefficients != 0, axis=0) | (m.log_up != 0) | (m.log_down != 0)
        parameter = np.concatenate([np.where(used, m.scale_columns, k)[:, m.group_of], m.factor_columns])
        row = np.broadcast_to(m.bin_of * k, parameter.shape) + parameter
        entry = np.flatnonzero((parameter < k).ravel())
        shape = (len(m.bins) * k, parameter.size)
        return csr_array((np.ones(len(entry)), (row.ravel()[entry], entry)), shape=shape)

    # The protocol ----------------------------------------------------------------------------------------------------

    def hold(self, x: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, d): signals are used as they are."""
        return x

    def expected(self, held: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, B), (n, k) -> (n, B)."""
        point = self._point(nu.T, 0)
        return np.add.reduceat(point.factors * point.shapes, self._first).T + self._signal(held, nu)

    def jacobian(self, held: np.ndarray, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, B), (n, k) -> (n, B), (n, B, k)."""
        model, columns = self.model, nu.T
        point = self._point(columns, 1)
        cells = point.factors * point.shapes
        slopes = np.concatenate([point.slopes[:, model.group_of], 1.0 / point.plain])
        slopes *= cells
        bins, (k, n) = len(model.bins), columns.shape
        jacobian = (self._collect @ slopes.reshape(-1, n)).reshape(bins, k, n)
        h = len(model.shape_columns)
        if h:
            _, g, _ = _feature(columns[model.shape_columns], 1)
            for b, cut in enumerate(self._cuts):
                pulls = self._both[:, cut] @ point.factors[cut]
                jacobian[b, model.shape_columns] += pulls[:h] + g * pulls[h:]
        if model.lumi is not None:
            jacobian[:, model.lumi] += held.T
        expected = np.add.reduceat(cells, self._first).T + self._signal(held, nu)
        return expected, np.ascontiguousarray(jacobian.transpose(2, 0, 1))

    def inputs_jacobian(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, B), (n, k) -> (n, B, B): lumi on the diagonal."""
        return self._lumi(nu)[:, None, None] * np.eye(x.shape[1])

    def curvature(self, held: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(n, B), (n, k), (n, B) -> (n, k, k)."""
        model, columns = self.model, nu.T
        k, n = columns.shape
        point = self._point(columns, 2)
        weighted = weights.T[model.bin_of] * point.factors
        h = model.shape_columns
        _, g, bend = _feature(columns[h], 2)
        slopes, shapes = (np.zeros((n, len(weighted), k)) for _ in range(2))
        shapes[:, :, h] = (model.straight[:, :, None] + g[:, None] * model.curved[:, :, None]).transpose(2, 1, 0)
        self._scatter(slopes, point.slopes, 1.0 / point.plain)
        half = (0.5 * weighted * point.shapes).T[:, :, None] * slopes + weighted.T[:, :, None] * shapes
        out = slopes.transpose(0, 2, 1) @ half
        out += out.transpose(0, 2, 1)
        diagonal = 2.0 * (weighted.T[:, None] @ (slopes * shapes))[:, 0]
        diagonal[:, h] += (bend * (model.curved @ weighted)).T
        self._scatter(slopes, point.bends, np.zeros(point.plain.shape))
        diagonal += ((weighted * point.shapes).T[:, None] @ slopes)[:, 0]
        out[:, np.arange(k), np.arange(k)] = diagonal
        return out

    def inputs_curvature(self, x: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, B), (n, k), (n, B) -> (n, B, B), (n, B, k): 0, and the weights where the nuisance is the luminosity."""
        n, d = x.shape
        mixed = np.zeros((n, d, nu.shape[1]))
        if self.model.lumi is not None:
            mixed[:, :, self.model.lumi] = weights
        return np.zeros((n, d, d)), mixed

    # Pieces ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _cuts(self) -> list[slice]:
        """The cells of each bin."""
        ends = np.append(self._first[1:], len(self.model.nominal))
        return [slice(a, b) for a, b in zip(self._first, ends, strict=True)]

    def _lumi(self, nu: np.ndarray) -> np.ndarray:
        """(n,) what scales the signal."""
        m = self.model
        return nu[:, m.lumi] if m.lumi is not None else np.full(len(nu), m.lumi_value)

    def _signal(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        return self._lumi(nu)[:, None] * x

    def _scatter(self, out: np.ndarray, scales: np.ndarray, plain: np.ndarray) -> None:
        """Write values of the modifiers of each cell, (Q, G, n) and (M, C, n), into (n, C, k)."""
        m = self.model
        cells = np.arange(len(m.nominal))
        out = out.transpose(1, 2, 0)
        for q, columns in enumerate(m.scale_columns):
            used = (m.coefficients[:, q] != 0).any(axis=0)[m.group_of]
            out[cells[used], columns[m.group_of[used]]] = scales[q, m.group_of[used]]
        for j, columns in enumerate(m.factor_columns):
            used = columns < len(self.start)
            out[cells[used], columns[used]] = plain[j, used]

    def _point(self, nu: np.ndarray, order: int) -> _Point:
        """(k, n) -> what cells are made of, with derivatives up to an order."""
        m = self.model
        n = nu.shape[1]
        scales, slopes, bends = self._scales(nu, order)
        plain = np.concatenate([nu, np.ones((1, n))])[m.factor_columns]
        plain[plain == 0] = TINY
        factors = plain.prod(axis=0)
        if len(m.scale_columns):
            factors *= scales[m.group_of]
        alpha = nu[m.shape_columns]
        features = np.concatenate([alpha, _feature(alpha, 0)[0]])
        shapes = self._both.T @ features + m.nominal[:, None]
        return _Point(scales, slopes, bends, factors, plain, shapes)

    def _scales(self, nu: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Products of the normsys of each group (G, n), and f' / f and f'' / f of each (Q, G, n)."""
        m = self.model
        alpha = nu[m.scale_columns]
        none = np.zeros((0, *alpha.shape[1:]))
        value, slope, bend = np.zeros(alpha.shape), none, none
        powers = m.coefficients[::-1, :, :, None]
        for a in powers:
            value += a
            value *= alpha
        value += 1.0
        if order > 0:
            slope = np.zeros(alpha.shape)
            for i, a in zip(range(6, 0, -1), powers, strict=True):
                slope *= alpha
                slope += i * a
        if order > 1:
            bend = np.zeros(alpha.shape)
            for i, a in zip(range(6, 1, -1), powers, strict=False):
                bend *= alpha
                bend += i * (i - 1) * a
        q, g, row = np.nonzero((np.abs(nu) >= 1.0)[m.scale_columns])
        far = alpha[q, g, row]
        base = np.where(far > 0, m.log_up[q, g], -m.log_down[q, g])
        value[q, g, row] = np.exp(base * far)
        if order > 0:
            slope[q, g, row] = base * value[q, g, row]
            slope /= value
        if order > 1:
            bend[q, g, row] = base**2 * value[q, g, row]
            bend /= value
        return value.prod(axis=0), slope, bend


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
