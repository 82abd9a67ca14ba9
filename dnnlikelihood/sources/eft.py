r"""The source `eft`: a counting experiment in effective-theory coefficients c and nuisances t, as in `eft_model`.

log L(c, t) = sum_b [ n_b log lambda_b(c, t) - lambda_b(c, t) - log n_b! ],      t ~ N(0, 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..tracing import tensorflow
from .eft_generated import SEED, generated
from .eft_model import BEND, EftModel, to_triangle
from .source import Counting, Source

__all__ = ["Document", "eft", "eft_model", "recipe"]


Document = EftModel | Mapping[str, Any] | str | Path | None
"""An experiment, a document of schema eft_counts/1, the path of one, or None for the generated search."""


def eft_model(document: Document = None, seed: int | None = None) -> EftModel:
    """The experiment of a document (as of schemas/eft_counts.json) or of such a file; the generated one if None.

    Raises:
        ConfigError: both a document and a seed, or a file of another kind of fit.
    """
    from .eft_json import counts_from_json, read_eft

    if document is None:
        return generated(SEED if seed is None else seed)
    if seed is not None:
        raise ConfigError("a document leaves nothing to a seed; give one of them")
    if isinstance(document, EftModel):
        return document
    model = counts_from_json(dict(document)) if isinstance(document, Mapping) else read_eft(document)
    if not isinstance(model, EftModel):
        raise ConfigError(f"{document} holds measurements with a covariance; use the source 'eft_gaussian'")
    return model


def recipe(model: EftModel, document: Document, seed: int | None) -> dict[str, Any]:
    """JSON-able arguments that make the same experiment again."""
    from .eft_json import counts_to_json

    if document is None:
        return {"seed": SEED if seed is None else seed}
    return {"document": counts_to_json(model)}


def eft(document: Document = None, seed: int | None = None) -> Source:
    """A counting experiment in effective-theory coefficients.

    Args:
        document: as of schemas/eft_counts.json, or the path of such a file, whose content becomes part of the recipe;
            an EftModel; or None for the generated search.
        seed: of the generated search.

    >>> eft(seed=1).parameters.pois[:3]
    ('ctW', 'ctZ', 'ctp')
    """
    model = eft_model(document, seed)
    counting = Counting(_expected(model), np.asarray(model.observed, float))
    return Source(
        name="eft",
        arguments=recipe(model, document, seed),
        parameters=model.parameters,
        prior=model.prior,
        log_likelihood=counting.log_likelihood,
        counting=counting,
        reference=model.reference,
        chunk=512,
    )


def _expected(model: EftModel) -> Any:
    """lambda(c, t), float64 (n, d + k) -> (n, B)."""
    d, (bins, processes) = len(model.coefficients), model.rate.shape
    i, j = np.triu_indices(d + 1)
    quiet = np.setdiff1d(np.arange(processes), model.touched)
    order = np.concatenate([model.touched, quiet])
    upper = to_triangle(model.structure) * np.where(i == j, 1.0, 2.0)
    yields = model.rate[:, model.touched, None] * upper
    table = np.moveaxis(yields, 2, 0).reshape(len(i), -1)
    even, odd = (0.5 * (model.up + s * model.down)[:, :, order].reshape(len(model.nuisances), -1) for s in (1, -1))
    bent = np.flatnonzero(odd.any(axis=1))

    def expected(theta: Any) -> Any:
        tf = tensorflow()
        x = tf.concat([tf.ones_like(theta[:, :1]), theta[:, :d]], axis=1)
        t = theta[:, d:]
        signal = tf.reshape((tf.gather(x, i, axis=1) * tf.gather(x, j, axis=1)) @ table, (-1, bins, len(model.signals)))
        rest = tf.tile(model.rate[None, :, quiet], (tf.shape(theta)[0], 1, 1))
        h = tf.sqrt(tf.gather(t, bent, axis=1) ** 2 + BEND**2) - BEND
        exponent = tf.reshape(t @ even + h @ odd[bent], (-1, bins, processes))
        return tf.reduce_sum(tf.concat([signal, rest], axis=2) * tf.exp(exponent), axis=2)

    return expected
