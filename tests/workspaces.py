"""Small HistFactory workspaces of our own, which between them hold every modifier type, and random ones from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np


def modifier(kind: str, name: str, data: Any = None) -> dict[str, Any]:
    return {"type": kind, "name": name, "data": data}


def sample(name: str, data: list[float], *modifiers: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "data": data, "modifiers": list(modifiers)}


def workspace(
    channels: dict[str, list[dict[str, Any]]],
    observed: dict[str, list[float]],
    parameters: list[dict[str, Any]] | None = None,
    poi: str = "mu",
) -> dict[str, Any]:
    return {
        "channels": [{"name": name, "samples": samples} for name, samples in channels.items()],
        "observations": [{"name": name, "data": data} for name, data in observed.items()],
        "measurements": [{"name": "fit", "config": {"poi": poi, "parameters": parameters or []}}],
        "version": "1.0.0",
    }


MU = modifier("normfactor", "mu")
LUMI = modifier("lumi", "lumi")
LUMI_PARAMETER = {
    "name": "lumi",
    "auxdata": [1.0],
    "sigmas": [0.02],
    "bounds": [[0.9, 1.1]],
    "inits": [1.0],
}


def search() -> dict[str, Any]:
    """Two signal regions, two control regions, a validation region; every modifier type but shapefactor."""

    def energy(low: list[float], high: list[float]) -> dict[str, Any]:
        return modifier("histosys", "energy", {"lo_data": low, "hi_data": high})

    def scale(name: str, lo: float, hi: float) -> dict[str, Any]:
        return modifier("normsys", name, {"lo": lo, "hi": hi})

    top = modifier("normfactor", "mu_top")
    channels = {
        "SRhigh": [
            sample("signal", [4.0, 6.0], MU, LUMI, scale("pdf", 0.9, 1.12)),
            sample(
                "top",
                [12.0, 5.0],
                top,
                LUMI,
                energy([11.0, 4.2], [13.5, 5.4]),
                scale("pdf", 0.93, 1.06),
                modifier("staterror", "mc_SRhigh", [1.1, 0.8]),
            ),
            sample("fakes", [3.0, 1.5], modifier("shapesys", "fake_rate", [1.2, 0.6]), scale("trigger", 0.97, 1.02)),
        ],
        "SRlow": [
            sample("signal", [2.5], MU, LUMI),
            sample("top", [21.0], top, LUMI, energy([19.0], [22.5]), modifier("staterror", "mc_SRlow", [0.9])),
        ],
        "CRtop": [
            sample("signal", [0.4, 0.2], MU, LUMI),
            sample("top", [110.0, 70.0], top, LUMI, energy([106.0, 66.0], [113.0, 75.0]), scale("pdf", 0.98, 1.03)),
            sample("fakes", [7.0, 4.0], scale("trigger", 0.8, 1.3), modifier("staterror", "mc_CRtop", [0.7, 0.0])),
        ],
        "VRtop": [sample("top", [55.0], top, LUMI, energy([52.0], [56.0]))],
    }
    observed = {"SRhigh": [17.0, 4.0], "SRlow": [24.0], "CRtop": [121.0, 66.0], "VRtop": [60.0]}
    return workspace(channels, observed, [LUMI_PARAMETER])


def data_driven() -> dict[str, Any]:
    """A shapefactor shared by a signal and a control region, a fixed nuisance, a staterror that is nowhere needed."""
    shape = modifier("shapefactor", "qcd_shape")
    shift = modifier("histosys", "shift", {"lo_data": [8.5, 7.0], "hi_data": [11.0, 9.5]})
    channels = {
        "SR": [
            sample("signal", [3.0, 5.0], MU),
            sample("qcd", [10.0, 8.0], shape, shift, modifier("normsys", "eff", {"lo": 0.7, "hi": 1.4})),
        ],
        "CR": [
            sample("qcd", [100.0, 80.0], shape, modifier("normsys", "eff", {"lo": 0.85, "hi": 1.1})),
            sample("other", [20.0, 0.0], modifier("shapesys", "other_shape", [4.0, 0.0]), modifier("lumi", "lumi")),
        ],
    }
    parameters = [{**LUMI_PARAMETER, "fixed": True, "inits": [1.01]}, {"name": "eff", "inits": [0.3], "fixed": True}]
    return workspace(channels, {"SR": [12.0, 15.0], "CR": [126.0, 77.0]}, parameters)


def counting(observed: float = 7.0, background: float = 5.0, uncertainty: float = 1.0) -> dict[str, Any]:
    """One bin with a Poisson auxiliary measurement: everything is known in closed form."""
    samples = [
        sample("signal", [1.0], MU),
        sample("background", [background], modifier("shapesys", "control", [uncertainty])),
    ]
    return workspace({"SR": samples}, {"SR": [observed]})


def absorbed() -> dict[str, Any]:
    """A signal region whose only background floats, and the control region that fixes it."""
    free = modifier("normfactor", "mu_top")
    channels = {
        "SR": [sample("top", [9.0], free, modifier("normsys", "pdf", {"lo": 0.9, "hi": 1.1})), sample("rare", [0.5])],
        "CR": [sample("top", [90.0], free)],
    }
    return workspace(channels, {"SR": [10.0], "CR": [95.0]})


def random_workspace(seed: int) -> dict[str, Any]:
    """Channels, samples and modifiers of every type, drawn from a seed; signal, control and validation regions."""
    rng = np.random.default_rng(seed)
    names = [f"SR{i}" for i in range(rng.integers(1, 4))] + [f"CR{i}" for i in range(rng.integers(1, 3))]
    names += ["VR"] * int(rng.integers(0, 2))
    alphas = [f"alpha{i}" for i in range(rng.integers(2, 7))]
    channels, observed = {}, {}
    for name in names:
        bins, size = int(rng.integers(1, 4)), 8.0 if name.startswith("SR") else 80.0
        samples = [sample("signal", rng.exponential(3.0, bins).round(3).tolist(), MU, LUMI)]
        for s in range(int(rng.integers(1, 4))):
            data = (size * rng.uniform(0.3, 1.5, bins)).round(3)
            samples.append(sample(f"bkg{s}", data.tolist(), *_random_modifiers(rng, name, s, data, alphas)))
        channels[name] = samples
        observed[name] = rng.poisson(sum(np.array(s["data"]) for s in samples[1:])).astype(float).tolist()
    return workspace(channels, observed, [LUMI_PARAMETER])


def _random_modifiers(
    rng: np.random.Generator, channel: str, s: int, data: np.ndarray, alphas: list[str]
) -> list[dict[str, Any]]:
    out = [LUMI] if rng.uniform() < 0.7 else []
    for alpha in alphas:
        kind = rng.uniform()
        if kind < 0.4:
            lo, hi = (data * (1 + rng.normal(scale=0.1, size=(2, 1)))).clip(0.01).round(4)
            out.append(modifier("histosys", alpha, {"lo_data": lo.tolist(), "hi_data": hi.tolist()}))
        if 0.25 < kind < 0.7:
            factors = np.exp(rng.normal(scale=0.12, size=2)).round(4)
            out.append(modifier("normsys", alpha, {"lo": float(factors[0]), "hi": float(factors[1])}))
    if s == 0:
        out.append(modifier("normfactor", "mu_bkg"))
        out.append(modifier("staterror", f"mc_{channel}", (0.1 * data).round(3).tolist()))
    if s == 1 and rng.uniform() < 0.6:
        out.append(modifier("shapesys", f"shape_{channel}", (0.2 * data).round(3).tolist()))
    return out


def two_sided_workspace() -> dict[str, Any]:
    """Up and down both add to the first bin; in the second they differ, so that either may be the better side."""
    both = {"hi_data": [15.0, 33.0], "lo_data": [14.6, 27.0]}
    background = {
        "name": "background",
        "data": [10.0, 30.0],
        "modifiers": [{"name": "tune", "type": "histosys", "data": both}],
    }
    poi = {"name": "measurement", "config": {"poi": "mu", "parameters": []}}
    return {
        "channels": [{"name": "SR", "samples": [background]}],
        "observations": [{"name": "SR", "data": [17.0, 31.0]}],
        "measurements": [poi],
        "version": "1.0.0",
    }
