"""The figure of a binned search, against the toy's own numbers and a counting model made by hand."""

import json
from importlib import resources

import numpy as np
import pytest

from dnnlikelihood import Normal, ParameterSpace, Prior, plots
from dnnlikelihood.errors import ParameterError, ShapeError
from dnnlikelihood.plots.binned import _poisson
from dnnlikelihood.sources import Counting, Source, build

CATEGORIES = {"low": 30, "middle": 30, "high": 30}


@pytest.fixture(scope="module")
def toy():
    return build("toy_lhc")


@pytest.fixture(scope="module")
def table():
    return json.loads(resources.files("dnnlikelihood.sources").joinpath("toy_lhc.json").read_text("utf-8"))


def stairs(ax):
    return {patch.get_label(): patch.get_data() for patch in ax.patches}


def made(expected, observed, names=("mu", "one", "all"), poi="mu"):
    """A source of its counts alone."""
    terms = {n: Normal(0.0, 2.0) if n == "one" else Normal() for n in names if n != "mu"}
    counting = Counting(expected, np.asarray(observed, float))
    return Source("made", {}, ParameterSpace.of(*names, poi=poi), Prior(terms), counting.log_likelihood, counting)


def test_the_toy_is_drawn_with_its_own_numbers(toy, table):
    figure = plots.search(toy, CATEGORIES)
    top, bottom = figure.axes
    drawn = stairs(top)
    assert np.allclose(drawn["background"].values, table["background"], rtol=1e-12)
    assert np.allclose(drawn[r"signal, $\mu$ = 1"].values, table["signal"], atol=1e-10)
    points = top.containers[0]
    assert points.get_label() == "observed"
    assert np.array_equal(points[0].get_ydata(), table["observed"])
    assert [t.get_text() for t in top.texts] == list(CATEGORIES)
    names = [t.get_text() for legend in figure.legends for t in legend.get_texts()]
    assert {"observed", "background"} <= set(names)
    assert sum(r"+1\sigma" in n for n in names) == 4
    assert top.get_yscale() == "log"
    assert bottom.get_xlim() == (0.5, 90.5)


def test_the_band_is_the_monte_carlo_error_and_no_more(toy, table):
    """(1 + eps)^(+-1): the half-difference of each bin, from its own nuisance alone."""
    top = plots.search(toy, CATEGORIES).axes[0]
    eps, b = np.array(table["eps_mc_stat"]), np.array(table["background"])
    half = 0.5 * b * ((1 + eps) - 1 / (1 + eps))
    assert np.allclose(stairs(top)[r"uncorrelated $\pm1\sigma$"].values, b + half, rtol=1e-10)


def test_correlated_and_uncorrelated_are_told_apart():
    """nu = (10 + s) mu-independent: `one` moves bin 0 by 1 a unit (sigma 2), `all` both bins by 3 and 4."""

    def expected(theta):
        mu, one, both = theta[:, :1], theta[:, 1:2], theta[:, 2:3]
        return 20.0 + mu * [[5.0, 6.0]] + one * [[1.0, 0.0]] + both * [[3.0, 4.0]]

    top, bottom = plots.search(made(expected, [18, 0]), mu=2.0).axes
    drawn = stairs(top)
    assert np.allclose(drawn[r"uncorrelated $\pm1\sigma$"].values, [22.0, 20.0])
    assert np.allclose(drawn[r"correlated $\pm1\sigma$"].values, [23.0, 24.0])
    assert np.allclose(drawn["signal, mu = 2"].values, [10.0, 12.0])
    ratio = stairs(bottom)
    assert np.allclose(ratio[r"all $+1\sigma$"].values, [1.15, 1.2])
    assert np.allclose(ratio[r"$-1\sigma$"].values, [0.85, 0.8])
    assert not any("one" in name for name in ratio)


def test_two_correlated_nuisances_add_in_quadrature_on_each_side():
    def expected(theta):
        return 100.0 + theta[:, 1:2] * [[3.0, 3.0]] - theta[:, 2:3] * [[4.0, 4.0]] + theta[:, :1] * [[1.0, 1.0]]

    top = plots.search(made(expected, [100, 100], names=("mu", "a", "b"))).axes[0]
    lines = [p.get_data().values for p in top.patches if p.get_linestyle() == "--"]
    assert np.allclose(lines, [[105.0, 105.0], [95.0, 95.0]])


def test_poisson_intervals():
    """0 events: (0, 1.841); 1 event: (0.173, 3.300); central 68.27 % (PDG, statistics)."""
    low, high = _poisson(np.array([0.0, 1.0]))
    assert np.allclose(low, [0.0, 1 - 0.1728], atol=1e-4)
    assert np.allclose(high, [1.8410, 2.2995], atol=1e-4)


def test_a_point_beyond_the_ratio_axis_becomes_an_arrow():
    expected = lambda theta: 10.0 + theta[:, :1] * [[1.0, 1.0]] + theta[:, 1:2] * [[1.0, 1.0]] + 0 * theta[:, 2:3]
    arrows = plots.search(made(expected, [50, 10])).axes[1].lines
    marked = [line.get_xdata() for line in arrows if line.get_marker() == "^"]
    assert [list(x) for x in marked] == [[1.0]]


@pytest.mark.parametrize("bad", [{"a": 30}, {"a": 90, "b": 0}, {}, {"a": 91}])
def test_categories_that_do_not_fit(toy, bad):
    with pytest.raises(ShapeError, match="90 bins"):
        plots.search(toy, bad)


def test_sources_that_cannot_be_drawn():
    gaussian = build("gaussian", {"mean": [0.0], "covariance": [[1.0]]})
    with pytest.raises(ShapeError, match="does not count"):
        plots.search(gaussian)
    flat = made(lambda theta: 1.0 + 0 * theta[:, :2], [1, 1], poi=())
    with pytest.raises(ParameterError, match="one parameter of interest"):
        plots.search(flat)
