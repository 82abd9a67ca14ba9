"""Real simulated events, end to end: H -> tau tau in ATLAS (HiggsML, CERN Open Data 328), all trainers, two folds.

    DNNLIKELIHOOD_DATA=FOLDER python benchmarks/higgsml.py [--smoke] [--output FOLDER] [--figures FOLDER]

Nuisances are the tau energy scale (3 %) and the normalisation of the background (1 %). Every event is judged by the
network that has not seen it. Medians over three seeds of deals, weights and batches.

The file holds 10^4 effective background events for 4 10^5 expected ones: the simulation fluctuates more than the data
would, in every bin, and templates and trainings alike follow its fluctuations. These rows show that the chain works on
real events and how trainers compare on them; none is a sensitivity of that search.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from discriminants import FIRST_SEED, SHORT, SMOKE, claim
from report import HERE, Claim, one_thread, sgemm_gflops, table, write

from dnnlikelihood import plots
from dnnlikelihood.discriminant import Discriminant, DiscriminantConfig
from dnnlikelihood.discriminants.events import EventModel
from dnnlikelihood.discriminants.higgsml import higgsml
from dnnlikelihood.discriminants.trainers import trainer
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.likelihood import Likelihood

TRAINERS: dict[str, tuple[str, dict[str, bool]]] = {
    **{name: (name, {}) for name in ("cross-entropy", "efficient-score", "sannt", "kernel-histogram", "inferno")},
    **{
        f"{name}, told of the finite simulation": (name, {"mc_statistics": True})
        for name in ("sannt", "kernel-histogram", "inferno")
    },
}
CAVEAT = "finite simulation dominates: a demonstration, no sensitivity of the search"


def trained(name: str, model: EventModel, seed: int, smoke: bool) -> Discriminant:  # noqa: FBT001
    kind, options = TRAINERS[name]
    method = trainer(kind, {"n_bins": 8, **options})
    if smoke:
        method = method.replace(**({"heads": SMOKE} if kind == "efficient-score" else {"training": SHORT}))
    return Discriminant.fit(model, DiscriminantConfig(trainer=method, n_folds=2, seed=seed), progress=False)


def rows(found: Mapping[str, Sequence[Discriminant]], model: EventModel) -> list[Claim]:
    """Delta r of every trainer, finite simulation counted, over that of cross entropy; same seeds, same deals."""
    templates = {name: [one.templates(model) for one in ones] for name, ones in found.items()}
    simulated = {name: [_total(t, counted=True) for t in ts] for name, ts in templates.items()}
    out = []
    for name, ts in templates.items():
        plain, stat = (
            np.median(a) for a in zip(*((_total(t), expected_uncertainty(t).stat[0]) for t in ts), strict=True)
        )
        more = max(float((t.variance.sum(axis=0) / t.total).max()) for t in ts)
        seconds = np.median([one.cpu_seconds for one in found[name]])
        out.append(
            claim(
                f"Delta r on HiggsML events, finite simulation counted, over that of cross entropy: {name}",
                [a / b for a, b in zip(simulated[name], simulated["cross-entropy"], strict=True)],
                1.0,
                f"two folds, 8 bins: {np.median(simulated[name]):.3f}, not counted {plain:.3f} (stat {stat:.3f}), sum"
                f" w^2 up to {more:.0f} times the expected yield of a bin; {seconds:.0f} CPU-s; {CAVEAT}",
                peer="Delta r of cross entropy in equal bins",
                peer_value=float(np.median(simulated["cross-entropy"])),
            )
        )
    return [row for row in out if not row.claim.endswith("cross-entropy")]


def _total(templates: object, *, counted: bool = False) -> float:
    return float(expected_uncertainty(templates, mc_statistics=counted).total[0])  # type: ignore[arg-type]


def fit_row(one: Discriminant, model: EventModel) -> Claim:
    """The workspace goes on as a Likelihood: its Hessian on Asimov data is the Fisher information."""
    likelihood = Likelihood.from_workspace(one.to_workspace(model))
    start = np.array([[1.0 if p.name == "r" or p.name.startswith("mcstat") else 0.0 for p in likelihood.parameters]])
    hessian = likelihood.logpdf_grad_hess(start)[2][0]
    r = likelihood.parameters.index("r")
    width = float(np.sqrt(np.linalg.inv(-hessian)[r, r]))
    fisher = _total(one.templates(model), counted=True)
    return claim(
        "Delta r on HiggsML events of the Likelihood of the workspace over Fisher's, relative difference",
        [abs(width / fisher - 1)],
        0.02,
        f"{width:.4f} from the Hessian of {len(likelihood.parameters)} parameters on Asimov data, {fisher:.4f}",
    )


def figures(found: Mapping[str, Discriminant], model: EventModel, folder: Path) -> None:
    templates = {name: one.templates(model) for name, one in found.items()}
    few = {name: templates[name] for name in ("cross-entropy", "sannt", "efficient-score")}
    plots.save(plots.strength_scans(few), folder, "higgsml_scans")
    plots.save(plots.strength_impacts(few), folder, "higgsml_impacts")
    plots.save(plots.shifted_templates(templates["efficient-score"], scale=100), folder, "higgsml_templates")


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="short trainings, one seed: does it run?")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the JSON file")
    parser.add_argument("--figures", type=Path, help="folder of the figures, if wanted")
    arguments = parser.parse_args()
    started, sgemm, model = time.perf_counter(), sgemm_gflops(), higgsml()
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if arguments.smoke else 3))
    found = {name: [trained(name, model, seed, arguments.smoke) for seed in seeds] for name in TRAINERS}
    claims = [*rows(found, model), fit_row(found["efficient-score"][0], model)]
    table(claims)
    print(write("higgsml", claims, started, sgemm, arguments.output))
    if arguments.figures:
        figures({name: ones[0] for name, ones in found.items()}, model, arguments.figures)


if __name__ == "__main__":
    main()
