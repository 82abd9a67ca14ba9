"""ProfiledLikelihood of HistFactory workspaces: pyhf's own fits, closed forms, definitions of the heads, refusals."""

import json
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from scipy.special import gammaln, xlogy
from workspaces import absorbed, counting, data_driven, modifier, random_workspace, sample, search, workspace

from dnnlikelihood import ProfiledLikelihood
from dnnlikelihood.errors import DomainError, LikelihoodError, NotConverged, ParameterError
from dnnlikelihood.sources import profiled as source
from dnnlikelihood.sources.histfactory_workspace import within_regions

pyhf = pytest.importorskip("pyhf")
DATA = os.environ.get("DNNLIKELIHOOD_DATA")
MU = {"type": "normfactor", "name": "mu", "data": None}
LUMI = {"type": "lumi", "name": "lumi", "data": None}


@cache
def profiled(name="search", *, include_control_regions=True):
    made = {"search": search, "data_driven": data_driven, "counting": counting}.get(name)
    document = made() if made else random_workspace(int(name))
    return ProfiledLikelihood.from_workspace(document, include_control_regions=include_control_regions)


def with_signal(likelihood, yields, poi="mu"):
    """The workspace as SModelS patches it: background and one signal sample in every region, scaled by lumi."""
    document = json.loads(likelihood.source.arguments["workspace"])
    names = {channel for channel, _ in likelihood.source.model.model.bins}
    lumi = any(m["type"] == "lumi" for c in document["channels"] for s in c["samples"] for m in s["modifiers"])
    cut = within_regions(document, sorted(names))
    for channel in cut["channels"]:
        bins = range(len(channel["samples"][0]["data"]))
        data = [float(yields[likelihood.parameters.index(f"{channel['name']}-{i}")]) for i in bins]
        background = [s for s in channel["samples"] if not any(m["name"] == poi for m in s["modifiers"])]
        modifiers = [{**MU, "name": poi}, *([LUMI] if lumi else [])]
        channel["samples"] = [{"name": "bsm", "data": data, "modifiers": modifiers}, *background]
    return cut


def pyhf_model(document, poi="mu"):
    spec = {"channels": document["channels"], "parameters": document["measurements"][0]["config"]["parameters"]}
    return pyhf.Model(spec, poi_name=poi, validate=False)


def pyhf_data(model, document, head, null):
    """The data set of a head by its definition, auxiliary data included."""
    if head == "observed":
        return np.asarray(pyhf.Workspace(document, validate=False).data(model))
    if head == "asimov_observed":
        return np.asarray(model.expected_data(null))
    backgrounds = {c["name"]: [s["data"] for s in c["samples"] if s["name"] != "bsm"] for c in document["channels"]}
    counts = [np.sum(backgrounds[channel], axis=0) for channel in model.config.channels]
    return np.concatenate([*counts, model.config.auxdata])


def pyhf_parameters(model, likelihood, nu, mu):
    """Our nuisances in pyhf's order; fixed parameters at their values."""
    known = {**dict(zip(likelihood.source.nuisances, nu, strict=True)), model.config.poi_name: mu}
    start = zip(model.config.par_names, model.config.suggested_init(), strict=True)
    return np.array([known.get(name, value) for name, value in start])


def pyhf_nll(model, data):
    return float(pyhf.infer.mle.fixed_poi_fit(1.0, data, model, return_fitted_val=True)[1]) / 2


def some_signals(likelihood, n=4, seed=5):
    rng = np.random.default_rng(seed)
    return rng.exponential(2.5, size=(n, len(likelihood.parameters)))


@pytest.mark.parametrize("name", ["search", "data_driven", "counting", *"012345"])
def test_the_value_of_every_head_is_what_pyhf_says_at_our_nuisances(name):
    likelihood = profiled(name)
    yields = some_signals(likelihood, 3)
    fit, nothing = likelihood.fit(yields), likelihood.fit(np.zeros((1, yields.shape[1]))).nu[0, 0]
    assert fit.converged.all()
    for i, row in enumerate(yields):
        document = with_signal(likelihood, row)
        model = pyhf_model(document)
        for h, head in enumerate(likelihood.heads):
            data = pyhf_data(model, document, head, pyhf_parameters(model, likelihood, nothing, 0.0))
            theirs = float(model.logpdf(pyhf_parameters(model, likelihood, fit.nu[i, h], 1.0), data)[0])
            np.testing.assert_allclose(fit.value[i, h], theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["search", "counting", "1"])
