"""Configuration of networks with several cross entropies."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import Config, require
from ..members import ACTIVATIONS

__all__ = ["HeadsConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsConfig(Config):
    """One network with several cross entropies, and its training."""

    widths: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    n_steps: int = 1200
    batch_size: int = 1024
    """Rows of the class task in a batch, and as many of the ratio tasks."""
    learning_rate: float = 1e-2
    """Of Adam, at its highest."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises."""
    averaging: float = 0.99
    """Decay of the running mean of the weights, which is the result."""

    def validate(self) -> None:
        """At least one layer and one step, positive rates, a known activation."""
        require(bool(self.widths) and all(w >= 1 for w in self.widths), f"widths {self.widths} must be positive")
        require(self.activation in ACTIVATIONS, f"activation {self.activation!r} is none of {sorted(ACTIVATIONS)}")
        for name in ("n_steps", "batch_size", "learning_rate"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, must be > 0")
        require(0 <= self.warmup < 1, f"warmup is {self.warmup}, must lie in [0, 1)")
        require(0 <= self.averaging < 1, f"averaging is {self.averaging}, must lie in [0, 1)")
