"""Every model in saved_models/ is whole, runs everywhere, and is as good as its card says."""

from pathlib import Path

import numpy as np
import pytest

import dnnlikelihood
from dnnlikelihood.export.verify import verify

MODELS = sorted(p.parent for p in (Path(__file__).parents[1] / "saved_models").glob("*/metadata.json"))


def test_there_are_some():
    assert "toy_lhc" in [m.name for m in MODELS]


@pytest.mark.parametrize("folder", MODELS, ids=lambda m: m.name)
def test_it_verifies_on_every_runtime(folder):
    report = verify(folder, trust=True)
    assert report.passed, [r for r in report.rows if r.status == "failed"]
    skipped = {r.check for r in report.rows if r.status != "passed"}
    profiled = dnnlikelihood.open(folder).kind == "profiled"
    assert skipped == ({"exact"} if profiled else set()), "every runtime is here, only exact fits may be left out"


@pytest.mark.parametrize("folder", MODELS, ids=lambda m: m.name)
def test_it_is_small_and_says_how_to_rebuild_it(folder):
    assert sum(p.stat().st_size for p in folder.rglob("*")) < 10e6
    assert dnnlikelihood.open(folder).metadata["command"].startswith("dnnlik ")


def test_the_published_effective_theory_fit_against_its_fits():
    """Labels fitted again, and what the networks say of the same points."""
    model = dnnlikelihood.open(MODELS[[m.name for m in MODELS].index("eft_sixteen")], outside="-inf")
    reference = model.reference()
    fitted = dnnlikelihood.ProfiledLikelihood.from_eft().label(reference["theta"][:64])
    assert fitted.ok.all()
    np.testing.assert_allclose(fitted.value, reference["exact"][:64], atol=1e-6)
    deepest = reference["exact"].max()
    near = fitted.value > deepest - 10
    assert near.sum() > 10
    np.testing.assert_allclose(model.logpdf(reference["theta"][:64])[near], fitted.value[near], atol=0.1)


def test_the_published_effective_theory_fit_has_no_maximum_of_its_own():
    """Unguarded, its networks rise fifty nats above the truth's maximum in a hole between its training points."""
    model = dnnlikelihood.open(MODELS[[m.name for m in MODELS].index("eft_sixteen")], outside="ignore")
    hole = np.array([-0.206655, 0.106642, 14.510409, 6.565737, -0.099314, 0.055091, -4.02406, 0.568371, -3.738893,
                     -0.185518, -0.014477, -0.096402, 0.189451, -0.093338, 0.8348, -0.034914])  # fmt: skip
    exact = dnnlikelihood.ProfiledLikelihood.from_eft().logpdf(hole)[0]
    ensemble = model._values.ensemble
    assert ensemble.domain(hole[None])[0], "box and ellipsoid hold it"
    assert model.logpdf(hole)[0] > exact + 50
    assert not model.in_domain(hole)[0]
    assert model.guarded("-inf").logpdf(hole)[0] == -np.inf


def test_the_published_toy_reproduces_the_exact_profile():
    """The maximum and t_mu(1) of the exact likelihood, from the ONNX file alone."""
    from dnnlikelihood import Inference

    model = dnnlikelihood.open(MODELS[[m.name for m in MODELS].index("toy_lhc")], outside="-inf")
    scan = Inference(model).tmu("mu", [0.0, 1.0], progress=False)
    np.testing.assert_allclose(scan.bestfit.value, -285.77833, atol=0.02)
    np.testing.assert_allclose(scan.tmu, [0.00123, 7.37410], atol=0.03)
