"""What a DnnLik learns and how, in one configuration, with the recipes worth a name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np

from ..config import Config, require
from .config import NetworkConfig, TrainingConfig

__all__ = ["PRESETS", "DnnLikConfig"]

PRESETS = ("default", "paper", "cms", "slides", "counting", "quartic")


@dataclass(frozen=True, slots=True, kw_only=True)
class DnnLikConfig(Config):
    """What is learned and how.

    `DnnLikConfig()` is the recipe to use: standardised parameters and their kinks as features, a quadratic baseline
    carried exactly, networks for the residual, gradient labels in the loss. The others:

    counting(n)   profiled counting likelihoods with yields quadratic in the parameters: networks of that very form
    quartic(n)    Gaussian likelihoods of predictions quadratic in the parameters: sums of squares of quadratic forms
    paper(n)      arXiv:1911.03305: raw parameters, standardised target, no baseline, no gradients
    cms()         EPJ Web Conf. 295 (2024) 09041: products of standardised parameters, three layers of 700 ReLU units
    slides()      "Parametrising profiled likelihoods": plain layers of leaky ReLU units, no baseline, no gradients
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    standardise: bool = True
    """Whether features are standardised parameters."""
    baseline: Literal["quadratic", "constant"] = "quadratic"
    scale_output: bool = False
    """Whether the network's target is divided by the standard deviation of logpdf."""

    def validate(self) -> None:
        """A known baseline."""
        require(self.baseline in ("quadratic", "constant"), f"baseline {self.baseline!r} is not quadratic or constant")

    @classmethod
    def preset(cls, name: str, n_train: int) -> Self:
        """The recipe of that name, for so many training rows.

        Raises:
            ConfigError: no such preset; the message lists them.
        """
        require(name in PRESETS, f"preset {name!r} is none of {', '.join(PRESETS)}")
        if name == "default":
            return cls()
        return getattr(cls, name)(n_train) if name in ("paper", "counting", "quartic") else getattr(cls, name)()

    @classmethod
    def paper(cls, n_train: int, width: int = 500, n_epochs: int = 400, n_members: int = 5) -> Self:
        """The recipe of arXiv:1911.03305 at a training size; batch = power of two next to n / 200."""
        training = TrainingConfig(
            n_epochs=n_epochs,
            batch_size=2 ** max(3, round(float(np.log2(max(n_train, 1600) / 200)))),
            learning_rate=1e-3,
            schedule="plateau",
            averaging=0.0,
            gradient_weight=0.0,
            huber=None,
            plateau_min_delta=1.0 / n_train,
            min_learning_rate=8e-5,
        )
        network = NetworkConfig(
            widths=(width, width), activation="selu", n_members=n_members, bias_scale=0.0, zero_output=False
        )
        return cls(network=network, training=training, standardise=False, baseline="constant", scale_output=True)

    @classmethod
    def cms(cls, n_epochs: int = 500, width: int = 700, n_members: int = 1) -> Self:
        """The recipe that CMS published: Adam at 1e-4, lowered fivefold after 20 epochs without progress, MSE.

        Monomials up to degree two of the standardised parameters (152 of 16) feed three layers of ReLU units; one
        network, no gradients. It was trained on 5e7 points for a day.
        """
        training = TrainingConfig(
            n_epochs=n_epochs,
            batch_size=512,
            learning_rate=1e-4,
            schedule="plateau",
            averaging=0.0,
            gradient_weight=0.0,
            huber=None,
            plateau_factor=0.2,
            plateau_patience=20,
            plateau_min_delta=1e-6,
            stop_patience=n_epochs,
        )
        network = NetworkConfig(
            architecture="monomials",
            widths=(width, width, width),
            activation="relu",
            n_members=n_members,
            bias_scale=0.0,
            zero_output=False,
        )
        return cls(network=network, training=training, baseline="constant", scale_output=True)

    @classmethod
    def slides(cls, n_layers: int = 3, width: int = 256, n_epochs: int = 400, n_members: int = 3) -> Self:
        """The recipe of the profiled-likelihood slides: leaky ReLU, Adam, MSE, batches of 64, the mean of several.

        They varied 2 to 4 layers of 128, 256 or 1024 units.
        """
        training = TrainingConfig(
            n_epochs=n_epochs,
            batch_size=64,
            learning_rate=1e-3,
            schedule="plateau",
            averaging=0.0,
            gradient_weight=0.0,
            huber=None,
        )
        network = NetworkConfig(
            widths=(width,) * n_layers,
            activation="leaky_relu",
            n_members=n_members,
            bias_scale=0.0,
            zero_output=False,
        )
        return cls(network=network, training=training, baseline="constant", scale_output=True)

    @classmethod
    def counting(cls, n_train: int, n_shown: int = 6_000_000, n_members: int = 2) -> Self:
        """Positive quadratic yields, their logarithms, squares and exponentials, with gradient labels.

        Args:
            n_train: rows.
            n_shown: rows each member sees in all, repetitions counted.
            n_members: networks.
        """
        training = TrainingConfig(
            n_epochs=max(30, round(n_shown / n_train)),
            batch_size=128 if n_train <= 10_000 else 256,
            learning_rate=6e-3,
            gradient_weight=5.0,
            huber=None,
            clip_norm=0.3,
            compiled=True,
            weighted=True,
        )
        network = NetworkConfig(architecture="counting", widths=(64, 64, 96, 128), n_members=n_members)
        return cls(network=network, training=training, scale_output=True)

    @classmethod
    def quartic(cls, n_train: int, n_shown: int = 3_000_000, n_members: int = 2, n_forms: int = 140) -> Self:
        """Squares of unconstrained quadratic forms, with gradient labels.

        Args:
            n_train: rows.
            n_shown: rows each member sees in all, repetitions counted.
            n_members: networks.
            n_forms: squares; as many as there are independent measurements suffice.
        """
        same = cls.counting(n_train, n_shown, n_members)
        training = same.training.replace(learning_rate=3e-3, gradient_weight=30.0)
        network = NetworkConfig(architecture="quartic", widths=(n_forms,), n_members=n_members)
        return same.replace(network=network, training=training)
