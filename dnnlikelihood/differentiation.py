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
    sparse = np.ones(d)
    sparse[dense] = 0.0
    directions = np.concatenate([np.eye(d)[dense], sparse[None]])

    def value_and_grad(theta: Any, *others: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(theta)
            value = function(theta, *others)
        return value, tape.gradient(value, theta)

    def arrow(theta: Any, *others: Any) -> tuple[Any, Any, Any, Any]:
        # All products at once: one copy of the rows for each direction.
        copies = len(directions)
        tangent = tf.repeat(tf.constant(directions, theta.dtype), tf.shape(theta)[0], axis=0)
        rows = tf.tile(theta, [copies, 1])
        rest = [tf.tile(x, [copies] + [1] * (len(x.shape) - 1)) for x in others]
        with tf.autodiff.ForwardAccumulator(rows, tangent) as forward:
            value, grad = value_and_grad(rows, *rest)
        n = tf.shape(theta)[0]
        products = tf.reshape(forward.jvp(grad), [copies, n, d])
        return value[:n], grad[:n], tf.transpose(products[:-1], [1, 2, 0]), products[-1] * sparse

    return arrow


def value_grad_hess(
    function: Callable[..., Any], d: int, dense_columns: Sequence[int] | None = None
) -> Callable[..., tuple[Any, Any, Any]]:
    """(n, d), ... -> (n,), (n, d), (n, d, d) of a function (n, d), ... -> (n,) whose rows are independent."""
    tf = tensorflow()

    def full(theta: Any, *others: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as outer:
            outer.watch(theta)
            with tf.GradientTape() as inner:
                inner.watch(theta)
                value = function(theta, *others)
            grad = inner.gradient(value, theta)
        hess = outer.batch_jacobian(grad, theta)
        return value, grad, 0.5 * (hess + tf.transpose(hess, [0, 2, 1]))

    if dense_columns is None:
        return full
    dense = list(dense_columns)
    outside = np.ones(d)
    outside[dense] = 0.0
    parts = value_grad_arrow(function, d, dense)

    def assembled(theta: Any, *others: Any) -> tuple[Any, Any, Any]:
        value, grad, columns, diagonal = parts(theta, *others)
        place = tf.constant(np.eye(d)[dense], theta.dtype) + tf.zeros_like(columns)[:, 0, :, None]
        rows = tf.transpose(columns, [0, 2, 1]) * outside
        # columns @ place + place^T @ rows, as one product of inner dimension 2 k
        hess = tf.concat([columns, tf.transpose(place, [0, 2, 1])], 2) @ tf.concat([place, rows], 1)
        return value, grad, tf.linalg.set_diag(hess, tf.linalg.diag_part(hess) + diagonal)

    return assembled
