"""Fixed Keras layers that keep scaling, kinks and baseline inside the saved model, in float64.

Their constants are non-trainable weights, so that a `.keras` file holds them and no code is needed to rebuild them.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from .. import ensemble as arrays
from .backend import keras
from .forward import functions, monomials

ops = keras.ops

__all__ = ["Anchor", "Baseline", "Features", "Function", "GeluTanh", "Monomials", "Stack"]

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
    """Features (n, m) -> (n, H): c + l.f + 1/2 f^T Q f of every head."""

    def __init__(self, n_features: int, n_heads: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.n_features, self.n_heads = n_features, n_heads
        self.offset = self.constant("offset", (n_heads,))
        self.linear = self.constant("linear", (n_heads * n_features,))
        self.matrix = self.constant("matrix", (n_features, n_heads * n_features))

    @classmethod
    def of(cls, ensemble: arrays.Ensemble) -> Self:
        """From the arrays of an ensemble, where the heads lie side by side."""
        layer, a = cls(ensemble.features.width, len(ensemble.outputs), name="baseline"), ensemble.arrays()
        layer.set_weights([a[f"baseline/{part}"] for part in ("constant", "linear", "matrix")])
        return layer

    def call(self, f: Any) -> Any:
        """The quadratic forms."""
        slope = ops.reshape(self.linear + 0.5 * ops.matmul(f, self.matrix), (-1, self.n_heads, self.n_features))
        return self.offset + ops.sum(ops.expand_dims(f, 1) * slope, axis=2)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return {**super().get_config(), "n_features": self.n_features, "n_heads": self.n_heads}


@keras.saving.register_keras_serializable(_PACKAGE)
class Anchor(keras.layers.Layer):
    """[features (n, m) float64, network (n, H)] -> (n, H): nothing where all features are zero."""

    def call(self, parts: list[Any]) -> Any:
        """The network elsewhere; its slope everywhere."""
        features, out = parts
        here = ops.cast(ops.all(ops.equal(features, 0.0), axis=1, keepdims=True), "float32")
        return out - ops.stop_gradient(out * here)


@keras.saving.register_keras_serializable(_PACKAGE)
class Stack(keras.layers.Layer):
    """[baseline (n, H), network (n, H), ...] -> float64: baseline + output_scale * network of every member.

    The answer is (n, K, H), or (n, K) without `heads`.
    """

    def __init__(self, output_scale: float | list[float], *, heads: bool = False, **options: Any) -> None:
        super().__init__(**{"autocast": False, **options})
        self.output_scale, self.heads = output_scale, heads

    def call(self, parts: list[Any]) -> Any:
        """The members' answers."""
        residuals = ops.cast(ops.stack(parts[1:], axis=1), "float64")
        scale = ops.convert_to_tensor(np.reshape(self.output_scale, -1).astype(float), "float64")
        answers = ops.expand_dims(ops.cast(parts[0], "float64"), 1) + scale * residuals
        return answers if self.heads else answers[:, :, 0]

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return {**super().get_config(), "output_scale": self.output_scale, "heads": self.heads}


@keras.saving.register_keras_serializable(_PACKAGE)
class Monomials(keras.layers.Layer):
    """Features (n, m) -> (n, m + m (m + 1) / 2): f_i, and f_i f_j for i <= j."""

    def call(self, f: Any) -> Any:
        """The monomials."""
        return monomials(f)


@keras.saving.register_keras_serializable(_PACKAGE)
class Function(keras.layers.Layer):
    """One of `members.FUNCTIONS`, by name: those that Keras has not, or computes with other constants."""

    def __init__(self, function: str, **options: Any) -> None:
        super().__init__(**options)
        self.function = function

    def call(self, x: Any) -> Any:
        """Elementwise."""
        return functions()[self.function](x)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return {**super().get_config(), "function": self.function}


@keras.saving.register_keras_serializable(_PACKAGE)
class GeluTanh(keras.layers.Layer):
    """GELU in its tanh form, which every runtime computes alike."""

    def call(self, x: Any) -> Any:
        """Elementwise."""
        return keras.activations.gelu(x, approximate=True)
