r"""Counting experiments with their nuisances maximised away, many at once: damped Fisher scoring in bin space.

For expected counts lambda_b(x, nu), with the inputs x held and the nuisances nu free, the log-likelihood relative to
the saturated one (lambda = n) is

    log L(nu) = sum_b [ n_b log(lambda_b / n_b) + n_b - lambda_b ]                    counts n
              - 1/2 sum_k P_k (nu_k - a_k)^2                                          normal auxiliary measurements a
              + sum_k [ m_k log(tau_k nu_k / m_k) + m_k - tau_k nu_k ]                Poisson auxiliary counts m

Steps solve (J^T W J + D^-1) p = g with J = d lambda / d nu, g the gradient, D^-1 the curvature of the constraints and
W = 1 / lambda, the expected information (Fisher scoring). With fewer bins than nuisances that is done in bin space,

    p = D (g - J^T z),      (W^-1 + J D J^T) z = J D g                                (Woodbury)

Nuisances on a bound whose gradient points outwards rest (projected Newton; Bertsekas, SIAM J. Control Optim. 20 (1982)
221), and a step is halved until log L grows (Armijo). Where Fisher scoring creeps because lambda is curved in nu, steps
use the exact Hessian, if the model offers d^2 lambda / d nu^2 and the Hessian is negative there.

At the maximum, d/dx of the profiled log L is its partial derivative (envelope theorem), sum_b (n_b / lambda_b - 1)
d lambda_b / dx.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import ShapeError
from ..progress import progress_bar
from .scoring import Pool, log_likelihood, pull

__all__ = [
    "Constraints",
    "CountingFit",
    "CountingModel",
    "CurvedModel",
    "Observation",
    "log_likelihood_at",
    "maximise_nuisances",
]

BLOCK = 4096
"""Rows whose held quantities are kept at a time."""


@dataclass(frozen=True)
class Constraints:
    """Auxiliary measurements: what each nuisance costs.

    A nuisance may have either, or neither (a free normalisation).
    """

    precision: np.ndarray
    """(k,) 1 / sigma^2 of the normal measurements; 0 where there is none."""
    rate: np.ndarray
    """(k,) tau of the Poisson measurements of tau nu; 0 where there is none."""


@dataclass(frozen=True)
class Observation:
    """What was seen: by one experiment, or, with a leading axis, by another one in each row."""

    counts: np.ndarray
    """(B,) or (n, B) counts, >= 0, whole or not (Asimov)."""
    means: np.ndarray
    """(k,) or (n, k) centres of the normal auxiliary measurements; not used where their precision is 0."""
    auxiliary: np.ndarray
    """(k,) or (n, k) Poisson auxiliary counts; not used where their rate is 0."""

    def rows(self, rows: Any) -> Observation:
        """The same for some rows of the batch."""
        return Observation(*(a[rows] if a.ndim == 2 else a for a in (self.counts, self.means, self.auxiliary)))

    def each(self, n: int) -> Observation:
        """The same with a row for each of n experiments (views, nothing is copied)."""
        fields = (self.counts, self.means, self.auxiliary)
        return Observation(*(np.broadcast_to(a, (n, a.shape[-1])) for a in fields))


class CountingModel(Protocol):
    """Expected counts and their slopes: what a source has to offer to be profiled.

    B bins, k nuisances, d inputs. `held` is whatever `hold` made of x, with a row for each row of x; functions are
    called with the same rows of `held` and `nu`.
    """

    observation: Observation
    """The experiment's own."""
    constraints: Constraints
    lower: np.ndarray
    """(k,) bounds of the nuisances; -inf where there are none."""
    upper: np.ndarray
    """(k,)."""
    start: np.ndarray
    """(k,) where fits begin."""

    def hold(self, x: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, ...): what depends on the inputs alone, computed once a row; x itself will do."""

    def expected(self, held: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, ...), (n, k) -> (n, B) lambda; a value <= 0 refuses the point if the count is not 0."""

    def jacobian(self, held: np.ndarray, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, ...), (n, k) -> lambda (n, B), d lambda / d nu (n, B, k)."""

    def inputs_jacobian(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, d), (n, k) -> d lambda / dx (n, B, d)."""


