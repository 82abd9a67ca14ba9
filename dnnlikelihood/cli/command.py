"""What all commands share: they return a `Report`; how it is shown, and how errors end, is decided here."""

from __future__ import annotations

import logging
import math
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..errors import ArtifactExists, DnnLikelihoodError, IntegrityError, NotConverged, SaveFailed, TrainingError

__all__ = ["Command", "Report", "new_folder", "new_folder_option", "progress_option"]

FAILED, REFUSED = 1, 2
WIDTH = 120
"""Columns of a table when stdout is no terminal."""


@dataclass(frozen=True)
class Report:
    """What a command found.

    Attributes:
        numbers: for `--json`.
        parts: rich renderables, and plain text that is not to be wrapped, for people.
        failures: checks that failed, in words; the command then ends with 1.
    """

    numbers: Mapping[str, Any]
    parts: Sequence[Any] = ()
    failures: Sequence[str] = ()


class _Refused(click.ClickException):
    """An error of the package on its way out: one message and an exit code."""

    exit_code = REFUSED

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error) if isinstance(error, DnnLikelihoodError) else f"{type(error).__name__}: {error}")


class _Failed(_Refused):
    """A check that failed, raised as an error."""

    exit_code = FAILED


class Command(click.Command):
    """A command that returns a Report, with `--json`, `-v`, `--debug` and an example in its help.

    Args:
        example: shown at the end of `--help`.
        resumes: whether the same command continues after a kill; said when it is interrupted.
    """

    def __init__(self, *args: Any, example: str, resumes: bool = False, **kwargs: Any) -> None:
        common = [
            click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
            click.Option(["-v", "--verbose"], is_flag=True, help="Show what is logged, on stderr."),
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
        ]
        super().__init__(*args, **{**kwargs, "params": [*(kwargs.get("params") or ()), *common]})
        self.example, self.resumes = example, resumes

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example."""
        with formatter.section("Example"):
            for line in self.example.strip().splitlines():
                formatter.write(f"  {line}\n")

    def invoke(self, ctx: click.Context) -> None:
        """Run, show the report and end with its exit code."""
        as_json, verbose, debug = (ctx.params.pop(name) for name in ("as_json", "verbose", "debug"))
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _logging(verbose=verbose):
            try:
                report = super().invoke(ctx)
            except BrokenPipeError:
                raise
            except (DnnLikelihoodError, OSError) as error:
                if debug:
                    traceback.print_exc()
                failed = isinstance(error, NotConverged | TrainingError | IntegrityError)
                raise (_Failed if failed else _Refused)(error) from error
            except KeyboardInterrupt:
                if self.resumes:
                    click.echo("interrupted; the same command continues where it stopped", err=True)
                raise
        _show(report, as_json=as_json)
        if report.failures:
            ctx.exit(FAILED)


@contextmanager
def _logging(*, verbose: bool) -> Iterator[None]:
    """The package's log on stderr: warnings, and what it says of its work if `verbose`; of libraries errors only."""
    for library in ("tensorflow", "absl", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)
    logger = logging.getLogger("dnnlikelihood")
    handler, before = logging.StreamHandler(sys.stderr), logger.level
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _show(report: Report, *, as_json: bool) -> None:
    from ..jsonfiles import pretty

    if as_json:
        verdict = {"passed": not report.failures, "failures": list(report.failures)}
        click.echo(pretty(_writable({**report.numbers, **verdict})), nl=False)
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for part in report.parts:
        if isinstance(part, str):
            click.echo(part)
        else:
            console.print(part)
    for failure in report.failures:
        console.print(f"FAILED  {failure}", style="bold red", soft_wrap=True)


def _writable(value: Any) -> Any:
    """A value with null where a number is not finite, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {str(k): _writable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(v) for v in value]
    if hasattr(value, "tolist"):
        return _writable(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _seen(path: Path) -> bool:
    """Whether it exists, as far as this user may look."""
    try:
        return path.exists()
    except PermissionError:
        return False


def new_folder(folder: Path) -> Path:
    """Refuse before the work what could not be saved after it."""
    if _seen(folder):
        raise _Refused(ArtifactExists(f"{folder} exists and is not replaced; choose another folder, or remove it"))
    above = next(p for p in folder.absolute().parents if _seen(p))
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise _Refused(SaveFailed(f"{above} is no folder that you may write to; choose another --output"))
    return folder


_PATH = click.Path(path_type=Path)
output_option = click.option("--output", type=_PATH, required=True, metavar="DIR", help="Where the result goes.")
new_folder_option = click.option(
    *("--output", "output"),
    type=_PATH,
    required=True,
    metavar="DIR",
    callback=lambda _context, _parameter, folder: new_folder(folder),
    help="Where the result goes: a folder that does not exist yet.",
)
progress_option = click.option("--no-progress", "progress", flag_value=False, default=True, help="Show no bars.")
