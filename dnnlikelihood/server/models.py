"""A published model as the server knows it: points in, numbers that JSON can say out.

What cannot be said stays unsaid. A logpdf is null where it is -inf (outside the support: bounds and ranges of priors)
and, unless the request asks for `"outside": "value"`, where the point lies outside the training domain, in which the
surrogate knows nothing; so are its gradient and its error. `in_domain` tells the two apart.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np

from ..errors import IntegrityError
from ..published import PublishedLikelihood
from .limits import Limits, Refusal

__all__ = ["Model", "Outside", "Question", "numbers", "outside_policy", "sayable"]

Outside = Literal["null", "value"]
ROWS = 2048
"""Rows evaluated between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Question:
    """Points (n, d), whether their gradient is asked for, and what to say outside the domain."""

    theta: np.ndarray
    gradient: bool = False
    outside: Outside = "null"


def outside_policy(value: Any) -> Outside:
    """The request's word for what is said outside the domain."""
    if value not in get_args(Outside):
        raise Refusal(400, f"outside is {value!r}; it is 'null' (the default) or 'value'")
    return value


def numbers(rows: Any, d: int, limits: Limits, where: str) -> np.ndarray:
    """(n, d) float64 from JSON, after every entry was seen to be a number.

    Raises:
        Refusal: 400 for another shape or type, 413 for too many rows.
    """
    if not isinstance(rows, list):
        raise Refusal(400, f"{where} must be a list of points, each a list of {d} numbers")
    if len(rows) > limits.rows:
        raise Refusal(413, f"{where} holds {len(rows)} points, more than {limits.rows}; send fewer at once")
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != d:
            found = f"{len(row)} entries" if isinstance(row, list) else type(row).__name__
            raise Refusal(400, f"{where}[{i}] is {found}; a point is a list of {d} numbers")
        if not set(map(type, row)) <= {float, int}:
            j = next(j for j, x in enumerate(row) if type(x) not in (float, int))
            raise Refusal(400, f"{where}[{i}][{j}] is {str(row[j])[:40]!r}, not a number")
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * d)
    except OverflowError as error:
        raise Refusal(400, f"{where} holds an integer that no float64 can hold") from error
    return flat.reshape(len(rows), d)


class Model:
    """One published model behind the server; its methods run in worker threads.

    Args:
        likelihood: opened with one thread: every request has its own.
        limits: what a request may cost.
    """

    version = "1"

    def __init__(self, likelihood: PublishedLikelihood, limits: Limits) -> None:
        self.likelihood, self.limits = likelihood, limits
        self.name = str(likelihood.metadata["name"])
        self.fingerprint = likelihood.fingerprint
        self.heads = tuple(getattr(likelihood, "heads", ()))

    @property
    def d(self) -> int:
        """Numbers a point has."""
        return len(self.likelihood.parameters)

    @cached_property
    def start(self) -> list[float]:
        """A point with an answer; the centre of a domain may be a hole in it."""
        return self.likelihood.known_points()[0].tolist()

    def warm_up(self) -> None:
        """Evaluate both graphs once, so that the first request is as fast as the others.

        Raises:
            IntegrityError: a model that answers nothing, not even in its middle.
        """
        middle = np.array([self.likelihood.metadata["domain"]["center"]])
        for gradient in (False, True):
            found = self.likelihood.answers(middle, gradient=gradient)
            if not all(np.isfinite(array).all() for array in found.values()):
                raise IntegrityError(f"{self.likelihood.folder} has no finite answer at the centre of its own domain")

    def shape(self, output: str) -> list[int]:
        """The shape of an output, the rows as -1."""
        heads = [len(self.heads)] if self.heads else []
        return {"in_domain": [-1], "gradient": [-1, *heads, self.d]}.get(output, [-1, *heads])

    def answer(self, question: Question, deadline: float) -> dict[str, list[Any]]:
        """Lists of n rows: logpdf, error, spread, in_domain, and gradient if asked; null where nothing can be said.

        Raises:
            Refusal: 503 if the time is up.
        """
        pieces = []
        for i in range(0, max(len(question.theta), 1), ROWS):
            if time.monotonic() > deadline:
                message = f"not answered within {self.limits.seconds:g} s; send fewer points, or ask again"
                raise Refusal(503, message, {"retry-after": "1"})
            found = self.likelihood.answers(question.theta[i : i + ROWS], gradient=question.gradient)
            if question.outside == "null":
                for name in ("logpdf", "error", "gradient"):
                    if name in found:
                        found[name][~found["in_domain"]] = np.nan
            pieces.append({name: sayable(array) for name, array in found.items()})
        return {name: list(chain.from_iterable(piece[name] for piece in pieces)) for name in pieces[0]}


def sayable(array: np.ndarray) -> list[Any]:
    """A nested list, with null for what is not finite."""
    if array.dtype == bool or np.isfinite(array).all():
        return array.tolist()
    said = array.astype(object)
    said[~np.isfinite(array)] = None
    return said.tolist()
