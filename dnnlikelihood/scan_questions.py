r"""The questions about densities with several valleys that `Inference` answers: valleys, scans, disjoint intervals.

    frozen      t(x) = 2 [max over x - logpdf(x, others at a stated point)]
    profiled    t(x) = 2 [max - max over the others of logpdf(x, others)]

Thresholds are those of chi^2 with as many degrees of freedom as parameters are scanned: 1.00 and 3.84 for one at 68.27
and 95 %, 2.30 and 5.99 for two. Every climb is of second order and keeps to its own valley, so that a handful of starts
a point, the known valleys, is enough where each valley of a profile leads to one of the density. Some do not: so five
points of a scan have starts of their own, which descend together on sum ln(delta_nll + c), and what they find spreads;
with `search="multistart"` every point has. It is these starts that find more, not the transformed sum: without the
logarithm they arrive as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .asked import Asked
from .errors import ConfigError, ParameterError, ShapeError
from .results import Interval, ProfileScan, Valleys

if TYPE_CHECKING:
    from .statistics.scans import Search

__all__ = ["ScanQuestions"]

POINTS = {1: 81, 2: 101}
"""Of a scan along each axis, unless told."""
TRUSTED = 0.5
"""Nats: the largest calibrated error of a maximum that is believed. Twice that is one standard deviation in t."""
EDGE = 1e-9
"""Share of a parameter's range within which a point lies on its end."""


