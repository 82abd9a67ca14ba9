"""The door to TensorFlow: a quiet import, and log-densities written once as traceable functions.

`TracedDensity` takes one function of a float64 tensor and gives value, gradient and Hessian, batched and compiled.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from .errors import MissingDependency
from .parameters import ParameterSpace
from .priors import Prior
from .protocols import Kind, LogDensity

__all__ = ["TracedDensity", "boxed", "call_back", "masked", "tensorflow", "tensorflow_probability"]

_importing = threading.Lock()


@cache
def tensorflow() -> Any:
    """TensorFlow, imported without its start-up messages; the environment is left as it was.

    The messages come from C++ before any logger exists, so the file descriptor of stderr is turned away during the
    import and the first use of a device, and only then.

    Raises:
        MissingDependency: TensorFlow is not installed.
    """
    before = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    with _importing:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            import tensorflow as tf

            tf.constant(0.0)
        except ModuleNotFoundError as error:
            raise MissingDependency("this needs TensorFlow: pip install 'dnnlikelihood[train]'") from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(null)
            if before is None:
                os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return tf


@cache
def tensorflow_probability() -> Any:
    """TensorFlow Probability, checked to be usable (it needs tf-keras and says so only at first touch)."""
    tensorflow()
    try:
        import tensorflow_probability as tfp

        tfp.mcmc.sample_chain  # noqa: B018 - the touch that triggers the lazy import
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "this needs TensorFlow Probability and tf-keras: pip install 'dnnlikelihood[sample]'"
        ) from error
    return tfp


def masked(density: LogDensity) -> Callable[[Any], Any]:
    """`density._trace()` with -inf outside the bounds and the ranges of the prior."""
    ranges = density.prior.columns(density.parameters)
    low = np.maximum(density.parameters.lower, ranges.low)
    high = np.minimum(density.parameters.upper, ranges.high)
    return boxed(density._trace(), low, high)


def boxed(function: Callable[[Any], Any], low: np.ndarray, high: np.ndarray) -> Callable[[Any], Any]:
    """A traceable function (n, d) -> (n,) with -inf outside low <= theta <= high."""
    if np.isinf(low).all() and np.isinf(high).all():
        return function
    tf = tensorflow()

    def logpdf(theta: Any) -> Any:
        inside = tf.reduce_all((theta >= low) & (theta <= high), axis=1)
        return tf.where(inside, function(theta), tf.constant(-np.inf, tf.float64))

    return logpdf


def call_back(density: LogDensity) -> Callable[[Any], Any]:
    """A density that lives in NumPy as a differentiable TensorFlow function."""
    tf = tensorflow()
    d = len(density.parameters)

    def value_and_grad(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, grad = np.full(len(x), -np.inf), np.zeros(x.shape)
        inside = np.isfinite(x).all(axis=1) & density.parameters.inside(x)
        inside[inside] = density._inside(x[inside])
        if inside.any():
            value[inside], grad[inside] = density._logpdf_and_grad(x[inside])
        return value, grad

    @tf.custom_gradient
    def logpdf(theta: Any) -> Any:
        value, grad = tf.numpy_function(value_and_grad, [theta], [tf.float64, tf.float64])
        value.set_shape([None])
        grad.set_shape([None, d])
        return value, lambda upstream: upstream[:, None] * tf.stop_gradient(grad)

    return logpdf


class TracedDensity(LogDensity):
    """A log-density given by one traceable function.

    Args:
        log_likelihood: float64 tensor (n, d) -> (n,), without the prior; -inf allowed, with finite gradients.
        parameters: the columns.
        prior: added to it.
        kind: as in LogDensity.
        dense_columns: None, or the columns outside which the Hessian is diagonal. Counting likelihoods with one
            statistical nuisance a bin are like this, and need len(dense_columns) + 1 Hessian-vector products
            instead of d.
        chunk: rows evaluated at once, so that intermediate results stay in the cache.
    """

    def __init__(
        self,
        log_likelihood: Callable[[Any], Any],
        parameters: ParameterSpace,
        prior: Prior,
        kind: Kind,
        dense_columns: Sequence[int] | None = None,
        chunk: int = 2048,
    ) -> None:
        self.parameters = parameters
        self.prior = prior
        self.kind = kind
        self._log_likelihood = log_likelihood
        self._dense_columns = None if dense_columns is None else tuple(dense_columns)
        self._chunk = chunk

    def _trace(self) -> Callable[[Any], Any]:
        prior = self.prior.columns(self.parameters)
        return lambda theta: self._log_likelihood(theta) + prior.smooth(theta)

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._chunked(self._value, theta)[0]

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, grad = self._chunked(self._value_and_grad, theta)
        return value, grad

    def _logpdf_grad_hess(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value, grad, hess = self._chunked(self._value_grad_hess, theta, max(1, self._chunk // 8))
        return value, grad, hess

    def _chunked(self, function: Any, theta: np.ndarray, chunk: int | None = None) -> list[np.ndarray]:
        size = chunk or self._chunk
        parts = [function(theta[i : i + size]) for i in range(0, max(len(theta), 1), size)]
        return [np.concatenate([np.asarray(p[k]) for p in parts]) for k in range(len(parts[0]))]

    @cached_property
    def _signature(self) -> list[Any]:
        tf = tensorflow()
        return [tf.TensorSpec([None, len(self.parameters)], tf.float64, name="theta")]

    @cached_property
    def _value(self) -> Any:
        tf, f = tensorflow(), self._trace()
        return tf.function(lambda theta: (f(theta),), input_signature=self._signature)

    @cached_property
    def _value_and_grad(self) -> Any:
        tf, f = tensorflow(), self._trace()

        def value_and_grad(theta: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(theta)
                value = f(theta)
            return value, tape.gradient(value, theta)

        return tf.function(value_and_grad, input_signature=self._signature)

    @cached_property
    def _value_grad_hess(self) -> Any:
        from .differentiation import value_grad_hess

        return tensorflow().function(
            value_grad_hess(self._trace(), len(self.parameters), self._dense_columns), input_signature=self._signature
        )
