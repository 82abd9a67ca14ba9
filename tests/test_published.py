"""The reader of a published model: the contract, the guard, and no TensorFlow."""

import logging
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from surrogates import COVARIANCE, MEAN, gaussian_ensemble, publish_gaussian, reference

import dnnlikelihood
from dnnlikelihood import Likelihood, Normal, Prior, combine
from dnnlikelihood.errors import (
    ConfigError,
    CorruptFile,
    DomainError,
    IntegrityError,
    MissingArtifact,
    ParameterError,
    SafetyError,
    SchemaError,
    ShapeError,
)
from dnnlikelihood.jsonfiles import pretty, read_json
from dnnlikelihood.store import _write_manifest

FAR = np.array([[0.5, -1.0, 0.2], [40.0, 0.0, 0.0]])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return publish_gaussian(tmp_path_factory.mktemp("published") / "gaussian-3")


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "gaussian-3")


@pytest.fixture(scope="module")
def model(original):
    return dnnlikelihood.open(original, threads=1)


@pytest.fixture(scope="module")
def theta():
    return np.random.default_rng(8).multivariate_normal(MEAN, COVARIANCE, size=700)


# The contract --------------------------------------------------------------------------------------------------------


def test_values_are_those_of_the_ensemble(model, theta):
    ensemble = gaussian_ensemble()
    each = ensemble.members_logpdf(theta)
    assert np.allclose(model.logpdf(theta), each.mean(axis=1), rtol=0, atol=1e-6)
    assert np.allclose(model.spread(theta), each.std(axis=1), atol=1e-6)
    assert np.allclose(model.error(theta), 2.0 * (each.std(axis=1) + 0.005), atol=1e-6)
    assert model.in_domain(theta).all()


def test_close_to_the_truth_it_was_made_from(model, theta):
    truth = Likelihood.from_source("gaussian", mean=MEAN, covariance=COVARIANCE)
    difference = model.logpdf(theta) - truth.logpdf(theta)
    assert np.max(np.abs(difference)) < 0.1
    _, grad = model.logpdf_and_grad(theta)
    assert np.allclose(grad, truth.logpdf_and_grad(theta)[1], atol=0.1)


def test_everything_from_one_evaluation(model, theta):
    found = model.answers(theta, gradient=True)
    value, grad = model.logpdf_and_grad(theta)
    assert np.array_equal(found["logpdf"], value)
    assert np.array_equal(found["gradient"], grad)
    assert np.array_equal(found["error"], model.error(theta))
    assert np.array_equal(model.answers(theta)["spread"], model.spread(theta))
    assert model.answers(FAR)["in_domain"].tolist() == [True, False]
    assert np.isfinite(model.answers(FAR)["logpdf"]).all(), "under no policy"
    beyond = model.answers([[np.inf, 0.0, 0.0]], gradient=True)
    assert beyond["logpdf"][0] == -np.inf
    assert not beyond["gradient"].any()
    assert not beyond["in_domain"][0]


def test_reference_pairs(model):
    pairs = model.reference()
    assert np.allclose(model.logpdf(pairs["theta"]), pairs["logpdf"], rtol=0, atol=1e-5)
    assert len(pairs["exact"]) >= 100


def test_gradient_and_hessian(model, theta):
    value, grad, hess = model.logpdf_grad_hess(theta[:20])
    assert np.allclose(value, model.logpdf(theta[:20]))
    step = 1e-3
    for j in range(3):
        shift = step * np.eye(3)[j]
        slope = (model.logpdf(theta[:20] + shift) - model.logpdf(theta[:20] - shift)) / (2 * step)
        assert np.allclose(slope, grad[:, j], atol=1e-3)
    assert np.allclose(hess, hess.transpose(0, 2, 1))
    assert np.allclose(hess, -np.linalg.inv(COVARIANCE), atol=0.1)


