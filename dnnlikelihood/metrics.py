"""The rows of the metric tables of arXiv:1911.03305, and the tables: published numbers beside those of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .reference.published import figure

__all__ = ["LEVELS", "METRICS", "SETS", "Comparison", "Metric", "MetricTable"]

LEVELS = (0.6827, 0.9545, 0.9973)
SETS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the tables."""

    key: str
    """In the results of a network."""
    label: str
    published: str = ""
    """Key of the published figure, by network."""

    def paper(self, network: str) -> float | None:
        """What was published for a network, if anything was."""
        if self.key.startswith("hpdi_"):
            return figure(f"hpdi/mu>0/upper/{network}").value[self.key.removeprefix("hpdi_")]
        value = figure(self.published).value if self.published else None
        return value.get(network) if isinstance(value, Mapping) else value


METRICS = (
    Metric("n_train", "training points", "network/n_train"),
    Metric("parameters", "parameters of a network", "network/parameters"),
    Metric("epochs", "epochs", "network/epochs"),
    *(Metric(f"mse_{s}", f"MSE {s}", f"network/mse_{s}") for s in SETS),
    Metric("mse_test_nats", "MSE test, nats^2", "network/mse_test_nats"),
    Metric("mae_test_nats", "MAE test, nats", "network/mae_test_nats"),
    *(Metric(f"me_{s}", f"ME {s}", f"network/me_{s}") for s in SETS),
    Metric("ks_test_pred_train", "KS test, pred train", "network/ks_test_pred_train"),
    Metric("ks_test_pred_validation", "KS test, pred validation", "network/ks_test_pred_validation"),
    Metric("ks_validation_pred_test", "KS validation, pred test", "network/ks_validation_pred_test"),
    Metric("ks_train_test", "KS train, test (no network)", "network/ks_train_test"),
    *(Metric(f"hpdi_{level:g}", f"{level:.2%} HPDI of mu > 0, upper edge") for level in LEVELS),
    Metric("tmu_mean_error", "mean absolute error of t_mu at mu = 0, 0.1 ... 1", "tmu/mean_error"),
    Metric("maximum_error", "error of the maximum, nats", "maximum/error"),
    Metric("train_seconds", "training, CPU-s (paper: s of a V100)", "network/train_seconds"),
    Metric("predict_us", "prediction, us/point (paper: V100)", "network/predict_us"),
)


@dataclass(frozen=True)
class MetricTable:
    """A table to print."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """As GitHub renders it."""
        lines = [f"### {self.title}", "", f"| {' | '.join(self.columns)} |", "|" + "---|" * len(self.columns)]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes), ""])

    def rich(self) -> Any:
        """As `rich` prints it."""
        from rich.table import Table

        table = Table(*self.columns, title=self.title, caption="\n".join(self.notes) or None)
        for row in self.rows:
            table.add_row(*row)
        return table


@dataclass(frozen=True)
class Comparison:
    """What is there so far: metrics by run ("B1", ..., "ours") and by variant ("best"; "stacked" of several)."""

    runs: Mapping[str, Mapping[str, Any]]

    def tables(self) -> list[MetricTable]:
        """One for each sampling: a metric is three rows, a network is a column."""
        return [self._table(kind) for kind in "BF" if any(name.startswith(kind) for name in self.runs)]

    def _table(self, kind: str) -> MetricTable:
        names = [name for name in self.runs if name.startswith(kind)]
        ours = self.runs.get("ours", {})
        whole = ours.get("stacked", ours.get("best", {}))
        variants = [v for v in ("best", "stacked") if any(v in self.runs[name] for name in names)]
        rows = []
        for m in METRICS:
            shown = {"paper": [m.paper(name) for name in names]}
            shown |= {v: [self.runs[name].get(v, {}).get(m.key) for name in names] for v in variants}
            if ours:
                # This package answers with its whole ensemble: beside the last row of a metric.
                for variant, values in shown.items():
                    values.append(whole.get(m.key) if variant == variants[-1] else None)
            rows += [(m.label, v, *map(_number, values)) for v, values in shown.items() if set(values) != {None}]
        notes = [
            f"{name}, {variant}: {warning}"
            for name in [*names, *(["ours"] if ours else [])]
            for variant, asked in self.runs[name].items()
            for warning in asked["warnings"]
        ]
        title = {"B": "Networks trained on S1 (unbiased)", "F": "Networks trained on S3 (mixture)"}[kind]
        columns = ("metric", "", *names, *(["this package"] if ours else []))
        return MetricTable(title, columns, tuple(rows), tuple(notes))

    def markdown(self) -> str:
        """All tables."""
        return "\n".join(table.markdown() for table in self.tables())


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.3g}"
