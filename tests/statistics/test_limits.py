"""Limits of counting experiments whose profile is known in closed form, beside pyhf; and what surrogates must say."""

import numpy as np
import pytest
from counting_experiment import CountingExperiment, Surrogate
from scipy.stats import norm

from dnnlikelihood.errors import ConfigError, DomainError, ParameterError, ShapeError
from dnnlikelihood.statistics.limits import discovery, hypotest, upper_limits
from dnnlikelihood.statistics.signals import SignalCurves, along

COUNTS, BACKGROUND, UNCERTAINTY = [12.0, 9.0, 7.0], [10.0, 8.0, 5.5], [2.0, 1.5, 1.0]
SIGNALS = np.array([[3.0, 2.0, 4.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.1], [30.0, 20.0, 10.0], [1e-3, 2e-3, 0.0]])
DEFICIT = [6.0, 4.0, 3.0]


@pytest.fixture(scope="module")
def truth():
    return CountingExperiment(COUNTS, BACKGROUND, UNCERTAINTY)


@pytest.fixture
def pyhf():
    """With an optimiser whose tolerance is small enough to compare 6 digits."""
    pyhf = pytest.importorskip("pyhf")
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-12, maxiter=10000))
    yield pyhf
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer())


@pytest.mark.parametrize("counts", [COUNTS, DEFICIT, [20.0, 17.0, 12.0]], ids=["mild", "deficit", "excess"])
@pytest.mark.parametrize(("statistic", "name"), [("qmu_tilde", "qtilde"), ("qmu", "q")])
def test_same_cls_as_pyhf(pyhf, counts, statistic, name):
    density = CountingExperiment(counts, BACKGROUND, UNCERTAINTY)
    found = hypotest(along(density, SIGNALS[:4]), 1.0, statistic=statistic)
    assert (found.status == "converged").all()
    for i, s in enumerate(SIGNALS[:4]):
        model = pyhf.simplemodels.uncorrelated_background(s.tolist(), BACKGROUND, UNCERTAINTY)
        bounds = model.config.suggested_bounds()
        if name == "q":
            bounds[model.config.poi_index] = (max(-b / y for b, y in zip(BACKGROUND, s, strict=True) if y) * 0.999, 10)
        observed, expected = pyhf.infer.hypotest(
            1.0, counts + model.config.auxdata, model, test_stat=name, par_bounds=bounds, return_expected_set=True
        )
        assert found.cls[i] == pytest.approx(float(observed), abs=1e-6)
        np.testing.assert_allclose(found.cls_expected[i], expected, atol=1e-6)


def test_same_upper_limits_as_pyhf(pyhf):
    density = CountingExperiment(COUNTS, BACKGROUND, UNCERTAINTY)
    found = upper_limits(along(density, SIGNALS[0]))
    model = pyhf.simplemodels.uncorrelated_background(SIGNALS[0].tolist(), BACKGROUND, UNCERTAINTY)
    data = COUNTS + model.config.auxdata
    observed, expected = pyhf.infer.intervals.upper_limits.toms748_scan(data, model, 0, 5, rtol=1e-8)
    assert found.observed[0] == pytest.approx(float(observed), rel=1e-5)
    np.testing.assert_allclose(found.expected[0], expected, rtol=1e-5)
    assert found.converged.all()


def test_limits_are_where_cls_is_5_percent(truth):
    curves = along(truth, SIGNALS)
    found = upper_limits(curves)
    np.testing.assert_allclose(hypotest(curves, found.observed).cls, 0.05, rtol=1e-6)
    for k in range(5):
        tested = hypotest(curves, found.expected[:, k])
        np.testing.assert_allclose(tested.cls_expected[:, k], 0.05, rtol=1e-6)
    assert (np.diff(found.expected, axis=1) > 0).all()
    assert (found.error == 0).all()
    assert (found.error_expected == 0).all()
    assert found.in_domain.all()


def test_a_limit_scales_with_its_signal(truth):
    one, ten = upper_limits(along(truth, SIGNALS)), upper_limits(along(truth, 10 * SIGNALS))
    np.testing.assert_allclose(one.observed, 10 * ten.observed, rtol=1e-6)
    np.testing.assert_allclose(one.expected, 10 * ten.expected, rtol=1e-6)


def test_prefit_bands_are_those_of_data_that_equal_the_background(truth):
    prefit = upper_limits(along(truth, SIGNALS), bands="expected")
    other = upper_limits(along(CountingExperiment(BACKGROUND, BACKGROUND, UNCERTAINTY), SIGNALS))
    np.testing.assert_allclose(prefit.expected, other.expected, rtol=1e-6)
    np.testing.assert_allclose(other.observed, other.expected[:, 2], rtol=1e-6)


