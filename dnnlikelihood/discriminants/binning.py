r"""Optimal bins of a score.

One score t, K bins: with W_k = sum w, T_k = sum w t in bin k the information on the signal strength is

    I = sum_k T_k^2 / (W_k + V_k),      V_k = sum w^2  (finite simulation; 0 if not counted)

The best contiguous partition of n cells follows by dynamic programming, exactly (Bellman 1961; for V = 0 it is the
weighted one-dimensional k-means of Fisher 1958):

    best_k(j) = max_i best_{k-1}(i) + I(i, j)

Several scores: the loss of information is, to first order, the within-bin variance, which Lloyd's weighted k-means
minimises.
"""

from __future__ import annotations

import numpy as np

from ..errors import ConfigError
from .trained import ClassBins, NearestBins

__all__ = ["cells", "cluster_bins", "equal_bins", "optimal_bins", "partition"]

CELLS = 400
LEAST_EVENTS = 10.0


def equal_bins(n_bins: int, n_classes: int = 1, low: float = 0.0, high: float = 1.0) -> ClassBins:
    """Bins of equal width in [low, high] for every class."""
    if n_bins < 1:
        raise ConfigError(f"n_bins is {n_bins}, must be at least 1")
    inner = np.linspace(low, high, n_bins + 1)[1:-1]
    return ClassBins(np.tile(inner, (n_classes, 1)))


def optimal_bins(
    score: np.ndarray,
    weights: np.ndarray,
    n_bins: int,
    *,
    mc_statistics: bool = True,
    least_events: float = LEAST_EVENTS,
) -> ClassBins:
    """The K bins of one score that keep most information.

    Args:
        score: (n,) efficient score (or any score whose mean in a bin measures its sensitivity).
        weights: (n,) event weights.
        n_bins: K.
        mc_statistics: count sum w^2, which shies away from bins of few simulated events.
        least_events: effective number of simulated events that every bin must have.

    Raises:
        ConfigError: more bins than the events support.
    """
    edges, w, t, v = cells(score, weights)
    cuts = partition(w, t, v, n_bins, mc_statistics=mc_statistics, least_events=least_events)
    return ClassBins(edges[cuts][None, :])


