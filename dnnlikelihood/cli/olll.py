"""`dnnlik export --flavour olll`: one ONNX file for SModelS instead of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArtifactExists, ConfigError, SchemaError
from . import tables
from .command import Report

if TYPE_CHECKING:
    from ..profiled import ProfiledLikelihood

__all__ = ["export_file"]

ASKED = ("analysis_id", "arxiv", "experiment", "sqrt_s", "statistical_model")


def export_file(
    model: Path,
    output: Path,
    *,
    name: str,
    source: str,
    authors: Sequence[Mapping[str, str]],
    licence: str,
    analysis: Path | None,
    signal_regions: str | None,
    control_regions: bool,
) -> Report:
    """Write the file and check it.

    Raises:
        ConfigError: nothing is said about the analysis, the surrogate is none that OLLL can hold, or has other inputs.
        StaleArtifact: the surrogate has learned other data.
        SchemaError: the file about the analysis lacks something. ArtifactExists: the output is there.
    """
    from ..integrations.olll import export_olll
    from ..jsonfiles import read_json
    from .opening import density

    if output.exists():
        raise ArtifactExists(f"{output} exists; choose another name")
    if analysis is None:
        raise ConfigError(f"--flavour olll needs --analysis FILE, JSON with {', '.join(ASKED)}")
    about = read_json(analysis)
    if not isinstance(about, dict) or set(ASKED) - set(about):
        raise SchemaError(f"{analysis}: expected an object with {', '.join(ASKED)}")
    people = ", ".join(a["name"] for a in authors)
    report = export_olll(
        density(str(model)),  # type: ignore[arg-type]
        _profiled(source, signal_regions, control_regions=control_regions),
        output,
        name=name,
        author=people,
        source=about,
        licence=licence,
    )
    size = output.stat().st_size
    facts = {"written": output, "size": f"{size / 1e6:.1f} MB", "checked": "OLLL schema 0.1"}
    numbers = {"file": str(output), "bytes": size, "problems": list(report.problems)}
    return Report(numbers, (tables.facts(facts),), report.problems)


def _profiled(source: str, signal_regions: str | None, *, control_regions: bool) -> ProfiledLikelihood:
    """A profiled likelihood that was saved, or that of regions of a pyhf workspace."""
    from ..profiled import ProfiledLikelihood

    path, regions = Path(source), [name.strip() for name in (signal_regions or "").split(",") if name.strip()]
    if not path.is_dir():
        return ProfiledLikelihood.from_workspace(
            path, signal_regions=regions or None, include_control_regions=control_regions
        )
    if regions or not control_regions:
        raise ConfigError(f"{path} is a saved likelihood and has its regions; leave out the options that choose them")
    return ProfiledLikelihood.load(path)
