"""The surrogate as arrays: its mathematics, and its round trip."""

from dataclasses import replace

import numpy as np
import pytest
from surrogates import FORMS, headed_ensemble, points, random_ensemble

from dnnlikelihood import DnnLik, ParameterSpace, Prior
from dnnlikelihood.ensemble import ACTIVATIONS, Ensemble, Features, Member
from dnnlikelihood.errors import ConfigError, CorruptFile
from dnnlikelihood.guard import Calibration, Domain
from dnnlikelihood.members import Layer
from dnnlikelihood.networks.recipe import DnnLikConfig


def test_features_are_standardised_parameters_and_their_positive_parts():
    features = Features(np.array([1.0, 0.0]), np.array([2.0, 4.0]), np.array([1]), np.array([0.5]))
    np.testing.assert_allclose(features(np.array([[3.0, 2.5], [1.0, 0.0]])), [[1, 0.625, 0.5], [0, 0, 0]])


def test_pull_back_is_the_transpose_of_the_features_jacobian():
    ensemble = random_ensemble()
    theta = np.random.default_rng(1).normal(size=(6, 6))
    g = np.random.default_rng(2).normal(size=(6, ensemble.features.width))
    h = 1e-6
    shifted = [(ensemble.features(theta + h * e) - ensemble.features(theta - h * e)) / (2 * h) for e in np.eye(6)]
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
    ensemble = random_ensemble(activation=activation)
    ensemble.save(tmp_path / "e.npz")
    theta = np.random.default_rng(3).normal(size=(20, 6))
    loaded = Ensemble.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(loaded.members_logpdf(theta), ensemble.members_logpdf(theta))
    np.testing.assert_array_equal(loaded.domain(theta), ensemble.domain(theta))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_numpy_and_tensorflow_compute_the_same(activation):
    import tensorflow as tf

    from dnnlikelihood.networks.forward import members_logpdf

    ensemble = random_ensemble(activation=activation)
    theta = np.random.default_rng(4).normal(size=(50, 6))
    np.testing.assert_allclose(
        members_logpdf(ensemble)(tf.constant(theta)).numpy(), ensemble.members_logpdf(theta), atol=3e-6
    )


def test_the_offset_costs_no_precision():
    theta = np.random.default_rng(5).normal(size=(50, 6))
    near, far = (random_ensemble(constant=c).members_logpdf(theta) for c in (0.0, 1e4))
    np.testing.assert_allclose(far - 1e4, near, rtol=0, atol=1e-10)


def test_domain_is_box_and_ellipsoid():
    domain = Domain(np.array([-1.0, -1.0]), np.array([1.0, 1.0]), np.zeros(2), np.eye(2), 1.2)
    np.testing.assert_array_equal(domain(np.array([[0, 0], [1.1, 0], [0.95, 0.95], [0.5, 0.5]])), [1, 0, 0, 1])


def test_error_uses_the_factor_of_the_bin():
    c = Calibration(np.array([-5.0]), np.array([2.0, 3.0]), 0.1, np.array([0.5, 1.0]))
    np.testing.assert_allclose(c.error(np.array([-6.0, -5.0, -4.0]), np.array([0.0, 1.0, 1.0])), [0.2, 3.3, 3.3])
    assert c.holds(np.array([-6.0, -6.0, -5.0, -4.0]), np.array([0.5, 0.6, 0.6, 1.1])).tolist() == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("ensemble", [random_ensemble(), headed_ensemble("dense")])
def test_where_members_disagree_nothing_is_known(ensemble):
    theta = points(300, ensemble.n_parameters)
    members = ensemble.heads_logpdf(theta)
    limits = np.stack([o.calibration.limits[o.calibration.bins(members[:, :, h].mean(axis=1))]
                       for h, o in enumerate(ensemble.outputs)], axis=1)  # fmt: skip
    agree = (members.std(axis=1) <= limits).all(axis=1)
    enclosed = ensemble.domain(theta)
    assert (enclosed & ~agree).any()
    assert np.array_equal(ensemble.in_domain(theta), enclosed & agree)


@pytest.mark.parametrize("members", [3, 5])
def test_the_anchor_is_exact_whatever_the_constant_and_the_number_of_members(members):
    """The mean of K equal numbers need not be that number: one in eight is not, for five."""
    ensemble = headed_ensemble("dense", anchored=True, n_heads=1, members=members)
    (output,), at = ensemble.outputs, ensemble.anchor[None]
    wrong = []
    for constant in -np.random.default_rng(0).uniform(50, 900, 20):
        exact = replace(ensemble, outputs=(replace(output, baseline=replace(output.baseline, constant=constant)),))
        if exact.heads_logpdf(at).mean(axis=1)[0, 0] != constant:
            wrong.append((constant, exact))
    assert wrong, "this test must see the plain mean fail"
    for constant, exact in wrong:
        dnnlik = DnnLik(exact, ParameterSpace.of(*"abcde", poi="a"), Prior({}), "profiled", DnnLikConfig())
        assert exact.heads_logpdf_and_grad(at)[0][0, 0] == constant
        assert dnnlik._logpdf_grad_hess(at)[0][0] == dnnlik._heads_logpdf(at)[0, 0] == constant
    assert dnnlik._logpdf(at)[0] == constant


