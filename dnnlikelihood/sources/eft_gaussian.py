r"""Measurements with a covariance, predicted up to second order in effective-theory coefficients c.

    log L(c) = -1/2 r^T C^-1 r        r = y - t(c)        t_i(c) = t_i(0) + sum_j l_ij c_j + sum_jk q_ijk c_j c_k

Systematic uncertainties in C are normal nuisances that were profiled away, which for a Gaussian is exact. Without a
constant: -log L is half of chi squared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import LikelihoodError, ParameterError, ShapeError
from ..parameters import Parameter, ParameterSpace
from ..priors import Prior
from ..tracing import tensorflow
from .source import Source

__all__ = ["EftGaussian", "eft_gaussian"]


@dataclass(frozen=True)
class EftGaussian:
    """The measurements and their predictions; born checked.

    Raises:
        ShapeError: arrays that do not fit each other, or numbers that are not finite.
        LikelihoodError: a covariance that is not symmetric and positive definite.
        ParameterError: names that are not unique, bounds that are none, or a coefficient that changes no prediction.
    """

    coefficients: tuple[str, ...]
    low: np.ndarray
    """(d,) the box in which coefficients are scanned."""
    high: np.ndarray
    """(d,)."""
    data: np.ndarray
    """(N,) y."""
    covariance: np.ndarray
    """(N, N) C."""
    standard_model: np.ndarray
    """(N,) t(0)."""
    linear: np.ndarray
    """(N, d) l."""
    quadratic: np.ndarray
    """(N, d, d) q, symmetric."""
    name: str = "eft"
    reference: str = ""

    def __post_init__(self) -> None:
        n, d = len(self.data), len(self.coefficients)
        shapes = {"low": (d,), "high": (d,), "data": (n,), "covariance": (n, n), "standard_model": (n,)}
        for name, shape in (shapes | {"linear": (n, d), "quadratic": (n, d, d)}).items():
            array = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise ShapeError(f"{self.name}: {name} has shape {array.shape}, expected {shape} finite numbers")
        scale = np.sqrt(np.abs(np.diag(self.covariance)))
        if not np.allclose(self.covariance, self.covariance.T, rtol=1e-9, atol=0):
            raise LikelihoodError(f"{self.name}: the covariance is not symmetric")
        if not (scale > 0).all() or np.linalg.eigvalsh(self.covariance / np.outer(scale, scale))[0] <= 0:
            raise LikelihoodError(f"{self.name}: the covariance is not positive definite")
        idle = [name for i, name in enumerate(self.coefficients) if not self._moves(i)]
        if idle:
            raise ParameterError(f"{self.name}: no prediction depends on the coefficients {idle}; leave them out")
        self.pois  # noqa: B018 - raises on names and bounds that are none

    @cached_property
    def pois(self) -> ParameterSpace:
        """The coefficients."""
        edges = zip(self.coefficients, self.low.tolist(), self.high.tolist(), strict=True)
        return ParameterSpace(tuple(Parameter(name=n, role="poi", bounds=(a, b)) for n, a, b in edges))

    @property
    def parameters(self) -> ParameterSpace:
        """The coefficients: there is nothing else."""
        return self.pois

    def _moves(self, i: int) -> bool:
        """Whether any prediction depends on a coefficient."""
        return bool(self.linear[:, i].any() or self.quadratic[:, i].any())

    @cached_property
    def root(self) -> np.ndarray:
        """(N, N) L^-1 with C = L L^T."""
        return np.linalg.inv(np.linalg.cholesky(self.covariance))

    @cached_property
    def table(self) -> np.ndarray:
        """(1 + d + d (d + 1) / 2, N): L^-1 (t(c) - y) is linear in the monomials 1, c_i and c_i c_j, i <= j."""
        i, j = np.triu_indices(len(self.coefficients))
        twice = self.quadratic[:, i, j] * np.where(i == j, 1.0, 2.0)
        constant = (self.standard_model - self.data)[:, None]
        return (self.root @ np.concatenate([constant, self.linear, twice], axis=1)).T


def eft_gaussian(document: dict[str, Any] | str) -> Source:
    """The likelihood of measurements with a covariance.

    Args:
        document: as of schemas/eft_gaussian.json, or the path of such a file (or of one with SMEFiT's keys ops, bounds,
            y, sm, lin, quad, cov); its content becomes part of the recipe.
    """
    from .eft_json import gaussian_from_json, gaussian_to_json, read_eft

    model = gaussian_from_json(document) if isinstance(document, dict) else read_eft(document)
    if not isinstance(model, EftGaussian):
        raise ParameterError(f"{document} is a counting experiment; use the source 'eft'")
    table = model.table
    i, j = np.triu_indices(len(model.coefficients))

    def log_likelihood(c: Any) -> Any:
        tf = tensorflow()
        products = tf.gather(c, i, axis=1) * tf.gather(c, j, axis=1)
        residual = tf.concat([tf.ones_like(c[:, :1]), c, products], axis=1) @ table
        return -0.5 * tf.reduce_sum(residual**2, axis=1)

    return Source(
        name="eft_gaussian",
        arguments={"document": gaussian_to_json(model)},
        parameters=model.pois,
        prior=Prior({}),
        log_likelihood=log_likelihood,
        reference=model.reference,
    )
