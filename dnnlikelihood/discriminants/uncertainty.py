r"""Expected uncertainties of signal strengths, in closed form.

At the Asimov point (n = lambda, r = 1, theta = 0) the second derivatives of the Poisson likelihood drop out, so that

    F = J diag(1 / lambda) J^T + diag(0_r, 1 / constraint^2),       J_r = S,   J_theta = (H_up - H_down) / 2
    Delta r_s = sqrt((F^-1)_ss),        Delta r_s(stat) = sqrt((F_rr^-1)_ss)

and `lambda + sum w^2` in place of `lambda` counts the finite simulation too. Nothing here differentiates
max(theta, 0), whose gradient at 0 is wrong by a factor of 2 in TensorFlow.

The unbinned bound replaces the sum over bins by the sum over events, with scores s_a(x) = d log lambda(x) / d a:

    F = sum_i w_i s(x_i) s(x_i)^T + prior,         efficiency = (bound / achieved)^2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ShapeError, SingularFisher
from ..tracing import tensorflow
from .templates import Templates

__all__ = [
    "ExpectedUncertainty",
    "differentiable",
    "expected_uncertainty",
    "from_fisher",
    "summed_uncertainty",
    "unbinned_bound",
]

SINGULAR = 1e-12


@dataclass(frozen=True, eq=False)
class ExpectedUncertainty:
    """What an analysis expects to measure.

    Attributes:
        pois: (S,) names.
        nuisances: (J,) names.
        fisher: (S + J, S + J) information, POIs first, constraints included.
    """

    pois: tuple[str, ...]
    nuisances: tuple[str, ...]
    fisher: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """(S + J, S + J) inverse of the information.

        Raises:
            SingularFisher: parameters that these bins cannot tell apart, named.
        """
        return inverse(self.fisher, (*self.pois, *self.nuisances))

    @property
    def total(self) -> np.ndarray:
        """(S,) Delta r of every POI, all else profiled."""
        return np.sqrt(np.diag(self.covariance)[: len(self.pois)])

    @property
    def stat(self) -> np.ndarray:
        """(S,) Delta r with all nuisances fixed (other POIs profiled)."""
        n = len(self.pois)
        return np.sqrt(np.diag(inverse(self.fisher[:n, :n], self.pois)))

    @property
    def syst(self) -> np.ndarray:
        """(S,) what the nuisances add, in quadrature."""
        return np.sqrt(np.maximum(self.total**2 - self.stat**2, 0.0))

    @property
    def impacts(self) -> np.ndarray:
        """(S, J) shift of each fitted POI when a nuisance moves by one post-fit standard deviation."""
        n, c = len(self.pois), self.covariance
        return c[:n, n:] / np.sqrt(np.diag(c)[n:])

    def ranked(self, poi: str | None = None) -> list[tuple[str, float]]:
        """(nuisance, impact on the POI), largest first; the first POI if none is named."""
        impacts = self.impacts[0 if poi is None else self.pois.index(poi)]
        return [(self.nuisances[j], float(impacts[j])) for j in np.argsort(-np.abs(impacts), kind="stable")]

    def efficiency(self, bound: ExpectedUncertainty) -> np.ndarray:
        """(S,) (bound / achieved)^2: the share of the information that the bins keep."""
        return (bound.total / self.total) ** 2


def expected_uncertainty(
    templates: Templates, *, mc_statistics: bool = False, side: str = "symmetric"
) -> ExpectedUncertainty:
    """Uncertainties of binned templates.

    Args:
        templates: yields.
        mc_statistics: count the finite number of simulated events in every bin (Barlow-Beeston in its Gaussian form).
        side: derivatives in the nuisances: "symmetric", "up" or "down".

    Raises:
        SingularFisher: when a result is asked for that these bins cannot give.
        ShapeError: bins without expectation; `Templates.without_empty_bins` merges them.
    """
    expected = templates.total
    if not (expected > 0).all():
        raise ShapeError(f"bins {np.flatnonzero(~(expected > 0)).tolist()} expect no events; merge them")
    if mc_statistics:
        expected = expected + templates.variance.sum(axis=0)
    jacobian = np.concatenate([templates.signals, templates.shifts(side)])
    return from_fisher(
        (jacobian / expected) @ jacobian.T, templates.poi_names, templates.nuisances, templates.constraints
    )


def summed_uncertainty(templates: Templates) -> float:
    """Sum of Delta r, finite simulation counted: what choices on validation events are made by.

    Infinite where the bins cannot tell the parameters apart.
    """
    try:
        return float(expected_uncertainty(templates, mc_statistics=True).total.sum())
    except SingularFisher:
        return np.inf


def unbinned_bound(
    scores: np.ndarray, weights: np.ndarray, pois: Sequence[str], nuisances: Sequence[str], constraints: np.ndarray
) -> ExpectedUncertainty:
    """The uncertainties that no binning can beat.

    Args:
        scores: (n, S + J) derivatives of log lambda(x), POIs first, of events of all processes.
        weights: (n,) event weights that sum to the total yield.
        pois: (S,) names.
        nuisances: (J,) names.
        constraints: (J,) widths in units of the shifts.
    """
    return from_fisher((scores * weights[:, None]).T @ scores, tuple(pois), tuple(nuisances), constraints)


def from_fisher(
    information: np.ndarray, pois: Sequence[str], nuisances: Sequence[str], constraints: np.ndarray
) -> ExpectedUncertainty:
    """The information of the data with that of the constraints added."""
    prior = np.concatenate([np.zeros(len(pois)), np.asarray(constraints, float) ** -2.0])
    if information.shape != (len(prior), len(prior)):
        raise ShapeError(f"information of shape {information.shape} for {len(prior)} parameters")
    return ExpectedUncertainty(tuple(pois), tuple(nuisances), information + np.diag(prior))


def inverse(fisher: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Inverse of an information matrix, scaled to a unit diagonal first.

    Raises:
        SingularFisher: it has none; the error names the parameters of the direction without information.
    """
    scale = np.sqrt(np.diag(fisher))
    flat = [name for name, s in zip(names, scale, strict=True) if not s > 0]
    if flat:
        raise SingularFisher(f"no bin depends on {flat}: constrain or drop them", flat)
    values, vectors = np.linalg.eigh(fisher / np.outer(scale, scale))
    if values[0] < SINGULAR * values[-1]:
        direction = vectors[:, 0]
        entangled = [names[i] for i in np.argsort(-np.abs(direction)) if abs(direction[i]) > 0.05]
        raise SingularFisher(
            f"these bins cannot tell {entangled} apart (eigenvalue {values[0]:.1e}): use more bins than free "
            "parameters, or constrain the nuisances",
            entangled,
        )
    return (vectors / values) @ vectors.T / np.outer(scale, scale)


