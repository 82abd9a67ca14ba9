"""Scans, valleys and disjoint intervals of densities whose answers are known in closed form."""

import numpy as np
import pytest
from scipy.optimize import brentq
from surrogates import MEAN, SPACE, gaussian_ensemble

from dnnlikelihood import DnnLik, Inference, Likelihood, Parameter, ParameterSpace
from dnnlikelihood.errors import ConfigError, DomainError, ParameterError, ShapeError
from dnnlikelihood.networks.recipe import DnnLikConfig
from dnnlikelihood.priors import Prior
from dnnlikelihood.statistics.teststats import threshold

DEPTH, TILT, SLOPE = 6.0, 0.25, 0.7


def wells(theta):
    """-DEPTH (c^2 - 1)^2 - TILT c - (x - SLOPE c)^2 / 2, and its gradient: two valleys in c."""
    c, x = theta.T
    value = -DEPTH * (c**2 - 1) ** 2 - TILT * c - 0.5 * (x - SLOPE * c) ** 2
    slope = -4 * DEPTH * c * (c**2 - 1) - TILT + SLOPE * (x - SLOPE * c)
    return value, np.stack([slope, -(x - SLOPE * c)], axis=1)


def density(bound=3.0):
    space = ParameterSpace(tuple(Parameter(name=n, role="poi", bounds=(-bound, bound)) for n in ("c", "x")))
    return Likelihood(lambda t: wells(t)[0], space, gradient=lambda t: wells(t)[1])


def along(c, frozen_x=None):
    """t of c, others profiled (x = SLOPE c) or frozen, up to its minimum."""
    x = SLOPE * c if frozen_x is None else frozen_x
    return -2 * wells(np.stack([c, x * np.ones_like(c)], axis=1))[0]


def edges(frozen_x, level):
    """The crossings of the exact curve, by bisection between the points of a very fine grid."""
    grid = np.linspace(-3, 3, 60_001)
    t = along(grid, frozen_x)
    lowest = t.min()

    def over(c):
        return float(along(np.array([c]), frozen_x)[0]) - lowest - threshold(level)

    cross = np.flatnonzero(np.diff(np.sign(t - lowest - threshold(level))))
    return np.array([brentq(over, grid[i], grid[i + 1], xtol=1e-12) for i in cross])


@pytest.mark.parametrize("profiled", [True, False])
@pytest.mark.parametrize("n_points", [16, 41])
def test_disjoint_intervals_have_the_exact_edges(profiled, n_points):
    """Valleys a tenth of the range wide, and coarse scans that step over their walls."""
    inference = Inference(density())
    found = inference.intervals("c", (0.6827, 0.95), n_points=n_points, profiled=profiled, at=0.0, progress=False)
    for level, pieces in found.items():
        exact = edges(None if profiled else 0.0, level)
        ours = np.array([e for i in pieces for e in (i.low, i.high)])
        assert len(ours) == len(exact)
        np.testing.assert_allclose(ours, exact, atol=3e-4)
        assert not any(i.open_low or i.open_high for i in pieces)
    assert len(found[0.95]) == 2, "the second valley, 2 TILT = 0.5 above the first, belongs to the interval"


def test_two_parameters_have_their_own_thresholds():
    assert threshold(0.6827, 2) == pytest.approx(2.2958, abs=1e-3)
    assert threshold(0.95, 2) == pytest.approx(5.9915, abs=1e-3)
    scan = Inference(density()).scan(("c", "x"), n_points=13, progress=False)
    assert scan.points.shape == (169, 2)
    theta = scan.points
    value = wells(theta)[0]
    np.testing.assert_allclose(scan.profiled_logpdf, value, atol=1e-9)


def test_all_valleys_are_reported():
    inference = Inference(density())
    found = inference.valleys(n_starts=16)
    assert len(found.logpdf) == 2
    assert inference.answers["valleys"]["logpdf"] == found.logpdf.tolist()
    assert not found.on_edge.any()


def test_scans_are_kept_in_the_log(tmp_path):
    inference = Inference(density())
    inference.intervals("c", n_points=21, progress=False)
    inference.save(tmp_path / "answers")
    loaded = Inference.load(tmp_path / "answers")
    assert set(loaded.answers) == {"valleys", "scan(c, profiled)", "intervals(c, profiled)"}
    assert len(loaded.answers["intervals(c, profiled)"]["intervals"]["0.95"]) == 2


def test_intervals_of_a_scan_that_has_been_made_are_the_same_and_scan_no_more():
    inference, other = Inference(density()), Inference(density())
    scan = other.scan("c", n_points=21, progress=False)
    calls = []
    other.scan = lambda *a, **k: calls.append(a)
    found = inference.intervals("c", n_points=21, progress=False)
    given = other.intervals("c", axis=scan, n_points=21, progress=False)
    assert found == given
    assert not calls
    own, given = (i.answers["intervals(c, profiled)"]["intervals"] for i in (inference, other))
    assert own == given
    with pytest.raises(ParameterError, match=r"a scan of \['c'\] has no intervals of 'x'"):
        other.intervals("x", axis=scan, progress=False)


def test_a_minimum_on_the_edge_is_flagged():
    inference = Inference(density(bound=0.8))
    found = inference.intervals("c", n_points=21, progress=False)
    assert found[0.95][0].open_low
    assert any("edge of c" in w for w in inference.answers["scan(c, profiled)"]["warnings"])
    assert any("open" in w for w in inference.answers["intervals(c, profiled)"]["warnings"])


