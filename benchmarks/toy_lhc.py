"""The toy LHC search: every number that the README quotes, measured in one run.

    python benchmarks/toy_lhc.py [--model saved_models/toy_lhc] [--smoke] [--output FOLDER]

Without --model, a model is trained by the recipe of the preset "full", published, and measured as published. All of it
runs on one thread of one core, so that CPU seconds mean the same on both sides of a ratio.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
from effort import FULL, SMOKE, Effort
from report import HERE, Claim, one_thread, sgemm_gflops, table, write
from speed import drawn, import_claim, prediction_claim, sampling_claims

import dnnlikelihood
from dnnlikelihood import DnnLik, Inference, Likelihood, PublishedLikelihood, Sampler, reference
from dnnlikelihood.curriculum import training_data
from dnnlikelihood.ensemble import Ensemble
from dnnlikelihood.errors import NotConverged
from dnnlikelihood.export.runtimes import OnnxModel
from dnnlikelihood.protocols import LogDensity
from dnnlikelihood.reference.published import figure
from dnnlikelihood.results import Hpdi
from dnnlikelihood.runlog import RunLog
from dnnlikelihood.sampler import SamplerConfig
from dnnlikelihood.sources import build
from dnnlikelihood.sources.simplified import simplify
from dnnlikelihood.statistics.agreement import gaussian_baseline
from dnnlikelihood.statistics.hpdi import hpdi

LEVELS = (0.6827, 0.9545, 0.9973)
MU = np.round(np.linspace(0.0, 1.0, 11), 6)
TEST_SEED, HPDI_SEED, SIMPLIFIED_SEED = 191_103_305, 664_000, 180_905_548
"""Used nowhere else."""
logger = logging.getLogger("benchmark")


# The model ------------------------------------------------------------------------------------------


def train(likelihood: Likelihood, effort: Effort, folder: Path) -> Path:
    """Train and publish by the recipe; the published folder."""
    lesson = training_data(likelihood, effort.learn, folder, progress=True)
    model = DnnLik.fit(lesson.data, effort.learn.model, progress=True)
    seen = lesson.data
    return model.export(
        folder / "model",
        name="toy_lhc",
        description="The toy LHC search, learned for its benchmark.",
        definition="log-likelihood of the observed data plus the log-priors, all constants kept",
        command="python benchmarks/toy_lhc.py",
        points=(seen.theta("validation")[:128], seen.logpdf("validation")[:128]),
        likelihood=likelihood,
    )


def training_claims(model: PublishedLikelihood, ensemble: Ensemble) -> list[Claim]:
    trained = next(e for e in RunLog.read(model.folder / "log.jsonl") if e["event"] == "trained")["numbers"]
    size = ensemble.members[0].n_weights
    members = f"{len(ensemble.members)} members of {size} weights"
    return [
        Claim(
            claim="CPU seconds of training the whole ensemble",
            value=trained["cpu_seconds"],
            unit="CPU-s",
            target=300,
            peer="network B1 on a Tesla V100, arXiv:1911.03305",
            peer_value=figure("network/train_seconds").value["B1"],
            how=f"process_time of DnnLik.fit, {members}, without sampling and labelling; from the model's own log",
        ),
        Claim(
            claim="Training points",
            value=trained["n_train"],
            unit="points",
            target=1e5,
            peer="networks B1 and F1, the smallest of arXiv:1911.03305",
            peer_value=figure("network/n_train").best(),
            how="rows of the train split; validation rows choose nothing, they calibrate the error band",
        ),
        Claim(
            claim="Parameters of a network",
            value=size,
            unit="weights",
            target=1e6,
            peer="each network of arXiv:1911.03305",
            peer_value=figure("network/parameters").value,
            how=f"learned weights and biases of one member; {members}",
        ),
    ]


# Accuracy ------------------------------------------------------------------------------------------


def test_points(likelihood: Likelihood, effort: Effort) -> tuple[np.ndarray, np.ndarray]:
    """Distinct points of the posterior in random order; the first n_test are the test set, the rest fit baselines."""
    steps = max(250, -(-8 * effort.n_test // effort.chains))
    config = SamplerConfig(n_chains=effort.chains, n_steps=steps, n_warmup=effort.warmup, seed=TEST_SEED)
    samples = Sampler(likelihood, config).run(progress=True)
    if not samples.verdict.converged:
        raise NotConverged("the test points did not converge", samples.verdict)
    theta = np.random.default_rng(TEST_SEED).permutation(np.unique(samples.theta, axis=0))[: 5 * effort.n_test]
    return theta, likelihood.logpdf(theta)


def rmse_claims(likelihood: Likelihood, model: PublishedLikelihood, ensemble: Ensemble, effort: Effort) -> list[Claim]:
    theta, exact = test_points(likelihood, effort)
    n = effort.n_test
    unseen, truth = theta[:n], exact[:n]
    sha = hashlib.sha256(np.ascontiguousarray(unseen).tobytes()).hexdigest()
    ours = rms(model.guarded("ignore").logpdf(unseen) - truth)
    members = ensemble.members_logpdf(unseen) - truth[:, None]
    single = np.sqrt((members**2).mean(axis=0))
    gaussian = rms(gaussian_baseline(theta[n:], exact[n:])(unseen) - truth)
    quadratic = rms(ensemble.baseline.value(ensemble.features(unseen)) - truth)
    published = float(np.sqrt(figure("network/mse_test_nats").value["B3"]))
    how = (
        f"{n} distinct points of the posterior by HMC, seed {TEST_SEED}, sha256 {sha}; "
        f"{model.in_domain(unseen).mean():.2%} in the domain, all counted; Gaussian baseline {gaussian:.4f}, quadratic "
        f"baseline inside the model {quadratic:.4f} nats; spread: the members alone"
    )
    return [
        Claim(
            claim="Test RMSE of logpdf on unbiased samples",
            value=ours,
            unit="nats",
            target=0.08,
            peer="network B3, arXiv:1911.03305",
            peer_value=published,
            spread=(float(single.min()), float(single.max())),
            seeds=len(single),
            how=how,
        ),
        Claim(
            claim="Test RMSE over that of the Gaussian with the samples' mean and covariance",
            value=ours / gaussian,
            unit="ratio",
            target=0.08 / 0.416,
            peer="network B3, arXiv:1911.03305",
            peer_value=published / gaussian,
            how=f"the Gaussian is fitted to {len(theta) - n} other points of the same sampling; it needs no training",
        ),
    ]


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(error**2)))


def profile_errors(density: LogDensity, points: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """(11,) |t_mu error|, and the maximum of the density; fits begin at the mean of the points, if any are given."""
    scan = Inference(density, points).tmu("mu", MU, progress=True)
    bad = ~np.isin(scan.status, ("converged", "stalled"))
    if bad.any():
        raise NotConverged(f"fits at mu = {MU[bad].tolist()} ended as {sorted(set(scan.status[bad]))}", scan)
    exact = reference.tmu("toy_lhc")
    return np.abs(scan.tmu - [exact[m] for m in MU]), float(scan.bestfit.value[0])


def profile_claims(model: PublishedLikelihood, simple: np.ndarray) -> list[Claim]:
    errors, maximum = profile_errors(model, model.reference()["theta"])
    exact_maximum = reference.maximum("toy_lhc")
    assert exact_maximum is not None
    how = "profile at mu = 0, 0.1 ... 1 by Newton fits in all 16 kink cells, minus its own maximum, against the exact"
    return [
        Claim(
            claim="Mean |t_mu error| at mu = 0, 0.1 ... 1",
            value=float(errors.mean()),
            unit="",
            target=0.01,
            peer="network F3, arXiv:1911.03305",
            peer_value=figure("tmu/mean_error").best(),
            spread=(float(errors.min()), float(errors.max())),
            how=f"{how}; spread: smallest and largest over mu",
        ),
        Claim(
            claim="Largest |t_mu error| at mu = 0, 0.1 ... 1",
            value=float(errors.max()),
            unit="",
            target=0.03,
            how=how,
        ),
        Claim(
            claim="Error of the maximum",
            value=abs(maximum - exact_maximum),
            unit="nats",
            target=0.02,
            peer="network F3, arXiv:1911.03305",
            peer_value=figure("maximum/error").best(),
            how="maximum of the surrogate minus that of the truth, each by its own fit",
        ),
        Claim(
            claim="Mean |t_mu error| over that of the third-moment simplified likelihood",
            value=float(errors.mean() / simple.mean()),
            unit="ratio",
            target=1.0,
            peer="simplified likelihood, arXiv:1809.05548: mean |t_mu error|",
            peer_value=float(simple.mean()),
            how=f"moments from draws of the nuisances; its own largest error is {simple.max():.3f}",
        ),
    ]


# HPDI ------------------------------------------------------------------------------------------


def edge_errors(mu: np.ndarray, ess: float) -> dict[tuple[float | None, float], tuple[float, float, Hpdi]]:
    """By (lower, level): the largest error of an edge, its standard error, and the interval."""
    out = {}
    for lower in (None, 0.0):
        for level in LEVELS:
            found = hpdi(mu, level, lower=lower, support=(-1.0, 5.0), n_eff=ess)
            exact = reference.hpdi("toy_lhc", lower, level)
            assert exact is not None
            ours = (found.intervals[0].low, found.intervals[-1].high)
            sides = (0, 1) if lower is None else (1,)
            standard = (found.uncertainty[0][0], found.uncertainty[-1][1])
            worst = max(sides, key=lambda i: abs(ours[i] - exact[i]))
            out[lower, level] = abs(ours[worst] - exact[worst]), standard[worst], found
    return out


def hpdi_claims(mu: np.ndarray, ess: float, simple: np.ndarray, simple_ess: float) -> list[Claim]:
    ours, theirs = edge_errors(mu, ess), edge_errors(simple, simple_ess)
    networks = figure("hpdi/mu>0/upper/F3").value
    claims = []
    for (lower, level), (error, standard, found) in ours.items():
        condition = "mu > -1" if lower is None else "mu > 0, upper edge"
        exact = reference.hpdi("toy_lhc", lower, level)
        assert exact is not None
        edges = f"[{found.intervals[0].low:.4f}, {found.intervals[-1].high:.4f}]"
        claims.append(
            Claim(
                claim=f"Error of the {level:.2%} HPDI edges of mu, {condition}",
                value=error,
                unit="",
                target=0.01,
                peer=None if lower is None else "network F3, arXiv:1911.03305",
                peer_value=None if lower is None else abs(networks[f"{level:g}"] - exact[1]),
                spread=(max(error - standard, 0.0), error + standard),
                how=f"{edges} against [{exact[0]:.4f}, {exact[1]:.4f}], {ess:.3g} effective HMC draws of the published "
                "model; spread: one standard error of the worse edge, from 20 batches",
            )
        )
    worst, simple_worst = (max(e for e, _, _ in found.values()) for found in (ours, theirs))
    claims.append(
        Claim(
            claim="Worst error of an HPDI edge over that of the third-moment simplified likelihood",
            value=worst / simple_worst,
            unit="ratio",
            target=1.0,
            peer="simplified likelihood, arXiv:1809.05548: worst error of an edge",
            peer_value=simple_worst,
            how=f"all levels, mu > -1 and mu > 0; {simple_ess:.3g} effective draws of the simplified likelihood",
        )
    )
    return claims


def posterior_of(
    density: LogDensity, ess: float, effort: Effort, seed: int, work: Path
) -> tuple[np.ndarray, float, list[float]]:
    """Draws of mu until so many are effective, the number of effective ones, and their rates per CPU second."""
    mu: list[np.ndarray] = []
    total, rates = 0.0, []
    while total < ess and len(mu) < 20:
        config = SamplerConfig(
            n_chains=effort.chains, n_steps=effort.steps, n_warmup=effort.warmup, seed=seed + len(mu)
        )
        samples, rate = drawn(density, config, work)
        if not samples.verdict.converged:
            raise NotConverged(f"HMC did not converge: {samples.verdict.reasons}", samples.verdict)
        mu.append(samples.column("mu"))
        total += float(samples.verdict.ess[0])
        rates.append(rate)
        logger.info("%.3g of %.3g effective draws", total, ess)
    return np.concatenate(mu), total, rates


def run(effort: Effort, model_folder: Path | None, work: Path, sgemm: float) -> list[Claim]:
    """All claims."""
    likelihood = Likelihood.from_source("toy_lhc")
    folder = model_folder or train(likelihood, effort, work)
    model = dnnlikelihood.open(folder, outside="-inf", threads=1)
    ensemble = OnnxModel(folder / "model.onnx").ensemble
    logger.info("accuracy")
    claims = training_claims(model, ensemble) + rmse_claims(likelihood, model, ensemble, effort)
    moments = simplify(build("toy_lhc"), effort.simplified_draws, SIMPLIFIED_SEED).arguments
    simple = Likelihood.from_source("simplified", **moments)
    claims += profile_claims(model, profile_errors(simple)[0])
    logger.info("posterior")
    mu, ess, rates = posterior_of(model, effort.ess, effort, HPDI_SEED, work)
    simple_mu, simple_ess, _ = posterior_of(simple, effort.simplified_ess, effort, SIMPLIFIED_SEED, work)
    claims += hpdi_claims(mu, ess, simple_mu, simple_ess)
    logger.info("speed")
    claims += sampling_claims(likelihood, rates, effort, work)
    claims += [prediction_claim(folder, model.reference()["theta"], effort, sgemm), import_claim()]
    return claims


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small numbers: does it run?")
    parser.add_argument("--model", type=Path, help="a published folder; trained anew if left out")
    parser.add_argument("--output", type=Path, help="folder of toy_lhc.json; results/, or runs/smoke for --smoke")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    started, sgemm = time.perf_counter(), sgemm_gflops()
    with tempfile.TemporaryDirectory() as work:
        claims = run(SMOKE if arguments.smoke else FULL, arguments.model, Path(work), sgemm)
    output = arguments.output or (HERE.parent / "runs" / "smoke" if arguments.smoke else HERE / "results")
    print(write("toy_lhc", claims, started, sgemm, output))
    table(claims)


if __name__ == "__main__":
    main()
