"""From a HistFactory workspace never seen before to a published, verified surrogate: `learn_workspace(truth, folder)`.

    ProfiledLikelihood -> rays of signals -> labels -> DnnLik -> unseen signals, real signals, upper limits -> folder

The points to learn from know nothing of the real signals of a patch set (`sampling.signal_designs`); those are tested
on alone. What is promised, of NLL(s) - NLL(0) below 10 in every head, and of the 95 % upper limits on mu:

    mean |error| and its 99.9 % quantile        of the held-out rows and of signals of unseen directions
    median and largest error of the limits      of real signals, relative

Besides, as earlier work quotes them, MAPE and MaxAPE: mean and largest |error| of -log L, in percent of -log L.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import Config, require
from .dnnlik import DnnLik
from .errors import MissingArtifact, SchemaError, ShapeError
from .learn_profiled import LOW, Findings, LearnedProfiled, LearnProfiledConfig, learn_profiled
from .networks.config import NetworkConfig, TrainingConfig
from .networks.recipe import DnnLikConfig
from .npzfiles import read_npz, write_npz
from .profiled import ProfiledLikelihood
from .protocols import LogDensity
from .sampling.signal_designs import SignalRays
from .sources.histfactory_patches import changes_samples, patches_of, steps_of
from .sources.histfactory_workspace import read_document
from .statistics.limits import upper_limits
from .statistics.signals import along

if TYPE_CHECKING:
    from .data import Data

__all__ = ["LearnWorkspaceConfig", "learn_workspace", "read_patches"]

HELD_OUT, UNSEEN = "held out", "unseen signals"
REAL, AT_LIMITS = "real signals", "real signals at their limits"
EXPECTED = 2
"""The column of `UpperLimits.expected` that is the median."""
NEGATIVE, EMPTY = "a negative yield", "no yield in any bin"
"""Why a real signal is not tested on."""
CONTAMINATION = (
    "No signal that adds more than {:.0%} of the background to a bin of a control region was learned from; the domain "
    "ends a little further out, where errors grow."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnWorkspaceConfig(Config):
    """How much of everything, and what is promised."""

    n_labels: int = 30_000
    n_unseen: int = 1_000
    """Labels of signals in directions of their own."""
    widths: tuple[int, ...] = (96, 96, 96)
    n_members: int = 3
    n_shown: int = 30_000_000
    """Rows that each member is shown in training, repetitions counted."""
    contamination: float | None = None
    """The largest part of the background of a control bin that signals add; None: as much as costs 10 nats."""
    mean: float = 0.005
    """Nats."""
    quantile: float = 0.05
    """Nats, of 99.9 % of the signals."""
    limit_median: float = 0.003
    """Relative."""
    limit_largest: float = 0.02
    refused: float = 0.02
    """The largest share of signals below 10 nats, and of real signals' limits, that is outside the domain."""
    seed: int = 1

    def validate(self) -> None:
        """Positive numbers."""
        for name in (
            "n_unseen",
            "n_members",
            "n_shown",
            "mean",
            "quantile",
            "limit_median",
            "limit_largest",
            "refused",
        ):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, must be positive")
        SignalRays(contamination=self.contamination).validate()
        self.profiled.validate()

    @classmethod
    def preset(cls, name: str, n_inputs: int = 1) -> LearnWorkspaceConfig:
        """The amounts called quick or full, for so many bins.

        Raises:
            ConfigError: another name.
        """
        require(name in ("quick", "full"), f"preset {name!r} is neither quick nor full")
        if name == "quick":
            return cls(
                n_labels=6000, n_unseen=300, widths=(48, 48), n_members=2, n_shown=1_000_000,
                mean=0.1, quantile=2.0, limit_median=0.02, limit_largest=0.1, refused=0.2,
            )  # fmt: skip
        return cls(n_labels=60_000) if n_inputs <= 8 else cls(mean=0.02, quantile=0.2)

    @property
    def profiled(self) -> LearnProfiledConfig:
        """What `learn_profiled` is asked for."""
        training = TrainingConfig(
            n_epochs=max(10, round(self.n_shown / (0.8 * self.n_labels))),
            batch_size=128,
            huber=1.0,
            compiled=True,
            seed=self.seed,
        )
        network = NetworkConfig(widths=self.widths, n_members=self.n_members)
        return LearnProfiledConfig(
            n_labels=self.n_labels,
            model=DnnLikConfig(network=network, training=training),
            target=self.mean,
            seed=self.seed,
        )


