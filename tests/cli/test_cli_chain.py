"""Sample, label, train, export, verify, infer, agree and card, for real, on a Gaussian whose answers are known."""

import json
import shutil

import numpy as np
import pytest

from dnnlikelihood.curriculum import LearnConfig
from dnnlikelihood.dnnlik import DnnLik, DnnLikConfig
from dnnlikelihood.inference import Inference
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig
from dnnlikelihood.sampler import Sampler
from dnnlikelihood.sampling.ensemble import Move

SHORT = ("--n-chains", 32, "--n-steps", 300)


def answer(result):
    """What `--json` printed: the whole of stdout is one document."""
    return json.loads(result.stdout)


def test_sampling_again_reads_and_more_steps_continue(run, chain, tmp_path):
    shutil.copytree(chain / "samples", tmp_path / "samples")
    again = answer(run("sample", chain / "likelihood", "--output", tmp_path / "samples", *SHORT, "--json"))
    assert (again["passed"], again["n_steps"], again["n_parameters"]) == (True, 300, 2)
    first = Sampler.load(chain / "samples").samples.chains
    more = ("--n-chains", 32, "--n-steps", 320)
    assert answer(run("sample", chain / "likelihood", "--output", tmp_path / "samples", *more, "--json"))["converged"]
    np.testing.assert_array_equal(Sampler.load(tmp_path / "samples").samples.chains[:300], first)


def test_chains_too_short_fail_and_are_kept(run, tmp_path):
    few = ("--n-chains", 4, "--n-steps", 8)
    result = run("sample", "gaussian", "--output", tmp_path / "s", *few, code=1)
    assert "not converged" in result.stdout
    assert Sampler.load(tmp_path / "s").samples.chains.shape == (8, 4, 2)


def test_sampling_options_reach_the_sampler(run, tmp_path):
    few = ("--method", "emcee", "--n-chains", 16, "--n-steps", 40, "--n-warmup", 50, "--thin", 3, "--seed", 5)
    result = run("sample", "gaussian", "--output", tmp_path / "s", *few, "--json", code=1)
    c = Sampler.load(tmp_path / "s").config
    assert (c.method, c.n_steps, c.n_warmup, c.thin, c.seed) == ("emcee", 40, 50, 3, 5)
    assert answer(result)["n_chains"] == 16


def test_moves_of_emcee_are_chosen_and_mixed(run, tmp_path):
    few = ("--n-chains", 16, "--n-steps", 40, "--move", "stretch:1.3", "--move", "gaussian:0.2")
    run("sample", "gaussian", "--output", tmp_path / "s", "--method", "emcee", *few, code=1)
    assert Sampler.load(tmp_path / "s").config.moves == (Move.stretch(1.3), Move.gaussian(0.2))
    refused = run("sample", "gaussian", "--output", tmp_path / "t", *few, code=2)
    assert "hmc has no moves" in refused.stderr
    for bad, why in (("snooker", "none of"), ("de:2", "none of"), ("stretch:", "none of"), ("stretch:1", "a > 1")):
        refused = run("sample", "gaussian", "--output", tmp_path / "t", "--method", "emcee", "--move", bad, code=2)
        assert why in refused.stderr


def test_labels_are_split_and_have_gradients(run, chain):
    """The same command again reads what is there."""
    found = answer(run("label", chain / "recipe.json", chain / "samples", "--output", chain / "data", "--json"))
    assert found["gradient"]
    assert sum(found["splits"].values()) == found["rows"] > 5000


def test_training_options_reach_the_recipe(run, chain, tmp_path):
    options = ("--epochs", 2, "--members", 1, "--widths", "8,4", "--activation", "selu", "--seed", 7)
    rates = ("--batch-size", 512, "--learning-rate", 0.002)
    result = run("train", chain / "data", "--output", tmp_path / "m", "--preset", "paper", *options, *rates, "--json")
    model = DnnLik.load(tmp_path / "m")
    network, training = model.config.network, model.config.training
    assert (network.widths, network.activation, network.n_members) == ((8, 4), "selu", 1)
    assert (training.n_epochs, training.batch_size, training.learning_rate, training.seed) == (2, 512, 0.002, 7)
    assert model.config.baseline == "constant", "the recipe of the paper"
    assert [row["where"] for row in answer(result)["accuracy"]] == ["validation", "test"]


def test_the_trained_model_is_accurate_and_says_so(run, chain):
    metadata = answer(run("card", chain / "model", "--json"))
    (row,) = metadata["accuracy"]
    assert row["rmse"] < 0.01
    assert metadata["authors"] == [{"name": "Gauss, Carl Friedrich", "orcid": "0000-0000-0000-0000"}]
    assert metadata["source"]["recipe"]["source"] == "gaussian"
    assert len(metadata["coverage"]) == 5


def test_verify_passes_every_check(run, chain):
    found = answer(run("verify", chain / "model", "--trust", "--json"))
    assert found["passed"]
    assert {row["status"] for row in found["rows"]} == {"passed"}
    shown = run("verify", chain / "model").stdout
    assert "saved-model" in shown
    assert "skipped" in shown, "a SavedModel is not run unless trusted, and that is said"


def test_verify_says_what_it_tolerates(run, chain):
    assert answer(run("verify", chain / "model", "--json"))["tolerance"]["logpdf"] == 1e-5


