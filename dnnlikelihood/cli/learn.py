"""`dnnlik learn`: the whole chain, and what came out of it beside what is exact and what the paper found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ArtifactExists, ConfigError, DnnLikelihoodError
from . import tables
from .command import Command, Report, output_option, progress_option
from .workspace import WorkspaceOptions, is_workspace, learn_workspace_file, region_options

if TYPE_CHECKING:
    from ..learn import Learned

__all__ = ["learn"]

_PATH = click.Path(path_type=Path, exists=True)
PAPER = "paper: its own numbers for the exact likelihood, not those of its networks"


@click.command(
    cls=Command,
    resumes=True,
    short_help="The whole chain: learn a likelihood, publish it, verify it.",
    example="dnnlik learn toy-lhc --preset quick --output runs/toy",
)
@click.argument("source")
@click.argument("model", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@output_option
@click.option(
    "--preset",
    type=click.Choice(["quick", "full"]),
    default="quick",
    show_default=True,
    help="How much work, and which targets are held against the result.",
)
@click.option("--name", help="Name of the published model; the source's name if not given.")
@click.option("--patchset", type=_PATH, help="Of a workspace: patch set, or folder of patches, to test on.")
@region_options
@click.option("--simplified", type=_PATH, help="Of a workspace: its simplified version, to compare with.")
@click.option("--labels", type=click.IntRange(2000), help="Of a workspace: labels to learn from, if not the preset's.")
@click.option(
    "--contamination",
    type=click.FloatRange(min=0.01),
    help="Of a workspace: no signal adds more than this part of the background of a control bin; no limit by default.",
)
@click.option("--discovery", is_flag=True, help="Of a workspace: learn expected significances (q0) too.")
@click.option(
    "--reference", "references", multiple=True, help="Of a workspace or of eft: a DOI or other reference for the card."
)
@click.option("--overwrite", is_flag=True, help="Remove an earlier run of `learn` in DIR first.")
@progress_option
def learn(
    source: str,
    model: Path | None,
    output: Path,
    preset: str,
    name: str | None,
    *,
    overwrite: bool,
    progress: bool,
    **workspace: Any,
) -> Report:
    """Learn a likelihood from beginning to end: sample, label, train, infer, publish, verify, plot.

    SOURCE is the name of a source (toy-lhc, unbinned, gaussian), a JSON file with a recipe, or the folder of a saved
    likelihood. `eft` learns the profiled likelihood of an effective-theory fit: of MODEL, a JSON file of schema
    eft_counts/1 or eft_gaussian/1, or of a generated search. A pyhf workspace (.json, .json.gz) is learned as the
    profiled likelihood of the signal yields in its bins. A run that was killed continues when the command is given
    again. The exit code is 1 if the published model does not verify or a target of the preset is missed.
    """
    from ..learn import learn as run
    from .opening import likelihood

    if model is not None and source != "eft":
        raise ConfigError(f"a model goes with the source eft; {source} takes none")
    references = workspace["references"]
    options = _workspace_options(**workspace | ({"references": ()} if source == "eft" else {}))
    if is_workspace(source):
        if overwrite:
            _remove_run(output)
        return learn_workspace_file(source, output, preset, name, options, progress=progress)
    if options.given:
        raise ConfigError(f"patch sets, regions and the like go with a pyhf workspace, which {source} is not")
    truth = None if source == "eft" else likelihood(source)
    if overwrite:
        _remove_run(output)
    if truth is None:
        from .eft import learn_effective_theory

        return learn_effective_theory(model, output, preset, name, references, progress=progress)
    learned = run(truth, output, preset, name=name, progress=progress)
    return Report({"folder": str(output), **learned.summary}, tuple(_parts(learned)), tables.failures(learned))


def _workspace_options(
    patchset: Path | None,
    signal_regions: tuple[str, ...],
    control_regions: bool,  # noqa: FBT001 - as click names it
    simplified: Path | None,
    references: tuple[str, ...],
    labels: int | None,
    contamination: float | None,
    discovery: bool,  # noqa: FBT001 - as click names it
) -> WorkspaceOptions:
    if contamination is not None and not control_regions:
        raise ConfigError("--contamination is of control regions, which --no-control-regions leaves out")
    return WorkspaceOptions(
        patchset, signal_regions, control_regions, simplified, references, discovery, labels, contamination
    )


def _remove_run(folder: Path) -> None:
    """Remove what `learn` made, and nothing that only looks like it."""
    from ..jsonfiles import read_json

    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ArtifactExists(f"{folder} is no folder of its own; --overwrite removes runs of `dnnlik learn` only")
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        request = read_json(folder / "request.json")
    except DnnLikelihoodError as error:
        raise ArtifactExists(
            f"{folder} is not empty and holds no run of `dnnlik learn` ({error}); nothing was removed"
        ) from error
    if not isinstance(request, dict) or not {"likelihood", "config"} <= set(request):
        raise ArtifactExists(f"{folder}/request.json is not of `dnnlik learn`; nothing was removed")
    shutil.rmtree(folder)


def _parts(learned: Learned) -> Iterator[Any]:
    summary = learned.summary
    yield _hpdi(summary)
    yield _tmu(summary)
    yield tables.accuracy(summary["accuracy"])
    targets = [
        (t["target"], tables.number(t["value"]), f"{t['limit']:g}", tables.verdict(t["met"]))
        for t in summary["targets"]
    ]
    yield tables.table(f"Targets of the preset {summary['preset']}", ("", "value", "limit", ""), targets)
    seconds = {k: f"{v:,.1f}" for k, v in summary["cpu_seconds"].items()}
    total = f"{sum(summary['cpu_seconds'].values()):,.1f}"
    yield tables.table("CPU seconds", ("stage", "seconds"), [*seconds.items(), ("these stages", total)])
    yield _places(learned)
    for doubt in summary["agreement"]["failures"]:
        yield f"note: beyond the limits of `agree`: {doubt}"


def _hpdi(summary: Mapping[str, Any]) -> Any:
    rows = summary["hpdi"]
    paper = any(row["paper"] for row in rows)
    places = tables.decimals(min(row["exact"][1] - row["exact"][0] for row in rows))
    cells = []
    for row in rows:
        condition = "" if row["lower"] is None else f" given {row['poi']} > {row['lower']:g}"
        exact = tables.interval(row["exact"], places)
        published = [tables.interval(row["paper"])] if paper else []
        off = max(abs(a - b) for a, b in zip(row["ours"], row["exact"], strict=True))
        ours = tables.interval(row["ours"], places), tables.pair(row["uncertainty"]), f"{off:.{places}f}"
        cells.append((f"{100 * row['level']:.2f} %{condition}", exact, *published, *ours))
    truth = "exact" if any(row["exact_is"] == "integrated" for row in rows) else "truth, sampled"
    columns = ("level", truth, *(["paper, sampled"] if paper else []), "ours", "± std. errors", "ours - exact")
    note = f"{summary['ess']:,.0f} effective samples of the surrogate; the last column is that of the worse edge"
    note += f"\n{PAPER}" if paper else ""
    return tables.table(f"HPDI of {rows[0]['poi']}", columns, cells, note)


def _tmu(summary: Mapping[str, Any]) -> Any:
    rows, poi = summary["tmu"], summary["hpdi"][0]["poi"]
    paper = any(row["paper"] is not None for row in rows)
    cells = []
    for row in rows:
        cited = (row["paper"], row.get("paper_network")) if paper else ()
        published = [None if number is None else f"{number:z.4f}" for number in cited]
        bad = sorted({s for s in row["status"] if s != "converged"})
        word = tables.status(", ".join(bad) or "converged")
        difference = f"{row['ours'] - row['exact']:+z.4f}"
        cells.append((f"{row['mu']:.3g}", f"{row['exact']:z.4f}", *published, f"{row['ours']:z.4f}", difference, word))
    columns = (
        poi,
        "exact",
        *(["paper, maximised", "paper's network F3"] if paper else []),
        "ours",
        "ours - exact",
        "fits",
    )
    note = "paper, maximised: its own numbers for the exact likelihood" if paper else ""
    return tables.table(f"t_mu of {poi}, each curve from its own maximum", columns, cells, note)


def _places(learned: Learned) -> Any:
    summary, folder = learned.summary, learned.folder
    plots = [p for p in summary["plots"] if p.endswith(".png")]
    verified = sum(row.status == "passed" for row in learned.verified.rows)
    return tables.facts(
        {
            "training points": f"{summary['n_train']:,}",
            "weights of a network": f"{summary['weights_per_member']:,}",
            "published model": folder / "model",
            "verified": f"{verified} of {len(learned.verified.rows)} checks passed"
            + ("" if verified == len(learned.verified.rows) else " (dnnlik verify says which not)"),
            "model card": folder / "model" / "README.md",
            "plots": "\n".join(str(folder / p) for p in plots),
        }
    )
