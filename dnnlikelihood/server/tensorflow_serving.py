"""The REST interface of TensorFlow Serving, as far as it asks for predictions.

    POST /v1/models/NAME:predict    {"signature_name": ..., "instances": [[...], ...]}       rows
                                    {"signature_name": ..., "inputs": {"theta": [[...]]}}    columns
    GET  /v1/models/NAME            status            GET /v1/models/NAME/metadata    signatures

The signatures and their outputs are those of the published SavedModel, so that a client of tensorflow_model_server
works here unchanged. Beside `predictions` or `outputs` every answer carries `in_domain`, `error` and
`model_fingerprint`; a request may say `"outside": "value"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import CorruptFile, SchemaError
from ..jsonfiles import canonical, strict_loads
from .limits import Refusal
from .models import Model, Question, numbers, outside_policy

__all__ = ["metadata", "predict", "status"]

SIGNATURES = {
    "serving_default": ("logpdf",),
    "logpdf": ("logpdf",),
    "logpdf_and_gradient": ("logpdf", "gradient"),
    "error": ("error", "spread", "in_domain"),
    "info": ("info",),
}
KEYS = ("signature_name", "instances", "inputs", "outside")


def status(model: Model) -> dict[str, Any]:
    """GetModelStatusResponse."""
    fine = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": model.version, "state": "AVAILABLE", "status": fine}]}


def metadata(model: Model) -> dict[str, Any]:
    """GetModelMetadataResponse, and under `published` what metadata.json says."""

    def tensor(name: str, shape: list[int], dtype: str) -> dict[str, Any]:
        dims = [{"size": str(size), "name": ""} for size in shape]
        return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": f"{name}:0"}

    def signature(outputs: tuple[str, ...]) -> dict[str, Any]:
        dtypes = {"in_domain": "DT_BOOL", "info": "DT_STRING"}
        theta = {} if outputs == ("info",) else {"theta": tensor("theta", [-1, model.d], "DT_DOUBLE")}
        shapes = {name: [] if name == "info" else model.shape(name) for name in outputs}
        return {
            "inputs": theta,
            "outputs": {name: tensor(name, shapes[name], dtypes.get(name, "DT_DOUBLE")) for name in outputs},
            "method_name": "tensorflow/serving/predict",
        }

    signatures = {name: signature(outputs) for name, outputs in SIGNATURES.items()}
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": signatures}, "published": model.likelihood.metadata},
    }


def predict(model: Model, body: bytes, deadline: float) -> dict[str, Any]:
    """The answer to a prediction.

    Raises:
        Refusal: a body that is no such request.
    """
    request = document(body)
    unknown = sorted(set(request) - set(KEYS))
    if unknown:
        raise Refusal(400, f"unknown keys {unknown[:5]}; a request has {list(KEYS)}")
    signature = request.get("signature_name", "serving_default")
    signature = "serving_default" if signature == "" else signature
    if not isinstance(signature, str) or signature not in SIGNATURES:
        raise Refusal(400, f'Serving signature name: "{signature}" not found in signature def')
    if signature == "info":
        return {"outputs": canonical(model.likelihood.metadata).decode(), "model_fingerprint": model.fingerprint}
    by_row = "instances" in request
    if by_row == ("inputs" in request):
        raise Refusal(400, "JSON object has to hold one of 'instances' and 'inputs'")
    theta = numbers(_points(request, by_row=by_row), model.d, model.limits, "instances" if by_row else "inputs")
    outputs = SIGNATURES[signature]
    found = model.answer(
        Question(theta, "gradient" in outputs, outside_policy(request.get("outside", "null"))), deadline
    )
    guard = {"in_domain": found["in_domain"], "error": found["error"], "model_fingerprint": model.fingerprint}
    if len(outputs) == 1:
        return {"predictions" if by_row else "outputs": found[outputs[0]], **guard}
    if by_row:
        rows = zip(*(found[name] for name in outputs), strict=True)
        return {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows], **guard}
    return {"outputs": {name: found[name] for name in outputs}, **guard}


def document(body: bytes) -> dict[str, Any]:
    """A body that is one JSON object, parsed strictly.

    Raises:
        Refusal: 400 for anything else.
    """
    try:
        found = strict_loads(body, "JSON Parse error")
    except (SchemaError, CorruptFile) as error:
        raise Refusal(400, str(error)) from error
    if not isinstance(found, dict):
        raise Refusal(400, f"the body is a JSON {type(found).__name__}, not an object")
    return found


def _points(request: Mapping[str, Any], *, by_row: bool) -> Any:
    """The list of points: the one input's name may be written or left out, in rows and in columns."""

    def of(value: Any, where: str) -> Any:
        if isinstance(value, dict):
            if list(value) != ["theta"]:
                raise Refusal(400, f"{where} names inputs {sorted(value)[:5]}; the one input is 'theta'")
            return value["theta"]
        return value

    if by_row:
        rows = request["instances"]
        return [of(row, "instances") for row in rows] if isinstance(rows, list) else rows
    return of(request["inputs"], "inputs")
