"""From labelled rows to a calibrated ensemble: several heads at once, and an anchor that is exact."""

import numpy as np
import pytest

from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig
from dnnlikelihood.networks.fit import Labelled, fit_ensemble
from dnnlikelihood.parameters import ParameterSpace

SPACE = ParameterSpace.of("s0", "s1", poi="s0")
NETWORK = NetworkConfig(widths=(24,), n_members=2)
TRAINING = TrainingConfig(n_epochs=40, batch_size=64, learning_rate=1e-2)
COUNTS = np.array([[9.0, 2.0], [6.0, 3.0]])
"""Of two bins, in two data sets."""
BACKGROUND = np.array([6.0, 3.0])


def nothing_or(n, seed):
    """Two Poisson bins with signal yields as inputs: logpdf and gradient of two data sets, with offsets."""
    theta = np.random.default_rng(seed).uniform(0, 8, (n, 2)) * (n > 1)
    total = theta + BACKGROUND
    value = np.log(total) @ COUNTS.T - total.sum(axis=1, keepdims=True) + [-40.0, 7.0]
    return Labelled(theta, value, COUNTS / total[:, None, :] - 1.0, np.ones(n))


def fit(**changes):
    options = {"standardise": True, "quadratic": True, "scale_output": True, "progress": False, **changes}
    return fit_ensemble(SPACE, nothing_or(800, 0), nothing_or(400, 1), NETWORK, TRAINING, **options)


@pytest.mark.parametrize("quadratic", [True, False])
def test_heads_share_networks_and_keep_their_own_scales(quadratic):
    ensemble, history = fit(heads=("observed", "expected"), anchor=nothing_or(1, 0), quadratic=quadratic)
    test = nothing_or(500, 2)
    value, gradient = ensemble.heads_logpdf_and_grad(test.theta)
    assert ensemble.heads == ("observed", "expected")
    assert ensemble.members[0].n_heads == 2
    assert np.all(np.sqrt(np.mean((value - test.logpdf) ** 2, axis=0)) < 0.02)
    assert np.sqrt(np.mean((gradient - test.gradient) ** 2)) < 0.05
    assert [len(h["val_loss"]) for h in history] == [40, 40]
    at = nothing_or(1, 0)
    assert np.array_equal(ensemble.heads_logpdf(at.theta)[0, 0], at.logpdf[0]), "zero delta NLL without signal"
    assert np.array_equal(ensemble.anchor, [0.0, 0.0])
    held = [
        np.abs(value[:, h] - test.logpdf[:, h]) <= output.calibration.error(value[:, h], spread)
        for (h, output), spread in zip(
            enumerate(ensemble.outputs), ensemble.heads_logpdf(test.theta).std(axis=1).T, strict=True
        )
    ]
    assert 0.8 < np.mean(held) < 0.99


def test_without_an_anchor_it_is_near_and_not_exact():
    """A negative control."""
    ensemble, _ = fit(heads=("observed", "expected"))
    at = nothing_or(1, 0)
    off = np.abs(ensemble.heads_logpdf(at.theta).mean(axis=1)[0] - at.logpdf[0])
    assert np.all((off > 1e-7) & (off < 1.0))


def test_accuracy_is_recorded_in_nats_and_whoever_watches_is_told():
    """CMS's measure on the validation rows: |error| < 0.05 nats or < 1 % of delta_nll, whatever the output's unit."""
    told = []
    one = NetworkConfig(widths=(24,), n_members=1)
    ensemble, (history,) = fit_ensemble(
        SPACE, nothing_or(800, 0), nothing_or(400, 1), one, TRAINING, standardise=True, quadratic=True,
        scale_output=True, heads=("observed", "expected"), progress=False,
        watch=lambda h, nats: told.append((len(h["loss"]), nats)),
    )  # fmt: skip
    rows, learned = nothing_or(400, 1), nothing_or(800, 0)
    answer = ensemble.heads_logpdf(rows.theta)[:, 0]
    top = np.maximum(rows.logpdf.max(axis=0), learned.logpdf.max(axis=0))
    right = np.abs(answer - rows.logpdf) < np.maximum(0.05, 0.01 * (top - rows.logpdf))
    assert history["val_accuracy"][-1] == pytest.approx(right.mean(), abs=2e-3)
    assert [n for n, _ in told] == list(range(1, 41))
    rmse = np.sqrt(np.mean((answer - rows.logpdf) ** 2))
    assert told[-1][1] * history["val_loss"][-1] ** 0.5 == pytest.approx(rmse, rel=0.3)
