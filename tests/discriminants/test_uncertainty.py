"""Expected uncertainties against hand calculation, published bounds and autodiff."""

from dataclasses import replace

import numpy as np
import pytest

from dnnlikelihood.discriminants.examples import shifted_gaussian
from dnnlikelihood.discriminants.templates import Templates, fill
from dnnlikelihood.discriminants.uncertainty import differentiable, expected_uncertainty
from dnnlikelihood.errors import SingularFisher


def templates(signal, background, up, down, constraint=1.0, nuisance="shift"):
    nominal = np.array([signal, background], float)
    return Templates(
        processes=("S", "B"),
        pois=("r", None),
        nuisances=(nuisance,),
        constraints=np.array([constraint]),
        nominal=nominal,
        variance=0.01 * nominal,
        up=np.array([[signal, up]], float),
        down=np.array([[signal, down]], float),
        shift_variance=np.zeros((1, 2, nominal.shape[1])),
        shape=np.array([True]),
    )


def by_hand(s, b, up, down, constraint):
    lam = s + b
    j = np.array([s, 0.5 * (up - down)])
    f = sum(np.outer(j[:, k], j[:, k]) / lam[k] for k in range(len(s))) + np.diag([0, constraint**-2.0])
    return np.sqrt(np.linalg.inv(f)[0, 0]), 1 / np.sqrt(f[0, 0]), np.linalg.inv(f)


def test_it_is_the_textbook_formula():
    s, b, up, down = (np.array(x, float) for x in ([1, 5, 9], [50, 30, 10], [48, 34, 12], [53, 27, 9]))
    for constraint in (1.0, 2.0, np.inf):
        found = expected_uncertainty(templates(s, b, up, down, constraint))
        total, stat, c = by_hand(s, b, up, down, constraint)
        assert found.total == pytest.approx([total])
        assert found.stat == pytest.approx([stat])
        assert found.impacts[0, 0] == pytest.approx(c[0, 1] / np.sqrt(c[1, 1]))
        assert found.syst[0] == pytest.approx(np.sqrt(total**2 - stat**2))


def test_one_counting_bin_in_closed_form():
    """Delta r = sqrt(S + B + (B kappa)^2) / S."""
    found = expected_uncertainty(templates([10], [100], [110], [90]))
    assert found.total[0] == pytest.approx(np.sqrt(110 + 100) / 10)
    simulated = expected_uncertainty(templates([10], [100], [110], [90]), mc_statistics=True)
    assert simulated.total[0] == pytest.approx(np.sqrt(110 + 1.1 + 100) / 10)


def test_pure_normalisation_without_shape_and_asymmetric_sides():
    t = templates([10, 5], [100, 50], [120, 60], [95, 47.5])
    total = {side: expected_uncertainty(t, side=side).total[0] for side in ("symmetric", "up", "down")}
    assert total["down"] < total["symmetric"] < total["up"]


def test_the_tensorflow_form_is_the_same_and_differentiates():
    import tensorflow as tf

    s, b, up, down = (np.array(x, float) for x in ([1, 5, 9], [50, 30, 10], [48, 34, 12], [53, 27, 9]))
    t = templates(s, b, up, down)
    exact = expected_uncertainty(t)
    total, stat = differentiable(t.signals, t.shifts(), t.total, t.constraints, floor=0.0)
    np.testing.assert_allclose(total.numpy(), exact.total, rtol=1e-12)
    np.testing.assert_allclose(stat.numpy(), exact.stat, rtol=1e-12)
    signals = tf.Variable(t.signals)
    with tf.GradientTape() as tape:
        value = differentiable(signals, t.shifts(), t.total, t.constraints, floor=0.0)[0][0]
    gradient = tape.gradient(value, signals).numpy()
    step = 1e-5
    for k in range(3):
        moved = t.signals.copy()
        moved[0, k] += step
        up_value = differentiable(moved, t.shifts(), t.total, t.constraints, floor=0.0)[0].numpy()[0]
        assert gradient[0, k] == pytest.approx((up_value - exact.total[0]) / step, rel=1e-3)


def test_the_bound_of_the_synthetic_example_is_the_published_one():
    example = shifted_gaussian(n=100)
    bound = example.bound
    assert bound.total[0] == pytest.approx(0.356, abs=0.001)
    assert bound.stat[0] == pytest.approx(0.329, abs=0.001)

    def optimal_classifier(x):
        s, b = np.exp(-0.5 * (x**2).sum(axis=1)), np.exp(-0.5 * ((x - 1) ** 2).sum(axis=1))
        return np.minimum((8 * s / (s + b)).astype(int), 7)

    found = expected_uncertainty(fill(example.test, optimal_classifier, 8))
    assert 0.44 < found.total[0] < 0.452
    assert found.efficiency(bound)[0] == pytest.approx((bound.total[0] / found.total[0]) ** 2)


def test_bins_that_cannot_tell_parameters_apart_are_named():
    one_bin_two_unknowns = templates([10], [100], [110], [90], constraint=np.inf)
    with pytest.raises(SingularFisher, match=r"'r', 'shift'|'shift', 'r'") as caught:
        _ = expected_uncertainty(one_bin_two_unknowns).total
    assert set(caught.value.parameters) == {"r", "shift"}
    no_effect = templates([10, 5], [100, 50], [100, 50], [100, 50], constraint=np.inf, nuisance="idle")
    with pytest.raises(SingularFisher, match="idle"):
        _ = expected_uncertainty(no_effect).total


def test_empty_bins_are_merged_and_said():
    t = templates([0, 10, 0, 5], [0, 100, 0, 50], [0, 110, 0, 60], [0, 90, 0, 40])
    merged = t.without_empty_bins()
    assert merged.n_bins == 2
    assert "[0, 2]" in merged.merged[0]
    np.testing.assert_allclose(merged.nominal.sum(axis=1), t.nominal.sum(axis=1))
    full = templates([10, 5], [100, 50], [110, 60], [90, 40])
    np.testing.assert_allclose(expected_uncertainty(merged).total, expected_uncertainty(full).total)
    assert not full.without_empty_bins().merged
    assert merged.merged == merged.messages[:1]


def test_an_injected_uncertainty_in_one_bin_costs():
    t = templates([10, 5], [100, 50], [110, 60], [90, 40])
    worse = expected_uncertainty(t.injected("bad bin", "B", 1, 0.5))
    assert worse.total[0] > expected_uncertainty(t).total[0]
    assert worse.ranked()[0][0] in ("bad bin", "shift")


def test_a_down_sampled_variation_is_noticed():
    example = shifted_gaussian(n=100, n_test=20_000)
    nuisance = example.test.nuisances[0]
    b = example.test["B"].events
    rng = np.random.default_rng(1)
    few = replace(nuisance, variations={"B": tuple(resampled(b, 60, rng) for _ in range(2))})
    bins = lambda x: np.clip((x[:, 0] * 3 + 6).astype(int), 0, 11)
    noisy = fill(replace(example.test, nuisances=(few,)), bins, 12)
    assert noisy.shift_noise[0] > 0.5
    assert any("shift" in message and "fluctuations" in message for message in noisy.messages)
    resolved = fill(example.test, lambda x: np.clip((x[:, 1] * 3 + 6).astype(int), 0, 11), 12)
    assert resolved.shift_noise[0] < 0.01
    assert not resolved.messages


def resampled(events, n, rng):
    rows = rng.integers(len(events), size=n)
    return type(events).of(events.values[rows], events.features, expected=float(events.weights.sum()))
