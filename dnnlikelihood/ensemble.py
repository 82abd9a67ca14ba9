r"""A surrogate as arrays: what a DnnLik computes, written once, without any network library.

    z    = (theta - shift) / scale                                            physical parameters, standardised
    f    = (z, max(0, (theta_k - kappa_k) / scale_k) for every kink)          features, (n, m)
    b(f) = c + l.f + 1/2 f^T Q f                                              baseline, float64
    r_k  = output_scale * N_k(f)                                              residual of member k, float32 inside
    logpdf = b + mean_k r_k,        spread = standard deviation of r_k over the members
    error  = factor(logpdf) (spread + floor)                                  half-width of the calibrated 90 % band
    in_domain = inside the box and the ellipsoid |A (theta - center)| <= radius of the training points,
                and spread <= limit(logpdf) for every head

The offset and the quadratic part stay in float64, so the network only has to be right about the difference. With
several heads, baseline, scale and calibration are each head's own; features, members and domain are shared.

A reparametrised surrogate takes phi and has a fixed linear layer in front, theta = M phi, in float64; all of the above
is then said of theta.

An anchored surrogate has its anchor at z = 0, where its networks were trained as N(f) - N(f(anchor)); what float32
leaves of that difference at the anchor itself is dropped, so that every head is its constant c there, to the last bit
and on every runtime.

Training makes this object, exporters write it, and every runtime is held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from .errors import ConfigError, CorruptFile
from .guard import Calibration, Domain
from .members import ACTIVATIONS, Member, average
from .npzfiles import read_npz, write_npz

__all__ = ["ACTIVATIONS", "Baseline", "Ensemble", "Features", "Member", "Output"]

RAYS = 200
"""Along which points inside are looked for."""
ROWS = 1024
"""Rows computed at once, so that the layers stay in the cache: large batches are twice as fast in pieces."""


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
class Output:
    """What turns a column of the networks into the log-density of one head."""

    baseline: Baseline
    scale: float
    """Nats of one unit of the networks' output."""
    calibration: Calibration
    name: str = ""
    """Of the head; empty for a plain density."""


