"""Published models of real ATLAS searches: how far they are from the fits that they replace, and what they cost.

    python benchmarks/histfactory_accuracy.py [--smoke] [--output FOLDER]

Workspaces and patches are ATLAS's, from the folder that DNNLIKELIHOOD_DATA names; models are those of saved_models.
Without either the benchmark fails. Points are drawn here, with a seed used nowhere else. Slides' sampling: random
walks towards minimum and maximum of the NLL, in a box where Delta NLL of every bin alone ends at 10 (signal regions),
and control regions have up to half of the mean yield of the signal regions. With --smoke one search and few points.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from report import HERE, Claim, one_thread, sgemm_gflops, table, write

if __name__ == "__main__":
    one_thread()

import numpy as np
from histfactory import archived, patches_of

import dnnlikelihood
from dnnlikelihood.errors import MissingArtifact
from dnnlikelihood.learn_workspace import read_patches
from dnnlikelihood.profiled import NEGATIVE, ProfiledLikelihood
from dnnlikelihood.published import PublishedLikelihood
from dnnlikelihood.reference.published import figure, figures
from dnnlikelihood.sampling.signal_designs import SignalRays, metropolis, strength_at
from dnnlikelihood.statistics.limits import upper_limits
from dnnlikelihood.statistics.signals import along

SEED = 31_052
MODELS = HERE.parent / "saved_models"
TAR = "ATLAS-SUSY-2018-31_likelihoods_with_patches.tar.gz"
LOW = 10.0
"""Delta NLL below which a profiled likelihood decides what is excluded."""
SLIDES = "slides 'Parametrising profiled likelihoods'"
EXPECTED = 2
"""The column of `UpperLimits.expected` that is the median."""


@dataclass(frozen=True)
class Search:
    """A search, its published model, and what is promised of it."""

    name: str
    model: str
    workspace: str | None
    """None: in the archive of the patches."""
    patches: str
    """A patch set, or the folder of the archive that they are in."""
    simplified: str | None
    mean: float = 0.005
    quantile: float = 0.05

    def path(self, name: str) -> Path:
        """A file of HEPData."""
        return Path(os.environ["DNNLIKELIHOOD_DATA"]) / "likelihoods" / name

    @cached_property
    def truth(self) -> ProfiledLikelihood:
        """Fits of the workspace, control regions included."""
        if self.workspace is not None:
            return ProfiledLikelihood.from_workspace(self.path(self.workspace))
        return ProfiledLikelihood.from_workspace(archived(self.path(TAR), f"{self.patches}/BkgOnly.json"))

    @cached_property
    def published(self) -> PublishedLikelihood:
        """The published model, which fails where it is absent."""
        return dnnlikelihood.open(MODELS / self.model, outside="ignore")

    @cached_property
    def contamination(self) -> float | None:
        """The largest part of the background of a control bin that signals added which the model was learned from."""
        words = shlex.split(str(self.published.metadata["command"]))
        return float(words[words.index("--contamination") + 1]) if "--contamination" in words else None

    @cached_property
    def signals(self) -> np.ndarray:
        """(n, d) of the patches that have a signal, and no negative one."""
        single = self.patches.endswith(".gz")
        known: Any = read_patches(self.path(self.patches)) if single else patches_of(self.path(TAR), self.patches)
        signals = np.array(list(self.truth.signals_from_patchset(known).values()))
        return signals[signals.any(axis=1) & (signals >= 0).all(axis=1)]


SEARCHES = (
    Search("2018-31-A", "atlas_susy_2018_31_a", "ATLAS-SUSY-2018-31_RegionA_BkgOnly.json", "RegionA",
           "ATLAS-SUSY-2018-31_RegionA_simplified.json"),
    Search("2018-31-B", "atlas_susy_2018_31_b", None, "RegionB", None),
    Search("2018-31-C", "atlas_susy_2018_31_c", "ATLAS-SUSY-2018-31_RegionC_BkgOnly.json", "RegionC",
           "ATLAS-SUSY-2018-31_RegionC_simplified.json"),
    Search("2018-04", "atlas_susy_2018_04", "ATLAS-SUSY-2018-04_Region-combined_BkgOnly.json",
           "ATLAS-SUSY-2018-04_Region-combined_patchset.json.gz", None),
    Search("2019-08", "atlas_susy_2019_08", "ATLAS-SUSY-2019-08_BkgOnly.json", "ATLAS-SUSY-2019-08_patchset.json.gz",
           "ATLAS-SUSY-2019-08_simplify_BkgOnly.json", mean=0.02, quantile=0.2),
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """Points that have labels, in every head, and answers; the others are counted."""

    exact: np.ndarray
    """(n, H) NLL."""
    found: np.ndarray
    delta: np.ndarray
    """(n, H) from no signal."""
    left_out: str | None
    """How many have no label, or are refused by the model, and why."""

    def __str__(self) -> str:
        return f"{len(self.exact)} points"


def compare(search: Search, theta: np.ndarray) -> Compared:
    """The published model beside fits."""
    labels, inside = search.truth.label(theta), search.published.in_domain(theta)
    delta = search.truth.null_logpdf - labels.value
    good, refused = labels.ok & inside, labels.ok & ~inside
    found = -search.published.heads_logpdf(theta[good])
    absurd = int((labels.reason == NEGATIVE).sum())
    counts = {
        "the fitted background is negative": absurd,
        "the fit failed": int((~labels.ok).sum()) - absurd,
        f"outside the domain, Delta NLL from {delta[refused, 0].min(initial=np.inf):.0f}": int(refused.sum()),
    }
    left_out = "; ".join(f"{n} of {len(theta)}, {why}" for why, n in counts.items() if n)
    return Compared(-labels.value[good], found, delta[good], left_out or None)


# The rows -------------------------------------------------------------------------------------------------------------


def in_percent(search: Search, where: str, compared: Compared, sampled: str) -> Iterator[Claim]:
    """MAPE and MaxAPE of -log L beside the slides' tables, five times lower each."""
    if f"profiled/mape/{search.name}" not in figures():
        return
    relative = 100 * np.abs(compared.found / compared.exact - 1)
    for key, label, statistic in (("mape", "mean", np.mean), ("max_ape", "largest", np.max)):
        theirs = figure(f"profiled/{key}/{search.name}")
        for head, value in theirs.value.items():
            column = search.published.heads.index("expected" if head == "asimov_expected" else head)
            yield Claim(
                claim=f"{search.name}, {where}: {label} error of -log L, {head.replace('_', ' ')}",
                value=float(statistic(relative[:, column])),
                unit="%",
                target=value / 5,
                peer=f"networks of the {SLIDES}",
                peer_value=value,
                left_out=compared.left_out,
                how=f"{compared}; {sampled}",
            )


