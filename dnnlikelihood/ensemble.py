r"""A surrogate as arrays: what a DnnLik computes, written once, without any network library.

    z    = (theta - shift) / scale                                            physical parameters, standardised
    f    = (z, max(0, (theta_k - kappa_k) / scale_k) for every kink)          features, (n, m)
    b(f) = c + l.f + 1/2 f^T Q f                                              baseline, float64
    r_k  = output_scale * net_k(f)                                            residual of member k, float32 inside
    logpdf = b + mean_k r_k,        spread = standard deviation of r_k over the members
    error  = factor(logpdf) (spread + floor)                                  half-width of the calibrated 90 % band
    in_domain = inside the box and the ellipsoid |A (theta - center)| <= radius of the training points

The offset and the quadratic part stay in float64, so the network only has to be right about the difference. Training
makes this object, exporters write it, and every runtime is held against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ConfigError, CorruptFile
from .npzfiles import read_npz, write_npz

__all__ = ["ACTIVATIONS", "Baseline", "Calibration", "Domain", "Ensemble", "Features", "Member"]

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form, as `keras.activations.gelu(approximate=True)`."""
    return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "selu": lambda x: (
        np.float32(SELU_SCALE) * np.where(x > 0, x, np.float32(SELU_ALPHA) * np.expm1(np.minimum(x, np.float32(0))))
    ),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": _gelu,
    "softplus": _softplus,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}
"""The activations a member may have, elementwise on float32 arrays."""


@dataclass(frozen=True)
class Features:
    """Standardised parameters, and their positive parts at declared kinks."""

    shift: np.ndarray
    """(d,)."""
    scale: np.ndarray
    """(d,), positive."""
    kink_columns: np.ndarray
    """(p,) int."""
    kink_values: np.ndarray
    """(p,)."""

    @property
    def width(self) -> int:
        """The number of features, m = d + p."""
        return len(self.shift) + len(self.kink_columns)

    def __call__(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, m) float64."""
        z = (theta - self.shift) / self.scale
        beyond = (theta[:, self.kink_columns] - self.kink_values) / self.scale[self.kink_columns]
        return np.concatenate([z, np.maximum(beyond, 0.0)], axis=1)

    def pull_back(self, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """(n, m) gradient in the features -> (n, d) gradient in theta; the left slope exactly at a kink."""
        d = len(self.shift)
        out = gradient[:, :d].copy()
        on = theta[:, self.kink_columns] > self.kink_values
        for j, column in enumerate(self.kink_columns):
            out[:, column] += gradient[:, d + j] * on[:, j]
        return out / self.scale


@dataclass(frozen=True)
class Baseline:
    """b(f) = c + l.f + 1/2 f^T Q f."""

    constant: float
    linear: np.ndarray
    """(m,)."""
    matrix: np.ndarray
    """(m, m) symmetric Q."""

    def value(self, f: np.ndarray) -> np.ndarray:
        """(n, m) -> (n,)."""
        return self.constant + np.einsum("nm,nm->n", f, self.linear + 0.5 * (f @ self.matrix))

    def gradient(self, f: np.ndarray) -> np.ndarray:
        """(n, m) -> (n, m)."""
        return self.linear + f @ self.matrix


@dataclass(frozen=True)
class Member:
    """One network: dense layers with one activation, a linear output of width 1."""

    kernels: tuple[np.ndarray, ...]
    """float32, (m, w_1), (w_1, w_2), ..., (w_L, 1)."""
    biases: tuple[np.ndarray, ...]
    activation: str

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ConfigError(f"activation {self.activation!r} is none of {sorted(ACTIVATIONS)}")

    @property
    def n_weights(self) -> int:
        """How many numbers were learned."""
        return sum(a.size for a in (*self.kernels, *self.biases))

    def __call__(self, f: np.ndarray) -> np.ndarray:
        """(n, m) -> (n,) float32 network output."""
        h = f.astype(np.float32)
        act = ACTIVATIONS[self.activation]
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            h = act(h @ kernel + bias)
        return (h @ self.kernels[-1] + self.biases[-1])[:, 0]


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

    def error(self, logpdf: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """(n,), (n,) -> (n,) half-width in nats."""
        return self.factors[np.searchsorted(self.edges, logpdf, side="right")] * (spread + self.floor)


@dataclass(frozen=True)
class Ensemble:
    """The whole surrogate."""

    features: Features
    baseline: Baseline
    members: tuple[Member, ...]
    output_scale: float
    domain: Domain
    calibration: Calibration

    @property
    def n_weights(self) -> int:
        """Learned numbers of all members together."""
        return sum(m.n_weights for m in self.members)

    def members_logpdf(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, K) float64: every member's answer."""
        f = self.features(theta)
        residuals = np.stack([m(f) for m in self.members], axis=1).astype(float)
        return self.baseline.value(f)[:, None] + self.output_scale * residuals

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for npz; `from_arrays` is the inverse."""
        out = {
            "features/shift": self.features.shift,
            "features/scale": self.features.scale,
            "features/kink_columns": self.features.kink_columns,
            "features/kink_values": self.features.kink_values,
            "baseline/constant": np.array(self.baseline.constant),
            "baseline/linear": self.baseline.linear,
            "baseline/matrix": self.baseline.matrix,
            "output_scale": np.array(self.output_scale),
            "domain/low": self.domain.low,
            "domain/high": self.domain.high,
            "domain/center": self.domain.center,
            "domain/whitening": self.domain.whitening,
            "domain/radius": np.array(self.domain.radius),
            "calibration/edges": self.calibration.edges,
            "calibration/factors": self.calibration.factors,
            "calibration/floor": np.array(self.calibration.floor),
        }
        for k, member in enumerate(self.members):
            out[f"members/{k}/activation"] = np.array(member.activation)
            for i, (kernel, bias) in enumerate(zip(member.kernels, member.biases, strict=True)):
                out[f"members/{k}/{i}/kernel"], out[f"members/{k}/{i}/bias"] = kernel, bias
        return out

    @classmethod
    def from_arrays(cls, a: Any) -> Ensemble:
        """Inverse of `arrays`."""
        names = set(a.keys())
        members: list[Member] = []
        while f"members/{len(members)}/activation" in names:
            prefix = f"members/{len(members)}"
            n = sum(1 for name in names if name.startswith(prefix + "/") and name.endswith("/kernel"))
            kernels = tuple(a[f"{prefix}/{i}/kernel"] for i in range(n))
            biases = tuple(a[f"{prefix}/{i}/bias"] for i in range(n))
            members.append(Member(kernels, biases, str(a[f"{prefix}/activation"])))
        return cls(
            Features(*(a[f"features/{n}"] for n in ("shift", "scale", "kink_columns", "kink_values"))),
            Baseline(float(a["baseline/constant"]), a["baseline/linear"], a["baseline/matrix"]),
            tuple(members),
            float(a["output_scale"]),
            Domain(
                a["domain/low"],
                a["domain/high"],
                a["domain/center"],
                a["domain/whitening"],
                float(a["domain/radius"]),
            ),
            Calibration(a["calibration/edges"], a["calibration/factors"], float(a["calibration/floor"])),
        )

    def save(self, path: Path) -> None:
        """Write all arrays to one npz file."""
        write_npz(path, self.arrays())

    @classmethod
    def load(cls, path: Path) -> Ensemble:
        """Read them back.

        Raises:
            CorruptFile: not such a file.
        """
        try:
            return cls.from_arrays(read_npz(path))
        except KeyError as error:
            raise CorruptFile(f"{path} is not an ensemble: it lacks {error}") from error
