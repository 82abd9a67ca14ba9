"""Results in, figures out; the only importer of matplotlib.

Every function takes results or plain arrays and returns a `matplotlib.figure.Figure` without touching pyplot or the
global style; `save(figure, folder, name)` writes it. Names are resolved on first use.

`search`                 a binned search: counts, background with its uncertainties, signal
`loss_curves`            what every member's training did
`logpdf_distributions`   where samplings lie in log-density
`tmu`                    t_mu of a truth, of its surrogates, and their errors
`tmu_distribution`       t_mu of pseudo-experiments beside chi^2 with one degree of freedom
`corner`                 marginals of one or more samples with their HPD regions
`hpdi_summary`           HPD intervals of several origins, and how far their edges are apart
`agreement_along`        truth and surrogate along parameters, through a point
`residuals`              surrogate minus truth against log-density, with calibrated error
`gelman_rubin`           R_c, sqrt V and sqrt W while a chain grows
`autocorrelation`        autocorrelation time while a chain grows
`chains`                 traces
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accuracy import agreement_along, residuals
    from .binned import search
    from .intervals import hpdi_summary
    from .marginals import corner
    from .sampled import autocorrelation, chains, gelman_rubin, logpdf_distributions
    from .style import save
    from .teststatistic import tmu, tmu_distribution
    from .training import loss_curves

# No module bears the name of a function: importing it would put the module in the function's place.
_HOME = {
    "agreement_along": "accuracy",
    "autocorrelation": "sampled",
    "chains": "sampled",
    "corner": "marginals",
    "gelman_rubin": "sampled",
    "hpdi_summary": "intervals",
    "logpdf_distributions": "sampled",
    "loss_curves": "training",
    "residuals": "accuracy",
    "save": "style",
    "search": "binned",
    "tmu": "teststatistic",
    "tmu_distribution": "teststatistic",
}

__all__ = [
    "agreement_along",
    "autocorrelation",
    "chains",
    "corner",
    "gelman_rubin",
    "hpdi_summary",
    "logpdf_distributions",
    "loss_curves",
    "residuals",
    "save",
    "search",
    "tmu",
    "tmu_distribution",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dnnlikelihood.plots' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
