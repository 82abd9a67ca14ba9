r"""Maxima over all but the held coordinates from starts of each question's own, which all descend together.

    F = sum_i ln(Delta_i + c),      Delta_i = max logpdf - logpdf(theta_i) in nats,      c > 0

over the starts i of all questions is one function whose terms share no variable: its minima are those of each Delta_i.
CMS profiles its network so, with Adam (EPJ Web Conf. 295 (2024) 09041). A term pulls by dDelta_i / (Delta_i + c), so
that starts hundreds of nats up weigh no more in the common descent than those about to arrive, and one that leaves the
support, where it counts like the highest start, does not stop the others. Here L-BFGS-B descends (R. H. Byrd et al.,
SIAM J. Sci. Comput. 16 (1995) 1190), which keeps to the bounds, each parameter in units of its own standard deviation
1 / sqrt(-H_jj) at the best point known. One history of curvatures serves all starts, so that they arrive slowly:
second-order climbs from the best ends of each question finish. Starts are spread evenly, since what lies near the known
maxima other searches find.
"""

from __future__ import annotations

import numpy as np

from ..config import require
from ..protocols import LogDensity
from ..results import Fit
from .blocks import blocks
from .profile import limits
from .valleys import held_maxima, starting_points

__all__ = ["OFFSET", "descend", "multistart_maxima"]

OFFSET = 10.0
"""c in nats, that of CMS."""
ITERATIONS = 20
"""Of a round."""
ROUNDS = 2
"""Each begins with a new history, at the highest point that each start has seen, and counts from the highest of all."""
ROWS = 4096
"""Starts that descend together."""
TRIED = 4
"""Ends of each question that second-order climbs begin at."""
SETTLED = 1e-9
"""Relative gain of F in a step at which a round ends."""


def multistart_maxima(
    density: LogDensity,
    points: np.ndarray,
    columns: np.ndarray,
    best: np.ndarray,
    n_starts: int,
    *,
    seed: int = 1,
    tolerance: float = 1e-3,
    label: str = "",
    progress: bool = False,
) -> Fit:
    """Maxima over all other coordinates, a point a row; "outside" where no start has a finite log-density.

    Args:
        density: any LogDensity with a gradient.
        points: (n, k) values of the held coordinates.
        columns: (k,) which they are.
        best: (d,) the best point known, from which Delta counts.
        n_starts: of each point, drawn for it all over the box.
        seed: of these.
        tolerance: of the climbs at the end, as in `maximise`.
        label: of the progress bar.
        progress: show it on a terminal.
    """
    rng, d, parts = np.random.default_rng(seed), len(best), []
    for rows in blocks(len(points), max(1, ROWS // n_starts), label, progress=progress):
        here = points[rows]
        start = _starts(density, n_starts * len(here), rng, best).reshape(len(here), n_starts, d)
        start[:, :, columns] = here[:, None]
        held = np.zeros((len(here), d), bool)
        held[:, columns] = True
        end = descend(density, start.reshape(-1, d), columns, best).reshape(start.shape)
        parts.append(held_maxima(density, end, held, TRIED, tolerance=tolerance))
    return Fit(*(np.concatenate([getattr(p, name) for p in parts]) for name in Fit.__dataclass_fields__))


def descend(
    density: LogDensity,
    start: np.ndarray,
    columns: np.ndarray,
    best: np.ndarray,
    *,
    offset: float = OFFSET,
    iterations: int = ITERATIONS,
    rounds: int = ROUNDS,
) -> np.ndarray:
    """(n, d) the highest points that the descent of F from `start` (n, d) saw, a row each, `columns` held.

    Rows that begin outside the support stay where they are. `offset` is c in nats, `best` (d,) as above.

    Raises:
        ConfigError: c is not positive.
    """
    from scipy.optimize import Bounds, minimize

    require(0 < offset < np.inf, f"the offset c must be positive and finite, got {offset!r}")
    lower, upper = limits(density)
    seen = np.clip(start, lower, upper)
    value, top = density.logpdf(seen), float(density.logpdf(best[None])[0])
    rows = np.flatnonzero(np.isfinite(value))
    if not len(rows):
        return seen
    free = np.setdiff1d(np.arange(start.shape[1]), columns)
    scale = _scales(density, best, seen[rows])[free]
    bounds = Bounds(*(np.tile(b[free] / scale, len(rows)) for b in (lower, upper)))
    beyond = max(top, value.max()) - value[rows].min()

    def cost(u: np.ndarray) -> tuple[float, np.ndarray]:
        theta = seen[rows]
        theta[:, free] = np.clip(u.reshape(len(rows), -1) * scale, lower[free], upper[free])
        logpdf, grad = density.logpdf_and_grad(theta)
        higher = logpdf > value[rows]
        seen[rows[higher]], value[rows[higher]] = theta[higher], logpdf[higher]
        # A start may rise far above what was known; from the next round on it is what Delta counts from.
        argument = np.maximum(np.where(np.isfinite(logpdf), top - logpdf, beyond) + offset, 0.5 * offset)
        return float(np.log(argument).sum()), (-grad[:, free] * scale / argument[:, None]).ravel()

    options = {"maxiter": iterations, "ftol": SETTLED, "gtol": 0.0}
    for _ in range(rounds):
        top = max(top, float(value.max()))
        begin = (seen[rows][:, free] / scale).ravel()
        minimize(cost, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return seen


def _starts(density: LogDensity, n: int, rng: np.random.Generator, best: np.ndarray) -> np.ndarray:
    """(n, d) points spread evenly; as many as have no density there are drawn in towards the best, as for valleys."""
    first, second = rng.integers(2**31, size=2).tolist()
    even = starting_points(density, n, first, best, power=0.0)
    near = starting_points(density, n - len(even), second, best)
    return rng.permutation(np.resize(np.concatenate([even, near, best[None]]), (n, len(best))))


def _scales(density: LogDensity, at: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(d,) the standard deviation of each parameter, the others held; where it is flat, the spread of the starts."""
    _, _, hess = density.logpdf_grad_hess(at[None])
    spread = np.maximum(start.std(axis=0), 1e-12)
    return np.minimum(1 / np.sqrt(np.maximum(-np.diag(hess[0]), spread**-2)), spread)
