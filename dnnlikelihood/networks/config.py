"""Configurations of networks and of their training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config import Config, require
from ..members import ACTIVATIONS

__all__ = ["NetworkConfig", "TrainingConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig(Config):
    """An ensemble of networks of one architecture (formulas in `networks.architectures`)."""

    architecture: Literal["dense", "monomials", "counting", "quartic"] = "dense"
    widths: tuple[int, ...] = (256, 256)
    """dense, monomials: units of each hidden layer. counting: numbers of yields, squares, exponentials and hidden
    units. quartic: number of quadratic forms."""
    activation: str = "silu"
    n_members: int = 3
    """Networks trained from different seeds; their mean answers, their spread tells how sure it is."""
    bias_scale: float = 0.3
    """Standard deviation of the initial biases, so that units bend at different places."""
    zero_output: bool = True
    """Whether training starts from an output of zero, that is from the baseline."""

    def validate(self) -> None:
        """At least one layer, one member and a known activation; as many widths as the architecture has parts."""
        require(bool(self.widths) and all(w >= 1 for w in self.widths), f"widths {self.widths} must be positive")
        expected = {"counting": 4, "quartic": 1}.get(self.architecture, len(self.widths))
        require(
            len(self.widths) == expected,
            f"architecture {self.architecture!r} has {expected} widths, {len(self.widths)} are given: {self.widths}",
        )
        require(self.activation in ACTIVATIONS, f"activation {self.activation!r} is none of {sorted(ACTIVATIONS)}")
        require(self.bias_scale >= 0, f"bias_scale is {self.bias_scale}, must not be negative")
        require(self.n_members >= 1, f"n_members is {self.n_members}, must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(Config):
    r"""How one member is trained: Adam, unless told otherwise, on

        loss = mean_i w_i H(q_i),      q_i = (r(z_i) - r_i)^2 + gradient_weight |grad r(z_i) - g_i|^2
        H(q) = 2 h^2 (sqrt(1 + q / h^2) - 1)

    with residuals r and their gradients g in standardised coordinates z. H is q for q << h^2 and grows like its root
    beyond (pseudo-Huber), so that the few points far out do not outweigh the many; without `huber`, H(q) = q.
    With heads, q is summed over them, each in units of its own scale.
    """

    n_epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 4e-3
    """At its highest."""
    optimiser: Literal["adam", "nadam", "rmsprop", "sgd"] = "adam"
    """"sgd" has a Nesterov momentum of 0.9."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """"cosine": linear warm-up, then a half cosine to zero over all epochs. "plateau": constant, lowered when the
    validation loss stops falling, and training stops early with the best weights."""
    warmup: float = 0.03
    """Share of the steps in which the cosine schedule rises."""
    averaging: float = 0.999
    """Decay per step of the exponential average of the weights, which is what remains; 0 keeps the last weights."""
    gradient_weight: float = 10.0
    """0 ignores gradient labels."""
    huber: float | None = 0.3
    """h, in nats (units of the output scale); None for squares."""
    clip_norm: float | None = None
    """Longest step of the weights' gradient: a longer one is shortened to it. None lets all pass."""
    l2: float = 0.0
    """Added to the loss: l2 times the sum of the squares of all kernels."""
    compiled: bool = False
    """Whether XLA compiles the epoch: slower to start, faster to run."""
    weighted: bool = False
    """Whether the weights of the data enter the loss."""
    plateau_factor: float = 0.2
    plateau_patience: int = 40
    plateau_min_delta: float = 0.0
    """How much lower a validation loss (standardised) must be to count as progress."""
    min_learning_rate: float = 0.0
    stop_patience: int = 48
    seed: int = 1

    def validate(self) -> None:
        """Positive counts and rates, shares in [0, 1)."""
        require(self.n_epochs >= 1, f"n_epochs is {self.n_epochs}, must be at least 1")
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}, must be at least 1")
        require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}, must be positive")
        require(self.schedule in ("cosine", "plateau"), f"schedule {self.schedule!r} is neither cosine nor plateau")
        require(0 <= self.warmup < 1, f"warmup is {self.warmup}, must be a share in [0, 1)")
        require(0 <= self.averaging < 1, f"averaging is {self.averaging}, must be in [0, 1)")
        require(self.gradient_weight >= 0, f"gradient_weight is {self.gradient_weight}, must not be negative")
        require(self.huber is None or self.huber > 0, f"huber is {self.huber}, must be positive or None")
        require(
            self.clip_norm is None or self.clip_norm > 0, f"clip_norm is {self.clip_norm}, must be positive or None"
        )
        require(self.l2 >= 0, f"l2 is {self.l2}, must not be negative")
        require(0 < self.plateau_factor < 1, f"plateau_factor is {self.plateau_factor}, must be in (0, 1)")
