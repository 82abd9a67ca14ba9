"""The mass peak against plain SciPy, its own normalisation, and the truth it was generated from."""

import numpy as np
import pytest
from contracts import PEAK_CENTRE, peak
from scipy import optimize, stats

from dnnlikelihood import Likelihood
from dnnlikelihood.errors import ConfigError
from dnnlikelihood.sources.unbinned import unbinned

A, B = 100.0, 180.0


def plain(theta, x, signal=30.0, background=200.0):
    """The log-density of one point, with what SciPy knows of truncated normals."""
    mu, scale, resolution, slope, rate = theta
    m, w, k = 125.0 * (1 + 0.002 * scale), 2.0 * 1.1**resolution, 0.02 * slope
    peak_pdf = stats.truncnorm((A - m) / w, (B - m) / w, m, w).pdf
    norm = (1 - np.exp(-k * (B - A))) / k if k else B - A

    def intensity(y):
        return mu * signal * peak_pdf(y) + rate * background * np.exp(-k * (y - A)) / norm

    if (intensity(np.r_[x, np.linspace(A, B, 161)]) <= 0).any():
        return -np.inf
    constraint = stats.norm.logpdf(scale) + stats.norm.logpdf(resolution)
    return np.log(intensity(x)).sum() - mu * signal - rate * background + constraint


def test_against_scipy():
    rng = np.random.default_rng(1)
    theta = PEAK_CENTRE + np.array([1.5, 1.0, 1.0, 1.0, 0.3]) * rng.normal(size=(300, 5))
    theta[0, 3] = 0.0
    theta[1, 3] = 1e-4
    theta[2, 3] = -1.0
    x = peak().source.exact["events"]
    expected = np.array([plain(row, x) for row in theta])
    value = peak().logpdf(theta)
    assert (theta[np.isfinite(expected), 0] < 0).sum() > 5  # negative strengths are possible ...
    assert np.isinf(expected).sum() > 5  # ... up to a point
    np.testing.assert_array_equal(np.isfinite(value), np.isfinite(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(value[finite], expected[finite], rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize(
    "theta", [PEAK_CENTRE, [0.5, 2.0, -1.0, 3.0, 0.8], [2.0, -1.0, 2.0, -2.0, 1.2], [1, 0, 0, 0, 1]]
)
def test_the_intensity_integrates_to_the_expected_number(theta):
    """log L of a single event gives the intensity at its mass; the integral of that is mu S + background B."""
    theta = np.asarray(theta, float)
    expected = theta[0] * 30.0 + theta[4] * 200.0
    nodes, weights = np.polynomial.legendre.leggauss(200)
    total = 0.0
    for mass, weight in zip(A + (B - A) * (nodes + 1) / 2, weights * (B - A) / 2, strict=True):
        source = unbinned([mass], signal=30.0, background=200.0)
        total += weight * np.exp(float(source.log_likelihood(theta[None])[0]) + expected)
    assert total == pytest.approx(expected, rel=1e-8)


def test_a_fit_finds_the_truth():
    """Eight data sets: the pulls of strength, slope and background are standard normal."""
    pulls = []
    for seed in range(8):
        density = Likelihood.from_source("unbinned", seed=100 + seed, signal=60.0, background=300.0)

        def objective(theta, density=density):
            value, grad = density.logpdf_and_grad(theta)
            return -value[0], -grad[0]

        fit = optimize.minimize(objective, PEAK_CENTRE, jac=True, method="BFGS", options={"gtol": 1e-3})
        shift = 1e-4 * np.eye(5)
        hess = (density.logpdf_and_grad(fit.x + shift)[1] - density.logpdf_and_grad(fit.x - shift)[1]) / 2e-4
        uncertainty = np.sqrt(np.diag(np.linalg.inv(-hess)))
        pulls.append(((fit.x - PEAK_CENTRE) / uncertainty)[[0, 3, 4]])
    pulls = np.array(pulls)
    assert np.abs(pulls).max() < 3.5
    assert (np.abs(pulls.mean(axis=0)) < 3 / np.sqrt(8)).all()
    assert 0.5 < pulls.std() < 1.6


def test_the_gradient_is_finite_where_the_density_is_zero():
    import tensorflow as tf

    theta = tf.constant([[-30.0, 0, 0, 1, 1], [1.0, 0, 0, 1, 1]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        value = peak().trace()(theta)
    assert np.isinf(value[0])
    assert np.isfinite(tape.gradient(value, theta).numpy()).all()


def test_events_are_reproducible_and_can_be_given(tmp_path):
    x = unbinned(seed=4).exact["events"]
    np.testing.assert_array_equal(unbinned(seed=4).exact["events"], x)
    assert not np.array_equal(unbinned(seed=5).exact["events"][:10], x[:10])
    given = Likelihood.from_source("unbinned", events=x.tolist())
    np.testing.assert_array_equal(
        given.logpdf(PEAK_CENTRE), Likelihood.from_source("unbinned", seed=4).logpdf(PEAK_CENTRE)
    )
    given.save(tmp_path / "peak")
    assert Likelihood.load(tmp_path / "peak").logpdf(PEAK_CENTRE) == given.logpdf(PEAK_CENTRE)


BAD = {
    "outside": ({"events": [99.0]}, r"inside \[100.0, 180.0\]"),
    "none": ({"events": []}, "must be a list of masses"),
    "NaN": ({"events": [np.nan]}, "must be a list of masses"),
    "width": ({"width": 0.0}, "'width': 0.0"),
    "mass": ({"mass": 90.0}, r"the mass inside \(100.0, 180.0\)"),
    "slope": ({"slope": 2.0}, r"falls by exp\(160\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_arguments_that_are_refused(case):
    arguments, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        unbinned(**arguments)
