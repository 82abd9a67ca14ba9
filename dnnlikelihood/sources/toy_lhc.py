r"""The LHC-like toy search of arXiv:1809.05548 and arXiv:1911.03305: 90 bins, 95 parameters, one of interest.

theta = (mu, delta_1 ... delta_90, delta_ISR, delta_JES, delta_LV, delta_CR); three categories c of 30 bins each.

    nu_I  = mu s_I + N_c f_I (1 + eps_I)^delta_I
    N_c   = B_c prod_k (1 + K+_kc)^{d_k}  for d_k >= 0,   (1 + K-_kc)^{-d_k}  for d_k < 0,     k in ISR, JES, LV, CR
    f_I   = F_I / sum_{J in c} F_J,   F_I = (b_I / B_c) P_ISR,I(d_ISR) P_JES,I(d_JES)
    P(d)  = parabola through (-1, k-), (0, 1), (1, k+) for |d| <= 1, straight lines with its end slopes beyond

    log L = sum_I [ n_I log nu_I - nu_I - log n_I! ],   nuisances N(0, 1),   mu uniform in (-1, 5)

N_c has a kink at d_k = 0 in each of the four global nuisances. The original code gives the uniform prior the density
1/5 on a range of width 6; `prior="original"` keeps that number, `"normalised"` uses 1/6.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..parameters import Parameter, ParameterSpace
from ..priors import Normal, Prior, Uniform
from ..tracing import tensorflow
from .source import Counting, Source

__all__ = ["toy_lhc"]

GLOBALS = ("ISR", "JES", "LV", "CR")


@cache
def _table() -> dict[str, Any]:
    return json.loads(resources.files("dnnlikelihood.sources").joinpath("toy_lhc.json").read_text("utf-8"))


def toy_lhc(prior: str = "original") -> Source:
    """The toy search.

    Args:
        prior: "original" (density of mu 1/5, as published) or "normalised" (1/6).
    """
    if prior not in ("original", "normalised"):
        raise ConfigError(f"toy_lhc: prior {prior!r} is neither 'original' nor 'normalised'")
    table = _table()
    bins = [Parameter(name=f"delta_mc_{i}", latex=rf"\delta_{{{i}}}") for i in range(1, 91)]
    parameters = ParameterSpace(
        (
            Parameter(name="mu", role="poi", latex=r"\mu"),
            *bins,
            *(Parameter(name=f"delta_{k}", kinks=(0.0,), latex=rf"\delta_\mathrm{{{k}}}") for k in GLOBALS),
        )
    )
    mu = Uniform(-1.0, 5.0, -float(np.log(5.0)) if prior == "original" else None)
    counting = Counting(_expected(table), np.asarray(table["observed"], float))
    return Source(
        name="toy_lhc",
        arguments={"prior": prior},
        parameters=parameters,
        prior=Prior({"mu": mu, **{p.name: Normal() for p in parameters.parameters[1:]}}),
        log_likelihood=counting.log_likelihood,
        counting=counting,
        dense_columns=(0, 91, 92, 93, 94),
        reference="arXiv:1911.03305; arXiv:1809.05548",
        chunk=1024,
    )


def _expected(table: dict[str, Any]) -> Any:
    """nu(theta), (n, 95) -> (n, 90)."""
    signal = np.asarray(table["signal"], float)
    background = np.asarray(table["background"], float)
    totals = np.asarray(table["background_category_totals"], float)
    in_category = np.repeat(np.eye(3), 30, axis=0)
    log_stat = np.log1p(np.asarray(table["eps_mc_stat"], float))
    fraction = background / (in_category @ totals)
    log_up = np.log1p(np.array([table["norm"][k]["up"] for k in GLOBALS]))
    log_down = -np.log1p(np.array([table["norm"][k]["down"] for k in GLOBALS]))
    up, down = ({k: np.asarray(table["shape"][k][side], float) for k in ("ISR", "JES")} for side in ("up", "down"))

    def shape(d: Any, k: str) -> Any:
        """P_k,I(d): (n, 1) -> (n, 90). With c = clip(d, -1, 1): the parabola at c plus its slope at c times (d - c)."""
        curvature, slope = 0.5 * (up[k] + down[k]) - 1.0, 0.5 * (up[k] - down[k])
        c = tensorflow().clip_by_value(d, -1.0, 1.0)
        return 1.0 + c * (slope + curvature * c) + (slope + 2.0 * curvature * c) * (d - c)

    def expected(theta: Any) -> Any:
        tf = tensorflow()
        mu, local, d = theta[:, :1], theta[:, 1:91], theta[:, 91:]
        log_norm = tf.maximum(d, 0.0) @ log_up + tf.minimum(d, 0.0) @ log_down
        shapes = fraction * shape(d[:, 0:1], "ISR") * shape(d[:, 1:2], "JES")
        per_category = totals * tf.exp(log_norm) / (shapes @ in_category)
        return mu * signal + tf.repeat(per_category, 30, axis=1) * shapes * tf.exp(local * log_stat)

    return expected
