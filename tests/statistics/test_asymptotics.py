"""CL_s of Cowan et al. against integrals, pyhf's own distributions and textbook numbers."""

import numpy as np
import pytest
from scipy.stats import norm

from dnnlikelihood.errors import ConfigError, DomainError
from dnnlikelihood.statistics.asymptotics import N_SIGMA, band_reach, expected_log_cls, log_cls, p_values

Q = np.array([0.0, 0.5, 2.7, 4.0, 9.0, 30.0])
Q_ASIMOV = np.array([1.0, 2.0, 2.7, 1.0, 16.0, 5.0])


def test_below_the_asimov_value():
    clsb, clb = p_values(2.0, 3.0)
    assert clsb == pytest.approx(1 - norm.cdf(np.sqrt(2)), rel=1e-12)
    assert clb == pytest.approx(norm.cdf(np.sqrt(3) - np.sqrt(2)), rel=1e-12)


def test_above_the_asimov_value():
    clsb, clb = p_values(5.0, 3.0)
    assert clsb == pytest.approx(1 - norm.cdf(8 / (2 * np.sqrt(3))), rel=1e-12)
    assert clb == pytest.approx(1 - norm.cdf(2 / (2 * np.sqrt(3))), rel=1e-12)
    assert p_values(5.0, 3.0, "qmu")[0] == pytest.approx(1 - norm.cdf(np.sqrt(5)), rel=1e-12)


def test_the_two_branches_meet():
    near, far = p_values(3.0 - 1e-9, 3.0), p_values(3.0 + 1e-9, 3.0)
    np.testing.assert_allclose(near, far, rtol=1e-7)


def test_same_as_pyhf():
    pyhf = pytest.importorskip("pyhf")
    from pyhf.infer.calculators import AsymptoticTestStatDistribution as Distribution

    pyhf.set_backend("numpy")
    for q, q_asimov in zip(Q, Q_ASIMOV, strict=True):
        a = np.sqrt(q_asimov)
        shift = np.sqrt(q) - a if q <= q_asimov else (q - q_asimov) / (2 * a)
        signal, background = Distribution(-a), Distribution(0.0)
        cls = signal.pvalue(shift) / background.pvalue(shift)
        assert np.exp(log_cls(q, q_asimov)) == pytest.approx(cls, rel=1e-10)
        bands = [signal.pvalue(n) / background.pvalue(n) for n in (2, 1, 0, -1, -2)]
        np.testing.assert_allclose(np.exp(expected_log_cls(q_asimov)), bands, rtol=1e-10)


def test_bands_exclude_exactly_where_they_should():
    for level in (0.9, 0.95, 0.99):
        np.testing.assert_allclose(np.exp(expected_log_cls(band_reach(level) ** 2)), 1 - level, rtol=1e-10)
    assert band_reach(0.95)[2] == pytest.approx(norm.isf(0.025))
    assert (np.diff(band_reach(0.95)) > 0).all()
    assert (np.diff(N_SIGMA) > 0).all()


def test_cls_of_asimov_data_that_do_not_see_the_signal():
    """Where q_A is 0, rounding or an error of a surrogate below it, CL_s is the limit from above: exp(-q / 2)."""
    q = np.array([0.0, 1e-6, 0.5, 9.0])
    np.testing.assert_allclose(log_cls(q, 1e-8), log_cls(q, 0.0), atol=2e-4)
    np.testing.assert_array_equal(log_cls(q, -1e-6), -q / 2)


def test_logarithms_survive_where_p_values_do_not():
    assert np.exp(log_cls(1e4, 2e3)) == 0
    assert np.isfinite(log_cls(1e4, 2e3))
    assert log_cls(np.inf, np.inf) == -np.inf
    assert log_cls(np.inf, 3.0) == -np.inf


def test_no_difference_excludes_nothing():
    assert log_cls(0.0, 0.0) == 0
    assert log_cls(-1e-7, -1e-7) == 0


def test_bad_questions():
    with pytest.raises(ConfigError, match="qmu_tilde"):
        log_cls(1.0, 1.0, "q0")
    for level in (0.0, 0.5, 1.0, 95, np.nan):
        with pytest.raises(DomainError, match="between"):
            band_reach(level)
