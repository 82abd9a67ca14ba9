r"""What a source of profiled likelihoods returns: a counting experiment, its data sets, and where their fits begin.

    logpdf_h(x) = max over nu of log L(x, nu | data_h)

x are inputs (signal yields, Wilson coefficients); each head h is another data set of the same experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

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
    constant: float = 0.0
    """Added to log L: normalisations of the constraints that no nuisance changes."""
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
    """The highest of the maxima found from each start (m, k), row by row."""
    best = maximise_nuisances(model, x, seen, start=starts[0], **run)
    for start in starts[1:]:
        best = higher_of(best, maximise_nuisances(model, x, seen, start=start, **run))
    return best


def higher_of(first: CountingFit, second: CountingFit) -> CountingFit:
    """Row by row the fit that converged, of two that did the higher one."""
    better = np.where(first.converged == second.converged, second.value > first.value, second.converged)
    fields = ((getattr(first, name), getattr(second, name)) for name in CountingFit.__dataclass_fields__)
    return CountingFit(*(np.where(better.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in fields))
