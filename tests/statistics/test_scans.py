"""Scans of densities with several valleys, against brute force over the one coordinate that makes them."""

import numpy as np
import pytest
from double_well import DEPTH, SLOPES, TILT, density, double_well, exact

from dnnlikelihood import Likelihood, Parameter, ParameterSpace
from dnnlikelihood.errors import ConfigError, ParameterError, ShapeError
from dnnlikelihood.statistics.profile import profile
from dnnlikelihood.statistics.scans import frozen_scan, profiled_scan
from dnnlikelihood.statistics.valleys import valleys


def test_both_valleys_are_found():
    found = valleys(density(), 64)
    well = np.array([-1.0, 1.0]) - TILT / (8 * DEPTH)
    assert len(found.logpdf) == 2
    assert not found.on_edge.any()
    assert found.n_climbs.min() > 3
    np.testing.assert_allclose(found.theta[:, 4], well, atol=0.01)
    np.testing.assert_allclose(found.theta[:, :4], np.outer(found.theta[:, 4], SLOPES), atol=1e-6)
    np.testing.assert_allclose(found.logpdf, exact(found.theta[:, :1], [0]), atol=1e-7)


def test_a_maximum_on_the_edge_is_said_to_be_there():
    found = valleys(density(bound=0.7), 32)
    assert found.on_edge.all()


def test_a_line_follows_the_higher_valley():
    x = np.linspace(-2.5, 2.5, 101)
    scan = profiled_scan(density(), "x2", x)
    np.testing.assert_allclose(scan.profiled_logpdf, exact(x[:, None], [2]), atol=2e-6)
    assert set(scan.status) == {"converged"}
    assert scan.tmu.min() >= -1e-9
    # The profile that follows one valley from the best fit misses the other: what this scan is for.
    alone = profile(density(), "x2", x, neighbours=0)
    assert np.max(exact(x[:, None], [2]) - alone.profiled_logpdf) > 0.05


def test_a_plane():
    axes = (np.linspace(-2, 2, 45), np.linspace(-3, 3, 54))
    scan = profiled_scan(density(), ("x0", "x2"), axes)
    np.testing.assert_allclose(scan.profiled_logpdf, exact(scan.points, [0, 2]), atol=2e-6)
    assert scan.points.shape == (2430, 2)
    np.testing.assert_array_equal(scan.points[:54, 1], axes[1])


def test_frozen_is_the_density_itself():
    x, at = np.linspace(-2, 2, 41), np.array([0.1, 0.2, 0.3, 0.4, -0.9, 0.0])
    scan = frozen_scan(density(), "c", x, at)
    points = np.tile(at, (41, 1))
    points[:, 4] = x
    np.testing.assert_allclose(scan.profiled_logpdf, double_well(points)[0], rtol=1e-12)
    fine = np.tile(at, (100_001, 1))
    fine[:, 4] = np.linspace(-2, 2, 100_001)
    assert scan.bestfit.value[0] == pytest.approx(double_well(fine)[0].max(), abs=1e-8)
    np.testing.assert_array_equal(np.delete(scan.bestfit.theta[0], 4), np.delete(at, 4))


@pytest.mark.parametrize(
    ("names", "axes", "error", "message"),
    [
        (("x0", "x0"), (np.arange(3.0), np.arange(3.0)), ParameterError, "two different"),
        (("x0", "x1", "x2"), (np.arange(3.0),) * 3, ParameterError, "one parameter or two"),
        ("nothing", np.arange(3.0), ParameterError, "no parameter 'nothing'"),
        ("x0", np.array([1.0, 0.0]), ShapeError, "ascending"),
        ("x0", np.array([0.0, np.nan]), ShapeError, "ascending"),
        ("x0", np.array([-7.0, 0.0]), ParameterError, "leaves its range"),
    ],
)
def test_scans_that_are_refused(names, axes, error, message):
    with pytest.raises(error, match=message):
        profiled_scan(density(), names, axes)


def test_others_frozen_out_of_their_range_are_refused():
    with pytest.raises(ParameterError, match=r"'y' is frozen at 7, outside its range \[-6, 6\]"):
        frozen_scan(density(), "c", np.arange(3.0), [0, 0, 0, 0, 9, 7])


