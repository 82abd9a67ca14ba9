"""The SavedModel in both loaders against ONNX and the arrays."""

import json
from pathlib import Path

import numpy as np
import pytest
from surrogates import FORMS, headed_ensemble, points, random_ensemble

from dnnlikelihood.errors import CorruptFile, MissingArtifact
from dnnlikelihood.export.onnx_graph import write_onnx
from dnnlikelihood.export.runtimes import OnnxModel, SavedModel
from dnnlikelihood.export.savedmodel import write_saved_model
from dnnlikelihood.members import FUNCTIONS, SLOPES

CASES = [("silu", 2, 3), ("gelu", 0, 1)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def saved(request, tmp_path_factory):
    activation, kinks, members = request.param
    ensemble = random_ensemble(activation=activation, kinks=kinks, members=members)
    folder = tmp_path_factory.mktemp("model")
    write_saved_model(ensemble, folder / "1", metadata={"name": "test"})
    write_onnx(ensemble, folder / "model.onnx", gradient=True, metadata={})
    return ensemble, folder


def test_session_loader_agrees_with_onnx(saved):
    _, folder = saved
    theta = points(500)
    ours, onnx = SavedModel(folder / "1")(theta), OnnxModel(folder / "model.onnx")(theta)
    assert ours.keys() == onnx.keys()
    for name in ("logpdf", "spread", "error"):
        assert np.allclose(ours[name], onnx[name], rtol=0, atol=2e-5), name
    assert np.array_equal(ours["in_domain"], onnx["in_domain"])
    assert np.allclose(ours["gradient"], onnx["gradient"], rtol=1e-5, atol=1e-4)


def test_signatures_and_info(saved):
    model = SavedModel(saved[1] / "1")
    assert model.signatures == ("error", "info", "logpdf", "logpdf_and_gradient", "serving_default")
    assert json.loads(model.run("info")["info"]) == {"name": "test"}
    assert model.run("serving_default", points(4))["logpdf"].dtype == np.float64


def test_python_loader_and_its_gradient(saved):
    import tensorflow as tf

    ensemble, folder = saved
    module = tf.saved_model.load(str(folder / "1"))
    theta = points(50)
    answers = module.signatures["logpdf_and_gradient"](theta=tf.constant(theta))
    value = ensemble.members_logpdf(theta).mean(axis=1)
    assert np.allclose(answers["logpdf"], value, rtol=0, atol=2e-5)
    with tf.GradientTape() as tape:
        x = tf.constant(theta)
        tape.watch(x)
        y = module.logpdf(x)["logpdf"]
    assert np.allclose(tape.gradient(y, x), answers["gradient"], atol=1e-5)


def test_weights_are_there_once(tmp_path):
    ensemble = random_ensemble(widths=(256, 256), members=2)
    write_saved_model(ensemble, tmp_path / "1", metadata={"name": "test"})
    size = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert size < 4 * ensemble.n_weights + 300_000


def fields(message):
    """{number: [content]} of a protobuf message whose fields are all length-delimited."""
    found, i = {}, 0
    while i < len(message):
        number, i = message[i] >> 3, i + 1
        assert message[i - 1] & 7 == 2
        length = shift = 0
        while True:
            byte, i = message[i], i + 1
            length, shift = length | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        found.setdefault(number, []).append(message[i : i + length])
        i += length
    return found


def test_warm_up_requests_can_be_answered(saved):
    """Read back by hand, as prediction_log.proto, predict.proto and model.proto number their fields, and run."""
    import tensorflow as tf

    ensemble, folder = saved
    model, asked = SavedModel(folder / "1"), []
    for record in tf.data.TFRecordDataset(str(folder / "1" / "assets.extra" / "tf_serving_warmup_requests")):
        request = fields(fields(fields(record.numpy())[6][0])[1][0])
        spec, entry = fields(request[1][0]), fields(request[2][0])
        assert (spec[1], entry[1]) == ([b"test"], [b"theta"])
        theta = tf.make_ndarray(type(tf.make_tensor_proto(0.0)).FromString(entry[2][0]))
        assert np.array_equal(theta, ensemble.domain.center[None])
        asked.append(spec[3][0].decode())
        assert all(len(value) == 1 for value in model.run(asked[-1], theta).values())
    assert asked == ["serving_default", "logpdf", "logpdf_and_gradient", "error"]


def test_refusals(tmp_path):
    with pytest.raises(MissingArtifact):
        SavedModel(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\x00not a graph")
    with pytest.raises(CorruptFile):
        SavedModel(tmp_path)
    with pytest.raises(OSError, match="/proc/nowhere"):  # which `store.writing` makes a SaveFailed
        write_saved_model(random_ensemble(), Path("/proc/nowhere/1"), metadata={"name": "test"})


def test_every_function_has_its_twin_in_tensorflow():
    from dnnlikelihood.networks.forward import functions

    x = np.linspace(-6, 9, 301, dtype=np.float32)
    assert functions().keys() == FUNCTIONS.keys() == SLOPES.keys()
    for name, function in FUNCTIONS.items():
        assert np.allclose(functions()[name](x), function(x), rtol=2e-6, atol=2e-6), name


@pytest.mark.parametrize(
    ("form", "n_heads", "anchored"), [(f, h, a) for f in FORMS for h, a in ((1, True), (3, False))]
)
def test_every_form_in_savedmodel_and_keras(tmp_path, form, n_heads, anchored):
    from dnnlikelihood.export.runtimes import KerasModel
    from dnnlikelihood.networks.build import ensemble_model

    ensemble = headed_ensemble(form, n_heads=n_heads, anchored=anchored)
    write_saved_model(ensemble, tmp_path / "1", metadata={"name": "test"})
    write_onnx(ensemble, tmp_path / "model.onnx", gradient=True, metadata={})
    ensemble_model(ensemble).save(tmp_path / "model.keras")
    theta = np.concatenate([points(300, 5), ensemble.features.shift[None]])
    onnx, saved, keras = (
        model(theta)
        for model in (
            OnnxModel(tmp_path / "model.onnx"), SavedModel(tmp_path / "1"), KerasModel(tmp_path / "model.keras")
        )
    )  # fmt: skip
    assert saved.keys() == onnx.keys()
    residual = np.abs(onnx["logpdf"] - ensemble.baseline_logpdf(theta).reshape(onnx["logpdf"].shape))
    for answers in (saved, keras):
        for name in {"logpdf", "spread", "error"} & answers.keys():
            assert answers[name].shape == onnx[name].shape
            assert np.all(np.abs(answers[name] - onnx[name]) < 3e-5 * np.maximum(1.0, residual)), name
    slope = np.abs(onnx["gradient"]).max(axis=-1, keepdims=True)
    assert np.all(np.abs(saved["gradient"] - onnx["gradient"]) < 2e-5 * np.maximum(1.0, slope))
    if anchored:
        for answers in (saved, keras):
            assert np.array_equal(answers["logpdf"][-1], onnx["logpdf"][-1])
            assert answers["logpdf"][-1] == 0.0
