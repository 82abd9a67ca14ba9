r"""A trained discriminant as arrays, and the interface of everything that trains one.

    z     = network((x - shift) / scale)                           float32, P + G outputs
    pi    = softmax(z_1..P + offset)   or   sigmoid(z_1..P + offset)
    score = sum_p pi_p (constant_p + sum_g slope_pg z_{P+g})       (n, D) float64
    bin   = classes x edges, or the nearest of K centres

A sigmoid or softmax classifier is `constant = 1` without slopes; a softmax histogram (INFERNO) takes the class of the
largest pi as its bin; the efficient score needs the slopes. All trainers end in this one form, so that there is one
evaluation, one file format and one exported graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from ..errors import ConfigError, CorruptFile, ShapeError
from ..members import Member
from .events import EventModel, feature_array
from .templates import Templates, fill

__all__ = ["Bins", "ClassBins", "NearestBins", "Network", "Score", "Trained", "Trainer", "Transformed"]

CHUNK = 16384


@dataclass(frozen=True, eq=False)
class Network:
    """A network over standardised features.

    Attributes:
        shift, scale: (m,) float64 standardisation.
        member: float32 layers, (n, m) -> (n, H).
    """

    shift: np.ndarray
    scale: np.ndarray
    member: Member

    @property
    def n_outputs(self) -> int:
        """H."""
        return self.member.n_heads

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(n, m) -> (n, H) float32."""
        out = np.empty((len(values), self.n_outputs), np.float32)
        for i in range(0, len(values), CHUNK):
            out[i : i + CHUNK] = self.member((values[i : i + CHUNK] - self.shift) / self.scale)
        return out


@dataclass(frozen=True, eq=False)
class Score:
    """From network outputs to the score; the formula stands at the top of the module.

    Attributes:
        offset: (P,) added to the first P outputs.
        constant: (P, D).
        slope: (P, G, D); G = 0 for classifiers.
        link: "softmax" over the P outputs, or "sigmoid" of each.
    """

    offset: np.ndarray
    constant: np.ndarray
    slope: np.ndarray
    link: Literal["softmax", "sigmoid"] = "softmax"

    def __post_init__(self) -> None:
        p, d = self.constant.shape
        if self.offset.shape != (p,) or self.slope.shape[::2] != (p, d) or self.link not in ("softmax", "sigmoid"):
            raise ShapeError(
                f"a score of offset {self.offset.shape}, constant {self.constant.shape}, slope {self.slope.shape} and "
                f"link {self.link!r} does not fit together"
            )

    @classmethod
    def classes(cls, n: int, link: Literal["softmax", "sigmoid"] = "softmax") -> Score:
        """The n class outputs themselves."""
        return cls(np.zeros(n), np.eye(n), np.zeros((n, 0, n)), link)

    @property
    def n_classes(self) -> int:
        """P."""
        return len(self.offset)

    def fractions(self, outputs: np.ndarray) -> np.ndarray:
        """(n, H) -> (n, P) float64: pi."""
        z = outputs[:, : self.n_classes].astype(float) + self.offset
        if self.link == "sigmoid":
            return 0.5 * (1.0 + np.tanh(0.5 * z))
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def __call__(self, outputs: np.ndarray) -> np.ndarray:
        """(n, P + G) -> (n, D) float64."""
        pi = self.fractions(outputs)
        score = pi @ self.constant
        ratios = outputs[:, self.n_classes :].astype(float)
        for d in range(score.shape[1]) if self.slope.shape[1] else ():
            score[:, d] += np.einsum("np,np->n", pi, ratios @ self.slope[:, :, d].T)
        return score


class Bins(Protocol):
    """Scores to bins."""

    @property
    def n_bins(self) -> int:
        """K."""

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """(n, D) -> (n,) integers in [0, K)."""


@dataclass(frozen=True, eq=False)
class ClassBins:
    """The class with the largest score, then that score's bin within the class; one class for D = 1.

    Attributes:
        edges: (D, k - 1) ascending inner edges of every class. A score on an edge is above it.
    """

    edges: np.ndarray

    def __post_init__(self) -> None:
        if self.edges.ndim != 2 or (np.diff(self.edges, axis=1) < 0).any():
            raise ConfigError(f"edges of shape {self.edges.shape} must be (D, k - 1) and ascend")

    @property
    def n_bins(self) -> int:
        """D k."""
        return self.edges.shape[0] * (self.edges.shape[1] + 1)

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """(n, D) -> (n,)."""
        label = score.argmax(axis=1)
        value = np.take_along_axis(score, label[:, None], axis=1)[:, 0]
        inside = np.zeros(len(score), np.int64)
        for c, edges in enumerate(self.edges):
            mine = label == c
            inside[mine] = np.searchsorted(edges, value[mine], side="right")
        return label * (self.edges.shape[1] + 1) + inside


