r"""Weights of rows: which labels a training should mind most.

    flat in logpdf (arXiv:1911.03305)   w = max(c, floor)^-power,            c the number of rows in a row's bin
    towards the maximum                 w = max(exp(-delta_nll / scale), floor),   delta_nll = max logpdf - logpdf

Both are scaled to mean 1. Of labels with several heads the first one counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import require
from ..errors import ShapeError

__all__ = ["weights_flat_in_logpdf", "weights_to_low_delta_nll"]


def weights_flat_in_logpdf(logpdf: Any, n_bins: int = 100, power: float = 1.0, floor: int = 5) -> np.ndarray:
    """(n,) weights under which a sample is flat in logpdf.

    Args:
        logpdf: (n,) or (n, H) finite labels.
        n_bins: bins of equal width between the lowest and the highest label.
        power: 1 for flat, 0 for no weights.
        floor: bins with fewer rows count as if they had this many, so that no row outweighs the rest.

    >>> weights_flat_in_logpdf([-1.0, -1.1, -1.2, -9.0], n_bins=2, floor=1)
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    y = _first_head(logpdf, "weights_flat_in_logpdf")
    require(n_bins >= 1 and floor >= 1, f"n_bins and floor must be at least 1, got {n_bins} and {floor}")
    counts, edges = np.histogram(y, n_bins)
    c = counts[np.clip(np.searchsorted(edges, y, side="right") - 1, 0, n_bins - 1)]
    w = np.maximum(c, floor) ** -float(power)
    return w / w.mean()


def weights_to_low_delta_nll(logpdf: Any, scale: float = 10.0, floor: float = 0.05) -> np.ndarray:
    """(n,) weights that fall with the distance from the highest label.

    Args:
        logpdf: (n,) or (n, H) finite labels.
        scale: nats over which a weight falls by a factor e.
        floor: least weight relative to that at the maximum, in (0, 1].
    """
    y = _first_head(logpdf, "weights_to_low_delta_nll")
    require(scale > 0 and 0 < floor <= 1, f"scale must be > 0 and floor in (0, 1], got {scale} and {floor}")
    w = np.maximum(np.exp((y - y.max()) / scale), floor)
    return w / w.mean()


def _first_head(logpdf: Any, who: str) -> np.ndarray:
    y = np.asarray(logpdf, float)
    if y.ndim not in (1, 2) or y.size == 0 or not np.isfinite(y).all():
        raise ShapeError(f"{who} needs finite labels of shape (n,) or (n, H), got shape {y.shape}")
    return y if y.ndim == 1 else y[:, 0]
