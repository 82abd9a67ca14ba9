"""One run of the whole chain on the command line, which the tests of this folder look at."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dnnlikelihood.cli import main
from dnnlikelihood.likelihood import Likelihood

MEAN, COVARIANCE = [0.5, -1.0], [[1.0, 0.3], [0.3, 0.8]]


def dnnlik(*arguments, code=0):
    """Run a command in this process; its result, after its exit code was held against `code`."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not crashed, f"{arguments}: {result.exception!r}"
    assert result.exit_code == code, f"{arguments}: exit code {result.exit_code}\n{result.output}"
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="session")
def run():
    return dnnlik


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """Folders `likelihood`, `recipe.json`, `samples`, `data`, `dnnlik` and `model`, made by the commands."""
    base = tmp_path_factory.mktemp("chain")
    arguments = {"mean": MEAN, "covariance": COVARIANCE}
    (base / "recipe.json").write_text(json.dumps({"source": "gaussian", "arguments": arguments}))
    Likelihood.from_source("gaussian", **arguments).save(base / "likelihood")
    recipe = base / "recipe.json"
    dnnlik("sample", base / "likelihood", "--output", base / "samples", "--n-chains", 32, "--n-steps", 300)
    dnnlik("label", recipe, base / "samples", "--output", base / "data")
    sizes = ("--epochs", 4, "--members", 2, "--widths", "16,16", "--batch-size", 256)
    dnnlik("train", base / "data", "--output", base / "dnnlik", *sizes)
    about = ("--name", "gauss-2", "--author", "Gauss, Carl Friedrich <0000-0000-0000-0000>", "--data", base / "data")
    dnnlik("export", base / "dnnlik", "--source", recipe, "--output", base / "model", *about)
    assert np.all([(base / name).is_dir() for name in ("samples", "data", "dnnlik", "model")])
    return base
