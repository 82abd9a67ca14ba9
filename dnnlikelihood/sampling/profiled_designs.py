r"""Where to evaluate a profiled likelihood in order to learn it: low delta_nll, without a box made by hand.

A profiled likelihood is no density to draw from, and every value costs a fit. Two designs need no fits beyond those
that found its valleys v_k with curvatures K_k:

    laplace      theta = v_k + sqrt(2 t) L_k e,   K_k = (L_k L_k^T)^-1,  |e| = 1,   t uniform in (0, reach)
    shrunken     theta = v_k + s (u - v_k),       u uniform in the box,   s uniform in (0, 1)

the first flat in the delta_nll that the valley's own parabola predicts, the second in directions where parabolas fail:
quartic walls, plateaus, further valleys. What both miss is what a surrogate's own answers point at (`active`).
"""

from __future__ import annotations

import numpy as np

from ..results import Valleys

__all__ = ["laplace", "shrunken"]

TRIES = 50
"""Rounds of drawing anew what fell outside the box; what still does is drawn in to it."""


def laplace(
    known: Valleys,
    hessians: np.ndarray,
    n: int,
    rng: np.random.Generator,
    low: np.ndarray,
    high: np.ndarray,
    reach: float = 40.0,
) -> np.ndarray:
    """(n, d) points about the valleys, flat in the predicted delta_nll up to `reach`.

    Args:
        known: valleys; each gets a share that falls with its height as exp(-delta_nll / reach).
        hessians: (m, d, d) of logpdf at the valleys.
        n: points.
        rng: random numbers.
        low: (d,) box, finite: no direction is wider than it, however flat the valley.
        high: likewise.
        reach: largest predicted delta_nll.
    """
    share = np.exp(-known.delta_nll / reach)
    valley = rng.choice(len(share), size=n, p=share / share.sum())
    roots = np.stack([_root(-hess, high - low, reach) for hess in hessians])
    points, todo = np.empty((n, len(low))), np.arange(n)
    for _ in range(TRIES):
        direction = rng.normal(size=(len(todo), len(low)))
        direction /= np.sqrt((direction**2).sum(axis=1, keepdims=True))
        radius = np.sqrt(2 * reach * rng.uniform(size=(len(todo), 1)))
        points[todo] = known.theta[valley[todo]] + radius * np.einsum("nij,nj->ni", roots[valley[todo]], direction)
        todo = todo[((points[todo] < low) | (points[todo] > high)).any(axis=1)]
        if not len(todo):
            break
    return np.clip(points, low, high)


def _root(curvature: np.ndarray, width: np.ndarray, reach: float) -> np.ndarray:
    """(d, d) L with L L^T = K^-1, no direction longer at `reach` than the box is wide."""
    scaled = curvature * width[:, None] * width
    eigenvalues, vectors = np.linalg.eigh(scaled)
    return width[:, None] * vectors / np.sqrt(np.maximum(eigenvalues, 2 * reach))


def shrunken(known: Valleys, n: int, rng: np.random.Generator, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(n, d) points of the box drawn in towards valleys by a uniform factor; arguments as in `laplace`."""
    center = known.theta[rng.integers(len(known.theta), size=n)]
    return center + rng.uniform(size=(n, 1)) * (rng.uniform(low, high, size=(n, len(low))) - center)
