"""HMC and NUTS against exact answers."""

import numpy as np
import pytest
from gaussian_check import assert_normal

from dnnlikelihood import Likelihood, Parameter, ParameterSpace
from dnnlikelihood.errors import LikelihoodError
from dnnlikelihood.sampler import Sampler, SamplerConfig
from dnnlikelihood.sampling.hmc import Hamiltonian, doubling, whitening

MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[4.0, 1.9, 0.0], [1.9, 1.0, 0.02], [0.0, 0.02, 0.01]])
STARTS = np.random.default_rng(1).normal(size=(64, 3)) * 5


@pytest.fixture(scope="module")
def gaussian():
    return Likelihood.from_source("gaussian", mean=MEAN.tolist(), covariance=COVARIANCE.tolist())


def test_hmc_learns_and_samples_a_correlated_gaussian(gaussian):
    config = SamplerConfig(n_chains=64, n_steps=600, start="given", seed=3)
    samples = Sampler(gaussian, config).run(start=STARTS, progress=False)
    assert samples.verdict.converged, samples.verdict.reasons
    assert samples.verdict.tau.max() < 3
    assert samples.verdict.acceptance == pytest.approx(0.8, abs=0.06)
    assert np.allclose(samples.logpdf[-1], gaussian.logpdf(samples.chains[-1]))
    assert_normal(samples, MEAN, COVARIANCE)


def test_hmc_with_a_given_covariance_thinning_and_few_leapfrogs(gaussian):
    covariance = tuple(map(tuple, COVARIANCE.tolist()))
    config = SamplerConfig(
        n_chains=64, n_steps=400, n_warmup=40, thin=2, n_leapfrog=3, covariance=covariance, start="given", seed=4
    )
    samples = Sampler(gaussian, config).run(start=STARTS, progress=False)
    assert samples.verdict.converged, samples.verdict.reasons
    assert_normal(samples, MEAN, COVARIANCE)


def test_nuts(gaussian):
    config = SamplerConfig(method="nuts", n_chains=32, n_steps=300, n_warmup=100, start="given", seed=5)
    samples = Sampler(gaussian, config).run(start=STARTS[:32], progress=False)
    assert samples.verdict.converged, samples.verdict.reasons
    assert_normal(samples, MEAN, COVARIANCE)


def test_a_numpy_density_is_sampled_without_xla_and_stays_in_its_bounds():
    space = ParameterSpace((Parameter(name="x", bounds=(0.0, np.inf)),))
    half = Likelihood(lambda t: -0.5 * t[:, 0] ** 2, space, gradient=lambda t: -t)
    config = SamplerConfig(n_chains=32, n_steps=400, n_warmup=60, start="given")
    samples = Sampler(half, config).run(start=np.linspace(0.1, 3, 32)[:, None], progress=False)
    assert samples.theta.min() >= 0
    error = np.sqrt((1 - 2 / np.pi) / samples.verdict.ess[0])
    assert abs(samples.theta.mean() - np.sqrt(2 / np.pi)) < 4.5 * error
    assert abs((samples.theta**2).mean() - 1) < 4.5 * np.sqrt(2 / samples.verdict.ess[0])


def test_temperatures_scale_the_covariance(gaussian):
    temperature = np.repeat([0.01, 1.0, 2.0], 32)
    engine = Hamiltonian(gaussian, n_warmup=100, temperature=temperature)
    starts = np.tile(STARTS[:32], (3, 1))
    state = engine.start(starts, gaussian.logpdf(starts))
    for window in range(len(engine.windows)):
        state = engine.warm(state, window).state
    chain = engine.draw(state, 400).chain
    for t in (0.01, 1.0, 2.0):
        part = chain[:, temperature == t].reshape(-1, 3)
        assert np.cov(part, rowvar=False) / t == pytest.approx(COVARIANCE, rel=0.1, abs=0.02)


def test_nan_met_on_the_way_is_an_error_that_names_the_point():
    space = ParameterSpace.of("x")

    def logpdf(t):
        return np.where(t[:, 0] > 2.5, np.nan, -0.5 * t[:, 0] ** 2)

    broken = Likelihood(logpdf, space, gradient=lambda t: -t)
    config = SamplerConfig(n_chains=16, n_steps=2000, start="given")
    with pytest.raises(LikelihoodError, match=r"nan.*x=[23]"):
        Sampler(broken, config).run(start=np.linspace(-1, 1, 16)[:, None], progress=False)


def test_no_gradient_is_said_at_once():
    flat = Likelihood(lambda t: -0.5 * t[:, 0] ** 2, ParameterSpace.of("x"))
    with pytest.raises(LikelihoodError, match="emcee"):
        Sampler(flat, SamplerConfig(start="given", n_chains=4)).run(start=np.zeros((4, 1)), progress=False)


def test_warm_up_windows_double_and_add_up():
    for n in (0, 5, 19, 20, 100, 400, 1001):
        assert sum(doubling(n)) == n
    assert doubling(320) == (10, 10, 20, 40, 80, 160)


def test_whitening_of_fewer_points_than_dimensions_is_still_positive_definite():
    factor = whitening(np.random.default_rng(0).normal(size=(5, 20)), np.eye(20))
    assert np.isfinite(factor).all()
    assert np.linalg.cond(factor) < 100
    frozen = whitening(np.zeros((5, 2)), np.diag([2.0, 3.0]))
    assert (np.diag(frozen) > 0).all()
