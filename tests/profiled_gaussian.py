"""A profiled likelihood in closed form, with two heads: quadratic yields, Gaussian nuisances maximised away exactly.

    logpdf_h(c, nu) = -1/2 |x_h - m(c) - A nu|^2 - 1/2 |nu|^2,      m_b(c) = (q_b . (1, c))^2
    max over nu    = -1/2 r^T (1 + A A^T)^-1 r,                     r = x_h - m(c)

The head "observed" has x given, the head "asimov" has x = m(0), so that its maximum is 0 at c = 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dnnlikelihood import ParameterSpace, Prior
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.protocols import Labels, LogDensity


class ProfiledGaussian(LogDensity):
    """See the module; `fails` is where the fit is said not to converge: c_0 above it."""

    kind = "profiled"
    heads = ("observed", "asimov")

    def __init__(self, d: int = 3, n_bins: int = 8, seed: int = 5, fails: float = np.inf) -> None:
        rng = np.random.default_rng(seed)
        self.parameters = ParameterSpace(
            tuple(Parameter(name=f"c{i}", role="input", bounds=(-2.0, 2.0)) for i in range(d))
        )
        self.prior = Prior({})
        self.fails = fails
        self.q = np.column_stack([1.5 + rng.uniform(size=n_bins), 0.4 * rng.normal(size=(n_bins, d))])
        nuisance = 0.5 * rng.normal(size=(n_bins, 4))
        self.precision = np.linalg.inv(np.eye(n_bins) + nuisance @ nuisance.T)
        null = self.q[:, 0] ** 2
        self.data = np.stack([null + rng.normal(size=n_bins), null])
        self.fingerprint = f"{seed:064x}"

    def _heads_logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        amplitude = self.q[:, 0] + theta @ self.q[:, 1:].T
        r = self.data[None] - amplitude[:, None] ** 2
        pull = r @ self.precision
        slope = 2 * amplitude[:, :, None] * self.q[None, :, 1:]
        return -0.5 * (r * pull).sum(axis=2), np.einsum("nhb,nbd->nhd", pull, slope)

    def _heads_logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._heads_logpdf_and_grad(theta)[0]

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return self._heads_logpdf(theta)[:, 0]

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, grad = self._heads_logpdf_and_grad(theta)
        return value[:, 0], grad[:, 0]

    def label(self, theta: Any) -> Labels:
        """Where the fit "fails" the value is nonsense, as that of a real fit would be."""
        theta = self.points(theta)
        value, grad, ok, _ = super().label(theta)
        ok = ok & ~(theta[:, 0] > self.fails)
        value = np.where(ok[:, None], value, np.nan)
        return Labels(value, grad, ok, np.where(ok, "", "not converged"))
