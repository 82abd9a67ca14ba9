"""How far a DnnLik is from labelled rows, and how often its band holds: what is printed and published."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .dnnlik import DnnLik

__all__ = ["accuracy_row", "coverage_rows"]

BINS = 5


def accuracy_row(model: DnnLik, where: str, theta: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """Errors in nats at points (n, d) with exact values (n,), and those of the quadratic baseline alone."""
    off = model.members_logpdf(theta).mean(axis=1) - exact
    baseline = model.ensemble.baseline.value(model.ensemble.features(theta)) - exact
    rmse, plain = (float(np.sqrt(np.mean(x**2))) for x in (off, baseline))
    return {"where": where, "n": len(off), "rmse": rmse, "baseline_rmse": plain, "max": float(np.abs(off).max())}


def coverage_rows(model: DnnLik, theta: np.ndarray, exact: np.ndarray) -> list[dict[str, Any]]:
    """How often the 90 % band held, by bin of logpdf, equally filled.

    Points outside the domain are judged by the same band: an infinite error would always hold.
    """
    members = model.members_logpdf(theta)
    answer = members.mean(axis=1)
    held = np.abs(answer - exact) <= model.ensemble.calibration.error(answer, members.std(axis=1))
    edges = np.quantile(answer, np.linspace(0, 1, BINS + 1))
    bins = np.clip(np.searchsorted(edges, answer, side="right") - 1, 0, BINS - 1)
    return [
        {"low": float(low), "high": float(high), "n": int(inside.sum()), "covered": float(held[inside].mean())}
        for k, (low, high) in enumerate(pairwise(edges))
        if (inside := bins == k).any()
    ]
