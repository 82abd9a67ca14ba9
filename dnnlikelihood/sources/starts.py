"""Where fits of a profiled likelihood begin, so that each finds the highest of several valleys.

On trial signals every fit is begun at many places: the nominal nuisances and random draws. Then each tries where others
ended, with other signals or other data, for valleys are of the experiment, and its other sides. Where one start reaches
all of these maxima, it will do. Otherwise some of those that it misses are tried as the next start, and the one that
brings most signals to their top is kept, until all are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..statistics.counting import CountingFit, CountingModel, Observation, maximise_nuisances
from .profiled import Starts, challenge, keep_better, profile_from, sensible, try_other_sides

__all__ = ["cover", "find_starts", "lead_first"]

DRAWS = 8
REACH, LEVELS = (0.4, 1.6), (0.02, 3.0)
"""Of random draws: standard deviations of the nuisances, and parts of where fits begin of free normalisations."""
CLOSE, SHARE = 0.005, 0.0003
"""A maximum is reached within so many nats, and such a part of what the signal costs."""
CANDIDATES = 6
"""Maxima that are tried as the next start."""
MOST = 8
"""Starts that are kept at most."""
SOONER = 0.25
"""A start is tried from such a part of the cost of the first trial signal that needs it, above that of no signal; by
all fits if a signal needs it that costs no more than none. Negative signals and others are told apart."""


def find_starts(
    model: CountingModel, signals: np.ndarray, data: Mapping[str, Observation], known: Sequence[Starts] = ()
) -> dict[str, Starts]:
    """For each data set, starts from which the highest maximum known of each trial signal is reached; the first one is
    the maximum of the first signal.

    Args:
        model: the experiment.
        signals: (n, d) trial signals, the first of them zero.
        data: the data sets, each for all signals or with a row for each.
        known: what was found with other data.
    """
    rows = {name: seen.each(len(signals)) for name, seen in data.items()}
    found = [start.nu for start in known]
    places = {name: np.concatenate([_random_places(model, i), *found]) for i, name in enumerate(rows)}
    tops = {name: _search(model, signals, seen, places[name]) for name, seen in rows.items()}
    every = np.arange(len(signals))
    for name, top in tops.items():
        for other in tops.values():
            if other is not top:
                challenge(model, signals, rows[name], top, every, other.nu, gradient=False)
        lead_first(model, signals, rows[name], top)
    return {name: cover(model, signals, rows[name], top) for name, top in tops.items()}


def _random_places(model: CountingModel, seed: int) -> np.ndarray:
    """(m, k) where to begin when nothing is known: where the model begins, and draws."""
    rng = np.random.default_rng(seed)
    precision = model.constraints.precision
    loose = np.flatnonzero((precision == 0) & (model.constraints.rate == 0))
    width = np.where(precision > 0, 1.0 / np.sqrt(np.where(precision > 0, precision, 1.0)), 0.3)
    drawn = model.start + np.linspace(*REACH, DRAWS)[:, None] * width * rng.normal(size=(DRAWS, len(model.start)))
    drawn[:, loose] = model.start[loose] * np.exp(
        rng.uniform(np.log(LEVELS[0]), np.log(LEVELS[1]), size=(DRAWS, len(loose)))
    )
    return np.clip(np.concatenate([model.start[None], drawn]), model.lower, model.upper)


def _search(model: CountingModel, signals: np.ndarray, seen: Observation, places: np.ndarray) -> CountingFit:
    """The highest maximum of each signal, begun at each of the places (m, k) and where others ended."""
    every = np.arange(len(signals))
    top = maximise_nuisances(model, signals, seen, start=places[0], gradient=False)
    for place in places[1:]:
        found = maximise_nuisances(model, signals, seen, start=place, gradient=False)
        keep_better(model, signals, top, every, found)
    negative = np.any(signals < 0, axis=1)
    for rows in (every, np.flatnonzero(negative), np.flatnonzero(~negative)):
        for distance in 2 ** np.arange(int(np.log2(max(len(rows), 1)))):
            challenge(model, signals, seen, top, rows, np.roll(top.nu[rows], distance, axis=0), gradient=False)
    try_other_sides(model, signals, seen, top, gradient=False)
    return top


def lead_first(model: CountingModel, signals: np.ndarray, seen: Observation, top: CountingFit) -> None:
    """The maximum of the first signal, begun at all others' maxima as well: every fit begins there."""
    alike = np.zeros(len(signals), int)
    found = maximise_nuisances(model, signals[alike], seen.rows(alike), start=top.nu, gradient=False)
    order = np.argsort(-found.value)
    sound = order[(found.converged & sensible(model, signals[alike], found.nu))[order]]
    keep_better(model, signals, top, alike[:1], found.rows(sound[:1]))


def cover(model: CountingModel, signals: np.ndarray, seen: Observation, top: CountingFit) -> Starts:
    """As few starts as reach the tops of all signals."""
    every = np.arange(len(signals))
    nu, cost = [top.nu[0].copy()], [np.zeros(2)]
    negative = np.any(signals < 0, axis=1)
    best = profile_from(model, signals, seen, Starts.always(top.nu[:1]), gradient=False)
    while len(nu) < MOST:
        keep_better(model, signals, top, every, best)
        missed = _missed(model, signals, top, best)
        tried = top.nu[missed[np.linspace(0, len(missed) - 1, min(CANDIDATES, len(missed))).astype(int)]]
        of_those = model, signals[missed], seen.rows(missed), top.rows(missed), best.rows(missed)
        reached = [_reached(*of_those, start) for start in tried]
        if not any(reached):
            break
        nu.append(tried[int(np.argmax(reached))].copy())
        before = best.rows(missed)
        challenge(model, signals, seen, best, every, nu[-1], gradient=False)
        needed = best.value[missed] != before.value
        misfit = -before.value[needed]
        kinds = [_of_kind(kind, negative, missed[needed]) for kind in (False, True)]
        cost.append(np.array([_cost(misfit[kind], -best.value[0]) for kind in kinds]))
        try_other_sides(model, signals, seen, best, gradient=False)
    return Starts(np.stack(nu), np.stack(cost))


def _of_kind(kind: bool, negative: np.ndarray, needed: np.ndarray) -> np.ndarray:  # noqa: FBT001
    """Which of those that need a start are negative, or not; all of them if no trial signal was of that kind."""
    return negative[needed] == kind if (negative[1:] == kind).any() else np.ones(len(needed), bool)


def _cost(misfit: np.ndarray, without: float) -> float:
    """The misfit from which on a start is tried, of those signals that need it."""
    least = misfit.min(initial=np.inf)
    return without + SOONER * (least - without) if least > without else 0.0


def _missed(model: CountingModel, signals: np.ndarray, top: CountingFit, best: CountingFit) -> np.ndarray:
    """(m,) signals whose top the best fit does not reach, the worst ones first."""
    lack = top.value - best.value - CLOSE + SHARE * top.value
    lack[~(top.converged & sensible(model, signals, top.nu))] = -np.inf
    order = np.argsort(-lack, kind="stable")
    return order[lack[order] > 0]


def _reached(
    model: CountingModel, signals: np.ndarray, seen: Observation, top: CountingFit, best: CountingFit, start: np.ndarray
) -> int:
    """How many signals reach their top from a start, that the best fits do not reach."""
    best = best.rows(slice(None))
    challenge(model, signals, seen, best, np.arange(len(signals)), start, gradient=False)
    return len(signals) - len(_missed(model, signals, top, best))
