"""The search for a recipe: it finds what is known to be best, continues identically, and never reads the test rows."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from dnnlikelihood import Data, ParameterSpace
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.errors import ConfigError, MissingDependency, StaleArtifact, TrainingError
from dnnlikelihood.jsonfiles import read_json
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig
from dnnlikelihood.networks.recipe import PRESETS
from dnnlikelihood.tune import TuneConfig, recipe_of, tune, values_of

SPACE = ParameterSpace.of("a", "b", poi="a")
BASE = DnnLikConfig(
    network=NetworkConfig(widths=(8, 8), n_members=2),
    training=TrainingConfig(batch_size=64, averaging=0.9, gradient_weight=0.0, learning_rate=1e-2),
    baseline="constant",
    scale_output=True,
)
SMALL = TuneConfig(base=BASE, n_trials=4, n_epochs=4, nodes=(8, 16), layers=(1,), batch_sizes=(32, 64),
                   optimisers=("adam", "nadam"), learning_rates=(1e-3, 3e-2))  # fmt: skip


def rows(n=500, spoil=0.0):
    """-NLL of two Poisson bins with yields quadratic in the parameters; the test labels may be spoiled."""
    theta = np.random.default_rng(0).uniform(-2, 2, (n, 2))
    yields = np.stack([1 + (0.5 + theta[:, 0]) ** 2, 0.5 + theta[:, 1] ** 2 + theta[:, 0] ** 2], axis=1)
    value = (np.array([3.0, 2.0]) * np.log(yields) - yields).sum(axis=1)
    split = np.array(["train", "train", "train", "validation", "test"])[np.arange(n) % 5]
    return Data.from_arrays(SPACE, theta, value + spoil * (split == "test"), split=split)


def without_times(found):
    return [replace(t, cpu_seconds=0.0) for t in found.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "search"
    return folder, tune(rows(), folder, SMALL, progress=False)


def test_what_is_found_is_written_and_can_be_trained(whole):
    folder, found = whole
    assert DnnLikConfig.from_json(read_json(folder / "config.json")) == found.config
    assert found.config.network.n_members == BASE.network.n_members
    assert read_json(folder / "trials.json")["trials"][found.best]["values"] == found.trials[found.best].values
    assert found.trials[0].values == values_of(BASE), "the base comes first"
    finished = [t.rmse for t in found.trials if t.state == "finished"]
    assert found.trials[found.best].rmse == min(finished) <= found.trials[0].rmse
    table = found.table(3)
    assert len(table.rows) in (3, 4)
    assert any("base" in row[0] for row in table.rows)
    assert not (folder / "training").exists() or not any((folder / "training").glob("*/*.npz"))


def test_test_rows_are_never_read(whole, tmp_path):
    spoiled = tune(rows(spoil=1e6), tmp_path / "search", SMALL.replace(n_trials=2), progress=False)
    assert without_times(spoiled) == without_times(whole[1])[:2]


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_tune import SMALL, rows, tune
tune(rows(), sys.argv[1], SMALL)
"""


def test_killed_and_continued_is_identical(whole, tmp_path):
    folder = tmp_path / "search"
    script = KILLED.format(tests=os.path.dirname(__file__))  # noqa: PTH120
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(folder.glob("training/1/*.npz")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "trials.json").exists(), "the kill came too late to test anything"
    part = tune(rows(), folder, SMALL.replace(n_trials=2), progress=False)
    assert without_times(part) == without_times(whole[1])[:2]
    more = tune(rows(), folder, SMALL, progress=False)
    assert without_times(more) == without_times(whole[1])
    with pytest.raises(StaleArtifact):
        tune(rows(), folder, SMALL.replace(seed=9), progress=False)


ONE = SMALL.replace(nodes=(8,), layers=(2,), forms=(8,), activations=(), losses=(), schedules=(), batch_sizes=())


def test_the_form_of_the_truth_wins(tmp_path):
    wide = ONE.replace(n_trials=3, n_epochs=30, architectures=("counting",), objective="accuracy", optimisers=())
    found = tune(rows(1000), tmp_path / "search", wide, progress=False)
    assert found.config.network.architecture == "counting"
    assert found.trials[found.best].accuracy == max(t.accuracy for t in found.trials if t.state == "finished")
    assert found.trials[found.best].accuracy > 2 * found.trials[0].accuracy


def test_what_diverges_is_counted_and_does_not_win(tmp_path):
    steep = ONE.replace(n_trials=3, n_epochs=2, learning_rates=(1e-2, 1e30), optimisers=("sgd",))
    found = tune(rows(), tmp_path / "search", steep, progress=False)
    assert "diverged" in [t.state for t in found.trials]
    assert found.trials[found.best].state == "finished"
    assert "1 diverged" in found.table().notes[0] or "2 diverged" in found.table().notes[0]


@pytest.mark.parametrize("name", PRESETS)
def test_values_and_recipes_are_inverse(name):
    preset = DnnLikConfig.preset(name, 10_000)
    again = recipe_of(values_of(preset), preset, preset.training.n_epochs)
    plateau = {k: getattr(preset.training, k) for k in ("plateau_patience", "stop_patience")}
    assert again.replace(training=again.training.replace(**plateau)) == preset
    assert values_of(again) == values_of(preset)


def test_a_counting_network_grows_in_proportion():
    base = DnnLikConfig.counting(10_000)
    assert recipe_of(values_of(base) | {"forms": 32}, base, 5).network.widths == (32, 32, 48, 64)
    dense = values_of(BASE) | {"nodes": 12, "layers": 3, "loss": "huber", "schedule": "plateau"}
    made = recipe_of(dense, base, 40)
    assert made.network.widths == (12, 12, 12)
    assert made.training.huber == 0.3
    assert (made.training.plateau_patience, made.training.n_epochs) == (4, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_trials": 0}, "n_trials"),
        ({"activations": ("eval",)}, "activation"),
        ({"architectures": ("transformer",)}, "architecture"),
        ({"optimisers": ("lbfgs",)}, "optimiser"),
        ({"schedules": ("step",)}, "schedule"),
        ({"losses": ("hinge",)}, "loss"),
        ({"learning_rates": (1e-2, 1e-3)}, "learning_rates"),
        ({"nodes": (0,)}, "nodes"),
    ],
)
def test_searches_are_born_valid(change, message):
    with pytest.raises(ConfigError, match=message):
        TuneConfig(**change)


def test_what_cannot_be_searched_is_refused(tmp_path, monkeypatch):
    empty = Data.from_arrays(SPACE, np.eye(2), np.zeros(2), split="test")
    with pytest.raises(TrainingError, match="train split has 0 rows"):
        tune(empty, tmp_path / "a", SMALL, progress=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependency, match=r"dnnlikelihood\[tune\]"):
        tune(rows(), tmp_path / "b", SMALL, progress=False)
