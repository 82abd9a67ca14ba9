"""Where log-densities come from: functions that return a `Source` (parameters, prior, traceable log-likelihood).

`eft`         counts quadratic in effective-theory coefficients, log-normal nuisances; generated, or from JSON.
`eft_gaussian` measurements with a covariance, predicted up to second order in such coefficients.
`gaussian`    exact answers known; the tests' ground truth.
`histfactory` any pyhf workspace, all modifier types.
`simplified`  counts with parabolas for backgrounds, from their first three moments (arXiv:1809.05548).
`toy_lhc`     the 95-parameter toy search of arXiv:1911.03305.
`unbinned`    a mass peak over a falling background, event by event, with nuisances.

`build(name, arguments)` finds one by name; the name and the arguments are the recipe a Likelihood saves.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..errors import ConfigError, DnnLikelihoodError
from .source import Counting, Source

__all__ = ["SOURCES", "Counting", "Source", "build"]

SOURCES = ("eft", "eft_gaussian", "gaussian", "histfactory", "simplified", "toy_lhc", "unbinned")


def build(name: str, arguments: Mapping[str, Any] | None = None) -> Source:
    """The source of that name, built with its arguments.

    Raises:
        ConfigError: unknown source, or arguments it does not take.
    """
    name = name.replace("-", "_")
    if name not in SOURCES:
        raise ConfigError(f"no source {name!r}; there are {list(SOURCES)}")
    function = getattr(import_module(f".{name}", __name__), name)
    try:
        return function(**(arguments or {}))
    except (TypeError, ValueError) as error:
        if isinstance(error, DnnLikelihoodError):
            raise
        raise ConfigError(f"source {name!r}: {error}") from error
