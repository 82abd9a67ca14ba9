"""HistFactory workspaces as they come: read, checked, cut to the regions asked for.

A workspace is JSON in pyhf's schema (L. Heinrich, M. Feickert, G. Stark, JOSS 6 (2021) 2823): channels of samples with
modifiers, observations, measurements. pyhf checks it, once, when it comes in; afterwards it is trusted. Whatever is
wrong is said by name: pyhf's own words where they are clear, ours where the schema only knows "not valid under any".
"""

from __future__ import annotations

import gzip
import logging
import sys
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptFile, MissingArtifact, MissingDependency, ParameterError, SchemaError
from ..jsonfiles import MAX_BYTES, strict_loads

__all__ = [
    "LARGEST",
    "MODIFIERS",
    "Document",
    "Patch",
    "background_only",
    "check_version",
    "check_workspace",
    "measurement_of",
    "pyhf",
    "read_document",
    "regions",
    "unknown_modifier",
    "within_regions",
]

MODIFIERS = ("histosys", "lumi", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
LARGEST = sys.float_info.max
Document = Mapping[str, Any] | str | Path
Patch = Document | Sequence[Any]

logger = logging.getLogger(__name__)


def pyhf() -> Any:
    """pyhf, imported when it is needed.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import jsonpatch
        import pyhf
    except ModuleNotFoundError as error:
        raise MissingDependency("HistFactory workspaces need pyhf: pip install 'dnnlikelihood[histfactory]'") from error
    assert jsonpatch
    return pyhf


def read_document(source: Patch, what: str) -> Any:
    """A JSON document: as it is, from a file (`.gz` too), or from its text.

    Raises:
        MissingArtifact: no such file.
        CorruptFile, SchemaError: not JSON, or JSON with NaN, duplicate keys and the like.
    """
    if not isinstance(source, str | Path):
        return source
    if isinstance(source, str) and source.lstrip()[:1] in ("{", "["):
        return strict_loads(source, what)
    path = Path(source)
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise MissingArtifact(f"{what}: there is no file {path}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptFile(f"{what}: {path} cannot be read ({error})") from error
    return strict_loads(content, str(path))


def check_version(document: Mapping[str, Any], schema: str, where: str) -> None:
    """Raise SchemaError if a document says that it follows a version of a schema which pyhf does not know."""
    library = pyhf()
    version = document.get("version", library.schema.version)
    try:
        library.schema.load_schema(f"{version}/{schema}.json")
    except library.exceptions.SchemaNotFound as error:
        raise SchemaError(
            f"{where}: version {version!r} is none of pyhf's schema, which is at {library.schema.version!r}; upgrade "
            "pyhf if it is a newer one"
        ) from error


def check_workspace(document: Any) -> None:
    """Raise SchemaError unless this is a workspace that has a likelihood."""
    library = pyhf()
    if not isinstance(document, Mapping):
        raise SchemaError(f"a workspace is a JSON object, got {type(document).__name__}")
    unknown = unknown_modifier(document)
    if unknown:
        raise SchemaError(unknown)
    check_version(document, "workspace", "workspace")
    try:
        library.schema.validate(document, "workspace.json", version=document.get("version"))
    except library.exceptions.InvalidSpecification as error:
        raise SchemaError(f"not a workspace in pyhf's schema: {str(error).splitlines()[0]}") from error
    _check_sizes(document)
    _check_numbers(document)


def unknown_modifier(document: Mapping[str, Any]) -> str | None:
    """Names the first modifier that is unknown, if any; a document of another shape is left to the schema."""
    try:
        unknown = [
            (m["type"], m["name"], s["name"], c["name"])
            for c in document["channels"]
            for s in c["samples"]
            for m in s["modifiers"]
            if m["type"] not in MODIFIERS
        ]
    except (KeyError, TypeError):
        return None
    if not unknown:
        return None
    kind, name, sample, channel = unknown[0]
    known = ", ".join(MODIFIERS)
    return f"unknown modifier {kind!r} ({name!r} of sample {sample!r} in channel {channel!r}); known are {known}"


def _check_sizes(value: Any, where: str = "") -> None:
    """Raise SchemaError if there is an integer that is too large for floating point, which the schema lets pass."""
    if isinstance(value, Mapping | list | tuple):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check_sizes(inner, f"{where}/{key}")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise SchemaError(f"{where}: the number is beyond {LARGEST:.2g}, the largest that floating point has")


def _check_numbers(document: Mapping[str, Any]) -> None:
    """Bins that fit together, counts and total yields that are not negative, numbers that are."""
    observed = {o["name"]: np.asarray(o["data"], float) for o in document["observations"]}
    names = [c["name"] for c in document["channels"]]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice or sorted(observed) != sorted(names):
        raise SchemaError(f"channels {sorted(names)} and observations {sorted(observed)} must be the same, each once")
    for channel in document["channels"]:
        name, counts = channel["name"], observed[channel["name"]]
        total = np.zeros(len(counts))
        samples = Counter(s["name"] for s in channel["samples"])
        again = [s for s, n in samples.items() if n > 1]
        if again:
            raise SchemaError(f"channel {name!r} has {samples[again[0]]} samples {again[0]!r}; give each its own name")
        for sample in channel["samples"]:
            data = np.asarray(sample["data"], float)
            where = f"sample {sample['name']!r} of channel {name!r}"
            if data.shape != counts.shape:
                raise SchemaError(f"{where} has {len(data)} bins, its observation {len(counts)}")
            for modifier in sample["modifiers"]:
                _check_modifier(modifier, len(data), where)
            total += data
            if (data < 0).any():
                logger.warning("%s has negative yields %s", where, data[data < 0].tolist())
        bad = ~np.isfinite(counts) | (counts < 0) | ~np.isfinite(total) | (total < 0)
        if bad.any():
            i = int(np.argmax(bad))
            raise SchemaError(
                f"channel {name!r} bin {i}: observed {counts[i]}, yield of all samples {total[i]}; both must be "
                "numbers >= 0"
            )


def _check_modifier(modifier: Mapping[str, Any], bins: int, where: str) -> None:
    data: Any = modifier.get("data")
    kind = modifier["type"]
    where = f"{kind} {modifier['name']!r} of {where}"
    if kind == "normsys":
        if not all(0 < data[side] < np.inf for side in ("lo", "hi")):
            raise SchemaError(f"{where}: factors {data['lo']}, {data['hi']} must be numbers > 0")
        return
    arrays = () if data is None else (data["lo_data"], data["hi_data"]) if kind == "histosys" else (data,)
    for array in (np.asarray(a, float) for a in arrays):
        if array.shape != (bins,) or not np.isfinite(array).all():
            raise SchemaError(f"{where}: needs {bins} finite numbers, one a bin, got {array.tolist()[:8]}")
        if kind in ("shapesys", "staterror") and (array < 0).any():
            raise SchemaError(f"{where}: uncertainties {array.tolist()[:8]} must be >= 0")


# Regions and signals -----------------------------------------------------------------------------------------------


def measurement_of(workspace: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """The measurement of that name, the first one if None.

    Raises:
        SchemaError: there is none.
    """
    measurements = {m["name"]: m for m in workspace["measurements"]}
    if not measurements or (name is not None and name not in measurements):
        raise SchemaError(f"no measurement {name!r}; the workspace has {list(measurements)}")
    return measurements[name] if name is not None else workspace["measurements"][0]


def regions(workspace: Mapping[str, Any], signal_regions: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Names of the signal regions and of the control regions; channels that begin with "VR" are neither.

    Args:
        workspace: as `histfactory_patches.patched` returns it.
        signal_regions: names of channels; those that begin with "SR" if None.

    Raises:
        ParameterError: unknown names, or no signal region.
    """
    names = [c["name"] for c in workspace["channels"]]
    signal = [n for n in names if n.startswith("SR")] if signal_regions is None else list(signal_regions)
    unknown = sorted(set(signal) - set(names))
    if unknown or not signal:
        raise ParameterError(
            f"signal_regions {unknown or signal} are not channels of this workspace; it has {names}"
            + ("" if signal else ", of which none begins with 'SR': name them")
        )
    return signal, [n for n in names if n not in signal and not n.startswith("VR")]


def within_regions(workspace: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The workspace with those channels only."""
    return {
        **workspace,
        "channels": [c for c in workspace["channels"] if c["name"] in names],
        "observations": [o for o in workspace["observations"] if o["name"] in names],
    }


def background_only(workspace: Mapping[str, Any], poi: str) -> dict[str, Any]:
    """The workspace without its signal: the samples that the parameter of interest scales."""

    def is_signal(sample: Mapping[str, Any]) -> bool:
        return any(m["type"] == "normfactor" and m["name"] == poi for m in sample["modifiers"])

    channels = [{**c, "samples": [s for s in c["samples"] if not is_signal(s)]} for c in workspace["channels"]]
    empty = [c["name"] for c in channels if not c["samples"]]
    if empty:
        raise SchemaError(f"channels {empty} hold nothing but signal ({poi!r}); a background is needed")
    return {**workspace, "channels": channels}
