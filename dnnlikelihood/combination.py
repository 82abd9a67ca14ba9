"""Several likelihoods as one: `combine`, with shared parameters and correlated priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .composition import Composite, Quadratic, Term, columns_of, inseparable
from .errors import ParameterError
from .parameters import Parameter, ParameterSpace
from .priors import Normal, Prior
from .protocols import Kind, LogDensity

__all__ = ["combine"]


def combine(
    densities: Sequence[LogDensity],
    shared: Sequence[str] = (),
    correlated: Mapping[tuple[str, str], float] | None = None,
) -> Composite:
    """The product of independent likelihoods, as one density.

    Args:
        densities: at least two. Equal names mean one parameter only if they are listed in `shared`.
        shared: names of parameters that several densities have in common; a common prior counts once.
        correlated: {(name, name): rho} for pairs of parameters with Normal priors: their priors become one
            bivariate normal with correlation rho, -1 < rho < 1. A parameter may be in one pair.

    Raises:
        ParameterError: equal names that are not shared, shared names nobody has or with different priors or
            bounds, correlations of parameters without a Normal prior, likelihoods with different heads.
    """
    densities = tuple(densities)
    if len(densities) < 2:
        raise ParameterError("combine needs at least two log-densities")
    seen: dict[str, Parameter] = {}
    priors: dict[str, Any] = {}
    counted: list[tuple[int, str]] = []
    for k, density in enumerate(densities):
        for p in density.parameters:
            term = density.prior.terms.get(p.name)
            if p.name not in seen:
                seen[p.name] = p
                if term is not None:
                    priors[p.name] = term
                continue
            if p.name not in shared:
                raise ParameterError(
                    f"{p.name!r} is in several likelihoods: list it in `shared`, or rename one of them"
                )
            if p.bounds != seen[p.name].bounds or p.role != seen[p.name].role:
                raise ParameterError(f"shared parameter {p.name!r} has different bounds or roles")
            if term is not None and p.name in priors:
                if term != priors[p.name]:
                    raise ParameterError(
                        f"shared parameter {p.name!r} has different priors: {term} and {priors[p.name]}"
                    )
                counted.append((k, p.name))
            elif term is not None:
                priors[p.name] = term
            seen[p.name] = replace(seen[p.name], kinks=tuple(sorted({*seen[p.name].kinks, *p.kinks})))
    nobody = [n for n in shared if sum(n in d.parameters.names for d in densities) < 2]
    if nobody:
        raise ParameterError(f"shared parameters {nobody} are not in two of the likelihoods")
    space = ParameterSpace(tuple(seen.values()))
    prior = Prior(priors)
    correction = Quadratic.zero(len(space))
    for k, name in counted:
        correction = correction.plus(densities[k].prior.only([name]), space, -1.0)
    for pair, rho in (correlated or {}).items():
        correction = _correlate(correction, prior, space, pair, rho)
    involved = [name for pair in (correlated or {}) for name in pair]
    if len(set(involved)) < len(involved):
        raise ParameterError("a parameter may appear in one correlated pair only")
    terms = [Term(d, columns_of(d.parameters.names, space), np.zeros(len(d.parameters))) for d in densities]
    kinds = {d.kind for d in densities}
    kind: Kind = "profiled" if "profiled" in kinds else "posterior" if "posterior" in kinds else "likelihood"
    shaped = frozenset(involved).union(*(inseparable(d) for d in densities))
    return Composite(terms, space, prior, kind, correction, shaped)


def _correlate(
    correction: Quadratic, prior: Prior, space: ParameterSpace, pair: tuple[str, str], rho: float
) -> Quadratic:
    """Replace two independent normal priors by a bivariate one: adds log N2 - log N - log N."""
    terms = [prior.terms.get(n) for n in pair]
    if not all(isinstance(t, Normal) for t in terms) or not -1 < rho < 1:
        raise ParameterError(f"correlation {rho} of {pair} needs two parameters with Normal priors and -1 < rho < 1")
    i = space.indices(pair)
    mean = np.array([t.mean for t in terms])  # type: ignore[union-attr]
    sigma = np.array([t.sigma for t in terms])  # type: ignore[union-attr]
    covariance = np.array([[1, rho], [rho, 1]]) * np.outer(sigma, sigma)
    extra = np.linalg.inv(covariance) - np.diag(sigma**-2)
    linear, matrix = correction.linear.copy(), correction.matrix.copy()
    linear[i] += extra @ mean
    matrix[np.ix_(i, i)] += extra
    constant = correction.constant - 0.5 * np.log1p(-(rho**2)) - 0.5 * mean @ extra @ mean
    return Quadratic(float(constant), linear, matrix)
