"""Named parameters and the space they span.

A parameter has a role: `poi` (what is measured), `nuisance` (what is profiled or marginalised) or `input` (a given
number, such as a signal yield). `kinks` are the values at which the log-density is continuous but its slope is not:
piecewise-interpolated systematic uncertainties have one at 0. Fits split there, and networks are told.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from .errors import ParameterError, ShapeError

__all__ = ["Parameter", "ParameterSpace", "real_number"]

Role = Literal["poi", "nuisance", "input"]


def real_number(value: Any, what: str) -> float:
    """`value` if it is a real number.

    Raises:
        ParameterError: it is text, None, a boolean or an array; the message begins with `what`.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise ParameterError(f"{what} must be a number, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter.

    Attributes:
        name: unique, not empty.
        role: "poi", "nuisance" or "input".
        bounds: (low, high), low < high; infinite where there is none. Outside, the log-density is -inf.
        kinks: values at which the slope of the log-density jumps.
        start: a value where the density is not zero, from which fits may begin; None if the prior or 0 will do.
        unit: physical unit, "" if none.
        latex: how plots write it, without dollar signs; the name if empty.
    """

    name: str
    role: Role = "nuisance"
    bounds: tuple[float, float] = (-math.inf, math.inf)
    kinks: tuple[float, ...] = ()
    start: float | None = None
    unit: str = ""
    latex: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ParameterError(f"a parameter needs a name, got {self.name!r}")
        if not self.name.isprintable():
            raise ParameterError(f"the name of a parameter is one line of visible characters, got {self.name!r}")
        if self.role not in ("poi", "nuisance", "input"):
            raise ParameterError(f"parameter {self.name!r}: role {self.role!r} is none of poi, nuisance, input")
        if not isinstance(self.bounds, Sequence) or len(self.bounds) != 2:
            raise ParameterError(f"parameter {self.name!r}: bounds must be (low, high), got {self.bounds!r}")
        low, high = (real_number(b, f"parameter {self.name!r}: a bound") for b in self.bounds)
        for value in (*self.kinks, *(() if self.start is None else (self.start,))):
            real_number(value, f"parameter {self.name!r}: a kink or start")
        if math.isnan(low) or math.isnan(high) or not low < high:
            raise ParameterError(f"parameter {self.name!r}: bounds ({low}, {high}) must have low < high and no NaN")
        if self.start is not None and not (math.isfinite(self.start) and low <= self.start <= high):
            raise ParameterError(
                f"parameter {self.name!r}: start {self.start} is outside the bounds ({low}, {high}) or infinite"
            )
        if any(not low < k < high for k in self.kinks) or list(self.kinks) != sorted(set(self.kinks)):
            raise ParameterError(f"parameter {self.name!r}: kinks {self.kinks} must ascend inside {self.bounds}")

    @property
    def label(self) -> str:
        """How a plot writes the parameter."""
        return f"${self.latex}$" if self.latex else self.name.replace("_", " ")

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; an absent bound is null."""
        bounds = [None if math.isinf(b) else b for b in self.bounds]
        return {
            "name": self.name,
            "role": self.role,
            "bounds": bounds,
            "kinks": list(self.kinks),
            "start": self.start,
            "unit": self.unit,
            "latex": self.latex,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Parameter:
        """Inverse of `to_json`."""
        low, high = value["bounds"]
        bounds = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
        return cls(
            name=value["name"],
            role=value["role"],
            bounds=bounds,
            kinks=tuple(value.get("kinks", ())),
            start=value.get("start"),
            unit=value.get("unit", ""),
            latex=value.get("latex", ""),
        )


@dataclass(frozen=True)
class ParameterSpace:
    """An ordered set of parameters: the columns of every `theta` (n, d).

    >>> space = ParameterSpace.of("mu", "delta", poi="mu")
    >>> space.index("delta"), space.pois
    (1, ('mu',))
    """

    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ParameterError("a parameter space needs at least one parameter")
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ParameterError(f"duplicate parameter names {twice}; rename one of each")

    @classmethod
    def of(cls, *names: str, poi: str | Sequence[str] = (), **shared: Any) -> ParameterSpace:
        """Parameters by name, those in `poi` with that role, all with the same other properties."""
        pois = {poi} if isinstance(poi, str) else set(poi)
        if pois - set(names):
            raise ParameterError(f"poi {sorted(pois - set(names))} is not among the names {list(names)}")
        return cls(tuple(Parameter(name=n, role="poi" if n in pois else "nuisance", **shared) for n in names))

    def __len__(self) -> int:
        return len(self.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[self.index(name)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(p.name for p in self.parameters)

    @property
    def pois(self) -> tuple[str, ...]:
        """The names of the parameters of interest."""
        return tuple(p.name for p in self.parameters if p.role == "poi")

    @cached_property
    def lower(self) -> np.ndarray:
        """(d,) lower bounds."""
        return np.array([p.bounds[0] for p in self.parameters], float)

    @cached_property
    def upper(self) -> np.ndarray:
        """(d,) upper bounds."""
        return np.array([p.bounds[1] for p in self.parameters], float)

    @cached_property
    def kinks(self) -> tuple[tuple[int, float], ...]:
        """(column, value) of every kink."""
        return tuple((i, k) for i, p in enumerate(self.parameters) for k in p.kinks)

    def index(self, name: str) -> int:
        """The column of a parameter.

        Raises:
            ParameterError: unknown name; the message lists near ones.
        """
        try:
            return self.names.index(name)
        except ValueError:
            import difflib

            near = difflib.get_close_matches(str(name), self.names) or list(self.names[:8])
            raise ParameterError(f"no parameter {name!r}; did you mean one of {near}?") from None

    def indices(self, names: Sequence[str]) -> np.ndarray:
        """The columns of several parameters."""
        return np.array([self.index(n) for n in names], int)

    def subset(self, names: Sequence[str]) -> ParameterSpace:
        """The space of some of the parameters, in the order asked for."""
        return ParameterSpace(tuple(self[n] for n in names))

    def rename(self, names: Mapping[str, str]) -> ParameterSpace:
        """The same columns under other names."""
        for old in names:
            self.index(old)
        return ParameterSpace(tuple(replace(p, name=names.get(p.name, p.name)) for p in self.parameters))

    def array(self, theta: Any, names: Sequence[str] | None = None) -> np.ndarray:
        """Points as a float64 array (n, d) in the order of this space.

        Args:
            theta: (n, d) or (d,) array; or a mapping (dict, DataFrame) from every name to (n,) values or a number.
            names: what the columns of `theta` are, if it is an array; matched by name.

        Raises:
            ShapeError: another number of columns, missing or unknown names, or values that are not real numbers.
        """
        if hasattr(theta, "keys"):
            columns = {str(k): np.atleast_1d(theta[k]) for k in theta.keys()}  # noqa: SIM118 - DataFrames have keys
            try:
                theta, names = np.stack(np.broadcast_arrays(*columns.values()), axis=-1), list(columns)
            except ValueError as error:
                lengths = {name: len(values) for name, values in list(columns.items())[:8]}
                raise ShapeError(f"theta has columns of lengths {lengths}; give every name as many values") from error
        if names is not None and sorted(names) != sorted(self.names):
            missing, extra = sorted(set(self.names) - set(names)), sorted(set(names) - set(self.names))
            raise ShapeError(f"columns do not match: missing {missing}, unknown {extra}")
        try:
            points = np.asarray(theta)
            if points.dtype.kind not in "fiub":
                raise TypeError(f"values of type {points.dtype}")
            points = np.atleast_2d(points.astype(np.float64, copy=False))
        except (TypeError, ValueError) as error:
            raise ShapeError(f"theta must be real numbers of shape (n, {len(self)}): {error}") from error
        if points.ndim != 2 or points.shape[1] != len(self):
            expected = ", ".join(self.names[:6]) + (", ..." if len(self) > 6 else "")
            raise ShapeError(f"theta has shape {np.shape(theta)}, expected (n, {len(self)}) with columns {expected}")
        if names is not None and tuple(names) != self.names:
            points = points[:, [list(names).index(n) for n in self.names]]
        return points

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """(n,) bool: within all bounds, ends included; False where a coordinate is not finite."""
        return np.all(np.isfinite(theta) & (theta >= self.lower) & (theta <= self.upper), axis=1)

    def to_json(self) -> list[dict[str, Any]]:
        """As a JSON array."""
        return [p.to_json() for p in self.parameters]

    @classmethod
    def from_json(cls, value: Sequence[Mapping[str, Any]]) -> ParameterSpace:
        """Inverse of `to_json`."""
        return cls(tuple(Parameter.from_json(v) for v in value))
