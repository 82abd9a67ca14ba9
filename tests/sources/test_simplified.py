"""The simplified likelihood: its moments by quadrature, its solutions against the published ones, its limits."""

import json
import logging
from importlib import resources

import numpy as np
import pytest
from contracts import toy
from scipy.stats import multivariate_normal, poisson

from dnnlikelihood import Inference, Likelihood
from dnnlikelihood.errors import ConfigError
from dnnlikelihood.sources import build
from dnnlikelihood.sources.simplified import parabolas, simplify

OBSERVED = [12.0, 25.0, 7.0]
SIGNAL = [1.0, 4.0, 6.0]
MEAN = np.array([10.0, 22.0, 6.0])
COVARIANCE = np.array([[4.0, 2.0, -0.8], [2.0, 9.0, 0.5], [-0.8, 0.5, 1.5]])
THIRD = np.array([5.0, -12.0, 3.0])


def source(**changes):
    given = {"observed": OBSERVED, "signal": SIGNAL, "mean": MEAN, "covariance": COVARIANCE, "third_moment": THIRD}
    return build("simplified", {**given, **changes})


def quadrature(d, n=8):
    """Nodes (n^d, d) and weights of the standard normal, exact for polynomials of degree 15."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    grid = np.stack(np.meshgrid(*[x] * d, indexing="ij"), -1).reshape(-1, d)
    weights = np.stack(np.meshgrid(*[w / w.sum()] * d, indexing="ij"), -1).reshape(-1, d).prod(axis=1)
    return grid, weights


def test_the_moments_are_those_asked_for():
    z, w = quadrature(3)
    background = np.asarray(source().counting.expected(np.hstack([np.zeros((len(z), 1)), z])))
    mean = w @ background
    centred = background - mean
    np.testing.assert_allclose(mean, MEAN, rtol=1e-12)
    np.testing.assert_allclose((centred.T * w) @ centred, COVARIANCE, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(w @ centred**3, THIRD, rtol=1e-11)


def test_the_solutions_are_the_published_ones():
    m2, m3 = np.diag(COVARIANCE), THIRD
    angle = 4 * np.pi / 3 + np.arctan(np.sqrt(8 * m2**3 / m3**2 - 1)) / 3
    c = -np.sign(m3) * np.sqrt(2 * m2) * np.cos(angle)
    b = np.sqrt(m2 - 2 * c**2)
    bb, cc = np.outer(b, b), np.outer(c, c)
    rho = (np.sqrt(bb**2 + 8 * cc * COVARIANCE) - bb) / (4 * cc)
    found = parabolas(MEAN, COVARIANCE, THIRD)
    np.testing.assert_allclose(found.c, c, rtol=1e-12)
    np.testing.assert_allclose(found.b, b, rtol=1e-12)
    np.testing.assert_allclose(found.a, MEAN - c, rtol=1e-12)
    np.testing.assert_allclose(found.rho, rho, rtol=1e-10, atol=1e-12)


def test_without_skewness_it_is_the_gaussian_simplified_likelihood(rng):
    likelihood = Likelihood.from_source("simplified", **source(third_moment=None).arguments)
    shape = parabolas(MEAN, COVARIANCE, np.zeros(3))
    np.testing.assert_array_equal(shape.c, 0)
    theta = np.hstack([rng.uniform(-0.5, 1.5, (20, 1)), rng.normal(size=(20, 3))])
    shift = theta[:, 1:] @ shape.root.T * np.sqrt(np.diag(COVARIANCE))
    nu = theta[:, :1] * SIGNAL + MEAN + shift
    expected = poisson.logpmf(np.array(OBSERVED), nu).sum(axis=1)
    expected += multivariate_normal(np.zeros(3), COVARIANCE).logpdf(shift)
    offset = likelihood.logpdf(theta) - expected
    np.testing.assert_allclose(offset, offset[0], atol=1e-10)


def test_small_skewness_is_continuous():
    """The published form is 0 / 0 where this one is not."""
    tiny, none = (parabolas(MEAN, COVARIANCE, factor * THIRD) for factor in (1e-9, 0.0))
    np.testing.assert_allclose(tiny.rho, none.rho, atol=1e-8)
    np.testing.assert_allclose(tiny.c, 1e-9 * THIRD / (6 * np.diag(COVARIANCE)), rtol=1e-6)


def test_too_much_skewness_is_said_and_cut(caplog):
    with caplog.at_level(logging.WARNING):
        found = parabolas(MEAN, np.diag(np.diag(COVARIANCE)), np.array([100.0, 0.0, -100.0]))
    assert "[0, 2]" in caplog.text
    np.testing.assert_allclose(np.diag(found.covariance), np.diag(COVARIANCE), rtol=1e-12)
    skewness = found.third_moment / np.diag(COVARIANCE) ** 1.5
    np.testing.assert_allclose(skewness, [np.sqrt(8), 0, -np.sqrt(8)], atol=1e-7)


def test_rho_is_a_correlation_matrix_even_if_the_moments_make_none(caplog):
    """Three bins pairwise anticorrelated as far as it goes, and skew: no such parabolas exist."""
    covariance = np.full((3, 3), -0.5) + 1.5 * np.eye(3)
    with caplog.at_level(logging.WARNING):
        found = parabolas(np.full(3, 9.0), covariance, np.full(3, 2.0))
    assert "eigenvalue" in caplog.text
    np.testing.assert_allclose(np.diag(found.rho), 1, rtol=1e-12)
    assert np.linalg.eigvalsh(found.rho)[0] > -1e-12


def test_certain_bins_stay_certain():
    covariance = np.diag([4.0, 0.0, 1.0])
    found = parabolas(MEAN, covariance, np.zeros(3))
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-15)


def test_gradient(rng):
    likelihood = Likelihood.from_source("simplified", **source().arguments)
    theta = np.hstack([rng.uniform(0, 1, (5, 1)), 0.7 * rng.normal(size=(5, 3))])
    _, grad = likelihood.logpdf_and_grad(theta)
    step = 1e-6 * np.eye(4)
    for i in range(4):
        difference = (likelihood.logpdf(theta + step[i]) - likelihood.logpdf(theta - step[i])) / 2e-6
        np.testing.assert_allclose(grad[:, i], difference, rtol=1e-6, atol=1e-6)


def test_simplifying_a_simplified_likelihood_changes_nothing():
    """Closure, within the errors of the draws."""
    n = 200_000
    again = simplify(source(mu_range=(-1, 5)), n=n, seed=3).arguments
    np.testing.assert_allclose(again["signal"], SIGNAL, rtol=1e-12)
    np.testing.assert_allclose(again["mean"], MEAN, atol=4 * np.sqrt(9 / n))
    np.testing.assert_allclose(again["covariance"], COVARIANCE, atol=4 * 9 * np.sqrt(2.5 / n))
    np.testing.assert_allclose(again["third_moment"], THIRD, atol=4 * 27 * np.sqrt(25 / n))
    assert again["mu_range"] == [-1, 5]
    assert simplify(source(), n=1000, seed=3).arguments == simplify(source(), n=1000, seed=3).arguments


def test_the_recipe_survives_a_file(tmp_path):
    likelihood = Likelihood.from_source("simplified", **source(mu_range=(-1, 5)).arguments)
    likelihood.save(tmp_path / "simplified")
    theta = [[0.5, 0.1, -0.2, 0.3]]
    np.testing.assert_array_equal(Likelihood.load(tmp_path / "simplified").logpdf(theta), likelihood.logpdf(theta))


def test_the_toy_simplified_beside_the_exact_one():
    """It is a good approximation of the interval, and visibly no more than that: t_mu is off by 0.1 and more."""
    arguments = simplify(toy().source, n=50_000).arguments
    mu = np.array([0.0, 0.5, 1.0])
    scan = Inference(Likelihood.from_source("simplified", **arguments)).tmu("mu", mu, progress=False)
    table = json.loads(resources.files("dnnlikelihood.reference").joinpath("toy_lhc.json").read_text("utf-8"))
    exact = {round(row["mu"], 3): row["t_mu"] for row in table["t_mu_exact"]}
    error = np.abs(scan.tmu - [exact[m] for m in mu])
    assert (scan.status == "converged").all()
    assert 0.1 < error.max() < 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signal": [1.0, 2.0]}, "shapes"),
        ({"observed": [1.0, -1.0, 2.0]}, "counts"),
        ({"mean": [1.0, np.nan, 2.0]}, "finite"),
        ({"covariance": [[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}, "positive"),
        ({"covariance": [[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}, "symmetric"),
        ({"observed": []}, "shapes"),
    ],
)
def test_bad_moments_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        source(**changes)


def test_only_counting_sources_can_be_simplified():
    with pytest.raises(ConfigError, match="counting"):
        simplify(build("gaussian"))
