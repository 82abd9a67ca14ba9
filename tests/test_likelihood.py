"""Likelihood: from sources and from anybody's function, and what is refused."""

import json

import numpy as np
import pytest
from contracts import SPACE, banana, gaussian, toy

from dnnlikelihood import Likelihood, Normal, ParameterSpace, Prior
from dnnlikelihood.errors import (
    ConfigError,
    LikelihoodError,
    MissingArtifact,
    NotSerializable,
    ParameterError,
    SchemaError,
)

LINE = ParameterSpace.of("x", poi="x")


def line(function, **options):
    return Likelihood(function, LINE, **options)


def test_vectorised_or_one_point_at_a_time(rng):
    theta = rng.normal(size=(20, 2))
    one = Likelihood(lambda point: banana(point[None])[0], SPACE, vectorised=False)
    np.testing.assert_array_equal(one.logpdf(theta), Likelihood(banana, SPACE).logpdf(theta))


def test_the_function_is_never_asked_outside_the_bounds():
    asked = []

    def remember(theta):
        asked.append(theta.copy())
        return np.zeros(len(theta))

    density = Likelihood(remember, SPACE)
    value = density.logpdf([[0.0, 0.0], [4.5, 0.0], [-5.5, 0.0]])
    assert value.tolist() == [0.0, -np.inf, -np.inf]
    assert np.vstack(asked).tolist() == [[0.0, 0.0]]


def test_differences_at_an_edge_are_one_sided():
    density = line(
        lambda theta: np.where(theta[:, 0] <= 1.0, -3.0 * theta[:, 0], -np.inf), gradient="finite-difference"
    )
    value, grad = density.logpdf_and_grad([[1.0], [1.0 + 1e-3]])
    assert value.tolist() == [-3.0, -np.inf]
    assert grad[0, 0] == pytest.approx(-3.0, rel=1e-6)
    assert grad[1, 0] == 0.0


RETURNS = {
    "NaN": (lambda t: np.full(len(t), np.nan), "logpdf is nan at point 0 of 2 .* x=1"),
    "+inf": (lambda t: np.full(len(t), np.inf), "logpdf is inf at point 0"),
    "a number": (lambda t: 0.0, r"returned float64 of shape \(\) for 2 points.*pass vectorised=False"),
    "a column": (lambda t: np.zeros((len(t), 1)), r"of shape \(2, 1\) for 2 points"),
    "complex": (lambda t: np.zeros(len(t), complex), "returned complex128"),
    "text": (lambda t: ["a"] * len(t), "expected real numbers"),
    "None": (lambda t: [None] * len(t), "returned object"),
}


@pytest.mark.parametrize("case", RETURNS)
def test_functions_that_return_no_log_density(case):
    function, message = RETURNS[case]
    with pytest.raises(LikelihoodError, match=message):
        line(function).logpdf([[1.0], [2.0]])


def test_a_gradient_that_is_none():
    with pytest.raises(LikelihoodError, match=r"gradient .* has shape \(2,\)"):
        line(lambda t: -(t[:, 0] ** 2), gradient=lambda t: t[:, 0]).logpdf_and_grad([[1.0], [2.0]])
    with pytest.raises(LikelihoodError, match="gradient is not finite"):
        line(lambda t: -(t[:, 0] ** 2), gradient=lambda t: t * np.nan).logpdf_and_grad([[1.0]])


def test_what_is_no_space_and_no_prior_is_refused_at_birth():
    with pytest.raises(ConfigError, match="a ParameterSpace and prior a Prior, got list"):
        Likelihood(banana, ["x", "y"])
    with pytest.raises(ConfigError, match="and dict"):
        Likelihood(banana, ParameterSpace.of("x"), prior={"x": Normal()})
    with pytest.raises(ParameterError, match="no parameter 'z'"):
        Likelihood(banana, ParameterSpace.of("x"), prior=Prior({"z": Normal()}))
    with pytest.raises(ConfigError, match="source 'gaussian': could not convert"):
        Likelihood.from_source("gaussian", mean=["a"], covariance=[[1.0]])


def test_an_error_inside_the_function_is_passed_on():
    def broken(theta):
        raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside") as passed_on:
        line(broken).logpdf([[1.0]])
    assert "theta of shape (1, 1); pass vectorised=False if it takes one point" in passed_on.value.__notes__[0]


def test_settings_that_are_refused():
    with pytest.raises(ConfigError, match="must be callable"):
        line(3.0)
    with pytest.raises(ConfigError, match="'finite-difference'"):
        line(banana, gradient="auto")
    with pytest.raises(ConfigError, match="no source 'toy'; there are"):
        Likelihood.from_source("toy")


def test_a_recipe_comes_back_and_a_callable_has_none(tmp_path):
    gaussian().save(tmp_path / "g")
    loaded = Likelihood.load(tmp_path / "g")
    assert loaded.fingerprint == gaussian().fingerprint
    assert loaded.parameters == gaussian().parameters
    np.testing.assert_array_equal(loaded.logpdf([0.1, 0.2, 0.3]), gaussian().logpdf([0.1, 0.2, 0.3]))
    with pytest.raises(NotSerializable, match="no recipe"):
        line(banana).save(tmp_path / "callable")
    assert not (tmp_path / "callable").exists()


def test_fingerprints_tell_likelihoods_apart():
    prints = [gaussian(), toy(), toy("normalised"), line(banana), line(banana, prior=Prior({"x": Normal()}))]
    assert len({p.fingerprint for p in prints}) == len(prints)


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(MissingArtifact, match="is not a folder"):
        Likelihood.load(tmp_path / "nothing")
    gaussian().save(tmp_path / "g")
    path = tmp_path / "g" / "metadata.json"
    document = json.loads(path.read_text())
    for change, error, message in (
        ({"noun": "data"}, SchemaError, "holds a data, not a likelihood"),
        ({"schema": "likelihood/9"}, SchemaError, "upgrade"),
        ({"parents": ["x"]}, SchemaError, "parents"),
        ({"recipe": {"source": "os", "arguments": {}}}, ConfigError, "no source 'os'"),
    ):
        path.write_text(json.dumps(document | change))
        with pytest.raises(error, match=message):
            Likelihood.load(tmp_path / "g")
