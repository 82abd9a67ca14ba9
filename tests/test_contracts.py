"""The promises of LogDensity, held to every log-density there is."""

import numpy as np
import pytest
from contracts import CASES

from dnnlikelihood import Normal, Prior
from dnnlikelihood.errors import LikelihoodError, ParameterError, ShapeError

every = pytest.mark.parametrize("name", CASES)


def with_gradient(name):
    case = CASES[name]()
    if not case.density.has_gradient:
        pytest.skip("this density has no gradient, and says so in test_a_gradient_is_given_or_refused")
    return case


@every
def test_shapes_and_types(name):
    case = CASES[name]()
    d = len(case.density.parameters)
    theta = case.points(5)
    value = case.density.logpdf(theta)
    assert value.shape == (5,)
    assert value.dtype == np.float64
    assert np.isfinite(value).all()
    assert case.density.logpdf(theta[0]).shape == (1,)
    assert case.density.logpdf(np.empty((0, d))).shape == (0,)
    assert case.density.support(theta).dtype == bool
    assert len(set(case.density.parameters.names)) == d
    assert case.density.kind in ("likelihood", "posterior", "profiled")
    assert set(case.density.prior.terms) <= set(case.density.parameters.names)


@every
def test_points_are_accepted_by_name(name, rng):
    case = CASES[name]()
    theta, names = case.points(4), case.density.parameters.names
    by_name = {n: theta[:, names.index(n)] for n in rng.permutation(names)}
    np.testing.assert_array_equal(case.density.logpdf(by_name), case.density.logpdf(theta))
    order = rng.permutation(len(names))
    permuted = case.density.parameters.array(theta[:, order], [names[i] for i in order])
    np.testing.assert_array_equal(permuted, theta)


@every
def test_rows_are_independent(name):
    case = CASES[name]()
    theta = case.points(6)
    together = case.density.logpdf(theta)
    alone = np.array([case.density.logpdf(row)[0] for row in theta])
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-10)
    if case.density.has_gradient:
        alone = np.array([case.density.logpdf_and_grad(row)[1][0] for row in theta])
        np.testing.assert_allclose(
            case.density.logpdf_and_grad(theta)[1], alone, rtol=1e-9, atol=1e-8 + case.density.rounding
        )


@every
def test_heads_are_densities_of_their_own(name):
    """Whatever is asked of all heads at once, each selected head answers alike, and logpdf is the first."""
    case = CASES[name]()
    density, theta = case.density, case.points(4)
    if case.outside is not None:
        theta = np.vstack([theta, case.outside])
    heads = density.heads or ("logpdf",)
    assert len(set(heads)) == len(heads) == density.n_outputs
    value = density.heads_logpdf(theta)
    assert value.shape == (len(theta), len(heads))
    np.testing.assert_array_equal(np.isfinite(value), np.repeat(density.support(theta)[:, None], len(heads), axis=1))
    noise = {"rtol": 1e-12, "atol": 1e-9 + density.rounding}
    np.testing.assert_allclose(value[:, 0], density.logpdf(theta), **noise)
    for h, head in enumerate(heads):
        one = density.select(head)
        assert one.heads == ()
        assert (one.parameters, one.prior, one.kind) == (density.parameters, density.prior, density.kind)
        np.testing.assert_allclose(one.logpdf(theta), value[:, h], **noise)
        if density.has_gradient:
            values, gradients = density.heads_logpdf_and_grad(theta)
            assert gradients.shape == (*value.shape, theta.shape[1])
            np.testing.assert_allclose(values, value, **noise)
            np.testing.assert_allclose(
                gradients[:, h], one.logpdf_and_grad(theta)[1], rtol=1e-9, atol=1e-8 + 10 * density.rounding
            )
    with pytest.raises(ParameterError, match=f"no head 'nobody'; this density has '{heads[0]}'"):
        density.select("nobody")


@every
def test_labels_are_the_values(name):
    case = CASES[name]()
    density, theta = case.density, case.points(4)
    labels = density.label(theta)
    assert labels.ok.all()
    assert set(labels.reason) == {""}
    expected = density.heads_logpdf(theta) if density.heads else density.logpdf(theta)
    np.testing.assert_allclose(labels.value, expected, rtol=1e-12, atol=1e-9 + density.rounding)
    assert (labels.gradient is not None) == density.has_gradient


@every
def test_asking_does_not_change_the_points(name):
    case = CASES[name]()
    theta = case.points(3)
    before = theta.copy()
    case.density.logpdf(theta)
    if case.density.has_gradient:
        case.density.logpdf_and_grad(theta)
    np.testing.assert_array_equal(theta, before)


@every
def test_minus_infinity_outside_and_never_nan(name):
    case = CASES[name]()
    if case.outside is not None:
        mixed = np.vstack([case.points(2), case.outside])
        assert np.isfinite(case.density.logpdf(mixed)).tolist() == [True, True, False]
        assert case.density.support(mixed).tolist() == [True, True, False]
        if case.density.has_gradient:
            value, grad = case.density.logpdf_and_grad(mixed)
            assert value[2] == -np.inf
            assert np.isfinite(grad).all()
    wild = case.centre + 30 * np.random.default_rng(2).normal(size=(200, len(case.centre)))
    value = case.density.logpdf(wild)
    assert not np.isnan(value).any()
    assert (value < np.inf).all()
    bounds = case.density.parameters
    edge = np.vstack([case.points(1)] * 2)
    for i in np.flatnonzero(np.isfinite(bounds.upper)):
        edge[1] = edge[0]
        edge[1, i] = bounds.upper[i] + 1e-9
        assert case.density.logpdf(edge)[1] == -np.inf
    infinite = case.points(1)
    infinite[0, 0] = np.inf
    assert case.density.logpdf(infinite)[0] == -np.inf


