"""Figures of others that this package is measured against: each with its unit and where it was published.

`published.json` is their one home; benchmarks, tables and README read them here. Exact values of the toy search and
its curves of t_mu stand in `toy_lhc.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ..errors import ConfigError

__all__ = ["NETWORKS", "Figure", "figure", "figures"]

NETWORKS = ("B1", "B2", "B3", "F1", "F2", "F3")
"""Of arXiv:1911.03305: B trained on the unbiased sample S1, F on the mixture S3; 1, 2 and 5 x 1e5 points."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One cited figure."""

    value: Any
    """A number, a list of numbers, or a mapping (of network to number, say)."""
    unit: str
    source: str
    """Citation."""
    what: str

    def best(self) -> float:
        """The lowest value: the hardest to beat where lower is better."""
        return min(self.value.values()) if isinstance(self.value, dict) else self.value


@cache
def figures() -> dict[str, Figure]:
    """All of them, by key."""
    table = json.loads(resources.files(__package__).joinpath("published.json").read_text("utf-8"))
    return {
        key: Figure(entry["value"], entry.get("unit", ""), table["sources"][entry["source"]], entry.get("what", ""))
        for key, entry in table["figures"].items()
    }


def figure(key: str) -> Figure:
    """The figure of that key.

    >>> figure("network/parameters").value
    25490001

    Raises:
        ConfigError: no such figure.
    """
    if key not in figures():
        raise ConfigError(f"no published figure {key!r}; there are {sorted(figures())}")
    return figures()[key]
