"""Whatever is wrong with a request is said in one sentence with the right status, and the server lives on."""

import json
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from serving import Client, eventually, running

from dnnlikelihood.errors import ConfigError, IntegrityError, MissingArtifact, SafetyError
from dnnlikelihood.server import Limits, read_token, serve
from dnnlikelihood.server.listening import listen, load

V1, V2 = "/v1/models/gaussian-3:predict", "/v2/models/gaussian-3/infer"
POINT = [0.5, -1.0, 0.2]
GOOD = {"instances": [POINT]}


def tensor(**changes):
    whole = {"name": "theta", "shape": [1, 3], "datatype": "FP64", "data": POINT, **changes}
    return {"inputs": [{name: value for name, value in whole.items() if value is not None}]}


BODIES = {
    "nothing": (V1, "", "not JSON"),
    "torn": (V1, '{"instances": [[0.5, -1.0', "not JSON"),
    "not UTF-8": (V1, b'{"instances": "\xff"}', "not UTF-8"),
    "NaN": (V1, '{"instances": [[NaN, 0, 0]]}', "NaN is not JSON"),
    "Infinity": (V1, '{"instances": [[-Infinity, 0, 0]]}', "Infinity is not JSON"),
    "overflow": (V1, '{"instances": [[1e999, 0, 0]]}', "too large"),
    "huge integer": (V1, '{"instances": [[1' + "0" * 350 + ", 0, 0]]}", "no float64"),
    "integer of 5000 digits": (V1, '{"instances": [[' + "9" * 5000 + ", 0, 0]]}", "digits"),
    "duplicate keys": (V1, '{"instances": [[0, 0, 0]], "instances": [[1, 1, 1]]}', "duplicate keys"),
    "deep": (V1, "[" * 100_000 + "]" * 100_000, "nested"),
    "open string": (V1, '{"a": "' + '\\"' * 100_000, "not JSON"),
    "a list": (V1, "[[0.5, -1.0, 0.2]]", "not an object"),
    "Python": (V1, "__import__('os').system('true')", "not JSON"),
    "a form": (V1, "instances=1", "not JSON"),
    "no points": (V1, {}, "one of 'instances' and 'inputs'"),
    "both": (V1, {**GOOD, "inputs": [POINT]}, "one of 'instances' and 'inputs'"),
    "unknown key": (V1, {**GOOD, "modle": 1}, "unknown keys ['modle']"),
    "unknown signature": (V1, {**GOOD, "signature_name": "logpdg"}, 'Serving signature name: "logpdg" not found'),
    "signature of another type": (V1, {**GOOD, "signature_name": ["logpdf"]}, "Serving signature name"),
    "signature that is false": (V1, {**GOOD, "signature_name": False}, "Serving signature name"),
    "half a character": (V1, '{"signature_name": "\\ud800"}', 'Serving signature name: "\\ud800" not found'),
    "unknown policy": (V1, {**GOOD, "outside": "extrapolate"}, "'null' (the default) or 'value'"),
    "a number": (V1, {"instances": 1}, "must be a list of points"),
    "one point, not a list of one": (V1, {"instances": POINT}, "instances[0] is float"),
    "too few": (V1, {"instances": [POINT, [0.5, -1.0]]}, "instances[1] is 2 entries"),
    "a string": (V1, {"instances": [[0.5, "-1.0", 0.2]]}, "instances[0][1] is '-1.0', not a number"),
    "true": (V1, {"instances": [[True, 0, 0]]}, "not a number"),
    "null": (V1, {"instances": [[None, 0, 0]]}, "not a number"),
    "deeper": (V1, {"instances": [[[0.5, -1.0, 0.2]]]}, "instances[0] is 1 entries"),
    "base64": (V1, {"instances": [{"b64": "AAAA"}]}, "the one input is 'theta'"),
    "wrong input": (V1, {"inputs": {"features": [POINT]}}, "the one input is 'theta'"),
    "v2: nothing": (V2, {}, "list of one tensor"),
    "v2: unknown key": (V2, {**tensor(), "instances": 1}, "unknown keys"),
    "v2: two tensors": (V2, {"inputs": tensor()["inputs"] * 2}, "list of one tensor"),
    "v2: name": (V2, tensor(name="x"), "named theta"),
    "v2: datatype": (V2, tensor(datatype="INT32"), "FP64 or FP32"),
    "v2: no shape": (V2, tensor(shape=None), "shape of theta"),
    "v2: rank": (V2, tensor(shape=[3]), "shape of theta"),
    "v2: negative": (V2, tensor(shape=[-1, 3]), "shape of theta"),
    "v2: true": (V2, tensor(shape=[True, 3]), "shape of theta"),
    "v2: width": (V2, tensor(shape=[1, 4]), "has shape [1, 4]"),
    "v2: too few numbers": (V2, tensor(shape=[2, 3]), "holds 3 numbers for shape [2, 3]"),
    "v2: too few rows": (V2, tensor(shape=[2, 3], data=[POINT]), "holds 1 points for shape [2, 3]"),
    "v2: text": (V2, tensor(data=["a", "b", "c"]), "not a number"),
    "v2: null": (V2, tensor(data=[None, 0, 0]), "not a number"),
    "v2: id": (V2, {**tensor(), "id": 7}, "id must be a string"),
    "v2: parameters": (V2, {**tensor(), "parameters": []}, "parameters must be an object"),
    "v2: unknown output": (V2, {**tensor(), "outputs": [{"name": "logits"}]}, "must be some of"),
    "v2: output twice": (V2, {**tensor(), "outputs": [{"name": "logpdf"}] * 2}, "none twice"),
    "v2: outputs": (V2, {**tensor(), "outputs": ["logpdf"]}, "outputs must be a list"),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_bodies_that_are_no_request(client, case):
    path, content, message = BODIES[case]
    status, answer = client.post(path, content)
    assert (status, list(answer)) == (400, ["error"])
    assert message in answer["error"]
    assert client.good(V1, GOOD)["in_domain"] == [True], "the same connection goes on"


@pytest.mark.parametrize("key", ["signature_name", "outside", "x" * 1_000_000])
def test_a_request_is_not_sent_back(client, key):
    status, answer = client.post(V1, {**GOOD, key: "y" * 1_000_000})
    assert status == 400
    assert len(answer["error"]) < 600


ADDRESSES = {
    ("GET", "/v1/models/nobody"): (404, "Servable not found for request: Latest(nobody)"),
    ("POST", "/v1/models/nobody:predict"): (404, "Servable not found"),
    ("POST", "/v1/models/gaussian-3/versions/2:predict"): (404, "Specific(gaussian-3, 2)"),
    ("GET", "/v2/models/nobody"): (404, "Servable not found"),
    ("POST", "/v2/models/nobody/infer"): (404, "Servable not found"),
    ("GET", "/models/nobody/card"): (404, "Servable not found"),
    ("POST", "/v1/models/gaussian-3:classify"): (400, "Malformed request: POST /v1/models/gaussian-3:classify"),
    ("GET", "/v1/nothing"): (400, "Malformed request"),
    ("DELETE", "/v1/models/gaussian-3"): (400, "Malformed request"),
    ("GET", "/v2/models/gaussian-3/infer"): (405, "Method Not Allowed"),
    ("GET", "/nothing"): (404, "Not Found"),
    ("GET", "/models/../../../etc/passwd"): (404, "Not Found"),
    ("GET", "/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd"): (404, ""),
    ("GET", "/models/gaussian-3/profile"): (404, "no parameter ''"),
    ("GET", "/models/gaussian-3/profile?parameter=mu"): (404, "no parameter 'mu'"),
    ("GET", "/models/gaussian-3/profile?parameter=x0&points=1e9"): (400, "points must be 2 ... 101"),
    ("GET", "/models/gaussian-3/profile?parameter=x0&points=102"): (400, "points must be 2 ... 101"),
    ("GET", "/models/gaussian-3/profile?parameter=x0&head=expected"): (404, "head"),
}


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_addresses_that_are_none(client, method, path):
    expected, message = ADDRESSES[method, path]
    status, _, content = client.raw(method, path, "{}" if method == "POST" else None)
    assert status == expected
    assert message in json.loads(content)["error"]


# Limits --------------------------------------------------------------------------------------------------------------


def rows(n):
    return {"instances": [POINT] * n}


def test_a_body_that_is_too_long(models):
    with running(models, Limits(body_bytes=10_000)) as client:
        status, answer = client.post(V1, rows(1000))
        assert status == 413
        assert "longer than 10000 bytes" in answer["error"]
        pieces = (b" " * 1000 for _ in range(30))
        assert client.raw("POST", V1, pieces)[0] == 413, "chunked, of no announced length"
        assert client.good(V1, GOOD)


def test_a_body_without_end(models):
    """Is not read to its end: the answer comes, or the line is cut, long before."""
    with (
        running(models, Limits(body_bytes=10_000)) as client,
        socket.create_connection(("127.0.0.1", client.port)) as s,
    ):
        s.settimeout(10)
        s.sendall(f"POST {V1} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**12}\r\n\r\n".encode())
        sent = 0
        try:
            while sent < 50_000_000:
                sent += s.send(b" " * 65536)
        except OSError:
            pass
        assert sent < 50_000_000
        assert client.good(V1, GOOD)


def test_too_many_rows(models):
    with running(models, Limits(rows=100)) as client:
        assert client.good(V1, rows(100))
        assert client.post(V1, rows(101))[0] == 413
        big = tensor(shape=[101, 3], data=POINT * 101)
        assert client.post(V2, big)[0] == 413


def test_an_answer_that_takes_too_long(models):
    with running(models, Limits(seconds=0.3, body_bytes=64_000_000)) as client:
        status, headers, content = client.raw("POST", "/v1/models/toy_lhc:predict", _toy_body(models, 30_000))
        assert status in (408, 503), content
        assert status == 408 or headers["retry-after"] == "1"
        assert client.good(V1, GOOD)


def _toy_body(models, n):
    center = models[1].likelihood.domain.center.round(3).tolist()
    return json.dumps({"signature_name": "logpdf_and_gradient", "instances": [center] * n})


def test_the_clock_is_looked_at_between_blocks(models):
    from dnnlikelihood.server.limits import Refusal
    from dnnlikelihood.server.models import Question

    with pytest.raises(Refusal, match="not answered within"):
        models[0].answer(Question(np.zeros((1, 3))), time.monotonic() - 1)


def slow(port, *, header):
    """What a connection hears that says a little and then nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        whole = f"POST {V1} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{{"
        s.sendall((whole[:30] if header else whole).encode())
        start, heard = time.monotonic(), b""
        while piece := s.recv(4096):
            heard += piece
        return heard, time.monotonic() - start


def test_a_body_and_a_header_that_do_not_come(models):
    with running(models, Limits(seconds=0.5)) as client:
        heard, waited = slow(client.port, header=False)
        assert heard.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 0.5 s" in heard
        assert waited < 5
        heard, waited = slow(client.port, header=True)
        assert heard == b"", "nobody to answer"
        assert waited < 5
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as s:
            assert s.recv(1) == b"", "not a word is a late header too"


def test_too_many_requests_at_once(models):
    with running(models, Limits(requests=1)) as client, socket.create_connection(("127.0.0.1", client.port)) as held:
        held.sendall(f"POST {V1} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n".encode())
        assert eventually(lambda: client.post(V1, GOOD)[0], 429) == 429
        _, headers, content = client.raw("POST", V1, json.dumps(GOOD))
        assert headers["retry-after"] == "1"
        assert "ask again" in json.loads(content)["error"]
        assert client.good("/health") == {"status": "ok"}
        held.close()
        assert eventually(lambda: client.post(V1, GOOD)[0], 200) == 200, "a client that left gives its place back"


def test_too_many_connections(models):
    with running(models, Limits(connections=3)) as client:
        others = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(5)]
        assert eventually(lambda: client.raw("GET", "/health")[0], 503) == 503
        for other in others:
            other.close()
        assert eventually(lambda: client.raw("GET", "/health")[0], 200) == 200


@pytest.mark.parametrize(
    ("headers", "message"),
    [({"Content-Encoding": "gzip"}, "compressed"), ({"Inference-Header-Content-Length": "10"}, "binary")],
)
def test_encodings_that_are_not_read(client, headers, message):
    status, answer = client.post(V1, GOOD, headers=headers)
    assert status == 415
    assert message in answer["error"]


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET / SPAM/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
        b"\r\n" * 100_000,
    ],
    ids=["TLS", "version", "length", "lengths", "long header", "many headers", "blanks"],
)
def test_what_is_no_http(client, noise):
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as s:
        try:
            s.sendall(noise)
            s.shutdown(socket.SHUT_WR)
            heard = s.recv(4096)
        except OSError:  # it hung up before it had heard all
            heard = b""
    assert not heard or heard.startswith(b"HTTP/1.1 400")
    assert client.good(V1, GOOD)


# Who may ask ---------------------------------------------------------------------------------------------------------

TOKEN = "correct-horse-battery-staple"


def test_a_token(models):
    with running(models, token=TOKEN) as client:
        assert client.good(V1, GOOD)
        for wrong in (None, "", "correct-horse-battery-stapl", TOKEN + "x", TOKEN.upper(), "ä" * 20):
            headers = {} if wrong is None else {"Authorization": f"Bearer {wrong}".encode()}
            client.token = None
            for method, path in (("POST", V1), ("POST", V2), ("GET", "/v2/models"), ("GET", "/models/gaussian-3/card")):
                status, found, content = client.raw(method, path, json.dumps(GOOD), headers)
                assert status == 401
                assert found["www-authenticate"] == "Bearer"
                assert TOKEN not in content.decode()
        for path in ("/", "/health", "/openapi.json", "/v2/health/live", "/v2/health/ready"):
            status, _, content = client.raw("GET", path)
            assert status == 200
            assert b"gaussian-3" not in content, "nothing about the models"
        status, _, _ = client.raw("GET", "/v2/models", headers={"Authorization": f"Basic {TOKEN}"})
        assert status == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8501", "192.0.2.1", "localhost.evil.example", ""])
def test_another_name_for_this_machine(client, host):
    """A page of evil.example whose name now points to 127.0.0.1 (DNS rebinding) is not answered."""
    status, answer = client.get("/v2/models", headers={"Host": host})
    assert status == 421
    assert "own machine" in answer["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8501", "127.0.0.1", "127.8.0.1:80", "[::1]:8501"])
def test_names_of_this_machine(client, host):
    assert client.get("/v2/models", headers={"Host": host})[0] == 200


def test_no_token_no_open_door(gaussian):
    for host in ("0.0.0.0", "::"):
        with pytest.raises(ConfigError, match="a token is required"):
            serve([gaussian], host=host, port=0)


def test_addresses_nobody_has(gaussian):
    with pytest.raises(ConfigError, match="no address of this machine"):
        serve([gaussian], host="no such host")
    with listen("127.0.0.1", 0, token=None) as taken, pytest.raises(ConfigError, match="another --port"):
        serve([gaussian], port=taken.getsockname()[1])


def test_tokens_that_are_none(tmp_path, monkeypatch):
    monkeypatch.delenv("DNNLIKELIHOOD_TOKEN", raising=False)
    assert read_token() is None
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    for bad in ("", "short", "with a blank in the middle", "ünïcödé-ünïcödé-ünïcödé", "new\nline-new-line-new"):
        (tmp_path / "bad").write_text(bad, "utf-8")
        with pytest.raises(SafetyError, match="visible ASCII"):
            read_token(tmp_path / "bad")
    with pytest.raises(MissingArtifact):
        read_token(tmp_path / "none")
    monkeypatch.setenv("DNNLIKELIHOOD_TOKEN", TOKEN + "-of-the-environment")
    assert read_token() == TOKEN + "-of-the-environment"
    assert read_token(tmp_path / "token") == TOKEN, "what is given counts"


# Models and limits that are none -------------------------------------------------------------------------------------


def test_models_that_are_not_served(gaussian, tmp_path):
    with pytest.raises(ConfigError, match="both named 'gaussian-3'"):
        load([gaussian, gaussian], Limits())
    with pytest.raises(MissingArtifact):
        load([tmp_path / "nothing"], Limits())
    copy = shutil.copytree(gaussian, tmp_path / "copy")
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError):
        load([copy], Limits())


def test_limits_are_positive():
    for name in ("body_bytes", "rows", "requests", "connections", "threads"):
        with pytest.raises(ConfigError, match=name):
            Limits(**{name: 0})
    with pytest.raises(ConfigError, match="seconds"):
        Limits(seconds=-1.0)


def test_requests_side_by_side(client, models):
    """Eight clients at once get each their own numbers."""
    expected = models[0].likelihood
    wrong = []

    def ask(seed):
        mine = Client(client.port)
        rng = np.random.default_rng(seed)
        for _ in range(40):
            theta = rng.normal([0.5, -1.0, 0.2], 0.3, size=(rng.integers(1, 5), 3))
            found = mine.good(V1, {"instances": theta.tolist()})["predictions"]
            if not np.allclose(found, expected.answers(theta)["logpdf"], rtol=0, atol=1e-12):
                wrong.append(theta)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count open files")
def test_no_file_stays_open(client):
    def n_open():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = n_open()
    for _ in range(50):
        client.post(V1, "nonsense")
        client.good(V1, GOOD)
    assert n_open() <= before + 2
