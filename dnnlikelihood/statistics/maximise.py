r"""Maxima of many concave-or-not functions at once: damped Newton steps in a box, and orthants between kinks.

Each row climbs its own quadratic model, K = -Hessian,

    max_p  g.p - 1/2 p^T (K + lambda diag|K|) p      within  lower <= theta + p <= upper,

by an active set: coordinates on a bound whose gradient points outwards rest, coordinates that would cross one stop on
it and the others are solved again. lambda grows tenfold after a step that fails and vanishes after steps that succeed
(Levenberg-Marquardt; Nocedal and Wright, Numerical Optimization, chapters 4 and 16). A row has converged when its
Newton decrement sqrt(2 * predicted gain), the distance to the maximum in standard deviations, is below `tolerance`.

Where the slope jumps (piecewise-interpolated systematic uncertainties do so at 0), Newton steps mean nothing across the
jump: `maximise_between_kinks` climbs in each cell between the kinks and keeps the deepest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from ..results import Fit
from .curvature import Arrow, Curvature, Dense, curvature_of

__all__ = ["FIELDS", "Objective", "maximise", "maximise_between_kinks"]

Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray | Arrow]]
"""(theta (n, d), rows (n,) int) -> value (n,), gradient (n, d), Hessian (n, d, d) or Arrow.

