r"""What a source of profiled likelihoods returns: a counting experiment, its data sets, and where their fits begin.

    logpdf_h(x) = max over nu of log L(x, nu | data_h)

x are inputs (signal yields, Wilson coefficients); each head h is another data set of the same experiment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import ConfigError
from ..parameters import ParameterSpace
from ..statistics.counting import CountingFit, CountingModel, Observation, maximise_nuisances

__all__ = ["PROFILED", "ProfiledSource", "build_profiled", "higher_of", "profile_from"]

PROFILED = {
    "eft": ("eft_profiled", "profiled_eft"),
    "histfactory": ("histfactory_profiled", "profiled_histfactory"),
}
"""Where the sources of profiled likelihoods are: name -> module, function."""
FIELDS = tuple(CountingFit.__dataclass_fields__)
FEW = 9
"""Steps of every start, before most of them are given up."""
APART, MARGIN, PROMISE = 0.2, 0.05, 5.0
"""Starts go on that are further than this from the maximum in some nuisance, and below it by at most so many nats and
so many times what their last step promised."""


@dataclass(frozen=True)
class ProfiledSource:
    """A profiled likelihood as mathematics, and the recipe that rebuilds it."""

    name: str
    arguments: dict[str, Any]
    """JSON-able arguments; with the name, the recipe."""
    parameters: ParameterSpace
    """The inputs."""
    nuisances: tuple[str, ...]
    model: CountingModel
    data: dict[str, Observation]
    """The data set of each head; of a plain density, that of "logpdf"."""
    starts: dict[str, np.ndarray]
    """(m, k) where the fits to each data set begin; the highest maximum counts."""
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


def profile_from(model: CountingModel, x: np.ndarray, seen: Observation, starts: np.ndarray, **run: Any) -> CountingFit:
    """The highest of the maxima found from each start (m, k), row by row.

    From a single start every row goes to its maximum; a model that knows where higher ones may be says so, and these
    rows begin there again. Of several starts all take a few cheap steps; the one that is then highest goes on to its
    maximum; of the others only those do that are in another valley and not clearly below.
    """
    seen = seen.each(len(x))
    if len(starts) == 1:
        best = maximise_nuisances(model, x, seen, start=starts[0], **run)
        if isinstance(model, TwoSided):
            for rows, start in model.other_sides(x, best.nu.copy(), seen):
                _raise(best, rows, maximise_nuisances(model, x[rows], seen.rows(rows), start=start, **run))
        return best
    short = {**run, "gradient": False, "max_iterations": FEW}
    rough = [maximise_nuisances(_Straight(model), x, seen, start=start, **short) for start in starts]
    top = np.stack([r.value for r in rough]).argmax(axis=0)
    best = maximise_nuisances(model, x, seen, start=np.stack([r.nu for r in rough])[top, np.arange(len(x))], **run)
    for other in rough:
        apart = np.abs(other.nu - best.nu).max(axis=1) > APART
        promised = np.where(np.isfinite(other.value), MARGIN + PROMISE * other.error, 0.0)
        rows = np.flatnonzero((apart & (other.value + promised > best.value)) | ~best.converged)
        if len(rows):
            _raise(best, rows, maximise_nuisances(model, x[rows], seen.rows(rows), start=other.nu[rows], **run))
    return best


@runtime_checkable
class TwoSided(Protocol):
    """What a model may offer besides: where fits might find a higher maximum."""

    def other_sides(self, x: np.ndarray, nu: np.ndarray, seen: Observation) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """(n, d), (n, k) where the fits ended, what was seen in each -> pairs of rows (m,) and starts (m, k)."""


def _raise(best: CountingFit, rows: np.ndarray, found: CountingFit) -> None:
    """Put what was found for some rows in place where it is higher."""
    better = higher_of(CountingFit(*(getattr(best, n)[rows] for n in FIELDS)), found)
    for name in FIELDS:
        getattr(best, name)[rows] = getattr(better, name)


class _Straight:
    """A model that keeps its second derivatives to itself, so that every step is a cheap one."""

    def __init__(self, model: CountingModel) -> None:
        self.observation, self.constraints, self.start = model.observation, model.constraints, model.start
        self.lower, self.upper = model.lower, model.upper
        self.hold, self.expected, self.jacobian = model.hold, model.expected, model.jacobian
        self.inputs_jacobian = model.inputs_jacobian


def higher_of(first: CountingFit, second: CountingFit) -> CountingFit:
    """Row by row the fit that converged, of two that did the higher one."""
    better = np.where(first.converged == second.converged, second.value > first.value, second.converged)
    fields = ((getattr(first, name), getattr(second, name)) for name in FIELDS)
    return CountingFit(*(np.where(better.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in fields))
