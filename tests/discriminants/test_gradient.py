"""Gradient trainers: gradients that are what they say, yields that are those of the templates, trainings that gain."""

import numpy as np
import pytest

from dnnlikelihood.discriminants.events import EventModel, Events, EventWeights, Normalisation, Process, ShiftedSamples
from dnnlikelihood.discriminants.examples import shifted_gaussian, two_signals
from dnnlikelihood.discriminants.gradient import CrossEntropy, Inferno, KernelHistogram, Sannt
from dnnlikelihood.discriminants.objectives import Constrained, Drawn, uncertainties
from dnnlikelihood.discriminants.templates import fill
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.discriminants.yields import YieldRows
from dnnlikelihood.errors import ConfigError, TrainingError
from dnnlikelihood.networks.descent import Descent, DescentConfig
from dnnlikelihood.networks.histograms import counted, hardened, in_classes, smoothed
from dnnlikelihood.tracing import tensorflow

SHORT = DescentConfig(n_steps=80, pretraining_steps=60, widths=(50,), learning_rate=3e-3)


@pytest.fixture(scope="module")
def example():
    return shifted_gaussian(seed=7, n=7_000, n_test=100_000)


@pytest.fixture
def mixed():
    """Two signals, a background, and all kinds of nuisances."""
    rng = np.random.default_rng(3)

    def events(mean, expected, n=400):
        return Events.of(rng.normal(mean, 1, (n, 2)), ["x", "y"], weights=rng.uniform(0.5, 1.5, n), expected=expected)

    s, t, b = events(1, 10.0), events(-1, 20.0), events(0, 100.0)
    moved = tuple(Events(b.features, b.values + step, b.weights) for step in (0.3, -0.2))
    high, low = np.full(400, 1.1), np.full(400, 0.8)
    nuisances = (
        ShiftedSamples("scale", {"B": moved}, same_events=True),
        ShiftedSamples("other", {"S": (events(1.2, 11.0, 300), events(0.9, 9.0, 500))}, constraint=2.0),
        EventWeights("weight", {"B": (rng.uniform(1, 1.2, 400), rng.uniform(0.8, 1, 400)), "T": (high, low)}),
        Normalisation("norm", {"B": (1.1, 0.95), "S": (1.02, 0.98)}),
    )  # fmt: skip
    return EventModel((Process("S", s, poi="r"), Process("T", t, poi="q"), Process("B", b)), nuisances)


def first_column(values):
    return 1 / (1 + np.exp(-values[:, 0]))


def test_the_yields_of_the_graph_are_those_of_the_templates(mixed):
    tf = tensorflow()
    drawn = Drawn(YieldRows.of(mixed, np.zeros(2), np.ones(2)), 0, seed=0)
    yields, z = drawn.yields(lambda x: x[:, :1], lambda z: hardened(tf.sigmoid(z[:, 0]), 4), tf.constant(0))
    templates = fill(mixed, lambda x: np.minimum((first_column(x) * 4).astype(int), 3), 4)
    expected = [*templates.signals, *templates.shifts(), templates.total, templates.variance.sum(axis=0)]
    np.testing.assert_allclose(yields, expected, rtol=1e-5, atol=1e-5)
    assert z.shape == (1200, 1)
    total, stat = uncertainties(drawn.rows, yields, mixed.constraints)
    found = expected_uncertainty(templates)
    np.testing.assert_allclose(total, found.total, rtol=1e-3)
    np.testing.assert_allclose(stat, found.stat, rtol=1e-3)


def test_batches_are_fair_and_keep_the_same_events_together(mixed):
    tf = tensorflow()
    drawn = Drawn(YieldRows.of(mixed, np.zeros(2), np.ones(2)), 100, seed=0)
    everything = lambda z: tf.ones_like(z[:, :1])
    mean = np.mean([drawn.yields(lambda x: x, everything, tf.constant(i))[0].numpy() for i in range(200)], axis=0)
    whole = fill(mixed, lambda x: np.zeros(len(x), int), 1)
    np.testing.assert_allclose(mean[-2], whole.total, rtol=0.01)
    shift = drawn.yields(lambda x: x, everything, tf.constant(1))[0].numpy()[2, 0]
    assert abs(shift) < 1e-4  # same weights up and down: an independent draw would leave noise of several events


