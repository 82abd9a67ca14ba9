r"""How far a surrogate is from its truth, and whether that is near enough: arrays in, a verdict out.

    errors    surrogate - truth in nats, by region of parameter space
    skill     1 - rmse / rmse of the Gaussian baseline N(mean, covariance) of the truth's samples
    KS        two-sample tests of all one-dimensional marginals, with effective sample sizes
    HPDI      largest difference of an edge;  t_mu: differences of curves, each measured from its own maximum

A limit on something that fluctuates leaves room for the fluctuation: what fails is a difference, not a small sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Config, require
from ..errors import ShapeError
from ..results import Agreement, Hpdi, ProfileScan, Samples
from .hpdi import hpdi
from .weighted import ks_two_sample

__all__ = ["Limits", "Region", "agreement", "gaussian_baseline"]

LEVELS = (0.6827, 0.9545, 0.9973)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Config):
    """What counts as agreement.

    Attributes:
        rmse: nats, in the region "bulk".
        rmse_elsewhere: nats, in every other region.
        refused: share of the bulk's points outside the surrogate's domain.
        refused_elsewhere: the same in every other region.
        skill: least skill over the Gaussian baseline in the bulk.
        maximum: nats by which the maximal values differ.
        tmu_mean: mean |t_mu error|.
        tmu_max: largest |t_mu error|.
        hpdi: difference of an edge in standard deviations, beyond three standard errors.
        ks: smallest p-value of a marginal times the number of marginals.
        correlation: root mean square difference of correlations, beyond three times their noise.
    """

    rmse: float = 0.1
    rmse_elsewhere: float = 0.3
    refused: float = 0.01
    refused_elsewhere: float = 0.25
    skill: float = 0.0
    maximum: float = 0.05
    tmu_mean: float = 0.02
    tmu_max: float = 0.06
    hpdi: float = 0.03
    ks: float = 1e-3
    correlation: float = 0.02

    def validate(self) -> None:
        """All but `skill` are positive."""
        for name in self.__slots__:
            value = getattr(self, name)
            require(name == "skill" or value > 0, f"limit {name} must be positive, got {value}")


@dataclass(frozen=True, slots=True)
class Region:
    """Points at which both were evaluated."""

    theta: np.ndarray
    """(n, d)."""
    truth: np.ndarray
    """(n,) logpdf."""
    surrogate: np.ndarray
    """(n,) logpdf."""


def gaussian_baseline(theta: np.ndarray, logpdf: np.ndarray) -> Any:
    """The best that a Gaussian does: sample mean and covariance, and the offset that fits `logpdf` on average."""
    mean, covariance = theta.mean(axis=0), np.atleast_2d(np.cov(theta.T))
    precision = np.linalg.pinv(covariance)

    def shape(x: np.ndarray) -> np.ndarray:
        return -0.5 * (((x - mean) @ precision) * (x - mean)).sum(axis=1)

    offset = float(np.mean(logpdf - shape(theta)))
    return lambda x: offset + shape(x)


def agreement(
    regions: Mapping[str, Region],
    truth: Samples,
    surrogate: Samples,
    scans: Mapping[str, tuple[ProfileScan, ProfileScan]],
    *,
    levels: Sequence[float] = LEVELS,
    support: Mapping[str, tuple[float, float]] | None = None,
    limits: Limits | None = None,
) -> Agreement:
    """Compare a surrogate with its truth.

    Args:
        regions: points by region; "bulk", drawn from the truth, must be among them.
        truth: samples of the truth.
        surrogate: samples of the surrogate, of the same parameters.
        scans: profiles of truth and surrogate at the same points, by parameter of interest.
        levels: of the HPDIs.
        support: hard ends by parameter of interest.
        limits: what counts as agreement.

    Raises:
        ShapeError: no region "bulk", regions whose arrays do not fit or are not finite in the truth, or samples of
            other parameters.
    """
    limit = limits or Limits()
    if "bulk" not in regions:
        raise ShapeError(f"regions {sorted(regions)} lack 'bulk': points drawn from the truth")
    if truth.names != surrogate.names:
        raise ShapeError(f"samples of {truth.names[:5]}... and of {surrogate.names[:5]}... cannot be compared")
    failures = [
        f"the samples of the {who} did not converge: {reason}"
        for who, s in (("truth", truth), ("surrogate", surrogate))
        for reason in s.verdict.reasons
    ]
    baseline = gaussian_baseline(regions["bulk"].theta, regions["bulk"].truth)
    errors = {name: _errors(name, region, baseline) for name, region in regions.items()}
    failures += _judge_regions(errors, limit)
    edges = {name: _edges(truth, surrogate, name, levels, (support or {}).get(name)) for name in scans}
    failures += _judge_edges(edges, truth, limit)
    curves = {name: _curves(*pair) for name, pair in scans.items()}
    failures += _judge_curves(curves, limit)
    ks = _marginals(truth, surrogate)
    d = len(truth.names)
    if ks["min_p"] * d < limit.ks:
        failures.append(f"KS: smallest p-value {ks['min_p']:.2g} of {d} marginals, at {ks['worst']}")
    difference, noise = _correlations(truth, surrogate)
    if difference / d > limit.correlation + 3 * noise:
        failures.append(f"correlations differ by {difference / d:.3f} (rms), limit {limit.correlation:.3g}")
    return Agreement(errors, edges, curves, ks, difference, not failures, tuple(failures))


def _errors(name: str, region: Region, baseline: Any) -> dict[str, float]:
    a, b = np.asarray(region.truth, float), np.asarray(region.surrogate, float)
    if a.shape != b.shape or a.shape != (len(region.theta),) or not len(a) or not np.isfinite(a).all():
        raise ShapeError(f"region {name!r}: theta {region.theta.shape}, truth {a.shape}, surrogate {b.shape}; finite?")
    answered = np.isfinite(b)
    # Where the surrogate refuses it makes no error; how often it refuses is judged apart.
    error = (b - a)[answered] if answered.any() else np.full(1, np.inf)
    off = (baseline(region.theta) - a)[answered]
    rmse, reference = float(np.sqrt(np.mean(error**2))), float(np.sqrt(np.mean(off**2))) if len(off) else 0.0
    return {
        "n": len(a),
        "refused": float(1 - answered.mean()),
        "rmse": rmse,
        "bias": float(error.mean()),
        "q99": float(np.quantile(np.abs(error), 0.99)),
        "max": float(np.abs(error).max()),
        "baseline_rmse": reference,
        # A truth that is Gaussian leaves nothing to gain.
        "skill": 1.0 - rmse / reference if reference > 1e-9 else float(rmse < 1e-6),
    }


def _judge_regions(errors: Mapping[str, Mapping[str, float]], limit: Limits) -> list[str]:
    out = []
    for name, e in errors.items():
        allowed = limit.rmse if name == "bulk" else limit.rmse_elsewhere
        if e["rmse"] > allowed:
            out.append(f"{name}: rmse {e['rmse']:.3g} nats, limit {allowed:.3g}")
        refused = limit.refused if name == "bulk" else limit.refused_elsewhere
        if e["refused"] > refused:
            out.append(f"{name}: the surrogate refuses {e['refused']:.2%} of the points, limit {refused:.2%}")
    bulk = errors["bulk"]
    if bulk["skill"] < limit.skill and bulk["rmse"] > 0.01:
        out.append(f"bulk: skill {bulk['skill']:.2f} over the Gaussian baseline, limit {limit.skill:.2f}")
    return out


def _ess(samples: Samples, name: str) -> float:
    """Effective sample size of one parameter, at least 2 and at most the number of samples."""
    found = float(samples.verdict.ess[samples.names.index(name)])
    return float(np.clip(found if np.isfinite(found) else 2.0, 2.0, len(samples.theta)))


def _edges(
    truth: Samples, surrogate: Samples, name: str, levels: Sequence[float], support: tuple[float, float] | None
) -> dict[str, Any]:
    out = {}
    for level in levels:
        found = [
            hpdi(s.column(name), level, support=support or (-np.inf, np.inf), n_eff=_ess(s, name))
            for s in (truth, surrogate)
        ]
        flat = [np.array([[i.low, i.high] for i in h.intervals]).ravel() for h in found]
        same = len(flat[0]) == len(flat[1])
        out[f"{level:g}"] = {
            "truth": flat[0].tolist(),
            "surrogate": flat[1].tolist(),
            "difference": float(np.abs(flat[0] - flat[1]).max()) if same else None,
            "standard_error": _standard_error(found) if same else None,
        }
    return out


def _standard_error(found: Sequence[Hpdi]) -> float:
    """Of the difference of two sets of edges: the largest."""
    squares = sum(np.square(np.array(h.uncertainty)) for h in found)
    return float(np.sqrt(np.nan_to_num(squares, nan=0.0).max()))


def _judge_edges(edges: Mapping[str, Mapping[str, Any]], truth: Samples, limit: Limits) -> list[str]:
    out = []
    for name, by_level in edges.items():
        sigma = float(truth.column(name).std())
        for level, e in by_level.items():
            if e["difference"] is None:
                out.append(
                    f"HPDI of {name} at {level}: {len(e['truth']) // 2} and {len(e['surrogate']) // 2} intervals"
                )
            elif e["difference"] > limit.hpdi * sigma + 3 * e["standard_error"]:
                out.append(
                    f"HPDI of {name} at {level}: an edge is off by {e['difference']:.3g} ({sigma:.3g} is 1 sigma)"
                )
    return out


def _curves(truth: ProfileScan, surrogate: ProfileScan) -> dict[str, Any]:
    if truth.points.shape != surrogate.points.shape or not np.allclose(truth.points, surrogate.points):
        raise ShapeError("the two scans of t_mu must be at the same points")
    good = (truth.status == "converged") & np.isin(surrogate.status, ("converged", "stalled"))
    error = np.abs(surrogate.tmu - truth.tmu)[good]
    return {
        "mu": truth.points[:, 0].tolist(),
        "truth": truth.tmu.tolist(),
        "surrogate": surrogate.tmu.tolist(),
        "mean_error": float(error.mean()) if len(error) else None,
        "max_error": float(error.max()) if len(error) else None,
        "maximum_error": float(surrogate.bestfit.value[0] - truth.bestfit.value[0]),
        "failed_fits": int((~good).sum()),
    }


def _judge_curves(curves: Mapping[str, Mapping[str, Any]], limit: Limits) -> list[str]:
    out = []
    for name, c in curves.items():
        if c["failed_fits"]:
            out.append(f"t_mu of {name}: {c['failed_fits']} of {len(c['mu'])} points have a fit that failed")
        for key, allowed in (("mean_error", limit.tmu_mean), ("max_error", limit.tmu_max)):
            if c[key] is not None and c[key] > allowed:
                out.append(f"t_mu of {name}: {key.replace('_', ' ')} {c[key]:.3g}, limit {allowed:.3g}")
        if abs(c["maximum_error"]) > limit.maximum:
            out.append(f"maximum is off by {c['maximum_error']:+.3g} nats, limit {limit.maximum:.3g}")
    return list(dict.fromkeys(out))


def _marginals(truth: Samples, surrogate: Samples) -> dict[str, Any]:
    p, sizes = [], []
    for name in truth.names:
        size = (_ess(truth, name), _ess(surrogate, name))
        p.append(ks_two_sample(truth.column(name), surrogate.column(name), sizes=size)[1])
        sizes.append(min(size))
    return {
        "median_p": float(np.median(p)),
        "min_p": float(np.min(p)),
        "worst": truth.names[int(np.argmin(p))],
        "ess": float(np.min(sizes)),
    }


def _correlations(truth: Samples, surrogate: Samples) -> tuple[float, float]:
    """Frobenius norm of the difference of the correlation matrices, and the noise of one entry."""
    if len(truth.names) < 2:
        return 0.0, 0.0
    difference = np.corrcoef(truth.theta.T) - np.corrcoef(surrogate.theta.T)
    sizes = [min(_ess(s, n) for n in s.names) for s in (truth, surrogate)]
    return float(np.linalg.norm(difference)), float(np.sqrt(1 / sizes[0] + 1 / sizes[1]))
