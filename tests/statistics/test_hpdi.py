"""HPDIs: exact for tabulated densities, within their standard errors for samples."""

import json
from importlib import resources

import numpy as np
import pytest

from dnnlikelihood.errors import DomainError, ShapeError
from dnnlikelihood.statistics.density import density_1d, density_2d
from dnnlikelihood.statistics.hpdi import hpdi, hpdi_2d, hpdi_of_density
from dnnlikelihood.statistics.weighted import effective_size, ks_two_sample, quantile

LEVELS = (0.6827, 0.9545, 0.9973)
FOLDER = resources.files("dnnlikelihood.reference")
TABLE = np.array(
    [line.split(",") for line in FOLDER.joinpath("toy_lhc_exact_mu_posterior.csv").read_text().split()[1:]], float
)
PUBLISHED = json.loads(FOLDER.joinpath("toy_lhc.json").read_text("utf-8"))["exact_posterior_mu"]


def edges(found):
    return [e for i in found.intervals for e in (i.low, i.high)]


@pytest.fixture(scope="module")
def posterior():
    """A million draws of the toy's mu."""
    from scipy.interpolate import CubicSpline

    x = np.linspace(TABLE[0, 0], TABLE[-1, 0], 200001)
    f = np.exp(CubicSpline(TABLE[:, 0], TABLE[:, 1] - TABLE[:, 1].max())(x))
    cdf = np.concatenate([[0], np.cumsum(f[1:] + f[:-1])])
    return np.interp(np.random.default_rng(8).random(10**6), cdf / cdf[-1], x)


@pytest.mark.parametrize("level", LEVELS)
def test_the_exact_density_gives_the_published_intervals(level):
    found = hpdi_of_density(TABLE[:, 0], TABLE[:, 1], level)
    np.testing.assert_allclose(edges(found), PUBLISHED["HPDI_mu>-1"][f"{level}"], atol=1e-4)
    positive = TABLE[:, 0] > -1e-9
    found = hpdi_of_density(TABLE[positive, 0], TABLE[positive, 1], level)
    assert found.intervals[0].open_low
    assert found.intervals[0].high == pytest.approx(PUBLISHED["HPDI_mu>0_upper"][f"{level}"], abs=1e-4)


@pytest.mark.parametrize("level", LEVELS)
def test_a_million_samples_of_the_toy(posterior, level):
    tolerance = 0.003 if level < 0.99 else 0.007
    found = hpdi(posterior, level, support=(-1, 5))
    np.testing.assert_allclose(edges(found), PUBLISHED["HPDI_mu>-1"][f"{level}"], atol=tolerance)
    assert max(found.uncertainty[0]) < 0.004
    positive = hpdi(posterior, level, lower=0, support=(-1, 5))
    assert positive.intervals[0].low == 0
    assert positive.intervals[0].open_low
    assert positive.intervals[0].high == pytest.approx(PUBLISHED["HPDI_mu>0_upper"][f"{level}"], abs=tolerance)


