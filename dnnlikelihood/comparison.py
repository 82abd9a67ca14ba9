"""`agreement(truth, surrogate)`: the same questions to both, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ParameterError
from .protocols import LogDensity
from .results import Agreement, Samples

if TYPE_CHECKING:
    from .inference import Inference, InferenceConfig
    from .statistics.agreement import Limits

__all__ = ["agreement"]


def agreement(
    truth: LogDensity,
    surrogate: LogDensity,
    *,
    truth_samples: Samples | Any = None,
    surrogate_samples: Samples | Any = None,
    scans: Mapping[str, Any] | None = None,
    config: InferenceConfig | None = None,
    surrogate_config: InferenceConfig | None = None,
    limits: Limits | None = None,
    n_points: int = 20000,
    progress: bool = True,
) -> Agreement:
    """Compare a surrogate with its truth, by the same questions to both.

    Regions: "bulk" (samples of the truth), "own" (samples of the surrogate), "tails" (the lowest hundredth of the
    truth's samples) and "profile" (where the surrogate's own profile fits ended: a maximiser seeks its errors out).

    Args:
        truth: the density that was learned.
        surrogate: what learned it; same parameters.
        truth_samples: drawn by HMC if None.
        surrogate_samples: likewise.
        scans: points of t_mu for each parameter of interest; 11 points over the 95 % HPDI of the truth if None.
        config: of the questions to the truth.
        surrogate_config: of those to the surrogate; the same with the next seed if None, because chains that share
            random numbers would agree better than tests of independent samples assume.
        limits: what counts as agreement.
        n_points: how many samples of each region are evaluated.
        progress: whether bars are shown.

    Raises:
        ParameterError: densities of other parameters.
    """
    from .inference import Inference, InferenceConfig
    from .statistics import agreement as comparison

    if truth.parameters.names != surrogate.parameters.names:
        raise ParameterError("truth and surrogate have other parameters, or another order: rename or reorder one")
    config = config or InferenceConfig()
    surrogate_config = surrogate_config or config.replace(seed=config.seed + 1)
    true, own = Inference(truth, truth_samples, config), Inference(surrogate, surrogate_samples, surrogate_config)
    drawn = [i.samples if i._samples is not None else i.posterior(progress=progress) for i in (true, own)]
    points = dict(scans) if scans is not None else {n: _scan_points(true, n) for n in truth.parameters.pois}
    pairs = {
        n: (true.profile(n, x, progress=progress), own.profile(n, x, progress=progress)) for n, x in points.items()
    }
    rng = np.random.default_rng(true.config.seed)
    order = np.argsort(drawn[0].flat_logpdf)
    tails = order[: max(1, len(order) // 100)]
    places = {
        "bulk": drawn[0].theta[_some(rng, len(order), n_points)],
        "own": drawn[1].theta[_some(rng, len(drawn[1].theta), n_points)],
        "tails": drawn[0].theta[tails[_some(rng, len(tails), n_points)]],
    }
    if pairs:
        places["profile"] = np.concatenate([scan.theta for _, scan in pairs.values()])
    places = {name: x[truth.support(x)] for name, x in places.items()}
    regions = {name: comparison.Region(x, truth.logpdf(x), surrogate.logpdf(x)) for name, x in places.items() if len(x)}
    return comparison.agreement(regions, drawn[0], drawn[1], pairs, support=true._about["ends"], limits=limits)


def _some(rng: np.random.Generator, n: int, most: int) -> np.ndarray:
    return np.arange(n) if n <= most else rng.choice(n, most, replace=False)


def _scan_points(inference: Inference, name: str) -> np.ndarray:
    edges = inference.hpdi(name, 0.95).intervals
    return np.linspace(edges[0].low, edges[-1].high, 11)
