"""The questions about signals that `Inference` answers: CL_s, upper limits, discovery, of many signals at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .asked import Asked

if TYPE_CHECKING:
    from .statistics.limits import Discovery, HypothesisTest, UpperLimits

__all__ = ["SignalQuestions"]

Statistic = Literal["qmu", "qmu_tilde"]
Outside = Literal["refuse", "use"]


class SignalQuestions(Asked):
    """Of a profiled likelihood, truth or surrogate, with heads observed and asimov_observed; part of `Inference`.

    A signal is the yields of all bins: (d,), or (n, d) for many, or a mapping from bins to yields.
    """

    def upper_limit(
        self,
        signals: Any,
        level: float = 0.95,
        *,
        statistic: Statistic = "qmu_tilde",
        bands: str = "asimov_observed",
        outside: Outside = "refuse",
    ) -> UpperLimits:
        """The strength mu above which CL_s excludes each signal, observed and expected with bands, and its error.

        Args:
            signals: see the class.
            level: confidence level.
            statistic: "qmu_tilde" (mu >= 0) or "qmu".
            bands: the head of the expected limits: "asimov_observed" (after the fit) or "expected" (before any).
            outside: whether numbers from outside a surrogate's domain are used.

        Raises:
            ShapeError, DomainError: signals that do not fit the bins, or make no sense.
        """
        from .statistics.limits import upper_limits
        from .statistics.signals import along

        start = time.perf_counter()
        found = upper_limits(along(self._known(), signals, outside=outside), level, statistic=statistic, bands=bands)
        numbers = {"level": level, "statistic": statistic, "bands": bands}
        numbers |= _json(found, "observed", "expected", "muhat", "error", "in_domain", "status")
        self._told("upper_limit", f"{level:g}", numbers, found.status, time.perf_counter() - start)
        return found

    def cls(
        self,
        signals: Any,
        mu: Any = 1.0,
        *,
        statistic: Statistic = "qmu_tilde",
        bands: str = "asimov_observed",
        outside: Outside = "refuse",
    ) -> HypothesisTest:
        """CL_s of each signal at a strength mu, observed and expected with bands; arguments as for `upper_limit`."""
        from .statistics.limits import hypotest
        from .statistics.signals import along

        start = time.perf_counter()
        found = hypotest(along(self._known(), signals, outside=outside), mu, statistic=statistic, bands=bands)
        numbers = {"statistic": statistic, "bands": bands}
        numbers |= _json(found, "mu", "muhat", "cls", "cls_expected", "error", "in_domain", "status")
        self._told("cls", "", numbers, found.status, time.perf_counter() - start)
        return found

    def discovery(self, signals: Any, *, outside: Outside = "refuse") -> Discovery:
        """q_0, p_0 and significance of each signal in the observed data."""
        from .statistics.limits import discovery
        from .statistics.signals import along

        start = time.perf_counter()
        found = discovery(along(self._known(), signals, outside=outside))
        numbers = _json(found, "muhat", "q0", "p0", "significance", "error", "status")
        self._told("discovery", "", numbers, found.status, time.perf_counter() - start)
        return found

    def expected_discovery(self, signals: Any, mu: Any = 1.0, *, outside: Outside = "refuse") -> Discovery:
        """Medians of q_0, p_0 and significance if each signal is there with strength mu (number or (n,)).

        Raises:
            ParameterError: no head asimov_signal, which `ProfiledLikelihood.from_workspace(discovery=True)` has.
        """
        from .statistics.limits import expected_discovery
        from .statistics.signals import along

        start = time.perf_counter()
        found = expected_discovery(along(self._known(), signals, outside=outside), mu)
        numbers = _json(found, "muhat", "q0", "p0", "significance", "error", "status")
        self._told("expected_discovery", "", numbers, found.status, time.perf_counter() - start)
        return found

    def _told(self, question: str, about: str, numbers: Mapping[str, Any], status: np.ndarray, seconds: float) -> None:
        n = len(status)
        bad = status[status != "converged"]
        warnings = [f"{len(bad)} of {n} signals: {sorted(set(bad.tolist()))}"] if len(bad) else []
        self._note(f"{question}({', '.join(x for x in (f'{n} signals', about) if x)})", numbers, warnings, seconds)


def _json(found: Any, *names: str) -> dict[str, Any]:
    """Fields of a result as JSON; what is not finite is null, and its status says why."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return {name: plain(getattr(found, name).tolist()) for name in names}
