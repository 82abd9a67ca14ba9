"""Profiled counting experiments: closed forms, SciPy side by side, derivatives by differences, failures that say so."""

import numpy as np
import pytest
from scipy.optimize import minimize

from dnnlikelihood.errors import ShapeError
from dnnlikelihood.sources.eft_counts import EftCounts
from dnnlikelihood.sources.eft_generated import generated
from dnnlikelihood.statistics.counting import Constraints, Observation, log_likelihood_at, maximise_nuisances
from dnnlikelihood.statistics.counting_hessian import profiled_hessian


class OnOff:
    """lambda_b = x_b + nu_b, with tau nu_b measured by a Poisson count m_b: the maximum is known."""

    def __init__(self, counts, auxiliary, rate):
        k = len(counts)
        self.observation = Observation(np.asarray(counts, float), np.zeros(k), np.asarray(auxiliary, float))
        self.constraints = Constraints(np.zeros(k), np.asarray(rate, float))
        self.lower, self.upper, self.start = np.full(k, 1e-9), np.full(k, np.inf), np.ones(k)

    def hold(self, x):
        return x

    def expected(self, held, nu):
        return held + nu

    def jacobian(self, held, nu):
        return held + nu, np.broadcast_to(np.eye(nu.shape[1]), (len(nu), nu.shape[1], nu.shape[1]))

    def inputs_jacobian(self, x, nu):
        return np.broadcast_to(np.eye(nu.shape[1]), (len(nu), nu.shape[1], nu.shape[1]))


class LogNormal:
    """lambda_b = (s_b x + b_b) exp(sum_k nu_k a_kb) + f_b nu_last: normal nuisances, and a free normalisation."""

    def __init__(self, rng, bins, nuisances, *, free=True):
        self.signal, self.background = rng.uniform(1, 5, bins), rng.uniform(5, 80, bins)
        self.effect = rng.normal(0, 0.12, (nuisances, bins))
        self.fake = rng.uniform(1, 6, bins)
        self.effect[-1] = 0.0
        k = nuisances
        precision = np.ones(k)
        precision[-1] = 0.0 if free else 1.0
        counts = rng.poisson(self.signal + self.background + self.fake).astype(float)
        self.observation = Observation(counts, np.zeros(k), np.zeros(k))
        self.constraints = Constraints(precision, np.zeros(k))
        self.lower, self.upper, self.start = np.full(k, -5.0), np.full(k, 5.0), np.zeros(k)
        self.lower[-1], self.start[-1] = 0.0, 1.0

    def hold(self, x):
        return x * self.signal + self.background

    def expected(self, held, nu):
        return held * np.exp(nu @ self.effect) + self.fake * nu[:, -1:]

    def jacobian(self, held, nu):
        expected = self.expected(held, nu)
        slope = (held * np.exp(nu @ self.effect))[:, :, None] * self.effect.T
        slope[:, :, -1] += self.fake
        return expected, slope

    def inputs_jacobian(self, x, nu):
        return (self.signal * np.exp(nu @ self.effect))[:, :, None]


def on_off_answer(x, n, m, tau):
    """The positive root of (1 + tau) b^2 - (n + m - (1 + tau) x) b - m x = 0."""
    half = n + m - (1 + tau) * x
    return (half + np.sqrt(half**2 + 4 * (1 + tau) * m * x)) / (2 * (1 + tau))


def test_on_off_has_its_closed_form(rng):
    n, m, tau = rng.poisson(12, 6), rng.poisson(20, 6) + 1, rng.uniform(0.5, 4, 6)
    x = rng.uniform(0.0, 10, (200, 6))
    fit = maximise_nuisances(OnOff(n, m, tau), x)
    assert fit.converged.all()
    np.testing.assert_allclose(fit.nu, on_off_answer(x, n, m, tau), rtol=2e-5)
    assert not fit.at_bound.any()


def test_every_row_may_have_its_own_data(rng):
    n, m = rng.poisson(9, (50, 3)).astype(float), rng.poisson(7, (50, 3)) + 1.0
    x, tau = rng.uniform(0, 5, (50, 3)), np.array([0.5, 1.0, 3.0])
    seen = Observation(n, np.zeros(3), m)
    fit = maximise_nuisances(OnOff(np.ones(3), np.ones(3), tau), x, seen)
    np.testing.assert_allclose(fit.nu, on_off_answer(x, n, m, tau), rtol=2e-5)
    alone = maximise_nuisances(OnOff(n[17], m[17], tau), x[17:18])
    np.testing.assert_allclose(alone.value[0], fit.value[17], atol=1e-12)


@pytest.mark.parametrize(("bins", "nuisances"), [(4, 12), (15, 6)], ids=["bin space", "nuisance space"])
def test_maxima_are_scipys_or_higher(rng, bins, nuisances):
    model = LogNormal(rng, bins, nuisances)
    x = np.linspace(-1, 12, 5)[:, None]
    fit = maximise_nuisances(model, x)
    assert fit.converged.all()
    np.testing.assert_allclose(fit.value, log_likelihood_at(model, x, fit.nu), rtol=1e-14)
    for i in range(len(x)):

        def cost(nu, i=i):
            return -log_likelihood_at(model, x[i : i + 1], nu[None])[0]

        found = minimize(
            cost, model.start, bounds=list(zip(model.lower, model.upper, strict=True)), options={"maxfun": 10**5}
        )
        assert -2e-5 < fit.value[i] + found.fun < 2e-4
    assert fit.at_bound.any(), "large signals push the free normalisation to its bound"
    assert not fit.at_bound.all()