def test_a_tabulated_gaussian_is_exact():
    from scipy.stats import norm

    x = np.linspace(-8, 8, 400)
    for level in LEVELS:
        z = norm.ppf(0.5 + level / 2)
        np.testing.assert_allclose(edges(hpdi_of_density(x, -0.5 * x**2 + 100, level)), [-z, z], atol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_standard_errors_tell_the_spread(rng, level):
    """Batches on their own, each smoothed more than the sample, told half of it at 99.73 %."""
    from scipy.stats import norm

    found = [hpdi(rng.normal(size=20000), level) for _ in range(30)]
    right = np.array([-1, 1]) * norm.ppf(0.5 + level / 2)
    spread = np.sqrt(np.mean([(np.array(edges(f)) - right) ** 2 for f in found]))
    claimed = np.mean([f.uncertainty[0] for f in found])
    assert 0.75 < claimed / spread < 1.4


def test_intervals_hold_their_level_though_noise_makes_gaps_and_islands(rng):
    inside = []
    for _ in range(10):
        x = rng.standard_t(3, size=2000)
        grid, f, _ = density_1d(x)
        below = np.concatenate([[0], np.cumsum(0.5 * (f[1:] + f[:-1]) * np.diff(grid))])
        held = [np.interp([i.low, i.high], grid, below) for i in hpdi(x, 0.9973).intervals]
        inside.append(sum(high - low for low, high in held))
    assert np.median(inside) == pytest.approx(0.9973, abs=3e-4)


def test_a_plateau_is_told_whole():
    found = hpdi_of_density(np.linspace(0, 1, 50), np.zeros(50), 0.5)
    assert edges(found) == [0, 1]


def test_edges_fluctuate_less_than_those_of_the_shortest_interval(rng):
    ours, shortest = [], []
    for _ in range(15):
        x = np.sort(rng.normal(size=20000))
        ours.append(edges(hpdi(x, 0.6827))[1])
        k = int(0.6827 * len(x))
        shortest.append(x[np.argmin(x[k:] - x[:-k]) + k])
    assert np.std(ours) < 0.5 * np.std(shortest)


def test_two_modes_two_intervals(rng):
    from scipy.stats import norm

    x = np.concatenate([rng.normal(-5, 1, 60000), rng.normal(5, 0.5, 140000)])
    rng.shuffle(x)
    found = hpdi(x, 0.9545)
    assert len(found.intervals) == 2
    grid = np.linspace(-12, 9, 20001)
    exact = hpdi_of_density(grid, np.log(0.3 * norm.pdf(grid, -5) + 0.7 * norm.pdf(grid, 5, 0.5)), 0.9545)
    np.testing.assert_allclose(edges(found), edges(exact), atol=0.05)
    assert len(found.uncertainty) == 2


def test_noise_makes_no_islands(rng):
    for n in (300, 3000):
        assert all(len(hpdi(rng.normal(size=n), level).intervals) == 1 for level in LEVELS for _ in range(4))


def test_a_hard_edge_is_kept(rng):
    found = hpdi(rng.exponential(size=200000), 0.6827, support=(0, np.inf))
    assert found.intervals[0].low == 0
    assert found.intervals[0].open_low
    assert found.intervals[0].high == pytest.approx(-np.log(1 - 0.6827), abs=0.012)


def test_weights_are_as_good_as_repetitions(rng):
    x = rng.normal(size=400000)
    w = np.exp(0.5 * x)  # turns N(0, 1) into N(1/2, 1)
    np.testing.assert_allclose(edges(hpdi(x, 0.6827, w)), [-0.5, 1.5], atol=0.02)
    assert effective_size(w) == pytest.approx(len(x) * np.exp(-0.25), rel=0.02)
    assert quantile(x, 0.5, w) == pytest.approx(0.5, abs=0.01)


def test_kernels_do_not_widen(rng):
    x = rng.normal(3, 2, size=5000)
    grid, f, _ = density_1d(x)
    mean = np.trapezoid(grid * f, grid)
    assert np.trapezoid((grid - mean) ** 2 * f, grid) == pytest.approx(x.var(), rel=0.01)


def test_regions_in_the_plane(rng):
    covariance = np.array([[1.0, 0.8], [0.8, 2.0]])
    x = rng.multivariate_normal([0, 0], covariance, size=300000)
    found = hpdi_2d(x[:, 0], x[:, 1], (0.6827, 0.9545))
    # For a Gaussian the region of a level is the ellipse at height (1 - level) / (2 pi sqrt(det C)).
    expected = (1 - np.array([0.6827, 0.9545])) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
    np.testing.assert_allclose(found.thresholds, expected, rtol=0.05)
    _, _, f = density_2d(x[:, 0], x[:, 1])
    assert f.sum() * np.diff(found.x)[0] * np.diff(found.y)[0] == pytest.approx(1)


def test_kolmogorov_smirnov_agrees_with_scipy(rng):
    from scipy.stats import ks_2samp

    x, y = rng.normal(size=3000), rng.normal(0.05, 1, size=2000)
    expected = ks_2samp(x, y, method="asymp")
    distance, p = ks_two_sample(x, y)
    assert distance == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, rel=0.1)
    assert ks_two_sample(x, x)[1] == pytest.approx(1)
    assert ks_two_sample(x, y + 1)[1] < 1e-10


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95, np.nan, "0.68", None])
def test_levels_are_probabilities(level):
    with pytest.raises(DomainError, match="level"):
        hpdi(np.arange(100.0), level)
    with pytest.raises(DomainError, match="level"):
        hpdi_of_density(np.arange(9.0), np.zeros(9), level)


def test_bad_samples():
    with pytest.raises(ShapeError, match="finite"):
        hpdi([0.0, np.nan, 1.0], 0.5)
    with pytest.raises(ShapeError, match="constant"):
        hpdi(np.ones(100), 0.5)
    with pytest.raises(ShapeError, match="weights"):
        hpdi(np.arange(5.0), 0.5, [1, 1, 1, 1, -1])
    with pytest.raises(ShapeError, match="support"):
        hpdi(np.arange(100.0), 0.5, support=(0, 50))
    with pytest.raises(DomainError, match="of the sample"):
        hpdi(np.arange(100.0), 0.5, lower=1000)
    with pytest.raises(ShapeError, match="ascending"):
        hpdi_of_density([0, 0, 1, 2], np.zeros(4), 0.5)
    with pytest.raises(ShapeError, match="line"):
        hpdi_2d(np.arange(9.0), np.arange(9.0), 0.5)
