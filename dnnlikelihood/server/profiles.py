"""Profiles of a served model: computed one at a time beside the points, and kept, since they never change."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..errors import DnnLikelihoodError, ParameterError
from ..protocols import LogDensity
from ..results import Fit
from ..statistics import profile as profiles
from .limits import Refusal
from .models import Model, sayable

__all__ = ["MAX_POINTS", "Profiles"]

MAX_POINTS = 101
WIDTH = 4.0
"""A profile reaches so many standard deviations to both sides of the maximum, as far as the domain goes."""
WAITING, KEPT = 4, 512
"""Profiles asked for and not yet computed; profiles kept."""

Key = tuple[str, str, str, int]


class Profiles:
    """`logpdf` maximised over all other parameters.

    Args:
        seconds: how long a request waits for one; the computation goes on, so asking again finds it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._worker = ThreadPoolExecutor(1, "profile")
        self._asked: dict[Key, asyncio.Future[dict[str, Any]]] = {}
        self._maxima: dict[tuple[str, str], Fit] = {}

    def close(self) -> None:
        """Take no more; what is being computed is not waited for."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def ask(self, model: Model, parameter: str, n: int, head: str) -> dict[str, Any]:
        """The profile at n points about the maximum.

        Raises:
            Refusal: 404 unknown parameter or head, 422 no maximum found, 429 too many asked for, 503 not yet there.
        """
        key = (model.name, head, parameter, n)
        if key not in self._asked:
            if sum(not future.done() for future in self._asked.values()) >= WAITING:
                raise Refusal(429, f"{WAITING} profiles are being computed; ask again later", {"retry-after": "10"})
            while len(self._asked) >= KEPT:
                del self._asked[next(iter(self._asked))]
            loop = asyncio.get_running_loop()
            self._asked[key] = loop.run_in_executor(self._worker, self._compute, model, parameter, n, head)
        try:
            return await asyncio.wait_for(asyncio.shield(self._asked[key]), self._seconds)
        except TimeoutError:
            raise Refusal(503, "the profile is still being computed; ask again", {"retry-after": "5"}) from None
        except Refusal:
            self._asked.pop(key, None)
            raise

    def _compute(self, model: Model, parameter: str, n: int, head: str) -> dict[str, Any]:
        density: LogDensity = model.likelihood.guarded("-inf")
        try:
            density = density.select(head) if head else density
            i = density.parameters.index(parameter)
        except ParameterError as error:
            raise Refusal(404, str(error)) from error
        try:
            best = self._maxima.get((model.name, head)) or profiles.maximum(density)
            self._maxima[model.name, head] = best
            points = np.linspace(*_range(model, density, best, i), n)
            scan = profiles.profile(density, parameter, points, bestfit=best, progress=False)
        except DnnLikelihoodError as error:
            raise Refusal(422, f"no profile of {parameter!r}: {error}") from error
        return {
            "model_name": model.name,
            "model_fingerprint": model.fingerprint,
            "parameter": parameter,
            **({"head": head} if head else {}),
            "values": points.tolist(),
            "logpdf": sayable(np.where(scan.status == "converged", scan.profiled_logpdf, np.nan)),
            "status": scan.status.tolist(),
            "theta": scan.theta.tolist(),
            "bestfit": {"theta": scan.bestfit.theta[0].tolist(), "logpdf": float(scan.bestfit.value[0])},
        }


def _range(model: Model, density: LogDensity, best: Fit, i: int) -> tuple[float, float]:
    """Where to scan: about the maximum, inside the bounds, the ranges of the prior and the box of the domain."""
    width = WIDTH * profiles.standard_deviation(density, best.theta[0], i)
    low, high = (float(b[i]) for b in profiles.limits(density))
    domain, centre = model.likelihood.metadata["domain"], float(best.theta[0, i])
    return max(low, domain["low"][i], centre - width), min(high, domain["high"][i], centre + width)
