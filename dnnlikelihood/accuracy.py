"""How far a DnnLik is from labelled rows, and how often its band holds: what is printed and published."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .dnnlik import DnnLik

__all__ = ["accuracy_row", "accuracy_rows", "coverage_rows", "tolerance"]

BINS = 5
NEAR, RELATIVE = 0.05, 0.01
"""An answer counts as right within this many nats of the truth, or within this share of its delta NLL."""


def tolerance(exact: np.ndarray, top: Any) -> np.ndarray:
    """Nats by which an answer may miss `exact` and count as right: 0.05, or 1 % of delta_nll = top - exact.

    The measure of CMS (EPJ Web Conf. 295 (2024) 09041).

    >>> tolerance(np.array([-3.0, -10.0]), 0.0).tolist()
    [0.05, 0.1]
    """
    return np.maximum(NEAR, RELATIVE * (top - exact))


def accuracy_row(model: DnnLik, where: str, theta: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """Errors in nats at points (n, d) with exact values (n,), and those of the quadratic baseline alone."""
    off = model.ensemble.members_logpdf(theta).mean(axis=1) - exact
    baseline = model.ensemble.baseline_logpdf(theta)[:, 0] - exact
    rmse, plain = (float(np.sqrt(np.mean(x**2))) for x in (off, baseline))
    return {"where": where, "n": len(off), "rmse": rmse, "baseline_rmse": plain, "max": float(np.abs(off).max())}


def accuracy_rows(
    model: DnnLik, where: str, theta: np.ndarray, exact: np.ndarray, highest: Any = None
) -> list[dict[str, Any]]:
    """A row for each head of exact values (n, H), or one for a plain density's (n,), with more about profiled ones.

    Beside what `accuracy_row` says: the mean |error|, its 99.9 % quantile, and the share of points that are right
    within 0.05 nats or 1 % of their delta NLL, the measure of CMS (EPJ Web Conf. 295 (2024) 09041).

    Args:
        model: the surrogate.
        where: what the points are, in words.
        theta: (n, d).
        exact: (n, H) or (n,).
        highest: logpdf of each head from which delta NLL counts; the highest of `exact` if None.
    """
    rows = []
    for h, (one, truth) in enumerate(_heads(model, exact)):
        off = np.abs(one.ensemble.members_logpdf(theta).mean(axis=1) - truth)
        top = truth.max() if highest is None else np.ravel(highest)[h]
        right = off < tolerance(truth, top)
        more = {"mean": float(off.mean()), "q999": float(np.quantile(off, 0.999)), "within": float(right.mean())}
        rows.append({**_named(model, h), **accuracy_row(one, where, theta, truth), **more})
    return rows


def coverage_rows(
    model: DnnLik, theta: np.ndarray, exact: np.ndarray, kinds: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """How often the 90 % band held, by bin of logpdf, equally filled; for each head of exact values (n, H).

    Points outside the domain are judged by the same band: an infinite error would always hold.

    Args:
        model: the surrogate.
        theta: (n, d).
        exact: (n, H) or (n,).
        kinds: (n,) where each row comes from; several have rows of their own besides.
    """
    return [
        {**_named(model, h), **row}
        for h, (one, truth) in enumerate(_heads(model, exact))
        for row in (*_coverage(one, theta, truth), *_of_kinds(one, theta, truth, kinds))
    ]


def _heads(model: DnnLik, exact: np.ndarray) -> list[tuple[DnnLik, np.ndarray]]:
    if not model.heads:
        return [(model, exact)]
    return [(model.select(head), exact[:, h]) for h, head in enumerate(model.heads)]


def _named(model: DnnLik, h: int) -> dict[str, str]:
    return {"head": model.heads[h]} if model.heads else {}


def _held(model: DnnLik, theta: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) answers, and whether their bands hold the truth."""
    members = model.ensemble.members_logpdf(theta)
    answer = members.mean(axis=1)
    return answer, np.abs(answer - exact) <= model.ensemble.calibration.error(answer, members.std(axis=1))


def _coverage(model: DnnLik, theta: np.ndarray, exact: np.ndarray) -> list[dict[str, Any]]:
    answer, held = _held(model, theta, exact)
    edges = np.quantile(answer, np.linspace(0, 1, BINS + 1))
    bins = np.clip(np.searchsorted(edges, answer, side="right") - 1, 0, BINS - 1)
    return [
        {"low": float(low), "high": float(high), "n": int(inside.sum()), "covered": float(held[inside].mean())}
        for k, (low, high) in enumerate(pairwise(edges))
        if (inside := bins == k).any()
    ]


def _of_kinds(model: DnnLik, theta: np.ndarray, exact: np.ndarray, kinds: Any) -> list[dict[str, Any]]:
    known = [] if kinds is None else np.unique(kinds).tolist()
    if len(known) < 2:
        return []
    answer, held = _held(model, theta, exact)
    return [
        {"kind": kind, "low": float(answer[inside].min()), "high": float(answer[inside].max()),
         "n": int(inside.sum()), "covered": float(held[inside].mean())}
        for kind in known
        if (inside := kinds == kind).any()
    ]  # fmt: skip