def test_the_maximum_is_that_of_pyhf(name):
    likelihood = profiled(name)
    for row in some_signals(likelihood, 2):
        document = with_signal(likelihood, row)
        model = pyhf_model(document)
        ours = -likelihood.heads_logpdf(row)[0]
        theirs = [pyhf_nll(model, pyhf_data(model, document, head, None)) for head in ("observed", "expected")]
        np.testing.assert_allclose(ours[:2], theirs, rtol=0, atol=1e-5)
        assert (ours[:2] < np.array(theirs) + 1e-6).all()


def test_a_counting_experiment_in_closed_form():
    """n ~ Pois(s + b gamma), m = tau ~ Pois(tau gamma): a quadratic equation for gamma."""
    likelihood, (n, b, tau) = profiled("counting"), (7.0, 5.0, 25.0)
    s = np.array([[0.0], [1.0], [4.0], [12.0]])
    q = tau + b
    half = n + tau - s * (tau + b) / b
    gamma = (half + np.sqrt(half**2 + 4 * q * tau * s / b)) / (2 * q)
    rate = s + b * gamma
    log = lambda k, r: xlogy(k, r) - r - gammaln(k + 1)
    fit = likelihood.fit(s)
    np.testing.assert_allclose(fit.nu[:, 0], gamma, rtol=1e-5)
    np.testing.assert_allclose(fit.value[:, :1], log(n, rate) + log(tau, tau * gamma), atol=1e-9)
    np.testing.assert_allclose(fit.gradient[:, 0], n / rate - 1, atol=1e-5)


def test_definitions_of_the_heads():
    likelihood = profiled()
    model, data = likelihood.source.model, likelihood.source.data
    assert likelihood.heads == ("observed", "expected", "asimov_observed")
    assert likelihood.parameters.names[0] == "CRtop-0"
    np.testing.assert_allclose(data["expected"].counts, [117.0, 74.0, 15.0, 6.5, 21.0])
    null = likelihood.fit(np.zeros((1, 5)))
    np.testing.assert_allclose(data["asimov_observed"].counts, model.expected(np.zeros((1, 5)), null.nu[:, 0])[0])
    np.testing.assert_allclose(null.nu[:, 2], null.nu[:, 0], atol=1e-6)
    np.testing.assert_allclose(null.value[0], likelihood.null_logpdf)


@pytest.mark.parametrize("name", ["search", "counting", "1"])
def test_the_asimov_set_of_the_expected_data_is_the_expected_data(name):
    """So that the fourth head of others is the second one of ours: nominal parameters fit nominal data exactly."""
    likelihood = profiled(name)
    expected, model = likelihood.source.data["expected"], likelihood.source.model
    null = likelihood.fit(np.zeros((1, len(likelihood.parameters)))).nu[:, 1]
    np.testing.assert_allclose(null[0], model.start, atol=1e-6)
    np.testing.assert_allclose(model.expected(np.zeros((1, len(expected.counts))), null)[0], expected.counts, rtol=1e-6)
    yields = some_signals(likelihood)
    np.testing.assert_array_equal(
        likelihood.select("asimov_expected").logpdf(yields), likelihood.heads_logpdf(yields)[:, 1]
    )


def test_where_it_is_not_there_is_no_such_head():
    """A normalisation that starts at 2 fits nominal data at 1: nominal parameters do not give them."""
    background = sample("background", [20.0, 5.0], modifier("normfactor", "k"))
    start = [{"name": "k", "inits": [2.0], "bounds": [[0.0, 10.0]]}]
    likelihood = ProfiledLikelihood.from_workspace(workspace({"SR": [background]}, {"SR": [22.0, 4.0]}, start))
    assert "expected" in likelihood.heads
    with pytest.raises(ParameterError, match="nominal parameters do not give the nominal yields"):
        likelihood.select("asimov_expected")


def test_no_head_rises_above_the_free_maximum():
    likelihood = profiled()
    signals = some_signals(likelihood, 6)
    best = likelihood.maximum_along(signals)
    assert best.converged.all()
    np.testing.assert_array_equal(best.mu[:, 1:], 0.0)  # the Asimov sets are without signal
    for mu in (0.0, 0.4, 1.0):
        assert (likelihood.heads_logpdf(mu * signals) <= best.value + 1e-7).all()
    for h in range(3):
        at = likelihood.heads_logpdf(best.mu[:, h : h + 1] * signals)[:, h]
        np.testing.assert_allclose(at, best.value[:, h], atol=1e-6)
    free = likelihood.maximum_along(signals, allow_negative=True)
    assert (free.value >= best.value - 1e-9).all()
    at = (
        free.mu[:, :1] * signals,
        np.einsum("nd,nd->n", signals, likelihood.fit(free.mu[:, :1] * signals).gradient[:, 0]),
    )
    np.testing.assert_allclose(at[1], 0.0, atol=1e-3)