@pytest.mark.parametrize("gradient", ["linear", "gaussian", "identity"])
def test_counts_are_hard_and_gradients_stand_in(gradient):
    tf = tensorflow()
    y = tf.constant([0.1, 0.3, 0.95])
    with tf.GradientTape() as tape:
        tape.watch(y)
        shares = counted(y, 4, gradient)
        loss = tf.reduce_sum(shares * tf.constant([[1.0, 2.0, 3.0, 4.0]]))
    np.testing.assert_array_equal(shares, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    sigma, middle, g = 0.125, np.array([0.125, 0.375, 0.625, 0.875]), np.array([1.0, 2.0, 3.0, 4.0])
    distance = np.array(y)[:, None] - middle
    slope = {
        "linear": -distance / sigma**2 * np.array(shares),
        "gaussian": -distance / sigma**2 * np.exp(-0.5 * (distance / sigma) ** 2),
        "identity": np.array(shares),
    }[gradient]
    np.testing.assert_allclose(tape.gradient(loss, y), slope @ g, rtol=1e-5)


def test_smeared_shares_sum_to_one_and_sharpen():
    y = tensorflow().constant([0.05, 0.5, 0.99])
    np.testing.assert_allclose(np.sum(smoothed(y, 8, 0.05), axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(smoothed(y[:1], 8, 1e-4), hardened(y[:1], 8), atol=1e-6)


def test_classes_of_the_largest_score():
    tf = tensorflow()
    y = tf.constant([[0.9, 0.2], [0.1, 0.6]])
    found = in_classes(y, hardened(tf.reduce_max(y, axis=1), 2))
    np.testing.assert_array_equal(found, [[0, 1, 0, 0], [0, 0, 0, 1]])


def test_the_multiplier_rises_while_the_constraint_is_broken_and_is_0_while_it_holds():
    tf = tensorflow()
    penalty = Constrained(least=0.5, rate=2.0)
    values = [float(penalty(tf.constant(ce))) for ce in (0.6, 0.6, 0.4)]
    np.testing.assert_allclose(values, [0.02, 0.04, 0.0], rtol=1e-5)
    assert float(penalty.omega) == 0


@pytest.mark.parametrize(
    "trainer",
    [
        Sannt(training=SHORT),
        KernelHistogram(training=SHORT),
        Inferno(n_bins=8, training=SHORT.replace(pretraining_steps=0, n_steps=150)),
    ],
    ids=lambda t: type(t).__name__,
)
def test_training_on_the_uncertainty_beats_cross_entropy(example, trainer, cross_entropy):
    found = trainer.fit(example.train, validation=example.validation, seed=1, progress=False)
    total = expected_uncertainty(found.templates(example.test)).total[0]
    assert example.bound.total[0] < total < 0.41 < cross_entropy
    assert len(found.history["step"]) == len(found.history["uncertainty"])


@pytest.fixture(scope="module")
def cross_entropy(example):
    trained = CrossEntropy(training=SHORT.replace(n_steps=200)).fit(
        example.train, validation=example.validation, seed=1, progress=False
    )
    return expected_uncertainty(trained.templates(example.test)).total[0]


def test_cross_entropy_is_the_published_classifier(cross_entropy):
    assert cross_entropy == pytest.approx(0.445, abs=0.012)


def test_the_same_seed_gives_the_same_discriminant():
    train = shifted_gaussian(seed=7, n=1_000, n_test=1).train
    trainer = Sannt(training=SHORT.replace(n_steps=10, pretraining_steps=10))
    a, b = (trainer.fit(train, seed=4, progress=False) for _ in range(2))
    for name, array in a.arrays().items():
        np.testing.assert_array_equal(array, b.arrays()[name])


def test_several_signals_in_classes():
    example = two_signals(seed=3, n=4_000, n_test=40_000)
    trainer = Sannt(n_bins=4, classes="processes", training=SHORT.replace(pretraining_steps=100))
    trained = trainer.fit(example.train, validation=example.validation, progress=False)
    found = trained.history["uncertainty"]
    assert min(found[10:]) < found[9]
    assert max(trained.history["cross_entropy"][10:]) < 1.1 * trained.history["cross_entropy"][9]


def test_configurations_that_cannot_be():
    for bad in (lambda: Sannt(n_bins=1), lambda: KernelHistogram(bandwidth=0.0), lambda: Inferno(temperature=-1.0)):
        with pytest.raises(ConfigError):
            bad()
    assert Sannt.from_json(Sannt(n_bins=5).to_json()) == Sannt(n_bins=5)


def test_what_cannot_be_trained_on_is_said(mixed):
    with pytest.raises(ConfigError, match="bins are more than the events support"):
        CrossEntropy(n_bins=500).fit(mixed, progress=False)
    signals = mixed.with_pois({"B": "b"})
    with pytest.raises(ConfigError, match="no background"):
        CrossEntropy().fit(signals, progress=False)


def test_weights_that_are_no_numbers_end_the_training():
    """sqrt(0 N(x)) is 0, and its gradient is no number: the loss alone does not show it."""
    tf = tensorflow()
    descent = Descent(1, 1, DescentConfig(widths=(4,), check_every=1), seed=0)
    with pytest.raises(TrainingError, match="loss or weights"):
        descent.run(lambda net, _: tf.sqrt(0.0 * tf.reduce_sum(net(tf.ones((3, 1))))), 1, lambda: [1.0], stops=False)
