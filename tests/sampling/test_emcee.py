"""emcee's moves against exact answers, and the starts it would accept in silence."""

import numpy as np
import pytest
from gaussian_check import assert_normal

from dnnlikelihood import Likelihood, Parameter, ParameterSpace
from dnnlikelihood.errors import ConfigError, DomainError, LikelihoodError
from dnnlikelihood.sampler import Move, Sampler, SamplerConfig

MEAN = np.array([1.0, -2.0])
COVARIANCE = np.array([[4.0, 1.5], [1.5, 1.0]])
PRECISION = np.linalg.inv(COVARIANCE)
SPACE = ParameterSpace.of("a", "b")
FULL = Move(kind="gaussian", covariance=tuple(map(tuple, (COVARIANCE * 2).tolist())))


def quadratic(theta):
    z = theta - MEAN
    return -0.5 * np.einsum("ni,ij,nj->n", z, PRECISION, z)


GAUSSIAN = Likelihood(quadratic, SPACE)
STARTS = np.random.default_rng(0).normal(MEAN, 1.0, (100, 2))


@pytest.mark.parametrize(
    "moves",
    [
        (Move.stretch(2.0),),
        (Move.gaussian(2.0),),
        (Move.gaussian(3.0, mode="random"),),
        (FULL,),
        (Move.differential_evolution(),),
    ],
    ids=["stretch", "vector", "random", "covariance", "de"],
)
def test_moves_sample_the_gaussian(moves):
    config = SamplerConfig(
        method="emcee", n_chains=100, n_steps=1500, n_warmup=100, thin=3, block=500, start="given", moves=moves, seed=11
    )
    samples = Sampler(GAUSSIAN, config).run(start=STARTS, progress=False)
    assert samples.verdict.converged, samples.verdict.reasons
    assert np.array_equal(samples.logpdf[-1], GAUSSIAN.logpdf(samples.chains[-1]))
    assert_normal(samples, MEAN, COVARIANCE)


@pytest.mark.parametrize("moves", [SamplerConfig().moves, (Move.stretch(1.5),)], ids=["default", "stretch"])
def test_moves_are_exact_in_many_dimensions(moves):
    """Where a wrong Hastings factor, a power of d, shows."""
    d = 12
    normal = Likelihood(lambda t: -0.5 * (t**2).sum(axis=1), ParameterSpace.of(*(f"x{i}" for i in range(d))))
    config = SamplerConfig(
        method="emcee", n_chains=60, n_steps=600, n_warmup=500, thin=10, start="given", moves=moves, seed=1
    )
    samples = Sampler(normal, config).run(start=np.random.default_rng(0).normal(size=(60, d)), progress=False)
    radius = (samples.theta**2).sum(axis=1)
    assert radius.mean() == pytest.approx(d, rel=0.02)
    assert radius.var() == pytest.approx(2 * d, rel=0.08)


def test_walkers_are_independent_of_one_another():
    """One common displacement for all walkers, as emcee's own move proposes, would correlate their chains."""
    config = SamplerConfig(
        method="emcee", n_chains=40, n_steps=2000, n_warmup=100, thin=5, start="given", moves=(FULL,), seed=2
    )
    chains = Sampler(GAUSSIAN, config).run(start=STARTS[:40], progress=False).chains[:, :, 0]
    between = np.corrcoef(chains.T)[np.triu_indices(40, 1)]
    assert abs(between.mean()) < 0.01


def run(density, starts, n=None, **changes):
    settings = {"method": "emcee", "n_chains": n or len(starts), "n_steps": 20, "n_warmup": 0, "start": "given"}
    return Sampler(density, SamplerConfig(**{**settings, **changes})).run(start=starts, progress=False)


@pytest.mark.parametrize(("value", "message"), [(-np.inf, "-inf at 100 of 100"), (np.inf, "inf"), (np.nan, "nan")])
def test_values_that_are_no_log_density_are_refused_before_sampling(value, message):
    density = Likelihood(lambda t: np.full(len(t), value), SPACE)
    with pytest.raises(LikelihoodError, match=message) as caught:
        run(density, STARTS)
    assert f"a={STARTS[0, 0]:.6g}" in str(caught.value)


def test_nan_in_a_corner_is_an_error_when_it_is_met():
    density = Likelihood(lambda t: np.where(t[:, 0] > 4, np.nan, quadratic(t)), SPACE)
    with pytest.raises(LikelihoodError, match=r"logpdf is nan.*a=[4-9]"):
        run(density, STARTS[STARTS[:, 0] < 3][:40], n_steps=500)


def test_starts_outside_the_bounds_list_the_parameters():
    space = ParameterSpace((Parameter(name="a", bounds=(0.0, 2.0)), Parameter(name="b")))
    with pytest.raises(DomainError, match=r"a outside \[0, 2\]"):
        run(Likelihood(quadratic, space), STARTS)


def test_walkers_at_one_point_or_in_a_plane_are_refused():
    same = np.repeat(STARTS[:10], 2, axis=0)
    with pytest.raises(ConfigError, match="same point"):
        run(GAUSSIAN, same)
    with pytest.raises(ConfigError, match=r"same value of \['b'\]"):
        run(GAUSSIAN, np.column_stack([STARTS[:, 0], np.ones(100)]))
    with pytest.raises(ConfigError, match="1 of 2 dimensions"):
        run(GAUSSIAN, np.column_stack([STARTS[:, 0], 3 * STARTS[:, 0] + 1]))


def test_gaussian_moves_may_start_from_a_curve():
    samples = run(GAUSSIAN, np.repeat(STARTS[:1], 3, axis=0), moves=(Move.gaussian(1.0),))
    assert samples.chains.shape == (20, 3, 2)


def test_too_few_walkers():
    with pytest.raises(ConfigError, match="at least 4"):
        run(GAUSSIAN, STARTS[:3])


def test_wrong_number_of_starts():
    with pytest.raises(ConfigError, match="100 starting points for 50 chains"):
        run(GAUSSIAN, STARTS, n=50)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "walk"},
        {"a": 1.0},
        {"weight": 0.0},
        {"variance": -1.0},
        {"mode": "sideways"},
        {"covariance": ((1.0, 2.0), (2.0, 1.0))},
        {"covariance": ((1.0, 0.0),)},
        {"covariance": ((1.0,),), "mode": "random"},
    ],
)
def test_bad_moves(changes):
    with pytest.raises(ConfigError):
        Move(**changes)
