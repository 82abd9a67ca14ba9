"""The whole chain for a profiled likelihood in one call: `learn_profiled(truth, folder)`.

    ProfiledLikelihood -> design -> labels -> DnnLik with heads -> held-out accuracy -> published folder, verified

    folder/design.npz            where to ask                      folder/rows, rows_<name>   labels
    folder/training, dnnlik      checkpoints, the surrogate        folder/plots               figures
    folder/model                 what is published                 folder/summary.json        what came out

Rows are dealt three ways: training, calibration of the error, and a test set that neither saw. Fits that failed are in
none of them, and counted. Called again on the same folder, it continues a run that was killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .accuracy import accuracy_rows, coverage_rows
from .config import Config, require
from .data import Data, DataConfig
from .dnnlik import DnnLik
from .errors import ConfigError
from .export.publish import MIN_REFERENCE
from .export.verify import VerifyReport, verify
from .jsonfiles import canonical, pretty
from .networks.recipe import PRESETS, DnnLikConfig
from .npzfiles import first_drawn, read_npz, write_npz
from .protocols import LogDensity
from .sampling.profiled_designs import laplace, shrunken
from .statistics.profile import limits
from .statistics.valleys import valleys
from .store import write_text

__all__ = ["Design", "Findings", "LearnProfiledConfig", "LearnedProfiled", "about_valleys", "learn_profiled"]

Design = Callable[[LogDensity, int, np.random.Generator], np.ndarray]
"""(density, n, rng) -> theta (n, d): where to ask a profiled likelihood."""


class Rows(Protocol):
    """Labelled rows from something more than a design."""

    def __call__(self, truth: LogDensity, folder: Path, *, progress: bool) -> Data:
        """Rows with training, validation and test split; what was begun in the folder is continued."""

    def to_json(self) -> dict[str, Any]:
        """What is asked for: part of the request."""


@dataclass(frozen=True)
class Findings:
    """What further tests of a surrogate found."""

    summary: dict[str, Any]
    targets: Sequence[dict[str, Any]] = ()
    """{"target", "value", "limit", "met"} each."""
    plots: Sequence[Path] = ()
    remarks: Sequence[str] = ()
    """What the model card says of them."""


Examine = Callable[[DnnLik, Mapping[str, Data]], Findings]
"""(surrogate, test sets) -> what further tests of it found."""

LOW = 10.0
"""delta_nll below which a profiled likelihood decides what is excluded."""
MOST_RECIPE_BYTES = 10_000
"""A longer recipe, which holds a whole workspace, is named by its fingerprint alone."""
HEADS: dict[str, tuple[str, str]] = {
    "observed": ("observed", "of the observed data"),
    "expected": ("expected", "of the nominal background expectation, before any fit"),
    "asimov_observed": ("asimov", "of the Asimov data of the background-only fit to the observed data"),
    "asimov": ("asimov", "of the Asimov data without signal"),
    "asimov_signal": ("asimov", "without signal of the Asimov data of the signal, less that of the signal: -q_0,A / 2"),
}
"""What the data of heads with these names are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnProfiledConfig(Config):
    """How many labels, which network, and what is promised."""

    n_labels: int = 20_000
    """Points asked for; all fits together, those of named test sets apart."""
    fractions: tuple[float, ...] = (0.8, 0.1, 0.1)
    """Of training, calibration and test."""
    recipe: str = "default"
    """The network: a preset of DnnLikConfig."""
    model: DnnLikConfig | None = None
    """Instead of the preset."""
    target: float = 0.05
    """Mean |error| in nats where delta_nll < 10 that a run has to reach, in every head."""
    seed: int = 1

    def validate(self) -> None:
        """Enough labels for a published test set, a known preset."""
        require(len(self.fractions) == 3 and min(self.fractions) > 0, f"fractions {self.fractions} must be three, > 0")
        least = int(np.ceil(2 * MIN_REFERENCE / self.fractions[2]))
        require(self.n_labels >= least, f"n_labels is {self.n_labels}, must be at least {least} for a test set")
        require(self.recipe in PRESETS, f"recipe {self.recipe!r} is none of {', '.join(PRESETS)}")
        require(self.target > 0, f"target is {self.target}, must be positive")


