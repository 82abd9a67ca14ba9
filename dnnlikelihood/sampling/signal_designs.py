r"""Where to evaluate a profiled likelihood of signal yields in order to learn it.

**As the slides did** ("Parametrising profiled likelihoods" and its successor): random-walk Metropolis-Hastings in the
yields, steps of 5 % of the scanned ranges, towards the minimum of the NLL (density proportional to L) and towards its
maximum (1 / L): `metropolis`.

**For the questions that are asked**: limits look along rays x = t p, from no signal to well beyond exclusion.
`rays` draws directions p as signals look like, and strengths t so that Delta NLL(t) = NLL(t p) - NLL(0) covers its
range evenly. A direction shares a signal among the signal regions and lets some of it leak into the control regions:

    SR   half Dirichlet(a), log a uniform in (log 0.2, log 5);
         half b^k exp(c z), z normal and correlated from bin to bin, k in {0, 1/2, 1}; bins may be empty
    CR   nothing (4 in 20), a share uniform in (0, 1/2) of the signal regions' total (7 in 20), any ratio to it,
         log-uniform in (0.003, 3) times that of the backgrounds (8 in 20), or all of the signal (1 in 20)

    t_10:  Delta NLL(t_10 p) = 10, found by secants and bisection in log t from the parabola at no signal
    t    = t_10 u^0.6,  u uniform      (16 in 20; flat in Delta NLL, for curves between a parabola and a line)
    t    = t_10 10^u                   (3 in 20; many a real signal is excluded by far, and asked about all the same)
    t    = -u min_b (b / p_b)          (1 in 20), as far as muhat < 0 reaches: every yield stays positive

Where a signal fills a control region, t_10 is where nothing is left of the background that is measured there. Few real
signals come near that, and no fit means much there: rays may end where the contamination, the signal's part of the
background in a control bin, reaches a given one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Config, require
from ..errors import ConfigError

__all__ = ["SignalRays", "directions", "metropolis", "rays", "strength_at"]

LogPdf = Callable[[np.ndarray], np.ndarray]

HIGH = 10.0
"""delta_nll that t_10 stands for."""
BEYOND, REACH, NEGATIVE = 0.15, 10.0, 0.05
"""Share of points beyond t_10, how many times t_10 they reach to, and share of negative strengths."""
EMPTIEST = 0.9
"""The largest part of a bin's background that a negative signal takes away."""
LEAKS = 0.2, 0.35, 0.4, 0.05
"""Of directions that leave the control regions empty, leak into them, fill both in any ratio, fill them alone."""
LEAST = 0.01
"""Contamination below which the control regions are no inputs worth having."""
RATIOS = 0.003, 3.0
"""Of the control regions' total to that of the signal regions, in units of the backgrounds'."""
EXPONENTS = 0.7, 8.0
"""Of t in delta_nll."""
CONTAMINATIONS = 0.1, 0.3
"""Where kinds of signals end: networks err alike below the first, and several times more from the second on."""
SECANTS, LONGEST, RETREAT, NEARLY = 8, 1.5, 1.0, 0.03
"""Steps towards t_10, the longest in log t, that where there is no label, and the error in log delta_nll after which
one more is enough."""
FLATTEST, FARTHEST = 1e-3, 10.0


