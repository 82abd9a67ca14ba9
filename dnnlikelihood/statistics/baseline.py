r"""The baseline that a network starts from: a quadratic form in the features, fitted to values and gradients.

    minimise  sum_i (b(f_i) - y_i)^2 + sum_i |grad_z b(f_i) - g_i|^2,        b(f) = c + l.f + 1/2 f^T Q f

over c, l and a symmetric Q. With features f = (z, max(0, z_k - kappa_k)) this is a different parabola in every orthant
of the kinks, continuous across them. The least-squares problem is solved matrix-free by LSMR (Fong and Saunders,
arXiv:1006.0758): a step costs two passes over the rows and no (m^2 x m^2) normal matrix is formed. In the principal
axes of the features, with variances s, the gradient part alone would be solved by Q_ij = R_ij / (s_i + s_j); scaling
the unknowns by (s_i + s_j)^-1/2 therefore leaves a well-conditioned problem, and a few dozen steps do.
"""

from __future__ import annotations

import numpy as np

from ..ensemble import Baseline, Features

__all__ = ["constant_baseline", "fit_baseline"]


def constant_baseline(width: int, value: float) -> Baseline:
    """b(f) = value."""
    return Baseline(float(value), np.zeros(width), np.zeros((width, width)))


def fit_baseline(
    features: Features,
    theta: np.ndarray,
    logpdf: np.ndarray,
    gradient: np.ndarray | None,
    n_iterations: int = 40,
    constant: float | None = None,
) -> Baseline:
    """Least-squares quadratic form.

    Args:
        features: where the form lives, m = features.width.
        theta: (n, d) points.
        logpdf: (n,) values.
        gradient: (n, d) gradients in theta, or None to fit values alone.
        n_iterations: LSMR steps at most.
        constant: b at f = 0, kept exactly; fitted if None.
    """
    from scipy.sparse.linalg import LinearOperator, lsmr

    n, d = theta.shape
    f = features(theta)
    m = f.shape[1]
    free = constant is None
    center, level = (f.mean(axis=0), float(logpdf.mean())) if free else (np.zeros(m), float(constant or 0.0))
    variance, axes = np.linalg.eigh((f - center).T @ (f - center) / n + 1e-9 * np.eye(m))
    h = (f - center) @ axes
    scale = 1.0 / np.sqrt(variance[:, None] + variance)
    upper = np.triu_indices(m)
    columns = features.kink_columns
    on = theta[:, columns] > features.kink_values

    def unpack(p: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        q = np.zeros((m, m))
        q[upper] = p[1 + m :]
        return p[0] * free, p[1 : 1 + m], (q + q.T) * scale

    def forward(p: np.ndarray) -> np.ndarray:
        c, linear, q = unpack(p)
        slope = h @ q
        value = c + h @ linear + 0.5 * np.einsum("nm,nm->n", h, slope)
        if gradient is None:
            return value
        g = (slope + linear) @ axes.T
        for j, column in enumerate(columns):
            g[:, column] += g[:, d + j] * on[:, j]
        return np.concatenate([value, g[:, :d].ravel()])

    def adjoint(r: np.ndarray) -> np.ndarray:
        rv = r[:n]
        matrix, linear = (h * rv[:, None]).T @ h, h.T @ rv
        if gradient is not None:
            rz = r[n:].reshape(n, d)
            rh = np.concatenate([rz, rz[:, columns] * on], axis=1) @ axes
            cross = h.T @ rh
            matrix, linear = matrix + cross + cross.T, linear + rh.sum(axis=0)
        return np.concatenate([[rv.sum() * free], linear, (matrix * scale)[upper]])

    target = logpdf - level
    if gradient is not None:
        target = np.concatenate([target, (gradient * features.scale).ravel()])
    operator = LinearOperator((len(target), 1 + m + len(upper[0])), matvec=forward, rmatvec=adjoint, dtype=float)
    c, linear, q = unpack(lsmr(operator, target, atol=1e-6, btol=1e-6, maxiter=n_iterations)[0])
    linear, q = axes @ linear, axes @ q @ axes.T
    origin = level + float(c) - linear @ center + 0.5 * center @ q @ center
    return Baseline(float(origin), linear - q @ center, 0.5 * (q + q.T))
