"""Keras networks: one member, and the whole ensemble as a single model that takes physical parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ensemble import Ensemble, Member
from .backend import keras
from .config import NetworkConfig
from .layers import Baseline, Features, Stack

__all__ = ["build_member", "ensemble_model", "member_arrays"]

_INITIALIZER = {"selu": "lecun_normal", "tanh": "glorot_normal", "relu": "he_normal"}


def _activation(name: str) -> Any:
    return (lambda x: keras.activations.gelu(x, approximate=True)) if name == "gelu" else name


def build_member(n_features: int, config: NetworkConfig, seed: int) -> keras.Model:
    """A dense network, features (n, m) float32 -> (n, 1), initialised from a seed without touching global ones."""
    seeds = keras.random.SeedGenerator(seed)
    scheme = _INITIALIZER.get(config.activation, "he_normal")

    def initializer(name: str) -> Any:
        return keras.initializers.get(
            {"class_name": name, "config": {"seed": int(np.asarray(seeds.next())[0]) & 0x7FFFFFFF}}
        )

    layers: list[Any] = [keras.Input((n_features,))]
    for width in config.widths:
        layers.append(
            keras.layers.Dense(width, activation=_activation(config.activation), kernel_initializer=initializer(scheme))
        )
    layers.append(keras.layers.Dense(1, kernel_initializer="zeros"))
    return keras.Sequential(layers)


def member_arrays(weights: list[np.ndarray], activation: str) -> Member:
    """Kernel, bias, kernel, bias ... as a Member."""
    arrays = [np.asarray(w, np.float32) for w in weights]
    return Member(tuple(arrays[0::2]), tuple(arrays[1::2]), activation)


def ensemble_model(ensemble: Ensemble) -> keras.Model:
    """The model theta (n, d) float64 -> (n, K) float64 log-density of every member: what `model.keras` holds."""
    theta = keras.Input((len(ensemble.features.shift),), dtype="float64", name="theta")
    f = Features.of(ensemble.features)(theta)
    baseline = Baseline.of(ensemble.baseline)(f)
    residuals = []
    for k, member in enumerate(ensemble.members):
        h = f
        for i, (kernel, bias) in enumerate(zip(member.kernels, member.biases, strict=True)):
            last = i == len(member.kernels) - 1
            name = None if last else ("gelu_tanh" if member.activation == "gelu" else member.activation)
            layer = keras.layers.Dense(kernel.shape[1], dtype="float32", name=f"member_{k}_layer_{i}")
            h = layer(h)
            layer.set_weights([kernel, bias])
            if name is not None:
                h = _activation_layer(name, f"member_{k}_activation_{i}")(h)
        residuals.append(h)
    out = Stack(ensemble.output_scale, name="members_logpdf", dtype="float64")([baseline, *residuals])
    return keras.Model(theta, out, name="ensemble")


def _activation_layer(name: str, label: str) -> Any:
    if name == "gelu_tanh":
        from .layers import GeluTanh

        return GeluTanh(name=label, dtype="float32")
    return keras.layers.Activation(name, name=label, dtype="float32")
