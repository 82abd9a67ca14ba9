"""`dnnlik infer` and `dnnlik agree`: questions to a truth or a surrogate, and a comparison of the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, NotConverged, ParameterError
from . import tables
from .command import Command, Report, new_folder_option, progress_option

if TYPE_CHECKING:
    import numpy as np

    from ..inference import Inference, InferenceConfig
    from ..protocols import LogDensity
    from ..results import Agreement, Hpdi, Interval, ProfileScan

__all__ = ["agree", "infer"]

LEVELS = (0.6827, 0.9545, 0.9973)


MOST_POINTS = 100_000


class _Grid(click.ParamType):
    """LOW:HIGH:N, the points of a scan."""

    name = "grid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> np.ndarray:
        import numpy as np

        try:
            low, high, n = value.split(":")
            points = np.linspace(float(low), float(high), min(int(n), MOST_POINTS + 1))
        except ValueError:
            self.fail(f"{value!r} is no scan; write LOW:HIGH:N, as in 0:1:11", param, ctx)
        if not 1 <= len(points) <= MOST_POINTS or not np.isfinite(points).all() or float(low) > float(high):
            self.fail(f"{value!r} is no scan; LOW must be below HIGH and N in 1 ... {MOST_POINTS}", param, ctx)
        return points


def chain_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The amounts of sampling that a question needs."""
    for name, text in (
        ("--seed", "Of everything random."),
        ("--n-warmup", "Steps before them."),
        ("--n-steps", "Kept steps of every chain.  [default: 400, and up to 1600 while the chains disagree]"),
        ("--n-chains", "Chains of HMC."),
    ):
        command = click.option(name, type=int, help=text)(command)
    return command


def _config(settings: dict[str, int | None]) -> InferenceConfig:
    from ..inference import InferenceConfig

    return InferenceConfig(**{k: v for k, v in settings.items() if v is not None})


@click.command(
    cls=Command,
    short_help="Intervals and t_mu of a likelihood or a surrogate.",
    example="dnnlik infer runs/toy/model --level 0.95 --tmu 0:1:11 --output runs/answers",
)
@click.argument("model")
@new_folder_option
@click.option("--poi", help="The parameter that is asked about; the first parameter of interest if not given.")
@click.option(
    "--level",
    "levels",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    default=LEVELS,
    show_default=True,
    help="Probability or confidence; may be given several times.",
)
@click.option("--tmu", "grid", type=_Grid(), metavar="LOW:HIGH:N", help="Scan t_mu over N points.")
@click.option("--lower", type=float, help="Give HPDIs under the condition that the parameter is above this.")
@click.option("--samples", type=click.Path(path_type=Path), help="Use the samples in a folder of `dnnlik sample`.")
@chain_options
@progress_option
def infer(
    model: str,
    output: Path,
    poi: str | None,
    levels: Sequence[float],
    grid: np.ndarray | None,
    lower: float | None,
    samples: Path | None,
    *,
    progress: bool,
    **settings: int | None,
) -> Report:
    """Ask a likelihood or a surrogate for intervals and test statistics, and save the answers.

    MODEL is a published model, a DnnLik, a saved likelihood, a recipe, a pyhf workspace or the name of a source.
    Credible intervals (HPDI) come from HMC, confidence intervals from t_mu and its asymptotic distribution. The exit
    code is 1 if chains did not converge or fits failed; the answers are saved with that said.
    """
    from ..inference import Inference
    from .opening import density

    target = density(model)
    name = _poi(target, poi)
    inference = Inference(target, _read_samples(target, samples, progress=progress), _config(settings))
    if samples is None:
        inference.posterior(progress=progress)
    answers = _Answers(inference, name, lower, progress=progress)
    answers.credible(levels)
    answers.confident(levels, grid)
    inference.save(output)
    return answers.report(output)


def _poi(density: LogDensity, name: str | None) -> str:
    space = density.parameters
    if name is None and not space.pois:
        raise ConfigError(f"no parameter of interest is marked; choose one of {list(space.names[:8])} with --poi")
    if name is not None and name not in space.names:
        raise ParameterError(f"no parameter {name!r}; there are {list(space.names[:8])}")
    return name or space.pois[0]


