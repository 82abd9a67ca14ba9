"""Split-conformal bands cover what they promise, and a wrong spread is caught."""

from itertools import pairwise

import numpy as np

from dnnlikelihood.guard import Calibration
from dnnlikelihood.statistics.calibration import conformal, coverage


def rows(n, seed):
    """Errors that are student-t, with a spread that is wrong by a factor that changes with the answer."""
    rng = np.random.default_rng(seed)
    answer = rng.normal(size=n)
    spread = rng.uniform(0.5, 2.0, n)
    truth = answer + spread * np.where(answer > 0, 3.0, 0.2) * rng.standard_t(4, n)
    return answer, spread, truth


def test_coverage_holds_in_every_bin():
    learned = rows(4000, 0)
    calibration = conformal(*learned)
    answer, spread, truth = rows(20000, 1)
    edges = [-np.inf, *calibration.edges, np.inf]
    assert len(edges) == 13
    for low, high in pairwise(edges):
        inside = (answer >= low) & (answer < high)
        calibrating = ((learned[0][1::2] >= low) & (learned[0][1::2] < high)).sum()
        sigma = np.sqrt(0.09 / calibrating + 0.09 / inside.sum())
        covered = coverage(calibration, answer[inside], spread[inside], truth[inside])
        assert abs(covered - 0.9) < 3 * sigma + 1 / calibrating


def test_rare_low_answers_with_large_errors_are_covered_too():
    """Errors that double with each unit of delta NLL, as those of an effective-theory fit: few rows lie far down."""

    def falling(n, seed):
        rng = np.random.default_rng(seed)
        answer = -rng.exponential(1.0, n)
        return answer, np.full(n, 0.1), answer + 0.1 * 2.0**-answer * rng.normal(size=n)

    calibration = conformal(*falling(3000, 4))
    answer, spread, truth = falling(40000, 5)
    lowest = answer < np.quantile(answer, 0.05)
    assert 0.84 < coverage(calibration, answer[lowest], spread[lowest], truth[lowest]) < 0.96


def test_the_band_covers_every_kind_of_point():
    """A quarter of the points is three times as hard: a band for all of them covers few of those."""

    def mixed(n, seed):
        answer, spread, truth = rows(n, seed)
        hard = np.random.default_rng(seed + 50).uniform(size=n) < 0.25
        return answer, spread, answer + (truth - answer) * np.where(hard, 3.0, 1.0), hard

    *learned, hard = mixed(8000, 8)
    for_all, for_each = conformal(*learned), conformal(*learned, kinds=np.where(hard, "slices", "samples"))
    *new, hard = mixed(40_000, 9)
    hard_ones, easy_ones = ([part[rows] for part in new] for rows in (hard, ~hard))
    assert coverage(for_all, *hard_ones) < 0.75
    assert coverage(for_each, *hard_ones) > 0.87
    assert coverage(for_each, *easy_ones) > 0.95


def test_the_bare_spread_does_not_cover():
    naive = Calibration(np.zeros(0), np.array([1.645]), 0.0, np.full(1, np.inf))
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


def test_a_spread_like_none_before_is_not_believed():
    """Near the maximum members agree ten times better than below: what is usual there is a warning here."""
    rng = np.random.default_rng(6)
    answer = -rng.exponential(1.0, 4000)
    spread = np.where(answer > -0.5, 0.01, 0.1) * rng.uniform(0.5, 1.5, 4000)
    calibration = conformal(answer, spread, answer + spread * rng.normal(size=4000))
    assert calibration.holds(answer, spread).all()
    assert calibration.holds(np.array([-0.01, -3.0, -0.01]), np.array([0.02, 0.2, 0.2])).tolist() == [True, True, False]
    assert not calibration.holds(np.array([50.0]), np.array([20.0]))[0]
