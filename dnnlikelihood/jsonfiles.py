"""JSON as the package writes and reads it: canonical out, strict in.

Reading refuses what Python's parser lets pass and other languages do not: NaN and infinities, duplicate keys,
numbers that overflow to infinity, thousands of digits, deep nesting and huge documents. Writing is canonical
(sorted keys, no spaces) where a fingerprint is taken, and indented where a person reads.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import CorruptFile, MissingArtifact, SchemaError

__all__ = ["canonical", "fingerprint", "pretty", "read_json", "strict_loads", "validate"]

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 100
MAX_DIGITS = 400
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A string, or what follows an open quote: a match that cannot fail takes no time to try again from every place."""


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays, tuples and paths as JSON knows them; non-finite numbers refused."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaError(f"{value} cannot be written as JSON; write null and say why in a neighbouring field")
    return value


def canonical(value: Any) -> bytes:
    """The one byte string that stands for a JSON value: sorted keys, no spaces, UTF-8."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pretty(value: Any) -> str:
    """The same value for people: two spaces of indent, keys in the order given."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n"


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON of a value.

    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(canonical(value)).hexdigest()


def strict_loads(text: str | bytes, where: str = "JSON text") -> Any:
    """Parse JSON, refusing what is not JSON or is built to do harm.

    Raises:
        CorruptFile: not UTF-8, or not JSON.
        SchemaError: NaN/Infinity, overflow, duplicate keys, too deep, too long.
    """
    if len(text) > MAX_BYTES:
        raise SchemaError(f"{where}: {len(text)} bytes, more than the {MAX_BYTES} that a document may have")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorruptFile(f"{where}: not UTF-8 ({error})") from error
    depth = longest = 0
    for bracket in re.finditer(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket.group() in "[{" else -1
        longest = max(longest, depth)
    if longest > MAX_DEPTH:
        raise SchemaError(f"{where}: nested {longest} deep, more than {MAX_DEPTH}")

    def no_constant(name: str) -> Any:
        raise SchemaError(f"{where}: {name} is not JSON; write null or a finite number")

    def finite(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise SchemaError(f"{where}: the number {digits[:20]} is too large")
        return value

    def whole(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise SchemaError(f"{where}: an integer of {len(digits)} digits, more than {MAX_DIGITS}")
        return int(digits)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) != len(pairs):
            twice = sorted(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
            raise SchemaError(f"{where}: duplicate keys {twice[:5]}")
        return out

    try:
        return json.loads(
            text, parse_constant=no_constant, parse_float=finite, parse_int=whole, object_pairs_hook=unique
        )
    except json.JSONDecodeError as error:
        raise CorruptFile(f"{where}: not JSON ({error})") from error


def read_json(path: Path, schema: str | None = None) -> Any:
    """Read a JSON file strictly and, if a schema is named, hold it against it."""
    try:
        if path.exists() and not path.is_file():
            raise CorruptFile(f"{path} is no file")
        if path.stat().st_size > MAX_BYTES:
            raise SchemaError(f"{path}: larger than {MAX_BYTES} bytes")
        value = strict_loads(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise MissingArtifact(f"{path} does not exist; is this the folder that was saved?") from error
    except OSError as error:
        if isinstance(error, CorruptFile):
            raise
        raise CorruptFile(f"{path} cannot be read ({error})") from error
    if schema is not None:
        validate(value, schema, str(path))
    return value


@lru_cache
def _schema(name: str) -> dict[str, Any]:
    text = resources.files("dnnlikelihood.schemas").joinpath(f"{name}.json").read_text("utf-8")
    return json.loads(text)


def validate(value: Any, schema: str, where: str) -> None:
    """Hold a value against `schemas/<schema>.json`.

    Raises:
        SchemaError: names the field, what stands there and what the schema asks for.
    """
    import jsonschema

    found = value.get("schema") if isinstance(value, dict) else None
    expected = _schema(schema)["properties"].get("schema", {}).get("const")
    if isinstance(found, str) and isinstance(expected, str) and found != expected:
        name, _, version = found.rpartition("/")
        if (
            name == expected.rpartition("/")[0]
            and version.isdigit()
            and int(version) > int(expected.rpartition("/")[2])
        ):
            raise SchemaError(f"{where}: written as {found}, this version reads {expected}; upgrade dnnlikelihood")
    errors = sorted(jsonschema.Draft202012Validator(_schema(schema)).iter_errors(value), key=lambda e: list(e.path))
    if errors:
        first = errors[0]
        place = "/".join(str(part) for part in first.path) or "the document"
        raise SchemaError(f"{where}: {place}: {first.message[:300]} (schema {schema}; {len(errors)} such errors)")
