"""DnnLik on a likelihood with known answers."""

import numpy as np
import pytest

from dnnlikelihood import DnnLik, Likelihood, Normal, Parameter, ParameterSpace, Prior
from dnnlikelihood.data import Data, DataConfig
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.errors import ArtifactExists, ConfigError, IntegrityError, MissingArtifact, TrainingError
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig

SPACE = ParameterSpace((Parameter(name="mu", role="poi"), Parameter(name="a", kinks=(0.0,)), Parameter(name="b")))
SMALL = DnnLikConfig(
    network=NetworkConfig(widths=(32, 32), n_members=2),
    training=TrainingConfig(n_epochs=40, batch_size=64, learning_rate=5e-3),
)


def value(theta):
    """A skewed, kinked, correlated log-likelihood."""
    mu, a, b = theta.T
    rate = 2.0 + np.exp(0.3 * mu) + np.maximum(a, 0) * 0.8 + np.minimum(a, 0) * 0.3
    return -0.5 * (mu - 0.5 * b) ** 2 - rate + 3 * np.log(rate) - 100.0


def slope(theta):
    mu, a, b = theta.T
    rate = 2.0 + np.exp(0.3 * mu) + np.maximum(a, 0) * 0.8 + np.minimum(a, 0) * 0.3
    common = 3 / rate - 1
    return np.stack(
        [-(mu - 0.5 * b) + common * 0.3 * np.exp(0.3 * mu), common * np.where(a > 0, 0.8, 0.3), 0.5 * (mu - 0.5 * b)],
        axis=1,
    )


@pytest.fixture(scope="module")
def truth():
    return Likelihood(value, SPACE, prior=Prior({"a": Normal(), "b": Normal()}), gradient=slope)


@pytest.fixture(scope="module")
def data(truth):
    theta = np.random.default_rng(0).normal(size=(3000, 3)) * [1.5, 1.2, 1.2]
    return Data.label(truth, theta, config=DataConfig(fractions=(0.6, 0.2, 0.2)), progress=False)


@pytest.fixture(scope="module")
def fitted(data):
    return DnnLik.fit(data, SMALL, progress=False)


def test_it_learns_value_gradient_and_says_how_wrong_it_is(data, fitted):
    theta, y = data.theta("test"), data.logpdf("test")
    answer, gradient = fitted.logpdf_and_grad(theta)
    assert np.sqrt(np.mean((answer - y) ** 2)) < 0.01
    assert np.median(np.abs(gradient - data.gradient("test"))) < 0.02
    assert abs(np.mean(np.abs(answer - y) <= fitted.error(theta)) - 0.9) < 0.06
    assert fitted.in_domain(theta).mean() > 0.98
    outside = np.array([[12.0, 0.0, 0.0], [0.0, 30.0, 0.0]])
    assert not fitted.in_domain(outside).any()
    assert np.isneginf(fitted.logpdf(outside)).all(), "outside its domain a surrogate must not answer"


def test_it_is_a_log_density_with_the_prior_inside(data, fitted, truth):
    """Exchanging the prior of the surrogate is exchanging the prior of the truth."""
    other = Prior({"a": Normal(0.5, 2.0)})
    theta = data.theta("test")[:100]
    np.testing.assert_allclose(
        fitted.with_prior(other).logpdf(theta) - truth.with_prior(other).logpdf(theta),
        fitted.logpdf(theta) - truth.logpdf(theta),
        atol=1e-6,
    )


def test_mean_and_spread_are_those_of_the_members(data, fitted):
    theta = data.theta("test")[:50]
    members = fitted.members_logpdf(theta)
    assert members.shape == (50, 2)
    np.testing.assert_allclose(fitted.logpdf(theta), members.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(fitted.spread(theta), members.std(axis=1))
    np.testing.assert_allclose(fitted.member(1).logpdf(theta), members[:, 1], atol=1e-5)
    with pytest.raises(ConfigError, match="member 7"):
        fitted.member(7)


def test_nothing_is_promised_outside_the_domain(fitted):
    far = np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    assert fitted.in_domain(far).tolist() == [True, False]
    assert np.isfinite(fitted.error(far)).tolist() == [True, False]


def test_save_load_round_trip_and_keras_file(fitted, data, tmp_path):
    theta = data.theta("test")
    fitted.save(tmp_path / "model")
    loaded = DnnLik.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.logpdf(theta), fitted.logpdf(theta))
    assert loaded.fingerprint == fitted.fingerprint
    assert loaded.history == fitted.history
    assert [e["event"] for e in loaded.log] == ["trained"]
    from dnnlikelihood.networks.backend import keras

    model = keras.saving.load_model(tmp_path / "model" / "model.keras")
    np.testing.assert_allclose(np.asarray(model(theta)), fitted.members_logpdf(theta), atol=1e-5)
    with pytest.raises(ArtifactExists):
        fitted.save(tmp_path / "model")
    with pytest.raises(MissingArtifact):
        DnnLik.load(tmp_path / "nowhere")
    metadata = tmp_path / "model" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"mu"', '"nu"'))
    with pytest.raises(IntegrityError, match=r"metadata\.json is not the file that was saved"):
        DnnLik.load(tmp_path / "model")


