"""Hostile and damaged model files: each refused with its own error before anything is run."""

import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from surrogates import random_ensemble

from dnnlikelihood.errors import CorruptFile, MissingArtifact, SafetyError, SchemaError
from dnnlikelihood.export.onnx_graph import METADATA_KEY, write_onnx
from dnnlikelihood.export.runtimes import KerasModel, OnnxModel


@pytest.fixture
def model(tmp_path):
    write_onnx(random_ensemble(), tmp_path / "good.onnx", gradient=False, metadata={"name": "test"})
    return onnx.load(tmp_path / "good.onnx")


def opened(model, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    return OnnxModel(tmp_path / "bad.onnx")


def test_the_good_one_opens(model, tmp_path):
    assert opened(model, tmp_path).metadata["name"] == "test"


@pytest.mark.parametrize("where", ["../../etc/passwd", "/etc/passwd", "weights.bin"])
def test_external_data(model, tmp_path, where):
    tensor = next(t for t in model.graph.initializer if t.name.endswith("kernel"))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", where
    with pytest.raises(SafetyError, match="another file"):
        opened(model, tmp_path)


@pytest.mark.parametrize(
    ("op", "domain"), [("Loop", ""), ("If", ""), ("QuickGelu", "com.microsoft"), ("Expand", ""), ("PyOp", "evil")]
)
def test_foreign_operators(model, tmp_path, op, domain):
    model.graph.node.append(helper.make_node(op, ["theta"], ["foreign"], domain=domain))
    with pytest.raises(SafetyError, match=op):
        opened(model, tmp_path)


def test_tensors_hidden_in_attributes(model, tmp_path):
    model.graph.node[0].attribute.append(helper.make_attribute("x", numpy_helper.from_array(np.zeros(3))))
    with pytest.raises(SafetyError, match="attribute"):
        opened(model, tmp_path)


def test_functions(model, tmp_path):
    node = helper.make_node("Add", ["a", "a"], ["b"])
    model.functions.append(helper.make_function("evil", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 20)]))
    with pytest.raises(SafetyError, match="functions"):
        opened(model, tmp_path)


def test_more_nodes_than_a_surrogate_has(model, tmp_path):
    for i in range(5001):
        model.graph.node.append(helper.make_node("Relu", ["theta"], [f"n{i}"]))
    with pytest.raises(SafetyError, match="nodes"):
        opened(model, tmp_path)


def test_doubling_bomb(model, tmp_path):
    last = "theta"
    for i in range(40):
        model.graph.node.append(helper.make_node("Concat", [last, last], [f"twice{i}"], axis=1))
        last = f"twice{i}"
    with pytest.raises(SafetyError, match="numbers a row"):
        opened(model, tmp_path)


def test_wrong_rank(model, tmp_path):
    model.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 2
    with pytest.raises(SchemaError, match="inputs"):
        opened(model, tmp_path)


def test_second_input(model, tmp_path):
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["batch", 2]))
    with pytest.raises(SchemaError, match="inputs"):
        opened(model, tmp_path)


def test_other_width_than_the_weights(model, tmp_path):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    with pytest.raises(CorruptFile, match="valid"):
        opened(model, tmp_path)


def test_float_output(model, tmp_path):
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(SchemaError, match="outputs"):
        opened(model, tmp_path)


def test_missing_output(model, tmp_path):
    del model.graph.output[1]
    with pytest.raises(SchemaError, match="outputs"):
        opened(model, tmp_path)


def test_newer_operator_set(model, tmp_path):
    model.opset_import[0].version = 99
    with pytest.raises(SchemaError, match="upgrade"):
        opened(model, tmp_path)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("__import__('os').system('true')", CorruptFile),
        ('{"activations": NaN}', SchemaError),
        ('{"a": 1, "a": 2}', SchemaError),
        ("[" * 5000, SchemaError),
        ("[]", SchemaError),
        ('{"activations": "silu"}', SchemaError),
    ],
)
def test_metadata_is_json_and_nothing_else(model, tmp_path, value, error):
    model.metadata_props[0].value = value
    with pytest.raises(error):
        opened(model, tmp_path)


def test_duplicate_metadata_keys(model, tmp_path):
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, "{}"
    with pytest.raises(SchemaError, match="keys"):
        opened(model, tmp_path)


def test_arrays_that_are_no_ensemble(model, tmp_path):
    for tensor in model.graph.initializer:
        if tensor.name == "domain/radius":
            tensor.name = "r"
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == "domain/radius":
                node.input[i] = "r"
    with pytest.raises(CorruptFile, match="ensemble"):
        _ = opened(model, tmp_path).ensemble


def test_truncated_foreign_and_missing(tmp_path):
    write_onnx(random_ensemble(), tmp_path / "m.onnx", gradient=False, metadata={})
    data = (tmp_path / "m.onnx").read_bytes()
    for content in (data[: len(data) // 2], b"hello, world", b""):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises((CorruptFile, SchemaError)):
            OnnxModel(tmp_path / "m.onnx")
    with pytest.raises(MissingArtifact):
        OnnxModel(tmp_path / "none.onnx")


def keras_file(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_keras_zip_slip(tmp_path):
    for name in ("../evil", "/tmp/evil"):
        with pytest.raises(SafetyError, match="leaves"):
            KerasModel(keras_file(tmp_path / "m.keras", {name: "x", "config.json": "{}"}))


def test_keras_zip_bomb(tmp_path):
    bomb = keras_file(tmp_path / "m.keras", {"config.json": b" " * 50_000_000, "metadata.json": "{}"})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(SafetyError, match="inflates"):
        KerasModel(bomb)


def test_keras_that_is_no_zip(tmp_path):
    (tmp_path / "m.keras").write_bytes(b"\x89HDF\r\n")
    with pytest.raises(CorruptFile):
        KerasModel(tmp_path / "m.keras")
    with pytest.raises(MissingArtifact):
        KerasModel(tmp_path / "none.keras")


def test_keras_with_a_lambda(tmp_path):
    from dnnlikelihood.networks.backend import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    model.save(tmp_path / "m.keras")
    with pytest.raises(CorruptFile, match="refuses"):
        KerasModel(tmp_path / "m.keras")
