"""The verdict on a surrogate: an identical one passes, a spoiled one fails and is told why."""

from dataclasses import replace

import numpy as np
import pytest

from dnnlikelihood.comparison import agreement as compare
from dnnlikelihood.errors import ConfigError, ParameterError, ShapeError
from dnnlikelihood.inference import InferenceConfig
from dnnlikelihood.likelihood import Likelihood
from dnnlikelihood.results import Convergence, Samples
from dnnlikelihood.statistics.agreement import Limits, Region, agreement, gaussian_baseline
from dnnlikelihood.statistics.profile import profile

NAMES = ("x0", "x1", "x2")
COVARIANCE = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 0.5]])


def gaussian(mean=(0.0, 0.0, 0.0), covariance=COVARIANCE, constant=0.0):
    return Likelihood.from_source(
        "gaussian", mean=list(mean), covariance=np.asarray(covariance).tolist(), constant=constant
    )


def draw(density, seed, n=20000):
    exact = density.source.exact
    x = np.random.default_rng(seed).multivariate_normal(exact["mean"], exact["covariance"], size=n)
    verdict = Convergence(np.ones(3), np.ones(3), np.full(3, float(n)), 0.8, converged=True, reasons=())
    return Samples(NAMES, x[:, None, :], density.logpdf(x)[:, None], verdict)


def judge(truth, surrogate, **options):
    return compare(
        truth,
        surrogate,
        truth_samples=draw(truth, 1),
        surrogate_samples=draw(surrogate, 2),
        progress=False,
        **options,
    )


def test_an_identical_surrogate_passes():
    verdict = judge(gaussian(), gaussian())
    assert verdict.passed, verdict.failures
    assert verdict.failures == ()
    assert verdict.regions["bulk"]["rmse"] == 0
    assert set(verdict.regions) == {"bulk", "own", "tails", "profile"}
    assert verdict.tmu["x0"]["max_error"] < 1e-9
    assert verdict.ks["min_p"] > 1e-3


def test_samples_that_it_draws_are_independent():
    """With one seed for both, chains of equal densities would be equal, and every p-value 1."""
    config = InferenceConfig(n_chains=32, n_steps=200, n_warmup=100)
    verdict = compare(gaussian(), gaussian(), config=config, progress=False)
    assert verdict.passed, verdict.failures
    assert verdict.ks["min_p"] < 0.999
    assert verdict.hpdi["x0"]["0.6827"]["difference"] > 1e-4


@pytest.mark.parametrize(
    ("spoiled", "complaint"),
    [
        ({"constant": 0.2}, "maximum is off by"),
        ({"mean": (0.3, 0.0, 0.0)}, "HPDI of x0"),
        ({"mean": (0.0, 0.3, 0.0)}, "KS: smallest p-value"),
        ({"covariance": 1.2 * COVARIANCE}, "t_mu of x0"),
        ({"covariance": np.diag(np.diag(COVARIANCE))}, "correlations differ"),
        ({"mean": (0.3, 0.0, 0.0)}, "bulk: rmse"),
    ],
)
def test_a_spoiled_surrogate_fails(spoiled, complaint):
    verdict = judge(gaussian(), gaussian(**spoiled))
    assert not verdict.passed
    assert any(complaint in f for f in verdict.failures), verdict.failures


def test_limits_decide():
    assert judge(
        gaussian(), gaussian(constant=0.2), limits=Limits(rmse=1, rmse_elsewhere=1, maximum=1, skill=-1e9)
    ).passed
    with pytest.raises(ConfigError, match="rmse"):
        Limits(rmse=0.0)


def test_an_unconverged_chain_never_passes():
    truth = gaussian()
    samples = draw(truth, 1)
    bad = replace(samples, verdict=replace(samples.verdict, converged=False, reasons=("R-hat 1.3 of x1",)))
    scan = profile(truth, "x0", [0.0, 1.0])
    region = Region(samples.theta, samples.flat_logpdf, samples.flat_logpdf)
    verdict = agreement({"bulk": region}, samples, bad, {"x0": (scan, scan)})
    assert verdict.failures == ("the samples of the surrogate did not converge: R-hat 1.3 of x1",)


def test_the_baseline_is_the_gaussian_of_the_sample(rng):
    truth = gaussian((1, 2, 3))
    x = rng.multivariate_normal([1, 2, 3], COVARIANCE, size=100000)
    np.testing.assert_allclose(gaussian_baseline(x, truth.logpdf(x))(x[:100]), truth.logpdf(x[:100]), atol=0.2)


def test_refusals():
    truth = gaussian()
    samples = draw(truth, 1, n=1000)
    region = Region(samples.theta, samples.flat_logpdf, samples.flat_logpdf)
    with pytest.raises(ShapeError, match="bulk"):
        agreement({"tails": region}, samples, samples, {})
    with pytest.raises(ShapeError, match="finite"):
        agreement({"bulk": replace(region, truth=region.truth * np.nan)}, samples, samples, {})
    a, b = profile(truth, "x0", [0.0, 1.0]), profile(truth, "x0", [0.0, 2.0])
    with pytest.raises(ShapeError, match="same points"):
        agreement({"bulk": region}, samples, samples, {"x0": (a, b)})
    with pytest.raises(ParameterError, match="other parameters"):
        compare(truth, truth.rename({"x0": "y"}))
