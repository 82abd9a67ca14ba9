"""From a profiled likelihood to a published, verified model, in one call, against its closed form."""

import numpy as np
import pytest
from contracts import gaussian
from profiled_gaussian import ProfiledGaussian

import dnnlikelihood
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.errors import ConfigError, MissingArtifact, StaleArtifact
from dnnlikelihood.export.verify import verify
from dnnlikelihood.jsonfiles import read_json
from dnnlikelihood.learn import learn
from dnnlikelihood.learn_profiled import LearnProfiledConfig, about_valleys, learn_profiled
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig
from dnnlikelihood.parameters import Parameter, ParameterSpace

TRUTH = ProfiledGaussian(fails=1.7)
NETWORK = DnnLikConfig(
    network=NetworkConfig(widths=(48, 48), n_members=2), training=TrainingConfig(n_epochs=25, batch_size=64)
)
CONFIG = LearnProfiledConfig(n_labels=5000, model=NETWORK, target=0.1)
SIGNALS = np.random.default_rng(9).uniform(0.0, 1.0, size=(40, 3))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return learn_profiled(
        TRUTH, tmp_path_factory.mktemp("learn") / "run", config=CONFIG, held_out={"signals": SIGNALS}, name="two-heads",
        profiled=["nu"], progress=False,
    )  # fmt: skip


def test_it_is_learned_published_and_verified(run):
    assert run.passed, (run.summary["targets"], [r.detail for r in run.verified.rows if r.status == "failed"])
    published = dnnlikelihood.open(run.folder / "model")
    assert published.heads == ("observed", "asimov")
    off = np.abs(published.heads_logpdf(SIGNALS) - TRUTH.heads_logpdf(SIGNALS))
    row = next(r for r in run.summary["accuracy"] if (r["where"], r["head"]) == ("signals", "asimov"))
    assert off[:, 1].mean() == pytest.approx(row["mean"], abs=1e-4)
    null = np.zeros(3)
    assert (published.heads_logpdf(null) == TRUTH.heads_logpdf(null)).all()
    assert published.metadata["output"]["profiled"] == ["nu"]
    assert [h["data"] for h in published.metadata["output"]["heads"]] == ["observed", "asimov"]


def test_what_was_not_learned_from_is_said(run):
    summary = read_json(run.folder / "summary.json")
    assert summary == run.summary
    assert summary["failed_fits"]["not converged"] > 0
    places = {r["where"] for r in summary["accuracy"]}
    assert {"held out", "held out, delta_nll < 10", "signals"} <= places
    covered = [r["covered"] for r in summary["coverage"]]
    assert 0.8 < np.mean(covered) <= 1.0
    assert {p.stem for p in (run.folder / "plots").iterdir()} >= {"loss", "labels", "residuals_observed"}
    assert "`asimov`" in (run.folder / "model" / "README.md").read_text("utf-8")


def test_again_it_repeats_nothing_and_another_request_is_refused(run, monkeypatch):
    def refuse(*_):
        raise AssertionError("labels and points are there already")

    again = ProfiledGaussian(fails=1.7)
    monkeypatch.setattr(again, "label", refuse)
    same = learn_profiled(
        again,
        run.folder,
        config=CONFIG,
        held_out={"signals": SIGNALS},
        name="two-heads",
        profiled=["nu"],
        progress=False,
    )
    assert same.model.fingerprint == run.model.fingerprint
    with pytest.raises(StaleArtifact, match="holds another run"):
        learn_profiled(again, run.folder, config=CONFIG.replace(seed=2), progress=False)


def test_the_design_of_open_ended_inputs_is_the_callers():
    open_ended = ProfiledGaussian()
    rest = list(open_ended.parameters)[1:]
    open_ended.parameters = ParameterSpace((Parameter(name="c0", role="input", bounds=(0.0, np.inf)), *rest))
    with pytest.raises(ConfigError, match=r"no finite bounds for \['c0'\]: pass a design"):
        about_valleys(open_ended, 100, np.random.default_rng(0))
    theta = about_valleys(TRUTH, 501, np.random.default_rng(0))
    assert theta.shape == (501, 3)
    assert TRUTH.support(theta).all()


def test_each_chain_takes_its_own_kind(tmp_path):
    with pytest.raises(ConfigError, match="is a likelihood; learn_profiled takes a profiled one"):
        learn_profiled(gaussian(), tmp_path / "x")
    with pytest.raises(ConfigError, match="`learn_profiled` learns it"):
        learn(TRUTH, tmp_path / "x")
    with pytest.raises(ConfigError, match="n_labels is 500, must be at least 2000"):
        LearnProfiledConfig(n_labels=500)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_no_model_is_not_verified(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(MissingArtifact, match="is not a published model"):
        verify(tmp_path)
