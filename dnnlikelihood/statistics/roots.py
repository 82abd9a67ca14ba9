r"""Roots and minima of many functions of one variable at once, row by row.

Roots by the method of Chandrupatla (Adv. Eng. Softw. 28 (1997) 145): inverse quadratic interpolation where the last
three points say that it can be trusted, bisection elsewhere, so that a bracket always shrinks. Only rows that have not
finished are evaluated. Minima are roots of the slope next to the lowest point of a coarse scan.

A function is called as f(rows, x): rows (m,) int says of which function, x (m,) where; it returns (m,). A function that
jumps over zero converges to its jump, with a value there that is not zero: callers look at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Minima", "Roots", "expand", "minimise", "solve"]

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]
WithSlope = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

ITERATIONS = 100
GRID = 13
"""Points of a scan, closer together at its lower end: where nuisances change sides, small signals know two valleys."""
GROWTH = 3.0
HALVINGS = 6
"""Of the way from the lowest point of a scan to the next, in search of the other side of a minimum."""
BACK, NEAR = 24, 1.02
"""Steps back from where a function is NaN, and the ratio to a point before at which they end."""
ROUNDING = 1e-6
"""Of values, relative or of values below 1 absolute: several times the rounding of networks in single precision."""
FLAT = 1e-3
"""A slope that is zero, relative to that at the lower end of its bracket; a jump of the slope is none."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Where functions vanish."""

    x: np.ndarray
    """(n,) the end of the bracket with the smaller value."""
    value: np.ndarray
    """(n,) the function there: far from zero at a jump; NaN if the function was."""


@dataclass(frozen=True, slots=True)
class Minima:
    """Where functions are lowest."""

    x: np.ndarray
    """(n,)."""
    value: np.ndarray
    """(n,)."""
    inside: np.ndarray
    """(n,) bool: the slope vanishes there, or it is the lower end; False where the function ends before it rises."""


def solve(f: Function, low: np.ndarray, high: np.ndarray, *, rtol: float = 1e-9) -> Roots:
    """Roots between `low` and `high` (n,), where the signs of f differ.

    Args:
        f: the functions.
        low: (n,) one end of each bracket.
        high: (n,) the other.
        rtol: width of the last bracket, relative to the root.
    """
    every = np.arange(len(low))
    x1, x2 = np.array(low, float), np.array(high, float)
    f1, f2 = f(every, x1), f(every, x2)
    x3, f3 = x2.copy(), f2.copy()
    t = np.full(len(x1), 0.5)
    for _ in range(ITERATIONS):
        nearer = np.where(np.abs(f1) < np.abs(f2), x1, x2)
        shortest = (rtol * np.abs(nearer) + 1e-300) / np.maximum(np.abs(x2 - x1), 1e-300)
        busy = np.flatnonzero((shortest <= 0.5) & (f1 != 0) & (f2 != 0) & ~np.isnan(f1 + f2))
        if not len(busy):
            break
        step = np.clip(t[busy], shortest[busy], 1 - shortest[busy])
        x = x1[busy] + step * (x2[busy] - x1[busy])
        y = f(busy, x)
        same = np.sign(y) == np.sign(f1[busy])
        x3[busy], f3[busy] = np.where(same, x1[busy], x2[busy]), np.where(same, f1[busy], f2[busy])
        x2[busy], f2[busy] = np.where(same, x2[busy], x1[busy]), np.where(same, f2[busy], f1[busy])
        x1[busy], f1[busy] = x, y
        t[busy] = _step(*(a[busy] for a in (x1, x2, x3, f1, f2, f3)))
    first = np.abs(f1) < np.abs(f2)
    return Roots(np.where(first, x1, x2), np.where(np.isnan(f1 + f2), np.nan, np.where(first, f1, f2)))


def _step(x1: np.ndarray, x2: np.ndarray, x3: np.ndarray, f1: np.ndarray, f2: np.ndarray, f3: np.ndarray) -> np.ndarray:
    """The next point as a share of the bracket from x1 to x2."""
    with np.errstate(all="ignore"):
        xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
        trusted = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        cubic = f1 / (f2 - f1) * f3 / (f2 - f3) + (x3 - x1) / (x2 - x1) * f1 / (f3 - f1) * f2 / (f3 - f2)
    return np.where(trusted & np.isfinite(cubic), cubic, 0.5)


def expand(f: Function, start: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray]:
    """The first of start, 3 start, 9 start, ... at which f is not negative: (n,) points and (n,) whether there is one.

    Args:
        f: rising functions; where one is NaN, a point before is looked for at which it is not negative, or NaN still.
        start: (n,) positive.
        most: where the search ends.
    """
    x, found = np.array(start, float), np.zeros(len(start), bool)
    below, broken = np.zeros(len(x)), np.zeros(len(x), bool)
    busy = np.arange(len(x))
    while len(busy):
        value = f(busy, x[busy])
        found[busy], broken[busy] = ~(value < 0), np.isnan(value)
        busy = busy[(value < 0) & (x[busy] < most)]
        below[busy], x[busy] = x[busy], np.minimum(GROWTH * x[busy], most)
    busy = np.flatnonzero(broken)
    for _ in range(BACK):
        if not len(busy):
            break
        middle = np.where(below[busy] > 0, np.sqrt(below[busy] * x[busy]), x[busy] / GROWTH)
        value = f(busy, middle)
        under = value < 0
        below[busy[under]], x[busy[~under]] = middle[under], middle[~under]
        busy = busy[~(value >= 0) & (x[busy] > NEAR * below[busy])]
    return x, found