@dataclass(frozen=True)
class LearnedProfiled:
    """What `learn_profiled` returns."""

    model: DnnLik
    folder: Path
    verified: VerifyReport
    summary: dict[str, Any] = field(repr=False)
    """What summary.json holds: accuracy by head and region, coverage, failed fits, CPU seconds, targets."""

    @property
    def passed(self) -> bool:
        """Whether the published folder verifies and the target is met in every head."""
        return self.verified.passed and all(t["met"] for t in self.summary["targets"])


def about_valleys(density: LogDensity, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, d) points about the maxima of every head: half flat in delta_nll, half drawn in from the box.

    Raises:
        ConfigError: a parameter without finite bounds: there is no box to draw from.
    """
    low, high = limits(density)
    open_ended = [
        name for name, a, b in zip(density.parameters.names, low, high, strict=True) if np.isinf([a, b]).any()
    ]
    if open_ended:
        raise ConfigError(f"no finite bounds for {open_ended[:8]}: pass a design(density, n, rng) -> theta of your own")
    parts = []
    for head in density.heads or ("logpdf",):
        one = density.select(head)
        known = valleys(one, 32, seed=int(rng.integers(2**31)))
        share = -(-n // (2 * density.n_outputs))
        parts.append(laplace(known, one.logpdf_grad_hess(known.theta)[2], share, rng, low, high))
        parts.append(shrunken(known, share, rng, low, high))
    return rng.permutation(np.concatenate(parts))[:n]


def learn_profiled(
    truth: LogDensity,
    folder: str | Path,
    *,
    config: LearnProfiledConfig | None = None,
    design: Design = about_valleys,
    rows: Rows | None = None,
    anchor: Any = None,
    held_out: Mapping[str, Any] | None = None,
    examine: Examine | None = None,
    heads: Sequence[Mapping[str, Any]] | None = None,
    name: str = "profiled",
    definition: str = "Natural logarithm of the likelihood, maximised over its nuisance parameters",
    command: str = "dnnlikelihood.learn_profiled",
    progress: bool = True,
    **about: Any,
) -> LearnedProfiled:
    """Learn a profiled likelihood from beginning to end.

    Args:
        truth: kind "profiled", or a likelihood that has no nuisances, with a gradient; with heads or without.
        folder: where everything goes; an unfinished run of the same request is continued.
        config: how much.
        design: where to ask; its points are drawn once and kept. Its name, or what it is made of if it is a
            Config, is part of the request. If it tells `kinds(truth, theta)`, the error holds for each of them.
        rows: what labels the rows to learn from, instead of design and deal; `active.ActiveRows` say.
        anchor: a point (d,) at which the surrogate is exact; 0 for signal yields (role "input"), nowhere otherwise.
        held_out: label -> (n, d) further points to test on, real signals say, or a function that draws them from the
            surrogate; nothing is learned from them. Fewer than two make no test set.
        examine: what else is to be found out about the surrogate before it is published.
        heads: what each head is, as in `DnnLik.export`; known names are described if None.
        name: of the published model.
        definition: of the number, in words.
        command: what rebuilds the model.
        progress: show bars on a terminal.
        about: further fields of `PublishedMetadata`: profiled, description, references, licence, authors, ...

    Raises:
        ConfigError: a density of another kind.
        StaleArtifact: the folder holds a run of something else.
        TrainingError, LikelihoodError: too few fits succeeded, or what came of them cannot be learned.
    """
    from .learn import claim

    if truth.kind == "posterior" or any(p.role == "nuisance" for p in truth.parameters):
        raise ConfigError(f"this density is a {truth.kind}; learn_profiled takes a profiled one, learn() the others")
    folder, config = Path(folder), config or LearnProfiledConfig()
    density = getattr(truth, "fingerprint", None) or truth.parameters.to_json()
    if rows is not None:
        asked: Any = rows.to_json()
    else:
        asked = (
            design.to_json() if isinstance(design, Config) else getattr(design, "__qualname__", type(design).__name__)
        )
    claim(folder, {"likelihood": density, "config": config.to_json(), "design": asked, "heads": list(truth.heads)})
    clock = _Clock()
    if rows is None:
        data = _labelled(truth, folder, config, design, clock, progress=progress)
    else:
        data = rows(truth, folder, progress=progress)
        clock.stop("rows to learn from")
    fixed = _anchor(truth, anchor)
    recipe = config.model or DnnLikConfig.preset(config.recipe, data.counts["train"])
    model = DnnLik.fit(data, recipe, anchor=fixed, folder=folder / "training", progress=progress)
    model.save(folder / "dnnlik", overwrite=True)
    clock.stop("training")
    asked_at = {
        label: first_drawn(folder / f"design_{i}.npz", theta(model)) if callable(theta) else theta
        for i, (label, theta) in enumerate((held_out or {}).items(), 1)
    }
    tests = {"held out": data, **_other_tests(truth, folder, asked_at, progress=progress)}
    clock.stop("labelling of test sets")
    summary = _summary(model, data, tests, fixed, config)
    summary["cpu_seconds"] = clock.seconds
    plots = _draw(folder / "plots", model, data)
    if examine is not None:
        found = examine(model, tests)
        clock.stop("further tests")
        summary |= found.summary | {"targets": [*summary["targets"], *found.targets]}
        plots, about = [*plots, *found.plots], {**about, "limits": [*about.get("limits", ()), *found.remarks]}
    _publish(folder / "model", truth, model, data, summary, plots, heads, dict(
        name=name, definition=definition, command=command, **about))  # fmt: skip
    verified = verify(folder / "model", trust=True)
    summary["verified"] = verified.passed
    write_text(folder / "summary.json", pretty(summary))
    return LearnedProfiled(model, folder, verified, summary)


class _Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._mark = time.process_time()

    def stop(self, stage: str) -> None:
        now = time.process_time()
        self.seconds[stage], self._mark = round(now - self._mark, 2), now


def _labelled(
    truth: LogDensity, folder: Path, config: LearnProfiledConfig, design: Design, clock: _Clock, *, progress: bool
) -> Data:
    """The design, drawn once, and its labels."""
    kept = folder / "design.npz"
    if not kept.exists():
        write_npz(
            kept, {"theta": np.asarray(design(truth, config.n_labels, np.random.default_rng(config.seed)), float)}
        )
    clock.stop("design")
    deal = DataConfig(fractions=config.fractions, seed=config.seed, batch_size=1024)
    options: dict[str, Any] = {"kind": "design", "config": deal, "drop_duplicates": True, "progress": progress}
    data = Data.label(truth, read_npz(kept)["theta"], folder=folder / "rows", **options)
    clock.stop("labelling")
    return data.with_kinds(design.kinds(truth, data.theta())) if hasattr(design, "kinds") else data


def _other_tests(truth: LogDensity, folder: Path, held_out: Mapping[str, Any], *, progress: bool) -> dict[str, Data]:
    deal = DataConfig(fractions=(0.0, 0.0, 1.0), batch_size=1024)
    return {
        label: Data.label(
            truth, theta, folder=folder / f"rows_{i}", split="test", kind="test", config=deal, progress=progress
        )
        for i, (label, theta) in enumerate(held_out.items(), 1)
        if len(theta) > 1  # data have two rows at least
    }


def _anchor(truth: LogDensity, given: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Where the surrogate is to be exact, and what it is there."""
    if given is None and any(p.role != "input" for p in truth.parameters):
        return None
    point = np.zeros(len(truth.parameters)) if given is None else truth.points(given)[0]
    value = truth.heads_logpdf(point)[0] if truth.heads else truth.logpdf(point)
    return (point, value) if np.isfinite(value).all() else None


