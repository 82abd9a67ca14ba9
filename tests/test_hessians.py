"""Closed-form Hessians against differences of float64 gradients, for every function a layer may have."""

from dataclasses import replace

import numpy as np
import pytest
from surrogates import points, random_ensemble

from dnnlikelihood import DnnLik, ParameterSpace
from dnnlikelihood.ensemble import Ensemble
from dnnlikelihood.hessians import CURVATURES, value_gradient_hessian
from dnnlikelihood.members import FUNCTIONS, SLOPES, Layer, Member
from dnnlikelihood.networks.recipe import DnnLikConfig
from dnnlikelihood.priors import Prior


def counting_member(m: int, n_heads: int = 1, seed: int = 3) -> Member:
    """Logarithms, squares and excesses of positive quadratic forms, as a profiled counting likelihood has."""
    rng = np.random.default_rng(seed)
    n_monomials = m + m * (m + 1) // 2

    def layer(inputs, rows, width, activation, shift=0.0):
        kernel = (0.3 * rng.normal(size=(rows, width)) / np.sqrt(rows)).astype(np.float32)
        return Layer(inputs, kernel, np.full(width, shift, np.float32), activation)

    forms = layer((0,), n_monomials, 8, "identity", 4.0)
    logs = Layer((1,), np.eye(8, dtype=np.float32), np.zeros(8, np.float32), "log")
    parts = [layer((2,), 8, 5, "square"), layer((2,), 8, 6, "excess"), layer((2,), 8, 7, "silu")]
    return Member((forms, logs, *parts, layer((1, 2, 3, 4, 5), 8 + 8 + 5 + 6 + 7, n_heads, "identity")), expand=True)


def ensemble(kind: str) -> Ensemble:
    if kind == "counting":
        surrogate = random_ensemble(kinks=0)
        return replace(surrogate, members=(counting_member(6), counting_member(6, seed=4)))
    return random_ensemble(activation=kind)


def differences(surrogate: Ensemble, theta: np.ndarray, step: float = 1e-5) -> np.ndarray:
    shift = step * np.eye(theta.shape[1])
    up, down = (
        np.stack([surrogate.heads_logpdf_and_grad(theta + s * h, np.float64)[1][:, 0] for h in shift], axis=1)
        for s in (1, -1)
    )
    return (up - down) / (2 * step)


@pytest.mark.parametrize("kind", ["selu", "silu", "gelu", "softplus", "tanh", "relu", "leaky_relu", "counting"])
def test_against_differences_of_gradients(kind):
    surrogate, theta = ensemble(kind), points(300)
    value, gradient, hessian = value_gradient_hessian(surrogate, theta)
    exact_value, exact_gradient = surrogate.heads_logpdf_and_grad(theta, np.float64)
    np.testing.assert_allclose(value, exact_value[:, 0], rtol=0, atol=3e-5)
    np.testing.assert_allclose(gradient, exact_gradient[:, 0], rtol=0, atol=1e-4)
    numeric = differences(surrogate, theta)
    scale = np.abs(numeric).max()
    # A step across a kink, or across the corner of a piecewise linear activation, differentiates nothing.
    off = np.abs(hessian - numeric).max(axis=(1, 2)) > 1e-4 * scale
    assert off.mean() < 0.02
    np.testing.assert_allclose(hessian, hessian.transpose(0, 2, 1), rtol=0, atol=1e-5 * scale)


def test_every_function_has_its_derivatives():
    assert set(CURVATURES) == set(SLOPES) == set(FUNCTIONS)
    x, h = np.linspace(0.2, 3.1, 200), 1e-6
    for name in FUNCTIONS:
        for side in (x, -x):
            slope = (FUNCTIONS[name](side + h) - FUNCTIONS[name](side - h)) / (2 * h)
            np.testing.assert_allclose(SLOPES[name](side), slope, rtol=1e-6, atol=1e-7, err_msg=name)
            bend = (SLOPES[name](side + h) - SLOPES[name](side - h)) / (2 * h)
            np.testing.assert_allclose(CURVATURES[name](side), bend, rtol=1e-6, atol=1e-7, err_msg=name)


def test_heads_have_their_own():
    member = counting_member(6, n_heads=2)
    plain = random_ensemble(kinks=0)
    first = plain.outputs[0]
    outputs = (replace(first, name="a"), replace(first, name="b", scale=2.5))
    surrogate, theta = replace(plain, outputs=outputs, members=(member,)), points(20)
    for head in (0, 1):
        alone = value_gradient_hessian(surrogate.select(head), theta)
        for part, expected in zip(value_gradient_hessian(surrogate, theta, head), alone, strict=True):
            np.testing.assert_allclose(part, expected, rtol=1e-6, atol=1e-5)


def test_other_parameters_have_theirs():
    """theta = M phi: the gradient of phi is M^T g, the Hessian M^T H M."""
    plain, rng = ensemble("counting"), np.random.default_rng(8)
    matrix = np.eye(6) + 0.2 * rng.normal(size=(6, 6))
    theta = points(20)
    phi = np.linalg.solve(matrix, theta.T).T
    value, gradient, hessian = value_gradient_hessian(plain.reparametrise(matrix), phi)
    inner_value, inner_gradient, inner_hessian = value_gradient_hessian(plain, theta)
    np.testing.assert_allclose(value, inner_value, atol=1e-4)
    np.testing.assert_allclose(gradient, inner_gradient @ matrix, atol=1e-3)
    scale = np.abs(inner_hessian).max()
    np.testing.assert_allclose(hessian, matrix.T @ inner_hessian @ matrix, atol=1e-4 * scale)


def test_a_surrogate_curves_as_its_traced_form_does():
    """A DnnLik answers in closed form; its traced form differentiates the graph."""
    space = ParameterSpace.of(*(f"x{i}" for i in range(6)), poi="x0")
    model = DnnLik(ensemble("silu"), space, Prior({}), "likelihood", DnnLikConfig())
    inside = points(30)[model.in_domain(points(30))]
    for ours, traced in zip(model._logpdf_grad_hess(inside), model._traced._logpdf_grad_hess(inside), strict=True):
        np.testing.assert_allclose(ours, traced, rtol=1e-4, atol=1e-3)
