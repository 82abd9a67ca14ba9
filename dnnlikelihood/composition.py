r"""New log-densities from old: another prior, fixed parameters, linear combinations, several likelihoods at once.

All of them are one formula, and so one class:

    logpdf(phi) = sum_k logpdf_k(A_k phi + b_k)  +  c + l.phi - 1/2 phi^T Q phi

`condition` selects columns (A) and fixes the rest (b); `reparametrise` has a general A; `combine` sums; priors are at
most quadratic, so exchanging or correlating them only changes c, l and Q.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import DomainError, ParameterError, ShapeError
from .jsonfiles import fingerprint
from .parameters import Parameter, ParameterSpace, Role
from .priors import Normal, Prior
from .protocols import Kind, LogDensity

__all__ = ["Composite", "combine"]


@dataclass(frozen=True)
class Term:
    """One density inside a composite: evaluated at phi @ matrix.T + offset."""

    density: LogDensity
    matrix: np.ndarray
    offset: np.ndarray

    def theta(self, phi: np.ndarray) -> np.ndarray:
        """(n, e) -> (n, d): the term's own coordinates."""
        return phi @ self.matrix.T + self.offset


@dataclass(frozen=True)
class Quadratic:
    """c + l.x - 1/2 x^T Q x, Q symmetric."""

    constant: float
    linear: np.ndarray
    matrix: np.ndarray

    @classmethod
    def zero(cls, d: int) -> Quadratic:
        """No correction."""
        return cls(0.0, np.zeros(d), np.zeros((d, d)))

    def plus(self, prior: Prior, space: ParameterSpace, sign: float) -> Quadratic:
        """Add (sign 1) or take out (sign -1) a prior."""
        p = prior.columns(space)
        return Quadratic(
            self.constant + sign * (p.constant - 0.5 * float(p.precision @ p.mean**2)),
            self.linear + sign * p.precision * p.mean,
            self.matrix + sign * np.diag(p.precision),
        )

    def value(self, x: Any) -> Any:
        """(n, d) -> (n,), of arrays or of tensors."""
        return self.constant + ((x * (self.linear - 0.5 * (x @ self.matrix))) @ np.ones((len(self.linear), 1)))[:, 0]