def metropolis(
    logpdf: LogPdf,
    low: np.ndarray,
    high: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    towards: str = "minimum",
    step: float = 0.05,
    n_walkers: int = 64,
) -> np.ndarray:
    """(n, d) points of random walks in a box, rejected steps repeated.

    Args:
        logpdf: (m, d) -> (m,), minus the NLL.
        low: (d,) box.
        high: likewise.
        n: points.
        rng: random numbers.
        towards: "minimum" or "maximum" of the NLL.
        step: standard deviation of a step, in widths of the box.
        n_walkers: walks side by side, begun uniformly in the box.

    Raises:
        ConfigError: another direction.
    """
    if towards not in ("minimum", "maximum"):
        raise ConfigError(f"towards={towards!r} is neither 'minimum' nor 'maximum'")
    sign = 1.0 if towards == "minimum" else -1.0
    width = high - low
    at = rng.uniform(low, high, size=(n_walkers, len(low)))
    here, visited = sign * logpdf(at), []
    for _ in range(-(-n // n_walkers)):
        there = at + step * width * rng.normal(size=at.shape)
        inside = ((there >= low) & (there <= high)).all(axis=1)
        value = np.full(n_walkers, -np.inf)
        if inside.any():
            value[inside] = sign * logpdf(there[inside])
        taken = np.isfinite(value) & (np.log(rng.uniform(size=n_walkers)) < value - here)
        at, here = np.where(taken[:, None], there, at), np.where(taken, value, here)
        visited.append(at)
    return np.concatenate(visited)[:n]


def directions(background: np.ndarray, signal: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, d) shapes of signals, the signal regions' yields adding up to 1; the control regions' where those have none.

    Args:
        background: (d,) nominal yields.
        signal: (d,) bool: bins of signal regions; the others are of control regions.
        n: directions.
        rng: random numbers.
    """
    out = np.zeros((n, len(background)))
    out[:, signal] = _shares(background[signal], n, rng)
    if not signal.all():
        kind = rng.choice(4, size=n, p=LEAKS)
        wide = (
            np.exp(rng.uniform(np.log(RATIOS[0]), np.log(RATIOS[1]), size=n))
            * background[~signal].sum()
            / background[signal].sum()
        )
        ratio = np.choose(kind, (np.zeros(n), rng.uniform(0.0, 0.5, size=n), wide, np.ones(n)))
        out[:, ~signal] = ratio[:, None] * _shares(background[~signal], n, rng)
        out[np.ix_(kind == 3, signal)] = 0.0
    return out


def _shares(background: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, d) parts of one, of all kinds of concentration."""
    d = len(background)
    loose = rng.gamma(np.exp(rng.uniform(np.log(0.2), np.log(5.0), size=(n, 1))), size=(n, d))
    apart = np.abs(np.arange(d)[:, None] - np.arange(d))
    root = np.linalg.cholesky(np.exp(-apart / 2.0) + 1e-9 * np.eye(d))
    width = rng.uniform(0.2, 2.0, size=(n, 1))
    tilted = background ** rng.choice([0.0, 0.5, 1.0], size=(n, 1)) * np.exp(width * (rng.normal(size=(n, d)) @ root.T))
    parts = np.where(rng.uniform(size=(n, 1)) < 0.5, loose, tilted) + 1e-12
    empty = (rng.uniform(size=(n, d)) < 0.3) & (rng.uniform(size=(n, 1)) < 0.3)
    empty[np.arange(n), parts.argmax(axis=1)] = False
    parts[empty] = 0.0
    return parts / parts.sum(axis=1, keepdims=True)


def strength_at(
    logpdf: LogPdf,
    slope: np.ndarray,
    curvature: np.ndarray,
    null: float,
    background: np.ndarray,
    shapes: np.ndarray,
    level: float = HIGH,
) -> np.ndarray:
    """(n,) strengths t > 0 where Delta NLL(t p) is about `level`, or the largest that is worth asking about.

    Along some directions free normalisations absorb almost any signal. Curvatures are therefore taken to be at least
    1/1000 of those of fixed backgrounds, and t at most ten times what the parabola says. Where there is no label, t has
    gone too far.

    Args:
        logpdf: (m, d) -> (m,); NaN where there is no label.
        slope: (d,) gradient of logpdf at no signal.
        curvature: (d, d) Hessian of logpdf there.
        null: logpdf there.
        background: (d,) nominal yields.
        shapes: (n, d) directions p.
        level: Delta NLL.
    """
    g = -shapes @ slope
    least = FLATTEST * (shapes**2 / (background + 1.0)).sum(axis=1)
    h = np.maximum(-np.einsum("nd,de,ne->n", shapes, curvature, shapes), least)
    t = (np.sqrt(g**2 + 2 * level * h) - g) / h
    most, exponent = FARTHEST * t, np.full(len(t), 1.5)
    low, high = np.zeros(len(t)), np.full(len(t), np.inf)
    x_before, y_before = np.full((2, len(t)), np.nan)
    todo = np.arange(len(t))
    for _ in range(SECANTS):
        at = t[todo]
        rise = null - logpdf(at[:, None] * shapes[todo])
        known = np.isfinite(rise)
        over = ~known | (rise > level)
        low[todo[~over]], high[todo[over]] = at[~over], at[over]
        x, y = np.log(at), np.log(np.maximum(np.where(known, rise, np.nan) / level, 1e-3))
        apart = x - x_before[todo]
        found = np.divide(y - y_before[todo], apart, out=np.full(len(x), np.nan), where=np.abs(apart) > 1e-3)
        exponent[todo] = np.where(np.isfinite(found), np.clip(found, *EXPONENTS), exponent[todo])
        x_before[todo], y_before[todo] = x, y
        step = np.clip(np.where(known, -y / exponent[todo], -RETREAT), -LONGEST, LONGEST)
        onward = np.minimum(at * np.exp(step), most[todo])
        a, b = low[todo], high[todo]
        bracketed = (a > 0) & (b < np.inf)
        halved = bracketed & ~(known & (a < onward) & (onward < b))
        t[todo] = np.sqrt(a * b, out=onward, where=halved)
        todo = todo[~(np.abs(y) < NEARLY)]
        if not len(todo):
            break
    return t


def rays(
    logpdf: LogPdf,
    slope: np.ndarray,
    curvature: np.ndarray,
    null: float,
    background: np.ndarray,
    signal: np.ndarray,
    n: int,
    rng: np.random.Generator,
    per_ray: int = 4,
    contamination: float | None = None,
) -> np.ndarray:
    """(n, d) yields, see the module; the arguments are those of `strength_at` and `directions`.

    Args:
        logpdf: (m, d) -> (m,).
        slope: (d,).
        curvature: (d, d).
        null: logpdf without signal.
        background: (d,) nominal yields.
        signal: (d,) bool.
        n: points.
        rng: random numbers.
        per_ray: strengths for each direction.
        contamination: the largest part of the background of a control bin, of one event where less is expected, that a
            signal adds or takes away.
    """
    shapes = directions(background, signal, -(-n // per_ray), rng)
    high = np.repeat(strength_at(logpdf, slope, curvature, null, background, shapes), per_ray)[:n]
    shapes = np.repeat(shapes, per_ray, axis=0)[:n]
    with np.errstate(divide="ignore"):
        empty, full = (np.where(shapes > 0, b / shapes, np.inf) for b in (background, np.maximum(background, 1.0)))
    most = np.full(n, np.inf)
    if contamination is not None:
        most = contamination * full[:, ~signal].min(axis=1, initial=np.inf)
        high = np.minimum(high, most)
    lowest = np.maximum(-EMPTIEST * empty.min(axis=1), -high)
    u, kind = rng.uniform(size=n), rng.uniform(size=n)
    t = high * np.where(kind < BEYOND, REACH**u, u**0.6)
    t = np.where(t > most, most * u, t)
    t = np.where(kind > 1.0 - NEGATIVE, lowest * u, t)
    return t[:, None] * shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRays(Config):
    """The design of rays for a profiled workspace."""

    contamination: float | None = None
    """The largest part of the background of a control bin that signals add; None: as much as costs 10 nats."""
    per_ray: int = 4
    """Strengths for each direction."""

    def validate(self) -> None:
        """Positive numbers."""
        require(self.per_ray > 0, f"per_ray is {self.per_ray}, must be positive")
        if self.contamination is not None:
            require(
                self.contamination >= LEAST,
                f"contamination is {self.contamination}, must be {LEAST:g} at least; leave the control regions out if "
                "no signal reaches them",
            )

    def __call__(self, density: Any, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, d) signal yields, told from the likelihood of the first head."""
        one = density.select(density.heads[0])
        value, gradient, hessian = one.logpdf_grad_hess(np.zeros((1, len(density.parameters))))

        def logpdf(theta: np.ndarray) -> np.ndarray:
            found = one.label(theta)
            return np.where(found.ok, found.value, np.nan)

        local = gradient[0], hessian[0], float(value[0])
        background, signal = -density.parameters.lower, _signal_bins(density)
        return rays(logpdf, *local, background, signal, n, rng, self.per_ray, self.contamination)

    def kinds(self, density: Any, theta: np.ndarray) -> np.ndarray:
        """(n, d) yields -> (n,) what they are like, of which errors depend: negative, or how they contaminate."""
        control = ~_signal_bins(density)
        full = np.maximum(-density.parameters.lower, 1.0)
        most = (np.abs(theta) / full)[:, control].max(axis=1, initial=0.0)
        low, high = CONTAMINATIONS
        names = [f"contamination to {low:g}", f"contamination to {high:g}", "contamination beyond"]
        return np.where((theta < 0).any(axis=1), "negative", np.array(names)[np.digitize(most, CONTAMINATIONS)])


def _signal_bins(density: Any) -> np.ndarray:
    """(d,) bool."""
    chosen = density.source.arguments["signal_regions"]
    return np.array([name.rpartition("-")[0] in chosen for name in density.parameters.names])
