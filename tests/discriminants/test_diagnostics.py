"""What training on the uncertainty can gain, what it cannot, and what must warn."""

import numpy as np

from dnnlikelihood.discriminants.events import EventModel, Events, Normalisation, Process, ShiftedSamples
from dnnlikelihood.discriminants.examples import shifted_gaussian
from dnnlikelihood.discriminants.gradient import CrossEntropy, Sannt
from dnnlikelihood.discriminants.templates import fill
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.networks.descent import DescentConfig

SHORT = DescentConfig(widths=(30,), n_steps=80, pretraining_steps=80, learning_rate=3e-3)


def two_backgrounds(nuisance, seed, n=8_000):
    rng = np.random.default_rng(seed)
    means, yields = {"S": (0, 0), "A": (1.5, 0), "B": (0, 1.5)}, {"S": 60.0, "A": 500.0, "B": 500.0}
    processes = tuple(
        Process(name, Events.of(rng.normal(means[name], 1, (n, 2)), ["x", "y"], expected=yields[name]),
                poi="r" if name == "S" else None)
        for name in means
    )  # fmt: skip
    return EventModel(processes, (nuisance,))


def gain(nuisance):
    """Delta r of SANNT over that of cross entropy, on independent events."""
    train, validation, test = (two_backgrounds(nuisance, seed) for seed in (1, 2, 3))
    total = [
        expected_uncertainty(t.fit(train, validation=validation, progress=False).templates(test)).total[0]
        for t in (CrossEntropy(training=SHORT.replace(n_steps=160)), Sannt(training=SHORT))
    ]
    return total[1] / total[0]


def test_a_common_normalisation_leaves_little_to_gain_and_that_of_one_process_more():
    common = gain(Normalisation("all", dict.fromkeys(("S", "A", "B"), (1.1, 0.9))))
    single = gain(Normalisation("one", {"A": (1.3, 0.7)}))
    assert common > 0.95
    assert single < common - 0.02


def without_bin(templates, k):
    """The templates without one bin: what an unlimited uncertainty makes of them."""
    return templates.grouped([[i] for i in range(templates.n_bins) if i != k])


def test_an_uncertainty_injected_into_one_bin_costs_what_that_bin_is_worth():
    edges = np.linspace(-1, 2, 7)
    templates = fill(shifted_gaussian(1, n=100, n_test=50_000).test,
                     lambda x: np.searchsorted(edges, x.mean(axis=1)), 8)  # fmt: skip
    without = expected_uncertainty(templates).total[0]
    costs = [expected_uncertainty(templates.injected("hit", "B", k, 0.2)).total[0] - without for k in range(8)]
    assert min(costs) > -1e-12
    larger = [expected_uncertainty(templates.injected("hit", "B", k, 5.0)).total[0] - without for k in range(8)]
    assert all(b >= a for a, b in zip(costs, larger, strict=True))
    alone = [expected_uncertainty(templates.injected("hit", "B", k, 1e3)).total[0] for k in range(8)]
    kept = [expected_uncertainty(without_bin(templates, k)).total[0] for k in range(8)]
    np.testing.assert_allclose(alone, kept, rtol=0.01)


def test_variations_of_few_events_warn():
    """The fluctuations of 60 events a side stand for a shift: a training would learn them, and it is said."""
    rng = np.random.default_rng(0)
    s, b = (Events.of(rng.normal(m, 1, (5000, 2)), ["x", "y"], expected=y) for m, y in ((0, 50), (1, 1000)))
    few = tuple(Events.of(rng.normal(1, 1, (60, 2)), ["x", "y"], expected=1000) for _ in range(2))
    model = EventModel((Process("S", s, poi="r"), Process("B", b)), (ShiftedSamples("few", {"B": few}),))
    trained = Sannt(training=SHORT.replace(n_steps=20, pretraining_steps=20)).fit(
        model, validation=model, progress=False
    )
    assert any("'few'" in message and "fluctuations" in message for message in trained.messages)


def test_many_bins_of_few_events_warn():
    model = shifted_gaussian(3, n=200, n_test=200).test
    templates = fill(model, lambda x: np.clip((x.sum(axis=1) * 5 + 10).astype(int), 0, 39), 40)
    assert any("finite simulation" in message for message in templates.messages)
