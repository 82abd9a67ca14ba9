"""Maxima from starts of each question's own, against closed forms, brute force, and valleys that only they can find."""

import numpy as np
import pytest
from double_well import SLOPES, density, double_well, exact

from dnnlikelihood import Likelihood, Parameter, ParameterSpace
from dnnlikelihood.errors import ConfigError
from dnnlikelihood.statistics.multistart import descend, multistart_maxima
from dnnlikelihood.statistics.profile import profile
from dnnlikelihood.statistics.scans import profiled_scan
from dnnlikelihood.statistics.valleys import valleys

COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 4.0, -30.0], [0.0, -30.0, 900.0]])
MEAN = np.array([0.5, -1.0, 20.0])


def gaussian(bound: float = 300.0) -> Likelihood:
    """Standard deviations of 1, 2 and 30: a step that fits one parameter fits no other."""
    precision = np.linalg.inv(COVARIANCE)
    space = ParameterSpace(tuple(Parameter(name=n, role="poi", bounds=(-bound, bound)) for n in "abc"))

    def logpdf(theta):
        apart = theta - MEAN
        return -0.5 * np.einsum("ni,ij,nj->n", apart, precision, apart)

    return Likelihood(logpdf, space, gradient=lambda theta: -(theta - MEAN) @ precision)


def test_a_gaussian_is_exact():
    """max over b, c of logpdf = -(a - mean)^2 / (2 variance), at the conditional means."""
    a = np.linspace(-3, 4, 15)
    fit = multistart_maxima(gaussian(), a[:, None], np.array([0]), MEAN, 8)
    np.testing.assert_allclose(fit.value, -0.5 * (a - MEAN[0]) ** 2, atol=1e-9)
    along = MEAN[1:] + np.outer(a - MEAN[0], COVARIANCE[0, 1:])
    np.testing.assert_allclose(fit.theta[:, 1:], along, atol=1e-3)
    assert fit.converged.all()


def test_bounds_are_kept():
    """Where b would lie beyond 3 it rests there."""
    a = np.array([9.0])
    fit = multistart_maxima(gaussian(bound=10.0), a[:, None], np.array([0]), np.array([0.5, -1.0, 9.0]), 8)
    assert (np.abs(fit.theta) <= 10).all()
    b, c = np.meshgrid(np.linspace(-10, 10, 401), np.linspace(-10, 10, 401))
    brute = gaussian(bound=10.0).logpdf(np.stack([np.full(b.size, 9.0), b.ravel(), c.ravel()], axis=1)).max()
    assert fit.value[0] == pytest.approx(brute, abs=1e-2)
    assert fit.value[0] >= brute - 1e-9


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_both_valleys_are_found_whichever_is_known(side):
    """Begun about the lower valley, whose height the logarithms then count from, as about the higher."""
    x = np.linspace(-2.5, 2.5, 41)
    known = np.array([*(side * SLOPES), side, 0.0])
    fit = multistart_maxima(density(), x[:, None], np.array([2]), known, 16)
    np.testing.assert_allclose(fit.value, exact(x[:, None], [2]), atol=2e-6)


def test_few_iterations_without_climbs_are_not_exact():
    """A negative control: the descent alone, and a short one, fall short of what the climbs reach; a long one less."""
    rng = np.random.default_rng(3)
    start = rng.uniform(-6, 6, (512, 6))
    start[:, 2] = 0.4
    top = exact(np.array([[0.4]]), [2])[0]
    best = np.array([*(-SLOPES), -1.0, 0.0])
    short, long = (
        top - double_well(descend(density(), start, np.array([2]), best, iterations=n, rounds=1))[0] for n in (4, 60)
    )
    assert np.median(short) > 0.3
    assert np.quantile(long, 0.25) < 1e-3
    assert np.median(long) < 0.1 * np.median(short)


def test_a_false_reference_is_mended():
    """Counted from 200 nats too low, where all logarithms would be of negative numbers."""
    best = np.zeros(6)
    best[5] = 3.7
    assert double_well(best[None])[0][0] < -200
    fit = multistart_maxima(density(), np.array([[0.4]]), np.array([2]), best, 16)
    np.testing.assert_allclose(fit.value, exact(np.array([[0.4]]), [2]), atol=2e-6)


class Ring(Likelihood):
    """A Gaussian in (a, b, c) that ends at b = c: half of all steps lead out of its support."""

    def _inside(self, theta):
        return theta[:, 1] < theta[:, 2]


def test_starts_that_leave_the_support_stop_nobody():
    plain = gaussian()
    cut = Ring(plain.logpdf, plain.parameters, gradient=lambda t: plain.logpdf_and_grad(t)[1])
    a = np.linspace(-2, 3, 11)
    fit = multistart_maxima(cut, a[:, None], np.array([0]), MEAN, 16)
    np.testing.assert_allclose(fit.value, -0.5 * (a - MEAN[0]) ** 2, atol=1e-9)
    nowhere = Ring(plain.logpdf, plain.parameters, gradient=lambda t: plain.logpdf_and_grad(t)[1])
    held = np.array([[5.0, 4.0]])
    assert multistart_maxima(nowhere, held, np.array([1, 2]), MEAN, 4).status.tolist() == ["outside"]


