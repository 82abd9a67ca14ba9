"""What training on the uncertainty can gain, what it cannot, and what must warn."""

import numpy as np
import pytest

from dnnlikelihood.discriminants.binning import optimal_bins
from dnnlikelihood.discriminants.diagnostics import class_shares, down_sampled, injected, largest_impacts
from dnnlikelihood.discriminants.efficient_score import EfficientScore
from dnnlikelihood.discriminants.events import EventModel, Events, Normalisation, Process
from dnnlikelihood.discriminants.examples import shifted_gaussian
from dnnlikelihood.discriminants.gradient import CrossEntropy, Sannt
from dnnlikelihood.discriminants.many_nuisances import many_nuisances
from dnnlikelihood.discriminants.many_signals import many_signals
from dnnlikelihood.discriminants.templates import fill
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.errors import ConfigError
from dnnlikelihood.networks.descent import DescentConfig
from dnnlikelihood.networks.heads_config import HeadsConfig

SHORT = DescentConfig(widths=(30,), n_steps=80, pretraining_steps=80, learning_rate=3e-3)


def two_backgrounds(seed, n=4_000):
    """A signal between two backgrounds; the nuisance is the yield of all, or of one."""
    rng = np.random.default_rng(seed)
    means, yields = {"S": (0, 0), "A": (1.5, 0), "B": (0, 1.5)}, {"S": 60.0, "A": 500.0, "B": 500.0}
    processes = tuple(
        Process(name, Events.of(rng.normal(means[name], 1, (n, 2)), ["x", "y"], expected=yields[name]),
                poi="r" if name == "S" else None)
        for name in means
    )  # fmt: skip
    common = Normalisation("common", dict.fromkeys(means, (1.1, 0.9)))
    return EventModel(processes, (common, Normalisation("single", {"A": (1.3, 0.7)})))


def test_a_common_normalisation_leaves_nothing_to_gain_and_that_of_one_process_does():
    """Delta r of a training that knows the nuisance over that of one that does not, on independent events."""
    train, validation, test = (two_backgrounds(seed) for seed in (1, 2, 3))

    def trained(names):
        trainer = EfficientScore(heads=HeadsConfig(widths=(32,), n_steps=300))
        return trainer.fit(train.only(names), validation=validation.only(names), progress=False)

    ignorant = trained([])

    def gain(name):
        found, before = (
            expected_uncertainty(t.templates(test.only([name]))).total[0] for t in (trained([name]), ignorant)
        )
        return found / before

    assert gain("common") == pytest.approx(1.0, abs=0.01)
    assert gain("single") < 0.97


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


def in_bins(model, edges=(-1.0, 0.0, 0.5, 1.0, 2.0)):
    return fill(model, lambda x: np.searchsorted(edges, x.mean(axis=1)), len(edges) + 1)


def test_variations_of_few_events_warn():
    """The fluctuations of 60 events a side stand for a small shift: a training would learn them, and it is said."""
    model = many_signals(1, 1, n=3_000, n_test=1).train
    few = down_sampled(model, "B1_calibration", 60)
    for whole, part in zip(model.nuisances[0].variations["B1"], few.nuisances[0].variations["B1"], strict=True):
        assert len(part) == 60
        assert part.weights.sum() == pytest.approx(whole.weights.sum())
    training = SHORT.replace(n_steps=20, pretraining_steps=20)
    warnings = []
    for one in (few, model):
        trained = Sannt(training=training).fit(one, validation=one, progress=False)
        warnings.append([m for m in trained.messages if "'B1_calibration'" in m and "fluctuations" in m])
    assert len(warnings[0]) == 1
    assert not warnings[1]
    with pytest.raises(ConfigError, match="cannot draw 6000"):
        down_sampled(model, "B1_calibration", 6_000)
    with pytest.raises(ConfigError, match="shifted samples"):
        down_sampled(model, "B1_norm", 60)


def test_simulation_that_fluctuates_more_than_the_data_is_said():
    few, many = (in_bins(shifted_gaussian(3, n=1, n_test=n).test, (0.0, 0.5, 1.0)) for n in (500, 5_000))
    assert any("fluctuates more than the data" in message for message in few.messages)
    assert not many.messages


def test_an_injected_nuisance_is_that_of_its_bin():
    model = shifted_gaussian(4, n=4_000, n_test=1).train
    trained = CrossEntropy(training=SHORT.replace(n_steps=60)).fit(model, progress=False)
    changed = trained.templates(injected(model, trained, "B", 5, 0.3), merge=False)
    expected = trained.templates(model, merge=False).injected("injected", "B", 5, 0.3)
    np.testing.assert_allclose(changed.up, expected.up)
    np.testing.assert_allclose(changed.down, expected.down)
    for wrong in (("B", 8, 0.3), ("B", 5, 1.0)):
        with pytest.raises(ConfigError, match="cannot inject"):
            injected(model, trained, *wrong)