def test_a_gaussian_measurement_has_the_textbook_limit():
    """For muhat of N(mu, 1): mu_up = muhat + Phi^-1(1 - 0.05 Phi(muhat)), by definition of CL_s."""
    measured = np.array([-1.5, 0.0, 0.7, 3.0])

    def evaluate(heads, rows, mu):
        x = np.stack([np.where(h == "observed", measured[rows], 0.0) for h in heads], axis=1)
        return 0.5 * (mu[:, None] - x) ** 2, mu[:, None] - x

    curves = SignalCurves(4, evaluate, ("observed", "asimov_observed"), np.full(4, -np.inf))
    found = upper_limits(curves, statistic="qmu")
    np.testing.assert_allclose(found.observed, measured + norm.isf(0.05 * norm.cdf(measured)), rtol=1e-8)
    np.testing.assert_allclose(found.muhat, measured, atol=1e-8)
    n = np.array([-2, -1, 0, 1, 2])
    np.testing.assert_allclose(found.expected, np.tile(n + norm.isf(0.05 * norm.cdf(n)), (4, 1)), rtol=1e-8)
    np.testing.assert_allclose(discovery(curves).significance, np.maximum(measured, 0), atol=1e-6)


def test_discovery_against_pyhf(pyhf, truth):
    found = discovery(along(truth, SIGNALS[:2]))
    for i in range(2):
        model = pyhf.simplemodels.uncorrelated_background(SIGNALS[i].tolist(), BACKGROUND, UNCERTAINTY)
        bounds = model.config.suggested_bounds()
        p0 = pyhf.infer.hypotest(0.0, COUNTS + model.config.auxdata, model, test_stat="q0", par_bounds=bounds)
        assert found.p0[i] == pytest.approx(float(p0), abs=1e-6)


# What a surrogate must say --------------------------------------------------------------------------------------------


def surrogate(**options):
    return Surrogate(COUNTS, BACKGROUND, UNCERTAINTY, **options)


def test_the_error_of_the_surrogate_reaches_the_limit(truth):
    exact = upper_limits(along(truth, SIGNALS[:4]))
    for e in (0.003, 0.03):
        found = upper_limits(along(surrogate(bias=e, error=e), SIGNALS[:4]))
        assert (np.abs(found.observed - exact.observed) <= 1.02 * found.error).all()
        assert (np.abs(found.expected - exact.expected) <= 1.02 * found.error_expected).all()
        assert (found.error < 40 * e * exact.observed).all()
    test = hypotest(along(surrogate(bias=0.03, error=0.03), SIGNALS[:4]), exact.observed)
    assert (np.abs(test.cls - 0.05) <= test.error).all()
    assert (test.error > 0).all()


def test_an_error_that_is_said_too_small_is_not_enough(truth):
    """The negative control of the test above."""
    exact = upper_limits(along(truth, SIGNALS[:4]))
    found = upper_limits(along(surrogate(bias=-0.1, error=1e-3), SIGNALS[:4]))
    assert (np.abs(found.observed - exact.observed) > found.error).any()


def test_outside_the_domain_there_is_no_number():
    found = upper_limits(along(surrogate(reach=12.0), SIGNALS[:2]))
    assert found.status.tolist() == ["converged", "converged"]
    assert found.status_expected.tolist()[0] == ["converged"] * 5
    assert found.status_expected.tolist()[1] == ["converged"] * 3 + ["outside"] * 2
    assert np.isnan(found.expected[1, 3:]).all()
    narrow = upper_limits(along(surrogate(reach=5.0), SIGNALS[:2]))
    assert narrow.status.tolist() == ["outside", "outside"]
    assert np.isnan(narrow.observed).all()
    assert np.isnan(narrow.error).all()
    assert not narrow.converged.any()


@pytest.mark.parametrize("where", np.linspace(0.3, 1.2, 10))
def test_a_hole_on_the_way_moves_no_limit(truth, where):
    """A limit beyond it is that of the truth; one in it, and one that the search does not reach over it, is none."""
    exact = upper_limits(along(truth, SIGNALS[:1])).observed[0]
    largest = where * exact * SIGNALS[0].max()
    found = upper_limits(along(surrogate(hole=(0.95 * largest, 1.05 * largest)), SIGNALS[:1]))
    if found.status[0] == "converged":
        assert found.observed[0] == pytest.approx(exact, rel=1e-6)
        assert abs(where - 1) > 0.05
    else:
        assert found.status[0] == "outside"
        assert np.isnan(found.observed[0])


def test_asked_for_it_gives_the_number_and_says_that_it_is_outside(truth):
    found = upper_limits(along(surrogate(reach=5.0), SIGNALS[:2], outside="use"))
    np.testing.assert_allclose(found.observed, upper_limits(along(truth, SIGNALS[:2])).observed)
    assert not found.in_domain.any()


def test_a_test_outside_the_domain_is_refused():
    found = hypotest(along(surrogate(reach=5.0), SIGNALS[:2]), [1.0, 6.0])
    assert found.status.tolist() == ["converged", "outside"]
    assert np.isnan(found.cls[1])
    assert np.isnan(found.cls_expected[1]).all()


