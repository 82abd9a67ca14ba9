"""`dnnlik sample` and `dnnlik label`: draws of a density, and rows to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from . import tables
from .command import Command, Report, output_option, progress_option

if TYPE_CHECKING:
    from ..results import Samples

__all__ = ["label", "sample"]


@click.command(
    cls=Command,
    resumes=True,
    short_help="Sample a likelihood or a surrogate.",
    example="dnnlik sample toy-lhc --method nuts --n-steps 1000 --output runs/samples",
)
@click.argument("density", metavar="SOURCE|FOLDER")
@output_option
@click.option("--method", type=click.Choice(["hmc", "nuts", "emcee"]), default="hmc", show_default=True)
@click.option(
    "--move",
    "moves",
    multiple=True,
    metavar="KIND[:SIZE]",
    help="Of emcee: de (its default), stretch:2 (scale), gaussian:0.01 (variance); several are mixed.",
)
@click.option("--n-chains", type=int, help="Chains, or walkers of emcee (at least 2 d + 2).")
@click.option(
    "--n-steps", type=int, help="Kept steps of every chain.  [default: 400, and up to 1600 while the chains disagree]"
)
@click.option("--n-warmup", type=int, help="Steps before them.")
@click.option("--thin", type=int, help="Transitions a kept step.")
@click.option("--seed", type=int, help="Of everything random.")
@progress_option
def sample(
    density: str, output: Path, method: str, moves: tuple[str, ...], *, progress: bool, **settings: int | None
) -> Report:
    """Sample a likelihood or a surrogate with many chains.

    SOURCE|FOLDER is a source, a recipe, a saved likelihood, a DnnLik or a published model. A run that was killed
    continues when the command is given again, and a finished one with more steps. The exit code is 1 if the chains
    did not converge; they are kept.
    """
    from ..chains import draw, has_proper_prior
    from ..inference import Inference
    from ..sampler import SamplerConfig
    from .opening import density as opened

    target = opened(density)
    given: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
    if moves:
        if method != "emcee":
            raise ConfigError(f"{method} has no moves: give --method emcee with --move")
        given["moves"] = tuple(map(_move, moves))
    config = SamplerConfig(method=method, **given)
    chosen = {k: getattr(config, k) for k in ("n_chains", "n_warmup", "seed")}
    chosen |= {k: v for k, v in given.items() if k in ("n_steps", "thin", "moves")}
    around = None if has_proper_prior(target) else Inference(target).map().theta
    samples = draw(target, method, output, around=around, progress=progress, **chosen)
    reasons = tuple(f"not converged: {reason}" for reason in samples.verdict.reasons)
    steps, chains, d = samples.chains.shape
    numbers = {"folder": str(output), "n_steps": steps, "n_chains": chains, "n_parameters": d}
    numbers |= {"cpu_seconds": samples.seconds, **samples.verdict.to_json()}
    return Report(numbers, (_verdict(samples, output),), reasons)


def _move(text: str) -> Any:
    """A move of emcee from "kind" or "kind:size"."""
    from ..sampling.ensemble import Move

    kind, colon, size = text.partition(":")
    named = {"stretch": "a", "gaussian": "variance"}
    try:
        if kind == "gaussian" and not colon:
            raise ValueError
        given = {"kind": kind, **({named[kind]: float(size)} if colon else {})}
    except (KeyError, ValueError):
        raise ConfigError(f"move {text!r} is none of de, stretch[:SCALE], gaussian:VARIANCE") from None
    return Move.from_json(given)


def _verdict(samples: Samples, folder: Path) -> Any:
    v, (steps, chains, d) = samples.verdict, samples.chains.shape
    worst = {name: samples.names[int(x.argmax())] for name, x in (("rhat", v.rhat), ("tau", v.tau), ("ess", -v.ess))}
    rate = f" ({v.ess.min() / samples.seconds:,.0f} a CPU second)" if samples.seconds > 0 else ""
    rows = [
        (f"samples ({chains} chains, {steps} steps, {d} dimensions)", f"{steps * chains:,}", ""),
        ("largest split R-hat", f"{v.rhat.max():.4f}", worst["rhat"]),
        ("longest autocorrelation time", f"{v.tau.max():.3g} steps", worst["tau"]),
        (f"fewest effective samples{rate}", f"{v.ess.min():,.0f}", worst["ess"]),
        ("acceptance", f"{v.acceptance:.3f}", ""),
        ("CPU seconds", f"{samples.seconds:,.1f}", ""),
        ("converged", tables.verdict(v.converged, ("yes", "no")), ""),
    ]
    return tables.table(f"Samples in {folder}", ("", "value", "where it is worst"), rows)


@click.command(
    cls=Command,
    resumes=True,
    short_help="Label samples with values and gradients.",
    example="dnnlik label toy-lhc runs/samples --output runs/data",
)
@click.argument("source")
@click.argument("samples", metavar="SAMPLES", type=click.Path(path_type=Path))
@output_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of the deal into training, validation and test.")
@progress_option
def label(source: str, samples: Path, output: Path, seed: int, *, progress: bool) -> Report:
    """Label the points of a sampling with values and gradients of its likelihood.

    SAMPLES is a folder that `dnnlik sample` wrote for SOURCE. Points that repeat (rejected steps) are kept once. The
    rows are split into training, validation and test set, once. A run that was killed continues.
    """
    from ..data import Data, DataConfig
    from ..sampler import Sampler
    from .opening import density

    sampler = Sampler.load(samples)
    data = Data.from_samples(
        sampler.samples,
        density(source),
        folder=output,
        progress=progress,
        parents=(sampler.fingerprint,),
        drop_duplicates=True,
        config=DataConfig(seed=seed),
    )
    y = data.logpdf()
    rows = {
        "rows": f"{len(data):,} ({', '.join(f'{n:,} {split}' for split, n in data.counts.items())})",
        "gradients": "yes" if data.has_gradient else "no",
        "logpdf": f"{y.min():.6g} to {y.max():.6g}",
        "folder": output,
    }
    parts: list[Any] = [tables.facts(rows)]
    if not sampler.samples.verdict.converged:
        parts.append("note: these samples had not converged: good to learn from, not to be tested on")
    numbers = {"folder": str(output), "rows": len(data), "splits": data.counts, "gradient": data.has_gradient}
    numbers |= {"logpdf": [float(y.min()), float(y.max())], "converged": sampler.samples.verdict.converged}
    return Report(numbers, parts)
