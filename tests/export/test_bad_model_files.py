"""Published files made to do harm, beyond what test_runtimes, test_publish and test_store hold already.

Each ends in its own typed error, in little time and memory, with nothing run and nothing written.
"""

import os
import shutil
import tracemalloc
import zipfile

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from surrogates import publish_gaussian, random_ensemble

import dnnlikelihood
from dnnlikelihood.errors import (
    CorruptFile,
    IntegrityError,
    LikelihoodError,
    MissingArtifact,
    SafetyError,
    SchemaError,
)
from dnnlikelihood.export.onnx_graph import write_onnx
from dnnlikelihood.export.publish import read_reference
from dnnlikelihood.export.runtimes import KerasModel, OnnxModel
from dnnlikelihood.export.verify import verify
from dnnlikelihood.export.verify_file import verify_file
from dnnlikelihood.jsonfiles import pretty, read_json
from dnnlikelihood.npzfiles import write_npz
from dnnlikelihood.store import _write_manifest


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return publish_gaussian(tmp_path_factory.mktemp("published") / "gaussian-3", keras=True)


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "gaussian-3")


def failed(folder, **options):
    """The checks that fail, with what they say."""
    return {row.check: row.detail for row in verify(folder, **options).rows if row.status == "failed"}


# model.keras ---------------------------------------------------------------------------------------------------------


def rewritten(source, target, **entries):
    """The same archive with some entries put in place of its own."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = entries.get(name.replace(".", "_"), lambda b: b)(old.read(name))
            new.writestr(name, content, zipfile.ZIP_DEFLATED if len(content) > 10**8 else zipfile.ZIP_STORED)
    return target


def config(module, name, settings):
    """A model configuration whose one layer is another class than a layer."""
    layer = {"module": module, "class_name": name, "config": settings, "registered_name": name}
    settings = {"name": "m", "layers": [layer], "input_layers": [], "output_layers": []}
    whole = {"module": "keras", "class_name": "Functional", "config": settings, "registered_name": "Functional"}
    return lambda _: pretty(whole).encode()


@pytest.mark.parametrize(
    ("module", "name", "settings"),
    [
        ("os", "system", {"command": "touch {marker}"}),
        ("builtins", "eval", {"source": "open('{marker}', 'w')"}),
        ("subprocess", "Popen", {"args": ["touch", "{marker}"]}),
        ("keras.layers", "TFSMLayer", {"filepath": "{marker}", "call_endpoint": "serve"}),
        ("keras.layers", "Lambda", {"function": {"class_name": "__lambda__", "config": {"code": "4wAA"}}}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_configuration_that_names_code(original, tmp_path, module, name, settings):
    marker = tmp_path / "ran"
    filled = {k: v.format(marker=marker) if isinstance(v, str) else v for k, v in settings.items()}
    path = rewritten(original / "model.keras", tmp_path / "m.keras", config_json=config(module, name, filled))
    with pytest.raises(CorruptFile, match="refuses"):
        KerasModel(path)
    assert not marker.exists()


def with_weights(original, tmp_path, edit):
    """model.keras with its weights file edited."""
    path = tmp_path / "weights.h5"

    def edited(content):
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            edit(file)
        return path.read_bytes()

    return rewritten(original / "model.keras", tmp_path / "m.keras", model_weights_h5=edited)


def first_dataset(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) and item.size > 1 else None)
    return found[0]


def external(file):
    """Weights that lie in another file of the reader's machine."""
    name = first_dataset(file)
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def linked(file):
    name = first_dataset(file)
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", "/")


def huge(file):
    """A shape of four terabytes in a few bytes."""
    name = first_dataset(file)
    del file[name]
    file.create_dataset(name, (1_000_000, 1_000_000), "f4", chunks=(1000, 1000))