def differentiable(
    signals: Any, shifts: Any, expected: Any, constraints: np.ndarray, mc_variance: Any = None, floor: float = 1e-3
) -> tuple[Any, Any]:
    """Delta r of every POI as a TensorFlow expression, float64 inside whatever the type of the yields.

    Args:
        signals: (S, K) yields that each POI scales.
        shifts: (J, K) derivatives of the total in the nuisances, J may be 0.
        expected: (K,) total yields.
        constraints: (J,) widths in units of the shifts.
        mc_variance: (K,) sums of squared weights, or None.
        floor: added to every expected yield, so that a bin may become empty during training.

    Returns:
        (S,) total and (S,) statistical uncertainties, float64 tensors.
    """
    tf = tensorflow()
    yields = tf.cast(expected, tf.float64) + floor
    if mc_variance is not None:
        yields += tf.cast(mc_variance, tf.float64)
    s, t = tf.cast(signals, tf.float64), tf.cast(shifts, tf.float64)
    n = int(s.shape[0])
    jacobian = tf.concat([s, t], axis=0)
    prior = np.concatenate([np.zeros(n), np.asarray(constraints, float) ** -2.0])
    fisher = tf.matmul(jacobian / yields, jacobian, transpose_b=True) + tf.linalg.diag(tf.constant(prior))

    def widths(information: Any) -> Any:
        factor = tf.linalg.cholesky(information)
        identity = tf.eye(tf.shape(information)[0], dtype=tf.float64)
        half = tf.linalg.triangular_solve(factor, identity)
        return tf.sqrt(tf.reduce_sum(half**2, axis=0)[:n])

    return widths(fisher), widths(fisher[:n, :n])
