r"""Have the chains converged, and what are they worth? NumPy only; chains are (n_steps, n_chains, d).

Split R-hat (Gelman et al., BDA3 11.4), each chain cut in two, W and B within- and between-chain variances, n steps:

    V = (n - 1)/n W + B/n            R = sqrt(V / W)

Integrated autocorrelation time, with rho(t) pooled over the chains about their common mean, and pairs
Gamma_k = rho(2k) + rho(2k + 1), which are positive and falling for a reversible chain (Geyer 1992):

    tau = -1 + 2 sum_k Gamma_k,  up to the first Gamma_k < 0, made monotone          ESS = n_steps n_chains / tau

The pairs let antithetic chains have tau < 1, where Sokal's window, the smallest M >= 5 tau(M), would stop too early.
Brooks and Gelman (1998) correct R for the sampling error of V: R_c = sqrt((f + 3)/(f + 1) V / W), f = 2 V^2 / var(V).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from ..results import Convergence

__all__ = [
    "GelmanRubin",
    "autocorrelation",
    "autocorrelation_time",
    "ess",
    "gelman_rubin",
    "running_tau",
    "split_rhat",
    "verdict",
]

STUCK = 1e9
"""The R-hat of chains that never move: JSON has no infinity."""
POOL = 2**17
"""Draws of one parameter that are enough for tau; chains beyond that, and beyond 64, are left out evenly."""


def split_rhat(chains: np.ndarray) -> np.ndarray:
    """(n_steps, n_chains, d) -> (d,) split R-hat; at least 4 steps."""
    half = _checked(chains).shape[0] // 2
    return np.array([_rhat(chains[-2 * half :, :, i].reshape(2, half, -1)) for i in range(chains.shape[2])])


def _rhat(halves: np.ndarray) -> float:
    """Of one parameter, (2, n, n_chains)."""
    n = halves.shape[1]
    within = halves.var(axis=1, ddof=1).mean()
    total = (n - 1) / n * within + halves.mean(axis=1).var(ddof=1)
    return float(np.sqrt(total / within)) if within > total / STUCK**2 else STUCK


def autocorrelation(values: np.ndarray) -> np.ndarray:
    """(n_steps, n_chains) -> (n_steps,) rho(t) about the common mean, by FFT; 1 everywhere if nothing varies."""
    n = len(values)
    centred = values - values.mean()
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size, axis=0)) ** 2
    covariance = np.fft.irfft(power.mean(axis=1), size)[:n] / np.arange(n, 0, -1)
    return covariance / covariance[0] if covariance[0] > 0 else np.ones(n)


def autocorrelation_time(chains: np.ndarray) -> np.ndarray:
    """(n_steps, n_chains, d) -> (d,) tau, in stored steps, not below 1 / log10(n_steps n_chains)."""
    n, m, d = _checked(chains).shape
    stride = max(1, min(n * m // POOL, m // 64))
    taus = np.array([_tau(autocorrelation(chains[:, ::stride, i])) for i in range(d)])
    return np.maximum(taus, 1.0 / np.log10(max(n * m, 10)))


def _tau(rho: np.ndarray) -> float:
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0)
    positive = pairs[: negative[0]] if len(negative) else pairs
    return float(-1 + 2 * np.minimum.accumulate(positive).sum()) if len(positive) else 0.0


def ess(chains: np.ndarray) -> np.ndarray:
    """(n_steps, n_chains, d) -> (d,) effective number of independent draws for the mean of each parameter."""
    n, m, _ = chains.shape
    return n * m / autocorrelation_time(chains)


def verdict(
    chains: np.ndarray,
    acceptance: float,
    *,
    names: Sequence[str] | None = None,
    ensemble: bool = False,
    min_ess: float = 400.0,
) -> Convergence:
    """Judge a set of chains.

    tau and ESS are the worse of those of theta and of (theta - mean)^2: antithetic chains know means better than
    independent draws do, but not widths, and intervals need both.

    Args:
        chains: (n_steps, n_chains, d).
        acceptance: mean acceptance fraction.
        names: (d,) of the parameters, for the reasons; their numbers if None.
        ensemble: the chains are walkers of one ensemble. Then 50 tau of steps are asked for, and R-hat may be 1.03:
            at 50 tau it is already sqrt(1 + 2/50) = 1.02 for walkers that mix perfectly.
        min_ess: fewest effective draws of any parameter.
    """
    n, m, d = _checked(chains).shape
    names = names or [f"parameter {i}" for i in range(d)]
    rhat = split_rhat(chains)
    tau = autocorrelation_time(chains)
    squares = np.empty_like(chains[:, :, :1])
    for i in range(d):
        np.square(chains[:, :, i : i + 1] - chains[:, :, i].mean(), out=squares)
        tau[i] = max(tau[i], autocorrelation_time(squares)[0])
    size = n * m / tau
    reasons = []
    limit, low, high = (1.03, 0.05, 0.95) if ensemble else (1.01, 0.4, 1.0)
    worst = int(np.argmax(rhat))
    if rhat[worst] > limit:
        reasons.append(f"R-hat {rhat[worst]:.4g} of {names[worst]} is above {limit}: the chains disagree")
    slow = int(np.argmax(tau))
    if ensemble and n < 50 * tau[slow]:
        reasons.append(f"{n} steps are {n / tau[slow]:.3g} autocorrelation times of {names[slow]}, fewer than 50")
    if size[slow] < min_ess:
        reasons.append(f"{size[slow]:.4g} effective draws of {names[slow]}, fewer than {min_ess:g}")
    if not low <= acceptance <= high:
        reasons.append(f"acceptance {acceptance:.3g} is outside [{low}, {high}]")
    return Convergence(rhat, tau, size, float(acceptance), not reasons, tuple(reasons))


@dataclass(frozen=True, slots=True)
class GelmanRubin:
    """How R_c and its two variances develop; they are converged when R_c is near 1 and V and W are flat and equal."""

    steps: np.ndarray
    """(k,)."""
    r_c: np.ndarray
    """(k, d)."""
    sqrt_v: np.ndarray
    """(k, d) in the units of the parameter."""
    sqrt_w: np.ndarray
    """(k, d)."""


def gelman_rubin(chains: np.ndarray, steps: Sequence[int]) -> GelmanRubin:
    """R_c, sqrt V and sqrt W of the second half of the first s steps, for each s of `steps` (at least 8)."""
    m = _checked(chains).shape[1]
    if m < 3:
        raise ShapeError(f"Gelman and Rubin's R needs at least 3 chains, got {m}")
    out = []
    for s in steps:
        part = chains[s // 2 : s]
        n = len(part)
        mean, variance = part.mean(axis=0), part.var(axis=0, ddof=1)
        w, b_over_n = variance.mean(axis=0), mean.var(axis=0, ddof=1)
        v = (n - 1) / n * w + (1 + 1 / m) * b_over_n
        centred = variance - w
        cross = (centred * (mean**2 - (mean**2).mean(axis=0))).sum(axis=0) / (m - 1)
        cross -= 2 * mean.mean(axis=0) * (centred * (mean - mean.mean(axis=0))).sum(axis=0) / (m - 1)
        var_v = ((n - 1) / n) ** 2 / m * variance.var(axis=0, ddof=1)
        var_v += 2 * ((m + 1) / m * b_over_n) ** 2 / (m - 1)
        var_v += 2 * (m + 1) * (n - 1) / (m**2 * n) * cross
        f = 2 * v**2 / np.maximum(var_v, np.finfo(float).tiny)
        out.append((np.sqrt((f + 3) / (f + 1) * v / w), np.sqrt(v), np.sqrt(w)))
    r_c, sqrt_v, sqrt_w = (np.array(x) for x in zip(*out, strict=True))
    return GelmanRubin(np.asarray(steps), r_c, sqrt_v, sqrt_w)


def running_tau(chains: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """(k, d) autocorrelation time from the first s steps, for each s of `steps`; trust it above s = 50 tau."""
    return np.array([autocorrelation_time(chains[:s]) for s in steps])


def _checked(chains: np.ndarray) -> np.ndarray:
    if chains.ndim != 3 or chains.shape[0] < 4 or chains.shape[2] < 1:
        raise ShapeError(f"chains have shape {chains.shape}, expected (n_steps, n_chains, d) with at least 4 steps")
    return chains
