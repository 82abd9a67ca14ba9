"""The Discriminant: trained once, used by name, kept, continued, exported, and handed on as a likelihood."""

import numpy as np
import pytest

from dnnlikelihood import Discriminant
from dnnlikelihood.discriminant import DiscriminantConfig
from dnnlikelihood.discriminants.efficient_score import EfficientScore
from dnnlikelihood.discriminants.examples import inferno, shifted_gaussian, two_signals
from dnnlikelihood.discriminants.gradient import CrossEntropy, Inferno, Sannt
from dnnlikelihood.discriminants.many_signals import many_signals
from dnnlikelihood.discriminants.trainers import BinCurve
from dnnlikelihood.errors import ArtifactExists, ConfigError, IntegrityError, ShapeError, SingularFisher, StaleArtifact
from dnnlikelihood.networks.descent import DescentConfig
from dnnlikelihood.networks.heads_config import HeadsConfig

HEADS = HeadsConfig(widths=(24, 24), n_steps=300)
SHORT = DescentConfig(widths=(20,), n_steps=30, pretraining_steps=30, learning_rate=1e-2)


@pytest.fixture(scope="module")
def example():
    return shifted_gaussian(seed=2, n=8_000, n_test=60_000)


@pytest.fixture(scope="module")
def found(example):
    config = DiscriminantConfig(trainer=EfficientScore(heads=HEADS), n_repetitions=2)
    return Discriminant.fit(example.train, config, validation=example.validation, progress=False)


def test_it_is_close_to_the_bound_and_never_below(example, found):
    total = found.expected(example.test).total[0]
    assert example.bound.total[0] < total < 0.385
    spread = found.repetitions(example.test)
    assert spread.total.shape == (2, 1)
    low, high = spread.interval()[0]
    assert low <= spread.median[0] <= high
    assert total in spread.total


def test_columns_are_found_by_name(example, found):
    x = example.test["S"].events.values[:50]
    expected = found.transform(x)
    swapped = found.transform({"x2": x[:, 1], "unused": x[:, 0], "x1": x[:, 0]})
    np.testing.assert_array_equal(swapped.bin_index, expected.bin_index)
    with pytest.raises(ShapeError, match="x1"):
        found.transform({"x2": x[:, 1]})
    with pytest.raises(ShapeError, match="nan"):
        found.transform(np.full((1, 2), np.nan))


def test_saved_and_loaded_it_is_the_same(found, example, tmp_path):
    found.save(tmp_path / "d")
    back = Discriminant.load(tmp_path / "d")
    x = example.test["B"].events.values[:500]
    np.testing.assert_array_equal(back.transform(x).score, found.transform(x).score)
    assert back.fingerprint == found.fingerprint
    assert back.config == found.config
    assert [e["event"] for e in back.log] == ["trained"]
    assert back.trainings[1][0].history == found.trainings[1][0].history
    with pytest.raises(ArtifactExists):
        found.save(tmp_path / "d")
    path = tmp_path / "d" / "training-000-0.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError):
        Discriminant.load(tmp_path / "d")


def test_a_killed_training_continues_to_the_same_result(example, tmp_path):
    config = DiscriminantConfig(trainer=CrossEntropy(training=SHORT), n_repetitions=2)
    run = lambda folder: Discriminant.fit(example.train, config, folder=folder, progress=False)
    whole = run(tmp_path / "whole")
    for path in (tmp_path / "whole").glob("training-001*"):
        path.unlink()
    kept = (tmp_path / "whole" / "training-000-0.npz").stat().st_mtime_ns
    assert run(tmp_path / "whole").fingerprint == whole.fingerprint
    assert (tmp_path / "whole" / "training-000-0.npz").stat().st_mtime_ns == kept
    with pytest.raises(StaleArtifact):
        Discriminant.fit(example.train, config.replace(seed=5), folder=tmp_path / "whole", progress=False)


def test_two_folds_judge_events_that_they_have_not_seen(example):
    config = DiscriminantConfig(trainer=Sannt(training=SHORT), n_folds=2)
    two = Discriminant.fit(example.train, config, progress=False)
    templates = two.templates(example.train)
    np.testing.assert_allclose(templates.total.sum(), 1050)
    x = example.test["B"].events.values[:10]
    first, second = (trained.transform(x).bin_index for trained in two.folds)
    fold = np.arange(10) % 2
    np.testing.assert_array_equal(two.transform(x, fold=fold).bin_index, np.where(fold == 0, first, second))
    with pytest.raises(ShapeError, match="fold"):
        two.transform(x)
    with pytest.raises(ConfigError, match="folds"):
        Discriminant.fit(example.train, config, validation=example.validation, progress=False)


def test_the_number_of_bins_is_where_the_curve_flattens(example):
    config = DiscriminantConfig(trainer=EfficientScore(heads=HEADS), n_bins=(2, 4, 8, 12))
    chosen = Discriminant.fit(example.train, config, validation=example.validation, progress=False)
    curve = chosen.curve
    assert curve.uncertainty[0] > curve.uncertainty[2]
    assert chosen.n_bins == curve.chosen == chosen.config.trainer.n_bins
    with pytest.raises(ConfigError, match="supported"):
        BinCurve.of([4, 8], [np.inf, np.inf])


