"""Fits that end in a valley of lesser height find the higher one: held against scans of the nuisance."""

import numpy as np
import pytest

pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")
from workspaces import two_sided_workspace

from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sources.profiled import Starts, profile_from, try_other_sides
from dnnlikelihood.statistics.counting import log_likelihood_at, maximise_nuisances

GRID = np.linspace(-4.0, 4.0, 16_001)


@pytest.fixture(scope="module")
def likelihood():
    return ProfiledLikelihood.from_workspace(two_sided_workspace())


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
    fit = profile_from(model, signals, seen, Starts.always(np.array([[begin]])))
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
