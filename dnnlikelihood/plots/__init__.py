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
`delta_nll_distributions` where rows lie in delta NLL
`delta_nll_residuals`    surrogate minus truth against delta NLL, with what is not accurate
`agreement_along`        truth and surrogate along parameters, through a point
`scan_lines`             scans of one parameter each, truth and surrogates, frozen or profiled
`scan_contours`          regions of two parameters
`residuals`              surrogate minus truth against log-density, with calibrated error
`gelman_rubin`           R_c, sqrt V and sqrt W while a chain grows
`autocorrelation`        autocorrelation time while a chain grows
`chains`                 traces
`along_signals`          Delta NLL along signals, truth and surrogate
`limits_of_signals`      upper limits beside those of the truth
`exclusion`              which signals of a grid are excluded
`speed`                  what one answer costs, here and elsewhere
`strength_scans`         2 Delta NLL of a signal strength for several discriminants, with and without nuisances
`strength_impacts`       nuisances ranked by what they do to a signal strength
`shifted_templates`      bins of a discriminant and the largest shifts
`training_evolution`     Delta r and bins filled while discriminants train
`repeated_trainings`     Delta r of repetitions: median and interval
`shares_of_classes`      which class the events of every process end up in
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accuracy import agreement_along, residuals
    from .binned import search
    from .costs import speed
    from .discriminants import (
        repeated_trainings,
        shares_of_classes,
        shifted_templates,
        strength_impacts,
        strength_scans,
        training_evolution,
    )
    from .intervals import hpdi_summary
    from .marginals import corner
    from .profiled import delta_nll_distributions, delta_nll_residuals
    from .sampled import autocorrelation, chains, gelman_rubin, logpdf_distributions
    from .scanned import scan_contours, scan_lines
    from .signals import along_signals, exclusion, limits_of_signals
    from .style import save
    from .teststatistic import tmu, tmu_distribution
    from .training import loss_curves

# No module bears the name of a function: importing it would put the module in the function's place.
_HOME = {
    "agreement_along": "accuracy",
    "along_signals": "signals",
    "autocorrelation": "sampled",
    "chains": "sampled",
    "corner": "marginals",
    "delta_nll_distributions": "profiled",
    "delta_nll_residuals": "profiled",
    "exclusion": "signals",
    "gelman_rubin": "sampled",
    "hpdi_summary": "intervals",
    "limits_of_signals": "signals",
    "logpdf_distributions": "sampled",
    "loss_curves": "training",
    "repeated_trainings": "discriminants",
    "residuals": "accuracy",
    "save": "style",
    "scan_contours": "scanned",
    "scan_lines": "scanned",
    "search": "binned",
    "shares_of_classes": "discriminants",
    "shifted_templates": "discriminants",
    "speed": "costs",
    "strength_impacts": "discriminants",
    "strength_scans": "discriminants",
    "tmu": "teststatistic",
    "tmu_distribution": "teststatistic",
    "training_evolution": "discriminants",
}

__all__ = [
    "agreement_along",
    "along_signals",
    "autocorrelation",
    "chains",
    "corner",
    "delta_nll_distributions",
    "delta_nll_residuals",
    "exclusion",
    "gelman_rubin",
    "hpdi_summary",
    "limits_of_signals",
    "logpdf_distributions",
    "loss_curves",
    "repeated_trainings",
    "residuals",
    "save",
    "scan_contours",
    "scan_lines",
    "search",
    "shares_of_classes",
    "shifted_templates",
    "speed",
    "strength_impacts",
    "strength_scans",
    "tmu",
    "tmu_distribution",
    "training_evolution",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dnnlikelihood.plots' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
