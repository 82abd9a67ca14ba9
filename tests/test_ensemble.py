"""The surrogate as arrays: its mathematics, and its round trip."""

import numpy as np
import pytest

from dnnlikelihood.ensemble import ACTIVATIONS, Baseline, Calibration, Domain, Ensemble, Features, Member
from dnnlikelihood.errors import ConfigError, CorruptFile


def random_ensemble(activation="silu", d=4, kinks=((1, 0.0), (2, 0.3)), n_members=2, seed=0, constant=-300.0):
    rng = np.random.default_rng(seed)
    features = Features(
        rng.normal(size=d),
        rng.uniform(0.5, 2, d),
        np.array([c for c, _ in kinks], np.int64),
        np.array([v for _, v in kinks], float),
    )
    m = features.width
    q = rng.normal(size=(m, m))
    shapes = ((m, 7), (7, 5), (5, 1))
    members = tuple(
        Member(
            tuple(rng.normal(size=s).astype(np.float32) / np.float32(np.sqrt(s[0])) for s in shapes),
            tuple(rng.normal(size=s[1]).astype(np.float32) for s in shapes),
            activation,
        )
        for _ in range(n_members)
    )
    domain = Domain(np.full(d, -3.0), np.full(d, 3.0), np.zeros(d), np.eye(d), 4.0)
    calibration = Calibration(np.array([constant - 1, constant + 1]), np.array([3.0, 2.0, 1.0]), 0.01)
    return Ensemble(features, Baseline(constant, rng.normal(size=m), -(q @ q.T)), members, 0.7, domain, calibration)


def test_features_are_standardised_parameters_and_their_positive_parts():
    features = Features(np.array([1.0, 0.0]), np.array([2.0, 4.0]), np.array([1]), np.array([0.5]))
    np.testing.assert_allclose(features(np.array([[3.0, 2.5], [1.0, 0.0]])), [[1, 0.625, 0.5], [0, 0, 0]])


def test_pull_back_is_the_transpose_of_the_features_jacobian():
    ensemble = random_ensemble()
    theta = np.random.default_rng(1).normal(size=(6, 4))
    g = np.random.default_rng(2).normal(size=(6, ensemble.features.width))
    h = 1e-6
    shifted = [(ensemble.features(theta + h * e) - ensemble.features(theta - h * e)) / (2 * h) for e in np.eye(4)]
    expected = np.stack([np.einsum("nm,nm->n", g, j) for j in shifted], axis=1)
    np.testing.assert_allclose(ensemble.features.pull_back(theta, g), expected, atol=1e-8)


def test_baseline_gradient_is_the_slope_of_its_value():
    b = random_ensemble().baseline
    f = np.random.default_rng(0).normal(size=(3, len(b.linear)))
    h = 1e-6
    slope = np.stack([(b.value(f + h * e) - b.value(f - h * e)) / (2 * h) for e in np.eye(f.shape[1])], axis=1)
    np.testing.assert_allclose(b.gradient(f), slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_round_trip_through_a_file_is_exact(activation, tmp_path):
    ensemble = random_ensemble(activation)
    ensemble.save(tmp_path / "e.npz")
    theta = np.random.default_rng(3).normal(size=(20, 4))
    loaded = Ensemble.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(loaded.members_logpdf(theta), ensemble.members_logpdf(theta))
    np.testing.assert_array_equal(loaded.domain(theta), ensemble.domain(theta))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_numpy_and_tensorflow_compute_the_same(activation):
    import tensorflow as tf

    from dnnlikelihood.networks.forward import members_logpdf

    ensemble = random_ensemble(activation)
    theta = np.random.default_rng(4).normal(size=(50, 4))
    np.testing.assert_allclose(
        members_logpdf(ensemble)(tf.constant(theta)).numpy(), ensemble.members_logpdf(theta), atol=3e-6
    )


def test_the_offset_costs_no_precision():
    theta = np.random.default_rng(5).normal(size=(50, 4))
    near, far = (random_ensemble(constant=c).members_logpdf(theta) for c in (0.0, 1e4))
    np.testing.assert_allclose(far - 1e4, near, rtol=0, atol=1e-10)


def test_domain_is_box_and_ellipsoid():
    domain = Domain(np.array([-1.0, -1.0]), np.array([1.0, 1.0]), np.zeros(2), np.eye(2), 1.2)
    np.testing.assert_array_equal(domain(np.array([[0, 0], [1.1, 0], [0.95, 0.95], [0.5, 0.5]])), [1, 0, 0, 1])


def test_error_uses_the_factor_of_the_bin():
    c = Calibration(np.array([-5.0]), np.array([2.0, 3.0]), 0.1)
    np.testing.assert_allclose(c.error(np.array([-6.0, -5.0, -4.0]), np.array([0.0, 1.0, 1.0])), [0.2, 3.3, 3.3])


def test_bad_files_and_activations_are_refused(tmp_path):
    (tmp_path / "e.npz").write_bytes(b"not a zip")
    with pytest.raises(CorruptFile, match="not a readable npz"):
        Ensemble.load(tmp_path / "e.npz")
    with pytest.raises(ConfigError, match="swish"):
        Member((), (), "swish")
