"""New densities from old, against answers in closed form."""

import numpy as np
import pytest
from contracts import COVARIANCE, MEAN, SPACE, banana, gaussian, toy
from profiled_gaussian import ProfiledGaussian
from scipy import stats

from dnnlikelihood import Likelihood, Normal, ParameterSpace, Prior, Uniform, combine
from dnnlikelihood.errors import DomainError, LikelihoodError, ParameterError, ShapeError


def normal(mean, covariance, names):
    return Likelihood.from_source("gaussian", mean=list(mean), covariance=np.asarray(covariance).tolist(), names=names)


def test_two_gaussians_give_the_product(rng):
    other_mean, other_covariance = np.array([0.0, 1.0, -1.0]), np.diag([0.5, 2.0, 1.0])
    names = ["a", "b", "c"]
    product = combine([gaussian(), normal(other_mean, other_covariance, names)], shared=names)
    p1, p2 = np.linalg.inv(COVARIANCE), np.linalg.inv(other_covariance)
    covariance = np.linalg.inv(p1 + p2)
    mean = covariance @ (p1 @ MEAN + p2 @ other_mean)
    theta = rng.normal(size=(100, 3))
    value, grad, hess = product.logpdf_grad_hess(theta)
    exact = stats.multivariate_normal(mean, covariance)
    difference = value - exact.logpdf(theta)
    np.testing.assert_allclose(difference, difference[0], atol=1e-11)
    np.testing.assert_allclose(grad, -(theta - mean) @ (p1 + p2), atol=1e-11)
    np.testing.assert_allclose(hess, np.repeat(-(p1 + p2)[None], 100, axis=0), atol=1e-11)


def test_correlated_priors_are_a_bivariate_normal(rng):
    flat = Likelihood(lambda theta: np.zeros(len(theta)), ParameterSpace.of("x"), prior=Prior({"x": Normal(1.0, 2.0)}))
    other = Likelihood(
        lambda theta: np.zeros(len(theta)), ParameterSpace.of("y"), prior=Prior({"y": Normal(-1.0, 0.5)})
    )
    theta = 2 * rng.normal(size=(200, 2))
    for rho in (-0.95, 0.0, 0.6):
        both = combine([flat, other], correlated={("x", "y"): rho})
        exact = stats.multivariate_normal([1.0, -1.0], [[4.0, rho], [rho, 0.25]])
        np.testing.assert_allclose(both.logpdf(theta), exact.logpdf(theta), rtol=1e-12, atol=1e-11)


def test_a_shared_prior_counts_once(rng):
    prior = Prior({"b": Normal(0.3, 0.7)})
    first = gaussian().with_prior(prior)
    second = gaussian().rename({"a": "d", "c": "e"}).with_prior(prior)
    both = combine([first, second], shared=["b"])
    theta = rng.normal(size=(50, 5))
    assert both.parameters.names == ("a", "b", "c", "d", "e")
    expected = gaussian().logpdf(theta[:, :3]) + gaussian().logpdf(theta[:, [3, 1, 4]])
    expected += stats.norm.logpdf(theta[:, 1], 0.3, 0.7)
    np.testing.assert_allclose(both.logpdf(theta), expected, atol=1e-11)


def test_condition_is_the_slice(rng):
    theta = rng.normal(size=(50, 3))
    theta[:, 1] = 0.7
    sliced = gaussian().condition({"b": 0.7})
    assert sliced.parameters.names == ("a", "c")
    np.testing.assert_allclose(sliced.logpdf(theta[:, [0, 2]]), gaussian().logpdf(theta), atol=1e-12)
    full = toy().condition({"mu": 0.5})
    zero = np.zeros(95)
    zero[0] = 0.5
    assert full.logpdf(np.zeros(94))[0] == pytest.approx(toy().logpdf(zero)[0], abs=1e-10)


def test_reparametrise_is_the_image(rng):
    matrix = rng.normal(size=(3, 3))
    phi = rng.normal(size=(50, 3))
    new = gaussian().reparametrise(matrix, ["u", "v", "w"])
    np.testing.assert_allclose(new.logpdf(phi), gaussian().logpdf(phi @ matrix.T), atol=1e-10)


def test_reparametrise_keeps_an_untouched_parameter_and_its_prior():
    density = gaussian().with_prior(Prior({"c": Normal(0.0, 1.0), "a": Normal(0.0, 3.0)}))
    new = density.reparametrise([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], ["u", "v", "c"])
    assert new.prior.terms == {"c": Normal(0.0, 1.0)}
    assert new.has_flat_prior("u") is False  # the prior of `a` leaks into it
    assert new.with_prior(Prior({"c": Normal(1.0, 2.0)})).prior.terms == {"c": Normal(1.0, 2.0)}


