r"""`LogDensity`: the one contract at which likelihoods, surrogates, samplers and inference meet.

    logpdf : theta (n, d) float64 -> (n,) float64        log p(theta) up to a constant

Rows are independent, there is no state, -inf stands outside the support, and NaN never leaves. A truth and its
surrogate both satisfy it, so whatever is asked of one can be asked of the other by the same code.

To write a new one, subclass, set `parameters`, `prior` and `kind`, and implement `_logpdf` for points that are already
float64, of the right shape and inside the support. The public methods here do all checking, once, for everybody.

A density may have several outputs over the same parameters, its `heads` (a profiled likelihood of the observed and of
the Asimov data, say). `heads_logpdf` answers with all of them, (n, H); `logpdf` is the first; `select(head)` is one of
them as a density of its own. A density without heads is a single output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from .errors import LikelihoodError, ParameterError, ShapeError
from .parameters import ParameterSpace
from .priors import Prior

if TYPE_CHECKING:
    from .composition import Composite

__all__ = ["Kind", "Labels", "LogDensity"]

Kind = Literal["likelihood", "posterior", "profiled"]


class Labels(NamedTuple):
    """What a surrogate may learn from at some points, and where there is nothing to learn."""

    value: np.ndarray
    """(n,) logpdf, or (n, H) of a density with heads; -inf outside the support, anything where not `ok`."""
    gradient: np.ndarray | None
    """(n, d) or (n, H, d); None if the density has none."""
    ok: np.ndarray
    """(n,) bool: False where the number is not what it should be, a fit that failed say."""
    reason: np.ndarray
    """(n,) of str: why not, in a few words; "" where `ok`."""


class LogDensity(ABC):
    """A batched log-density over named parameters.

    Attributes:
        parameters: the columns of theta.
        prior: the prior terms that are inside the number `logpdf` returns (and that `with_prior` can take out).
        kind: "likelihood" (no prior inside), "posterior" (prior inside), "profiled" (nuisances maximised away).
        heads: names of the outputs, () for a plain density.
    """

    parameters: ParameterSpace
    prior: Prior
    kind: Kind
    heads: tuple[str, ...] = ()

    # What an implementation provides --------------------------------------------------------------------------------

    @abstractmethod
    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,), prior included; `theta` is float64 and inside the bounds."""

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise LikelihoodError(
            f"{type(self).__name__} has no gradient; give one, or ask for finite differences "
            "(Likelihood(..., gradient='finite-difference'))"
        )

    def _logpdf_grad_hess(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Default: central differences of the gradient, 2 d gradients a point."""
        value, grad = self._logpdf_and_grad(theta)
        n, d = theta.shape
        step = self._hessian_step * np.maximum(1.0, np.abs(theta))
        shift = step[:, :, None] * np.eye(d)
        _, up = self._logpdf_and_grad((theta[:, None, :] + shift).reshape(-1, d))
        _, down = self._logpdf_and_grad((theta[:, None, :] - shift).reshape(-1, d))
        hess = (up - down).reshape(n, d, d) / (2 * step[:, :, None])
        return value, grad, 0.5 * (hess + hess.transpose(0, 2, 1))

    def _heads_logpdf(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, H) of all heads, of which `_logpdf` is the first; a density with heads implements it."""
        return self._logpdf(theta)[:, None]

    def _heads_logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) -> (n, H), (n, H, d)."""
        value, grad = self._logpdf_and_grad(theta)
        return value[:, None], grad[:, None]

    _hessian_step: float = 1e-5
    rounding: float = 0.0
    """Rounding error of a value in nats beyond float64's own: what a fit must not chase."""

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        """(n,) bool: further limits of the support, beyond the bounds and the ranges of the prior."""
        return np.ones(len(theta), bool)

    def known_points(self) -> np.ndarray | None:
        """(n, d) points to start from, the best first, where some are known better than from priors and starts."""
        return None

    def _trace(self) -> Callable[[Any], Any]:
        """`_logpdf` as a function of a float64 tensor; the default calls back into NumPy."""
        from .tracing import call_back

        return call_back(self)

    @property
    def has_gradient(self) -> bool:
        """Whether `logpdf_and_grad` can be called."""
        return type(self)._logpdf_and_grad is not LogDensity._logpdf_and_grad

    # What a user calls ----------------------------------------------------------------------------------------------

    def points(self, theta: Any) -> np.ndarray:
        """`theta` checked and laid out as (n, d) float64; NaN refused by row and name.

        Raises:
            ShapeError: wrong shape, names or NaN.
        """
        points = self.parameters.array(theta)
        bad = np.isnan(points)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ShapeError(f"theta[{row}] has NaN for {self.parameters.names[column]!r} ({bad.sum()} NaN in all)")
        return points

    def support(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) bool: where the density is not zero."""
        return np.isfinite(self.logpdf(theta))

    def _within(self, theta: np.ndarray) -> np.ndarray:
        inside = self.parameters.inside(theta) & self.prior.columns(self.parameters).inside(theta)
        inside[inside] = self._inside(theta[inside])
        return inside

    def logpdf(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n,) float64 log-density; -inf outside the support.

        Raises:
            LikelihoodError: NaN or +inf inside the support; names the first such point.
        """
        theta = self.points(theta)
        out = np.full(len(theta), -np.inf)
        inside = self._within(theta)
        if inside.any():
            value = np.asarray(self._logpdf(theta[inside]), float)
            self._check(value, theta[inside])
            out[inside] = value
        return out

    def logpdf_and_grad(self, theta: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) -> (n,), (n, d): value and gradient; outside the support -inf and zeros.

        Raises:
            LikelihoodError: no gradient here, or a value that is no log-density.
        """
        theta = self.points(theta)
        value, grad = np.full(len(theta), -np.inf), np.zeros(theta.shape)
        inside = self._within(theta)
        if inside.any():
            value[inside], grad[inside] = self._logpdf_and_grad(theta[inside])
            self._check(value[inside], theta[inside], grad[inside])
            grad[np.isneginf(value)] = 0.0  # one of several terms may have ended there
        return value, grad

    def logpdf_grad_hess(self, theta: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n, d) -> (n,), (n, d), (n, d, d): value, gradient and Hessian; outside the support -inf and zeros."""
        theta = self.points(theta)
        n, d = theta.shape
        value, grad, hess = np.full(n, -np.inf), np.zeros((n, d)), np.zeros((n, d, d))
        inside = self._within(theta)
        if inside.any():
            value[inside], grad[inside], hess[inside] = self._logpdf_grad_hess(theta[inside])
            self._check(value[inside], theta[inside], grad[inside])
            grad[np.isneginf(value)] = hess[np.isneginf(value)] = 0.0
        return value, grad, hess

    def heads_logpdf(self, theta: Any) -> np.ndarray:
        """(n, d) -> (n, H) log-density of every head; one column for a plain density. -inf outside the support."""
        theta = self.points(theta)
        out = np.full((len(theta), self.n_outputs), -np.inf)
        inside = self._within(theta)
        if inside.any():
            out[inside] = self._check_heads(np.asarray(self._heads_logpdf(theta[inside]), float), theta[inside])
        return out

    def heads_logpdf_and_grad(self, theta: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) -> (n, H), (n, H, d): value and gradient of every head; outside the support -inf and zeros.

        Raises:
            LikelihoodError: no gradient here, or a value that is no log-density.
        """
        theta = self.points(theta)
        shape = (len(theta), self.n_outputs)
        value, grad = np.full(shape, -np.inf), np.zeros((*shape, theta.shape[1]))
        inside = self._within(theta)
        if inside.any():
            values, grads = self._heads_logpdf_and_grad(theta[inside])
            value[inside], grad[inside] = self._check_heads(values, theta[inside], grads), grads
            grad[np.isneginf(value)] = 0.0
        return value, grad

    def label(self, theta: Any) -> Labels:
        """What a surrogate is to learn at points (n, d): the values of all heads, gradients if there are any.

        Here every answer is a label. A density whose answers come from fits overrides this, and says where they failed.

        Raises:
            LikelihoodError: NaN or +inf.
        """
        theta = self.points(theta)
        gradient = None
        if self.has_gradient:
            value, gradient = self.heads_logpdf_and_grad(theta) if self.heads else self.logpdf_and_grad(theta)
        else:
            value = self.heads_logpdf(theta) if self.heads else self.logpdf(theta)
        return Labels(value, gradient, np.ones(len(theta), bool), np.full(len(theta), ""))

    @property
    def n_outputs(self) -> int:
        """The number H of columns of `heads_logpdf`: that of the heads, 1 for a plain density."""
        return max(1, len(self.heads))

    def head_index(self, head: str) -> int:
        """The column of a head; a plain density has the one output "logpdf".

        Raises:
            ParameterError: no such head; the message lists those there are.
        """
        known = self.heads or ("logpdf",)
        if head not in known:
            raise ParameterError(f"no head {head!r}; this density has {', '.join(map(repr, known))}")
        return known.index(head)

    def trace(self) -> Callable[[Any], Any]:
        """The same log-density as a function of a float64 TensorFlow tensor (n, d) -> (n,), differentiable."""
        from .tracing import masked

        return masked(self)

    def has_flat_prior(self, name: str) -> bool:
        """Whether no prior shapes this parameter, so that a likelihood ratio in it means what it says."""
        self.parameters.index(name)
        return self.prior.is_constant(name)

    # Closure: each returns a LogDensity -------------------------------------------------------------------------------

    def with_prior(self, prior: Prior) -> Composite:
        """The same likelihood under other priors for the parameters that `prior` names."""
        from .composition import with_prior

        return with_prior(self, prior)

    def condition(self, fixed: Mapping[str, float]) -> Composite:
        """The density of the other parameters with these held at a value."""
        from .composition import condition

        return condition(self, fixed)

    def reparametrise(self, matrix: Any, names: Sequence[str]) -> Composite:
        """In new parameters `phi` (n, e) with theta = phi @ matrix.T, matrix (d, e); no Jacobian (a constant)."""
        from .composition import reparametrise

        return reparametrise(self, matrix, names)

    def rename(self, names: Mapping[str, str]) -> Composite:
        """The same density with parameters under other names (before `combine`, say)."""
        from .composition import rename

        return rename(self, names)

    def select(self, head: str) -> LogDensity:
        """One of several outputs as a density of its own; a plain density has the one output "logpdf".

        Raises:
            ParameterError: no such head.
        """
        from .composition import Selected

        column = self.head_index(head)
        return Selected(self, column) if self.heads else self

    def _check_heads(self, value: np.ndarray, theta: np.ndarray, grad: np.ndarray | None = None) -> np.ndarray:
        """The values (n, H) and gradients (n, H, d) if they are what they should be."""
        expected = (len(theta), self.n_outputs)
        if value.shape != expected or (grad is not None and grad.shape != (*expected, theta.shape[1])):
            shapes = str(value.shape) if grad is None else f"{value.shape} and {grad.shape}"
            raise LikelihoodError(f"heads_logpdf returned shape {shapes} for {len(theta)} points, expected {expected}")
        for h in range(self.n_outputs):
            self._check(value[:, h], theta, None if grad is None else grad[:, h])
        return value

    def _check(self, value: np.ndarray, theta: np.ndarray, grad: np.ndarray | None = None) -> None:
        if value.shape != (len(theta),):
            raise LikelihoodError(
                f"logpdf returned shape {value.shape} for {len(theta)} points, expected ({len(theta)},)"
            )
        bad = np.isnan(value) | (value == np.inf)
        if grad is not None:
            bad |= ~np.isfinite(grad).all(axis=1) & np.isfinite(value)
        if bad.any():
            i = int(np.argmax(bad))
            where = ", ".join(f"{n}={x:.6g}" for n, x in list(zip(self.parameters.names, theta[i], strict=True))[:8])
            raise LikelihoodError(
                f"logpdf is {value[i]}{'' if grad is None else ' or its gradient is not finite'} at point {i} of "
                f"{len(theta)} ({bad.sum()} such): {where}. Return -inf where the density vanishes, or set bounds"
            )
