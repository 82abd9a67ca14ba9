r"""Efficient-score quantisation: the best bins for signal strengths with profiled nuisances, from cross entropies.

Scores s_a(x) = d log lambda(x) / d a follow from density ratios, which classifiers learn:

    pi_p(x) = share of process p in lambda(x);   s_r = pi_S,   s_theta_j = pi_A d_j / 2   (A: what nuisance j affects)

With F = sum_i w_i s s^T + constraints the profiled information of K bins with yields W_k and mean scores mu_k is

    1 / Delta r^2 = min_z [ sum_k W_k (mu_k,r - z . mu_k,theta)^2 + z^T P z ]

At the unbinned minimiser z* = (F_tt + P)^-1 F_tr the **efficient score** t = s_r - z* . s_theta is one number whose
fine bins keep all the profiled information: binned in t the bracket is convex in z, with gradient zero at z*. K bins
lose only the variance of t inside them, so that the best K bins are found exactly (`binning.optimal_bins`). z is then
refined on the true templates of the bins. Several POIs: with C = F^-1 the sum of the Delta r_s falls, to first order,
with the within-bin variance of u_s = C_ss^(-1/4) (C e_s) . s, and k-means finds the bins.

t alone gives up statistical power where nuisances weigh heavily. With `statistics` > 0 the bins are clusters of
(t, statistics * s_r): a few more of them keep both the total and the statistical uncertainty near their optima.

t is the efficient score of semiparametric statistics; for relatives see Valassi (arXiv:2003.12853), Brehmer et al.
(arXiv:1805.12244) and Schoefbeck et al. (arXiv:2505.05544). It is optimal locally: at the nominal point, for small
shifts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np

from ..config import Config, require
from ..networks.heads_config import HeadsConfig
from ..progress import progress_bar
from .binning import cluster_bins, optimal_bins
from .events import EventModel
from .nuisances import Normalisation
from .tasks import FeatureTable, class_rows, ratio_rows, standardisation, trained_nuisances
from .templates import Templates, fill
from .trained import ClassBins, NearestBins, Network, Score, Trained
from .uncertainty import ExpectedUncertainty, expected_uncertainty, from_fisher, summed_uncertainty

__all__ = ["EfficientScore", "learned_bound", "quantise", "score_components", "train_scores"]

CHUNK = 65536
SMALLEST_STEP = 0.1
REFINEMENT_ROWS = 1_500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficientScore(Config):
    """Trainer: efficient-score quantisation."""

    n_bins: int = 8
    statistics: float = 0.0
    """Weight of the statistical score as a coordinate beside the efficient score; 0 for the efficient score alone."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    refinements: int = 6
    """Steps of z towards its value on the true templates; one that the validation events do not like is halved."""

    def validate(self) -> None:
        """At least two bins."""
        require(self.n_bins >= 2, f"n_bins is {self.n_bins}, must be at least 2")
        require(self.statistics >= 0, f"statistics is {self.statistics}, must not be negative")
        require(self.refinements >= 0, f"refinements is {self.refinements}, must not be negative")

    def fit(
        self, model: EventModel, *, validation: EventModel | None = None, seed: int = 0, progress: bool = True
    ) -> Trained:
        """Train; see `Trainer.fit`.

        Raises:
            TrainingError: the loss left the real numbers.
            ConfigError: more bins than the events support.
        """
        start = time.process_time()
        if validation is None:
            model, validation = model.held_out(seed)
        network, history = train_scores(model, self.heads, seed, progress=progress)
        trained = quantise(
            network,
            model,
            validation,
            self.n_bins,
            statistics=self.statistics,
            refinements=self.refinements,
            seed=seed,
        )
        return replace(trained, history={**history, **trained.history}, cpu_seconds=time.process_time() - start)