@every
def test_a_gradient_is_given_or_refused(name):
    case = CASES[name]()
    if not case.density.has_gradient:
        with pytest.raises(LikelihoodError, match="no gradient"):
            case.density.logpdf_and_grad(case.points(1))


@every
def test_gradient_against_differences(name):
    case = with_gradient(name)
    theta = case.points(3)
    value, grad = case.density.logpdf_and_grad(theta)
    np.testing.assert_allclose(value, case.density.logpdf(theta), rtol=1e-12, atol=1e-10)
    h = 1e-5
    shift = h * np.eye(theta.shape[1])
    for row, g in zip(theta, grad, strict=True):
        slope = (case.density.logpdf(row + shift) - case.density.logpdf(row - shift)) / (2 * h)
        np.testing.assert_allclose(g, slope, atol=case.gradient_rtol * max(1.0, np.abs(g).max()))


@every
def test_hessian_against_differences_of_the_gradient(name):
    case = with_gradient(name)
    if not case.hessian:
        pytest.skip("the Hessian is the same as that of another case")
    theta = case.points(2)
    if case.outside is not None:
        assert np.isfinite(case.density.logpdf_grad_hess(np.vstack([theta, case.outside]))[2][:2]).all()
    value, grad, hess = case.density.logpdf_grad_hess(theta)
    np.testing.assert_allclose(value, case.density.logpdf(theta), rtol=1e-12, atol=1e-10 + case.density.rounding)
    np.testing.assert_allclose(
        grad, case.density.logpdf_and_grad(theta)[1], rtol=1e-9, atol=1e-8 + case.density.rounding
    )
    np.testing.assert_allclose(hess, hess.transpose(0, 2, 1), rtol=1e-12, atol=1e-12)
    h = 1e-5 if case.hessian_rtol < 1e-4 else 1e-3
    shift = h * np.eye(theta.shape[1])
    for row, m in zip(theta, hess, strict=True):
        up, down = (case.density.logpdf_and_grad(row + sign * shift)[1] for sign in (1, -1))
        np.testing.assert_allclose(m, (up - down) / (2 * h), atol=case.hessian_rtol * max(1.0, np.abs(m).max()))


@every
def test_the_trace_is_the_same_density(name):
    from dnnlikelihood.tracing import tensorflow

    tf = tensorflow()
    case = with_gradient(name)
    theta = case.points(3)
    if case.outside is not None:
        theta = np.vstack([theta, case.outside])
    traced = case.density.trace()

    @tf.function
    def value_and_grad(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = traced(x)
        return value, tape.gradient(value, x)

    value, grad = value_and_grad(tf.constant(theta))
    expected, slope = case.density.logpdf_and_grad(theta)
    assert value.dtype == tf.float64
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(grad.numpy()[:3], slope[:3], rtol=1e-9, atol=1e-8 + case.density.rounding)
    assert not np.isnan(grad.numpy()).any()


@every
def test_the_prior_comes_apart_from_the_likelihood(name):
    """Flat + prior = original: exchanging priors is exact, and exchanging them back restores the density."""
    case = CASES[name]()
    density, space = case.density, case.density.parameters
    theta = case.points(4)
    apart = set(density.prior.terms) - getattr(density, "shaped", frozenset())
    shaped = {n: t for n, t in density.prior.terms.items() if isinstance(t, Normal) and n in apart}
    other = Prior(
        {n: Normal(t.mean + 0.3, 2.0 * t.sigma) for n, t in shaped.items()} or {space.names[-1]: Normal(0.1, 3.0)}
    )
    changed = density.with_prior(other)
    expected = density.logpdf(theta) + other.logpdf(space, theta) - Prior(shaped).logpdf(space, theta)
    np.testing.assert_allclose(changed.logpdf(theta), expected, rtol=1e-12, atol=1e-9)
    if shaped:
        back = changed.with_prior(Prior(shaped))
        np.testing.assert_allclose(back.logpdf(theta), density.logpdf(theta), rtol=1e-12, atol=1e-9)
        assert back.prior.terms == density.prior.terms


@every
def test_points_that_are_no_points_are_refused(name):
    case = CASES[name]()
    density, d, first = case.density, len(case.centre), case.density.parameters.names[0]
    point = case.points(1)[0]
    with pytest.raises(ShapeError, match=rf"expected \(n, {d}\) with columns {first}"):
        density.logpdf(np.zeros((2, d + 1)))
    with pytest.raises(ShapeError, match=r"expected \(n, "):
        density.logpdf(np.zeros((2, 2, d)))
    with pytest.raises(ShapeError, match=f"NaN for '{first}'"):
        density.logpdf(np.where(np.arange(d) == 0, np.nan, point))
    with pytest.raises(ShapeError, match="real numbers"):
        density.logpdf(["a"] * d)
    with pytest.raises(ShapeError, match="real numbers"):
        density.logpdf(point + 1j)
    with pytest.raises(ShapeError, match=f"missing \\['{first}'\\], unknown \\['nobody'\\]"):
        density.logpdf({"nobody" if n == first else n: x for n, x in zip(density.parameters.names, point, strict=True)})
