"""Workspaces: valid, and their Asimov fit is the Fisher uncertainty."""

import numpy as np
import pytest

from dnnlikelihood import Likelihood
from dnnlikelihood.discriminants.binning import ClassBins
from dnnlikelihood.discriminants.examples import inferno, shifted_gaussian, two_signals
from dnnlikelihood.discriminants.templates import fill
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.discriminants.workspace import to_workspace
from dnnlikelihood.errors import ConfigError

pyhf = pytest.importorskip("pyhf", reason="needs pyhf: pip install 'dnnlikelihood[histfactory]'")


def efficient_templates(example, n_bins):
    """Bins of the exact efficient score at its quantiles."""
    bound = example.bound
    n = len(bound.pois)
    c = bound.covariance[:, :1] / bound.covariance[0, 0]
    values = np.concatenate([p.events.values for p in example.train.processes])
    edges = np.quantile(example.scores(values) @ c, np.linspace(0, 1, n_bins + 1)[1:-1])
    assert n >= 1
    return fill(example.test, lambda x: ClassBins(edges[None, :])(example.scores(x) @ c), n_bins)


def widths(workspace, poi, about):
    """Both distances from r = 1 at which the profiled Asimov nll has risen by 1/2."""
    from scipy.optimize import brentq

    document = pyhf.Workspace(workspace)
    model = document.model(measurement_name="measurement")
    data = document.data(model)
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-10))
    best = float(pyhf.infer.mle.twice_nll(np.array(model.config.suggested_init()), data, model)[0])
    assert model.config.poi_name == poi

    def rise(r):
        return float(pyhf.infer.mle.fixed_poi_fit(r, data, model, return_fitted_val=True)[1]) - best - 1.0

    return (
        brentq(rise, 1.0, 1.0 + 1.5 * about, xtol=1e-4) - 1.0,
        1.0 - brentq(rise, 1.0 - 1.5 * about, 1.0, xtol=1e-4),
    )


@pytest.mark.parametrize("mc_statistics", [False, True])
def test_the_asimov_fit_agrees_with_fisher(mc_statistics):
    templates = efficient_templates(shifted_gaussian(seed=2, n=5_000, n_test=100_000), 8)
    fisher = expected_uncertainty(templates, mc_statistics=mc_statistics).total[0]
    up, down = widths(to_workspace(templates, mc_statistics=mc_statistics), "r", fisher)
    assert 0.5 * (up + down) == pytest.approx(fisher, rel=0.02)


def test_a_shift_that_is_half_a_standard_deviation():
    """INFERNO's benchmark 3: constraints of two shifts become unit Gaussians."""
    templates = efficient_templates(inferno(3, seed=2, n=5_000, n_test=100_000), 8)
    fisher = expected_uncertainty(templates).total[0]
    up, down = widths(to_workspace(templates, mc_statistics=False), "r", fisher)
    assert 0.5 * (up + down) == pytest.approx(fisher, rel=0.03)


def test_two_signals_and_a_normalisation():
    workspace = to_workspace(efficient_templates(two_signals(seed=2, n=2_000, n_test=50_000), 12))
    model = pyhf.Workspace(workspace).model()
    assert {"r_1", "r_2", "B1_shift", "B2_shift", "B1_norm"} <= set(model.config.par_order)
    modifiers = {(m["name"], m["type"]) for s in workspace["channels"][0]["samples"] for m in s["modifiers"]}
    assert ("B1_norm", "normsys") in modifiers
    assert ("B1_norm", "histosys") not in modifiers
    data = workspace["observations"][0]["data"]
    expected = model.expected_data(model.config.suggested_init(), include_auxdata=False)
    np.testing.assert_allclose(data, expected, rtol=1e-9)
    named = {"measurement": ("r_1",), "measurement_r_2": ("r_2",)}
    for measurement, pois in named.items():
        assert Likelihood.from_workspace(workspace, measurement=measurement).parameters.pois == pois


def test_a_free_nuisance_is_refused():
    with pytest.raises(ConfigError, match="r_shift"):
        to_workspace(efficient_templates(inferno(1, n=500, n_test=5_000), 4))
