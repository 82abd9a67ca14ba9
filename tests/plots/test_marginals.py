"""Corners: histograms, HPDI edges and contours are those of the samples."""

import dataclasses

import numpy as np
import pytest

from dnnlikelihood import ParameterSpace, plots
from dnnlikelihood.errors import DomainError, ParameterError, ShapeError
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.plots.style import SURROGATE, TRUTH
from dnnlikelihood.statistics.hpdi import hpdi


def diagonal(figure, d):
    return [figure.axes[i * d + i] for i in range(d)]


def edges_drawn(ax, colour=TRUTH):
    return sorted({line.get_xdata()[0] for line in ax.lines if line.get_color() == colour})


def test_one_panel_a_pair_and_no_more(samples, space):
    figure = plots.corner({"truth": samples.theta, "surrogate": samples.theta + 0.1}, space)
    assert len(figure.axes) == 9
    assert [ax.axison for ax in figure.axes] == [True, False, False, True, True, False, True, True, True]
    assert [ax.get_xlabel() for ax in figure.axes[6:]] == [r"$\mu$", "m jet [GeV]", r"$\delta_\mathrm{ISR}$"]
    assert figure.axes[3].get_ylabel() == "m jet [GeV]"
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    assert names[:2] == ["truth", "surrogate"]
    assert names[2:] == ["68.27 % HPD region", "95.45 % HPD region", "99.73 % HPD region"]


def test_histograms_are_those_of_the_samples(samples, space):
    figure = plots.corner({"truth": samples.theta}, space, ["delta", "mu"], bins=17)
    for ax, column in zip(diagonal(figure, 2), (2, 0), strict=True):
        drawn = ax.patches[0].get_data()
        counts = np.histogram(samples.theta[:, column], drawn.edges)[0]
        assert len(drawn.values) == 17
        assert np.allclose(drawn.values, counts / len(samples.theta) / np.diff(drawn.edges))


def test_lines_and_titles_are_the_hpdi(samples, space):
    """n_eff of Samples is that of its verdict."""
    halved = dataclasses.replace(samples, verdict=dataclasses.replace(samples.verdict, ess=np.full(3, 800.0)))
    ax = diagonal(plots.corner({"truth": halved}, space, ["mu"]), 1)[0]
    found = [hpdi(samples.column("mu"), level, n_eff=800.0).intervals[0] for level in (0.6827, 0.9545, 0.9973)]
    assert np.allclose(edges_drawn(ax), sorted(e for i in found for e in (i.low, i.high)))
    text = ax.texts[0].get_text().replace("−", "-")
    assert text == f"68 % HPDI [{found[0].low:.3f}, {found[0].high:.3f}]"


def test_a_shifted_surrogate_is_seen_shifted(samples, space):
    figure = plots.corner({"truth": samples.theta, "surrogate": samples.theta + 0.5}, space, ["mu", "delta"])
    for ax in diagonal(figure, 2):
        assert np.allclose(np.array(edges_drawn(ax, SURROGATE)) - edges_drawn(ax, TRUTH), 0.5, atol=1e-6)


def test_contours_hold_their_probability(rng):
    """A standard Gaussian: the contour of level p is the circle of radius sqrt(-2 log(1 - p))."""
    space = ParameterSpace.of("x", "y")
    figure = plots.corner({"truth": rng.normal(size=(200_000, 2))}, space)
    (contours,) = figure.axes[2].collections
    radii = sorted(float(np.median(np.hypot(*path.vertices.T))) for path in contours.get_paths())
    expected = np.sqrt(-2 * np.log(1 - np.array([0.6827, 0.9545, 0.9973])))
    assert np.allclose(radii, expected, rtol=0.03)


def test_weights_move_everything(rng):
    """Weights exp(a x) shift a standard Gaussian by a."""
    space = ParameterSpace.of("x", "y")
    theta = rng.normal(size=(50_000, 2))
    weights = np.exp(0.5 * theta[:, 0])
    ax = diagonal(plots.corner({"truth": theta}, space, ["x"], weights={"truth": weights}), 1)[0]
    edges = edges_drawn(ax)
    assert np.allclose([edges[2], edges[3]], [-0.5, 1.5], atol=0.04)


def test_bounds_are_not_smeared_over(rng):
    space = ParameterSpace((Parameter(name="x", bounds=(0.0, np.inf)),))
    ax = plots.corner({"truth": rng.exponential(size=(50_000, 1))}, space).axes[0]
    assert min(edges_drawn(ax)) == 0.0
    assert np.isclose(edges_drawn(ax)[1], -np.log(1 - 0.6827), atol=0.02)


@pytest.mark.parametrize(
    ("given", "options", "error", "match"),
    [
        ({}, {}, ShapeError, "at least one entry"),
        ({"a": np.zeros((10, 2))}, {}, ShapeError, r"expected \(n, 3\)"),
        ({"a": np.full((10, 3), np.nan)}, {}, ShapeError, "not finite"),
        ({"a": np.zeros((0, 3))}, {}, ShapeError, "at least one value"),
        ({"a": np.ones((50, 3))}, {}, ShapeError, "constant"),
        ({"a": np.eye(3)}, {"names": ["nu"]}, ParameterError, "nu"),
        ({"a": np.eye(3)}, {"levels": ()}, ShapeError, "0 levels"),
        ({"a": np.eye(3)}, {"weights": {"b": [1, 1, 1]}}, ShapeError, "'b'"),
        ({"a": np.eye(3)}, {"weights": {"a": [1, 1]}}, ShapeError, "weights"),
    ],
)
def test_samples_that_are_none(space, given, options, error, match):
    with pytest.raises(error, match=match):
        plots.corner(given, space, **options)


def test_more_refusals(samples, space):
    with pytest.raises(DomainError, match="level"):
        plots.corner({"a": samples.theta}, space, levels=[68.0])
    with pytest.raises(ShapeError, match="other parameters"):
        plots.corner({"a": samples}, space.rename({"mu": "nu"}))
    many = ParameterSpace.of(*(f"x{i}" for i in range(13)))
    with pytest.raises(ShapeError, match="up to 12"):
        plots.corner({"a": np.zeros((10, 13))}, many)
