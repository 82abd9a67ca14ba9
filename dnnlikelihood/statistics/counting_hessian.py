r"""Second derivatives of a counting likelihood whose nuisances are maximised away.

At the maximum nu(x), with indices for derivatives of log L (statistics.counting) and nuisances that rest on no bound,

    d2/dx dx max_nu log L = L_xx - L_xnu L_nunu^-1 L_nux                  (implicit function theorem)
    d nu / dx = - L_nunu^-1 L_nux,
    L_uv = sum_b [ (n_b / lambda_b - 1) d2 lambda_b / du dv - n_b / lambda_b^2 d lambda_b / du d lambda_b / dv ] - D^-1

with D^-1 the curvature of the constraints, for u = v = nu alone.
"""

from __future__ import annotations

import numpy as np

from .counting import CountingModel, CurvedModel, Observation
from .scoring import constraint_slopes, pull

__all__ = ["maximiser_pullback", "profiled_hessian"]

CHUNK = 64
"""Rows at a time."""


def profiled_hessian(
    model: CountingModel,
    x: np.ndarray,
    nu: np.ndarray,
    observation: Observation | None = None,
) -> np.ndarray:
    """(n, d, d) Hessian of the profiled log L at inputs x (n, d), given the maximising nuisances nu (n, k).

    Args:
        model: a `CountingModel` that is a `CurvedModel` too.
        x: (n, d).
        nu: (n, k) from `maximise_nuisances`.
        observation: what was seen, if not what the model says.
    """
    if not isinstance(model, CurvedModel):
        raise TypeError(f"{type(model).__name__} offers no second derivatives (curvature, inputs_curvature)")
    seen = (observation or model.observation).each(len(x))
    parts = [slice(i, i + CHUNK) for i in range(0, len(x), CHUNK)]
    return np.concatenate(
        [np.zeros((0, x.shape[1], x.shape[1])), *(_block(model, x[p], nu[p], seen.rows(p)) for p in parts)]
    )


def maximiser_pullback(
    model: CurvedModel, x: np.ndarray, nu: np.ndarray, weights: np.ndarray, observation: Observation
) -> np.ndarray:
    """(n, d): sum_k w_k d nu_k / dx of the maximising nuisances nu (n, k), with weights (n, k); see the module."""
    out = np.zeros(x.shape)
    for i in range(0, len(x), CHUNK):
        part = slice(i, i + CHUNK)
        hess, cross, _ = _second_derivatives(model, x[part], nu[part], observation.rows(part))
        out[part] = (cross @ np.linalg.solve(hess, weights[part][:, :, None]))[:, :, 0]
    return out


def _block(model: CurvedModel, x: np.ndarray, nu: np.ndarray, seen: Observation) -> np.ndarray:
    hess, cross, direct = _second_derivatives(model, x, nu, seen)
    return direct + cross @ np.linalg.solve(hess, cross.transpose(0, 2, 1))


def _second_derivatives(
    model: CurvedModel, x: np.ndarray, nu: np.ndarray, seen: Observation
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-L_nunu (n, k, k), the identity for nuisances on a bound; L_xnu (n, d, k), 0 for those; L_xx (n, d, d)."""
    held = model.hold(x)
    expected, by_nu = model.jacobian(held, nu)
    by_x = model.inputs_jacobian(x, nu)
    slope = pull(seen.counts, expected)
    weights = np.divide(seen.counts, expected**2, out=np.zeros(expected.shape), where=seen.counts > 0)[:, :, None]
    down_x, down_nu = (weights * by_x).transpose(0, 2, 1), (weights * by_nu).transpose(0, 2, 1)
    both, mixed = model.inputs_curvature(x, nu, slope)
    grad, curvature = constraint_slopes(model.constraints, seen, nu)
    hess = down_nu @ by_nu - model.curvature(held, nu, slope)
    k = np.arange(nu.shape[1])
    hess[:, k, k] += curvature
    grad += (slope[:, None, :] @ by_nu)[:, 0]
    free = ~(((nu <= model.lower) & (grad < 0)) | ((nu >= model.upper) & (grad > 0)))
    hess = np.where(free[:, :, None] & free[:, None, :], hess, 0.0)
    hess[:, k, k] += ~free
    cross = np.where(free[:, None, :], mixed - down_x @ by_nu, 0.0)
    return hess, cross, both - down_x @ by_x
