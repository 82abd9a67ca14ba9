"""A log-density evaluated in pieces by an executor: rows are independent, so any number of workers may share them."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

from ..protocols import LogDensity

__all__ = ["Spread"]


class Spread(LogDensity):
    """The same density; every call is cut into `pieces` and mapped over the executor.

    The number of pieces is fixed, so that the numbers do not depend on how many workers there are. Processes and
    clusters need a density that can be sent to them.
    """

    def __init__(self, density: LogDensity, executor: Executor, pieces: int = 16) -> None:
        self.parameters, self.prior, self.kind = density.parameters, density.prior, density.kind
        self._whole = density
        self._executor = executor
        self._pieces = pieces

    @property
    def has_gradient(self) -> bool:
        """Whether the density has one."""
        return self._whole.has_gradient

    def _inside(self, theta: np.ndarray) -> np.ndarray:
        return self._whole._inside(theta)

    def _split(self, theta: np.ndarray) -> list[np.ndarray]:
        return [part for part in np.array_split(theta, self._pieces) if len(part)]

    def _logpdf(self, theta: np.ndarray) -> np.ndarray:
        return np.concatenate(list(self._executor.map(self._whole.logpdf, self._split(theta))))

    def _logpdf_and_grad(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, gradients = zip(*self._executor.map(self._whole.logpdf_and_grad, self._split(theta)), strict=True)
        return np.concatenate(values), np.concatenate(gradients)
