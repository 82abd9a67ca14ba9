r"""Counting experiments with an independent background uncertainty in every bin, profiled in closed form.

    ln L = sum_b n_b ln(s_b + g_b b_b) - (s_b + g_b b_b) + m_b ln(g_b tau_b) - g_b tau_b - ln n_b! - ln m_b!
    tau_b = (b_b / u_b)^2;   d ln L / d g_b = 0 is a quadratic equation with one positive root

It is what `pyhf.simplemodels.uncorrelated_background` fits numerically, so limits have exact answers.
"""

from __future__ import annotations

import numpy as np

from dnnlikelihood import ParameterSpace, Prior
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.protocols import LogDensity


class CountingExperiment(LogDensity):
    """Heads observed, expected (n = b) and asimov_observed (the background as the data prefer it)."""

    kind = "profiled"
    heads = ("observed", "expected", "asimov_observed")

    def __init__(self, counts, background, uncertainty, upper: float = np.inf) -> None:
        self.counts, self.background, self.uncertainty = (
            np.asarray(a, float) for a in (counts, background, uncertainty)
        )
        self.tau = (self.background / self.uncertainty) ** 2
        names = [f"SR-{i}" for i in range(len(self.counts))]
        low = -self.background
        self.parameters = ParameterSpace(
            tuple(Parameter(name=n, role="input", bounds=(float(b), upper)) for n, b in zip(names, low, strict=True))
        )
        self.prior = Prior({})
        scale = self._scale(np.zeros((1, len(names))), self.counts, self.tau)[0]
        self.data = {
            "observed": (self.counts, self.tau),
            "expected": (self.background, self.tau),
            "asimov_observed": (scale * self.background, scale * self.tau),
        }

    def _scale(self, s: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
        """The background scales g (rows, bins) at the maximum."""
        b, tau = self.background, self.tau
        first, second = b * (b + tau), s * (b + tau) - (n + m) * b
        return (-second + np.sqrt(second**2 + 4 * first * m * s)) / (2 * first)

    def _head(self, s: np.ndarray, head: str) -> tuple[np.ndarray, np.ndarray]:
        from scipy.special import gammaln

        n, m = self.data[head]
        g = np.where(s == 0, (n + m) / (self.background + self.tau), self._scale(s, n, m))
        mean, aux = s + g * self.background, g * self.tau
        value = n * np.log(mean) - mean - gammaln(n + 1) + m * np.log(aux) - aux - gammaln(m + 1)
        return value.sum(axis=1), n / mean - 1

    def _heads_logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, grads = zip(*(self._head(theta, h) for h in self.heads), strict=True)
        return np.stack(values, axis=1), np.stack(grads, axis=1)

    def _heads_logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._heads_logpdf_and_grad(theta)[0]

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._heads_logpdf(theta)[:, 0]

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, grad = self._heads_logpdf_and_grad(theta)
        return value[:, 0], grad[:, 0]


class Surrogate(CountingExperiment):
    """The same, wrong by `bias` nats times how far the signal is, which it knows; it ends at `reach` events a bin."""

    def __init__(
        self, *arguments, bias: float = 0.0, error: float = 0.0, reach: float = np.inf, hole: tuple = (np.inf, np.inf)
    ) -> None:
        super().__init__(*arguments)
        self.bias, self.half_width, self.reach, self.hole = bias, error, reach, hole
        self.policy = "raise"

    def guarded(self, outside: str) -> Surrogate:
        other = object.__new__(Surrogate)
        other.__dict__.update(self.__dict__, policy=outside)
        return other

    def in_domain(self, theta) -> np.ndarray:
        largest = self.points(theta).max(axis=1)
        return (largest <= self.reach) & ~((largest > self.hole[0]) & (largest < self.hole[1]))

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        return self.in_domain(theta) if self.policy != "ignore" else np.ones(len(theta), bool)

    def error(self, theta) -> np.ndarray:
        anchored = np.minimum(1.0, np.abs(self.points(theta)).sum(axis=1))
        return np.repeat(self.half_width * anchored[:, None], len(self.heads), axis=1)

    def _heads_logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, grad = super()._heads_logpdf_and_grad(theta)
        total = theta.sum(axis=1)
        slope = np.where(total < 1, 1.0, 0.0)
        return value + self.bias * np.minimum(1, total)[:, None], grad + self.bias * slope[:, None, None]