@pytest.mark.parametrize("edit", [external, linked, huge])
def test_weights_from_elsewhere_and_without_end(original, tmp_path, edit):
    path = with_weights(original, tmp_path, edit)
    tracemalloc.start()
    with pytest.raises((CorruptFile, SafetyError)):
        KerasModel(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500e6


def test_an_archive_that_lies_about_its_size(original, tmp_path):
    """The directory says a few bytes, the entry inflates to 200 MB."""
    path = rewritten(original / "model.keras", tmp_path / "m.keras", config_json=lambda _: b" " * 200_000_000)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"config.json"))
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    tracemalloc.start()
    with pytest.raises((CorruptFile, SafetyError)):
        KerasModel(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


# model.onnx ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def graph(tmp_path):
    write_onnx(random_ensemble(), tmp_path / "good.onnx", gradient=False, metadata={"name": "test"})
    return onnx.load(tmp_path / "good.onnx")


def opened(graph, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(graph.SerializeToString())
    return OnnxModel(tmp_path / "bad.onnx")


def test_sparse_tensors_and_training_graphs(graph, tmp_path):
    sparse = graph.graph.sparse_initializer.add()
    sparse.dims.extend([10**9, 10**9])
    with pytest.raises(SafetyError, match="sparse"):
        opened(graph, tmp_path)
    del graph.graph.sparse_initializer[:]
    graph.training_info.add()
    with pytest.raises(SafetyError, match="training"):
        opened(graph, tmp_path)


def test_a_subgraph_in_an_allowed_operator(graph, tmp_path):
    inner = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "inner", [], [])
    graph.graph.node[0].attribute.append(helper.make_attribute("body", inner))
    with pytest.raises(SafetyError, match="attribute"):
        opened(graph, tmp_path)


def test_a_tensor_that_claims_more_than_it_holds(graph, tmp_path):
    """Dimensions of 10^12 numbers over a few bytes of data."""
    tensor = next(t for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT)
    tensor.dims[0] = 10**12
    with pytest.raises((CorruptFile, SafetyError)):
        opened(graph, tmp_path)


def test_two_arrays_of_one_name(graph, tmp_path):
    graph.graph.initializer.append(graph.graph.initializer[0])
    with pytest.raises(CorruptFile):
        opened(graph, tmp_path)


def test_an_operator_that_the_runtime_has_only_in_single_precision(graph, tmp_path):
    """Allowed, well formed, and refused when the session is made."""
    next(node for node in graph.graph.node if node.op_type == "Sqrt").op_type = "Selu"
    with pytest.raises(CorruptFile, match="onnxruntime refuses"):
        opened(graph, tmp_path)


def test_a_graph_for_seven_points(graph, tmp_path):
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7
    with pytest.raises(SchemaError, match="batch"):
        opened(graph, tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(MissingArtifact, match="no file"):
        OnnxModel(tmp_path / "model.onnx")
    with pytest.raises(CorruptFile, match="no file"):
        read_json(tmp_path / "model.onnx")


def test_a_gradient_that_is_none_in_a_file_alone(tmp_path):
    """The weights fit, the backward pass is another: only the differences see it."""
    write_onnx(random_ensemble(), tmp_path / "m.onnx", gradient=True, metadata={"name": "test"})
    assert verify_file(tmp_path / "m.onnx").passed
    graph = onnx.load(tmp_path / "m.onnx")
    share = next(t for t in graph.graph.initializer if t.name == "constant/share")
    share.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(share), share.name))
    onnx.save(graph, tmp_path / "m.onnx")
    rows = {row.check: row.status for row in verify_file(tmp_path / "m.onnx").rows}
    assert rows == {"hash": "skipped", "graph": "passed", "onnxruntime": "passed", "differences": "failed"}


def test_a_cycle(graph, tmp_path):
    graph.graph.node[0].input[0] = graph.graph.node[-1].output[0]
    with pytest.raises(CorruptFile, match="valid"):
        opened(graph, tmp_path)


