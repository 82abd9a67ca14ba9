"""Keras, imported after TensorFlow has been imported quietly."""

from ..tracing import tensorflow

tensorflow()

import keras  # noqa: E402

__all__ = ["keras"]