def test_asimov_data_are_fitted_perfectly(rng):
    model = LogNormal(rng, 8, 5, free=False)
    nu = rng.normal(size=(30, 5)) * 0.7
    nu[:, -1] = rng.uniform(0.2, 3, 30)
    x = rng.uniform(0, 5, (30, 1))
    seen = Observation(model.expected(model.hold(x), nu), nu, np.zeros(5))
    fit = maximise_nuisances(model, x, seen)
    np.testing.assert_allclose(fit.value, 0.0, atol=1e-9)
    np.testing.assert_allclose(fit.nu, nu, atol=1e-4)
    np.testing.assert_allclose(fit.gradient, 0.0, atol=1e-4)


def test_gradients_are_those_of_the_maximum(rng):
    model = LogNormal(rng, 6, 9)
    x = rng.uniform(-1, 6, (40, 1))
    fit = maximise_nuisances(model, x, tolerance=1e-14)
    up, down = (maximise_nuisances(model, x + h, tolerance=1e-14, gradient=False).value for h in (1e-3, -1e-3))
    np.testing.assert_allclose(fit.gradient[:, 0], (up - down) / 2e-3, atol=2e-6)


def test_the_hessian_is_that_of_the_maximum():
    model = EftCounts(generated(3))
    low, high = model.model.low, model.model.high
    x = np.random.default_rng(2).uniform(0.4 * low, 0.4 * high, (6, 16))
    fit = maximise_nuisances(model, x, tolerance=1e-13)
    hess = profiled_hessian(model, x, fit.nu)
    np.testing.assert_allclose(hess, hess.transpose(0, 2, 1), atol=1e-5)
    for i in (0, 2, 9):
        h = np.zeros(16)
        h[i] = 1e-3 * (high - low)[i]
        up, down = (maximise_nuisances(model, x + s * h, start=fit.nu, tolerance=1e-14).gradient for s in (1, -1))
        np.testing.assert_allclose(hess[:, i], (up - down) / (2 * h[i]), atol=2e-3 * np.abs(hess).max())


def test_the_order_and_the_pool_do_not_matter(rng):
    model = LogNormal(rng, 5, 20)
    x = rng.uniform(-1, 12, (301, 1))
    fit = maximise_nuisances(model, x)
    for other in (maximise_nuisances(model, x[::-1], pool=7), maximise_nuisances(model, x[::-1], pool=1000)):
        np.testing.assert_allclose(other.value[::-1], fit.value, atol=1e-9)


def test_a_start_at_the_answer_saves_the_way(rng):
    model = LogNormal(rng, 5, 20)
    x = rng.uniform(0, 8, (64, 1))
    cold = maximise_nuisances(model, x)
    warm = maximise_nuisances(model, x + 0.01, start=cold.nu)
    assert warm.converged.all()
    assert warm.iterations.mean() < 0.7 * cold.iterations.mean()


def test_bins_without_counts_and_impossible_ones():
    class Subtracted(OnOff):
        def expected(self, held, nu):
            return held + nu - 5.0

        def jacobian(self, held, nu):
            return self.expected(held, nu), super().jacobian(held, nu)[1]

    fit = maximise_nuisances(OnOff([0.0, 3.0], [2.0, 2.0], [1.0, 1.0]), np.array([[1.0, 1.0]]))
    assert fit.converged.all()
    np.testing.assert_allclose(fit.nu[0, 0], on_off_answer(1.0, 0.0, 2.0, 1.0), rtol=1e-6)
    fit = maximise_nuisances(Subtracted([4.0], [6.0], [1.0]), np.array([[1.0], [6.0]]))
    assert fit.status.tolist() == ["outside", "converged"]
    assert fit.value[0] == -np.inf
    assert (fit.gradient[0] == 0).all()


def test_a_wrong_slope_is_no_convergence(rng):
    """A negative control: steps that do not climb are reported, not labelled."""

    class Wrong(LogNormal):
        def jacobian(self, held, nu):
            expected, slope = super().jacobian(held, nu)
            return expected, -slope

    fit = maximise_nuisances(Wrong(rng, 5, 8), np.array([[9.0], [11.0]]))
    assert not fit.converged.any()
    assert set(fit.status) <= {"stalled", "iterations"}
    assert (fit.error > 1e-3).all()


def test_too_few_iterations_are_said(rng):
    fit = maximise_nuisances(LogNormal(rng, 5, 8), np.array([[9.0]]), max_iterations=2)
    assert fit.status.tolist() == ["iterations"]


def test_shapes_are_checked(rng):
    model = LogNormal(rng, 5, 8)
    seen = model.observation
    for x, kwargs in (
        (np.array([1.0]), {}),
        (np.array([[np.nan]]), {}),
        (np.ones((2, 1)), {"start": np.zeros((3, 8))}),
        (np.ones((2, 1)), {"observation": Observation(np.ones(4), seen.means, seen.auxiliary)}),
        (np.ones((2, 1)), {"observation": Observation(-np.ones(5), seen.means, seen.auxiliary)}),
    ):
        with pytest.raises(ShapeError):
            maximise_nuisances(model, x, **kwargs)
    assert len(maximise_nuisances(model, np.zeros((0, 1))).value) == 0
