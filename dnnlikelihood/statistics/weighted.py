r"""Weighted samples: effective size, quantiles, and the two-sample Kolmogorov-Smirnov test.

n_eff = (sum w)^2 / sum w^2                                     Kish, Survey Sampling (1965)
D     = sup |F_1 - F_2|,   p from the Kolmogorov distribution at n = n_1 n_2 / (n_1 + n_2), effective sizes
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError

__all__ = ["checked", "effective_size", "ks_two_sample", "quantile"]


def checked(x: Any, weights: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Values (n,) and weights (n,) that sum to 1.

    Raises:
        ShapeError: fewer than two values, values that are not finite, weights that are negative, all zero or of
            another length.
    """
    values = np.asarray(x, float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ShapeError(f"samples must be at least two finite numbers of shape (n,), got shape {values.shape}")
    w = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    if w.shape != values.shape or not np.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
        raise ShapeError(f"weights must be {len(values)} finite numbers >= 0, not all 0; got shape {w.shape}")
    return values, w / w.sum()


def effective_size(weights: Any) -> float:
    """Kish's effective number of samples."""
    w = np.asarray(weights, float)
    return float(w.sum() ** 2 / (w**2).sum())


def quantile(x: Any, probability: Any, weights: Any = None) -> np.ndarray:
    """Quantiles of a weighted sample, interpolated between the midpoints of its steps."""
    values, w = checked(x, weights)
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(w[order])
    return np.interp(probability, cumulative - 0.5 * w[order], values[order])


def ks_two_sample(
    x: Any, y: Any, x_weights: Any = None, y_weights: Any = None, sizes: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Distance and p-value of two samples.

    Args:
        x: (n,) values.
        y: (m,) values.
        x_weights: (n,) weights.
        y_weights: (m,) weights.
        sizes: effective sizes, of correlated chains say; Kish's if None.
    """
    from scipy.special import kolmogorov

    (a, v), (b, w) = checked(x, x_weights), checked(y, y_weights)
    everything = np.concatenate([a, b])
    order = np.argsort(everything, kind="stable")
    steps = np.cumsum(np.concatenate([v, -w])[order])
    last = np.append(np.diff(everything[order]) > 0, True)
    distance = float(np.abs(steps[last]).max())
    n, m = sizes or (effective_size(v), effective_size(w))
    size = np.sqrt(n * m / (n + m))
    # Stephens' correction makes the limit good from sizes of about 4 on.
    return distance, float(kolmogorov((size + 0.12 + 0.11 / size) * distance))
