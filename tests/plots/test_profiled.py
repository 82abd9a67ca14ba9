"""Distributions and residuals in delta NLL show the numbers they are given."""

import numpy as np
import pytest

from dnnlikelihood import plots
from dnnlikelihood.errors import ShapeError

TOP = -12.0


def test_rows_are_counted_by_their_delta_nll(rng):
    near, far = TOP - rng.exponential(2.0, 4000), TOP - rng.uniform(0, 30, 500)
    ax = plots.delta_nll_distributions({"near": near, "far": far}, TOP).axes[0]
    counts = [patch.get_data().values for patch in ax.patches]
    assert [c.sum() for c in counts] == [4000, 500]
    edges = ax.patches[0].get_data().edges
    assert edges[0] == 0
    np.testing.assert_array_equal(counts[0], np.histogram(np.minimum(TOP - near, edges[-1]), edges)[0])
    assert ax.get_yscale() == "log"


def test_what_is_not_accurate_is_marked(rng):
    """Allowed are 0.05 below 5 nats and 1 % above: errors of 0.1 count where delta NLL < 10."""
    drop = np.linspace(0.5, 40, 80)
    figure = plots.delta_nll_residuals(TOP - drop, TOP - drop - 0.1, TOP)
    good, bad = figure.axes[0].lines[:2]
    np.testing.assert_allclose(bad.get_xdata(), drop[drop <= 10])
    np.testing.assert_allclose(good.get_xdata(), drop[drop > 10])
    np.testing.assert_allclose(good.get_ydata(), 0.1, err_msg="the residual is that of delta NLL")
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert f"{np.mean(drop > 10):.2%}" in legend[0]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ShapeError, match="above top"):
        plots.delta_nll_distributions({"all": [-11.0]}, TOP)
    with pytest.raises(ShapeError):
        plots.delta_nll_distributions({}, TOP)
    with pytest.raises(ShapeError):
        plots.delta_nll_residuals([-13.0, -14.0], [-13.0], TOP)
    with pytest.raises(ShapeError, match="not finite"):
        plots.delta_nll_residuals([-13.0], [np.nan], TOP)
