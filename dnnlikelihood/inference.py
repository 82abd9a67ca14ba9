r"""`Inference`: the questions a physicist asks of a likelihood, put to any LogDensity, truth or surrogate.

    posterior   samples by HMC        hpdi, hpdi_2d, marginal   what they say
    map, mle    maxima                profile, tmu, interval    profile likelihood (arXiv:1007.1727, eq. 8)
    cls, upper_limit, discovery, ...  tests of signals against a profiled likelihood (`SignalQuestions`)
    valleys, scan, intervals          of densities with several maxima, frozen or profiled (`ScanQuestions`)

The MAP maximises `logpdf`. The MLE maximises it without the normal priors of the parameters of interest; the priors of
the nuisances stay, being the likelihood of their auxiliary measurements, and so do ranges. t_mu asks for a parameter
of interest without a normal prior and refuses others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from .chains import as_samples, column, describe, draw, has_proper_prior, read_samples, write_samples
from .config import Config, require
from .errors import ConfigError, DomainError, ShapeError
from .jsonfiles import fingerprint, pretty, read_json
from .priors import Normal
from .protocols import LogDensity
from .results import Contours, Fit, Hpdi, Interval, Marginal, ProfileScan, Samples
from .runlog import RunLog
from .scan_questions import ScanQuestions
from .signal_questions import SignalQuestions
from .statistics import profile as profiles
from .statistics import teststats
from .statistics.density import density_1d
from .statistics.hpdi import hpdi, hpdi_2d
from .statistics.interval import scan_interval
from .statistics.weighted import ks_two_sample
from .store import check_file

if TYPE_CHECKING:
    from .statistics.pseudo_experiments import PseudoExperiments

__all__ = ["Inference", "InferenceConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig(Config):
    """How questions are answered.

    Attributes:
        n_chains: of HMC.
        n_steps: kept steps a chain; None for 400, and up to 1600 while the chains disagree.
        n_warmup: steps before them.
        seed: of everything random.
        tolerance: distance to a maximum, in standard deviations, at which a fit has converged.
        noise: least rounding error of logpdf in nats; the density's own `rounding` counts if it is larger.
        max_iterations: evaluations of one fit.
        neighbours: how many neighbours' solutions each point of a scan tries.
    """

    n_chains: int = 256
    n_steps: int | None = None
    n_warmup: int = 200
    seed: int = 0
    tolerance: float = 1e-6
    noise: float = 0.0
    max_iterations: int = 100
    neighbours: int = 2

    def validate(self) -> None:
        """Counts are positive, the seed and the number of neighbours not negative."""
        for name, least in (("n_chains", 1), ("n_steps", 1), ("n_warmup", 0), ("seed", 0), ("max_iterations", 1)):
            value = getattr(self, name)
            if value is None and name == "n_steps":
                continue
            require(isinstance(value, int) and value >= least, f"{name} must be an integer >= {least}, got {value!r}")
        require(self.neighbours >= 0, f"neighbours must be >= 0, got {self.neighbours}")
        require(self.tolerance > 0 and self.noise >= 0, "tolerance must be > 0 and noise >= 0")

    @property
    def fits(self) -> dict[str, Any]:
        """Options of the maximiser."""
        return {"tolerance": self.tolerance, "noise": self.noise, "max_iterations": self.max_iterations}


class Inference(SignalQuestions, ScanQuestions):
    """Answers to questions about one log-density::

        inference = Inference(toy)
        inference.tmu("mu", [0, 0.5, 1]).tmu
        inference.posterior()
        inference.hpdi("mu", 0.95, lower=0)

    Args:
        density: truth or surrogate.
        samples: of its posterior, if there are any: Samples with their verdict, or an array (n, d) of independent
            points. Otherwise `posterior` draws them when asked.
        weights: (n,) of the samples.
        config: how questions are answered.
    """

    noun: ClassVar[str] = "inference"

    def __init__(
        self,
        density: LogDensity,
        samples: Samples | Any = None,
        config: InferenceConfig | None = None,
        *,
        weights: Any = None,
    ) -> None:
        self.density: LogDensity | None = density
        self.config = config or InferenceConfig()
        self.log = RunLog()
        self.answers: dict[str, Any] = {}
        self._about = describe(density)
        self._samples = as_samples(density, samples)
        self._weights = None if weights is None else np.asarray(weights, float)
        if self._weights is not None and (self._samples is None or self._weights.shape != (len(self._samples.theta),)):
            raise ShapeError(f"weights of shape {self._weights.shape} fit no samples")
        self._bestfit: Fit | None = None

    # Samples ---------------------------------------------------------------------------------------------------------

    def posterior(self, *, folder: str | Path | None = None, progress: bool = True) -> Samples:
        """Draw samples by HMC, and keep them for the questions that need some.

        Args:
            folder: where the run is kept and resumed from; in memory if None.
            progress: whether a bar is shown.

        Raises:
            ConfigError: a profiled density without a prior, which is nothing to integrate over.
        """
        self._samples, self._weights = self._draw("hmc", folder, progress=progress), None
        self._note("posterior", self._samples.verdict.to_json(), warnings=self._doubts())
        return self._samples

    def _draw(self, method: str, folder: str | Path | None, *, progress: bool) -> Samples:
        c, density = self.config, self._known()
        start = None if has_proper_prior(density) else self.map().theta
        settings = {"n_chains": c.n_chains, "n_warmup": c.n_warmup, "seed": c.seed}
        settings |= {} if c.n_steps is None else {"n_steps": c.n_steps}
        return draw(density, method, folder, around=start, progress=progress, **settings)

    @property
    def samples(self) -> Samples:
        """The samples; drawn now if there are none yet."""
        return self._samples if self._samples is not None else self.posterior()

    def _doubts(self) -> tuple[str, ...]:
        return () if self._samples is None else tuple(f"not converged: {r}" for r in self._samples.verdict.reasons)

    def _column(self, name: str) -> tuple[np.ndarray, float, tuple[float, float]]:
        """Values of one parameter, their effective number and their hard ends."""
        x, size = column(self.samples, self._weights, name)
        return x, size, self._about["ends"].get(name, (-np.inf, np.inf))

    def hpdi(self, name: str, level: float, *, lower: float | None = None, upper: float | None = None) -> Hpdi:
        """The highest posterior density interval, possibly in pieces, with the standard errors of its edges.

        Args:
            name: the parameter.
            level: probability inside, in (0, 1).
            lower: ask under the condition that the parameter is at least this (mu > 0, say).
            upper: likewise at most.
        """
        x, size, ends = self._column(name)
        plain = hpdi(x, level, self._weights, lower=lower, upper=upper, support=ends, n_eff=size)
        found = replace(plain, warnings=self._doubts())
        numbers = {**found.to_json(), "lower": lower, "upper": upper}
        condition = "".join(f", {k}={v:g}" for k, v in (("lower", lower), ("upper", upper)) if v is not None)
        self._note(f"hpdi({name}, {level:g}{condition})", numbers, warnings=found.warnings)
        return found

    def hpdi_2d(self, first: str, second: str, levels: Sequence[float] = (0.6827, 0.9545, 0.9973)) -> Contours:
        """The density of two parameters on a grid and the heights of its contours."""
        (x, nx, _), (y, ny, _) = self._column(first), self._column(second)
        found = hpdi_2d(x, y, levels, self._weights, n_eff=min(nx, ny))
        self._note(f"hpdi_2d({first}, {second})", {"thresholds": list(found.thresholds)}, warnings=self._doubts())
        return found

    def marginal(self, name: str) -> Marginal:
        """The posterior density of one parameter."""
        x, size, ends = self._column(name)
        grid, f, h = density_1d(x, self._weights, support=ends, n_eff=size)
        self._note(f"marginal({name})", {"bandwidth": h, "n_eff": size}, warnings=self._doubts())
        return Marginal(name, grid, f)

    def cross_check(self, *, progress: bool = True) -> dict[str, Any]:
        """HMC against emcee: KS tests of all marginals with effective sample sizes; {"p": {name: p}, "median_p", ...}.

        emcee runs on whatever number of walkers its ensemble needs; if it has not converged the numbers say so.
        """
        samples, other = self.samples, self._draw("emcee", None, progress=progress)
        p = {}
        for name in samples.names:
            x, size, _ = self._column(name)
            y, theirs = column(other, None, name)
            p[name] = ks_two_sample(x, y, self._weights, sizes=(size, theirs))[1]
        values = np.array(list(p.values()))
        found = {"p": p, "median_p": float(np.median(values)), "min_p": float(values.min())}
        found["emcee_converged"] = other.verdict.converged
        doubts = [*self._doubts(), *(f"emcee not converged: {r}" for r in other.verdict.reasons)]
        self._note("cross_check", {k: v for k, v in found.items() if k != "p"}, warnings=doubts)
        return found

    # Maxima and profiles ---------------------------------------------------------------------------------------------

    def _starts(self) -> np.ndarray | None:
        """Where fits start: the mean of the samples and the highest of them."""
        if self._samples is None:
            return None
        theta, logpdf = self._samples.theta, self._samples.flat_logpdf
        starts = theta.mean(axis=0)[None]
        return np.concatenate([starts, theta[[int(np.argmax(logpdf))]]]) if np.isfinite(logpdf).any() else starts

    def map(self) -> Fit:
        """The maximum of `logpdf`: one row, with its status."""
        if self._bestfit is None:
            self._bestfit = profiles.maximum(self._known(), self._starts(), **self.config.fits)
            self._note_fit("map", self._bestfit)
        return self._bestfit

    def mle(self) -> Fit:
        """The maximum without the normal priors of the parameters of interest: one row, with its status."""
        density = self._known()
        shaped = [n for n in density.parameters.pois if isinstance(density.prior.terms.get(n), Normal)]
        if not shaped:
            return self.map()
        fit = profiles.maximum(profiles.without_prior(density, shaped), self._starts(), **self.config.fits)
        self._note_fit("mle", fit)
        return fit

    def profile(self, names: str | Sequence[str], points: Any, *, progress: bool = True) -> ProfileScan:
        """`logpdf` maximised over all other parameters at each point, with a status each.

        It follows the valley of the best fit, and neighbours; a density with several valleys is for `scan`.

        Args:
            names: one parameter or several.
            points: (n,) or (n, k) their values.
            progress: whether a long scan shows a bar.
        """
        start = time.perf_counter()
        scan = profiles.profile(
            self._known(),
            names,
            points,
            bestfit=self.map(),
            neighbours=self.config.neighbours,
            progress=progress,
            **self.config.fits,
        )
        if scan.bestfit.value[0] > self.map().value[0]:
            self._bestfit = scan.bestfit
        bad = np.flatnonzero(scan.status != "converged")
        warnings = (
            [f"{len(bad)} of {len(scan.points)} fits: {sorted(set(scan.status[bad].tolist()))}"] if len(bad) else []
        )
        self._note(
            f"profile({', '.join(scan.names)})", scan.to_json(), warnings=warnings, seconds=time.perf_counter() - start
        )
        return scan

    def tmu(self, name: str, values: Any, *, progress: bool = True) -> ProfileScan:
        """The scan whose `.tmu` is the profile-likelihood ratio t_mu, with a status a point.

        Raises:
            DomainError: a parameter with a prior that is not constant: the ratio would not be one of likelihoods.
        """
        if not self._known().has_flat_prior(name):
            raise DomainError(
                f"{name!r} has a prior that is not constant, so that t_mu is no likelihood ratio; take it out with "
                f"with_prior, or call profile() for the density's own profile"
            )
        return self.profile(name, values, progress=progress)

    def interval(self, name: str, level: float, *, progress: bool = True) -> tuple[Interval, ...]:
        """Where t_mu is below its asymptotic threshold; the scan range finds itself. An end of the range is open.

        Along one valley, as `profile`; `intervals` looks for all.

        Raises:
            DomainError: a level outside (0, 1), or as for `tmu`.
            NotConverged: fits failed, or the edges did not settle; `evidence` is the scan.
        """
        teststats.threshold(level)
        density, fit = self._known(), self.map()
        i = density.parameters.index(name)
        low, high = (float(b[i]) for b in profiles.limits(density))
        found = scan_interval(
            lambda points: self.tmu(name, points, progress=progress),
            float(fit.theta[0, i]),
            profiles.standard_deviation(density, fit.theta[0], i),
            (low, high),
            level,
        )
        self._note(f"interval({name}, {level:g})", {"level": level, "intervals": [[p.low, p.high] for p in found]})
        return found

    def pseudo_experiments(self, name: str, mu: float, n: int, **options: Any) -> PseudoExperiments:
        """The distribution of t_mu from pseudo-experiments, for a Likelihood with counts; see `statistics`.

        Raises:
            ConfigError: a density without counts.
        """
        from .statistics.pseudo_experiments import pseudo_experiments

        source = getattr(self._known(), "source", None)
        if source is None:
            raise ConfigError("pseudo-experiments need a Likelihood made from a counting source")
        found = pseudo_experiments(source, name, mu, n, **{"seed": self.config.seed, **options})
        distance, p = found.ks
        numbers = {"mu": mu, "n": len(found.tmu), "failed": found.failed, "ks_distance": distance, "ks_p": p}
        self._note(f"pseudo_experiments({name}, {mu:g}, {found.method})", numbers)
        return found

    # The artifact ----------------------------------------------------------------------------------------------------

    def attach(self, density: LogDensity) -> Self:
        """Give a loaded inference its density again.

        Raises:
            ConfigError: another density than the one it was made with.
        """
        if describe(density)["density"] != self._about["density"]:
            raise ConfigError("this is not the density that the answers are about (fingerprints differ)")
        self.density = density
        return self

    def _note_fit(self, question: str, fit: Fit) -> None:
        status = str(fit.status[0])
        numbers = {"logpdf": float(fit.value[0]), "theta": fit.theta[0].tolist(), "status": status}
        self._note(question, numbers, warnings=() if status == "converged" else (f"fit {status}",))

    @property
    def parents(self) -> tuple[str, ...]:
        """The fingerprint of the density."""
        return (self._about["density"],)

    @property
    def fingerprint(self) -> str:
        """sha256 of density and configuration."""
        return fingerprint([self.config.to_json(), list(self.parents)])

    def _metadata(self) -> dict[str, Any]:
        ends = {n: [None if np.isinf(v) else v for v in pair] for n, pair in self._about["ends"].items()}
        return {"parameters": self._about["parameters"], "ends": ends, "questions": sorted(self.answers)}

    def _write(self, folder: Path) -> None:
        (folder / "config.json").write_text(pretty(self.config.to_json()), "utf-8")
        (folder / "answers.json").write_text(pretty(self.answers), "utf-8")
        if self._samples is not None:
            write_samples(folder, self._samples, self._weights)

    @classmethod
    def _read(cls, folder: Path, metadata: Mapping[str, Any]) -> Self:
        loaded = cls.__new__(cls)
        loaded.density = None
        loaded.config = InferenceConfig.from_json(read_json(folder / "config.json"))
        check_file(folder, "answers.json")
        loaded.answers = read_json(folder / "answers.json")
        ends = {
            n: (-np.inf if pair[0] is None else pair[0], np.inf if pair[1] is None else pair[1])
            for n, pair in metadata["ends"].items()
        }
        loaded._about = {"density": metadata["parents"][0], "parameters": metadata["parameters"], "ends": ends}
        loaded._bestfit = None
        loaded._samples = loaded._weights = None
        if (folder / "samples.npz").exists():
            loaded._samples, loaded._weights = read_samples(folder)
        return loaded
