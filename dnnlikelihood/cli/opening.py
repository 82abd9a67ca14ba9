"""What the arguments of commands stand for: sources by name, recipes, and saved folders by what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, MissingArtifact, SchemaError

if TYPE_CHECKING:
    from ..likelihood import Likelihood
    from ..protocols import LogDensity

__all__ = ["density", "likelihood"]

NOUNS = ("likelihood", "profiled", "dnnlik", "published")
PARTS = ("likelihood", "dnnlik", "model")
"""Of a run of `dnnlik learn`; that of a workspace has no likelihood."""


def likelihood(text: str) -> Likelihood:
    """A likelihood from the name of a source, a JSON file (a recipe, or a pyhf workspace), or a saved folder.

    Raises:
        ConfigError: no such source; MissingArtifact: no such file or folder; SchemaError: something else in it.
    """
    from ..jsonfiles import read_json
    from ..likelihood import Likelihood
    from ..sources import SOURCES

    path, name = Path(text), text.replace("-", "_")
    if path.is_dir():
        return Likelihood.load(path)
    if name in SOURCES:
        return Likelihood.from_source(name)
    if path.suffix == ".json":
        return _from_recipe(read_json(path), path)
    if "/" in text:
        raise MissingArtifact(f"{path} does not exist; expected the folder of a saved likelihood, or a recipe (.json)")
    known = ", ".join(s.replace("_", "-") for s in SOURCES)
    raise ConfigError(f"no source {text!r}, and no folder of that name; sources are {known}")


def density(text: str) -> LogDensity:
    """Whatever answers for a log-density: all that `likelihood` takes, a saved DnnLik, or a published model.

    A published model is opened with its hashes checked, and its support ends where its domain does.
    """
    path = Path(text)
    if not path.is_dir():
        return likelihood(text)
    noun = _noun(path)
    if noun == "dnnlik":
        from ..dnnlik import DnnLik

        return DnnLik.load(path)
    if noun == "published":
        from ..published import open as open_published

        return open_published(path, outside="-inf")
    if noun == "likelihood":
        return likelihood(text)
    if noun == "profiled":
        from ..profiled import ProfiledLikelihood

        return ProfiledLikelihood.load(path)
    raise SchemaError(f"{path} holds a {noun}, which is no log-density; expected one of {', '.join(NOUNS)}")


def _noun(folder: Path) -> str:
    from ..jsonfiles import read_json

    if (folder / "request.json").exists() and not (folder / "metadata.json").exists():
        parts = " or ".join(str(folder / name) for name in PARTS if (folder / name).is_dir())
        raise MissingArtifact(
            f"{folder} is a run of `dnnlik learn`; "
            + (f"name a part of it: {parts}" if parts else "it was stopped early: continue it with the same command")
        )
    metadata = read_json(folder / "metadata.json")
    return str(metadata.get("noun")) if isinstance(metadata, dict) else "file of another program"


def _from_recipe(recipe: Any, path: Path) -> Likelihood:
    from ..likelihood import Likelihood

    if isinstance(recipe, dict) and {"channels", "measurements"} <= set(recipe):
        return Likelihood.from_workspace(path)
    known = isinstance(recipe, dict) and set(recipe) <= {"source", "arguments"}
    if not (known and isinstance(recipe.get("source"), str) and isinstance(recipe.get("arguments", {}), dict)):
        raise SchemaError(f'{path} is no recipe; expected {{"source": name, "arguments": {{...}}}}')
    return Likelihood.from_source(recipe["source"], **recipe.get("arguments", {}))
