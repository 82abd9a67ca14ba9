"""The baseline finds a quadratic form exactly, also one with kinks."""

import numpy as np
import pytest

from dnnlikelihood.ensemble import Baseline, Features
from dnnlikelihood.statistics.baseline import fit_baseline


@pytest.mark.parametrize("with_gradient", [True, False])
@pytest.mark.parametrize("kinks", [(), ((0, 0.0), (2, 0.4))])
def test_exact_recovery(kinks, with_gradient):
    rng = np.random.default_rng(0)
    d = 4
    mixing = rng.normal(size=(d, d))
    theta = rng.normal(size=(600, d)) @ mixing + 2.0
    features = Features(
        theta.mean(axis=0),
        theta.std(axis=0),
        np.array([c for c, _ in kinks], np.int64),
        np.array([v for _, v in kinks], float),
    )
    m = features.width
    q = rng.normal(size=(m, m))
    truth = Baseline(-321.0, rng.normal(size=m), q + q.T)
    f = features(theta)
    gradient = features.pull_back(theta, truth.gradient(f)) if with_gradient else None
    fitted = fit_baseline(features, theta, truth.value(f), gradient, n_iterations=400)
    np.testing.assert_allclose(fitted.value(f), truth.value(f), atol=2e-3)


def test_gradients_determine_what_few_values_cannot():
    """20 parameters have 231 coefficients: 30 values cannot fix them, 30 gradients (600 numbers) can."""
    rng = np.random.default_rng(1)
    d, n = 20, 30
    theta = rng.normal(size=(n, d))
    features = Features(np.zeros(d), np.ones(d), np.zeros(0, np.int64), np.zeros(0))
    q = rng.normal(size=(d, d))
    truth = Baseline(0.0, rng.normal(size=d), -(q @ q.T))
    new = rng.normal(size=(100, d))
    error = {}
    for name, gradient in (("values", None), ("gradients", truth.gradient(theta))):
        fitted = fit_baseline(features, theta, truth.value(theta), gradient, n_iterations=500)
        error[name] = np.abs(fitted.value(new) - truth.value(new)).max()
    assert error["gradients"] < 1e-2 < 1 < error["values"]


@pytest.mark.parametrize("with_gradient", [True, False])
def test_a_constant_is_kept_exactly_and_the_rest_fitted(with_gradient):
    rng = np.random.default_rng(4)
    features = Features(np.zeros(3), np.array([1.0, 2.0, 0.5]), np.zeros(0, np.int64), np.zeros(0))
    theta = rng.normal(size=(500, 3)) + 1.0
    q, linear = -np.diag([1.0, 2.0, 3.0]) - 0.3, np.array([0.5, -1.0, 2.0])
    f = features(theta)
    value = 7.25 + f @ linear + 0.5 * np.einsum("ni,ij,nj->n", f, q, f)
    gradient = (linear + f @ q) / features.scale if with_gradient else None
    fitted = fit_baseline(features, theta, value, gradient, 200, constant=7.25)
    assert fitted.value(np.zeros((1, 3)))[0] == 7.25
    np.testing.assert_allclose(fitted.value(f), value, atol=1e-4)
    other = fit_baseline(features, theta, value, gradient, 200, constant=9.0)
    assert other.constant == 9.0
    assert np.abs(other.value(f) - value).max() > 0.1, "a wrong constant is kept all the same"
