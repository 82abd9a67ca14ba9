"""A published folder with heads, from disk, in Spey and in limits: the same numbers as the surrogate in memory."""

import numpy as np
import pytest
from counting_experiment import CountingExperiment
from counting_surrogate import counting_ensemble
from surrogates import metadata

import dnnlikelihood
from dnnlikelihood.export.publish import Reference, publish
from dnnlikelihood.runlog import RunLog
from dnnlikelihood.statistics.limits import hypotest, upper_limits
from dnnlikelihood.statistics.signals import along

NUMBERS = [12.0, 9.0, 47.0], [10.0, 8.0, 45.0], [2.0, 1.5, 4.0]
REACH = np.array([20.0, 18.0, 30.0])
SIGNAL = np.array([3.0, 2.0, 4.0])


@pytest.fixture(scope="module")
def truth():
    return CountingExperiment(*NUMBERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, truth):
    ensemble = counting_ensemble(truth, REACH)
    theta = REACH * np.random.default_rng(4).uniform(size=(400, 3))
    theta = theta[ensemble.domain(theta)][:120]
    network = ensemble.heads_logpdf(theta).mean(axis=1)
    data = {"observed": "observed", "expected": "expected", "asimov_observed": "asimov"}
    shared = {"offset": "none", "profiled": ["uncertainties of the background"]}
    heads = [{"name": h, "definition": f"log L of the {kind} data", "data": kind, **shared} for h, kind in data.items()]
    about = metadata(name="counting", parameters=truth.parameters, kind="profiled", heads=heads)
    folder = tmp_path_factory.mktemp("published") / "counting"
    reference = Reference(theta=theta, exact=truth.heads_logpdf(theta), logpdf=network)
    return publish(ensemble, folder, metadata=about, reference=reference, history=[], log=RunLog())


def test_limits_of_the_file_are_those_of_the_truth_within_its_error(folder, truth):
    likelihood = dnnlikelihood.open(folder)
    found, exact = upper_limits(along(likelihood, SIGNAL)), upper_limits(along(truth, SIGNAL))
    assert found.converged.all()
    assert found.in_domain.all()
    assert found.observed[0] == pytest.approx(exact.observed[0], rel=0.01)
    assert abs(found.observed[0] - exact.observed[0]) < 3 * found.error[0]
    np.testing.assert_allclose(found.expected, exact.expected, rtol=0.02)
    beyond = hypotest(along(likelihood, 10 * SIGNAL))
    assert beyond.status[0] == "outside"
    assert np.isnan(beyond.cls[0])


def test_spey_opens_the_folder(folder, truth, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEY_CHECKUPDATE", "OFF")
    monkeypatch.setenv("HOME", str(tmp_path))
    spey = pytest.importorskip("spey", reason="needs pip install 'dnnlikelihood[spey]'")
    wrapper = spey.get_backend("dnnlikelihood.profiled")
    model = wrapper(model=folder, signal_yields=dict(zip(truth.parameters.names, SIGNAL, strict=True)), analysis="file")
    exact = wrapper(model=truth, signal_yields=SIGNAL, analysis="truth")
    for name in ("observed", "apriori", "aposteriori"):
        expected = getattr(spey.ExpectationType, name)
        assert model.poi_upper_limit(expected=expected) == pytest.approx(
            exact.poi_upper_limit(expected=expected), rel=0.01
        )
    with pytest.raises(spey.system.exceptions.MethodNotAvailable):
        model.significance()
