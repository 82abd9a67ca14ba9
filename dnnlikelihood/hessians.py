r"""Hessians of a surrogate in closed form: one forward sweep of Jacobians, no network library.

With a_i and h_i = act_i(a_i) the layers of a network N (`members.py`), u_i = dN/dh_i and J_i = da_i/df,

    d2N / df df = sum_i J_i^T diag(u_i act_i''(a_i)) J_i  +  sum_{j <= k} u_jk (e_j e_k^T + e_k e_j^T)

because a layer is linear but for its activation; the last sum stands for the monomials f_j f_k of an expanded network.
It costs m forward passes for m features, and a fit in tens of dimensions takes second-order steps for tens of
microseconds a point.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .ensemble import Ensemble
from .members import (
    EXCESS_KNEE,
    FUNCTIONS,
    GELU_CUBIC,
    GELU_RATE,
    LOG_FLOOR,
    SELU_ALPHA,
    SELU_SCALE,
    SLOPES,
    Function,
    Member,
    average,
    monomials,
    monomials_pull_back,
    pairs,
)

__all__ = ["CURVATURES", "value_gradient_hessian"]

ROWS = 128
"""Rows at once: a layer of width w holds m w numbers for each."""


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _silu(x: np.ndarray) -> np.ndarray:
    s = _sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def _gelu(x: np.ndarray) -> np.ndarray:
    t = np.tanh(GELU_RATE * (x + GELU_CUBIC * x**3))
    rate, bend = GELU_RATE * (1 + 3 * GELU_CUBIC * x * x), 6 * GELU_RATE * GELU_CUBIC * x
    return (1 - t * t) * (rate + 0.5 * x * (bend - 2 * t * rate**2))


def _softplus(x: np.ndarray) -> np.ndarray:
    s = _sigmoid(x)
    return s * (1 - s)


def _tanh(x: np.ndarray) -> np.ndarray:
    t = np.tanh(x)
    return -2 * t * (1 - t * t)


CURVATURES: dict[str, Function] = {
    "selu": lambda x: np.where(x > 0, 0, SELU_SCALE * SELU_ALPHA * np.exp(np.minimum(x, 0))),
    "silu": _silu,
    "gelu": _gelu,
    "softplus": _softplus,
    "tanh": _tanh,
    "relu": np.zeros_like,
    "leaky_relu": np.zeros_like,
    "identity": np.zeros_like,
    "square": lambda x: np.full_like(x, 2),
    "log": lambda x: np.where(x > LOG_FLOOR, -1 / np.maximum(x, LOG_FLOOR) ** 2, 0),
    "excess": lambda x: np.where(x < EXCESS_KNEE, np.exp(np.minimum(x, EXCESS_KNEE)), 0),
}
"""Second derivatives of `members.FUNCTIONS`."""


def _sweep(member: Member, f: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Outputs h_0 ... h_L (n, w), arguments a_1 ... a_L (n, w) and Jacobians J_1 ... J_{L-1} (n, m, w)."""
    n, m = f.shape
    unit = np.broadcast_to(np.eye(m, dtype=f.dtype), (n, m, m))
    outputs, slopes = [f], [unit]
    if member.expand:
        first, second = pairs(m)
        products = f[:, None, first] * unit[:, :, second] + f[:, None, second] * unit[:, :, first]
        outputs, slopes = [monomials(f)], [np.concatenate([unit, products], axis=2)]
    before, jacobians = [], []
    for layer in member.layers:
        x = [outputs[i] for i in layer.inputs]
        kernel = layer.kernel.astype(f.dtype, copy=False)
        a = (x[0] if len(x) == 1 else np.concatenate(x, axis=1)) @ kernel + layer.bias.astype(f.dtype, copy=False)
        before.append(a)
        outputs.append(FUNCTIONS[layer.activation](a).astype(f.dtype, copy=False))
        if layer is member.layers[-1]:
            break  # it is linear: nobody asks for its Jacobian
        j = [slopes[i] for i in layer.inputs]
        jacobian = (j[0] if len(j) == 1 else np.concatenate(j, axis=2)) @ kernel
        jacobians.append(jacobian)
        if layer.activation == "identity":
            slopes.append(jacobian)
        else:
            slopes.append(SLOPES[layer.activation](a).astype(f.dtype, copy=False)[:, None, :] * jacobian)
    return outputs, before, jacobians


