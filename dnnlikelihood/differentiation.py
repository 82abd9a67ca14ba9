r"""Exact batched Hessians of traceable functions, by Hessian-vector products (forward over reverse).

A general Hessian takes d products. Where it is known to be diagonal outside a few dense columns D (an arrow),

    H = [ H_DD  H_DS ]      H_SS diagonal,
        [ H_SD  H_SS ]

the products with the unit vectors of D give the dense columns, and one product with the indicator of S gives H_SS:
|D| + 1 in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .tracing import tensorflow

__all__ = ["value_grad_hess"]


def value_grad_hess(
    function: Callable[[Any], Any], d: int, dense_columns: Sequence[int] | None = None
) -> Callable[[Any], tuple[Any, Any, Any]]:
    """(n, d) -> (n,), (n, d), (n, d, d) of a function (n, d) -> (n,) whose rows are independent."""
    tf = tensorflow()

    def value_and_grad(theta: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(theta)
            value = function(theta)
        return value, tape.gradient(value, theta)

    def product(theta: Any, direction: np.ndarray) -> Any:
        tangent = tf.zeros_like(theta) + tf.constant(direction, theta.dtype)
        with tf.autodiff.ForwardAccumulator(theta, tangent) as forward:
            _, grad = value_and_grad(theta)
        return forward.jvp(grad)

    def full(theta: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(theta)
            value, grad = value_and_grad(theta)
        hess = tape.batch_jacobian(grad, theta)
        return value, grad, 0.5 * (hess + tf.transpose(hess, [0, 2, 1]))

    def arrow(theta: Any) -> tuple[Any, Any, Any]:
        value, grad = value_and_grad(theta)
        dense = list(dense_columns or ())
        sparse = np.ones(d)
        sparse[dense] = 0.0
        unit = np.eye(d)
        columns = tf.stack([product(theta, unit[j]) for j in dense], axis=2)
        diagonal = product(theta, sparse) * sparse
        place = tf.constant(unit[dense], theta.dtype)
        rows = tf.transpose(columns, [0, 2, 1]) * sparse
        hess = tf.matmul(columns, tf.broadcast_to(place, [tf.shape(theta)[0], len(dense), d]))
        hess = tf.tensor_scatter_nd_add(
            tf.transpose(hess, [1, 0, 2]), [[j] for j in dense], tf.transpose(rows, [1, 0, 2])
        )
        hess = tf.transpose(hess, [1, 0, 2])
        return value, grad, tf.linalg.set_diag(hess, tf.linalg.diag_part(hess) + diagonal)

    return full if dense_columns is None else arrow
