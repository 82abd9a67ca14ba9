"""A surrogate of a counting experiment without training: random hidden units, and outputs by least squares."""

from __future__ import annotations

import numpy as np
from counting_experiment import CountingExperiment

from dnnlikelihood.ensemble import Baseline, Ensemble, Features, Output
from dnnlikelihood.guard import Calibration, Domain
from dnnlikelihood.members import Member

WIDTH, ROWS = 160, 6000


def counting_ensemble(truth: CountingExperiment, reach: np.ndarray, members: int = 2, rows: int = ROWS) -> Ensemble:
    """Anchored at no signal, for yields from 0 to `reach` (d,), inside an ellipsoid that cuts the corners."""
    reach = np.asarray(reach, float)
    d, rng = len(reach), np.random.default_rng(3)
    theta = reach * rng.uniform(size=(rows, d)) ** 1.5
    value = truth.heads_logpdf(theta)
    null = truth.heads_logpdf(np.zeros((1, d)))[0]
    scale = 0.5 * reach
    f = theta / scale
    first, second = np.triu_indices(d)
    quadratic = np.column_stack([f, f[:, first] * f[:, second]])
    form, *_ = np.linalg.lstsq(quadratic, value - null, rcond=None)
    residual = value - null - quadratic @ form
    outputs = []
    for h, head in enumerate(truth.heads):
        matrix = np.zeros((d, d))
        matrix[first, second] = form[d:, h]
        baseline = Baseline(float(null[h]), form[:d, h], matrix + matrix.T)
        outputs.append(Output(baseline, 1.0, Calibration(np.zeros(0), np.array([2.0]), 5e-4, np.full(1, np.inf)), head))
    networks = tuple(_network(f, residual, np.random.default_rng(10 + k)) for k in range(members))
    center = 0.4 * reach
    whitening = np.diag(1 / (0.75 * reach))
    domain = Domain(np.zeros(d), reach, center, whitening, float(np.sqrt(d)))
    features = Features(np.zeros(d), scale, np.zeros(0, int), np.zeros(0))
    return Ensemble(features, tuple(outputs), networks, domain, anchored=True)


def _network(f: np.ndarray, residual: np.ndarray, rng: np.random.Generator) -> Member:
    d = f.shape[1]
    kernel, bias = rng.normal(size=(d, WIDTH)), rng.normal(size=WIDTH)
    hidden = np.tanh(f @ kernel + bias) - np.tanh(bias)
    ridge = 1e-6 * len(f) * np.eye(WIDTH)
    out = np.linalg.solve(hidden.T @ hidden + ridge, hidden.T @ residual)
    kernels = (kernel.astype(np.float32), out.astype(np.float32))
    return Member.dense(kernels, (bias.astype(np.float32), (-np.tanh(bias) @ out).astype(np.float32)), "tanh")
