r"""A multivariate normal likelihood with every answer in closed form.

    log L(theta) = -1/2 (theta - m)^T C^-1 (theta - m) + constant

With flat priors: the posterior is N(m, C), the HPDI of a parameter is m_i +- z sqrt(C_ii), the profile over the others
is t(theta_i) = (theta_i - m_i)^2 / C_ii, and the maximum is `constant`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..parameters import ParameterSpace
from ..priors import Prior
from ..tracing import tensorflow
from .source import Source

__all__ = ["gaussian"]


def gaussian(
    mean: Sequence[float] = (0.0, 0.0),
    covariance: Sequence[Sequence[float]] | None = None,
    names: Sequence[str] | None = None,
    constant: float = 0.0,
) -> Source:
    """The Gaussian source.

    Args:
        mean: (d,) position of the maximum.
        covariance: (d, d) symmetric, positive definite; the identity if None.
        names: (d,) names, x0, x1, ... if None; the first is the POI.
        constant: value at the maximum.

    Raises:
        ConfigError: shapes that do not fit, or a covariance that is not positive definite.
    """
    m = np.asarray(mean, float)
    d = len(m)
    c = np.eye(d) if covariance is None else np.asarray(covariance, float)
    if m.ndim != 1 or not d or c.shape != (d, d):
        raise ConfigError(f"gaussian: mean of shape {m.shape} and covariance of shape {c.shape} do not fit")
    if not (np.isfinite(m).all() and np.isfinite(c).all()):
        raise ConfigError("gaussian: mean and covariance must be finite")
    if not np.allclose(c, c.T) or np.linalg.eigvalsh(c).min() <= 0:
        raise ConfigError("gaussian: the covariance must be symmetric and positive definite")
    labels = tuple(names) if names is not None else tuple(f"x{i}" for i in range(d))
    if len(labels) != d:
        raise ConfigError(f"gaussian: {len(labels)} names for {d} parameters")
    precision = np.linalg.inv(c)

    def log_likelihood(theta: Any) -> Any:
        z = theta - m
        return constant - 0.5 * tensorflow().reduce_sum(z * (z @ precision), axis=1)

    return Source(
        name="gaussian",
        arguments={"mean": m.tolist(), "covariance": c.tolist(), "names": list(labels), "constant": float(constant)},
        parameters=ParameterSpace.of(*labels, poi=labels[0]),
        prior=Prior({}),
        log_likelihood=log_likelihood,
        exact={"mean": m, "covariance": c, "constant": float(constant)},
    )
