"""What a figure asks of the numbers it is given: real, of one shape, and at least one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ShapeError

__all__ = ["finite", "real", "some"]


def real(what: str, values: Any, *shape: int | None) -> np.ndarray:
    """Values as float64 of the shape asked for (None: any length, at least 1); NaN and infinities may be in it.

    Raises:
        ShapeError: no real numbers, another shape, or empty.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"values of type {array.dtype}")
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{what} must be real numbers: {error}") from error
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits or array.size == 0:
        wanted = "(" + ", ".join("n" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
        raise ShapeError(f"{what} has shape {array.shape}, expected {wanted} with at least one value")
    return array.astype(np.float64, copy=False)


def finite(what: str, values: Any, *shape: int | None) -> np.ndarray:
    """As `real`, and every number finite.

    Raises:
        ShapeError: as `real`, or a number that is not finite; the message says how many and where.
    """
    array = real(what, values, *shape)
    bad = ~np.isfinite(array)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ShapeError(f"{what} has {bad.sum()} values that are not finite, the first at {place}; leave them out")
    return array


def some(what: str, things: Mapping[Any, Any]) -> None:
    """At least one entry, and a mapping at all.

    Raises:
        ShapeError: otherwise.
    """
    if not isinstance(things, Mapping) or not things:
        raise ShapeError(f"{what} must be a mapping from label to numbers with at least one entry, got {things!r:.60}")