@dataclass(frozen=True)
class Ensemble:
    """The whole surrogate."""

    features: Features
    outputs: tuple[Output, ...]
    """One for each head, in the order of the networks' columns."""
    members: tuple[Member, ...]
    domain: Domain
    anchored: bool = False
    """Whether every head is its baseline's constant at z = 0, exactly."""
    matrix: np.ndarray | None = None
    """(D, d) M of theta = M phi for points phi (n, d); None where they are theta themselves."""

    def __post_init__(self) -> None:
        n_heads = {member.n_heads for member in self.members}
        if n_heads != {len(self.outputs)}:
            raise ConfigError(f"networks of {sorted(n_heads)} columns for {len(self.outputs)} outputs")
        if self.anchored and (self.features.kink_values < self.features.shift[self.features.kink_columns]).any():
            raise ConfigError("a surrogate cannot be anchored beyond a kink: there its features are not zero")
        if self.matrix is not None and len(self.matrix) != len(self.features.shift):
            raise ConfigError(f"a matrix of shape {self.matrix.shape} before features of {len(self.features.shift)}")

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads; () for a plain density."""
        return tuple(output.name for output in self.outputs if output.name)

    @property
    def anchor(self) -> np.ndarray | None:
        """(D,) theta where every head is exactly its constant; None if nowhere."""
        return self.features.shift if self.anchored else None

    @property
    def n_parameters(self) -> int:
        """The number d of columns of the points it takes."""
        return len(self.features.shift) if self.matrix is None else self.matrix.shape[1]

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """(n, d) points asked for -> (n, D) theta that the networks know."""
        return points if self.matrix is None else points @ self.matrix.T

    def in_domain(self, points: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) bool: inside the domain of theta, and where the members agree."""
        inside = self.domain(self.coordinates(points))
        inside[inside] = self.agree(self.heads_logpdf(points[inside]))
        return inside

    def agree(self, members: np.ndarray) -> np.ndarray:
        """(n, K, H) answers -> (n,) bool: no head is spread more than its calibration has seen."""
        mean, spread = members.mean(axis=1), members.std(axis=1)
        held = [o.calibration.holds(mean[:, h], spread[:, h]) for h, o in enumerate(self.outputs)]
        return np.all(held, axis=0)

    def dispute(self, point: np.ndarray) -> str:
        """In words, by how much the members disagree at a point (d,) that `agree` refuses."""
        members = self.heads_logpdf(point[None])
        mean, spread = members.mean(axis=1)[0], members.std(axis=1)[0]
        limits = np.array([o.calibration.limit(mean[h]) for h, o in enumerate(self.outputs)])
        h = int(np.argmax(~(spread <= limits)))
        where = f" in {self.heads[h]!r}" if self.heads else ""
        return f"the members of the ensemble disagree there by {spread[h]:.3g} nats{where}, {limits[h]:.3g} is trusted"

    def error(self, members: np.ndarray) -> np.ndarray:
        """(n, K, H) answers -> (n, H) half-width of the calibrated band of each head, nats."""
        mean, spread = members.mean(axis=1), members.std(axis=1)
        return np.stack([o.calibration.error(mean[:, h], spread[:, h]) for h, o in enumerate(self.outputs)], axis=1)

    def points_about(self, reach: float) -> np.ndarray:
        """(n, d) the centre, and points on rays in random directions, up to `reach` times as far as the ellipsoid."""
        hull, rng = self.hull, np.random.default_rng(0)
        rays = rng.normal(size=(RAYS, hull.whitening.shape[1]))
        lengths = reach * hull.radius * rng.uniform(0, 1, RAYS) / np.linalg.norm(rays, axis=1)
        return np.vstack([hull.center, hull.center + (rays * lengths[:, None]) @ np.linalg.pinv(hull.whitening)])

    def known_points(self) -> np.ndarray:
        """(n, d) points of the domain, the highest first, for fits and chains to start from; the centre if none is."""
        points = self.points_about(1.0)
        inside = points[self.in_domain(points)]
        return inside[np.argsort(-self.members_logpdf(inside).mean(axis=1))] if len(inside) else points[:1]

    def reparametrise(self, matrix: np.ndarray) -> Self:
        """The same surrogate in phi, theta = matrix @ phi: a linear layer in front, nothing trained again."""
        return replace(self, matrix=matrix if self.matrix is None else self.matrix @ matrix)

    @property
    def hull(self) -> Domain:
        """The domain in the parameters asked for: the ellipsoid exactly, and a box that holds what is inside.

        With q = A^T M phi - A^T center, the ellipsoid |q| <= radius cuts the image of M in one about the phi of the
        smallest |q|, whose extent along phi_j is radius sqrt[(M^T A A^T M)^-1]_jj. A square M bounds phi = M^-1 theta
        by the box of theta too.
        """
        if self.matrix is None:
            return self.domain
        inner, white = self.domain, self.matrix.T @ self.domain.whitening
        center = np.linalg.lstsq(white.T, inner.center @ inner.whitening, rcond=None)[0]
        nearest = float(inner.distance((self.matrix @ center)[None])[0])
        radius = float(np.sqrt(max(inner.radius**2 - nearest**2, 0.0)))
        reach = radius * np.sqrt(np.diag(np.linalg.inv(white @ white.T)))
        low, high = center - reach, center + reach
        if self.matrix.shape[0] == self.matrix.shape[1]:
            back = np.linalg.inv(self.matrix)
            middle, half = back @ (inner.low + inner.high) / 2, np.abs(back) @ (inner.high - inner.low) / 2
            low, high = np.maximum(low, middle - half), np.minimum(high, middle + half)
        return Domain(low, high, center, white, radius)

    @property
    def baseline(self) -> Baseline:
        """Of the first head."""
        return self.outputs[0].baseline

    @property
    def output_scale(self) -> float:
        """Of the first head."""
        return self.outputs[0].scale

    @property
    def calibration(self) -> Calibration:
        """Of the first head."""
        return self.outputs[0].calibration

    @property
    def n_weights(self) -> int:
        """Numbers held by all members together."""
        return sum(m.n_weights for m in self.members)

    def select(self, head: int) -> Self:
        """The surrogate of one head alone, without its name."""

        def cut(member: Member) -> Member:
            last = member.layers[-1]
            column = slice(head, head + 1)
            alone = replace(last, kernel=last.kernel[:, column].copy(), bias=last.bias[column].copy())
            return replace(member, layers=(*member.layers[:-1], alone))

        outputs = (replace(self.outputs[head], name=""),)
        return replace(self, outputs=outputs, members=tuple(cut(m) for m in self.members))

    def baseline_logpdf(self, theta: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, H) every head without its networks."""
        return self._baselines(self.features(self.coordinates(theta)))

    def _baselines(self, f: np.ndarray) -> np.ndarray:
        return np.stack([output.baseline.value(f) for output in self.outputs], axis=1)

    def _residuals(self, theta: np.ndarray, networks: Sequence[np.ndarray]) -> np.ndarray:
        """(n, H) network outputs of each member -> (n, K, H) nats, nothing at the anchor."""
        scales = np.array([output.scale for output in self.outputs])
        residuals = np.stack(networks, axis=1).astype(float) * scales
        if self.anchored:
            residuals[(theta == self.features.shift).all(axis=1)] = 0.0
        return residuals

    def heads_logpdf(self, theta: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """(n, d) -> (n, K, H) float64: every member's answer for every head; networks computed in `dtype`."""
        if len(theta) > ROWS:
            return np.concatenate([self.heads_logpdf(theta[i : i + ROWS], dtype) for i in range(0, len(theta), ROWS)])
        theta = self.coordinates(theta)
        f = self.features(theta)
        networks = [member(f, dtype) for member in self.members]
        return self._baselines(f)[:, None, :] + self._residuals(theta, networks)

    def members_logpdf(self, theta: np.ndarray, head: int = 0, dtype: Any = np.float32) -> np.ndarray:
        """(n, d) -> (n, K) float64: every member's answer for one head."""
        return self.heads_logpdf(theta, dtype)[:, :, head]

    def heads_logpdf_and_grad(self, theta: np.ndarray, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) -> (n, H), (n, H, d): mean of the members, and its gradient, for every head."""
        members, gradient = self.members_and_grad(theta, dtype)
        return average(members), gradient

    def members_and_grad(self, theta: np.ndarray, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) -> (n, K, H), (n, H, d): every member's answer for every head, and the gradient of their mean."""
        if len(theta) > ROWS:
            pieces = [self.members_and_grad(theta[i : i + ROWS], dtype) for i in range(0, len(theta), ROWS)]
            return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])
        theta = self.coordinates(theta)
        f = self.features(theta)
        networks, slopes = zip(*(member.value_and_gradient(f, dtype) for member in self.members), strict=True)
        members = self._baselines(f)[:, None, :] + self._residuals(theta, networks)
        gradient = np.empty((len(theta), len(self.outputs), theta.shape[1]))
        for h, output in enumerate(self.outputs):
            residual = np.mean([slope[:, h] for slope in slopes], axis=0, dtype=float)
            in_features = output.baseline.gradient(f) + output.scale * residual
            gradient[:, h] = self.features.pull_back(theta, in_features)
        return members, gradient if self.matrix is None else gradient @ self.matrix

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for npz; `from_arrays` is the inverse.

        The heads lie side by side: constants (H,), linear parts (H m,), matrices (m, H m), edges (H (B - 1),), factors
        (H B,), floors (H,), limits (H B,).
        """
        outs = self.outputs
        out = {
            "heads": np.array(self.heads, dtype=str),
            "anchored": np.array(self.anchored),
            "features/shift": self.features.shift,
            "features/scale": self.features.scale,
            "features/kink_columns": self.features.kink_columns,
            "features/kink_values": self.features.kink_values,
            "baseline/constant": np.array([o.baseline.constant for o in outs]),
            "baseline/linear": np.concatenate([o.baseline.linear for o in outs]),
            "baseline/matrix": np.concatenate([o.baseline.matrix for o in outs], axis=1),
            "output_scale": np.array([o.scale for o in outs]),
            "domain/low": self.domain.low,
            "domain/high": self.domain.high,
            "domain/center": self.domain.center,
            "domain/whitening": self.domain.whitening,
            "domain/radius": np.array(self.domain.radius),
            "calibration/edges": np.concatenate([o.calibration.edges for o in outs]),
            "calibration/factors": np.concatenate([o.calibration.factors for o in outs]),
            "calibration/floor": np.array([o.calibration.floor for o in outs]),
            "calibration/limits": np.concatenate([o.calibration.limits for o in outs]),
        }
        if self.matrix is not None:
            out["matrix"] = self.matrix
        for k, member in enumerate(self.members):
            out[f"members/{k}/activation"] = np.array(member.structure)
            for i, layer in enumerate(member.layers):
                out[f"members/{k}/{i}/kernel"], out[f"members/{k}/{i}/bias"] = layer.kernel, layer.bias
        return out

    @classmethod
    def from_arrays(cls, a: Any) -> Self:
        """Inverse of `arrays`.

        Raises:
            KeyError: an array is missing; ConfigError, ValueError: they do not fit each other.
        """
        names = set(a.keys())
        members: list[Member] = []
        while f"members/{len(members)}/activation" in names:
            prefix = f"members/{len(members)}"
            n = sum(1 for name in names if name.startswith(prefix + "/") and name.endswith("/kernel"))
            kernels, biases = ([a[f"{prefix}/{i}/{part}"] for i in range(n)] for part in ("kernel", "bias"))
            members.append(Member.from_structure(str(a[f"{prefix}/activation"]), kernels, biases))
        low, high, center, whitening = (a[f"domain/{n}"] for n in ("low", "high", "center", "whitening"))
        domain = Domain(low, high, center, whitening, float(a["domain/radius"]))
        features = Features(*(a[f"features/{n}"] for n in ("shift", "scale", "kink_columns", "kink_values")))
        matrix = np.asarray(a["matrix"], float) if "matrix" in names else None
        return cls(features, _outputs(a), tuple(members), domain, bool(a.get("anchored", False)), matrix)

    def save(self, path: Path) -> None:
        """Write all arrays to one npz file."""
        write_npz(path, self.arrays())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read them back.

        Raises:
            CorruptFile: not such a file.
        """
        try:
            return cls.from_arrays(read_npz(path))
        except KeyError as error:
            raise CorruptFile(f"{path} is not an ensemble: it lacks {error}") from error


def _outputs(a: Any) -> tuple[Output, ...]:
    """The heads apart again."""
    constants = np.reshape(a["baseline/constant"], -1)
    n_heads = len(constants)
    names = [str(name) for name in a.get("heads", ())] or [""]
    if len(names) != n_heads:
        raise ConfigError(f"{n_heads} heads with the names {names}")
    linear, factors, edges, limits = (
        np.reshape(a[name], (n_heads, -1)) if np.size(a[name]) else np.zeros((n_heads, 0))
        for name in ("baseline/linear", "calibration/factors", "calibration/edges", "calibration/limits")
    )
    matrices = np.split(a["baseline/matrix"], n_heads, axis=1)
    scales, floors = np.reshape(a["output_scale"], -1), np.reshape(a["calibration/floor"], -1)
    return tuple(
        Output(
            Baseline(float(constants[h]), linear[h], matrices[h]),
            float(scales[h]),
            Calibration(edges[h], factors[h], float(floors[h]), limits[h]),
            names[h],
        )
        for h in range(n_heads)
    )
