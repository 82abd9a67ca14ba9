r"""A signal's strength as one more nuisance of a counting experiment: x = mu s, so that mu is maximised with the rest.

    d lambda / d mu = d lambda / dx . s        d2 lambda / d mu dnu = s . d2 lambda / dx dnu        and likewise mu mu

Strengths are counted in units in which the lowest one allowed is the same for all signals, as bounds are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..statistics.counting import Constraints, CountingFit, CountingModel, Observation
from .asimov_signal import AsimovOfSignal
from .profiled import ProfiledSource, Starts, profile_from, sensible

__all__ = ["Strength", "maximise_along", "with_strength"]


class Strength:
    """A `counting.CurvedModel` whose inputs are signals (n, d) and whose last nuisance is their strength.

    Args:
        model: the experiment, whose inputs the signals are.
        lowest: bound of the strength.
    """

    def __init__(self, model: CountingModel, lowest: float) -> None:
        self.model: Any = model
        self.observation = with_strength(model.observation)
        precision, rate = (np.append(a, 0.0) for a in (model.constraints.precision, model.constraints.rate))
        self.constraints = Constraints(precision, rate)
        self.lower, self.upper = np.append(model.lower, lowest), np.append(model.upper, np.inf)
        self.start = np.append(model.start, 0.0)

    def hold(self, x: np.ndarray) -> np.ndarray:
        """The signals themselves: what the model holds changes with their strength."""
        return x

    def expected(self, held: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, d), (n, k + 1) -> (n, B)."""
        return self.model.expected(self.model.hold(nu[:, -1:] * held), nu[:, :-1])

    def jacobian(self, held: np.ndarray, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, d), (n, k + 1) -> (n, B), (n, B, k + 1)."""
        x = nu[:, -1:] * held
        expected, jacobian = self.model.jacobian(self.model.hold(x), nu[:, :-1])
        return expected, np.concatenate([jacobian, self._slope(x, nu[:, :-1], held)], axis=2)

    def inputs_jacobian(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, d), (n, k + 1) -> (n, B, d)."""
        return nu[:, -1, None, None] * self.model.inputs_jacobian(nu[:, -1:] * x, nu[:, :-1])

    def curvature(self, held: np.ndarray, nu: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(n, d), (n, k + 1), (n, B) -> (n, k + 1, k + 1)."""
        x, rest = nu[:, -1:] * held, nu[:, :-1]
        both, mixed = self.model.inputs_curvature(x, rest, weights)
        k = rest.shape[1]
        out = np.zeros((len(x), k + 1, k + 1))
        out[:, :k, :k] = self.model.curvature(self.model.hold(x), rest, weights)
        out[:, k, :k] = out[:, :k, k] = (held[:, None, :] @ mixed)[:, 0]
        out[:, k, k] = (held[:, None, :] @ both @ held[:, :, None])[:, 0, 0]
        return out

    def sensible(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        """(n, d), (n, k + 1) -> (n,) bool, as the experiment says."""
        return sensible(self.model, nu[:, -1:] * x, nu[:, :-1])

    def _slope(self, x: np.ndarray, nu: np.ndarray, signal: np.ndarray) -> np.ndarray:
        """(n, B, 1) d lambda / d mu."""
        return self.model.inputs_jacobian(x, nu) @ signal[:, :, None]


def maximise_along(
    source: ProfiledSource, signals: np.ndarray, *, allow_negative: bool
) -> tuple[list[CountingFit], np.ndarray]:
    """The maxima over nuisances and strength for each data set; and the units (n,) that strengths are counted in.

    Args:
        source: of the profiled likelihood.
        signals: (n, d), none of them zero everywhere.
        allow_negative: whether strengths may be below 0, as far as the bounds of the inputs.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        lower, upper = source.parameters.lower / signals, source.parameters.upper / signals
    lowest = np.where(signals > 0, lower, np.where(signals < 0, upper, -np.inf)).max(axis=1)
    unit = np.where(np.isfinite(lowest) & (lowest < 0), -lowest, 1.0)
    model = Strength(source.model, -(1 - 1e-9) if allow_negative else 0.0)
    fits = []
    for head, seen in source.data.items():
        if isinstance(seen, AsimovOfSignal):
            fits.append(seen.maximum(source.model, signals, 1.0 / unit))
            continue
        starts = Starts.always(np.pad(source.starts[head].nu, ((0, 0), (0, 1))))
        fits.append(profile_from(model, signals * unit[:, None], with_strength(seen), starts, gradient=False))
    return fits, unit


def with_strength(seen: Observation) -> Observation:
    """A data set with a place for the strength, of which nothing has been measured."""

    def wider(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.zeros((*array.shape[:-1], 1))], axis=-1)

    return Observation(seen.counts, wider(seen.means), wider(seen.auxiliary))
