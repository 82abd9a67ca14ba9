r"""The profiled likelihood of an effective-theory fit, from nothing to a published folder: `learn_eft(truth, folder)`.

    valleys of the truth -> first rows -> rounds: train, ask, label, measure -> training -> tests -> published, verified

Four tests, all of rows that nothing was learned or selected from, with a seed of their own:

    held out          drawn as the first rows are: flat in delta_nll about the valleys, and drawn in from the box
    own posterior     draws of the finished surrogate at T = 1
    own minimisers    its maxima with one or two coefficients held at random values
    frozen            points with all but one or two coefficients at 0 or in a valley

Targets are shares of accurate answers, |error| < 0.05 or < 1 % of delta_nll (`active`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .active import ActiveConfig, ActiveLesson, active_data, drawn_in, frozen, lessons, own_minimisers, own_posterior
from .config import Config, require
from .data import Data
from .dnnlik import DnnLik
from .inference import Inference
from .jsonfiles import pretty
from .learn_eft_plots import draw
from .learn_profiled import LOW, Findings, LearnedProfiled, LearnProfiledConfig, learn_profiled
from .likelihood import Likelihood
from .networks.recipe import DnnLikConfig
from .npzfiles import first_drawn
from .profiled import ProfiledLikelihood
from .protocols import LogDensity
from .results import Valleys
from .sampling.profiled_designs import laplace, shrunken
from .statistics.profile import limits
from .store import write_text

__all__ = ["LearnEftConfig", "first_design", "learn_eft"]

POSTERIOR, MINIMISERS, FROZEN = "own posterior", "own profile minimisers", "others frozen"
APART = 1000
"""Added to the seed for what is only tested on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnEftConfig(Config):
    """How much of everything; `preset("quick")` takes a CPU-minute, the default about five; figures one more each."""

    active: ActiveConfig = field(default_factory=ActiveConfig)
    n_shown: int = 8_000_000
    """Rows each member of the published surrogate is shown, at most: if all rounds are needed."""
    n_members: int = 2
    n_test: int = 4_000
    n_own: int = 2_000
    """Labels for each of the surrogate's own tests."""
    held_out: float = 0.998
    """Share of accurate answers that is promised on the held-out rows, all and those below 10 nats."""
    own: float = 0.99
    """And on the surrogate's own points."""

    def validate(self) -> None:
        """Enough to test on, shares."""
        for name, least in (("n_shown", 1000), ("n_members", 1), ("n_test", 200), ("n_own", 100)):
            require(getattr(self, name) >= least, f"{name} is {getattr(self, name)}, must be at least {least}")
        require(0 < self.held_out <= 1 and 0 < self.own <= 1, "held_out and own must be shares in (0, 1]")

    @property
    def most_rows(self) -> int:
        """To learn from, if all rounds are needed."""
        a = self.active
        return a.n_first + a.n_rounds * (a.n_posterior + a.n_minimisers + a.n_frozen)

    @classmethod
    def preset(cls, name: str) -> LearnEftConfig:
        """The amounts called quick or full.

        Raises:
            ConfigError: another name.
        """
        require(name in ("quick", "full"), f"preset {name!r} is neither quick nor full")
        if name == "full":
            return cls()
        active = ActiveConfig(n_first=6000, n_rounds=1, n_shown=1_000_000)
        return cls(active=active, n_shown=1_500_000, n_members=1, n_test=1000, n_own=500, held_out=0.95, own=0.8)


class _ActiveRows:
    """The rows of `active_data` and a test set apart; part of the request of `learn_profiled`."""

    def __init__(self, config: LearnEftConfig) -> None:
        self.config = config
        self.lesson: ActiveLesson | None = None

    def to_json(self) -> dict[str, Any]:
        return {"rows": "active_data", **self.config.to_json()}

    def __call__(self, truth: LogDensity, folder: Path, *, progress: bool) -> Data:
        active = self.config.active
        recipe = _recipe(truth)(active.n_first, active.n_shown, n_members=1) if _is_gaussian(truth) else None
        self.lesson = active_data(truth, active, folder / "active", model=recipe, progress=progress)
        theta = first_design(truth, self.lesson.valleys, self.config.n_test, active.seed + APART, active.reach)
        theta = first_drawn(folder / "design_test.npz", theta)
        test = Data.label(truth, theta, folder=folder / "rows_test", split="test", kind="test", progress=progress)
        return lessons(Data.concatenate([self.lesson.data, test], drop_duplicates=True))


