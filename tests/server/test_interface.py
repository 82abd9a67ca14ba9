"""What the server says about itself: protocols, OpenAPI, the page's own safety, and how the process begins and ends."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib import resources

import jsonschema
import pytest
from serving import Client

from dnnlikelihood.server import Limits
from dnnlikelihood.server.application import application

POINT = [0.5, -1.0, 0.2]
NAME = "/v1/models/gaussian-3"


@pytest.fixture(scope="module")
def openapi(client):
    return client.good("/openapi.json")


def holds(openapi, schema, value):
    document = {"$ref": f"#/components/schemas/{schema}", "components": openapi["components"]}
    jsonschema.Draft202012Validator(document).validate(value)


def test_every_address_is_in_the_document(models, openapi):
    routes = application(models, Limits()).routes
    served = {(re.sub(r":str}", "}", r.path), method) for r in routes for method in r.methods - {"HEAD"}}
    documented = {(path, method.upper()) for path, methods in openapi["paths"].items() for method in methods}
    assert served == documented


def test_questions_and_answers_follow_the_document(client, openapi):
    gradient = {"signature_name": "logpdf_and_gradient", "instances": [POINT], "outside": "value"}
    for request in ({"instances": [{"theta": POINT}]}, {"inputs": {"theta": [POINT]}}, gradient):
        holds(openapi, "TfRequest", request)
        holds(openapi, "TfAnswer", client.good(f"{NAME}:predict", request))
    tensor = {"name": "theta", "shape": [1, 3], "datatype": "FP64", "data": POINT}
    request = {"inputs": [tensor], "outputs": [{"name": "gradient"}], "parameters": {"outside": "value"}}
    holds(openapi, "OipRequest", request)
    holds(openapi, "OipAnswer", client.good("/v2/models/gaussian-3/infer", request))
    holds(openapi, "OipMetadata", client.good("/v2/models/gaussian-3"))
    holds(openapi, "TfStatus", client.good(NAME))
    holds(openapi, "Profile", client.good("/models/gaussian-3/profile?parameter=x0&points=5"))
    holds(openapi, "Error", client.post(f"{NAME}:predict", "{}")[1])
    with pytest.raises(jsonschema.ValidationError):
        holds(openapi, "TfRequest", {"instances": [POINT], "inputs": [POINT]})


def test_tensorflow_serving_s_view(client, models):
    assert client.good(NAME)["model_version_status"][0]["state"] == "AVAILABLE"
    found = client.good(f"{NAME}/versions/1/metadata")
    assert found["model_spec"] == {"name": "gaussian-3", "signature_name": "", "version": "1"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "logpdf", "logpdf_and_gradient", "error", "info"}
    gradient = signatures["logpdf_and_gradient"]["outputs"]["gradient"]
    assert gradient["dtype"] == "DT_DOUBLE"
    assert [dim["size"] for dim in gradient["tensor_shape"]["dim"]] == ["-1", "3"]
    assert found["metadata"]["published"]["fingerprint"] == models[0].fingerprint


def test_the_open_inference_protocol_s_view(client):
    assert client.good("/v2")["name"] == "dnnlikelihood"
    assert client.good("/v2/health/live") == {"live": True}
    assert client.good("/v2/health/ready") == {"ready": True}
    assert client.good("/v2/models") == {"models": ["gaussian-3", "toy_lhc"]}
    assert client.good("/v2/models/toy_lhc/ready") == {"name": "toy_lhc", "ready": True}
    found = client.good("/v2/models/toy_lhc/versions/1")
    assert found["inputs"] == [{"name": "theta", "datatype": "FP64", "shape": [-1, 95]}]
    assert {o["name"]: (o["datatype"], o["shape"]) for o in found["outputs"]} == {
        "logpdf": ("FP64", [-1]), "error": ("FP64", [-1]), "in_domain": ("BOOL", [-1]), "spread": ("FP64", [-1]),
        "gradient": ("FP64", [-1, 95]),
    }  # fmt: skip


def test_the_signatures_are_those_of_the_saved_model(client, models):
    """The SavedModel in the folder, as TensorFlow Serving would show it."""
    pytest.importorskip("tensorflow")
    from dnnlikelihood.export.runtimes import SavedModel

    found = client.good("/v1/models/toy_lhc/metadata")["metadata"]["signature_def"]["signature_def"]
    saved = SavedModel(models[1].likelihood.folder / "saved_model" / "1")
    assert set(saved.signatures) == set(found)
    for name in found:
        outputs = saved._signatures[name].outputs
        assert set(outputs) == set(found[name]["outputs"])
        dims = {key: [str(d.size) for d in value.tensor_shape.dim] for key, value in outputs.items()}
        assert dims == {
            key: [d["size"] for d in value["tensor_shape"]["dim"]] for key, value in found[name]["outputs"].items()
        }


def test_documents_of_a_model(client, models):
    assert client.good("/models/toy_lhc") == models[1].likelihood.metadata
    _, headers, card = client.raw("GET", "/models/toy_lhc/card")
    assert headers["content-type"].startswith("text/markdown")
    assert card.decode().startswith("# toy_lhc")


def test_answers_say_whose_they_are(client, models):
    _, headers, _ = client.raw("POST", f"{NAME}:predict", json.dumps({"instances": [POINT]}))
    assert headers["x-model-fingerprint"] == models[0].fingerprint
    assert headers["content-type"] == "application/json"
    assert "server" not in headers


def test_the_page_runs_its_own_script_and_no_other(client):
    _, headers, html = client.raw("GET", "/")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", html.decode()) == [], "nothing is fetched elsewhere"
    assert not re.search(r"\son\w+=|style=|innerHTML|eval\(", html.decode()), "what the policy would refuse"
    assert headers["x-content-type-options"] == "nosniff"


def started(*arguments, **environment):
    command = [sys.executable, "-m", "dnnlikelihood", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    heard = ""
    while not heard.startswith("page"):
        heard = process.stderr.readline()
        assert heard or process.poll() is None
    return process, int(heard.rstrip("/\n").rpartition(":")[2])


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_when_told(gaussian, end):
    process, port = started(gaussian, DNNLIKELIHOOD_TOKEN="a-token-of-the-environment")
    client = Client(port, "a-token-of-the-environment")
    assert client.post(f"{NAME}:predict", {"instances": [POINT]})[0] == 200
    assert Client(port).get("/v2/models")[0] == 401
    process.send_signal(end)
    out, err = process.communicate(timeout=15)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_command_needs_neither_tensorflow_nor_keras(gaussian):
    script = (
        "import sys\nfrom dnnlikelihood.server.listening import load\nfrom dnnlikelihood.server import Limits\n"
        f"from dnnlikelihood.server.application import application\nmodels = load([{str(gaussian)!r}], Limits())\n"
        "application(models, Limits())\n"
        "sys.exit(', '.join({'tensorflow', 'keras', 'matplotlib', 'scipy.stats'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_are_in_the_package():
    for name in ("page.html", "openapi.json"):
        assert resources.files("dnnlikelihood.server").joinpath(name).read_bytes()
