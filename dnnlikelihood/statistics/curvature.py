r"""Batched Newton steps for two shapes of curvature matrix K = -d^2 logpdf / d theta^2.

`Dense` holds any symmetric K (n, d, d). `Arrow` holds one that is diagonal outside k dense columns D,

    K = [ K_DD  K_DS ]      K_SS diagonal and eliminated first:
        [ K_SD  K_SS ]      (K_DD - K_DS K_SS^-1 K_SD) p_D = r_D - K_DS K_SS^-1 r_S,

in O(d k^2) instead of O(d^3): counting likelihoods with one statistical nuisance a bin are of this kind. K is positive
definite exactly when K_SS and the Schur complement are (Haynsworth, Linear Algebra Appl. 1 (1968) 73).

A damped step solves (K + lambda diag|K|) p = r (Marquardt, SIAM J. Appl. Math. 11 (1963) 431). Where that matrix is
not positive definite, eigenvalues are replaced by their magnitudes, so that p still climbs and leaves saddles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

__all__ = ["Arrow", "Curvature", "Dense", "Step", "curvature_of"]

FLOOR = 1e-12
"""Smallest eigenvalue that counts, relative to a diagonal scaled to 1."""


@dataclass(frozen=True, slots=True)
class Step:
    """A batch of steps."""

    p: np.ndarray
    """(n, d) displacement."""
    definite: np.ndarray
    """(n,) bool: the damped matrix was positive definite."""
    climb: np.ndarray
    """(n,) predicted gain 1/2 sum |eigenvalue| p^2 of the rows that are not definite; 0 for the others."""


class Curvature(Protocol):
    """What the maximiser asks of a batch of curvature matrices."""

    def take(self, rows: np.ndarray) -> Self:
        """Some of the batch."""

    def put(self, rows: np.ndarray, new: Self) -> None:
        """Put others in place of some."""

    def times(self, p: np.ndarray, damping: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, d): (K + damping diag|K|) p."""

    def solve(self, r: np.ndarray, free: np.ndarray, damping: np.ndarray) -> Step:
        """Damped solution of K p = r among the free coordinates; p = 0 elsewhere."""


@dataclass(slots=True)
class Dense:
    """Any symmetric K, (n, d, d)."""

    matrix: np.ndarray

    def take(self, rows: np.ndarray) -> Dense:
        """Some of the batch."""
        return Dense(self.matrix[rows])

    def put(self, rows: np.ndarray, new: Dense) -> None:
        """Put others in place of some."""
        self.matrix[rows] = new.matrix

    def times(self, p: np.ndarray, damping: np.ndarray) -> np.ndarray:
        """(K + damping diag|K|) p."""
        extra = damping[:, None] * np.abs(np.einsum("nii->ni", self.matrix))
        return np.matmul(self.matrix, p[:, :, None])[:, :, 0] + extra * p

    def solve(self, r: np.ndarray, free: np.ndarray, damping: np.ndarray) -> Step:
        """Damped solution among the free coordinates, in variables scaled to a unit diagonal."""
        diagonal = np.abs(np.einsum("nii->ni", self.matrix))
        scale = free / np.sqrt(np.maximum(diagonal, FLOOR * np.maximum(diagonal.max(axis=1, keepdims=True), 1.0)))
        a = self.matrix * scale[:, :, None] * scale[:, None, :]
        np.einsum("nii->ni", a)[:] += np.where(free, damping[:, None], 1.0)
        p, definite, climb = np.empty_like(r), np.ones(len(r), bool), np.zeros(len(r))
        for i, (matrix, right) in enumerate(zip(a, scale * r, strict=True)):
            p[i], definite[i], climb[i] = _solve_one(matrix, right)
        return Step(p * scale, definite, climb)


def _solve_one(a: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, bool, float]:
    """One system by Cholesky, or by eigenvalues where that fails.

    LAPACK is called a matrix at a time, because NumPy's batched Cholesky gives up on all for the sake of one.
    """
    from scipy.linalg.lapack import dposv

    _, p, info = dposv(a, r)
    if info == 0:
        return p, True, 0.0
    eigenvalues, vectors = np.linalg.eigh(a)
    along = vectors.T @ r
    size = np.maximum(np.abs(eigenvalues), FLOOR)
    p = along / size
    # On a saddle the gradient along the direction that climbs may vanish: a step there is taken all the same.
    stuck = (eigenvalues < -1e-6) & (np.abs(p) < 0.1)
    p[stuck] = np.where(along[stuck] < 0, -0.1, 0.1)
    # Flat and level: stay. Flat and rising: go far, there is no knowing how far.
    flat = np.abs(eigenvalues) <= 1e-9
    level = flat & (np.abs(along) <= 1e-9)
    p[flat] = np.where(level[flat], 0.0, np.clip(p[flat], -1e3, 1e3))
    concave = not stuck.any() and bool((level == flat).all()) and bool(eigenvalues.min() > -1e-6)
    return vectors @ p, concave, 0.5 * float(size @ p**2) + float(along[flat] @ p[flat])


