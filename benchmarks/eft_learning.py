"""What surrogates of effective-theory fits are worth: accuracy where they are asked, intervals, cost. Part of `eft`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from eft_sizes import first_rows, size_claims, variant_claims
from report import Claim

from dnnlikelihood import Likelihood
from dnnlikelihood.active import ActiveConfig, accurate, active_data, lessons
from dnnlikelihood.dnnlik import DnnLik
from dnnlikelihood.inference import Inference
from dnnlikelihood.jsonfiles import pretty, read_json
from dnnlikelihood.learn_eft import LearnEftConfig, first_design, learn_eft
from dnnlikelihood.learn_profiled import LearnedProfiled
from dnnlikelihood.networks.recipe import DnnLikConfig
from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.results import Interval
from dnnlikelihood.statistics.valleys import held_maxima
from dnnlikelihood.store import write_text

CMS = "CMS, EPJ Web Conf. 295 (2024) 09041"
ACCURATE = "share of points with |error| < 0.05 or < 1 % of delta NLL"
PROFILED = ("ctp", "cpQM", "cpQ3", "ctW", "ctZ", "ctG")
TWO_SIGMA = 0.9545


@dataclass(frozen=True)
class Effort:
    """How much is done."""

    config: LearnEftConfig
    frozen: int
    """Coefficients whose frozen intervals are compared."""
    profiled: int
    points: int
    """Of a profiled scan."""
    grid: int
    """Of a two-dimensional scan, along each axis."""
    batch: int
    sizes: tuple[int, ...]
    """Fits in all from which accuracies are measured."""
    shown: int
    """Rows shown to the networks of these comparisons."""


FULL = Effort(LearnEftConfig(), 16, 6, 41, 300, 10_000, (5_000, 10_000, 20_000), 4_000_000)
SMOKE = Effort(
    LearnEftConfig(
        active=ActiveConfig(n_first=2500, n_rounds=1, n_posterior=400, n_minimisers=200, n_starts=16, n_shown=100_000),
        n_shown=200_000,
        n_members=1,
        n_test=1000,
        n_own=200,
    ),
    2,
    1,
    9,
    20,
    500,
    (3_500, 4_000),
    60_000,
)


def learning_claims(name: str, truth: ProfiledLikelihood, folder: Path, effort: Effort) -> list[Claim]:
    """All rows of one analysis; a run that was begun in the folder is continued."""
    learned = learn_eft(truth, folder, config=effort.config, name=name, progress=False)
    exact, ours = Inference(truth), Inference(learned.model)
    both = np.concatenate([learned.summary["valleys"][who]["theta"] for who in ("truth", "surrogate")])
    for inference in (exact, ours):
        inference.valleys(n_starts=32, starts=both[inference.density.support(both)])
    return [
        *_accuracy(name, learned, _first_cost(learned)),
        *_networks(name, truth, learned, folder / "sizes", effort),
        *_frozen(name, exact, ours, truth.parameters.names[: effort.frozen]),
        *_profiled(name, exact, ours, PROFILED[: effort.profiled], effort.points),
        _plane(name, ours, effort.grid),
        _speed(name, truth, learned.model, effort.batch),
    ]


def _networks(
    name: str, truth: ProfiledLikelihood, learned: LearnedProfiled, folder: Path, effort: Effort
) -> Iterator[Claim]:
    """What networks are worth from fewer fits, and other networks from the same."""
    lesson = first_rows(truth, learned, folder, max(effort.sizes))
    yield from size_claims(name, learned, lesson, folder, effort.sizes, effort.shown)
    yield from variant_claims(name, learned, lesson.data, folder, effort.shown // 4)


def _first_cost(learned: LearnedProfiled) -> dict[str, float]:
    """CPU seconds by stage of the run that did the work, which a later one that finds it done does not overwrite."""
    kept = learned.folder / "cpu_seconds.json"
    if not kept.exists():
        write_text(kept, pretty(learned.summary["cpu_seconds"]))
    return read_json(kept)


def _accuracy(name: str, learned: LearnedProfiled, cpu: dict[str, float]) -> Iterator[Claim]:
    share = {row["where"]: (row["within"], row["n"]) for row in learned.summary["accuracy"]}
    fits = learned.summary["n_fits"]
    wanted = {
        "held out": 0.998,
        "held out, delta_nll < 10": 0.998,
        "own posterior": 0.99,
        "own profile minimisers": 0.99,
        "others frozen": 0.99,
    }
    refused = learned.summary["refused"]
    for where, target in wanted.items():
        value, n = share[where]
        how = f"{ACCURATE}; {n} points, {fits} fits made, active rounds and the search for valleys included"
        if where in refused:
            value *= 1 - refused[where]
            how += f"; a share of {refused[where]:.2g} was refused and counts as wrong"
        peer = {"peer": CMS, "peer_value": 0.99} if where == "held out" else {}
        yield Claim(
            claim=f"Accuracy, {where}, {name}",
            value=value,
            unit="share",
            target=target,
            better="higher",
            how=how,
            **peer,
        )
    training = cpu["training"] / 60
    yield Claim(
        claim=f"Fits in all, active rounds included, {name}",
        value=fits,
        unit="fits",
        target=5e4,
        peer=CMS,
        peer_value=5e7,
        how=", ".join(f"{n} {what}" for what, n in learned.summary["fits"].items()),
    )
    yield Claim(
        claim=f"Training of the final members, {name}",
        value=training,
        unit="CPU minutes",
        target=5.0,
        peer=f"{CMS}, on a GPU",
        peer_value=23.2 * 60,
        how="one thread, all members",
    )
    yield Claim(
        claim=f"Labels, rounds and their trainings, {name}",
        value=cpu["rows to learn from"] / 60,
        unit="CPU minutes",
        target=10.0,
        how="one thread",
    )


def _furthest(a: Sequence[Interval], b: Sequence[Interval]) -> float:
    """Largest distance of edges, in widths of the exact pieces' hull; infinite if pieces are missing."""
    if len(a) != len(b):
        return float("inf")
    width = a[-1].high - a[0].low
    return max(max(abs(i.low - j.low), abs(i.high - j.high)) for i, j in zip(a, b, strict=True)) / width