def test_training_in_a_folder_resumes_to_the_identical_model(data, fitted, tmp_path):
    again = DnnLik.fit(data, SMALL, folder=tmp_path / "run", progress=False)
    assert again.fingerprint == fitted.fingerprint
    nothing_left = DnnLik.fit(data, SMALL, folder=tmp_path / "run", progress=False)
    epochs = sum(sum(member["cpu_seconds"]) for member in again.history)
    assert list(nothing_left.log)[-1]["numbers"]["cpu_seconds"] >= epochs
    (tmp_path / "run" / "member_1.npz").unlink()
    assert DnnLik.fit(data, SMALL, folder=tmp_path / "run", progress=False).fingerprint == fitted.fingerprint


def test_the_combination_of_two_surrogates_is_that_of_the_truths(truth, fitted, data):
    from dnnlikelihood import combine

    theta = data.theta("test")[:200]
    both = {
        name: combine([d, d.rename({"mu": "nu", "a": "a2"})], shared=["b"])
        for name, d in (("truth", truth), ("surrogate", fitted))
    }
    points = np.concatenate([theta, theta[::-1, :2]], axis=1)
    difference = both["surrogate"].logpdf(points) - both["truth"].logpdf(points)
    single = fitted.logpdf(theta) - truth.logpdf(theta)
    assert np.sqrt(np.mean(difference**2)) < 2.5 * np.sqrt(np.mean(single**2)) + 1e-3


def test_paper_recipe_is_the_papers():
    config = DnnLikConfig.paper(100_000)
    assert (config.network.widths, config.network.activation, config.network.n_members) == ((500, 500), "selu", 5)
    t = config.training
    assert (t.batch_size, t.learning_rate, t.plateau_factor, t.plateau_patience) == (512, 1e-3, 0.2, 40)
    assert (t.stop_patience, t.gradient_weight, t.plateau_min_delta, t.min_learning_rate) == (48, 0.0, 1e-5, 8e-5)
    assert (config.standardise, config.baseline, config.scale_output) == (False, "constant", True)
    assert DnnLikConfig.from_json(config.to_json()) == config


def test_the_default_beats_the_papers_recipe_and_its_own_baseline(data, fitted):
    paper = DnnLikConfig.paper(1800, width=32, n_epochs=40, n_members=1)
    other = DnnLik.fit(data, paper.replace(training=paper.training.replace(batch_size=64)), progress=False)
    theta, y = data.theta("test"), data.logpdf("test")

    def error(z):
        return np.sqrt(np.mean((z - y) ** 2))

    baseline = fitted.ensemble.baseline.value(fitted.ensemble.features(theta))
    assert error(fitted.logpdf(theta)) < 0.3 * error(baseline)
    assert error(fitted.logpdf(theta)) < 0.3 * error(other.logpdf(theta))


def test_data_that_cannot_be_learned_is_refused():
    from dnnlikelihood.networks.fit import Labelled

    with pytest.raises(TrainingError, match="1 rows"):
        Labelled(np.zeros((1, 2)), np.zeros(1), None, np.ones(1)).check("train")
    bad = Labelled(np.zeros((3, 2)), np.array([0.0, np.nan, 1.0]), None, np.ones(3))
    with pytest.raises(TrainingError, match="logpdf is not finite in 1 train rows, the first is row 1"):
        bad.check("train")
    with pytest.raises(ConfigError, match="trained on a Data, not on ndarray"):
        DnnLik.fit(np.zeros((100, 2)))


def test_a_constant_column_is_kept(truth):
    theta = np.random.default_rng(0).normal(size=(300, 3))
    theta[:, 2] = 0.7
    data = Data.label(truth, theta, progress=False)
    config = DnnLikConfig(network=NetworkConfig(widths=(8,), n_members=1), training=TrainingConfig(n_epochs=1))
    assert np.isfinite(DnnLik.fit(data, config, progress=False).logpdf(data.theta("train"))).all()
