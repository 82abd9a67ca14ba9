"""What `dnnlik learn eft` shows: accuracy in three places, rounds, valleys, targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import tables
from .command import Report

if TYPE_CHECKING:
    from ..learn_profiled import LearnedProfiled
    from ..likelihood import Likelihood
    from ..profiled import ProfiledLikelihood

__all__ = ["effective_theory", "learn_effective_theory"]


def learn_effective_theory(
    model: Path | None, output: Path, preset: str, name: str | None, references: Sequence[str], *, progress: bool
) -> Report:
    """Learn the generated search, or the fit of a JSON file."""
    from ..learn_eft import LearnEftConfig, learn_eft

    truth = effective_theory(model)
    nuisances = len(getattr(truth.source, "nuisances", ()))
    profiled = f", {nuisances} nuisance parameters profiled" if nuisances else ""
    command = " ".join(["dnnlik learn eft", *([str(model)] if model else []), f"--preset {preset} --output DIR"])
    learned = learn_eft(
        truth,
        output,
        config=LearnEftConfig.preset(preset),
        name=name or "eft",
        command=command,
        description=f"Likelihood of an effective-theory fit in {len(truth.parameters)} coefficients{profiled}.",
        references=list(references),
        progress=progress,
    )
    return Report({"folder": str(output), **learned.summary}, tuple(_parts(learned)), tables.failures(learned))


def effective_theory(model: Path | None) -> ProfiledLikelihood | Likelihood:
    """The generated search, or the fit of a JSON file: counts, profiled over nuisances, or measurements as they are.

    Raises:
        ConfigError, SchemaError, ...: as of `sources.eft_json.read_eft`.
    """
    from ..jsonfiles import read_json
    from ..likelihood import Likelihood
    from ..profiled import ProfiledLikelihood

    document = None if model is None else read_json(model)
    if isinstance(document, dict) and {"covariance", "ops"} & set(document):
        return Likelihood.from_source("eft_gaussian", document=str(model))
    return ProfiledLikelihood.from_eft(model)


def _parts(learned: LearnedProfiled) -> Iterator[Any]:
    summary = learned.summary
    rows = [
        (
            row["where"],
            f"{row['n']:,}",
            f"{row['within']:.2%}",
            *(tables.number(row[k]) for k in ("rmse", "max", "baseline_rmse")),
        )
        for row in summary["accuracy"]
    ]
    note = "accurate: |error| < 0.05 or < 1 % of delta_nll; errors in nats"
    yield tables.table("Accuracy", ("where", "points", "accurate", "RMSE", "largest", "RMSE of a Gaussian"), rows, note)
    rounds = [
        (
            f"{r['n_rows']:,}",
            *(f"{r[k]:.2%}" for k in ("posterior", "minimisers", "frozen", "valleys")),
            tables.number(r["worst"]),
        )
        for r in summary["rounds"]
    ]
    if rounds:
        columns = ("rows learned from", "own posterior", "own minimisers", "frozen", "own valleys", "largest error")
        yield tables.table("Rounds", columns, rounds, "accurate answers before the points were learned from", left=0)
    yield _valleys(summary["valleys"])
    targets = [
        (t["target"], tables.number(t["value"], 4), f"{t['limit']:g}", tables.verdict(t["met"]))
        for t in summary["targets"]
    ]
    yield tables.table("Targets", ("", "value", "limit", ""), targets)
    yield tables.table(
        "CPU seconds", ("stage", "seconds"), [(k, f"{v:,.1f}") for k, v in summary["cpu_seconds"].items()]
    )
    yield tables.facts(
        {
            "fits": f"{summary['n_fits']:,} ({', '.join(f'{k}: {n:,}' for k, n in summary['fits'].items())})",
            "plots": learned.folder / "plots",
            "published model": learned.folder / "model",
            "model card": learned.folder / "model" / "README.md",
        }
    )


def _valleys(both: Mapping[str, Mapping[str, Any]]) -> Any:
    depth, edge = ({who: both[who][k] for who in ("truth", "surrogate")} for k in ("delta_nll", "on_edge"))
    n = max(len(d) for d in depth.values())
    cells = [
        (
            str(i + 1),
            *(
                f"{depth[who][i]:.3f}{' (on the edge)' if edge[who][i] else ''}" if i < len(depth[who]) else None
                for who in ("truth", "surrogate")
            ),
        )
        for i in range(n)
    ]
    return tables.table("Valleys: delta_nll from the deepest", ("", "truth", "surrogate"), cells)
