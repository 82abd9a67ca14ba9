"""`model.hpp`: a published surrogate as one C++17 header without dependencies, weights and all.

    #include "toy_lhc.hpp"
    double value = dnnlik::toy_lhc::logpdf_and_gradient(theta, gradient);
    auto answer = dnnlik::toy_lhc::evaluate(theta);           // logpdf, error, spread, in_domain

For codes that cannot take a library on board. It is made from the checked `model.onnx` of a published folder, whenever
it is wanted, and holds the arrays of `Ensemble.arrays` to the last bit: float32 weights with nine digits, the rest with
seventeen. `header.hpp` beside this file is the mathematics of `ensemble.py` and `members.py` in C++.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .. import members
from ..ensemble import Ensemble, Output
from ..errors import ArtifactExists, ConfigError, MissingArtifact
from ..jsonfiles import read_json
from ..store import check_manifest, write_text
from .runtimes import OnnxModel

__all__ = ["MAX_WEIGHTS", "header", "write_header"]

MAX_WEIGHTS = 500_000
"""Numbers a header may hold: 6 MB of text, which a compiler reads in seconds."""
_CONSTANTS = {
    "selu_scale": members.SELU_SCALE,
    "selu_alpha": members.SELU_ALPHA,
    "gelu_rate": members.GELU_RATE,
    "gelu_cubic": members.GELU_CUBIC,
    "leaky_slope": members.LEAKY_SLOPE,
    "log_floor": members.LOG_FLOOR,
    "excess_knee": members.EXCESS_KNEE,
}


_TAKEN = frozenset(
    re.findall(
        r"\w+",
        """
        alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const
        const_cast consteval constexpr constinit continue co_await co_return co_yield decltype default delete do
        double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable
        namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
        reinterpret_cast requires return short signed sizeof static static_assert static_cast struct switch template
        this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t
        while xor xor_eq std linux unix NULL INFINITY NAN
        """,
    )
)
"""Words of C++ and its compilers that no namespace can be called."""


def _number(value: float, digits: int) -> str:
    if math.isfinite(value):
        return f"{value:.{digits}g}"
    return "-INFINITY" if value < 0 else "INFINITY"


def _array(kind: str, name: str, values: Any) -> str:
    """`inline const kind name[] = {...};`, row by row; C++ knows no empty array, so an empty one holds a zero."""
    flat = np.asarray(values).reshape(-1)
    if kind == "int":
        numbers: Iterable[str] = map(str, flat.tolist())
    else:
        digits = 9 if kind == "float" else 17
        numbers = (_number(v, digits) for v in flat.tolist())
    return f"inline const {kind} {name}[] = {{{','.join(numbers) or '0'}}};\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _comment(*words: str) -> str:
    r"""A line of comment, whatever the words: neither a line break nor a backslash at its end lets the next line in.

    >>> _comment("CC0\nint evil();", "a\\")
    '// CC0 int evil(); a.'
    """
    line = " ".join(" ".join(words).split()).encode("utf-8", "replace").decode()
    return f"// {line.rstrip(chr(92))}." if line.endswith(chr(92)) else f"// {line}"


def _namespace(name: str) -> str:
    """The model's name as an identifier.

    >>> _namespace("toy_lhc"), _namespace("2-leptons"), _namespace("double")
    ('toy_lhc', 'model_2_leptons', 'model_double')
    """
    word = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_")
    return word if word[:1].isalpha() and word not in _TAKEN else f"model_{word}"


def _member(k: int, member: members.Member) -> str:
    """Arrays and layers of one network."""
    text, rows = [], []
    for i, layer in enumerate(member.layers):
        name = f"{k}_{i}"
        text.append(_array("int", f"inputs_{name}", layer.inputs))
        text.append(_array("float", f"kernel_{name}", layer.kernel) + _array("float", f"bias_{name}", layer.bias))
        rows.append(
            f"    {{inputs_{name}, {len(layer.inputs)}, kernel_{name}, bias_{name}, {len(layer.bias)}, "
            f"Activation::{layer.activation}}},\n"
        )
    return f"{''.join(text)}inline const Layer layers_{k}[] = {{\n{''.join(rows)}}};\n"


def _head(h: int, output: Output) -> tuple[str, str]:
    """Arrays of one head, and its row in the table."""
    b, c = output.baseline, output.calibration
    arrays = {"linear": b.linear, "matrix": b.matrix, "edges": c.edges, "factors": c.factors, "limits": c.limits}
    text = "".join(_array("double", f"{name}_{h}", values) for name, values in arrays.items())
    numbers = ", ".join(_number(float(v), 17) for v in (b.constant, output.scale, c.floor))
    return text, f"    {{{numbers}, {', '.join(f'{name}_{h}' for name in arrays)}, {len(c.edges)}}},\n"


def _model(ensemble: Ensemble) -> str:
    """Everything between the types and the functions."""
    f, domain = ensemble.features, ensemble.domain
    text = [
        f"inline constexpr bool reparametrised = {str(ensemble.matrix is not None).lower()};\n",
        _array("double", "matrix", () if ensemble.matrix is None else ensemble.matrix),
        _array("double", "shift", f.shift),
        _array("double", "scale", f.scale),
        _array("int", "kink_columns", f.kink_columns),
        _array("double", "kink_values", f.kink_values),
        *(_array("double", name, getattr(domain, name)) for name in ("low", "high", "center", "whitening")),
        f"inline const double radius = {_number(float(domain.radius), 17)};\n",
        f"inline constexpr bool anchored = {str(ensemble.anchored).lower()};\n",
        *(_member(k, member) for k, member in enumerate(ensemble.members)),
    ]
    rows = []
    for k, member in enumerate(ensemble.members):
        rows.append(f"    {{layers_{k}, {len(member.layers)}, {str(member.expand).lower()}}},\n")
    text.append(f"inline const Member members[] = {{\n{''.join(rows)}}};\n")
    heads = [_head(h, output) for h, output in enumerate(ensemble.outputs)]
    text += [arrays for arrays, _ in heads]
    text.append(f"inline const Head heads[] = {{\n{''.join(row for _, row in heads)}}};\n")
    return "".join(text)


def header(ensemble: Ensemble, metadata: Mapping[str, Any]) -> str:
    """The text of the header.

    Args:
        ensemble: what it computes.
        metadata: `name`, `fingerprint`, `parameters` (each with a `name`), `licence` and `output` of metadata.json.

    Raises:
        ConfigError: more weights than a header can hold.
    """
    if ensemble.n_weights > MAX_WEIGHTS:
        raise ConfigError(
            f"{ensemble.n_weights} weights are too many for a header, which may hold {MAX_WEIGHTS}; read model.onnx "
            "with a library (examples/cpp), or publish a smaller network"
        )
    counts = {
        "n_parameters": ensemble.n_parameters,
        "n_coordinates": len(ensemble.features.shift),
        "n_heads": len(ensemble.outputs),
        "n_members": len(ensemble.members),
        "n_kinks": len(ensemble.features.kink_columns),
        "n_features": ensemble.features.width,
    }
    name = _namespace(metadata["name"])
    parameters = ", ".join(_text(p["name"]) for p in metadata["parameters"])
    heads = ", ".join(_text(output.name) for output in ensemble.outputs)
    lines = [
        _comment(f"{metadata['name']}:", metadata["output"]["definition"]),
        _comment(f"Licence {metadata['licence']}. Written by dnnlikelihood; do not edit."),
        "#pragma once",
        *(f"#include <{part}>" for part in ("algorithm", "array", "cmath", "cstddef", "utility", "vector")),
        f"\nnamespace dnnlik::{name} {{\n",
        f"inline constexpr const char* fingerprint = {_text(metadata['fingerprint'])};",
        *(f"inline constexpr std::size_t {key} = {value};" for key, value in counts.items()),
        f"inline constexpr const char* parameter_names[] = {{{parameters}}};",
        f"inline constexpr const char* head_names[] = {{{heads}}};",
        "\nnamespace detail {",
        *(f"inline constexpr float {key} = {_number(value, 9)};" for key, value in _CONSTANTS.items()),
        "}  // namespace detail\n",
    ]
    body = resources.files(__package__).joinpath("header.hpp").read_text("utf-8")
    return "\n".join(lines) + body.replace("@MODEL@", _model(ensemble)) + f"\n}}  // namespace dnnlik::{name}\n"


def write_header(folder: str | Path, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the header of a published model.

    Args:
        folder: a published model; its hashes are checked and its graph is.
        path: the header to write.
        overwrite: replace what is there.

    Raises:
        ArtifactExists: `path` exists and `overwrite` is False.
        ConfigError: the model is too large for a header.
        MissingArtifact, IntegrityError, CorruptFile, SafetyError, SchemaError: as `dnnlikelihood.open`.
    """
    folder, path = Path(folder), Path(path)
    if not folder.is_dir():
        raise MissingArtifact(f"{folder} is not a folder; expected a published model")
    if path.exists() and not overwrite:
        raise ArtifactExists(f"{path} exists and is not replaced; choose another file, or remove it")
    check_manifest(folder)
    metadata = read_json(folder / "metadata.json", "published")
    write_text(path, header(OnnxModel(folder / "model.onnx", threads=1).ensemble, metadata))
    return path
