r"""`Inference`: the questions a physicist asks of a likelihood, put to any LogDensity, truth or surrogate.

    posterior   samples by HMC        hpdi, hpdi_2d, marginal   what they say
    map, mle    maxima                profile, tmu, interval    profile likelihood (arXiv:1007.1727, eq. 8)

The MAP maximises `logpdf`. The MLE maximises it without the normal priors of the parameters of interest; the priors of
the nuisances stay, being the likelihood of their auxiliary measurements, and so do ranges. t_mu asks for a parameter
of interest without a normal prior and refuses others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from .config import Config, require
from .errors import ConfigError, DomainError, MissingArtifact, NotConverged, ParameterError, ShapeError
from .jsonfiles import fingerprint, pretty, read_json
from .priors import Normal, Prior
from .protocols import LogDensity
from .results import Agreement, Contours, Convergence, Fit, Hpdi, Interval, Marginal, ProfileScan, Samples
from .runlog import RunLog
from .statistics import agreement as comparison
from .statistics import profile as profiles
from .statistics import teststats
from .statistics.density import density_1d
from .statistics.hpdi import hpdi, hpdi_2d
from .statistics.weighted import effective_size, ks_two_sample
from .store import Artifact

if TYPE_CHECKING:
    from .statistics.pseudo_experiments import PseudoExperiments

__all__ = ["Inference", "InferenceConfig", "agreement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig(Config):
    """How questions are answered.

    Attributes:
        n_chains: of HMC.
        n_steps: kept steps a chain.
        n_warmup: steps before them.
        seed: of everything random.
        tolerance: distance to a maximum, in standard deviations, at which a fit has converged.
        noise: rounding error of logpdf in nats, beyond that of float64 (about 1e-5 for a float32 network).
        max_iterations: evaluations of one fit.
        neighbours: how many neighbours' solutions each point of a scan tries.
    """

    n_chains: int = 256
    n_steps: int = 400
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
            require(isinstance(value, int) and value >= least, f"{name} must be an integer >= {least}, got {value!r}")
        require(self.neighbours >= 0, f"neighbours must be >= 0, got {self.neighbours}")
        require(self.tolerance > 0 and self.noise >= 0, "tolerance must be > 0 and noise >= 0")

    @property
    def fits(self) -> dict[str, Any]:
        """Options of the maximiser."""
        return {"tolerance": self.tolerance, "noise": self.noise, "max_iterations": self.max_iterations}


class Inference(Artifact):
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
        self._about = _describe(density)
        self._samples = _as_samples(density, samples)
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
        density = self._known()
        if density.kind == "profiled" and not density.prior:
            raise ConfigError("a profiled likelihood is no density over its parameters: give it a prior (with_prior)")
        from .sampler import Sampler, SamplerConfig

        c = self.config
        settings: dict[str, Any] = {
            "n_chains": c.n_chains,
            "n_steps": c.n_steps,
            "n_warmup": c.n_warmup,
            "seed": c.seed,
        }
        if method == "emcee":
            d = len(density.parameters)
            settings |= {"n_chains": max(c.n_chains, 2 * d + 2), "n_warmup": max(c.n_warmup, 20 * d), "thin": 10}
        start = self._spread_start(settings["n_chains"])
        settings |= {} if start is None else {"start": "given"}
        sampler = Sampler(density, SamplerConfig(method=method, **settings))
        return sampler.run(folder, start=start, progress=progress)

    def _spread_start(self, n: int) -> np.ndarray | None:
        """(n, d) points around the maximum, twice as wide as its curvature says; None if the prior gives some."""
        density = self._known()
        lower, upper = profiles.limits(density)
        if np.isfinite(np.where(density.prior.columns(density.parameters).precision > 0, 0.0, upper - lower)).all():
            return None
        centre = self.map().theta
        _, _, hess = density.logpdf_grad_hess(centre)
        eigenvalues, vectors = np.linalg.eigh(-hess[0])
        scale = 2.0 / np.sqrt(np.maximum(eigenvalues, 1e-6 * eigenvalues.max()))
        drawn = np.random.default_rng(self.config.seed).standard_normal((20 * n, len(lower)))
        points = centre + (drawn * scale) @ vectors.T
        inside = points[density.support(points)][:n]
        if len(inside) < n:
            raise DomainError(f"only {len(inside)} of {n} chains found a start near the maximum; give bounds or priors")
        return inside

    @property
    def samples(self) -> Samples:
        """The samples; drawn now if there are none yet."""
        return self._samples if self._samples is not None else self.posterior()

    def _doubts(self) -> tuple[str, ...]:
        return () if self._samples is None else tuple(f"not converged: {r}" for r in self._samples.verdict.reasons)

    def _column(self, name: str) -> tuple[np.ndarray, float, tuple[float, float]]:
        """Values of one parameter, their effective number and their hard ends."""
        samples = self.samples
        if name not in samples.names:
            raise ParameterError(f"no samples of {name!r}; there are {list(samples.names[:8])}")
        i = samples.names.index(name)
        x = samples.column(name)
        share = 1.0 if self._weights is None else effective_size(self._weights) / len(x)
        ess = float(samples.verdict.ess[i])
        size = float(np.clip(ess if np.isfinite(ess) else 2.0, 2.0, len(x))) * share
        return x, size, self._about["ends"].get(name, (-np.inf, np.inf))

    def hpdi(self, name: str, level: float, *, lower: float | None = None, upper: float | None = None) -> Hpdi:
        """The highest posterior density interval, possibly in pieces, with the standard errors of its edges.

        Args:
            name: the parameter.
            level: probability inside, in (0, 1).
            lower: ask under the condition that the parameter is at least this (mu > 0, say).
            upper: likewise at most.
        """
        from dataclasses import replace

        x, size, ends = self._column(name)
        found = hpdi(x, level, self._weights, lower=lower, upper=upper, support=ends, n_eff=size)
        found = replace(found, warnings=self._doubts())
        numbers = {
            "level": level,
            "lower": lower,
            "upper": upper,
            "intervals": [[i.low, i.high] for i in found.intervals],
            "uncertainty": [[v if np.isfinite(v) else None for v in pair] for pair in found.uncertainty],
        }
        condition = "".join(f", {k}={v:g}" for k, v in (("lower", lower), ("upper", upper)) if v is not None)
        self._note(f"hpdi({name}, {level:g}{condition})", numbers, warnings=found.warnings)
        return found

    def hpdi_2d(self, first: str, second: str, levels: Sequence[float] = (0.6827, 0.9545, 0.9973)) -> Contours:
        """The density of two parameters on a grid and the heights of its contours."""
        (x, nx, _), (y, ny, _) = self._column(first), self._column(second)
        found = hpdi_2d(x, y, levels, self._weights, n_eff=min(nx, ny))
        numbers = {"levels": list(found.levels), "thresholds": list(found.thresholds)}
        self._note(f"hpdi_2d({first}, {second})", numbers, warnings=self._doubts())
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
        for i, name in enumerate(samples.names):
            x, size, _ = self._column(name)
            mine, theirs = size, float(np.clip(other.verdict.ess[i], 2.0, len(other.theta)))
            p[name] = ks_two_sample(x, other.column(name), self._weights, sizes=(mine, theirs))[1]
        values = np.array(list(p.values()))
        found = {"p": p, "median_p": float(np.median(values)), "min_p": float(values.min())}
        found |= {"emcee_converged": other.verdict.converged, "emcee_ess": float(np.min(other.verdict.ess))}
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
        fit = profiles.maximum(_without_prior(density, shaped), self._starts(), **self.config.fits)
        self._note_fit("mle", fit)
        return fit

    def profile(self, names: str | Sequence[str], points: Any, *, progress: bool = True) -> ProfileScan:
        """`logpdf` maximised over all other parameters at each point, with a status each.

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
        warnings = [f"{len(bad)} of {len(scan.points)} fits: {sorted(set(scan.status[bad]))}"] if len(bad) else []
        numbers = {
            "points": scan.points.tolist(),
            "profiled_logpdf": [v if np.isfinite(v) else None for v in scan.profiled_logpdf.tolist()],
            "status": scan.status.tolist(),
            "max_logpdf": float(scan.bestfit.value[0]),
        }
        self._note(f"profile({', '.join(scan.names)})", numbers, warnings=warnings, seconds=time.perf_counter() - start)
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
        """Where t_mu is below its asymptotic threshold; the scan range finds itself.

        The range grows until t_mu crosses on both sides or the parameter's range ends (then the interval is open),
        and points are added at the crossings until these move by less than 1e-4 of the width.

        Raises:
            DomainError: a level outside (0, 1), or as for `tmu`.
            NotConverged: fits failed near an edge; `evidence` is the scan.
        """
        root = np.sqrt(teststats.threshold(level))
        fit, i = self.map(), self._known().parameters.index(name)
        low, high = (b[i] for b in profiles.limits(self._known()))
        centre = float(fit.theta[0, i])
        sigma = profiles.standard_deviation(self._known(), fit.theta[0], i)
        reach = np.array([1.3 * root * sigma, 1.3 * root * sigma])
        scan, previous = self.tmu(name, np.unique(np.clip([centre], low, high)), progress=progress), None
        for _ in range(12):
            ends = np.clip([centre - reach[0], centre + reach[1]], low, high)
            new = np.linspace(ends[0], ends[1], 13) if previous is None else previous
            scan = _joined(scan, self.tmu(name, _unseen(new, scan.points[:, 0]), progress=progress))
            x, t = scan.points[:, 0], scan.tmu
            outer = np.array([t[0] < root**2 and x[0] > low, t[-1] < root**2 and x[-1] < high])
            if outer.any():
                reach, previous = np.where(outer, 2 * reach, reach), None
                continue
            found = teststats.interval(x, t, float(scan.bestfit.theta[0, i]), level)
            edges = np.array([[p.low, p.high] for p in found]).ravel()
            same = previous is not None and len(previous) == len(edges)
            if same and np.abs(edges - previous).max() < 1e-4 * (edges[-1] - edges[0]):
                break
            previous = edges
        else:
            raise NotConverged(f"the interval of {name!r} did not settle; look at the scan (evidence)", scan)
        if (scan.status == "outside").any() or (scan.status == "iterations").any():
            raise NotConverged(f"fits failed in the scan of {name!r}: {sorted(set(scan.status))}", scan)
        self._note(f"interval({name}, {level:g})", {"level": level, "intervals": edges.reshape(-1, 2).tolist()})
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

    def _known(self) -> LogDensity:
        if self.density is None:
            raise MissingArtifact("this inference was loaded from disk: use attach(density) before new questions")
        return self.density

    def attach(self, density: LogDensity) -> Self:
        """Give a loaded inference its density again.

        Raises:
            ConfigError: another density than the one it was made with.
        """
        if _describe(density)["density"] != self._about["density"]:
            raise ConfigError("this is not the density that the answers are about (fingerprints differ)")
        self.density = density
        return self

    def _note_fit(self, question: str, fit: Fit) -> None:
        status = str(fit.status[0])
        numbers = {"logpdf": float(fit.value[0]), "theta": fit.theta[0].tolist(), "status": status}
        self._note(question, numbers, warnings=() if status == "converged" else (f"fit {status}",))

    def _note(
        self, question: str, numbers: Mapping[str, Any], warnings: Sequence[str] = (), seconds: float | None = None
    ) -> None:
        """Keep an answer, and log that it was given."""
        self.answers[question] = {**numbers, "warnings": list(warnings)}
        self.log.record(
            question.split("(")[0],
            id=self.fingerprint,
            parents=self.parents,
            seconds=None if seconds is None else round(seconds, 6),
            seed=self.config.seed,
            numbers={"question": question, **numbers},
            warnings=warnings,
        )

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
            s = self._samples
            arrays: dict[str, Any] = {
                "chains": s.chains,
                "logpdf": s.logpdf,
                "rhat": s.verdict.rhat,
                "tau": s.verdict.tau,
            }
            arrays |= {"ess": s.verdict.ess} | ({} if self._weights is None else {"weights": self._weights})
            np.savez(folder / "samples.npz", **arrays)
            about = {"names": list(s.names), "seconds": s.seconds, "verdict": s.verdict.to_json()}
            (folder / "samples.json").write_text(pretty(about), "utf-8")

    @classmethod
    def _read(cls, folder: Path, metadata: Mapping[str, Any]) -> Self:
        loaded = cls.__new__(cls)
        loaded.density = None
        loaded.config = InferenceConfig.from_json(read_json(folder / "config.json"))
        loaded.answers = read_json(folder / "answers.json")
        ends = {
            n: (-np.inf if pair[0] is None else pair[0], np.inf if pair[1] is None else pair[1])
            for n, pair in metadata["ends"].items()
        }
        loaded._about = {"density": metadata["parents"][0], "parameters": metadata["parameters"], "ends": ends}
        loaded._bestfit = None
        loaded._samples = loaded._weights = None
        if (folder / "samples.npz").exists():
            loaded._samples, loaded._weights = _read_samples(folder)
        return loaded


