"""New coordinates as a physicist writes them: old parameters as linear combinations of new ones.

    theta_old = sum_new coefficient * phi_new,        parameters without a formula stay what they are

`linear_map` makes the matrix and the names that `reparametrise` of any density takes. The example of CMS (EPJ Web Conf.
295 (2024) 09041) is ctW = sqrt(3) x9 + x10, ctZ = -2 x9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from .errors import ParameterError
from .parameters import ParameterSpace

__all__ = ["linear_map", "new_points"]

Formulas = Mapping[str, Mapping[str, float]]


def linear_map(parameters: ParameterSpace, formulas: Formulas) -> tuple[np.ndarray, tuple[str, ...]]:
    """The matrix (d, e) with theta = matrix @ phi, and the e names of phi.

    Args:
        parameters: the old ones.
        formulas: old name -> {new or kept name: coefficient}. New names take the places of the replaced ones.

    Raises:
        ParameterError: an unknown old name, an empty formula, or a coefficient that is no finite number.

    >>> matrix, names = linear_map(ParameterSpace.of("ctG", "ctW", "ctZ"), {"ctW": {"x": 2, "y": 1}, "ctZ": {"x": -1}})
    >>> names
    ('ctG', 'x', 'y')
    >>> matrix.tolist()
    [[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, -1.0, 0.0]]
    """
    old = parameters.names
    _check(old, formulas)
    kept = [name for name in old if name not in formulas]
    new = [n for n in dict.fromkeys(n for terms in formulas.values() for n in terms) if n not in kept]
    left = iter(new)
    names = [name if name in kept else next(left, None) for name in old]
    order = [name for name in names if name is not None] + list(left)
    matrix = np.zeros((len(old), len(order)))
    for row, name in zip(matrix, old, strict=True):
        for term, coefficient in formulas.get(name, {name: 1.0}).items():
            row[order.index(term)] = coefficient
    return matrix, tuple(order)


def new_points(matrix: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(n, d) old points in new coordinates (n, e).

    Raises:
        ParameterError: a point that no new coordinates reach.
    """
    phi = np.linalg.lstsq(matrix, theta.T, rcond=None)[0].T
    off = np.abs(phi @ matrix.T - theta).max(axis=1)
    bad = off > 1e-9 * np.maximum(1.0, np.abs(theta).max(axis=1))
    if bad.any():
        raise ParameterError(
            f"{bad.sum()} of {len(theta)} points cannot be told in the new coordinates, which are fewer"
        )
    return phi


def _check(old: Sequence[str], formulas: Any) -> None:
    if not isinstance(formulas, Mapping) or not formulas:
        raise ParameterError(f"formulas are an old name -> {{new name: coefficient}} each, got {formulas!r:.80}")
    for name, terms in formulas.items():
        if name not in old:
            raise ParameterError(f"no parameter {name!r}; there are {', '.join(old[:20])}")
        numbers = terms.values() if isinstance(terms, Mapping) else ()
        if not numbers or not all(isinstance(x, Real) and math.isfinite(x) for x in numbers):
            raise ParameterError(f"the formula of {name!r} is {terms!r:.80}; give {{new name: finite number}}")
