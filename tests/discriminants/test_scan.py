"""Two-sided uncertainties of templates against Fisher and against pyhf."""

import numpy as np
import pytest

from dnnlikelihood.discriminants.examples import shifted_gaussian, two_signals
from dnnlikelihood.discriminants.scan import asymmetric, profile_scan
from dnnlikelihood.discriminants.templates import fill
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.discriminants.workspace import to_workspace


def in_bins(model, n_bins=6):
    edges = np.linspace(-1, 2, n_bins - 1)
    return fill(model, lambda x: np.searchsorted(edges, x.mean(axis=1)), n_bins)


@pytest.fixture(scope="module")
def templates():
    return in_bins(shifted_gaussian(1, n=100, n_test=100_000).test)


def test_the_mean_of_both_sides_is_fisher(templates):
    found, fisher = asymmetric(templates), expected_uncertainty(templates)
    assert 0.5 * (found.up + found.down) == pytest.approx(fisher.total[0], rel=0.02)
    assert 0.5 * (found.up_stat + found.down_stat) == pytest.approx(fisher.stat[0], rel=0.02)
    assert found.up > found.up_stat


def test_the_scan_grows_by_half_at_the_uncertainty(templates):
    found = asymmetric(templates)
    scan = profile_scan(templates, np.array([1 - found.down, 1.0, 1 + found.up]))
    np.testing.assert_allclose(scan, [0.5, 0.0, 0.5], atol=1e-4)


def test_pyhf_finds_the_same_interval(templates):
    pyhf = pytest.importorskip("pyhf")
    model = pyhf.Workspace(to_workspace(templates, mc_statistics=False)).model(
        modifier_settings={"histosys": {"interpcode": "code2"}}
    )
    data = [*templates.total, *model.config.auxdata]
    found = asymmetric(templates)
    best = pyhf.infer.mle.twice_nll(model.config.suggested_init(), data, model)
    for value in (1 + found.up, 1 - found.down):
        _, twice = pyhf.infer.mle.fixed_poi_fit(value, data, model, return_fitted_val=True)
        assert 0.5 * (float(twice) - float(best[0])) == pytest.approx(0.5, rel=0.02)


def test_other_signals_are_profiled():
    grid = lambda x: np.searchsorted([0.0, 1.0, 2.0], x[:, 0]) * 4 + np.searchsorted([0.0, 1.0, 2.0], x[:, 1])
    templates = fill(two_signals(1, n=100, n_test=20_000).test, grid, 16)
    for poi, fisher in zip(("r_1", "r_2"), expected_uncertainty(templates).total, strict=True):
        found = asymmetric(templates, poi)
        assert 0.5 * (found.up + found.down) == pytest.approx(fisher, rel=0.1)
