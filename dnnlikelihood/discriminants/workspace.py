r"""Templates as a HistFactory workspace in the JSON form of pyhf, ready for any likelihood tool.

    one channel, one sample a process, `normfactor` for every POI
    normsys  hi = sum H_up / sum H, lo = sum H_down / sum H      the change of the yield
    histosys hi_data = H_up / hi, lo_data = H_down / lo           the change of the shape at fixed yield
    staterror sqrt(V_k)                                           finite simulation, one parameter a bin

A nuisance whose constraint is not one shift wide is rescaled linearly to its standard deviation, since every
constraint of a workspace is a unit Gaussian; a free nuisance has none, and is refused. Interpolation is pyhf's default
(code4p for shapes, code4 for norms): smooth at 0, where code0 has a kink that makes the Asimov fit one-sided.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ConfigError
from .templates import Templates

__all__ = ["to_workspace"]

NEGLIGIBLE = 1e-9


def to_workspace(
    templates: Templates, *, channel: str = "discriminant", mc_statistics: bool = True, measurement: str = "measurement"
) -> dict[str, Any]:
    """A pyhf workspace with Asimov observations (r = 1, theta = 0).

    Args:
        templates: yields; bins in which nothing is expected are merged first.
        channel: name of the channel.
        mc_statistics: whether to add `staterror`.
        measurement: name of the first measurement, that of the first POI; `measurement_POI` are those of the others.

    Returns:
        A JSON-ready document.

    Raises:
        ConfigError: a free nuisance, or a varied yield that is not positive.
    """
    templates = templates.without_empty_bins()
    free = [n for n, c in zip(templates.nuisances, templates.constraints, strict=True) if not np.isfinite(c)]
    if free:
        raise ConfigError(
            f"nuisances {free} are free, but shapes of a workspace are constrained: give a wide constraint"
        )
    samples = [
        {
            "name": name,
            "data": templates.nominal[p].tolist(),
            "modifiers": [*_poi(templates, p), *_systematics(templates, p), *_mc(templates, p, channel, mc_statistics)],
        }
        for p, name in enumerate(templates.processes)
    ]
    parameters = [{"name": poi, "inits": [1.0], "bounds": [[-10.0, 10.0]]} for poi in templates.poi_names]
    names = {poi: f"{measurement}_{poi}" if i else measurement for i, poi in enumerate(templates.poi_names)}
    return {
        "channels": [{"name": channel, "samples": samples}],
        "observations": [{"name": channel, "data": templates.total.tolist()}],
        "measurements": [
            {"name": name, "config": {"poi": poi, "parameters": parameters}} for poi, name in names.items()
        ],
        "version": "1.0.0",
    }


def _poi(templates: Templates, p: int) -> list[dict[str, Any]]:
    poi = templates.pois[p]
    return [] if poi is None else [{"name": poi, "type": "normfactor", "data": None}]


def _mc(templates: Templates, p: int, channel: str, wanted: bool) -> list[dict[str, Any]]:  # noqa: FBT001
    errors = np.sqrt(templates.variance[p])
    if not wanted or not errors.any():
        return []
    return [{"name": f"mcstat_{channel}", "type": "staterror", "data": errors.tolist()}]


def _systematics(templates: Templates, p: int) -> list[dict[str, Any]]:
    nominal, out = templates.nominal[p], []
    total = float(nominal.sum())
    for j, name in enumerate(templates.nuisances):
        width = float(templates.constraints[j])
        up, down = (nominal + width * (h[j, p] - nominal) for h in (templates.up, templates.down))
        if np.allclose(up, nominal, rtol=NEGLIGIBLE) and np.allclose(down, nominal, rtol=NEGLIGIBLE):
            continue
        high, low = float(up.sum()) / total, float(down.sum()) / total
        if not (high > 0 and low > 0):
            raise ConfigError(
                f"nuisance {name!r}, process {templates.processes[p]!r}: at one standard deviation ({width:g} shifts) "
                "the yield is not positive; simulate the shift closer to its standard deviation"
            )
        if abs(high - 1) > NEGLIGIBLE or abs(low - 1) > NEGLIGIBLE:
            out.append({"name": name, "type": "normsys", "data": {"hi": high, "lo": low}})
        if templates.shape[j]:
            shapes = {"hi_data": (up / high).tolist(), "lo_data": (down / low).tolist()}
            out.append({"name": name, "type": "histosys", "data": shapes})
    return out
