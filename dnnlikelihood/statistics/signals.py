r"""Signals as directions: the negative log-likelihoods of n signals as functions of their strengths mu.

    nll_h(mu) = -logpdf_h(mu s),      d nll_h / d mu = -s . grad logpdf_h(mu s)

s (d,) are the yields of a signal in every bin (or Wilson coefficients), h is a head: the data that the likelihood is
of. Truth, surrogate and published file answer the same questions; anything else that can give these curves may too.
Where a density ends, a surrogate at the edge of its domain say, nll is +inf; where a fit failed, it is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import ConfigError, DomainError, ParameterError, ShapeError
from ..protocols import LogDensity
from .roots import expand, solve

__all__ = ["Curve", "SignalCurves", "along", "reach"]

Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
Outside = Literal["refuse", "use"]
STEPS = 64
"""Between 0 and a point outside the domain, in search of the first that is."""


@dataclass(frozen=True)
class SignalCurves:
    """What limits are made from; see the module. Made by `along`, or from any other functions."""

    n: int
    """The number of signals."""
    evaluate: Callable[[Sequence[str], np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    """(heads, rows (m,), mu (m,)) -> nll (m, H) and its slope d nll / d mu (m, H)."""
    heads: tuple[str, ...]
    """What data there are: "observed", "asimov_observed", "expected", ..."""
    floor: np.ndarray
    """(n,) the lowest mu, not above 0: where a yield would leave its bounds."""
    errors: Callable[[Sequence[str], np.ndarray, np.ndarray], np.ndarray] | None = None
    """As `evaluate` -> (m, H) half-width of the calibrated 90 % band of nll, nats; None for a truth."""
    known: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """(rows, mu) -> (m,) bool: within the bounds, and in the domain of a surrogate; None if everywhere."""

    def curve(self, head: str) -> Curve:
        """One head: (rows, mu) -> nll (m,), slope (m,).

        Raises:
            ParameterError: no such head.
        """
        if head not in self.heads:
            raise ParameterError(f"this density has no head {head!r}, only {', '.join(map(repr, self.heads))}")

        def one(rows: np.ndarray, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            nll, slope = self.evaluate((head,), rows, mu)
            return nll[:, 0], slope[:, 0]

        return one

    def error(self, head: str, rows: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """(m,) half-width of the calibrated 90 % band of nll, nats; 0 for a truth."""
        return np.zeros(len(rows)) if self.errors is None else self.errors((head,), rows, mu)[:, 0]

    def in_domain(self, rows: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """(m,) bool: where the curves can be trusted."""
        return np.ones(len(rows), bool) if self.known is None else self.known(rows, mu)


def along(density: LogDensity, signals: Any, *, outside: Outside = "refuse") -> SignalCurves:
    """The curves of a density along signals.

    Args:
        density: with heads (a profiled likelihood or its surrogate), or a plain one, whose head is "logpdf".
        signals: (n, d) or (d,), or a mapping from the name of every bin to its yield or (n,) yields.
        outside: what happens outside a surrogate's domain: "refuse", curves end there; "use", the plain numbers.

    Raises:
        ShapeError: wrong shape or names, or NaN.
        DomainError: a negative yield, or a signal that is zero in every bin.
        ConfigError: a density that has no numbers outside its domain to use.
    """
    s, density = _checked(density, signals), _policy(density, outside)

    def places(heads: Sequence[str]) -> list[int]:
        return [density.head_index(h) for h in heads]

    surrogate = hasattr(density, "error") and hasattr(density, "in_domain")

    def evaluate(heads: Sequence[str], rows: np.ndarray, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        theta = mu[:, None] * s[rows]
        if surrogate or not density.heads:  # all heads cost what one does
            nll, slope = _labels(density, theta, s[rows])
            return nll[:, places(heads)], slope[:, places(heads)]
        answers = [_labels(density.select(head), theta, s[rows]) for head in heads]
        return np.concatenate([a[0] for a in answers], axis=1), np.concatenate([a[1] for a in answers], axis=1)

    def errors(heads: Sequence[str], rows: np.ndarray, mu: np.ndarray) -> np.ndarray:
        found = density.error(mu[:, None] * s[rows])  # type: ignore[attr-defined]
        return found.reshape(len(rows), density.n_outputs)[:, places(heads)]

    def known(rows: np.ndarray, mu: np.ndarray) -> np.ndarray:
        theta = mu[:, None] * s[rows]
        inside = density.parameters.inside(theta)
        if surrogate:
            inside[inside] = density.in_domain(theta[inside])  # type: ignore[attr-defined]
        return inside

    heads = density.heads or ("logpdf",)
    floor = _floor(density, s)
    return SignalCurves(len(s), evaluate, heads, floor, errors if surrogate else None, known)


def _labels(density: LogDensity, theta: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, H) nll, NaN where a fit failed, and (m, H) its slope along s (m, d)."""
    value, grad, ok, _ = density.label(theta)
    if grad is None:
        raise ConfigError(f"limits need a gradient, which {type(density).__name__} does not have")
    shape = (len(theta), density.n_outputs)
    slope = np.einsum("mhd,md->mh", grad.reshape(*shape, theta.shape[1]), s)
    return -np.where(ok[:, None], value.reshape(shape), np.nan), -slope


