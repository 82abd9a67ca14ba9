"""Patches of HistFactory workspaces: read, applied, and the signals that they add.

A patch is JSON (RFC 6902), alone or one of a patch set as pyhf defines it. A signal is read without applying its patch:
the yields of the samples that it adds, nothing else.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import SchemaError
from .histfactory_workspace import (
    LARGEST,
    Document,
    Patch,
    check_version,
    check_workspace,
    pyhf,
    read_document,
    unknown_modifier,
)

__all__ = ["changes_samples", "patched", "patches_of", "signals_of", "steps_of"]

OPERATIONS = ("add", "copy", "move", "remove", "replace", "test")
"""Of a JSON patch, RFC 6902."""
DIGESTS = ("md5", "sha256")
"""By which a patch set may name its workspace."""
NUMBER = int | float | np.integer | np.floating
PATCH = (
    'a patch is a list of steps such as {"op": "add", "path": "/channels/0/samples/0", "value": {"name": "signal", '
    '"data": [one yield a bin], "modifiers": []}}'
)
PATCH_SET = f'a patch set is {{"patches": [{{"metadata": {{"name": ...}}, "patch": [...]}}, ...]}}, where {PATCH}'


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
    check_workspace(document)
    return document


def _apply(document: Any, patch: Any, name: str | None) -> Any:
    pyhf()
    import jsonpatch
    import jsonpointer

    if isinstance(patch, Mapping):
        patch = _of_set(document, patch, name)
    elif name is not None:
        raise SchemaError(f"patch_name {name!r} is for a patch set, but the patch is a single one")
    try:
        return jsonpatch.apply_patch(document, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise SchemaError(f"the patch does not fit this workspace: {error}") from error


def _of_set(document: Any, patches: Mapping[str, Any], name: str | None) -> Any:
    """The operations of one patch of a set that was made for this workspace."""
    known = patches_of(patches)
    if name not in known:
        import difflib

        near = difflib.get_close_matches(str(name), list(known)) or list(known)[:5]
        raise SchemaError(f"no patch {name!r} among the {len(known)} of the patch set; there are {near} ...")
    _check_digests(patches, document)
    return known[name]


def _check_digests(patches: Mapping[str, Any], workspace: Any) -> None:
    """Raise SchemaError if a patch set says that it was made for another workspace."""
    about = patches.get("metadata", {})
    digests = about.get("digests", {}) if isinstance(about, Mapping) else None
    if not isinstance(digests, Mapping) or not set(digests) <= set(DIGESTS):
        raise SchemaError(
            f'the metadata of a patch set name its workspace as {{"digests": {{"sha256": ...}}}}, md5 or sha256; '
            f"got {reprlib.repr(about)}"
        )
    for algorithm, digest in digests.items():
        if pyhf().utils.digest(workspace, algorithm=algorithm) != digest:
            raise SchemaError(
                f"the patch set was made for another workspace ({algorithm} {str(digest)[:12]}... is not this one's); "
                "give the one that it was published with, as it is and with no patch applied"
            )


def patches_of(document: Any, where: str = "patch set") -> dict[str, list[Mapping[str, Any]]]:
    """The steps of every patch of a patch set, by its name.

    Args:
        document: the parsed patch set.
        where: what messages call it, its file say.

    Raises:
        SchemaError: something else, or of a version that pyhf does not know; the message names the patch and the step.
    """
    patches = document.get("patches") if isinstance(document, Mapping) else None
    if not isinstance(patches, list) or not patches:
        kind = "a workspace" if isinstance(document, Mapping) and "channels" in document else reprlib.repr(document)
        raise SchemaError(f"{where}: no patches in {kind}; {PATCH_SET}")
    check_version(document, "patchset", where)
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


def changes_samples(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a patch does more to channels than to remove some, which is all that one without signal does."""
    return any(_touches_channels(step) and (step["op"], step["path"].count("/")) != ("remove", 2) for step in steps)