class Composite(LogDensity):
    """A sum of log-densities at affine images of its parameters, plus a quadratic form.

    `shaped` names parameters with a prior that `prior` does not tell all about: priors of old parameters that leak
    into a new one, and correlated priors. They cannot be exchanged, and a ratio in them is not one of likelihoods.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        parameters: ParameterSpace,
        prior: Prior,
        kind: Kind,
        correction: Quadratic | None = None,
        shaped: frozenset[str] = frozenset(),
    ) -> None:
        self.terms = tuple(terms)
        self.parameters = parameters
        self.prior = prior
        self.kind = kind
        self.correction = correction or Quadratic.zero(len(parameters))
        self.shaped = shaped
        self.rounding = sum(t.density.rounding for t in self.terms)

    @property
    def fingerprint(self) -> str:
        """sha256 of the terms' fingerprints (of their parameters, where they have none) and of all matrices."""
        terms = [
            [
                getattr(t.density, "fingerprint", None) or t.density.parameters.to_json(),
                t.matrix.tolist(),
                t.offset.tolist(),
            ]
            for t in self.terms
        ]
        added = [self.correction.constant, self.correction.linear.tolist(), self.correction.matrix.tolist()]
        return fingerprint([terms, added, self.parameters.to_json(), self.prior.to_json(), self.kind])

    @property
    def has_gradient(self) -> bool:
        """Whether every term has one."""
        return all(t.density.has_gradient for t in self.terms)

    def has_flat_prior(self, name: str) -> bool:
        """As for every density; also False where a prior of the old parameters leaks into the new one."""
        return name not in self.shaped and super().has_flat_prior(name)

    def known_point(self) -> np.ndarray | None:
        """Of a single term's point, the nearest one that these parameters can reach; several terms know none."""
        known = self.terms[0].density.known_point()
        if known is None or len(self.terms) > 1:
            return None
        return np.linalg.lstsq(self.terms[0].matrix, known - self.terms[0].offset, rcond=None)[0]

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        inside = np.ones(len(theta), bool)
        for t in self.terms:
            x = t.theta(theta)
            ok = t.density.parameters.inside(x)
            ok[ok] = t.density._inside(x[ok])
            inside &= ok
        return inside

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self.correction.value(theta) + sum(t.density._logpdf(t.theta(theta)) for t in self.terms)

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = self.correction.value(theta)
        grad = self.correction.linear - theta @ self.correction.matrix
        for t in self.terms:
            v, g = t.density._logpdf_and_grad(t.theta(theta))
            value, grad = value + v, grad + g @ t.matrix
        return value, grad

    def _logpdf_grad_hess(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value = self.correction.value(theta)
        grad = self.correction.linear - theta @ self.correction.matrix
        hess = np.repeat(-self.correction.matrix[None], len(theta), axis=0)
        for t in self.terms:
            v, g, h = t.density._logpdf_grad_hess(t.theta(theta))
            value, grad, hess = value + v, grad + g @ t.matrix, hess + t.matrix.T @ h @ t.matrix
        return value, grad, hess

    def _trace(self) -> Callable[[Any], Any]:
        from .tracing import boxed

        inner = []
        for t in self.terms:
            space = t.density.parameters
            inner.append((boxed(t.density._trace(), space.lower, space.upper), t.matrix.T, t.offset))

        def logpdf(theta: Any) -> Any:
            total = self.correction.value(theta)
            for f, matrix, offset in inner:
                total += f(theta @ matrix + offset)
            return total

        return logpdf


def _select(names: Sequence[str], among: ParameterSpace) -> np.ndarray:
    """(len(names), len(among)) matrix that picks columns by name; a row of zeros where a name is absent."""
    matrix = np.zeros((len(names), len(among)))
    for row, name in enumerate(names):
        if name in among.names:
            matrix[row, among.index(name)] = 1.0
    return matrix


def _shaped(density: LogDensity) -> frozenset[str]:
    """See Composite."""
    return density.shaped if isinstance(density, Composite) else frozenset()


def with_prior(density: LogDensity, prior: Prior) -> Composite:
    """Exchange the prior of the parameters that `prior` names.

    Raises:
        ParameterError: a name the density does not have, or whose prior cannot be taken out: that of a correlated
            pair, or of a combination of older parameters with priors.
    """
    space, shaped = density.parameters, _shaped(density)
    space.indices(list(prior.terms))
    inseparable = sorted(shaped & set(prior.terms))
    if inseparable:
        raise ParameterError(
            f"the prior of {inseparable} is correlated, or made of priors of older parameters, and cannot be taken "
            "out; exchange priors first, then reparametrise or combine"
        )
    correction = Quadratic.zero(len(space)).plus(density.prior.only(prior.terms), space, -1.0).plus(prior, space, 1.0)
    kind: Kind = "profiled" if density.kind == "profiled" and not prior else "posterior"
    term = Term(density, np.eye(len(space)), np.zeros(len(space)))
    return Composite([term], space, density.prior.replace(prior), kind, correction, shaped)


def condition(density: LogDensity, fixed: Mapping[str, float]) -> Composite:
    """Hold parameters at given values; the rest remain, in order.

    Raises:
        ParameterError: unknown names, or nothing left free.
        DomainError: a value outside its parameter's bounds or prior.
    """
    space = density.parameters
    columns = space.indices(list(fixed))
    free = [n for n in space.names if n not in fixed]
    if not free:
        raise ParameterError("condition would leave no free parameter; call logpdf at the point instead")
    offset = np.zeros(len(space))
    offset[columns] = list(fixed.values())
    ranges = density.prior.columns(space)
    low, high = np.maximum(space.lower, ranges.low), np.minimum(space.upper, ranges.high)
    for i in columns:
        if not low[i] <= offset[i] <= high[i]:
            raise DomainError(f"{space.names[i]} = {offset[i]} is outside [{low[i]}, {high[i]}]")
    remaining = space.subset(free)
    term = Term(density, _select(space.names, remaining), offset)
    return Composite([term], remaining, density.prior.only(free), density.kind, None, _shaped(density) & set(free))


def rename(density: LogDensity, names: Mapping[str, str]) -> Composite:
    """The same density with other parameter names."""
    d = len(density.parameters)
    return Composite(
        [Term(density, np.eye(d), np.zeros(d))],
        density.parameters.rename(names),
        density.prior.rename(names),
        density.kind,
        None,
        frozenset(names.get(n, n) for n in _shaped(density)),
    )


def reparametrise(density: LogDensity, matrix: Any, names: Sequence[str]) -> Composite:
    """New parameters phi with theta = matrix @ phi.

    Args:
        density: in the old parameters.
        matrix: (d, e), full column rank; column j says what one unit of the new parameter j does to the old ones.
        names: (e,) names. A name that is an old one keeps that parameter's role, bounds and labels if its column
            and row are untouched; other new parameters are unbounded, of role "poi" if they feed any old POI.

    Raises:
        ShapeError: wrong shape, not finite, or rank deficient.
    """
    space = density.parameters
    a = np.asarray(matrix, float)
    if a.shape != (len(space), len(names)) or not np.isfinite(a).all():
        raise ShapeError(f"matrix has shape {a.shape}, expected ({len(space)}, {len(names)}) of finite numbers")
    if np.linalg.matrix_rank(a) < len(names):
        raise ShapeError("matrix is rank deficient: some combination of the new parameters changes nothing")
    single = (a != 0).sum(axis=1) == 1
    parameters, kept, shaped = [], [], set()
    for j, name in enumerate(names):
        feeds = np.flatnonzero(a[:, j])
        old = [space.parameters[i] for i in feeds]
        if len(feeds) == 1 and single[feeds[0]] and a[feeds[0], j] == 1:
            parameters.append(replace(old[0], name=name))
            kept.append((old[0].name, name))
            if old[0].name in _shaped(density):
                shaped.add(name)
            continue
        kinks = {k / a[i, j] for i in feeds if single[i] for k in space.parameters[i].kinks}
        role: Role = "poi" if any(p.role == "poi" for p in old) else "nuisance"
        parameters.append(Parameter(name=name, role=role, kinks=tuple(sorted(kinks))))
        if not all(density.has_flat_prior(p.name) for p in old):
            shaped.add(name)
    prior = density.prior.only([old for old, _ in kept]).rename(dict(kept))
    ranged = [n for n, t in density.prior.terms.items() if not isinstance(t, Normal) and n not in dict(kept)]
    base = _range_as_bounds(density, ranged)
    return Composite(
        [Term(base, a, np.zeros(len(space)))],
        ParameterSpace(tuple(parameters)),
        prior,
        density.kind,
        None,
        frozenset(shaped),
    )


def _range_as_bounds(density: LogDensity, names: Sequence[str]) -> LogDensity:
    """The ranges of uniform priors turned into bounds, where the prior itself cannot be carried along."""
    if not names:
        return density
    parameters = []
    for p in density.parameters:
        term = density.prior.terms.get(p.name)
        if p.name in names and term is not None and not isinstance(term, Normal):
            p = replace(p, bounds=(max(p.bounds[0], term.low), min(p.bounds[1], term.high)))
        parameters.append(p)
    d = len(parameters)
    return Composite(
        [Term(density, np.eye(d), np.zeros(d))], ParameterSpace(tuple(parameters)), density.prior, density.kind
    )


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
            bounds, correlations of parameters without a Normal prior.
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
    terms = [Term(d, _select(d.parameters.names, space), np.zeros(len(d.parameters))) for d in densities]
    kinds = {d.kind for d in densities}
    kind: Kind = "profiled" if "profiled" in kinds else "posterior" if "posterior" in kinds else "likelihood"
    shaped = frozenset(involved).union(*(_shaped(d) for d in densities))
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
