"""Keras networks: one member, and the whole ensemble as a single model that takes physical parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ensemble import Ensemble, Member
from .backend import keras
from .config import NetworkConfig
from .layers import Baseline, Features, GeluTanh, Stack

__all__ = ["activation_layer", "build_member", "ensemble_model", "member_arrays"]


def build_member(n_features: int, config: NetworkConfig, seed: int) -> keras.Model:
    """A dense network, features (n, m) float32 -> (n, 1), initialised from a seed without touching global ones."""
    rng = np.random.default_rng(seed)

    def initializer(kind: str, **options: Any) -> Any:
        return {"class_name": kind, "config": {"seed": int(rng.integers(2**31)), **options}}

    scheme = "HeNormal" if config.activation == "relu" else "LecunNormal"
    layers: list[Any] = [keras.Input((n_features,))]
    for width in config.widths:
        layers.append(
            keras.layers.Dense(
                width,
                kernel_initializer=initializer(scheme),
                bias_initializer=initializer("RandomNormal", mean=0.0, stddev=config.bias_scale),
            )
        )
        layers.append(activation_layer(config.activation))
    output = "zeros" if config.zero_output else initializer(scheme)
    layers.append(keras.layers.Dense(1, kernel_initializer=output))
    return keras.Sequential(layers)


def activation_layer(name: str, /, **options: Any) -> Any:
    """An activation as a layer, in the form every runtime computes alike."""
    if name == "gelu":
        return GeluTanh(dtype="float32", **options)
    return keras.layers.Activation(name, dtype="float32", **options)


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
            layer = keras.layers.Dense(kernel.shape[1], dtype="float32", name=f"member_{k}_layer_{i}")
            h = layer(h)
            layer.set_weights([kernel, bias])
            if i < len(member.kernels) - 1:
                h = activation_layer(member.activation, name=f"member_{k}_activation_{i}")(h)
        residuals.append(h)
    out = Stack(ensemble.output_scale, name="members_logpdf", dtype="float64")([baseline, *residuals])
    return keras.Model(theta, out, name="ensemble")
