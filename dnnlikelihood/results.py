"""Results: one frozen class each, plain arrays inside, no behaviour beyond reading them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "Agreement",
    "Contours",
    "Convergence",
    "Fit",
    "Hpdi",
    "Interval",
    "Marginal",
    "ProfileScan",
    "Samples",
    "Valleys",
]


@dataclass(frozen=True, slots=True)
class Convergence:
    """The verdict on a set of chains, parameter by parameter.

    `reasons` is empty exactly when `converged` is True.
    """

    rhat: np.ndarray
    """(d,) split R-hat; 1 is perfect."""
    tau: np.ndarray
    """(d,) integrated autocorrelation time, in stored steps."""
    ess: np.ndarray
    """(d,) effective sample size, all chains together."""
    acceptance: float
    """Mean acceptance fraction."""
    converged: bool
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Worst values and the verdict: what a log keeps."""
        return {
            "rhat_max": float(np.max(self.rhat)),
            "tau_max": float(np.max(self.tau)),
            "ess_min": float(np.min(self.ess)),
            "acceptance": self.acceptance,
            "converged": self.converged,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class Samples:
    """Chains drawn from a log-density, with their verdict."""

    names: tuple[str, ...]
    chains: np.ndarray
    """(n_steps, n_chains, d)."""
    logpdf: np.ndarray
    """(n_steps, n_chains)."""
    verdict: Convergence
    seconds: float = 0.0
    """CPU seconds spent on drawing, warm-up included."""

    @property
    def theta(self) -> np.ndarray:
        """(n, d): all chains after one another in time order."""
        return self.chains.reshape(-1, self.chains.shape[-1])

    @property
    def flat_logpdf(self) -> np.ndarray:
        """(n,)."""
        return self.logpdf.reshape(-1)

    def column(self, name: str) -> np.ndarray:
        """(n,) values of one parameter."""
        return self.theta[:, self.names.index(name)]


@dataclass(frozen=True, slots=True)
class Fit:
    """Maxima of a batch of objectives."""

    theta: np.ndarray
    """(n, d) maximisers."""
    value: np.ndarray
    """(n,) maximal log-density."""
    status: np.ndarray
    """(n,) of str: "converged", "stalled" (no step improves, gradient not yet zero), "iterations", "outside"; of
    scans and valleys also "edge" (the density ends where it still rises)."""
    gradient_norm: np.ndarray
    """(n,) Newton decrement sqrt(g^T H^-1 g) of the free coordinates: distance to the maximum in sigma."""
    iterations: np.ndarray
    """(n,) Newton steps taken."""

    @property
    def converged(self) -> np.ndarray:
        """(n,) bool."""
        return self.status == "converged"

    def take(self, rows: np.ndarray) -> Fit:
        """Some of the batch."""
        return Fit(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Valleys:
    """The distinct local maxima of a density, highest first."""

    theta: np.ndarray
    """(m, d)."""
    logpdf: np.ndarray
    """(m,)."""
    on_edge: np.ndarray
    """(m,) bool: on a bound of a parameter or at the end of the domain; the true maximum may lie beyond."""
    n_climbs: np.ndarray
    """(m,) how many climbs ended there: few say that there may be others nobody found."""

    @property
    def delta_nll(self) -> np.ndarray:
        """(m,) how far each lies above the deepest."""
        return self.logpdf[0] - self.logpdf


@dataclass(frozen=True, slots=True)
class ProfileScan:
    """A log-density maximised over everything but the scanned parameters."""

    names: tuple[str, ...]
    """The scanned parameters."""
    points: np.ndarray
    """(n, k) their values."""
    profiled_logpdf: np.ndarray
    """(n,)."""
    theta: np.ndarray
    """(n, d) the maximisers."""
    status: np.ndarray
    """(n,) of str, as in Fit."""
    bestfit: Fit
    """The unconditional maximum (one row)."""

    @property
    def tmu(self) -> np.ndarray:
        """(n,) t = 2 (max logpdf - profiled logpdf), not clipped: a negative value says that a fit went wrong."""
        return 2 * (float(self.bestfit.value[0]) - self.profiled_logpdf)

    @property
    def columns(self) -> list[int]:
        """The k columns of theta that were scanned; points without an answer have no theta."""
        known = np.isfinite(self.theta).all(axis=1)
        same = self.theta[known, :, None] == self.points[known, None, :]
        return np.argmax(same.all(axis=0), axis=0).tolist()

    def to_json(self) -> dict[str, Any]:
        """Points, values and statuses: what a log keeps."""
        return {
            "points": self.points.tolist(),
            "profiled_logpdf": [v if np.isfinite(v) else None for v in self.profiled_logpdf.tolist()],
            "status": self.status.tolist(),
            "max_logpdf": float(self.bestfit.value[0]),
        }


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval [low, high]; `open_low`/`open_high` say that it ends where the scan or the range ended."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    @property
    def width(self) -> float:
        """High - low."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Hpdi:
    """Highest posterior density region of one parameter: possibly several intervals."""

    level: float
    intervals: tuple[Interval, ...]
    uncertainty: tuple[tuple[float, float], ...] = field(default=())
    """Standard errors of the edges (low, high) of each interval, by a jackknife over batches of the sample."""
    warnings: tuple[str, ...] = ()
    """Why not to trust it: a chain that did not converge, say."""

    def to_json(self) -> dict[str, Any]:
        """Level, edges and their uncertainties: what a log keeps."""
        return {
            "level": self.level,
            "intervals": [[i.low, i.high] for i in self.intervals],
            "uncertainty": [[v if np.isfinite(v) else None for v in pair] for pair in self.uncertainty],
        }


@dataclass(frozen=True, slots=True)
class Marginal:
    """The density of one parameter on a grid."""

    name: str
    x: np.ndarray
    """(m,) ascending."""
    density: np.ndarray
    """(m,); its integral is 1."""


@dataclass(frozen=True, slots=True)
class Contours:
    """Regions of highest density of two parameters: where `density` exceeds the threshold of a level."""

    levels: tuple[float, ...]
    thresholds: tuple[float, ...]
    """Density on the contour of each level."""
    x: np.ndarray
    """(m,) grid of the first parameter."""
    y: np.ndarray
    """(m,) grid of the second."""
    density: np.ndarray
    """(m, m), first index x, second y; its integral is 1."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a surrogate is from its truth; every error in nats unless its name says otherwise."""

    regions: dict[str, dict[str, float]]
    """{"bulk" | "tails" | "profile" | ...: {"n", "rmse", "bias", "q99", "max", "baseline_rmse", "skill"}}."""
    hpdi: dict[str, dict[str, Any]]
    """{poi: {level: {"truth": [...], "surrogate": [...], "difference", "standard_error"}}}: of the worst edge."""
    tmu: dict[str, Any]
    """{poi: {"mu", "truth", "surrogate", "mean_error", "max_error", "maximum_error", "failed_fits"}}."""
    ks: dict[str, Any]
    """{"median_p", "min_p", "worst", "ess"} over the one-dimensional marginals, with effective sample sizes."""
    correlation_difference: float
    """Frobenius norm of the difference of the correlation matrices."""
    passed: bool
    failures: tuple[str, ...]
    """What is beyond its limit, in words; empty exactly when passed."""
