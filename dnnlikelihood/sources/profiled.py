r"""What a source of profiled likelihoods returns: a counting experiment, its data sets, and where their fits begin.

    logpdf_h(x) = max over nu of log L(x, nu | data_h)

x are inputs (signal yields, Wilson coefficients); each head h is another data set of the same experiment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ..errors import ConfigError, DomainError
from ..parameters import ParameterSpace
from ..statistics.counting import CountingFit, CountingModel, Observation, maximise_nuisances

if TYPE_CHECKING:
    from .asimov_signal import AsimovOfSignal

__all__ = [
    "PROFILED",
    "ProfiledSource",
    "Sensible",
    "Starts",
    "build_profiled",
    "challenge",
    "fits_begin",
    "keep_better",
    "profile_from",
    "refusal",
    "sensible",
    "try_other_sides",
]

PROFILED = {
    "eft": ("eft_profiled", "profiled_eft"),
    "histfactory": ("histfactory_profiled", "profiled_histfactory"),
}
"""Where the sources of profiled likelihoods are: name -> module, function."""
STEPS = 4, 4, 8, 8
"""Cheap steps of a fit that challenges another; after each so many it may be given up."""
APART, MARGIN, PROMISE = 0.2, 0.15, 5.0
"""Challengers go on that are further than this from the maximum in some nuisance, and below it by at most so many nats
and so many times what their last step promised."""
SHOWN = 8
"""Parameters and bins that an error names."""
ROUNDS, HIGHER = 3, 1e-7
"""Rounds in which fits try other sides, and nats by which one has to lead higher for the next."""


@dataclass(frozen=True)
class Starts:
    """Where fits begin; the highest maximum counts."""

    nu: np.ndarray
    """(m, k)."""
    cost: np.ndarray
    """(m, 2) nats below the saturated log L from which on each is tried, for most valleys are for signals that do not
    fit: where no input is negative, and where some input is."""

    @classmethod
    def always(cls, nu: np.ndarray) -> Starts:
        """(m, k) starts that all fits try."""
        return cls(nu, np.zeros((len(nu), 2)))


@dataclass(frozen=True)
class ProfiledSource:
    """A profiled likelihood as mathematics, and the recipe that rebuilds it."""

    name: str
    arguments: dict[str, Any]
    """JSON-able arguments; with the name, the recipe."""
    parameters: ParameterSpace
    """The inputs."""
    nuisances: tuple[str, ...]
    bins: tuple[str, ...]
    model: CountingModel
    data: dict[str, Observation | AsimovOfSignal]
    """The data set of each head; of a plain density, that of "logpdf"."""
    starts: dict[str, Starts]
    """Where the fits to each data set begin."""
    constants: dict[str, float] = field(default_factory=dict)
    """Added to the log L of each head: what no nuisance changes, normalisations of constraints say; 0 if not given."""
    reference: str = ""


def build_profiled(name: str, arguments: Mapping[str, Any]) -> ProfiledSource:
    """The source of that name, built with its arguments.

    Raises:
        ConfigError: unknown source, or arguments it does not take.
    """
    if name not in PROFILED:
        raise ConfigError(f"no profiled source {name!r}; there are {sorted(PROFILED)}")
    module, function = PROFILED[name]
    try:
        return getattr(import_module(f".{module}", __package__), function)(**arguments)
    except TypeError as error:
        raise ConfigError(f"profiled source {name!r}: {error}") from error


def fits_begin(source: ProfiledSource, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, B) bool: in which bins fits can begin, where events are expected, or neither expected nor seen in any head;
    and (n, B) what is expected there, where the nuisances start.
    """
    model = source.model
    expected = model.expected(model.hold(x), np.broadcast_to(model.start, (len(x), len(model.start))))
    empty = np.all([d.counts == 0 for d in source.data.values()], axis=0)
    return (expected > 0) | ((expected == 0) & empty), expected


def refusal(source: ProfiledSource, x: np.ndarray, within: np.ndarray) -> DomainError:
    """Why some of the points (n, d), those that are not `within` (n,), have nothing to fit: told of the first."""
    space, i = source.parameters, int(np.argmin(within))
    some, first = f"{(~within).sum()} of {len(x)} points", f"the first is point {i}"
    beyond = np.flatnonzero((x[i] < space.lower) | (x[i] > space.upper))[:SHOWN]
    if len(beyond):
        ends = [f"[{low:.6g}, {high:.6g}]" for low, high in zip(space.lower, space.upper, strict=True)]
        what = ", ".join(f"{space.names[j]}={x[i, j]:.6g} outside {ends[j]}" for j in beyond)
        return DomainError(f"{some} are outside the bounds, {first}: {what}")
    begins, expected = fits_begin(source, x[i : i + 1])
    what = ", ".join(f"{expected[0, j]:.6g} in {source.bins[j]}" for j in np.flatnonzero(~begins[0])[:SHOWN])
    return DomainError(
        f"{some} cannot be fitted, {first}, of which these events are expected where the nuisances start: {what}; take "
        "less away there"
    )


