r"""Weighted events, and the three kinds of nuisances that vary them.

shifted samples     events simulated (or recomputed) at theta_j = +1 and -1
event weights       the nominal events with weights w rho_up(x), w rho_down(x)
normalisation       the nominal events with weights w kappa_up, w kappa_down
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConfigError, ShapeError

__all__ = ["EventWeights", "Events", "Normalisation", "Nuisance", "Rows", "ShiftedSamples"]

Deal = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Rows(NamedTuple):
    """Some events of a sample and the factor on their weights."""

    chosen: np.ndarray
    scale: float


@dataclass(frozen=True, eq=False)
class Events:
    """Weighted events; build them with `Events.of`, which checks.

    Attributes:
        features: (m,) names.
        values: (n, m) float32 or float64.
        weights: (n,) float64; negative ones are allowed, their sum is the expected yield.
    """

    features: tuple[str, ...]
    values: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, table: Any, features: Sequence[str], *, weights: Any = None, expected: float | None = None) -> Events:
        """Events from an array or a table.

        Args:
            table: (n, m) array whose columns are `features`, or a mapping or DataFrame with these columns.
            features: names, unique.
            weights: (n,) array, the name of a column, or None for equal ones.
            expected: if given, weights are scaled to sum to it.

        Raises:
            ShapeError: wrong shapes, missing columns, or values that are not finite numbers.
            ConfigError: an expected yield that the weights cannot be scaled to.

        >>> Events.of({"pt": [30.0, 40.0], "eta": [0.1, -1.0]}, ["eta", "pt"], expected=10).values[0].tolist()
        [0.1, 30.0]
        """
        names = () if isinstance(features, str) else tuple(features)
        if not names or len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
            raise ShapeError(f"features {features!r} must be one or more different names")
        by_name = hasattr(table, "keys")
        if isinstance(weights, str):
            weights = _column(table, weights) if by_name else _no_columns(weights)
        values = _numbers(_columns(table, names) if by_name else table, "features")
        w = np.ones(len(values)) if weights is None else _numbers(weights, "weights").astype(float)
        if expected is not None:
            total = float(w.sum())
            if not (_positive(expected) and total > 0):
                raise ConfigError(f"weights that sum to {total:.6g} cannot be scaled to a yield of {expected!r}")
            w = w * (expected / total)
        events = cls(names, values, w)
        events.check("events", least=0)
        return events

    def __len__(self) -> int:
        return len(self.weights)

    def check(self, where: str, least: int = 1) -> None:
        """Refuse what is no sample of events.

        Raises:
            ShapeError: too few events, arrays that do not fit, NaN or infinite values, named with their first place.
        """
        n, m = len(self.weights), len(self.features)
        if self.values.shape != (n, m) or self.weights.shape != (n,):
            raise ShapeError(
                f"{where}: features of shape {self.values.shape} and weights of shape {self.weights.shape} do not fit "
                f"the {m} features {list(self.features)}"
            )
        if n < least:
            raise ShapeError(f"{where}: no events")
        bad = np.argwhere(~np.isfinite(self.values))
        if len(bad):
            row, column = bad[0]
            raise ShapeError(
                f"{where}: {self.features[column]!r} is {self.values[row, column]} in event {row}, {len(bad)} such "
                "values; give undefined features a finite default"
            )
        if not np.isfinite(self.weights).all():
            raise ShapeError(f"{where}: the weight of event {np.argmin(np.isfinite(self.weights))} is not finite")

    def ordered(self, features: Sequence[str], where: str) -> Events:
        """The same events with the columns in another order.

        Raises:
            ShapeError: features are missing.
        """
        if self.features == tuple(features):
            return self
        missing = [name for name in features if name not in self.features]
        if missing:
            raise ShapeError(f"{where}: no features {missing}; it has {list(self.features)}")
        return Events(tuple(features), self.values[:, [self.features.index(name) for name in features]], self.weights)

    def take(self, rows: Rows) -> Events:
        """Some of the events, weights scaled."""
        return Events(self.features, self.values[rows.chosen], self.weights[rows.chosen] * rows.scale)

    def weighted(self, factor: np.ndarray | float) -> Events:
        """The same events (the same feature array) with weights times a factor."""
        return Events(self.features, self.values, self.weights * factor)

    @property
    def effective_size(self) -> float:
        """(sum w)^2 / sum w^2."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())

    def update(self, digest: Any) -> None:
        """Feed names and numbers to a hash."""
        digest.update(repr((self.features, self.values.shape, self.values.dtype.str)).encode())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        digest.update(np.ascontiguousarray(self.weights).tobytes())


