"""Limits on signals as drawn: contours where the limit is 1, plane by plane."""

import numpy as np
import pytest

from dnnlikelihood.errors import ShapeError
from dnnlikelihood.plots import exclusion, limits_of_signals

GRID = np.stack(np.meshgrid(np.arange(10.0), np.arange(8.0)), axis=-1).reshape(-1, 2)


def contours(ax):
    return [path.vertices for collection in ax.collections for path in collection.get_paths() if len(path.vertices)]


def test_contours_lie_where_the_limit_is_one():
    other = GRID + np.where(np.arange(len(GRID))[:, None] < 40, 0.0, np.nan)
    figure = exclusion({"all": GRID, "half": other}, {"truth": np.exp(GRID[:, 0] - 4.3)})
    left, right = figure.axes
    assert left.get_title() == "all"
    for ax, top in ((left, 7.0), (right, 3.0)):
        (line,) = contours(ax)
        np.testing.assert_allclose(line[:, 0], 4.3, atol=1e-9)
        assert line[:, 1].max() == top, "no contour where signals of another plane are"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [r"truth: $\mu_{95} = 1$"]


def test_planes_without_a_boundary_have_no_contour():
    limits = np.full(len(GRID), np.nan)
    limits[:6] = [2.0, 3.0, 4.0, 5.0, 6.0, -1.0]
    (ax,) = exclusion({"all": GRID}, {"surrogate": limits}).axes
    assert contours(ax) == []
    assert ax.get_title() == "all (all or none excluded)"
    with pytest.raises(ShapeError):
        exclusion({}, {"truth": limits})


def test_the_legend_of_limits_covers_no_points():
    truth = np.geomspace(0.01, 100, 50)
    figure = limits_of_signals(truth, {"surrogate": 1.001 * truth, "simplified": 1.1 * truth})
    figure.canvas.draw()
    (ax,) = figure.axes
    legend = ax.get_legend()
    assert legend.get_window_extent().y0 >= ax.get_window_extent().y1
    assert "largest 0.10%" in legend.get_texts()[0].get_text()
