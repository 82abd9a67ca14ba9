"""The batched maximiser: exact maxima, bounds, saddles, kinks, and honest statuses."""

import numpy as np
import pytest

from dnnlikelihood.statistics.curvature import Arrow, Dense
from dnnlikelihood.statistics.maximise import maximise, maximise_between_kinks

INF = np.inf


def quadratic(mean, precision):
    def objective(theta, rows):
        z = theta - mean
        return -0.5 * ((z @ precision) * z).sum(1), -z @ precision, np.repeat(-precision[None], len(z), 0)

    return objective


def positive(rng, d):
    a = rng.normal(size=(d, d))
    return a @ a.T + 0.1 * np.eye(d)


def test_a_gaussian_takes_one_step(rng):
    mean, precision = rng.normal(size=6), positive(rng, 6)
    fit = maximise(quadratic(mean, precision), rng.normal(size=(50, 6)) * 10, np.full(6, -INF), np.full(6, INF))
    assert fit.converged.all()
    assert fit.iterations.max() <= 2
    np.testing.assert_allclose(fit.theta, np.tile(mean, (50, 1)), atol=1e-9)


def test_box_constraints_agree_with_a_quadratic_programme(rng):
    from scipy.optimize import lsq_linear

    d = 8
    for _ in range(20):
        mean, precision = rng.normal(size=d) * 2, positive(rng, d)
        lower, upper = -rng.random(d), rng.random(d)
        root = np.linalg.cholesky(precision).T
        expected = lsq_linear(root, root @ mean, bounds=(lower, upper), method="bvls", tol=1e-14).x
        fit = maximise(quadratic(mean, precision), rng.normal(size=(3, d)), lower, upper)
        assert fit.converged.all()
        np.testing.assert_allclose(fit.theta, np.tile(expected, (3, 1)), atol=1e-7)


def test_arrow_and_dense_take_the_same_steps(rng):
    n, d, dense = 7, 9, [0, 8]
    columns, diagonal = rng.normal(size=(n, d, 2)), rng.uniform(3, 9, size=(n, d))
    diagonal[:, dense] = 0
    for j, column in enumerate(dense):
        columns[:, column, j] += 8
    columns[:, 0, 1] = columns[:, 8, 0]
    columns[0, 3] = 40.0  # the first row is indefinite
    arrow = Arrow(columns, diagonal, dense)
    full = arrow.full()
    right, free, damping = rng.normal(size=(n, d)), rng.random((n, d)) < 0.8, rng.random(n)
    free[0] = True
    np.testing.assert_allclose(arrow.times(right, damping), full.times(right, damping), atol=1e-12)
    a, b = arrow.solve(right, free, damping), full.solve(right, free, damping)
    np.testing.assert_allclose(a.p, b.p, atol=1e-9)
    np.testing.assert_array_equal(a.definite, b.definite)
    assert not a.definite[0]


def test_rosenbrock_is_climbed_from_the_wrong_side():
    def objective(theta, rows):
        x, y = theta.T
        r = y - x**2
        grad = np.stack([400 * x * r + 2 * (1 - x), -200 * r], 1)
        hess = np.empty((len(x), 2, 2))
        hess[:, 0, 0], hess[:, 1, 1] = 400 * (y - 3 * x**2) - 2, -200
        hess[:, 0, 1] = hess[:, 1, 0] = 400 * x
        return -(100 * r**2 + (1 - x) ** 2), grad, hess

    start = np.random.default_rng(0).uniform(-3, 3, (100, 2))
    fit = maximise(objective, start, np.full(2, -INF), np.full(2, INF))
    assert fit.converged.all()
    np.testing.assert_allclose(fit.theta, 1, atol=1e-5)


def test_a_saddle_is_left():
    def objective(theta, rows):  # maxima at +-1, a minimum at 0
        return (-((theta**2 - 1) ** 2))[:, 0], -4 * theta * (theta**2 - 1), (4 - 12 * theta**2)[:, :, None]

    fit = maximise(objective, np.zeros((1, 1)), np.array([-INF]), np.array([INF]))
    assert fit.converged.all()
    assert abs(fit.theta[0, 0]) == pytest.approx(1, abs=1e-6)


