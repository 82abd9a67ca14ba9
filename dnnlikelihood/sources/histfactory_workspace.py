"""HistFactory workspaces as they come: read, patched, checked, cut to the regions asked for.

A workspace is JSON in pyhf's schema (L. Heinrich, M. Feickert, G. Stark, JOSS 6 (2021) 2823): channels of samples with
modifiers, observations, measurements. pyhf checks it, once, when it comes in; afterwards it is trusted. Whatever is
wrong is said by name: pyhf's own words where they are clear, ours where the schema only knows "not valid under any".
"""

from __future__ import annotations

import gzip
import logging
import reprlib
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CorruptFile, MissingArtifact, MissingDependency, ParameterError, SchemaError
from ..jsonfiles import MAX_BYTES, strict_loads

__all__ = [
    "MODIFIERS",
    "Patch",
    "background_only",
    "measurement_of",
    "patched",
    "patches_of",
    "pyhf",
    "read_document",
    "regions",
    "signals_of",
    "steps_of",
    "within_regions",
]

MODIFIERS = ("histosys", "lumi", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
OPERATIONS = ("add", "copy", "move", "remove", "replace", "test")
"""Of a JSON patch, RFC 6902."""
LARGEST = sys.float_info.max
NUMBER = int | float | np.integer | np.floating
PATCH = (
    'a patch is a list of steps such as {"op": "add", "path": "/channels/0/samples/0", "value": {"name": "signal", '
    '"data": [one yield a bin], "modifiers": []}}'
)
PATCH_SET = f'a patch set is {{"patches": [{{"metadata": {{"name": ...}}, "patch": [...]}}, ...]}}, where {PATCH}'
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


def patched(workspace: Document, patch: Patch | None = None, patch_name: str | None = None) -> dict[str, Any]:
    """A workspace with a patch applied, checked by pyhf and by us.

    Args:
        workspace: path, JSON text or dict.
        patch: a JSON patch (RFC 6902), or a patch set; path, text or parsed.
        patch_name: which patch of a patch set.

    Raises:
        SchemaError: what is no workspace, holds numbers it must not, or a patch that does not fit it.
        MissingDependency: pyhf is not installed.
    """
    document = read_document(workspace, "workspace")
    if patch is not None:
        document = _apply(document, read_document(patch, "patch"), patch_name)
    elif patch_name is not None:
        raise SchemaError(f"patch_name {patch_name!r} without a patch set; give it as `patch`")
    _check(document)
    return document


def _apply(document: Any, patch: Any, name: str | None) -> Any:
    library = pyhf()
    import jsonpatch
    import jsonpointer

    if isinstance(patch, Mapping):
        patch = _of_set(library, document, patch, name)
    elif name is not None:
        raise SchemaError(f"patch_name {name!r} is for a patch set, but the patch is a single one")
    try:
        return jsonpatch.apply_patch(document, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise SchemaError(f"the patch does not fit this workspace: {error}") from error


def _of_set(library: Any, document: Any, patches: Mapping[str, Any], name: str | None) -> Any:
    """The operations of one patch of a set that was made for this workspace."""
    known = patches_of(patches)
    if name not in known:
        import difflib

        near = difflib.get_close_matches(str(name), list(known)) or list(known)[:5]
        raise SchemaError(f"no patch {name!r} among the {len(known)} of the patch set; there are {near} ...")
    for algorithm, digest in patches.get("metadata", {}).get("digests", {}).items():
        if library.utils.digest(document, algorithm=algorithm) != digest:
            raise SchemaError(
                f"the patch set was made for another workspace ({algorithm} {digest[:12]}... is not this one's)"
            )
    return known[name]


def patches_of(document: Any, where: str = "patch set") -> dict[str, list[Mapping[str, Any]]]:
    """The steps of every patch of a patch set, by its name.

    Args:
        document: the parsed patch set.
        where: what messages call it, its file say.

    Raises:
        SchemaError: something else; the message names the patch and the step.
    """
    patches = document.get("patches") if isinstance(document, Mapping) else None
    if not isinstance(patches, list) or not patches:
        kind = "a workspace" if isinstance(document, Mapping) and "channels" in document else reprlib.repr(document)
        raise SchemaError(f"{where}: no patches in {kind}; {PATCH_SET}")
    found: dict[str, list[Mapping[str, Any]]] = {}
    for i, patch in enumerate(patches):
        about = patch.get("metadata") if isinstance(patch, Mapping) else None
        name = about.get("name") if isinstance(about, Mapping) else None
        if not isinstance(name, str) or "patch" not in patch:
            raise SchemaError(f"{where}, patch {i}: needs metadata.name and patch; {PATCH_SET}")
        if name in found:
            raise SchemaError(f"{where}, patch {i}: there is another patch {name!r}; give each a name of its own")
        found[name] = steps_of(patch["patch"], f"{where}, patch {name!r}")
    return found


def steps_of(patch: Any, where: str) -> list[Mapping[str, Any]]:
    """The steps of one JSON patch.

    Raises:
        SchemaError: something else; the message says `where`, and which step.
    """
    if not isinstance(patch, list):
        raise SchemaError(f"{where}: {reprlib.repr(patch)} is no list; {PATCH}")
    for i, step in enumerate(patch):
        if not isinstance(step, Mapping) or not isinstance(step.get("path"), str) or step.get("op") not in OPERATIONS:
            raise SchemaError(
                f"{where}, step {i}: {reprlib.repr(step)} needs a path and an op, one of {', '.join(OPERATIONS)}; "
                f"{PATCH}"
            )
    return patch


def _check(document: Any) -> None:
    """Raise SchemaError unless this is a workspace that has a likelihood."""
    library = pyhf()
    _check_modifiers(document)
    try:
        library.schema.validate(document, "workspace.json", version=document.get("version"))
    except (library.exceptions.InvalidSpecification, library.exceptions.SchemaNotFound) as error:
        raise SchemaError(f"not a workspace in pyhf's schema: {str(error).splitlines()[0]}") from error
    _check_numbers(document)


def _check_modifiers(document: Any) -> None:
    """Names the modifier that is unknown; a document of another shape is left to the schema."""
    if not isinstance(document, Mapping):
        raise SchemaError(f"a workspace is a JSON object, got {type(document).__name__}")
    try:
        unknown = [
            (m["type"], m["name"], s["name"], c["name"])
            for c in document["channels"]
            for s in c["samples"]
            for m in s["modifiers"]
            if m["type"] not in MODIFIERS
        ]
    except (KeyError, TypeError):
        return
    if unknown:
        kind, name, sample, channel = unknown[0]
        raise SchemaError(
            f"unknown modifier {kind!r} ({name!r} of sample {sample!r} in channel {channel!r}); "
            f"known are {', '.join(MODIFIERS)}"
        )


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
        workspace: as `patched` returns it.
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


def signals_of(patches: Patch, workspace: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (d,) yields) of every patch: the data of the samples that it adds, region by region, summed.

    Where a patch says "add to channel 3", channel 3 is that of the workspace before it was cut. Signals of regions
    that are not among `names` are left out; what a patch says about systematics is not used.

    Args:
        patches: a patch set, or a mapping from names to JSON patches.
        workspace: the one they were made for.
        names: `<channel>-<bin>` of every input.

    Raises:
        SchemaError: what is no patch, adds no sample, or does not fit the workspace; the message names patch and step.
    """
    document = read_document(patches, "patch set")
    if isinstance(document, Mapping) and "patches" not in document:
        known = {name: steps_of(patch, f"patch {name!r}") for name, patch in document.items()}
    else:
        known = patches_of(document)
    for name, steps in known.items():
        total = _added(steps, workspace, f"patch {name!r}")
        yields = {f"{channel}-{i}": float(y) for channel, data in total.items() for i, y in enumerate(data)}
        yield name, np.array([yields.get(n, 0.0) for n in names])


def _added(steps: Sequence[Mapping[str, Any]], workspace: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """Yields of the samples that a patch adds, summed, by channel."""
    width = {c["name"]: len(c["samples"][0]["data"]) for c in workspace["channels"]}
    channels, total = list(width), dict[str, np.ndarray]()
    for i, step in enumerate(steps):
        parts = step["path"].strip("/").split("/")
        adds = step["op"] == "add" and len(parts) == 4 and (parts[0], parts[2]) == ("channels", "samples")
        if step["op"] == "add" and len(parts) == 2 and parts[0] == "channels":
            raise SchemaError(
                f"{where}, step {i}: adds a channel, of which the workspace has no background; give the workspace that "
                "has it, or leave the step out"
            )
        if not adds and not (step["op"] == "remove" and len(parts) == 2 and parts[0] == "channels"):
            continue
        numbered = {str(number): name for number, name in enumerate(channels)}
        if parts[1] not in numbered:
            raise SchemaError(
                f"{where}, step {i}: {step['path']!r} is of a channel that is not there, the workspace has "
                f"{len(channels)} at this step ({', '.join(channels)}); was the patch made for another workspace?"
            )
        channel = numbered[parts[1]]
        if not adds:
            channels.remove(channel)
            continue
        value = step.get("value")
        data = value.get("data") if isinstance(value, Mapping) else None
        if not _are_yields(data, width[channel]):
            raise SchemaError(
                f"{where}, step {i}: {channel!r} has {width[channel]} bins, and so many finite numbers must be the "
                f"data of the sample, got {reprlib.repr(data)}; {PATCH}"
            )
        total[channel] = total.get(channel, 0.0) + np.asarray(data, float)
    if not total:
        raise SchemaError(f"{where} adds no sample to a channel, so it holds no signal; {PATCH}")
    return total


def _are_yields(data: Any, bins: int) -> bool:
    """Whether these are so many finite numbers; text is none, nor are true and false."""
    if not isinstance(data, list | tuple | np.ndarray) or len(data) != bins:
        return False
    values: Iterable[Any] = data
    return all(isinstance(y, NUMBER) and not isinstance(y, bool) and -LARGEST <= y <= LARGEST for y in values)