@pytest.mark.parametrize("profiled", [True, False])
def test_where_a_surrogate_ends_a_scan_has_no_number_and_says_so(profiled):
    """Its domain is an ellipsoid of radius 5 standard deviations about the mean, inside a box of 6."""
    model = DnnLik(gaussian_ensemble(), SPACE, Prior({}), "profiled", DnnLikConfig())
    inference = Inference(model)
    inference.valleys(n_starts=8)
    axis = MEAN[0] + np.linspace(-7, 7, 15)
    scan = inference.scan("x0", axis, profiled=profiled, at=np.array(MEAN), progress=False)
    answered = np.isfinite(scan.profiled_logpdf)
    z = np.abs(axis - MEAN[0])
    assert answered[z < 4.5].all()
    assert not answered[z > 5.01].any()
    assert set(scan.status[~answered]) == {"outside"}
    kind = "profiled" if profiled else "frozen"
    assert any("outside" in warning for warning in inference.answers[f"scan(x0, {kind})"]["warnings"])
    with pytest.raises(DomainError, match="defined nowhere on the scan of x0 from 6 to 7"):
        inference.intervals("x0", axis=[6.0, 6.5, 7.0], profiled=profiled, progress=False)


def test_multistart_has_the_same_answers_and_says_what_was_searched(tmp_path):
    inference = Inference(density())
    options = {"n_points": 41, "search": "multistart", "n_starts": 8, "progress": False}
    found = inference.intervals("c", (0.6827, 0.95), **options)
    for level, pieces in found.items():
        np.testing.assert_allclose([e for i in pieces for e in (i.low, i.high)], edges(None, level), atol=3e-4)
    own, usual = inference.scan("c", **options), inference.scan("c", n_points=41, progress=False)
    np.testing.assert_allclose(own.profiled_logpdf, usual.profiled_logpdf, atol=1e-6)
    np.testing.assert_array_equal(own.profiled_logpdf, inference.scan("c", **options).profiled_logpdf)
    inference.save(tmp_path / "answers")
    answers = Inference.load(tmp_path / "answers").answers
    assert answers["scan(c, profiled, multistart)"]["search"] == "multistart"
    assert answers["intervals(c, profiled, multistart)"]["search"] == "multistart"
    assert answers["scan(c, profiled, multistart)"]["n_starts"] == 8
    assert answers["scan(c, profiled)"]["search"] == "valleys"
    assert (answers["valleys"]["n_starts"], answers["valleys"]["starts_seed"]) == (8, 1)
    inference.intervals("c", n_points=41, profiled=False, at=0.0, progress=False)
    frozen = (inference.answers[f"{question}(c, frozen)"] for question in ("scan", "intervals"))
    assert all(answer["search"] is None and answer["n_starts"] is None for answer in frozen)


def test_bad_questions_are_refused():
    inference = Inference(density())
    with pytest.raises(ConfigError, match="'multistart' is of profiled scans"):
        inference.intervals("c", search="multistart", profiled=False, at=0.0, progress=False)
    with pytest.raises(ConfigError, match="search must be one of 'valleys', 'multistart', got 'luck'"):
        inference.scan("c", search="luck", progress=False)
    with pytest.raises(ParameterError, match="intervals are of one parameter"):
        inference.intervals(("c", "x"), n_points=5, progress=False)
    for levels in ((), 0.95):
        with pytest.raises(ConfigError, match="levels must be a sequence"):
            inference.intervals("c", levels, n_points=5, progress=False)
    with pytest.raises(ParameterError, match="leaves its range"):
        inference.scan("c", np.linspace(-4, 4, 9), progress=False)
    with pytest.raises(ParameterError):
        inference.scan("nobody", progress=False)
    with pytest.raises(ParameterError, match="one parameter or two"):
        inference.scan(("c", "x", "c"), [np.linspace(0, 1, 3)] * 3, progress=False)
    with pytest.raises(ShapeError, match="ascending"):
        inference.scan("c", [1.0, 0.0], progress=False)
    for n in (0, 1, -1, 1.5):
        with pytest.raises(ShapeError, match="n_points >= 2"):
            inference.scan("c", n_points=n, progress=False)


class Unsure(Likelihood):
    """Two wells, of which the surrogate knows only the one at c < 0."""

    def error(self, theta):
        return np.where(np.asarray(theta)[:, 0] < self.known_below, 0.01, 5.0)


@pytest.mark.parametrize(("known_below", "left"), [(0.0, 1), (9.0, 2), (-9.0, 2)])
def test_maxima_that_a_surrogate_does_not_trust_are_left_out_and_said(known_below, left):
    space = density().parameters
    unsure = Unsure(lambda t: wells(t)[0], space, gradient=lambda t: wells(t)[1])
    unsure.known_below = known_below
    inference = Inference(unsure)
    assert len(inference.valleys(n_starts=16).logpdf) == left
    said = inference.answers["valleys"]["warnings"]
    assert len([w for w in said if "left out" in w]) == (1 if known_below == 0 else 0)
    assert len([w for w in said if "not to be trusted" in w]) == (2 if known_below < 0 else 0)
    inference.scan("c", n_points=9, profiled=False, at=[0.9, 0.0], progress=False)
    warned = any("was not taught there" in w for w in inference.answers["scan(c, frozen)"]["warnings"])
    assert warned == (known_below < 0)
