"""Scans as lines and as contours, of Gaussians whose regions are known."""

import numpy as np
import pytest

from dnnlikelihood import ParameterSpace, plots
from dnnlikelihood.errors import ShapeError
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.results import Fit, ProfileScan

SPACE = ParameterSpace((Parameter(name="a", role="poi", latex="c_a"), Parameter(name="b", role="poi")))


def line(shift=0.0, top=-3.0):
    x = np.linspace(-4, 4, 33)
    theta = np.stack([x, 0 * x + 7], axis=1)
    value = top - 0.5 * (x - shift) ** 2
    best = Fit(np.array([[shift, 7.0]]), np.array([top]), np.array(["converged"]), *[np.zeros(1)] * 2)
    return ProfileScan(("a",), x[:, None], value, theta, np.full(33, "converged"), best)


def plane():
    x, y = np.linspace(-4, 4, 41), np.linspace(-4, 4, 31)
    points = np.stack([a.ravel() for a in np.meshgrid(x, y, indexing="ij")], axis=1)
    value = -0.5 * (points**2).sum(axis=1)
    best = Fit(np.zeros((1, 2)), np.zeros(1), np.array(["converged"]), *[np.zeros(1)] * 2)
    return ProfileScan(("a", "b"), points, value, points, np.full(len(points), "converged"), best)


def test_lines_are_shifted_to_their_own_minimum_or_not():
    curves = {"a": {"exact": line(), "surrogate": line(0.5, top=-2.5)}}
    for shifted, lowest in ((True, 0.0), (False, -1.0)):
        ax = plots.scan_lines(curves, parameters=SPACE, shifted=shifted).axes[0]
        exact, surrogate = ax.lines[:2]
        assert exact.get_ydata().min() == pytest.approx(0.0)
        assert surrogate.get_ydata().min() == pytest.approx(lowest)
        assert ax.get_xlabel() == "$c_a$"


def test_contours_have_the_radii_of_two_degrees_of_freedom():
    figure = plots.scan_contours([{"exact": plane()}], parameters=SPACE)
    ax = figure.axes[0]
    rings = [c for c in ax.collections if len(c.get_paths()) == 2]
    lines = rings[-1].get_paths()
    radii = [np.hypot(*p.vertices.T).mean() for p in lines]
    np.testing.assert_allclose(radii, np.sqrt([2.2958, 5.9915]), rtol=0.02)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ShapeError):
        plots.scan_lines({})
    with pytest.raises(ShapeError, match="scan_contours"):
        plots.scan_lines({"a": {"exact": plane()}})
    with pytest.raises(ShapeError, match="grid"):
        plots.scan_contours([{"exact": line()}])
    with pytest.raises(ShapeError):
        plots.scan_contours([])


def test_three_regions_are_drawn_and_named():
    figure = plots.scan_contours([{"exact": plane()}], levels=(0.6827, 0.9545, 0.9973))
    lines = [c for c in figure.axes[0].collections if len(c.get_paths()) == 3][-1]
    radii = [np.hypot(*p.vertices.T).mean() for p in lines.get_paths()]
    np.testing.assert_allclose(radii, np.sqrt([2.2958, 6.18, 11.83]), rtol=0.02)
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert sorted(legend) == sorted(["exact", "68.27 %", "95.45 %", "99.73 %"])


def test_the_best_fit_is_marked_where_some_points_have_no_answer():
    """Such points have no maximiser, and a surrogate's planes have some."""
    scan = plane()
    theta = np.insert(scan.points, 0, 5.0, axis=1)
    value, theta[:7] = scan.profiled_logpdf.copy(), np.nan
    value[:7] = -np.inf
    best = Fit(np.array([[5.0, 0.5, -0.25]]), np.zeros(1), np.array(["converged"]), *[np.zeros(1)] * 2)
    ax = plots.scan_contours([{"exact": ProfileScan(scan.names, scan.points, value, theta, scan.status, best)}]).axes[0]
    assert [line.get_xydata().tolist() for line in ax.lines if line.get_label() == "exact"] == [[[0.5, -0.25]]]


def test_unshifted_lines_leave_no_empty_half_below_them():
    for top, lowest in ((-2.5, -1.1), (-3.0, -0.2)):
        figure = plots.scan_lines({"a": {"exact": line(), "surrogate": line(top=top)}}, shifted=False)
        assert figure.axes[0].get_ylim() == pytest.approx((lowest, 9.0))
        assert [t.get_text() for t in figure.legends[0].get_texts()] == ["exact", "surrogate"]
    assert not plots.scan_lines({"a": {"scan": line()}}).legends, "one curve needs no name"
