"""Formulas become the matrix they say."""

import numpy as np
import pytest

from dnnlikelihood import ParameterSpace
from dnnlikelihood.errors import ParameterError
from dnnlikelihood.reparametrisation import linear_map, new_points

SPACE = ParameterSpace.of("a", "b", "c")


def test_every_point_obeys_its_formulas():
    formulas = {"a": {"x": 2.0, "c": 0.5}, "b": {"y": -1.0, "x": 1.0}}
    matrix, names = linear_map(SPACE, formulas)
    assert names == ("x", "y", "c")
    phi = np.random.default_rng(0).normal(size=(20, 3))
    x, y, c = phi.T
    np.testing.assert_allclose(phi @ matrix.T, np.stack([2 * x + 0.5 * c, x - y, c], axis=1))
    np.testing.assert_allclose(new_points(matrix, phi @ matrix.T), phi, atol=1e-12)


def test_fewer_new_coordinates_are_a_constraint():
    matrix, names = linear_map(SPACE, {"a": {"x": 1.0}, "b": {"x": -1.0}})
    assert names == ("x", "c")
    np.testing.assert_allclose(new_points(matrix, np.array([[2.0, -2.0, 1.0]])), [[2.0, 1.0]])
    with pytest.raises(ParameterError, match="1 of 2 points"):
        new_points(matrix, np.array([[2.0, -2.0, 1.0], [2.0, 2.0, 1.0]]))


def test_a_parameter_may_be_rescaled_and_more_new_ones_come_last():
    assert linear_map(SPACE, {"b": {"b": 3.0}})[1] == SPACE.names
    assert linear_map(SPACE, {"b": {"x": 3.0, "y": 1.0}})[1] == ("a", "x", "c", "y")


@pytest.mark.parametrize("bad", [{}, [], {"d": {"x": 1.0}}, {"a": {}}, {"a": {"x": np.nan}}, {"a": 3.0}])
def test_what_is_no_formula_is_refused(bad):
    with pytest.raises(ParameterError):
        linear_map(SPACE, bad)
