"""A profiled likelihood with two heads through the house: labels, training, anchor, files, published folder."""

import numpy as np
import pytest
from profiled_gaussian import ProfiledGaussian

import dnnlikelihood
from dnnlikelihood import Data, DnnLik, Normal, Prior
from dnnlikelihood.accuracy import accuracy_rows, coverage_rows
from dnnlikelihood.data import DataConfig
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.errors import ConfigError, ParameterError, SchemaError, ShapeError
from dnnlikelihood.export.publish import tolerated
from dnnlikelihood.export.verify import verify
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig

TRUTH = ProfiledGaussian()
CONFIG = DnnLikConfig(
    network=NetworkConfig(widths=(48, 48), n_members=2), training=TrainingConfig(n_epochs=25, batch_size=64)
)
HEADS = [
    {"name": "observed", "definition": "of the data that were taken"},
    {"name": "asimov", "definition": "of the data expected without signal", "data": "asimov"},
]


def points(n, seed):
    return np.random.default_rng(seed).uniform(-1.5, 1.5, size=(n, 3))


@pytest.fixture(scope="module")
def model():
    data = Data.label(TRUTH, points(4000, 1), progress=False, config=DataConfig(fractions=(0.85, 0.15, 0.0)))
    null = np.zeros(3)
    return DnnLik.fit(data, CONFIG, anchor=(null, TRUTH.heads_logpdf(null)[0]), progress=False)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    theta = points(200, 5)
    exact = TRUTH.heads_logpdf(theta)
    return model.export(
        tmp_path_factory.mktemp("published") / "two-heads",
        name="two-heads",
        description="Two heads.",
        definition="Gaussian bins, nuisances maximised away.",
        command="make it",
        points=(theta, exact),
        heads=HEADS,
        profiled=["nu"],
        accuracy=accuracy_rows(model, "everywhere", theta, exact),
        coverage=coverage_rows(model, theta, exact),
    )


def test_both_heads_are_learned_values_and_slopes(model):
    theta = points(2000, 2)
    inside = model.in_domain(theta)
    assert inside.mean() > 0.99
    theta = theta[inside]
    value, gradient = TRUTH.heads_logpdf_and_grad(theta)
    answer, slope = model.heads_logpdf_and_grad(theta)
    rmse = np.sqrt(((answer - value) ** 2).mean(axis=0))
    assert (rmse < 0.2).all(), rmse
    assert (np.abs(slope - gradient).mean(axis=(0, 2)) < 0.1).all()
    assert (rmse < 0.02 * value.std(axis=0)).all()
    assert model.kind == "profiled"
    assert model.heads == ("observed", "asimov")


def test_the_anchor_is_exact_to_the_last_bit(model):
    null = np.zeros(3)
    assert (model.heads_logpdf(null) == TRUTH.heads_logpdf(null)).all()
    assert model.select("asimov").logpdf(null)[0] == TRUTH.heads_logpdf(null)[0, 1] == 0.0


def test_error_and_spread_have_a_column_for_each_head(model):
    theta = np.vstack([points(50, 3), [5.0, 0.0, 0.0]])
    error, spread = model.error(theta), model.spread(theta)
    assert error.shape == spread.shape == (51, 2)
    assert np.isinf(error[50]).all()
    assert np.isfinite(error[:50]).all()
    for h, head in enumerate(model.heads):
        np.testing.assert_allclose(model.select(head).error(theta), error[:, h], atol=1e-5)
    assert model.members_logpdf(theta).shape == (51, 2, 2)
    rows = coverage_rows(model, points(2000, 4), TRUTH.heads_logpdf(points(2000, 4)))
    assert {r["head"] for r in rows} == set(model.heads)
    for head in model.heads:
        covered = [r["covered"] for r in rows if r["head"] == head]
        assert 0.8 < np.mean(covered) <= 1.0


def test_accuracy_has_a_row_for_each_head(model):
    theta = points(500, 6)
    exact = TRUTH.heads_logpdf(theta)
    rows = accuracy_rows(model, "box", theta, exact)
    off = np.abs(model.heads_logpdf(theta) - exact)
    assert [r["head"] for r in rows] == ["observed", "asimov"]
    np.testing.assert_allclose([r["mean"] for r in rows], off.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose([r["max"] for r in rows], off.max(axis=0), rtol=1e-3)
    right = (off < 0.05) | (off < 0.01 * (exact.max(axis=0) - exact))
    np.testing.assert_allclose([r["within"] for r in rows], right.mean(axis=0), atol=0.003)
    one = accuracy_rows(model.select("asimov"), "box", theta, exact[:, 1])
    assert "head" not in one[0]


def test_a_saved_model_has_its_heads(model, tmp_path):
    again = DnnLik.load(model.save(tmp_path / "dnnlik"))
    theta = points(20, 7)
    assert again.heads == model.heads
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.heads_logpdf(theta), model.heads_logpdf(theta))
    assert model.select("observed").fingerprint != model.fingerprint


