r"""Questions to a training: event models changed on purpose, and shares of processes in classes.

injected          one more nuisance: the yield of a process in one bin of a discriminant, times 1 +- relative. What
                  is trained next should move its information out of that bin
down_sampled      variations simulated with few events: their fluctuations look like shifts (and must warn)
largest_impacts   the nuisances that matter. Training on them alone comes close to training on all
class_shares      where processes end up: sum_s Delta r_s alone does not mind a class without events
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import ConfigError
from .events import EventModel, Events, EventWeights, ShiftedSamples
from .templates import Templates
from .trained import ClassBins, Trained
from .uncertainty import expected_uncertainty

__all__ = ["class_shares", "down_sampled", "injected", "largest_impacts"]


def injected(model: EventModel, trained: Trained, process: str, bin_index: int, relative: float) -> EventModel:
    """The model with a nuisance "injected": the events of a process in one bin of a discriminant, scaled.

    Args:
        model: events.
        trained: whose bins are meant.
        process: its name.
        bin_index: 0 to K - 1, empty bins counted.
        relative: one standard deviation of the yield of that process in that bin, in (0, 1).

    Raises:
        ConfigError: an unknown process or bin, a bin without events of the process, or `relative` outside (0, 1).
    """
    events = model[process].events
    if not (0 <= bin_index < trained.n_bins and 0 < relative < 1):
        raise ConfigError(f"cannot inject {relative} into bin {bin_index} of {trained.n_bins}")
    inside = trained.transform(events).bin_index == bin_index
    if not inside.any():
        raise ConfigError(f"bin {bin_index} holds no events of {process!r}: inject where there are some")
    ratios = tuple(np.where(inside, 1.0 + sign * relative, 1.0) for sign in (1, -1))
    return EventModel(model.processes, (*model.nuisances, EventWeights("injected", {process: ratios})))


def down_sampled(model: EventModel, nuisance: str, n_events: int, seed: int = 0) -> EventModel:
    """The model with the variations of one nuisance simulated by `n_events` events each, yields kept.

    Raises:
        ConfigError: no such nuisance, one that is no pair of samples, or more events than there are.
    """
    rng = np.random.default_rng(seed)

    def few(events: Events) -> Events:
        if not 0 < n_events <= len(events):
            raise ConfigError(f"nuisance {nuisance!r}: cannot draw {n_events} of {len(events)} events")
        rows = rng.choice(len(events), n_events, replace=False)
        expected = float(events.weights.sum())
        return Events.of(events.values[rows], events.features, weights=events.weights[rows], expected=expected)

    found = next((n for n in model.nuisances if n.name == nuisance), None)
    if not isinstance(found, ShiftedSamples):
        names = [n.name for n in model.nuisances if isinstance(n, ShiftedSamples)]
        raise ConfigError(f"{nuisance!r} is no nuisance of shifted samples; those are {names}")
    pairs = {process: (few(up), few(down)) for process, (up, down) in found.variations.items()}
    sparse = replace(found, variations=pairs, same_events=False)
    return EventModel(model.processes, tuple(sparse if n is found else n for n in model.nuisances))


def largest_impacts(templates: Templates, n: int) -> tuple[str, ...]:
    """The `n` nuisances with the largest impact on any signal strength, largest first.

    Args:
        templates: of a discriminant that is at hand, such as a cross entropy.
        n: how many, at least 1.

    Raises:
        ConfigError: fewer nuisances than asked for.
    """
    if not 1 <= n <= len(templates.nuisances):
        raise ConfigError(f"{n} of {len(templates.nuisances)} nuisances: ask for 1 to {len(templates.nuisances)}")
    impact = np.abs(expected_uncertainty(templates.without_empty_bins()).impacts).max(axis=0)
    return tuple(templates.nuisances[j] for j in np.argsort(-impact, kind="stable")[:n])


def class_shares(trained: Trained, model: EventModel) -> np.ndarray:
    """(P, C) share of the yield of every process that lies in each class; an empty class is a column of zeros.

    Args:
        trained: with classes of processes.
        model: events.

    Raises:
        ConfigError: a discriminant without classes.
    """
    bins = trained.bins
    if not isinstance(bins, ClassBins) or len(bins.edges) < 2:
        raise ConfigError(f"the bins of {trained.trainer!r} have no classes; train with classes='processes'")
    nominal = trained.templates(model, merge=False).nominal
    inside = nominal.reshape(len(nominal), len(bins.edges), -1).sum(axis=2)
    return np.asarray(inside / inside.sum(axis=1, keepdims=True))
