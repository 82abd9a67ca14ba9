"""What one request may cost, and how a request is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from ..config import Config, require

__all__ = ["Limits", "Refusal", "body"]

DRAINED = 8
"""A body is read, and thrown away, up to so many times its limit: most clients listen only when they have sent all."""
SAID = 500
"""Characters of an error message; a request of megabytes is not sent back."""
_CLOSE = {"connection": "close"}


class Refusal(Exception):
    """A request that is answered with an HTTP status and `{"error": message}`.

    Messages quote the request: so much of it that a person finds the place, and nothing that UTF-8 cannot say.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        message = message.encode("utf-8", "backslashreplace").decode()
        super().__init__(message)
        self.message = message if len(message) <= SAID else f"{message[:SAID]} ..."
        self.status, self.headers = status, dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Config):
    """What one request may cost.

    Attributes:
        body_bytes: of a request; beyond it 413.
        rows: points of a request; beyond it 413.
        seconds: a header or body has to arrive (408) and an answer to be computed (503).
        requests: read or computed at once; beyond it 429.
        connections: open at once; beyond it 503.
        threads: requests computed at once, each on one core.
    """

    body_bytes: int = 8 * 1024 * 1024
    rows: int = 100_000
    seconds: float = 30.0
    requests: int = 64
    connections: int = 1024
    threads: int = 2

    def validate(self) -> None:
        """All of them are positive."""
        for name, value in self.to_json().items():
            require(value > 0, f"{name} must be > 0, got {value!r}")

    def deadline(self) -> float:
        """When a request that begins now has to be answered, on time.monotonic's clock."""
        return time.monotonic() + self.seconds


def _check_kind(headers: Mapping[str, str]) -> None:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "a compressed body is not read; send plain JSON")
    if "inference-header-content-length" in headers:
        raise Refusal(415, "the binary tensor extension is not spoken here; send the data as JSON")


async def body(headers: Mapping[str, str], stream: AsyncIterator[bytes], limits: Limits) -> bytes:
    """The whole body of a request.

    Raises:
        Refusal: 413 too long, 408 too slow, 415 in an encoding that is not read.
    """
    _check_kind(headers)
    pieces, length = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for piece in stream:
                length += len(piece)
                if length <= limits.body_bytes:
                    pieces.append(piece)
                elif length > DRAINED * limits.body_bytes:
                    break
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {limits.seconds:g} s", _CLOSE) from None
    if length > limits.body_bytes:
        raise Refusal(413, f"the body is longer than {limits.body_bytes} bytes; send fewer points at once", _CLOSE)
    return b"".join(pieces)
