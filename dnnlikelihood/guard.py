"""Where a surrogate may be believed, and how far: its `Domain`, and the `Calibration` of its members' spread.

Box and ellipsoid hold the training points, but are convex, and the points need not fill them. In a hole the members of
the ensemble have learned nothing and each tells something else, so that a spread beyond all that was seen at points of
like answer ends the domain too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Calibration", "Domain"]


@dataclass(frozen=True)
class Domain:
    """Where the surrogate was trained: a box and an ellipsoid."""

    low: np.ndarray
    """(d,)."""
    high: np.ndarray
    """(d,)."""
    center: np.ndarray
    """(d,)."""
    whitening: np.ndarray
    """(d, d) A, with A A^T the inverse covariance: the distance is |(theta - center) A|."""
    radius: float

    def distance(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) Mahalanobis distance from the centre."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinitely far is far enough
            return np.sqrt((((theta - self.center) @ self.whitening) ** 2).sum(axis=1))

    def __call__(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) bool."""
        box = np.all((theta >= self.low) & (theta <= self.high), axis=1)
        return box & (self.distance(theta) <= self.radius)


@dataclass(frozen=True)
class Calibration:
    """Split-conformal factors that turn the spread into a 90 % band, per bin of logpdf."""

    edges: np.ndarray
    """(B - 1,) ascending bounds between the bins of logpdf."""
    factors: np.ndarray
    """(B,)."""
    floor: float
    """Nats added to the spread, so that one member, or members that agree, are not taken for exact."""
    limits: np.ndarray
    """(B,) nats of spread beyond which the band says nothing, because no calibration point was like that."""

    def error(self, logpdf: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """(n,), (n,) -> (n,) half-width in nats."""
        return self.factors[self.bins(logpdf)] * (spread + self.floor)

    def holds(self, logpdf: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """(n,), (n,) -> (n,) bool: whether the members agree well enough for a band."""
        return spread <= self.limit(logpdf)

    def limit(self, logpdf: np.ndarray) -> np.ndarray:
        """(n,) -> (n,) nats of spread up to which there is a band."""
        return self.limits[self.bins(logpdf)]

    def bins(self, logpdf: np.ndarray) -> np.ndarray:
        """(n,) -> (n,) index of the bin."""
        return np.searchsorted(self.edges, logpdf, side="right")
