"""`dnnlik tune` and `dnnlik train --config` on the rows of the chain."""

import json

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