@runtime_checkable
class CurvedModel(CountingModel, Protocol):
    """What a `CountingModel` may offer besides: second derivatives, contracted with weights (n, B).

    With `curvature`, fits that creep take Newton steps; `counting_hessian` needs both.
    """

    def curvature(self, held: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(n, k, k): sum_b w_b d2 lambda_b / d nu d nu."""

    def inputs_curvature(self, x: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, d, d), (n, d, k): sum_b w_b d2 lambda_b / dx dx and sum_b w_b d2 lambda_b / dx d nu."""


@dataclass(frozen=True)
class CountingFit:
    """Maxima over the nuisances, one a row."""

    nu: np.ndarray
    """(n, k)."""
    value: np.ndarray
    """(n,) log L relative to the saturated one; -inf where `status` is "outside"."""
    gradient: np.ndarray
    """(n, d) of `value` with respect to the inputs; empty (n, 0) if not asked for."""
    status: np.ndarray
    """(n,) "converged"; "stalled" (no step improves, though the gradient says so); "iterations" (not done in as many);
    "outside" (log L is not finite where the fit begins, nor on the way there from the model's start)."""
    error: np.ndarray
    """(n,) nats that the last step promised, before it was taken: an upper estimate of what the maximum lacks."""
    at_bound: np.ndarray
    """(n,) bool: whether a nuisance rests on a bound."""
    iterations: np.ndarray
    """(n,)."""

    @property
    def converged(self) -> np.ndarray:
        """(n,) bool."""
        return self.status == "converged"

    def rows(self, rows: Any) -> CountingFit:
        """Some of them, copied."""
        return CountingFit(*(np.array(getattr(self, name)[rows]) for name in self.__dataclass_fields__))


def maximise_nuisances(
    model: CountingModel,
    x: np.ndarray,
    observation: Observation | None = None,
    *,
    start: np.ndarray | None = None,
    gradient: bool = True,
    tolerance: float = 1e-10,
    max_iterations: int = 100,
    pool: int = 128,
    progress: bool = False,
) -> CountingFit:
    """Maximise log L over the nuisances for each row of x.

    Args:
        model: expected counts and slopes.
        x: (n, d) inputs, held in place.
        observation: what was seen, if not what the model says; may differ from row to row.
        start: (n, k) or (k,) where to begin; the model's start if None.
        gradient: whether to differentiate the maxima with respect to x.
        tolerance: nats that a step must promise for the fit to go on; that last step is taken.
        max_iterations: evaluations of a row.
        pool: rows worked on at a time; rows that are done make room. More share the cost of a call, fewer stay in the
            cache.
        progress: show a bar on a terminal.

    Raises:
        ShapeError: x, start or observation of a wrong shape, or x not finite.
    """
    x = np.asarray(x, float)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ShapeError(f"inputs have shape {x.shape}, expected finite (n, d)")
    n, k = len(x), len(model.start)
    seen = _checked(observation or model.observation, n, np.shape(model.observation.counts)[-1], k)
    begin = np.asarray(model.start if start is None else start, float)
    if begin.shape not in ((k,), (n, k)):
        raise ShapeError(f"start has shape {begin.shape}, expected ({n}, {k}) or ({k},)")
    fit = CountingFit(
        nu=np.clip(np.broadcast_to(begin, (n, k)), model.lower, model.upper),
        value=np.full(n, -np.inf),
        gradient=np.zeros((n, x.shape[1] if gradient else 0)),
        status=np.full(n, "iterations", dtype="<U10"),
        error=np.full(n, np.inf),
        at_bound=np.zeros(n, bool),
        iterations=np.zeros(n, int),
    )
    with progress_bar("profiling", n, shown=progress and n > BLOCK) as advance:
        for i in range(0, n, BLOCK):
            rows = slice(i, min(i + BLOCK, n))
            block = CountingFit(*(getattr(fit, name)[rows] for name in CountingFit.__dataclass_fields__))
            held, there = model.hold(x[rows]), seen.rows(rows)
            Pool(model, held, there, block, tolerance, max_iterations, pool).run()
            if gradient:
                _differentiate(model, x[rows], there, block, pool)
            advance(len(block.nu))
    return fit


def _checked(seen: Observation, n: int, bins: int, k: int) -> Observation:
    """The observation with a row for each fit."""
    for name, width in (("counts", bins), ("means", k), ("auxiliary", k)):
        array = np.asarray(getattr(seen, name), float)
        if array.shape not in ((width,), (n, width)):
            raise ShapeError(f"observation: {name} have shape {array.shape}, expected ({width},) or ({n}, {width})")
        if not np.isfinite(array).all() or (name == "counts" and (array < 0).any()):
            raise ShapeError(f"observation: {name} must be finite{' and not negative' if name == 'counts' else ''}")
        seen = replace(seen, **{name: array})
    return seen.each(n)


def _differentiate(model: CountingModel, x: np.ndarray, seen: Observation, fit: CountingFit, chunk: int) -> None:
    """The gradient with respect to x by the envelope theorem."""
    held = model.hold(x)
    for i in range(0, len(x), chunk):
        rows = np.arange(i, min(i + chunk, len(x)))
        rows = rows[np.isfinite(fit.value[rows])]
        expected = model.expected(held[rows], fit.nu[rows])
        slope = pull(seen.counts[rows], expected)
        fit.gradient[rows] = (slope[:, None, :] @ model.inputs_jacobian(x[rows], fit.nu[rows]))[:, 0]


def log_likelihood_at(
    model: CountingModel, x: np.ndarray, nu: np.ndarray, observation: Observation | None = None
) -> np.ndarray:
    """(n, d), (n, k) -> (n,): log L as `CountingFit.value` has it, with the nuisances where they are."""
    seen = (observation or model.observation).each(len(x))
    return log_likelihood(model.constraints, seen, model.expected(model.hold(x), nu), nu)