`rows` are the positions in the batch that `maximise` was given, for data that differ from row to row. A value of -inf
refuses a point."""

FIELDS = ("theta", "value", "status", "gradient_norm", "iterations")
BESIDE = 1e-12
"""How far from a kink a cell ends, so that the slope is the one of its own side."""
MARGIN = 0.02
"""A row gives up against a rival that lies this many nats above twice its own predicted gain."""
SMALL = 1e-3
"""The least damping that is not none."""
MOST_DAMPING = 1e8
MOST_ROUNDS = 25
"""Of the active set in one step; what still crosses a bound after them is cut there."""
MOST_CELLS = 64
"""Up to here all cells are tried; beyond, the cells across one kink, as long as that improves something."""


def maximise(
    objective: Objective,
    start: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    tolerance: float = 1e-6,
    noise: float = 0.0,
    max_iterations: int = 100,
    rivals: np.ndarray | None = None,
    to_beat: np.ndarray | None = None,
) -> Fit:
    """Climb from each start to a local maximum in its box.

    Args:
        objective: value, gradient and Hessian; see `Objective`.
        start: (n, d), moved into the box.
        lower: (n, d) or (d,); equal to `upper` where a coordinate is held.
        upper: likewise.
        tolerance: Newton decrement, in standard deviations, at which a row has converged.
        noise: rounding error of a value, in nats, beyond that of float64; a gain below it is none.
        max_iterations: evaluations of a row.
        rivals: (n,) labels 0, 1, ...: rows that share one compete, and those that cannot win stop as "beaten".
        to_beat: value known for each label; -inf if None.

    Returns:
        Fit: status "converged", "stalled" (no step improves, though the gradient says so: a kink), "iterations",
        "outside" (the start has no finite value) or "beaten".
    """
    x = np.clip(np.asarray(start, float), lower, upper)
    n, d = x.shape
    climb = _Climb(objective, x, np.broadcast_to(lower, (n, d)), np.broadcast_to(upper, (n, d)), noise)
    climb.compete(np.arange(n) if rivals is None else np.asarray(rivals), to_beat)
    for _ in range(max_iterations):
        if not len(climb.rows):
            break
        climb.advance(tolerance)
    climb.leave({"iterations": np.ones(len(climb.rows), bool)})
    return Fit(climb.theta, climb.best, climb.status, climb.decrement, climb.iterations)


class _Climb:
    """The rows that are still climbing, and the results of those that have left."""

    def __init__(
        self,
        objective: Objective,
        x: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        noise: float,
    ) -> None:
        n = len(x)
        self.objective, self.noise = objective, noise
        self.theta, self.best = x.copy(), np.full(n, -np.inf)
        self.status = np.full(n, "iterations", dtype="<U10")
        self.decrement, self.iterations = np.full(n, np.inf), np.zeros(n, int)
        # From here on, one entry a row that is still climbing.
        self.rows, self.x, self.lower, self.upper = np.arange(n), x, lower, upper
        self.damping, self.refused = np.zeros(n), np.zeros(n, bool)
        self.value, self.grad = np.full(n, -np.inf), np.zeros(x.shape)
        self.curvature: Curvature = Dense(np.zeros((n, 0, 0)))
        if n:
            self.value, self.grad, hess = objective(x, self.rows)
            self.curvature = curvature_of(hess)
            self.leave({"outside": ~np.isfinite(self.value)})

    def compete(self, rivals: np.ndarray, to_beat: np.ndarray | None) -> None:
        """Say who competes with whom, and against which values."""
        self.rivals = rivals
        self.leader = np.full(int(rivals.max(initial=0)) + 1, -np.inf) if to_beat is None else to_beat.copy()
        self.follow()

    def follow(self) -> None:
        """Note the highest value of each group of rivals."""
        np.maximum.at(self.leader, self.rivals[self.rows], self.value)

    def leave(self, reasons: Mapping[str, np.ndarray]) -> None:
        """Take rows out of the climb, each with its status."""
        stay = np.ones(len(self.rows), bool)
        for status, which in reasons.items():
            gone = self.rows[which & stay]
            self.theta[gone], self.best[gone] = self.x[which & stay], self.value[which & stay]
            self.status[gone] = status
            stay &= ~which
        if stay.all():
            return
        for name in ("rows", "x", "lower", "upper", "damping", "refused", "value", "grad"):
            setattr(self, name, getattr(self, name)[stay])
        self.curvature = self.curvature.take(stay)

    def advance(self, tolerance: float) -> None:
        """One step of every row; those that have arrived, lost or stalled leave before it."""
        step, gain, definite = self.step()
        rounding = self.noise + 4 * np.finfo(float).eps * (1 + np.abs(self.value))
        decrement = np.sqrt(2 * np.maximum(gain, 0.0))
        self.decrement[self.rows] = decrement
        short = (decrement <= tolerance) | (gain <= rounding)
        sure = definite & (self.damping == 0)
        # A step that damping made short proves nothing: after a success it is tried again undamped.
        again = short & ~sure & ~self.refused & (self.damping > 0)
        self.damping[again] = 0.0
        # Nor does one whose active set did not settle: with more damping it will.
        unsettled = short & ~sure & ~again & (self.damping < MOST_DAMPING)
        self.damping[unsettled] = np.maximum(10 * self.damping[unsettled], 0.1)
        again |= unsettled
        reasons = {
            "converged": short & sure,
            "beaten": ~short & sure & (self.value + 2 * gain + MARGIN < self.leader[self.rivals[self.rows]]),
            "stalled": short & ~sure & ~again,
        }
        go = ~(again | reasons["converged"] | reasons["beaten"] | reasons["stalled"])
        self.move(np.flatnonzero(go), step, gain, rounding)
        self.leave(reasons)

    def step(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n, d) steps inside the box, predicted gains (n,), and whether they solve a concave model (n,).

        An active set: what would cross a bound is put on it; when nothing crosses any more, the coordinate that the
        model pulls hardest off its bound is released; and so on until neither happens.
        """
        low, high = self.lower - self.x, self.upper - self.x
        held = self.lower == self.upper
        free = ~((low >= 0) & (self.grad <= 0) | (high <= 0) & (self.grad >= 0) | held)
        solved = self.curvature.solve(self.grad, free, self.damping)
        p, definite, climb = solved.p, solved.definite, solved.climb
        rows = np.flatnonzero((~free & ~held | (p < low) | (p > high)).any(axis=1))
        settled = np.ones(len(p), bool)
        settled[rows] = False
        for _ in range(MOST_ROUNDS):
            part, damping = self.curvature.take(rows), self.damping[rows]
            q, f, lo, hi = p[rows], free[rows], low[rows], high[rows]
            over = f & ((q < lo) | (q > hi))
            slope = self.grad[rows] - part.times(q, damping)
            slope *= np.abs(slope) > 1e-10 * np.abs(self.grad[rows]).max(axis=1, initial=0, keepdims=True)
            pull = np.where(~f & ~held[rows], np.where(q <= lo, slope, np.where(q >= hi, -slope, 0.0)), 0.0)
            crossing, release = over.any(axis=1), (pull > 0).any(axis=1)
            settled[rows[~crossing & ~release]] = True
            f &= ~over
            back = np.flatnonzero(~crossing & release)
            f[back, np.argmax(pull[back], axis=1)] = True
            free[rows] = f
            again = crossing | release
            if not again.any():
                break
            rows, part, damping = rows[again], part.take(again), damping[again]
            fixed = np.where(f[again], 0.0, np.clip(q[again], lo[again], hi[again]))
            inner = part.solve(self.grad[rows] - part.times(fixed, damping), f[again], damping)
            p[rows], definite[rows], climb[rows] = fixed + inner.p, inner.definite, inner.climb
        p = np.clip(p, low, high)
        gain = (self.grad * p).sum(axis=1) - 0.5 * (p * self.curvature.times(p, 0 * self.damping)).sum(axis=1)
        return p, np.where(climb > 0, climb, gain), definite & settled

    def move(self, tried: np.ndarray, step: np.ndarray, gain: np.ndarray, rounding: np.ndarray) -> None:
        """Evaluate at the new points, accept those that rise enough, and set the damping by how they did."""
        if not len(tried):
            return
        self.iterations[self.rows[tried]] += 1
        trial = np.clip(self.x[tried] + step[tried], self.lower[tried], self.upper[tried])
        value, grad, hess = self.objective(trial, self.rows[tried])
        rise = value - self.value[tried]
        good = rise > 1e-4 * gain[tried] - rounding[tried]
        ratio = rise / np.maximum(gain[tried], 1e-300)
        accepted = tried[good]
        self.x[accepted], self.value[accepted], self.grad[accepted] = trial[good], value[good], grad[good]
        self.curvature.put(accepted, curvature_of(hess).take(good))
        damping = self.damping[tried]
        calmer, harder = np.where(damping <= SMALL, 0.0, damping / 10), np.maximum(4 * damping, SMALL)
        after = np.where(ratio > 0.75, calmer, np.where(ratio < 0.25, harder, damping))
        self.damping[tried] = np.where(good, after, np.maximum(10 * damping, SMALL))
        self.refused[tried] = ~good
        self.follow()


