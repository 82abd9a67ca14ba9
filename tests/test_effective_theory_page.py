"""The page on effective-theory fits says what is so: its Python runs, and the valley it tells of is the truth's."""

import re
from pathlib import Path

import numpy as np
import pytest

import dnnlikelihood as dl
from dnnlikelihood.statistics.valleys import held_maxima

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "effective_theory.md").read_text("utf-8")
MODEL = ROOT / "saved_models" / "eft_sixteen"


@pytest.mark.skipif(not MODEL.exists(), reason="needs saved_models/eft_sixteen")
def test_its_python_runs_and_finds_the_hidden_valley(monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    scope = {"dl": dl}
    for block in blocks:
        small = block.replace("n_points=300", "n_points=5").replace("n_starts=64", "n_starts=16, n_points=11")
        exec(compile(small, "effective_theory.md", "exec"), scope)
    inference = scope["inference"]
    found = inference.scan("ctG", progress=False)
    far = found.points[:, 0] >= 1.3
    truth = dl.ProfiledLikelihood.from_eft()
    held = np.tile(np.array(truth.parameters.names) == "ctG", (far.sum(), 1))
    exact = held_maxima(truth, found.theta[far, None], held).value
    known = truth.logpdf(inference.valleys().theta[:1])
    np.testing.assert_allclose(found.tmu[far], 2 * (known - exact), atol=0.1)
    assert found.tmu[-1] < 6.7
    edge = inference.intervals("ctG", (0.95,), progress=False)[0.95][-1].high
    assert edge == pytest.approx(1.31, abs=0.005), "as the page says, and not 1.23"


@pytest.mark.skipif(not MODEL.exists(), reason="needs saved_models/eft_sixteen")
def test_a_coarse_scan_finds_what_a_fine_one_does():
    """From point to point a valley may rise by more than what parts it from its rival."""
    inference = dl.Inference(dl.open(MODEL, outside="-inf"))
    coarse, fine = (inference.scan("cpQM", n_points=n, progress=False) for n in (21, 81))
    np.testing.assert_allclose(coarse.profiled_logpdf, fine.profiled_logpdf[::4], atol=1e-3)