def read_patches(path: str | Path) -> dict[str, Any]:
    """The patch set of a file (`.json`, `.json.gz`), or of a folder of files `patch.NAME.json` or `NAME.json`.

    Patches that add no signal are left out.

    Raises:
        MissingArtifact: no such file or folder.
        SchemaError: something else in it, or no patch that adds a signal; the message names file, patch and step.
    """
    path, about = Path(path), dict[str, Any]()
    if path.is_dir():
        files = sorted(p for p in path.glob("*.json") if p.name != "BkgOnly.json")
        if not files:
            raise MissingArtifact(f"{path} holds no patches (patch.NAME.json)")
        found = {p.stem.removeprefix("patch."): steps_of(read_document(p, "patch"), str(p)) for p in files}
    else:
        document, name = read_document(path, "patch set"), path.name.split(".json")[0].removeprefix("patch.")
        if isinstance(document, list):
            found = {name: steps_of(document, str(path))}
        else:
            found, about = patches_of(document, str(path)), document
    adding = {name: patch for name, patch in found.items() if changes_samples(patch)}
    if not adding:
        raise SchemaError(f"{path}: none of {len(found)} patches adds anything, so there is no signal to test on")
    return {**about, "patches": [{"metadata": {"name": name}, "patch": patch} for name, patch in adding.items()]}


# The chain ---------------------------------------------------------------------------------------------------------


def learn_workspace(
    truth: ProfiledLikelihood,
    folder: str | Path,
    *,
    config: LearnWorkspaceConfig | None = None,
    signals: Mapping[str, np.ndarray] | None = None,
    simplified: LogDensity | None = None,
    name: str = "workspace",
    progress: bool = True,
    **about: Any,
) -> LearnedProfiled:
    """Learn the profiled likelihood of a workspace; killed, the same call continues.

    Args:
        truth: of `ProfiledLikelihood.from_workspace`.
        folder: where everything goes.
        config: how much, and what is promised.
        signals: real signals, (d,) yields by name, to test on; of a patch set say.
        simplified: another likelihood of the same signals, of some of the bins, to be drawn beside.
        name: of the published model.
        progress: show bars on a terminal.
        about: as in `learn_profiled`: command, description, references, licence, ...

    Returns:
        The summary has, beside what `learn_profiled` says, `limits`, `percent` (MAPE and MaxAPE), more targets, and
        `left_out`: by reason, the names of real signals that are not tested on.

    Raises:
        ShapeError: signals of another number of bins, or with yields that are no finite numbers.
        ParameterError: a simplified likelihood with a bin that the workspace does not have.
    """
    folder = Path(folder)
    config = config or LearnWorkspaceConfig.preset("full", len(truth.parameters))
    known, left_out = _tested_on(signals or {}, len(truth.parameters))
    if simplified is not None:
        truth.parameters.indices(simplified.parameters.names)  # other bins are refused before the work, not after it
    rng = np.random.default_rng([config.seed, 1])
    unseen = SignalRays(contamination=config.contamination, per_ray=1)
    held_out: dict[str, Any] = {UNSEEN: lambda _: unseen(truth, config.n_unseen, rng)}
    exact: dict[str, np.ndarray] = {}
    if known:
        real = np.stack(list(known.values()))
        held_out[REAL] = real

        def at_limits(_: DnnLik) -> np.ndarray:
            exact.update(_kept_limits(truth, real, folder / "limits.npz"))
            good = np.isfinite(exact["observed"])
            return exact["observed"][good, None] * real[good]

        held_out[AT_LIMITS] = at_limits

    def examine(model: DnnLik, tests: Mapping[str, Data]) -> Findings:
        found = _joined(_accuracy(model, truth.null_logpdf, tests, config), _about(left_out, config))
        return found if not known else _joined(found, _limits(truth, model, known, exact, simplified, config, folder))

    return learn_profiled(
        truth, folder, config=config.profiled, design=SignalRays(contamination=config.contamination),
        held_out=held_out, examine=examine, name=name,
        definition="Natural logarithm of the likelihood of signal yields in all bins, maximised over all nuisances",
        progress=progress, **about,
    )  # fmt: skip


