r"""Active learning of a profiled likelihood: the surrogate says where it is asked, the truth answers there.

A network that is right on its own training distribution may still be wrong where it is used: minimisers seek the rare
directions in which it lies too low. So every round trains a surrogate, draws where it will be asked,

    posterior    exp(-delta_nll / T) of the surrogate, T = 1, 2, 4 ...
    minimisers   the others profiled at random values of one or two parameters, from all valleys
    frozen       one or two parameters at random values, the others at 0 or in a valley, where draws never come
    valleys      the surrogate's own, climbed to from all over the box: it may have false ones where it was never taught

has the truth label these points, measures the surrogate on them *before* it learns from them, and adds them, with
points on the way from each false valley to the true ones. Rounds end when all accuracies reach their target or the fits
are spent. Accuracy is the share of points with

    |error| < 0.05  or  |error| < 1 % of delta_nll                      (EPJ Web Conf. 295 (2024) 09041)

and rows are weighted accordingly in training: w = 1 / max(SOFT, 0.01 delta_nll)^2, flat up to 20 nats above the deepest
valley, as 1 / delta_nll^2 beyond.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .config import Config, require
from .data import Data
from .dnnlik import DnnLik, DnnLikConfig
from .errors import LikelihoodError
from .npzfiles import first_drawn
from .protocols import LogDensity
from .results import Valleys
from .sampling.designs import tempered
from .sampling.profiled_designs import laplace, shrunken
from .statistics.profile import limits
from .statistics.valleys import held_maxima, valleys

__all__ = [
    "ActiveConfig",
    "ActiveLesson",
    "Round",
    "accurate",
    "active_data",
    "drawn_in",
    "frozen",
    "lessons",
    "own_minimisers",
    "own_posterior",
]

logger = logging.getLogger(__name__)
VALIDATION_SHARE = 0.08
FAR = 10.0
"""Times the reach: rows higher than this are drawn in, else the walls of a wide box would be all there is to learn."""
PROBED = 256
HALVINGS = 40
SOFT = 0.2
"""Nats. The limit of the definition, 0.05, would leave too little weight on the walls that hold valleys together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveConfig(Config):
    """How many labels of the truth, and where they go; the search for its valleys costs some thousand fits more."""

    n_first: int = 10_000
    """Before any network: half flat in delta_nll about the valleys, half drawn in from the box."""
    n_rounds: int = 4
    """At most; rounds whose accuracies are good enough are the last."""
    n_posterior: int = 3_500
    """A round, over all temperatures."""
    n_minimisers: int = 1_000
    """A round, half of them moved by a fraction of a standard deviation."""
    n_frozen: int = 400
    """A round, at most; in many dimensions chains never come near such points, and people ask for them first."""
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    reach: float = 40.0
    """delta_nll up to which the likelihood is wanted."""
    target: float = 0.99
    """Share of accurate answers on the posterior at T = 1, at the minimisers, frozen and in the valleys: it ends the
    rounds."""
    n_starts: int = 32
    """Climbs that look for valleys, of the truth once and of the surrogate in every round."""
    n_shown: int = 2_000_000
    """Rows that a round's surrogate is shown in training."""
    seed: int = 1

    def validate(self) -> None:
        """Positive numbers, a share."""
        for name in ("n_first", "n_posterior", "n_minimisers", "n_frozen", "n_starts", "n_shown"):
            require(getattr(self, name) >= 10, f"{name} is {getattr(self, name)}, must be at least 10")
        require(self.n_rounds >= 0, f"n_rounds is {self.n_rounds}, must not be negative")
        require(0 < self.target <= 1, f"target is {self.target}, must be a share")
        require(self.reach > 0, f"reach is {self.reach}, must be positive")
        require(bool(self.temperatures) and min(self.temperatures) > 0, "temperatures must be positive")


@dataclass(frozen=True)
class Round:
    """What one round's surrogate was worth where it asked to be."""

    n_rows: int
    """Labels it had learned from."""
    posterior: float
    """Share of accurate answers on its own posterior (T = 1)."""
    minimisers: float
    """The same at its own profile minimisers."""
    frozen: float
    """The same with all but one or two parameters frozen."""
    valleys: float
    """The same at its own valleys."""
    worst: float
    """Largest |error| among all, nats, where delta_nll is below the reach."""


