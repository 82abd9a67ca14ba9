"""Pseudo-experiments: chi^2_1 where Wilks' theorem holds, something else where it does not."""

import numpy as np
import pytest

from dnnlikelihood.errors import ConfigError, DomainError, ShapeError
from dnnlikelihood.parameters import Parameter, ParameterSpace
from dnnlikelihood.priors import Normal, Prior, Uniform
from dnnlikelihood.sources.source import Counting, Source
from dnnlikelihood.statistics.pseudo_experiments import pseudo_experiments


def counting(scale, *, signal=(1.0, 2.0, 1.0), arrow=False, low=-5.0):
    """Three bins: signal times mu, background (10, 10, 30) with a 20 % normalisation nuisance; times `scale`."""
    signal, background = scale * np.array(signal), scale * np.array([10.0, 10.0, 30.0])

    def expected(theta):
        return theta[:, :1] * signal + background * (1 + 0.2 * theta[:, 1:2])

    model = Counting(expected, background)
    return Source(
        name="three_bins",
        arguments={},
        parameters=ParameterSpace((Parameter(name="mu", role="poi"), Parameter(name="delta"))),
        prior=Prior({"mu": Uniform(low, 20.0), "delta": Normal()}),
        log_likelihood=model.log_likelihood,
        counting=model,
        dense_columns=(0,) if arrow else None,
    )


@pytest.mark.parametrize("method", ["profile", "hybrid"])
def test_many_events_follow_chi2(method):
    found = pseudo_experiments(counting(1e4), "mu", 0.5, 2000, method=method, seed=3, progress=False)
    assert found.failed == 0
    assert len(found.tmu) == 2000
    assert found.tmu.min() > -1e-8
    assert found.ks[1] > 0.01
    for level, expected in ((0.6827, 1.0), (0.9545, 4.0)):
        value, error = found.quantile(level)
        assert abs(value - expected) < 4 * error
    p, error = found.p_value(4.0)
    assert abs(p - 0.0455) < 4 * error


def test_few_events_do_not_follow_chi2():
    found = pseudo_experiments(counting(0.05, low=0.0), "mu", 0.5, 2000, seed=3, progress=False)
    assert found.ks[1] < 1e-6
    assert len(found.tmu) + found.failed == 2000


def test_held_constraints_make_t_too_small():
    """With the centres held, delta no longer fluctuates but is still fitted: the paper's "profile" toys."""
    degenerate = counting(1e3, signal=(1.0, 1.0, 3.0), low=-9.0)  # only the constraint tells mu from delta
    held = pseudo_experiments(degenerate, "mu", 0.5, 1000, throw_constraints=False, progress=False)
    assert held.ks[1] < 1e-6
    assert held.quantile(0.6827)[0] < 0.1
    thrown = pseudo_experiments(degenerate, "mu", 0.5, 1000, progress=False)
    assert thrown.ks[1] > 1e-3


def test_arrow_and_dense_curvature_agree():
    """delta is the one sparse column, so the Hessian is an arrow as well."""
    a = pseudo_experiments(counting(10.0), "mu", 1.0, 200, seed=1, progress=False)
    b = pseudo_experiments(counting(10.0, arrow=True), "mu", 1.0, 200, seed=1, progress=False)
    np.testing.assert_allclose(a.tmu, b.tmu, atol=1e-8)


def test_seeds_repeat():
    a, b, c = (pseudo_experiments(counting(10.0), "mu", 1.0, 50, seed=s, progress=False).tmu for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_toy_search_deviates_at_small_mu():
    from dnnlikelihood.sources import build

    found = pseudo_experiments(build("toy_lhc"), "mu", 0.0, 64, seed=5, progress=False)
    assert found.failed <= 1
    assert found.tmu.min() > -1e-8


@pytest.mark.slow
def test_two_thousand_toys_of_the_search():
    from dnnlikelihood.sources import build

    for mu in (0.0, 0.5, 1.0):
        found = pseudo_experiments(build("toy_lhc"), "mu", mu, 2000, seed=5, progress=False)
        assert found.failed < 20
        assert abs(found.quantile(0.6827)[0] - 1) < 0.35


def test_refusals():
    from dnnlikelihood.sources import build

    source = counting(1.0)
    with pytest.raises(DomainError, match="outside"):
        pseudo_experiments(source, "mu", 99.0, 10)
    with pytest.raises(ConfigError, match="method"):
        pseudo_experiments(source, "mu", 0.0, 10, method="asimov")
    with pytest.raises(ConfigError, match="few"):
        pseudo_experiments(source, "mu", 0.0, 1)
    with pytest.raises(ConfigError, match="no counts"):
        pseudo_experiments(build("gaussian"), "x0", 0.0, 10)
    with pytest.raises(ShapeError, match="theta"):
        pseudo_experiments(source, "mu", 0.0, 10, theta=[0.0])
    with pytest.raises(DomainError, match="negative counts"):
        pseudo_experiments(counting(1.0, low=-20.0), "mu", -15.0, 10, theta=[0.0, 0.0])
    with pytest.raises(DomainError, match="level"):
        pseudo_experiments(source, "mu", 1.0, 10, progress=False).quantile(1.0)
