"""The whole ensemble as a single Keras model that takes physical parameters: what `model.keras` holds."""

from __future__ import annotations

from typing import Any

from ..ensemble import Ensemble
from ..members import Member
from .backend import keras
from .layers import Anchor, Baseline, Features, Function, GeluTanh, Monomials, Stack

__all__ = ["ensemble_model"]

OWN = ("leaky_relu", "square", "log", "excess")


def _function(name: str, /, **options: Any) -> Any:
    """A function as a layer, in the form every runtime computes alike."""
    if name == "gelu":
        return GeluTanh(dtype="float32", **options)
    if name in OWN:
        return Function(name, dtype="float32", **options)
    return keras.layers.Activation(name, dtype="float32", **options)


def _network(member: Member, k: int, f: Any) -> Any:
    """One member on features (n, m), as layers named after it."""
    outputs = [Monomials(dtype="float32", name=f"member_{k}_monomials")(f) if member.expand else f]
    for i, layer in enumerate(member.layers):
        h = [outputs[j] for j in layer.inputs]
        x = h[0] if len(h) == 1 else keras.layers.Concatenate(dtype="float32", name=f"member_{k}_inputs_{i}")(h)
        dense = keras.layers.Dense(len(layer.bias), dtype="float32", name=f"member_{k}_layer_{i}")
        x = dense(x)
        dense.set_weights([layer.kernel, layer.bias])
        linear = layer.activation == "identity"
        outputs.append(x if linear else _function(layer.activation, name=f"member_{k}_activation_{i}")(x))
    return outputs[-1]


def _linear(matrix: Any) -> Any:
    """The fixed layer phi -> M phi in front of a reparametrised surrogate."""
    layer = keras.layers.Dense(len(matrix), use_bias=False, dtype="float64", trainable=False, name="reparametrisation")
    layer.build((None, matrix.shape[1]))
    layer.set_weights([matrix.T])
    return layer


def ensemble_model(ensemble: Ensemble) -> keras.Model:
    """The model theta (n, d) float64 -> (n, K) float64 log-density of every member, with heads (n, K, H)."""
    theta = keras.Input((ensemble.n_parameters,), dtype="float64", name="theta")
    f = Features.of(ensemble.features)(theta if ensemble.matrix is None else _linear(ensemble.matrix)(theta))
    networks = [_network(member, k, f) for k, member in enumerate(ensemble.members)]
    if ensemble.anchored:
        networks = [Anchor(autocast=False, name=f"member_{k}_anchor")([f, h]) for k, h in enumerate(networks)]
    scales = [output.scale for output in ensemble.outputs]
    stack = Stack(scales, heads=bool(ensemble.heads), name="members_logpdf", dtype="float64")
    return keras.Model(theta, stack([Baseline.of(ensemble)(f), *networks]), name="ensemble")
