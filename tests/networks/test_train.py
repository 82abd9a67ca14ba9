"""Training: it learns what it should, resumes to the identical result, and refuses what cannot be learned."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pytest

from dnnlikelihood.ensemble import Features
from dnnlikelihood.errors import ConfigError, CorruptFile, StaleArtifact, TrainingError
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig
from dnnlikelihood.networks.train import Residuals, train_member

FEATURES = Features(np.zeros(2), np.ones(2), np.zeros(0, np.int64), np.zeros(0))


def bump(n, seed, *, gradient=True):
    """r(z) = sin(2 z_0) z_1, and its gradient."""
    z = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    value = np.sin(2 * z[:, :1]) * z[:, 1:]
    slope = np.stack([2 * np.cos(2 * z[:, 0]) * z[:, 1], np.sin(2 * z[:, 0])], axis=1)[:, None] if gradient else None
    return Residuals(z, value, slope, np.ones(n, np.float32))


def rmse(member, rows):
    return float(np.sqrt(np.mean((member(rows.z.astype(float)) - rows.value) ** 2)))


def assert_same(a, b):
    for x, y in zip(a.layers, b.layers, strict=True):
        np.testing.assert_array_equal(x.kernel, y.kernel)
        np.testing.assert_array_equal(x.bias, y.bias)


NETWORK = NetworkConfig(widths=(32, 32), n_members=1)
TRAINING = TrainingConfig(n_epochs=60, batch_size=32, learning_rate=5e-3)


def test_gradient_labels_teach_more_than_values():
    train, validation = bump(100, 0), bump(1000, 1)
    config = TRAINING.replace(n_epochs=300, huber=None, gradient_weight=1.0)
    with_gradient, history = train_member(FEATURES, train, validation, NETWORK, config, 1)
    values_only, _ = train_member(FEATURES, train, validation, NETWORK, config.replace(gradient_weight=0.0), 1)
    assert rmse(with_gradient, validation) < 0.25
    assert rmse(with_gradient, validation) < 0.85 * rmse(values_only, validation)
    np.testing.assert_allclose(history["val_loss"][-1] ** 0.5, rmse(with_gradient, validation), rtol=1e-4)


def test_same_seed_same_weights_other_seed_others():
    config = TRAINING.replace(n_epochs=2)
    a, b, c = (train_member(FEATURES, bump(200, 0), bump(50, 1), NETWORK, config, s)[0] for s in (1, 1, 2))
    assert_same(a, b)
    assert not np.array_equal(a.layers[0].kernel, c.layers[0].kernel)


def test_plateau_lowers_the_rate_stops_early_and_keeps_the_best():
    config = TrainingConfig(
        n_epochs=400, batch_size=32, schedule="plateau", averaging=0.0, plateau_patience=3, stop_patience=8,
        learning_rate=1e-2, min_learning_rate=1e-4,
    )  # fmt: skip
    validation = bump(300, 1)
    member, history = train_member(FEATURES, bump(100, 0, gradient=False), validation, NETWORK, config, 1)
    assert len(history["loss"]) < 400
    assert history["learning_rate"][-1] < history["learning_rate"][0]
    np.testing.assert_allclose(rmse(member, validation), min(history["val_loss"]) ** 0.5, rtol=1e-4)


KILLED = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_train import FEATURES, NETWORK, TRAINING, bump, train_member
    train_member(FEATURES, bump(3000, 0), bump(100, 1), NETWORK, TRAINING.replace(n_epochs=40), 1,
                 checkpoint=Path(sys.argv[1]), identity="x")
"""


def test_killed_and_resumed_is_identical(tmp_path):
    from pathlib import Path

    config = TRAINING.replace(n_epochs=40)
    whole, history = train_member(FEATURES, bump(3000, 0), bump(100, 1), NETWORK, config, 1)
    checkpoint = tmp_path / "member.npz"
    script = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", script, str(checkpoint)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with np.load(checkpoint) as file:
        assert b'"stopped":false' in file["header"].tobytes(), "the kill came too late to test anything"
    resumed, again = train_member(
        FEATURES, bump(3000, 0), bump(100, 1), NETWORK, config, 1, checkpoint=checkpoint, identity="x"
    )
    assert_same(whole, resumed)
    assert again["val_loss"] == history["val_loss"]
    assert len(again["loss"]) == 40