def signals_of(patches: Patch, workspace: Document, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (d,) yields) of every patch: the data of the samples that it adds, region by region, summed.

    Where a patch says "add to channel 3", channel 3 is that of the workspace before it was cut. Signals of regions
    that are not among `names` are left out; what a patch says about systematics, measurements and observations is not
    used. Steps that change channels in other ways are refused: nobody knows what signal that leaves.

    Args:
        patches: a patch set, or a mapping from names to JSON patches.
        workspace: the one they were made for.
        names: `<channel>-<bin>` of every input.

    Raises:
        SchemaError: what is no patch, adds no sample, or does not fit the workspace; the message names patch and step.
            Or a patch set that was made for another workspace.
    """
    background, document = read_document(workspace, "workspace"), read_document(patches, "patch set")
    if isinstance(document, Mapping) and "patches" not in document:
        known = {name: steps_of(patch, f"patch {name!r}") for name, patch in document.items()}
    else:
        known = patches_of(document)
        _check_digests(document, background)
    for name, steps in known.items():
        total = _added(steps, background, f"patch {name!r}")
        yields = {f"{channel}-{i}": float(y) for channel, data in total.items() for i, y in enumerate(data)}
        yield name, np.array([yields.get(n, 0.0) for n in names])


def _added(steps: Sequence[Mapping[str, Any]], workspace: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """Yields of the samples that a patch adds, summed, by channel."""
    width = {c["name"]: len(c["samples"][0]["data"]) for c in workspace["channels"]}
    samples = {c["name"]: len(c["samples"]) for c in workspace["channels"]}
    channels, total = list(width), dict[str, np.ndarray]()
    for i, step in enumerate(steps):
        here = f"{where}, step {i}"
        match step["op"], step["path"].split("/"):
            case "add", ["", "channels", number, "samples", place]:
                channel = _channel(number, channels, f"{here}: {step['path']!r}")
                if place not in ("-", *map(str, range(samples[channel] + 1))):
                    raise SchemaError(
                        f"{here}: {place!r} is no place among the {samples[channel]} samples that {channel!r} has at "
                        "this step, and - is the one behind them; was the patch made for another workspace?"
                    )
                samples[channel] += 1
                total[channel] = total.get(channel, 0.0) + _yields(step.get("value"), channel, width[channel], here)
            case "remove", ["", "channels", number]:
                channels.remove(_channel(number, channels, f"{here}: {step['path']!r}"))
            case "add", ["", "channels", _]:
                raise SchemaError(
                    f"{here}: adds a channel, of which the workspace has no background; give the workspace that has "
                    "it, or leave the step out"
                )
            case op, _ if _touches_channels(step):
                raise SchemaError(
                    f"{here}: cannot tell what {op!r} of {step['path']!r} makes of the signal, for which a patch adds "
                    f"samples and removes channels; change the workspace itself, or leave the step out; {PATCH}"
                )
    if not total:
        raise SchemaError(f"{where} adds no sample to a channel, so it holds no signal; {PATCH}")
    return total


def _touches_channels(step: Mapping[str, Any]) -> bool:
    """Whether a step is about channels, or about the whole workspace."""
    pointers = (step["path"], str(step.get("from", step["path"])))
    return any(pointer.strip("/").split("/")[0] in ("", "channels") for pointer in pointers)


def _channel(number: str, channels: Sequence[str], where: str) -> str:
    """The name of the channel that a path counts."""
    numbered = {str(i): name for i, name in enumerate(channels)}
    if number not in numbered:
        raise SchemaError(
            f"{where} is of a channel that is not there, the workspace has {len(channels)} at this step "
            f"({', '.join(channels)}); was the patch made for another workspace?"
        )
    return numbered[number]


def _yields(sample: Any, channel: str, bins: int, where: str) -> np.ndarray:
    """(bins,) data of a sample that is added."""
    data = sample.get("data") if isinstance(sample, Mapping) else None
    if not _are_yields(data, bins):
        raise SchemaError(
            f"{where}: {channel!r} has {bins} bins, and so many finite numbers must be the data of the sample, got "
            f"{reprlib.repr(data)}; {PATCH}"
        )
    unknown = unknown_modifier({"channels": [{"name": channel, "samples": [sample]}]})
    if unknown:
        raise SchemaError(f"{where}: {unknown}")
    return np.asarray(data, float)


def _are_yields(data: Any, bins: int) -> bool:
    """Whether these are so many finite numbers; text is none, nor are true and false."""
    if not isinstance(data, list | tuple | np.ndarray) or len(data) != bins:
        return False
    values: Iterable[Any] = data
    return all(isinstance(y, NUMBER) and not isinstance(y, bool) and -LARGEST <= y <= LARGEST for y in values)