@dataclass(slots=True)
class Arrow:
    """K that is diagonal outside the dense columns."""

    columns: np.ndarray
    """(n, d, k): the dense columns of K."""
    diagonal: np.ndarray
    """(n, d): the diagonal outside them; 0 at the dense columns."""
    dense: Sequence[int]
    """(k,) which they are."""

    def take(self, rows: np.ndarray) -> Arrow:
        """Some of the batch."""
        return Arrow(self.columns[rows], self.diagonal[rows], self.dense)

    def put(self, rows: np.ndarray, new: Arrow) -> None:
        """Put others in place of some."""
        self.columns[rows], self.diagonal[rows] = new.columns, new.diagonal

    def _sparse(self) -> np.ndarray:
        sparse = np.ones(self.diagonal.shape[1], bool)
        sparse[list(self.dense)] = False
        return sparse

    def times(self, p: np.ndarray, damping: np.ndarray) -> np.ndarray:
        """(K + damping diag|K|) p."""
        dense = list(self.dense)
        diagonal = self.diagonal.copy()
        diagonal[:, dense] = np.einsum("nkk->nk", self.columns[:, dense, :])
        out = self.diagonal * p + np.einsum("ndk,nk->nd", self.columns, p[:, dense])
        out[:, dense] += np.einsum("nsk,ns->nk", self.columns, p * self._sparse())
        return out + damping[:, None] * np.abs(diagonal) * p

    def full(self) -> Dense:
        """The same matrices written out."""
        n, d, _ = self.columns.shape
        matrix = np.zeros((n, d, d))
        matrix[:, list(self.dense), :] = self.columns.transpose(0, 2, 1)
        matrix[:, :, list(self.dense)] = self.columns
        np.einsum("nii->ni", matrix)[:] += self.diagonal
        return Dense(matrix)

    def solve(self, r: np.ndarray, free: np.ndarray, damping: np.ndarray) -> Step:
        """Damped solution among the free coordinates by the Schur complement."""
        dense, sparse = list(self.dense), self._sparse()
        corner = self.columns[:, dense, :]
        a = np.where(free[:, sparse], self.diagonal[:, sparse] + damping[:, None] * np.abs(self.diagonal[:, sparse]), 1)
        side = self.columns[:, sparse, :] * free[:, sparse, None] * free[:, None, dense]
        block = corner * free[:, dense, None] * free[:, None, dense]
        own = np.einsum("nkk->nk", block)
        own += damping[:, None] * np.abs(own) + ~free[:, dense]
        safe = np.where(a > 0, a, 1.0)
        weighted = side / safe[:, :, None]
        schur = block - np.matmul(side.transpose(0, 2, 1), weighted)
        scale = 1 / np.sqrt(np.maximum(np.abs(np.einsum("nkk->nk", block)), 1e-300))
        scaled = schur * scale[:, :, None] * scale[:, None, :]
        definite = (a > 0).all(axis=1) & (np.linalg.eigvalsh(scaled).min(axis=1, initial=np.inf) > FLOOR)
        scaled[~definite] = np.eye(len(dense))
        r_s, r_d = r[:, sparse] * free[:, sparse], r[:, dense] * free[:, dense]
        right = (r_d - np.einsum("nsk,ns->nk", weighted, r_s)) * scale
        p_d = np.linalg.solve(scaled, right[:, :, None])[:, :, 0] * scale
        p = np.empty_like(r)
        p[:, dense] = p_d
        p[:, sparse] = r_s / safe - np.einsum("nsk,nk->ns", weighted, p_d)
        climb = np.zeros(len(r))
        bad = np.flatnonzero(~definite)
        if len(bad):
            step = self.take(bad).full().solve(r[bad], free[bad], damping[bad])
            p[bad], definite[bad], climb[bad] = step.p, step.definite, step.climb
        return Step(p, definite, climb)


def curvature_of(hess: np.ndarray | Arrow) -> Dense | Arrow:
    """K = -Hessian, from a dense array or from an arrow holding the Hessian's parts."""
    if isinstance(hess, Arrow):
        return Arrow(-hess.columns, -hess.diagonal, hess.dense)
    return Dense(-hess)
