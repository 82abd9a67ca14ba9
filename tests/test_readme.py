"""README says what is so: its code runs, its tables are those of the results, its links lead somewhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from workspaces import search

from dnnlikelihood import ProfiledLikelihood
from dnnlikelihood.curriculum import LearnConfig
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.networks.config import NetworkConfig, TrainingConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SMALL = LearnConfig(
    n_posterior=600,
    n_broadened=300,
    n_profile=300,
    n_displaced=300,
    n_slices=300,
    n_test=300,
    n_chains=16,
    model=DnnLikConfig(network=NetworkConfig(widths=(8,), n_members=1), training=TrainingConfig(n_epochs=1)),
)


def test_its_python_runs(monkeypatch, tmp_path, capsys):
    """Every block, one after the other, as a reader would; the amounts alone are small."""
    monkeypatch.setattr(LearnConfig, "preset", lambda name: SMALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved_models").symlink_to(ROOT / "saved_models")
    rng = np.random.default_rng(0)
    (tmp_path / "BkgOnly.json").write_text(json.dumps(search()), "utf-8")
    n_bins = len(ProfiledLikelihood.from_workspace(search()).parameters)
    scope = {
        "my_logpdf": lambda theta: -0.5 * (theta**2).sum(axis=1),
        "theta": 0.1 * rng.normal(size=(5, 95)),
        "yields": rng.uniform(0.0, 2.0, (5, n_bins)),
        "signals": rng.uniform(1.0, 3.0, (2, n_bins)),
    }
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), scope)
    assert "intervals=" in capsys.readouterr().out


def test_the_first_example_is_short():
    code = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(code) < 15


def test_its_tables_are_the_results():
    check = subprocess.run(
        [sys.executable, "benchmarks/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/recipe.md", "docs/benchmarks.md", "docs/searches.md"]
)
def test_its_links_lead_somewhere(page):
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target