class Ball(Likelihood):
    """A Gaussian that ends three standard deviations from its mean: of a box of 600 nearly nothing."""

    def _inside(self, theta):
        return (((theta - MEAN) / np.sqrt(np.diag(COVARIANCE))) ** 2).sum(axis=1) < 9


def test_where_nearly_all_of_the_box_is_outside_starts_are_drawn_in():
    plain = gaussian()
    ball = Ball(plain.logpdf, plain.parameters, gradient=lambda t: plain.logpdf_and_grad(t)[1])
    a = MEAN[0] + np.linspace(-2, 2, 9)
    fit = multistart_maxima(ball, a[:, None], np.array([0]), MEAN, 32)
    np.testing.assert_allclose(fit.value, -0.5 * (a - MEAN[0]) ** 2, atol=1e-9)


def cusp(theta):
    """-6 [b^4/4 - a b^2/2 + (1 - a/2) b + 0.6 a^2] in (a, b): from a = 1.1 on b has a second valley, deeper from a = 2.

    Along that valley the density falls with a from where it opens, so that it holds no maximum of the whole density.
    """
    a, b = theta.T
    value = -6 * (b**4 / 4 - a * b**2 / 2 + (1 - a / 2) * b + 0.6 * a**2)
    return value, -6 * np.stack([-(b**2) / 2 - b / 2 + 1.2 * a, b**3 - a * b + 1 - a / 2], axis=1)


def with_cusp():
    """The cusp in (a, b), and a Gaussian in c; and the profile of a, by brute force over b."""
    space = ParameterSpace(tuple(Parameter(name=n, role="poi", bounds=(-4.0, 4.0)) for n in "abc"))

    def logpdf_and_grad(theta):
        value, grad = cusp(theta[:, :2])
        return value - 0.5 * theta[:, 2] ** 2, np.concatenate([grad, -theta[:, 2:]], axis=1)

    def brute(a):
        b = np.linspace(-4, 4, 8001)
        return np.array([cusp(np.stack([np.full_like(b, x), b], axis=1))[0].max() for x in a])

    return Likelihood(lambda t: logpdf_and_grad(t)[0], space, gradient=lambda t: logpdf_and_grad(t)[1]), brute


@pytest.mark.parametrize("search", ["valleys", "multistart"])
def test_a_valley_that_no_maximum_leads_to(search):
    density, brute = with_cusp()
    a, c = np.linspace(-1, 4, 41), np.linspace(-2, 2, 31)
    line = profiled_scan(density, "a", a, search=search, n_starts=16)
    np.testing.assert_allclose(line.profiled_logpdf, brute(a), atol=1e-4)
    plane = profiled_scan(density, ("a", "c"), (a, c), search=search, n_starts=16)
    exact = brute(a)[:, None] - 0.5 * c**2
    np.testing.assert_allclose(plane.profiled_logpdf.reshape(41, 31), exact, atol=1e-4)


def test_what_few_points_find_reaches_all_others_of_a_fine_scan():
    density, brute = with_cusp()
    a = np.linspace(-1, 4, 601)
    scan = profiled_scan(density, "a", a, n_starts=16)
    np.testing.assert_allclose(scan.profiled_logpdf, brute(a), atol=1e-4)


def test_from_known_valleys_alone_it_is_missed():
    """A negative control: one maximum, and its profile follows it to where another valley lies far deeper."""
    density, brute = with_cusp()
    a, known = np.linspace(-1, 4, 41), valleys(density, 32)
    assert len(known.theta) == 1
    missed = brute(a) - profile(density, "a", a, starts=known.theta).profiled_logpdf
    assert missed[a < 1].max() < 1e-4
    assert missed[-1] > 20


def test_scans_are_the_same_and_a_plane_is_refined_between_the_descents():
    x = np.linspace(-2.5, 2.5, 41)
    line = profiled_scan(density(), "x2", x, search="multistart", n_starts=8)
    np.testing.assert_allclose(line.profiled_logpdf, exact(x[:, None], [2]), atol=2e-6)
    plane = profiled_scan(density(), ("x0", "x2"), (x, x[:30]), search="multistart", n_starts=4)
    np.testing.assert_allclose(plane.profiled_logpdf, exact(plane.points, [0, 2]), atol=2e-6)
    with pytest.raises(ConfigError, match="'valleys', 'multistart', got 'luck'"):
        profiled_scan(density(), "x2", x, search="luck")


@pytest.mark.parametrize("offset", [0.0, -1.0, np.nan, np.inf])
def test_an_offset_that_is_not_positive_is_refused(offset):
    with pytest.raises(ConfigError, match="must be positive"):
        descend(gaussian(), MEAN[None] + 1, np.array([0]), MEAN, offset=offset)