def test_bad_files_and_activations_are_refused(tmp_path):
    (tmp_path / "e.npz").write_bytes(b"not a zip")
    with pytest.raises(CorruptFile, match="not a readable npz"):
        Ensemble.load(tmp_path / "e.npz")
    with pytest.raises(ConfigError, match="swish"):
        Member.dense((np.ones((1, 1)),) * 2, (np.ones(1),) * 2, "swish")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("anchored", [False, True])
def test_heads_forward_backward_tensorflow_and_file(form, anchored, tmp_path):
    import tensorflow as tf

    from dnnlikelihood.networks.forward import guarded, heads_logpdf

    ensemble = headed_ensemble(form, anchored=anchored)
    theta = points(40, 5)
    each = ensemble.heads_logpdf(theta)
    assert each.shape == (40, 2, 3)
    np.testing.assert_allclose(heads_logpdf(ensemble)(tf.constant(theta)).numpy(), each, rtol=1e-5, atol=1e-5)
    value, gradient = ensemble.heads_logpdf_and_grad(theta, np.float64)
    np.testing.assert_allclose(value, each.mean(axis=1), rtol=1e-5, atol=1e-5)
    h = 1e-6
    for j, e in enumerate(h * np.eye(5)):
        above, below = (ensemble.heads_logpdf(theta + s * e, np.float64).mean(axis=1) for s in (1, -1))
        np.testing.assert_allclose(gradient[:, :, j], (above - below) / (2 * h), rtol=1e-5, atol=1e-4)
    for head in range(3):
        alone = ensemble.select(head)
        np.testing.assert_allclose(alone.members_logpdf(theta), each[:, :, head], rtol=1e-6, atol=1e-6)
        inside = ensemble.in_domain(theta)
        found = guarded(ensemble, head)(tf.constant(theta)).numpy()
        np.testing.assert_allclose(found[inside], each[inside, :, head].mean(axis=1), rtol=1e-5, atol=1e-5)
        assert np.all(found[~inside] == -np.inf)
    ensemble.save(tmp_path / "e.npz")
    again = Ensemble.load(tmp_path / "e.npz")
    assert (again.heads, again.anchored) == (("head_0", "head_1", "head_2"), anchored)
    np.testing.assert_array_equal(again.heads_logpdf(theta), each)
    np.testing.assert_array_equal(
        again.outputs[2].calibration.error(each[:, 0, 2], each[:, 1, 2]),
        ensemble.outputs[2].calibration.error(each[:, 0, 2], each[:, 1, 2]),
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_anchor_is_exact_and_keeps_its_slope(form):
    import tensorflow as tf

    from dnnlikelihood.networks.forward import heads_logpdf

    ensemble = headed_ensemble(form, anchored=True)
    theta = np.concatenate([points(9, 5), ensemble.anchor[None]])
    constants = [0.0, 10.0, 20.0]
    np.testing.assert_array_equal(ensemble.heads_logpdf(theta)[-1], [constants, constants])
    np.testing.assert_array_equal(heads_logpdf(ensemble)(tf.constant(theta)).numpy()[-1], [constants, constants])
    value, slope = ensemble.heads_logpdf_and_grad(theta)
    np.testing.assert_array_equal(value[-1], constants)
    beside = ensemble.heads_logpdf_and_grad(theta + 1e-7)[1]
    np.testing.assert_allclose(slope[-1], beside[-1], rtol=1e-4, atol=1e-4)
    free = replace(ensemble, anchored=False)
    assert np.all(free.heads_logpdf(theta)[-1] != constants), "a negative control"


def test_networks_that_do_not_fit_are_refused():
    one = np.ones((2, 2), np.float32)
    good = Layer((0,), one, one[0], "tanh")
    with pytest.raises(ConfigError, match="layer 2 has a kernel"):
        Member((good, Layer((0, 1), one, one[0])))
    with pytest.raises(ConfigError, match="layer 2"):
        Member((good, Layer((2,), one, one[0])))
    with pytest.raises(ConfigError, match="linear"):
        Member((good,))
    with pytest.raises(ConfigError, match="not the structure"):
        Member.from_structure('{"expand": true, "layers": 3}', [], [])
    with pytest.raises(ConfigError, match="columns"):
        replace(random_ensemble(), outputs=random_ensemble().outputs * 2)
    kinked = headed_ensemble("dense")
    below = replace(kinked.features, kink_values=np.array([-99.0]))
    with pytest.raises(ConfigError, match="kink"):
        replace(kinked, anchored=True, features=below)


def test_large_batches_are_computed_in_pieces():
    """The same numbers as in one go, and no layer is held for all rows at once."""
    import tracemalloc

    e = random_ensemble(widths=(256, 256), members=1)
    theta = points(40_000)
    tracemalloc.start()
    value = e.heads_logpdf(theta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert value.shape == (40_000, 1, 1)
    assert peak < 40_000 * 256 * 4 / 2
    few = np.concatenate([e.heads_logpdf(theta[i : i + 7]) for i in range(0, 700, 7)])
    np.testing.assert_allclose(value[:700], few, rtol=0, atol=1e-5)
    assert e.heads_logpdf(theta[:0]).shape == (0, 1, 1)