def slides_points(search: Search, share: float, rng: np.random.Generator) -> np.ndarray:
    """Such a share of as many points as the slides drew, half towards the minimum and half towards the maximum."""
    n = max(figure(f"profiled/points/{search.name}").value.values())
    one, d = search.truth.select("observed"), len(search.truth.parameters)
    value, slope, curvature = one.logpdf_grad_hess(np.zeros((1, d)))

    def logpdf(theta: np.ndarray) -> np.ndarray:
        labels = one.label(theta)
        return np.where(labels.ok, labels.value, np.nan)

    chosen = search.truth.source.arguments["signal_regions"]
    signal = np.array([name.rpartition("-")[0] in chosen for name in search.truth.parameters.names])
    alone = strength_at(logpdf, slope[0], curvature[0], float(value[0]), -search.truth.parameters.lower, np.eye(d), LOW)
    high = np.where(signal, alone, 0.5 * alone[signal].mean())
    half = round(share * n / 2)
    return np.concatenate([metropolis(logpdf, np.zeros(d), high, half, rng, towards=t) for t in ("minimum", "maximum")])


def in_nats(search: Search, where: str, compared: Compared) -> Iterator[Claim]:
    """|error| of Delta NLL below 10, the worst head."""
    off = np.abs(compared.found - compared.exact)
    low = np.abs(compared.delta) < LOW
    heads = [off[low[:, h], h] for h in range(off.shape[1])]
    for label, target, of in (("Mean", search.mean, np.mean), ("99.9 % of", search.quantile, _quantile)):
        yield Claim(
            claim=f"{search.name}, {where}: {label} |error| of Delta NLL, |Delta NLL| < 10, worst head",
            value=max(float(of(e)) for e in heads),
            unit="nats",
            target=target,
            left_out=compared.left_out,
            how=f"{compared}; {min(map(len, heads))} or more below 10 in each of {len(heads)} heads",
        )


