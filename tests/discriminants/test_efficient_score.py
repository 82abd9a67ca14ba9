"""Efficient-score quantisation reaches what its mathematics promises."""

import itertools

import numpy as np
import pytest

from dnnlikelihood.discriminants.binning import cluster_bins, optimal_bins, partition
from dnnlikelihood.discriminants.efficient_score import EfficientScore
from dnnlikelihood.discriminants.examples import shifted_gaussian, two_signals
from dnnlikelihood.discriminants.many_nuisances import many_nuisances
from dnnlikelihood.discriminants.templates import fill
from dnnlikelihood.discriminants.trained import Trained
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.errors import ConfigError, ShapeError


@pytest.fixture(scope="module")
def example():
    return shifted_gaussian(seed=5, n=50_000, n_test=200_000)


@pytest.fixture(scope="module")
def trained(example):
    return EfficientScore(n_bins=8).fit(example.train, validation=example.validation, seed=3, progress=False)


def test_partition_is_the_optimum_of_all_partitions(rng):
    w, t, v = rng.uniform(1, 2, 9), rng.normal(size=9), rng.uniform(0, 0.1, 9)

    def information(cuts):
        parts = np.split(np.arange(9), np.array(cuts) + 1)
        return sum(t[p].sum() ** 2 / (w[p].sum() + v[p].sum()) for p in parts)

    best = max(itertools.combinations(range(8), 3), key=information)
    np.testing.assert_array_equal(partition(w, t, v, 4, least_events=0), best)


def test_exact_scores_in_eight_bins_reach_the_ceiling_of_the_method(example):
    """0.363 with exact scores of the synthetic example, 0.374 is the best of the gradient methods."""
    bound = example.bound
    z = bound.fisher[0, 1] / bound.fisher[1, 1]
    score = lambda x: example.scores(x) @ np.array([[1.0], [-z]])
    nominal = [p.events for p in example.train.processes]
    values, weights = np.concatenate([e.values for e in nominal]), np.concatenate([e.weights for e in nominal])
    bins = optimal_bins(score(values)[:, 0], weights, 8)
    found = expected_uncertainty(fill(example.test, lambda x: bins(score(x)), 8)).total[0]
    assert bound.total[0] < found < 0.3645


def test_the_learned_score_beats_every_published_method(example, trained):
    templates = trained.templates(example.test)
    found = expected_uncertainty(templates)
    assert found.total[0] <= 0.370
    assert found.total[0] >= example.bound.total[0]
    assert templates.n_bins == 8
    assert templates.relative_mc_error.max() < 0.05


def test_without_nuisances_it_is_the_classifier_in_optimal_bins(example):
    model = example.train.only([])
    trained = EfficientScore(n_bins=8).fit(model, validation=example.validation.only([]), progress=False)
    found = expected_uncertainty(trained.templates(example.test.only([])))
    assert found.total[0] == pytest.approx(found.stat[0])
    assert found.total[0] == pytest.approx(example.bound.stat[0], rel=0.02)


def test_arrays_bring_it_back_and_names_decide_the_order(trained, rng):
    x = rng.normal(size=(500, 2))
    again = Trained.from_arrays(trained.arrays())
    for a, b in zip(trained.transform(x), again.transform(x), strict=True):
        np.testing.assert_array_equal(a, b)
    table = {"x2": x[:, 1], "unused": x[:, 0] * 0, "x1": x[:, 0]}
    np.testing.assert_array_equal(trained.transform(table).bin_index, trained.transform(x).bin_index)
    with pytest.raises(ShapeError, match="x1"):
        trained.transform({"x2": x[:, 1]})
    with pytest.raises(ShapeError, match="x2"):
        trained.transform(x[:, :1])
    with pytest.raises(ShapeError, match="nan"):
        trained.transform(np.array([[np.nan, 0.0]]))


def test_more_bins_than_events_support_are_refused(rng):
    with pytest.raises(ConfigError, match="support"):
        optimal_bins(rng.normal(size=60), np.ones(60), 30)
    with pytest.raises(ConfigError, match="bins"):
        cluster_bins(rng.normal(size=(5, 2)), np.ones(5), 8, rng)


@pytest.mark.slow
def test_two_signals_are_measured_together():
    example = two_signals(seed=4, n_test=100_000)
    trained = EfficientScore(n_bins=16).fit(example.train, validation=example.validation, progress=False)
    found = expected_uncertainty(trained.templates(example.test))
    assert example.bound.total.sum() < found.total.sum() <= 1.12


@pytest.mark.slow
def test_86_nuisances_at_unchanged_statistics():
    """Near the bound in total, and no worse in statistics than bins of the exact statistical score."""
    example = many_nuisances(seed=4, n_test=40_000)
    trainer = EfficientScore(n_bins=16, statistics=0.3)
    trained = trainer.fit(example.train, validation=example.validation, progress=False)
    found, bound = expected_uncertainty(trained.templates(example.test)), example.bound
    assert found.total[0] <= 1.05 * bound.total[0]
    assert found.stat[0] <= 1.03 * bound.stat[0]
