"""`dnnlik limit`: CL_s and upper limits of signals from a profiled likelihood, truth or surrogate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, SchemaError
from . import tables
from .command import Command, Report
from .workspace import is_workspace, region_options

if TYPE_CHECKING:
    from ..protocols import LogDensity
    from ..statistics.limits import HypothesisTest, UpperLimits

__all__ = ["limit"]

SHOWN, MEDIAN = 40, 2
"""Signals of a table, and the column of the expected limits that is the median."""


@click.command(
    cls=Command,
    short_help="Upper limits and CLs of signals.",
    example="dnnlik limit saved_models/atlas_susy_2018_31_a --signal signals.json",
)
@click.argument("model")
@click.option(
    "--signal",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="JSON: yields by bin, {BIN: YIELD, ...}, or several of them by name, {NAME: {BIN: YIELD, ...}, ...}.",
)
@region_options
@click.option("--level", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), default=0.95, show_default=True)
@click.option(
    "--mu", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="Tested by CLs."
)
@click.option(
    "--statistic", type=click.Choice(["qmu_tilde", "qmu"]), default="qmu_tilde", show_default=True,
    help="Whether the best fit is looked for at mu >= 0 alone (qmu_tilde).",
)  # fmt: skip
@click.option("--prefit", is_flag=True, help="Expected values before any fit, not as the data prefer the nuisances.")
@click.option("--outside", type=click.Choice(["refuse", "use"]), default="refuse", show_default=True,
              help="What happens outside the domain of a surrogate.")  # fmt: skip
def limit(
    model: str,
    file: Path,
    level: float,
    mu: float,
    statistic: Any,
    outside: Any,
    *,
    prefit: bool,
    signal_regions: tuple[str, ...],
    control_regions: bool,
) -> Report:
    """CL_s and upper limits of the strength of signals, observed and expected with bands of one and two sigma.

    MODEL is a published model, a DnnLik or a saved profiled likelihood; or a pyhf workspace (.json, .json.gz),
    which is then fitted. A signal is its yields in all bins, `<channel>-<i>`. The exit code is 1 if a signal lacks an
    answer: it has no limit below mu = 1e6, it leaves the domain of the surrogate, or a fit failed.
    """
    from ..inference import Inference
    from ..jsonfiles import read_json

    names, signals = _signals(read_json(file), file)
    inference = Inference(_density(model, signal_regions, control_regions=control_regions))
    table = {bin_: [s[bin_] for s in signals] for bin_ in signals[0]}
    options: dict[str, Any] = {"statistic": statistic, "bands": "expected" if prefit else "asimov_observed"}
    limits = inference.upper_limit(table, level, outside=outside, **options)
    tests = inference.cls(table, mu, outside=outside, **options)
    bad = list(_unanswered(names, limits, tests, mu))
    numbers = {"signals": names, **{k: v for answer in inference.answers.values() for k, v in answer.items()}}
    return Report(numbers, (_table(names, limits, tests, mu),), bad)


def _unanswered(names: Sequence[str], limits: UpperLimits, tests: HypothesisTest, mu: float) -> Iterator[str]:
    """What is not told, of which signal, and why."""
    from ..statistics.limits import MOST

    why = {"no limit": f"below mu = {MOST:g}", "outside": "inside the domain", "failed": "because a fit failed"}
    for i, name in enumerate(names):
        bands = limits.status_expected[i]
        expected = "expected limit" if bands[MEDIAN] != "converged" else "full set of expected limits"
        first = bands[(bands != "converged").argmax()]
        asked = {"observed limit": limits.status[i], expected: first, f"CLs at {mu:g}": tests.status[i]}
        for status, reason in why.items():
            lacks = [question for question, answer in asked.items() if answer == status]
            if lacks:
                yield f"{name}: no {' and no '.join(lacks)} {reason}"


def _signals(value: Any, file: Path) -> tuple[list[str], list[Mapping[str, float]]]:
    """Names and yields by bin."""
    if isinstance(value, dict) and value and all(isinstance(v, int | float) for v in value.values()):
        value = {file.stem: value}
    good = isinstance(value, dict) and value and all(
        isinstance(s, dict) and s and all(isinstance(y, int | float) and not isinstance(y, bool) for y in s.values())
        for s in value.values()
    )  # fmt: skip
    if not good:
        raise SchemaError(
            f"{file} holds no signals; expected {{bin: yield, ...}} or {{name: {{bin: yield, ...}}, ...}}"
        )
    bins = [set(s) for s in value.values()]
    if any(b != bins[0] for b in bins):
        odd = next(name for name, b in zip(value, bins, strict=True) if b != bins[0])
        raise SchemaError(f"{file}: signal {odd!r} has other bins than {next(iter(value))!r}")
    return list(value), list(value.values())


def _density(model: str, signal_regions: tuple[str, ...], *, control_regions: bool) -> LogDensity:
    """What a saved model is; a pyhf workspace as the profiled likelihood that it is."""
    from .opening import density

    if is_workspace(model):
        from ..profiled import ProfiledLikelihood

        return ProfiledLikelihood.from_workspace(
            Path(model), signal_regions=signal_regions or None, include_control_regions=control_regions
        )
    if signal_regions or not control_regions:
        raise ConfigError(
            f"--signal-regions and --no-control-regions go with a pyhf workspace, which {model} is not; leave them out"
        )
    return density(model)


def _table(names: Sequence[str], limits: UpperLimits, tests: HypothesisTest, mu: float) -> Any:
    columns = ("signal", "observed", "± error", "-2 σ", "-1 σ", "expected", "+1 σ", "+2 σ", f"CLs at {mu:g}", "")
    rows = [
        (
            name,
            tables.number(limits.observed[i], 4),
            tables.number(limits.error[i], 1),
            *(tables.number(x, 4) for x in limits.expected[i]),
            tables.number(tests.cls[i], 4),
            tables.status(str(limits.status[i])),
        )
        for i, name in enumerate(names[:SHOWN])
    ]
    more = f"; {len(names) - SHOWN} more with --json" if len(names) > SHOWN else ""
    note = f"the error is what the surrogate may be wrong by, 90 %{more}"
    return tables.table(f"Upper limits on mu at {100 * limits.level:g} %", columns, rows, note)
