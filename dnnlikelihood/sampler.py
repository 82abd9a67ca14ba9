"""`Sampler`: draws Samples from any LogDensity, in blocks, and can be killed at any of them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .config import Config, require
from .errors import ConfigError, MissingArtifact, StaleArtifact
from .jsonfiles import fingerprint, pretty, read_json
from .progress import progress_bar
from .protocols import LogDensity
from .results import Samples
from .runlog import RunLog
from .sampling.chains import Block, Blocks, Engine, State, join
from .sampling.convergence import verdict
from .sampling.ensemble import Ensemble, Move, require_covariance
from .sampling.hmc import Hamiltonian
from .sampling.spread import Spread
from .sampling.starts import check_start, from_prior
from .store import Artifact, lock, write_text

__all__ = ["Move", "Sampler", "SamplerConfig"]

METHODS = ("hmc", "nuts", "emcee")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig(Config):
    """How to sample.

    Attributes:
        method: "hmc" or "nuts" (need a gradient), or "emcee".
        n_chains: chains, or walkers of emcee.
        n_steps: kept steps of every chain; a finished run may be continued with more.
        n_warmup: steps before them, in which HMC finds its step size and covariance.
        thin: transitions a kept step.
        seed: of everything random.
        block: kept steps between two writes to disk.
        start: "prior" (drawn from the prior and, without one, uniform in the bounds) or "given" (to `run`).
        moves: of emcee.
        n_leapfrog: leapfrog steps of HMC, on average; None for a quarter of a period.
        step_size: of HMC and NUTS, in units of the whitened coordinates; None to find it in warm-up.
        target_acceptance: what the step size aims at.
        covariance: (d, d) to whiten HMC and NUTS with; None to learn it in warm-up.
    """

    method: str = "hmc"
    n_chains: int = 256
    n_steps: int = 400
    n_warmup: int = 200
    thin: int = 1
    seed: int = 0
    block: int = 100
    start: str = "prior"
    moves: tuple[Move, ...] = (Move.differential_evolution(),)
    n_leapfrog: int | None = None
    step_size: float | None = None
    target_acceptance: float = 0.8
    covariance: tuple[tuple[float, ...], ...] | None = None

    def validate(self) -> None:
        """See Config."""
        require(self.method in METHODS, f"method {self.method!r} is none of {', '.join(METHODS)}")
        for name, least in (("n_chains", 2), ("n_steps", 4), ("n_warmup", 0), ("thin", 1), ("block", 1), ("seed", 0)):
            value = getattr(self, name)
            require(type(value) is int and value >= least, f"{name} must be a whole number >= {least}, got {value!r}")
        require(self.seed < 2**32, f"seed must be below 2**32, got {self.seed}")
        require(self.start in ("prior", "given"), f"start {self.start!r} is neither 'prior' nor 'given'")
        require(bool(self.moves) and all(isinstance(m, Move) for m in self.moves), "moves must be a tuple of Move")
        require(self.n_leapfrog is None or self.n_leapfrog >= 1, f"n_leapfrog must be >= 1, got {self.n_leapfrog}")
        finite_step = self.step_size is None or 0 < self.step_size < math.inf
        require(finite_step, f"step_size must be positive, got {self.step_size}")
        require(0 < self.target_acceptance < 1, f"target_acceptance {self.target_acceptance} is not in (0, 1)")
        if self.covariance is not None:
            require_covariance(self.covariance)
        adapts = self.method != "emcee" and (self.step_size is None or self.covariance is None)
        require(self.n_warmup > 0 or not adapts, "without warm-up, give step_size and covariance")

    @classmethod
    def paper_s1(cls, **changes: Any) -> Self:
        """Sampling S1 of arXiv:1911.03305, unbiased: stretch moves of a = 1.3 from draws of the prior.

        The paper ran 1000 walkers for 1e6 steps, of which it dropped 5000 and kept every 1000th, eleven times.
        """
        paper: dict[str, Any] = {"n_chains": 1000, "n_steps": 995, "n_warmup": 5000, "thin": 1000, "block": 10}
        return cls(**{"method": "emcee", "moves": (Move.stretch(1.3),), **paper, **changes})

    @classmethod
    def paper_s2(cls, **changes: Any) -> Self:
        """Sampling S2 of arXiv:1911.03305, biased to the profile: small steps of one coordinate from `start`.

        Give `run` 200 profiled maxima with mu uniform in (-1, 1). The chain is not meant to converge: its verdict
        says that it did not.
        """
        moves = (Move.gaussian(0.0005, mode="random"),)
        paper: dict[str, Any] = {"n_chains": 200, "n_steps": 10**5, "n_warmup": 0, "block": 1000, "start": "given"}
        return cls(**{"method": "emcee", "moves": moves, **paper, **changes})


class Sampler(Artifact):
    """Draws samples of a log-density::

        samples = Sampler(toy, SamplerConfig(n_steps=1000)).run("runs/toy")

    Args:
        density: what to sample. HMC and NUTS need its gradient.
        config: how.

    Raises:
        ConfigError: a profiled density without a prior (a profile is no density to integrate), or a covariance of
            another dimension.
    """

    noun: ClassVar[str] = "sampler"

    def __init__(self, density: LogDensity, config: SamplerConfig | None = None) -> None:
        self.density: LogDensity | None = density
        self.config = config or SamplerConfig()
        self.log = RunLog()
        self._blocks: Blocks | None = None
        self._samples: Samples | None = None
        self._run: dict[str, Any] = {}
        self._description = _describe(density)
        if density.kind == "profiled" and not density.prior:
            raise ConfigError("a profiled likelihood is no density over its parameters: give it a prior (with_prior)")
        d, covariances = len(density.parameters), [m.covariance for m in self.config.moves] + [self.config.covariance]
        sizes = {len(c) for c in covariances if c is not None} - {d}
        if sizes:
            raise ConfigError(f"a covariance of {sizes.pop()} dimensions for a density of {d} parameters")

    # Sampling --------------------------------------------------------------------------------------------------------

    def run(
        self,
        folder: str | Path | None = None,
        *,
        start: Any = None,
        executor: Executor | None = None,
        must_converge: bool = True,
        progress: bool = True,
    ) -> Samples:
        """Sample; continue where a killed run of the same folder stopped, to the identical chain.

        A finished folder is the saved artifact: running it again reads it, and more `n_steps` continue it.

        Args:
            folder: where blocks are kept; in memory if None.
            start: (n_chains, d) points, with config.start = "given".
            executor: evaluates the density piece by piece: for expensive densities in Python or NumPy. The chain does
                not depend on the number of workers.
            must_converge: whether chains that do not agree are worth a warning; False for points that are only to be
                learned from. The verdict is the same.
            progress: show a bar, on a terminal.

        Raises:
            ConfigError, DomainError, LikelihoodError: starting points that cannot be sampled from, by walker and name.
            StaleArtifact: the folder holds a run of another density, configuration or start.
            Locked: another process is working in the folder.
            SaveFailed: the disk refused; the blocks so far are intact.
        """
        density = self._known() if executor is None else Spread(self._known(), executor)
        folder = None if folder is None else Path(folder)
        run = self._identity(start)
        with nullcontext() if folder is None else lock(folder):
            self._run = run if folder is None else self._enter(folder, run)
            blocks = Blocks(None if folder is None else folder / "blocks")
            made = self._advance(density, blocks, start, progress=progress)
            self._blocks, self._samples = blocks, None
        if made:
            numbers = {**self.samples.verdict.to_json(), "cpu_seconds": self.samples.seconds, "blocks": made}
            reasons = [f"not converged: {r}" for r in self.samples.verdict.reasons if must_converge]
            self._record("sampled", numbers, warnings=reasons, seconds=numbers["cpu_seconds"])
        if folder is not None and (made or not (folder / "metadata.json").exists()):
            self.save(folder, overwrite=True)
        return self.samples

    @property
    def samples(self) -> Samples:
        """What was drawn, with its verdict; read from disk when first asked for.

        Raises:
            MissingArtifact: nothing was drawn yet.
        """
        if self._blocks is None:
            raise MissingArtifact("nothing was sampled yet; call run()")
        if self._samples is None:
            chains, logpdf, acceptance, seconds = join(self._blocks, self.config.n_steps)
            names = tuple(p["name"] for p in self._description["parameters"])
            judged = verdict(chains, acceptance, names=names, ensemble=self.config.method == "emcee")
            self._samples = Samples(names, chains, logpdf, judged, seconds)
        return self._samples

    def _advance(self, density: LogDensity, blocks: Blocks, start: Any, *, progress: bool) -> int:
        """Make the blocks that are missing; how many there were."""
        engine = self._engine(density)
        if len(blocks):
            state, drawn = blocks[-1].draws.state, blocks[-1].drawn
            _same_density(density, state)
        else:
            theta = self._start(density, start)
            engine.check(density.parameters, theta)
            state, drawn = engine.start(theta, check_start(density, theta)), 0
        plan = _plan(engine.windows[len(blocks) :], self.config.n_steps - drawn, self.config.block)
        if not plan:
            return 0
        self._record("sampling", {"first_block": len(blocks), "blocks": len(plan), "drawn_before": drawn})
        engine.prepare(state)
        for kind, size in _track(plan, progress=progress):
            cpu = time.process_time()
            draws = engine.warm(state, len(blocks)) if kind == "warm" else engine.draw(state, size)
            drawn += len(draws.chain)
            blocks.append(Block(draws, drawn, time.process_time() - cpu))
            state = draws.state
        return len(plan)

    def _engine(self, density: LogDensity) -> Engine:
        c = self.config
        if c.method == "emcee":
            return Ensemble(density, moves=c.moves, n_warmup=c.n_warmup, thin=c.thin, seed=c.seed, block=c.block)
        return Hamiltonian(
            density,
            n_warmup=c.n_warmup,
            thin=c.thin,
            seed=c.seed,
            n_leapfrog=c.n_leapfrog,
            step_size=c.step_size,
            target_acceptance=c.target_acceptance,
            covariance=None if c.covariance is None else np.array(c.covariance),
            no_u_turn=c.method == "nuts",
        )

    def _start(self, density: LogDensity, start: Any) -> np.ndarray:
        c = self.config
        if (start is not None) != (c.start == "given"):
            raise ConfigError(f"config.start is {c.start!r}, and start was {'' if start is not None else 'not '}given")
        if start is None:
            return from_prior(density, c.n_chains, np.random.default_rng(c.seed))
        theta = density.points(start)
        if len(theta) != c.n_chains:
            raise ConfigError(f"{len(theta)} starting points for {c.n_chains} chains; give one for each")
        return theta

    def _known(self) -> LogDensity:
        if self.density is None:
            raise MissingArtifact("this sampler was loaded from disk: use Sampler(density, config).run(folder)")
        return self.density

    # The artifact ----------------------------------------------------------------------------------------------------

    @property
    def parents(self) -> tuple[str, ...]:
        """The fingerprint of the density."""
        return (self._description["density"],)

    @property
    def fingerprint(self) -> str:
        """sha256 of density and configuration, which together fix every draw of a run from the prior."""
        return fingerprint([self.config.to_json(), list(self.parents)])

    def _identity(self, start: Any) -> dict[str, Any]:
        """What the blocks of a run depend on; more steps only add blocks."""
        config = {k: v for k, v in self.config.to_json().items() if k != "n_steps"}
        points = None if start is None else np.ascontiguousarray(self._known().points(start))
        hashed = None if points is None else hashlib.sha256(points.tobytes()).hexdigest()
        return {"schema": "sampler_run/1", "density": self.parents[0], "config": config, "start": hashed}

    def _enter(self, folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
        """Make the folder of a run, or hold the one that is there against this sampler; follow its log."""
        path = folder / "run.json"
        if path.exists():
            found = read_json(path, "sampler_run")
            given = identity["start"] is not None or self.config.start == "prior"
            differ = [k for k in ("density", "config", *(["start"] if given else [])) if found[k] != identity[k]]
            if differ:
                raise StaleArtifact(f"{folder} holds a run of another {' and '.join(differ)}; choose another folder")
            identity = found
        elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise StaleArtifact(f"{folder} holds something that is no run of a sampler; choose another folder")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, pretty(identity))
        self.log = RunLog.read(folder / "log.jsonl", follow=True)
        return identity

    def _record(self, event: str, numbers: dict[str, Any], **fields: Any) -> None:
        self.log.record(
            event, id=self.fingerprint, parents=self.parents, seed=self.config.seed, numbers=numbers, **fields
        )

    def _metadata(self) -> dict[str, Any]:
        samples = self.samples
        each = {k: getattr(samples.verdict, k).tolist() for k in ("rhat", "tau", "ess")}
        shape = dict(zip(("n_steps", "n_chains", "n_parameters"), samples.chains.shape, strict=True))
        description = {k: v for k, v in self._description.items() if k != "density"}
        return {
            **description,
            **shape,
            "verdict": {**samples.verdict.to_json(), **each},
            "cpu_seconds": samples.seconds,
        }

    def _write(self, folder: Path) -> None:
        self.samples  # noqa: B018 - raises before anything is written
        (folder / "config.json").write_text(pretty(self.config.to_json()), "utf-8")
        (folder / "run.json").write_text(pretty(self._run), "utf-8")
        copy = Blocks(folder / "blocks")
        for block in self._blocks or ():
            copy.append(block)

    @classmethod
    def _read(cls, folder: Path, metadata: dict[str, Any]) -> Self:
        sampler = cls.__new__(cls)
        sampler.density = None
        sampler.config = SamplerConfig.from_json(read_json(folder / "config.json"))
        sampler._run = read_json(folder / "run.json", "sampler_run")
        sampler._description = {"density": metadata["parents"][0]}
        sampler._description.update({k: metadata[k] for k in ("parameters", "prior", "kind")})
        sampler._blocks, sampler._samples = Blocks(folder / "blocks"), None
        return sampler


def _describe(density: LogDensity) -> dict[str, Any]:
    """What metadata.json says about the density, and its fingerprint."""
    about = {"parameters": density.parameters.to_json(), "prior": density.prior.to_json(), "kind": density.kind}
    known = getattr(density, "fingerprint", None)
    return {"density": known or fingerprint([type(density).__name__, about]), **about}


def _same_density(density: LogDensity, state: State) -> None:
    """Hold the density against the numbers of a state: a fingerprint cannot see into a callable."""
    now = density.logpdf(state["theta"])
    if not np.allclose(now, state["logpdf"], rtol=1e-9, atol=1e-3):  # a compiled float32 network rounds otherwise
        i = int(np.argmax(np.abs(now - state["logpdf"])))
        raise StaleArtifact(
            f"the blocks are of another log-density: chain {i} has logpdf {state['logpdf'][i]:.10g} there and "
            f"{now[i]:.10g} here; choose another folder"
        )


def _plan(windows: tuple[int, ...], n_steps: int, block: int) -> list[tuple[str, int]]:
    """The blocks still to be made: ("warm", steps) and ("draw", kept steps)."""
    whole, rest = divmod(max(n_steps, 0), block)
    return [("warm", n) for n in windows] + [("draw", n) for n in [block] * whole + ([rest] if rest else [])]


def _track(plan: list[tuple[str, int]], *, progress: bool) -> Iterator[tuple[str, int]]:
    """Go through a plan behind a progress bar, if there is a terminal to show it on."""
    with progress_bar("sampling", sum(n for _, n in plan), shown=progress) as advance:
        for kind, n in plan:
            yield kind, n
            advance(n, "warm-up" if kind == "warm" else "")
