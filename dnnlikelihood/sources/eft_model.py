r"""A counting experiment whose yields are quadratic in effective-theory coefficients c, as arrays.

With x = (1, c), bins b, processes p and nuisances t ~ N(0, 1),

    lambda_b(c, t) = sum_p r_bp Q_bp(c) exp( sum_k t_k a_kbp + h(t_k) d_kbp )
    Q_bp(c)        = x^T S_bp x       S_bp symmetric and positive semi-definite; 1 for processes that c does not touch
    a = (up + down) / 2     d = (up - down) / 2     h(t) = sqrt(t^2 + 0.09) - 0.3

`up` and `down` are the logarithms ln kappa of the asymmetric log-normal uncertainty, so that the exponent grows like
t up for t >> 0 and like t down for t << 0, smoothly in between. Amplitudes being linear in c, a yield is a sum of
squares of linear functions of c: that is what makes S positive semi-definite, and yields positive everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import LikelihoodError, ParameterError, ShapeError
from ..parameters import Parameter, ParameterSpace
from ..priors import Normal, Prior

__all__ = ["BEND", "EftModel", "from_triangle", "to_triangle"]

BEND = 0.3
"""Where h turns from a parabola into a straight line."""
NEGATIVE = 1e-6
"""Eigenvalues of S below minus this fraction of the largest one are no rounding error."""


def from_triangle(upper: np.ndarray, size: int) -> np.ndarray:
    """(..., size (size + 1) / 2) -> (..., size, size): symmetric matrices from their entries S_ij, i <= j, row by row.

    >>> from_triangle(np.array([1.0, 2.0, 3.0]), 2).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    i, j = np.triu_indices(size)
    full = np.zeros((*upper.shape[:-1], size, size))
    full[..., i, j] = upper
    full[..., j, i] = upper
    return full


def to_triangle(full: np.ndarray) -> np.ndarray:
    """Inverse of `from_triangle`."""
    i, j = np.triu_indices(full.shape[-1])
    return full[..., i, j]


@dataclass(frozen=True)
class EftModel:
    """The experiment; born checked.

    Raises:
        ShapeError: arrays that do not fit each other, or numbers that are not finite.
        LikelihoodError: negative counts or rates, structure constants that are not positive semi-definite, or a bin
            that expects nothing (a yield that is not positive) without new physics.
        ParameterError: names that are not unique, bounds that are none, or a coefficient that changes no yield.
    """

    coefficients: tuple[str, ...]
    low: np.ndarray
    """(d,) the box in which coefficients are scanned."""
    high: np.ndarray
    """(d,)."""
    bins: tuple[str, ...]
    observed: np.ndarray
    """(B,) counts."""
    processes: tuple[str, ...]
    rate: np.ndarray
    """(B, P) expected counts at c = 0 and t = 0."""
    signals: tuple[str, ...]
    """The processes that depend on c."""
    structure: np.ndarray
    """(B, len(signals), d + 1, d + 1): S."""
    nuisances: tuple[str, ...]
    up: np.ndarray
    """(k, B, P) ln kappa for t = 1 (and more)."""
    down: np.ndarray
    """(k, B, P) ln kappa for t = -1, with the sign of `up` where the effect is symmetric."""
    name: str = "eft"
    reference: str = ""

    def __post_init__(self) -> None:
        b, p, k, d = len(self.bins), len(self.processes), len(self.nuisances), len(self.coefficients)
        shapes = {
            "low": (d,),
            "high": (d,),
            "observed": (b,),
            "rate": (b, p),
            "structure": (b, len(self.signals), d + 1, d + 1),
            "up": (k, b, p),
            "down": (k, b, p),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ShapeError(f"{self.name}: {name} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise ShapeError(f"{self.name}: {name} has {(~np.isfinite(array)).sum()} entries that are not finite")
        for what, names in (("bin", self.bins), ("process", self.processes), ("signal", self.signals)):
            if len(set(names)) < len(names):
                raise ParameterError(f"{self.name}: {what} names must be unique, got {list(names)}")
        unknown = sorted(set(self.signals) - set(self.processes))
        if unknown:
            raise ParameterError(f"{self.name}: signals {unknown} are not among the processes {list(self.processes)}")
        untouched = [name for i, name in enumerate(self.coefficients, 1) if not self.structure[:, :, i].any()]
        if untouched:
            raise ParameterError(f"{self.name}: no yield depends on the coefficients {untouched}; leave them out")
        self.parameters  # noqa: B018 - raises on names and bounds that are none
        self._check_positive()

    def _check_positive(self) -> None:
        for what, array in (("observed counts", self.observed), ("rates", self.rate)):
            if (array < 0).any():
                where = tuple(int(i) for i in np.argwhere(array < 0)[0])
                raise LikelihoodError(f"{self.name}: {what} must not be negative, got {array[where]:g} at {where}")
        empty = np.flatnonzero(self.rate.sum(axis=1) <= 0)
        if len(empty):
            raise LikelihoodError(f"{self.name}: nothing is expected in {[self.bins[i] for i in empty][:8]}")
        values = np.linalg.eigvalsh(self.structure)
        bad = np.argwhere(values[..., 0] < -NEGATIVE * np.abs(values).max(axis=-1))
        if len(bad):
            i, j = bad[0]
            raise LikelihoodError(
                f"{self.name}: the structure constants of {self.signals[j]!r} in {self.bins[i]!r} are not positive "
                f"semi-definite (eigenvalue {values[i, j, 0]:.3g}; {len(bad)} such), so its yield is negative for some "
                "coefficients; sums over |amplitude|^2 are positive, fits of them need a constraint"
            )

    @cached_property
    def parameters(self) -> ParameterSpace:
        """Coefficients (role poi) and nuisances, in this order; the box is where they are defined."""
        return ParameterSpace((*self.pois.parameters, *(Parameter(name=name) for name in self.nuisances)))

    @cached_property
    def pois(self) -> ParameterSpace:
        """The coefficients alone."""
        edges = zip(self.coefficients, self.low.tolist(), self.high.tolist(), strict=True)
        return ParameterSpace(tuple(Parameter(name=name, role="poi", bounds=(low, high)) for name, low, high in edges))

    @property
    def prior(self) -> Prior:
        """Unit normals for the nuisances."""
        return Prior({name: Normal() for name in self.nuisances})

    @cached_property
    def touched(self) -> np.ndarray:
        """(len(signals),) the columns of the signals among the processes."""
        return np.array([self.processes.index(name) for name in self.signals], int)