def test_with_prior_exchanges_one_prior_for_another(rng):
    theta = np.abs(rng.normal(size=(50, 3)))
    density = gaussian().with_prior(Prior({"a": Uniform(0.0, 5.0), "b": Normal(1.0, 2.0)}))
    assert density.kind == "posterior"
    expected = gaussian().logpdf(theta) - np.log(5.0) + stats.norm.logpdf(theta[:, 1], 1.0, 2.0)
    np.testing.assert_allclose(density.logpdf(theta), expected, atol=1e-11)
    wider = density.with_prior(Prior({"a": Uniform(-10.0, 10.0)}))
    theta[:, 0] = -7.0
    assert (density.logpdf(theta) == -np.inf).all()
    assert np.isfinite(wider.logpdf(theta)).all()  # the old range is gone with the old prior
    assert not density.has_flat_prior("b")
    assert density.has_flat_prior("a")


def test_gradients_are_there_only_if_all_have_them():
    without = Likelihood(banana, SPACE)
    assert not combine([gaussian(), without]).has_gradient
    assert not without.condition({"y": 0.0}).has_gradient
    assert combine([gaussian(), Likelihood(banana, SPACE, gradient="finite-difference")]).has_gradient


PRIOR_B = Prior({"b": Normal()})


def leaky():
    """u = a / 2 + ... with a normal prior on a: the prior is in the density, but no longer in `prior`."""
    density = gaussian().with_prior(Prior({"a": Normal(0.0, 1.0)}))
    return density.reparametrise([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], ["u", "b", "c"])


def correlated_pair():
    flat = [
        Likelihood(lambda theta: np.zeros(len(theta)), ParameterSpace.of(n), prior=Prior({n: Normal()})) for n in "xy"
    ]
    return combine(flat, correlated={("x", "y"): 0.7})


def test_a_prior_that_leaks_into_new_parameters_is_remembered():
    assert not leaky().has_flat_prior("u")
    other = Likelihood(lambda theta: np.zeros(len(theta)), ParameterSpace.of("z"))
    identity = leaky().reparametrise(np.eye(3), ["u", "b", "c"])
    for density in (leaky().condition({"b": 0.0}), leaky().with_prior(PRIOR_B), combine([leaky(), other]), identity):
        assert not density.has_flat_prior("u")
        assert density.has_flat_prior("c")
    assert not leaky().rename({"u": "w"}).has_flat_prior("w")


