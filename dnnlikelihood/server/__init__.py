"""Published models over HTTP, on ONNX Runtime: numbers with their error and their guard, and a page to look at them.

    dnnlikelihood.server.serve(["saved_models/toy_lhc"])        or        dnnlik serve saved_models/toy_lhc

    /                      a page: the card, sliders, logpdf with its error, profiles
    /v1/models/NAME        TensorFlow Serving's REST interface        (`tensorflow_serving`)
    /v2/models/NAME        Open Inference Protocol 2                  (`open_inference`)
    /models/NAME           metadata.json; /card, /profile             (`application`)
    /health  /openapi.json

It listens on the loopback interface; anywhere else it demands a token. It never writes, opens no file that a request
names, and keeps no state but profiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .limits import Limits

if TYPE_CHECKING:
    from .listening import read_token, serve

__all__ = ["Limits", "read_token", "serve"]


def __getattr__(name: str) -> Any:
    if name not in ("serve", "read_token"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from . import listening
    except ModuleNotFoundError as error:
        from ..errors import MissingDependency

        raise MissingDependency("this needs starlette and uvicorn: pip install 'dnnlikelihood[serve]'") from error
    return getattr(listening, name)