def _tested_on(signals: Mapping[str, np.ndarray], bins: int) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Signals that can be tested on, and the names of the others by reason."""
    left_out: dict[str, list[str]] = {}
    known = {}
    for name, signal in signals.items():
        if np.shape(signal) != (bins,) or not np.isfinite(signal).all():
            raise ShapeError(f"signal {name!r} must be {bins} finite yields, one a bin, got {signal}")
        if (signal >= 0).all() and signal.any():
            known[name] = signal
        else:
            left_out.setdefault(NEGATIVE if (signal < 0).any() else EMPTY, []).append(name)
    for why, names in left_out.items():
        some = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
        rest = f"{len(known)} are tested on" if known else "none is left to test on"
        logger.warning("left out for %s: %d of %d real signals (%s); %s", why, len(names), len(signals), some, rest)
    return known, left_out


def _about(left_out: Mapping[str, Sequence[str]], config: LearnWorkspaceConfig) -> Findings:
    """What the card says of the signals that the model is for, and of those that it was not tested on."""
    remarks = [f"Real signals not tested on, for {why}: {len(names)}." for why, names in left_out.items()]
    remarks += [] if config.contamination is None else [CONTAMINATION.format(config.contamination)]
    return Findings({"left_out": dict(left_out)}, remarks=remarks)


def _kept_limits(truth: LogDensity, signals: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    """Limits from the truth, which cost many fits, from the file if they are of these signals."""
    if path.exists():
        kept = read_npz(path)
        if np.array_equal(kept["signals"], signals):
            return kept
    start = time.process_time()
    found = upper_limits(along(truth, signals))
    kept = {
        "signals": signals,
        "observed": np.where(found.status == "converged", found.observed, np.nan),
        "expected": np.where(found.status_expected == "converged", found.expected, np.nan),
        "cpu_seconds": np.array(time.process_time() - start),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, kept)
    return kept


def _joined(a: Findings, b: Findings) -> Findings:
    return Findings(a.summary | b.summary, *([*getattr(a, n), *getattr(b, n)] for n in ("targets", "plots", "remarks")))


def _target(text: str, value: float | None, limit: float) -> dict[str, Any]:
    """A target; without a value, where nothing was answered, it is missed."""
    met = value is not None and bool(value <= limit)
    return {"target": text, "value": None if value is None else float(value), "limit": limit, "met": met}


# What is found out ---------------------------------------------------------------------------------------------------


def _accuracy(model: DnnLik, null: np.ndarray, tests: Mapping[str, Data], config: LearnWorkspaceConfig) -> Findings:
    """Mean and quantile of |error| below 10 nats from no signal, and errors in percent of -log L."""
    targets, percent = [], []
    for where, rows in tests.items():
        theta, exact = rows.theta("test"), rows.logpdf("test")
        inside = model.in_domain(theta)
        asked = (np.abs(exact - null) < LOW).any(axis=1)
        if asked.any() and where in (UNSEEN, REAL):
            text = f"share of {where}, |delta_nll| < {LOW:g}, outside the domain"
            targets.append(_target(text, (asked & ~inside).sum() / asked.sum(), config.refused))
        theta, exact = theta[inside], exact[inside]
        if not len(theta):
            continue
        off = np.abs(model.members_logpdf(theta).mean(axis=1) - exact)
        for h, head in enumerate(model.heads):
            if null[h] < -1.0:  # the head asimov_signal is 0 without signal: no percentage is of it
                relative = 100 * off[:, h] / np.abs(exact[:, h])
                percent.append({"where": where, "head": head, "mape": relative.mean(), "max_ape": relative.max()})
            low = off[np.abs(exact[:, h] - null[h]) < LOW, h]
            if len(low) and where in (HELD_OUT, UNSEEN):
                text = f"|error| {where}, |delta_nll| < {LOW:g} {head}"
                targets.append(_target(f"mean {text}", low.mean(), config.mean))
                targets.append(_target(f"99.9 % of {text}", np.quantile(low, 0.999), config.quantile))
    return Findings(
        {"percent": [{k: v if isinstance(v, str) else float(v) for k, v in p.items()} for p in percent]}, targets
    )


def _limits(
    truth: LogDensity,
    model: DnnLik,
    signals: Mapping[str, np.ndarray],
    exact: Mapping[str, np.ndarray],
    simplified: LogDensity | None,
    config: LearnWorkspaceConfig,
    folder: Path,
) -> Findings:
    """Upper limits of real signals from the surrogate beside the truth's, and what is drawn of them."""
    real = np.stack(list(signals.values()))
    own = upper_limits(along(model, real))
    summary: dict[str, Any] = {"signals": len(real), "truth_cpu_seconds": float(exact["cpu_seconds"])}
    targets = []
    for which, mine, theirs in (
        ("observed", own.observed, exact["observed"]),
        ("expected", own.expected[:, EXPECTED], exact["expected"][:, EXPECTED]),
    ):
        both = np.isfinite(mine) & np.isfinite(theirs)
        off = np.abs(mine[both] / theirs[both] - 1)
        median, largest = (float(np.median(off)), float(off.max())) if len(off) else (None, None)
        summary[which] = {
            "answered": int(both.sum()), "median": median, "largest": largest,
            "refused": int((np.isfinite(theirs) & ~both).sum()), "no_truth": int((~np.isfinite(theirs)).sum()),
        }  # fmt: skip
        if np.isfinite(theirs).any():
            targets.append(_target(f"median error of {which} limits, relative", median, config.limit_median))
            targets.append(_target(f"largest error of {which} limits, relative", largest, config.limit_largest))
            share = summary[which]["refused"] / np.isfinite(theirs).sum()
            targets.append(_target(f"share of {which} limits that are refused", share, config.refused))
    other = None if simplified is None else _other_limits(simplified, truth, real)
    if other is not None:
        off = np.abs(other / exact["observed"] - 1)
        off = off[np.isfinite(off)]
        if len(off):
            summary["simplified"] = {"n": len(off), "median": float(np.median(off)), "largest": float(off.max())}
    seen = summary["observed"]
    remark = f"95 % upper limits on mu of {len(real)} real signals, none of which was learned from: observed limits "
    if seen["answered"]:
        remark += f"are off by {seen['median']:.2%} in the median and by {seen['largest']:.2%} at most"
        remark += f"; {seen['refused']} are refused, outside the domain." if seen["refused"] else "."
    else:
        remark += "cannot be compared, the likelihood or the surrogate has none."
    plots = _draw(folder / "plots", truth, model, signals, exact["observed"], own.observed, other)
    return Findings({"limits": summary}, targets, plots, [remark])


