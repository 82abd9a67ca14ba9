"""HistFactory workspaces: pyhf's logpdf, constants and all, for every modifier type; and what is refused."""

import copy
import gzip
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from workspaces import counting, data_driven, modifier, random_workspace, sample, search, workspace

from dnnlikelihood import Inference, Likelihood
from dnnlikelihood.errors import CorruptFile, MissingArtifact, MissingDependency, ParameterError, SchemaError
from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sources.histfactory_model import compile_model
from dnnlikelihood.sources.histfactory_patches import patched, signals_of
from dnnlikelihood.sources.histfactory_workspace import regions
from dnnlikelihood.sources.histfactory_yields import Yields

pyhf = pytest.importorskip("pyhf")
DATA = os.environ.get("DNNLIKELIHOOD_DATA")
OURS = {"search": search, "data_driven": data_driven, "counting": counting}
OURS |= {f"random {seed}": (lambda seed=seed: random_workspace(seed)) for seed in range(6)}
REAL = [
    "ATLAS-SUSY-2018-04_Region-combined_BkgOnly",
    "ATLAS-SUSY-2018-31_RegionA_BkgOnly",
    "ATLAS-SUSY-2018-31_RegionC_BkgOnly",
    "ATLAS-SUSY-2019-08_BkgOnly",
    "ATLAS-SUSY-2019-08_simplify_BkgOnly",
]


def pyhf_model(workspace):
    declared = {m["name"] for c in workspace["channels"] for s in c["samples"] for m in s["modifiers"]}
    config = workspace["measurements"][0]["config"]
    poi = config["poi"] if config["poi"] in declared else None
    spec = {"channels": workspace["channels"], "parameters": config["parameters"]}
    model = pyhf.Model(spec, poi_name=poi, validate=False)
    return model, pyhf.Workspace(workspace, validate=False).data(model)


def random_points(model, n, seed):
    """(n, all) points within pyhf's bounds, fixed parameters at their values; and which are free."""
    rng = np.random.default_rng(seed)
    config = model.config
    start, fixed = np.array(config.suggested_init()), np.array(config.suggested_fixed())
    low, high = np.array(config.suggested_bounds()).T
    spread = np.where(low == -5.0, 1.2, 0.15) * (high - low > 0.5) + 0.01
    points = np.clip(start + spread * rng.normal(size=(n, len(start))), low, high)
    points[:, fixed] = start[fixed]
    return points, ~fixed


def assert_like_pyhf(workspace, n=150):
    density = Likelihood.from_workspace(workspace)
    model, data = pyhf_model(workspace if isinstance(workspace, dict) else json.loads(Path(workspace).read_text()))
    points, free = random_points(model, n, 7)
    assert density.parameters.names == tuple(np.array(model.config.par_names)[free])
    with np.errstate(invalid="ignore"):
        theirs = np.array([float(model.logpdf(p, data)[0]) for p in points])
    ours = density.logpdf(points[:, free])
    possible = ~np.isnan(theirs)
    assert possible.sum() >= 50
    np.testing.assert_allclose(ours[possible], theirs[possible], rtol=0, atol=1e-9)
    assert (ours[~possible] == -np.inf).all()


@pytest.mark.parametrize("name", OURS)
def test_logpdf_is_that_of_pyhf(name):
    assert_like_pyhf(OURS[name]())


@pytest.mark.parametrize("name", REAL)
@pytest.mark.skipif(DATA is None, reason="needs DNNLIKELIHOOD_DATA, a folder with likelihoods/ of ATLAS from HEPData")
def test_logpdf_is_that_of_pyhf_on_real_workspaces(name):
    assert_like_pyhf(Path(DATA) / "likelihoods" / f"{name}.json")