def test_training_on_the_nuisances_of_largest_impact_is_almost_training_on_all():
    """With exact scores: ten of 86 nuisances hold the six large ones, and knowing them is knowing all; two do not."""
    example = many_nuisances(2, n=1, n_test=1_500)
    bound, found = example.bound, {}

    def scores(values):
        """Each feature array once."""
        if id(values) not in found:
            found[id(values)] = example.scores(values)
        return found[id(values)]

    nominal = [p.events for p in example.test.processes]
    weights = np.concatenate([e.weights for e in nominal])

    def achieved(names):
        """Templates with all nuisances, in 16 bins of the efficient score of some."""
        columns = [0, *(1 + bound.nuisances.index(name) for name in names)]
        direction = np.linalg.inv(bound.fisher[np.ix_(columns, columns)])[:, :1]
        t = lambda values: scores(values)[:, columns] @ direction
        bins = optimal_bins(np.concatenate([t(e.values) for e in nominal])[:, 0], weights, 16)
        return fill(example.test, lambda values: bins(t(values)), 16)

    ignorant = achieved([])
    names = largest_impacts(ignorant, 10)
    large = {"calibration_00", "calibration_01", "calibration_02", "calibration_03", "weight_00", "weight_01"}
    assert large < set(names)
    none, two, ten, every = (
        expected_uncertainty(achieved(n)).total[0] for n in ([], names[:2], names, bound.nuisances)
    )
    assert ten < 1.02 * every < 0.9 * none < two
    with pytest.raises(ConfigError, match="86"):
        largest_impacts(ignorant, 87)


def test_the_inclusive_strength_is_that_of_all_signals_together():
    """(1, 1) projects the information on r_1 and r_2 to that on r, binned and unbinned."""
    example = many_signals(2, 5, n=1, n_test=10_000)
    together = np.zeros((11, 12))
    together[0, :2] = together[np.arange(1, 11), np.arange(2, 12)] = 1.0
    both, one = example.bound, example.inclusive().bound
    np.testing.assert_allclose(one.fisher, together @ both.fisher @ together.T, rtol=1e-9, atol=1e-9)
    in_two = lambda model: expected_uncertainty(fill(model, lambda x: (x[:, 0] > 0) + 2 * (x[:, 1] > 0), 4))
    separate, inclusive = in_two(example.test), in_two(example.inclusive().test)
    covariance = separate.covariance
    np.testing.assert_allclose(np.linalg.inv(inclusive.covariance)[0, 0],
                               np.linalg.inv(covariance)[:2, :2].sum(), rtol=1e-9)  # fmt: skip


def test_scores_of_many_signals_are_the_derivatives_of_their_yields():
    """The mean of a score is the change of the yield: the signal's own, 5 % of a background, none of a calibration."""
    example = many_signals(15, 3, n=1, n_test=4_000)
    model = example.test
    weights = np.concatenate([p.events.weights for p in model.processes])
    scores = example.scores(np.concatenate([p.events.values for p in model.processes]))
    found = weights @ scores
    expected = [*(p.total for p in model.processes[:15]), 0, 0, 0, *(0.05 * p.total for p in model.processes[15:])]
    np.testing.assert_allclose(found, expected, rtol=0.04, atol=4.0)
    assert len(example.bound.total) == 15
    for numbers in ((0, 5), (16, 5), (2, 9)):
        with pytest.raises(ConfigError, match="choose"):
            many_signals(*numbers)


def test_many_bins_of_few_events_warn():
    model = shifted_gaussian(3, n=200, n_test=200).test
    templates = fill(model, lambda x: np.clip((x.sum(axis=1) * 5 + 10).astype(int), 0, 39), 40)
    assert any("finite simulation" in message for message in templates.messages)


@pytest.mark.slow
def test_only_the_penalty_holds_events_in_the_class_of_their_process():
    example = many_signals(2, 5, seed=4, n=2_500, n_test=10_000)
    training = SHORT.replace(learning_rate=1e-2, pretraining_steps=100, n_steps=200, keep="last")
    kept = []
    for rate in (1.0, 0.0):
        trainer = Sannt(n_bins=3, classes="processes", multiplier_rate=rate, training=training)
        trained = trainer.fit(example.train, validation=example.validation, seed=1, progress=False)
        shares = class_shares(trained, example.test)
        np.testing.assert_allclose(shares.sum(axis=1), 1.0)
        kept.append(float(np.diag(shares).mean()))
    assert kept[1] < kept[0] - 0.02


@pytest.mark.slow
def test_fifteen_signals_are_measured_together():
    """64 bins for 15 strengths: the sum of Delta r within a tenth of the unbinned bound."""
    example = many_signals(15, 5, seed=4, n=8_000, n_test=20_000)
    trained = EfficientScore(n_bins=64).fit(example.train, validation=example.validation, progress=False)
    found = expected_uncertainty(trained.templates(example.test))
    assert example.bound.total.sum() < found.total.sum() < 1.1 * example.bound.total.sum()


def test_shares_of_a_discriminant_without_classes_are_refused():
    model = shifted_gaussian(4, n=300, n_test=1).train
    trained = EfficientScore(n_bins=2, heads=HeadsConfig(widths=(4,), n_steps=5)).fit(model, progress=False)
    with pytest.raises(ConfigError, match="no classes"):
        class_shares(trained, model)