def test_pulls_and_names_of_nuisances():
    fit = profiled().fit(some_signals(profiled()))
    lumi = fit.nuisances.index("lumi")
    np.testing.assert_allclose(fit.pull[:, 0, lumi], (fit.nu[:, 0, lumi] - 1.0) / 0.02)
    assert (fit.pull[:, :, fit.nuisances.index("mu_top")] == 0).all()
    assert fit.converged.all()


def test_one_head_costs_one_fit_and_is_the_same():
    likelihood, yields = profiled(), some_signals(profiled())
    all_heads = likelihood.heads_logpdf(yields)
    for h, head in enumerate(likelihood.heads):
        np.testing.assert_array_equal(likelihood.select(head).logpdf(yields), all_heads[:, h])
    with pytest.raises(ParameterError, match="no head 'nobody'"):
        likelihood.select("nobody")
    assert likelihood.select("observed").fingerprint != likelihood.fingerprint


def test_control_regions_in_and_out():
    inside, outside = profiled(), profiled(include_control_regions=False)
    assert outside.parameters.names == ("SRhigh-0", "SRhigh-1", "SRlow-0")
    assert set(outside.parameters.names) < set(inside.parameters.names)
    assert not any("VR" in name for name in inside.parameters.names)


def test_a_signal_that_the_background_absorbs_is_refused():
    with pytest.raises(LikelihoodError, match=r"\['SR'\] does not depend on the signal.*include_control_regions"):
        ProfiledLikelihood.from_workspace(absorbed(), include_control_regions=False)
    assert ProfiledLikelihood.from_workspace(absorbed()).parameters.names == ("CR-0", "SR-0")


def test_bounds_end_where_the_nominal_yield_does():
    likelihood = profiled()
    np.testing.assert_allclose(likelihood.parameters.lower, [-117.0, -74.0, -15.0, -6.5, -21.0])
    below = np.zeros((1, 5))
    below[0, 3] = -6.6
    assert likelihood.logpdf(below)[0] == -np.inf
    with pytest.raises(
        DomainError, match=r"1 of 2 points .*, the first is point 1: SRhigh-1=-6\.6 outside \[-6\.5, inf\]"
    ):
        likelihood.fit(np.concatenate([0 * below, below]))
    assert np.isfinite(likelihood.heads_logpdf([[-50.0, -20.0, -5.0, -3.0, -9.0]])).all()


def test_a_point_at_which_no_fit_can_begin_is_told_by_its_bin():
    """Within the bounds, where the background stands at 0.7 of its nominal value at first: 5 events in SRhigh-1."""
    document = search()
    document["measurements"][0]["config"]["parameters"].append({"name": "mu_top", "inits": [0.7]})
    likelihood = ProfiledLikelihood.from_workspace(document)
    point = np.zeros((2, 5))
    point[1, likelihood.parameters.index("SRhigh-1")] = -6.0
    assert likelihood.support(point).tolist() == [True, False]
    with pytest.raises(DomainError, match=r"1 of 2 points cannot be fitted, .* point 1, .*start: -1 in SRhigh-1; take"):
        likelihood.fit(point)


def test_a_fit_that_fails_is_no_label(monkeypatch):
    likelihood, yields = profiled(), some_signals(profiled())
    monkeypatch.setattr(source, "maximise_nuisances", partial(source.maximise_nuisances, max_iterations=1))
    monkeypatch.setattr(source, "STEPS", (1,))
    labels = likelihood.label(yields)
    assert not labels.ok.any()
    assert labels.reason[0].startswith("fit observed: iterations")
    with pytest.raises(NotConverged, match="4 of 4 fits failed") as caught:
        likelihood.logpdf(yields)
    assert (caught.value.evidence.status[:, 0] == "iterations").all()