@pytest.mark.skipif(DATA is None, reason="needs DNNLIKELIHOOD_DATA, a folder with likelihoods/ of ATLAS from HEPData")
def test_logpdf_is_that_of_pyhf_on_a_workspace_among_its_patches():
    with tarfile.open(Path(DATA) / "likelihoods" / "ATLAS-SUSY-2018-31_likelihoods_with_patches.tar.gz") as tar:
        assert_like_pyhf(json.load(tar.extractfile("RegionB/BkgOnly.json")))


def test_a_histosys_that_moves_nothing_is_a_constraint_alone():
    document = search()
    for sample_ in document["channels"][0]["samples"]:
        same = {"lo_data": sample_["data"], "hi_data": sample_["data"]}
        sample_["modifiers"].append({"name": "idle", "type": "histosys", "data": same})
    assert_like_pyhf(document)
    density = Likelihood.from_workspace(document)
    theta = np.tile(compile_model(document).start, (2, 1))
    theta[1, density.parameters.index("idle")] = 1.5
    np.testing.assert_allclose(np.diff(density.logpdf(theta)), -0.5 * 1.5**2, atol=1e-12)


def test_the_comparison_sees_a_wrong_number():
    """Negative control: one factor changed by a per mille."""
    wrong = search()
    wrong["channels"][0]["samples"][1]["modifiers"][3]["data"]["hi"] *= 1.001
    right, (model, data) = Likelihood.from_workspace(search()), pyhf_model(wrong)
    points, free = random_points(model, 5, 1)
    theirs = np.array([float(model.logpdf(p, data)[0]) for p in points])
    assert np.abs(right.logpdf(points[:, free]) - theirs).max() > 1e-6


def test_roles_bounds_and_starts_are_those_of_the_workspace():
    space = Likelihood.from_workspace(search()).parameters
    assert space.pois == ("mu",)
    assert space["lumi"].bounds == (0.9, 1.1)
    assert space["energy"].bounds == (-5.0, 5.0)
    assert "fake_rate[1]" in space.names
    assert Likelihood.from_workspace(search()).prior.terms["lumi"].sigma == 0.02
    fixed = Likelihood.from_workspace(data_driven())
    assert not {"lumi", "eff"} & set(fixed.parameters.names)


def test_tmu_is_that_of_pyhf():
    density = Likelihood.from_workspace(search())
    model, data = pyhf_model(search())
    mu = np.array([0.3, 1.0, 2.0])
    best = pyhf.infer.mle.fit(data, model, return_fitted_val=True)[1]
    theirs = [float(pyhf.infer.mle.fixed_poi_fit(m, data, model, return_fitted_val=True)[1] - best) for m in mu]
    np.testing.assert_allclose(Inference(density).tmu("mu", mu, progress=False).tmu, theirs, atol=2e-5)


def test_a_counting_experiment_in_closed_form():
    """One bin, one Poisson auxiliary measurement: mu-hat = n - b, gamma-hat = 1."""
    density = Likelihood.from_workspace(counting())
    fit = Inference(density).mle()
    np.testing.assert_allclose(dict(zip(density.parameters.names, fit.theta[0], strict=True))["mu"], 2.0, atol=1e-5)


def test_saved_and_loaded(tmp_path):
    density = Likelihood.from_workspace(search())
    density.save(tmp_path / "search")
    again = Likelihood.load(tmp_path / "search")
    start = np.array([[p.start for p in density.parameters]])
    assert again.fingerprint == density.fingerprint
    np.testing.assert_array_equal(again.logpdf(start), density.logpdf(start))


