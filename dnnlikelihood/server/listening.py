"""The socket, the token and the process: `serve` runs until it is told to end, then finishes what it has begun."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import ConfigError, MissingArtifact, SafetyError
from ..published import open as open_published
from .application import application
from .limits import Limits
from .models import Model

__all__ = ["TOKEN_VARIABLE", "listen", "load", "read_token", "serve", "server"]

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "DNNLIKELIHOOD_TOKEN"
MIN_TOKEN = 16


def read_token(file: Path | None = None) -> str | None:
    """The token that clients must show: the content of a file, else of the environment variable, else none.

    Raises:
        MissingArtifact: no such file. SafetyError: a token that is short or has blanks in it.
    """
    if file is None and TOKEN_VARIABLE not in os.environ:
        return None
    try:
        token = (os.environ[TOKEN_VARIABLE] if file is None else file.read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingArtifact(f"the token file {file} cannot be read ({error})") from error
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        where = TOKEN_VARIABLE if file is None else file
        raise SafetyError(
            f"the token in {where} must be {MIN_TOKEN} or more visible ASCII characters; make one: openssl rand -hex 32"
        )
    return token


def load(folders: Sequence[str | Path], limits: Limits) -> list[Model]:
    """Open and warm up published models.

    Raises:
        ConfigError: two of the same name. As `dnnlikelihood.open` for each.
    """
    models: dict[str, Model] = {}
    for folder in folders:
        model = Model(open_published(folder, threads=1), limits)
        if model.name in models:
            raise ConfigError(
                f"{folder} and {models[model.name].likelihood.folder} are both named {model.name!r}; serve one of them"
            )
        model.warm_up()
        models[model.name] = model
    return list(models.values())


def listen(host: str, port: int, *, token: str | None) -> socket.socket:
    """A listening socket; beyond the loopback interface only with a token."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{host!r} is no address of this machine ({error})") from error
    if token is None and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise ConfigError(
            f"{host} can be reached from elsewhere: a token is required there; give --token-file or {TOKEN_VARIABLE}"
        )
    # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer waits 40 ms for an acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(512)
        return listening
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --port"
        ) from error


class _Punctual(H11Protocol):
    """HTTP/1.1 whose request lines and headers have to arrive in time, which uvicorn leaves open."""

    seconds: float
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_header()
        else:
            self._no_longer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_longer()
        super().connection_lost(exc)

    def _expect_header(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.seconds, self.transport.close)

    def _no_longer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def server(models: Sequence[Model], limits: Limits, *, token: str | None = None) -> uvicorn.Server:
    """The uvicorn server of these models, to be run on a listening socket."""
    protocol = type("Punctual", (_Punctual,), {"seconds": limits.seconds})
    settings: dict[str, Any] = {
        "http": protocol,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_config": None,
        "log_level": "error",
        "server_header": False,
        "proxy_headers": False,
        "limit_concurrency": limits.connections,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": int(limits.seconds) + 1,
    }
    return uvicorn.Server(uvicorn.Config(application(models, limits, token=token), **settings))


def serve(
    folders: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    token: str | None = None,
    limits: Limits | None = None,
    announce: Callable[[str, Sequence[Model]], None] | None = None,
) -> None:
    """Serve published models until SIGINT or SIGTERM; what has begun is then finished.

    Args:
        folders: what `publish` wrote.
        host: the address to listen on.
        port: 0 for any that is free.
        token: what clients must show; required beyond the loopback interface.
        limits: what a request may cost.
        announce: told the address and the models once requests are answered.

    Raises:
        ConfigError: an address that cannot be had, or one reachable from elsewhere without a token.
    """
    limits = limits or Limits(threads=os.cpu_count() or 1)
    with listen(host, port, token=token) as listening:
        models = load(folders, limits)
        runner = server(models, limits, token=token)
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if announce is not None:
                name, number = listening.getsockname()[:2]
                announce(f"http://{f'[{name}]' if ':' in name else name}:{number}", models)
            runner.run(sockets=[listening])
        except KeyboardInterrupt:
            logger.info("ended on request")
        finally:
            signal.signal(signal.SIGTERM, before)
