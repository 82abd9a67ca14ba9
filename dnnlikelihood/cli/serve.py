"""`dnnlik serve`: published models over HTTP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .command import Command, Report

if TYPE_CHECKING:
    from ..server.models import Model

__all__ = ["serve"]

_PATH = click.Path(path_type=Path)


@click.command(
    cls=Command,
    short_help="Serve published models over HTTP, with a page.",
    example="dnnlik serve saved_models/toy_lhc\n"
    "  curl -d '{\"instances\": [[...]]}' localhost:8501/v1/models/toy_lhc:predict",
)
@click.argument("folders", type=_PATH, nargs=-1, required=True, metavar="FOLDER...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any that is free.")
@click.option("--token-file", type=_PATH, help="Clients must show what is in it; or set DNNLIKELIHOOD_TOKEN.")
@click.option("--body-bytes", type=int, default=8 * 1024 * 1024, show_default=True, help="Longest request.")
@click.option("--rows", type=int, default=100_000, show_default=True, help="Most points of a request.")
@click.option("--seconds", type=float, default=30.0, show_default=True, help="Longest wait for a body or an answer.")
@click.option("--requests", type=int, default=64, show_default=True, help="Most requests at once.")
@click.option("--threads", type=int, help="Requests computed at once.  [default: one a core]")
def serve(
    folders: Sequence[Path],
    host: str,
    port: int,
    token_file: Path | None,
    body_bytes: int,
    rows: int,
    seconds: float,
    requests: int,
    threads: int | None,
) -> Report:
    """Serve published models: a page at /, TensorFlow Serving's REST interface at /v1, Open Inference Protocol at /v2.

    Only this machine is answered unless a token is set. SIGTERM or Ctrl-C ends it after the requests at work.
    """
    from .. import server

    limits = server.Limits(
        body_bytes=body_bytes, rows=rows, seconds=seconds, requests=requests, threads=threads or os.cpu_count() or 1
    )

    def announce(address: str, models: Sequence[Model]) -> None:
        for model in models:
            click.echo(f"{model.name}  {model.fingerprint[:16]}  {address}/v1/models/{model.name}:predict", err=True)
        click.echo(f"page  {address}/", err=True)

    token = server.read_token(token_file)
    server.serve(folders, host=host, port=port, token=token, limits=limits, announce=announce)
    return Report({"served": [str(folder) for folder in folders]})