def test_checkpoints_of_others_and_broken_ones_are_refused(tmp_path):
    path = tmp_path / "member.npz"
    config = TRAINING.replace(n_epochs=1)
    train_member(FEATURES, bump(64, 0), bump(8, 1), NETWORK, config, 1, checkpoint=path, identity="mine")
    with pytest.raises(StaleArtifact, match="other data"):
        train_member(FEATURES, bump(64, 0), bump(8, 1), NETWORK, config, 1, checkpoint=path, identity="yours")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptFile, match="remove it to train this member anew"):
        train_member(FEATURES, bump(64, 0), bump(8, 1), NETWORK, config, 1, checkpoint=path, identity="mine")


def test_a_diverging_loss_stops_with_the_cure():
    config = TRAINING.replace(n_epochs=3, learning_rate=1e30)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        train_member(FEATURES, bump(64, 0), bump(8, 1), NETWORK, config, 1)


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (NetworkConfig, {"widths": ()}, "widths"),
        (NetworkConfig, {"activation": "eval"}, "activation"),
        (NetworkConfig, {"n_members": 0}, "n_members"),
        (TrainingConfig, {"n_epochs": 0}, "n_epochs"),
        (TrainingConfig, {"learning_rate": -1.0}, "learning_rate"),
        (TrainingConfig, {"schedule": "step"}, "schedule"),
        (TrainingConfig, {"warmup": 1.0}, "warmup"),
    ],
)
def test_configurations_are_born_valid(config, change, message):
    with pytest.raises(ConfigError, match=message):
        config(**change)


def counting_truth(n, seed, d=3, z=None):
    """-NLL of four Poisson bins with yields quadratic in z, in two data sets: two heads, and their gradients."""
    rng = np.random.default_rng(11)
    a = rng.normal(size=(4, 2, d + 1)) * 0.4
    a[:, 0, 0] += 1.0
    z = z if z is not None else np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    x = np.concatenate([np.ones((n, 1)), z], axis=1)
    amplitude = np.einsum("bki,ni->nbk", a, x)
    q, slope = (amplitude**2).sum(2) + 0.05, 2 * np.einsum("nbk,bki->nbi", amplitude, a)[:, :, 1:]
    counts = np.array([[1.0, 0.5, 2.0, 1.5], [0.7, 1.2, 1.0, 0.3]])
    value = (np.log(q) @ counts.T - q.sum(1, keepdims=True)).astype(np.float32)
    gradient = np.einsum("hb,nbi->nhi", counts, slope / q[:, :, None]) - slope.sum(1)[:, None]
    return Residuals(z, value, gradient.astype(np.float32), np.ones(n, np.float32))


def gaussian_truth(n, seed, d=3):
    """-chi^2 / 2 of five measurements of quadratic predictions."""
    rng = np.random.default_rng(12)
    linear, matrix = rng.normal(size=(d, 5)), 0.3 * rng.normal(size=(d, d, 5))
    z = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    off = z @ linear + np.einsum("ni,nj,ijk->nk", z, z, matrix) - 1.0
    slope = linear + np.einsum("nj,ijk->nik", z, matrix + matrix.transpose(1, 0, 2))
    gradient = -np.einsum("nk,nik->ni", off, slope)[:, None]
    value = -0.5 * (off**2).sum(1, keepdims=True)
    return Residuals(z, value.astype(np.float32), gradient.astype(np.float32), np.ones(n, np.float32))


PLAIN = Features(np.zeros(3), np.ones(3), np.zeros(0, np.int64), np.zeros(0))
STEEP = TrainingConfig(n_epochs=150, batch_size=64, learning_rate=1e-2, gradient_weight=0.3, huber=None, clip_norm=0.3)
COUNTING = NetworkConfig(architecture="counting", widths=(8, 4, 8, 8), n_members=1)
QUARTIC = NetworkConfig(architecture="quartic", widths=(12,), n_members=1)
DENSE = NetworkConfig(widths=(24, 24), n_members=1)


@pytest.mark.parametrize(
    ("truth", "form"), [(counting_truth, COUNTING), (gaussian_truth, QUARTIC)], ids=["counting", "quartic"]
)
def test_the_form_of_the_truth_learns_it_best(truth, form):
    train, validation = truth(600, 0), truth(2000, 1)
    fitted, plain = (train_member(PLAIN, train, validation, c, STEEP, 1)[0] for c in (form, DENSE))
    spread = float(validation.value.std())
    assert rmse(fitted, validation) < 0.02 * spread
    assert rmse(fitted, validation) < 0.5 * rmse(plain, validation), "plain layers know less"


