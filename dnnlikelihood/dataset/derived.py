"""`Data` made from `Data`: the same rows with other weights, kinds or labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..errors import ParameterError, ShapeError
from .rows import Column, checked_column, finite_rows

__all__ = ["Derived", "unique"]


class Derived:
    """What changes columns and keeps rows."""

    def with_weights(self, weights: Any) -> Self:
        """The same rows with other weights (n,) > 0, in the order of `logpdf()`."""
        data: Any = self
        column = checked_column(weights, "weights", (len(data),))
        finite_rows({"weight": column})
        return _changed(data, "weighted", {"weight": column}, {"rows": len(data)})

    def with_kinds(self, kinds: Any) -> Self:
        """The same rows, of other kinds: (n,) of str, in the order of `logpdf()`.

        Raises:
            ShapeError: another number of kinds than of rows.
        """
        data: Any = self
        if np.shape(kinds) != (len(data),):
            raise ShapeError(f"kinds have shape {np.shape(kinds)}, expected ({len(data)},)")
        names, which = np.unique(np.asarray(kinds, str), return_inverse=True)
        columns = {"kind": Column.of(which.astype(np.uint8))}
        return _changed(data, "sorted", columns, {"kinds": len(names)}, row_kinds=tuple(names.tolist()))

    def select(self, head: str) -> Self:
        """The same rows with the labels of one head, as data of a plain density; read into memory.

        Raises:
            ParameterError: no such head.
        """
        data: Any = self
        if head not in data.heads:
            raise ParameterError(f"no head {head!r}; these data have {list(data.heads) or 'none'}")
        k = data.heads.index(head)
        chosen = {n: Column.of(data._columns[n][:][:, k]) for n in ("logpdf", "gradient") if n in data._columns}
        return _changed(data, "selected", chosen, {"head": head}, heads=())


def _changed(old: Any, event: str, columns: dict[str, Column], numbers: Mapping[str, Any], **known: Any) -> Any:
    """The same rows with other columns."""
    parents = unique([old.fingerprint, *old.parents])
    data = type(old)(replace(old.provenance, parents=parents, request=None, **known), old._columns | columns)
    data.log.record(event, id=data.fingerprint, parents=data.parents, numbers=numbers)
    return data


def unique(fingerprints: Sequence[str]) -> tuple[str, ...]:
    """Each once, in their order."""
    return tuple(dict.fromkeys(fingerprints))
