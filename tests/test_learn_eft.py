"""The generated effective-theory search from nothing to a published model: small here, in full when slow tests run."""

import json

import numpy as np
import pytest

import dnnlikelihood
from dnnlikelihood.active import ActiveConfig
from dnnlikelihood.cli import main
from dnnlikelihood.data import Data
from dnnlikelihood.errors import ConfigError
from dnnlikelihood.jsonfiles import read_json
from dnnlikelihood.learn_eft import LearnEftConfig, learn_eft
from dnnlikelihood.profiled import ProfiledLikelihood

SMALL = LearnEftConfig(
    active=ActiveConfig(n_first=2500, n_rounds=1, n_posterior=400, n_minimisers=200, n_starts=16, n_shown=150_000),
    n_shown=400_000, n_members=1, n_test=1000, n_own=200, held_out=0.5, own=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def truth():
    return ProfiledLikelihood.from_eft()


@pytest.fixture(scope="module")
def run(truth, tmp_path_factory):
    return learn_eft(truth, tmp_path_factory.mktemp("eft") / "run", config=SMALL, progress=False)


@pytest.mark.slow
def test_it_is_learned_published_and_verified(run, truth):
    assert run.verified.passed
    assert run.passed, run.summary["targets"]
    assert read_json(run.folder / "summary.json") == run.summary
    published = dnnlikelihood.open(run.folder / "model")
    tests = Data.load(run.folder / "rows_test")
    inside = published.in_domain(tests.theta())
    off = np.abs(published.logpdf(tests.theta()[inside]) - tests.logpdf()[inside])
    row = next(r for r in run.summary["accuracy"] if r["where"] == "held out")
    assert off.mean() == pytest.approx(row["mean"], rel=1e-3)
    assert row["rmse"] < 0.2 * row["baseline_rmse"]
    assert len(published.metadata["output"]["profiled"]) == len(truth.source.nuisances)


@pytest.mark.slow
def test_nothing_is_tested_on_that_was_learned_from(run):
    learned = {tuple(t) for folder in run.folder.glob("active/rows_*") for t in Data.load(folder).theta()}
    for folder in ("rows_test", "rows_1", "rows_2"):
        assert not learned & {tuple(t) for t in Data.load(run.folder / folder).theta()}
    assert {"own posterior", "own profile minimisers"} <= {r["where"] for r in run.summary["accuracy"]}


@pytest.mark.slow
def test_fits_are_counted_by_purpose(run, truth):
    fits, labels = run.summary["fits"], sum(len(Data.load(f)) for f in run.folder.glob("active/rows_*"))
    assert fits["labels"] == pytest.approx(labels, abs=5), "a few rows repeat valleys"
    assert fits["search for valleys"] > 500
    assert run.summary["n_fits"] == sum(fits.values()) < truth.n_fits


@pytest.mark.slow
def test_valleys_and_rounds_are_said(run, truth):
    valleys = run.summary["valleys"]
    assert len(valleys["truth"]["logpdf"]) >= 3, "the generated search has several minima"
    np.testing.assert_allclose(truth.logpdf(valleys["truth"]["theta"]), valleys["truth"]["logpdf"], atol=1e-8)
    nearest = np.abs(np.subtract(valleys["surrogate"]["theta"][0], valleys["truth"]["theta"])).max(axis=1)
    width = np.ptp(valleys["truth"]["theta"], axis=0).max()
    assert nearest.min() < 0.1 * width
    assert [r["n_rows"] for r in run.summary["rounds"]] == [2500 + len(valleys["truth"]["logpdf"])]


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="quick nor full"):
        LearnEftConfig.preset("slow")
    with pytest.raises(ConfigError, match="n_test"):
        LearnEftConfig(n_test=3)


def test_a_reference_may_be_given_and_the_file_is_what_is_wrong(tmp_path):
    from click.testing import CliRunner

    (tmp_path / "fit.json").write_text("{}")
    arguments = [
        "learn",
        "eft",
        str(tmp_path / "fit.json"),
        "--reference",
        "a paper",
        "--output",
        str(tmp_path / "run"),
    ]
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 2
    assert "'schema' is a required property" in found.output


@pytest.mark.slow
def test_the_quick_preset_on_the_command_line(tmp_path):
    from click.testing import CliRunner

    arguments = ["learn", "eft", "--preset", "quick", "--output", str(tmp_path / "eft"), "--json", "--no-progress"]
    found = json.loads(CliRunner().invoke(main, arguments).stdout)
    share = {r["where"]: r["within"] for r in found["accuracy"]}
    assert share["held out"] > 0.95
    assert found["verified"]
