"""Effective-theory fits: what a label costs, whether it is right, and what surrogates learned from labels are worth.

    python benchmarks/eft.py [--smoke] [--labels] [--output FOLDER] [--runs FOLDER]

The generated search always; the 43-bin, 77-nuisance search of eft/top16_semireal.json where DNNLIKELIHOOD_DATA says
where it lies, without which the benchmark fails. One thread everywhere; CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from report import HERE, Claim, one_thread, sgemm_gflops, table, write

if __name__ == "__main__":
    one_thread()

import numpy as np
from eft_learning import FULL, SMOKE, learning_claims, smefit_claims

from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sources.eft_json import read_eft
from dnnlikelihood.statistics.counting import log_likelihood_at

PEER = "SciPy L-BFGS-B on one point at a time, with our yields and exact gradients"
ACCURACY = 1e-5
"""Nats by which our maximum may lie below a peer's, the tolerance to which the spot checks are known."""


def shrunken_box(profiled: ProfiledLikelihood, n: int, seed: int) -> np.ndarray:
    """(n, d) c = s u, u uniform in the box and s in (0, 1): more points where -log L is low."""
    rng = np.random.default_rng(seed)
    space = profiled.parameters
    return rng.uniform(0, 1, (n, 1)) * rng.uniform(space.lower, space.upper, (n, len(space)))


def cost_of_labels(profiled: ProfiledLikelihood, n: int, repeats: int) -> tuple[list[float], np.ndarray, float]:
    """CPU milliseconds a label with gradient, of each repeat; the points and the fraction converged of the last."""
    times, converged = [], 0.0
    c = shrunken_box(profiled, n, 0)
    profiled.fit(c[:64])
    for seed in range(repeats):
        c = shrunken_box(profiled, n, 1000 + seed)
        start = time.process_time()
        fit = profiled.fit(c)
        times.append((time.process_time() - start) / n * 1e3)
        converged = float(fit.converged.mean())
    return times, c, converged


def plain_fits(profiled: ProfiledLikelihood, c: np.ndarray) -> tuple[float, np.ndarray]:
    """The peer: CPU milliseconds a point, and its maxima (n,) relative to the saturated likelihood."""
    from scipy.optimize import minimize

    model = profiled.source.model
    k = len(model.start)

    def cost(nu: np.ndarray, held: np.ndarray) -> tuple[float, np.ndarray]:
        expected, jacobian = model.jacobian(held, nu[None])
        n = model.observation.counts
        value = (expected[0] - n * np.log(expected[0])).sum() + 0.5 * nu @ nu
        return value, (1 - n / expected[0]) @ jacobian[0] + nu

    found, start = [], time.process_time()
    for point in c:
        held = model.hold(point[None])
        found.append(minimize(cost, np.zeros(k), (held,), jac=True, method="L-BFGS-B", options={"ftol": 1e-13}).x)
    seconds = time.process_time() - start
    return seconds / len(c) * 1e3, log_likelihood_at(model, c, np.array(found))


def saturated(profiled: ProfiledLikelihood) -> float:
    """The logpdf of a fit that expects in every bin what was seen, with all nuisances at their centres."""
    c = np.zeros((1, len(profiled.parameters)))
    fit = profiled.fit(c)
    return float(fit.value[0, 0] - log_likelihood_at(profiled.source.model, c, fit.nu[:, 0])[0])


def label_claims(name: str, profiled: ProfiledLikelihood, effort: dict[str, int], target: float) -> list[Claim]:
    """What a label costs and whether its fit is the maximum."""
    times, c, converged = cost_of_labels(profiled, effort["labels"], effort["repeats"])
    c = c[: effort["plain"]]
    plain, theirs = plain_fits(profiled, c)
    worst = float((theirs - (profiled.logpdf(c) - saturated(profiled))).max())
    how = f"{effort['labels']} points c = s u in the box, s uniform in (0, 1), one core, process time"
    return [
        Claim(
            claim=f"One label with gradient, {name}",
            value=float(np.median(times)),
            unit="ms CPU",
            target=target,
            peer=PEER,
            peer_value=plain,
            spread=(min(times), max(times)),
            seeds=len(times),
            how=how,
        ),
        Claim(
            claim=f"Fits that converged, {name}",
            value=converged,
            unit="fraction",
            target=1.0,
            better="higher",
            how=how,
        ),
        Claim(
            claim=f"How far the plain fit's maximum ever lies above ours, {name}",
            value=worst,
            unit="nats",
            target=ACCURACY,
            how=f"{len(c)} of the same points, by {PEER}",
        ),
    ]


def reference_claims(profiled: ProfiledLikelihood, reference: dict) -> list[Claim]:
    """The spot checks that come with the 16-coefficient search."""
    spots = reference["spot_checks"]
    value, grad = profiled.logpdf_and_grad([s["c"] for s in spots])
    nll = saturated(profiled) - value
    how = f"{len(spots)} spot checks of eft/top16_reference.json"
    return [
        Claim(
            claim="Profiled -log L against the spot checks, top16",
            value=float(np.abs(nll - [s["nll"] for s in spots]).max()),
            unit="nats",
            target=1e-5,
            how=how,
        ),
        Claim(
            claim="Its gradient against the spot checks, top16",
            value=float(np.abs(grad + [s["gradient"] for s in spots]).max()),
            unit="nats / unit",
            target=1e-5,
            how=how,
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a minute's worth of everything")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    parser.add_argument("--labels", action="store_true", help="the labels alone, nothing is learned")
    parser.add_argument("--runs", type=Path, help="where what is learned is kept, and continued from")
    arguments = parser.parse_args()
    started = time.perf_counter()
    shared = os.environ.get("DNNLIKELIHOOD_DATA")
    if shared is None:
        sys.exit(
            "DNNLIKELIHOOD_DATA is not set; it names the folder with eft/top16_semireal.json and top16_reference.json"
        )
    effort = (
        {"labels": 256, "repeats": 1, "plain": 5} if arguments.smoke else {"labels": 2000, "repeats": 5, "plain": 60}
    )
    folder = Path(shared) / "eft"
    reference = json.loads((folder / "top16_reference.json").read_text("utf-8"))
    top16 = ProfiledLikelihood.from_eft(read_eft(folder / "top16_semireal.json", reference["box"]))
    generated = ProfiledLikelihood.from_eft()
    claims = [
        *label_claims("top16 (43 bins, 77 nuisances, 16 coefficients)", top16, effort, 1.0),
        *reference_claims(top16, reference),
        *label_claims("generated (40 bins, 60 nuisances, 16 coefficients)", generated, effort, 1.0),
    ]
    if not arguments.labels:
        with tempfile.TemporaryDirectory() as spare:
            runs = arguments.runs or Path(spare)
            learning = SMOKE if arguments.smoke else FULL
            for name, truth in (("generated", generated), ("top16", top16)):
                claims += learning_claims(name, truth, runs / name, learning)
        rows = (2000, 50_000) if arguments.smoke else (20_000, 2_000_000)
        claims += smefit_claims(folder / "smefit_top25.json", *rows)
    table(claims)
    print(write("eft", claims, started, sgemm_gflops(seconds=0.2 if arguments.smoke else 1.0), arguments.output))


if __name__ == "__main__":
    main()
