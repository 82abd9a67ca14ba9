"""The fourth head, Asimov data of the signal: pyhf's q0, closed forms, derivatives; Spey; a surrogate; refusals."""

import json
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner
from workspaces import counting, random_workspace, search

import dnnlikelihood
from dnnlikelihood import Inference, ProfiledLikelihood
from dnnlikelihood.cli import main
from dnnlikelihood.errors import ParameterError, ShapeError
from dnnlikelihood.sources.histfactory_workspace import within_regions

pyhf = pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")

MODIFIERS = [{"type": "normfactor", "name": "mu", "data": None}, {"type": "lumi", "name": "lumi", "data": None}]


@cache
def profiled(name="search"):
    document = {"search": search, "counting": counting}.get(name, lambda: random_workspace(int(name)))()
    return ProfiledLikelihood.from_workspace(document, discovery=True)


def some_signals(likelihood, n=4, size=3.0):
    return np.random.default_rng(5).exponential(size, size=(n, len(likelihood.parameters)))


def pyhf_model(likelihood, yields):
    """pyhf's model and data of a signal in every region."""
    document = json.loads(likelihood.source.arguments["workspace"])
    lumi = any(m["type"] == "lumi" for c in document["channels"] for s in c["samples"] for m in s["modifiers"])
    names = likelihood.parameters.names
    cut = within_regions(document, sorted({name.rpartition("-")[0] for name in names}))
    for channel in cut["channels"]:
        data = [float(y) for n, y in zip(names, yields, strict=True) if n.rpartition("-")[0] == channel["name"]]
        background = [s for s in channel["samples"] if "mu" not in [m["name"] for m in s["modifiers"]]]
        signal = {"name": "bsm", "data": data, "modifiers": MODIFIERS if lumi else MODIFIERS[:1]}
        channel["samples"] = [signal, *background]
    spec = {"channels": cut["channels"], "parameters": document["measurements"][0]["config"]["parameters"]}
    model = pyhf.Model(spec, poi_name="mu", validate=False)
    return model, pyhf.Workspace(cut, validate=False).data(model)


@pytest.fixture
def precise():
    """pyhf with an optimiser whose tolerance is small enough to compare."""
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-10, maxiter=100000))
    yield
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer())


@pytest.mark.parametrize("name", ["counting", "search", "2"])
def test_observed_and_expected_p0_are_those_of_pyhf(precise, name):
    likelihood = profiled(name)
    signals = some_signals(likelihood, 2)
    found, expected = (
        ask(signals) for ask in (Inference(likelihood).discovery, Inference(likelihood).expected_discovery)
    )
    for i, row in enumerate(signals):
        model, data = pyhf_model(likelihood, row)
        p0, bands = pyhf.infer.hypotest(0.0, data, model, test_stat="q0", return_expected_set=True)
        assert found.p0[i] == pytest.approx(float(p0), abs=1e-4)
        assert expected.p0[i] == pytest.approx(float(bands[2]), abs=1e-4)
    assert (expected.status == "converged").all()
    assert (expected.error == 0).all()


@pytest.mark.parametrize("mu", [1.0, 2.5])
def test_one_bin_in_closed_form(mu):
    """Z of s on b +- sigma (G. Cowan's formula), with the background as data and signal together prefer it."""
    likelihood, (n, b, tau) = profiled("counting"), (7.0, 5.0, 25.0)
    s = np.array([0.5, 2.0, 9.0])
    half = n + tau - mu * s * (tau + b) / b
    scale = (half + np.sqrt(half**2 + 4 * (tau + b) * tau * mu * s / b)) / (2 * (tau + b))
    rate, spread = scale * b, scale * b / np.sqrt(scale * tau)
    total, square = mu * s + rate, spread**2
    first = total * np.log(total * (rate + square) / (rate**2 + total * square))
    second = rate**2 / square * np.log(1 + square * mu * s / (rate * (rate + square)))
    found = Inference(likelihood).expected_discovery(s[:, None], mu)
    np.testing.assert_allclose(found.significance, np.sqrt(2 * (first - second)), rtol=1e-5)
    np.testing.assert_array_equal(found.muhat, mu)


@pytest.mark.parametrize("name", ["counting", "search"])
def test_the_gradient_is_that_of_the_value(name):
    one = profiled(name).select("asimov_signal")
    x, h = some_signals(profiled(name), 3), 1e-3
    _, gradient = one.logpdf_and_grad(x)
    steps = h * np.eye(x.shape[1])
    numerical = np.stack([(one.logpdf(x + e) - one.logpdf(x - e)) / (2 * h) for e in steps], axis=1)
    np.testing.assert_allclose(gradient, numerical, atol=2e-5)


