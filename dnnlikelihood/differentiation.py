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

__all__ = ["value_grad_arrow", "value_grad_hess"]


def value_grad_arrow(function: Callable[..., Any], d: int, dense_columns: Sequence[int]) -> Callable[..., Any]:
    """(n, d), ... -> value (n,), gradient (n, d), the Hessian's dense columns (n, d, k) and its diagonal (n, d).

    The function (n, d), ... -> (n,) may take further arguments, which are not differentiated; its rows are
    independent and its Hessian is diagonal outside `dense_columns`. The diagonal is 0 at the dense columns.
    """
    tf = tensorflow()
    dense = list(dense_columns)
    unit, sparse = np.eye(d)[dense], np.ones(d)
    sparse[dense] = 0.0

    def value_and_grad(theta: Any, *others: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(theta)
            value = function(theta, *others)
        return value, tape.gradient(value, theta)

    def product(direction: np.ndarray, theta: Any, *others: Any) -> Any:
        tangent = tf.zeros_like(theta) + tf.constant(direction, theta.dtype)
        with tf.autodiff.ForwardAccumulator(theta, tangent) as forward:
            _, grad = value_and_grad(theta, *others)
        return forward.jvp(grad)

    def arrow(theta: Any, *others: Any) -> tuple[Any, Any, Any, Any]:
        value, grad = value_and_grad(theta, *others)
        columns = [product(e, theta, *others) for e in unit]
        stacked = tf.stack(columns, axis=2) if columns else tf.zeros_like(theta)[:, :, None][:, :, :0]
        return value, grad, stacked, product(sparse, theta, *others) * sparse

    return arrow


def value_grad_hess(
    function: Callable[[Any], Any], d: int, dense_columns: Sequence[int] | None = None
) -> Callable[[Any], tuple[Any, Any, Any]]:
    """(n, d) -> (n,), (n, d), (n, d, d) of a function (n, d) -> (n,) whose rows are independent."""
    tf = tensorflow()

    def full(theta: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as outer:
            outer.watch(theta)
            with tf.GradientTape() as inner:
                inner.watch(theta)
                value = function(theta)
            grad = inner.gradient(value, theta)
        hess = outer.batch_jacobian(grad, theta)
        return value, grad, 0.5 * (hess + tf.transpose(hess, [0, 2, 1]))

    if dense_columns is None:
        return full
    dense = list(dense_columns)
    outside = np.ones(d)
    outside[dense] = 0.0
    parts = value_grad_arrow(function, d, dense)

    def assembled(theta: Any) -> tuple[Any, Any, Any]:
        value, grad, columns, diagonal = parts(theta)
        place = tf.constant(np.eye(d)[dense], theta.dtype) + tf.zeros_like(columns)[:, 0, :, None]
        rows = tf.transpose(columns, [0, 2, 1]) * outside
        # columns @ place + place^T @ rows, as one product of inner dimension 2 k
        hess = tf.concat([columns, tf.transpose(place, [0, 2, 1])], 2) @ tf.concat([place, rows], 1)
        return value, grad, tf.linalg.set_diag(hess, tf.linalg.diag_part(hess) + diagonal)

    return assembled
