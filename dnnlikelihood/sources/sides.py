r"""Where fits of a counting likelihood that have ended may find a higher maximum: on the other side of a nuisance.

A nuisance whose up and down variations push the yields the same way gives log L a valley for either sign, and a free
normalisation may leave a bin to others. Which nuisances these are is told by the even part of their effect,

    e_b = [lambda_b(+sigma) + lambda_b(-sigma)] / 2 - lambda_b(0),        sum_b e_b^2 / lambda_b > EVEN^2

From a fit that ended at nu, each of them is moved to a trial value, and the others follow as linear yields would, with
J = d lambda / d nu where the fit ended, D the variances of the auxiliary measurements a, and lambda' after the move:

    chi^2 = r^T (diag lambda' + J D J^T)^-1 r + (move's own penalty),        r = n - lambda' + J (nu - a)
    nu'   = a + D J^T (diag lambda' + J D J^T)^-1 r

Fits begin again at the moves whose chi^2 promises most. Free normalisations have a wide D. The rows of a batch remain
independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..statistics.counting import CountingModel, Observation

__all__ = ["Sides", "other_sides", "sides_of"]

EVEN = 0.25
"""Standard deviations of the counts that the even part of an effect has to make."""
FAR = 1.2
"""Standard deviations of a nuisance at which it is tried on either side."""
LEVELS = 0.02, 1.0, 2.0
"""Free normalisations are tried at these, in units of where fits begin."""
APART = 0.3
"""Moves shorter than so many standard deviations are none."""
MARGIN = 0.3
"""Nats that a move may promise to lose: the promise is linear, log L is not."""
MOST = 1
"""Moves of one fit that are followed in a round."""
WIDE = 10.0
"""Standard deviation of what has no auxiliary measurement, in units of where fits begin or ended."""
CHUNK = 64


@dataclass(frozen=True)
class Sides:
    """Nuisances with several sides."""

    even: np.ndarray
    """(e,) columns of those with an even effect."""
    free: np.ndarray
    """(f,) columns of free normalisations."""

    def moves(self, nu: np.ndarray, sigma: np.ndarray, start: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Columns and the values (n,) that they are moved to from nu (n, k)."""
        for column in self.even:
            yield column, -nu[:, column]
            for sign in (-1.0, 1.0):
                yield column, np.full(len(nu), sign * FAR * sigma[column])
        for column in self.free:
            for level in LEVELS:
                yield column, np.full(len(nu), level * start[column])


def sides_of(model: CountingModel, inputs: int) -> Sides:
    """Which nuisances of a model have several sides, when its so many inputs are zero."""
    precision = model.constraints.precision
    normal = np.flatnonzero(precision > 0)
    shift = np.zeros((len(normal), len(model.start)))
    shift[np.arange(len(normal)), normal] = 1.0 / np.sqrt(precision[normal])
    held = model.hold(np.zeros((len(normal), inputs)))
    middle, up, down = (np.maximum(model.expected(held, model.start + s * shift), 1e-9) for s in (0.0, 1.0, -1.0))
    even = (((0.5 * (up + down) - middle) ** 2) / middle).sum(axis=1)
    return Sides(normal[even > EVEN**2], np.flatnonzero(~_measured_at_all(model)))


def other_sides(
    model: CountingModel, sides: Sides, x: np.ndarray, seen: Observation, nu: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows (m,) and starts (m, k) from which fits may end higher than at nu; the most promising of each row first.

    Args:
        model: the experiment.
        sides: its own.
        x: (n, d) inputs.
        seen: with a row for each fit.
        nu: (n, k) where the fits ended.
    """
    n, k = nu.shape
    promise, start = np.full((MOST, n), -np.inf), np.zeros((MOST, n, k))
    for i in range(0, n, CHUNK):
        part = slice(i, i + CHUNK)
        for gain, there in _moved(model, sides, x[part], seen.rows(part), nu[part]):
            worst = promise[:, part].argmin(axis=0)
            rows = np.flatnonzero(gain > promise[:, part].min(axis=0))
            promise[worst[rows], i + rows] = gain[rows]
            start[worst[rows], i + rows] = there[rows]
    order = np.argsort(-promise, axis=0, kind="stable")
    for rank in order:
        rows = np.flatnonzero(np.take_along_axis(promise, rank[None], axis=0)[0] > -MARGIN)
        if len(rows):
            yield rows, start[rank[rows], rows]


def _moved(
    model: CountingModel, sides: Sides, x: np.ndarray, seen: Observation, nu: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each move the nats (n,) that it promises, -inf where it is none, and where it leads (n, k)."""
    held = model.hold(x)
    expected, jacobian = model.jacobian(held, nu)
    centre, variance = _measured(model, seen, nu)
    spread = jacobian * variance[:, None, :]
    covariance = spread @ jacobian.transpose(0, 2, 1)
    back = (jacobian @ (nu - centre)[:, :, None])[:, :, 0]
    before = _solved(covariance, expected, seen.counts - expected + back)[1]
    scale = np.where(_measured_at_all(model), np.sqrt(variance[0]), np.abs(model.start))
    for column, value in sides.moves(nu, scale, model.start):
        value = np.clip(value, model.lower[column], model.upper[column])
        moved = nu.copy()
        moved[:, column] = value
        after = np.maximum(model.expected(held, moved), 1e-9)
        slope, shift = jacobian[:, :, column], value - centre[:, column]
        rest = covariance - spread[:, :, column, None] * slope[:, None, :]
        off = seen.counts - after + back - slope * (nu - centre)[:, [column]]
        z, chi = _solved(rest, after, off)
        gain = 0.5 * (before - chi - shift**2 / variance[:, column])
        gain[np.abs(value - nu[:, column]) < APART * scale[column]] = -np.inf
        there = centre + (z[:, None, :] @ spread)[:, 0]
        there[:, column] = value
        yield gain, np.clip(there, model.lower, model.upper)


def _measured_at_all(model: CountingModel) -> np.ndarray:
    """(k,) bool: nuisances with an auxiliary measurement."""
    return (model.constraints.precision > 0) | (model.constraints.rate > 0)


def _measured(model: CountingModel, seen: Observation, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) centres and (n, k) variances of the auxiliary measurements, counted ones as normal ones near nu."""
    precision, rate = model.constraints.precision, model.constraints.rate
    normal, counted = precision > 0, rate > 0
    wide = (WIDE * np.maximum(np.maximum(np.abs(model.start), np.abs(nu)), 0.1)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(normal, 1.0 / precision, np.where(counted, seen.auxiliary / rate**2, wide))
        centre = np.where(normal, seen.means, np.where(counted, seen.auxiliary / rate, nu))
    return centre, np.maximum(variance, 1e-12)


def _solved(covariance: np.ndarray, expected: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, B) z = (diag expected + covariance)^-1 off, and (n,) off . z."""
    bins = np.arange(expected.shape[1])
    matrix = covariance.copy()
    matrix[:, bins, bins] += expected
    z = np.linalg.solve(matrix, off[:, :, None])[:, :, 0]
    return z, (off * z).sum(axis=1)
