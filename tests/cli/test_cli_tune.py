"""`dnnlik tune` and `dnnlik train --config` on the rows of the chain."""

import json

import numpy as np

from dnnlikelihood import Data, ParameterSpace
from dnnlikelihood.cli.tune import _rows
from dnnlikelihood.dnnlik import DnnLik, DnnLikConfig
from dnnlikelihood.jsonfiles import read_json


def test_the_winner_is_trained(run, chain, tmp_path):
    search = ("--trials", 2, "--epochs", 2, "--nodes", "8,16", "--layers", 1, "--batch-sizes", 256)
    first = run("tune", chain / "data", "--output", tmp_path / "search", *search, "--json", "--no-progress")
    found = json.loads(first.stdout)
    assert len(found["trials"]) == 2
    config = tmp_path / "search" / "config.json"
    assert found["config"] == read_json(config)
    options = ("--config", config, "--members", 1)
    run("train", chain / "data", "--output", tmp_path / "dnnlik", *options)
    wanted = DnnLikConfig.from_json(read_json(config))
    wanted = wanted.replace(network=wanted.network.replace(n_members=1))
    assert DnnLik.load(tmp_path / "dnnlik").config == wanted
    again = run("tune", chain / "data", "--output", tmp_path / "search", *search, "--no-progress")
    assert "2 trials" in again.stdout


def test_bad_searches_are_refused(run, chain, tmp_path):
    out = ("--output", tmp_path / "search", "--no-progress")
    (tmp_path / "recipe.json").write_text('{"network": {"depth": 3}}')
    assert "no fields" in run("tune", chain / "data", "--config", tmp_path / "recipe.json", *out, code=2).output
    both = ("--config", tmp_path / "recipe.json", "--preset", "cms")
    assert "give one" in run("tune", chain / "data", *both, *out, code=2).output
    assert "nobody" in run("tune", chain / "data", "--preset", "nobody", *out, code=2).output
    assert "no list" in run("tune", chain / "data", "--nodes", "many", *out, code=2).output
    assert run("tune", tmp_path / "nothing", *out, code=2)
    assert run("tune", chain / "likelihood", *out, code=2)
    assert not (tmp_path / "search").exists()


def test_the_rows_of_a_run_are_those_that_were_learned_from(run, tmp_path):
    """Of a run with active rounds all rows but the test's, weighted as there: less beyond 20 nats."""
    space, rng = ParameterSpace.of("a", poi="a"), np.random.default_rng(0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "request.json").write_text("{}")
    for name, n, split in (
        ("active/rows_first", 60, None),
        ("active/rows_posterior_1", 30, None),
        ("rows_test", 9, "test"),
    ):
        theta = rng.uniform(-9, 9, (n, 1))
        Data.from_arrays(space, theta, -0.5 * theta[:, 0] ** 2, split=split).save(tmp_path / "run" / name)
    data = _rows([tmp_path / "run"])
    assert len(data) == 90
    far = data.logpdf().max() - data.logpdf() > 20
    assert (data.weights()[far] < 1).all()
    assert (data.weights()[~far] == 1).all()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "request.json").write_text("{}")
    out = ("--output", tmp_path / "search", "--no-progress")
    assert "without rows" in run("tune", tmp_path / "empty", *out, code=2).output
