"""The HTTP application: which address answers what, to whom, and under which limits.

Answers are computed in a small pool of threads; the event loop only reads and writes. A request has to carry the token
if there is one. Without a token only names of this machine are answered to, so that no web page can reach a server on
the loopback interface under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import resources
from ipaddress import ip_address
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..export.card import model_card
from . import open_inference, tensorflow_serving
from .limits import Limits, Refusal, body
from .models import Model
from .profiles import MAX_POINTS, Profiles

__all__ = ["application"]

OPEN = ("/", "/health", "/openapi.json", "/v2/health/live", "/v2/health/ready")
"""What is answered without a token: nothing about the models."""
Predict = Callable[[Model, bytes, float], dict[str, Any]]


def application(models: Sequence[Model], limits: Limits, *, token: str | None = None) -> Starlette:
    """The ASGI application that serves these models."""
    service = _Service(models, limits, token)
    app = Starlette(
        routes=service.routes(),
        lifespan=service.lifespan,
        exception_handlers={HTTPException: _not_routed, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return app


class _Service:
    """The models, the threads that evaluate them, and the answers to requests."""

    def __init__(self, models: Sequence[Model], limits: Limits, token: str | None) -> None:
        self._models = {model.name: model for model in models}
        self._limits, self._token = limits, None if token is None else token.encode()
        self._threads = ThreadPoolExecutor(limits.threads, "answer")
        self._profiles = Profiles(limits.seconds)
        self._at_work = 0

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Ready from here on; at the end the threads are let go."""
        yield
        self._profiles.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def routes(self) -> list[Route]:
        """Address by address."""
        v1, v2 = tensorflow_serving, open_inference
        name = "/{name:str}"
        version = name + "/versions/{version:str}"
        table: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
            ("/", self._page, "GET"),
            ("/health", _always({"status": "ok"}), "GET"),
            ("/openapi.json", _static("openapi.json", "application/json"), "GET"),
            ("/v2", _always(v2.server()), "GET"),
            ("/v2/health/live", _always({"live": True}), "GET"),
            ("/v2/health/ready", _always({"ready": True}), "GET"),
            ("/v2/models", _always({"models": list(self._models)}), "GET"),
            ("/models/{name:str}", self._about(lambda m: {**m.likelihood.metadata}), "GET"),
            ("/models/{name:str}/card", self._card, "GET"),
            ("/models/{name:str}/profile", self._profile, "GET"),
        ]
        for which in (name, version):
            table += [
                (f"/v1/models{which}:predict", self._predicting(v1.predict), "POST"),
                (f"/v1/models{which}", self._about(v1.status), "GET"),
                (f"/v1/models{which}/metadata", self._about(v1.metadata), "GET"),
                (f"/v2/models{which}/infer", self._predicting(v2.infer), "POST"),
                (f"/v2/models{which}/ready", self._about(lambda m: {"name": m.name, "ready": True}), "GET"),
                (f"/v2/models{which}", self._about(v2.metadata), "GET"),
            ]
        return [Route(path, self._guarded(endpoint), methods=[method]) for path, endpoint, method in table]

    # Who may ask, and what ------------------------------------------------------------------------------------------

    def _guarded(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                self._admit(request)
                return await endpoint(request)
            except Refusal as refusal:
                return _json({"error": refusal.message}, refusal.status, refusal.headers)
            except ClientDisconnect:
                return _json({"error": "the client left before its request was complete"}, 400)

        return answer

    def _admit(self, request: Request) -> None:
        if self._token is None:
            if not _is_this_machine(request.headers.get("host", "")):
                raise Refusal(421, "this server answers to names of its own machine only; see --token-file")
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)
        if not right and request.url.path not in OPEN:
            message = "a token is needed: Authorization: Bearer TOKEN"
            raise Refusal(401, message, {"www-authenticate": "Bearer"})

    def _model(self, request: Request) -> Model:
        name, version = request.path_params["name"], request.path_params.get("version")
        model = self._models.get(name)
        if model is None or version not in (None, model.version):
            which = f"Latest({name[:100]})" if version is None else f"Specific({name[:100]}, {version[:20]})"
            raise Refusal(404, f"Servable not found for request: {which}")
        return model

    # Answers ---------------------------------------------------------------------------------------------------------

    def _predicting(self, predict: Predict) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            model, deadline = self._model(request), self._limits.deadline()
            if self._at_work >= self._limits.requests:
                message = f"{self._limits.requests} requests are at work; ask again"
                raise Refusal(429, message, {"retry-after": "1"})
            self._at_work += 1
            try:
                content = await body(request.headers, request.stream(), self._limits)
                text = await self._compute(predict, model, content, deadline)
            finally:
                self._at_work -= 1
            return Response(text, media_type="application/json", headers={"x-model-fingerprint": model.fingerprint})

        return answer

    async def _compute(self, predict: Predict, model: Model, content: bytes, deadline: float) -> bytes:
        def work() -> bytes:
            return json.dumps(predict(model, content, deadline), allow_nan=False, separators=(",", ":")).encode()

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _about(self, describe: Callable[[Model], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return _json(describe(self._model(request)))

        return answer

    async def _card(self, request: Request) -> Response:
        text = model_card(self._model(request).likelihood.metadata)
        return Response(text, media_type="text/markdown", headers=_SAFE)

    async def _profile(self, request: Request) -> Response:
        model, query = self._model(request), request.query_params
        n = query.get("points", "41")
        if not re.fullmatch(r"\d{1,3}", n) or not 2 <= int(n) <= MAX_POINTS:
            raise Refusal(400, f"points must be 2 ... {MAX_POINTS}")
        head = query.get("head", model.heads[0] if model.heads else "")
        return _json(await self._profiles.ask(model, query.get("parameter", ""), int(n), head))

    async def _page(self, _request: Request) -> Response:
        html, policy = _page_and_policy()
        return Response(html, media_type="text/html", headers={**_SAFE, "content-security-policy": policy})


def _is_this_machine(host: str) -> bool:
    """Whether a Host header names the loopback interface."""
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


_SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}


def _json(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Response(text, status, {**_SAFE, **(headers or {})}, "application/json")


def _always(value: Mapping[str, Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return _json(value)

    return answer


@lru_cache
def _file(name: str) -> bytes:
    return resources.files("dnnlikelihood.server").joinpath(name).read_bytes()


def _static(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return Response(_file(name), media_type=media_type, headers=_SAFE)

    return answer


@lru_cache
def _page_and_policy() -> tuple[bytes, str]:
    """The page, and a content security policy under which nothing but its own script runs and nothing else is asked."""
    html = _file("page.html")

    def hashes(tag: bytes) -> str:
        found = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), html, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in found)

    policy = (
        f"default-src 'none'; script-src {hashes(b'script')}; style-src {hashes(b'style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


async def _not_routed(request: Request, error: Exception) -> Response:
    """No such address, or not by this method; TensorFlow Serving calls both malformed."""
    status = getattr(error, "status_code", 404)
    where = f"{request.method} {request.url.path[:200]}"
    if request.url.path.startswith("/v1/"):
        return _json({"error": f"Malformed request: {where}"}, 400)
    return _json(
        {"error": f"{where}: {getattr(error, 'detail', 'not found')}"}, status, getattr(error, "headers", None)
    )


async def _failed(_request: Request, _error: Exception) -> Response:
    """What should not happen; uvicorn logs it."""
    return _json({"error": "the server failed to answer; its log says why"}, 500)