def _other_limits(simplified: LogDensity, truth: LogDensity, signals: np.ndarray) -> np.ndarray:
    """(n,) observed limits from another likelihood, with the bins that it has; NaN where it has none."""
    columns = [truth.parameters.index(name) for name in simplified.parameters.names]
    cut, found = signals[:, columns], np.full(len(signals), np.nan)
    some = cut.any(axis=1)
    found[some] = upper_limits(along(simplified, cut[some])).observed
    return found


def _draw(
    folder: Path,
    truth: LogDensity,
    model: DnnLik,
    signals: Mapping[str, np.ndarray],
    exact: np.ndarray,
    own: np.ndarray,
    other: np.ndarray | None,
) -> list[Path]:
    """Delta NLL along three signals, all limits, and the exclusion of the grid if the names tell one."""
    from . import plots
    from .plots.signals import planes_of

    names = list(signals)
    ordered = [i for i in np.argsort(np.abs(np.log(np.where(exact > 0, exact, np.nan)))) if np.isfinite(exact[i])][:3]
    curves = {}
    for i in ordered:
        mu = np.linspace(0.0, 2.0 * exact[i], 41)
        theta = mu[:, None] * signals[names[i]]
        curves[names[i]] = (
            mu,
            *(d.heads_logpdf(np.zeros((1, theta.shape[1]))) - d.heads_logpdf(theta) for d in (truth, model)),
        )
    limits = {"surrogate": own} | ({} if other is None else {"simplified": other})
    figures = {}
    if curves:
        figures["along_signals"] = plots.along_signals(curves, model.heads)
        figures["limits"] = plots.limits_of_signals(exact, limits)
    planes = planes_of(names)
    if curves and planes:
        figures["exclusion"] = plots.exclusion(planes, {"truth": exact, **limits})
    paths = [path for name, figure in figures.items() for path in plots.save(figure, folder, name)]
    return [path for path in paths if path.suffix == ".png"]
