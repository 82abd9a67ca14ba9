"""Where the rows of a `Data` come from, and how they were dealt: all that is known beside the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config import Config, require
from ..parameters import ParameterSpace
from ..priors import Prior
from ..protocols import Kind

__all__ = ["DataConfig", "Provenance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig(Config):
    """How rows are dealt and labelled.

    Attributes:
        fractions: of train, validation and test; they sum to 1.
        seed: of the deal.
        batch_size: rows labelled at a time: what a kill can lose.
    """

    fractions: tuple[float, ...] = (0.8, 0.1, 0.1)
    seed: int = 0
    batch_size: int = 8192

    def validate(self) -> None:
        """Three fractions that sum to 1, a seed >= 0 and a batch size >= 1."""
        f = self.fractions
        require(
            len(f) == 3 and all(0 <= x <= 1 for x in f) and abs(sum(f) - 1) < 1e-9,
            f"fractions {f} must be three numbers in [0, 1] (train, validation, test) that sum to 1",
        )
        for name, least in (("seed", 0), ("batch_size", 1)):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= least, f"{name} must be an integer >= {least}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Parameters, prior and parents of the rows, and what was done to them."""

    parameters: ParameterSpace
    prior: Prior
    density_kind: Kind
    config: DataConfig
    row_kinds: tuple[str, ...]
    """What the codes in the column `kind` mean."""
    parents: tuple[str, ...] = ()
    excluded: int = 0
    """Rows left out because their logpdf was -inf."""
    request: str | None = None
    """Fingerprint of the labelling that made them."""
    heads: tuple[str, ...] = ()
    """What the columns of logpdf are; () if it has one."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """Rows left out because they had no label, by reason."""

    def to_json(self) -> dict[str, Any]:
        """As the fields of metadata.json."""
        return {
            "parameters": self.parameters.to_json(),
            "prior": self.prior.to_json(),
            "kind": self.density_kind,
            "config": self.config.to_json(),
            "row_kinds": list(self.row_kinds),
            "excluded": self.excluded,
            "request": self.request,
            "heads": list(self.heads),
            "failed": dict(self.failed),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Provenance:
        """Inverse of `to_json`."""
        return cls(
            parameters=ParameterSpace.from_json(value["parameters"]),
            prior=Prior.from_json(value["prior"]),
            density_kind=value["kind"],
            config=DataConfig.from_json(value["config"]),
            row_kinds=tuple(value["row_kinds"]),
            parents=tuple(value["parents"]),
            excluded=value["excluded"],
            request=value["request"],
            heads=tuple(value.get("heads", ())),
            failed=dict(value.get("failed", {})),
        )
