r"""The profile likelihood of templates on Asimov data: scans, and the two-sided uncertainties that Fisher cannot give.

    lambda_k(r, theta) = sum_s r_s S_sk + sum_b B_bk + sum_j f_jk(theta_j)
    f_jk(theta) = a_jk theta + b_jk theta^2      |theta| <= 1,    a = (up - down) / 2,  b = (up + down) / 2 - nominal
                  and its tangents beyond        (smooth at 0: pyhf's code2)
    -log L = sum_k [lambda_k - n_k log lambda_k] + sum_j theta_j^2 / 2 constraint_j^2,     n = lambda(1, 0)

Delta r of one side is where -log L, minimised over all else, has grown by 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import NotConverged
from ..statistics.counting import Constraints, Observation, maximise_nuisances
from .templates import Templates
from .uncertainty import expected_uncertainty

__all__ = ["Asymmetric", "asymmetric", "profile_scan"]

ROUNDS, POINTS = 5, 17
WIDENINGS = 12


@dataclass(frozen=True)
class Asymmetric:
    """Uncertainties of one signal strength by Delta log L = 1/2 on Asimov data."""

    up: float
    down: float
    """Positive."""
    up_stat: float
    """With the nuisances fixed."""
    down_stat: float


class _Counting:
    """The templates as a model of `statistics.counting`: one POI held, other POIs and all nuisances free."""

    def __init__(self, templates: Templates, poi: str, *, systematics: bool) -> None:
        t = templates.without_empty_bins()
        names = t.poi_names
        held = names.index(poi)
        others = [s for s in range(len(names)) if s != held]
        self._held, self._others = t.signals[held], t.signals[others]
        self._fixed = t.total - t.signals.sum(axis=0)
        used = slice(None) if systematics else slice(0, 0)
        self._a = t.shifts()[used]
        self._b = (0.5 * (t.up + t.down) - t.nominal).sum(axis=1)[used]
        n, width = len(others), t.constraints[used]
        precision = np.concatenate([np.zeros(n), width**-2.0])
        self.constraints = Constraints(precision, np.zeros_like(precision))
        self.start = np.concatenate([np.ones(n), np.zeros(len(width))])
        self.lower, self.upper = np.full(len(self.start), -np.inf), np.full(len(self.start), np.inf)
        self.observation = Observation(t.total, np.zeros_like(self.start), np.zeros_like(self.start))

    def hold(self, x: np.ndarray) -> np.ndarray:
        return x

    def expected(self, held: np.ndarray, nu: np.ndarray) -> np.ndarray:
        n = len(self._others)
        theta = nu[:, n:]
        inside = np.clip(theta, -1.0, 1.0)
        square = inside**2 + 2.0 * inside * (theta - inside)
        return self._fixed + held[:, :1] * self._held + nu[:, :n] @ self._others + theta @ self._a + square @ self._b

    def jacobian(self, held: np.ndarray, nu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(self._others)
        slope = self._a + 2.0 * np.clip(nu[:, n:], -1.0, 1.0)[:, :, None] * self._b
        others = np.broadcast_to(self._others, (len(nu), *self._others.shape))
        return self.expected(held, nu), np.concatenate([others, slope], axis=1).transpose(0, 2, 1)

    def inputs_jacobian(self, x: np.ndarray, nu: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self._held[:, None], (len(x), len(self._held), 1))


def profile_scan(
    templates: Templates, values: np.ndarray, poi: str | None = None, *, systematics: bool = True
) -> np.ndarray:
    """-log L relative to its minimum along a signal strength, all else profiled.

    Args:
        templates: yields.
        values: (n,) of the signal strength.
        poi: its name; the first one if None.
        systematics: False holds the nuisances at 0.

    Returns:
        (n,) nats; infinite where an expected yield would be negative.

    Raises:
        NotConverged: a fit failed.
    """
    model = _Counting(templates, poi or templates.poi_names[0], systematics=systematics)
    x = np.asarray(values, float)[:, None]
    fit = maximise_nuisances(model, x, gradient=False)
    outside = fit.status == "outside"
    failed = ~fit.converged & ~outside & (fit.error > 1e-3)
    if failed.any():
        raise NotConverged(f"the profile fit failed at {poi or 'r'} = {x[failed, 0][:5].tolist()}")
    return np.where(outside, np.inf, -fit.value)


def asymmetric(templates: Templates, poi: str | None = None) -> Asymmetric:
    """The uncertainties of one signal strength on both sides, with and without nuisances."""
    return Asymmetric(
        *(_side(templates, poi, sign, systematics=systematics) for systematics in (True, False) for sign in (1.0, -1.0))
    )


def _side(templates: Templates, poi: str | None, sign: float, *, systematics: bool) -> float:
    """Where log L has fallen by 1/2, by ever finer grids; infinite if it does not near the Fisher uncertainty."""

    def grown(steps: np.ndarray) -> np.ndarray:
        return profile_scan(templates, 1.0 + sign * steps, poi, systematics=systematics)

    found = expected_uncertainty(templates)
    s = 0 if poi is None else found.pois.index(poi)
    low, high = 0.0, float(found.total[s] if systematics else found.stat[s])
    for _ in range(WIDENINGS):
        if grown(np.array([high]))[0] >= 0.5:
            break
        low, high = high, 1.5 * high
    else:
        return np.inf
    for _ in range(ROUNDS):
        steps = np.linspace(low, high, POINTS)
        first = int(np.argmax(grown(steps[1:]) >= 0.5))
        low, high = steps[first], steps[first + 1]
    return float(0.5 * (low + high))
