"""Recipes by name: each is valid, and that for Gaussian likelihoods of quadratic predictions learns one."""

import numpy as np
import pytest

from dnnlikelihood import Data, DnnLik, Likelihood
from dnnlikelihood.active import accurate
from dnnlikelihood.errors import ConfigError
from dnnlikelihood.networks.recipe import PRESETS, DnnLikConfig


@pytest.mark.parametrize("name", PRESETS)
def test_recipes_by_name(name):
    recipe = DnnLikConfig.preset(name, 20_000)
    assert DnnLikConfig.from_json(recipe.to_json()) == recipe


def test_no_recipe_of_that_name():
    with pytest.raises(ConfigError, match="quartic"):
        DnnLikConfig.preset("quadratic", 20_000)


def measurements(rng, n=9, names=("a", "b", "c")):
    pairs = [f"{x}*{y}" for i, x in enumerate(names) for y in names[i:]]
    return {
        "schema": "eft_gaussian/1",
        "name": "measurements",
        "coefficients": [{"name": name, "low": -2.0, "high": 2.0} for name in names],
        "data": rng.normal(size=n).tolist(),
        "covariance": np.eye(n).tolist(),
        "standard_model": np.zeros(n).tolist(),
        "linear": {name: rng.normal(size=n).tolist() for name in names},
        "quadratic": {pair: rng.normal(size=n).tolist() for pair in pairs},
    }


def test_a_gaussian_of_quadratic_predictions_is_learned_by_its_own_form(rng):
    truth = Likelihood.from_source("eft_gaussian", document=measurements(rng))
    options = {"progress": False, "kind": "test"}
    split = np.where(np.arange(1500) < 200, "validation", "train")
    rows = Data.label(truth, rng.uniform(-2, 2, (1500, 3)), split=split, **options)
    test = Data.label(truth, rng.uniform(-2, 2, (1500, 3)), split="test", **options)
    exact, top = test.logpdf(), rows.logpdf().max()
    share = {}
    for name in ("quartic", "cms"):
        recipe = DnnLikConfig.preset(name, 1300)
        network = recipe.network.replace(n_members=1, widths=(12,) if name == "quartic" else (48, 48, 48))
        training = recipe.training.replace(n_epochs=150)
        model = DnnLik.fit(rows, recipe.replace(network=network, training=training), progress=False)
        share[name] = accurate(model.members_logpdf(test.theta())[:, 0], exact, top).mean()
    assert share["quartic"] > 0.98
    assert share["cms"] < 0.5, "ReLU layers of as many rows know far less"
