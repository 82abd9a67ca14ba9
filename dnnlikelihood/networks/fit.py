"""From labelled points to an `Ensemble`: scaling, baseline, members, domain, calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..accuracy import tolerance
from ..ensemble import Baseline, Ensemble, Features, Output
from ..errors import TrainingError
from ..guard import Calibration, Domain
from ..members import Member
from ..parameters import ParameterSpace
from ..progress import progress_bar
from ..statistics.baseline import constant_baseline, fit_baseline
from ..statistics.calibration import conformal
from .config import NetworkConfig, TrainingConfig
from .train import Residuals, train_member

__all__ = ["Labelled", "Watch", "calibrated", "fit_ensemble"]

BASELINE_ROWS = 6000
BOX_MARGIN = 0.1

Baselines = tuple[Baseline, ...]
Watch = Callable[[dict[str, list[float]], float], None]
"""Called after each epoch, and when a checkpoint was read, with the history of the member in training and the nats of
one unit of its output."""


@dataclass(frozen=True)
class Labelled:
    """Points with their labels, in memory."""

    theta: np.ndarray
    """(n, d)."""
    logpdf: np.ndarray
    """(n,), or (n, H) with heads."""
    gradient: np.ndarray | None
    """(n, d), or (n, H, d) with heads, or None."""
    weight: np.ndarray
    """(n,)."""
    kinds: np.ndarray | None = None
    """(n,) where each comes from, if that is known: the error is calibrated for each kind."""

    @property
    def values(self) -> np.ndarray:
        """(n, H) log-densities; H = 1 without heads."""
        return self.logpdf.reshape(len(self.theta), -1)

    @property
    def slopes(self) -> np.ndarray | None:
        """(n, H, d) gradients, or None."""
        if self.gradient is None:
            return None
        return self.gradient.reshape(*self.values.shape, self.theta.shape[1])

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


def _features(
    space: ParameterSpace, theta: np.ndarray, anchor: np.ndarray | None, *, standardise: bool, kinks: bool
) -> Features:
    """Standardised around the mean of the points, or around the anchor, where all features are then zero."""
    d = theta.shape[1]
    shift, scale = np.zeros(d), np.ones(d)
    if standardise:
        shift, scale = theta.mean(axis=0), theta.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(1.0, np.abs(shift)), scale, 1.0)
    if anchor is not None:
        shift, kinks = anchor.astype(float), False
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


def _baselines(
    features: Features, train: Labelled, anchor: Labelled | None, seed: int, *, quadratic: bool
) -> Baselines:
    """One for each head; through its label at the anchor if there is one."""
    some = np.random.default_rng(seed).permutation(len(train.theta))[:BASELINE_ROWS]
    values, slopes = train.values, train.slopes
    found = []
    for h in range(values.shape[1]):
        fixed = None if anchor is None else float(anchor.values[0, h])
        if quadratic:
            gradient = None if slopes is None else slopes[some, h]
            found.append(fit_baseline(features, train.theta[some], values[some, h], gradient, constant=fixed))
        else:
            found.append(constant_baseline(features.width, float(values[:, h].mean()) if fixed is None else fixed))
    return tuple(found)


def _residuals(rows: Labelled, features: Features, baselines: Baselines, scales: np.ndarray) -> Residuals:
    f, slopes, gradient = features(rows.theta), rows.slopes, None
    value = (rows.values - np.stack([b.value(f) for b in baselines], axis=1)) / scales
    if slopes is not None:
        known = np.stack([features.pull_back(rows.theta, b.gradient(f)) for b in baselines], axis=1)
        gradient = ((slopes - known) * features.scale / scales[:, None]).astype(np.float32)
    return Residuals(
        z=((rows.theta - features.shift) / features.scale).astype(np.float32),
        value=value.astype(np.float32),
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
    heads: tuple[str, ...] = (),
    anchor: Labelled | None = None,
    checkpoints: Path | None = None,
    identity: str = "",
    watch: Watch | None = None,
    progress: bool = True,
) -> tuple[Ensemble, list[dict[str, list[float]]]]:
    """Train every member and calibrate their spread on the validation rows.

    Args:
        space: the columns of theta.
        train: rows to learn from.
        validation: rows to watch, and to calibrate with.
        network: architecture and sizes.
        training: the recipe.
        standardise: whether features are standardised parameters.
        quadratic: whether the baseline is a quadratic form, and the kinks of the parameters are features.
        scale_output: whether each head's target is divided by its standard deviation.
        heads: names of the columns of the labels; () for a plain density.
        anchor: one labelled row; the surrogate equals its labels there, exactly.
        checkpoints: folder to continue from and to write to after every epoch.
        identity: fingerprint that the checkpoints must carry.
        watch: told of every epoch; what it raises ends the training.
        progress: show a bar on a terminal.

    Returns:
        The ensemble, and one history a member.

    Raises:
        TrainingError: rows that cannot be learned from, or a loss that left the real numbers.
    """
    train.check("train")
    validation.check("validation")
    at = None if anchor is None else anchor.theta[0]
    features = _features(space, train.theta, at, standardise=standardise, kinks=quadratic)
    baselines = _baselines(features, train, anchor, training.seed, quadratic=quadratic)
    scales = np.ones(len(baselines))
    if scale_output:
        deviation = _residuals(train, features, baselines, scales).value.std(axis=0, dtype=float)
        scales = np.where(deviation > 0, deviation, 1.0)
    seen, watched = (_residuals(rows, features, baselines, scales) for rows in (train, validation))
    top = np.maximum(train.values.max(axis=0), validation.values.max(axis=0))
    watched = replace(watched, tolerance=(tolerance(validation.values, top) / scales).astype(np.float32))
    nats = float(np.sqrt(np.mean(scales**2) / len(scales)))

    members: list[Member] = []
    histories: list[dict[str, list[float]]] = []
    with progress_bar("training", network.n_members * training.n_epochs, shown=progress) as advance:
        done = [0] * network.n_members

        def told(history: dict[str, list[float]]) -> None:
            k, epochs, rmse = len(members), len(history["loss"]), nats * history["val_loss"][-1] ** 0.5
            advance(epochs - done[k], f"member {k + 1}: validation RMSE {rmse:.4f} nats")
            done[k] = epochs
            if watch is not None:
                watch(history, nats)

        for k in range(network.n_members):
            member, history = train_member(
                features,
                seen,
                watched,
                network,
                training,
                training.seed + k,
                anchored=anchor is not None,
                checkpoint=None if checkpoints is None else checkpoints / f"member_{k}.npz",
                identity=identity,
                each_epoch=told,
            )
            members.append(member)
            histories.append(history)
    none = Calibration(np.zeros(0), np.ones(1), 0.0, np.full(1, np.inf))
    outputs = tuple(
        Output(b, float(s), none, name) for b, s, name in zip(baselines, scales, heads or ("",), strict=True)
    )
    bare = Ensemble(features, outputs, tuple(members), _domain(train.theta), anchored=anchor is not None)
    return calibrated(bare, validation), histories


def calibrated(ensemble: Ensemble, rows: Labelled) -> Ensemble:
    """The same surrogate with the error of each head calibrated on labelled rows."""
    answers, values = ensemble.heads_logpdf(rows.theta), rows.values
    fitted = (
        conformal(a.mean(axis=1), a.std(axis=1), values[:, h], kinds=rows.kinds)
        for h, a in enumerate(np.moveaxis(answers, 2, 0))
    )
    return replace(
        ensemble, outputs=tuple(replace(o, calibration=c) for o, c in zip(ensemble.outputs, fitted, strict=True))
    )
