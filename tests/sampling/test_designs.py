"""Training designs: where the points lie."""

import numpy as np
import pytest

from dnnlikelihood import Likelihood, Parameter, ParameterSpace
from dnnlikelihood.errors import ConfigError, ShapeError
from dnnlikelihood.sampling.designs import around, broadened, displaced, s3_mixture, sobol, tempered

COVARIANCE = np.array([[4.0, 1.2], [1.2, 1.0]])


def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def gaussian():
    return Likelihood.from_source("gaussian", mean=[1.0, 2.0], covariance=COVARIANCE.tolist())


def test_sobol_covers_the_box_evenly():
    space = ParameterSpace((Parameter(name="a", bounds=(0.0, 2.0)), Parameter(name="b", bounds=(-1.0, 1.0))))
    theta = sobol(space, 256, rng())
    counts, *_ = np.histogram2d(*theta.T, bins=4, range=[[0, 2], [-1, 1]])
    assert (counts == 16).all()
    assert sobol(space, 100, rng(), low=[0.5, 0.0], high=[0.6, 0.1]).max() <= 0.6
    with pytest.raises(ConfigError, match=r"\['c'\]"):
        sobol(ParameterSpace.of("c"), 10, rng())


def test_tempered_samples_have_the_width_of_their_temperature(gaussian):
    start = rng().normal(size=(50, 2))
    theta, temperature = tempered(gaussian, [0.05, 1.0, 2.0], 3000, rng(), n_chains=96, start=start)
    assert theta.shape == (9000, 2)
    for t in (0.05, 1.0, 2.0):
        part = theta[temperature == t]
        assert len(part) == 3000
        assert np.cov(part.T) / t == pytest.approx(COVARIANCE, rel=0.15)
        assert np.abs(part.mean(axis=0) - [1, 2]).max() < 0.15 * np.sqrt(t)
    with pytest.raises(ConfigError, match="positive"):
        tempered(gaussian, [0.0], 10, rng())


def test_broadened_is_wider_in_one_parameter_and_keeps_the_rest(gaussian):
    wide = broadened(gaussian, "x0", 1.0, 2.0, 0.75)
    theta = rng().normal(size=(10, 2))
    added = 0.375 * ((theta[:, 0] - 1.0) / 2.0) ** 2
    assert wide.logpdf(theta) == pytest.approx(gaussian.logpdf(theta) + added, abs=1e-12)
    _, _, hess = wide.logpdf_grad_hess([[1.0, 2.0]])
    assert np.linalg.inv(-hess[0])[0, 0] == pytest.approx(4.0 / 0.25)
    with pytest.raises(ConfigError):
        broadened(gaussian, "x0", 0.0, 1.0, 1.0)


def test_around_scatters_about_given_points():
    points = np.array([[0.0, 0.0], [100.0, 0.0]])
    theta = around(points, COVARIANCE, (0.5, 0.5), 20000, rng())
    near = theta[theta[:, 0] < 50]
    assert 0.48 < len(near) / 20000 < 0.52
    assert np.cov(near.T) == pytest.approx(0.25 * COVARIANCE, rel=0.05)
    assert set(map(tuple, around(points, COVARIANCE, (0.0, 0.0), 50, rng()))) == set(map(tuple, points))
    with pytest.raises(ShapeError):
        around(points, np.eye(3), (0, 1), 5, rng())
    with pytest.raises(ConfigError):
        around(points, COVARIANCE, (1, 0), 5, rng())


def test_s3_is_seventy_percent_s1_and_all_of_s2_near_the_maximum():
    s1 = np.zeros((1000, 2)), np.full(1000, -330.0)
    s2 = np.ones((500, 2)), np.concatenate([np.full(40, -288.0), np.full(460, -310.0)])
    mixture = s3_mixture(s1, s2, 1000, rng())
    counts = dict(zip(*np.unique(mixture.origin, return_counts=True), strict=True))
    assert counts == {"S1": 700, "S2 near the maximum": 40, "S2": 260}
    assert (mixture.logpdf == -288).sum() == 40
    assert np.array_equal(mixture.theta[:, 0] == 0, mixture.origin == "S1")
    with pytest.raises(ConfigError, match="700 of S1"):
        s3_mixture((s1[0][:10], s1[1][:10]), s2, 1000, rng())


def test_displaced_points_leave_few_parameters():
    points, reach = np.arange(12.0).reshape(2, 6), np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    found = displaced(points, reach, 3, 3000, np.random.default_rng(8))
    assert found.shape == (3000, 6)
    off = np.stack([np.abs(found - point) for point in points])
    off = off[np.argmin((off > 0).sum(axis=2), axis=0), np.arange(len(found))]
    moved = (off > 0).sum(axis=1)
    assert (moved >= 1).all()
    np.testing.assert_allclose(np.bincount(moved, minlength=4)[1:] / 3000, 1 / 3, atol=0.04)
    assert (off <= reach).all()
    np.testing.assert_allclose(off.max(axis=0), reach, rtol=0.02)
    few = displaced(points, reach * [0, 1, 0, 0, 1, 0], 2, 100, np.random.default_rng(8))
    assert np.isin(few[:, [0, 2, 3, 5]], points[:, [0, 2, 3, 5]]).all()
    assert not np.isin(few[:, [1, 4]], points[:, [1, 4]]).all(axis=0).any()
    for bad, error in (((points, reach[:2], 3), ShapeError), ((points, reach, 7), ConfigError)):
        with pytest.raises(error):
            displaced(*bad, 10, np.random.default_rng(8))