def _column(table: Any, name: str) -> np.ndarray:
    return _columns(table, (name,))[:, 0]


def _columns(table: Any, names: Sequence[str]) -> np.ndarray:
    """(n, m) of a mapping or DataFrame."""
    known = [str(key) for key in table.keys()]  # noqa: SIM118 - DataFrames and mappings alike
    missing = [name for name in names if name not in known]
    if missing:
        raise ShapeError(f"the events have no columns {missing}; the table has {known[:20]}")
    columns = {name: np.asarray(table[name]) for name in names}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ShapeError(f"columns must hold one number an event, equally many each; their shapes are {shapes}")
    return np.stack(list(columns.values()), axis=-1)


def _positive(value: Any) -> bool:
    return isinstance(value, numbers.Real) and 0 < float(value) < math.inf


def _no_columns(name: str) -> Any:
    raise ShapeError(f"weights {name!r} names a column, but the events are an array; give (n,) weights")


def _numbers(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{what} must be an array of real numbers: {error}") from error
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise ShapeError(f"{what} must be real numbers, one row an event, got {array.dtype} of shape {array.shape}")
    return array if array.dtype in (np.float32, np.float64) else array.astype(float)


@dataclass(frozen=True, eq=False)
class Nuisance(ABC):
    """Parent of the three kinds.

    Attributes:
        name: unique, not empty.
        constraint: width of its Gaussian constraint in units of the simulated shift: 1 if "up" is one standard
            deviation up, 2 if it is half of one, infinite if the nuisance is free.
    """

    name: str
    variations: Mapping[str, Any]
    """What happens to each affected process."""
    constraint: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ConfigError(f"a nuisance needs a name, got {self.name!r}")
        if not (isinstance(self.constraint, numbers.Real) and float(self.constraint) > 0):
            raise ConfigError(f"nuisance {self.name!r}: constraint is {self.constraint!r}, must be a number > 0")
        if not isinstance(self.variations, Mapping) or not self.variations:
            raise ConfigError(
                f"nuisance {self.name!r} has no variations: give a pair (up, down) for a process at least"
            )
        for process, pair in self.variations.items():
            if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(side is not None for side in pair)):
                raise ConfigError(f"{self._of(process)}: a variation is missing; give the pair (up, down)")

    def _of(self, process: str) -> str:
        return f"nuisance {self.name!r}, process {process!r}"

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of the processes it affects."""
        return tuple(self.variations)

    def checked(self, events: Mapping[str, Events]) -> Nuisance:
        """Itself, held against the processes' nominal events.

        Raises:
            ConfigError: unknown processes, up = down, or a varied yield that is not positive.
            ShapeError: samples that do not fit.
        """
        unknown = sorted(set(self.variations) - set(events))
        if unknown:
            raise ConfigError(f"nuisance {self.name!r} varies {unknown}; the processes are {sorted(events)}")
        checked = self._ordered(events)
        for process in self.variations:
            for side, sample in zip(("up", "down"), checked.varied(process, events[process]), strict=True):
                if not sample.weights.sum() > 0:
                    total = float(sample.weights.sum())
                    raise ConfigError(f"{self._of(process)}: the yield {side} is {total:.6g}, must be positive")
        return checked

    def _ordered(self, events: Mapping[str, Events]) -> Nuisance:
        return self

    def _same(self, process: str) -> ConfigError:
        return ConfigError(f"{self._of(process)}: up = down; leave the process out if it is not affected")

    @abstractmethod
    def varied(self, process: str, nominal: Events) -> tuple[Events, Events]:
        """Events of an affected process up and down."""

    def independent(self, deal: Deal) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
        """Two disjoint choices of rows of every sample of its own; none if it varies the nominal events."""
        return {}

    def take(self, rows: Mapping[str, Rows], own: Mapping[Any, np.ndarray]) -> Nuisance:
        """The nuisance of some of the events."""
        return self

    def update(self, digest: Any) -> None:
        """Feed names and numbers to a hash."""
        digest.update(repr((type(self).__name__, self.name, self.constraint)).encode())
        for process, pair in self.variations.items():
            digest.update(process.encode())
            for side in pair:
                if isinstance(side, Events):
                    side.update(digest)
                else:
                    digest.update(np.ascontiguousarray(side, float).tobytes())


@dataclass(frozen=True, eq=False)
class ShiftedSamples(Nuisance):
    """Events at +1 and -1: `variations` maps a process to (up, down), each `Events` with its own yield.

    Attributes:
        same_events: row i of up and down is row i of the nominal sample, with features recomputed (and weight 0
            where a selection loses the event). False: simulations of their own.
    """

    same_events: bool = field(default=False, kw_only=True)

    def _ordered(self, events: Mapping[str, Events]) -> Nuisance:
        out = {}
        for process, pair in self.variations.items():
            nominal = events[process]
            for side, sample in zip(("up", "down"), pair, strict=True):
                where = f"{self._of(process)}, {side}"
                if not isinstance(sample, Events):
                    raise ShapeError(f"{where}: expected Events, got {type(sample).__name__}")
                sample.check(where)
                if self.same_events and len(sample) != len(nominal):
                    raise ShapeError(f"{where}: {len(sample)} events, but the nominal sample has {len(nominal)}")
            up, down = (sample.ordered(nominal.features, self._of(process)) for sample in pair)
            if np.array_equal(up.values, down.values) and np.array_equal(up.weights, down.weights):
                raise self._same(process)
            out[process] = (up, down)
        return replace(self, variations=out)

    def varied(self, process: str, nominal: Events) -> tuple[Events, Events]:
        """The samples as given."""
        up, down = self.variations[process]
        return up, down

    def independent(self, deal: Deal) -> dict[Any, tuple[np.ndarray, np.ndarray]]:
        """Rows of every sample, unless they are the nominal ones."""
        if self.same_events:
            return {}
        pairs = self.variations.items()
        return {(process, side): deal(len(pair[side])) for process, pair in pairs for side in (0, 1)}

    def take(self, rows: Mapping[str, Rows], own: Mapping[Any, np.ndarray]) -> Nuisance:
        """Rows of the nominal sample and its scale, or of the samples' own, keeping their yields."""

        def part(process: str, side: int) -> Events:
            sample = self.variations[process][side]
            if self.same_events:
                return sample.take(rows[process])
            index = own[process, side]
            return sample.take(Rows(index, float(sample.weights.sum() / sample.weights[index].sum())))

        return replace(self, variations={p: (part(p, 0), part(p, 1)) for p in self.variations})


