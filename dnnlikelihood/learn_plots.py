"""The figures of a learned likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .results import ProfileScan, Samples
from .sampling.convergence import gelman_rubin, running_tau

if TYPE_CHECKING:
    from .data import Data
    from .dnnlik import DnnLik
    from .likelihood import Likelihood

__all__ = ["draw"]

SHOWN = 30_000
"""Samples drawn in a corner plot."""
PAPER = "paper, truth sampled"
"""Its HPDIs are those of the likelihood itself, not of its networks."""


def draw(
    folder: Path,
    likelihood: Likelihood,
    model: DnnLik,
    unseen: Data,
    truth: Samples,
    own: Samples,
    truth_scan: ProfileScan,
    own_scan: ProfileScan,
    summary: Mapping[str, Any],
) -> list[Path]:
    """Draw and write them all; the paths of the files."""
    from . import plots

    space, source = likelihood.parameters, likelihood.source
    poi = space[space.pois[0]]
    names = _shown(likelihood)
    paper = {row["mu"]: row["paper_network"] for row in summary["tmu"] if row["paper_network"] is not None}
    theta, exact = unseen.theta("test"), unseen.logpdf("test")
    answer = model.ensemble.members_logpdf(theta).mean(axis=1)
    baseline = model.ensemble.baseline.value(model.ensemble.features(theta))
    origins: dict[str, dict[float, Any]] = {"exact": {}, PAPER: {}, "surrogate": {}}
    for row in summary["hpdi"]:
        if row["lower"] is None:
            for origin, key in (("exact", "exact"), (PAPER, "paper"), ("surrogate", "ours")):
                if row[key] is not None:
                    origins[origin][row["level"]] = tuple(row[key])
    spread = {n: float(truth.column(n).std()) for n in names}
    maximum = truth_scan.bestfit.theta[0]
    ranges = {n: (maximum[space.index(n)] - 3 * s, maximum[space.index(n)] + 3 * s) for n, s in spread.items()}
    ranges = {n: _clip(likelihood, n, r) for n, r in ranges.items()}
    steps = sorted({int(s) for s in np.geomspace(20, len(truth.chains), 30)})
    band = model.ensemble.calibration.error(answer, model.spread(theta))
    figures = {
        "loss": plots.loss_curves(model.history, output_scale=model.ensemble.output_scale),
        "residuals": plots.residuals(exact, answer, baseline=baseline, error=band),
        "tmu": plots.tmu(
            (truth_scan.points[:, 0], truth_scan.tmu),
            {"surrogate": (own_scan.points[:, 0], own_scan.tmu)},
            {"paper's network F3": (np.array(list(paper)), np.array(list(paper.values())))} if paper else None,
            parameter=poi,
        ),
        "hpdi": plots.hpdi_summary({k: v for k, v in origins.items() if v}, parameter=poi),
        "corner": plots.corner({"truth": truth.theta[-SHOWN:], "surrogate": _last(own)}, space, names),
        "along": plots.agreement_along(likelihood.logpdf, model.logpdf, space, maximum, ranges, error=model.error),
        "samplings": plots.logpdf_distributions(
            {"truth": truth.flat_logpdf, "surrogate": own.flat_logpdf[-len(truth.theta) :]},
            maximum=float(truth_scan.bestfit.value[0]),
        ),
        "gelman_rubin": plots.gelman_rubin(gelman_rubin(truth.chains, steps), space, names[:4]),
        "autocorrelation": plots.autocorrelation(steps, running_tau(truth.chains, steps), space, names[:4]),
    }
    if source is not None and source.counting is not None:
        thirds = {"category 1": 30, "category 2": 30, "category 3": 30} if source.name == "toy_lhc" else None
        figures["search"] = plots.search(source, thirds)
    return [path for name, figure in figures.items() for path in plots.save(figure, folder, name)]


def _shown(likelihood: Likelihood) -> list[str]:
    """The POI and up to five nuisances: those with kinks first, which are the ones shared by all bins."""
    space = likelihood.parameters
    ordered = [*space.pois, *(p.name for p in space if p.kinks), *(p.name for p in space if not p.kinks)]
    return list(dict.fromkeys(ordered))[:6]


def _clip(likelihood: Likelihood, name: str, span: tuple[float, float]) -> tuple[float, float]:
    i = likelihood.parameters.index(name)
    prior = likelihood.prior.columns(likelihood.parameters)
    low = max(span[0], likelihood.parameters.lower[i], prior.low[i])
    return low, min(span[1], likelihood.parameters.upper[i], prior.high[i])


def _last(samples: Samples) -> np.ndarray:
    return samples.theta[-SHOWN:]