def test_the_published_folder_answers_for_every_head(model, folder):
    published, theta = dnnlikelihood.open(folder), points(50, 8)
    assert published.heads == model.heads
    assert published.kind == "profiled"
    np.testing.assert_allclose(published.heads_logpdf(theta), model.heads_logpdf(theta), atol=1e-5)
    value, gradient = published.heads_logpdf_and_grad(theta)
    np.testing.assert_allclose(gradient, model.heads_logpdf_and_grad(theta)[1], atol=2e-3)
    np.testing.assert_array_equal(published.logpdf(theta), published.heads_logpdf(theta)[:, 0])
    np.testing.assert_allclose(published.error(theta), model.error(theta), atol=1e-4)
    assert published.spread(theta).shape == (50, 2)
    assert (published.heads_logpdf(np.zeros(3)) == TRUTH.heads_logpdf(np.zeros(3))).all()
    asimov = published.select("asimov")
    assert asimov.heads == ()
    np.testing.assert_allclose(asimov.logpdf(theta), value[:, 1], atol=1e-5)
    np.testing.assert_array_equal(asimov.logpdf_and_grad(theta)[1], gradient[:, 1])
    assert asimov.error(theta).shape == asimov.answers(theta)["spread"].shape == (50,)
    assert asimov.fingerprint != published.fingerprint
    posterior = published.guarded("-inf").with_prior(Prior({"c0": Normal()}))
    assert posterior.heads == model.heads
    with pytest.raises(ParameterError, match="no head 'expected'; this density has 'observed', 'asimov'"):
        published.select("expected")


def test_a_selected_head_survives_a_trip_to_another_process(folder):
    import pickle  # what executors do with a density

    one = dnnlikelihood.open(folder, outside="nan").select("asimov")
    again = pickle.loads(pickle.dumps(one))
    assert (again.heads, again.outside, again.fingerprint) == ((), "nan", one.fingerprint)


def test_metadata_says_what_each_head_is(folder):
    published = dnnlikelihood.open(folder)
    observed, asimov = published.metadata["output"]["heads"]
    assert observed["data"] == "observed"
    assert asimov == {
        "name": "asimov",
        "definition": "of the data expected without signal",
        "data": "asimov",
        "offset": "none: the value of the source, all constants kept",
        "profiled": ["nu"],
    }
    assert [p["role"] for p in published.metadata["parameters"]] == ["input"] * 3
    reference = published.reference()
    assert reference["exact"].shape == reference["logpdf"].shape == reference["error"].shape == (200, 2)
    assert reference["gradient"].shape == (200, 2, 3)
    card = (folder / "README.md").read_text("utf-8")
    assert "Profiled over: nu." in card
    assert "| `asimov` | asimov | of the data expected without signal |" in card
    assert "| `asimov` | everywhere | 200 |" in card
    assert 'likelihood.select("asimov")' in card


def test_the_published_folder_verifies_on_every_runtime(folder):
    report = verify(folder, trust=True)
    assert report.passed, [(r.check, r.detail) for r in report.rows if r.status == "failed"]
    skipped = {r.check for r in report.rows if r.status == "skipped"}
    assert skipped <= {"exact"}


def test_heads_must_be_described_as_they_are(model, tmp_path):
    theta = points(200, 5)
    about = {
        "name": "x",
        "description": "x",
        "definition": "x",
        "command": "x",
        "points": (theta, TRUTH.heads_logpdf(theta)),
    }
    with pytest.raises(ShapeError, match=r"heads \[\] are described, the ensemble has \['observed', 'asimov'\]"):
        model.export(tmp_path / "x", **about)
    with pytest.raises(ShapeError, match=r"heads \['asimov', 'observed'\] are described"):
        model.export(tmp_path / "x", **about, heads=HEADS[::-1])
    with pytest.raises(SchemaError, match="data"):
        model.export(tmp_path / "x", **about, heads=[HEADS[0], {**HEADS[1], "data": "guessed"}])
    with pytest.raises(ShapeError, match="reference of shapes"):
        model.export(tmp_path / "x", **{**about, "points": (theta, TRUTH.logpdf(theta))}, heads=HEADS)
    assert not (tmp_path / "x").exists()


def test_an_anchor_is_one_point_with_a_value_for_each_head():
    data = Data.label(TRUTH, points(50, 1), progress=False)
    for anchor in ((np.zeros(3), 0.0), (np.zeros((2, 3)), np.zeros(2)), (np.zeros(3), [0.0, np.nan])):
        with pytest.raises(ShapeError, match="an anchor is one point with 2 finite logpdf"):
            DnnLik.fit(data, CONFIG, anchor=anchor, progress=False)


def test_presets_by_name():
    for name in ("default", "paper", "cms", "slides", "counting"):
        config = DnnLikConfig.preset(name, 20_000)
        assert DnnLikConfig.from_json(config.to_json()) == config
    assert DnnLikConfig.preset("cms", 1).network.widths == (700, 700, 700)
    assert DnnLikConfig.preset("counting", 20_000).training.n_epochs == 300
    with pytest.raises(ConfigError, match="preset 'best' is none of default, paper, cms, slides, counting"):
        DnnLikConfig.preset("best", 10)


def test_what_runtimes_may_differ_by_grows_with_what_float32_sums_up():
    """A network whose output counts in hundreds of nats rounds in hundreds of 1e-7, at a small residual too."""
    from dataclasses import replace

    from surrogates import headed_ensemble

    ensemble = headed_ensemble("counting", n_heads=2)
    theta = 0.1 * points(20, 1)[:, [0, 1, 2, 0, 1]]
    baseline = ensemble.baseline_logpdf(theta)
    wide = replace(
        ensemble, outputs=(replace(ensemble.outputs[0], scale=300.0), replace(ensemble.outputs[1], scale=0.1))
    )
    np.testing.assert_allclose(tolerated(wide, theta, baseline), np.tile([3e-3, 1e-5], (20, 1)))
    np.testing.assert_allclose(tolerated(wide, theta, baseline + 50.0), np.tile([3e-3, 5e-4], (20, 1)))
