"""Profiled likelihoods of real ATLAS searches: what a label costs, here and elsewhere, and whether it is right.

    python benchmarks/histfactory.py [--smoke] [--output FOLDER]

The workspaces and signals are ATLAS's, from the folder that DNNLIKELIHOOD_DATA names; without them the benchmark fails.
jax, a peer, comes with `pip install 'dnnlikelihood[bench]'`. With --smoke it runs on small workspaces of our
own. One thread on both sides, CPU seconds, set-up excluded on both.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import HERE, Claim, one_thread, sgemm_gflops, table, write

if __name__ == "__main__":
    one_thread()

import numpy as np
from histfactory_peers import Compiled, pyhf_label

from dnnlikelihood.errors import MissingArtifact, MissingDependency
from dnnlikelihood.profiled import ProfiledLikelihood

SEED = 31_008
STRENGTHS = (0.3, 1.0, 1.7)
"""By which the signals of the patch sets are multiplied, so that they lie on both sides of exclusion."""
Analysis = tuple[str, ProfiledLikelihood, np.ndarray]


def real(folder: Path) -> Iterator[Analysis]:
    """Every search, with and without control regions, and the signals of its patches; 2018-31-B says nothing of signals
    without its control region.
    """
    tar = folder / "ATLAS-SUSY-2018-31_likelihoods_with_patches.tar.gz"
    files = {
        "2018-31-A": ("ATLAS-SUSY-2018-31_RegionA_BkgOnly.json", "RegionA"),
        "2018-31-B": ("RegionB/BkgOnly.json", "RegionB"),
        "2018-31-C": ("ATLAS-SUSY-2018-31_RegionC_BkgOnly.json", "RegionC"),
        "2018-04": (
            "ATLAS-SUSY-2018-04_Region-combined_BkgOnly.json",
            "ATLAS-SUSY-2018-04_Region-combined_patchset.json.gz",
        ),
        "2019-08": ("ATLAS-SUSY-2019-08_BkgOnly.json", "ATLAS-SUSY-2019-08_patchset.json.gz"),
    }
    for name, (workspace, patches) in files.items():
        source: Any = folder / patches if patches.endswith("gz") else patches_of(tar, patches)
        own = (folder / workspace).exists()
        document: Any = folder / workspace if own else archived(tar, workspace)
        for include in (True, False) if own else (True,):
            likelihood = ProfiledLikelihood.from_workspace(document, include_control_regions=include)
            signals = np.array(list(likelihood.signals_from_patchset(source).values()))
            yield f"{name}{'' if include else ' without CR'}", likelihood, signals[signals.any(axis=1)]


def archived(tar: Path, name: str) -> Any:
    """A JSON file of an archive."""
    with tarfile.open(tar) as file:
        return json.load(file.extractfile(name))  # type: ignore[arg-type]


def patches_of(tar: Path, region: str) -> dict[str, Any]:
    """The patches of one region of 2018-31 that have a signal, by name."""
    with tarfile.open(tar) as file:
        members = [m for m in file.getmembers() if m.name.startswith(f"{region}/patch.")]
        known = {m.name: json.load(file.extractfile(m)) for m in members}  # type: ignore[arg-type]
    return {name: patch for name, patch in known.items() if any(step["op"] == "add" for step in patch)}


def ours() -> Iterator[Analysis]:
    """Random workspaces of the tests."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from workspaces import random_workspace

    for seed in (0, 1):
        likelihood = ProfiledLikelihood.from_workspace(random_workspace(seed))
        rng = np.random.default_rng(seed)
        yield f"random {seed}", likelihood, rng.exponential(3.0, size=(8, len(likelihood.parameters)))


def measure(analysis: Analysis, n: int, n_peer: int) -> dict[str, Any]:
    """CPU seconds a label of the observed data, ours in a batch of n, the peers' one by one; and how values compare."""
    name, likelihood, signals = analysis
    rng = np.random.default_rng(SEED)
    chosen = signals[rng.integers(0, len(signals), n)] * rng.choice(STRENGTHS, size=(n, 1))
    observed = likelihood.select("observed")
    observed.fit(chosen[:16])  # type: ignore[attr-defined]
    start = time.process_time()
    fit = observed.fit(chosen)  # type: ignore[attr-defined]
    seconds = (time.process_time() - start) / n
    pyhf = np.array([pyhf_label(likelihood, row) for row in chosen[:n_peer]])
    compiled = Compiled(likelihood)
    jax = np.array([compiled.label(row) for row in chosen[:n_peer]])
    nll = -fit.value[:n_peer, 0]
    return {
        "name": name,
        "seconds": seconds,
        "pyhf": float(pyhf[:, 1].mean()),
        "jax": float(jax[:, 1].mean()),
        "above": float(np.maximum(nll - pyhf[:, 0], nll - jax[:, 0]).max()),
        "below": float((pyhf[:, 0] - nll).max()),
        "converged": float(fit.converged.mean()),
    }


def claims(rows: list[dict[str, Any]], n: int, n_peer: int) -> list[Claim]:
    """Two claims of speed an analysis, and what its labels are worth."""
    how = f"observed data, all starts, with gradient; batch of {n}, {n_peer} for the peers; signals of the patch sets"
    out = []
    for row in rows:
        ms = f"{1e3 * row['seconds']:.2f} ms a label"
        for peer, label, target in (
            ("pyhf", "pyhf fixed_poi_fit (NumPy, SLSQP)", 300.0),
            ("jax", "jax compiled once, L-BFGS-B", 20.0),
        ):
            out.append(
                Claim(
                    claim=f"{row['name']}: profiled labels faster than {label}",
                    value=row[peer] / row["seconds"],
                    unit="times",
                    target=target,
                    better="higher",
                    peer=label,
                    peer_value=row[peer],
                    how=f"{ms}; {how}",
                )
            )
    out.append(
        Claim(
            claim="Largest excess of our negative log-likelihood over that of a peer, all searches",
            value=max(row["above"] for row in rows),
            unit="nats",
            target=1e-5,
            peer="the better of pyhf and jax L-BFGS-B; how far theirs lie above ours",
            peer_value=max(row["below"] for row in rows),
            how=how,
        )
    )
    out.append(
        Claim(
            claim="Smallest fraction of fits that converged, all searches",
            value=min(row["converged"] for row in rows),
            unit="fraction",
            target=1.0,
            better="higher",
            how=how,
        )
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small workspaces of our own, few signals")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    if importlib.util.find_spec("jax") is None:
        raise MissingDependency("this measures jax beside: pip install 'dnnlikelihood[bench]'")
    started, sgemm = time.perf_counter(), sgemm_gflops(seconds=0.2 if options.smoke else 1.0)
    n, n_peer = (40, 2) if options.smoke else (1000, 5)
    if options.smoke:
        analyses = ours()
    else:
        if "DNNLIKELIHOOD_DATA" not in os.environ:
            raise MissingArtifact("set DNNLIKELIHOOD_DATA to the folder whose likelihoods/ holds ATLAS's workspaces")
        analyses = real(Path(os.environ["DNNLIKELIHOOD_DATA"]) / "likelihoods")
    rows = [measure(analysis, n, n_peer) for analysis in analyses]
    found = claims(rows, n, n_peer)
    table(found)
    print(write("histfactory", found, started, sgemm, options.output))


if __name__ == "__main__":
    main()