def test_closure(model, theta):
    inner = model.guarded("-inf")
    assert np.allclose(
        inner.with_prior(Prior({"x0": Normal(0.0, 1.0)})).logpdf(theta),
        model.logpdf(theta) + Prior({"x0": Normal(0.0, 1.0)}).logpdf(model.parameters, theta),
    )
    assert np.allclose(inner.condition({"x1": -1.0}).logpdf(theta[:, [0, 2]]),
                       model.logpdf(np.c_[theta[:, 0], np.full(700, -1.0), theta[:, 2]]))  # fmt: skip
    twice = combine([model, model.rename({"x1": "y1", "x2": "y2"})], shared=["x0"])
    assert np.allclose(twice.logpdf(np.c_[theta, theta[:, 1:]]), 2 * model.logpdf(theta))


def test_checks_of_every_log_density(model):
    with pytest.raises(ShapeError):
        model.logpdf(np.zeros((2, 4)))
    with pytest.raises(ShapeError, match="NaN"):
        model.logpdf([[np.nan, 0.0, 0.0]])
    with pytest.raises(ParameterError):
        model.condition({"nobody": 1.0})
    assert model.logpdf({"x2": [0.2], "x0": [0.5], "x1": [-1.0]}) == model.logpdf([0.5, -1.0, 0.2])
    assert model.logpdf(np.zeros((0, 3))).shape == (0,)


def test_trace_is_guarded_too(model, theta):
    import tensorflow as tf

    traced = model.guarded("-inf").trace()
    value = traced(tf.constant(np.r_[theta[:5], FAR]))
    assert np.allclose(value[:6], model.logpdf(np.r_[theta[:5], FAR[:1]]))
    assert value[6] == -np.inf


# The guard -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["logpdf", "logpdf_and_grad", "logpdf_grad_hess", "error"])
def test_refuses_outside_by_default(model, question):
    with pytest.raises(DomainError, match=r"1 of 2 points.*point 1: x0 = 40 is not in"):
        getattr(model, question)(FAR)


def test_refuses_inside_the_box_but_outside_the_ellipsoid(model):
    corner = np.array([MEAN]) + [[4.0, -4.0, 3.0]]
    box = (corner >= model.domain.low) & (corner <= model.domain.high)
    assert box.all()
    with pytest.raises(DomainError, match="distance from the centre"):
        model.logpdf(corner)


def test_compositions_refuse_too(model):
    with pytest.raises(DomainError):
        model.with_prior(Prior({"x0": Normal(0.0, 1.0)})).logpdf(FAR)


def test_minus_infinity_for_samplers(model):
    guarded = model.guarded("-inf")
    value, grad = guarded.logpdf_and_grad(FAR)
    assert np.isfinite(value[0])
    assert value[1] == -np.inf
    assert not grad[1].any()
    assert list(guarded.support(FAR)) == [True, False]
    assert guarded.with_prior(Prior({"x0": Normal(0.0, 1.0)})).logpdf(FAR)[1] == -np.inf
    assert model.outside == "raise", "guarded returns another one"


def test_what_overflows_outside_is_outside(original):
    """1e308 squared is no float64: still a point outside the domain, and no NaN."""
    model = dnnlikelihood.open(original)
    far = np.full((1, 3), 1e308)
    with pytest.raises(DomainError):
        model.logpdf(far)
    value, grad = model.guarded("-inf").logpdf_and_grad(far)
    assert value[0] == -np.inf
    assert not grad.any()
    assert np.isnan(model.guarded("nan").logpdf(far)[0])


def test_nan_warn_and_ignore(model, caplog):
    assert list(np.isnan(model.guarded("nan").logpdf(FAR))) == [False, True]
    value, grad = model.guarded("nan").logpdf_and_grad(FAR)
    assert np.isnan(value[1])
    assert np.isnan(grad[1]).all()
    with caplog.at_level(logging.WARNING, "dnnlikelihood"):
        plain = model.guarded("warn").logpdf(FAR)
    assert "1 of 2 points lie outside" in caplog.text
    assert np.isfinite(plain).all()
    caplog.clear()
    assert np.array_equal(model.guarded("ignore").logpdf(FAR), plain)
    assert not caplog.records
    assert list(model.guarded("warn").error(FAR) == np.inf) == [False, True]
    assert list(model.in_domain(FAR)) == [True, False]


