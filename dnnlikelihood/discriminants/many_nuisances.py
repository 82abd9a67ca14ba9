r"""A generated analysis with 86 nuisances of which few matter, in the manner of a search for a Higgs boson.

One signal and four backgrounds over six features, each process a Gaussian with diagonal covariance:

    30 calibrations     the events of one or two processes move along a direction a_j: x -> x +- a_j
    26 event weights    w -> w exp(+-c_j tanh(b_j . x)) for one process
    30 normalisations   of one process

All densities are known, so that the unbinned bound is exact. Four calibrations and two event weights are large, along
directions that separate the signal; all others are an order of magnitude smaller. Directions and sizes are drawn once
from `DESIGN_SEED`; samples from the seed of the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .events import EventModel, Events, EventWeights, Normalisation, Process, ShiftedSamples
from .examples import Example, three_samples

__all__ = ["DESIGN_SEED", "many_nuisances"]

DESIGN_SEED = 86
FEATURES = tuple(f"x{i}" for i in range(6))
EXPECTED = {"H": 120.0, "Ztautau": 3000.0, "ttbar": 900.0, "fakes": 1500.0, "diboson": 250.0}
MEANS = {
    "H": (1.2, 0.8, 0.4, 0.3, 0.0, 0.0),
    "Ztautau": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "ttbar": (0.9, -0.9, 0.6, -0.4, 0.2, 0.0),
    "fakes": (-0.6, 0.5, -0.6, 0.5, 0.0, 0.2),
    "diboson": (0.8, 0.6, -0.3, 0.0, -0.3, 0.0),
}
SPREADS = {
    "H": (0.7, 0.8, 0.9, 1.0, 1.0, 1.0),
    "Ztautau": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "ttbar": (1.1, 0.9, 1.0, 1.0, 1.0, 1.0),
    "fakes": (1.1, 1.1, 1.1, 1.0, 1.0, 1.1),
    "diboson": (1.0, 1.0, 1.0, 1.0, 0.9, 1.0),
}
BACKGROUNDS = tuple(name for name in EXPECTED if name != "H")


@dataclass(frozen=True)
class _Calibration:
    name: str
    direction: np.ndarray
    processes: tuple[str, ...]


@dataclass(frozen=True)
class _Reweighting:
    name: str
    size: float
    direction: np.ndarray
    process: str

    def ratio(self, x: np.ndarray, sign: float) -> np.ndarray:
        return np.exp(sign * self.size * np.tanh(x @ self.direction))


def _design() -> tuple[list[_Calibration], list[_Reweighting], list[tuple[str, str, float]]]:
    rng = np.random.default_rng(DESIGN_SEED)

    def unit() -> np.ndarray:
        a = rng.normal(size=6)
        return a / np.linalg.norm(a)

    large = [("Ztautau", 0, 0.24), ("Ztautau", 1, -0.20), ("fakes", 2, 0.50), ("ttbar", 1, 0.40)]
    calibrations = [
        _Calibration(f"calibration_{j:02d}", size * np.eye(6)[axis], (process,))
        for j, (process, axis, size) in enumerate(large)
    ]
    for j in range(4, 30):
        n = 1 + int(rng.integers(2))
        processes = tuple(rng.choice(list(EXPECTED), n, replace=False).tolist())
        calibrations.append(_Calibration(f"calibration_{j:02d}", rng.uniform(0.003, 0.015) * unit(), processes))
    reweightings = [
        _Reweighting("weight_00", 0.2, np.eye(6)[0], "Ztautau"),
        _Reweighting("weight_01", 0.3, np.eye(6)[2], "fakes"),
    ]
    for j in range(2, 26):
        process = str(rng.choice(list(EXPECTED)))
        reweightings.append(_Reweighting(f"weight_{j:02d}", rng.uniform(0.002, 0.015), unit(), process))
    norms = [
        (f"norm_{j:02d}", str(rng.choice(BACKGROUNDS if j < 22 else list(EXPECTED))), float(rng.uniform(0.002, 0.02)))
        for j in range(30)
    ]
    return calibrations, reweightings, norms


def many_nuisances(seed: int = 0, n: int = 40_000, n_test: int = 100_000) -> Example:
    """The generated analysis.

    Args:
        seed: of the samples; the analysis itself never changes.
        n: events of each process in train and in validation.
        n_test: in the test model.
    """
    calibrations, reweightings, norms = _design()

    def build(rng: np.random.Generator, size: int) -> EventModel:
        events = {
            name: Events.of(
                rng.normal(MEANS[name], SPREADS[name], (size, 6)).astype(np.float32), FEATURES, expected=expected
            )
            for name, expected in EXPECTED.items()
        }

        def moved(process: str, step: np.ndarray) -> Events:
            nominal = events[process]
            return Events(FEATURES, (nominal.values + step).astype(np.float32), nominal.weights)

        nuisances = [
            *(
                ShiftedSamples(
                    c.name,
                    {p: (moved(p, c.direction), moved(p, -c.direction)) for p in c.processes},
                    same_events=True,
                )
                for c in calibrations
            ),
            *(
                EventWeights(
                    w.name, {w.process: tuple(w.ratio(events[w.process].values, sign) for sign in (1.0, -1.0))}
                )
                for w in reweightings
            ),
            *(Normalisation(name, {process: (1 + size, 1 - size)}) for name, process, size in norms),
        ]
        processes = tuple(Process(name, e, poi="r" if name == "H" else None) for name, e in events.items())
        return EventModel(processes, tuple(nuisances))

    def density(process: str, x: np.ndarray) -> np.ndarray:
        spread = np.array(SPREADS[process])
        z = (x - np.array(MEANS[process])) / spread
        return EXPECTED[process] * np.exp(-0.5 * (z**2).sum(axis=1)) / (np.prod(spread) * (2 * np.pi) ** 3)

    def scores(x: np.ndarray) -> np.ndarray:
        x = x.astype(float)
        f = {process: density(process, x) for process in EXPECTED}
        columns = [f["H"]]
        for c in calibrations:
            differences = [density(p, x - c.direction) - density(p, x + c.direction) for p in c.processes]
            columns.append(0.5 * np.sum(differences, axis=0))
        columns += [0.5 * f[w.process] * (w.ratio(x, 1.0) - w.ratio(x, -1.0)) for w in reweightings]
        columns += [f[process] * size for _, process, size in norms]
        return np.stack(columns, axis=1) / np.sum(list(f.values()), axis=0)[:, None]

    return Example(*three_samples(build, seed, n, n_test), scores)