# Derivatives of the yields ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_derivatives_of_the_yields_against_differences(name):
    model = compile_model(OURS[name]())
    yields, k, d = Yields(model), len(model.names), len(model.bins)
    rng = np.random.default_rng(3)
    spread = np.where(model.lower == -5.0, 1.2, 0.05) * (model.upper - model.lower > 0.5) + 1e-3
    nu = np.clip(model.start + spread * rng.normal(size=(4, k)), model.lower, model.upper)
    x, weights, h = rng.uniform(0, 5, size=(4, d)), rng.normal(size=(4, d)), 1e-5
    expected, jacobian = yields.jacobian(x, nu)
    np.testing.assert_allclose(expected, yields.expected(x, nu), rtol=1e-13)
    shifts = h * np.eye(k)
    slopes = [(yields.expected(x, nu + s) - yields.expected(x, nu - s)) / (2 * h) for s in shifts]
    np.testing.assert_allclose(jacobian, np.stack(slopes, axis=2), rtol=0, atol=1e-7 * np.abs(jacobian).max())
    pull = lambda at: (weights[:, None] @ yields.jacobian(x, at)[1])[:, 0]
    bends = np.stack([(pull(nu + s) - pull(nu - s)) / (2 * h) for s in shifts], axis=2)
    np.testing.assert_allclose(yields.curvature(x, nu, weights), bends, rtol=0, atol=2e-6 * np.abs(bends).max())
    by_input = [(yields.expected(x + s, nu) - yields.expected(x - s, nu)) / (2 * h) for s in h * np.eye(d)]
    np.testing.assert_allclose(yields.inputs_jacobian(x, nu), np.stack(by_input, axis=2), rtol=0, atol=1e-7)


def test_a_normalisation_of_zero_has_a_slope():
    model = compile_model(search())
    yields, column = Yields(model), model.names.index("mu_top")
    nu = model.start[None].copy()
    nu[0, column] = 0.0
    _, jacobian = yields.jacobian(np.zeros((1, 6)), nu)
    nu[0, column] = 1.0
    one = yields.expected(np.zeros((1, 6)), nu)
    nu[0, column] = 0.0
    np.testing.assert_allclose(jacobian[0, :, column], (one - yields.expected(np.zeros((1, 6)), nu))[0], rtol=1e-12)


# Reading and refusing -----------------------------------------------------------------------------------------------


def test_paths_text_patches_and_patch_sets(tmp_path):
    document = search()
    (tmp_path / "w.json").write_text(json.dumps(document))
    (tmp_path / "w.json.gz").write_bytes(gzip.compress(json.dumps(document).encode()))
    for source in (tmp_path / "w.json", str(tmp_path / "w.json.gz"), json.dumps(document), document):
        assert patched(source) == document
    double = [{"op": "replace", "path": "/channels/0/samples/0/data", "value": [8.0, 12.0]}]
    assert patched(document, double)["channels"][0]["samples"][0]["data"] == [8.0, 12.0]
    digest = pyhf.utils.digest(document)
    patches = {
        "metadata": {"digests": {"sha256": digest}},
        "patches": [{"metadata": {"name": "double", "values": [2]}, "patch": double}],
    }
    assert patched(document, patches, "double") == patched(document, double)
    with pytest.raises(SchemaError, match=r"no patch 'dubble'.*double"):
        patched(document, patches, "dubble")
    patches["metadata"]["digests"]["sha256"] = "0" * 64
    with pytest.raises(SchemaError, match="another workspace"):
        patched(document, patches, "double")
    with pytest.raises(SchemaError, match="does not fit"):
        patched(document, [{"op": "remove", "path": "/channels/9"}])


def broken(change):
    document = copy.deepcopy(search())
    change(document)
    return document


def sr(document):
    return document["channels"][0]["samples"][1]