def test_verify_one_file(run, chain, tmp_path):
    """A graph away from its folder is held against itself; in its folder against its hash too."""
    found = answer(run("verify", chain / "model" / "model_gradient.onnx", "--json"))
    assert {row["check"]: row["status"] for row in found["rows"]} == dict.fromkeys(
        ("hash", "graph", "onnxruntime", "differences"), "passed"
    )
    alone = shutil.copyfile(chain / "model" / "model.onnx", tmp_path / "model.onnx")
    status = {row["check"]: row["status"] for row in answer(run("verify", alone, "--json"))["rows"]}
    assert status == {"hash": "skipped", "graph": "passed", "onnxruntime": "passed", "differences": "skipped"}
    shutil.copytree(chain / "model", tmp_path / "model")
    with (tmp_path / "model" / "model.onnx").open("ab") as file:
        file.write(b"\n\0")
    assert "sha256 differs" in run("verify", tmp_path / "model" / "model.onnx", code=1).stdout


def test_an_edited_file_fails(run, chain, tmp_path):
    shutil.copytree(chain / "model", tmp_path / "model")
    with (tmp_path / "model" / "README.md").open("a") as file:
        file.write("better than it is\n")
    assert "README.md" in run("verify", tmp_path / "model", code=1).stdout
    for command in (("card",), ("infer", "--output", tmp_path / "a")):
        result = run(command[0], tmp_path / "model", *command[1:], code=1)
        assert "sha256 differs" in result.stderr
        assert not result.stdout
    assert not (tmp_path / "a").exists()


def test_the_papers_are_written_anew(run, chain, tmp_path):
    """From metadata.json alone, and the same as those that were published; an existing folder is left alone."""
    run("card", chain / "model", "--output", tmp_path / "papers")
    written = {p.relative_to(tmp_path / "papers").as_posix() for p in (tmp_path / "papers").rglob("*") if p.is_file()}
    assert written >= {"README.md", "CITATION.cff", ".zenodo.json", "hepdata.json"}
    for name in written:
        assert (tmp_path / "papers" / name).read_bytes() == (chain / "model" / name).read_bytes()
    assert "not replaced" in run("card", chain / "model", "--output", tmp_path / "papers", code=2).stderr


def test_the_card_is_plain_markdown_when_piped(run, chain):
    assert run("card", chain / "model").stdout == (chain / "model" / "README.md").read_text("utf-8").rstrip() + "\n"


@pytest.mark.parametrize("which", ["likelihood", "recipe.json", "dnnlik", "model"])
def test_truth_and_surrogates_answer_alike(run, chain, which, tmp_path):
    """HPDI 0.5 +- 1 and t = (x - 0.5)^2, from the same command for all four."""
    ask = ("--level", 0.6827, "--tmu", "-0.5:1.5:5", *SHORT)
    found = answer(run("infer", chain / which, "--output", tmp_path / "a", *ask, "--json"))
    assert found["poi"] == "x0"
    np.testing.assert_allclose(found["hpdi"][0]["intervals"], [[-0.5, 1.5]], atol=0.12)
    np.testing.assert_allclose(found["intervals"][0]["intervals"], [[-0.5, 1.5]], atol=0.01)
    np.testing.assert_allclose(found["tmu"]["tmu"], [1, 0.25, 0, 0.25, 1], atol=0.01)
    assert set(found["tmu"]["status"]) == {"converged"}
    assert "hpdi(x0, 0.6827)" in Inference.load(tmp_path / "a").answers


def test_samples_can_be_used_again_and_another_parameter_asked_for(run, chain, tmp_path):
    ask = ("--samples", chain / "samples", "--poi", "x1", "--lower", -1.0, "--level", 0.6827)
    result = run("infer", chain / "likelihood", "--output", tmp_path / "a", *ask)
    assert "HPDI of x1 given x1 > -1" in result.stdout
    assert "[-1.0000, -0.1" in result.stdout


def test_unconverged_answers_are_saved_and_fail(run, tmp_path):
    few = ("--n-chains", 4, "--n-steps", 8)
    result = run("infer", "gaussian", "--output", tmp_path / "a", *few, code=1)
    assert "FAILED  not converged" in result.stdout
    assert Inference.load(tmp_path / "a").answers


def test_agreement_passes_for_the_model_and_fails_for_another(run, chain):
    found = answer(run("agree", chain / "recipe.json", chain / "dnnlik", *SHORT, "--json"))
    assert found["passed"]
    assert found["regions"]["bulk"]["rmse"] < 0.01
    spoiled = run("agree", "gaussian", chain / "dnnlik", *SHORT, code=1)
    assert "FAILED  bulk" in spoiled.stdout
    assert "t_mu of x0" in spoiled.stdout


@pytest.fixture
def small_preset(monkeypatch):
    """The real chain with fewer points and smaller networks."""
    network = NetworkConfig(widths=(16, 16), n_members=2)
    small = LearnConfig(
        n_posterior=1500, n_broadened=500, n_profile=500, n_displaced=500, n_slices=500, n_test=1000,
        n_inference=20_000, n_chains=32,
        model=DnnLikConfig(network=network, training=TrainingConfig(n_epochs=8, batch_size=64)),
    )  # fmt: skip
    monkeypatch.setattr(LearnConfig, "preset", classmethod(lambda cls, name: small))


@pytest.mark.slow
def test_learn_shows_everything_and_overwrites_only_its_own(run, chain, tmp_path, small_preset):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "request.json").write_text('{"likelihood": {}, "config": {}}')
    (folder / "summary.json").write_text("of an earlier run")
    assert "holds another run" in run("learn", chain / "recipe.json", "--output", folder, code=2).stderr
    result = run("learn", chain / "recipe.json", "--output", folder, "--name", "gauss", "--overwrite")
    for title in ("HPDI of x0", "t_mu of x0", "Errors in nats", "Targets of the preset quick", "CPU seconds"):
        assert title in result.stdout
    assert str(folder / "model") in result.stdout
    assert "paper" not in result.stdout, "nothing was published about this likelihood"
    assert json.loads((folder / "summary.json").read_text())["name"] == "gauss"