def _frozen(name: str, exact: Inference, ours: Inference, names: Sequence[str]) -> Iterator[Claim]:
    off, values = {}, []
    for coefficient in names:
        low, high = _common(exact, ours, coefficient)
        options = {"profiled": False, "at": 0.0, "progress": False}
        axis = np.linspace(low, high, 81)
        t, mine = (i.scan(coefficient, axis, **options).tmu for i in (exact, ours))
        values.append(float(np.abs(mine - t)[t < 9].max()))
        pieces = [i.intervals(coefficient, (TWO_SIGMA,), axis, **options)[TWO_SIGMA] for i in (exact, ours)]
        off[coefficient] = _furthest(*pieces)
    worst = max(off, key=lambda k: off[k])
    yield Claim(
        claim=f"Edges of frozen 2-sigma intervals, worst of {len(off)}, {name}",
        value=off[worst],
        unit="widths",
        target=0.02,
        how=f"others at 0; worst is {worst}; disjoint pieces compared one by one",
    )
    yield Claim(
        claim=f"Frozen scans, largest error where below 9, {name}",
        value=max(values),
        unit="2 delta NLL",
        target=0.05,
        how=f"others at 0; {len(off)} coefficients, 81 points each, each curve from its own minimum",
    )


def _common(exact: Inference, ours: Inference, coefficient: str) -> tuple[float, float]:
    """The range that truth and surrogate share."""
    from dnnlikelihood.statistics.profile import limits

    ends = [limits(i.density) for i in (exact, ours)]
    k = exact.density.parameters.index(coefficient)
    return max(e[0][k] for e in ends), min(e[1][k] for e in ends)


def _profiled(name: str, exact: Inference, ours: Inference, names: Sequence[str], n: int) -> Iterator[Claim]:
    edges, values, missed = [], [], 0.0
    for coefficient in names:
        low, high = _common(exact, ours, coefficient)
        margin = 0.02 * (high - low)
        axis = np.linspace(low + margin, high - margin, n)
        theirs, mine = (i.scan(coefficient, axis, progress=False) for i in (exact, ours))
        there = np.clip(mine.theta, *exact_box(exact))
        held = np.zeros(there.shape, bool)
        held[:, exact.density.parameters.index(coefficient)] = True
        polished = held_maxima(exact.density, there[:, None], held).value
        best = np.maximum(theirs.profiled_logpdf, polished)
        missed = max(missed, float((best - exact.density.logpdf(there)).max(initial=0.0, where=theirs.tmu < 9)))
        t = 2 * (max(best.max(), float(theirs.bestfit.value[0])) - best)
        near = t < 9
        values.append(float(np.abs(mine.tmu - t)[near].max(initial=0.0)))
        found = [i.intervals(coefficient, (TWO_SIGMA,), axis, progress=False)[TWO_SIGMA] for i in (exact, ours)]
        edges.append(_furthest(*found))
    how = f"{', '.join(names)}; {n} points each, all other coefficients and nuisances profiled; truth: the deeper of "
    how += "fits from its own valleys and from the surrogate's minimisers"
    yield Claim(
        claim=f"Edges of profiled 2-sigma intervals, worst of {len(names)}, {name}",
        value=max(edges),
        unit="widths",
        target=0.02,
        how=how,
    )
    yield Claim(
        claim=f"Profiled scans, largest error where below 9, {name}",
        value=max(values),
        unit="2 delta NLL",
        target=0.05,
        how=how,
    )
    yield Claim(
        claim=f"Exact NLL at the surrogate's minimisers above the exact profile, {name}",
        value=missed,
        unit="nats",
        target=0.1,
        how=how,
    )


