"""Spey itself, run beside its own back-ends on a counting experiment whose answers are known."""

import numpy as np
import pytest
from counting_experiment import CountingExperiment, Surrogate

from dnnlikelihood.statistics.limits import hypotest, upper_limits
from dnnlikelihood.statistics.signals import along

COUNTS, BACKGROUND, UNCERTAINTY = [12.0, 9.0, 7.0], [10.0, 8.0, 5.5], [2.0, 1.5, 1.0]
SIGNAL = {"SR-0": 3.0, "SR-1": 2.0, "SR-2": 4.0}
EXPECTATIONS = ("observed", "apriori", "aposteriori")


@pytest.fixture(scope="module")
def spey(tmp_path_factory):
    """Imported without a look at the network and with a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEY_CHECKUPDATE", "OFF")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        spey = pytest.importorskip("spey", reason="needs pip install 'dnnlikelihood[spey]'")
        spey.set_log_level(0)
        yield spey


@pytest.fixture(scope="module")
def make(spey):
    """A Spey model of a density by the entry point, as users get it."""
    wrapper = spey.get_backend("dnnlikelihood.profiled")

    def make(density=None, signal=SIGNAL, name="ours"):
        density = density or CountingExperiment(COUNTS, BACKGROUND, UNCERTAINTY)
        return wrapper(model=density, signal_yields=signal, analysis=name, xsection=0.5)

    return make


@pytest.fixture(scope="module")
def theirs(spey):
    """Spey's own simplified likelihood: Gaussian uncertainties, small here, and Asimov data that do not move them."""
    wrapper = spey.get_backend("default.uncorrelated_background")

    def theirs(signal, background, data, uncertainty, name="theirs"):
        return wrapper(
            signal_yields=signal, background_yields=background, data=data, absolute_uncertainties=uncertainty,
            analysis=name, xsection=0.5,
        )  # fmt: skip

    return theirs


def expectation(spey, name):
    return getattr(spey.ExpectationType, name)


def test_the_entry_point_is_found(spey):
    assert "dnnlikelihood.profiled" in spey.AvailableBackends()


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_same_confidence_levels_and_limits_as_ours(spey, make, name):
    """Spey's machinery on our curves, and ours: two implementations of the same formulae."""
    model, expected = make(), expectation(spey, name)
    density = CountingExperiment(COUNTS, BACKGROUND, UNCERTAINTY)
    curves = along(density, SIGNAL)
    bands = "expected" if name == "apriori" else "asimov_observed"
    test, limit = hypotest(curves, bands=bands), upper_limits(curves, bands=bands)
    levels = model.exclusion_confidence_level(expected=expected)
    ours = test.cls if name == "observed" else test.cls_expected[0]
    np.testing.assert_allclose(1 - np.array(levels), ours, atol=2e-6)
    found = model.poi_upper_limit(expected=expected, expected_pvalue="2sigma")
    np.testing.assert_allclose(found, limit.observed[0] if name == "observed" else limit.expected[0], rtol=3e-4)


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_same_limits_as_spey_s_own_back_end(spey, make, theirs, name):
    background, data, uncertainty = [200.0, 150.0], [210.0, 140.0], [4.0, 3.0]
    signal, expected = [20.0, 15.0], expectation(spey, name)
    ours = make(CountingExperiment(data, background, uncertainty), signal)
    peer = theirs(signal, background, data, uncertainty)
    assert ours.poi_upper_limit(expected=expected) == pytest.approx(peer.poi_upper_limit(expected=expected), rel=5e-3)
    # After the fit, Spey's own Asimov set keeps the auxiliary data where they were; ours moves them with it.
    tolerance = 5e-3 if name == "aposteriori" else 1e-3
    np.testing.assert_allclose(
        ours.exclusion_confidence_level(expected=expected),
        peer.exclusion_confidence_level(expected=expected),
        atol=tolerance,
    )


def test_combination_with_another_back_end(spey, make, theirs):
    background, data, uncertainty = [200.0, 150.0], [210.0, 140.0], [4.0, 3.0]
    signal = [20.0, 15.0]
    other = theirs([10.0], [90.0], [95.0], [2.0], name="third")
    ours = make(CountingExperiment(data, background, uncertainty), signal)
    peer = theirs(signal, background, data, uncertainty, name="second")
    combined, exact = spey.UnCorrStatisticsCombiner(ours, other), spey.UnCorrStatisticsCombiner(peer, other)
    for name in EXPECTATIONS:
        expected = expectation(spey, name)
        assert combined.poi_upper_limit(expected=expected) == pytest.approx(
            exact.poi_upper_limit(expected=expected), rel=5e-3
        )


def test_two_of_ours_are_one_with_all_bins(spey, make):
    """A combination of independent bins is the likelihood of all of them."""
    parts = [
        make(CountingExperiment(COUNTS[:2], BACKGROUND[:2], UNCERTAINTY[:2]), [3.0, 2.0], "a"),
        make(CountingExperiment(COUNTS[2:], BACKGROUND[2:], UNCERTAINTY[2:]), [4.0], "b"),
    ]
    combined, whole = spey.UnCorrStatisticsCombiner(*parts), make()
    for name in EXPECTATIONS:
        expected = expectation(spey, name)
        assert combined.poi_upper_limit(expected=expected) == pytest.approx(
            whole.poi_upper_limit(expected=expected), rel=3e-4
        )
    np.testing.assert_allclose(combined.exclusion_confidence_level(), whole.exclusion_confidence_level(), atol=1e-5)


