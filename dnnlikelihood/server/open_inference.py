"""The Open Inference Protocol, version 2, over REST (KServe, Triton, MLServer, OpenVINO Model Server).

    GET  /v2   /v2/health/live   /v2/health/ready   /v2/models   /v2/models/NAME   /v2/models/NAME/ready
    POST /v2/models/NAME/infer
        {"inputs": [{"name": "theta", "shape": [n, d], "datatype": "FP64", "data": [...]}], "outputs": [{"name": ...}]}

Without `outputs` the answer holds logpdf, error, in_domain and spread; `gradient` is computed where it is asked for.
`"parameters": {"outside": "value"}` has the plain numbers outside the domain. Data that cannot be said are null.
"""

from __future__ import annotations

from itertools import chain
from math import prod
from typing import Any

from .. import __version__
from .limits import Refusal
from .models import Model, Question, numbers, outside_policy
from .tensorflow_serving import document

__all__ = ["infer", "metadata", "server"]

OUTPUTS = ("logpdf", "error", "in_domain", "spread", "gradient")
KEYS = {"id", "parameters", "inputs", "outputs"}


def server() -> dict[str, Any]:
    """What the server is."""
    return {"name": "dnnlikelihood", "version": __version__, "extensions": []}


def _datatype(output: str) -> str:
    return "BOOL" if output == "in_domain" else "FP64"


def metadata(model: Model) -> dict[str, Any]:
    """What a model takes and gives."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "theta", "datatype": "FP64", "shape": [-1, model.d]}],
        "outputs": [{"name": name, "datatype": _datatype(name), "shape": model.shape(name)} for name in OUTPUTS],
        "parameters": {
            "fingerprint": model.fingerprint,
            "start": model.start,
            **({"heads": list(model.heads)} if model.heads else {}),
        },
    }


def infer(model: Model, body: bytes, deadline: float) -> dict[str, Any]:
    """The answer to an inference request.

    Raises:
        Refusal: a body that is no such request.
    """
    request = document(body)
    unknown = sorted(set(request) - KEYS)
    if unknown:
        raise Refusal(400, f"unknown keys {unknown[:5]}; a request has {sorted(KEYS)}")
    identifier, parameters = request.get("id"), request.get("parameters", {})
    if identifier is not None and not isinstance(identifier, str):
        raise Refusal(400, "id must be a string")
    if not isinstance(parameters, dict):
        raise Refusal(400, "parameters must be an object")
    outputs = _outputs(request.get("outputs"))
    outside = outside_policy(parameters.get("outside", "null"))
    found = model.answer(Question(_theta(request.get("inputs"), model), "gradient" in outputs, outside), deadline)
    n, beyond = len(found["in_domain"]), found["in_domain"].count(False)
    return {
        "model_name": model.name,
        "model_version": model.version,
        **({} if identifier is None else {"id": identifier}),
        "parameters": {"fingerprint": model.fingerprint, "outside_domain": beyond},
        "outputs": [_tensor(name, [n, *model.shape(name)[1:]], found[name]) for name in outputs],
    }


def _tensor(name: str, shape: list[int], rows: list[Any]) -> dict[str, Any]:
    for _ in shape[1:]:
        rows = list(chain.from_iterable(rows))
    return {"name": name, "datatype": _datatype(name), "shape": shape, "data": rows}


def _outputs(asked: Any) -> tuple[str, ...]:
    """The names of the outputs asked for, the cheap ones if none."""
    if asked is None or asked == []:
        return OUTPUTS[:-1]
    if not isinstance(asked, list) or not all(isinstance(o, dict) and isinstance(o.get("name"), str) for o in asked):
        raise Refusal(400, 'outputs must be a list of {"name": ...}')
    names = tuple(o["name"] for o in asked)
    unknown = sorted(set(names) - set(OUTPUTS))
    if unknown or len(set(names)) < len(names):
        raise Refusal(400, f"outputs {sorted(names)[:8]} must be some of {list(OUTPUTS)}, none twice")
    return names


def _theta(inputs: Any, model: Model) -> Any:
    """The points of the one input tensor, whose data may be flat or nested."""
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, "inputs must be a list of one tensor, theta")
    tensor = inputs[0]
    if tensor.get("name") != "theta" or tensor.get("datatype") not in ("FP64", "FP32"):
        raise Refusal(400, "the one input is named theta, of datatype FP64 or FP32")
    shape, data, d = tensor.get("shape"), tensor.get("data"), model.d
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(s) is int and s >= 0 for s in shape):
        raise Refusal(400, f"the shape of theta must be [n, {d}]")
    if shape[1] != d or not isinstance(data, list):
        raise Refusal(400, f"theta has shape {shape}; expected [n, {d}] and its data as a list")
    if shape[0] > model.limits.rows:
        raise Refusal(413, f"theta holds {shape[0]} points, more than {model.limits.rows}; send fewer at once")
    if data and not isinstance(data[0], list):
        if len(data) != prod(shape):
            raise Refusal(400, f"theta holds {len(data)} numbers for shape {shape}")
        data = [data[i : i + d] for i in range(0, len(data), d)]
    if len(data) != shape[0]:
        raise Refusal(400, f"theta holds {len(data)} points for shape {shape}")
    return numbers(data, d, model.limits, "theta")