class ScanQuestions(Asked):
    """Of any LogDensity with a gradient and bounded parameters, truth or surrogate; part of `Inference`."""

    _valleys: Valleys | None = None

    def valleys(self, *, n_starts: int = 64, starts: Any = None, seed: int = 1) -> Valleys:
        """All local maxima found, highest first; scans that follow begin at them.

        A surrogate may have maxima where it was never taught. Those whose calibrated error exceeds half a nat are left
        out, as long as others remain, and the answer's warnings say so.

        Args:
            n_starts: climbs from points spread over the box.
            starts: (m, d) further points, such as the valleys of a truth for its surrogate.
            seed: of the points.

        Raises:
            LikelihoodError: no climb arrived.
        """
        from .statistics.valleys import valleys

        start = time.perf_counter()
        found, untrusted = self._trusted(valleys(self._known(), n_starts, seed=seed, starts=starts))
        self._valleys = found
        numbers: dict[str, Any] = {
            "theta": found.theta.tolist(),
            "logpdf": found.logpdf.tolist(),
            "n_climbs": found.n_climbs.tolist(),
        }
        edge = [f"valley {i} lies on the edge" for i in np.flatnonzero(found.on_edge)]
        numbers |= {"on_edge": found.on_edge.tolist(), "n_starts": n_starts, "starts_seed": seed}
        self._note("valleys", numbers, [*untrusted, *edge], time.perf_counter() - start)
        return found

    def scan(
        self,
        names: str | Sequence[str],
        axes: Any = None,
        *,
        profiled: bool = True,
        at: Any = None,
        n_points: int | None = None,
        search: Search = "valleys",
        n_starts: int = 64,
        progress: bool = True,
    ) -> ProfileScan:
        """The density along one parameter or over a grid of two.

        Args:
            names: one or two parameters.
            axes: (n,) ascending values, or a pair of such arrays; the whole range if None.
            profiled: whether the others are maximised; frozen otherwise.
            at: where they are frozen: a point (d,), a mapping from all names, or one number for all; the best fit if
                None.
            n_points: along each axis, if `axes` is None.
            search: of a profiled scan. "valleys" climbs from the known valleys and from what neighbours found, at five
                points along each axis also from `n_starts` starts of their own, which find valleys that the others
                have only where the scanned ones are held. "multistart" gives every point such starts, five times the
                work, for valleys that open and close between the five.
            n_starts: climbs that look for valleys, if `valleys` has not been asked before; starts of each point that
                has its own.
            progress: show a bar on a terminal.

        Returns:
            ProfileScan over the grid (all combinations, the last axis fastest). Its `tmu` counts from the best fit.

        Raises:
            ConfigError: an unknown search, one where the others are frozen, or no starts.
            ParameterError: names that are unknown, or values outside the range of their parameter.
            ShapeError: values that do not ascend, or less than two.
        """
        from .statistics.scans import frozen_scan, profiled_scan

        start, density = time.perf_counter(), self._known()
        labels = (names,) if isinstance(names, str) else tuple(names)
        values = self._whole(labels, n_points) if axes is None else axes
        if not profiled and search != "valleys":
            raise ConfigError(
                f"search={search!r} is of profiled scans: where the others are frozen none is searched for"
            )
        if profiled or at is None:
            known = self._valleys or self.valleys(n_starts=n_starts)
        if profiled:
            options: dict[str, Any] = {"search": search, "n_starts": n_starts, "seed": self.config.seed}
            found = profiled_scan(density, names, values, known=known, progress=progress, **options)
        else:
            found = frozen_scan(density, names, values, self._frozen(at if at is not None else known.theta[0]))
        searched = {"profiled": profiled, **_searched(search, n_starts, profiled=profiled)}
        self._note(
            f"scan({', '.join(labels)}, {_kind(search, profiled=profiled)})",
            {**searched, **found.to_json(), "bestfit": found.bestfit.theta[0].tolist()},
            self._doubts_of(found),
            time.perf_counter() - start,
        )
        return found

    def intervals(
        self,
        name: str,
        levels: Sequence[float] = (0.6827, 0.95),
        axis: Any = None,
        *,
        profiled: bool = True,
        at: Any = None,
        n_points: int | None = None,
        search: Search = "valleys",
        n_starts: int = 64,
        progress: bool = True,
    ) -> dict[float, tuple[Interval, ...]]:
        """Where t stays below its thresholds: one interval for each valley deep enough, edges refined.

        Args:
            name: the parameter.
            levels: of confidence.
            axis: values of the first scan, as `axes` of `scan`; or that scan, if it has been made as told here.
            profiled: as in `scan`.
            at: as in `scan`.
            n_points: as in `scan`.
            search: as in `scan`; the points that refine the edges begin at what their neighbours found.
            n_starts: as in `scan`.
            progress: show a bar on a terminal.

        Returns:
            level -> intervals in ascending order. Where the scan ends below the threshold they are open.

        Raises:
            NotConverged: edges that did not settle; `evidence` is the scan.
            ConfigError, ParameterError, ShapeError: as for `scan`.
        """
        from .statistics.scan_intervals import scan_intervals

        if not isinstance(name, str):
            raise ParameterError(f"intervals are of one parameter, not of {name!r}")
        if isinstance(axis, ProfileScan) and axis.names != (name,):
            raise ParameterError(f"a scan of {list(axis.names)} has no intervals of {name!r}")
        if np.ndim(levels) != 1 or not len(levels):
            raise ConfigError(f"levels must be a sequence of at least one, such as (0.6827, 0.95), got {levels!r}")
        options: dict[str, Any] = {"profiled": profiled, "at": at, "n_points": n_points, "n_starts": n_starts}
        options["search"] = search
        scan = axis if isinstance(axis, ProfileScan) else self.scan(name, axis, progress=progress, **options)
        start = time.perf_counter()
        found, finer = scan_intervals(self._known(), scan, levels, frozen=not profiled)
        numbers = {f"{level:g}": [[i.low, i.high, i.open_low, i.open_high] for i in found[level]] for level in levels}
        ends = [f"{k}: open at the end of the scan" for k, v in numbers.items() if any(o for i in v for o in i[2:])]
        self._note(
            f"intervals({name}, {_kind(search, profiled=profiled)})",
            {**_searched(search, n_starts, profiled=profiled), "intervals": numbers, "n_points": len(finer.points)},
            [*self._doubts_of(finer), *ends],
            time.perf_counter() - start,
        )
        return found

    def _error(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) nats that the density itself says it may be wrong by; 0 for a truth."""
        error = getattr(self._known(), "error", None)
        return np.zeros(len(theta)) if error is None else np.ravel(error(theta))

    def _trusted(self, found: Valleys) -> tuple[Valleys, list[str]]:
        """Those whose error is small, and what is to be said of the others."""
        error = self._error(found.theta)
        good = error <= TRUSTED
        said = [f"a maximum at logpdf = {v:.2f} has an error of {e:.2g} nats: it is " for v, e in zip(
            found.logpdf[~good], error[~good], strict=True)]  # fmt: skip
        if not good.any():
            return found, [s + "not to be trusted" for s in said]
        kept = Valleys(*(getattr(found, name)[good] for name in Valleys.__dataclass_fields__))
        return kept, [s + "left out" for s in said]

    def _whole(self, labels: Sequence[str], n_points: int | None) -> Any:
        """Values over the whole range of each parameter."""
        from .statistics.profile import limits

        columns = self._known().parameters.indices(labels)
        low, high = limits(self._known())
        for label, column in zip(labels, columns, strict=True):
            if not np.isfinite([low[column], high[column]]).all():
                raise ParameterError(f"{label!r} has no finite range; give the values to scan")
        n = POINTS.get(len(labels), 2) if n_points is None else n_points
        if not isinstance(n, int | np.integer) or n < 2:
            raise ShapeError(f"a scan needs a whole number n_points >= 2, got {n!r}")
        axes = [np.linspace(low[c], high[c], n) for c in columns]
        return axes[0] if len(axes) == 1 else axes

    def _frozen(self, at: Any) -> Any:
        return np.full(len(self._known().parameters), float(at)) if np.ndim(at) == 0 and np.isreal(at) else at

    def _doubts_of(self, scan: ProfileScan) -> list[str]:
        """Fits that failed, and a best fit on the edge of the domain."""
        from .statistics.profile import limits

        bad = scan.status[~np.isin(scan.status, ("converged", "stalled"))]
        doubts = [f"{len(bad)} of {len(scan.points)} points: {sorted(set(bad.tolist()))}"] if len(bad) else []
        error = float(self._error(scan.bestfit.theta)[0])
        if error > TRUSTED:
            doubts.append(f"the best fit may be wrong by {error:.2g} nats: this surrogate was not taught there")
        low, high = limits(self._known())
        reach = EDGE * np.where(np.isfinite(high - low), high - low, 1.0)
        best = scan.bestfit.theta[0]
        ends = [
            name
            for name, x, a, b, r in zip(self._known().parameters.names, best, low, high, reach, strict=True)
            if x - a < r or b - x < r
        ]
        return [*doubts, f"the best fit lies on the edge of {', '.join(ends)}"] if ends else doubts


def _kind(search: Search, *, profiled: bool) -> str:
    """What tells one scan's answer from another's."""
    return ("profiled" if search == "valleys" else f"profiled, {search}") if profiled else "frozen"


def _searched(search: Search, n_starts: int, *, profiled: bool) -> dict[str, Any]:
    """What the log says of a scan's search; of a frozen one, which has none, nothing."""
    return {"search": search if profiled else None, "n_starts": n_starts if profiled else None}