class Cut(Likelihood):
    """A density that ends at c = -0.5, between its two valleys, as a surrogate does that was taught one side."""

    def _inside(self, theta):
        return theta[:, 4] > -0.5


def test_where_a_density_ends_before_its_maximum_is_said():
    space = density().parameters
    cut = Cut(lambda t: double_well(t)[0], space, gradient=lambda t: double_well(t)[1])
    found = valleys(cut, 32)
    np.testing.assert_allclose(found.theta[0, 4], 1.0 - TILT / (8 * DEPTH), atol=0.01)
    assert not found.on_edge[0]
    beyond = found.theta[:, 4] < 0
    assert beyond.any()
    assert found.on_edge[beyond].all()
    x = np.linspace(-2.5, 2.5, 51)
    scan = profiled_scan(cut, "x2", x, known=found)
    inside = exact(x[:, None], [2]) - scan.profiled_logpdf < 1e-5
    assert set(scan.status[inside]) == {"converged"}
    assert set(scan.status[~inside]) <= {"edge", "converged"}
    assert (scan.status == "edge").any()


@pytest.mark.parametrize("search", ["valleys", "multistart"])
@pytest.mark.parametrize("n", [5, 60])
def test_where_nothing_is_left_to_be_maximised_a_profile_is_the_density(search, n):
    """Planes of two parameters of two, in either order, as coarse and as fine as they may be; and a line of one."""

    def tilted(theta):
        return -0.5 * (theta**2 @ np.array([1.0, 4.0])[: theta.shape[1]])

    for d in (1, 2):
        space = ParameterSpace(tuple(Parameter(name=k, role="poi", bounds=(-2.0, 3.0)) for k in "ab"[:d]))
        plain = Likelihood(tilted, space, gradient=lambda theta: -theta * np.array([1.0, 4.0])[: theta.shape[1]])
        names, axes = ("b", "a")[-d:], [np.linspace(-2, 3, n), np.linspace(-1, 2, n + 1)][:d]
        scan = profiled_scan(plain, names, axes, search=search, n_starts=4)
        np.testing.assert_allclose(scan.tmu, -2 * tilted(scan.points[:, ::-1]), atol=1e-9)
        np.testing.assert_array_equal(scan.theta, scan.points[:, ::-1])


class Half(Likelihood):
    """Ends at a = b + 1."""

    def _inside(self, theta):
        return theta[:, 0] < theta[:, 1] + 1


@pytest.mark.parametrize("search", ["valleys", "multistart"])
def test_points_that_only_neighbours_lead_to_have_answers(search):
    """A unit Gaussian that ends where a = b + 1: above a = 1 its one maximum, moved there, lies outside.

    There it ends while it still rises: the answer is a bound, and says so.
    """
    space = ParameterSpace(tuple(Parameter(name=k, role="poi", bounds=(-5.0, 5.0)) for k in "abc"))
    half = Half(lambda theta: -0.5 * (theta**2).sum(axis=1), space, gradient=lambda theta: -theta)
    a = np.linspace(-5, 5, 9)
    scan = profiled_scan(half, "a", a, search=search)
    np.testing.assert_allclose(scan.tmu[a < 1], a[a < 1] ** 2, atol=1e-6)
    above = scan.tmu[a > 1] / (a**2 + (a - 1) ** 2)[a > 1]
    assert (above > 1 - 1e-6).all()
    assert (above < 1.2).all()
    assert set(scan.status[a > 1]) == {"edge"}
    assert set(scan.status[a < 1]) == {"converged"}


def test_searches_without_starts_are_refused():
    x = np.linspace(-1, 1, 5)
    for n in (0, -3, 1.5, None):
        with pytest.raises(ConfigError, match="n_starts of a scan must be a whole number >= 1"):
            profiled_scan(density(), "x2", x, known=valleys(density(), 0), n_starts=n)
    for n in (-1, 1.5, None):
        with pytest.raises(ConfigError, match="n_starts must be a whole number >= 0"):
            valleys(density(), n)
    for axes in (1.0, [], [1.0]):
        with pytest.raises(ShapeError, match="at least two"):
            profiled_scan(density(), "x2", axes)
