"""Priors against scipy.stats, and what is refused."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from dnnlikelihood import Normal, ParameterSpace, Prior, Uniform
from dnnlikelihood.errors import ParameterError
from dnnlikelihood.jsonfiles import canonical

SPACE = ParameterSpace.of("a", "b", "c")
PRIOR = Prior({"c": Normal(1.5, 0.3), "a": Uniform(-1.0, 3.0)})


def test_against_scipy(rng):
    theta = np.column_stack([rng.uniform(-2, 4, 200), rng.normal(size=200), rng.normal(size=200)])
    expected = stats.uniform(-1, 4).logpdf(theta[:, 0]) + stats.norm(1.5, 0.3).logpdf(theta[:, 2])
    np.testing.assert_allclose(PRIOR.logpdf(SPACE, theta), expected, rtol=1e-12)


def test_gradient(rng):
    theta, h = rng.uniform(-0.9, 2.9, (20, 3)), 1e-6
    shift = h * np.eye(3)
    slope = [(PRIOR.logpdf(SPACE, t + shift) - PRIOR.logpdf(SPACE, t - shift)) / (2 * h) for t in theta]
    np.testing.assert_allclose(PRIOR.columns(SPACE).gradient(theta), slope, rtol=1e-6, atol=1e-6)


def test_a_published_constant_is_kept():
    assert Uniform(-1.0, 5.0).constant == pytest.approx(-math.log(6))
    assert Uniform(-1.0, 5.0, -math.log(5)).constant == -math.log(5)


def test_closure():
    assert PRIOR.only(["a", "b"]).terms == {"a": Uniform(-1.0, 3.0)}
    assert PRIOR.rename({"a": "x"}).terms == {"c": Normal(1.5, 0.3), "x": Uniform(-1.0, 3.0)}
    assert PRIOR.replace(Prior({"a": Normal()})).terms == {"c": Normal(1.5, 0.3), "a": Normal()}
    assert PRIOR.is_constant("a")
    assert PRIOR.is_constant("b")
    assert not PRIOR.is_constant("c")
    assert not Prior({})


def test_json_is_lossless():
    prior = Prior({"a": Uniform(-1.0, 5.0, -math.log(5)), "b": Uniform(0.0, 1.0), "c": Normal(0.1, 2.0)})
    assert Prior.from_json(json.loads(canonical(prior.to_json()))) == prior


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0.0, 0.0), "sigma > 0"),
        (lambda: Normal(0.0, -1.0), "sigma > 0"),
        (lambda: Normal(math.nan, 1.0), "finite mean"),
        (lambda: Normal(0.0, math.inf), "sigma > 0"),
        (lambda: Uniform(1.0, 1.0), "low < high"),
        (lambda: Uniform(-math.inf, 1.0), "finite"),
        (lambda: Uniform(0.0, 1.0, math.nan), "log_density=nan"),
        (lambda: Prior({"a": 3.0}), "expected Normal or Uniform, got float"),
        (lambda: Prior({"z": Normal()}).logpdf(SPACE, np.zeros((1, 3))), "no parameter 'z'"),
        (lambda: Prior.from_json({"a": {"type": "cauchy"}}), "neither normal nor uniform"),
        (lambda: Normal("0", 1.0), "mean of Normal must be a number, got '0'"),
        (lambda: Uniform(0.0, None), "high of Uniform must be a number, got None"),
        (lambda: Prior.from_json({"a": {"type": "normal", "sigma": 1.0}}), "mean of Normal must be a number"),
    ],
)
def test_priors_that_are_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()