def test_weights_that_are_not_numbers(folder):
    """NaN weights with fitting hashes: no number comes out, neither as a value nor as minus infinity."""
    for name in ("model.onnx", "model_gradient.onnx"):
        model = onnx.load(folder / name)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("kernel"):
                array = np.full(onnx.numpy_helper.to_array(tensor).shape, np.nan, np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        onnx.save(model, folder / name)
    _write_manifest(folder)
    with pytest.raises((LikelihoodError, CorruptFile)):
        dnnlikelihood.open(folder).logpdf([[0.5, -1.0, 0.2]])
    assert "onnxruntime" in failed(folder)


# The folder ----------------------------------------------------------------------------------------------------------


def edited(folder, **changes):
    path = folder / "metadata.json"
    path.write_text(pretty({**read_json(path), **changes}), "utf-8")
    _write_manifest(folder)


@pytest.mark.parametrize(
    "recipe",
    [
        {"source": "__import__('os').system('true')", "arguments": {}},
        {"source": "../../etc/passwd", "arguments": {}},
        {"source": "os:system", "arguments": {"command": "true"}},
        {"source": "gaussian", "arguments": {"mean": [0.0], "covariance": [[1.0]], "unknown": 1}},
        {"source": "gaussian", "arguments": {"mean": [0.0]}},
    ],
)
def test_a_recipe_that_names_no_source(folder, recipe):
    edited(folder, source={**read_json(folder / "metadata.json")["source"], "recipe": recipe})
    assert "Error" in failed(folder)["exact"], "a typed error, and nothing was imported or called"


def test_files_that_a_recipe_names_are_not_read_without_trust(folder, tmp_path):
    """A stranger's folder does not choose which files of this machine are opened: a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    recipe = {"source": "histfactory", "arguments": {"workspace": str(tmp_path / "pipe")}}
    edited(folder, source={**read_json(folder / "metadata.json")["source"], "recipe": recipe})
    row = next(row for row in verify(folder).rows if row.check == "exact")
    assert row.status == "skipped"
    assert "pipe" in row.detail


def test_words_that_the_graphs_do_not_say(folder):
    """A domain written wider than it is, in metadata.json alone."""
    about = read_json(folder / "metadata.json")
    edited(folder, domain={**about["domain"], "high": [1e9] * 3})
    assert "domain" in failed(folder)["graphs"]


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("logpdf", lambda a: a.astype(str)),
        ("tolerance", lambda a: a.astype(str)),
        ("exact", lambda a: a + 1j),
        ("in_domain", lambda a: a.astype(int)),
        ("theta", lambda a: a[:, 0]),
        ("theta", lambda _: np.array(1.0)),
        ("gradient", lambda a: a[:, :2]),
    ],
)
def test_reference_arrays_that_are_none(folder, name, edit):
    pairs = read_reference(folder)
    write_npz(folder / "reference.npz", {**pairs, name: edit(pairs[name])})
    _write_manifest(folder)
    assert failed(folder)["reference"].startswith("CorruptFile")


def test_reference_points_of_another_model(folder):
    pairs = read_reference(folder)
    twice = {name: np.hstack([pairs[name]] * 2) for name in ("theta", "gradient", "guard_theta")}
    write_npz(folder / "reference.npz", {**pairs, **twice})
    _write_manifest(folder)
    assert "3 parameters" in failed(folder)["reference"]


def test_a_folder_that_is_a_link_to_elsewhere(folder, tmp_path):
    """A directory of the published folder that points out of it, with a manifest that fits."""
    shutil.move(folder / "saved_model", tmp_path / "elsewhere")
    (folder / "saved_model").symlink_to(tmp_path / "elsewhere")
    with pytest.raises((SafetyError, IntegrityError)):
        dnnlikelihood.open(folder)


@pytest.mark.parametrize(
    ("name", "content", "check"),
    [
        ("history.json", '{"members": [1e999]}', "documents"),
        ("history.json", "[" * 100_000, "documents"),
        ("log.jsonl", '{"a": NaN}\n', "documents"),
        ("log.jsonl", "import os\n", "documents"),
        ("reference.npz", "PK\x03\x04 not an archive", "reference"),
    ],
)
def test_documents_that_are_none(folder, name, content, check):
    (folder / name).write_text(content)
    _write_manifest(folder)
    found = failed(folder)
    assert list(found) == [check]
    assert found[check].startswith((SchemaError.__name__, CorruptFile.__name__))


def test_a_saved_model_runs_only_with_trust(folder, tmp_path):
    """One that writes a file when it is asked: neither reading nor verifying asks it, until somebody trusts it."""
    import tensorflow as tf

    marker = tmp_path / "ran"
    shutil.rmtree(folder / "saved_model")
    module = tf.Module()

    @tf.function(input_signature=[])
    def info():
        with tf.control_dependencies([tf.io.write_file(str(marker), "harm")]):
            return {"info": tf.constant("{}")}

    tf.saved_model.save(module, str(folder / "saved_model" / "1"), signatures={"info": info})
    _write_manifest(folder)
    dnnlikelihood.open(folder).logpdf([[0.5, -1.0, 0.2]])
    assert "saved-model" not in failed(folder)
    assert not marker.exists()
    assert "saved-model" in failed(folder, trust=True)
    assert marker.exists(), "a program it is: trusting means running"