BAD = {
    "no JSON object": ([1, 2], "JSON object"),
    "newer schema": (broken(lambda d: d.update(version="2.0.0")), "pyhf's schema"),
    "version no text": (broken(lambda d: d.update(version=2)), "workspace: version 2 is none of pyhf's schema"),
    "no channels": ({"version": "1.0.0"}, "pyhf's schema"),
    "unknown modifier": (broken(lambda d: sr(d)["modifiers"].append(modifier("warp", "w"))), "unknown modifier 'warp'"),
    "negative count": (broken(lambda d: d["observations"][0].update(data=[-1.0, 4.0])), "'SRhigh' bin 0: observed -1"),
    "negative yield": (broken(lambda d: sr(d).update(data=[12.0, -50.0])), "bin 1.*yield of all samples"),
    "NaN": (broken(lambda d: sr(d).update(data=[12.0, float("nan")])), "bin 1.*nan"),
    "huge count": (
        broken(lambda d: d["observations"][0].update(data=[10**320, 4])),
        "/observations/0/data/0: .* beyond",
    ),
    "huge yield": (
        broken(lambda d: sr(d).update(data=[12, -(10**320)])),
        "/channels/0/samples/1/data/1: the number is beyond 1.8e.308",
    ),
    "huge factor": (
        broken(lambda d: sr(d)["modifiers"].append(modifier("normsys", "x", {"lo": 1, "hi": 10**320}))),
        "/data/hi: the number is beyond",
    ),
    "huge start": (
        broken(lambda d: d["measurements"][0]["config"]["parameters"][0].update(inits=[10**320])),
        "/measurements/0/config/parameters/0/inits/0: the number is beyond",
    ),
    "sample twice": (
        broken(lambda d: sr(d).update(name="signal")),
        "channel 'SRhigh' has 2 samples 'signal'; give each its own name",
    ),
    "number of bins": (broken(lambda d: sr(d).update(data=[12.0])), "'top' of channel 'SRhigh' has 1 bins"),
    "bins of an observation": (broken(lambda d: d["observations"][0].update(data=[1.0])), "its observation 1"),
    "name of an observation": (broken(lambda d: d["observations"][0].update(name="SRx")), "must be the same"),
    "factor of zero": (
        broken(lambda d: sr(d)["modifiers"].append(modifier("normsys", "x", {"lo": 0.0, "hi": 1.1}))),
        "'x'.*must be numbers > 0",
    ),
    "bins of a histosys": (
        broken(lambda d: sr(d)["modifiers"].append(modifier("histosys", "x", {"lo_data": [1.0], "hi_data": [2.0]}))),
        "needs 2 finite numbers",
    ),
    "negative uncertainty": (
        broken(lambda d: sr(d)["modifiers"].append(modifier("shapesys", "x", [-1.0, 1.0]))),
        "must be >= 0",
    ),
    "name used twice": (
        broken(lambda d: sr(d)["modifiers"].append(modifier("normfactor", "energy"))),
        "pyhf makes no model",
    ),
    "start outside the bounds": (
        broken(lambda d: d["measurements"][0]["config"]["parameters"][0].update(inits=[2.0])),
        "'lumi': starts at 2",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_workspace(name):
    document, message = BAD[name]
    with pytest.raises(SchemaError, match=message):
        Likelihood.from_workspace(document)


@pytest.mark.parametrize(
    "metadata",
    [[1], None, {"digests": [1]}, {"digests": None}, {"digests": {"foo": "x"}}, {"digests": {"shake_128": "x"}}],
    ids=["list", "null", "list of digests", "no digests", "unknown digest", "digest without a length"],
)
def test_metadata_that_name_no_workspace(metadata):
    steps = [{"op": "replace", "path": "/channels/0/samples/0/data", "value": [8.0, 12.0]}]
    patches = {"metadata": metadata, "patches": [{"metadata": {"name": "double"}, "patch": steps}]}
    with pytest.raises(SchemaError, match=r"metadata of a patch set .* got .*(1|None|x)"):
        patched(search(), patches, "double")


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingArtifact, match="no file"):
        Likelihood.from_workspace(tmp_path / "nothing.json")
    (tmp_path / "half.json").write_text('{"channels": [')
    with pytest.raises(CorruptFile):
        Likelihood.from_workspace(tmp_path / "half.json")
    (tmp_path / "torn.json.gz").write_bytes(gzip.compress(b"{}" * 100)[:-9])
    with pytest.raises(CorruptFile):
        Likelihood.from_workspace(tmp_path / "torn.json.gz")
    with pytest.raises(SchemaError, match="no measurement 'other'"):
        Likelihood.from_workspace(search(), measurement="other")


def test_pyhf_is_asked_for_by_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyhf", None)
    with pytest.raises(MissingDependency, match=r"dnnlikelihood\[histfactory\]"):
        Likelihood.from_workspace(search())


def test_regions_by_name():
    assert regions(search()) == (["SRhigh", "SRlow"], ["CRtop"])
    assert regions(search(), ["SRlow"]) == (["SRlow"], ["SRhigh", "CRtop"])
    with pytest.raises(ParameterError, match="SRx"):
        regions(search(), ["SRx"])
    without = search()
    for part in (*without["channels"], *without["observations"]):
        part["name"] = part["name"].replace("SR", "A")
    with pytest.raises(ParameterError, match="none begins with 'SR'"):
        regions(without)


def test_signals_are_matched_by_region():
    """Patches count channels as the workspace has them, after those that they remove."""
    patch = [
        {"op": "add", "path": "/channels/2/samples/0", "value": {"name": "s", "data": [0.5, 0.25], "modifiers": []}},
        {"op": "remove", "path": "/channels/0"},
        {"op": "add", "path": "/channels/0/samples/-", "value": {"name": "s", "data": [3.0], "modifiers": []}},
        {"op": "add", "path": "/channels/0/samples/-", "value": {"name": "t", "data": [1.0], "modifiers": []}},
    ]
    names = ["SRlow-0", "CRtop-0", "CRtop-1", "SRhigh-0"]
    ((name, found),) = signals_of({"point": patch}, search(), names)
    assert name == "point"
    assert found.tolist() == [4.0, 0.5, 0.25, 0.0]
    with pytest.raises(SchemaError, match="holds no signal"):
        list(signals_of({"empty": []}, search(), names))
    patch[0]["value"]["data"] = [1.0]
    with pytest.raises(SchemaError, match="'CRtop' has 2 bins"):
        list(signals_of({"point": patch}, search(), names))


EMPTY = {
    "one bin of two": {"SR": ([5.0, 0.0], [4.0, 0.0])},
    "of a control region": {"SR": ([5.0], [4.0]), "CR": ([50.0, 0.0], [52.0, 0.0])},
    "the signal region": {"SR": ([0.0], [0.0]), "CR": ([50.0], [52.0])},
}


@pytest.mark.parametrize("where", EMPTY)
@pytest.mark.parametrize("free", [False, True], ids=["constrained", "free normalisation"])
def test_bins_without_background_and_events_say_nothing_until_there_is_a_signal(where, free):
    """As pyhf has it, whichever way the steps are computed."""
    scale = [modifier("normsys", "scale", {"lo": 0.9, "hi": 1.1})]
    scale += [modifier("normfactor", "k")] if free and "CR" in EMPTY[where] else []
    document = workspace(
        {name: [sample("background", bins, *scale)] for name, (bins, _) in EMPTY[where].items()},
        {name: seen for name, (_, seen) in EMPTY[where].items()},
    )
    truth = ProfiledLikelihood.from_workspace(document)
    model = pyhf.Workspace(document).model(poi_name=None)
    best = pyhf.infer.mle.fit(pyhf.Workspace(document).data(model), model, return_fitted_val=True)[1]
    assert truth.null_logpdf[0] == pytest.approx(-best.item() / 2, abs=1e-5)
    signal = np.full((1, len(truth.parameters)), 1.5)
    fit = truth.fit(signal)
    assert fit.converged.all()
    step = 1e-4 * np.eye(len(truth.parameters))
    up, down = (truth.heads_logpdf(signal + s * step) for s in (1, -1))
    np.testing.assert_allclose(truth.label(signal).gradient[0], ((up - down) / 2e-4).T, atol=1e-5)