def test_a_signal_that_changes_nothing_has_no_limit():
    def evaluate(heads, rows, mu):
        return np.full((len(rows), len(heads)), 46.76), np.zeros((len(rows), len(heads)))

    found = upper_limits(SignalCurves(2, evaluate, ("observed", "asimov_observed"), np.zeros(2)))
    assert found.status.tolist() == ["no limit"] * 2
    assert np.isposinf(found.observed).all()
    assert np.isposinf(found.expected).all()


@pytest.mark.parametrize("counts", [COUNTS, DEFICIT, [20.0, 17.0, 12.0]], ids=["mild", "deficit", "excess"])
@pytest.mark.parametrize("reach", [np.inf, 5.0])
@pytest.mark.parametrize("scale", 10.0 ** -np.arange(0, 8))
def test_rounding_hides_no_weak_signal(counts, reach, scale):
    """A surrogate in single precision answers and refuses as the exact one, at strengths that change less than that."""
    exact = along(Surrogate(counts, BACKGROUND, UNCERTAINTY, reach=reach), scale * SIGNALS[:3])

    def evaluate(heads, rows, mu):
        nll, slope = exact.evaluate(heads, rows, mu)
        return nll.astype(np.float32).astype(float), slope

    rounded = SignalCurves(3, evaluate, exact.heads, exact.floor)
    found, right = upper_limits(rounded), upper_limits(exact)
    np.testing.assert_array_equal(found.status, right.status)
    np.testing.assert_array_equal(found.status_expected, right.status_expected)
    np.testing.assert_allclose(found.observed, right.observed, rtol=1e-6)
    np.testing.assert_allclose(found.expected, right.expected, rtol=1e-6)
    np.testing.assert_allclose(found.muhat, right.muhat, rtol=1e-5)
    tested = hypotest(rounded, 1.0)
    assert (tested.status == "converged").all()
    np.testing.assert_allclose(tested.cls, hypotest(exact, 1.0).cls, atol=1e-3)


def test_a_failed_fit_is_no_limit(truth):
    good = along(truth, SIGNALS[:2])

    def evaluate(heads, rows, mu):
        nll, slope = good.evaluate(heads, rows, mu)
        return np.where(((rows == 1) & (mu > 3))[:, None], np.nan, nll), slope

    found = upper_limits(SignalCurves(2, evaluate, good.heads, good.floor))
    assert found.status.tolist() == ["converged", "failed"]
    assert np.isnan(found.observed[1])
    assert found.observed[0] == pytest.approx(upper_limits(good).observed[0])


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_bands_and_fits_on_this_side_of_what_has_no_label_are_told(truth, scale):
    """Nothing is known from half way between the +1 and the +2 sigma band on, above best fit and observed limit."""
    good = along(truth, scale * SIGNALS[:1])

    def evaluate(heads, rows, mu):
        nll, slope = good.evaluate(heads, rows, mu)
        wall = 0.5 * sum(right.expected[0, 3:])
        return np.where((mu > wall)[:, None], np.nan, nll), slope

    right = upper_limits(good)
    assert right.observed[0] < right.expected[0, 3]
    found = upper_limits(SignalCurves(1, evaluate, good.heads, good.floor))
    assert found.status_expected[0].tolist() == 4 * ["converged"] + ["failed"]
    np.testing.assert_allclose(found.expected[0, :4], right.expected[0, :4], rtol=1e-6)
    assert found.status[0] == "converged"
    assert found.observed[0] == pytest.approx(right.observed[0], rel=1e-6)


def test_signals_by_name(truth):
    named = {"SR-2": 4.0, "SR-0": 3.0, "SR-1": 2.0}
    assert upper_limits(along(truth, named)).observed == pytest.approx(upper_limits(along(truth, SIGNALS[0])).observed)


@pytest.mark.parametrize(
    ("signal", "error", "match"),
    [
        ([1.0, 2.0], ShapeError, "SR-0"),
        ({"SR-0": 1.0, "SR-1": 2.0}, ShapeError, "SR-2"),
        ([1.0, np.nan, 2.0], ShapeError, "NaN"),
        ([1.0, np.inf, 2.0], ShapeError, "infinite"),
        ([1.0, -2.0, 3.0], DomainError, "negative yield -2 in 'SR-1'"),
        ([0.0, 0.0, 0.0], DomainError, "zero in every bin"),
        (["a", "b", "c"], ShapeError, "real numbers"),
    ],
)
def test_bad_signals(truth, signal, error, match):
    with pytest.raises(error, match=match):
        along(truth, signal)


def test_bad_questions(truth):
    curves = along(truth, SIGNALS)
    with pytest.raises(ShapeError, match="positive"):
        hypotest(curves, 0.0)
    with pytest.raises(ConfigError, match="statistic"):
        upper_limits(curves, statistic="q0")
    with pytest.raises(ParameterError, match="no head 'asimov'"):
        upper_limits(curves, bands="asimov")
    with pytest.raises(DomainError, match="between"):
        upper_limits(curves, 95)
    with pytest.raises(ParameterError, match="no head 'asimov_observed'"):
        upper_limits(along(truth.select("observed"), SIGNALS))
    with pytest.raises(ConfigError, match="refuse"):
        along(truth, SIGNALS, outside="maybe")
