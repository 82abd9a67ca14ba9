"""From a workspace to a file for SModelS: yields, uncertainties and regions come from the workspace itself."""

import copy
import json

import numpy as np
import pytest
from click.testing import CliRunner
from counting_surrogate import counting_ensemble
from olll_files import BACKGROUND, COUNTS, REACH, SOURCE, UNCERTAINTY
from workspaces import search

from dnnlikelihood.cli import main
from dnnlikelihood.errors import ConfigError, StaleArtifact
from dnnlikelihood.integrations.olll import export_olll, read_olll
from dnnlikelihood.integrations.smodels import NNAdapter

pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")
BINS = ("CR-0", "SR-0", "SR-1")
ORDER = [2, 0, 1]


def channel(name, background, uncertainty):
    modifier = {"name": f"uncertainty_{name}", "type": "shapesys", "data": uncertainty}
    return {"name": name, "samples": [{"name": "background", "data": background, "modifiers": [modifier]}]}


@pytest.fixture(scope="module")
def workspace():
    channels = [channel("SR", BACKGROUND[:2], UNCERTAINTY[:2]), channel("CR", BACKGROUND[2:], UNCERTAINTY[2:])]
    observations = [{"name": "SR", "data": COUNTS[:2]}, {"name": "CR", "data": COUNTS[2:]}]
    measurements = [{"name": "search", "config": {"poi": "", "parameters": []}}]
    return {"channels": channels, "observations": observations, "measurements": measurements, "version": "1.0.0"}


@pytest.fixture(scope="module")
def likelihood(workspace):
    from dnnlikelihood.profiled import ProfiledLikelihood

    return ProfiledLikelihood.from_workspace(workspace)


def learned(likelihood, reach, **options):
    from dnnlikelihood.dnnlik import DnnLik, DnnLikConfig

    ensemble = counting_ensemble(likelihood, reach, **options)
    return DnnLik(ensemble, likelihood.parameters, likelihood.prior, likelihood.kind, DnnLikConfig())


@pytest.fixture(scope="module")
def dnnlik(likelihood):
    assert likelihood.parameters.names == BINS
    return learned(likelihood, REACH[ORDER])


def exported(folder, document, *options):
    """Run `dnnlik export --flavour olll` of the surrogate in `folder` with a workspace."""
    (folder / "workspace.json").write_text(json.dumps(document))
    (folder / "analysis.json").write_text(json.dumps(SOURCE))
    words = ["export", folder / "dnnlik", "--flavour", "olll", "--source", folder / "workspace.json"]
    words += ["--output", folder / "search.onnx", "--name", "search", "--author", "Somebody"]
    return CliRunner().invoke(main, [str(w) for w in [*words, "--analysis", folder / "analysis.json", *options]])


def test_the_file_describes_the_workspace(tmp_path, likelihood, dnnlik):
    path = tmp_path / "search.onnx"
    report = export_olll(dnnlik, likelihood, path, name="search", author="Somebody", source=SOURCE)
    assert report.valid
    found = read_olll(path)
    assert found.metadata["channels"] == {"SR": "SR", "CR": "CR"}
    assert list(found.yields("obs_yields").values()) == [COUNTS[i] for i in ORDER]
    assert list(found.yields("bkg_yields").values()) == [COUNTS[2], *BACKGROUND[:2]]
    np.testing.assert_allclose(list(found.yields("bkg_unc").values()), [UNCERTAINTY[i] for i in ORDER], rtol=1e-9)
    answer = NNAdapter(path.read_bytes()).predict(
        {"CR-0": 4.0, "SR-0": 3.0, "SR-1": 2.0}, yields_are_signal_yields=True
    )
    exact = -likelihood.heads_logpdf(np.array([[4.0, 3.0, 2.0]]))[0]
    for name, column in (("nll_obs_1", 0), ("nll_exp_1", 1), ("nllA_exp_1", 1), ("nllA_obs_1", 2)):
        assert answer[name] == pytest.approx(exact[column], abs=0.02)


def test_what_readers_would_refuse_is_not_left_behind(tmp_path, likelihood, dnnlik):
    path = tmp_path / "search.onnx"
    with pytest.raises(ConfigError, match="source"):
        export_olll(dnnlik, likelihood, path, name="search", author="Somebody", source={"analysis_id": "only"})
    assert not path.exists()
    with pytest.raises(ConfigError, match="inputs"):
        export_olll(dnnlik.rename({"CR-0": "CR-1"}), likelihood, path, name="search", author="S", source=SOURCE)


