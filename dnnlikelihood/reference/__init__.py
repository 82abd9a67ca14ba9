"""Published and exact numbers of likelihoods, by source name; empty answers where nothing was published.

`toy_lhc.json` holds, for the toy search: the exact maximum and t_mu (all kink orthants), the posterior of mu integrated
numerically, and the tables of arXiv:1911.03305.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["hpdi", "maximum", "paper_hpdi", "paper_network_tmu", "paper_tmu", "tmu"]


@cache
def _numbers(source: str) -> dict[str, Any]:
    file = resources.files(__package__).joinpath(f"{source}.json")
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def maximum(source: str) -> float | None:
    """Exact maximum of logpdf."""
    return _numbers(source).get("global_max", {}).get("logprob")


def tmu(source: str) -> dict[float, float]:
    """Exact t_mu where the paper quotes it: {mu: t_mu}."""
    exact = {round(row["mu"], 6): row["t_mu"] for row in _numbers(source).get("t_mu_exact", [])}
    return {mu: exact[mu] for mu in paper_tmu(source)}


def paper_tmu(source: str) -> dict[float, float]:
    """The paper's numerical maximisation: {mu: t_mu}."""
    return {round(row["mu"], 6): row["t_mu"] for row in _numbers(source).get("t_mu_paper_powell", [])}


def paper_network_tmu(source: str) -> dict[float, float]:
    """The paper's best network, F3, maximised: {mu: t_mu}."""
    best = _numbers(source).get("t_mu_paper_DNN", {}).get("F3", [])
    return {round(row["mu"], 6): row["t_mu"] for row in best}


def hpdi(source: str, lower: float | None, level: float) -> list[float] | None:
    """Integrated HPDI [low, high] of the POI, given that it is above `lower` (None: no condition)."""
    posterior = _numbers(source).get("exact_posterior_mu", {})
    if lower is None:
        return posterior.get("HPDI_mu>-1", {}).get(f"{level:g}")
    upper = posterior.get("HPDI_mu>0_upper", {}).get(f"{level:g}") if lower == 0.0 else None
    return None if upper is None else [0.0, upper]


def paper_hpdi(source: str, lower: float | None, level: float) -> list[float] | None:
    """The paper's HPDI [low, high] from its samples."""
    table = _numbers(source).get("HPDI_paper", {})
    return table.get("mu>-1" if lower is None else "mu>0", {}).get(f"{level:g}")
