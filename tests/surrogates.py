"""Random surrogates with every feature an ensemble may have, and one of a likelihood whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from dnnlikelihood.ensemble import Baseline, Ensemble, Features, Member, Output
from dnnlikelihood.export.publish import PublishedMetadata, Reference, publish
from dnnlikelihood.guard import Calibration, Domain
from dnnlikelihood.members import Layer
from dnnlikelihood.parameters import ParameterSpace
from dnnlikelihood.priors import Prior
from dnnlikelihood.runlog import RunLog


def random_ensemble(
    *, d: int = 6, kinks: int = 2, members: int = 3, widths: tuple[int, ...] = (24, 16), activation: str = "silu",
    constant: float = -300.0, seed: int = 0,
) -> Ensemble:  # fmt: skip
    rng = np.random.default_rng(seed)
    m = d + kinks
    q = rng.normal(size=(m, m)) / np.sqrt(m)
    a = rng.normal(size=(d, d)) / np.sqrt(d)
    shape = (m, *widths, 1)

    def member() -> Member:
        kernels = [(rng.normal(size=(i, o)) / np.sqrt(i)).astype(np.float32) for i, o in pairwise(shape)]
        biases = [0.1 * rng.normal(size=o).astype(np.float32) for o in shape[1:]]
        return Member.dense(kernels, biases, activation)

    return disputed(
        Ensemble(
            Features(
                rng.normal(size=d), rng.uniform(0.5, 2.0, d), np.arange(d - kinks, d), rng.normal(scale=0.2, size=kinks)
            ),
            (
                Output(
                    Baseline(constant, rng.normal(size=m), -q @ q.T - 0.1 * np.eye(m)),
                    0.7,
                    Calibration(
                        np.array([-305.0, -301.0]) - constant - 300, np.array([1.1, 1.7, 2.5]), 0.01, np.full(3, np.inf)
                    ),
                ),
            ),
            tuple(member() for _ in range(members)),
            Domain(-2.5 * np.ones(d), 2.5 * np.ones(d), 0.1 * rng.normal(size=d), a, 3.5),
        )
    )


def disputed(ensemble: Ensemble) -> Ensemble:
    """The same, with an eighth of the points near its centre given up because its members disagree there."""
    members, outputs = ensemble.heads_logpdf(points(400, ensemble.n_parameters)), []
    for output, answers in zip(ensemble.outputs, np.moveaxis(members, 2, 0), strict=True):
        bins, spread = output.calibration.bins(answers.mean(axis=1)), answers.std(axis=1)
        usual = np.quantile(spread, 0.875)
        limits = [np.quantile([*spread[bins == b], usual], 0.875) for b in range(len(output.calibration.factors))]
        outputs.append(replace(output, calibration=replace(output.calibration, limits=np.array(limits))))
    return replace(ensemble, outputs=tuple(outputs))


FORMS = ("dense", "monomials", "counting", "quartic")


def random_network(form: str, m: int, n_heads: int, rng: np.random.Generator) -> Member:
    """One network of the form of an architecture."""

    def layer(inputs: tuple[int, ...], rows: int, width: int, activation: str = "identity", lift: float = 0.0) -> Layer:
        kernel = (rng.normal(size=(rows, width)) / np.sqrt(2 * rows)).astype(np.float32)
        return Layer(inputs, kernel, (lift + 0.1 * rng.normal(size=width)).astype(np.float32), activation)

    n = m + m * (m + 1) // 2
    if form == "dense":
        return Member((layer((0,), m, 9, "silu"), layer((1,), 9, 7, "tanh"), layer((2,), 7, n_heads)))
    if form == "monomials":
        chain = (layer((0,), n, 9, "relu"), layer((1,), 9, 7, "leaky_relu"), layer((2,), 7, n_heads))
        return Member(chain, expand=True)
    if form == "quartic":
        return Member((layer((0,), n, 8, "square"), layer((0, 1), n + 8, n_heads)), expand=True)
    forms = rng.normal(size=(11, 1 + m, 1 + m)) / (3 * np.sqrt(1 + m))
    forms[:, 0, 0] += 1
    positive = np.einsum("bki,bkj->bij", forms, forms)
    rows, columns = np.triu_indices(1 + m)
    folded = (positive[:, rows, columns] * np.where(rows == columns, 1, 2)).T
    yields = Layer((0,), folded[1:].astype(np.float32), (folded[0] + 0.01).astype(np.float32), "log")
    inner = (layer((1,), 11, 6, "square"), layer((1,), 11, 7, "excess"), layer((1,), 11, 8, "silu"))
    return Member((yields, *inner, layer((0, 1, 2, 3, 4), n + 32, n_heads)), expand=True)


def headed_ensemble(form: str, *, n_heads: int = 3, members: int = 2, anchored: bool = False, d: int = 5) -> Ensemble:
    """Random networks of one form with several heads, or one unnamed; without kinks if anchored, with one otherwise."""
    plain, rng = random_ensemble(d=d, kinks=0 if anchored else 1, members=1), np.random.default_rng(7)
    m = plain.features.width

    def output(h: int) -> Output:
        q = rng.normal(size=(m, m)) / np.sqrt(m)
        edges = np.sort(rng.normal(scale=2, size=2)) + 10.0 * h
        calibration = Calibration(edges, rng.uniform(1, 3, 3), 0.01 + 0.01 * h, np.full(3, np.inf))
        name = f"head_{h}" if n_heads > 1 else ""
        return Output(Baseline(10.0 * h, rng.normal(size=m), -q @ q.T), 0.3 + 0.2 * h, calibration, name)

    networks = tuple(random_network(form, m, n_heads, rng) for _ in range(members))
    outputs = tuple(output(h) for h in range(n_heads))
    return disputed(Ensemble(plain.features, outputs, networks, plain.domain, anchored))


def points(n: int, d: int = 6, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


MEAN = [0.5, -1.0, 0.2]
COVARIANCE = [[1.0, 0.3, 0.0], [0.3, 0.8, -0.1], [0.0, -0.1, 0.5]]
SPACE = ParameterSpace.of("x0", "x1", "x2", poi="x0")


def gaussian_ensemble() -> Ensemble:
    """The source "gaussian" of MEAN and COVARIANCE exactly in the baseline, plus networks worth about 0.01 nats."""
    scale = np.sqrt(np.diag(COVARIANCE))
    precision = np.linalg.inv(COVARIANCE) * np.outer(scale, scale)
    noise = random_ensemble(d=3, kinks=0, seed=5)
    whitening = np.linalg.cholesky(np.linalg.inv(COVARIANCE))
    mean = np.array(MEAN)
    return Ensemble(
        Features(mean, scale, np.zeros(0, int), np.zeros(0)),
        (
            Output(
                Baseline(0.0, np.zeros(3), -precision),
                0.01,
                Calibration(np.zeros(0), np.array([2.0]), 0.005, np.full(1, np.inf)),
            ),
        ),
        noise.members,
        Domain(mean - 6 * scale, mean + 6 * scale, mean, whitening, 5.0),
    )


def metadata(**changes: object) -> PublishedMetadata:
    return PublishedMetadata(
        **{
            "name": "gaussian-3",
            "description": "A Gaussian likelihood in three dimensions.",
            "parameters": SPACE,
            "prior": Prior({}),
            "kind": "likelihood",
            "definition": "log L of a trivariate normal density, 0 at its maximum.",
            "command": "dnnlik learn gaussian",
            "licence": "CC-BY-4.0",
            "authors": [{"name": "Gauss, Carl Friedrich", "orcid": "0000-0000-0000-0000", "affiliation": "Göttingen"}],
            "references": ["arXiv:1911.03305", "doi:10.1000/xyz"],
            "recipe": {"source": "gaussian", "arguments": {"mean": MEAN, "covariance": COVARIANCE}},
            "seeds": {"training": 1},
            "accuracy": [{"where": "bulk", "n": 100, "rmse": 0.01, "baseline_rmse": 0.02, "bias": 0.001, "max": 0.03}],
            "coverage": [{"low": None, "high": -1.0, "n": 50, "covered": 0.9}],
            "limits": ["Not for use outside the domain."],
            **changes,
        }  # type: ignore[arg-type]
    )


def reference(ensemble: Ensemble, n: int = 120) -> Reference:
    theta = np.random.default_rng(3).multivariate_normal(MEAN, COVARIANCE, size=n)
    z = theta - MEAN
    exact = -0.5 * np.einsum("ni,ij,nj->n", z, np.linalg.inv(COVARIANCE), z)
    return Reference(theta=theta, exact=exact, logpdf=ensemble.members_logpdf(theta).mean(axis=1))


def publish_gaussian(folder: Path, *, keras: bool = False, **changes: object) -> Path:
    ensemble = gaussian_ensemble()

    def write_keras(path: Path) -> None:
        from dnnlikelihood.networks.build import ensemble_model

        ensemble_model(ensemble).save(path)

    return publish(
        ensemble,
        folder,
        metadata=metadata(**changes),
        reference=reference(ensemble),
        history={"schema": "history/1", "members": []},
        log=RunLog(),
        keras_writer=write_keras if keras else None,
    )
