"""Roots and minima that are known."""

import numpy as np
import pytest

from dnnlikelihood.statistics.roots import expand, minimise, solve

TARGETS = np.array([1e-6, 0.3, 1.0, 5.0, 900.0])


def cube(k, x):
    return x**3 - TARGETS[k]


def test_cube_roots():
    found = solve(cube, np.zeros(5), np.full(5, 10.0))
    np.testing.assert_allclose(found.x, np.cbrt(TARGETS), rtol=1e-8)


def test_few_calls_and_none_for_rows_that_are_done():
    calls = np.zeros(5)

    def counted(k, x):
        np.add.at(calls, k, 1)
        return cube(k, x)

    solve(counted, np.zeros(5), np.full(5, 10.0))
    assert calls.max() <= 40
    assert calls.min() < calls.max()


def test_a_jump_is_found_with_a_value_that_is_not_zero():
    found = solve(lambda k, x: np.where(x < 2.5, -1.0, 7.0), np.zeros(1), np.full(1, 10.0))
    assert found.x[0] == pytest.approx(2.5)
    assert abs(found.value[0]) >= 1


def test_nan_stops_the_row_alone():
    def f(k, x):
        return np.where((k == 1) & (x > 0.2) & (x < 9), np.nan, x - 1.0)

    found = solve(f, np.zeros(3), np.full(3, 10.0))
    np.testing.assert_allclose(found.x[[0, 2]], 1.0)
    assert np.isnan(found.value[1])


def test_expand():
    x, found = expand(lambda k, x: x - np.array([0.5, 40.0, np.inf])[k], np.ones(3), 1e3)
    assert found.tolist() == [True, True, False]
    assert x[0] == 1
    assert 40 <= x[1] <= 120


def test_expand_goes_back_from_where_there_is_no_answer():
    roots, ends = np.array([0.2, 5.0, 7.9, 30.0]), np.array([0.5, 8.0, 8.0, 20.0])
    f = lambda k, x: np.where(x < ends[k], x - roots[k], np.nan)
    x, found = expand(f, np.ones(4), 1e3)
    assert found.all()
    assert (x[:2] >= roots[:2]).all()
    assert np.isfinite(f(np.arange(2), x[:2])).all()
    assert np.isnan(f(np.array([3]), x[3:])).all()


@pytest.mark.parametrize("centre", [-3.0, 0.0, 0.4, 1.0, 77.0, 5e4])
def test_minimum_of_a_parabola_above_zero(centre):
    found = minimise(lambda k, x: ((x - centre) ** 2, 2 * (x - centre)), np.zeros(1), np.ones(1), 1e6)
    assert found.x[0] == pytest.approx(max(centre, 0.0), abs=1e-6)
    assert found.value[0] == pytest.approx(min(centre, 0.0) ** 2, abs=1e-6)
    assert found.inside[0]


def test_the_deeper_of_two_valleys():
    def f(k, x):
        return -np.exp(-((x - 1) ** 2) / 0.1) - 2 * np.exp(-((x - 4) ** 2) / 0.5), (
            20 * (x - 1) * np.exp(-((x - 1) ** 2) / 0.1) + 8 * (x - 4) * np.exp(-((x - 4) ** 2) / 0.5)
        )

    assert minimise(f, np.zeros(1), np.full(1, 6.0), 6.0).x[0] == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize(
    ("unknown", "answered"), [(0.9, True), (0.6, True), (0.35, False), (-0.3, True), (-0.6, False)]
)
def test_what_is_unknown_counts_where_it_may_be_lower(unknown, answered):
    """NaN from `unknown` on (up to -`unknown`, if negative); the minimum is at 0.5."""

    def f(k, x):
        blind = x > unknown if unknown > 0 else x < -unknown
        return np.where(blind, np.nan, (x - 0.5) ** 2), 2 * (x - 0.5)

    found = minimise(f, np.zeros(1), np.ones(1), 1e6)
    if answered:
        assert found.inside[0]
        assert found.x[0] == pytest.approx(0.5, abs=1e-6)
    else:
        assert np.isnan(found.value[0])


def test_a_scan_grows_past_what_is_unknown():
    def f(k, x):
        return np.where((x > 1.5) & (x < 2.5), np.nan, (x - 100) ** 2), 2 * (x - 100)

    found = minimise(f, np.zeros(1), np.ones(1), 1e6)
    assert found.inside[0]
    assert found.x[0] == pytest.approx(100)


def test_a_ridge_between_the_lowest_point_of_the_scan_and_the_next_hides_no_minimum():
    """Two valleys that a profile goes over between: f rises from 0, then falls to the deeper one at 0.11."""

    def f(k, x):
        near, far = 0.3 * x, 0.04 + 20 * (x - 0.11) ** 2 - 0.2
        return np.minimum(near, far), np.where(near < far, 0.3, 40 * (x - 0.11))

    for high in (0.5, 1.0, 1.5, 2.0):
        found = minimise(f, np.zeros(1), np.full(1, high), 1e6)
        assert found.inside[0]
        assert found.x[0] == pytest.approx(0.11, abs=1e-6), high


@pytest.mark.parametrize("centre", [-3.0, 0.0, 0.4, 77.0, 5e4])
def test_slopes_know_where_values_are_rounded(centre):
    """A parabola above 50 whose values are the same, up to a last digit here and there, for a long way."""

    def f(k, x):
        return (50 + 1e-9 * (x - centre) ** 2).astype(np.float32).astype(float), 2e-9 * (x - centre)

    found = minimise(f, np.zeros(1), np.ones(1), 1e6)
    assert found.inside[0]
    assert found.x[0] == pytest.approx(max(centre, 0.0), abs=1e-6)


def test_a_function_that_ends_while_it_falls_says_so():
    def f(k, x):
        return np.where(x < 3, -x, np.inf), np.where(x < 3, -1.0, 0.0)

    found = minimise(f, np.zeros(1), np.ones(1), 1e6)
    assert not found.inside[0]
    assert 1 <= found.x[0] < 3
