r"""Hamiltonian Monte Carlo on many chains at once (Duane et al. 1987; Neal, arXiv:1206.1901; NUTS: arXiv:1111.4246).

Chains move in whitened coordinates, theta = theta_0 + C w with C C^T the covariance of the target, where a Gaussian is
a set of unit oscillators. One step of size e of the leapfrog, g = grad log p:

    p <- p + e/2 C^T g(theta)        theta <- theta + e C p        p <- p + e/2 C^T g(theta)

and the end point is accepted with min(1, exp(Delta log p - Delta |p|^2 / 2)). A quarter of a period, e L = pi/2, makes
the next draw of a Gaussian independent of the last; L is drawn anew for every step, uniform within 40 % of it, so that
no period of the target is met. Outside the support the force is set to zero: any force that depends on the position
alone keeps the leapfrog reversible and volume-preserving, and such an end point is rejected.

Warm-up: windows of doubling length. In each, log e follows the acceptance: in the first half of the windows every
chain its own, since chains that start in the tails meet other scales than those that do not; later all chains their
mean. After each window but the last, C is estimated from the second half of its draws. Seeds are functions of the step
number, so nothing but the arrays in the state has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import LikelihoodError
from ..parameters import ParameterSpace
from ..protocols import LogDensity
from ..tracing import tensorflow, tensorflow_probability
from .chains import Draws, State, collect

__all__ = ["Hamiltonian", "doubling", "whitening"]

CHUNK = 16
"""Kept steps in one call of the compiled loop."""
MAX_LEAPFROGS = 64
MAX_TREE_DEPTH = 6
QUARTER_PERIOD = 0.5 * np.pi


class Hamiltonian:
    """HMC or NUTS as an engine.

    Args:
        density: must have a gradient.
        n_warmup: steps of warm-up.
        thin: transitions a kept step.
        seed: of all random numbers.
        n_leapfrog: None for a quarter of a period.
        step_size: None to find it in warm-up.
        target_acceptance: what the step size aims at.
        covariance: (d, d) of the target, None to learn it in warm-up.
        no_u_turn: let NUTS choose the number of leapfrog steps.
        temperature: (n_chains,) or None; chain c samples log p / T_c, with steps longer by sqrt(T_c).
    """

    def __init__(
        self,
        density: LogDensity,
        *,
        n_warmup: int,
        thin: int = 1,
        seed: int = 0,
        n_leapfrog: int | None = None,
        step_size: float | None = None,
        target_acceptance: float = 0.8,
        covariance: np.ndarray | None = None,
        no_u_turn: bool = False,
        temperature: np.ndarray | None = None,
    ) -> None:
        if not density.has_gradient:
            raise LikelihoodError(
                f"{type(density).__name__} has no gradient, which HMC needs; use method='emcee', or give one "
                "(Likelihood(..., gradient='finite-difference'))"
            )
        self.windows = doubling(n_warmup)
        self._density = density
        self._thin, self._seed = thin, seed
        self._n_leapfrog = n_leapfrog
        self._step_size = step_size
        self._target_acceptance = target_acceptance
        self._covariance = covariance
        self._no_u_turn = no_u_turn
        self._temperature = temperature
        self._compiled: dict[int, Callable[..., Any]] = {}

    def check(self, space: ParameterSpace, theta: np.ndarray) -> None:
        """Chains are independent of one another: any points will do."""

    def start(self, theta: np.ndarray, logpdf: np.ndarray) -> State:
        """Whitened by the given covariance, or by the spread of the starting points."""
        if self._covariance is not None:
            factor = np.linalg.cholesky(self._covariance)
        else:
            spread = theta.std(axis=0)
            factor = np.diag(np.where(spread > 0, spread, 1.0))
        return {
            "theta": theta,
            "logpdf": logpdf,
            "gradient": np.where(np.isfinite(logpdf)[:, None], self._density.logpdf_and_grad(theta)[1], 0.0),
            "whitening": factor,
            "log_step_size": np.full(len(theta), np.log(self._step_size or 0.5)),
            "transitions": np.array(0),
        }

    def prepare(self, state: State) -> None:
        """Compile by drawing one step and forgetting it."""
        self._advance(state, 1, 1)

    def warm(self, state: State, window: int) -> Draws:
        """One window: step size throughout, covariance from its second half (not after the last window)."""
        adapted: list[np.ndarray] = []
        apart = window < len(self.windows) // 2

        def advance(state: State, n: int) -> Draws:
            # The gain falls like one over the root of the adaptations, so that the step size settles.
            gain = 0.0 if self._step_size else 1.0 / np.sqrt(1.0 + len(adapted))
            draws = self._advance(state, n, 1, gain, apart=apart)
            adapted.append(draws.state["log_step_size"])
            return draws

        n = self.windows[window]
        draws = collect(advance, state, n, max(1, min(CHUNK, n // 16)))
        new = dict(draws.state)
        settled = np.mean(adapted[len(adapted) // 2 :], axis=0)
        new["log_step_size"] = (
            settled if apart and window + 1 < len(self.windows) // 2 else np.full_like(settled, np.median(settled))
        )
        if self._covariance is None and window < len(self.windows) - 1:
            late = draws.chain[n // 2 :]
            if self._temperature is not None:
                late = (late - late.mean(axis=(0, 1))) / np.sqrt(self._temperature)[:, None]
            new["whitening"] = whitening(late.reshape(-1, late.shape[-1]), state["whitening"])
        return Draws(draws.chain[:0], draws.logpdf[:0], draws.acceptance, new)

    def draw(self, state: State, n: int) -> Draws:
        """Draw with everything adapted held fixed."""
        return collect(lambda s, m: self._advance(s, m, self._thin), state, n, CHUNK)

    def _advance(self, state: State, n: int, thin: int, gain: float = 0.0, *, apart: bool = False) -> Draws:
        n_chains, d = state["theta"].shape
        if n_chains not in self._compiled:
            self._compiled[n_chains] = self._compile(n_chains, d)
        step = float(np.exp(np.median(state["log_step_size"])))
        length = QUARTER_PERIOD / step if self._n_leapfrog is None else float(self._n_leapfrog)
        first = int(state["transitions"])
        names = ("theta", "logpdf", "gradient", "whitening", "log_step_size")
        tf = tensorflow()
        floats = [tf.constant(x, tf.float64) for x in (*(state[name] for name in names), length, gain, float(apart))]
        counts = [tf.constant(n, tf.int32), tf.constant(thin, tf.int32), tf.constant(first, tf.int64)]
        out = self._compiled[n_chains](*floats, *counts)
        chain, logpdf, gradient, log_step, acceptance, bad, point = [np.asarray(o) for o in out]
        if bad:
            self._density.logpdf_and_grad(point[None])
            raise LikelihoodError(f"the traced log-density is NaN or +inf at the proposed point {point.tolist()}")
        chain, logpdf = chain[:n].copy(), logpdf[:n].copy()
        new = {
            "theta": chain[-1],
            "logpdf": logpdf[-1],
            "gradient": gradient,
            "whitening": state["whitening"],
            "log_step_size": log_step,
            "transitions": np.array(first + n * thin),
        }
        return Draws(chain, logpdf, float(acceptance), new)

    def _compile(self, n_chains: int, d: int) -> Callable[..., Any]:
        """The loop over transitions as one function of the arrays of the state; XLA where the trace allows it."""
        tf = tensorflow()
        trace = self._density.trace()
        temperature = np.ones(n_chains) if self._temperature is None else np.asarray(self._temperature, float)
        if self._no_u_turn:
            transition = _no_u_turn(trace, temperature)
        else:
            transition = _leapfrogs(trace, temperature)
        target, seed = self._target_acceptance, self._seed

        def transitions(
            count: Any, first: Any, carry: tuple, whitening: Any, length: Any, gain: Any, apart: Any
        ) -> tuple:
            def body(i: Any, theta: Any, v: Any, g: Any, log_step: Any, accepted: Any, bad: Any, point: Any) -> tuple:
                key = tf.stack([tf.constant(seed, tf.int64), 8 * (first + tf.cast(i, tf.int64))])
                step = (tf.exp(log_step) * np.sqrt(temperature))[:, None]
                theta, v, g, accept, proposed, value = transition(theta, v, g, whitening, step, length, key)
                wrong = tf.math.is_nan(value) | (value == np.inf)
                now = tf.reduce_any(wrong)
                point = tf.where(now & ~bad, tf.gather(proposed, tf.argmax(tf.cast(wrong, tf.int32))), point)
                mean = tf.reduce_mean(accept)
                log_step += gain * (apart * accept + (1 - apart) * mean - target)
                return i + 1, theta, v, g, log_step, accepted + mean, bad | now, point

            return tf.while_loop(lambda i, *_: i < count, body, (0, *carry))[1:]

        def chunk(theta, v, g, whitening, log_step, length, gain, apart, n, thin, first):  # type: ignore[no-untyped-def]
            chain = tf.TensorArray(tf.float64, CHUNK, element_shape=(n_chains, d))
            values = tf.TensorArray(tf.float64, CHUNK, element_shape=(n_chains,))

            def body(k: Any, chain: Any, values: Any, *carry: Any) -> tuple:
                start = first + tf.cast(k * thin, tf.int64)
                carry = transitions(thin, start, carry, whitening, length, gain, apart)
                return k + 1, chain.write(k, carry[0]), values.write(k, carry[1]), *carry

            zero = tf.constant(0.0, tf.float64)
            carry = (theta, v, g, log_step, zero, tf.constant(False), tf.zeros([d], tf.float64))  # noqa: FBT003
            out = tf.while_loop(lambda k, *_: k < n, body, (0, chain, values, *carry))
            _, chain, values, _, _, g, log_step, accepted, bad, point = out
            return chain.stack(), values.stack(), g, log_step, accepted / tf.cast(n * thin, tf.float64), bad, point

        return tf.function(chunk, jit_compile=not _calls_python(trace, d))


def doubling(n_warmup: int) -> tuple[int, ...]:
    """Lengths of the warm-up windows: doubling, the first at least 10 steps, all of them together `n_warmup`.

    >>> doubling(400)
    (13, 12, 25, 50, 100, 200)
    """
    sizes: list[int] = []
    while n_warmup >= 20 and len(sizes) < 5:
        sizes.append(n_warmup // 2)
        n_warmup -= n_warmup // 2
    return tuple(([n_warmup] if n_warmup else []) + sizes[::-1])


def whitening(theta: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Lower triangular C (d, d) with C C^T the covariance of `theta` (n, d), shrunk towards its diagonal.

    The weight of the diagonal is d / (n + d). A coordinate that did not move keeps its scale of before.
    """
    n, d = theta.shape
    covariance = np.cov(theta, rowvar=False).reshape(d, d)
    variance = np.diag(covariance)
    variance = np.where(variance > 0, variance, np.sum(before**2, axis=1))
    weight = d / (n + d)
    return np.linalg.cholesky((1 - weight) * covariance + weight * np.diag(variance) + 1e-12 * np.diag(variance))