def train_scores(
    model: EventModel, config: HeadsConfig, seed: int = 0, *, progress: bool = True
) -> tuple[Network, dict[str, list[float]]]:
    """Train the multi-head network of class and ratio tasks.

    Returns:
        The network with P + G outputs (`score_components` says what they are), and its history.
    """
    from ..networks.heads import train_heads

    shift, scale = standardisation(model)
    table, rng = FeatureTable(shift, scale), np.random.default_rng([seed, 0])
    ratios = trained_nuisances(model)
    classes = class_rows(model, table, rng)
    most = max(20_000, config.n_steps * config.batch_size // (2 * max(len(ratios), 1)))
    rows = ratio_rows(model, table, rng, most)
    with progress_bar("training", config.n_steps, shown=progress) as advance:
        member, history = train_heads(
            table.values(),
            classes,
            rows,
            len(model.processes),
            len(ratios),
            config,
            seed,
            lambda done, losses: advance(done, f"class loss {losses['class_loss']:.4f}"),
        )
    return Network(shift, scale, member), history


def score_components(model: EventModel) -> Score:
    """The map from the network's outputs to all scores (n, S + J), POIs first."""
    ratios = [n.name for n in trained_nuisances(model)]
    p, g, a = len(model.processes), len(ratios), len(model.pois) + len(model.nuisances)
    constant, slope = np.zeros((p, a)), np.zeros((p, g, a))
    for i, process in enumerate(model.processes):
        if process.poi is not None:
            constant[i, model.pois.index(process.poi)] = 1.0
    for j, nuisance in enumerate(model.nuisances, start=len(model.pois)):
        for name in nuisance.processes:
            i = model.names.index(name)
            if isinstance(nuisance, Normalisation):
                up, down = nuisance.variations[name]
                constant[i, j] = 0.5 * (up - down)
            else:
                slope[i, ratios.index(nuisance.name), j] = 0.5
    return Score(np.log([process.total for process in model.processes]), constant, slope)


def projected(components: Score, embedding: np.ndarray) -> Score:
    """Linear combinations (A, D) of the scores."""
    return Score(components.offset, components.constant @ embedding, components.slope @ embedding, components.link)


class _Outputs:
    """Network outputs of every feature array of a model, evaluated once."""

    def __init__(self, network: Network, model: EventModel) -> None:
        self._network, self.model = network, model
        self._found: dict[int, np.ndarray] = {}

    def __call__(self, values: np.ndarray) -> np.ndarray:
        key = id(values)
        if key not in self._found:
            self._found[key] = self._network(values)
        return self._found[key]

    def nominal(self) -> tuple[np.ndarray, np.ndarray]:
        """Outputs and weights of the events of all processes."""
        events = [p.events for p in self.model.processes]
        return np.concatenate([self(e.values) for e in events]), np.concatenate([e.weights for e in events])

    def information(self, components: Score) -> np.ndarray:
        """(A, A) sum of w s s^T."""
        outputs, weights = self.nominal()
        a = components.constant.shape[1]
        total = np.zeros((a, a))
        for i in range(0, len(weights), CHUNK):
            s = components(outputs[i : i + CHUNK])
            total += (s * weights[i : i + CHUNK, None]).T @ s
        return total

    def templates(self, score: Score, bins: ClassBins | NearestBins) -> Templates:
        return fill(self.model, lambda values: bins(score(self(values))), bins.n_bins)


def learned_bound(network: Network, model: EventModel) -> ExpectedUncertainty:
    """The unbinned bound as the learned scores see it; their noise makes it too small rather than too large."""
    information = _Outputs(network, model).information(score_components(model))
    return from_fisher(information, model.pois, model.nuisance_names, model.constraints)


def quantise(
    network: Network,
    model: EventModel,
    validation: EventModel,
    n_bins: int,
    *,
    statistics: float = 0.0,
    refinements: int = 6,
    seed: int = 0,
) -> Trained:
    """Bins from learned scores; no training, so that many bin counts may be tried on one network.

    Args:
        network: from `train_scores` on the same processes and nuisances.
        model: events to choose the bins with.
        validation: independent events that choose among the refinements.
        n_bins: K.
        statistics: as in `EfficientScore`.
        refinements: damped steps of the embedding on the true templates.
        seed: of k-means, for several POIs.
    """
    components = score_components(model)
    seen, fewer = _Outputs(network, model), _at_most(model, REFINEMENT_ROWS, seed)
    refined = seen if fewer is model else _Outputs(network, fewer)
    watched = _Outputs(network, _at_most(validation, REFINEMENT_ROWS, seed))
    information = seen.information(components)
    bound = from_fisher(information, model.pois, model.nuisance_names, model.constraints)
    curve: list[float] = []

    def binned(embedding: np.ndarray) -> tuple[float, Score, ClassBins | NearestBins]:
        score = projected(components, embedding)
        bins = _bins(seen, score, n_bins, np.random.default_rng([seed, 2]))
        curve.append(summed_uncertainty(watched.templates(score, bins)))
        return curve[-1], score, bins

    embedding = _embedding(bound, statistics)
    best, step = binned(embedding), 0.5
    for _ in range(refinements):
        found = expected_uncertainty(refined.templates(*best[1:]))
        trial = embedding + step * (_embedding(found, statistics) - embedding)
        candidate = binned(trial)
        if candidate[0] < best[0]:
            best, embedding = candidate, trial
        elif step < SMALLEST_STEP:
            break
        else:
            step *= 0.5
    _, score, bins = best
    return Trained(
        trainer="efficient score",
        features=model.features,
        network=network,
        score=score,
        bins=bins,
        history={"refinement_uncertainty": curve},
        messages=watched.templates(score, bins).messages,
    )


def _bins(outputs: _Outputs, score: Score, n_bins: int, rng: np.random.Generator) -> ClassBins | NearestBins:
    values, weights = outputs.nominal()
    u = score(values)
    if u.shape[1] == 1:
        return optimal_bins(u[:, 0], weights, n_bins)
    return cluster_bins(u, weights, n_bins, rng)


def _at_most(model: EventModel, rows: int, seed: int) -> EventModel:
    """The model, or a random part of it with about so many rows in all its samples: refinements need no more."""
    arrays = {id(p.events.values): len(p.events) for p in model.processes}
    for nuisance in model.nuisances:
        for process in nuisance.processes:
            arrays |= {id(e.values): len(e) for e in model.varied(nuisance, process)}
    total = sum(arrays.values())
    return model if total <= rows else model.split(rows / total, seed)[0]


def _embedding(uncertainty: ExpectedUncertainty, statistics: float) -> np.ndarray:
    """(S + J, S), or (S + J, 2 S) with the statistical coordinates."""
    n = len(uncertainty.pois)
    efficient = _directions(uncertainty.fisher, n)
    if statistics == 0:
        return efficient
    without = np.zeros_like(efficient)
    without[:n] = _directions(uncertainty.fisher[:n, :n], n)
    return np.concatenate([efficient, statistics * without], axis=1)


def _directions(fisher: np.ndarray, n: int) -> np.ndarray:
    """(A, S): t = s_r - z* . s_theta for one POI, C_ss^(-1/4) C e_s for several.

    A pseudo-inverse: K bins may leave free nuisances undetermined, and z has no use for those directions.
    """
    scale = np.sqrt(np.maximum(np.diag(fisher), 1e-300))
    c = np.linalg.pinv(fisher / np.outer(scale, scale), rcond=1e-10, hermitian=True) / np.outer(scale, scale)
    if n == 1:
        return c[:, :1] / c[0, 0]
    return c[:, :n] / np.diag(c)[:n] ** 0.25
