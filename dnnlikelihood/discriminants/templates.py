r"""Templates: yields of every process in every bin, nominal and with every nuisance up and down.

    H_pk = sum of weights of process p in bin k,    V_pk = sum of squared weights,    lambda_k = sum_p H_pk

Bins in which nothing is expected (lambda_k <= 0) carry no likelihood; they are merged with a neighbour, and said so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import ConfigError, ShapeError
from .events import EventModel, Events
from .nuisances import EventWeights, Normalisation, ShiftedSamples

__all__ = ["Templates", "fill"]

MOST_MC_ERROR = 0.1
MOST_SHIFT_NOISE = 0.25
MOST_NAMED = 12
BinIndex = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Templates:
    """Yields in K bins of P processes with J nuisances.

    Attributes:
        processes: (P,) names.
        pois: (P,) the POI of each process; None for backgrounds.
        nuisances: (J,) names.
        constraints: (J,) widths in units of the shifts.
        nominal: (P, K).
        variance: (P, K) sums of squared weights.
        up: (J, P, K) yields with one nuisance at +1; nominal where it does not act.
        down: (J, P, K) at -1.
        shift_variance: (J, P, K) variance of (up - down) / 2 from the finite number of simulated events.
        shape: (J,) False for pure normalisations.
        merged: what was merged, in words; empty if nothing was.
    """

    processes: tuple[str, ...]
    pois: tuple[str | None, ...]
    nuisances: tuple[str, ...]
    constraints: np.ndarray
    nominal: np.ndarray
    variance: np.ndarray
    up: np.ndarray
    down: np.ndarray
    shift_variance: np.ndarray
    shape: np.ndarray
    merged: tuple[str, ...] = ()

    @property
    def n_bins(self) -> int:
        """K."""
        return self.nominal.shape[1]

    @property
    def total(self) -> np.ndarray:
        """(K,) expected yield lambda at the Asimov point."""
        return self.nominal.sum(axis=0)

    @property
    def poi_names(self) -> tuple[str, ...]:
        """Names of the POIs."""
        return tuple(dict.fromkeys(p for p in self.pois if p is not None))

    @property
    def signals(self) -> np.ndarray:
        """(S, K) yields that each POI scales: derivatives of lambda in the POIs."""
        return np.stack([self.nominal[[p == poi for p in self.pois]].sum(axis=0) for poi in self.poi_names])

    def shifts(self, side: str = "symmetric") -> np.ndarray:
        """(J, K) derivatives of lambda in the nuisances.

        Args:
            side: "symmetric" (up - down) / 2, "up" up - nominal, or "down" nominal - down.
        """
        nominal = self.nominal[None]
        per_process = {
            "symmetric": lambda: 0.5 * (self.up - self.down),
            "up": lambda: self.up - nominal,
            "down": lambda: nominal - self.down,
        }
        if side not in per_process:
            raise ConfigError(f"side is {side!r}, must be one of {list(per_process)}")
        return per_process[side]().sum(axis=1)

    @property
    def relative_mc_error(self) -> np.ndarray:
        """(K,) standard deviation of the simulated total over itself."""
        return np.sqrt(self.variance.sum(axis=0)) / np.where(self.total > 0, self.total, np.nan)

    @property
    def shift_noise(self) -> np.ndarray:
        r"""(J,) share of the information sum_k J_jk^2 / lambda_k that finite simulation alone would give.

        Near 1, the variation is not resolved from its fluctuations: a training would learn them.
        """
        weight = 1.0 / np.where(self.total > 0, self.total, np.inf)
        noise = (self.shift_variance.sum(axis=1) * weight).sum(axis=1)
        return noise / np.maximum((self.shifts() ** 2 * weight).sum(axis=1), 1e-300)

    @property
    def messages(self) -> tuple[str, ...]:
        """What a reader of these templates has to know: merged bins, and what the simulation is too small for."""
        out = list(self.merged)
        poor = np.flatnonzero(self.relative_mc_error > MOST_MC_ERROR)
        if len(poor):
            out.append(
                f"finite simulation gives {_bins(poor, self.n_bins)} an uncertainty of up to "
                f"{self.relative_mc_error[poor].max():.0%}; count it (mc_statistics), or use fewer bins"
            )
        ratio = self.variance.sum(axis=0) / np.where(self.total > 0, self.total, np.nan)
        if (ratio > 1).any():
            out.append(
                f"in {(ratio > 1).sum()} of {self.n_bins} bins the simulation fluctuates more than the data will (sum "
                f"w^2 is up to {np.nanmax(ratio):.2g} times the expected yield): quote Delta r with mc_statistics"
            )
        noisy = [self.nuisances[j] for j in np.flatnonzero(self.shift_noise > MOST_SHIFT_NOISE)]
        if noisy:
            out.append(
                f"the variations of {noisy} are not resolved from their statistical fluctuations in these bins: a "
                "training learns the fluctuations; simulate more, or shift the nominal events"
            )
        return tuple(out)

    def grouped(self, groups: Sequence[Sequence[int]]) -> Templates:
        """Templates whose bins are sums of the given bins."""
        matrix = np.zeros((self.n_bins, len(groups)))
        for k, group in enumerate(groups):
            matrix[list(group), k] = 1.0
        names = ("nominal", "variance", "up", "down", "shift_variance")
        return replace(self, **{name: getattr(self, name) @ matrix for name in names})

    def without_empty_bins(self, least: float = 0.0) -> Templates:
        """Bins with a total yield of at most `least` merged into the neighbour below (the first: above).

        Raises:
            ShapeError: every bin is empty.
        """
        full = np.flatnonzero(self.total > least)
        if len(full) == self.n_bins:
            return self
        if not len(full):
            raise ShapeError(f"all {self.n_bins} bins are empty: the binning does not fit these events")
        owner = np.maximum(np.searchsorted(full, np.arange(self.n_bins), side="right") - 1, 0)
        groups = [np.flatnonzero(owner == k).tolist() for k in range(len(full))]
        empty = sorted(set(range(self.n_bins)) - set(full.tolist()))
        said = f"{_bins(empty, self.n_bins)} expect nothing and were merged into their neighbours"
        out = replace(self.grouped(groups), merged=(*self.merged, said))
        return out.without_empty_bins(least)

    def injected(self, nuisance: str, process: str, bin_index: int, relative: float) -> Templates:
        """With one more nuisance that scales one process in one bin by 1 +- `relative`: an injected uncertainty."""
        if nuisance in self.nuisances or process not in self.processes or not 0 <= bin_index < self.n_bins:
            raise ConfigError(f"cannot inject {nuisance!r} into bin {bin_index} of {process!r}")
        change = np.zeros((1, *self.nominal.shape))
        p = self.processes.index(process)
        change[0, p, bin_index] = relative * self.nominal[p, bin_index]
        return replace(
            self,
            nuisances=(*self.nuisances, nuisance),
            constraints=np.append(self.constraints, 1.0),
            up=np.concatenate([self.up, self.nominal + change]),
            down=np.concatenate([self.down, self.nominal - change]),
            shift_variance=np.concatenate([self.shift_variance, np.zeros_like(change)]),
            shape=np.append(self.shape, True),
        )


def _bins(some: Sequence[int] | np.ndarray, n_bins: int) -> str:
    """Their numbers, or how many they are.

    >>> _bins([0, 3], 8)
    'bins [0, 3] of 8'
    """
    few = len(some) <= MOST_NAMED
    return f"bins {[int(k) for k in some]} of {n_bins}" if few else f"{len(some)} of {n_bins} bins"


def fill(model: EventModel, bin_index: BinIndex, n_bins: int, *, merge: bool = True) -> Templates:
    """Fill templates; every feature array is binned once.

    Args:
        model: events.
        bin_index: features (n, m) -> (n,) integers in [0, n_bins).
        n_bins: K.
        merge: whether empty bins are merged; templates that are to be added up need all bins.

    Raises:
        ShapeError: a bin index outside the range, or every bin empty.
    """
    found: dict[int, np.ndarray] = {}

    def bins(events: Events) -> np.ndarray:
        key = id(events.values)
        if key not in found:
            index = np.asarray(bin_index(events.values))
            if index.shape != (len(events),) or index.dtype.kind not in "iu":
                raise ShapeError(
                    f"bin_index returned {index.dtype} of shape {index.shape}, expected ({len(events)},) int"
                )
            if len(index) and not 0 <= index.min() <= index.max() < n_bins:
                raise ShapeError(f"bin_index returned {index.min()} to {index.max()}, outside the {n_bins} bins")
            found[key] = index
        return found[key]

    def histogram(events: Events, weights: np.ndarray) -> np.ndarray:
        return np.bincount(bins(events), weights, n_bins)

    nominal = np.stack([histogram(p.events, p.events.weights) for p in model.processes])
    variance = np.stack([histogram(p.events, p.events.weights**2) for p in model.processes])
    shape = (len(model.nuisances), *nominal.shape)
    up, down, noise = np.broadcast_to(nominal, shape).copy(), np.broadcast_to(nominal, shape).copy(), np.zeros(shape)
    for j, nuisance in enumerate(model.nuisances):
        for name in nuisance.processes:
            p = model.names.index(name)
            a, b = model.varied(nuisance, name)
            up[j, p], down[j, p] = histogram(a, a.weights), histogram(b, b.weights)
            if isinstance(nuisance, EventWeights):
                noise[j, p] = 0.25 * histogram(a, (a.weights - b.weights) ** 2)
            elif isinstance(nuisance, ShiftedSamples):
                both = histogram(a, a.weights**2) + histogram(b, b.weights**2)
                shared = _shared(bins(a), bins(b), a, b, n_bins) if nuisance.same_events else 0.0
                noise[j, p] = 0.25 * (both - 2.0 * shared)
    templates = Templates(
        processes=model.names,
        pois=tuple(p.poi for p in model.processes),
        nuisances=model.nuisance_names,
        constraints=model.constraints,
        nominal=nominal,
        variance=variance,
        up=up,
        down=down,
        shift_variance=noise,
        shape=np.array([not isinstance(n, Normalisation) for n in model.nuisances], bool),
    )
    return templates.without_empty_bins() if merge else templates


def _shared(a_bins: np.ndarray, b_bins: np.ndarray, a: Events, b: Events, n_bins: int) -> np.ndarray:
    """(K,) covariance of up and down: the events that stay in their bin."""
    same = a_bins == b_bins
    return np.bincount(a_bins[same], (a.weights * b.weights)[same], n_bins)