def _member(member: Member, f: np.ndarray, head: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, m) -> network output (n,), gradient (n, m) and Hessian (n, m, m) of one head."""
    outputs, before, jacobians = _sweep(member, f)
    n, m = f.shape
    upstream = [np.zeros_like(h) for h in outputs]
    upstream[-1][:, head] = 1
    hessian = np.zeros((n, m, m), f.dtype)
    for i in range(len(member.layers), 0, -1):
        layer, a = member.layers[i - 1], before[i - 1]
        if layer.activation not in ("identity", "relu", "leaky_relu"):
            bend = upstream[i] * CURVATURES[layer.activation](a).astype(f.dtype, copy=False)
            hessian += (jacobians[i - 1] * bend[:, None, :]) @ jacobians[i - 1].transpose(0, 2, 1)
        slope = upstream[i] * SLOPES[layer.activation](a).astype(f.dtype, copy=False)
        gradient = slope @ layer.kernel.T.astype(f.dtype, copy=False)
        cuts = [0, *np.cumsum([outputs[j].shape[1] for j in layer.inputs])]
        for j, (start, stop) in zip(layer.inputs, pairwise(cuts), strict=True):
            upstream[j] += gradient[:, start:stop]
    if not member.expand:
        return outputs[-1][:, head], upstream[0], hessian
    first, second = pairs(m)
    product = upstream[0][:, m:]
    hessian[:, first, second] += product
    hessian[:, second, first] += product
    return outputs[-1][:, head], monomials_pull_back(f, upstream[0][:, None, :])[:, 0], hessian


def value_gradient_hessian(
    ensemble: Ensemble, theta: np.ndarray, head: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, d) -> (n,), (n, d), (n, d, d) float64: mean of the members for one head, its gradient and Hessian.

    Networks are computed in float32, as everywhere. At a kink the derivatives are those of its left side.
    """
    if len(theta) > ROWS:
        pieces = [value_gradient_hessian(ensemble, theta[i : i + ROWS], head) for i in range(0, len(theta), ROWS)]
        value, gradient, hessian = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return value, gradient, hessian
    inner = ensemble.coordinates(theta)
    output, f = ensemble.outputs[head], ensemble.features(inner)
    parts = [_member(member, f.astype(np.float32), head) for member in ensemble.members]
    slope, bend = (np.mean([part[i] for part in parts], axis=0, dtype=float) for i in (1, 2))
    in_features = output.baseline.gradient(f) + output.scale * slope
    curvature = output.baseline.matrix + output.scale * bend
    value = average(ensemble.members_logpdf(theta, head))
    gradient, hessian = ensemble.features.pull_back(inner, in_features), _pulled_back(ensemble, inner, curvature)
    if ensemble.matrix is None:
        return value, gradient, hessian
    return value, gradient @ ensemble.matrix, ensemble.matrix.T @ hessian @ ensemble.matrix


def _pulled_back(ensemble: Ensemble, theta: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """(n, m, m) second derivatives in the features -> (n, d, d) in theta: features are linear between kinks."""
    n, m, _ = curvature.shape
    d = theta.shape[1]
    pull_back = ensemble.features.pull_back
    half = pull_back(np.repeat(theta, m, axis=0), curvature.reshape(n * m, m)).reshape(n, m, d)
    columns = half.transpose(0, 2, 1).reshape(n * d, m)
    out = pull_back(np.repeat(theta, d, axis=0), columns).reshape(n, d, d)
    return 0.5 * (out + out.transpose(0, 2, 1))