def _quantile(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.999))


def limits(search: Search, signals: np.ndarray) -> Iterator[Claim]:
    """Observed and median expected limits of real signals; the simplified likelihood's observed ones beside."""
    exact, found = (upper_limits(along(d, signals)) for d in (search.truth, dnnlikelihood.open(MODELS / search.model)))
    other = None if search.simplified is None else _simplified(search, signals)
    for label, of, target in (("Median", np.nanmedian, 0.3), ("Largest", np.nanmax, 2.0)):
        for kind, mine, right in (
            ("observed", found.observed, exact.observed),
            ("expected", found.expected[:, EXPECTED], exact.expected[:, EXPECTED]),
        ):
            known = np.isfinite(right)
            off = 100 * np.abs(mine[known] / right[known] - 1)
            beside = None
            if kind == "observed" and other is not None:
                beside = float(of(100 * np.abs(other["observed"][known] / right[known] - 1)))
            refused = int(np.isnan(off).sum())
            yield Claim(
                claim=f"{search.name}, real signals: {label} error of the {kind} upper limit on mu",
                value=float(of(off)) if refused < len(off) else np.inf,
                unit="%",
                target=target,
                peer=None if beside is None else "simplified likelihood",
                peer_value=beside,
                left_out=f"{refused} of {known.sum()}, refused by the model" if refused else None,
                how=f"95 % CL_s, {known.sum()} signals",
            )


def _simplified(search: Search, signals: np.ndarray) -> dict[str, np.ndarray]:
    """Observed limits and Delta NLL of the simplified likelihood, with the bins that it has."""
    simplified = ProfiledLikelihood.from_workspace(search.path(search.simplified or ""), include_control_regions=False)
    columns = [search.truth.parameters.index(name) for name in simplified.parameters.names]
    cut = signals[:, columns]
    some, found = cut.any(axis=1), np.full(len(signals), np.nan)
    found[some] = upper_limits(along(simplified, cut[some])).observed
    labels = simplified.select("observed").label(cut)
    null = simplified.null_logpdf[simplified.heads.index("observed")]
    return {"observed": found, "delta": np.where(labels.ok, null - labels.value, np.nan)}


def real_signals(search: Search) -> Iterator[Claim]:
    """Real signals as they are: percent, nats, and the simplified likelihood beside."""
    signals = search.signals
    compared = compare(search, signals)
    yield from in_percent(search, "real signals", compared, "the patches of HEPData")
    column = search.published.heads.index("observed")
    low = np.abs(compared.delta[:, column]) < LOW
    beside = None
    if search.simplified is not None:
        labels = search.truth.select("observed").label(signals)
        delta = search.truth.null_logpdf[column] - labels.value
        near = labels.ok & (np.abs(delta) < LOW)
        beside = float(np.nanmean(np.abs(_simplified(search, signals)["delta"] - delta)[near]))
    yield Claim(
        claim=f"{search.name}, real signals: Mean |error| of observed Delta NLL, |Delta NLL| < 10",
        value=float(np.abs(compared.found - compared.exact)[low, column].mean()),
        unit="nats",
        target=search.mean,
        peer=None if beside is None else "simplified likelihood",
        peer_value=beside,
        left_out=compared.left_out,
        how=f"{compared}; {low.sum()} below 10",
    )


