"""Surrogate against truth: what is drawn is their difference."""

import numpy as np
import pytest

from dnnlikelihood import plots
from dnnlikelihood.errors import ParameterError, ShapeError

POINT = np.array([0.1, 1.0, -0.5])


def truth(theta):
    return -0.5 * (theta**2).sum(axis=1)


def surrogate(theta):
    return truth(theta) + 0.01 * theta[:, 0] ** 3


def test_lines_along_parameters(space):
    ranges = {"delta": (-2.0, 1.0), "mu": (-1.0, 2.0)}
    error = lambda theta: 0.1 + 0 * theta[:, 0]
    figure = plots.agreement_along(truth, surrogate, space, POINT, ranges, error=error, n_points=11)
    top, bottom = figure.axes[1], figure.axes[3]
    x = np.linspace(-1, 2, 11)
    assert np.allclose(top.lines[0].get_xdata(), x)
    assert np.allclose(top.lines[0].get_ydata(), -0.5 * (x**2 + 1.0 + 0.25))
    assert np.allclose(top.lines[1].get_ydata() - top.lines[0].get_ydata(), 0.01 * x**3)
    difference = next(line for line in bottom.lines if "Delta" in line.get_label())
    assert np.allclose(difference.get_ydata(), 0.01 * x**3)
    band = bottom.collections[0].get_paths()[0].vertices[:, 1]
    assert np.isclose(band.max(), 0.1)
    assert np.isclose(band.min(), -0.1)
    assert [ax.get_xlabel() for ax in figure.axes[2:]] == [r"$\delta_\mathrm{ISR}$", r"$\mu$"]


def test_the_line_breaks_outside_the_support(space):
    cut = lambda theta: np.where(theta[:, 0] < 0, -np.inf, truth(theta))
    top = plots.agreement_along(cut, surrogate, space, POINT, {"mu": (-1.0, 1.0)}, n_points=9).axes[0]
    assert np.isnan(top.lines[0].get_ydata()[:4]).all()
    assert np.isfinite(top.lines[0].get_ydata()[4:]).all()


def test_lines_that_cannot_be_drawn(space):
    with pytest.raises(ShapeError, match="names is empty"):
        plots.agreement_along(truth, surrogate, space, POINT, {})
    with pytest.raises(ParameterError, match="nu"):
        plots.agreement_along(truth, surrogate, space, POINT, {"nu": (0, 1)})
    with pytest.raises(ShapeError, match="must ascend"):
        plots.agreement_along(truth, surrogate, space, POINT, {"mu": (1, 0)})
    with pytest.raises(ShapeError, match="point"):
        plots.agreement_along(truth, surrogate, space, POINT[:2], {"mu": (0, 1)})
    with pytest.raises(ShapeError, match="surrogate"):
        plots.agreement_along(truth, lambda theta: theta, space, POINT, {"mu": (0, 1)})


def test_residuals_bands_and_rmse(rng):
    t = rng.normal(-330, 7, 20_000)
    noise, rough = 0.05 * rng.normal(size=len(t)), 0.5 * rng.normal(size=len(t))
    error = np.full(len(t), 0.09)
    figure = plots.residuals(t, t + noise, baseline=t + rough, error=error, bands=10)
    ours, baseline, both = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in ours.lines}
    assert len(lines["median"]) == 10
    assert np.allclose(lines["median"], 0.0, atol=5e-3)
    assert np.allclose(lines["central 68.27 %"], -0.05, atol=5e-3)
    assert np.allclose(lines[r"$\pm$ calibrated error"], 0.09)
    assert "calibrated" not in " ".join(line.get_label() for line in baseline.lines)
    shown = ours.collections[0].get_array().sum()
    assert 0.985 * len(t) < shown <= 0.99 * len(t)
    assert ours.get_xlim()[0] > t.min() + 5.0
    rmse = [np.sqrt(np.mean(x**2)) for x in (noise, rough)]
    legend = [text.get_text() for text in both.get_legend().get_texts()]
    assert legend == [f"{n}\nRMSE {r:.3g} nats" for n, r in zip(("surrogate", "baseline"), rmse, strict=True)]


def test_the_histogram_keeps_every_residual(rng):
    t = np.linspace(-10, 0, 3000)
    r = rng.normal(size=3000)
    r[0] = 100.0
    data = plots.residuals(t, t + r).axes[-1].patches[0].get_data()
    assert np.isclose((data.values * np.diff(data.edges)).sum(), 1.0)
    assert data.edges[-1] < 10


def test_a_perfect_surrogate_is_drawn():
    t = np.linspace(-10, 0, 100)
    assert len(plots.residuals(t, t).axes) == 2
    assert len(plots.residuals(t[:1], t[:1]).axes) == 2


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"truth": [], "surrogate": []}, "truth"),
        ({"truth": [1.0, 2.0], "surrogate": [1.0]}, "surrogate"),
        ({"truth": [1.0, -np.inf], "surrogate": [1.0, 1.0]}, "not finite"),
        ({"truth": [1.0, 2.0], "surrogate": [1.0, 2.0], "baseline": [1.0]}, "baseline"),
        ({"truth": [1.0, 2.0], "surrogate": [1.0, 2.0], "error": [[1.0, 2.0]]}, "error"),
    ],
)
def test_residuals_that_are_none(given, match):
    with pytest.raises(ShapeError, match=match):
        plots.residuals(**given)
