"""The distribution of t_mu beside chi^2 with one degree of freedom: the paper's warning on asymptotics, measured.

    python benchmarks/asymptotics.py [--n 2000]

Pseudo-experiments of the toy search at mu = 0, 0.5 and 1, thrown at the profiled nuisances with their constraints, each
fitted twice in all kink orthants. Writes results/asymptotics.json and docs/figures/tmu_distribution.png.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from report import HERE, Claim, one_thread, sgemm_gflops, table, write

from dnnlikelihood import plots
from dnnlikelihood.sources import build
from dnnlikelihood.statistics.pseudo_experiments import pseudo_experiments

MU = (0.0, 0.5, 1.0)
SEED = 1007_1727


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2010, help="pseudo-experiments at each mu; a few have no fit")
    n = parser.parse_args().n
    started, sgemm, cpu = time.perf_counter(), sgemm_gflops(), time.process_time()
    source = build("toy_lhc")
    toys = {mu: pseudo_experiments(source, "mu", mu, n, seed=SEED) for mu in MU}
    seconds = time.process_time() - cpu
    claims = [
        Claim(
            claim="Pseudo-experiments of the toy search at mu = 0, 0.5, 1 with a fit that failed",
            value=sum(t.failed for t in toys.values()) / (n * len(MU)),
            unit="share",
            target=0.001,
            how=f"{n} at each mu, two fits each in all 16 kink orthants, {seconds:.0f} CPU-s on one thread",
        )
    ]
    for mu, found in toys.items():
        at68, at95 = (float((found.tmu <= t).mean()) for t in (1.0, 3.841))
        distance, p = found.ks
        error = float(np.sqrt(0.95 * 0.05 / n))
        claims.append(
            Claim(
                claim=f"Coverage of the asymptotic 95 % interval at mu = {mu:g}: deviation from 0.95",
                value=abs(at95 - 0.95),
                unit="",
                target=0.05,
                spread=(max(abs(at95 - 0.95) - error, 0.0), abs(at95 - 0.95) + error),
                how=f"share with t_mu <= 3.841 is {at95:.4f}, with t_mu <= 1 is {at68:.4f} (0.6827 asymptotically); "
                f"KS distance to chi^2_1 {distance:.3f}, p = {p:.2g}; spread: binomial standard error",
            )
        )
    print(write("asymptotics", claims, started, sgemm, HERE / "results"))
    table(claims)
    figure = plots.tmu_distribution({mu: t.tmu for mu, t in toys.items()}, parameter=source.parameters["mu"])
    with tempfile.TemporaryDirectory() as folder:
        png = plots.save(figure, Path(folder), "tmu_distribution")[0]
        target = HERE.parent / "docs" / "figures"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(png, target / "tmu_distribution.png")


if __name__ == "__main__":
    main()
