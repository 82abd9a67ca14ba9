"""From a workspace to a file for SModelS: yields, uncertainties and regions come from the workspace itself."""

import json

import numpy as np
import pytest
from counting_surrogate import counting_ensemble
from olll_files import BACKGROUND, COUNTS, REACH, SOURCE, UNCERTAINTY

from dnnlikelihood.errors import ConfigError
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


@pytest.fixture(scope="module")
def dnnlik(likelihood):
    from dnnlikelihood.dnnlik import DnnLik, DnnLikConfig

    assert likelihood.parameters.names == BINS
    ensemble = counting_ensemble(likelihood, REACH[ORDER])
    return DnnLik(ensemble, likelihood.parameters, likelihood.prior, likelihood.kind, DnnLikConfig())


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


def test_on_the_command_line(tmp_path, workspace, dnnlik):
    from click.testing import CliRunner

    from dnnlikelihood.cli import main

    dnnlik.save(tmp_path / "dnnlik")
    (tmp_path / "workspace.json").write_text(json.dumps(workspace))
    (tmp_path / "analysis.json").write_text(json.dumps(SOURCE))
    words = ["export", tmp_path / "dnnlik", "--flavour", "olll", "--source", tmp_path / "workspace.json"]
    words += ["--output", tmp_path / "search.onnx", "--name", "search", "--author", "Somebody"]
    result = CliRunner().invoke(main, [str(w) for w in [*words, "--analysis", tmp_path / "analysis.json", "--json"]])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["problems"] == []
    assert read_olll(tmp_path / "search.onnx").bins == BINS
    again = CliRunner().invoke(main, [str(w) for w in words])
    assert again.exit_code == 2
    assert "exists" in again.output
