r"""Simulated events and what may change them: all that a discriminant learns from.

    lambda(x; r, theta) = sum_p r_p f_p(x; theta)

with f_p the expected density of events of process p (weights sum to the expected yield), r_p = 1 for a background and
the signal strength of its POI for a signal, and nuisances theta_j in units of the simulated shift: nominal at 0, "up"
at +1, "down" at -1, constrained by a Gaussian of width `constraint` (infinite: free).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import ConfigError, ShapeError
from .nuisances import Deal, Events, EventWeights, Normalisation, Nuisance, Rows, ShiftedSamples

__all__ = ["EventModel", "EventWeights", "Events", "Normalisation", "Nuisance", "Process", "ShiftedSamples"]

HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Process:
    """One process: its events, and the POI that scales it if it is a signal.

    Attributes:
        name: unique, not empty.
        events: simulated events whose weights sum to the expected yield, which must be positive.
        poi: the signal strength that multiplies the yield; None for a background.
    """

    name: str
    events: Events
    poi: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ConfigError(f"a process needs a name, got {self.name!r}")
        if self.poi is not None and not (isinstance(self.poi, str) and self.poi.strip()):
            raise ConfigError(f"process {self.name!r}: poi is {self.poi!r}; give a name, or None for a background")
        if not isinstance(self.events, Events):
            raise ShapeError(f"process {self.name!r}: events are {type(self.events).__name__}; make them by Events.of")
        self.events.check(f"process {self.name!r}")
        if not self.total > 0:
            raise ConfigError(
                f"process {self.name!r}: the weights sum to {self.total:.6g}; an expected yield must be positive"
            )

    @property
    def total(self) -> float:
        """Expected number of events."""
        return float(self.events.weights.sum())

    @property
    def is_signal(self) -> bool:
        """Whether a POI scales it."""
        return self.poi is not None


@dataclass(frozen=True, eq=False)
class EventModel:
    """Processes and nuisances over the same features.

    Raises:
        ConfigError: no signal, names used twice, a nuisance of unknown processes or without a variation.
        ShapeError: features that differ between samples, or values that are not finite.

    >>> rng = np.random.default_rng(0)
    >>> s, b, up, down = (Events.of(rng.normal(m, 1, (100, 1)), ["x"], expected=y)
    ...                   for m, y in [(0, 5), (1, 50), (1.2, 50), (0.8, 50)])
    >>> model = EventModel((Process("S", s, poi="r"), Process("B", b)), (ShiftedSamples("energy", {"B": (up, down)}),))
    >>> model.pois, [n.name for n in model.nuisances], [round(p.total, 3) for p in model.processes]
    (('r',), ['energy'], [5.0, 50.0])
    """

    processes: tuple[Process, ...]
    nuisances: tuple[Nuisance, ...] = ()

    def __post_init__(self) -> None:
        for kind, given in ((Process, self.processes), (Nuisance, self.nuisances)):
            strange = [type(one).__name__ for one in given if not isinstance(one, kind)]
            if strange:
                raise ConfigError(f"an event model is made of Process and Nuisance objects, not of {strange}")
        if not self.processes or not any(p.is_signal for p in self.processes):
            raise ConfigError("an event model needs at least one signal: a Process with a poi")
        for what, names in (("process", self.names), ("parameter", self.pois + self.nuisance_names)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ConfigError(f"{what} names {twice} are used twice; rename one of each")
        features = self.features
        ordered = tuple(replace(p, events=p.events.ordered(features, f"process {p.name!r}")) for p in self.processes)
        object.__setattr__(self, "processes", ordered)
        by_name = {p.name: p.events for p in ordered}
        object.__setattr__(self, "nuisances", tuple(n.checked(by_name) for n in self.nuisances))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the processes."""
        return tuple(p.name for p in self.processes)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the order of all columns."""
        return self.processes[0].events.features

    @property
    def pois(self) -> tuple[str, ...]:
        """Names of the signal strengths, in order of first appearance."""
        return tuple(dict.fromkeys(p.poi for p in self.processes if p.poi is not None))

    @property
    def nuisance_names(self) -> tuple[str, ...]:
        """Names of the nuisances."""
        return tuple(n.name for n in self.nuisances)

    @property
    def constraints(self) -> np.ndarray:
        """(J,) widths of the constraints in units of the shifts; infinite for a free nuisance."""
        return np.array([n.constraint for n in self.nuisances], float)

    def __getitem__(self, name: str) -> Process:
        """The process of that name."""
        if name not in self.names:
            raise ConfigError(f"no process {name!r}; the processes are {list(self.names)}")
        return self.processes[self.names.index(name)]

    def varied(self, nuisance: Nuisance, process: str) -> tuple[Events, Events]:
        """The events of a process with a nuisance at +1 and at -1.

        Nuisances that move no event return the nominal feature array itself, so that nothing is evaluated twice.
        """
        return nuisance.varied(process, self[process].events)

    def split(self, fraction: float = 0.5, seed: int = 0) -> tuple[EventModel, EventModel]:
        """Two models of disjoint events, `fraction` of every sample in the first, both with the full yields.

        Shifted versions of the same events stay together with them.

        Raises:
            ConfigError: a fraction that leaves a sample without events on one side.
        """
        if not 0 < fraction < 1:
            raise ConfigError(f"fraction is {fraction}, must lie between 0 and 1")

        def dealer(*key: int) -> Deal:
            rng = np.random.default_rng([seed, *key])

            def deal(n: int) -> tuple[np.ndarray, np.ndarray]:
                order, first = rng.permutation(n), round(fraction * n)
                if not 0 < first < n:
                    raise ConfigError(f"a sample of {n} events cannot be split at {fraction}; simulate more")
                return np.sort(order[:first]), np.sort(order[first:])

            return deal

        deal = dealer()
        rows = {p.name: deal(len(p.events)) for p in self.processes}
        # Each nuisance is dealt by its own name: a model with fewer of them must not deal training events as new ones.
        others = [n.independent(dealer(*n.name.encode())) for n in self.nuisances]
        first, second = (
            self._part(
                {name: r[side] for name, r in rows.items()}, [{k: r[side] for k, r in o.items()} for o in others]
            )
            for side in (0, 1)
        )
        return first, second

    def folds(self, seed: int = 0) -> tuple[tuple[EventModel, EventModel], tuple[EventModel, EventModel]]:
        """Two-fold cross validation: (train, test) and the same with the sides exchanged."""
        first, second = self.split(0.5, seed)
        return (first, second), (second, first)

    def held_out(self, seed: int = 0) -> tuple[EventModel, EventModel]:
        """(train, validation): a fifth of the events is held out to watch and choose by."""
        return self.split(1 - HELD_OUT, seed)

    def _part(self, rows: Mapping[str, np.ndarray], others: Sequence[Mapping[Any, np.ndarray]]) -> EventModel:
        scales = {p.name: _scale(p.events.weights, rows[p.name], p.name) for p in self.processes}
        chosen = {name: Rows(rows[name], scales[name]) for name in rows}
        processes = tuple(replace(p, events=p.events.take(chosen[p.name])) for p in self.processes)
        nuisances = (n.take(chosen, other) for n, other in zip(self.nuisances, others, strict=True))
        return EventModel(processes, tuple(nuisances))

    def only(self, nuisances: Sequence[str]) -> EventModel:
        """The same processes with some of the nuisances.

        Raises:
            ConfigError: an unknown name.
        """
        unknown = sorted(set(nuisances) - set(self.nuisance_names))
        if unknown:
            raise ConfigError(f"no nuisances {unknown}; the model has {list(self.nuisance_names)}")
        return EventModel(self.processes, tuple(n for n in self.nuisances if n.name in nuisances))

    def with_pois(self, pois: Mapping[str, str | None]) -> EventModel:
        """The same events with other signal strengths: one for several signals is the inclusive measurement."""
        for name in pois:
            self[name]
        processes = tuple(replace(p, poi=pois.get(p.name, p.poi)) for p in self.processes)
        return EventModel(processes, self.nuisances)

    def array(self, events: Any) -> np.ndarray:
        """Features (n, m) in the order of this model; see `feature_array`."""
        return feature_array(events, self.features)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all names and numbers."""
        digest = hashlib.sha256(repr((self.features, [(p.name, p.poi) for p in self.processes])).encode())
        for p in self.processes:
            p.events.update(digest)
        for n in self.nuisances:
            n.update(digest)
        return digest.hexdigest()


def feature_array(events: Any, features: Sequence[str]) -> np.ndarray:
    """Features (n, m) in a given order, matched by name where there are names.

    Args:
        events: `Events`, a mapping or DataFrame with a column for every feature (others are ignored), or an (n, m)
            array whose columns are `features` in this order.
        features: the names.

    Raises:
        ShapeError: missing features, another number of columns, or values that are not finite.
    """
    if isinstance(events, Events):
        return events.ordered(features, "the events").values
    return Events.of(events, features).values


def _scale(weights: np.ndarray, rows: np.ndarray, name: str) -> float:
    """Factor that gives the chosen rows the yield of all."""
    part = float(weights[rows].sum())
    scale = float(weights.sum()) / part if part else math.inf
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"process {name!r}: one side of the split has yield {part:.6g}; simulate more events")
    return scale
