"""Servers on a free port of the loopback interface, and a client that asks them over a real socket."""

import http.client
import json
import threading
import time
from contextlib import contextmanager

from dnnlikelihood.server import Limits
from dnnlikelihood.server.listening import listen, server


class Client:
    """One keep-alive connection."""

    def __init__(self, port, token=None):
        self.port, self.token = port, token
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def raw(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        authorization = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        self._connection.request(method, path, body, {**authorization, **(headers or {})})
        answer = self._connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def get(self, path, **options):
        status, _, content = self.raw("GET", path, **options)
        return status, json.loads(content)

    def post(self, path, body, **options):
        body = body if isinstance(body, str | bytes) else json.dumps(body)
        status, _, content = self.raw("POST", path, body, **options)
        return status, json.loads(content)

    def good(self, path, body=None):
        """The answer to a request that must succeed."""
        status, answer = self.get(path) if body is None else self.post(path, body)
        assert status == 200, answer
        return answer


@contextmanager
def running(models, limits=None, token=None):
    """A Client of a server that runs in a thread, and that has ended cleanly afterwards."""
    limits = limits or Limits()
    for model in models:
        model.limits = limits
    runner = server(models, limits, token=token)
    with listen("127.0.0.1", 0, token=token) as socket:
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [socket]})
        thread.start()
        while not runner.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield Client(socket.getsockname()[1], token)
        finally:  # a test that failed must not leave a thread that Python waits for
            runner.should_exit = True
            thread.join(10)
        assert not thread.is_alive()


def eventually(found, expected, seconds=10.0):
    """Ask until the answer is the expected one; the last answer when the time is up."""
    end = time.monotonic() + seconds
    while (answer := found()) != expected and time.monotonic() < end:
        time.sleep(0.02)
    return answer
