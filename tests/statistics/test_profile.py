"""Profiles: exact Gaussian answers, the toy's published table, refusals."""

import json
from importlib import resources

import numpy as np
import pytest

from dnnlikelihood.errors import DomainError, LikelihoodError, ParameterError, ShapeError
from dnnlikelihood.likelihood import Likelihood
from dnnlikelihood.parameters import Parameter, ParameterSpace
from dnnlikelihood.statistics.profile import maximum, profile

REFERENCE = json.loads(resources.files("dnnlikelihood.reference").joinpath("toy_lhc.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def toy():
    return Likelihood.from_source("toy_lhc")


@pytest.fixture(scope="module")
def gaussian():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(5, 5))
    covariance, mean = a @ a.T + 0.2 * np.eye(5), rng.normal(size=5)
    return (
        Likelihood.from_source("gaussian", mean=mean.tolist(), covariance=covariance.tolist(), constant=-7.0),
        mean,
        covariance,
    )


def test_gaussian_profiles_are_exact(gaussian):
    density, mean, covariance = gaussian
    x = np.linspace(-3, 3, 21)
    scan = profile(density, "x1", x)
    assert (scan.status == "converged").all()
    np.testing.assert_allclose(scan.bestfit.theta[0], mean, atol=1e-8)
    np.testing.assert_allclose(scan.bestfit.value, -7.0, atol=1e-12)
    np.testing.assert_allclose(scan.tmu, (x - mean[1]) ** 2 / covariance[1, 1], atol=1e-9)


def test_two_parameters_at_once(gaussian):
    density, mean, covariance = gaussian
    points = np.random.default_rng(0).normal(size=(30, 2))
    scan = profile(density, ["x3", "x0"], points)
    i = [3, 0]
    z = points - mean[i]
    expected = np.einsum("ni,ij,nj->n", z, np.linalg.inv(covariance[np.ix_(i, i)]), z)
    np.testing.assert_allclose(scan.tmu, expected, atol=1e-8)
    np.testing.assert_array_equal(scan.theta[:, i], points)


def test_all_parameters_held_is_the_density_itself(gaussian):
    density, mean, _ = gaussian
    points = mean + np.eye(5)
    scan = profile(density, density.parameters.names, points)
    np.testing.assert_allclose(scan.profiled_logpdf, density.logpdf(points), atol=1e-12)


def test_the_toys_maximum(toy):
    fit = maximum(toy)
    assert fit.converged.all()
    assert fit.value[0] == pytest.approx(REFERENCE["global_max"]["logprob"], abs=1e-6)
    assert fit.theta[0, 0] == pytest.approx(REFERENCE["global_max"]["mu_hat"], abs=1e-5)


def test_the_toys_table_of_profiled_values(toy):
    mu = np.array([row["mu"] for row in REFERENCE["t_mu_exact"]])
    expected = np.array([row["logprob_profiled"] for row in REFERENCE["t_mu_exact"]])
    scan = profile(toy, "mu", mu)
    assert len(mu) == 31
    assert (scan.status == "converged").all()
    np.testing.assert_allclose(scan.profiled_logpdf, expected, rtol=0, atol=1e-6)
    value, grad = toy.logpdf_and_grad(scan.theta)
    np.testing.assert_allclose(value, scan.profiled_logpdf, rtol=0, atol=1e-9)
    assert np.abs(grad[:, 1:]).max() < 1e-4 or (np.abs(scan.theta[:, 91:]) < 1e-9).any()


def test_one_orthant_alone_misses_the_toys_maximum(toy):
    """The negative control: without the other cells t(1) comes out as 7.385 in place of 7.374."""
    from dnnlikelihood.statistics.maximise import maximise
    from dnnlikelihood.statistics.profile import limits

    lower, upper = limits(toy)
    lower[0] = upper[0] = 1.0
    lower[91:] = 1e-12
    fit = maximise(lambda theta, rows: toy.logpdf_grad_hess(theta), np.full((1, 95), 0.1), lower, upper)
    t = 2 * (REFERENCE["global_max"]["logprob"] - fit.value[0])
    assert t > 7.374 + 0.005


def test_two_valleys_are_both_seen():
    """A mixture along b, deeper on the left for a < 0: starts are needed on both sides."""

    def logpdf(t):
        a, b = t.T
        return -0.5 * a**2 + np.logaddexp(-2 * (b + 2) ** 2 - a, -2 * (b - 2) ** 2 + a)

    space = ParameterSpace.of("a", "b", poi="a")
    density = Likelihood(logpdf, space, gradient="finite-difference")
    scan = profile(density, "a", [-1.0, 1.0], starts=[[0, -2], [0, 2]], tolerance=1e-4, noise=1e-10)
    np.testing.assert_allclose(scan.theta[:, 1], [-2, 2], atol=1e-2)


def test_a_point_outside_is_refused_and_named(toy):
    with pytest.raises(DomainError, match=r"mu = 6 is outside \[-1, 5\]"):
        profile(toy, "mu", [0.0, 6.0])


def test_bad_questions(gaussian):
    density = gaussian[0]
    with pytest.raises(ParameterError, match="did you mean"):
        profile(density, "x9", [0.0])
    with pytest.raises(ParameterError, match="none twice"):
        profile(density, ["x0", "x0"], [[0.0, 0.0]])
    with pytest.raises(ShapeError, match="expected"):
        profile(density, ["x0", "x1"], [[0.0], [1.0]])
    with pytest.raises(ShapeError, match="finite"):
        profile(density, "x0", [0.0, np.nan])
    with pytest.raises(ShapeError, match="finite values"):
        profile(density, "x0", [])
    with pytest.raises(LikelihoodError, match="no gradient"):
        profile(Likelihood(lambda t: -(t**2).sum(1), ParameterSpace.of("a", "b")), "a", [0.0])


def test_no_start_inside_the_support():
    space = ParameterSpace((Parameter(name="a"), Parameter(name="b")))
    density = Likelihood(lambda t: np.where(t[:, 0] > 5, -t[:, 0], -np.inf), space, gradient=lambda t: np.zeros_like(t))
    with pytest.raises(LikelihoodError, match="starts"):
        maximum(density)


def test_the_maximum_on_the_edge_of_the_range():
    source = Likelihood.from_source("gaussian", mean=[2.0, 0.0], covariance=[[1.0, 0.5], [0.5, 1.0]])
    from dnnlikelihood.priors import Prior, Uniform

    bounded = source.with_prior(Prior({"x0": Uniform(-1.0, 1.0)}))
    fit = maximum(bounded)
    assert fit.converged.all()
    np.testing.assert_allclose(fit.theta[0], [1.0, -0.5], atol=1e-9)
