"""Figures of discriminants show the numbers they were given."""

import numpy as np
import pytest

from dnnlikelihood import plots
from dnnlikelihood.discriminants.examples import shifted_gaussian, two_signals
from dnnlikelihood.discriminants.gradient import CrossEntropy, Sannt
from dnnlikelihood.discriminants.repetitions import Spread
from dnnlikelihood.discriminants.templates import fill
from dnnlikelihood.discriminants.uncertainty import expected_uncertainty
from dnnlikelihood.errors import ShapeError
from dnnlikelihood.networks.descent import DescentConfig


@pytest.fixture(scope="module")
def example():
    return shifted_gaussian(1, n=1_000, n_test=20_000)


@pytest.fixture(scope="module")
def templates(example):
    edges = np.linspace(-1, 2, 5)
    return fill(example.test, lambda x: np.searchsorted(edges, x.mean(axis=1)), 6)


def test_scans(templates):
    figure = plots.strength_scans({"one": templates})
    solid, dashed = figure.axes[0].lines[:2]
    total = expected_uncertainty(templates).total[0]
    at = np.interp(1 - total, solid.get_xdata(), solid.get_ydata())
    assert at == pytest.approx(1, abs=0.15)
    assert (dashed.get_ydata() >= solid.get_ydata() - 1e-9).all()
    with pytest.raises(ShapeError, match="empty"):
        plots.strength_scans({})


def test_impacts(example, templates):
    bars = plots.strength_impacts({"one": templates}).axes[0].patches
    several = plots.strength_impacts(dict.fromkeys("abcde", templates))
    several.draw_without_rendering()
    assert several.axes[0].get_legend().get_window_extent().x1 <= several.bbox.x1, "all names are on the figure"
    assert bars[0].get_width() == pytest.approx(expected_uncertainty(templates).impacts[0, 0])
    with pytest.raises(ShapeError, match="no nuisances"):
        plots.strength_impacts({"one": fill(example.test.only([]), lambda x: np.zeros(len(x), int), 1)})


def test_templates(templates):
    top, bottom = plots.shifted_templates(templates).axes
    np.testing.assert_allclose(top.patches[0].get_data().values, templates.nominal[1])
    shift = templates.up[0].sum(axis=0) / templates.total
    np.testing.assert_allclose(bottom.patches[1].get_data().values, shift)


def test_signals_have_lines_of_their_own_and_many_bins_few_ticks():
    model = two_signals(1, n=500, n_test=10).train
    edges = np.linspace(-2, 3, 63)
    top, bottom = plots.shifted_templates(fill(model, lambda x: np.searchsorted(edges, x[:, 0]), 64)).axes
    lines = [patch for patch in top.patches if patch.get_label().startswith("signal")]
    assert len({line.get_edgecolor() for line in lines}) == 2
    assert len(bottom.get_xticks()) <= 20


def test_evolution(example):
    short = DescentConfig(widths=(8,), n_steps=20, pretraining_steps=10)
    trained = Sannt(training=short).fit(example.train, validation=example.validation, progress=False)
    top, bottom = plots.training_evolution({"SANNT": trained}, bound=0.356).axes
    np.testing.assert_array_equal(top.lines[0].get_ydata(), trained.history["uncertainty"])
    np.testing.assert_array_equal(bottom.lines[0].get_ydata(), trained.history["occupied_bins"])
    entropy = CrossEntropy(training=short).fit(example.train, validation=example.validation, progress=False)
    plots.training_evolution({"cross entropy": entropy})


def test_repetitions():
    spread = Spread(("r",), np.array([[0.4], [0.42], [0.41]]), np.full((3, 1), 0.3))
    figure = plots.repeated_trainings({"one": spread}, bound=0.36)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["one"]
    two = Spread(("r", "q"), np.array([[0.4, 0.1], [0.42, 0.12]]), np.full((2, 2), 0.3))
    figure = plots.repeated_trainings({"one": two}, "q")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [0.1, 0.12])


def test_shares_of_classes():
    shares = np.array([[0.9, 0.1], [0.25, 0.75]])
    ax = plots.shares_of_classes(shares, ["S", "B"]).axes[0]
    assert [t.get_text() for t in ax.texts] == ["90", "10", "25", "75"]
    np.testing.assert_array_equal(ax.images[0].get_array(), shares)
    with pytest.raises(ShapeError, match="3 processes"):
        plots.shares_of_classes(shares, ["S", "A", "B"])
