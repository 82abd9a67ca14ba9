r"""All the maxima of a density with many: second-order climbs from many starts, each on its parameters' own scales.

Starts are a Sobol sequence u in the box, drawn in towards its known best point c by a factor s of their own,

    start = c + s (low + (high - low) u - c),        s = v^2, v the last coordinate of the sequence,

so that near and far are both searched. From the highest valleys then one coordinate at a time is moved across its whole
range, and every crest on these lines is climbed too, until no new valley is among the highest: where random starts in
16 dimensions meet the deepest valley once in fifty climbs, crests meet it in every fourth. Two ends are one valley if,
in the metric K = -Hessian of the higher, they lie within a tenth of a standard deviation; ends on a bound of the box
are kept and said to be there. So are those where the density itself ends while it still rises, as a surrogate may at
the end of its domain: their climbs have the status "edge".
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..config import require
from ..errors import LikelihoodError
from ..protocols import LogDensity
from ..results import Fit, Valleys
from .maximise import maximise
from .profile import limits, maximum

__all__ = ["best_of_rivals", "climb", "held_maxima", "starting_points", "valleys"]

SAME = 0.1
"""Standard deviations within which two ends are one valley."""
REACH = 10.0
"""Standard deviations searched where a parameter has no bound."""
BLOCK = 1024
LEADERS = 4
"""Valleys from which lines are drawn."""
LINE = 9
"""Points on each."""
ROUNDS = 4
"""Of lines, at most."""
ROUNDED = 1e-8
"""Nats within which two ends are equally high."""
BESIDE = 1e-3
"""Share of an uphill step within which the density ends, if a climb has come to its edge."""
RISING = 1e-3
"""Nats that such a step would gain; what gains less has arrived, wherever the density ends."""


def climb(
    density: LogDensity,
    start: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    rivals: np.ndarray | None = None,
    **options: Any,
) -> Fit:
    """Fits from `start` (n, d) in boxes (n, d), in blocks that never part rivals from each other.

    `rivals` (n,) are ascending labels; of those that share one, the losers stop early as "beaten".
    """
    noise = max(options.pop("noise", 0.0), density.rounding)
    labels = np.arange(len(start)) if rivals is None else rivals
    edges = [0]
    while edges[-1] < len(start):
        end = min(edges[-1] + BLOCK, len(start))
        edges.append(int(np.searchsorted(labels, labels[end - 1], side="right")))
    parts = []
    for a, b in pairwise(edges):
        own = None if rivals is None else np.unique(labels[a:b], return_inverse=True)[1]
        parts.append(
            maximise(
                lambda theta, rows: density.logpdf_grad_hess(theta),
                start[a:b],
                lower[a:b],
                upper[a:b],
                noise=noise,
                rivals=own,
                **options,
            )
        )
    fit = Fit(*(np.concatenate([getattr(p, name) for p in parts]) for name in Fit.__dataclass_fields__))
    return _with_edges(density, fit, lower, upper)


def _with_edges(density: LogDensity, fit: Fit, lower: np.ndarray, upper: np.ndarray) -> Fit:
    """The fits, those of status "edge" that no step improved because the density ends uphill of them."""
    rows = np.flatnonzero(fit.status == "stalled")
    if not len(rows):
        return fit
    theta, low, high = fit.theta[rows], lower[rows], upper[rows]
    _, grad, hess = density.logpdf_grad_hess(theta)
    scale = np.maximum(np.abs(np.einsum("nii->ni", hess)), 1e-12)
    step = np.clip(theta + BESIDE * grad / scale, low, high) - theta
    ends = np.isneginf(density.logpdf(theta + step))
    fit.status[rows[ends & ((grad * step).sum(axis=1) > BESIDE * RISING)]] = "edge"
    return fit


def best_of_rivals(fit: Fit, rivals: np.ndarray) -> Fit:
    """The highest row of each label 0 ... n - 1, in their order; every label has one."""
    order = np.argsort(fit.value, kind="stable")
    winner = np.zeros(int(rivals.max()) + 1, int)
    winner[rivals[order]] = order
    return fit.take(winner)


def held_maxima(density: LogDensity, offered: np.ndarray, held: np.ndarray, tried: int = 3, **options: Any) -> Fit:
    """Maxima over the coordinates that are not held, a question a row, each begun at the best of its offers.

    Args:
        density: any LogDensity with a gradient.
        offered: (n, m, d) points to begin at, with the held coordinates where they are held.
        held: (n, d) bool.
        tried: how many of the m each row climbs from.
        **options: as in `maximise`.
    """
    n, m, d = offered.shape
    box = limits(density)
    offered = np.clip(offered, *box)
    value = density.logpdf(offered.reshape(-1, d)).reshape(n, m)
    chosen = np.argsort(-value, axis=1, kind="stable")[:, : min(tried, m)]
    start = np.take_along_axis(offered, chosen[:, :, None], axis=1).reshape(-1, d)
    label = np.repeat(np.arange(n), chosen.shape[1])
    lower, upper = (np.where(held[label], start, b) for b in box)
    return best_of_rivals(climb(density, start, lower, upper, rivals=label, **options), label)


def starting_points(density: LogDensity, n: int, seed: int, center: np.ndarray, *, power: float = 2.0) -> np.ndarray:
    """(n, d) points to climb from, those with a finite log-density; see the formula above, with s = v^power.

    With power 0 they are spread evenly over the box, none drawn in towards `center` (d,). A parameter without bounds is
    searched over ten standard deviations either side of it.
    """
    from scipy.stats import qmc

    lower, upper = limits(density)
    _, _, hess = density.logpdf_grad_hess(center[None])
    sigma = 1 / np.sqrt(np.maximum(-np.einsum("nii->ni", hess)[0], 1e-12))
    low = np.where(np.isfinite(lower), lower, center - REACH * sigma)
    high = np.where(np.isfinite(upper), upper, center + REACH * sigma)
    n_drawn = 2 ** int(np.ceil(np.log2(max(n, 2))))
    u = qmc.Sobol(len(center) + 1, rng=np.random.default_rng(seed)).random(n_drawn)[:n]
    points = center + u[:, -1:] ** power * (low + (high - low) * u[:, :-1] - center)
    return points[density.support(points)]


def valleys(density: LogDensity, n_starts: int = 64, *, seed: int = 1, starts: Any = None, **options: Any) -> Valleys:
    """The distinct local maxima of a density, highest first.

    Args:
        density: any LogDensity with a gradient.
        n_starts: climbs from the Sobol sequence.
        seed: of its scrambling.
        starts: (m, d) further points to climb from, such as maxima of a truth for its surrogate.
        **options: `tolerance`, `noise`, `max_iterations` as in `maximise`.

    Raises:
        ConfigError: a number of climbs that is none.
        LikelihoodError: no climb arrived.
    """
    whole = isinstance(n_starts, int | np.integer) and n_starts >= 0
    require(whole, f"n_starts must be a whole number >= 0, got {n_starts!r}")
    given = np.zeros((0, len(density.parameters))) if starts is None else density.points(starts)
    first = maximum(density, given if len(given) else None, **options).theta
    start = np.concatenate([first, given, starting_points(density, n_starts, seed, first[0])])
    lower, upper = (np.tile(b, (len(start), 1)) for b in limits(density))
    fit = climb(density, start, lower, upper, **options)
    if not _arrived(fit).any():
        raise LikelihoodError(
            f"none of {len(start)} climbs arrived at a maximum: {sorted(set(fit.status))}; pass starts=... near one"
        )
    found = _distinct(density, fit)
    drawn: set[bytes] = set()
    for _ in range(ROUNDS):
        leaders = [theta for theta in found.theta[:LEADERS] if theta.tobytes() not in drawn]
        if not leaders:
            break
        drawn |= {theta.tobytes() for theta in leaders}
        more = _crests(density, np.stack(leaders), start)
        lower, upper = (np.tile(b, (len(more), 1)) for b in limits(density))
        fit = _joined(fit, climb(density, more, lower, upper, **options))
        found = _distinct(density, fit)
    return found


def _arrived(fit: Fit) -> np.ndarray:
    return np.isin(fit.status, ("converged", "stalled", "edge")) & np.isfinite(fit.value)


def _joined(a: Fit, b: Fit) -> Fit:
    return Fit(*(np.concatenate([getattr(a, n), getattr(b, n)]) for n in Fit.__dataclass_fields__))


def _crests(density: LogDensity, leaders: np.ndarray, searched: np.ndarray) -> np.ndarray:
    """(k, d) the local maxima of the lines through the leaders along each coordinate, across its range.

    A coordinate without bounds is moved over the range of the points `searched` (m, d).
    """
    lower, upper = limits(density)
    low = np.where(np.isfinite(lower), lower, searched.min(axis=0))
    high = np.where(np.isfinite(upper), upper, searched.max(axis=0))
    m, d = leaders.shape
    points = np.tile(leaders[:, None, None, :], (1, d, LINE, 1))
    each = np.arange(d)
    points[:, each, :, each] = np.linspace(low, high, LINE + 2)[1:-1].T[:, None, :]
    value = density.logpdf(points.reshape(-1, d)).reshape(m, d, LINE)
    beside = np.pad(value, ((0, 0), (0, 0), (1, 1)), constant_values=-np.inf)
    return points[(value > beside[:, :, :-2]) & (value >= beside[:, :, 2:])]


def _distinct(density: LogDensity, fit: Fit) -> Valleys:
    """Ends that are not the same, highest first, with how many climbs ended in each."""
    rows = np.flatnonzero(_arrived(fit))
    # Of ends that differ by rounding alone the earliest stands for the valley, so that it stays what it was.
    height = np.round(fit.value[rows] / max(ROUNDED, density.rounding))
    order = rows[np.argsort(-height, kind="stable")]
    _, _, hess = density.logpdf_grad_hess(fit.theta[order])
    kept: list[int] = []
    ends = np.zeros(0, int)
    for i, row in enumerate(order):
        apart = fit.theta[row] - fit.theta[order[kept]]
        # |K| instead of K: at the edge of the box a maximum need not be one of the free density.
        squared = np.abs(np.einsum("ki,kij,kj->k", apart, hess[kept], apart))
        same = (squared < SAME**2) & (fit.value[order[kept]] - fit.value[row] < SAME)
        if same.any():
            ends[int(np.argmax(same))] += 1
        else:
            kept.append(i)
            ends = np.append(ends, 1)
    chosen = order[kept]
    lower, upper = limits(density)
    theta = fit.theta[chosen]
    on_edge = (np.isclose(theta, lower, rtol=0, atol=1e-9) | np.isclose(theta, upper, rtol=0, atol=1e-9)).any(axis=1)
    return Valleys(theta, fit.value[chosen], on_edge | (fit.status[chosen] == "edge"), ends)
