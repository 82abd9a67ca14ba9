"""Figures of samplings show the numbers they were given."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from dnnlikelihood import plots
from dnnlikelihood.errors import ParameterError, ShapeError
from dnnlikelihood.sampling.convergence import gelman_rubin, running_tau


def texts(legend):
    return [t.get_text() for t in legend.get_texts()]


def test_histograms_of_logpdf(rng):
    a, b = rng.normal(-330, 7, 4000), rng.normal(-300, 9, 3000)
    ax = plots.logpdf_distributions({"S1": a, "S2": b}, maximum=-285.8, bins=30).axes[0]
    edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 31)
    for patch, values, name in zip(ax.patches, (a, b), ("S1", "S2"), strict=True):
        assert np.allclose(patch.get_data().values, np.histogram(values, edges, density=True)[0])
        assert patch.get_label() == name
    assert texts(ax.get_legend()) == ["S1", "S2", "maximum"]
    assert ax.lines[0].get_xdata()[0] == -285.8
    assert ax.get_yscale() == "log"


def test_weights_and_given_axes(rng):
    values, weights = rng.normal(size=500), rng.uniform(size=500)
    figure = Figure()
    ax = figure.add_subplot()
    assert plots.logpdf_distributions({"S": values}, weights={"S": weights}, bins=10, ax=ax) is figure
    expected = np.histogram(values, 10, weights=weights, density=True)[0]
    assert np.allclose(ax.patches[0].get_data().values, expected)


def test_a_constant_sampling_is_drawn():
    assert plots.logpdf_distributions({"S": np.full(5, -3.0)}).axes[0].patches


@pytest.mark.parametrize(
    ("samplings", "weights", "match"),
    [
        ({}, None, "at least one entry"),
        ([1.0], None, "mapping"),
        ({"S": []}, None, "log-density of S"),
        ({"S": [0.0, -np.inf]}, None, "not finite"),
        ({"S": [0.0, 1.0]}, {"S": [1.0]}, "weights of S"),
        ({"S": [0.0, 1.0]}, {"T": [1.0, 1.0]}, "'T'"),
    ],
)
def test_samplings_that_are_none(samplings, weights, match):
    with pytest.raises(ShapeError, match=match):
        plots.logpdf_distributions(samplings, weights=weights)


def test_gelman_rubin(samples, space):
    development = gelman_rubin(samples.chains, [20, 60, 200])
    top, bottom = plots.gelman_rubin(development, space, ["delta", "mu"]).axes
    drawn = [line.get_ydata() for line in top.lines[:2]]
    assert np.array_equal(drawn, development.r_c[:, [2, 0]].T)
    both = [line.get_ydata() for line in bottom.lines[:4]]
    assert np.array_equal(both[0], development.sqrt_v[:, 2])
    assert np.array_equal(both[1], development.sqrt_w[:, 2])
    assert np.array_equal(top.lines[0].get_xdata(), [20, 60, 200])
    assert texts(top.get_legend()) == [r"$\delta_\mathrm{ISR}$", r"$\mu$"]


def test_gelman_rubin_that_does_not_fit(samples, space):
    development = gelman_rubin(samples.chains, [20, 60])
    with pytest.raises(ShapeError, match="r_c"):
        plots.gelman_rubin(dataclasses.replace(development, r_c=development.r_c[:, :2]), space)
    with pytest.raises(ParameterError, match="nu"):
        plots.gelman_rubin(development, space, ["nu"])


def test_autocorrelation(samples, space):
    steps = [50, 100, 200]
    tau = running_tau(samples.chains, steps)
    ax = plots.autocorrelation(steps, tau, space).axes[0]
    assert np.array_equal([line.get_ydata() for line in ax.lines[:3]], tau.T)
    assert np.allclose(ax.lines[3].get_ydata(), [1, 2, 4])
    assert texts(ax.get_legend())[-1] == r"$\tau = S/50$"
    with pytest.raises(ShapeError, match="tau"):
        plots.autocorrelation([50, 100], tau, space)


def test_chains(samples, space):
    figure = plots.chains(samples, space, ["delta", "mu"], n_chains=3)
    first, second, last = figure.axes
    assert np.array_equal([line.get_ydata() for line in first.lines], samples.chains[:, [0, 4, 7], 2].T)
    assert np.array_equal(second.lines[0].get_ydata(), samples.chains[:, 0, 0])
    assert np.array_equal(last.lines[2].get_ydata(), samples.logpdf[:, 7])
    assert [ax.get_ylabel() for ax in figure.axes] == [r"$\delta_\mathrm{ISR}$", r"$\mu$", "log-density"]
    assert first.get_title(loc="right") == "3 of 8 chains"


def test_chains_that_do_not_fit(samples, space):
    with pytest.raises(ShapeError, match="0 chains"):
        plots.chains(samples, space, ["mu"], n_chains=0)
    with pytest.raises(ShapeError, match="logpdf"):
        plots.chains(dataclasses.replace(samples, logpdf=samples.logpdf[1:]), space, ["mu"])
    with pytest.raises(ParameterError, match="nu"):
        plots.chains(samples, space, ["nu"])