def cells(score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fine cells of a score: half of them share the yield equally, half the information w t^2.

    A rare signal lives in a corner of little yield and much information; both kinds of cells are needed.

    Returns:
        (n - 1,) inner edges, and per cell sum w, sum w t, sum w^2.
    """
    order = np.argsort(score, kind="stable")
    t, w = score[order], weights[order]
    measure = np.abs(w) / np.abs(w).sum() + np.abs(w) * t**2 / max(float((np.abs(w) * t**2).sum()), 1e-300)
    share = np.cumsum(measure) / measure.sum()
    first = np.unique(np.searchsorted(share, np.arange(1, CELLS) / CELLS))
    first = first[(first > 0) & (first < len(t))]
    first = first[t[first] > t[first - 1]]
    edges = 0.5 * (t[first - 1] + t[first])
    edges = np.where(edges > t[first - 1], edges, t[first])
    starts = np.concatenate([[0], first])
    w_sum, wt_sum, ww_sum = (np.add.reduceat(a, starts) for a in (w, w * t, w**2))
    return edges, w_sum, wt_sum, ww_sum


def partition(
    w: np.ndarray,
    t: np.ndarray,
    v: np.ndarray,
    n_bins: int,
    *,
    mc_statistics: bool = True,
    least_events: float = LEAST_EVENTS,
) -> np.ndarray:
    """The exact optimum over all contiguous partitions of cells.

    Args:
        w: (n,) sum w of every cell.
        t: (n,) sum w t.
        v: (n,) sum w^2.
        n_bins: K.
        mc_statistics: whether V counts in the denominator.
        least_events: W^2 / V that every bin must have.

    Returns:
        (K - 1,) ascending indices of the inner edges at which bins end.

    Raises:
        ConfigError: no partition into K bins has enough events in each.
    """
    n = len(w)
    if not 1 <= n_bins <= n:
        raise ConfigError(f"{n_bins} bins, but the score of these events is cut into {n} cells: ask for 1 to {n}")
    sums = [np.concatenate([[0.0], np.cumsum(a)]) for a in (w, t, v)]
    big_w, big_t, big_v = (s[None, :] - s[:, None] for s in sums)
    allowed = (big_w > 0) & (big_w**2 >= least_events * big_v) & (np.arange(n + 1)[:, None] < np.arange(n + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(allowed, big_t**2 / (big_w + (big_v if mc_statistics else 0.0)), -np.inf)
    best, origins = gain[0], []
    for _ in range(n_bins - 1):
        candidates = best[:, None] + gain
        origins.append(candidates.argmax(axis=0))
        best = candidates.max(axis=0)
    if not np.isfinite(best[n]):
        raise ConfigError(
            f"{n_bins} bins are more than the events support: not all can hold {least_events:g} effective simulated "
            "events; use fewer bins or simulate more"
        )
    cuts, end = [], n
    for origin in reversed(origins):
        end = int(origin[end])
        cuts.append(end - 1)
    return np.array(cuts[::-1], int)


def cluster_bins(
    score: np.ndarray, weights: np.ndarray, n_bins: int, rng: np.random.Generator, n_starts: int = 3, rows: int = 20_000
) -> NearestBins:
    """Weighted k-means of several scores (n, D): Lloyd's iteration from k-means++ starts, the best of `n_starts`.

    Raises:
        ConfigError: fewer different scores than bins.
    """
    positive = np.maximum(weights, 0.0)
    if len(score) > rows:
        importance = positive * (1.0 + (score**2).sum(axis=1) / max(float((score**2).sum(axis=1).mean()), 1e-300))
        chosen = rng.choice(len(score), rows, p=importance / importance.sum())
        score, positive = score[chosen], (positive / importance)[chosen]
    if len(np.unique(score, axis=0)) < n_bins:
        raise ConfigError(f"{n_bins} bins are more than the {len(np.unique(score, axis=0))} different scores")
    runs = [_lloyd(score, positive, _seeds(score, positive, n_bins, rng)) for _ in range(n_starts)]
    return NearestBins(min(runs, key=lambda run: run[1])[0])


def _seeds(score: np.ndarray, w: np.ndarray, n_bins: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++: centres drawn with probability w distance^2."""
    centres = [score[rng.choice(len(score), p=w / w.sum())]]
    distance = ((score - centres[0]) ** 2).sum(axis=1)
    for _ in range(n_bins - 1):
        p = w * distance
        centres.append(score[rng.choice(len(score), p=p / p.sum())])
        distance = np.minimum(distance, ((score - centres[-1]) ** 2).sum(axis=1))
    return np.array(centres)


def _lloyd(score: np.ndarray, w: np.ndarray, centres: np.ndarray, n_iterations: int = 60) -> tuple[np.ndarray, float]:
    """Centres and the within-bin variance; a bin that loses its last event moves to the worst-served one."""
    square = (score**2).sum(axis=1)
    loss = np.inf
    for _ in range(n_iterations):
        distance = square[:, None] + (centres**2).sum(axis=1) - 2.0 * score @ centres.T
        label = distance.argmin(axis=1)
        least = np.maximum(distance[np.arange(len(score)), label], 0.0)
        previous, loss = loss, float(w @ least)
        if loss >= previous * (1 - 1e-4):
            break
        total = np.bincount(label, w, len(centres))
        sums = np.stack([np.bincount(label, w * column, len(centres)) for column in score.T], axis=1)
        centres = np.where(total[:, None] > 0, sums / np.maximum(total, 1e-300)[:, None], score[(w * least).argmax()])
    return centres, loss