def _checked(density: LogDensity, signals: Any) -> np.ndarray:
    """(n, d) signals that mean something."""
    s = density.points(signals)
    if not np.isfinite(s).all():
        raise ShapeError("a signal has an infinite yield")
    inputs = np.array([p.role == "input" for p in density.parameters])
    bad = (s < 0) & inputs
    if bad.any():
        row, column = np.argwhere(bad)[0]
        name = density.parameters.names[column]
        raise DomainError(f"signal {row} has the negative yield {s[row, column]:.6g} in {name!r}")
    empty = ~s.any(axis=1)
    if empty.any():
        raise DomainError(f"signal {int(np.argmax(empty))} is zero in every bin: there is nothing to limit")
    return s


def _policy(density: LogDensity, outside: str) -> LogDensity:
    if outside not in ("refuse", "use"):
        raise ConfigError(f"outside={outside!r} is neither 'refuse' nor 'use'")
    if hasattr(density, "guarded"):
        return density.guarded("-inf" if outside == "refuse" else "ignore")
    if outside == "use" and hasattr(density, "in_domain"):
        raise ConfigError(f"{type(density).__name__} has no numbers outside its domain; export it and open the file")
    return density


def _floor(density: LogDensity, s: np.ndarray) -> np.ndarray:
    """(n,) the lowest mu at which every parameter is within its bounds."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.where(s > 0, density.parameters.lower / s, np.where(s < 0, density.parameters.upper / s, -np.inf))
    return np.minimum(ends.max(axis=1), 0.0) * (1 - 1e-12)


def reach(curves: SignalCurves, most: float = 1e6) -> tuple[np.ndarray, np.ndarray]:
    """(n,), (n,) the lowest and the highest mu up to which the curves can be trusted; both 0 where 0 cannot be.

    A truth reaches to its bounds, or to infinity. A domain ends where it first does, at a hole that may be: holes are
    seen that are wider than 1/64 of the way.
    """
    every, zero = np.arange(curves.n), np.zeros(curves.n)
    known = curves.in_domain(every, zero)

    def beyond(sign: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda rows, x: np.where(known[rows] & curves.in_domain(rows, sign * x), -1.0, 1.0)

    def end(sign: int) -> np.ndarray:
        far, found = expand(beyond(sign), np.ones(curves.n), most)
        steps = far[:, None] * np.linspace(0, 1, STEPS + 1)
        out = beyond(sign)(np.repeat(every, STEPS + 1), steps.ravel()).reshape(steps.shape) > 0
        first = np.where(found, np.maximum(np.argmax(out, axis=1), 1), STEPS)
        edge = solve(beyond(sign), steps[every, first - 1], steps[every, first]).x * (1 - 1e-8)
        return np.where(~known, 0.0, np.where(found, sign * edge, sign * np.inf))

    return np.maximum(end(-1), np.where(known, curves.floor, 0.0)), end(1)
