"""Samples as questions need them: drawn with sensible starts, accepted from elsewhere, written and read."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ConfigError, DomainError, ParameterError, ShapeError
from .jsonfiles import fingerprint, pretty, read_json
from .npzfiles import read_npz
from .protocols import LogDensity
from .results import Convergence, Samples

__all__ = ["as_samples", "column", "describe", "draw", "has_proper_prior", "read_samples", "write_samples"]

ENOUGH = 400, 800, 1600
"""Kept steps of chains after which they may be done, if nobody says how many."""


def has_proper_prior(density: LogDensity) -> bool:
    """Whether priors and bounds alone say where chains may start."""
    from .statistics.profile import limits

    lower, upper = limits(density)
    normal = density.prior.columns(density.parameters).precision > 0
    return bool(np.isfinite(np.where(normal, 0.0, upper - lower)).all())


def draw(
    density: LogDensity,
    method: str,
    folder: str | Path | None,
    *,
    around: np.ndarray | None,
    progress: bool,
    **settings: Any,
) -> Samples:
    """Sample a density.

    Args:
        density: what to sample.
        method: "hmc" or "emcee"; the latter gets the walkers and the warm-up that its ensemble needs at least.
        folder: where the run is kept, or None.
        around: (1, d) maximum around which chains start; None to start from the prior.
        progress: whether a bar is shown.
        **settings: n_chains, n_steps, n_warmup, seed. Without n_steps chains go on while they disagree, see `ENOUGH`.

    Raises:
        ConfigError: a profiled density without a prior.
    """
    if density.kind == "profiled" and not density.prior:
        raise ConfigError("a profiled likelihood is no density over its parameters: give it a prior (with_prior)")
    from .sampler import Sampler, SamplerConfig

    if method == "emcee":
        d = len(density.parameters)
        settings |= {"n_chains": max(settings["n_chains"], 2 * d + 2), "n_warmup": max(settings["n_warmup"], 20 * d)}
        settings.setdefault("thin", 10)
    start = None if around is None else _spread(density, around, settings["n_chains"], settings["seed"])
    settings |= {} if start is None else {"start": "given"}
    given = settings.pop("n_steps", None)
    in_memory = folder is None and given is None
    with tempfile.TemporaryDirectory() if in_memory else nullcontext(folder) as kept:
        for steps in ENOUGH if given is None else (given,):
            sampler = Sampler(density, SamplerConfig(method=method, n_steps=steps, **settings))
            last = steps in (given, ENOUGH[-1])
            samples = sampler.run(kept, start=start, must_converge=last, progress=progress)
            if samples.verdict.converged:
                break
    return samples


def _spread(density: LogDensity, centre: np.ndarray, n: int, seed: int) -> np.ndarray:
    """(n, d) points around the maximum, twice as wide as its curvature says."""
    _, _, hess = density.logpdf_grad_hess(centre)
    eigenvalues, vectors = np.linalg.eigh(-hess[0])
    scale = 2.0 / np.sqrt(np.maximum(eigenvalues, 1e-6 * max(eigenvalues.max(), 1e-12)))
    drawn = np.random.default_rng(seed).standard_normal((20 * n, centre.shape[1]))
    points = centre + (drawn * scale) @ vectors.T
    inside = points[density.support(points)][:n]
    if len(inside) < n:
        raise DomainError(f"only {len(inside)} of {n} chains found a start near the maximum; give bounds or priors")
    return inside


def describe(density: LogDensity) -> dict[str, Any]:
    """Parameters, hard ends and fingerprint of a density."""
    parameters = density.parameters.to_json()
    known = getattr(density, "fingerprint", None)
    from .statistics.profile import limits

    lower, upper = limits(density)
    return {
        "density": known or fingerprint([type(density).__name__, parameters, density.prior.to_json(), density.kind]),
        "parameters": parameters,
        "ends": {n: (float(a), float(b)) for n, a, b in zip(density.parameters.names, lower, upper, strict=True)},
    }


def as_samples(density: LogDensity, samples: Any) -> Samples | None:
    """Samples as they are, or an array of independent points dressed as samples."""
    if samples is None:
        return None
    if isinstance(samples, Samples):
        if samples.names != density.parameters.names:
            raise ShapeError(f"samples of {samples.names[:5]}... for a density of {density.parameters.names[:5]}...")
        return samples
    theta = density.points(samples)
    n, d = theta.shape
    verdict = Convergence(np.ones(d), np.ones(d), np.full(d, float(n)), 1.0, converged=True, reasons=())
    return Samples(density.parameters.names, theta[:, None, :], density.logpdf(theta)[:, None], verdict)


def write_samples(folder: Path, samples: Samples, weights: np.ndarray | None) -> None:
    """Samples, verdict and weights as `samples.npz` and `samples.json`."""
    v = samples.verdict
    arrays: dict[str, Any] = {"chains": samples.chains, "logpdf": samples.logpdf}
    arrays |= {"rhat": v.rhat, "tau": v.tau, "ess": v.ess} | ({} if weights is None else {"weights": weights})
    np.savez(folder / "samples.npz", **arrays)
    about = {"names": list(samples.names), "seconds": samples.seconds, "verdict": v.to_json()}
    (folder / "samples.json").write_text(pretty(about), "utf-8")


def read_samples(folder: Path) -> tuple[Samples, np.ndarray | None]:
    """Inverse of `write_samples`."""
    about = read_json(folder / "samples.json")
    arrays = read_npz(folder / "samples.npz")
    v = about["verdict"]
    verdict = Convergence(
        arrays["rhat"], arrays["tau"], arrays["ess"], v["acceptance"], v["converged"], tuple(v["reasons"])
    )
    samples = Samples(tuple(about["names"]), arrays["chains"], arrays["logpdf"], verdict, about["seconds"])
    return samples, arrays.get("weights")


def column(samples: Samples, weights: np.ndarray | None, name: str) -> tuple[np.ndarray, float]:
    """Values (n,) of one parameter, and how many independent ones they are worth.

    Raises:
        ParameterError: there are no samples of it.
    """
    from .statistics.weighted import effective_size

    if name not in samples.names:
        raise ParameterError(f"no samples of {name!r}; there are {list(samples.names[:8])}")
    x = samples.column(name)
    ess = float(samples.verdict.ess[samples.names.index(name)])
    size = float(np.clip(ess if np.isfinite(ess) else 2.0, 2.0, len(x)))
    return x, size if weights is None else size * effective_size(weights) / len(x)