def test_training_may_know_few_nuisances_and_is_judged_with_all():
    example = many_signals(1, 2, n=500, n_test=1_000)
    trainer = EfficientScore(n_bins=4, heads=HeadsConfig(widths=(8,), n_steps=30))
    config = DiscriminantConfig(trainer=trainer, nuisances=("B1_calibration", "B2_norm"))
    assert DiscriminantConfig.from_json(config.to_json()) == config
    made = Discriminant.fit(example.train, config, validation=example.validation, progress=False)
    assert made.folds[0].network.n_outputs == 3 + 1, "three processes and one ratio; yields need none"
    assert made.expected(example.test).nuisances == example.test.nuisance_names
    with pytest.raises(ConfigError, match="pileup"):
        Discriminant.fit(example.train, config.replace(nuisances=("pileup",)), progress=False)


@pytest.fixture(scope="module")
def of_all_forms(found):
    two = two_signals(1, n=3_000, n_test=3_000)
    clusters = EfficientScore(n_bins=6, heads=HEADS).fit(two.train, validation=two.validation, progress=False)
    classes = CrossEntropy(n_bins=3, classes="processes", training=SHORT).fit(two.train, progress=False)
    softmax = Inferno(n_bins=4, training=SHORT.replace(pretraining_steps=0)).fit(two.train, progress=False)
    return [found.folds[0], clusters, classes, softmax]


def test_exported_files_say_what_numpy_says(of_all_forms, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    import tensorflow as tf

    rng = np.random.default_rng(0)
    for i, trained in enumerate(of_all_forms):
        x = rng.normal(0.5, 1.5, (4000, 2))
        folder = Discriminant(DiscriminantConfig(), [[trained]]).export(tmp_path / str(i))
        expected = trained.transform(x)
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        onnx = dict(zip(("bin", "score"), session.run(["bin", "score"], {"features": x}), strict=True))
        loaded = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures["serving_default"]
        saved = {name: a.numpy() for name, a in loaded(features=tf.constant(x)).items()}
        for answer in (onnx, saved):
            np.testing.assert_allclose(answer["score"], expected.score, rtol=1e-4, atol=1e-5)
            assert (answer["bin"] != expected.bin_index).mean() < 0.002
            assert answer["bin"].dtype == np.int64
        x = np.array([[0.5, 0.5], [np.nan, 0.5], [0.5, np.inf]])
        onnx = session.run(["bin", "score"], {"features": x})
        saved = loaded(features=tf.constant(x))
        for bins, score in (onnx, (saved["bin"].numpy(), saved["score"].numpy())):
            assert bins[0] >= 0
            assert bins[1:].tolist() == [-1, -1], "no bin for what is no event"
            assert np.isfinite(score[0]).all()
            assert np.isnan(score[1:]).all()


def test_configurations(tmp_path):
    config = DiscriminantConfig(trainer=Sannt(n_bins=5, training=SHORT), n_bins=(4, 8), n_repetitions=3)
    assert DiscriminantConfig.from_json(config.to_json()) == config
    assert DiscriminantConfig.from_json({"trainer": "inferno"}).trainer == Inferno()
    for bad in ({"trainer": "annealing"}, {"bins": 3}, {"n_folds": 3}, {"trainer": {"name": "sannt", "colour": 1}}):
        with pytest.raises(ConfigError):
            DiscriminantConfig.from_json(bad)


def test_its_workspace_is_a_likelihood(found, example, tmp_path):
    pytest.importorskip("pyhf")
    import json

    from dnnlikelihood import Likelihood

    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(found.to_workspace(example.test)))
    likelihood = Likelihood.from_workspace(path)
    assert likelihood.parameters.names[0] == "r" or "r" in likelihood.parameters.names
    assert "shift" in likelihood.parameters.names


def test_a_score_that_is_no_number_is_refused(found):
    """A value beyond float32, past every check of the events."""
    with pytest.raises(ShapeError, match="event 1 with features"):
        found.transform([[0.0, 0.0], [1e300, -1e300]])


def test_a_killed_curve_continues_to_the_same_result(example, tmp_path):
    trainer = EfficientScore(heads=HeadsConfig(widths=(8,), n_steps=40), refinements=1)
    config = DiscriminantConfig(trainer=trainer, n_bins=(2, 4))
    run = lambda: Discriminant.fit(example.train, config, folder=tmp_path / "kept", progress=False)
    whole = run()
    kept = (tmp_path / "kept" / "curve.json").stat().st_mtime_ns
    (tmp_path / "kept" / "training-000-0.json").unlink()
    again = run()
    assert again.fingerprint == whole.fingerprint
    assert again.curve == whole.curve
    assert (tmp_path / "kept" / "curve.json").stat().st_mtime_ns == kept


def test_bins_that_cannot_tell_free_nuisances_apart_are_not_chosen():
    """Two bins, one signal strength, one free nuisance and a trend: three are needed."""
    example = inferno(2, seed=1, n=1_500, n_test=1_500)
    trainer = EfficientScore(heads=HeadsConfig(widths=(8,), n_steps=60))
    config = DiscriminantConfig(trainer=trainer, n_bins=(2, 6))
    chosen = Discriminant.fit(example.train, config, validation=example.validation, progress=False)
    assert chosen.curve.uncertainty[0] == np.inf
    assert chosen.n_bins == 6
    two = Discriminant.fit(example.train, config.replace(n_bins=(), trainer=trainer.replace(n_bins=2)), progress=False)
    with pytest.raises(SingularFisher, match="r_shift"):
        _ = two.expected(example.test).total
