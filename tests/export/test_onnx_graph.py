"""The ONNX graph against the arrays: values, error, domain, and a gradient held to central differences."""

import dataclasses

import numpy as np
import onnx
import pytest
from surrogates import FORMS, headed_ensemble, points, random_ensemble

from dnnlikelihood.ensemble import ACTIVATIONS
from dnnlikelihood.export.onnx_graph import IR_VERSION, OPSET, write_onnx
from dnnlikelihood.export.runtimes import OPERATORS, OnnxModel
from dnnlikelihood.guard import Calibration


def exported(ensemble, tmp_path, *, gradient=True):
    path = tmp_path / "model.onnx"
    write_onnx(ensemble, path, gradient=gradient, metadata={"name": "test"})
    return OnnxModel(path, threads=1)


def calibrated(ensemble, calibration):
    output = dataclasses.replace(ensemble.outputs[0], calibration=calibration)
    return dataclasses.replace(ensemble, outputs=(output,))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize(("kinks", "members"), [(0, 1), (2, 3)])
def test_outputs_are_those_of_the_arrays(tmp_path, activation, kinks, members):
    ensemble = random_ensemble(activation=activation, kinks=kinks, members=members)
    theta = points(1500)
    answers = exported(ensemble, tmp_path)(theta)
    each = ensemble.members_logpdf(theta)
    value, spread = each.mean(axis=1), each.std(axis=1)
    residual = value - ensemble.baseline.value(ensemble.features(theta))
    tolerance = 1e-5 * np.maximum(1.0, np.abs(residual))
    assert np.all(np.abs(answers["logpdf"] - value) < tolerance)
    assert np.all(np.abs(answers["spread"] - spread) < tolerance)
    assert np.all(np.abs(answers["error"] - ensemble.calibration.error(value, spread)) < 3 * tolerance)
    assert np.array_equal(answers["in_domain"], ensemble.in_domain(theta))
    assert 0.05 < answers["in_domain"].mean() < 0.95, "the test must see both sides of the guard"
    assert answers["spread"].max() == 0 if members == 1 else answers["spread"].min() > 0


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("kinks", [0, 2])
def test_gradient_is_the_slope_of_the_value(tmp_path, activation, kinks):
    ensemble = random_ensemble(activation=activation, kinks=kinks)
    theta = points(200)
    gradient = exported(ensemble, tmp_path)(theta)["gradient"]
    step = 1e-7
    for j in range(theta.shape[1]):
        shift = step * np.eye(theta.shape[1])[j]
        up, down = (ensemble.members_logpdf(theta + s * shift, dtype=np.float64).mean(axis=1) for s in (1, -1))
        slope = (up - down) / (2 * step)
        limit = 1e-4 * np.maximum(1.0, np.abs(gradient).max(axis=1))
        assert np.all(np.abs(gradient[:, j] - slope) < limit)


def test_left_slope_at_a_kink(tmp_path):
    ensemble = random_ensemble(kinks=1)
    theta = points(3)
    theta[:, -1] = ensemble.features.kink_values[0]
    below = theta - 1e-9 * np.eye(6)[-1]
    model = exported(ensemble, tmp_path)
    assert np.allclose(model(theta)["gradient"], model(below)["gradient"], atol=1e-5)


def test_offset_is_carried_in_double_precision(tmp_path):
    theta = points(300)
    near, far = (exported(random_ensemble(constant=c), tmp_path)(theta)["logpdf"] for c in (-300.0, -300.0 + 1e4))
    assert np.max(np.abs((far - far[0]) - (near - near[0]))) <= 1e-9


def test_the_file_holds_the_ensemble_to_the_last_bit(tmp_path):
    ensemble = random_ensemble(activation="gelu")
    again = exported(ensemble, tmp_path).ensemble
    a, b = ensemble.arrays(), again.arrays()
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[k], b[k]) and a[k].dtype.kind == b[k].dtype.kind for k in a)


def test_one_bin_of_calibration_and_wide_members(tmp_path):
    ensemble = calibrated(
        random_ensemble(kinks=0, widths=(8,)), Calibration(np.zeros(0), np.array([1.5]), 0.02, np.full(1, np.inf))
    )
    theta = points(20)
    each = ensemble.members_logpdf(theta)
    answers = exported(ensemble, tmp_path)(theta)
    assert np.allclose(answers["error"], 1.5 * (each.std(axis=1) + 0.02), atol=1e-5)
    assert exported(ensemble, tmp_path).ensemble.calibration.edges.size == 0


def test_bin_edges_belong_to_the_bin_above(tmp_path):
    ensemble = random_ensemble(members=1)
    theta = points(1)
    value = exported(ensemble, tmp_path)(theta)["logpdf"]
    on_edge = calibrated(ensemble, Calibration(value, np.array([1.0, 9.0]), 0.1, np.full(2, np.inf)))
    assert np.allclose(exported(on_edge, tmp_path)(theta)["error"], 0.9)