@dataclass(frozen=True, eq=False)
class EventWeights(Nuisance):
    """Reweighted nominal events: `variations` maps a process to (up, down), (n,) ratios to the nominal weights."""

    def _ordered(self, events: Mapping[str, Events]) -> Nuisance:
        out = {}
        for process, pair in self.variations.items():
            up, down = (_numbers(side, self._of(process)).astype(float) for side in pair)
            for ratio in (up, down):
                if ratio.shape != (len(events[process]),) or not np.isfinite(ratio).all():
                    raise ShapeError(
                        f"{self._of(process)}: ratios must be {len(events[process])} finite numbers, one an event, "
                        f"got shape {ratio.shape}"
                    )
            if np.array_equal(up, down):
                raise self._same(process)
            out[process] = (up, down)
        return replace(self, variations=out)

    def varied(self, process: str, nominal: Events) -> tuple[Events, Events]:
        """The nominal events reweighted."""
        up, down = self.variations[process]
        return nominal.weighted(up), nominal.weighted(down)

    def take(self, rows: Mapping[str, Rows], own: Mapping[Any, np.ndarray]) -> Nuisance:
        """Ratios of the chosen rows."""
        pairs = self.variations.items()
        return replace(self, variations={p: (up[rows[p].chosen], down[rows[p].chosen]) for p, (up, down) in pairs})


@dataclass(frozen=True, eq=False)
class Normalisation(Nuisance):
    """Yields times a factor: `variations` maps a process to (kappa_up, kappa_down), for example (1.05, 0.95)."""

    def _ordered(self, events: Mapping[str, Events]) -> Nuisance:
        for process, (up, down) in self.variations.items():
            if not (_positive(up) and _positive(down)):
                raise ConfigError(f"{self._of(process)}: kappas {up}, {down} must be positive numbers")
            if up == down:
                raise self._same(process)
        return self

    def varied(self, process: str, nominal: Events) -> tuple[Events, Events]:
        """The nominal events, all weights scaled."""
        up, down = self.variations[process]
        return nominal.weighted(up), nominal.weighted(down)
