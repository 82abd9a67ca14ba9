"""From labelled points to an `Ensemble`: scaling, baseline, members, domain, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..ensemble import Baseline, Calibration, Domain, Ensemble, Features, Member
from ..errors import TrainingError
from ..parameters import ParameterSpace
from ..progress import progress_bar
from ..statistics.baseline import constant_baseline, fit_baseline
from ..statistics.calibration import conformal
from .config import NetworkConfig, TrainingConfig
from .train import Residuals, train_member

__all__ = ["Labelled", "fit_ensemble"]

BASELINE_ROWS = 6000
BOX_MARGIN = 0.1


@dataclass(frozen=True)
class Labelled:
    """Points with their labels, in memory."""

    theta: np.ndarray
    """(n, d)."""
    logpdf: np.ndarray
    """(n,)."""
    gradient: np.ndarray | None
    """(n, d) or None."""
    weight: np.ndarray
    """(n,)."""

    def check(self, name: str) -> None:
        """Refuse what no network can learn from.

        Raises:
            TrainingError: too few rows, or values that are not finite, with their number and first row.
        """
        if len(self.theta) < 2:
            raise TrainingError(f"the {name} split has {len(self.theta)} rows, at least 2 are needed")
        for what in ("theta", "logpdf", "gradient", "weight"):
            array = getattr(self, what)
            if array is not None and not np.isfinite(array).all():
                rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
                raise TrainingError(f"{what} is not finite in {len(rows)} {name} rows, the first is row {rows[0]}")


def _features(space: ParameterSpace, theta: np.ndarray, *, standardise: bool, kinks: bool) -> Features:
    d = theta.shape[1]
    shift, scale = np.zeros(d), np.ones(d)
    if standardise:
        shift, scale = theta.mean(axis=0), theta.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(1.0, np.abs(shift)), scale, 1.0)
    inside = [(c, v) for c, v in space.kinks if theta[:, c].min() < v < theta[:, c].max()] if kinks else []
    columns = np.array([c for c, _ in inside], np.int64)
    return Features(shift, scale, columns, np.array([v for _, v in inside], float))


def _domain(theta: np.ndarray) -> Domain:
    """The box of the points, a tenth wider, and the smallest ellipsoid of their covariance that holds them all.

    In many dimensions a new point of the same distribution easily leaves the bare box in one coordinate: among n
    points in d dimensions about 2 d / n do.
    """
    center = theta.mean(axis=0)
    variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(theta.T)))
    whitening = axes / np.sqrt(np.maximum(variance, 1e-12 * variance.max()))
    low, high = theta.min(axis=0), theta.max(axis=0)
    margin = BOX_MARGIN * (high - low)
    domain = Domain(low - margin, high + margin, center, whitening, np.inf)
    return replace(domain, radius=float(domain.distance(theta).max()) * (1 + 1e-9))


def _residuals(rows: Labelled, features: Features, baseline: Baseline, output_scale: float) -> Residuals:
    f = features(rows.theta)
    gradient = None
    if rows.gradient is not None:
        slope = rows.gradient - features.pull_back(rows.theta, baseline.gradient(f))
        gradient = (slope * features.scale / output_scale).astype(np.float32)
    return Residuals(
        z=((rows.theta - features.shift) / features.scale).astype(np.float32),
        value=((rows.logpdf - baseline.value(f)) / output_scale).astype(np.float32),
        gradient=gradient,
        weight=(rows.weight / rows.weight.mean()).astype(np.float32),
    )


def fit_ensemble(
    space: ParameterSpace,
    train: Labelled,
    validation: Labelled,
    network: NetworkConfig,
    training: TrainingConfig,
    *,
    standardise: bool,
    quadratic: bool,
    scale_output: bool,
    checkpoints: Path | None = None,
    identity: str = "",
    progress: bool = True,
) -> tuple[Ensemble, list[dict[str, list[float]]]]:
    """Train every member and calibrate their spread on the validation rows.

    Returns:
        The ensemble, and one history a member.

    Raises:
        TrainingError: rows that cannot be learned from, or a loss that left the real numbers.
    """
    train.check("train")
    validation.check("validation")
    features = _features(space, train.theta, standardise=standardise, kinks=quadratic)
    rng = np.random.default_rng(training.seed)
    some = rng.permutation(len(train.theta))[:BASELINE_ROWS]
    if quadratic:
        gradient = None if train.gradient is None else train.gradient[some]
        baseline = fit_baseline(features, train.theta[some], train.logpdf[some], gradient)
    else:
        baseline = constant_baseline(features.width, float(train.logpdf.mean()))
    scale = float(train.logpdf.std()) if scale_output else 1.0
    seen, watched = (_residuals(rows, features, baseline, scale) for rows in (train, validation))

    members: list[Member] = []
    histories: list[dict[str, list[float]]] = []
    with progress_bar("training", network.n_members * training.n_epochs, shown=progress) as advance:
        for k in range(network.n_members):
            member, history = train_member(
                features,
                seen,
                watched,
                network,
                training,
                training.seed + k,
                checkpoint=None if checkpoints is None else checkpoints / f"member_{k}.npz",
                identity=identity,
                each_epoch=lambda h, k=k: advance(  # type: ignore[misc]
                    1, f"member {k + 1}: validation RMSE {scale * h['val_loss'][-1] ** 0.5:.4f} nats"
                ),
            )
            members.append(member)
            histories.append(history)
    return assemble(features, baseline, members, scale, train.theta, validation), histories


def assemble(
    features: Features,
    baseline: Baseline,
    members: Sequence[Member],
    output_scale: float,
    theta: np.ndarray,
    calibration: Any,
) -> Ensemble:
    """Put the parts together and calibrate the error on labelled rows."""
    none = Calibration(np.zeros(0), np.ones(1), 0.0)
    bare = Ensemble(features, baseline, tuple(members), output_scale, _domain(theta), none)
    answers = bare.members_logpdf(calibration.theta)
    fitted = conformal(answers.mean(axis=1), answers.std(axis=1), calibration.logpdf)
    return Ensemble(features, baseline, tuple(members), output_scale, bare.domain, fitted)
