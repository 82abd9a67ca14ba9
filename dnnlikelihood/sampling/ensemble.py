r"""Ensembles of walkers by emcee (arXiv:1202.3665), one vectorised call of the log-density for half of the walkers.

    stretch (Goodman and Weare 2010):  theta <- theta_j + z (theta - theta_j),   p(z) ~ 1/sqrt(z) on [1/a, a]
    gaussian:                          theta <- theta + N(0, C), all coordinates or one of them
    de (ter Braak 2006):               theta <- theta + g (theta_j - theta_k),   g about 2.38 / sqrt(2 d)

Stretch and de moves span only the space that the walkers span: at least 2 d walkers in general position. Gaussian
moves have no such need. emcee's snooker move is left out: its Hastings factor (3.1.6) does not belong to its proposal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..config import Config, require
from ..errors import ConfigError, MissingDependency
from ..parameters import ParameterSpace
from ..protocols import LogDensity
from .chains import Draws, State

__all__ = ["Ensemble", "Move"]

KINDS = ("stretch", "gaussian", "de")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move(Config):
    """How walkers propose.

    Attributes:
        kind: "stretch", "gaussian" or "de".
        weight: relative frequency among the moves of a run.
        a: scale of the stretch move, > 1.
        variance: of a Gaussian move, the same for all coordinates.
        covariance: (d, d) of a Gaussian move, instead of `variance`.
        mode: "vector" (all coordinates at once) or "random" (one coordinate a step) of a Gaussian move.
    """

    kind: str = "stretch"
    weight: float = 1.0
    a: float = 2.0
    variance: float = 1.0
    covariance: tuple[tuple[float, ...], ...] | None = None
    mode: str = "vector"

    def validate(self) -> None:
        """See Config."""
        require(self.kind in KINDS, f"move {self.kind!r} is none of {', '.join(KINDS)}")
        require(0 < self.weight < math.inf, f"the weight of a move must be positive, got {self.weight}")
        require(1 < self.a < math.inf, f"the stretch move needs a > 1, got {self.a}")
        require(0 < self.variance < math.inf, f"the variance of a Gaussian move must be positive, got {self.variance}")
        require(self.mode in ("vector", "random"), f"mode {self.mode!r} is neither 'vector' nor 'random'")
        if self.covariance is not None:
            require(self.mode == "vector", "a Gaussian move with a covariance changes all coordinates: mode='vector'")
            require_covariance(self.covariance)

    @classmethod
    def stretch(cls, a: float = 2.0, weight: float = 1.0) -> Self:
        """The stretch move."""
        return cls(kind="stretch", a=a, weight=weight)

    @classmethod
    def gaussian(cls, variance: float, mode: str = "vector", weight: float = 1.0) -> Self:
        """A Metropolis step with one variance for all coordinates."""
        return cls(kind="gaussian", variance=variance, mode=mode, weight=weight)

    @classmethod
    def differential_evolution(cls, weight: float = 1.0) -> Self:
        """The difference of two other walkers."""
        return cls(kind="de", weight=weight)


def require_covariance(covariance: Sequence[Sequence[float]]) -> None:
    """ConfigError unless the rows make a symmetric, positive definite matrix."""
    rows = len(covariance)
    require(all(len(row) == rows for row in covariance), "a covariance must be square")
    matrix = np.array(covariance, float)
    sound = bool(np.isfinite(matrix).all()) and np.allclose(matrix, matrix.T) and np.linalg.eigvalsh(matrix)[0] > 0
    require(sound, "a covariance must be finite, symmetric and positive definite")


class Ensemble:
    """emcee as an engine: what it is, in every block, is the walkers and the state of a Mersenne twister.

    Args:
        density: sampled through `logpdf` alone.
        moves: at least one.
        n_warmup: steps thrown away.
        thin: transitions a kept step.
        seed: of the Mersenne twister.
        block: most steps of a warm-up window.
    """

    def __init__(
        self, density: LogDensity, *, moves: Sequence[Move], n_warmup: int, thin: int, seed: int, block: int
    ) -> None:
        whole, rest = divmod(n_warmup, block)
        self.windows = (block,) * whole + ((rest,) if rest else ())
        self._density = density
        self._moves = tuple(moves)
        self._thin = thin
        self._seed = seed

    def check(self, space: ParameterSpace, theta: np.ndarray) -> None:
        """Refuse too few walkers, and walkers that do not span the space that the moves are to explore.

        Raises:
            ConfigError: says which; names the walkers or the parameters.
        """
        if all(move.kind == "gaussian" for move in self._moves):
            return
        n, d = theta.shape
        if n < 2 * d:
            raise ConfigError(f"{n} walkers for {d} parameters: these moves need at least {2 * d}; set n_chains")
        _, first, counts = np.unique(theta, axis=0, return_index=True, return_counts=True)
        if counts.max() > 1:
            raise ConfigError(
                f"{counts.max()} walkers start at the same point (walker {first[counts.argmax()]}); scatter them"
            )
        spread = theta.std(axis=0)
        still = [space.names[i] for i in np.flatnonzero(spread <= 1e-12 * np.abs(theta).max(axis=0))]
        if still:
            raise ConfigError(f"all walkers have the same value of {still[:8]}; scatter them, or `condition` on it")
        singular = np.linalg.svd((theta - theta.mean(axis=0)) / spread, compute_uv=False)
        if singular[-1] <= 1e-8 * singular[0]:
            raise ConfigError(
                f"the walkers lie in {int((singular > 1e-8 * singular[0]).sum())} of {d} dimensions, which they would "
                "never leave; scatter them in all directions"
            )

    def start(self, theta: np.ndarray, logpdf: np.ndarray) -> State:
        """Walkers and a seeded Mersenne twister."""
        return {"theta": theta, "logpdf": logpdf, **_to_arrays(np.random.RandomState(self._seed).get_state())}

    def prepare(self, state: State) -> None:
        """Evaluate the density once, in case it compiles itself."""
        self._density.logpdf(state["theta"])

    def warm(self, state: State, window: int) -> Draws:
        """A window of steps without adaptation."""
        draws = self._advance(state, self.windows[window], 1)
        return Draws(draws.chain[:0], draws.logpdf[:0], draws.acceptance, draws.state)

    def draw(self, state: State, n: int) -> Draws:
        """Draw n kept steps."""
        return self._advance(state, n, self._thin)

    def _advance(self, state: State, n: int, thin: int) -> Draws:
        emcee = _emcee()
        sampler = emcee.EnsembleSampler(
            *state["theta"].shape,
            self._density.logpdf,
            vectorize=True,
            moves=[(_build(move, emcee.moves), move.weight) for move in self._moves],
        )
        # Without emcee's wrapper, which prints the walkers to the terminal when a log-density raises.
        sampler.log_prob_fn = self._density.logpdf
        twister = ("MT19937", state["key"], *(state[k].item() for k in ("position", "has_gauss", "gauss")))
        begin = emcee.State(state["theta"], log_prob=state["logpdf"], random_state=twister)
        end = sampler.run_mcmc(begin, n, thin_by=thin, skip_initial_state_check=True)
        after = {"theta": end.coords, "logpdf": end.log_prob, **_to_arrays(end.random_state)}
        return Draws(sampler.get_chain(), sampler.get_log_prob(), float(sampler.acceptance_fraction.mean()), after)


def _emcee() -> Any:
    try:
        import emcee
    except ModuleNotFoundError as error:
        raise MissingDependency("this needs emcee: pip install 'dnnlikelihood[emcee]'") from error
    return emcee


def _to_arrays(twister: Any) -> State:
    _, key, position, has_gauss, gauss = twister
    return {
        "key": np.array(key),
        "position": np.array(position),
        "has_gauss": np.array(has_gauss),
        "gauss": np.array(gauss),
    }


def _build(move: Move, moves: Any) -> Any:
    if move.kind == "stretch":
        return moves.StretchMove(a=move.a)
    if move.kind == "gaussian" and move.covariance is None:
        return moves.GaussianMove(move.variance, mode=move.mode)
    if move.kind == "gaussian":
        # emcee's own move with a full covariance (3.1.6) gives all walkers the same displacement.
        factor = np.linalg.cholesky(np.array(move.covariance))
        return moves.MHMove(lambda x, rng: (x + rng.randn(*x.shape) @ factor.T, np.zeros(len(x))), ndim=len(factor))
    return moves.DEMove()
