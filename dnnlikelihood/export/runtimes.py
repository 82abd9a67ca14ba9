"""The runtimes a published surrogate is evaluated on, each a callable theta (n, d) -> {output: array}.

`OnnxModel`      onnxruntime, with or without the gradient; what readers use.
`SavedModel`     TensorFlow's session loader, the one that TF Serving and its C library have.
`KerasModel`     `model.keras`, the ensemble as it was trained.
`read_ensemble`  the arrays inside an ONNX file, for NumPy alone.

A file is material from a stranger. An ONNX file is loaded only after it was found to hold nothing but the operators the
writer uses, one input and the known outputs, all data inside, and shapes of sane size; its metadata is read as JSON and
nothing else. A `.keras` file may not inflate beyond a limit, and Keras refuses code in it. A SavedModel is a program:
whoever calls `SavedModel` trusts it.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..ensemble import Ensemble
from ..errors import CorruptFile, MissingArtifact, MissingDependency, SafetyError, SchemaError
from ..jsonfiles import strict_loads
from ..tracing import tensorflow
from .onnx_graph import METADATA_KEY, OPSET, OUTPUTS
from .onnx_nodes import onnx_package

__all__ = [
    *("OPERATORS", "Answers", "KerasModel", "OnnxModel", "SavedModel"),
    *("check_onnx", "metadata_keys", "read_ensemble"),
]

Answers = dict[str, np.ndarray]

OPERATORS = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "MatMul", "Gemm"),
        *("Abs", "Sqrt", "Exp", "Log", "Sigmoid", "Tanh", "Relu", "LeakyRelu", "Selu", "Gelu"),
        *("Greater", "GreaterOrEqual", "LessOrEqual", "And", "Where"),
        *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"),
        *("Cast", "Concat", "Gather", "Reshape", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    )
)
"""Every operator a published graph may have."""

MAX_FILE_BYTES = 256 * 1024 * 1024
DEFLATE_RATIO = 1032
"""No byte of a compressed entry inflates to more."""
MAX_NODES = 5000
MAX_WIDTH = 1_000_000
"""Numbers a row may have in any intermediate result."""
ROWS = 256
"""Rows evaluated at once, so that the layers of one member stay in the cache."""


# ONNX: looking before loading ----------------------------------------------------------------------------------------


def _contents(path: Path) -> bytes:
    if not path.is_file():  # a folder, a pipe or a device neither
        raise MissingArtifact(f"{path} is no file; is this a published model?")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise SafetyError(f"{path}: larger than the {MAX_FILE_BYTES} bytes a published model may have")
    return path.read_bytes()


def _refuse_foreign(model: Any, where: str) -> None:
    """Functions, foreign operators, subgraphs, data outside the file: none of them belongs in a surrogate."""
    tensors = [*model.graph.initializer]
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise SafetyError(f"{where}: holds functions, training graphs or sparse tensors, which a surrogate never has")
    if len(model.graph.node) > MAX_NODES:
        raise SafetyError(f"{where}: {len(model.graph.node)} nodes, more than {MAX_NODES}")
    kinds = onnx_package().AttributeProto
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            operator = f"{node.domain or 'ai.onnx'}.{node.op_type}"
            raise SafetyError(f"{where}: operator {operator} is not one a surrogate is made of")
        if any(a.type not in (kinds.INT, kinds.INTS, kinds.FLOAT, kinds.STRING) for a in node.attribute):
            raise SafetyError(f"{where}: node {node.name!r} carries a tensor or a graph as an attribute")
    if any(t.data_location != t.DEFAULT or t.external_data for t in tensors):
        raise SafetyError(f"{where}: keeps data in another file; a published model is one file")


def _check_interface(model: Any, where: str) -> None:
    """One input theta double [*, d]; the known outputs, of the known types and ranks, all with heads or none."""
    types = onnx_package().TensorProto

    def signature(value: Any) -> tuple[int, int]:
        return value.type.tensor_type.elem_type, len(value.type.tensor_type.shape.dim)

    inputs = {v.name: signature(v) for v in model.graph.input}
    shape = [d.dim_value for v in model.graph.input for d in v.type.tensor_type.shape.dim]
    if inputs != {"theta": (types.DOUBLE, 2)} or shape[0] != 0 or shape[1] < 1:
        raise SchemaError(f"{where}: its inputs are {sorted(inputs)}; expected one, theta double [batch, d]")
    outputs = {v.name: signature(v) for v in model.graph.output}
    rank = 2 if outputs.get("logpdf") == (types.DOUBLE, 2) else 1  # with heads, or without
    expected = {name: (types.BOOL, 1) if name == "in_domain" else (types.DOUBLE, rank) for name in OUTPUTS}
    if outputs not in (expected, {**expected, "gradient": (types.DOUBLE, rank + 1)}):
        raise SchemaError(f"{where}: its outputs are {sorted(outputs)}; expected {sorted(expected)} of the known types")
    versions = {o.domain: o.version for o in model.opset_import}
    if set(versions) - {"", "ai.onnx"} or max(versions.values(), default=0) > OPSET:
        raise SchemaError(f"{where}: needs operator sets {versions}, this version reads up to {OPSET}; upgrade")


def _check_shapes(model: Any, where: str) -> None:
    """Refuse what does not fit together, and widths that a few doublings could blow up."""
    onnx = onnx_package()
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise CorruptFile(f"{where}: not a valid ONNX graph ({str(error).splitlines()[0][:200]})") from error
    for value in inferred.graph.value_info:
        width = int(np.prod([float(d.dim_value or 1) for d in value.type.tensor_type.shape.dim]))
        if width > MAX_WIDTH:
            raise SafetyError(f"{where}: {value.name!r} has {width} numbers a row, more than {MAX_WIDTH}")


def _metadata(model: Any, where: str) -> dict[str, Any]:
    keys = [p.key for p in model.metadata_props]
    if keys != [METADATA_KEY]:
        raise SchemaError(f"{where}: metadata keys {keys[:5]}; expected one, {METADATA_KEY!r}")
    found = strict_loads(model.metadata_props[0].value, f"{where}: metadata")
    if not isinstance(found, dict) or not isinstance(found.get("activations"), list):
        raise SchemaError(f"{where}: its metadata is not that of a surrogate")
    return found


def _parsed(data: bytes, where: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return onnx_package().load_model_from_string(data)
    except DecodeError as error:
        raise CorruptFile(f"{where}: not an ONNX file ({error})") from error


def metadata_keys(path: Path) -> list[str]:
    """Names of the metadata of any ONNX file, which tell whose it is; nothing else is looked at.

    Raises:
        MissingArtifact, SafetyError, CorruptFile: no file, too large a file, no ONNX file.
    """
    return [p.key for p in _parsed(_contents(path), str(path)).metadata_props]


def check_onnx(data: bytes, where: str) -> tuple[Any, dict[str, Any]]:
    """Parse an ONNX file and hold it against everything a published surrogate is; returns model and metadata.

    Raises:
        CorruptFile: not ONNX, or a graph that does not fit together.
        SafetyError: foreign operators, external data, subgraphs, absurd sizes.
        SchemaError: other inputs, outputs, ranks or metadata than ours.
    """
    model = _parsed(data, where)
    _refuse_foreign(model, where)
    _check_interface(model, where)
    metadata = _metadata(model, where)
    _check_shapes(model, where)
    return model, metadata


def read_ensemble(model: Any, metadata: dict[str, Any]) -> Ensemble:
    """The ensemble whose arrays a checked ONNX model holds.

    Raises:
        CorruptFile: arrays are missing.
    """
    arrays = {t.name: onnx_package().numpy_helper.to_array(t) for t in model.graph.initializer}
    empty = {
        "features/kink_columns": np.zeros(0, int),
        "features/kink_values": np.zeros(0),
        "calibration/edges": np.zeros(0),
    }
    form = {f"members/{k}/activation": a for k, a in enumerate(metadata["activations"])}
    form |= {key: metadata[key] for key in ("heads", "anchored") if key in metadata}
    try:
        return Ensemble.from_arrays({**empty, **arrays, **form})
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"the graph does not hold the arrays of an ensemble: {error}") from error


class OnnxModel:
    """One checked ONNX file on onnxruntime.

    Each thread takes whole chunks of rows: threads that share one chunk wait for each other after every operator,
    which costs a quarter of the speed on an idle machine and most of it on a busy one.

    Args:
        path: the file.
        threads: how many chunks are evaluated at once; one a core if None.

    Raises:
        MissingDependency: onnxruntime is not installed.
        CorruptFile, SafetyError, SchemaError: see `check_onnx`.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingDependency("this needs onnxruntime: pip install 'dnnlikelihood[onnx]'") from error
        self.path = path
        data = _contents(path)
        self._model, self.metadata = check_onnx(data, str(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own exceptions have no common name
            raise CorruptFile(f"{path}: onnxruntime refuses it ({str(error).splitlines()[0][:200]})") from error
        self._names = [output.name for output in self._session.get_outputs()]
        self._threads = threads or os.cpu_count() or 1

    @property
    def n_parameters(self) -> int:
        """The width d of theta."""
        return int(self._model.graph.input[0].type.tensor_type.shape.dim[1].dim_value)

    @cached_property
    def ensemble(self) -> Ensemble:
        """The arrays in the file."""
        return read_ensemble(self._model, self.metadata)

    def __call__(self, theta: np.ndarray) -> Answers:
        """(n, d) -> logpdf, error, in_domain, spread (n,), and gradient (n, d) if the graph has it."""
        theta = np.ascontiguousarray(theta, np.float64)
        chunks = [theta[i : i + ROWS] for i in range(0, max(len(theta), 1), ROWS)]
        if len(chunks) == 1 or self._threads == 1:
            parts = [self._run(chunk) for chunk in chunks]
        else:
            parts = list(self._pool.map(self._run, chunks))
        if len(parts) == 1:
            return dict(zip(self._names, parts[0], strict=True))
        return {name: np.concatenate(pieces) for name, *pieces in zip(self._names, *parts, strict=True)}

    def _run(self, theta: np.ndarray) -> list[np.ndarray]:
        return self._session.run(self._names, {"theta": theta})

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, "onnx")


# TensorFlow and Keras ------------------------------------------------------------------------------------------------


class SavedModel:
    """A SavedModel through the session loader; a program, so only for those who trust its author."""

    def __init__(self, folder: Path) -> None:
        tf = tensorflow()
        if not (folder / "saved_model.pb").is_file():
            raise MissingArtifact(f"{folder} holds no saved_model.pb; is this a SavedModel?")
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        level = tf.get_logger().level
        tf.get_logger().setLevel("ERROR")  # the loader is marked as deprecated; it is also the one that counts
        try:
            with self._session.graph.as_default():
                self._signatures = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder)).signature_def
        except (tf.errors.OpError, RuntimeError, ValueError, OSError) as error:
            raise CorruptFile(f"{folder}: the session loader refuses it ({str(error).splitlines()[0]})") from error
        finally:
            tf.get_logger().setLevel(level)

    @property
    def signatures(self) -> tuple[str, ...]:
        """What can be asked."""
        return tuple(sorted(name for name in self._signatures if not name.startswith("__")))

    def run(self, signature: str, theta: np.ndarray | None = None) -> dict[str, Any]:
        """Ask one signature; `theta` (n, d) unless it takes nothing."""
        definition = self._signatures[signature]
        feed = {tensor.name: theta for tensor in definition.inputs.values()}
        return self._session.run({name: tensor.name for name, tensor in definition.outputs.items()}, feed)

    def __call__(self, theta: np.ndarray) -> Answers:
        """All outputs of all numeric signatures."""
        return {**self.run("error", theta), **self.run("logpdf_and_gradient", theta)}