def test_one_point_no_point_and_many(tmp_path):
    model = exported(random_ensemble(), tmp_path)
    theta = points(1300)
    together = model(theta)["logpdf"]
    assert model(theta[:0])["logpdf"].shape == (0,)
    assert model(theta[:0])["gradient"].shape == (0, 6)
    assert np.allclose(model(theta[700:701])["logpdf"], together[700], atol=1e-6)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_pinned_and_checked(tmp_path, activation):
    exported(random_ensemble(activation=activation), tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version, len(model.opset_import)) == (IR_VERSION, OPSET, 1)
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    names = [t.name for t in model.graph.initializer]
    assert len(names) == len(set(names))
    assert set(names) <= {i for node in model.graph.node for i in node.input}, "an initialiser nobody reads"


def test_weights_are_there_once(tmp_path):
    ensemble = random_ensemble(widths=(256, 256), members=2)
    exported(ensemble, tmp_path)
    assert (tmp_path / "model.onnx").stat().st_size < 4 * ensemble.n_weights + 30_000


def test_same_ensemble_same_bytes(tmp_path):
    exported(random_ensemble(), tmp_path)
    first = (tmp_path / "model.onnx").read_bytes()
    exported(random_ensemble(), tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == first


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("n_heads", "anchored"), [(1, False), (3, False), (3, True), (1, True)])
def test_every_form_with_heads_and_anchor(tmp_path, form, n_heads, anchored):
    ensemble = headed_ensemble(form, n_heads=n_heads, anchored=anchored)
    theta = points(700, 5)
    answers = exported(ensemble, tmp_path)(theta)
    each = ensemble.heads_logpdf(theta)
    value, spread = each.mean(axis=1), each.std(axis=1)
    error = np.stack([o.calibration.error(value[:, h], spread[:, h]) for h, o in enumerate(ensemble.outputs)], axis=1)
    gradient = ensemble.heads_logpdf_and_grad(theta)[1]
    scale = np.maximum(1.0, np.abs(value - ensemble.baseline_logpdf(theta)))
    for name, expected in (("logpdf", value), ("spread", spread), ("error", error)):
        found = answers[name].reshape(len(theta), n_heads)
        assert answers[name].shape == ((700, n_heads) if ensemble.heads else (700,))
        assert np.all(np.abs(found - expected) < 3e-5 * scale), name
    slope = answers["gradient"].reshape(gradient.shape)
    assert np.all(np.abs(slope - gradient) < 1e-5 * np.maximum(1.0, np.abs(gradient).max(axis=2, keepdims=True)))
    assert exported(ensemble, tmp_path)(theta[:0])["gradient"].shape[0] == 0


@pytest.mark.parametrize("form", FORMS)
def test_the_anchor_is_exact_in_the_graph(tmp_path, form):
    ensemble = headed_ensemble(form, anchored=True)
    model = exported(ensemble, tmp_path)
    theta = np.concatenate([points(3, 5), ensemble.anchor[None], points(300, 5)])
    assert np.array_equal(model(theta)["logpdf"][3], [0.0, 10.0, 20.0])
    assert np.array_equal(model(theta)["spread"][3], np.zeros(3))
    free = exported(dataclasses.replace(ensemble, anchored=False), tmp_path)
    assert np.all(free(theta)["logpdf"][3] != [0.0, 10.0, 20.0]), "a negative control"


def on_openvino(path, theta):
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {output.get_any_name(): value for output, value in model(theta).items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("n_heads", "anchored"), [(1, False), (3, False), (3, True)])
@pytest.mark.parametrize("gradient", [False, True])
def test_openvino_computes_every_form_in_batches(tmp_path, form, n_heads, anchored, gradient):
    """Its CPU plugin adds wrong numbers to a sum that drops its axis: the graph must not have any with heads."""
    ensemble = headed_ensemble(form, n_heads=n_heads, anchored=anchored)
    theta = points(50, 5)
    ours = exported(ensemble, tmp_path, gradient=gradient)(theta)
    theirs = on_openvino(tmp_path / "model.onnx", theta)
    assert theirs.keys() == ours.keys()
    assert np.array_equal(theirs.pop("in_domain"), ours["in_domain"])
    for name, found in theirs.items():
        np.testing.assert_allclose(found, ours[name], rtol=0, atol=1e-4 * max(1, np.abs(ours[name]).max()))


def test_openvino_computes_the_same_gradient(tmp_path):
    """Its CPU plugin mixes up square constants read both plain and transposed: the graph must not have any."""
    square = random_ensemble(widths=(24, 24, 24), kinks=0)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))
    for ensemble in (square, dataclasses.replace(square, matrix=turn)):
        ours = exported(ensemble, tmp_path)(theta := points(50))["gradient"]
        theirs = on_openvino(tmp_path / "model.onnx", theta)["gradient"]
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4 * np.abs(ours).max())