@dataclass(frozen=True)
class ActiveLesson:
    """Labelled rows, the valleys of the truth, and the history of the rounds."""

    data: Data
    valleys: Valleys
    rounds: tuple[Round, ...]
    fits: dict[str, int]
    """What it cost: fits of the truth that looked for its valleys, that placed the first rows, and that became labels
    (failed ones included); evaluations, of a truth that needs no fits, are counted as labels alone."""


def accurate(answer: np.ndarray, truth: np.ndarray, top: float) -> np.ndarray:
    """(n,) bool: |answer - truth| below 0.05 or 1 % of delta_nll = top - truth, both logpdf."""
    return np.abs(answer - truth) < np.maximum(0.05, 0.01 * (top - truth))


def lessons(data: Data) -> Data:
    """The rows with the weights of the formula above, counted from the highest of them."""
    logpdf = data.logpdf()
    return data.with_weights(1 / np.maximum(1.0, 0.01 / SOFT * (logpdf.max() - logpdf)) ** 2)


def drawn_in(truth: LogDensity, known: Valleys, theta: np.ndarray, reach: float) -> np.ndarray:
    """Points (n, d), those beyond FAR times the reach moved half way to the deepest valley until they are not.

    If none of the first 256 is that high, all stay as they are, which saves their evaluation.
    """
    theta, deepest = theta.copy(), known.theta[0]

    def far(rows: np.ndarray) -> np.ndarray:
        labels = truth.label(theta[rows])
        return rows[labels.ok & (labels.value < known.logpdf[0] - FAR * reach)]

    if not len(far(np.arange(min(PROBED, len(theta))))):
        return theta
    todo = far(np.arange(len(theta)))
    for _ in range(HALVINGS):
        if not len(todo):
            break
        theta[todo] = deepest + 0.5 * (theta[todo] - deepest)
        todo = far(todo)
    return theta


