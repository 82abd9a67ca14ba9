"""Split-conformal bands cover what they promise, and a wrong spread is caught."""

from itertools import pairwise

import numpy as np

from dnnlikelihood.ensemble import Calibration
from dnnlikelihood.statistics.calibration import conformal, coverage


def rows(n, seed):
    """Errors that are student-t, with a spread that is wrong by a factor that changes with the answer."""
    rng = np.random.default_rng(seed)
    answer = rng.normal(size=n)
    spread = rng.uniform(0.5, 2.0, n)
    truth = answer + spread * np.where(answer > 0, 3.0, 0.2) * rng.standard_t(4, n)
    return answer, spread, truth


def test_coverage_holds_in_every_bin():
    calibration = conformal(*rows(4000, 0))
    answer, spread, truth = rows(20000, 1)
    edges = [-np.inf, *calibration.edges, np.inf]
    for low, high in pairwise(edges):
        inside = (answer >= low) & (answer < high)
        # one sigma: 0.011 from 800 calibration points a bin, 0.005 from 4000 test points
        assert abs(coverage(calibration, answer[inside], spread[inside], truth[inside]) - 0.9) < 0.04


def test_the_bare_spread_does_not_cover():
    naive = Calibration(np.zeros(0), np.array([1.645]), 0.0)
    assert coverage(naive, *rows(20000, 1)) < 0.85


def test_identical_members_still_have_an_error():
    rng = np.random.default_rng(2)
    answer = rng.normal(size=2000)
    truth = answer + 0.1 * rng.normal(size=2000)
    calibration = conformal(answer, np.zeros(2000), truth)
    np.testing.assert_allclose(np.median(calibration.error(answer, np.zeros(2000))), 0.1645, rtol=0.15)


def test_too_few_rows_promise_nothing():
    """The largest of n < 9 scores is exceeded by more than one new score in ten: no finite band covers 90 %."""
    calibration = conformal(*rows(17, 3))
    assert np.isinf(calibration.factors).all()
    assert np.isfinite(conformal(*rows(18, 3)).factors).all()