BAD = {
    "one": (lambda: combine([gaussian()]), ParameterError, "at least two"),
    "equal names": (lambda: combine([gaussian(), gaussian()]), ParameterError, "list it in `shared`"),
    "nobody shares": (
        lambda: combine([gaussian(), Likelihood(banana, SPACE)], shared=["a"]),
        ParameterError,
        r"\['a'\] are not in two",
    ),
    "different priors": (
        lambda: combine(
            [gaussian().with_prior(PRIOR_B), gaussian().with_prior(Prior({"b": Normal(1.0)}))], shared=["a", "b", "c"]
        ),
        ParameterError,
        "'b' has different priors",
    ),
    "different bounds": (
        lambda: combine([gaussian().rename({"a": "x"}), Likelihood(banana, SPACE)], shared=["x"]),
        ParameterError,
        "different bounds",
    ),
    "correlation without prior": (
        lambda: combine([gaussian(), Likelihood(banana, SPACE)], correlated={("a", "x"): 0.5}),
        ParameterError,
        "needs two parameters with Normal priors",
    ),
    "correlation of one": (
        lambda: combine(
            [
                gaussian().with_prior(PRIOR_B),
                gaussian().rename({"a": "d", "b": "e", "c": "f"}).with_prior(Prior({"e": Normal()})),
            ],
            correlated={("b", "e"): 1.0},
        ),
        ParameterError,
        "-1 < rho < 1",
    ),
    "prior of nobody": (lambda: gaussian().with_prior(Prior({"z": Normal()})), ParameterError, "no parameter 'z'"),
    "nothing free": (lambda: gaussian().condition(dict.fromkeys("abc", 0.0)), ParameterError, "no free parameter"),
    "fixed outside": (lambda: Likelihood(banana, SPACE).condition({"x": 9.0}), DomainError, "x = 9.0 is outside"),
    "matrix shape": (lambda: gaussian().reparametrise(np.eye(2), ["u", "v"]), ShapeError, r"expected \(3, 2\)"),
    "matrix rank": (lambda: gaussian().reparametrise(np.ones((3, 2)), ["u", "v"]), ShapeError, "rank deficient"),
    "rename of nobody": (lambda: gaussian().rename({"z": "y"}), ParameterError, "no parameter 'z'"),
    "rename to a twin": (lambda: gaussian().rename({"a": "b"}), ParameterError, "duplicate"),
    "a leaked prior exchanged": (
        lambda: leaky().rename({"u": "w"}).with_prior(Prior({"w": Normal()})),
        ParameterError,
        r"prior of \['w'\] .* cannot be taken out",
    ),
    "a correlated prior exchanged": (
        lambda: correlated_pair().condition({"y": 0.0}).with_prior(Prior({"x": Normal(0.0, 9.0)})),
        ParameterError,
        r"prior of \['x'\] is correlated",
    ),
    "head": (lambda: gaussian().select("nll"), ParameterError, "no head 'nll'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case):
    make, error, message = BAD[case]
    with pytest.raises(error, match=message):
        make()


def test_fingerprints_tell_compositions_apart():
    source = Likelihood.from_source("gaussian", mean=[0.0, 1.0])
    same = [source.condition({"x0": 0.5}).fingerprint for _ in range(2)]
    others = {
        source.condition({"x0": 0.6}).fingerprint,
        source.with_prior(Prior({"x0": Normal()})).fingerprint,
        source.rename({"x0": "a"}).fingerprint,
        Likelihood.from_source("gaussian", mean=[0.0, 2.0]).condition({"x0": 0.5}).fingerprint,
    }
    assert same[0] == same[1]
    assert len(others | set(same)) == 5


def test_no_prior_is_no_posterior():
    assert gaussian().with_prior(Prior({})).kind == "likelihood"
    assert ProfiledGaussian().with_prior(Prior({})).kind == "profiled"
    assert gaussian().with_prior(Prior({"a": Normal()})).kind == "posterior"
    assert gaussian().with_prior(Prior({"a": Normal()})).with_prior(Prior({})).kind == "posterior"


def test_heads_go_through_every_composition(rng):
    """Against the closed form, head by head: a line in the space of the coefficients, under a prior."""
    density = ProfiledGaussian()
    matrix = np.array([[1.0, 0.0], [0.5, 0.2], [0.0, 1.0]])
    prior = Prior({"s": Normal(0.2, 0.7)})
    composed = density.reparametrise(matrix, ["s", "t"]).with_prior(prior)
    phi = 0.4 * rng.normal(size=(20, 2))
    expected = density.heads_logpdf(phi @ matrix.T) + stats.norm.logpdf(phi[:, :1], 0.2, 0.7)
    assert composed.heads == ("observed", "asimov")
    np.testing.assert_allclose(composed.heads_logpdf(phi), expected, atol=1e-11)
    np.testing.assert_allclose(composed.select("asimov").logpdf(phi), expected[:, 1], atol=1e-11)
    assert composed.kind == "posterior"


def test_likelihoods_of_different_heads_do_not_add_up():
    with pytest.raises(ParameterError, match=r"different heads.*select\(head\) from each first"):
        combine([ProfiledGaussian(), gaussian()])
    both = combine([ProfiledGaussian().select("asimov"), gaussian()])
    assert both.heads == ()


def test_a_label_of_a_sum_stands_where_every_term_stands():
    one, other = ProfiledGaussian(fails=0.5), ProfiledGaussian(seed=6, fails=1.0).rename({"c1": "e1"})
    both = combine([one, other], shared=["c0", "c2"])
    theta = np.array([[0.4, 0.1, 0, 0], [0.7, 0.1, 0, 0], [1.5, 0.1, 0, 0], [3.0, 0.1, 0, 0]])
    value, gradient, ok, reason = both.label(theta)
    assert ok.tolist() == [True, False, False, True]
    assert reason.tolist() == ["", "not converged", "not converged", ""]
    assert value[3].tolist() == [-np.inf, -np.inf]
    np.testing.assert_allclose(value[0], both.heads_logpdf(theta[0])[0], atol=1e-12)
    np.testing.assert_allclose(gradient[0], both.heads_logpdf_and_grad(theta[0])[1][0], atol=1e-12)
    assert both.select("observed").label(theta).value.shape == (4,)


def test_a_density_that_misstates_its_heads_is_refused():
    density = ProfiledGaussian()
    density.heads = ("observed", "asimov", "expected")
    with pytest.raises(LikelihoodError, match=r"shape \(1, 2\) for 1 points, expected \(1, 3\)"):
        density.heads_logpdf(np.zeros(3))