def first_design(truth: LogDensity, known: Valleys, n: int, seed: int, reach: float) -> np.ndarray:
    """(<= n, d) new points of the distribution that the first rows have."""
    rng, (low, high) = np.random.default_rng(seed), limits(truth)
    hess = truth.logpdf_grad_hess(known.theta)[2]
    near = laplace(known, hess, n // 2, rng, low, high, reach)
    wide = drawn_in(truth, known, shrunken(known, n - n // 2, rng, low, high), reach)
    points = rng.permutation(np.concatenate([near, wide]))
    return points[truth.support(points)]


def learn_eft(
    truth: ProfiledLikelihood | Likelihood,
    folder: str | Path,
    *,
    config: LearnEftConfig | None = None,
    name: str = "eft",
    progress: bool = True,
    **about: Any,
) -> LearnedProfiled:
    """Learn a profiled effective-theory likelihood from beginning to end; killed, the same call continues.

    Args:
        truth: of one head, as `ProfiledLikelihood.from_eft` makes it of counts, and
            `Likelihood.from_source("eft_gaussian", document=...)` of measurements with a covariance.
        folder: where everything goes.
        config: how much.
        name: of the published model.
        progress: show bars on a terminal.
        about: as in `learn_profiled`: command, description, references, licence, ...

    Returns:
        The summary has, beside what `learn_profiled` says, the rounds, the valleys of truth and surrogate, the targets
        above, and `n_fits`, all fits that were made before the last training, by purpose in `fits`.

    Raises:
        ConfigError, StaleArtifact, TrainingError, LikelihoodError: as `learn_profiled`.
    """
    config = config or LearnEftConfig()
    rows = _ActiveRows(config)
    recipe = _recipe(truth)(config.most_rows, config.n_shown, n_members=config.n_members)
    if _is_gaussian(truth):
        about = {"definition": "Natural logarithm of the likelihood: minus half of chi squared", **about}
    learned = learn_profiled(
        truth,
        folder,
        config=LearnProfiledConfig(n_labels=config.most_rows, model=recipe, seed=config.active.seed),
        rows=rows,
        held_out={
            POSTERIOR: _own_posterior(rows, config),
            MINIMISERS: _own_minimisers(rows, config),
            FROZEN: _frozen(rows, config),
        },
        examine=_figures(truth, rows, Path(folder)),
        name=name,
        progress=progress,
        **about,
    )
    _complete(learned, rows, config)
    write_text(learned.folder / "summary.json", pretty(learned.summary))
    return learned


def _is_gaussian(truth: LogDensity) -> bool:
    """Whether it is of measurements with a covariance, not of counts."""
    return getattr(getattr(truth, "source", None), "name", "") == "eft_gaussian"


def _recipe(truth: LogDensity) -> Callable[..., DnnLikConfig]:
    """The kind of network that has the form of the likelihood."""
    return DnnLikConfig.quartic if _is_gaussian(truth) else DnnLikConfig.counting


def _figures(truth: LogDensity, rows: _ActiveRows, folder: Path) -> Any:
    def examine(model: DnnLik, tests: Mapping[str, Data]) -> Findings:
        drawn = draw(folder / "plots", truth, model, tests["held out"], _known(rows).valleys.theta)
        return Findings({}, plots=drawn)

    return examine


def _own_posterior(rows: _ActiveRows, config: LearnEftConfig) -> Any:
    def draw(model: DnnLik) -> np.ndarray:
        rng = np.random.default_rng(config.active.seed + APART + 1)
        return own_posterior(model, _good(rows, config), (1.0,), config.n_own, rng)[0]

    return draw


def _own_minimisers(rows: _ActiveRows, config: LearnEftConfig) -> Any:
    def draw(model: DnnLik) -> np.ndarray:
        rng = np.random.default_rng(config.active.seed + APART + 2)
        return own_minimisers(model, _good(rows, config), config.n_own, rng, config.active.reach)

    return draw


def _frozen(rows: _ActiveRows, config: LearnEftConfig) -> Any:
    def draw(model: DnnLik) -> np.ndarray:
        rng, active = np.random.default_rng(config.active.seed + APART + 3), config.active
        return frozen(model, _good(rows, config), _known(rows).valleys.theta, config.n_own, rng, active.reach)

    return draw


def _good(rows: _ActiveRows, config: LearnEftConfig) -> np.ndarray:
    """(m, d) valleys and rows that lie low: where questions begin."""
    lesson = _known(rows)
    theta, height = lesson.data.theta("train"), lesson.data.logpdf("train")
    return np.concatenate([lesson.valleys.theta, theta[height > height.max() - 0.25 * config.active.reach]])


def _known(rows: _ActiveRows) -> ActiveLesson:
    if rows.lesson is None:
        raise AssertionError("rows are asked for before anything is tested")
    return rows.lesson


def _complete(learned: LearnedProfiled, rows: _ActiveRows, config: LearnEftConfig) -> None:
    """Rounds, valleys and the targets of an effective-theory fit, added to the summary."""
    lesson, summary = _known(rows), learned.summary
    own = Inference(learned.model).valleys(n_starts=32, starts=_inside(learned.model, lesson.valleys.theta))
    summary |= {"fits": lesson.fits, "n_fits": sum(lesson.fits.values())}
    summary["rounds"] = [
        {
            "n_rows": r.n_rows,
            "posterior": r.posterior,
            "minimisers": r.minimisers,
            "frozen": r.frozen,
            "valleys": r.valleys,
            "worst": r.worst,
        }
        for r in lesson.rounds
    ]
    summary["valleys"] = {"truth": _valleys(lesson.valleys), "surrogate": _valleys(own)}
    share = {row["where"]: row["within"] for row in summary["accuracy"]}
    promised = {
        "held out": config.held_out,
        f"held out, delta_nll < {LOW:g}": config.held_out,
        POSTERIOR: config.own,
        MINIMISERS: config.own,
        FROZEN: config.own,
    }
    summary["targets"] += [
        {
            "target": f"share accurate, {where}",
            "value": share[where],
            "limit": limit,
            "met": bool(share[where] >= limit),
        }
        for where, limit in promised.items()
        if where in share
    ]


def _inside(model: DnnLik, theta: np.ndarray) -> np.ndarray:
    return theta[model.support(theta)]


def _valleys(found: Valleys) -> dict[str, Any]:
    keys = ("theta", "logpdf", "on_edge", "n_climbs")
    return {"delta_nll": found.delta_nll.tolist()} | {k: getattr(found, k).tolist() for k in keys}