def own_posterior(
    model: LogDensity, start: np.ndarray, temperatures: Sequence[float], n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws (n, d) of model^(1/T) and their temperatures (n,), from chains begun at `start` (m, d)."""
    each = -(-n // len(temperatures))
    begin = start[rng.permutation(np.flatnonzero(model.support(start)))]
    theta, t = tempered(model, temperatures, each, rng, n_chains=64 * len(temperatures), thin=5, start=begin)
    return theta, t


def own_minimisers(
    model: LogDensity, known: np.ndarray, n: int, rng: np.random.Generator, reach: float = 40.0
) -> np.ndarray:
    """(<= n, d) points where the model, with one or two parameters held at random values, is highest.

    Args:
        model: any LogDensity with a gradient.
        known: (m, d) valleys and other good points to begin at.
        n: questions asked; answers more than `reach` below the highest point are left out.
        rng: random numbers.
        reach: see `n`.
    """
    inside = known[model.support(known)]
    if not len(inside):
        raise LikelihoodError("no known point lies where the surrogate is defined; give it more training points")
    held, value = _asked(model, known, n, rng)
    offers = inside[rng.integers(len(inside), size=(n, 12))]
    offered = np.where(held[:, None, :], value[:, None, :], offers)
    fit = held_maxima(model, offered, held, tolerance=1e-2, max_iterations=40)
    return fit.theta[fit.value > fit.value.max() - reach]


def frozen(
    model: LogDensity, known: np.ndarray, summits: np.ndarray, n: int, rng: np.random.Generator, reach: float = 40.0
) -> np.ndarray:
    """(<= n, d) points with one or two parameters at random values, the others at 0 or at one of the summits (m, d).

    Arguments as of `own_minimisers`; points more than `reach` below the highest known one are left out.
    """
    held, value = _asked(model, known, n, rng)
    rest = summits[rng.integers(len(summits), size=n)]
    rest[rng.uniform(size=n) < 0.5] = np.clip(0.0, *limits(model))
    theta = np.where(held, value, rest)
    return theta[model.logpdf(theta) > model.logpdf(known).max() - reach]


def _asked(model: LogDensity, known: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) bool: one or two parameters a question; and values: where good points have been, and a little beyond."""
    d, (low, high) = known.shape[1], limits(model)
    held = np.zeros((n, d), bool)
    held[np.arange(n), rng.integers(d, size=n)] = True
    held[np.arange(n), rng.integers(d, size=n)] |= rng.uniform(size=n) < 0.5
    center = known[rng.integers(len(known), size=n)]
    spread = np.ptp(known, axis=0) + 1e-3 * np.where(np.isfinite(high - low), high - low, 1.0)
    return held, np.clip(center + spread * rng.normal(scale=0.3, size=(n, d)), low, high)


def active_data(
    truth: LogDensity,
    config: ActiveConfig | None = None,
    folder: str | Path | None = None,
    *,
    model: DnnLikConfig | None = None,
    progress: bool = True,
) -> ActiveLesson:
    """Label what a surrogate of a profiled likelihood has to know, in rounds.

    Args:
        truth: a LogDensity with gradient, bounded parameters and one head.
        config: how much.
        folder: where rows and trainings are kept; killed, the same call continues there.
        model: the recipe of the rounds' surrogates; the counting network if None.
        progress: show bars on a terminal.
    """
    config = config or ActiveConfig()
    work = _Rounds(truth, config, None if folder is None else Path(folder), model, progress=progress)
    work.begin()
    for number in range(1, config.n_rounds + 1):
        if work.round(number):
            break
    return ActiveLesson(work.data, work.valleys, tuple(work.history), work.fits)


class _Rounds:
    """The rows so far, and what each round found."""

    def __init__(
        self,
        truth: LogDensity,
        config: ActiveConfig,
        folder: Path | None,
        model: DnnLikConfig | None,
        *,
        progress: bool,
    ) -> None:
        self.truth, self.config, self.folder, self.recipe, self.progress = truth, config, folder, model, progress
        self.fits = {"search for valleys": 0, "placing of first rows": 0, "labels": 0}
        with self._counted("search for valleys"):
            self.valleys = valleys(truth, config.n_starts, seed=config.seed)
        self.history: list[Round] = []

    @contextmanager
    def _counted(self, purpose: str) -> Iterator[None]:
        """Fits that the truth makes meanwhile."""
        before = getattr(self.truth, "n_fits", 0)
        yield
        self.fits[purpose] += getattr(self.truth, "n_fits", 0) - before

    def label(self, name: str, theta: np.ndarray, kind: str, number: int) -> Data:
        """Rows of the truth; a share of them for validation."""
        where = None if self.folder is None else self.folder / name
        theta = theta if where is None else first_drawn(where.with_name(f"design_{name}.npz"), theta)
        self.fits["labels"] += len(theta)
        rng = np.random.default_rng([self.config.seed, number, 7])
        split = np.where(rng.uniform(size=len(theta)) < VALIDATION_SHARE, "validation", "train")
        options: dict[str, Any] = {"split": split, "kind": kind, "drop_duplicates": True, "progress": self.progress}
        return Data.label(self.truth, theta, folder=where, **options)

    def begin(self) -> None:
        """The first rows, before any network."""
        c, rng = self.config, np.random.default_rng([self.config.seed, 0])
        low, high = limits(self.truth)
        half = c.n_first // 2
        with self._counted("placing of first rows"):
            _, _, hess = self.truth.logpdf_grad_hess(self.valleys.theta)
            theta = laplace(self.valleys, hess, half, rng, low, high, c.reach)
            wide = drawn_in(self.truth, self.valleys, shrunken(self.valleys, c.n_first - half, rng, low, high), c.reach)
        theta = np.concatenate([theta, wide, self.valleys.theta])
        self.data = self.label("rows_first", theta[self.truth.support(theta)], "first", 0)

    @property
    def top(self) -> float:
        """The highest logpdf known."""
        return max(float(self.valleys.logpdf[0]), *(float(self.data.logpdf(s).max()) for s in ("train", "validation")))

    def round(self, number: int) -> bool:
        """Train, ask, label, measure, add; whether the accuracies are good enough."""
        c, rng = self.config, np.random.default_rng([self.config.seed, number])
        recipe = self.recipe or DnnLikConfig.counting(self.data.counts["train"], c.n_shown, n_members=1)
        where = None if self.folder is None else self.folder / f"training_{number}"
        model = DnnLik.fit(lessons(self.data), recipe, folder=where, progress=self.progress)
        asked = self._questions(model, number, rng)
        rows = {kind: self.label(f"rows_{kind}_{number}", t, kind, number) for kind, t in asked.items() if len(t)}
        bridges = self._bridges(model, rows["valleys"], rng)
        if len(bridges):
            rows["bridges"] = self.label(f"rows_bridges_{number}", bridges, "bridges", number)
        found = [self._accuracy(model, rows[kind]) for kind in ("posterior", "minimisers", "frozen", "valleys")]
        (posterior, minimisers, rest, own), worst = (share for share, _ in found), max(error for _, error in found)
        self.history.append(Round(sum(self.data.counts.values()), posterior, minimisers, rest, own, worst))
        logger.info("active round %d: %s", number, self.history[-1])
        self.data = Data.concatenate([self.data, *rows.values()], drop_duplicates=True)
        return min(posterior, minimisers, rest, own) >= c.target

    def _questions(self, model: DnnLik, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Kind -> (n, d) points at which the surrogate is going to be asked."""
        c = self.config
        known, height = self.data.theta("train"), self.data.logpdf("train")
        good = np.concatenate([self.valleys.theta, known[height > self.top - 0.25 * c.reach]])
        theta, temperature = own_posterior(model, good, c.temperatures, c.n_posterior, rng)
        cold = temperature == min(c.temperatures)
        minima = own_minimisers(model, good, c.n_minimisers // 2, rng, c.reach)
        near = self._moved(minima, minima.std(axis=0), rng)
        rest = frozen(model, good, self.valleys.theta, c.n_frozen, rng, c.reach)
        own = self._own_valleys(model, number)
        if len(own) == 1:  # one row is no data: its surroundings are asked with it
            own = np.concatenate([own, self._moved(np.repeat(own, 20, axis=0), known.std(axis=0), rng)])
        kinds = ("posterior", "tempered", "minimisers", "neighbours", "frozen", "valleys")
        return dict(zip(kinds, (theta[cold], theta[~cold], minima, near, rest, own), strict=True))

    def _own_valleys(self, model: DnnLik, number: int) -> np.ndarray:
        """(k, d) each member's maxima down to the reach below the truth's; alone, no other refuses it a point.

        The centre of the training points is looked at too: it lies between the valleys, where nothing may be taught.
        """
        starts, found = np.vstack([self.valleys.theta, model.ensemble.hull.center]), []
        starts = starts[model.support(starts)]
        for k in range(len(model.ensemble.members)):
            own = valleys(model.member(k), self.config.n_starts, seed=self.config.seed + number, starts=starts)
            found.append(own.theta[own.logpdf > min(own.logpdf[0], self.top) - self.config.reach])
        return np.concatenate(found)

    def _bridges(self, model: DnnLik, summits: Data, rng: np.random.Generator) -> np.ndarray:
        """Points on the lines from valleys that the truth does not have to those that it has."""
        theta = summits.theta()
        false = theta[~accurate(model.members_logpdf(theta).mean(axis=1), summits.logpdf(), self.top)]
        if not len(false):
            return false
        n = self.config.n_minimisers // 2
        ends = self.valleys.theta[rng.integers(len(self.valleys.theta), size=n)]
        points = ends + rng.uniform(size=(n, 1)) * (false[rng.integers(len(false), size=n)] - ends)
        return points[self.truth.support(points)]

    def _moved(self, minima: np.ndarray, scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The minimisers moved by a share of a scale (d,): a surrogate has to know what surrounds them."""
        low, high = limits(self.truth)
        moved = np.clip(minima + 0.05 * scale * rng.normal(size=minima.shape), low, high)
        return moved[self.truth.support(moved)]

    def _accuracy(self, model: DnnLik, rows: Data) -> tuple[float, float]:
        """Share of accurate answers, and the largest error within the reach."""
        theta, exact = rows.theta(), rows.logpdf()
        answer = model.members_logpdf(theta).mean(axis=1)
        near = exact > self.top - self.config.reach
        good = accurate(answer, exact, self.top)
        return float(good.mean()), float(np.abs(answer - exact)[near].max(initial=0.0))
