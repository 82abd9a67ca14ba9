"""Every model in saved_models/ is whole, runs everywhere, and is as good as its card says."""

from pathlib import Path

import numpy as np
import pytest

import dnnlikelihood
from dnnlikelihood.export.verify import verify
from dnnlikelihood.export.verify_file import verify_file
from dnnlikelihood.statistics.valleys import valleys

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
def test_its_files_verify_alone(folder):
    for path in sorted(folder.glob("*.onnx")):
        report = verify_file(path)
        assert report.passed, [r for r in report.rows if r.status == "failed"]


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
    """Between the valleys, where nothing may be taught, networks of such fits have risen fifty nats too high."""
    model = dnnlikelihood.open(MODELS[[m.name for m in MODELS].index("eft_sixteen")], outside="-inf")
    truth = dnnlikelihood.ProfiledLikelihood.from_eft()
    center = model.domain.center[None]
    found = valleys(model, 64, seed=5, starts=center[model.support(center)])
    exact = truth.logpdf(found.theta)
    assert len(exact) >= 5
    np.testing.assert_allclose(found.logpdf[~found.on_edge], exact[~found.on_edge], atol=0.1)
    assert not found.on_edge[0]
    assert (found.logpdf < exact.max() + 0.1).all()


def test_the_published_toy_reproduces_the_exact_profile():
    """The maximum and t_mu(1) of the exact likelihood, from the ONNX file alone."""
    from dnnlikelihood import Inference

    model = dnnlikelihood.open(MODELS[[m.name for m in MODELS].index("toy_lhc")], outside="-inf")
    scan = Inference(model).tmu("mu", [0.0, 1.0], progress=False)
    np.testing.assert_allclose(scan.bestfit.value, -285.77833, atol=0.02)
    np.testing.assert_allclose(scan.tmu, [0.00123, 7.37410], atol=0.03)