def test_no_signal_is_described_perfectly_and_any_other_worse():
    likelihood = profiled()
    column = likelihood.heads.index("asimov_signal")
    assert abs(likelihood.null_logpdf[column]) < 1e-9
    signals = some_signals(likelihood)
    assert (likelihood.heads_logpdf(signals)[:, column] < 0).all()
    best = likelihood.maximum_along(signals)
    np.testing.assert_allclose(best.mu[:, column], 1.0)
    np.testing.assert_array_equal(best.value[:, column], 0.0)
    assert likelihood.fit(signals).converged.all()


def test_the_other_heads_and_recipes_without_it_are_what_they_were(tmp_path):
    plain, more = ProfiledLikelihood.from_workspace(search()), profiled()
    signals = some_signals(plain)
    np.testing.assert_array_equal(plain.heads_logpdf(signals), more.heads_logpdf(signals)[:, :3])
    assert "discovery" not in plain.recipe["arguments"]
    more.save(tmp_path / "more")
    np.testing.assert_array_equal(ProfiledLikelihood.load(tmp_path / "more").null_logpdf, more.null_logpdf)


def test_without_the_head_there_is_no_answer():
    plain = ProfiledLikelihood.from_workspace(counting())
    assert Inference(plain).discovery([[2.0]]).status[0] == "converged"
    with pytest.raises(ParameterError, match="no head 'asimov_signal'"):
        Inference(plain).expected_discovery([[2.0]])
    with pytest.raises(ShapeError, match="positive"):
        Inference(profiled("counting")).expected_discovery([[2.0]], 0.0)


# Spey ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spey(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEY_CHECKUPDATE", "OFF")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        spey = pytest.importorskip("spey", reason="needs pip install 'dnnlikelihood[spey]'")
        spey.set_log_level(0)
        yield spey


def test_spey_answers_q0(spey):
    likelihood = profiled()
    signal = some_signals(likelihood)[1]
    model = spey.get_backend("dnnlikelihood.profiled")(model=likelihood, signal_yields=signal.tolist())
    expected, observed, pvalues, _ = model.significance()
    inference = Inference(likelihood)
    assert expected == pytest.approx(inference.expected_discovery(signal).significance[0], abs=1e-6)
    assert observed == pytest.approx(inference.discovery(signal).significance[0], abs=1e-3)
    assert pvalues[0] == pytest.approx(inference.discovery(signal).p0[0], abs=1e-3)
    missing = spey.system.exceptions.MethodNotAvailable
    with pytest.raises(missing, match=r"not at 0\.5"):
        model.backend.get_logpdf_func(data=model.backend.expected_data([1.0]))([0.5])
    with pytest.raises(missing, match="mu = 2"):
        model.backend.expected_data([2.0])
    with pytest.raises(missing, match="before any fit"):
        model.significance(expected=spey.ExpectationType.apriori)
    # the other questions are answered as without the head
    assert model.exclusion_confidence_level()[0] == pytest.approx(1 - inference.cls(signal).cls[0], abs=1e-5)


# Learned --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_learned_with_one_option(spey, tmp_path):
    """From the command line to Spey's significance from the published file."""
    (tmp_path / "search.json").write_text(json.dumps(counting(observed=9.0)))
    words = ["learn", tmp_path / "search.json", "--discovery", "--output", tmp_path / "run", "--no-progress", "--json"]
    result = CliRunner().invoke(main, [str(w) for w in words])
    assert result.exit_code == 0, result.output
    published = dnnlikelihood.open(tmp_path / "run" / "model")
    truth = ProfiledLikelihood.from_workspace(tmp_path / "search.json", discovery=True)
    assert published.heads == truth.heads
    assert "--discovery" in (tmp_path / "run" / "model" / "README.md").read_text("utf-8")
    signals = np.array([[1.0], [4.0], [7.0]])
    ours, exact = (Inference(d).expected_discovery(signals) for d in (published, truth))
    np.testing.assert_allclose(ours.significance, exact.significance, atol=0.02)
    assert (np.abs(ours.significance - exact.significance) <= 3 * ours.error).all()
    model = spey.get_backend("dnnlikelihood.profiled")(model=tmp_path / "run" / "model", signal_yields=[4.0])
    assert model.significance()[0] == pytest.approx(exact.significance[1], abs=0.02)