@pytest.mark.parametrize("form", [COUNTING, QUARTIC, DENSE.replace(architecture="monomials", activation="relu")])
def test_what_is_stored_is_what_was_trained(form):
    """The folded kernels of the member give the validation loss of the variables, values and slopes of two heads."""
    train, validation = counting_truth(200, 0), counting_truth(500, 1)
    member, history = train_member(PLAIN, train, validation, form, STEEP.replace(n_epochs=3), 1)
    value, slope = member.value_and_gradient(validation.z)
    loss = ((value - validation.value) ** 2).sum(1).mean()
    steep = ((slope - validation.gradient) ** 2).sum((1, 2)).mean()
    np.testing.assert_allclose([loss, steep], [history[k][-1] for k in ("val_loss", "val_gradient_loss")], rtol=1e-4)


@pytest.mark.parametrize("form", [COUNTING, DENSE])
def test_an_anchored_network_is_zero_at_the_anchor_and_no_worse_near_it(form):
    nothing = np.zeros((1, 3), np.float32)
    origin = counting_truth(1, 0, z=nothing).value

    def lowered(rows):
        return Residuals(rows.z, rows.value - origin, rows.gradient, rows.weight)

    train, validation = lowered(counting_truth(600, 0)), lowered(counting_truth(4000, 1))
    config = STEEP.replace(n_epochs=60)
    anchored, free = (train_member(PLAIN, train, validation, form, config, 1, anchored=a)[0] for a in (True, False))
    assert np.abs(anchored(nothing)).max() < 1e-5 < np.abs(free(nothing)).max()
    near = np.linalg.norm(validation.z, axis=1) < 0.8
    assert near.sum() > 100

    def error(member):
        return np.sqrt(np.mean((member(validation.z[near]) - validation.value[near]) ** 2))

    assert error(anchored) < 1.3 * error(free)


def test_compiled_training_learns_the_same():
    train, validation = counting_truth(200, 0), counting_truth(100, 1)
    losses = [
        train_member(PLAIN, train, validation, COUNTING, STEEP.replace(n_epochs=3, compiled=c), 1)[1]["val_loss"]
        for c in (False, True)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_penalty_keeps_weights_small_and_clipping_changes_the_path():
    train, validation = bump(200, 0), bump(100, 1)
    config = TRAINING.replace(n_epochs=5, averaging=0.0)
    plain, penalised, clipped = (
        train_member(FEATURES, train, validation, NETWORK, config.replace(**c), 1)[0]
        for c in ({}, {"l2": 0.1}, {"clip_norm": 0.01})
    )
    size = [sum(float((layer.kernel**2).sum()) for layer in m.layers) for m in (plain, penalised)]
    assert size[1] < 0.9 * size[0]
    assert not np.array_equal(plain.layers[0].kernel, clipped.layers[0].kernel)


def test_the_share_of_accurate_answers_is_counted_while_training():
    train, validation = counting_truth(300, 0), counting_truth(500, 1)
    assert "val_accuracy" not in train_member(PLAIN, train, validation, COUNTING, STEEP.replace(n_epochs=1), 1)[1]
    limits = np.random.default_rng(2).uniform(0.02, 2.0, validation.value.shape).astype(np.float32)
    counted = replace(validation, tolerance=limits)
    member, history = train_member(PLAIN, train, counted, COUNTING, STEEP.replace(n_epochs=8), 1)
    right = np.abs(member(validation.z.astype(float)) - validation.value) < limits
    assert history["val_accuracy"][-1] == pytest.approx(right.mean(), abs=2e-3)
    assert history["val_accuracy"][0] < history["val_accuracy"][-1] < 1


@pytest.mark.parametrize("optimiser", ["adam", "nadam", "rmsprop", "sgd"])
def test_every_optimiser_learns_and_continues(optimiser, tmp_path):
    train, validation = bump(300, 0), bump(500, 1)
    config = TRAINING.replace(n_epochs=8, optimiser=optimiser, schedule="plateau", averaging=0.0)
    whole, history = train_member(FEATURES, train, validation, NETWORK, config, 1)
    assert history["val_loss"][-1] < 0.85 * float(np.mean(validation.value**2))

    def stop(so_far):
        if len(so_far["loss"]) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_member(FEATURES, train, validation, NETWORK, config, 1, checkpoint=tmp_path / "m.npz", each_epoch=stop)
    resumed, _ = train_member(FEATURES, train, validation, NETWORK, config, 1, checkpoint=tmp_path / "m.npz")
    assert_same(whole, resumed)
