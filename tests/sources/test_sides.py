"""Fits that end in a valley of lesser height find the higher one: held against scans of the nuisance."""

import numpy as np
import pytest

pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")
from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sources.profiled import profile_from, try_other_sides
from dnnlikelihood.sources.starts import share_starts
from dnnlikelihood.statistics.counting import log_likelihood_at, maximise_nuisances

GRID = np.linspace(-4.0, 4.0, 16_001)


def two_sided():
    """Up and down both add to the first bin; in the second they differ, so that either may be the better side."""
    both = {"hi_data": [15.0, 33.0], "lo_data": [14.6, 27.0]}
    background = {
        "name": "background",
        "data": [10.0, 30.0],
        "modifiers": [{"name": "tune", "type": "histosys", "data": both}],
    }
    poi = {"name": "measurement", "config": {"poi": "mu", "parameters": []}}
    document = {
        "channels": [{"name": "SR", "samples": [background]}],
        "observations": [{"name": "SR", "data": [17.0, 31.0]}],
        "measurements": [poi],
        "version": "1.0.0",
    }
    return ProfiledLikelihood.from_workspace(document)


@pytest.fixture(scope="module")
def likelihood():
    return two_sided()


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(2).uniform(0.0, 5.0, (40, 2))


def scanned(likelihood, signals, seen):
    """(n,) the highest log L of a fine scan of the only nuisance."""
    model = likelihood.source.model
    x = np.repeat(signals, len(GRID), axis=0)
    value = log_likelihood_at(model, x, np.tile(GRID, len(signals))[:, None], seen)
    return value.reshape(len(signals), -1).max(axis=1)


@pytest.mark.parametrize("begin", [-1.0, 0.0, 1.0])
def test_the_highest_maximum_is_found_from_either_side(likelihood, signals, begin):
    model, seen = likelihood.source.model, likelihood.source.data["observed"]
    deepest = scanned(likelihood, signals, seen)
    fit = profile_from(model, signals, seen, np.array([[begin]]))
    assert fit.converged.all()
    assert (fit.value > deepest - 1e-9).all()
    np.testing.assert_allclose(fit.value, deepest, atol=1e-5)


def test_without_other_sides_fits_stay_where_they_began(likelihood, signals):
    """The negative control: these signals do have two valleys."""
    model, seen = likelihood.source.model, likelihood.source.data["observed"]
    deepest = scanned(likelihood, signals, seen)
    left, right = (maximise_nuisances(model, signals, seen, start=np.array([b])) for b in (-1.0, 1.0))
    for fit in (left, right):
        assert 0.05 < (fit.value < deepest - 1e-3).mean() < 0.95
    best = left
    try_other_sides(model, signals, seen.each(len(signals)), best)
    assert (best.value > deepest - 1e-9).all()


def test_nuisances_with_several_sides_are_recognised(likelihood):
    sides = likelihood.source.model.sides
    assert sides.column.tolist() == [0, 0, 0]
    np.testing.assert_allclose(sides.even[0], [4.8, 0.0], atol=1e-12)


def test_every_head_has_the_starts_of_all_others():
    found = {"a": np.array([[0.0, 1.0], [2.0, 1.0]]), "b": np.array([[0.1, 1.0], [0.0, -1.0]])}
    shared = share_starts(found)
    np.testing.assert_array_equal(shared["a"], [[0.0, 1.0], [2.0, 1.0], [0.0, -1.0]])
    np.testing.assert_array_equal(shared["b"], [[0.1, 1.0], [0.0, -1.0], [2.0, 1.0]])
