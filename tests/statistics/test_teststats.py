"""Test statistics and intervals from t_mu curves: exact for Gaussians, open ends flagged."""

import numpy as np
import pytest

from dnnlikelihood.errors import ConfigError, DomainError, ShapeError
from dnnlikelihood.statistics import teststats


def test_definitions():
    """One measurement of mu = -1 +- 1: logpdf = -(mu + 1)^2 / 2."""
    logpdf = lambda mu: -0.5 * (mu + 1) ** 2
    assert teststats.tmu(0.0, logpdf(1.0)) == pytest.approx(4)
    assert teststats.q0(-1.0, 0.0, logpdf(0.0)) == 0
    assert teststats.q0(1.0, 0.0, -0.5) == 1
    assert teststats.qmu(1.0, -1.0, 0.0, logpdf(1.0)) == pytest.approx(4)
    assert teststats.qmu(-2.0, -1.0, 0.0, logpdf(-2.0)) == 0
    # muhat < 0 is measured from mu = 0: (mu^2 - 2 mu muhat) / sigma^2 (arXiv:1007.1727, eq. 62)
    assert teststats.qmu_tilde(1.0, -1.0, 0.0, logpdf(1.0), logpdf(0.0)) == pytest.approx(1 + 2)


def test_negative_values_are_kept():
    assert teststats.tmu(-1.0, -0.9) == pytest.approx(-0.2)


def test_points_on_the_profile_give_t_mu_to_the_width_of_a_bin(rng):
    """Points (mu, x) of a Gaussian, scattered about its profile x = mu."""
    mu = rng.uniform(-2, 2, 200_000)
    x = mu + 0.1 * rng.normal(size=len(mu))
    logpdf = -0.5 * mu**2 - 0.5 * (x - mu) ** 2
    centres = np.array([0.0, 0.5, 1.0, 1.5, 5.0])
    for width in (0.02, 0.2):
        found = teststats.tmu_of_samples(mu, logpdf, centres, width)
        np.testing.assert_allclose(found[:-1], np.maximum(centres[:-1] - width / 2, 0) ** 2, atol=0.01)
        assert np.isnan(found[-1])
    with pytest.raises(ShapeError, match="one shape"):
        teststats.tmu_of_samples(mu, logpdf[:-1], centres, 0.1)
    with pytest.raises(ConfigError, match="positive"):
        teststats.tmu_of_samples(mu, logpdf, centres, 0.0)


def test_p_values():
    from scipy.stats import chi2, norm

    t = np.array([0.0, 0.3, 1.0, 25.0])
    np.testing.assert_allclose(teststats.p_value(t), chi2(1).sf(t))
    np.testing.assert_allclose(teststats.p_value(t, "q0"), norm.sf(np.sqrt(t)))
    assert teststats.threshold(0.95) == pytest.approx(3.841458820694124)
    with pytest.raises(ConfigError):
        teststats.p_value(1.0, "cls")


@pytest.mark.parametrize("level", [0.6827, 0.95, 0.9973])
def test_a_parabola_is_exact(level):
    mu = np.linspace(-7, 9, 12)
    (found,) = teststats.interval(mu, ((mu - 1.3) / 0.7) ** 2, 1.3, level)
    z = np.sqrt(teststats.threshold(level))
    np.testing.assert_allclose([found.low, found.high], [1.3 - 0.7 * z, 1.3 + 0.7 * z], atol=1e-9)
    assert not found.open_low
    assert not found.open_high


def test_an_end_that_is_not_reached_is_open():
    mu = np.linspace(0, 2, 21)
    (found,) = teststats.interval(mu, mu**2, 0.0, 0.6827)
    assert found.open_low
    assert found.low == 0
    assert found.high == pytest.approx(1, abs=1e-4)
    (found,) = teststats.interval(mu, 0.1 * mu**2, 0.0, 0.6827)
    assert found.open_high


def test_two_valleys_give_two_intervals():
    mu = np.linspace(-2, 2, 201)
    found = teststats.interval(mu, 5 * (mu**2 - 1) ** 2, 1.0, 0.6827)
    assert len(found) == 2
    expected = np.sqrt(1 + np.array([-1, 1]) * np.sqrt(teststats.threshold(0.6827) / 5))
    np.testing.assert_allclose([found[1].low, found[1].high], expected, atol=1e-4)
    np.testing.assert_allclose([found[0].low, found[0].high], -expected[::-1], atol=1e-4)


def test_refusals():
    mu = np.linspace(2, 3, 5)
    with pytest.raises(DomainError, match="nearer"):
        teststats.interval(mu, mu**2, 0.0, 0.6827)
    with pytest.raises(ShapeError, match="ascending"):
        teststats.interval(mu[::-1], mu**2, 0.0, 0.6827)
    for level in (0, 1):
        with pytest.raises(DomainError, match="level"):
            teststats.interval(mu, mu**2, 2.5, level)