def _calls_python(trace: Callable[[Any], Any], d: int) -> bool:
    """Whether a traced density calls back into Python, which XLA cannot compile."""
    tf = tensorflow()
    graph = tf.function(trace).get_concrete_function(tf.TensorSpec([None, d], tf.float64)).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return any(node.op in ("PyFunc", "PyFuncStateless", "EagerPyFunc") for node in nodes)


def _leapfrogs(trace: Callable[[Any], Any], temperature: np.ndarray) -> Callable[..., tuple]:
    """One HMC transition: (theta, v, g, C, e, L, key) -> theta, v, g, acceptance, proposed theta and v."""
    tf = tensorflow()
    cold = tf.constant(1.0 / temperature)

    def value_and_force(theta: Any) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch(theta)
            value = tf.ensure_shape(trace(theta), temperature.shape)
        gradient = tape.gradient(value, theta)
        return value, tf.where(tf.math.is_finite(value)[:, None], gradient, tf.zeros_like(gradient))

    def transition(theta, v, g, whitening, step, length, key):  # type: ignore[no-untyped-def]
        p = tf.random.stateless_normal(theta.shape, key, dtype=tf.float64)
        jitter = tf.random.stateless_uniform([], key + [0, 1], 0.6, 1.4, dtype=tf.float64)
        steps = tf.clip_by_value(tf.cast(tf.round(length * jitter), tf.int32), 1, MAX_LEAPFROGS)

        def kick(p: Any, g: Any, size: Any) -> Any:
            return p + size * cold[:, None] * (g @ whitening)

        def body(i: Any, x: Any, p: Any, value: Any, g: Any) -> tuple:
            x = x + step * tf.matmul(p, whitening, transpose_b=True)
            value, g = value_and_force(x)
            return i + 1, x, kick(p, g, tf.where(i + 1 < steps, step, 0.5 * step)), value, g

        start = (0, theta, kick(p, g, 0.5 * step), v, g)
        _, x, q, value, force = tf.while_loop(lambda i, *_: i < steps, body, start)
        log_ratio = cold * (value - v) + 0.5 * tf.reduce_sum(p * p - q * q, axis=1)
        ratio = tf.where(tf.math.is_nan(log_ratio), tf.zeros_like(v), tf.exp(tf.minimum(log_ratio, 0.0)))
        move = tf.random.stateless_uniform(v.shape, key + [0, 2], dtype=tf.float64) < ratio
        kept = tf.where(move[:, None], x, theta), tf.where(move, value, v), tf.where(move[:, None], force, g)
        return *kept, ratio, x, value

    return transition


def _no_u_turn(trace: Callable[[Any], Any], temperature: np.ndarray) -> Callable[..., tuple]:
    """The same by the No-U-Turn sampler of TensorFlow Probability, in coordinates that start at the point itself."""
    tf, tfp = tensorflow(), tensorflow_probability()
    cold = tf.constant(1.0 / temperature)

    def transition(theta, v, g, whitening, step, length, key):  # type: ignore[no-untyped-def]
        def at(w: Any) -> Any:
            return theta + tf.matmul(w, whitening, transpose_b=True)

        def tempered(w: Any) -> Any:
            return cold * tf.ensure_shape(trace(at(w)), temperature.shape)

        kernel = tfp.mcmc.NoUTurnSampler(tempered, step_size=step, max_tree_depth=MAX_TREE_DEPTH)
        here = tf.zeros_like(theta)
        w, results = kernel.one_step(here, kernel.bootstrap_results(here), seed=tf.cast(key, tf.int32))
        x, value = at(w), results.target_log_prob / cold
        return x, value, g, tf.exp(tf.minimum(results.log_accept_ratio, 0.0)), x, value

    return transition
