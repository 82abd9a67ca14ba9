"""The metric tables: what they publish, what they measure on a small run, and that a run is kept."""

import json

import pytest

from dnnlikelihood import DnnLik
from dnnlikelihood.compare import CompareConfig, compare
from dnnlikelihood.curriculum import LearnConfig
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.errors import ConfigError, StaleArtifact
from dnnlikelihood.metrics import METRICS, Comparison
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig
from dnnlikelihood.reference.published import NETWORKS, figure, figures
from dnnlikelihood.sampler import SamplerConfig

SMALL = CompareConfig(
    sizes=(600,),
    width=16,
    n_members=2,
    n_epochs=2,
    s1=SamplerConfig(n_chains=100, n_steps=60, n_warmup=100, block=50),
    s2=SamplerConfig.paper_s2(n_chains=20, n_steps=60, block=50),
    resampling=SamplerConfig(method="emcee", n_chains=200, n_steps=60, n_warmup=0, block=60, start="given"),
    ours=LearnConfig(
        n_posterior=1000,
        n_broadened=3000,
        n_profile=300,
        n_displaced=300,
        n_slices=300,
        n_chains=100,
        model=DnnLikConfig(network=NetworkConfig(widths=(16, 16), n_members=2), training=TrainingConfig(n_epochs=2)),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison") / "runs"


@pytest.fixture(scope="module")
def comparison(folder):
    return compare(folder, SMALL, only=["B1", "F1"], progress=False)


def test_every_metric_of_both_variants_is_there(comparison):
    """Or why it is not: a network this small has no maximum at some of the points."""
    assert list(comparison.runs) == ["B1", "F1"]
    for run in comparison.runs.values():
        for variant in ("best", "stacked"):
            missing = [m.key for m in METRICS if run[variant][m.key] is None]
            assert missing in ([], ["tmu_mean_error"])
            assert bool(missing) == any("fits at mu" in w for w in run[variant]["warnings"])


def test_the_numbers_are_what_they_say(comparison):
    """Identities between them: n, the number of weights, and units."""
    best = comparison.runs["B1"]["best"]
    assert best["n_train"] == 600
    assert best["parameters"] == 95 * 16 + 16 + 16 * 16 + 16 + 16 + 1
    assert best["epochs"] == 2
    assert best["mae_test_nats"] ** 2 < best["mse_test_nats"]
    assert 20 < best["mse_test_nats"] / best["mse_test"] < 100  # the variance of logpdf on S1 is 6.9^2 = 48
    assert best["ks_train_test"] > 0.1


def test_f_networks_see_the_profile_and_b_networks_do_not(comparison):
    """sd of logpdf: 6.9 nats on S1, far more on S3."""
    ratio = [r["best"]["mse_test_nats"] / r["best"]["mse_test"] for r in comparison.runs.values()]
    assert ratio[1] > 3 * ratio[0]


def test_what_is_done_is_not_done_again(folder, comparison, monkeypatch):
    monkeypatch.setattr(DnnLik, "fit", None)
    assert compare(folder, SMALL, only=["B1", "F1"], progress=False) == comparison


def test_a_folder_of_another_comparison_is_refused(folder, comparison):
    with pytest.raises(StaleArtifact, match="another configuration"):
        compare(folder, SMALL.replace(width=17), progress=False)
    with pytest.raises(StaleArtifact, match="holds no comparison"):
        compare(folder / "S1" / "blocks", SMALL, progress=False)


@pytest.mark.slow
def test_our_recipe_is_a_column_of_its_own(folder, comparison):
    both = compare(folder, SMALL, only=["ours"], progress=False)
    table = both.tables()[0]
    assert table.columns == ("metric", "", "B1", "this package")
    assert both.runs["ours"]["stacked"]["n_train"] == 4900
    text = (folder / "comparison.md").read_text("utf-8")
    assert text == both.markdown()
    assert "| mean |t_mu error|" not in text  # a bar would end the cell


def test_tables_put_the_paper_first(comparison):
    b, f = comparison.tables()
    rows = {row[:2]: row[2:] for row in b.rows}
    assert rows["MSE test", "paper"] == ("0.01",)
    assert rows["training points", "paper"] == ("100000",)
    assert {row[:2]: row[2:] for row in f.rows}["MSE test, nats^2", "paper"] == ("0.405",)
    assert b.rich().row_count == len(b.rows)
    assert b.markdown().count("\n| ") == len(b.rows) + 1


def test_one_network_is_not_shown_twice(comparison):
    alone = {name: {"best": run["best"]} for name, run in comparison.runs.items()}
    table = Comparison(alone | {"ours": comparison.runs["B1"]}).tables()[0]
    assert {row[1] for row in table.rows} == {"paper", "best"}
    rows = {row[:2]: row[2:] for row in table.rows}
    assert rows["epochs", "paper"][1] == ""
    assert rows["epochs", "best"] == ("2", "2")


def test_warnings_are_printed(comparison):
    runs = json.loads(json.dumps(comparison.runs))
    runs["B1"]["best"]["warnings"] = ["sampling not converged: on purpose"]
    assert "B1, best: sampling not converged: on purpose" in Comparison(runs).markdown()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": (200, 100)}, "ascending"),
        ({"sizes": ()}, "ascending"),
        ({"sizes": (10_000,)}, "S1 gives"),
        ({"resampling": SamplerConfig()}, "given"),
    ],
)
def test_impossible_comparisons_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        SMALL.replace(**changes)


def test_the_configuration_survives_json():
    for config in (SMALL, CompareConfig()):
        assert CompareConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_unknown_runs_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="B7"):
        compare(tmp_path / "runs", SMALL, only=["B7"])


def test_published_figures_hold_together():
    """The published MSE in nats is the standardised one times the variance of the labels."""
    sd = figure("labels/sd").value
    for name in NETWORKS:
        variance = sd["S1" if name.startswith("B") else "S3"] ** 2
        ratio = figure("network/mse_test_nats").value[name] / figure("network/mse_test").value[name] / variance
        assert ratio == pytest.approx(1, abs=0.02)
    assert figure("network/parameters").value == 95 * 5000 + 5000 + 5000 * 5000 + 5000 + 5000 + 1
    calls, points = figure("sampling/calls").value, figure("sampling/independent").value
    rate = points / (calls * figure("sampling/call_cpu_us").value * 1e-6)
    assert rate == pytest.approx(figure("sampling/independent_per_cpu_second").value, rel=0.02)
    assert all(f.source for f in figures().values())


def test_an_unknown_figure_is_named():
    with pytest.raises(ConfigError, match="network/parametres"):
        figure("network/parametres")
