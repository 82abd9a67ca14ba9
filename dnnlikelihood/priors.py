r"""Independent priors, one term a parameter, with value, gradient and curvature in closed form.

    log pi(theta) = sum_i log pi_i(theta_i)

A prior stays apart from the likelihood it multiplies, so that a published likelihood can be sampled under any other:
a log-density knows which prior is inside its number, and `with_prior` takes that one out and puts another in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ParameterError
from .parameters import ParameterSpace, real_number

__all__ = ["Normal", "Prior", "Uniform"]


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal density: log pi = -(x - mean)^2 / (2 sigma^2) - log(sigma sqrt(2 pi))."""

    mean: float = 0.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        mean, sigma = real_number(self.mean, "mean of Normal"), real_number(self.sigma, "sigma of Normal")
        if not (math.isfinite(mean) and 0 < sigma < math.inf):
            raise ParameterError(f"Normal(mean={self.mean}, sigma={self.sigma}) needs a finite mean and sigma > 0")

    @property
    def constant(self) -> float:
        """The part that does not depend on x."""
        return -math.log(self.sigma) - 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Constant density between low and high, -inf outside.

    `log_density` is -log(high - low) unless given: a published likelihood may have used another constant.
    """

    low: float
    high: float
    log_density: float | None = None

    def __post_init__(self) -> None:
        low, high = real_number(self.low, "low of Uniform"), real_number(self.high, "high of Uniform")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ParameterError(f"Uniform({self.low}, {self.high}) needs finite low < high")
        if self.log_density is not None and not math.isfinite(real_number(self.log_density, "log_density")):
            raise ParameterError(f"Uniform(log_density={self.log_density}) needs a finite value, or None")

    @property
    def constant(self) -> float:
        """Its one value inside."""
        return -math.log(self.high - self.low) if self.log_density is None else self.log_density


@dataclass(frozen=True)
class Prior:
    """A product of one-dimensional priors; parameters without a term have none (a flat factor 1).

    >>> prior = Prior({"mu": Uniform(-1, 5), "delta": Normal()})
    >>> space = ParameterSpace.of("mu", "delta")
    >>> round(float(prior.logpdf(space, np.array([[0.0, 0.0]]))[0]), 6)
    -2.710698
    """

    terms: Mapping[str, Normal | Uniform]

    def __post_init__(self) -> None:
        for name, term in self.terms.items():
            if not isinstance(term, (Normal, Uniform)):
                raise ParameterError(f"prior of {name!r}: expected Normal or Uniform, got {type(term).__name__}")

    def __bool__(self) -> bool:
        return bool(self.terms)

    def columns(self, space: ParameterSpace) -> PriorColumns:
        """The terms laid out along the columns of a space; the other methods go through it."""
        return PriorColumns.of(self, space)

    def logpdf(self, space: ParameterSpace, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) log prior; -inf outside a uniform term's range."""
        return self.columns(space).value(theta)

    def replace(self, other: Prior) -> Prior:
        """The same prior with the terms of `other` put in place of its own."""
        return Prior({**self.terms, **other.terms})

    def only(self, names: Any) -> Prior:
        """The terms of some parameters."""
        return Prior({n: self.terms[n] for n in names if n in self.terms})

    def rename(self, names: Mapping[str, str]) -> Prior:
        """The same terms under other names."""
        return Prior({names.get(n, n): t for n, t in self.terms.items()})

    def is_constant(self, name: str) -> bool:
        """Whether the prior of this parameter is flat, so that it cancels in a likelihood ratio."""
        return not isinstance(self.terms.get(name), Normal)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        out: dict[str, Any] = {}
        for name, t in self.terms.items():
            if isinstance(t, Normal):
                out[name] = {"type": "normal", "mean": t.mean, "sigma": t.sigma}
            else:
                out[name] = {"type": "uniform", "low": t.low, "high": t.high, "log_density": t.log_density}
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prior:
        """Inverse of `to_json`.

        Raises:
            ParameterError: a type other than "normal" and "uniform", or a number that is missing or none.
        """
        terms: dict[str, Normal | Uniform] = {}
        for name, t in value.items():
            if t.get("type") == "normal":
                terms[name] = Normal(t.get("mean"), t.get("sigma"))
            elif t.get("type") == "uniform":
                terms[name] = Uniform(t.get("low"), t.get("high"), t.get("log_density"))
            else:
                raise ParameterError(f"prior of {name!r}: type {t.get('type')!r} is neither normal nor uniform")
        return cls(terms)


@dataclass(frozen=True)
class PriorColumns:
    """A prior along the columns of a space, as arrays: what NumPy and TensorFlow both evaluate.

    log pi = constant - 1/2 sum_i precision_i (x_i - mean_i)^2 inside [low, high], -inf outside.
    """

    mean: np.ndarray
    precision: np.ndarray
    low: np.ndarray
    high: np.ndarray
    constant: float

    @classmethod
    def of(cls, prior: Prior, space: ParameterSpace) -> PriorColumns:
        """Lay the terms out; a term for a parameter the space lacks is a ParameterError."""
        d = len(space)
        mean, precision = np.zeros(d), np.zeros(d)
        low, high = np.full(d, -math.inf), np.full(d, math.inf)
        constant = 0.0
        for name, term in prior.terms.items():
            i = space.index(name)
            constant += term.constant
            if isinstance(term, Normal):
                mean[i], precision[i] = term.mean, term.sigma**-2
            else:
                low[i], high[i] = term.low, term.high
        return cls(mean, precision, low, high, constant)

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """(n,) bool: within the ranges of the uniform terms."""
        return np.all((theta >= self.low) & (theta <= self.high), axis=1)

    def smooth(self, theta: Any) -> Any:
        """The value without the range, by arithmetic alone: works on arrays and on tensors, (n, d) -> (n,).

        A matrix-vector product sums the columns, the one such operation that both spell alike.
        """
        return self.constant - 0.5 * ((theta - self.mean) ** 2 @ self.precision[:, None])[:, 0]

    def value(self, theta: np.ndarray) -> np.ndarray:
        """(n,) log prior."""
        return np.where(self.inside(theta), self.smooth(theta), -math.inf)

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) gradient; 0 for uniform terms."""
        return -self.precision * (theta - self.mean)
