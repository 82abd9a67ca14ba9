"""Designs of signal yields, on counts without nuisances, where Delta NLL is known in closed form."""

import numpy as np
import pytest
from workspaces import search

from dnnlikelihood.errors import ConfigError
from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sampling.signal_designs import SignalRays, directions, metropolis, rays, strength_at

BACKGROUND = np.array([40.0, 9.0, 3.0, 150.0, 60.0])
SIGNAL = np.array([True, True, True, False, False])
COUNTS = np.array([43.0, 7.0, 2.0, 148.0, 63.0])


def logpdf(s):
    with np.errstate(invalid="ignore", divide="ignore"):
        return (COUNTS * np.log(BACKGROUND + s) - BACKGROUND - s).sum(axis=1)


NULL = float(logpdf(np.zeros((1, 5)))[0])
SLOPE, CURVATURE = COUNTS / BACKGROUND - 1, -np.diag(COUNTS / BACKGROUND**2)


def test_directions_look_like_signals():
    p = directions(BACKGROUND, SIGNAL, 4000, np.random.default_rng(0))
    assert (p >= 0).all()
    inner, leak = p[:, SIGNAL].sum(axis=1), p[:, ~SIGNAL].sum(axis=1)
    alone = inner == 0
    assert 0.03 < alone.mean() < 0.07
    np.testing.assert_allclose(np.where(alone, leak, inner), 1.0)
    leak = leak[~alone] / (BACKGROUND[~SIGNAL].sum() / BACKGROUND[SIGNAL].sum())
    assert 0.15 < (leak == 0).mean() < 0.25
    assert (leak > 0.3).mean() > 0.1
    assert 2 < leak.max() < 3
    assert (p[~alone][:, SIGNAL] == 0).any(axis=1).mean() > 0.1
    assert p[:, SIGNAL].max(axis=1).max() > 0.99
    only = directions(BACKGROUND, np.ones(5, bool), 10, np.random.default_rng(0))
    np.testing.assert_allclose(only.sum(axis=1), 1.0)


def test_strengths_reach_the_level():
    p = directions(BACKGROUND, SIGNAL, 500, np.random.default_rng(1))
    t = strength_at(logpdf, SLOPE, CURVATURE, NULL, BACKGROUND, p)
    rise = NULL - logpdf(t[:, None] * p)
    assert np.quantile(np.abs(rise / 10.0 - 1), 0.99) < 0.05


def test_rays_are_flat_in_delta_nll_and_inside():
    s = rays(logpdf, SLOPE, CURVATURE, NULL, BACKGROUND, SIGNAL, 4001, np.random.default_rng(2))
    assert s.shape == (4001, 5)
    assert (BACKGROUND + s > 0).all()
    rise = NULL - logpdf(s)
    assert 0.01 < (s < 0).any(axis=1).mean() < 0.1
    inner = np.histogram(rise, np.linspace(0, 10, 6))[0] / len(s)
    assert (inner > 0.1).all()
    assert 0.05 < (rise > 10.5).mean() < 0.2
    assert rise.max() < 400


def test_contamination_of_control_regions_ends_where_asked():
    """Signals that stay below are drawn as without it; the others still cover all that is allowed."""
    arguments = logpdf, SLOPE, CURVATURE, NULL, BACKGROUND, SIGNAL, 4000
    wide = rays(*arguments, np.random.default_rng(6))
    least = 0.2
    s = rays(*arguments, np.random.default_rng(6), contamination=least)
    filled = np.abs(s / BACKGROUND)[:, ~SIGNAL].max(axis=1)
    assert (np.abs(wide / BACKGROUND)[:, ~SIGNAL].max(axis=1) > least).mean() > 0.1
    assert filled.max() <= least * (1 + 1e-12)
    assert (np.histogram(filled, np.linspace(0, least, 6))[0] > 100).all()
    inner = ~s[:, ~SIGNAL].any(axis=1)
    assert inner.mean() > 0.1
    np.testing.assert_array_equal(s[inner], wide[inner])


