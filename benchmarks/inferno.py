"""The five synthetic benchmarks of INFERNO (arXiv:1806.04743): the efficient score, and INFERNO trained here.

    python benchmarks/inferno.py [--smoke] [--output FOLDER]

sigma(s) = 50 Delta r in 10 hard bins on independent test samples, one thread; medians over five seeds with their range.
Writes results/inferno.json.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from discriminants import SHORT, claim, pyhf_row, repeated, run, scores
from report import Claim

from dnnlikelihood.discriminants.examples import inferno
from dnnlikelihood.discriminants.gradient import Inferno

TEMPERATURE = 0.3
"""Of the softmax histograms trained here, chosen on a seed used nowhere else."""
INFERNO = {0: (14.85, 15.51), 1: (15.75, 16.79), 2: (15.90, 16.95), 3: (15.85, 16.89), 4: (17.20, 18.68)}
"""Benchmark -> (target, sigma(s) of INFERNO trained on it: arXiv:1806.04743)."""


def inferno_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    trainer, out = scores(10, smoke), []
    for number, (target, published) in INFERNO.items():
        runs = repeated(trainer, lambda seed, b=number: inferno(b, seed, **sizes), seeds)
        out.append(
            claim(
                f"sigma(s) of INFERNO's benchmark {number} in 10 bins, efficient score",
                [50 * r.total[0] for r in runs],
                target,
                f"test sample of 500,000 events a process, {np.median([r.efficiency[0] for r in runs]):.3f} of the "
                f"unbinned information, {np.median([r.cpu_seconds for r in runs]):.1f} CPU-s",
                "events",
                "INFERNO, median of 100 initialisations (arXiv:1806.04743)",
                published,
            )
        )
        if number == 3:
            out.append(pyhf_row("of INFERNO's benchmark 3, whose constraints are two shifts wide", runs))
    return out


def our_inferno_rows(seeds: Sequence[int], smoke: bool) -> list[Claim]:  # noqa: FBT001
    """INFERNO, trained here, over the published figures."""
    sizes = {"n": 3_000, "n_test": 20_000} if smoke else {}
    trainer = Inferno(temperature=TEMPERATURE, **({"training": SHORT} if smoke else {}))
    out = []
    for number, (_, published) in INFERNO.items():
        runs = repeated(trainer, lambda seed, b=number: inferno(b, seed, **sizes), seeds)
        values = [50 * r.total[0] for r in runs]
        out.append(
            claim(
                f"sigma(s) of INFERNO's benchmark {number} in 10 bins, INFERNO trained here",
                values,
                1.02 * published,
                f"softmax histogram of temperature {TEMPERATURE}, Adam, "
                f"{np.median([r.cpu_seconds for r in runs]):.0f} CPU-s",
                "events",
                "INFERNO, median of 100 initialisations (arXiv:1806.04743)",
                published,
            )
        )
    return out


if __name__ == "__main__":
    run("inferno", (inferno_rows, our_inferno_rows), __doc__.splitlines()[0])
