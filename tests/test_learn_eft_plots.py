"""Figures of scans, on Gaussians whose scans are known: each curve is what it says, of truth and surrogate."""

import numpy as np
import pytest

from dnnlikelihood import Likelihood, Parameter, ParameterSpace
from dnnlikelihood.learn_eft_plots import PAIRS, ScanPlots

RHO = 0.6


def gaussian(names, shift, bound=4.0):
    """Unit variances, the first two correlated; centred at `shift` in all."""
    d = len(names)
    covariance = np.eye(d)
    covariance[0, 1] = covariance[1, 0] = RHO
    precision = np.linalg.inv(covariance)
    space = ParameterSpace(tuple(Parameter(name=n, role="poi", bounds=(-bound, bound)) for n in names))
    return Likelihood(
        lambda t: -0.5 * np.einsum("ni,ij,nj->n", t - shift, precision, t - shift), space,
        gradient=lambda t: -(t - shift) @ precision,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scans():
    names = ("ctW", "ctZ", "ctG")
    return ScanPlots(gaussian(names, 0.0), gaussian(names, 0.3))


def lines(ax):
    return {line.get_label(): line.get_xydata().T for line in ax.lines if not line.get_label().startswith("_")}


def test_frozen_and_profiled_lines_are_the_parabolas(scans):
    for figure, exact in ((scans.frozen(9), lambda x: x**2 / (1 - RHO**2)), (scans.profiled(n_points=9), np.square)):
        shown = lines(figure.axes[0])
        assert list(shown) == ["exact", "surrogate"]
        x, t = shown["exact"]
        np.testing.assert_allclose(t, exact(x), atol=1e-6)
    x, t = lines(scans.profiled(n_points=9).axes[0])["surrogate"]
    np.testing.assert_allclose(t, (x - 0.3) ** 2, atol=1e-6)


def test_profiles_are_drawn_where_they_are_of_interest(scans):
    """t = x^2 <= 9 on a range of 30 standard deviations: nearly all of it would be empty."""
    wide = ScanPlots(gaussian(("a", "b"), 0.0, bound=30.0), gaussian(("a", "b"), 0.0, bound=30.0))
    x, t = lines(wide.profiled(n_points=9).axes[0])["exact"]
    np.testing.assert_allclose(t, x**2, atol=1e-6)
    assert 9 <= t[0] < 36
    low, high = wide.profiled_pairs(n_points=9).axes[0].get_xlim()
    assert 6 <= high - low < 12


def test_unshifted_curves_count_from_the_truth(scans):
    names = ("ctW", "ctZ")
    truth = gaussian(names, 0.0)
    higher = Likelihood(
        lambda t: truth.logpdf(t) + 0.5, truth.parameters, gradient=lambda t: truth.logpdf_and_grad(t)[1]
    )
    shown = lines(ScanPlots(truth, higher).profiled(n_points=9, shifted=False).axes[0])
    np.testing.assert_allclose(shown["surrogate"][1], shown["exact"][1] - 1.0, atol=1e-6)


def test_pairs_are_those_of_cms_or_neighbours(scans):
    assert scans.pairs == [PAIRS[-1]]
    assert [ax.get_xlabel() for ax in scans.frozen_pairs(9).axes] == ["ctW"]
    assert [ax.get_ylabel() for ax in scans.profiled_pairs(n_points=9).axes] == ["ctZ"]
    others = ScanPlots(gaussian(("a", "b", "c", "d"), 0.0), gaussian(("a", "b", "c", "d"), 0.1))
    assert others.pairs == [("a", "b"), ("c", "d")]
    assert others.scanned == ("a", "b", "c", "d")
    assert not others.combines


def test_the_combination_is_that_of_the_formula(scans):
    """x10 is ctW + (sqrt 3 / 2) ctZ, so the best fit at 0.3 and 0.3 lies at x9 = -0.15, x10 = 0.56."""
    ax = scans.combination(21).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x9", "x10")
    x, y = lines(ax)["surrogate"]
    at = np.array([[np.sqrt(3), 1.0], [-2.0, 0.0]]) @ [x[0], y[0]]
    np.testing.assert_allclose(at, 0.3, atol=1e-4)


def test_one_coefficient_alone_has_no_pairs():
    space = ParameterSpace((Parameter(name="a", role="poi", bounds=(-4.0, 4.0)),))
    alone = Likelihood(lambda t: -0.5 * (t**2).sum(axis=1), space, gradient=lambda t: -t)
    assert set(ScanPlots(alone, alone).figures()) == {"frozen", "profiled", "unshifted"}
