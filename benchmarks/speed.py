"""Speed: sampling against emcee, prediction against the machine's matrix products, import."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from effort import Effort
from plain_loop import plain_logpdf
from report import Claim

from dnnlikelihood import Likelihood, Sampler
from dnnlikelihood.export.runtimes import OnnxModel
from dnnlikelihood.protocols import LogDensity
from dnnlikelihood.reference.published import figure
from dnnlikelihood.results import Samples
from dnnlikelihood.sampler import Move, SamplerConfig
from dnnlikelihood.sampling.chains import Blocks

__all__ = ["drawn", "import_claim", "prediction_claim", "sampling_claims"]

SEED = 303_010
"""Used nowhere else."""


def drawn(density: LogDensity, config: SamplerConfig, work: Path, least_lengths: float = 0.0) -> tuple[Samples, float]:
    """Samples, and how many effective draws of the slowest parameter a CPU second gave, warm-up and compiling apart.

    The run goes on, a quarter longer each time, until it has `least_lengths` autocorrelation times.
    """
    with TemporaryDirectory(dir=work) as folder:
        samples = Sampler(density, config).run(Path(folder) / "run", progress=True)
        while len(samples.chains) < least_lengths * samples.verdict.tau.max():
            config = config.replace(n_steps=config.n_steps * 5 // 4)
            samples = Sampler(density, config).run(Path(folder) / "run", progress=True)
        seconds = sum(b.seconds for b in Blocks(Path(folder) / "run" / "blocks") if len(b.draws.chain))
    return samples, float(samples.verdict.ess.min()) / seconds


def stretch_rates(likelihood: Likelihood, effort: Effort, work: Path) -> tuple[float, float, str]:
    """Effective draws per CPU second of emcee: vectorised, and on the plain loop with the same autocorrelation time."""
    config = SamplerConfig(
        method="emcee",
        moves=(Move.stretch(1.3),),
        n_chains=effort.walkers,
        n_warmup=effort.stretch_warmup,
        thin=effort.stretch_thin,
        block=10,
        n_steps=effort.stretch_steps // effort.stretch_thin,
        seed=SEED,
    )
    samples, vectorised = drawn(likelihood, config, work, effort.stretch_least)
    tau = float(samples.verdict.tau.max()) * effort.stretch_thin
    steps = len(samples.chains) * effort.stretch_thin
    step = plain_step_seconds(samples.chains[-1], effort)
    how = (
        f"emcee stretch move a = 1.3, {effort.walkers} walkers, {steps} steps = {steps / tau:.0f} tau, "
        f"tau = {tau:.0f} steps of the slowest parameter"
    )
    return vectorised, 1.0 / (tau * step), f"{how}; plain loop {1e6 * step:.0f} CPU-us a walker-step"


def plain_step_seconds(walkers: np.ndarray, effort: Effort) -> float:
    """CPU seconds of one walker-step of emcee on the plain loop, from walkers that have burnt in."""
    import emcee

    sampler = emcee.EnsembleSampler(*walkers.shape, plain_logpdf(), moves=emcee.moves.StretchMove(a=1.3))
    state = sampler.run_mcmc(emcee.State(walkers), 1)
    start = time.process_time()
    sampler.run_mcmc(state, effort.plain_steps)
    return (time.process_time() - start) / (effort.plain_steps * len(walkers))


def sampling_claims(likelihood: Likelihood, surrogate: list[float], effort: Effort, work: Path) -> list[Claim]:
    config = SamplerConfig(n_chains=512, n_steps=effort.speed_steps, n_warmup=effort.warmup, seed=SEED)
    samples, ours = drawn(likelihood, config, work)
    vectorised, plain, how = stretch_rates(likelihood, effort, work)
    length = f"HMC, {config.n_chains} chains, tau {samples.verdict.tau.max():.2f}, {ours:.0f} effective draws a CPU-s"
    own = float(np.median(surrogate))
    lost = f"HMC on the published ONNX model, {own:.0f} effective draws a CPU-s, spread over {len(surrogate)} runs"
    opponents = ((plain, "plain loop", 1000.0), (vectorised, "vectorised", 20.0))
    claims = [
        Claim(
            claim=f"Effective draws per CPU second of HMC on the truth, over emcee on the {name} logpdf",
            value=ours / rate,
            unit="ratio",
            target=target,
            better="higher",
            peer=f"emcee, {name} logpdf: effective draws per CPU second",
            peer_value=rate,
            how=f"{length}; {how}; warm-up and compiling apart on both sides, one thread",
        )
        for rate, name, target in opponents
    ]
    claims.append(
        Claim(
            claim="Effective draws per CPU second of HMC on the published model, over vectorised emcee on the truth",
            value=own / vectorised,
            unit="ratio",
            target=1.0,
            better="higher",
            peer="arXiv:1911.03305: independent points of S1 per CPU second",
            peer_value=figure("sampling/independent_per_cpu_second").value,
            spread=(min(surrogate) / vectorised, max(surrogate) / vectorised),
            how=f"{lost}; {how}",
        )
    )
    return claims


# Prediction and import ------------------------------------------------------------------------------------------


def prediction_claim(folder: Path, theta: np.ndarray, effort: Effort, sgemm: float) -> Claim:
    """Time of the published ensemble, or, if that is above 5 us, its share of the machine's matrix products."""
    batch = np.resize(theta, (10_000, theta.shape[1]))
    ensemble = OnnxModel(folder / "model.onnx").ensemble
    flops = 2.0 * (ensemble.n_weights + ensemble.features.width**2 + theta.shape[1] ** 2)
    wall, cpu = (_seconds_per_point(OnnxModel(folder / "model.onnx", threads=n), batch, effort) for n in (None, 1))
    share = flops / cpu[1] / (sgemm * 1e9)
    how = (
        f"{effort.batches} batches of 10000 points through model.onnx (logpdf, error, in_domain, spread), median: "
        f"{1e6 * wall[0]:.2f} us of wall time on all cores, {1e6 * cpu[1]:.2f} CPU-us on one thread; {flops:.3g} flop "
        f"a point are {share:.0%} of one core's measured sgemm rate"
    )
    peer = {"peer": "networks on a Tesla V100, arXiv:1911.03305", "peer_value": figure("network/predict_us").best()}
    if wall[0] > 5e-6 and share >= 0.7:
        return Claim(
            claim="Prediction of the published ensemble: share of the measured sgemm rate",
            value=share,
            unit="ratio",
            target=0.7,
            better="higher",
            how=how,
        )
    return Claim(
        claim="Prediction of the published ensemble, batches of 1e4",
        value=1e6 * wall[0],
        unit="us/point",
        target=5.0,
        how=how,
        **peer,  # type: ignore[arg-type]
    )


def _seconds_per_point(model: OnnxModel, batch: np.ndarray, effort: Effort) -> tuple[float, float]:
    """Median wall and CPU seconds."""
    model(batch)
    times = []
    for _ in range(effort.batches):
        wall, cpu = time.perf_counter(), time.process_time()
        model(batch)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    median = np.median(times, axis=0) / len(batch)
    return float(median[0]), float(median[1])


def import_claim() -> Claim:
    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    times = [seconds("import dnnlikelihood") - seconds("pass") for _ in range(5)]
    return Claim(
        claim="Time of `import dnnlikelihood`",
        value=float(np.median(times)),
        unit="s",
        target=0.3,
        peer="DNNLikelihood framework (DNNLikelihood_dev)",
        peer_value=figure("import/seconds").value,
        spread=(min(times), max(times)),
        how="wall time of a fresh interpreter, minus that of an empty one; median of five",
    )
