"""Where the members of an ensemble disagree nothing is known: every way to ask says so."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from surrogates import (
    COVARIANCE,
    MEAN,
    SPACE,
    disputed,
    gaussian_ensemble,
    headed_ensemble,
    metadata,
    points,
    reference,
)

import dnnlikelihood
from dnnlikelihood import DnnLik, Likelihood, Normal, ParameterSpace, Prior, combine
from dnnlikelihood.errors import DomainError
from dnnlikelihood.export.onnx_graph import write_onnx
from dnnlikelihood.export.publish import Reference, publish
from dnnlikelihood.export.runtimes import OnnxModel
from dnnlikelihood.networks.recipe import DnnLikConfig
from dnnlikelihood.published import PublishedLikelihood
from dnnlikelihood.runlog import RunLog


@pytest.fixture(scope="module")
def ensemble():
    return disputed(gaussian_ensemble())


@pytest.fixture(scope="module")
def theta(ensemble):
    """Points inside box and ellipsoid, with and without agreement."""
    some = points(300, 3)
    return some[ensemble.domain(some)]


@pytest.fixture(scope="module")
def known(ensemble, theta):
    known = ensemble.in_domain(theta)
    assert 0.05 < (~known).mean() < 0.5
    return known


def readers(ensemble, folder):
    """The same surrogate as a DnnLik and as a published model."""
    about = metadata()
    publish(ensemble, folder, metadata=about, reference=reference(ensemble), history=[], log=RunLog())
    yield dnnlikelihood.open(folder, outside="-inf")
    yield DnnLik(ensemble, about.parameters, about.prior, about.kind, DnnLikConfig(), [], ())


@pytest.fixture(scope="module", params=[0, 1], ids=["published", "dnnlik"])
def model(request, ensemble, tmp_path_factory):
    return list(readers(ensemble, tmp_path_factory.mktemp("guard") / "model"))[request.param]


def test_the_support_ends_there(model, theta, known):
    assert np.array_equal(model.in_domain(theta), known)
    assert np.array_equal(np.isfinite(model.error(theta)), known)
    value, grad = model.logpdf_and_grad(theta)
    again, slope, hess = model.logpdf_grad_hess(theta)
    for found in (value, again, model.logpdf(theta), model.heads_logpdf(theta)[:, 0]):
        assert np.array_equal(np.isfinite(found), known)
    for derivative in (grad, slope, hess):
        assert np.isfinite(derivative).all()
        assert not derivative[~known].any()


def test_and_so_it_does_in_what_is_made_of_it(model, theta, known):
    import tensorflow as tf

    for composed in (model.with_prior(Prior({"x0": Normal(0.0, 1.0)})), model.condition({})):
        assert np.array_equal(np.isfinite(composed.logpdf(theta)), known)
    assert np.array_equal(np.isfinite(model.trace()(tf.constant(theta)).numpy()), known)


def test_slopes_are_nothing_there_also_where_other_terms_go_on(model, theta, known):
    """A prior is no hint of what a surrogate does not know: the contract of every density says zeros with -inf."""
    other = Likelihood.from_source("gaussian", mean=MEAN, covariance=COVARIANCE, names=list(SPACE.names))
    for composed in (model.with_prior(Prior({"x0": Normal(0.0, 1.0)})), combine([model, other], shared=SPACE.names)):
        value, grad, hess = composed.logpdf_grad_hess(theta)
        heads, slopes = composed.heads_logpdf_and_grad(theta)
        assert np.array_equal(np.isfinite(value), known)
        assert np.array_equal(np.isfinite(heads[:, 0]), known)
        for derivative in (grad, hess, slopes, composed.logpdf_and_grad(theta)[1]):
            assert derivative[known].any()
            assert not derivative[~known].any()


def test_it_is_started_where_it_knows(model):
    some = model.known_points()
    assert len(some) > 50
    assert model.in_domain(some).all()
    assert (np.diff(model.logpdf(some)) <= 1e-5).all()


def test_errors_are_asked_where_there_are_some(model):
    """Far away float32 ends: no warning, no number."""
    far = np.array([[1e300, 0.0, 0.0], [np.inf, 0.0, 0.0], MEAN])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(model.error(far)).tolist() == [False, False, model.in_domain(np.array([MEAN]))[0]]


def test_the_reader_says_why(model, theta, known):
    if not isinstance(model, PublishedLikelihood):
        pytest.skip("policies are the published reader's")
    with pytest.raises(DomainError, match=r"disagree there by 0\.\d+ nats, 0\.\d+ is trusted"):
        model.guarded("raise").logpdf(theta[~known])
    assert np.isfinite(model.guarded("ignore").logpdf(theta)).all()


def test_the_head_that_disagrees_is_named(tmp_path):
    """Also to whoever selected another."""
    ensemble = headed_ensemble("dense")
    theta = points(300, 5)
    theta = theta[ensemble.domain(theta)]
    alone = [ensemble.select(h).in_domain(theta) for h in range(3)]
    only = theta[alone[0] & ~alone[1] & alone[2]][0]
    space = ParameterSpace.of(*(f"x{i}" for i in range(5)), poi="x0")
    heads = [{"name": name, "definition": name} for name in ensemble.heads]
    some = Reference(theta=theta[:120], exact=ensemble.heads_logpdf(theta[:120]).mean(axis=1),
                     logpdf=ensemble.heads_logpdf(theta[:120]).mean(axis=1))  # fmt: skip
    about = metadata(parameters=space, heads=heads, recipe=None)
    publish(ensemble, tmp_path / "model", metadata=about, reference=some, history=[], log=RunLog())
    for reader in (dnnlikelihood.open(tmp_path / "model"), dnnlikelihood.open(tmp_path / "model").select("head_0")):
        with pytest.raises(DomainError, match=r"disagree there by [\d.]+ nats in 'head_1', [\d.]+ is trusted"):
            reader.logpdf(only)


def test_one_head_is_enough(tmp_path):
    """Heads share a domain: it ends where one of them is not known."""
    ensemble = headed_ensemble("dense")
    theta = points(300, 5)
    known = ensemble.in_domain(theta)
    each = [ensemble.select(h).in_domain(theta) for h in range(3)]
    assert np.array_equal(known, np.all(each, axis=0))
    assert all((e & ~known).any() for e in each)
    write_onnx(ensemble, tmp_path / "model.onnx", gradient=False, metadata={})
    assert np.array_equal(OnnxModel(tmp_path / "model.onnx")(theta)["in_domain"], known)


def test_one_member_has_nobody_to_disagree_with(ensemble, theta):
    alone = replace(ensemble, members=ensemble.members[:1])
    assert alone.in_domain(theta).all()