def profile_from(model: CountingModel, x: np.ndarray, seen: Observation, starts: Starts, **run: Any) -> CountingFit:
    """The highest of the maxima found from each start, row by row.

    From the first start every row goes to its maximum; from the others those that stay in another valley and are not
    clearly below. What has failed tries where the model begins. A model that knows where higher maxima may be says so,
    and fits begin there again. Where a model says which maxima make sense, the others are not looked for: they count
    only where the first start leads to them.
    """
    seen = seen.each(len(x))
    best = maximise_nuisances(model, x, seen, start=starts.nu[0], **run)
    kind = (x < 0).any(axis=1).astype(int)
    for nu, cost in zip(starts.nu[1:], starts.cost[1:], strict=True):
        challenge(model, x, seen, best, np.flatnonzero((best.value <= -cost[kind]) | ~best.converged), nu, **run)
    challenge(model, x, seen, best, np.flatnonzero(~best.converged), model.start, **run)
    try_other_sides(model, x, seen, best, **run)
    return best


def challenge(
    model: CountingModel,
    x: np.ndarray,
    seen: Observation,
    best: CountingFit,
    rows: np.ndarray,
    start: np.ndarray,
    **run: Any,
) -> None:
    """Fits of some rows from other starts, in place where they end higher than the best so far.

    They begin with a few cheap steps; those that come to where the best is, or are clearly below, are given up.

    Args:
        model: the experiment.
        x: (n, d) inputs of all rows.
        seen: with a row for each of them.
        best: of all rows.
        rows: (m,) those that are challenged.
        start: (m, k) or (k,).
        **run: as of `maximise_nuisances`.
    """
    if not len(rows):
        return
    for steps in STEPS:
        short = {**run, "gradient": False, "max_iterations": steps}
        rough = maximise_nuisances(_Straight(model), x[rows], seen.rows(rows), start=start, **short)
        apart = np.abs(rough.nu - best.nu[rows]).max(axis=1) > APART
        promised = np.where(np.isfinite(rough.value), MARGIN + PROMISE * rough.error, 0.0)
        go_on = apart & (rough.value + promised > best.value[rows]) | ~best.converged[rows]
        rows, start = rows[go_on], rough.nu[go_on]
        if not len(rows):
            return
    found = maximise_nuisances(model, x[rows], seen.rows(rows), start=start, **run)
    keep_better(model, x, best, rows, found)


def keep_better(model: CountingModel, x: np.ndarray, best: CountingFit, rows: np.ndarray, found: CountingFit) -> None:
    """Put fits found for some rows in place: higher maxima that make sense, anything where there was none."""
    known = best.rows(rows)
    higher = found.value > known.value
    sound = found.converged & sensible(model, x[rows], found.nu)
    better = np.where(known.converged, higher & sound, higher | found.converged)
    for name in CountingFit.__dataclass_fields__:
        getattr(best, name)[rows[better]] = getattr(found, name)[better]


def try_other_sides(model: CountingModel, x: np.ndarray, seen: Observation, best: CountingFit, **run: Any) -> None:
    """Begin fits again where the model says that higher maxima may be, in place, for as long as that leads higher.

    Args:
        model: the experiment; nothing is done if it does not say.
        x: (n, d) inputs.
        seen: with a row for each fit.
        best: what was found so far.
        **run: as of `maximise_nuisances`.
    """
    if not isinstance(model, TwoSided):
        return
    rows = np.flatnonzero(np.isfinite(best.value))
    for _ in range(ROUNDS):
        if not len(rows):
            break
        before, there = best.value[rows], seen.rows(rows)
        for part, start in model.other_sides(x[rows], best.nu[rows], there):
            challenge(model, x, seen, best, rows[part], start, **run)
        rows = rows[best.value[rows] > before + HIGHER]


@runtime_checkable
class TwoSided(Protocol):
    """What a model may offer besides: where fits might find a higher maximum."""

    def other_sides(self, x: np.ndarray, nu: np.ndarray, seen: Observation) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """(n, d), (n, k) where the fits ended, what was seen in each row -> pairs of rows (m,) and starts (m, k)."""


@runtime_checkable
class Sensible(Protocol):
    """What a model may offer besides: which maxima count, for some make no sense however high they are."""

    def sensible(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, d), (n, k) -> (n,) bool: whether they make sense."""


def sensible(model: CountingModel, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """(n,) bool: which nuisances (n, k) make sense; all of a model that does not say."""
    return model.sensible(x, nu) if isinstance(model, Sensible) else np.ones(len(x), bool)


class _Straight:
    """A model that keeps its second derivatives to itself, so that every step is a cheap one."""

    def __init__(self, model: CountingModel) -> None:
        self.observation, self.constraints, self.start = model.observation, model.constraints, model.start
        self.lower, self.upper = model.lower, model.upper
        self.hold, self.expected, self.jacobian = model.hold, model.expected, model.jacobian
        self.inputs_jacobian = model.inputs_jacobian
