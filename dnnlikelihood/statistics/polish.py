r"""Maxima from starts so near that a neighbour's curvature will do: `polish`.

With g the gradient at theta and K = -d^2 logpdf of a solved neighbour, both among the free coordinates,

    theta <- theta + p,      K p = g,      until  p^T g <= tolerance^2

(chord Newton: C. T. Kelley, Iterative Methods for Linear and Nonlinear Equations, SIAM 1995, chapter 5). The error
shrinks at each step by about the relative difference of the two curvatures, and a step costs one gradient, where a
Newton step costs a Hessian: ten to twenty times as much for a surrogate.
"""

from __future__ import annotations

import numpy as np

from ..protocols import LogDensity
from ..results import Fit
from .curvature import Dense

__all__ = ["polish"]

STEPS = 6
"""A start that needs more is not near."""


def polish(
    density: LogDensity,
    start: np.ndarray,
    free: np.ndarray,
    curvature: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    tolerance: float,
) -> Fit:
    """Maxima over the free coordinates; of those that are not "converged" nothing is known.

    Args:
        density: any with a gradient.
        start: (n, d) points.
        free: (k,) columns of the coordinates that move.
        curvature: (n, k, k) minus the Hessian near each, among the free coordinates.
        lower: (d,) bounds; where the density rises towards one, that coordinate rests on it.
        upper: (d,) likewise.
        tolerance: Newton decrement, in standard deviations.
    """
    n = len(start)
    fit = Fit(start.copy(), np.full(n, -np.inf), np.full(n, "iterations"), np.full(n, np.inf), np.zeros(n, int))
    rows, theta = np.arange(n), start.copy()
    for step in range(STEPS):
        value, grad = density.logpdf_and_grad(theta)
        risen = np.isfinite(value) & (value >= fit.value[rows] - density.rounding)
        rows, theta, slope = rows[risen], theta[risen], grad[risen][:, free]
        fit.theta[rows], fit.value[rows], fit.iterations[rows] = theta, value[risen], step
        here = theta[:, free]
        held = ((here <= lower[free]) & (slope < 0)) | ((here >= upper[free]) & (slope > 0))
        slope[held] = 0.0
        move = Dense(curvature[rows]).solve(slope, ~held, np.zeros(len(rows)))
        promise = (move.p * slope).sum(axis=1)
        fit.gradient_norm[rows] = np.sqrt(np.maximum(promise, 0.0))
        fit.status[rows[move.definite & (promise <= tolerance**2)]] = "converged"
        theta[:, free] = np.clip(here + move.p, lower[free], upper[free])
        on = move.definite & (promise > tolerance**2)
        rows, theta = rows[on], theta[on]
        if not len(rows):
            break
    return fit
