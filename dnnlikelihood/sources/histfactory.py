r"""HistFactory: any pyhf workspace as a log-density of all its parameters (CERN-OPEN-2012-016; JOSS 6 (2021) 2823).

    log L(theta) = sum_b log Pois(n_b | lambda_b(theta)) + sum_k log Pois(m_k | tau_k gamma_k)
                   + sum_p log N(a_p | alpha_p, sigma_p)

with the expected counts lambda of `histfactory_model`, the Poisson auxiliary measurements m of shapesys, which stand
here among the counts, and the normal ones of all other constrained modifiers, which are the `prior` of this source: an
auxiliary measurement N(a | alpha, sigma) and a normal prior of alpha are one and the same function, and as prior terms
they count once when workspaces that share a nuisance are combined. Their sum is pyhf's `logpdf`, constants and all.

Parameters that the measurement fixes are held at their values. The range of a parameter is that of pyhf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..jsonfiles import canonical
from ..parameters import Parameter, ParameterSpace
from ..priors import Normal, Prior
from ..tracing import tensorflow
from .histfactory_model import Model, compile_model
from .histfactory_patches import patched
from .histfactory_workspace import measurement_of
from .source import Counting, Source

__all__ = ["histfactory", "parameters_of"]


def histfactory(
    workspace: Mapping[str, Any] | str | Path,
    *,
    patch: Mapping[str, Any] | Sequence[Any] | str | Path | None = None,
    patch_name: str | None = None,
    measurement: str | None = None,
) -> Source:
    """The likelihood of a workspace.

    Args:
        workspace: path (`.json`, `.json.gz`), JSON text or dict in pyhf's schema.
        patch: a JSON patch or a patch set, likewise.
        patch_name: which patch of a patch set.
        measurement: its name; the first one if None.

    Raises:
        SchemaError: what is no workspace, or a patch that does not fit it.
        MissingDependency: pyhf is not installed.
    """
    document = patched(workspace, patch, patch_name)
    model = compile_model(document, measurement)
    rated = np.flatnonzero(model.rate > 0)
    counting = Counting(_expected(model, rated), np.r_[model.observed, model.count[rated]])
    normal = np.flatnonzero(np.isfinite(model.sigma))
    constant = model.constant

    def log_likelihood(theta: Any) -> Any:
        return counting.log_likelihood(theta) + constant

    return Source(
        name="histfactory",
        arguments={
            "workspace": canonical(document).decode(),
            "measurement": measurement_of(document, measurement)["name"],
        },
        parameters=parameters_of(model),
        prior=Prior({model.names[i]: Normal(float(model.mean[i]), float(model.sigma[i])) for i in normal}),
        log_likelihood=log_likelihood,
        counting=counting,
        reference="CERN-OPEN-2012-016; JOSS 6 (2021) 2823",
        chunk=max(1, 2**21 // (model.log_up.size + 4 * len(model.nominal))),
    )


def parameters_of(model: Model) -> ParameterSpace:
    """Names, ranges and starts as pyhf has them; the measurement's parameter of interest has that role."""
    return ParameterSpace(
        tuple(
            Parameter(
                name=name,
                role="poi" if name == model.poi else "nuisance",
                bounds=(float(model.lower[i]), float(model.upper[i])),
                start=float(model.start[i]),
            )
            for i, name in enumerate(model.names)
        )
    )


def _expected(model: Model, rated: np.ndarray) -> Any:
    """Counts of bins and of Poisson auxiliary measurements, (n, k) -> (n, B + len(rated))."""
    in_bin = (model.bin_of[:, None] == np.arange(len(model.bins))).astype(float)

    def expected(theta: Any) -> Any:
        tf = tensorflow()
        cells = _shapes(theta, model) * _factors(theta, model)
        if len(model.scale_columns):
            cells *= tf.gather(_scales(theta, model), model.group_of, axis=1)
        return tf.concat([cells @ in_bin, tf.gather(theta, rated, axis=1) * model.rate[rated]], axis=1)

    return expected


def _shapes(theta: Any, model: Model) -> Any:
    """Nominal + histosys, (n, C)."""
    tf = tensorflow()
    alpha = tf.gather(theta, model.shape_columns, axis=1)
    inner = tf.clip_by_value(alpha, -1.0, 1.0) ** 2
    g = inner * (15.0 - inner * (10.0 - 3.0 * inner)) + 8.0 * tf.nn.relu(tf.abs(alpha) - 1.0)
    return model.nominal + alpha @ model.straight + g @ model.curved


def _scales(theta: Any, model: Model) -> Any:
    """Products of the normsys of each group, (n, G)."""
    tf = tensorflow()
    alpha = tf.gather(theta, model.scale_columns, axis=1)[:, :, None]
    beyond = tf.abs(alpha) >= 1.0
    inner = tf.where(beyond, tf.zeros_like(alpha), alpha)
    polynomial = model.coefficients[:, :, 6]
    for i in range(5, -1, -1):
        polynomial = polynomial * inner + model.coefficients[:, :, i]
    outer = tf.where(beyond, alpha, tf.zeros_like(alpha))
    power = tf.exp(tf.nn.relu(outer) * model.log_up + tf.nn.relu(-outer) * model.log_down)
    return tf.reduce_prod(tf.where(beyond, power, polynomial), axis=1)


def _factors(theta: Any, model: Model) -> Any:
    """Products of the plain factors of each cell, (n, C)."""
    tf = tensorflow()
    ones = tf.ones_like(theta[:, :1])
    return tf.reduce_prod(tf.gather(tf.concat([theta, ones], axis=1), model.factor_columns, axis=1), axis=1)
