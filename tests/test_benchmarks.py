"""The benchmarks run, write what the format asks for, and fail where their model is absent."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from contracts import toy

HERE = Path(__file__).parent.parent / "benchmarks"
MODEL = HERE.parent / "saved_models" / "toy_lhc"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def run(*arguments):
    command = [sys.executable, str(HERE / arguments[0]), *arguments[1:]]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)


def checked(path):
    document = json.loads(path.read_text("utf-8"))
    jsonschema.validate(document, json.loads((HERE / "results.schema.json").read_text("utf-8")))
    for claim in document["claims"]:
        lower = claim["better"] == "lower"
        reached = claim["value"] <= claim["target"] if lower else claim["value"] >= claim["target"]
        assert claim["met"] == reached
    return document


def test_the_toy_benchmark_measures_every_row(tmp_path):
    model = ["--model", str(MODEL)] if MODEL.exists() else []
    done = run("toy_lhc.py", "--smoke", "--output", str(tmp_path), *model)
    assert done.returncode == 0, done.stderr[-3000:]
    document = checked(tmp_path / "toy_lhc.json")
    assert document["area"] == "toy_lhc"
    claims = " / ".join(c["claim"] for c in document["claims"])
    for words in (
        *("HPDI edges of mu, mu > -1", "HPDI edges of mu, mu > 0", "68.27%", "95.45%", "99.73%"),
        *("Mean |t_mu error|", "Largest |t_mu error|", "Error of the maximum", "Test RMSE", "CPU seconds of training"),
        *("Training points", "Parameters of a network", "plain loop", "vectorised", "Prediction", "simplified"),
    ):
        assert words in claims


@pytest.mark.slow
def test_the_activations_run(tmp_path):
    done = run("activations.py", "--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert {c["claim"].split()[-1] for c in checked(tmp_path / "activations.json")["claims"]} == {"silu", "selu"}


@pytest.mark.slow
def test_the_published_files_are_measured(tmp_path):
    done = run("export.py", "--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    claims = " / ".join(c["claim"] for c in checked(tmp_path / "export.json")["claims"])
    for words in (
        *("from Python", "in C++", "over model.onnx", "sgemm", "of logpdf", "the gradient", "first evaluation"),
        *("99th percentile", "other than the right one", "growth of its memory"),
    ):
        assert words in claims


@pytest.mark.slow
def test_labels_are_timed_beside_their_peers(tmp_path):
    pytest.importorskip("jax", reason="needs jax, of the extra bench")
    pytest.importorskip("pyhf")
    done = run("histfactory.py", "--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    *speeds, excess, converged = checked(tmp_path / "histfactory.json")["claims"]
    assert {"pyhf fixed_poi_fit (NumPy, SLSQP)", "jax compiled once, L-BFGS-B"} == {c["peer"] for c in speeds}
    assert excess["met"]
    assert converged["met"]


@pytest.mark.slow
@pytest.mark.skipif(
    "DNNLIKELIHOOD_DATA" not in os.environ, reason="needs DNNLIKELIHOOD_DATA, with likelihoods/ of HEPData"
)
def test_the_accuracy_of_profiled_likelihoods_is_measured(tmp_path):
    done = run("histfactory_accuracy.py", "--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    claims = checked(tmp_path / "histfactory_accuracy.json")["claims"]
    words = " / ".join(c["claim"] for c in claims)
    for expected in (
        "slides' sampling",
        "real signals",
        "unseen signals",
        "upper limit on mu",
        "evaluation of 1000",
        "training",
    ):
        assert expected in words
    beside = [c for c in claims if c["peer"] == "simplified likelihood"]
    assert len(beside) == 3
    assert all(c["peer_value"] > 10 * c["value"] for c in beside)


def test_an_absent_model_fails(tmp_path):
    done = run("toy_lhc.py", "--smoke", "--output", str(tmp_path), "--model", str(tmp_path / "nothing"))
    assert done.returncode != 0
    assert "MissingArtifact" in done.stderr
    assert not (tmp_path / "toy_lhc.json").exists()


@pytest.mark.parametrize("path", sorted((HERE / "results").glob("*.json")), ids=lambda p: p.stem)
def test_committed_results_follow_the_format(path):
    document = checked(path)
    assert document["area"] == path.stem
    assert not document["commit"].endswith("+changes"), "measured on code that was not committed"


def test_the_plain_loop_is_the_same_function(rng):
    """The opponent computes what we compute."""
    from plain_loop import plain_logpdf

    theta = rng.normal(size=(200, 95)) * 0.8
    theta[:, 0] = rng.uniform(-1.2, 2, 200)
    plain = np.array([plain_logpdf()(row) for row in theta[:3]] + [plain_logpdf()(row) for row in theta[3:]])
    ours = toy().logpdf(theta)
    assert (~np.isfinite(ours)).sum() > 5
    np.testing.assert_array_equal(np.isfinite(plain), np.isfinite(ours))
    np.testing.assert_allclose(plain[np.isfinite(ours)], ours[np.isfinite(ours)], rtol=0, atol=1e-9)


def test_a_claim_is_met_on_the_right_side():
    from report import Claim

    claim = Claim(claim="a sentence of words", value=1.0, unit="", target=2.0, how="by hand, for the test")
    assert claim.met
    assert not replace(claim, better="higher").met
    assert not replace(claim, value=3.0).met
    assert replace(claim, value=3.0, better="higher").met


def test_a_result_that_breaks_the_format_is_not_written(tmp_path):
    from report import Claim, write

    bad = Claim(claim="a sentence of words", value=1.0, unit="", target=2.0, better="sideways", how="by hand, here")
    with pytest.raises(jsonschema.ValidationError):
        write("area", [bad], 0.0, 1.0, tmp_path)
    assert not list(tmp_path.iterdir())


def test_errors_of_edges_vanish_on_the_exact_posterior(rng):
    """Draws from the integrated posterior itself give the edges of the table, within their standard errors."""
    from toy_lhc import edge_errors

    path = HERE.parent / "dnnlikelihood" / "reference" / "toy_lhc_exact_mu_posterior.csv"
    grid, logs = np.loadtxt(path, delimiter=",", skiprows=1).T
    fine = np.linspace(grid[0], grid[-1], 20001)
    density = np.exp(np.interp(fine, grid, logs) - logs.max())
    cumulative = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    mu = np.interp(rng.uniform(size=100_000), cumulative / cumulative[-1], fine)
    for error, standard, _ in edge_errors(mu, len(mu)).values():
        assert error < 5 * standard + 0.004
    shifted = edge_errors(mu + 0.1, len(mu))
    assert min(error for error, _, _ in shifted.values()) > 0.05


@pytest.mark.slow
def test_the_discriminants_run(tmp_path):
    done = run("discriminants.py", "--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    claims = " / ".join(c["claim"] for c in checked(tmp_path / "discriminants.json")["claims"])
    for words in ("synthetic example in 8 bins", "CPU seconds", "two signals", "86 nuisances", "pyhf"):
        assert words in claims


@pytest.mark.slow
def test_the_benchmarks_of_inferno_run(tmp_path):
    done = run("inferno.py", "--smoke", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    claims = " / ".join(c["claim"] for c in checked(tmp_path / "inferno.json")["claims"])
    for words in (*(f"benchmark {b} in 10 bins, efficient" for b in range(5)), "INFERNO trained here", "pyhf"):
        assert words in claims


@pytest.mark.slow
def test_the_events_of_atlas_run(tmp_path):
    if "DNNLIKELIHOOD_DATA" not in os.environ:
        pytest.skip("set DNNLIKELIHOOD_DATA to the folder with discriminants/atlas-higgs-challenge-2014-v2...")
    done = run("higgsml.py", "--smoke", "--output", str(tmp_path), "--figures", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    claims = checked(tmp_path / "higgsml.json")["claims"]
    told = [f"{name}, told of the finite simulation" for name in ("sannt", "kernel-histogram", "inferno")]
    names = ["efficient-score", "sannt", "kernel-histogram", "inferno", *told]
    assert [c["claim"].split(": ")[-1] for c in claims[:-1]] == names
    assert all("demonstration" in c["how"] for c in claims[:-1])
    assert claims[-1]["met"]
    assert {"higgsml_scans.png", "higgsml_impacts.png", "higgsml_templates.png"} <= {p.name for p in tmp_path.iterdir()}
