r"""New log-densities from old: another prior, fixed parameters, linear combinations, several likelihoods at once.

All of them are one formula, and so one class:

    logpdf(phi) = sum_k logpdf_k(A_k phi + b_k)  +  c + l.phi - 1/2 phi^T Q phi

`condition` selects columns (A) and fixes the rest (b); `reparametrise` has a general A; `combine` sums; priors are at
most quadratic, so exchanging or correlating them only changes c, l and Q. Where the terms have heads, the sum is one of
each head.
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
from .protocols import Kind, Labels, LogDensity

__all__ = ["Composite", "Quadratic", "Selected", "Term"]


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
        self.heads = _heads([t.density for t in self.terms])
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

    def known_points(self) -> np.ndarray | None:
        """Of a single term's points, the nearest ones that these parameters can reach; several terms know none."""
        known = self.terms[0].density.known_points()
        if known is None or len(self.terms) > 1:
            return None
        return np.linalg.lstsq(self.terms[0].matrix, (known - self.terms[0].offset).T, rcond=None)[0].T

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

    def _heads_logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self.correction.value(theta)[:, None] + sum(t.density._heads_logpdf(t.theta(theta)) for t in self.terms)

    def _heads_logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = self.correction.value(theta)[:, None]
        grad = (self.correction.linear - theta @ self.correction.matrix)[:, None]
        for t in self.terms:
            v, g = t.density._heads_logpdf_and_grad(t.theta(theta))
            value, grad = value + v, grad + g @ t.matrix
        return value, grad

    def label(self, theta: Any) -> Labels:
        """As for every density; a row stands where it stands in every term."""
        theta = self.points(theta)
        n, inside, h = len(theta), self._within(theta), (self.n_outputs,) if self.heads else ()
        value, ok, reason = np.full((n, *h), -np.inf), np.ones(n, bool), np.full(n, "", object)
        grad = np.zeros((n, *h, theta.shape[1])) if self.has_gradient else None
        phi = theta[inside]
        parts = [t.density.label(t.theta(phi)) for t in self.terms]
        column = (slice(None),) + (None,) * len(h)
        value[inside] = self.correction.value(phi)[column] + sum(p.value for p in parts)
        if grad is not None:
            own = (self.correction.linear - phi @ self.correction.matrix)[column]
            grad[inside] = own + sum(p.gradient @ t.matrix for p, t in zip(parts, self.terms, strict=True))  # type: ignore[operator]
        for part in parts:
            reason[inside] = np.where(ok[inside], part.reason, reason[inside])
            ok[inside] &= part.ok
        return Labels(value, grad, ok, reason.astype(str))

    def select(self, head: str) -> LogDensity:
        """One head, selected in every term."""
        self.head_index(head)
        if not self.heads:
            return self
        terms = [replace(t, density=t.density.select(head)) for t in self.terms]
        return Composite(terms, self.parameters, self.prior, self.kind, self.correction, self.shaped)

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


class Selected(LogDensity):
    """One head of a density with several, as a density of its own."""

    def __init__(self, density: LogDensity, column: int) -> None:
        self.density = density
        self.column = column
        self.parameters = density.parameters
        self.prior = density.prior
        self.kind = density.kind
        self.rounding = density.rounding

    @property
    def fingerprint(self) -> str:
        """sha256 of that of the density (of its parameters, where it has none) and the head."""
        whole = getattr(self.density, "fingerprint", None) or self.density.parameters.to_json()
        return fingerprint([whole, self.density.heads[self.column]])

    @property
    def has_gradient(self) -> bool:
        """Whether the density has one."""
        return self.density.has_gradient

    def has_flat_prior(self, name: str) -> bool:
        """As of the density."""
        return self.density.has_flat_prior(name)

    def known_points(self) -> np.ndarray | None:
        """Those of the density."""
        return self.density.known_points()

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        return self.density._inside(theta)

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self.density._heads_logpdf(theta)[:, self.column]

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, grad = self.density._heads_logpdf_and_grad(theta)
        return value[:, self.column], grad[:, self.column]

    def label(self, theta: Any) -> Labels:
        """The labels of that head alone."""
        value, grad, ok, reason = self.density.label(theta)
        return Labels(value[:, self.column], None if grad is None else grad[:, self.column], ok, reason)


def _heads(densities: Sequence[LogDensity]) -> tuple[str, ...]:
    """What several densities have in common.

    Raises:
        ParameterError: they have different heads, so that no sum of them means anything.
    """
    heads = {d.heads for d in densities}
    if len(heads) > 1:
        raise ParameterError(f"the likelihoods have different heads, {sorted(heads)}: select(head) from each first")
    return heads.pop()


def columns_of(names: Sequence[str], among: ParameterSpace) -> np.ndarray:
    """(len(names), len(among)) matrix that picks columns by name; a row of zeros where a name is absent."""
    matrix = np.zeros((len(names), len(among)))
    for row, name in enumerate(names):
        if name in among.names:
            matrix[row, among.index(name)] = 1.0
    return matrix


def inseparable(density: LogDensity) -> frozenset[str]:
    """Names of the parameters whose prior cannot be exchanged: see `Composite`."""
    return density.shaped if isinstance(density, Composite) else frozenset()


def with_prior(density: LogDensity, prior: Prior) -> Composite:
    """Exchange the prior of the parameters that `prior` names.

    Raises:
        ParameterError: a name the density does not have, or whose prior cannot be taken out: that of a correlated
            pair, or of a combination of older parameters with priors.
    """
    space, shaped = density.parameters, inseparable(density)
    space.indices(list(prior.terms))
    fast = sorted(shaped & set(prior.terms))
    if fast:
        raise ParameterError(
            f"the prior of {fast} is correlated, or made of priors of older parameters, and cannot be taken "
            "out; exchange priors first, then reparametrise or combine"
        )
    correction = Quadratic.zero(len(space)).plus(density.prior.only(prior.terms), space, -1.0).plus(prior, space, 1.0)
    kind: Kind = "posterior" if prior.terms else density.kind
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
    term = Term(density, columns_of(space.names, remaining), offset)
    return Composite([term], remaining, density.prior.only(free), density.kind, None, inseparable(density) & set(free))


def rename(density: LogDensity, names: Mapping[str, str]) -> Composite:
    """The same density with other parameter names."""
    d = len(density.parameters)
    return Composite(
        [Term(density, np.eye(d), np.zeros(d))],
        density.parameters.rename(names),
        density.prior.rename(names),
        density.kind,
        None,
        frozenset(names.get(n, n) for n in inseparable(density)),
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
            if old[0].name in inseparable(density):
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
