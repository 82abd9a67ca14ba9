"""`dnnlik export`, `dnnlik verify` and `dnnlik card`: published models."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from . import tables
from .command import Command, Report, new_folder, new_folder_option, progress_option

if TYPE_CHECKING:
    from ..data import Data
    from ..export.verify import VerifyReport
    from ..likelihood import Likelihood

__all__ = ["card", "export", "verify"]

N_REFERENCE, N_DRAWN = 256, 10_000
"""Points that are published, and points drawn to choose them from and to measure the accuracy on."""
DEFINITION = {
    "likelihood": "log-likelihood of the observed data, all constants kept",
    "posterior": "log-likelihood of the observed data plus the log-priors stated below, all constants kept",
}


class _Author(click.ParamType):
    """NAME, or NAME <ORCID>."""

    name = "author"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        found = re.fullmatch(r"\s*([^<>]+?)\s*(?:<(\d{4}-\d{4}-\d{4}-\d{3}[\dX])>)?\s*", value)
        if found is None:
            self.fail(f"{value!r} is no author; write 'Name' or 'Name <0000-0000-0000-0000>' (an ORCID)", param, ctx)
        name, orcid = found.groups()
        return {"name": name} | ({"orcid": orcid} if orcid else {})


@click.command(
    cls=Command,
    short_help="Publish a trained ensemble as one folder.",
    example="dnnlik export runs/dnnlik --source toy-lhc --name toy_lhc --author 'Ada Lovelace' \\\n"
    "      --output saved_models/toy_lhc",
)
@click.argument("dnnlik", type=click.Path(path_type=Path))
@new_folder_option
@click.option("--name", required=True, help="Of the model, as a file name.")
@click.option("--source", required=True, help="What was learned: a source, a recipe or a saved likelihood.")
@click.option("--author", "authors", type=_Author(), multiple=True, required=True, help="NAME or 'NAME <ORCID>'.")
@click.option("--definition", help="What the number is: of which data, profiled over what, up to which constant.")
@click.option("--description", help="One sentence for people.")
@click.option("--licence", default="CC-BY-4.0", show_default=True, help="SPDX identifier.")
@click.option("--data", type=click.Path(path_type=Path), help="Take the reference points from the test rows in here.")
@click.option("--command", help="What rebuilds the model.")
@click.option(
    "--flavour",
    type=click.Choice(["folder", "olll"]),
    default="folder",
    show_default=True,
    help="A folder, or one ONNX file in the format of OLLL, which SModelS reads.",
)
@click.option("--analysis", type=click.Path(path_type=Path), help="JSON about the analysis; only for olll.")
@click.option("--signal-regions", metavar="A,B", help="As they were learned; SR... by default; only for olll.")
@click.option("--control-regions/--no-control-regions", default=True, help="Whether they were learned; only for olll.")
@progress_option
def export(
    dnnlik: Path,
    output: Path,
    name: str,
    source: str,
    authors: Sequence[dict[str, str]],
    definition: str | None,
    description: str | None,
    licence: str,
    data: Path | None,
    command: str | None,
    flavour: str,
    analysis: Path | None,
    signal_regions: str | None,
    *,
    control_regions: bool,
    progress: bool,
) -> Report:
    """Publish a DnnLik: ONNX, SavedModel and Keras files, metadata, reference points and a model card, in one folder.

    DNNLIK is a folder that `dnnlik train` wrote. Reference points, on which the published accuracy is measured, are
    drawn from the source by HMC, or are the test rows of --data. Nothing is published if an exported file disagrees
    with the networks. With --flavour olll, a surrogate of a workspace's profiled likelihood becomes one ONNX file; the
    regions of --source are those that were learned.
    """
    if flavour == "olll":
        from .olll import export_file

        folder_only = {"--definition": definition, "--description": description, "--data": data, "--command": command}
        given = [option for option, value in folder_only.items() if value is not None]
        if given:
            raise ConfigError(
                f"{', '.join(given)}: an OLLL file has no place for it; leave it out, or publish a folder"
            )
        about: dict[str, Any] = {"name": name, "source": source, "authors": authors, "licence": licence}
        about |= {"signal_regions": signal_regions, "control_regions": control_regions}
        return export_file(dnnlik, output, analysis=analysis, **about)
    if analysis is not None or signal_regions is not None or not control_regions:
        raise ConfigError("--analysis, --signal-regions and --no-control-regions go with --flavour olll alone; add it")
    from ..accuracy import accuracy_row, coverage_rows
    from ..dnnlik import DnnLik
    from ..errors import ParameterError
    from .opening import likelihood

    model, truth = DnnLik.load(dnnlik), likelihood(source)
    if model.parameters.names != truth.parameters.names:
        raise ParameterError(f"{dnnlik} was learned over other parameters than those of {source}; name its own source")
    unseen = _unseen(truth, data, progress=progress)
    theta = truth.parameters.array(unseen.theta("test"), unseen.parameters.names)
    exact = truth.logpdf(theta)
    accuracy = [accuracy_row(model, "posterior, unseen" if data is None else "test rows", theta, exact)]
    model.export(
        output,
        name=name,
        description=description or f"Surrogate of the likelihood '{truth.recipe['source']}', learned by dnnlikelihood.",
        definition=definition or DEFINITION[truth.kind],
        command=command or f"dnnlik train DATA --output {dnnlik.name} && dnnlik export {dnnlik.name} --name {name}",
        points=(theta[:N_REFERENCE], exact[:N_REFERENCE]),
        likelihood=truth,
        licence=licence,
        authors=authors,
        accuracy=accuracy,
        coverage=coverage_rows(model, theta, exact),
    )
    size = sum(p.stat().st_size for p in output.rglob("*") if p.is_file())
    facts = {"published in": output, "size": f"{size / 1e6:.1f} MB", "now": f"dnnlik verify {output} --trust"}
    numbers = {"folder": str(output), "bytes": size, "accuracy": accuracy}
    return Report(numbers, (tables.accuracy(accuracy), tables.facts(facts)))


def _unseen(truth: Likelihood, folder: Path | None, *, progress: bool) -> Data:
    """Rows of a split "test" that nothing was trained on."""
    from ..curriculum import LearnConfig, unseen_data
    from ..data import Data

    if folder is not None:
        return Data.load(folder)
    return unseen_data(truth, LearnConfig(n_test=N_DRAWN), progress=progress)[0]


@click.command(
    cls=Command,
    short_help="Check a published model on every runtime.",
    example="dnnlik verify saved_models/toy_lhc --trust",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--trust", is_flag=True, help="Run the SavedModel too, which is a program: only from those you trust.")
def verify(path: Path, *, trust: bool) -> Report:
    """Check a published model: is every file the one that was published, and does every runtime give its numbers?

    PATH is its folder, or one of its ONNX files alone, or a file in the format of OLLL. Checks that cannot be made here
    are listed as skipped, with the reason. The exit code is 1 if one fails, and 2 if it is no published model.
    """
    from ..errors import MissingArtifact
    from ..export.verify import verify as run

    if path.is_file():
        return _verify_file(path)
    if not path.is_dir():
        raise MissingArtifact(f"{path} is not a folder; expected a published model")
    note = "deviations are the largest of the reference points, as shares of what is tolerated"
    return _checked(run(path, trust=trust), note + ("" if trust else "\n--trust runs the SavedModel too"))


def _verify_file(path: Path) -> Report:
    from ..export.runtimes import metadata_keys
    from ..export.verify_file import verify_file
    from ..integrations.olll import check_olll

    if "olll_schema_version" not in metadata_keys(path):
        return _checked(verify_file(path), "at points of its domain; deviations as shares of what is tolerated")
    report = check_olll(path)
    numbers = {"schema": "verify/1", "file": str(path), "problems": report.problems, "unsafe": report.unsafe}
    facts = {"file": path, "format": "OLLL schema 0.1", "problems": len(report.problems)}
    return Report(numbers, (tables.facts(facts),), report.problems)


def _checked(report: VerifyReport, note: str) -> Report:
    rows = [(r.check, tables.status(r.status), r.detail, _evidence(r.numbers)) for r in report.rows]
    table = tables.table(f"Checks of {report.folder}", ("check", "", "what", "numbers"), rows, note, left=4)
    failures = [f"{r.check}: {r.detail}" for r in report.rows if r.status == "failed"]
    return Report(report.to_json(), (table,), failures)


def _evidence(numbers: Mapping[str, float]) -> str:
    """Numbers of a check in a line; of deviations from the reference the largest."""
    suffix = "_in_tolerances"
    plain = [
        f"{k.replace('_', ' ')} {f'{v:,.0f}' if v.is_integer() else f'{v:.3g}'}"
        for k, v in numbers.items()
        if not k.endswith(suffix)
    ]
    shares = [v for k, v in numbers.items() if k.endswith(suffix)]
    return ", ".join([*plain, *([f"deviation {max(shares):.1g}"] if shares else [])])


@click.command(
    cls=Command, short_help="Print the model card of a published model.", example="dnnlik card saved_models/toy_lhc"
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Write card, plots and papers there.")
def card(folder: Path, output: Path | None) -> Report:
    """Print the model card of a published model: rendered on a terminal, as Markdown elsewhere.

    With --json, its metadata. With --output, README.md with its plots, CITATION.cff, .zenodo.json and hepdata.json are
    made anew from metadata.json in a folder that does not exist yet, offline: what archives ask for. The exit code is 1
    if a file of the folder was edited.
    """
    from ..errors import MissingArtifact
    from ..jsonfiles import read_json
    from ..store import check_manifest

    if not folder.is_dir():
        raise MissingArtifact(f"{folder} is not a folder; expected a published model")
    metadata = read_json(folder / "metadata.json", "published")
    check_manifest(folder)
    if output is not None:
        written = _write_papers(metadata, folder, new_folder(output))
        return Report(metadata, (tables.facts({"written in": output, "files": ", ".join(written)}),))
    return Report(metadata, (_markdown((folder / "README.md").read_text("utf-8")),))


def _write_papers(metadata: Mapping[str, Any], folder: Path, output: Path) -> list[str]:
    """The card and what archives ask for, with the plots; the names of the files."""
    from ..export.card import card_files
    from ..store import write_text

    plots = sorted(p.relative_to(folder).as_posix() for p in (folder / "plots").glob("*") if p.is_file())
    papers: dict[str, str | bytes] = {name: (folder / name).read_bytes() for name in plots}
    papers |= card_files(metadata, plots)
    for name, content in papers.items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(output / name, content)
    return sorted(papers)


def _markdown(text: str) -> Any:
    if not sys.stdout.isatty():
        return text.rstrip("\n")
    from rich.markdown import Markdown

    return Markdown(text)
