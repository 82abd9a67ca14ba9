r"""A generated search for new physics in top-quark production: 16 coefficients, 40 bins, 60 nuisances, from a seed.

Nothing of it was measured. Coefficients have the names, and are scanned in the ranges, of searches for associated top
production (arXiv:2307.15761 and references there), so that scales and degeneracies are familiar. Yields are what a
simulation would give: each of E events e of a process in a bin has an amplitude vector A_e (r, d + 1), linear in c,

    w_e(c) = |A_e (1, c)|^2       Q(c) = sum_e w_e(c) / sum_e w_e(0)       S = sum_e A_e^T A_e / sum_e |A_e0|^2

so that S is positive semi-definite by construction. A coefficient that reaches c0 with interference kappa has

    A_ei = -(kappa A_e0 + sqrt(1 - kappa^2) z_e |A_e0|) / c0        z_e ~ N(0, 1 / r)
    Q    ~ 1 - 2 kappa c / c0 + (c / c0)^2

Where kappa is near 1 the yield falls to nearly nothing at c0 and is back at 2 c0: a second minimum of -log L. Where it
is near 0 the sign of c hardly matters. Counts are Poisson, at coefficients and nuisances drawn from the seed too.
"""

from __future__ import annotations

import numpy as np

from .eft_model import EftModel

__all__ = ["SEED", "generated"]

SEED = 10
"""Of the search that is meant if none is named: its deepest minima lie inside the box, several within half a nat."""
EVENTS, AMPLITUDES = 100, 3
CATEGORIES = {"2lss_m": 8, "2lss_p": 8, "3l_offZ": 10, "3l_onZ": 8, "4l": 6}
"""Bins of each, in the number of jets."""

COEFFICIENTS: dict[str, tuple[float, float, dict[str, tuple[float, float]]]] = {
    "ctW": (-4, 3, {"ttlnu": (9.0, 0.2), "ttll": (4.5, -0.1), "tllq": (4.2, 0.25)}),
    "ctZ": (-4, 4, {"ttll": (3.4, 0.05), "ttH": (10.0, 0.1)}),
    "ctp": (-14, 45, {"ttH": (17.0, 0.97)}),
    "cpQM": (-11, 30, {"ttll": (11.5, 0.96)}),
    "ctG": (-1.5, 1.5, {"ttH": (-0.6, 0.85), "ttlnu": (-4.0, 0.6), "ttll": (-3.0, 0.6)}),
    "cbW": (-5, 5, {"tllq": (4.5, 0.0), "ttlnu": (15.0, 0.0)}),
    "cpQ3": (-10, 7, {"tllq": (-4.2, 0.93), "ttlnu": (-30.0, 0.5)}),
    "cptb": (-17, 17, {"tllq": (15.0, 0.0)}),
    "cpt": (-25, 20, {"ttll": (-9.5, 0.95)}),
    "cQl3i": (-10, 10, {"ttlnu": (18.0, 0.1), "tllq": (14.0, -0.1)}),
    "cQlMi": (-8, 8, {"ttll": (8.5, -0.1)}),
    "cQei": (-7, 7, {"ttll": (8.0, 0.05)}),
    "ctli": (-8, 8, {"ttll": (8.7, 0.05)}),
    "ctei": (-8, 8, {"ttll": (8.6, -0.05)}),
    "ctlSi": (-8, 8, {"ttlnu": (14.0, 0.0), "ttll": (15.0, 0.0)}),
    "ctlTi": (-1.4, 1.4, {"ttlnu": (2.4, 0.0), "ttll": (3.0, 0.0)}),
}
"""Name -> low, high, and for each process that it reaches c0 and kappa."""

RATES = {
    "ttH": (14, 15, 16, 3, 2.0),
    "ttlnu": (32, 60, 22, 2, 0.6),
    "ttll": (16, 17, 28, 75, 12.0),
    "tllq": (3, 4, 5, 60, 1.0),
    "diboson": (10, 12, 18, 140, 25.0),
    "nonprompt": (55, 60, 25, 10, 0.8),
    "conversions": (8, 9, 6, 1, 0.5),
    "triboson": (1, 1, 2, 4, 1.0),
}
"""Process -> counts expected in the bin of fewest jets of each category."""

NUISANCES = {
    "norm": (8, 0.04, 0.25),
    "lumi": (1, 0.02, 0.02),
    "lepton": (7, 0.005, 0.02),
    "btag": (8, 0.005, 0.02),
    "jes": (12, 0.005, 0.03),
    "radiation": (8, 0.01, 0.04),
    "scale": (8, 0.01, 0.05),
    "nonprompt": (8, 0.02, 0.12),
}
"""Kind -> how many, and between which sizes ln kappa is drawn."""