def _summary(
    model: DnnLik, data: Data, tests: Mapping[str, Data], anchor: Any, config: LearnProfiledConfig
) -> dict[str, Any]:
    """Accuracy by head and region on rows that nothing was learned from, coverage, and what was promised."""
    both = [data.logpdf(split).reshape(-1, model.n_outputs).max(axis=0) for split in ("train", "test")]
    highest = np.maximum(*both)
    accuracy, refused = [], {}
    for label, rows in tests.items():
        theta, exact = rows.theta("test"), rows.logpdf("test")
        inside = model.in_domain(theta)
        refused[label] = float(1 - inside.mean())
        theta, exact = theta[inside], exact[inside]
        if len(theta):
            accuracy += accuracy_rows(model, label, theta, exact, highest)
        low = (highest - exact.reshape(len(exact), -1) < LOW).any(axis=1)
        if low.any():
            accuracy += accuracy_rows(model, f"{label}, delta_nll < {LOW:g}", theta[low], exact[low], highest)
    judged = [row for row in accuracy if row["where"].startswith("held out, ")]
    judged = judged or [row for row in accuracy if row["where"] == "held out"]
    theta = data.theta("test")
    return {
        "n_train": data.counts["train"],
        "failed_fits": dict(data.provenance.failed),
        "refused": refused,
        "anchored": anchor is not None,
        "weights_per_member": model.ensemble.members[0].n_weights,
        "accuracy": accuracy,
        "coverage": coverage_rows(model, theta, data.logpdf("test"), data.kinds("test")),
        "targets": [
            {
                "target": " ".join(["mean |error|", row["where"], *([row["head"]] if "head" in row else [])]),
                "value": row["mean"],
                "limit": config.target,
                "met": bool(row["mean"] <= config.target),
            }
            for row in judged
        ],
    }


