"""Fixed Keras layers that keep scaling, kinks and baseline inside the saved model, in float64.

Their constants are non-trainable weights, so that a `.keras` file holds them and no code is needed to rebuild them.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from .. import ensemble as arrays
from .backend import keras

ops = keras.ops

__all__ = ["Baseline", "Features", "GeluTanh", "Stack"]

_PACKAGE = "dnnlikelihood"


class _Constant(keras.layers.Layer):
    """A float64 layer whose constants are non-trainable weights."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"dtype": "float64", "trainable": False, **options})

    def constant(self, name: str, shape: tuple[int, ...]) -> Any:
        """A weight to be filled by `set_weights`."""
        return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name, dtype="float64")


@keras.saving.register_keras_serializable(_PACKAGE)
class Features(_Constant):
    """theta (n, d) -> (n, m): standardised parameters and their positive parts at kinks."""

    def __init__(self, n_parameters: int, kink_columns: list[int], **options: Any) -> None:
        super().__init__(**options)
        self.n_parameters = n_parameters
        self.kink_columns = list(kink_columns)
        self.shift = self.constant("shift", (n_parameters,))
        self.scale = self.constant("scale", (n_parameters,))
        self.kink_values = self.constant("kink_values", (len(kink_columns),))

    @classmethod
    def of(cls, features: arrays.Features) -> Self:
        """From its arrays."""
        layer = cls(len(features.shift), [int(k) for k in features.kink_columns], name="features")
        layer.set_weights([features.shift, features.scale, features.kink_values])
        return layer

    def call(self, theta: Any) -> Any:
        """The features."""
        z = (theta - self.shift) / self.scale
        if not self.kink_columns:
            return z
        beyond = (ops.take(theta, self.kink_columns, axis=1) - self.kink_values) / ops.take(
            self.scale, self.kink_columns
        )
        return ops.concatenate([z, ops.relu(beyond)], axis=1)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return {**super().get_config(), "n_parameters": self.n_parameters, "kink_columns": self.kink_columns}


@keras.saving.register_keras_serializable(_PACKAGE)
class Baseline(_Constant):
    """Features (n, m) -> (n, 1): c + l.f + 1/2 f^T Q f."""

    def __init__(self, n_features: int, **options: Any) -> None:
        super().__init__(**options)
        self.n_features = n_features
        self.offset = self.constant("offset", (1,))
        self.linear = self.constant("linear", (n_features,))
        self.matrix = self.constant("matrix", (n_features, n_features))

    @classmethod
    def of(cls, baseline: arrays.Baseline) -> Self:
        """From its arrays."""
        layer = cls(len(baseline.linear), name="baseline")
        layer.set_weights([np.array([baseline.constant]), baseline.linear, baseline.matrix])
        return layer

    def call(self, f: Any) -> Any:
        """The quadratic form."""
        return self.offset + ops.sum(f * (self.linear + 0.5 * ops.matmul(f, self.matrix)), axis=1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return {**super().get_config(), "n_features": self.n_features}


@keras.saving.register_keras_serializable(_PACKAGE)
class Stack(keras.layers.Layer):
    """[baseline (n, 1), residual (n, 1), ...] -> (n, K) float64: baseline + output_scale * residuals."""

    def __init__(self, output_scale: float, **options: Any) -> None:
        super().__init__(**{"autocast": False, **options})
        self.output_scale = output_scale

    def call(self, parts: list[Any]) -> Any:
        """The members' answers."""
        residuals = ops.cast(ops.concatenate(parts[1:], axis=1), "float64")
        return ops.cast(parts[0], "float64") + self.output_scale * residuals

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return {**super().get_config(), "output_scale": self.output_scale}


@keras.saving.register_keras_serializable(_PACKAGE)
class GeluTanh(keras.layers.Layer):
    """GELU in its tanh form, which every runtime computes alike."""

    def call(self, x: Any) -> Any:
        """Elementwise."""
        return keras.activations.gelu(x, approximate=True)
