r"""A narrow mass peak over a falling background, event by event: an extended unbinned likelihood.

With x a mass in the window [a, b], theta = (mu, mass_scale, resolution, slope, background):

    intensity   lambda(x) = mu S f_s(x) + background B f_b(x)
    signal      f_s(x) = N(x; m, w) / [Phi((b - m)/w) - Phi((a - m)/w)],   m = M (1 + e_m mass_scale),
                                                                           w = W (1 + e_w)^resolution
    background  f_b(x) = k exp(-k (x - a)) / (1 - exp(-k (b - a))),        k = K slope

    log L = -(mu S + background B) + sum_i log lambda(x_i),     mass_scale, resolution ~ N(0, 1)

(R. J. Barlow, Nucl. Instrum. Meth. A 297 (1990) 496, for the extended term; log n! is left out). The calibrations that
give mass scale and resolution are constraint terms; slope and normalisation of the background are free, the sidebands
fix them. mu may be negative as long as the intensity is positive at every event and on a grid across the window;
elsewhere log L = -inf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..parameters import Parameter, ParameterSpace
from ..priors import Normal, Prior
from ..tracing import tensorflow
from .source import Source

__all__ = ["unbinned"]

GRID = 161


def unbinned(
    events: Sequence[float] | None = None,
    *,
    seed: int = 0,
    window: Sequence[float] = (100.0, 180.0),
    signal: float = 60.0,
    background: float = 1000.0,
    mass: float = 125.0,
    width: float = 2.0,
    slope: float = 0.02,
    mass_uncertainty: float = 0.002,
    width_uncertainty: float = 0.1,
) -> Source:
    """The mass peak.

    Args:
        events: (n,) masses inside the window; if None, a data set generated at mu = 1 and nominal nuisances.
        seed: of the generated events.
        window: (a, b) in GeV.
        signal: S, signal events expected at mu = 1.
        background: B, background events expected at background = 1.
        mass: M in GeV.
        width: W in GeV.
        slope: K in 1/GeV.
        mass_uncertainty: e_m, relative.
        width_uncertainty: e_w, relative.

    Raises:
        ConfigError: a number that makes no such model, or events outside the window.
    """
    a, b = (float(x) for x in window)
    numbers = {
        "signal": signal,
        "background": background,
        "mass": mass,
        "width": width,
        "slope": slope,
        "mass_uncertainty": mass_uncertainty,
        "width_uncertainty": width_uncertainty,
    }
    bad = {name: value for name, value in numbers.items() if not 0 < value < np.inf}
    if bad or not a < mass < b:
        raise ConfigError(f"unbinned: {bad or mass} must be positive and finite, and the mass inside ({a}, {b})")
    if slope * (b - a) > 50:
        raise ConfigError(
            f"unbinned: the background falls by exp({slope * (b - a):.3g}) in the window; at most exp(50)"
        )
    if events is None:
        x = _generate(np.random.default_rng(seed), a, b, signal, background, mass, width, slope)
    else:
        x = np.asarray(events, float)
    if x.ndim != 1 or not len(x) or not ((x >= a) & (x <= b)).all():
        raise ConfigError(f"unbinned: events must be a list of masses inside [{a}, {b}]")
    parameters = ParameterSpace(
        (
            Parameter(name="mu", role="poi", latex=r"\mu"),
            Parameter(name="mass_scale", bounds=(-8.0, 8.0), latex=r"\delta_m"),
            Parameter(name="resolution", bounds=(-8.0, 8.0), latex=r"\delta_w"),
            Parameter(name="slope", bounds=(-10.0, 10.0), latex=r"k/K"),
            Parameter(name="background", bounds=(0.0, np.inf), start=1.0, latex=r"\nu_b/B"),
        )
    )
    grid = np.linspace(a, b, GRID)
    intensity = _intensity(np.concatenate([x, grid]), a, b, numbers)
    n = len(x)

    def log_likelihood(theta: Any) -> Any:
        tf = tensorflow()
        rate = intensity(theta)
        total = theta[:, 0] * signal + theta[:, 4] * background
        value = tf.reduce_sum(tf.math.log(tf.maximum(rate[:, :n], 1e-300)), axis=1) - total
        return tf.where(tf.reduce_all(rate > 0, axis=1), value, tf.constant(-np.inf, tf.float64))

    given: dict[str, Any] = {"seed": seed} if events is None else {"events": x.tolist()}
    return Source(
        name="unbinned",
        arguments={**given, "window": [a, b], **numbers},
        parameters=parameters,
        prior=Prior({"mass_scale": Normal(), "resolution": Normal()}),
        log_likelihood=log_likelihood,
        chunk=max(1, 2**20 // (n + GRID)),
        exact={"events": x},
    )


def _intensity(x: np.ndarray, a: float, b: float, numbers: dict[str, float]) -> Any:
    """lambda(x; theta), (n, 5) -> (n, len(x))."""

    def intensity(theta: Any) -> Any:
        tf = tensorflow()
        mu, scale, resolution, slope, background = (theta[:, i : i + 1] for i in range(5))
        m = numbers["mass"] * (1.0 + numbers["mass_uncertainty"] * scale)
        w = numbers["width"] * tf.exp(np.log1p(numbers["width_uncertainty"]) * resolution)
        inside = 0.5 * (tf.math.erf((b - m) / (w * np.sqrt(2))) - tf.math.erf((a - m) / (w * np.sqrt(2))))
        area = np.sqrt(2 * np.pi) * w * tf.maximum(inside, 1e-300)
        peak = tf.exp(-0.5 * ((x - m) / w) ** 2) / area
        k = numbers["slope"] * slope
        falling = tf.exp(-k * (x - a)) / ((b - a) * _mean_exponential(k * (b - a)))
        return mu * numbers["signal"] * peak + background * numbers["background"] * falling

    return intensity


def _mean_exponential(u: Any) -> Any:
    """(1 - exp(-u)) / u, the mean of exp(-u t) over 0 < t < 1; a series where u is near 0."""
    tf = tensorflow()
    small = tf.abs(u) < 1e-3
    safe = tf.where(small, tf.ones_like(u), u)
    series = 1.0 - u / 2.0 * (1.0 - u / 3.0 * (1.0 - u / 4.0 * (1.0 - u / 5.0)))
    return tf.where(small, series, -tf.math.expm1(-safe) / safe)


def _generate(
    rng: np.random.Generator, a: float, b: float, signal: float, background: float, mass: float, w: float, k: float
) -> np.ndarray:
    """A data set at mu = 1: Poisson numbers of both kinds, positions by inversion of the distribution functions."""
    from scipy.special import ndtr, ndtri

    n_signal, n_background = rng.poisson(signal), rng.poisson(background)
    low, high = ndtr((a - mass) / w), ndtr((b - mass) / w)
    peak = mass + w * ndtri(low + (high - low) * rng.random(n_signal))
    falling = a - np.log1p(rng.random(n_background) * np.expm1(-k * (b - a))) / k
    return np.clip(np.concatenate([peak, falling]), a, b)