class KerasModel:
    """`model.keras`: theta (n, d) -> logpdf and spread (n,) of the members (n, K)."""

    def __init__(self, path: Path) -> None:
        self._check(path)
        tensorflow()
        try:
            from ..networks.backend import keras
            from ..networks.layers import Features  # noqa: F401 - registers the fixed layers
        except ModuleNotFoundError as error:
            raise MissingDependency("this needs Keras: pip install 'dnnlikelihood[train]'") from error
        try:
            self._model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise CorruptFile(f"{path}: Keras refuses it ({str(error).splitlines()[0][:200]})") from error

    @staticmethod
    def _check(path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except FileNotFoundError as error:
            raise MissingArtifact(f"{path} does not exist") from error
        except (zipfile.BadZipFile, OSError) as error:
            raise CorruptFile(f"{path}: not a .keras file ({error})") from error
        for entry in entries:
            name = PurePosixPath(entry.filename)
            if name.is_absolute() or ".." in name.parts:
                raise SafetyError(f"{path}: its entry {entry.filename!r} leaves the folder")

        def size(entry: zipfile.ZipInfo) -> int:  # Keras stores without compression; a compressed entry may lie
            packed = entry.compress_type != zipfile.ZIP_STORED
            return max(entry.file_size, DEFLATE_RATIO * entry.compress_size if packed else 0)

        small = sum(size(e) for e in entries if e.filename.endswith(".json"))
        if sum(map(size, entries)) > MAX_FILE_BYTES or small > MAX_FILE_BYTES // 16:
            raise SafetyError(f"{path}: inflates beyond what a published model may have")

    def __call__(self, theta: np.ndarray) -> Answers:
        """Mean and standard deviation over the members."""
        members = np.asarray(self._model(theta), float)
        return {"logpdf": members.mean(axis=1), "spread": members.std(axis=1)}