def test_a_flat_direction_is_no_obstacle():
    def objective(theta, rows):
        hess = np.zeros((len(theta), 2, 2))
        hess[:, 0, 0] = -1
        return -0.5 * theta[:, 0] ** 2, np.stack([-theta[:, 0], 0 * theta[:, 1]], 1), hess

    fit = maximise(objective, np.array([[3.0, 7.0]]), np.full(2, -INF), np.full(2, INF))
    assert fit.status[0] == "converged"
    np.testing.assert_allclose(fit.theta[0], [0, 7], atol=1e-9)


def test_statuses_are_honest():
    def rising(theta, rows):
        return theta[:, 0], np.ones_like(theta), np.zeros((len(theta), 1, 1))

    def nowhere(theta, rows):
        return np.full(len(theta), -INF), np.zeros_like(theta), np.zeros((len(theta), 1, 1))

    def tent(theta, rows):  # a concave kink at 0.3: no derivative tells where
        side = np.sign(theta - 0.3)
        return -np.abs(theta[:, 0] - 0.3), -side, -0.1 * np.ones((len(theta), 1, 1))

    ends = np.array([-INF]), np.array([INF])
    assert maximise(rising, np.zeros((1, 1)), *ends, max_iterations=20).status[0] != "converged"
    assert maximise(nowhere, np.zeros((1, 1)), *ends).status[0] == "outside"
    fit = maximise(tent, np.zeros((1, 1)), *ends)
    assert fit.status[0] in ("stalled", "iterations")
    assert fit.value[0] > -1e-3
    assert len(maximise(tent, np.zeros((0, 1)), *ends).value) == 0


def test_the_support_is_not_left():
    def log(theta, rows):  # log x - x, -inf for x <= 0; its maximum is at 1
        good = theta[:, 0] > 0
        x = np.where(good, theta[:, 0], 1.0)
        return np.where(good, np.log(x) - x, -INF), (1 / x - 1)[:, None], (-1 / x**2)[:, None, None]

    fit = maximise(log, np.array([[50.0], [1e-3]]), np.array([-INF]), np.array([INF]))
    assert fit.converged.all()
    np.testing.assert_allclose(fit.theta, 1, atol=1e-6)


def kinked(slopes, depth):
    """-1/2 |x - c|^2 with slopes that jump at 0: convex kinks, two maxima a coordinate."""
    up, down = slopes

    def objective(theta, rows):
        slope = np.where(theta >= 0, up, -down)
        value = (-0.5 * theta**2 + slope * theta + depth[rows] * theta).sum(1)
        return value, -theta + slope + depth[rows], np.repeat(-np.eye(theta.shape[1])[None], len(theta), 0)

    return objective


@pytest.mark.parametrize("d", [3, 8])
def test_the_deepest_cell_between_kinks_is_found(rng, d):
    depth = rng.normal(size=(40, d)) * 0.2
    fit = maximise_between_kinks(
        kinked((1.0, 1.0), depth), np.full((40, d), 0.5), np.full(d, -INF), np.full(d, INF), [(0.0,)] * d
    )
    assert fit.converged.all()
    np.testing.assert_allclose(fit.theta, np.sign(depth) + depth, atol=1e-8)


def test_a_maximum_on_a_kink_is_found_on_it(rng):
    depth = rng.normal(size=(10, 2)) * 0.2
    fit = maximise_between_kinks(
        kinked((-1.0, -1.0), depth), np.full((10, 2), 0.5), np.full(2, -INF), np.full(2, INF), [(0.0,)] * 2
    )
    assert fit.converged.all()
    np.testing.assert_allclose(fit.theta, 0, atol=1e-9)


def test_dense_curvature_keeps_rows_apart(rng):
    k = Dense(np.stack([positive(rng, 3), -np.eye(3)]))
    step = k.solve(np.ones((2, 3)), np.ones((2, 3), bool), np.zeros(2))
    np.testing.assert_array_equal(step.definite, [True, False])
    np.testing.assert_allclose(step.p[0], np.linalg.solve(k.matrix[0], np.ones(3)))
    assert (step.p[1] > 0).all()
