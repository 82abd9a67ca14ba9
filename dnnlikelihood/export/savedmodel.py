r"""The surrogate as a SavedModel in the layout of TensorFlow Serving: `NAME/1/` with named signatures.

    serving_default, logpdf    theta -> logpdf
    logpdf_and_gradient        theta -> logpdf, gradient
    error                      theta -> error, spread, in_domain
    info                       -> info, the metadata as a JSON string

`assets.extra/tf_serving_warmup_requests` holds one request for each signature that takes points, which Serving answers
before it opens its doors: a TFRecord of PredictionLog messages (tensorflow/serving, apis/prediction_log.proto).

The module holds plain variables and no Keras object: those are restored in Python, but the session loader that Serving
and the C library use does not find them. Each weight is there once, shared by all signatures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..ensemble import Ensemble
from ..jsonfiles import canonical
from ..members import average
from ..networks.forward import heads_logpdf, in_domain, numbers, of_bin
from ..tracing import tensorflow

__all__ = ["file_system_errors", "write_saved_model"]


def _answers(ensemble: Ensemble, v: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """All outputs as tensors of theta, (n,) or with heads (n, H), from variables named as in `Ensemble.arrays`."""
    tf = tensorflow()
    members, known = heads_logpdf(ensemble, v), in_domain(v)

    def answers(theta: Any) -> dict[str, Any]:
        each = members(theta)
        logpdf, spread = average(each), tf.math.reduce_std(each, axis=1)
        error = of_bin(v, "calibration/factors", logpdf) * (spread + v["calibration/floor"])
        found = {"logpdf": logpdf, "spread": spread, "error": error}
        if not ensemble.heads:
            found = {name: value[:, 0] for name, value in found.items()}
        return {**found, "in_domain": known(theta, each)}

    return answers


def _message(**fields: bytes) -> bytes:
    """A protobuf message of length-delimited fields, given as _number=content."""
    out = b""
    for number, content in fields.items():
        length, n = b"", len(content)
        while n > 0x7F:
            length, n = length + bytes([n & 0x7F | 0x80]), n >> 7
        out += bytes([int(number[1:]) << 3 | 2]) + length + bytes([n]) + content
    return out


def _warm_up(folder: Path, name: str, theta: np.ndarray) -> None:
    """One Predict request a signature: PredictionLog.predict_log (6) . request (1) of model_spec (1) and inputs (2)."""
    tf = tensorflow()
    folder.mkdir()
    tensor = _message(_1=b"theta", _2=tf.make_tensor_proto(theta).SerializeToString())
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as file:
        for signature in ("serving_default", "logpdf", "logpdf_and_gradient", "error"):
            model = _message(_1=name.encode(), _3=signature.encode())
            file.write(_message(_6=_message(_1=_message(_1=model, _2=tensor))))


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Without the path of the temporary folder, which TensorFlow announces to notebooks."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def file_system_errors() -> Iterator[None]:
    """What the system refuses to TensorFlow (a full disk, a closed folder) as an OSError, as of all other files."""
    try:
        yield
    except tensorflow().errors.OpError as error:
        raise OSError(error.message) from error


def write_saved_model(ensemble: Ensemble, folder: Path, *, metadata: dict[str, Any]) -> None:
    """Write `folder` (.../NAME/1), which must not exist; `metadata` has the model's "name".

    Raises:
        MissingDependency: TensorFlow is not installed.
        OSError: the folder cannot be written.
    """
    tf = tensorflow()
    module = tf.Module()
    module.arrays = {name: tf.Variable(array, trainable=False) for name, array in numbers(ensemble).items()}
    answers = _answers(ensemble, module.arrays)
    text = canonical(metadata).decode()

    def pick(*names: str) -> Callable[[Any], dict[str, Any]]:
        return lambda theta: {name: value for name, value in answers(theta).items() if name in names}

    def logpdf_and_gradient(theta: Any) -> dict[str, Any]:
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(theta)
            value = answers(theta)["logpdf"]
            heads = tf.unstack(value, len(ensemble.heads), axis=1) if ensemble.heads else []
        slopes = [tape.gradient(head, theta) for head in heads]
        return {"logpdf": value, "gradient": tf.stack(slopes, axis=1) if heads else tape.gradient(value, theta)}

    points = [tf.TensorSpec([None, ensemble.n_parameters], tf.float64, name="theta")]
    module.logpdf = tf.function(pick("logpdf"), input_signature=points)
    module.logpdf_and_gradient = tf.function(logpdf_and_gradient, input_signature=points)
    module.error = tf.function(pick("error", "spread", "in_domain"), input_signature=points)
    module.info = tf.function(lambda: {"info": tf.constant(text)}, input_signature=[])
    signatures = {name: getattr(module, name) for name in ("logpdf", "logpdf_and_gradient", "error", "info")}
    with file_system_errors(), _quiet(tf.get_logger()):
        tf.saved_model.save(
            module,
            str(folder),
            signatures={"serving_default": module.logpdf, **signatures},
            options=tf.saved_model.SaveOptions(save_debug_info=False),
        )
        _warm_up(folder / "assets.extra", metadata["name"], np.atleast_2d(ensemble.hull.center))