def evaluation(search: Search) -> Iterator[Claim]:
    """One point, and a thousand, by ONNX Runtime on one thread: value, error and domain of every head."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODELS / search.model / "model.onnx", options, ["CPUExecutionProvider"])
    theta = np.resize(search.signals, (1000, search.signals.shape[1]))
    for n, target, key in ((1, 0.1, "one_point"), (1000, 5.0, "1000_points")):
        best = np.inf
        for _ in range(5):
            runs, start = 2000 // n + 3, time.process_time()
            for _ in range(runs):
                session.run(None, {"theta": theta[:n]})
            best = min(best, 1e3 * (time.process_time() - start) / runs)
        yield Claim(
            claim=f"{search.name}: evaluation of {n} point{'s' if n > 1 else ''}",
            value=best,
            unit="CPU-ms",
            target=target,
            peer=f"networks of the {SLIDES}",
            peer_value=1e3 * min(figure(f"profiled/seconds_{key}").value),
            how="ONNX Runtime, one thread, model.onnx with value, error, spread and domain of all heads; best of 5",
        )


def making(search: Search, n_timed: int, rng: np.random.Generator) -> Claim:
    """Minutes of labels and training: those of training are in the log, labels are timed on some rows."""
    lines = (MODELS / search.model / "log.jsonl").read_text("utf-8").splitlines()
    trained = next(event for event in map(json.loads, lines) if event["event"] == "trained")["numbers"]
    n = trained["n_train"] / 0.8
    start = time.process_time()
    search.truth.label(SignalRays(contamination=search.contamination)(search.truth, n_timed, rng))
    labels = (time.process_time() - start) * n / n_timed
    return Claim(
        claim=f"{search.name}: labels and training of the published model, on one core",
        value=(labels + trained["cpu_seconds"]) / 60,
        unit="CPU-min",
        target=30.0,
        how=f"{n:.0f} points in every head: {labels / 60:.1f} min, from {n_timed} timed, design included; training "
        f"{trained['cpu_seconds'] / 60:.1f} min, from its log",
    )


def measure(search: Search, *, smoke: bool) -> Iterator[Claim]:
    """Everything about one search."""
    rng = np.random.default_rng([SEED, SEARCHES.index(search)])
    if f"profiled/points/{search.name}" in figures():
        points = slides_points(search, 0.004 if smoke else 0.2, rng)
        words = "20 % of as many points as in the slides, drawn as there with a seed of their own"
        yield from in_percent(search, "slides' sampling", compare(search, points), words)
    design = SignalRays(contamination=search.contamination, per_ray=1)
    unseen = design(search.truth, 64 if smoke else 4000, rng)
    limit = "" if search.contamination is None else f" of contamination up to {search.contamination:g}"
    yield from in_nats(search, f"unseen signals{limit}", compare(search, unseen))
    yield from real_signals(search)
    yield from limits(search, search.signals[:: 40 if smoke else 1])
    yield from evaluation(search)
    yield making(search, 32 if smoke else 512, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one search, few points")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    started, sgemm = time.perf_counter(), sgemm_gflops(seconds=0.2 if options.smoke else 1.0)
    if "DNNLIKELIHOOD_DATA" not in os.environ:
        raise MissingArtifact("set DNNLIKELIHOOD_DATA to the folder whose likelihoods/ holds ATLAS's workspaces")
    searches = SEARCHES[:1] if options.smoke else SEARCHES
    absent = [s.model for s in searches if not (MODELS / s.model).is_dir()]
    if absent:
        raise MissingArtifact(f"saved_models has no {', '.join(absent)}; `dnnlik learn` makes them (see a model card)")
    found = []
    for search in searches:
        own = list(measure(search, smoke=options.smoke))
        table(own)
        found += own
    print(write("histfactory_accuracy", found, started, sgemm, options.output))


if __name__ == "__main__":
    main()
