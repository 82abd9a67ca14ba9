"""A server that speaks TensorFlow Serving's protocols, for tests: its official messages on TensorFlow's session loader.

The real `tensorflow_model_server` is no Python package. What decides whether a SavedModel works there is the loader,
and that is the same one here: variables it cannot find, signatures it cannot see and warm-up requests it cannot answer
fail as they would there. gRPC: Predict, GetModelMetadata, GetModelStatus. REST: /v1/models/NAME[/metadata], :predict.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)


class Refused(Exception):
    """A request that is answered with an error: a gRPC code and a message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Servable:
    """The newest version in a model's base folder."""

    def __init__(self, name, base):
        self.name = name
        folder = max((f for f in Path(base).iterdir() if f.name.isdigit()), key=lambda f: int(f.name))
        self.version = int(folder.name)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            self.signatures = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder)).signature_def
        self.warmed = [self._warm(record) for record in self._requests(folder)]

    @staticmethod
    def _requests(folder):
        path = folder / "assets.extra" / "tf_serving_warmup_requests"
        return tf.data.TFRecordDataset(str(path)).as_numpy_iterator() if path.exists() else ()

    def _warm(self, record):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        self.predict(request)
        return request.model_spec.signature_name

    def check(self, spec):
        if spec.name != self.name:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")

    def run(self, signature, inputs):
        """{name: array} -> {name: array}."""
        if signature not in self.signatures or signature.startswith("__"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f'Serving signature name: "{signature}" not found')
        definition = self.signatures[signature]
        if set(inputs) != set(definition.inputs):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"expected the inputs {sorted(definition.inputs)}")
        for name, value in inputs.items():
            if value.dtype != tf.as_dtype(definition.inputs[name].dtype).as_numpy_dtype:
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{name} is {value.dtype}")
        feed = {definition.inputs[name].name: value for name, value in inputs.items()}
        try:
            return self._session.run({name: t.name for name, t in definition.outputs.items()}, feed)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    def predict(self, request):
        self.check(request.model_spec)
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        answer = predict_pb2.PredictResponse()
        for name, value in self.run(request.model_spec.signature_name or "serving_default", inputs).items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer.model_spec.name, answer.model_spec.version.value = self.name, self.version
        return answer


class Grpc(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, servable):
        self.servable = servable

    def Predict(self, request, context):
        try:
            return self.servable.predict(request)
        except Refused as refused:
            context.abort(refused.code, str(refused))

    def GetModelMetadata(self, request, context):
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in self.servable.signatures.items():
            found.signature_def[name].CopyFrom(definition)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = self.servable.name, self.servable.version
        answer.metadata["signature_def"].Pack(found)
        return answer

    def GetModelStatus(self, request, context):
        answer = get_model_status_pb2.GetModelStatusResponse()
        answer.model_version_status.add(
            version=self.servable.version, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE
        )
        return answer


def rest_predict(servable, body):
    """Rows ("instances" -> "predictions") or columns ("inputs" -> "outputs"), as the REST interface defines them."""
    asked = json.loads(body)
    signature = asked.get("signature_name", "serving_default")
    definition = servable.signatures.get(signature)
    names = [] if definition is None else list(definition.inputs)
    by_row = "instances" in asked
    given = asked["instances"] if by_row else asked.get("inputs", {})
    if by_row and given and isinstance(given[0], dict):
        given = {name: [row[name] for row in given] for name in given[0]}
    if not isinstance(given, dict):
        given = {names[0]: given}
    outputs = servable.run(signature, {name: np.array(value, np.float64) for name, value in given.items()})
    plain = {name: np.asarray(value).astype(object).tolist() for name, value in outputs.items()}
    plain = {name: value.decode() if isinstance(value, bytes) else value for name, value in plain.items()}
    if not by_row:
        return {"outputs": next(iter(plain.values())) if len(plain) == 1 else plain}
    if len(plain) == 1:
        return {"predictions": next(iter(plain.values()))}
    return {"predictions": [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]}


def rest_handler(servable):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            found = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/\d+)?:predict", self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if found is None or found.group(1) != servable.name:
                return self.answer(404, {"error": f"Servable not found for request: {self.path}"})
            try:
                return self.answer(200, rest_predict(servable, body))
            except (Refused, ValueError, KeyError, IndexError) as error:
                return self.answer(400, {"error": str(error)})

        def do_GET(self):
            if self.path == f"/v1/models/{servable.name}":
                status = {"version": str(servable.version), "state": "AVAILABLE", "status": {"error_code": "OK"}}
                return self.answer(200, {"model_version_status": [status]})
            return self.answer(404, {"error": "Malformed request"})

        def answer(self, code, document):
            text = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Handler


class Server:
    """Both services of one model on free ports of the loopback address, as a context."""

    def __init__(self, name, base):
        self.servable = Servable(name, base)
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._grpc = grpc.server(ThreadPoolExecutor(2), options=unlimited)
        both = Grpc(self.servable)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(both, self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(both, self._grpc)
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._rest = ThreadingHTTPServer(("127.0.0.1", 0), rest_handler(self.servable))
        self.rest_port = self._rest.server_port

    def __enter__(self):
        self._grpc.start()
        Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._grpc.stop(None)
        self._rest.shutdown()
        self._rest.server_close()