@dataclass(frozen=True, eq=False)
class NearestBins:
    """The nearest of K centres (K, D)."""

    centres: np.ndarray

    @property
    def n_bins(self) -> int:
        """K."""
        return len(self.centres)

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """(n, D) -> (n,); the order of |s - c|^2 is that of |c|^2 - 2 s.c."""
        return ((self.centres**2).sum(axis=1) - 2.0 * score @ self.centres.T).argmin(axis=1)


class Transformed(NamedTuple):
    """What a discriminant says of events."""

    bin_index: np.ndarray
    """(n,) int."""
    score: np.ndarray
    """(n, D)."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained discriminant: features in, bin and score out.

    Attributes:
        trainer: how it was trained, in a word.
        features: names of the columns, in order.
        network, score, bins: the three steps.
        history: lists with one number a step (or epoch) of training.
        cpu_seconds: of training.
        messages: what the user must know (merged bins, unresolved variations ...).
    """

    trainer: str
    features: tuple[str, ...]
    network: Network
    score: Score
    bins: ClassBins | NearestBins
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    messages: tuple[str, ...] = ()

    @property
    def n_bins(self) -> int:
        """K."""
        return self.bins.n_bins

    def transform(self, events: Any) -> Transformed:
        """Bin and score of events: `Events`, a table matched by name, or an (n, m) array in the trained order.

        Raises:
            ShapeError: missing features, another number of columns, or values that are not finite.
        """
        score = self._scored(feature_array(events, self.features))
        return Transformed(self.bins(score), score)

    def _scored(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            score = self.score(self.network(values))
        lost = np.flatnonzero(~np.isfinite(score).all(axis=1))
        if len(lost):
            raise ShapeError(
                f"{len(lost)} events have no finite score, first of all event {lost[0]} with features "
                f"{dict(zip(self.features, values[lost[0]].tolist(), strict=True))}; are some out of all range?"
            )
        return score

    def templates(self, model: EventModel, *, merge: bool = True) -> Templates:
        """Templates of a model in these bins, empty ones merged unless told otherwise.

        Raises:
            ShapeError: the model has other features.
        """
        order = model.features
        if set(order) != set(self.features):
            raise ShapeError(f"trained on features {list(self.features)}, the model has {list(order)}")
        columns = [order.index(name) for name in self.features]
        in_order = columns == list(range(len(columns)))

        def bin_index(values: np.ndarray) -> np.ndarray:
            return self.bins(self._scored(values if in_order else values[:, columns]))

        return fill(model, bin_index, self.n_bins, merge=merge)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that `transform` needs, as named arrays for npz; `from_arrays` is the inverse."""
        out = {
            "trainer": np.array(self.trainer),
            "features": np.array(self.features),
            "network/structure": np.array(self.network.member.structure),
            "network/shift": self.network.shift,
            "network/scale": self.network.scale,
            "score/link": np.array(self.score.link),
            "score/offset": self.score.offset,
            "score/constant": self.score.constant,
            "score/slope": self.score.slope,
        }
        for i, layer in enumerate(self.network.member.layers):
            out[f"network/{i}/kernel"], out[f"network/{i}/bias"] = layer.kernel, layer.bias
        if isinstance(self.bins, ClassBins):
            return {**out, "bins/edges": self.bins.edges}
        return {**out, "bins/centres": self.bins.centres}

    @classmethod
    def from_arrays(cls, a: Mapping[str, np.ndarray]) -> Trained:
        """Inverse of `arrays`, without history.

        Raises:
            CorruptFile: arrays are missing.
        """
        try:
            n = sum(name.startswith("network/") and name.endswith("/kernel") for name in a)
            kernels, biases = ([a[f"network/{i}/{part}"] for i in range(n)] for part in ("kernel", "bias"))
            member = Member.from_structure(str(a["network/structure"]), kernels, biases)
            link: Any = str(a["score/link"])
            edged = "bins/edges" in a
            return cls(
                trainer=str(a["trainer"]),
                features=tuple(str(name) for name in a["features"]),
                network=Network(a["network/shift"], a["network/scale"], member),
                score=Score(a["score/offset"], a["score/constant"], a["score/slope"], link),
                bins=ClassBins(a["bins/edges"]) if edged else NearestBins(a["bins/centres"]),
            )
        except KeyError as error:
            raise CorruptFile(f"these arrays are no discriminant: {error} is missing") from error


class Trainer(Protocol):
    """Trains discriminants: a frozen configuration with one verb."""

    def fit(
        self, model: EventModel, *, validation: EventModel | None = None, seed: int = 0, progress: bool = True
    ) -> Trained:
        """Train.

        Args:
            model: events to learn from.
            validation: independent events to watch and choose by; a fifth of `model` is held out if None.
            seed: of initial weights and batches.
            progress: whether to show a bar on a terminal.
        """
