"""Named parameters: what is matched by name, and what is refused."""

import json
import math

import numpy as np
import pytest

from dnnlikelihood import Parameter, ParameterSpace
from dnnlikelihood.errors import ParameterError, ShapeError
from dnnlikelihood.jsonfiles import canonical

SPACE = ParameterSpace(
    (
        Parameter(name="mu", role="poi", bounds=(-1.0, 5.0), latex=r"\mu"),
        Parameter(name="delta_JES", kinks=(0.0,)),
        Parameter(name="s", role="input", bounds=(0.0, math.inf), unit="fb"),
    )
)


def test_json_is_lossless():
    text = canonical(SPACE.to_json())
    assert b"Infinity" not in text
    assert ParameterSpace.from_json(json.loads(text)) == SPACE


def test_lookups():
    assert SPACE.pois == ("mu",)
    assert SPACE.indices(["s", "mu"]).tolist() == [2, 0]
    assert SPACE.kinks == ((1, 0.0),)
    assert SPACE.subset(["s", "mu"]).names == ("s", "mu")
    assert SPACE.rename({"mu": "strength"})["strength"].bounds == (-1.0, 5.0)
    assert [p.label for p in SPACE] == [r"$\mu$", "delta JES", "s"]
    assert len(SPACE) == 3


def test_bounds_include_their_ends():
    inside = SPACE.inside(np.array([[-1.0, 0, 0], [5.0, 0, 0], [5.0001, 0, 0], [0, np.inf, 0], [0, 0, np.nan]]))
    assert inside.tolist() == [True, True, False, False, False]


def test_points_by_name():
    expected = [[1.0, 2.0, 3.0], [1.0, 4.0, 3.0]]
    assert SPACE.array({"s": 3, "delta_JES": [2.0, 4.0], "mu": 1}).tolist() == expected
    assert SPACE.array(np.array([[3, 1, 2]]), ["s", "mu", "delta_JES"]).tolist() == [[1.0, 2.0, 3.0]]
    assert SPACE.array([1, 2, 3]).shape == (1, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parameter(name=" "), "needs a name"),
        (lambda: Parameter(name=3), "needs a name"),
        (lambda: Parameter(name="a", role="signal"), "role 'signal'"),
        (lambda: Parameter(name="a", bounds=(1.0, 1.0)), "low < high"),
        (lambda: Parameter(name="a", bounds=(2.0, 1.0)), "low < high"),
        (lambda: Parameter(name="a", bounds=(math.nan, 1.0)), "no NaN"),
        (lambda: Parameter(name="a", bounds=("0", "1")), "'a': a bound must be a number, got '0'"),
        (lambda: Parameter(name="a\nb"), "visible characters"),
        (lambda: Parameter(name="a", bounds=3.0), r"must be \(low, high\), got 3.0"),
        (lambda: Parameter(name="a", start="1"), "a kink or start must be a number"),
        (lambda: Parameter(name="a", kinks=(1.0, 0.0)), "must ascend"),
        (lambda: Parameter(name="a", bounds=(0.0, 1.0), kinks=(1.0,)), "must ascend inside"),
        (lambda: ParameterSpace(()), "at least one"),
        (lambda: ParameterSpace.of("a", "b", "a"), r"duplicate parameter names \['a'\]"),
        (lambda: ParameterSpace.of("a", poi="b"), r"poi \['b'\] is not among"),
        (lambda: SPACE.index("delta_JER"), r"did you mean one of \['delta_JES'\]"),
    ],
)
def test_parameters_that_are_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


@pytest.mark.parametrize(
    ("theta", "names", "message"),
    [
        (np.zeros((2, 4)), None, r"shape \(2, 4\), expected \(n, 3\) with columns mu, delta_JES, s"),
        (np.zeros((1, 2, 3)), None, r"expected \(n, 3\)"),
        (3.0, None, r"expected \(n, 3\)"),
        ([["a", "b", "c"]], None, "real numbers"),
        (np.zeros((1, 3), complex), None, "real numbers"),
        ([[1.0], [1.0, 2.0]], None, "real numbers"),
        ({"mu": 0.0, "s": 1.0}, None, r"missing \['delta_JES'\], unknown \[\]"),
        ({}, None, "give every name"),
        ({"mu": [0.0, 1.0], "s": [1.0, 2.0, 3.0], "delta_JES": 0.0}, None, r"lengths \{'mu': 2, 's': 3"),
        ({"mu": 0.0, "s": 1.0, "x": 2.0}, None, r"missing \['delta_JES'\], unknown \['x'\]"),
        (np.zeros((1, 3)), ["mu", "s", "x"], r"missing \['delta_JES'\], unknown \['x'\]"),
    ],
)
def test_points_that_are_refused(theta, names, message):
    with pytest.raises(ShapeError, match=message):
        SPACE.array(theta, names)


def test_a_start_lies_inside_the_bounds_and_survives_json():
    parameter = Parameter(name="b", bounds=(0.0, 5.0), start=1.0)
    assert Parameter.from_json(parameter.to_json()) == parameter
    with pytest.raises(ParameterError, match="start 6"):
        Parameter(name="b", bounds=(0.0, 5.0), start=6.0)
    with pytest.raises(ParameterError, match="infinite"):
        Parameter(name="b", start=np.inf)
