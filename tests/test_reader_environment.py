"""A reader's environment holds no TensorFlow, and reads, evaluates, samples, profiles and plots all the same."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from surrogates import COVARIANCE, MEAN, publish_gaussian

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "saved_models" / "toy_lhc"
FOREIGN = ("tensorflow", "keras", "tf_keras", "tensorflow_probability")
"""What a reader does not have."""

READER = """
import importlib.util, json, sys, tempfile
from pathlib import Path
import numpy as np
import dnnlikelihood as dl
from dnnlikelihood import plots
from dnnlikelihood.sampler import SamplerConfig

toy, gaussian, mean, covariance, figure = *sys.argv[1:3], *map(json.loads, sys.argv[3:5]), sys.argv[5]
known = dl.open(toy).reference()
model = dl.open(toy)
assert np.abs(model.logpdf(known["theta"]) - known["logpdf"]).max() < 1e-5
assert np.abs(model.logpdf_and_grad(known["theta"])[1] - known["gradient"]).max() < 1e-4
assert np.array_equal(model.in_domain(known["theta"]), known["in_domain"])
tmu = dl.Inference(model).tmu("mu", [0.0, 0.5]).tmu

small = dl.open(gaussian, outside="-inf")
config = SamplerConfig(method="emcee", n_chains=60, n_warmup=200, n_steps=1500, seed=1, start="given")
start = small.known_points()[0] + 0.1 * np.random.default_rng(1).normal(size=(60, 3))
samples = dl.Sampler(small, config).run(start=start, progress=False)
assert samples.verdict.converged, samples.verdict.reasons
n = samples.verdict.ess
pull = (samples.theta.mean(axis=0) - mean) / np.sqrt(np.diag(covariance) / n)
hpdi = dl.Inference(small, samples).hpdi("x0", 0.6827).intervals[0]
interval = dl.Inference(small).interval("x0", 0.6827)[0]
plots.corner({"published": samples}, small.parameters).savefig(figure)
json.dump({
    "pull": np.abs(pull).max(), "hpdi": [hpdi.low, hpdi.high], "interval": [interval.low, interval.high],
    "tmu": tmu.tolist(), "loaded": sorted(sys.modules),
}, sys.stdout)
"""
"""What a reader does, with two published models: the search, and a Gaussian whose answers are known."""

FIRST = """
import time
import numpy as np, dnnlikelihood
dnnlikelihood.open("{model}").logpdf(np.zeros((1, 95)))
print(time.process_time())
"""
FORBIDDEN = f"import sys\nfor name in {FOREIGN!r}: sys.modules[name] = None\n"


def run(python, *arguments, **options):
    quiet = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": ""}
    command = [str(a) for a in (python, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=quiet, **options)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    return publish_gaussian(tmp_path_factory.mktemp("published") / "gaussian")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """An environment of its own, with what `pip install dnnlikelihood[onnx,plot,emcee]` brings and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", folder).returncode == 0
    python = folder / "bin" / "python"
    wanted = [f"{ROOT}[onnx,plot,emcee]"]
    installed = run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
    assert installed.returncode == 0, installed.stderr[-2000:]
    return python


def asked(python, before, gaussian, figure):
    """The reader's answers, with `before` run first."""
    done = run(
        *(python, "-c", before + READER, MODEL, gaussian, json.dumps(MEAN), json.dumps(COVARIANCE), figure),
        cwd=figure.parent,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert figure.read_bytes().startswith(b"\x89PNG")
    return json.loads(done.stdout)


def assert_right(found):
    """Gaussian answers: the mean and one standard deviation to both sides, Bayesian and frequentist."""
    assert found["pull"] < 4.5
    for low, high in (found["hpdi"], found["interval"]):
        assert abs(low - (MEAN[0] - 1)) < 0.08
        assert abs(high - (MEAN[0] + 1)) < 0.08
    exact = json.loads(resources.files("dnnlikelihood.reference").joinpath("toy_lhc.json").read_text("utf-8"))
    tmu = {row["mu"]: row["t_mu"] for row in exact["t_mu_exact"]}
    assert np.abs(np.array(found["tmu"]) - [tmu[0.0], tmu[0.5]]).max() < 0.005


def test_a_reader_needs_no_tensorflow(gaussian, tmp_path):
    """In this environment, with TensorFlow and Keras made unavailable."""
    assert_right(asked(sys.executable, FORBIDDEN, gaussian, tmp_path / "corner.png"))


@pytest.mark.slow
def test_a_clean_environment_is_enough(clean, gaussian, tmp_path):
    for name in FOREIGN:
        assert run(clean, "-c", f"import {name}").returncode != 0, f"{name} came along"
    found = asked(clean, "", gaussian, tmp_path / "corner.png")
    assert_right(found)
    assert "tensorflow" not in found["loaded"]


@pytest.mark.slow
def test_import_and_first_evaluation_take_a_second(clean, tmp_path):
    """CPU time of a fresh process with all checks, best of five after one that compiles: others may use the machine."""
    (tmp_path / "first.py").write_text(FIRST.format(model=MODEL), "utf-8")
    times = [float(run(clean, tmp_path / "first.py").stdout) for _ in range(6)]
    assert min(times[1:]) <= 1.0, times


def test_what_needs_tensorflow_says_so():
    """HMC on a published model asks for the extra that brings it."""
    script = f"import dnnlikelihood as dl\nmodel = dl.open({str(MODEL)!r}, outside='-inf')\ndl.Sampler(model).run()"
    done = run(sys.executable, "-c", FORBIDDEN + script)
    assert done.returncode != 0
    assert "MissingDependency" in done.stderr
    assert "pip install 'dnnlikelihood[" in done.stderr