def maximise_between_kinks(
    objective: Objective,
    start: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    kinks: Sequence[Sequence[float]],
    *,
    tolerance: float = 1e-6,
    noise: float = 0.0,
    max_iterations: int = 100,
) -> Fit:
    """The highest of the maxima of all cells between the kinks.

    The cell of the start is climbed first. The others start from its maximum, moved into them, and give up as soon as
    their own model says that they cannot win, so that 16 cells cost a few times one fit. Arguments as in `maximise`;
    `kinks` has one sequence a coordinate. A held coordinate has no cells.
    """
    x = np.asarray(start, float)
    n, d = x.shape
    low, high = np.broadcast_to(lower, (n, d)), np.broadcast_to(upper, (n, d))
    options: dict[str, Any] = {"tolerance": tolerance, "noise": noise, "max_iterations": max_iterations}
    split = [k if (low[:, i] < high[:, i]).any() else () for i, k in enumerate(kinks)]
    if not any(split):
        return maximise(objective, x, low, high, **options)
    edges = [np.array([-np.inf, *k, np.inf]) for k in split]
    inside = np.clip(x, low, high)
    home = np.stack([np.searchsorted(e[1:-1], inside[:, i]) for i, e in enumerate(edges)], axis=1)
    fit = _in_cells(objective, inside, low, high, edges, home, np.arange(n), **options)
    pending = np.arange(n)
    everywhere = bool(np.prod([len(e) - 1 for e in edges]) <= MOST_CELLS)
    while len(pending):
        rows, cells = _other_cells(edges, home[pending], pending, everywhere=everywhere)
        other = _in_cells(objective, fit.theta[rows], low[rows], high[rows], edges, cells, rows, fit.value, **options)
        winner = _highest(other, rows, n)
        better = np.flatnonzero((winner >= 0) & (other.value[winner] > fit.value))
        chosen = winner[better]
        home[better] = cells[chosen]
        for name in FIELDS:
            getattr(fit, name)[better] = getattr(other, name)[chosen]
        pending = better[:0] if everywhere else better
    return fit


def _in_cells(
    objective: Objective,
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    edges: Sequence[np.ndarray],
    cells: np.ndarray,
    rows: np.ndarray,
    to_beat: np.ndarray | None = None,
    **options: Any,
) -> Fit:
    """Fit each row within its cell, (n, d) positions between `edges`; a cell beside the box is "outside"."""
    held = low == high
    lo = np.maximum(low, np.stack([e[:-1][cells[:, i]] + BESIDE for i, e in enumerate(edges)], axis=1))
    hi = np.minimum(high, np.stack([e[1:][cells[:, i]] - BESIDE for i, e in enumerate(edges)], axis=1))
    lo, hi = np.where(held, low, lo), np.where(held, high, hi)
    there = np.flatnonzero((lo <= hi).all(axis=1))
    inner = maximise(
        lambda theta, r: objective(theta, rows[there[r]]),
        start[there],
        lo[there],
        hi[there],
        rivals=rows[there],
        to_beat=to_beat,
        **options,
    )
    if len(there) == len(rows):
        return inner
    n = len(rows)
    fit = Fit(start.copy(), np.full(n, -np.inf), np.full(n, "outside", "<U10"), np.full(n, np.inf), np.zeros(n, int))
    for name in FIELDS:
        getattr(fit, name)[there] = getattr(inner, name)
    return fit


def _other_cells(
    edges: Sequence[np.ndarray], home: np.ndarray, rows: np.ndarray, *, everywhere: bool
) -> tuple[np.ndarray, np.ndarray]:
    """All other cells of each row, or those across one kink: their rows (m,) and positions (m, d)."""
    if everywhere:
        cells = np.array(list(product(*(range(len(e) - 1) for e in edges))))
    else:
        unit = np.eye(len(edges), dtype=int)
        cells = np.concatenate([s * unit[[i]] for i, e in enumerate(edges) if len(e) > 2 for s in (-1, 1)])
    all_rows, all_cells = np.repeat(rows, len(cells)), np.tile(cells, (len(rows), 1))
    if not everywhere:
        all_cells = all_cells + np.repeat(home, len(cells), axis=0)
    there = (all_cells >= 0).all(axis=1) & (all_cells < [len(e) - 1 for e in edges]).all(axis=1)
    there &= (all_cells != np.repeat(home, len(cells), axis=0)).any(axis=1)
    return all_rows[there], all_cells[there]


def _highest(fit: Fit, labels: np.ndarray, n: int) -> np.ndarray:
    """(n,) which row of the fit is highest for each label; -1 where a label has none."""
    winner = np.full(n, -1)
    order = np.argsort(fit.value, kind="stable")
    winner[labels[order]] = order
    return winner