def exact_box(exact: Inference) -> tuple[np.ndarray, np.ndarray]:
    """(d,), (d,) the box of the truth."""
    from dnnlikelihood.statistics.profile import limits

    return limits(exact.density)


def _plane(name: str, ours: Inference, n: int) -> Claim:
    start = time.process_time()
    low, high = exact_box(ours)
    columns = ours.density.parameters.indices(["ctW", "ctZ"])
    axes = [np.linspace(0.5 * low[k], 0.5 * high[k], n) for k in columns]
    scan = ours.scan(("ctW", "ctZ"), axes, progress=False)
    bad = int((~np.isfinite(scan.profiled_logpdf)).sum())
    return Claim(
        claim=f"Profiled scan of ctW and ctZ, {n} x {n}, {name}",
        value=time.process_time() - start,
        unit="CPU s",
        target=60.0,
        how=f"14 others profiled on the surrogate; {bad} points without an answer",
    )


def _speed(name: str, truth: ProfiledLikelihood, model: DnnLik, n: int) -> Claim:
    inside = np.random.default_rng(77).uniform(-0.3, 0.3, (n, len(truth.parameters))) * exact_box(Inference(truth))[1]
    inside = np.nan_to_num(inside)[: max(n // 10, 64)]
    start = time.process_time()
    truth.fit(inside)
    slow = (time.process_time() - start) / len(inside)
    batch = np.resize(inside, (n, inside.shape[1]))
    model.logpdf(batch)
    start = time.process_time()
    for _ in range(5):
        model.logpdf(batch)
    fast = (time.process_time() - start) / (5 * n)
    return Claim(
        claim=f"Exact profiled evaluation over the surrogate's, {name}",
        value=slow / fast,
        unit="ratio",
        target=100.0,
        better="higher",
        peer=f"{CMS}, against Combine",
        peer_value=1e5,
        how=f"batches of {n}, one thread: {slow * 1e6:.0f} and {fast * 1e6:.2f} microseconds a point",
    )


def smefit_claims(path: Path, n_rows: int, n_shown: int) -> list[Claim]:
    """A Gaussian likelihood of quadratic predictions, learned by a network of that form, without active rounds."""
    truth = Likelihood.from_source("eft_gaussian", document=str(path))
    config = ActiveConfig(n_first=n_rows, n_rounds=0, n_starts=16)
    lesson = active_data(truth, config, progress=False)
    recipe = DnnLikConfig.quartic(lesson.data.counts["train"], n_shown, n_members=1)
    model = DnnLik.fit(lessons(lesson.data), recipe, progress=False)
    minutes = sum(sum(h["cpu_seconds"]) for h in model.history) / 60
    theta = first_design(truth, lesson.valleys, 4000, 1001, config.reach)
    exact, answer = truth.logpdf(theta), model.members_logpdf(theta).mean(axis=1)
    top, inside = float(lesson.valleys.logpdf[0]), model.in_domain(theta)
    right, low = accurate(answer, exact, top) & inside, top - exact < 10
    how = f"{ACCURATE}; {len(theta)} held-out points, {(~inside).sum()} refused and so wrong, {n_rows} labels learned "
    how += f"from, {minutes:.1f} CPU minutes of training"
    rows = {"held out": right, "held out, delta_nll < 10": right[low]}
    return [
        Claim(
            claim=f"Accuracy, {where}, SMEFiT (25 operators)",
            value=float(x.mean()),
            unit="share",
            target=0.998,
            better="higher",
            how=how,
        )
        for where, x in rows.items()
    ]