def test_the_rest_of_the_interface(spey, make):
    model = make()
    density = CountingExperiment(COUNTS, BACKGROUND, UNCERTAINTY)
    assert model.is_alive
    assert model.likelihood(1.0) == pytest.approx(-density.logpdf(SIGNAL)[0], rel=1e-12)
    muhat, nll = model.maximize_likelihood()
    assert muhat == pytest.approx(upper_limits(along(density, SIGNAL)).muhat[0], abs=1e-3)
    assert nll < model.likelihood(0.0)
    assert model.s95obs == pytest.approx(0.5 * model.poi_upper_limit(), rel=1e-6)
    h = 1e-4
    curvature = (model.likelihood(1 + h) - 2 * model.likelihood(1.0) + model.likelihood(1 - h)) / h**2
    assert model.sigma_mu(1.0) == pytest.approx(curvature**-0.5, rel=1e-3)
    assert model.chi2(poi_test=1.0, poi_test_denominator=0.0) == pytest.approx(
        2 * (model.likelihood(1.0) - model.likelihood(0.0))
    )
    assert model.exclusion_confidence_level(calculator="chi_square")[0] > 0
    low, high = model.chi2_test()
    assert low < muhat < high


# Refusals -------------------------------------------------------------------------------------------------------------


def test_q0_is_refused(spey, make):
    with pytest.raises(spey.system.exceptions.MethodNotAvailable, match="q0"):
        make().significance()


def test_toys_are_refused(spey, make):
    with pytest.raises(spey.system.exceptions.MethodNotAvailable, match="sampling"):
        make().exclusion_confidence_level(calculator="toy")


def test_counts_of_somebody_else_are_refused(spey, make):
    with pytest.raises(spey.system.exceptions.InvalidInput, match="other counts"):
        make().likelihood(1.0, data=[1.0, 2.0, 3.0])


def test_yields_below_zero_are_refused(spey, make):
    with pytest.raises(spey.system.exceptions.NegativeExpectedYields, match="lowest"):
        make().likelihood(-2.0)


@pytest.mark.parametrize(
    "signal",
    [[1.0, 2.0], {"SR-0": 1.0}, [1.0, np.nan, 1.0], [1.0, -1.0, 1.0], [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], "abc"],
    ids=["short", "missing", "nan", "negative", "two", "text"],
)
def test_bad_signals(spey, make, signal):
    with pytest.raises(spey.system.exceptions.InvalidInput):
        make(signal=signal)


def test_a_model_without_the_heads_is_refused(spey, make):
    plain = CountingExperiment(COUNTS, BACKGROUND, UNCERTAINTY).select("observed")
    with pytest.raises(spey.system.exceptions.InvalidInput, match="asimov_observed"):
        make(plain)


def test_no_signal_is_not_alive(spey, make):
    model = make(signal=[0.0, 0.0, 0.0])
    assert not model.is_alive
    assert model.poi_upper_limit() == np.inf
    assert model.likelihood(1.0) == model.likelihood(0.0)


def surrogate(reach, **options):
    return Surrogate(COUNTS, BACKGROUND, UNCERTAINTY, reach=reach, **options)


def test_a_signal_beyond_what_was_learned_is_refused(spey, make):
    """The domain ends at mu = 1.25, where the signal is not excluded."""
    model = make(surrogate(5.0))
    with pytest.raises(spey.system.exceptions.InvalidInput, match="outside the domain"):
        model.poi_upper_limit()
    with pytest.raises(spey.system.exceptions.InvalidInput, match=r"ends at 1\.25"):
        model.likelihood(2.0)
    assert model.likelihood(1.0) == make().likelihood(1.0)


def test_a_domain_that_ends_where_the_signal_is_excluded_is_enough(spey, make):
    """It ends at mu = 3, above every limit: searches may step over the edge, and nll grows there as on its chord."""
    model, whole = make(surrogate(12.0)), make()
    for name in EXPECTATIONS:
        expected = expectation(spey, name)
        np.testing.assert_allclose(
            model.poi_upper_limit(expected=expected, expected_pvalue="2sigma", hig_init=8.0),
            whole.poi_upper_limit(expected=expected, expected_pvalue="2sigma"),
            rtol=2e-4,
        )
    assert model.likelihood(3.0 * (1 - 1e-7)) < model.likelihood(6.0) < whole.likelihood(6.0)


def test_a_hole_in_the_domain_is_no_exclusion(spey, make):
    """The domain ends where the hole begins, mu = 1.1; one too narrow to be seen is found by whoever steps into it."""
    model = make(surrogate(12.0, hole=(4.4, 5.2)))
    assert model.likelihood(1.0) == make().likelihood(1.0)
    for mu in (1.2, 2.0):
        with pytest.raises(spey.system.exceptions.InvalidInput, match=r"ends at 1\.1 "):
            model.likelihood(mu)
    narrow = make(surrogate(12.0, hole=(4.4, 4.44)))
    assert narrow.likelihood(2.0) == make().likelihood(2.0)
    with pytest.raises(spey.system.exceptions.InvalidInput, match="a hole of the model's domain"):
        narrow.likelihood(1.105)