def test_kinds_of_signals_are_those_that_errors_depend_on():
    likelihood = ProfiledLikelihood.from_workspace(search())
    design = SignalRays()
    background, names = -likelihood.parameters.lower, likelihood.parameters.names
    control = np.array([name.startswith("CR") for name in names])
    shares = 0.0, 0.05, 0.2, 0.5
    theta = np.array([np.where(control, share * np.maximum(background, 1.0), 30.0) for share in shares])
    theta = np.concatenate([theta, -0.01 * theta[1:2]])
    kinds = ["contamination to 0.1", "contamination to 0.1", "contamination to 0.3", "contamination beyond", "negative"]
    assert design.kinds(likelihood, theta).tolist() == kinds
    alone = ProfiledLikelihood.from_workspace(search(), include_control_regions=False)
    assert design.kinds(alone, np.full((1, len(alone.parameters)), 99.0)).tolist() == kinds[:1]
    drawn = design.kinds(likelihood, design(likelihood, 400, np.random.default_rng(1)))
    assert set(drawn) == set(kinds)


def test_designs_are_told_apart_and_refuse_what_makes_no_sense():
    assert SignalRays(contamination=0.2).to_json() != SignalRays().to_json()
    for wrong in ({"contamination": 0.0}, {"contamination": -1.0}, {"contamination": 0.001}, {"per_ray": 0}):
        with pytest.raises(ConfigError, match=r"must be (0.01 at least|positive)"):
            SignalRays(**wrong)


def test_directions_that_change_nothing_stay_finite():
    """A likelihood that any signal leaves as it is: strengths end where they stop being of interest."""
    s = rays(
        lambda s: np.zeros(len(s)), np.zeros(5), np.zeros((5, 5)), 0.0, BACKGROUND, SIGNAL, 200,
        np.random.default_rng(3),
    )  # fmt: skip
    assert np.isfinite(s).all()
    assert np.abs(s).max() < 1e6


@pytest.mark.filterwarnings("error")
def test_where_there_are_no_labels_strengths_end_before():
    p = directions(BACKGROUND, SIGNAL, 500, np.random.default_rng(4))
    reach = strength_at(logpdf, SLOPE, CURVATURE, NULL, BACKGROUND, p)
    most, end = 6.0, 6.0 / np.maximum(p[:, 0], 1e-9)
    t = strength_at(lambda s: np.where(s[:, 0] <= most, logpdf(s), np.nan), SLOPE, CURVATURE, NULL, BACKGROUND, p)
    early, late = end < 0.9 * reach, end > 1.5 * reach
    assert early.sum() > 50
    assert (np.abs(np.log(t / end)[early]) < 0.5).all()
    np.testing.assert_allclose(t[late], reach[late], rtol=0.03)
    nowhere = strength_at(lambda s: np.full(len(s), np.nan), SLOPE, CURVATURE, NULL, BACKGROUND, p)
    assert ((nowhere > 0) & (nowhere < 1e-3 * reach)).all()


def test_walks_towards_the_minimum_draw_from_the_likelihood():
    low, high = np.array([-4.0, -4.0]), np.array([4.0, 4.0])
    walk = metropolis(
        lambda x: -0.5 * (x**2).sum(axis=1), low, high, 40_000, np.random.default_rng(5), step=0.15, n_walkers=100
    )
    assert walk.shape == (40_000, 2)
    late = walk[10_000:]
    np.testing.assert_allclose(late.mean(axis=0), 0.0, atol=0.1)
    np.testing.assert_allclose(late.std(axis=0), 1.0, atol=0.06)


def test_walks_towards_the_maximum_end_in_corners():
    low, high = np.array([-4.0, -4.0]), np.array([4.0, 4.0])
    walk = metropolis(
        lambda x: -0.5 * (x**2).sum(axis=1), low, high, 20_000, np.random.default_rng(6), towards="maximum"
    )
    assert ((walk >= low) & (walk <= high)).all()
    assert (np.abs(walk[10_000:]) > 3.0).all(axis=1).mean() > 0.8
    with pytest.raises(ConfigError, match="'up' is neither"):
        metropolis(logpdf, low, high, 10, np.random.default_rng(0), towards="up")
