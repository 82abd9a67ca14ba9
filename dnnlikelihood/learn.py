"""The whole chain in one call: `learn(likelihood, folder)`.

    Likelihood -> Sampler -> Data -> DnnLik -> Inference -> published folder, verified, with plots and a summary

    folder/samples, broadened, rows_*   what the truth gave         folder/training    checkpoints
    folder/dnnlik, inference            the trained artifacts       folder/plots       figures
    folder/model                        what is published           folder/summary.json  what came out

Called again on the same folder, it continues a run that was killed and repeats only what is quick.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import reference
from .accuracy import accuracy_row, coverage_rows
from .comparison import agreement
from .config import Config
from .curriculum import LearnConfig, Lesson, training_data, unseen_data, unseen_slices
from .data import Data
from .dnnlik import DnnLik
from .errors import ConfigError, SaveFailed, StaleArtifact
from .export.verify import VerifyReport
from .inference import Inference, InferenceConfig
from .jsonfiles import canonical, pretty, read_json, strict_loads
from .likelihood import Likelihood
from .results import Agreement, Hpdi, ProfileScan, Samples
from .store import write_text

__all__ = ["LearnConfig", "Learned", "claim", "learn", "training_data", "unseen_data"]

LEVELS = (0.6827, 0.9545, 0.9973)
_REGION_NAMES = {
    "own": "the surrogate's own samples",
    "tails": "lowest hundredth of the posterior",
    "profile": "the surrogate's own profile points",
}
SLICES = "slices through the profile, within three widths"


@dataclass(frozen=True)
class Learned:
    """What `learn` returns."""

    model: DnnLik
    folder: Path
    agreement: Agreement
    verified: VerifyReport
    summary: dict[str, Any]
    """What summary.json holds: tables of HPDI and t_mu, accuracy by region, CPU seconds by stage, targets."""

    @property
    def passed(self) -> bool:
        """Whether the published folder verifies and every target of the preset is met."""
        return self.verified.passed and all(t["met"] for t in self.summary["targets"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets(Config):
    """What a preset promises, in nats (HPDI edges in posterior widths, of which the toy search's mu has 0.349)."""

    rmse: float = 0.08
    refused: float = 0.005
    maximum: float = 0.02
    tmu_mean: float = 0.01
    tmu_max: float = 0.03
    hpdi: float = 0.0286


PRESET_TARGETS = {
    "quick": Targets(rmse=0.15, refused=0.02, maximum=0.05, tmu_mean=0.03, tmu_max=0.1, hpdi=0.1),
    "full": Targets(),
}


def learn(
    likelihood: Likelihood,
    folder: str | Path,
    preset: str = "quick",
    *,
    config: LearnConfig | None = None,
    name: str | None = None,
    progress: bool = True,
) -> Learned:
    """Learn a likelihood from beginning to end.

    Args:
        likelihood: the truth; made from a source, with a gradient and a POI.
        folder: where everything goes; an unfinished run of the same configuration is continued.
        preset: "quick" or "full"; also which targets are held against the result.
        config: instead of the preset's amounts.
        name: of the published model; the source's name if None.
        progress: show bars on a terminal.

    Raises:
        StaleArtifact: the folder holds a run of something else.
        NotConverged: the truth could not be sampled.
        ConfigError: a likelihood without POI.
    """
    folder = Path(folder)
    config = config or LearnConfig.preset(preset)
    if likelihood.kind == "profiled":
        raise ConfigError("this likelihood is profiled: `learn_profiled` learns it, over inputs or coefficients")
    if not likelihood.parameters.pois:
        raise ConfigError("learn needs a parameter of interest: give one parameter the role 'poi'")
    claim(folder, {"likelihood": likelihood.recipe, "config": config.to_json()})
    if not (folder / "likelihood").exists():
        likelihood.save(folder / "likelihood")
    cpu: dict[str, float] = {}
    lesson = training_data(likelihood, config, folder, progress=progress)
    cpu.update(lesson.cpu_seconds)

    mark = time.process_time()
    model = DnnLik.fit(lesson.data, config.model, folder=folder / "training", progress=progress)
    cpu["training"] = time.process_time() - mark
    model.save(folder / "dnnlik", overwrite=True)

    mark = time.process_time()
    unseen, truth_samples = unseen_data(likelihood, config, progress=progress)
    own = _sampled(model, config, progress=progress)
    compared = _compare(likelihood, model, truth_samples, own.samples, config, progress=progress)
    truth_scan, own_scan = _scans(likelihood, own, lesson, progress=progress)
    cpu["inference"] = time.process_time() - mark
    _without_samples(own, model).save(folder / "inference", overwrite=True)

    theta, exact = _inside(model, unseen.theta("test"), unseen.logpdf("test"))
    slices = _inside(model, *unseen_slices(likelihood, lesson, config))
    summary = {
        "refused": 1 - len(theta) / unseen.counts["test"],
        "source": likelihood.recipe,
        "preset": preset,
        "name": name or likelihood.recipe["source"],
        "n_train": lesson.data.counts["train"],
        "weights_per_member": model.ensemble.members[0].n_weights,
        "cpu_seconds": {k: round(v, 2) for k, v in cpu.items()},
        "accuracy": _accuracy(model, theta, exact, compared, slices),
        "coverage": coverage_rows(model, *(np.concatenate(pair) for pair in zip((theta, exact), slices, strict=True))),
        "hpdi": _hpdi_table(likelihood, own, truth_samples),
        "tmu": _tmu_table(likelihood, truth_scan, own_scan),
        "ess": float(np.min(own.samples.verdict.ess)),
        "agreement": {"passed": compared.passed, "failures": list(compared.failures)},
    }
    summary["targets"] = _judge(summary, own_scan, truth_scan, PRESET_TARGETS.get(preset, Targets()))
    from .learn_plots import draw

    plots = draw(folder / "plots", likelihood, model, unseen, truth_samples, own.samples, truth_scan, own_scan, summary)
    summary["plots"] = [p.relative_to(folder).as_posix() for p in plots]
    verified = _publish(folder / "model", likelihood, model, unseen, summary, [p for p in plots if p.suffix == ".png"])
    summary["verified"] = verified.passed
    write_text(folder / "summary.json", pretty(summary))
    return Learned(model, folder, compared, verified, summary)


def claim(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Write down what a run's folder is for.

    Raises:
        StaleArtifact: it is for something else.
        SaveFailed: it cannot be made.
    """
    path = folder / "request.json"
    if path.exists():
        if read_json(path) != strict_loads(canonical(wanted)):
            raise StaleArtifact(f"{folder} holds another run; choose another folder, or pass --overwrite")
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise StaleArtifact(f"{folder} is not empty and holds no run; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveFailed(f"cannot make {folder}: {error}; choose a folder you may write to") from error
    write_text(path, pretty(wanted))


def _sampled(model: DnnLik, config: LearnConfig, *, progress: bool) -> Inference:
    steps = max(400, config.n_inference // 512)
    chains = -(-config.n_inference // steps)
    own = Inference(model, config=InferenceConfig(n_chains=chains, n_steps=steps, n_warmup=300, seed=config.seed + 7))
    own.posterior(progress=progress)
    return own


def _without_samples(own: Inference, model: DnnLik) -> Inference:
    """The answers and the log alone: millions of draws of 95 numbers are drawn again faster than read."""
    answers = Inference(model, config=own.config)
    answers.answers, answers.log = own.answers, own.log
    return answers


def _inside(model: DnnLik, theta: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of the domain."""
    inside = model.in_domain(theta)
    return theta[inside], exact[inside]


def _compare(
    truth: Likelihood, model: DnnLik, drawn: Samples, own: Samples, config: LearnConfig, *, progress: bool
) -> Agreement:
    poi = truth.parameters.pois[0]
    x = drawn.column(poi)
    low, high = np.quantile(x, [0.02, 0.98])
    scan = np.linspace(low, high, 7)
    return agreement(truth, model, truth_samples=drawn, surrogate_samples=own, scans={poi: scan}, progress=progress)


def _scans(
    likelihood: Likelihood, own: Inference, lesson: Lesson, *, progress: bool
) -> tuple[ProfileScan, ProfileScan]:
    """t_mu of truth and surrogate at the published points, or over the profile the surrogate was taught."""
    poi = likelihood.parameters.pois[0]
    published = reference.tmu(likelihood.recipe["source"])
    if published:
        points = np.array(sorted(published))
    else:
        taught = lesson.profile.points[:, 0]
        points = np.linspace(np.quantile(taught, 0.2), np.quantile(taught, 0.8), 11)
    return Inference(likelihood).tmu(poi, points, progress=progress), own.tmu(poi, points, progress=progress)


def _accuracy(
    model: DnnLik, theta: np.ndarray, exact: np.ndarray, compared: Agreement, slices: tuple[np.ndarray, np.ndarray]
) -> list[dict[str, Any]]:
    """Rows of errors in nats: the unseen posterior points first, with the quadratic baseline beside them."""
    keys = ("n", "rmse", "baseline_rmse", "max")
    elsewhere = [
        {"where": _REGION_NAMES.get(where, where)} | {k: region[k] for k in keys}
        for where, region in compared.regions.items()
        if where != "bulk"
    ]
    if len(slices[0]):  # none where the support is as narrow as the profile
        elsewhere.append(accuracy_row(model, SLICES, *slices))
    return [accuracy_row(model, "posterior, unseen", theta, exact), *elsewhere]


def _hpdi_table(likelihood: Likelihood, own: Inference, truth_samples: Samples) -> list[dict[str, Any]]:
    """HPDI of the POI: exact (or of the truth's samples), the paper's, ours; also for mu > 0 where published."""
    poi, source = likelihood.parameters.pois[0], likelihood.recipe["source"]
    truth = Inference(likelihood, truth_samples)
    rows = []
    for lower in (None, 0.0) if reference.hpdi(source, 0.0, LEVELS[0]) else (None,):
        for level in LEVELS:
            ours, exact = own.hpdi(poi, level, lower=lower), reference.hpdi(source, lower, level)
            rows.append(
                {
                    "poi": poi,
                    "lower": lower,
                    "level": level,
                    "exact": exact or _ends(truth.hpdi(poi, level, lower=lower)),
                    "exact_is": "integrated" if exact else "samples of the truth",
                    "paper": reference.paper_hpdi(source, lower, level),
                    "ours": _ends(ours),
                    "uncertainty": [u if np.isfinite(u) else None for u in ours.uncertainty[0]],
                }
            )
    return rows


def _ends(found: Hpdi) -> list[float]:
    return [found.intervals[0].low, found.intervals[-1].high]


def _tmu_table(likelihood: Likelihood, truth: ProfileScan, own: ProfileScan) -> list[dict[str, Any]]:
    source = likelihood.recipe["source"]
    paper, network = reference.paper_tmu(source), reference.paper_network_tmu(source)
    return [
        {
            "mu": float(mu),
            "exact": float(a),
            "paper": paper.get(round(float(mu), 6)),
            "paper_network": network.get(round(float(mu), 6)),
            "ours": float(b),
            "status": [str(truth.status[i]), str(own.status[i])],
        }
        for i, (mu, a, b) in enumerate(zip(truth.points[:, 0], truth.tmu, own.tmu, strict=True))
    ]


def _judge(summary: Mapping[str, Any], own: ProfileScan, truth: ProfileScan, targets: Targets) -> list[dict[str, Any]]:
    off = np.abs(own.tmu - truth.tmu)
    width = summary["hpdi"][0]["exact"][1] - summary["hpdi"][0]["exact"][0]
    edges = [
        abs(a - b)
        for row in summary["hpdi"]
        for i, (a, b) in enumerate(zip(row["ours"], row["exact"], strict=True))
        if not (row["lower"] is not None and i == 0)
    ]
    found = {
        "rmse": ("test RMSE on unseen posterior points, nats", summary["accuracy"][0]["rmse"]),
        "refused": ("share of unseen posterior points outside the domain", summary["refused"]),
        "maximum": ("error of the maximum, nats", abs(float(own.bestfit.value[0] - truth.bestfit.value[0]))),
        "tmu_mean": ("mean |t_mu error|", float(off.mean())),
        "tmu_max": ("largest |t_mu error|", float(off.max())),
        "hpdi": ("largest error of an HPDI edge, in posterior widths", max(edges) / (0.5 * width)),
    }
    return [
        {"target": text, "value": value, "limit": getattr(targets, k), "met": bool(value <= getattr(targets, k))}
        for k, (text, value) in found.items()
    ]


def _publish(
    folder: Path,
    likelihood: Likelihood,
    model: DnnLik,
    unseen: Data,
    summary: Mapping[str, Any],
    plots: Sequence[Path],
) -> VerifyReport:
    from .export.verify import verify

    source = likelihood.recipe["source"]
    model.export(
        folder,
        name=summary["name"],
        description=f"Surrogate of the likelihood '{source}', learned by dnnlikelihood.",
        definition="log-likelihood of the observed data plus the log-priors stated below, all constants kept",
        command=f"dnnlik learn {source.replace('_', '-')} --preset {summary['preset']} --output DIR",
        points=(unseen.theta("test")[:256], unseen.logpdf("test")[:256]),
        likelihood=likelihood,
        accuracy=summary["accuracy"],
        coverage=summary["coverage"],
        plots=plots,
        overwrite=True,
    )
    return verify(folder, trust=True)
