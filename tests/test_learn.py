"""The whole chain, for real, on a likelihood small enough for a test."""

import numpy as np
import pytest

import dnnlikelihood
from dnnlikelihood import Likelihood
from dnnlikelihood.curriculum import LearnConfig, training_data
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.errors import ArtifactExists, ConfigError, SaveFailed, StaleArtifact
from dnnlikelihood.jsonfiles import read_json
from dnnlikelihood.learn import learn
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig

SMALL = LearnConfig(
    n_posterior=1500,
    n_broadened=500,
    n_profile=500,
    n_displaced=500,
    n_slices=500,
    n_test=1000,
    n_inference=20_000,
    n_chains=32,
    model=DnnLikConfig(
        network=NetworkConfig(widths=(32, 32), n_members=2), training=TrainingConfig(n_epochs=15, batch_size=64)
    ),
)


@pytest.fixture(scope="module")
def search():
    """A counting search of three correlated bins."""
    return Likelihood.from_source(
        "simplified",
        observed=[55, 28, 12],
        signal=[5.0, 6.0, 7.0],
        mean=[50.0, 25.0, 8.0],
        covariance=[[25.0, 8.0, 2.0], [8.0, 9.0, 1.5], [2.0, 1.5, 4.0]],
        third_moment=[30.0, 10.0, 5.0],
        mu_range=[-1.0, 5.0],
    )


@pytest.fixture(scope="module")
def learned(search, tmp_path_factory):
    return learn(search, tmp_path_factory.mktemp("learn") / "run", config=SMALL, name="search", progress=False)


def test_the_surrogate_answers_like_the_truth(learned, search):
    assert learned.verified.passed
    assert all(t["met"] for t in learned.summary["targets"]), learned.summary["targets"]
    assert learned.agreement.passed, learned.agreement.failures
    published = dnnlikelihood.open(learned.folder / "model")
    theta = published.reference()["theta"][:50]
    np.testing.assert_allclose(published.logpdf(theta), search.logpdf(theta), atol=0.2)


def test_the_folder_holds_what_was_promised(learned):
    summary = read_json(learned.folder / "summary.json")
    assert summary == learned.summary
    drawn = {p.stem for p in (learned.folder / "plots").iterdir()}
    assert {"tmu", "hpdi", "corner", "residuals", "loss", "search"} < drawn
    assert (learned.folder / "model" / "README.md").read_text("utf-8").count("plots/") >= 5
    for row in summary["hpdi"]:
        assert row["paper"] is None
        assert row["exact_is"] == "samples of the truth"


def test_a_second_call_continues_to_the_same_model(learned, search):
    again = learn(search, learned.folder, config=SMALL, name="search", progress=False)
    assert again.model.fingerprint == learned.model.fingerprint


def test_a_folder_of_something_else_is_refused(learned, search, tmp_path):
    with pytest.raises(StaleArtifact, match="another run"):
        learn(search, learned.folder, config=SMALL.replace(seed=2), progress=False)
    (tmp_path / "thesis.tex").write_text("do not lose me")
    with pytest.raises(StaleArtifact, match="not empty"):
        learn(search, tmp_path, config=SMALL, progress=False)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(StaleArtifact, match="not empty"):
        learn(search, tmp_path / "thesis.tex", config=SMALL, progress=False)
    with pytest.raises(SaveFailed, match="may write to"):
        learn(search, tmp_path / "thesis.tex" / "run", config=SMALL, progress=False)


def test_points_come_from_where_they_say(search):
    lesson = training_data(search, SMALL, progress=False)
    data = lesson.data
    kinds = data.kinds("train")
    mu = data.theta("train")[:, 0]
    assert set(kinds) == set(data.kinds("validation")) == {"posterior", "broadened", "profile", "displaced", "slices"}
    assert data.counts["validation"] == pytest.approx(0.06 * data.counts["train"], rel=0.05)
    assert np.unique(data.kinds("validation"), return_counts=True)[1].max() == SMALL.n_validation
    assert np.std(mu[kinds == "broadened"]) > 1.5 * np.std(mu[kinds == "posterior"])
    near = data.logpdf("train")[kinds == "profile"].max()
    assert near > data.logpdf("train")[kinds == "posterior"].max() - 1.0
    assert lesson.profile.bestfit.value[0] >= near


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LearnConfig.preset("huge"), ConfigError, "neither"),
        (lambda: LearnConfig(n_posterior=1), ConfigError, "n_posterior"),
        (lambda: LearnConfig(strength=1.0), ConfigError, "strength"),
    ],
)
def test_bad_configurations(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_publishing_does_not_overwrite_unasked(learned, search):
    about = {"name": "search", "description": "x", "definition": "x", "command": "x"}
    theta = learned.model.ensemble.domain.center + np.zeros((100, 1))
    with pytest.raises(ArtifactExists):
        learned.model.export(learned.folder / "model", points=(theta, search.logpdf(theta)), **about)
    with pytest.raises(ConfigError, match="at least 100"):
        learned.model.export(learned.folder / "new", points=(theta[:5], search.logpdf(theta[:5])), **about)