def another(workspace, what):
    """The workspace of another experiment with the same bins."""
    other = copy.deepcopy(workspace)
    if what == "observations":
        for observation in other["observations"]:
            observation["data"] = [n + 10 for n in observation["data"]]
    else:
        background = other["channels"][0]["samples"][0]
        changed = background if what == "background" else background["modifiers"][0]
        changed["data"] = [1.1 * number for number in changed["data"]]
    return other


@pytest.mark.parametrize("what", ["observations", "background", "uncertainty"])
def test_another_workspace_with_the_same_bins_is_refused(tmp_path, workspace, likelihood, dnnlik, what):
    from dnnlikelihood.profiled import ProfiledLikelihood

    other, path = ProfiledLikelihood.from_workspace(another(workspace, what)), tmp_path / "search.onnx"
    assert other.parameters.names == likelihood.parameters.names
    numbers = f"observed: surrogate {likelihood.null_logpdf[0]:.4f}, likelihood {other.null_logpdf[0]:.4f}"
    with pytest.raises(StaleArtifact, match=numbers) as error:
        export_olll(dnnlik, other, path, name="search", author="Somebody", source=SOURCE)
    assert "Give the workspace that it was learned from" in str(error.value)
    assert not path.exists()
    assert export_olll(dnnlik, likelihood, path, name="search", author="Somebody", source=SOURCE).valid


def test_one_head_alone_is_refused(tmp_path, likelihood, dnnlik):
    with pytest.raises(ConfigError, match="one without heads"):
        export_olll(
            dnnlik, likelihood.select("observed"), tmp_path / "a.onnx", name="a", author="Somebody", source=SOURCE
        )


def test_on_the_command_line(tmp_path, workspace, dnnlik):
    dnnlik.save(tmp_path / "dnnlik")
    refused = exported(tmp_path, another(workspace, "observations"))
    assert refused.exit_code == 2
    assert "has learned other data" in refused.output
    assert not (tmp_path / "search.onnx").exists()
    result = exported(tmp_path, workspace, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["problems"] == []
    assert read_olll(tmp_path / "search.onnx").bins == BINS
    again = exported(tmp_path, workspace)
    assert again.exit_code == 2
    assert "exists" in again.output


@pytest.mark.parametrize(
    ("chosen", "options", "channels"),
    [
        ({"include_control_regions": False}, ["--no-control-regions"], {"SRhigh": "SR", "SRlow": "SR"}),
        (
            {"signal_regions": ["SRlow", "VRtop"]},
            ["--signal-regions", "SRlow, VRtop"],
            {"CRtop": "CR", "SRhigh": "CR", "SRlow": "SR", "VRtop": "SR"},
        ),
    ],
    ids=["no control regions", "a validation region"],
)
def test_regions_as_they_were_learned(tmp_path, chosen, options, channels):
    from dnnlikelihood.profiled import ProfiledLikelihood

    truth = ProfiledLikelihood.from_workspace(search(), **chosen)
    learned(truth, np.full(len(truth.parameters), 5.0), rows=300).save(tmp_path / "dnnlik")
    refused = exported(tmp_path, search())
    assert refused.exit_code == 2
    for part in (f"has {len(truth.parameters)} inputs", "--signal-regions", "--no-control-regions"):
        assert part in refused.output
    assert not (tmp_path / "search.onnx").exists()
    result = exported(tmp_path, search(), *options)
    assert result.exit_code == 0, result.output
    found = read_olll(tmp_path / "search.onnx")
    assert found.bins == truth.parameters.names
    assert found.metadata["channels"] == channels


def test_options_that_have_no_place_in_the_file_are_refused(tmp_path, workspace, dnnlik):
    dnnlik.save(tmp_path / "dnnlik")
    result = exported(tmp_path, workspace, "--definition", "of all", "--command", "dnnlik learn")
    assert result.exit_code == 2
    assert "--definition, --command: an OLLL file has no place for it" in " ".join(result.output.split())
    assert not (tmp_path / "search.onnx").exists()


def test_regions_where_they_mean_nothing(tmp_path, workspace, likelihood, dnnlik):
    likelihood.save(tmp_path / "likelihood")
    dnnlik.save(tmp_path / "dnnlik")
    saved = ("--source", str(tmp_path / "likelihood"))
    for options in (["--no-control-regions"], ["--signal-regions", "SR"]):
        folder = exported(tmp_path, workspace, "--flavour", "folder", *options)
        assert folder.exit_code == 2
        assert "--flavour olll" in folder.output
        twice = exported(tmp_path, workspace, *saved, *options)
        assert twice.exit_code == 2
        assert "has its regions" in twice.output
    assert not (tmp_path / "search.onnx").exists()
    result = exported(tmp_path, workspace, *saved)
    assert result.exit_code == 0, result.output