def _draw(folder: Path, model: DnnLik, data: Data) -> list[Path]:
    """Losses, the labels' distribution, and for each head the error against the truth."""
    from . import plots

    theta, exact = data.theta("test"), data.logpdf("test").reshape(-1, model.n_outputs)
    labels = data.logpdf("train").reshape(-1, model.n_outputs)
    names = model.heads or ("logpdf",)
    figures = {
        "loss": plots.loss_curves(model.history, output_scale=model.ensemble.output_scale),
        "labels": plots.logpdf_distributions({name: labels[:, h] for h, name in enumerate(names)}),
    }
    for h, name in enumerate(names):
        one = model.select(name) if model.heads else model
        answer, spread = one.members_logpdf(theta).mean(axis=1), one.spread(theta)
        figures[f"residuals_{name}"] = plots.residuals(
            exact[:, h],
            answer,
            baseline=one.ensemble.baseline_logpdf(theta)[:, 0],
            error=one.ensemble.calibration.error(answer, spread),
        )
    paths = [path for name, figure in figures.items() for path in plots.save(figure, folder, name)]
    return [path for path in paths if path.suffix == ".png"]


def _publish(
    folder: Path,
    truth: LogDensity,
    model: DnnLik,
    data: Data,
    summary: Mapping[str, Any],
    plots: Sequence[Path],
    heads: Sequence[Mapping[str, Any]] | None,
    about: dict[str, Any],
) -> None:
    recipe = getattr(truth, "recipe", None)
    source = getattr(truth, "source", None)
    if recipe is not None and len(canonical(recipe)) <= MOST_RECIPE_BYTES:
        about = {"recipe": recipe, **about}
    known = {
        "description": f"Surrogate of the profiled likelihood '{about['name']}', learned by dnnlikelihood.",
        "profiled": list(getattr(source, "nuisances", ())),
        "source_reference": getattr(source, "reference", ""),
        "source_fingerprint": getattr(truth, "fingerprint", None),
        "domain": "box and ellipsoid around the training points, where the members agree",
    }
    inside = model.in_domain(data.theta("test"))
    theta, exact = data.theta("test")[inside][:256], data.logpdf("test")[inside][:256]
    model.export(
        folder,
        points=(theta, exact),
        heads=[_described(head) for head in model.heads] if heads is None else heads,
        accuracy=summary["accuracy"],
        coverage=summary["coverage"],
        plots=plots,
        overwrite=True,
        **{**known, **about},
    )


def _described(head: str) -> dict[str, str]:
    data, text = HEADS.get(head, ("observed", f"of the data set {head!r}"))
    return {"name": head, "data": data, "definition": f"The profiled log-likelihood {text}"}
