"""t_mu: curves and differences are the numbers given; the chi^2 is the chi^2."""

import json
from importlib import resources

import numpy as np
import pytest

from dnnlikelihood import plots
from dnnlikelihood.errors import DomainError, ShapeError
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.results import Fit, ProfileScan

MU = np.linspace(0.0, 1.0, 11)
EXACT = 7.4 * MU**2


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def scan(mu, t, maximum=-5.0):
    n = len(mu)
    fit = Fit(np.zeros((1, 2)), np.array([maximum]), np.array(["converged"]), np.zeros(1), np.ones(1))
    status = np.array(["converged"] * n)
    return ProfileScan(("mu",), mu[:, None], maximum - t / 2, np.zeros((n, 2)), status, fit)


def test_curves_points_and_their_errors():
    surrogate, sampled = EXACT + 0.01 * (1 + MU), EXACT[::2] - 0.2
    figure = plots.tmu((MU, EXACT), {"ours": (MU, surrogate, 0.05 + MU)}, {"samples": (MU[::2], sampled)})
    top, bottom = figure.axes
    assert np.array_equal(lines(top)["exact"].get_ydata(), EXACT)
    assert np.array_equal(lines(top)["ours"].get_ydata(), surrogate)
    assert np.array_equal(lines(top)["samples"].get_xdata(), MU[::2])
    assert np.allclose(bottom.lines[0].get_ydata(), 0.01 * (1 + MU))
    assert np.allclose(bottom.lines[1].get_ydata(), 0.2)
    band = top.collections[0].get_paths()[0].vertices
    assert np.isclose(band[:, 1].max(), surrogate[-1] + 1.05)
    assert bottom.get_yscale() == "log"
    assert [t.get_text() for t in top.get_legend().get_texts()] == ["exact", "ours", "samples"]


def test_wilks_lines():
    top = plots.tmu((MU, EXACT), {"ours": (MU, EXACT)}).axes[0]
    levels = [line.get_ydata()[0] for line in top.lines if len(set(line.get_ydata())) == 1]
    assert np.allclose(levels, [1.0000, 3.8415], atol=1e-4)
    assert [t.get_text() for t in top.texts] == ["68.27 %", "95 %"]


def test_the_published_points_of_the_paper():
    """Mean |t_mu error| of F1, F2, F3 against Powell: 0.111, 0.118, 0.032 (slides)."""
    reference = json.loads(resources.files("dnnlikelihood.reference").joinpath("toy_lhc.json").read_text("utf-8"))
    read = lambda rows: (np.array([r["mu"] for r in rows]), np.array([r["t_mu"] for r in rows]))
    networks = {name: read(rows) for name, rows in reference["t_mu_paper_DNN"].items()}
    figure = plots.tmu(read(reference["t_mu_paper_powell"]), networks, parameter=Parameter(name="mu", latex=r"\mu"))
    errors = [np.nanmean(line.get_ydata()) for line in figure.axes[1].lines]
    assert np.allclose(errors, [0.111, 0.118, 0.032], atol=1.5e-3)
    assert figure.axes[1].get_xlabel() == r"$\mu$"


def test_profile_scans_are_curves_in_any_order():
    figure = plots.tmu(scan(MU, EXACT), {"ours": scan(MU[::-1], EXACT[::-1] + 0.02)})
    assert np.allclose(figure.axes[0].lines[1].get_ydata(), EXACT + 0.02)
    assert np.allclose(figure.axes[1].lines[0].get_ydata(), 0.02)


def test_an_error_of_nothing_leaves_a_gap():
    other = EXACT + np.where(MU == 0, 0.0, 0.1)
    drawn = plots.tmu((MU, EXACT), {"ours": (MU, other)}).axes[1].lines[0].get_ydata()
    assert np.isnan(drawn[0])
    assert np.allclose(drawn[1:], 0.1)


@pytest.mark.parametrize(
    ("curves", "match"),
    [
        ({}, "at least one entry"),
        ({"a": (MU,)}, "ProfileScan"),
        ({"a": (MU, EXACT[:-1])}, "t of a"),
        ({"a": ([], [])}, "mu of a"),
        ({"a": (MU, EXACT * np.nan)}, "not finite"),
        ({"a": (MU + 0.05, EXACT)}, "shares no mu"),
        ({"a": "curve"}, "got str"),
    ],
)
def test_curves_that_are_none(curves, match):
    with pytest.raises(ShapeError, match=match):
        plots.tmu((MU, EXACT), curves)


def test_scans_and_levels_that_do_not_fit():
    both = ProfileScan(("mu", "nu"), np.zeros((2, 2)), np.zeros(2), np.zeros((2, 2)), np.array(["x"] * 2), None)
    with pytest.raises(ShapeError, match="one parameter"):
        plots.tmu(both, {"a": (MU, EXACT)})
    with pytest.raises(DomainError, match="level"):
        plots.tmu((MU, EXACT), {"a": (MU, EXACT)}, levels=[68.27])


def test_distribution_heights_and_the_asymptotic_bins(rng):
    toys = {mu: rng.chisquare(1, 2000) for mu in (0.0, 0.5, 1.0)}
    figure = plots.tmu_distribution(toys, bins=20, upper=8.0)
    edges = np.linspace(0, 8, 21)
    from scipy.stats import chi2

    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 3
    for ax, (mu, t) in zip(shown, toys.items(), strict=True):
        drawn = {p.get_label(): p.get_data() for p in ax.patches}
        assert np.allclose(drawn["pseudo-experiments"].values, np.histogram(t, edges)[0] / (2000 * 0.4))
        assert np.allclose(drawn[r"$\chi^2_1$"].values, np.diff(chi2.cdf(edges, 1)) / 0.4)
        assert f"= {mu:g}" in ax.get_title()
        assert "2000 experiments" in ax.get_title()
        assert f"{np.mean(t > 1.0):.3f}"[:4] in ax.texts[0].get_text()


def test_experiments_that_are_none():
    with pytest.raises(ShapeError, match="at least one entry"):
        plots.tmu_distribution({})
    with pytest.raises(ShapeError, match="a fit went wrong"):
        plots.tmu_distribution({0.0: [1.0, -0.2]})
    with pytest.raises(ShapeError, match="not finite"):
        plots.tmu_distribution({0.0: [1.0, np.nan]})
