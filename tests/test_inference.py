"""Inference: exact Gaussian answers, refusals, warnings that stay with the answer, and a round trip."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dnnlikelihood.chains import ENOUGH, draw
from dnnlikelihood.errors import ConfigError, DomainError, IntegrityError, MissingArtifact, ParameterError, ShapeError
from dnnlikelihood.inference import Inference, InferenceConfig
from dnnlikelihood.likelihood import Likelihood
from dnnlikelihood.priors import Normal, Prior, Uniform
from dnnlikelihood.results import Convergence, Samples

COVARIANCE = np.array([[0.49, 0.3], [0.3, 1.0]])
MEAN = np.array([1.3, -0.4])


@pytest.fixture(scope="module")
def gaussian():
    return Likelihood.from_source("gaussian", mean=MEAN.tolist(), covariance=COVARIANCE.tolist(), constant=5.0)


@pytest.fixture(scope="module")
def samples(gaussian):
    return np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, size=200000)


def test_maxima_and_profiles(gaussian):
    inference = Inference(gaussian)
    np.testing.assert_allclose(inference.map().theta[0], MEAN, atol=1e-7)
    assert inference.mle().value[0] == pytest.approx(5.0, abs=1e-12)
    x = np.linspace(-1, 3, 9)
    scan = inference.tmu("x0", x)
    np.testing.assert_allclose(scan.tmu, (x - MEAN[0]) ** 2 / 0.49, atol=1e-9)
    assert (scan.status == "converged").all()
    grid = inference.profile(["x0", "x1"], [MEAN, MEAN + [0.7, 0]])
    np.testing.assert_allclose(grid.tmu, [0, np.array([0.7, 0]) @ np.linalg.inv(COVARIANCE) @ [0.7, 0]], atol=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.6827, 0.9545, 0.9973])
def test_intervals_find_their_range(gaussian, level):
    from scipy.stats import norm

    (found,) = Inference(gaussian).interval("x0", level)
    z = norm.ppf(0.5 + level / 2)
    np.testing.assert_allclose([found.low, found.high], [MEAN[0] - 0.7 * z, MEAN[0] + 0.7 * z], atol=1e-6)


def test_an_interval_that_meets_the_range_is_open(gaussian):
    bounded = gaussian.with_prior(Prior({"x0": Uniform(1.0, 9.0)}))
    (found,) = Inference(bounded).interval("x0", 0.9545)
    assert found.open_low
    assert found.low == 1.0
    assert not found.open_high


def test_the_toys_interval_agrees_with_its_table():
    toy = Likelihood.from_source("toy_lhc")
    inference = Inference(toy)
    (found,) = inference.interval("mu", 0.6827)
    np.testing.assert_allclose(inference.tmu("mu", [found.low, found.high]).tmu, 1.0, atol=2e-3)
    assert not found.open_low


def test_the_mle_takes_the_prior_of_the_poi_out_and_leaves_constraints(gaussian):
    shaped = gaussian.with_prior(Prior({"x0": Normal(0.0, 0.7), "x1": Normal(-0.4, 1.0)}))
    inference = Inference(shaped)
    only_x1 = Inference(gaussian.with_prior(Prior({"x1": Normal(-0.4, 1.0)})))
    np.testing.assert_allclose(inference.mle().theta, only_x1.map().theta, atol=1e-7)
    np.testing.assert_allclose(inference.mle().value, only_x1.map().value, atol=1e-9)
    assert abs(inference.map().theta[0, 0] - MEAN[0]) > 0.1
    with pytest.raises(DomainError, match="prior that is not constant"):
        inference.tmu("x0", [0.0])


def test_questions_to_samples(gaussian, samples):
    inference = Inference(gaussian, samples)
    found = inference.hpdi("x0", 0.6827)
    assert found.warnings == ()
    np.testing.assert_allclose([found.intervals[0].low, found.intervals[0].high], MEAN[0] + [-0.7, 0.7], atol=0.01)
    assert inference.hpdi("x0", 0.6827, lower=2.0).intervals[0].open_low
    curve = inference.marginal("x1")
    assert np.trapezoid(curve.density, curve.x) == pytest.approx(1)
    assert curve.x[np.argmax(curve.density)] == pytest.approx(MEAN[1], abs=0.05)
    region = inference.hpdi_2d("x0", "x1", [0.6827])
    assert region.thresholds[0] == pytest.approx(0.3173 / (2 * np.pi * np.sqrt(np.linalg.det(COVARIANCE))), rel=0.05)


def test_weights_turn_one_posterior_into_another(gaussian, samples):
    weights = np.exp(-0.5 * samples[:, 0] ** 2)
    found = Inference(gaussian, samples, weights=weights).hpdi("x0", 0.6827).intervals[0]
    variance = 1 / (1 + 1 / 0.49)
    centre = variance * MEAN[0] / 0.49
    np.testing.assert_allclose([found.low, found.high], centre + np.sqrt(variance) * np.array([-1, 1]), atol=0.03)
    with pytest.raises(ShapeError, match="weights"):
        Inference(gaussian, samples, weights=weights[:5])


def test_an_unconverged_chain_says_so(gaussian, samples, caplog):
    verdict = Convergence(
        np.array([1.3, 1.0]), np.ones(2), np.full(2, 50.0), 0.2, converged=False, reasons=("R-hat 1.3 of x0",)
    )
    chains = Samples(("x0", "x1"), samples[:5000, None, :], np.zeros((5000, 1)), verdict)
    inference = Inference(gaussian, chains)
    found = inference.hpdi("x0", 0.6827)
    assert found.warnings == ("not converged: R-hat 1.3 of x0",)
    assert "R-hat 1.3" in caplog.text
    assert list(inference.log)[-1]["warnings"] == ["not converged: R-hat 1.3 of x0"]


def test_the_posterior_is_drawn_when_asked(gaussian):
    config = InferenceConfig(n_chains=64, n_steps=400, n_warmup=200, seed=4)
    inference = Inference(gaussian, config=config)
    drawn = inference.posterior(progress=False)
    assert drawn.verdict.converged, drawn.verdict.reasons
    found = inference.hpdi("x0", 0.6827)
    np.testing.assert_allclose([found.intervals[0].low, found.intervals[0].high], MEAN[0] + [-0.7, 0.7], atol=0.06)
    crossed = inference.cross_check(progress=False)
    assert crossed["min_p"] > 1e-3
    assert set(crossed["p"]) == {"x0", "x1"}


def test_chains_go_on_while_they_disagree_unless_their_steps_are_given(gaussian, tmp_path):
    def drawn(folder=None, **given):
        settings = {"n_chains": 8, "n_warmup": 100, "seed": 1, "thin": 1, **given}
        return draw(gaussian, "emcee", folder, around=MEAN[None], progress=False, **settings)

    exact = drawn(n_steps=400)
    assert not exact.verdict.converged
    assert len(exact.chains) == 400
    longer = drawn()
    assert longer.verdict.converged
    assert len(longer.chains) in ENOUGH[1:]
    np.testing.assert_array_equal(longer.chains[:400], exact.chains)
    np.testing.assert_array_equal(drawn(tmp_path / "kept").chains, longer.chains)
    np.testing.assert_array_equal(drawn(tmp_path / "kept").chains, longer.chains)


def test_a_profiled_density_is_not_sampled(gaussian):
    density = Likelihood(lambda t: -0.5 * (t**2).sum(1), gaussian.parameters, gradient=lambda t: -t)
    density.kind = "profiled"
    with pytest.raises(ConfigError, match="profiled"):
        Inference(density).posterior()


def test_round_trip(gaussian, samples, tmp_path):
    inference = Inference(gaussian, samples[:3000])
    before = inference.hpdi("x0", 0.6827)
    inference.tmu("x0", [0.0, 1.0])
    inference.save(tmp_path / "inference")
    loaded = Inference.load(tmp_path / "inference")
    assert loaded.answers == json.loads(json.dumps(inference.answers))
    assert loaded.fingerprint == inference.fingerprint
    assert [e["event"] for e in loaded.log] == ["hpdi", "map", "profile"]
    np.testing.assert_array_equal(loaded.samples.theta, samples[:3000])
    assert loaded.hpdi("x0", 0.6827) == before
    with pytest.raises(MissingArtifact, match="attach"):
        loaded.map()
    with pytest.raises(ConfigError, match="not the density"):
        loaded.attach(Likelihood.from_source("gaussian"))
    np.testing.assert_allclose(loaded.attach(gaussian).map().theta[0], MEAN, atol=1e-7)
    answers = tmp_path / "inference" / "answers.json"
    answers.write_text(answers.read_text("utf-8").replace("0.6827", "0.9545"), "utf-8")
    with pytest.raises(IntegrityError, match="not the file that was saved"):
        Inference.load(tmp_path / "inference")


def test_refusals(gaussian, samples):
    inference = Inference(gaussian, samples[:1000])
    for level in (0, 1):
        with pytest.raises(DomainError, match="level"):
            inference.hpdi("x0", level)
        with pytest.raises(DomainError, match="level"):
            inference.interval("x0", level)
    with pytest.raises(ParameterError, match="did you mean"):
        inference.tmu("x00", [0.0])
    with pytest.raises(ParameterError, match="no samples"):
        inference.hpdi("y", 0.5)
    with pytest.raises(ConfigError, match="pseudo"):
        Inference(Likelihood(lambda t: -(t**2).sum(1), gaussian.parameters)).pseudo_experiments("x0", 0.0, 10)
    with pytest.raises(ConfigError, match="n_chains"):
        InferenceConfig(n_chains=0)
    other = Samples(("a", "b"), np.zeros((2, 1, 2)), np.zeros((2, 1)), replace(inference.samples.verdict))
    with pytest.raises(ShapeError, match="samples of"):
        Inference(gaussian, other)


def test_a_direction_that_the_density_does_not_know():
    """x1 does nothing: the profile is that of x0, and nothing breaks."""
    from dnnlikelihood.parameters import ParameterSpace

    density = Likelihood(
        lambda t: -0.5 * t[:, 0] ** 2,
        ParameterSpace.of("x0", "x1", poi="x0"),
        gradient=lambda t: np.stack([-t[:, 0], np.zeros(len(t))], 1),
    )
    scan = Inference(density).tmu("x0", [0.0, 1.0, 2.0])
    assert (scan.status == "converged").all()
    np.testing.assert_allclose(scan.tmu, [0, 1, 4], atol=1e-8)
