"""Maxima by a neighbour's curvature, against Newton's and closed forms; and what cannot be reached that way."""

import numpy as np
import pytest
from double_well import density, exact

from dnnlikelihood.statistics.polish import polish
from dnnlikelihood.statistics.profile import limits
from dnnlikelihood.statistics.scans import profiled_scan
from dnnlikelihood.statistics.valleys import valleys

FREE = np.array([0, 1, 3, 4, 5])
"""x2 is held."""


def curvature(truth, theta):
    return -truth.logpdf_grad_hess(theta)[2][:, FREE][:, :, FREE]


@pytest.fixture(scope="module")
def solved():
    """Points of a profile in x2, in one valley, and its density."""
    truth, x = density(), np.linspace(-2.4, -1.0, 15)
    scan = profiled_scan(truth, "x2", x)
    return truth, scan.theta


def test_the_maximum_next_door(solved):
    truth, theta = solved
    start = theta[:-1].copy()
    start[:, 2] = theta[1:, 2]
    fit = polish(truth, start, FREE, curvature(truth, theta[:-1]), *limits(truth), 1e-3)
    assert fit.converged.all()
    assert fit.iterations.max() <= 4
    assert (fit.gradient_norm <= 1e-3).all()
    np.testing.assert_allclose(fit.value, exact(theta[1:, [2]], [2]), atol=1e-6)
    np.testing.assert_array_equal(fit.theta[:, 2], theta[1:, 2])


def test_what_is_far_or_bent_otherwise_is_not_called_a_maximum(solved):
    truth, theta = solved
    far = theta + np.array([0, 0, 0, 0, 2.0, 0])
    wrong = np.tile(0.05 * np.eye(5), (len(theta), 1, 1))
    for start, bend in ((far, curvature(truth, theta)), (theta + 0.3, wrong), (theta + 0.3, -wrong)):
        fit = polish(truth, start, FREE, bend, *limits(truth), 1e-3)
        true = np.abs(fit.value - exact(fit.theta[:, [2]], [2])) < 1e-5
        assert not (fit.converged & ~true).any()
        assert not fit.converged.all()


def test_a_flat_direction_is_left_to_the_climb(solved):
    """A curvature that no system can be solved with raises nothing; such a start is not called a maximum."""
    truth, theta = solved
    flat = curvature(truth, theta)
    flat[:, 1] = flat[:, :, 1] = 0.0
    fit = polish(truth, theta + 0.3, FREE, flat, *limits(truth), 1e-3)
    true = np.abs(fit.value - exact(fit.theta[:, [2]], [2])) < 1e-5
    assert not (fit.converged & ~true).any()


def test_a_coordinate_rests_on_its_bound(solved):
    truth, theta = solved
    lower, upper = limits(truth)
    upper = np.where(np.arange(6) == 0, theta[:, 0].min() - 0.1, upper)
    fit = polish(truth, np.minimum(theta, upper), FREE, curvature(truth, theta), lower, upper, 1e-4)
    assert fit.converged.all()
    assert (fit.theta[:, 0] == upper[0]).all()
    _, grad = truth.logpdf_and_grad(fit.theta)
    assert (grad[:, 0] > 0).all()
    np.testing.assert_allclose(grad[:, [1, 3, 4, 5]], 0.0, atol=1e-3)


def test_fine_grids_need_few_hessians():
    """Their points take curvatures from the grid before: 30 000 more of them cost next to nothing."""
    truth, asked = density(), []
    known, inner = valleys(truth, 64), truth._logpdf_grad_hess
    truth._logpdf_grad_hess = lambda theta: asked.append(len(theta)) or inner(theta)
    counts = []
    for n in (100, 200):
        asked.clear()
        scan = profiled_scan(truth, ("x0", "x2"), (np.linspace(-2, 2, n), np.linspace(-3, 3, n)), known=known)
        counts.append(sum(asked))
    assert counts[1] - counts[0] < 0.15 * 30_000
    assert set(scan.status) == {"converged"}
    some = np.random.default_rng(0).choice(len(scan.points), 400, replace=False)
    np.testing.assert_allclose(scan.profiled_logpdf[some], exact(scan.points[some], [0, 2]), atol=2e-6)
