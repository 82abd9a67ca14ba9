"""The SavedModel as TensorFlow Serving sees it: its messages, its REST, its command line, its warm-up; and without us.

Two servers answer the same questions: the test server of `tfserving.py`, which has the loader of the real one, and
`tensorflow_model_server` where it is installed.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dnnlikelihood.export.publish import read_reference

grpc = pytest.importorskip("grpc", reason="needs grpcio and tensorflow-serving-api (the extra `test`)")
pytest.importorskip("tensorflow_serving.apis.predict_pb2", reason="needs tensorflow-serving-api (the extra `test`)")

MODEL = Path(__file__).parents[2] / "saved_models" / "toy_lhc"
NAME = "toy_lhc"
EXAMPLE = Path(__file__).parents[2] / "examples" / "serving" / "with_kserve.py"
SIGNATURES = {
    "serving_default": {"logpdf"},
    "logpdf": {"logpdf"},
    "logpdf_and_gradient": {"logpdf", "gradient"},
    "error": {"error", "spread", "in_domain"},
}
REFERENCE = read_reference(MODEL)
THETA = REFERENCE["theta"]
TOLERANCE = {"logpdf": 5e-6, "gradient": 1e-4, "error": 1e-5, "in_domain": 0}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ours():
    from tfserving import Server

    with Server(NAME, MODEL / "saved_model") as server:
        yield server


def the_real_one():
    program = shutil.which("tensorflow_model_server")
    if program is None:
        pytest.skip("needs tensorflow_model_server (docs/deployment.md says where it comes from)")
    server = SimpleNamespace(grpc_port=free_port(), rest_port=free_port())
    command = [program, f"--port={server.grpc_port}", f"--rest_api_port={server.rest_port}", f"--model_name={NAME}"]
    process = subprocess.Popen([*command, f"--model_base_path={(MODEL / 'saved_model').resolve()}"])
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and get(server, f"/v1/models/{NAME}")[0] != 200:
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module", params=["session loader", "tensorflow_model_server"])
def server(request):
    yield from (ours if request.param == "session loader" else the_real_one)()


def get(server, path, document=None):
    """Status and answer of a GET, or a POST with a document."""
    body = None if document is None else json.dumps(document).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.rest_port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except OSError:
        return 0, {}


def stub(server):
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    unlimited = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=unlimited)
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(signature, theta=None, *, name=NAME):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = name, signature
    if theta is not None:
        message.inputs["theta"].CopyFrom(tf.make_tensor_proto(theta))
    return message


def assert_reference(found, rows=slice(None)):
    for name in found.keys() & TOLERANCE.keys():
        off = np.abs(np.asarray(found[name], float) - REFERENCE[name][rows]).max()
        assert off <= TOLERANCE[name], name


@pytest.mark.parametrize("signature", SIGNATURES)
def test_grpc_predict(server, signature):
    import tensorflow as tf

    answer = stub(server).Predict(request(signature, THETA), timeout=60)
    found = {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}
    assert set(found) == SIGNATURES[signature]
    assert answer.model_spec.version.value == 1
    assert_reference(found)


def test_grpc_info_metadata_and_status(server):
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
    )

    text = tf.make_ndarray(stub(server).Predict(request("info"), timeout=60).outputs["info"]).item()
    published = json.loads((MODEL / "metadata.json").read_text("utf-8"))
    assert json.loads(text)["fingerprint"] == published["fingerprint"]
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = NAME
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub(server).GetModelMetadata(asked).metadata["signature_def"].Unpack(signatures)
    inputs = signatures.signature_def["logpdf_and_gradient"].inputs["theta"]
    assert tf.as_dtype(inputs.dtype) == tf.float64
    assert [d.size for d in inputs.tensor_shape.dim] == [-1, THETA.shape[1]]
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = NAME
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked).model_version_status[0]
    assert (status.version, status.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"signature": "logpdf", "theta": THETA[:2], "name": "another"}, "NOT_FOUND"),
        ({"signature": "nothing", "theta": THETA[:2]}, "INVALID_ARGUMENT"),
        ({"signature": "logpdf", "theta": THETA[:2, :5]}, "INVALID_ARGUMENT"),
        ({"signature": "logpdf", "theta": THETA[:2].astype(np.float32)}, "INVALID_ARGUMENT"),
        ({"signature": "logpdf"}, "INVALID_ARGUMENT"),
    ],
    ids=["model", "signature", "width", "type", "nothing"],
)
def test_grpc_refuses(server, bad, code):
    with pytest.raises(grpc.RpcError) as refused:
        stub(server).Predict(request(**bad), timeout=60)
    if code == "NOT_FOUND" or hasattr(server, "servable"):
        assert refused.value.code().name == code


@pytest.mark.parametrize("signature", SIGNATURES)
def test_rest_rows_and_columns(server, signature):
    """By row a list of numbers or of objects; by column a list or an object of lists."""
    path, points = f"/v1/models/{NAME}:predict", THETA[:20].tolist()
    status, rows = get(server, path, {"signature_name": signature, "instances": points})
    assert status == 200, rows
    _, columns = get(server, path, {"signature_name": signature, "inputs": {"theta": points}})
    found = columns["outputs"]
    if len(SIGNATURES[signature]) == 1:
        assert rows["predictions"] == found
        found = {"logpdf": found}
    else:
        assert {name: [row[name] for row in rows["predictions"]] for name in found} == found
    assert set(found) == SIGNATURES[signature]
    assert_reference(found, slice(20))


def test_rest_status_and_refusals(server):
    status, about = get(server, f"/v1/models/{NAME}")
    assert (status, about["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    points = THETA[:1].tolist()
    assert get(server, "/v1/models/another:predict", {"instances": points})[0] == 404
    for bad in ({"instances": [[0.0] * 3]}, {"signature_name": "nothing", "instances": points}, {}):
        status, answer = get(server, f"/v1/models/{NAME}:predict", bad)
        assert status in (400, 404), bad
        assert answer["error"]


def test_warm_up_requests_were_answered():
    """Read with the official messages, and answered before the doors open, as Serving does."""
    from tfserving import Servable

    assert set(Servable(NAME, MODEL / "saved_model").warmed) == set(SIGNATURES)


def test_a_keras_model_would_not_serve(tmp_path):
    """The negative control: what loads in Python, and what this test server refuses as the real one does."""
    import tensorflow as tf
    from tfserving import Servable

    from dnnlikelihood.networks.backend import keras

    module = tf.Module()
    module.model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    spec = [tf.TensorSpec([None, 3], tf.float64, name="theta")]
    module.logpdf = tf.function(lambda theta: {"logpdf": module.model(theta)[:, 0]}, input_signature=spec)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.logpdf})
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert loaded.logpdf(tf.zeros([2, 3], tf.float64))["logpdf"].shape == (2,)
    servable = Servable("trap", tmp_path)
    with pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable"):
        servable.run("serving_default", {"theta": np.zeros((2, 3))})


@pytest.mark.parametrize("signature", SIGNATURES)
def test_saved_model_cli_runs_every_signature(signature, tmp_path):
    """The function behind `saved_model_cli run`, without another import of TensorFlow; the process is run below.

    The command refuses signatures without inputs, such as info.
    """
    from tensorflow.python.tools import saved_model_cli

    np.save(tmp_path / "theta.npy", THETA)
    command = ["run", "--dir", str(MODEL / "saved_model" / "1"), "--tag_set", "serve", "--signature_def", signature]
    inputs = ["--inputs", f"theta={tmp_path / 'theta.npy'}", "--outdir", str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    saved_model_cli.create_parser().parse_args([*command, *inputs]).func()
    found = {path.stem: np.load(path) for path in (tmp_path / "out").iterdir()}
    assert set(found) == SIGNATURES[signature]
    assert_reference(found)


def test_the_command_itself(tmp_path):
    program = Path(sys.executable).with_name("saved_model_cli")
    command = [program, "show", "--dir", MODEL / "saved_model" / "1", "--tag_set", "serve"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for signature in (*SIGNATURES, "info"):
        assert f'"{signature}"' in done.stdout


ALONE = """
import sys
for name in ("dnnlikelihood", "keras", "tf_keras", "onnx", "onnxruntime"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
theta = np.load(sys.argv[2])
answers = model.signatures["logpdf_and_gradient"](theta=tf.constant(theta))
with tf.GradientTape() as tape:
    x = tf.constant(theta)
    tape.watch(x)
    value = model.logpdf(x)["logpdf"]
slope = tape.gradient(value, x)
assert np.allclose(slope, answers["gradient"], rtol=0, atol=1e-4)
np.savez(sys.argv[3], **{name: value.numpy() for name, value in answers.items()})
"""


def test_it_loads_in_plain_tensorflow(tmp_path):
    """Without this package, and without any Keras."""
    np.save(tmp_path / "theta.npy", THETA)
    command = [sys.executable, "-c", ALONE, MODEL / "saved_model" / "1", tmp_path / "theta.npy", tmp_path / "out.npz"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "out.npz") as found:
        assert_reference(dict(found))


# A server that others wrote ------------------------------------------------------------------------------------------


@pytest.fixture
def kserve(tmp_path):
    """KServe with examples/serving/with_kserve.py; half a gigabyte, so in an environment of its own."""
    python = os.environ.get("DNNLIKELIHOOD_KSERVE")
    if python is None:
        pytest.skip("needs DNNLIKELIHOOD_KSERVE, the Python of an environment with: pip install kserve onnxruntime")
    server = SimpleNamespace(rest_port=free_port())
    command = [python, str(EXAMPLE), str(MODEL), f"--http_port={server.rest_port}", "--enable_grpc=false"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and get(server, f"/v1/models/{NAME}")[0] != 200:
            assert process.poll() is None, (tmp_path / "log").read_text("utf-8")[-2000:]
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_kserve_gives_the_same_numbers(kserve):
    status, answer = get(kserve, f"/v1/models/{NAME}:predict", {"instances": THETA.tolist()})
    assert status == 200, answer
    assert_reference({name: [row[name] for row in answer["predictions"]] for name in answer["predictions"][0]})
    status, answer = get(kserve, f"/v1/models/{NAME}:predict", {"instances": [[1.0, 2.0]]})
    assert (status, "95 finite numbers" in answer["error"]) == (400, True)