def test_saved_loaded_and_spread_over_processes(tmp_path):
    likelihood, yields = profiled(), some_signals(profiled(), 5)
    likelihood.save(tmp_path / "p")
    again = ProfiledLikelihood.load(tmp_path / "p")
    assert again.fingerprint == likelihood.fingerprint
    np.testing.assert_array_equal(again.heads_logpdf(yields), likelihood.heads_logpdf(yields))
    with pytest.raises(ParameterError, match="not saved by itself"):
        likelihood.select("expected").save(tmp_path / "one")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(likelihood)).logpdf(yields), likelihood.logpdf(yields))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        spread = likelihood.fit(yields, executor=executor)
    np.testing.assert_array_equal(spread.value, likelihood.fit(yields).value)


def test_signals_of_a_patch_set():
    likelihood = profiled()
    signal = {"name": "s", "data": [3.0], "modifiers": []}
    found = likelihood.signals_from_patchset({"p": [{"op": "add", "path": "/channels/1/samples/0", "value": signal}]})
    assert found["p"][likelihood.parameters.index("SRlow-0")] == 3.0
    assert found["p"].sum() == 3.0


# Real searches ------------------------------------------------------------------------------------------------------

needs_data = pytest.mark.skipif(
    DATA is None, reason="needs DNNLIKELIHOOD_DATA, a folder with likelihoods/ of ATLAS from HEPData"
)
REAL = {
    "2018-31-A": "ATLAS-SUSY-2018-31_RegionA_BkgOnly",
    "2018-31-C": "ATLAS-SUSY-2018-31_RegionC_BkgOnly",
    "2018-04": "ATLAS-SUSY-2018-04_Region-combined_BkgOnly",
    "2019-08": "ATLAS-SUSY-2019-08_BkgOnly",
}
VALLEYS = {("2018-04", True), ("2018-04", False), ("2019-08", False)}
"""Searches, and whether their control regions are included, of which pyhf misses the highest maximum."""


@needs_data
@pytest.mark.parametrize("name", ["2018-31-A", *(pytest.param(n, marks=pytest.mark.slow) for n in list(REAL)[1:])])
@pytest.mark.parametrize("include", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_real_searches_are_never_above_pyhf(name, include):
    """Where several valleys compete pyhf may end in a higher one (VALLEYS): ours is the lower or the same."""
    path = Path(DATA) / "likelihoods" / f"{REAL[name]}.json"
    likelihood = ProfiledLikelihood.from_workspace(path, include_control_regions=include)
    rng = np.random.default_rng(2)
    counts = likelihood.source.data["observed"].counts
    yields = rng.exponential(size=(2, len(counts))) * np.sqrt(counts + 1.0)
    ours = -likelihood.heads_logpdf(yields)
    for row, mine in zip(yields, ours, strict=True):
        document = with_signal(likelihood, row, "mu_SIG")
        model = pyhf_model(document, "mu_SIG")
        for h, head in enumerate(("observed", "expected")):
            theirs = pyhf_nll(model, pyhf_data(model, document, head, None))
            assert mine[h] < theirs + 1e-5
            if (name, include) not in VALLEYS:
                assert mine[h] > theirs - 1e-2


@needs_data
@pytest.mark.slow
def test_weak_signals_of_a_real_search_have_no_jumps():
    """Two valleys of 2018-04 compete where a signal begins: a jump of the profile is a maximum that was missed."""
    likelihood = ProfiledLikelihood.from_workspace(Path(DATA) / "likelihoods" / f"{REAL['2018-04']}.json")
    signals = np.array([[6.2, 2.9, 14.7, 10.3, 10.4], [4.4, 3.8, 12.1, 15.0, 7.6]])
    mu = np.linspace(0.0, 1.2, 241)
    for signal in signals:
        value, gradient = likelihood.select("observed").logpdf_and_grad(mu[:, None] * signal)
        slope = gradient @ signal
        least, most = np.sort([slope[1:], slope[:-1]], axis=0) * np.diff(mu)
        assert (np.diff(value) > least - 1e-3).all()
        assert (np.diff(value) < most + 1e-3).all()


@needs_data
def test_a_real_search_that_its_background_absorbs_is_refused():
    import tarfile

    with tarfile.open(Path(DATA) / "likelihoods" / "ATLAS-SUSY-2018-31_likelihoods_with_patches.tar.gz") as tar:
        document = json.load(tar.extractfile("RegionB/BkgOnly.json"))
    with pytest.raises(LikelihoodError, match="does not depend on the signal"):
        ProfiledLikelihood.from_workspace(document, include_control_regions=False)
    assert len(ProfiledLikelihood.from_workspace(document).parameters) == 2
