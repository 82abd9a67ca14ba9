"""What a network for an effective-theory fit learns from how many fits, and what others learn from the same rows.

Part of `eft`. All fits count that were made before the training: those that looked for valleys and those that placed
the rows too. Everything is tested on the held-out rows of `learn_eft`, of another seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from report import Claim

from dnnlikelihood.active import ActiveConfig, ActiveLesson, accurate, active_data, lessons
from dnnlikelihood.data import Data
from dnnlikelihood.dnnlik import DnnLik
from dnnlikelihood.learn_profiled import LearnedProfiled
from dnnlikelihood.networks.config import NetworkConfig
from dnnlikelihood.networks.recipe import DnnLikConfig
from dnnlikelihood.profiled import ProfiledLikelihood

__all__ = ["first_rows", "size_claims", "subset", "variant_claims"]

CMS = "CMS, EPJ Web Conf. 295 (2024) 09041"
SPARE = 300
"""Fits that placing the rows may take."""


def size_claims(
    name: str, learned: LearnedProfiled, lesson: ActiveLesson, folder: Path, sizes: Sequence[int], n_shown: int
) -> Iterator[Claim]:
    """Accuracy of one network from so many fits in all, without active rounds; shown fewer rows where it has fewer."""
    test = held_out(learned)
    before = sum(lesson.fits.values()) - lesson.fits["labels"]
    for n in sizes:
        some = subset(lesson, n - before)
        recipe = DnnLikConfig.counting(some.counts["train"], n_shown * n // max(sizes), n_members=1)
        share, low, minutes = trained(some, recipe, test, folder / f"training_{n}")
        yield Claim(
            claim=f"Accuracy, held out, from {n} fits in all, {name}",
            value=share,
            unit="share",
            target=0.995 if n == max(sizes) else 0.9,
            better="higher",
            peer=f"{CMS}, 5e7 fits",
            peer_value=0.99,
            how=f"{len(test)} points; {len(some)} labels and {before} fits before the first of them; {low:.4f} where "
            f"delta_nll < 10; {minutes:.2f} CPU minutes of training, one thread",
        )


def first_rows(truth: ProfiledLikelihood, learned: LearnedProfiled, folder: Path, n_fits: int) -> ActiveLesson:
    """Rows without active rounds, at most so many fits in all."""
    n_first = n_fits - learned.summary["fits"]["search for valleys"] - SPARE
    return active_data(truth, ActiveConfig(n_first=n_first, n_rounds=0), folder, progress=False)


def subset(lesson: ActiveLesson, n: int) -> Data:
    """So many of the rows at random, all if there are no more."""
    data = lesson.data
    rows = np.random.default_rng(5).permutation(len(data))[:n]
    return Data.from_arrays(
        data.parameters,
        data.theta()[rows],
        data.logpdf()[rows],
        data.gradient()[rows],
        density_kind=data.density_kind,
        split=data.splits()[rows].tolist(),
    )


def held_out(learned: LearnedProfiled) -> Data:
    """The rows on which `learn_eft` tested."""
    return Data.load(learned.folder / "rows_test")


def trained(rows: Data, recipe: DnnLikConfig, test: Data, folder: Path) -> tuple[float, float, float]:
    """Shares of accurate answers, of all and where delta_nll < 10, and CPU minutes of training; refused is wrong."""
    model = DnnLik.fit(lessons(rows), recipe, folder=folder, progress=False)
    minutes = sum(sum(h["cpu_seconds"]) for h in model.history) / 60
    exact, top = test.logpdf(), max(rows.logpdf().max(), test.logpdf().max())
    right = accurate(model.members_logpdf(test.theta()).mean(axis=1), exact, top) & model.in_domain(test.theta())
    return float(right.mean()), float(right[top - exact < 10].mean()), minutes


def variant_claims(name: str, learned: LearnedProfiled, rows: Data, folder: Path, n_shown: int) -> Iterator[Claim]:
    """Other networks on the same rows beside the default, each for about the same time."""
    n, test = rows.counts["train"], held_out(learned)
    default = DnnLikConfig.counting(n, n_shown, n_members=1)
    plain = default.replace(
        network=NetworkConfig(architecture="monomials", widths=(256, 256, 256), n_members=1),
        training=default.training.replace(n_epochs=max(2, n_shown // (5 * n)), learning_rate=3e-3),
    )
    variants = {
        "the same with SELU units": with_units(default, "selu"),
        "three layers of 256 SiLU units on the monomials, with gradient labels": plain,
        "three layers of 256 SELU units on the monomials, with gradient labels": with_units(plain, "selu"),
        "the preset cms: three layers of 700 ReLU units": DnnLikConfig.cms(max(2, n_shown // (12 * n))),
    }
    ours, _, minutes = trained(rows, default, test, folder / "default")
    for i, (what, recipe) in enumerate(variants.items()):
        theirs, _, took = trained(rows, recipe, test, folder / f"variant_{i}")
        yield Claim(
            claim=f"Accuracy, held out, default network beside {what}, {name}",
            value=ours,
            unit="share",
            target=theirs,
            better="higher",
            peer=what,
            peer_value=theirs,
            how=f"{n} rows to learn from, {len(test)} held out; {minutes:.2f} and {took:.2f} CPU minutes of training",
        )


def with_units(recipe: DnnLikConfig, activation: str) -> DnnLikConfig:
    """The same with other hidden units."""
    return recipe.replace(network=recipe.network.replace(activation=activation))