def test_unknown_policy(model, original):
    with pytest.raises(ConfigError, match="maybe"):
        model.guarded("maybe")
    with pytest.raises(ConfigError):
        dnnlikelihood.open(original, outside="zero")


# Opening -------------------------------------------------------------------------------------------------------------


def test_travels_between_processes(model, theta):
    again = pickle.loads(pickle.dumps(model.guarded("-inf")))
    assert again.outside == "-inf"
    assert np.array_equal(again.logpdf(theta), model.logpdf(theta))


@pytest.mark.parametrize("name", ["model.onnx", "metadata.json", "reference.npz"])
def test_edited_files(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-20] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=name):
        dnnlikelihood.open(folder)


def test_added_and_missing_files(folder):
    (folder / "note.txt").write_text("hello")
    with pytest.raises(IntegrityError, match=r"note\.txt"):
        dnnlikelihood.open(folder)
    (folder / "note.txt").unlink()
    (folder / "model.onnx").unlink()
    with pytest.raises(MissingArtifact, match=r"model\.onnx"):
        dnnlikelihood.open(folder)
    with pytest.raises(MissingArtifact, match="not a folder"):
        dnnlikelihood.open(folder / "nothing")


def edit(folder, **changes):
    document = {**read_json(folder / "metadata.json"), **changes}
    (folder / "metadata.json").write_text(pretty(document), "utf-8")
    _write_manifest(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"schema": "published/2"}, "upgrade"),
        ({"schema": "dnnlik/1"}, "schema"),
        ({"kind": "guess"}, "kind"),
        ({"surprise": 1}, "surprise"),
        ({"parameters": []}, "parameters"),
        ({"prior": {"x0": {"type": "python", "code": "__import__('os')"}}}, "prior"),
        ({"source": {"recipe": "__import__('os').system('true')", "fingerprint": None, "reference": ""}}, "source"),
    ],
)
def test_metadata_that_is_not_ours(folder, changes, match):
    edit(folder, **changes)
    with pytest.raises(SchemaError, match=match):
        dnnlikelihood.open(folder)


def test_metadata_of_another_model(folder):
    edit(folder, fingerprint="0" * 64)
    with pytest.raises(IntegrityError, match="another model"):
        dnnlikelihood.open(folder)


def test_other_parameters_than_the_graph_has(folder):
    edit(folder, parameters=read_json(folder / "metadata.json")["parameters"][:2])
    with pytest.raises(IntegrityError, match="parameters differs"):
        dnnlikelihood.open(folder)


def test_a_foreign_graph_with_a_fitting_manifest(folder):
    import onnx

    graph = onnx.load(folder / "model.onnx")
    graph.graph.node.append(onnx.helper.make_node("Loop", ["theta"], ["x"]))
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    _write_manifest(folder)
    with pytest.raises(SafetyError, match="Loop"):
        dnnlikelihood.open(folder)
    with pytest.raises(SafetyError, match="Loop"):
        dnnlikelihood.open(folder, check=False)
    (folder / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(CorruptFile):
        dnnlikelihood.open(folder, check=False)


READER = """
import sys, numpy as np, dnnlikelihood
model = dnnlikelihood.open(sys.argv[1], threads=1)
theta = np.load(sys.argv[2])
value, grad = model.logpdf_and_grad(theta)
model.logpdf_grad_hess(theta[:2]); model.error(theta); model.in_domain(theta); model.reference()
model.guarded("-inf").with_prior(dnnlikelihood.Prior({"x0": dnnlikelihood.Normal()})).logpdf(theta)
heavy = {"tensorflow", "keras", "tensorflow_probability", "tf_keras", "matplotlib", "emcee", "scipy"} & set(sys.modules)
assert not heavy, heavy
np.save(sys.argv[2], value)
"""


def test_reads_without_tensorflow(original, model, tmp_path):
    theta = reference(gaussian_ensemble()).theta
    np.save(tmp_path / "x.npy", theta)
    command = [sys.executable, "-c", READER, str(original), str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    assert np.allclose(np.load(tmp_path / "x.npy"), model.logpdf(theta), rtol=0, atol=1e-6)