def minimise(f: WithSlope, low: np.ndarray, high: np.ndarray, most: float) -> Minima:
    """Lowest points at or above `low`; the scan from `low` to `high` grows while the functions still fall at its end.

    Args:
        f: returns values and slopes; the value is +inf where a function has ended. Where it is NaN, the answer is NaN
            too, unless the function rises towards there.
        low: (n,).
        high: (n,) above it.
        most: where the scans end.
    """
    n = len(low)
    high, best = np.array(high, float), np.zeros(n, int)
    x, y, slope = (np.empty((n, GRID)) for _ in range(3))
    busy = np.arange(n)
    while len(busy):
        x[busy] = low[busy, None] + (high - low)[busy, None] * np.linspace(0, 1, GRID) ** 2
        value, rise = f(np.repeat(busy, GRID), x[busy].ravel())
        y[busy], slope[busy] = value.reshape(-1, GRID), np.where(np.isfinite(value), rise, 1.0).reshape(-1, GRID)
        best[busy] = _downhill(_lowest(y[busy], slope[busy]), y[busy], slope[busy])
        falling = (best[busy] == GRID - 1) & (slope[busy, -1] < 0) & (high[busy] < most)
        busy = busy[falling]
        high[busy] = np.minimum(low[busy] + GROWTH * (high - low)[busy], most)
    every = np.arange(n)
    rising = slope[every, best] >= 0
    at = x[every, best]
    other = np.clip(np.where(rising, best - 1, best + 1), 0, GRID - 1)

    def slopes(k: np.ndarray, mu: np.ndarray) -> np.ndarray:
        value, rise = f(k, mu)
        return np.where(np.isfinite(value), rise, np.where(np.isnan(value), np.nan, 1.0))

    end, there = _across(slopes, at, x[every, other], np.where(rising, -1.0, 1.0), slope[every, other])
    rows = np.flatnonzero(np.where(rising, there < 0, there > 0))
    root = solve(lambda k, mu: slopes(rows[k], mu), np.minimum(at, end)[rows], np.maximum(at, end)[rows])
    falling = np.where(rising, there, slope[every, best])[rows]
    flat = (best == 0) & rising | (slope[every, best] == 0)
    flat[rows] = np.abs(root.value) <= FLAT * (1 + np.abs(falling))
    at[rows[flat[rows]]] = root.x[flat[rows]]
    return Minima(at, f(every, at)[0], flat)


def _lowest(y: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """(n,) the lowest points of scans (n, GRID), or a NaN that may hide it: the last number on the way there does not
    rise towards it.
    """
    unknown = np.isnan(y)
    known = np.where(unknown, np.inf, y)
    lowest = np.argmin(known, axis=1)[:, None]
    place, right = np.arange(GRID), np.arange(GRID) > lowest
    before = np.maximum.accumulate(np.where(unknown, -1, place), axis=1)
    after = np.minimum.accumulate(np.where(unknown, GRID, place)[:, ::-1], axis=1)[:, ::-1]
    last = np.clip(np.where(right, before, after), 0, GRID - 1)
    towards = np.take_along_axis(slope, last, axis=1) * np.where(right, 1.0, -1.0)
    return np.argmin(np.where(unknown & ~(towards > 0), -np.inf, known), axis=1)


def _downhill(lowest: np.ndarray, y: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """(n,) from the lowest points of scans (n, GRID) down their slopes, while values differ by rounding at most: where
    a function hardly changes along a scan, its slopes know where it falls to, and its values do not.
    """
    every, best = np.arange(len(y)), lowest
    level = y[every, lowest] + ROUNDING * (1 + np.abs(y[every, lowest]))
    for _ in range(GRID):
        here = slope[every, best]
        after = np.clip(best - np.sign(here).astype(int), 0, GRID - 1)
        best = np.where((y[every, after] <= level) & (slope[every, after] * here >= 0), after, best)
    return best


def _across(
    slopes: Function, at: np.ndarray, end: np.ndarray, sign: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) points between `at` and `end` where the slope has a sign (n,), and (n,) the slopes there: between the lowest
    point and the next of a scan may be a ridge, with the minimum on this side of it.
    """
    end, there = end.copy(), there.copy()
    for _ in range(HALVINGS):
        rows = np.flatnonzero((there * sign <= 0) & (end != at))
        if not len(rows):
            break
        end[rows] = 0.5 * (end + at)[rows]
        there[rows] = slopes(rows, end[rows])
    return end, there
