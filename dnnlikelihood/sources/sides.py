r"""Where fits of a counting likelihood that have ended may find a higher maximum: on the other side of a nuisance.

A nuisance whose up and down variations push the yields the same way gives log L a valley for either sign, and a free
normalisation may leave a bin to others. Which nuisances these are is told by the even part of their effect,

    e_b = [lambda_b(+sigma) + lambda_b(-sigma)] / 2 - lambda_b(0),        sum_b e_b^2 / lambda_b > EVEN^2

From a fit that ended at nu, each of them is moved by t, and the others follow as linear yields would, with J =
d lambda / d nu where the fit ended, D the variances of the auxiliary measurements a, and g the even interpolation of
HistFactory (code 4p; t^2 would do as well):

    lambda' = lambda + (J_k - e g'(nu_k)) t + e [g(nu_k + t) - g(nu_k)]
    chi^2   = r^T (diag lambda' + J D J^T)^-1 r + (move's own penalty),        r = n - lambda' + J (nu - a)
    nu'     = a + D J^T (diag lambda' + J D J^T)^-1 r

without column k of J. The move whose chi^2 promises most is where the fit begins again. Free normalisations have e = 0
and a wide D. The rows of a batch remain independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..statistics.counting import CountingModel, Observation
from ..statistics.scoring import EMPTY

__all__ = ["Sides", "other_side", "sides_of"]

EVEN = 0.25
"""Standard deviations of the counts that the even part of an effect has to make."""
FAR = 1.2
"""Standard deviations of a nuisance at which it is tried on either side."""
LEVELS = 0.02, 1.0, 2.0
"""Free normalisations are tried at these, in units of where fits begin."""
APART = 0.3
"""Moves shorter than so many standard deviations are none."""
MARGIN = 0.1
"""Nats that a move may promise to lose: the promise is linear, log L is not."""
WIDE = 10.0
"""Standard deviation of what has no auxiliary measurement, in units of where fits begin or ended."""
CHUNK = 64


@dataclass(frozen=True)
class Sides:
    """The moves that a model's nuisances are tried with: M = 3 for each of them."""

    column: np.ndarray
    """(M,) which nuisance."""
    even: np.ndarray
    """(M, B) e of each; 0 for free normalisations."""
    scale: np.ndarray
    """(M,) its standard deviation, or where fits begin."""
    value: np.ndarray
    """(M,) where to, in units of the scale; NaN: to minus where it is."""


def sides_of(model: CountingModel, inputs: int) -> Sides:
    """The moves of a model, from its effects when its so many inputs are zero."""
    precision, start = model.constraints.precision, model.start
    normal = np.flatnonzero(precision > 0)
    free = np.flatnonzero((precision == 0) & (model.constraints.rate == 0))
    sigma = 1.0 / np.sqrt(precision[normal])
    shift = np.zeros((len(normal), len(start)))
    shift[np.arange(len(normal)), normal] = sigma
    held = model.hold(np.zeros((len(normal), inputs)))
    middle, up, down = (np.maximum(model.expected(held, start + s * shift), 1e-9) for s in (0.0, 1.0, -1.0))
    even = 0.5 * (up + down) - middle
    strong = (even**2 / middle).sum(axis=1) > EVEN**2
    columns = np.concatenate([normal[strong], free])
    effects = np.concatenate([even[strong], np.zeros((len(free), middle.shape[1]))])
    scale = np.concatenate([sigma[strong], np.abs(start[free])])
    value = np.concatenate([np.tile([np.nan, -FAR, FAR], strong.sum()), np.tile(LEVELS, len(free))])
    return Sides(np.repeat(columns, 3), np.repeat(effects, 3, axis=0), np.repeat(scale, 3), value)


def other_side(
    model: CountingModel, sides: Sides, x: np.ndarray, seen: Observation, nu: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (m,) and starts (m, k) from which fits may end higher than at nu.

    Args:
        model: the experiment.
        sides: its own.
        x: (n, d) inputs.
        seen: with a row for each fit.
        nu: (n, k) where the fits ended.
    """
    rows, starts = [np.zeros(0, int)], [np.zeros((0, nu.shape[1]))]
    for i in range(0, len(nu) if len(sides.column) else 0, CHUNK):
        part = slice(i, i + CHUNK)
        promise, start = _best_move(model, sides, x[part], seen.rows(part), nu[part])
        some = np.flatnonzero(promise > -MARGIN)
        rows.append(i + some)
        starts.append(start[some])
    return np.concatenate(rows), np.concatenate(starts)


def _best_move(
    model: CountingModel, sides: Sides, x: np.ndarray, seen: Observation, nu: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) nats that the best move of each row promises, -inf where there is none, and (n, k) where it leads."""
    expected, jacobian = model.jacobian(model.hold(x), nu)
    centre, variance = _measured(model, seen, nu)
    spread = jacobian * variance[:, None, :]
    covariance = spread @ jacobian.transpose(0, 2, 1)
    back = (jacobian @ (nu - centre)[:, :, None])[:, :, 0]
    before = _solved(covariance, expected, seen.counts - expected + back)[1]

    c = sides.column
    here, slope = nu[:, c], jacobian[:, :, c].transpose(0, 2, 1)
    to = np.where(np.isnan(sides.value), -here, sides.value * sides.scale)
    to = np.clip(to, model.lower[c], model.upper[c])
    g, there = _even(here / sides.scale), _even(to / sides.scale)
    bend = g[1] / sides.scale
    after = expected[:, None] + (slope - sides.even * bend[:, :, None]) * (to - here)[:, :, None]
    after = np.maximum(after + sides.even * (there[0] - g[0])[:, :, None], 1e-9)
    rest = covariance[:, None] - (variance[:, c, None] * slope)[..., None] * slope[:, :, None, :]
    off = (seen.counts + back)[:, None] - after - slope * (here - centre[:, c])[:, :, None]
    z, chi = _solved(rest, after, off)
    gain = 0.5 * (before[:, None] - chi - (to - centre[:, c]) ** 2 / variance[:, c])
    gain[np.abs(to - here) < APART * sides.scale] = -np.inf

    rows, best = np.arange(len(nu)), gain.argmax(axis=1)
    start = centre + (z[rows, best][:, None, :] @ spread)[:, 0]
    start[rows, c[best]] = to[rows, best]
    return gain[rows, best], np.clip(start, model.lower, model.upper)


def _even(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """g(t), which is 1 at -1 and 1 and straight beyond, and g'(t)."""
    inside, square = np.abs(t) < 1.0, t * t
    g = np.where(inside, square * (15.0 - square * (10.0 - 3.0 * square)) / 8.0, np.abs(t))
    return g, np.where(inside, t * (30.0 - square * (40.0 - 18.0 * square)) / 8.0, np.sign(t))


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
    """(..., B) z = (diag expected + covariance)^-1 off, and (...,) off . z."""
    bins = np.arange(expected.shape[-1])
    matrix = covariance.copy()
    matrix[..., bins, bins] += np.where(expected > EMPTY, expected, 1.0)
    z = np.linalg.solve(matrix, off[..., None])[..., 0]
    return z, (off * z).sum(axis=-1)
