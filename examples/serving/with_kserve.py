"""A published model on KServe's model server and ONNX Runtime, without TensorFlow.

    pip install kserve onnxruntime
    python with_kserve.py FOLDER [--http_port 8080] [--enable_grpc false]

POST /v1/models/NAME:predict {"instances": [[...], ...]} -> {"predictions": [{"logpdf": ..., "error": ..., ...}, ...]}
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from kserve import InferRequest, Model, ModelServer, model_server
from kserve.errors import InvalidInput


class Published(Model):
    """All outputs of model_gradient.onnx, row by row."""

    def __init__(self, folder: Path) -> None:
        super().__init__(json.loads((folder / "metadata.json").read_text("utf-8"))["name"])
        self._session = onnxruntime.InferenceSession(str(folder / "model_gradient.onnx"))
        self._names = [output.name for output in self._session.get_outputs()]
        self._width = self._session.get_inputs()[0].shape[1]
        self.ready = True

    async def predict(
        self, payload: dict[str, Any] | InferRequest, headers: Any = None, response_headers: Any = None
    ) -> dict[str, Any]:
        """Answer a request of the v1 protocol."""
        try:
            theta = np.array(payload["instances"], np.float64)
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidInput(f"instances: {error}") from error
        if theta.ndim != 2 or theta.shape[1] != self._width or not np.isfinite(theta).all():
            raise InvalidInput(f"instances: expected rows of {self._width} finite numbers")
        answers = [answer.tolist() for answer in self._session.run(self._names, {"theta": theta})]
        return {"predictions": [dict(zip(self._names, row, strict=True)) for row in zip(*answers, strict=True)]}


if __name__ == "__main__":
    model_server.parser.add_argument("folder", type=Path, help="a published model")
    arguments, _ = model_server.parser.parse_known_args()
    ModelServer().start([Published(arguments.folder)])
