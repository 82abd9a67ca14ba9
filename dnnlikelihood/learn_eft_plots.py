"""The figures of a learned effective-theory likelihood, truth and surrogate side by side where the truth is quick.

    delta_nll, delta_nll_residuals   where the rows lie, and how far the surrogate is off on held-out ones
    frozen, pairs_frozen             one and two coefficients, the others at 0: thousands of exact fits
    profiled, unshifted              one coefficient, the others profiled, from each curve's own minimum, or the truth's
    pairs_profiled                   two coefficients, the others profiled, on the surrogate alone
    combination                      two coefficients replaced by linear combinations, without training

Lines count 2 delta NLL; regions have the thresholds of two degrees of freedom. Profiles begin at the valleys of both,
and are drawn where a coarse one of the surrogate says that they are of interest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import plots
from .inference import Inference
from .reparametrisation import linear_map
from .statistics.profile import limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .data import Data
    from .dnnlik import DnnLik
    from .protocols import LogDensity
    from .results import ProfileScan

__all__ = ["COMBINATION", "PAIRS", "ScanPlots", "draw"]

PAIRS = (
    ("cpQ3", "cbW"),
    ("cpQM", "ctG"),
    ("cpt", "ctp"),
    ("cptb", "cQl3i"),
    ("cQei", "cQlMi"),
    ("ctei", "ctlTi"),
    ("ctli", "ctlSi"),
    ("ctW", "ctZ"),
)
"""Those that CMS shows."""
COMBINATION = {"ctW": {"x9": float(np.sqrt(3)), "x10": 1.0}, "ctZ": {"x9": -2.0}}
"""The example of CMS, at a weak mixing angle of 30 degrees."""
SCANNED = ("ctp", "cpQM", "cpQ3", "ctW", "ctZ", "ctG")
"""Profiled with the truth beside them."""
TRUTH, SURROGATE = "exact", "surrogate"
LEVELS = (0.6827, 0.95)
LINE, GRID, PROFILED_LINE, PROFILED_GRID = 61, 31, 17, 17
"""Points along each axis: one and two coefficients frozen, one and two profiled."""
COARSE, OF_INTEREST = 25, 9.0
"""Points of the profile that says where to look, and 2 delta NLL up to which it is of interest."""


def draw(folder: Path, truth: LogDensity, model: DnnLik, data: Data, starts: np.ndarray) -> list[Path]:
    """Write all figures; paths of the PNG files.

    Args:
        folder: where.
        truth: profiled over its nuisances.
        model: its surrogate.
        data: what it learned from, and test rows that it did not.
        starts: (m, d) the truth's valleys.
    """
    theta, exact = data.theta("test"), data.logpdf("test")
    inside = model.in_domain(theta)
    learned, kinds = data.logpdf("train"), data.kinds("train")
    top = max(float(learned.max()), float(exact.max()))
    scans = ScanPlots(truth, model, starts)
    figures = {
        "delta_nll": plots.delta_nll_distributions(
            {kind: learned[kinds == kind] for kind in dict.fromkeys(kinds)}, top
        ),
        "delta_nll_residuals": plots.delta_nll_residuals(
            exact[inside], model.ensemble.members_logpdf(theta[inside]).mean(axis=1), top
        ),
        **scans.figures(),
    }
    paths = [path for name, figure in figures.items() for path in plots.save(figure, folder, name)]
    return [path for path in paths if path.suffix == ".png"]


class ScanPlots:
    """Scans of a truth and of its surrogate, each from the valleys of both; what was scanned is kept.

    Args:
        truth: any LogDensity with bounded parameters.
        model: its surrogate; a published one will do.
        starts: (m, d) valleys of the truth that are known, to begin at.
    """

    def __init__(self, truth: LogDensity, model: LogDensity, starts: np.ndarray | None = None) -> None:
        self.parameters = truth.parameters
        self.densities = {TRUTH: truth, SURROGATE: model}
        self.both = {who: Inference(density) for who, density in self.densities.items()}
        self.known, self._searched = starts, False
        self._kept: dict[tuple[str, int], dict[str, ProfileScan]] = {}
        self._ends: dict[str, tuple[float, float]] = {}
        names = self.parameters.names
        present = [pair for pair in PAIRS if set(pair) <= set(names)]
        self.pairs = present or [(names[i], names[i + 1]) for i in range(0, min(len(names), 16) - 1, 2)]
        self.scanned = [name for name in SCANNED if name in names] or names[:6]
        self.combines = set(COMBINATION) <= set(names)

    def figures(self) -> dict[str, Figure]:
        """All figures of scans, by name; one coefficient alone has no pairs."""
        found = {"frozen": self.frozen(), "profiled": self.profiled(), "unshifted": self.profiled(shifted=False)}
        if self.pairs:
            found |= {"pairs_frozen": self.frozen_pairs(), "pairs_profiled": self.profiled_pairs()}
        return found | ({"combination": self.combination()} if self.combines else {})

    def frozen(self, n_points: int = LINE) -> Figure:
        """Every coefficient, the others at 0, exact and surrogate."""
        scans = {}
        for name in self.parameters.names:
            axis = self._axis(name, n_points)
            scans[name] = {who: i.scan(name, axis, profiled=False, at=0.0) for who, i in self.both.items()}
        return plots.scan_lines(scans, parameters=self.parameters)

    def profiled(
        self, names: Sequence[str] | None = None, n_points: int = PROFILED_LINE, *, shifted: bool = True
    ) -> Figure:
        """Some coefficients, the others profiled, exact and surrogate."""
        return plots.scan_lines(self.profiled_scans(names, n_points), parameters=self.parameters, shifted=shifted)

    def frozen_pairs(self, n_points: int = GRID, levels: Sequence[float] = LEVELS) -> Figure:
        """Pairs of coefficients, the others at 0, exact and surrogate."""
        scans = []
        for pair in self.pairs:
            axes = [self._axis(name, n_points) for name in pair]
            scans.append({who: i.scan(pair, axes, profiled=False, at=0.0) for who, i in self.both.items()})
        return plots.scan_contours(scans, parameters=self.parameters, levels=levels)

    def profiled_pairs(
        self,
        pairs: Sequence[tuple[str, str]] | None = None,
        n_points: int = PROFILED_GRID,
        levels: Sequence[float] = LEVELS,
    ) -> Figure:
        """Pairs of coefficients, the others profiled, on the surrogate alone."""
        self._search()
        scans = []
        for pair in pairs or self.pairs:
            axes = [self._near(name, n_points) for name in pair]
            scans.append({SURROGATE: self.both[SURROGATE].scan(pair, axes, progress=False)})
        return plots.scan_contours(scans, parameters=self.parameters, levels=levels)

    def combination(self, n_points: int = GRID, levels: Sequence[float] = LEVELS) -> Figure:
        """The plane of new coordinates, the others at 0: a fixed linear layer in front of the surrogate."""
        matrix, names = linear_map(self.parameters, COMBINATION)
        new = [name for name in names if name not in self.parameters.names]
        low, high = limits(self.densities[TRUTH])
        reach = np.abs(np.linalg.pinv(matrix)[[names.index(n) for n in new]]) @ np.maximum(-low, high)
        axes = [np.linspace(-r, r, n_points) for r in reach]
        turned = {who: density.reparametrise(matrix, names) for who, density in self.densities.items()}
        scans = {who: Inference(t).scan(new, axes, profiled=False, at=0.0) for who, t in turned.items()}
        return plots.scan_contours([scans], parameters=turned[TRUTH].parameters, levels=levels)

    def profiled_scans(
        self, names: Sequence[str] | None = None, n_points: int = PROFILED_LINE
    ) -> dict[str, dict[str, ProfileScan]]:
        """Coefficient -> "exact" and "surrogate" -> its scan; kept, to be drawn in several ways."""
        self._search()
        found = {}
        for name in names or self.scanned:
            if (name, n_points) not in self._kept:
                axis = self._near(name, n_points)
                self._kept[name, n_points] = {w: i.scan(name, axis, progress=False) for w, i in self.both.items()}
            found[name] = self._kept[name, n_points]
        return found

    def _search(self) -> None:
        """Let each begin at the valleys of both, so that neither misses what the other found."""
        if self._searched:
            return
        self._searched = True
        for who in (TRUTH, SURROGATE, TRUTH)[self.known is not None :]:
            inference, known = self.both[who], self.known
            starts = None if known is None else known[self.densities[who].support(known)]
            found = inference.valleys(n_starts=16, starts=starts).theta
            self.known = found if known is None else np.concatenate([known, found])

    def _near(self, name: str, n_points: int) -> np.ndarray:
        """Values where the surrogate's profile is of interest, and a coarse step beyond."""
        if name not in self._ends:
            axis = self._axis(name, COARSE)
            t = self.both[SURROGATE].scan(name, axis, progress=False).tmu
            near = np.flatnonzero(t <= max(OF_INTEREST, t.min()))
            self._ends[name] = axis[max(near[0] - 1, 0)], axis[min(near[-1] + 1, COARSE - 1)]
        return np.linspace(*self._ends[name], n_points)

    def _axis(self, name: str, n_points: int) -> np.ndarray:
        """Values over the range in which both are defined."""
        column = self.parameters.index(name)
        ends = [[bound[column] for bound in limits(density)] for density in self.densities.values()]
        return np.linspace(max(e[0] for e in ends), min(e[1] for e in ends), n_points)