def generated(seed: int = SEED) -> EftModel:
    """The search of a seed.

    >>> model = generated(1)
    >>> len(model.coefficients), len(model.bins), len(model.nuisances)
    (16, 40, 60)
    """
    rng = np.random.default_rng(seed)
    bins = tuple(f"{name}_{j}j" for name, n in CATEGORIES.items() for j in range(2, 2 + n))
    jets = np.concatenate([np.arange(n) / (n - 1) for n in CATEGORIES.values()])
    category = np.repeat(np.arange(len(CATEGORIES)), list(CATEGORIES.values()))
    low, high = (np.array([entry[side] for entry in COEFFICIENTS.values()], float) for side in (0, 1))
    processes = tuple(RATES)
    signals = tuple(p for p in processes if any(p in reach for _, _, reach in COEFFICIENTS.values()))
    rate = np.stack([_rates(rng, counts, jets, category) for counts in RATES.values()], axis=1)
    up, down, names = _nuisances(rng, processes, jets, category)
    structure = np.stack([_structure(rng, process, jets) for process in signals], axis=1)
    model = EftModel(
        coefficients=tuple(COEFFICIENTS),
        low=low,
        high=high,
        bins=bins,
        observed=np.zeros(len(bins)),
        processes=processes,
        rate=rate,
        signals=signals,
        structure=structure,
        nuisances=names,
        up=up,
        down=down,
        name=f"eft_generated_{seed}",
    )
    return _observe(rng, model)


def _rates(rng: np.random.Generator, counts: tuple[float, ...], jets: np.ndarray, category: np.ndarray) -> np.ndarray:
    """(B,) counts that fall with the number of jets."""
    fall = rng.uniform(1.2, 2.4)
    return np.array(counts, float)[category] * np.exp(-fall * jets + 0.15 * rng.normal(size=len(jets)))


def _structure(rng: np.random.Generator, process: str, jets: np.ndarray) -> np.ndarray:
    """(B, d + 1, d + 1) S from the amplitudes of simulated events."""
    shape = (len(jets), EVENTS, AMPLITUDES)
    amplitudes = np.zeros((*shape, len(COEFFICIENTS) + 1))
    first = 0.3 * rng.normal(size=shape)
    first[:, :, 0] += 1.0
    amplitudes[..., 0] = first
    length = np.linalg.norm(first, axis=2, keepdims=True)
    for i, (_, _, reach) in enumerate(COEFFICIENTS.values()):
        if process not in reach:
            continue
        c0, kappa = reach[process]
        other = rng.normal(size=shape) / np.sqrt(AMPLITUDES)
        # What does not interfere grows with energy, and with it the number of jets.
        energy = (1.0 + (1.0 - kappa**2) * (0.8 * (jets - 0.5) + 0.2 * rng.normal(size=len(jets))))[:, None, None]
        amplitudes[..., 1 + i] = -(kappa * first + np.sqrt(1 - kappa**2) * other * length * energy) / c0
    products = np.einsum("beri,berj->bij", amplitudes, amplitudes, optimize=True)
    return products / products[:, :1, :1]


def _nuisances(
    rng: np.random.Generator, processes: tuple[str, ...], jets: np.ndarray, category: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(k, B, P) ln kappa up and down, and the names."""
    up, down, names = [], [], []
    for kind, (count, least, most) in NUISANCES.items():
        for j in range(count):
            size = rng.uniform(least, most)
            effect = np.full((len(jets), len(processes)), size)
            if kind == "norm":
                effect *= np.arange(len(processes)) == j
            elif kind == "nonprompt":
                effect *= np.arange(len(processes)) == processes.index("nonprompt")
                effect *= rng.normal(0.6, 0.5, (len(jets), 1))
            elif kind in ("radiation", "scale"):
                effect *= np.arange(len(processes)) == j
                effect *= 0.5 + (jets if kind == "radiation" else 1.0 - jets)[:, None]
            elif kind in ("jes", "btag"):
                effect *= (2.0 * jets - 0.7)[:, None] * rng.normal(1.0, 0.3, effect.shape)
            elif kind == "lepton":
                effect *= rng.uniform(0.3, 1.5, len(CATEGORIES))[category][:, None]
            asymmetry = rng.normal(1.0, 0.2) if kind in ("jes", "radiation") else 1.0
            up.append(effect)
            down.append(effect * asymmetry)
            names.append(kind if count == 1 else f"{kind}_{processes[j] if kind in _BY_PROCESS else j + 1}")
    return np.array(up), np.array(down), tuple(names)


_BY_PROCESS = ("norm", "radiation", "scale")


def _observe(rng: np.random.Generator, model: EftModel) -> EftModel:
    """The same search with counts drawn at true coefficients and nuisances."""
    from dataclasses import replace

    from .eft_counts import EftCounts

    truth = np.clip(0.06 * (model.high - model.low) * rng.normal(size=len(model.low)), model.low, model.high)
    counts = EftCounts(model)
    nu = rng.normal(size=(1, len(model.nuisances)))
    return replace(model, observed=rng.poisson(counts.expected(counts.hold(truth[None]), nu)[0]).astype(float))
