r"""Many signals measured together: S signals and B backgrounds, each a Gaussian over six features.

Signals stand around the origin, each along a direction of its own; backgrounds lie among them. Every background moves
along a direction (a calibration) and has an uncertain yield. All densities are known, so that the unbinned bound is
exact. Means, directions and sizes are drawn once from `DESIGN_SEED`, samples from the seed of the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from .events import EventModel, Events, Normalisation, Process, ShiftedSamples
from .examples import Example, three_samples

__all__ = ["DESIGN_SEED", "MOST_SIGNALS", "many_signals"]

DESIGN_SEED = 15
MOST_SIGNALS = 15
MOST_BACKGROUNDS = 8
FEATURES = tuple(f"x{i}" for i in range(6))
NORM = 0.05


@dataclass(frozen=True)
class _Density:
    """One process: yield times a Gaussian of one width."""

    expected: float
    mean: np.ndarray
    width: float

    def __call__(self, x: np.ndarray, step: np.ndarray | float = 0.0) -> np.ndarray:
        z = (x - step - self.mean) / self.width
        norm = self.expected / (self.width * np.sqrt(2 * np.pi)) ** x.shape[1]
        return norm * np.exp(-0.5 * (z**2).sum(axis=1))


def _directions(n: int, rng: np.random.Generator) -> np.ndarray:
    a = rng.normal(size=(n, len(FEATURES)))
    return a / np.linalg.norm(a, axis=1, keepdims=True)


def many_signals(
    n_signals: int = 2, n_backgrounds: int = 5, seed: int = 0, n: int = 20_000, n_test: int = 100_000
) -> Example:
    """Signals S1, S2 ... with strengths r_1, r_2 ... over backgrounds B1, B2 ...

    Args:
        n_signals: 1 to 15; the analyses of fewer signals are part of those of more.
        n_backgrounds: 1 to 8.
        seed: of the samples; the analysis itself never changes.
        n: events of each process in train and in validation.
        n_test: in the test model.

    Raises:
        ConfigError: numbers outside these ranges.

    >>> many_signals(3, 2, n=10, n_test=10).train.pois
    ('r_1', 'r_2', 'r_3')
    """
    if not (1 <= n_signals <= MOST_SIGNALS and 1 <= n_backgrounds <= MOST_BACKGROUNDS):
        raise ConfigError(
            f"{n_signals} signals and {n_backgrounds} backgrounds: choose 1 to {MOST_SIGNALS} and 1 to "
            f"{MOST_BACKGROUNDS}"
        )
    rng = np.random.default_rng(DESIGN_SEED)
    towards, among, steps = (_directions(k, rng) for k in (MOST_SIGNALS, MOST_BACKGROUNDS, MOST_BACKGROUNDS))
    yields, sizes = rng.uniform(60, 200, MOST_SIGNALS), rng.uniform(0.1, 0.3, MOST_BACKGROUNDS)
    signals = {f"S{i + 1}": _Density(yields[i], 2.0 * towards[i], 0.7) for i in range(n_signals)}
    backgrounds = {f"B{i + 1}": _Density(2000.0 / (i + 1), 0.8 * among[i], 1.0) for i in range(n_backgrounds)}
    moves = {name: sizes[i] * steps[i] for i, name in enumerate(backgrounds)}
    densities = signals | backgrounds

    def build(stream: np.random.Generator, size: int) -> EventModel:
        events = {
            name: Events.of(
                stream.normal(d.mean, d.width, (size, len(FEATURES))).astype(np.float32), FEATURES, expected=d.expected
            )
            for name, d in densities.items()
        }

        def moved(name: str, sign: float) -> Events:
            nominal = events[name]
            return Events(FEATURES, (nominal.values + sign * moves[name]).astype(np.float32), nominal.weights)

        calibrations = tuple(
            ShiftedSamples(f"{name}_calibration", {name: (moved(name, 1.0), moved(name, -1.0))}, same_events=True)
            for name in backgrounds
        )
        norms = tuple(Normalisation(f"{name}_norm", {name: (1 + NORM, 1 - NORM)}) for name in backgrounds)
        processes = tuple(
            Process(name, e, poi=f"r_{name[1:]}" if name in signals else None) for name, e in events.items()
        )
        return EventModel(processes, calibrations + norms)

    def scores(x: np.ndarray) -> np.ndarray:
        x = x.astype(float)
        f = {name: d(x) for name, d in densities.items()}
        columns = [f[name] for name in signals]
        columns += [0.5 * (d(x, moves[name]) - d(x, -moves[name])) for name, d in backgrounds.items()]
        columns += [NORM * f[name] for name in backgrounds]
        return np.stack(columns, axis=1) / np.sum(list(f.values()), axis=0)[:, None]

    return Example(*three_samples(build, seed, n, n_test), scores)
