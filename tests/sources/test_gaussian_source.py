"""The Gaussian source has every answer in closed form."""

import numpy as np
import pytest
from contracts import COVARIANCE, MEAN, gaussian
from scipy import stats

from dnnlikelihood import Likelihood
from dnnlikelihood.errors import ConfigError


def test_value_gradient_and_hessian(rng):
    theta = rng.normal(size=(200, 3))
    value, grad, hess = gaussian().logpdf_grad_hess(theta)
    normal = stats.multivariate_normal(MEAN, COVARIANCE)
    np.testing.assert_allclose(value, normal.logpdf(theta) - normal.logpdf(MEAN), atol=1e-11)
    precision = np.linalg.inv(COVARIANCE)
    np.testing.assert_allclose(grad, -(theta - MEAN) @ precision, atol=1e-11)
    np.testing.assert_allclose(hess, np.repeat(-precision[None], 200, axis=0), atol=1e-11)
    assert gaussian().kind == "likelihood"


def test_the_maximum_is_the_constant():
    assert Likelihood.from_source("gaussian", mean=[1.0], constant=-7.5).logpdf([1.0])[0] == -7.5


BAD = {
    "shapes": ({"mean": [0.0], "covariance": np.eye(2).tolist()}, "do not fit"),
    "not positive": ({"mean": [0.0, 0.0], "covariance": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite"),
    "not symmetric": ({"mean": [0.0, 0.0], "covariance": [[1.0, 0.5], [0.0, 1.0]]}, "symmetric"),
    "not finite": ({"mean": [np.nan]}, "must be finite"),
    "nothing": ({"mean": []}, "do not fit"),
    "names": ({"mean": [0.0], "names": ["a", "b"]}, "2 names for 1 parameters"),
    "unknown argument": ({"means": [0.0]}, "source 'gaussian'"),
}


@pytest.mark.parametrize("case", BAD)
def test_arguments_that_are_refused(case):
    arguments, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        Likelihood.from_source("gaussian", **arguments)