def _read_samples(density: LogDensity, folder: Path | None, *, progress: bool) -> Any:
    """The samples of a folder, which the sampler holds against the density."""
    if folder is None:
        return None
    from ..sampler import Sampler

    return Sampler(density, Sampler.load(folder).config).run(folder, progress=progress)


class _Answers:
    """Asks an Inference, and keeps tables, numbers and failures of what it said."""

    def __init__(self, inference: Inference, name: str, lower: float | None, *, progress: bool) -> None:
        self.inference, self.name, self.lower, self.progress = inference, name, lower, progress
        self.numbers: dict[str, Any] = {"poi": name}
        self.parts: list[Any] = []
        self.failures: list[str] = []

    def credible(self, levels: Sequence[float]) -> None:
        """HPDIs of the posterior."""
        verdict = self.inference.samples.verdict
        self.failures += [f"not converged: {reason}" for reason in verdict.reasons]
        found = [self.inference.hpdi(self.name, level, lower=self.lower) for level in levels]
        self.numbers |= {"hpdi": [h.to_json() | {"lower": self.lower} for h in found], "samples": verdict.to_json()}
        self.parts.append(_hpdi_table(self.name, found, self.lower, float(verdict.ess.min())))

    def confident(self, levels: Sequence[float], grid: np.ndarray | None) -> None:
        """Maximum, intervals of t_mu, and its scan: of a parameter whose prior is flat."""
        fit = self.inference.mle()
        index = self.inference.samples.names.index(self.name)
        best = {"logpdf": float(fit.value[0]), self.name: float(fit.theta[0, index]), "status": str(fit.status[0])}
        self.numbers["mle"] = best
        if not fit.converged.all():
            self.failures.append(f"the fit of the maximum: {best['status']}")
        about = {f"{self.name} at the maximum": f"{best[self.name]:.5g} ({best['status']})"}
        self.parts.append(tables.facts({**about, "logpdf there": f"{best['logpdf']:z.6f}"}))
        if grid is not None or self.inference.density.has_flat_prior(self.name):  # type: ignore[union-attr]
            self._intervals(levels)
        else:
            self.parts.append(f"no t_mu: {self.name} has a prior that is not flat")
        if grid is not None:
            self._scan(grid)

    def _intervals(self, levels: Sequence[float]) -> None:
        found: dict[float, Sequence[Interval]] = {}
        for level in levels:
            try:
                found[level] = self.inference.interval(self.name, level, progress=self.progress)
            except NotConverged as error:
                self.failures.append(f"interval at {level:g}: {error}")
        self.numbers["intervals"] = [{"level": k, "intervals": [[i.low, i.high] for i in v]} for k, v in found.items()]
        places = tables.decimals(min((i.width for v in found.values() for i in v), default=1.0))
        rows = [(f"{100 * k:g} %", " and ".join(_confidence(found[k], places)) if k in found else None) for k in levels]
        note = "asymptotic: t_mu as chi-squared with one degree of freedom"
        self.parts.append(tables.table(f"Confidence intervals of {self.name}", ("level", "t_mu"), rows, note, left=2))

    def _scan(self, grid: np.ndarray) -> None:
        scan = self.inference.tmu(self.name, grid, progress=self.progress)
        failed = int((scan.status != "converged").sum())
        if failed:
            self.failures.append(f"{failed} of {len(grid)} fits of t_mu did not converge")
        self.numbers["tmu"] = {self.name: grid, "tmu": scan.tmu, "status": scan.status.tolist()}
        self.parts.append(_scan_table(self.name, scan))

    def report(self, folder: Path) -> Report:
        """What is shown."""
        saved = tables.facts({"saved in": folder})
        return Report({"folder": str(folder), **self.numbers}, (*self.parts, saved), self.failures)


def _hpdi_table(name: str, found: Sequence[Hpdi], lower: float | None, ess: float) -> Any:
    places = tables.decimals(min(h.intervals[-1].high - h.intervals[0].low for h in found))
    rows = []
    for h in found:
        pieces = [
            (tables.interval((i.low, i.high), places), u) for i, u in zip(h.intervals, h.uncertainty, strict=True)
        ]
        words, errors = zip(*((text, tables.pair(u)) for text, u in pieces), strict=True)
        rows.append((f"{100 * h.level:g} %", " and ".join(words), " and ".join(errors)))
    condition = "" if lower is None else f" given {name} > {lower:g}"
    note = f"{ess:,.0f} effective samples"
    return tables.table(f"HPDI of {name}{condition}", ("level", "interval", "± std. errors"), rows, note)


