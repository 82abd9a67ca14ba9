"""SModelS itself, reading a file of ours through our adapter, beside the truth that the file was made from."""

import json
import os
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from olll_files import BACKGROUND, COUNTS, SIGNAL, SOURCE, UNCERTAINTY, truth, written

from dnnlikelihood.errors import SafetyError, ShapeError
from dnnlikelihood.integrations import smodels as ours
from dnnlikelihood.statistics.limits import hypotest, upper_limits
from dnnlikelihood.statistics.signals import along

PATCH = "patch.sbottom_1300_205_60"


@pytest.fixture(scope="module")
def nn():
    """SModelS's neural-network interface with our adapter in the place of the one that its package lacks."""
    pytest.importorskip("smodels", reason="needs pip install 'dnnlikelihood[smodels]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        ours.enable()
        from smodels.statistics import nnInterface

        yield nnInterface


def database_entry(nn, content, regions, signal):
    """As SModelS makes it from its database: regions, a file next to the entry, and the signal of each region."""
    info = SimpleNamespace(
        id="ENTRY-2026-01", cachedModels={"model.onnx": content}, regionMappings=regions, includeCRs=True, lumi=1.0
    )
    data = SimpleNamespace(globalInfo=info, origdatasets=[SimpleNamespace(getID=lambda n=n: n) for n in regions])
    return nn.NNUpperLimitComputer(nn.NNData(signal, data), onnxfilename="model.onnx")


@pytest.fixture(scope="module")
def computer(nn):
    regions = {name: {"onnx": name, "type": "CR" if name == "CR" else "SR"} for name in ("SRlow", "SRhigh", "CR")}
    return database_entry(nn, written(), regions, {name.removesuffix("-0"): y for name, y in SIGNAL.items()})


@pytest.fixture(scope="module")
def exact():
    curves = along(truth(), list(SIGNAL.values()))
    return SimpleNamespace(test=hypotest(curves), limit=upper_limits(curves))


def test_the_adapter_is_where_smodels_looks(nn):
    from smodels.statistics.hep_olll.nnAdapter import NNAdapter

    assert NNAdapter is ours.NNAdapter
    ours.enable()
    assert sys.modules["smodels.statistics.hep_olll.nnAdapter"].NNAdapter is ours.NNAdapter


def test_negative_log_likelihoods(computer):
    for mu in (0.5, 1.0, 2.0):
        theta = mu * np.array(list(SIGNAL.values()))[None]
        values = dict(zip(truth().heads, -truth().heads_logpdf(theta)[0], strict=True))
        found = computer._actual_nll(mu)
        assert found["nll_obs_1"] == pytest.approx(values["observed"], abs=0.02)
        assert found["nll_exp_1"] == pytest.approx(values["expected"], abs=0.02)
        assert found["nllA_obs_1"] == pytest.approx(values["asimov_observed"], abs=0.02)
        assert 0 < found["sigma_obs"] < 0.05


def test_upper_limits_and_cls(nn, computer, exact):
    assert computer.getUpperLimitOnMu() == pytest.approx(exact.limit.observed[0], rel=0.01)
    assert computer.getUpperLimitOnMu(evaluationType=nn.aposteriori) == pytest.approx(
        exact.limit.expected[0, 2], rel=0.01
    )
    assert computer.CLs(1.0) == pytest.approx(exact.test.cls[0], abs=0.005)


def test_the_same_as_pyhf(computer):
    """The chain to the end: pyhf fits the workspace, SModelS reads the network."""
    pyhf = pytest.importorskip("pyhf")
    pyhf.set_backend("numpy")
    model = pyhf.simplemodels.uncorrelated_background(list(SIGNAL.values()), BACKGROUND, UNCERTAINTY)
    data = COUNTS + model.config.auxdata
    assert computer.CLs(1.0) == pytest.approx(
        float(pyhf.infer.hypotest(1.0, data, model, test_stat="qtilde")), abs=0.005
    )
    limit, _ = pyhf.infer.intervals.upper_limits.toms748_scan(data, model, 0, 5, rtol=1e-3)
    assert computer.getUpperLimitOnMu() == pytest.approx(float(limit), rel=0.01)


def test_the_best_fit(computer, exact):
    assert computer.nll_min(allowNegativeSignals=False)["muhat"] == pytest.approx(exact.limit.muhat[0], abs=0.02)


@pytest.mark.skipif(
    "DNNLIKELIHOOD_DATA" not in os.environ, reason="needs DNNLIKELIHOOD_DATA, with likelihoods/ of HEPData"
)
def test_an_atlas_search_is_excluded_where_pyhf_says(nn, tmp_path):
    """The published model as SModelS reads it: at its upper limit pyhf's own fits give CL_s = 0.05."""
    pyhf = pytest.importorskip("pyhf")
    from test_profiled import pyhf_model, with_signal

    import dnnlikelihood
    from dnnlikelihood.integrations.olll import export_olll
    from dnnlikelihood.profiled import ProfiledLikelihood

    archive = (
        Path(os.environ["DNNLIKELIHOOD_DATA"]) / "likelihoods" / "ATLAS-SUSY-2018-31_likelihoods_with_patches.tar.gz"
    )
    with tarfile.open(archive) as inside:
        workspace, patch = (json.load(inside.extractfile(f"RegionA/{n}.json")) for n in ("BkgOnly", PATCH))
    truth = ProfiledLikelihood.from_workspace(workspace)
    signal = truth.signals_from_patchset({"signal": patch})["signal"]
    model = dnnlikelihood.open(Path(__file__).parents[2] / "saved_models" / "atlas_susy_2018_31_a")
    export_olll(model, truth, tmp_path / "model.onnx", name="a", author="Somebody", source=SOURCE)
    bins = {f"{channel}[{i}]": channel for channel, i in (n.rsplit("-", 1) for n in truth.parameters.names)}
    regions = {b: {"onnx": b, "type": "SR" if channel.startswith("SR") else "CR"} for b, channel in bins.items()}
    yields = dict(zip(bins, signal, strict=True))
    found = database_entry(nn, (tmp_path / "model.onnx").read_bytes(), regions, yields)
    limit = found.getUpperLimitOnMu()
    document = with_signal(truth, limit * signal, "mu_SIG")
    theirs = pyhf_model(document, "mu_SIG")
    data = pyhf.Workspace(document, validate=False).data(theirs)
    assert float(pyhf.infer.hypotest(1.0, data, theirs, test_stat="qtilde")) == pytest.approx(0.05, abs=5e-4)
    assert found.CLs(limit) == pytest.approx(0.05, abs=1e-3)


def test_errors_of_the_surrogate_move_the_limit_a_little(computer):
    up, down = (computer.getUpperLimitOnMu(pmSigma=s) for s in (1, -1))
    middle = computer.getUpperLimitOnMu()
    assert min(up, down) < middle < max(up, down)
    assert abs(up - down) < 0.1 * middle


# The adapter by itself ------------------------------------------------------------------------------------------------


def test_signal_yields_and_total_yields_are_told_apart():
    adapter = ours.NNAdapter(written(), "counting.onnx")
    zero = adapter.onnxMeta["bkg_yields"]
    total = adapter.predict({name: zero[name] + y for name, y in SIGNAL.items()})
    assert adapter.predict(SIGNAL, yields_are_signal_yields=True) == pytest.approx(total)
    nothing = adapter.without_signal()
    assert nothing["nll_obs_1"] == nothing["nll_obs_0"]


@pytest.mark.parametrize(
    "change",
    [
        {"SRlow-0": None},
        {"other-0": 1.0},
        {"SRlow-0": np.nan},
        {"SRlow-0": "a"},
        {"SRlow-0": [1.0]},
        {"SRlow-0": 10**320},
    ],
    ids=["less", "more", "nan", "text", "list", "huge"],
)
def test_yields_that_do_not_match(change):
    yields = {name: y for name, y in {**SIGNAL, **change}.items() if y is not None}
    with pytest.raises(ShapeError):
        ours.NNAdapter(written()).predict(yields)


@pytest.mark.parametrize("yields", [None, 1.0, list(SIGNAL.values())], ids=["none", "number", "list"])
def test_yields_without_names(yields):
    with pytest.raises(ShapeError, match="by the names of bins"):
        ours.NNAdapter(written()).predict(yields)


def test_unsafe_files_are_not_run():
    import onnx

    model = onnx.load_model_from_string(written())
    for entry in model.metadata_props:
        if entry.key == "bkg_yields":
            entry.value = "exec('1')"
    with pytest.raises(SafetyError):
        ours.NNAdapter(model)


def test_preprocessing_of_other_producers():
    """Pipelines that we never write, against their definitions."""
    x, mean, std = np.array([3.0, -2.0]), np.array([0.5, 0.1]), np.array([2.0, 0.7])
    found = ours._forward(["log_w_negatives", "standardization"], x, mean, std)
    np.testing.assert_allclose(found, (np.sign(x) * np.log(1 + np.abs(x)) - mean) / std)
    for operations, forward in (
        (["log_w_negatives", "standardization"], lambda v: (np.sign(v) * np.log1p(abs(v)) - 0.2) / 1.3),
        (["asinh", "standardization"], lambda v: (np.arcsinh(v / 4.0) - 0.2) / 1.3),
        (["log"], np.log),
    ):
        y = forward(2.5)
        value, slope = ours._backward(operations, y, 0.2, 1.3, 4.0)
        assert value == pytest.approx(2.5)
        h = 1e-6
        assert slope == pytest.approx(2 * h / (forward(2.5 + h) - forward(2.5 - h)), rel=1e-6)