def _read_samples(folder: Path) -> tuple[Samples, np.ndarray | None]:
    about = read_json(folder / "samples.json")
    with np.load(folder / "samples.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    v = about["verdict"]
    verdict = Convergence(
        arrays["rhat"], arrays["tau"], arrays["ess"], v["acceptance"], v["converged"], tuple(v["reasons"])
    )
    samples = Samples(tuple(about["names"]), arrays["chains"], arrays["logpdf"], verdict, about["seconds"])
    return samples, arrays.get("weights")


def _describe(density: LogDensity) -> dict[str, Any]:
    """Parameters, hard ends and fingerprint of a density."""
    parameters = density.parameters.to_json()
    known = getattr(density, "fingerprint", None)
    lower, upper = profiles.limits(density)
    return {
        "density": known or fingerprint([type(density).__name__, parameters, density.prior.to_json(), density.kind]),
        "parameters": parameters,
        "ends": {n: (float(a), float(b)) for n, a, b in zip(density.parameters.names, lower, upper, strict=True)},
    }


def _as_samples(density: LogDensity, samples: Any) -> Samples | None:
    """Samples as they are, or an array of independent points dressed as samples."""
    if samples is None:
        return None
    if isinstance(samples, Samples):
        if samples.names != density.parameters.names:
            raise ShapeError(f"samples of {samples.names[:5]}... for a density of {density.parameters.names[:5]}...")
        return samples
    theta = density.points(samples)
    n, d = theta.shape
    verdict = Convergence(np.ones(d), np.ones(d), np.full(d, float(n)), 1.0, converged=True, reasons=())
    return Samples(density.parameters.names, theta[:, None, :], density.logpdf(theta)[:, None], verdict)


def _without_prior(density: LogDensity, names: Sequence[str]) -> LogDensity:
    """The density divided by the normal priors of some parameters."""
    from .composition import Composite, Quadratic, Term

    d = len(density.parameters)
    correction = Quadratic.zero(d).plus(density.prior.only(names), density.parameters, -1.0)
    rest = Prior({n: t for n, t in density.prior.terms.items() if n not in names})
    term = Term(density, np.eye(d), np.zeros(d))
    return Composite([term], density.parameters, rest, density.kind, correction)


def _unseen(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The new points that are not among the old ones."""
    x = np.unique(new)
    return x[~np.isclose(x[:, None], old[None, :], rtol=0, atol=1e-12 * max(1.0, np.ptp(x))).any(axis=1)]


def _joined(a: ProfileScan, b: ProfileScan) -> ProfileScan:
    """Two scans of one parameter in order."""
    points = np.concatenate([a.points, b.points])
    order = np.argsort(points[:, 0], kind="stable")
    value, theta, status = (
        np.concatenate([getattr(a, n), getattr(b, n)])[order] for n in ("profiled_logpdf", "theta", "status")
    )
    best = a.bestfit if a.bestfit.value[0] >= b.bestfit.value[0] else b.bestfit
    return ProfileScan(a.names, points[order], value, theta, status, best)


def agreement(
    truth: LogDensity,
    surrogate: LogDensity,
    *,
    truth_samples: Samples | Any = None,
    surrogate_samples: Samples | Any = None,
    scans: Mapping[str, Any] | None = None,
    config: InferenceConfig | None = None,
    surrogate_config: InferenceConfig | None = None,
    limits: comparison.Limits | None = None,
    n_points: int = 20000,
    progress: bool = True,
) -> Agreement:
    """Compare a surrogate with its truth, by the same questions to both.

    Regions: "bulk" (samples of the truth), "own" (samples of the surrogate), "tails" (the lowest hundredth of the
    truth's samples) and "profile" (where the surrogate's own profile fits ended: a maximiser seeks its errors out).

    Args:
        truth: the density that was learned.
        surrogate: what learned it; same parameters.
        truth_samples: drawn by HMC if None.
        surrogate_samples: likewise.
        scans: points of t_mu for each parameter of interest; 11 points over the 95 % HPDI of the truth if None.
        config: of the questions to the truth.
        surrogate_config: of those to the surrogate (a float32 network wants some `noise`); the same if None.
        limits: what counts as agreement.
        n_points: how many samples of each region are evaluated.
        progress: whether bars are shown.

    Raises:
        ParameterError: densities of other parameters.
    """
    if truth.parameters.names != surrogate.parameters.names:
        raise ParameterError("truth and surrogate have other parameters, or another order: rename or reorder one")
    true = Inference(truth, truth_samples, config)
    own = Inference(surrogate, surrogate_samples, surrogate_config or config)
    drawn = [i.samples if i._samples is not None else i.posterior(progress=progress) for i in (true, own)]
    points = dict(scans) if scans is not None else {n: _scan_points(true, n) for n in truth.parameters.pois}
    pairs = {
        n: (true.profile(n, x, progress=progress), own.profile(n, x, progress=progress)) for n, x in points.items()
    }
    rng = np.random.default_rng(true.config.seed)
    order = np.argsort(drawn[0].flat_logpdf)
    tails = order[: max(1, len(order) // 100)]
    places = {
        "bulk": drawn[0].theta[_some(rng, len(order), n_points)],
        "own": drawn[1].theta[_some(rng, len(drawn[1].theta), n_points)],
        "tails": drawn[0].theta[tails[_some(rng, len(tails), n_points)]],
    }
    if pairs:
        places["profile"] = np.concatenate([scan.theta for _, scan in pairs.values()])
    places = {name: x[truth.support(x)] for name, x in places.items()}
    regions = {name: comparison.Region(x, truth.logpdf(x), surrogate.logpdf(x)) for name, x in places.items() if len(x)}
    return comparison.agreement(regions, drawn[0], drawn[1], pairs, support=true._about["ends"], limits=limits)


def _some(rng: np.random.Generator, n: int, most: int) -> np.ndarray:
    return np.arange(n) if n <= most else rng.choice(n, most, replace=False)


def _scan_points(inference: Inference, name: str) -> np.ndarray:
    edges = inference.hpdi(name, 0.95).intervals
    return np.linspace(edges[0].low, edges[-1].high, 11)