def _confidence(found: Sequence[Interval], places: int) -> Iterator[str]:
    for i in found:
        ends = [note for is_open, note in ((i.open_low, "lower"), (i.open_high, "upper")) if is_open]
        beyond = f" (the {' and '.join(ends)} end is that of the range)" if ends else ""
        yield f"{tables.interval((i.low, i.high), places)}{beyond}"


def _scan_table(name: str, scan: ProfileScan) -> Any:
    rows = zip(scan.points[:, 0], scan.tmu, scan.status, strict=True)
    cells = [(f"{x:.6g}", f"{t:z.4f}", tables.status(str(word))) for x, t, word in rows]
    return tables.table(f"t_mu of {name}", (name, "t_mu", "fit"), cells)


@click.command(
    cls=Command, short_help="Compare a surrogate with its truth.", example="dnnlik agree toy-lhc runs/toy/model"
)
@click.argument("truth")
@click.argument("surrogate")
@chain_options
@progress_option
def agree(truth: str, surrogate: str, *, progress: bool, **settings: int | None) -> Report:
    """Put the same questions to a truth and to its surrogate, and judge the differences.

    TRUTH and SURROGATE are sources, recipes, saved likelihoods, DnnLiks or published models of the same parameters.
    Errors in nats by region, HPDIs, t_mu, marginals and correlations are compared. The exit code is 1 if one of them
    differs by more than its limit.
    """
    from ..comparison import agreement
    from .opening import density

    found = agreement(density(truth), density(surrogate), config=_config(settings), progress=progress)
    numbers = {name: getattr(found, name) for name in ("regions", "hpdi", "tmu", "ks", "correlation_difference")}
    return Report(numbers, tuple(_agreement_parts(found)), found.failures)


def _agreement_parts(found: Agreement) -> Iterator[Any]:
    columns = ("where", "points", "refused", "RMSE", "bias", "99 %", "largest", "RMSE of a Gaussian", "skill")
    errors = ("rmse", "bias", "q99", "max", "baseline_rmse", "skill")
    rows = [
        (where, f"{r['n']:,.0f}", f"{r['refused']:.2%}", *(tables.number(r[k]) for k in errors))
        for where, r in found.regions.items()
    ]
    yield tables.table("Errors in nats, surrogate - truth", columns, rows)
    for poi, levels in found.hpdi.items():
        yield _edges(poi, levels)
    for poi, scan in found.tmu.items():
        cells = [
            (f"{x:.4g}", f"{a:z.4f}", f"{b:z.4f}", f"{b - a:+z.4f}")
            for x, a, b in zip(scan["mu"], scan["truth"], scan["surrogate"], strict=True)
        ]
        note = f"error of the maximum: {scan['maximum_error']:.3g} nats; fits that failed: {scan['failed_fits']}"
        yield tables.table(f"t_mu of {poi}", (poi, "truth", "surrogate", "difference"), cells, note)
    ks = found.ks
    yield tables.facts(
        {
            "KS p-values": f"median {ks['median_p']:.3g}, smallest {ks['min_p']:.3g} ({ks['worst']})",
            "correlations differ by": f"{found.correlation_difference:.3g} (Frobenius norm)",
            "agreement": "yes" if found.passed else "no",
        }
    )


def _edges(poi: str, levels: Any) -> Any:
    columns = ("level", "truth", "surrogate", "difference", "± std. error")
    rows = [
        (
            f"{100 * float(level):g} %",
            *(_pieces(row[who]) for who in ("truth", "surrogate")),
            tables.number(row["difference"]),
            tables.number(row["standard_error"], 1),
        )
        for level, row in levels.items()
    ]
    return tables.table(f"HPDI of {poi}", columns, rows)


def _pieces(edges: Sequence[float]) -> str:
    """Low, high, low, high, ... as intervals."""
    return " and ".join(str(tables.interval(piece, 4)) for piece in zip(edges[::2], edges[1::2], strict=True))
