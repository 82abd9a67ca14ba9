"""Tables for people: numbers with the digits that mean something, intervals, verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["accuracy", "decimals", "facts", "failures", "interval", "number", "pair", "status", "table", "verdict"]

NOTHING = "–"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = "", left: int = 1) -> Any:
    """A table whose first `left` columns are words, and the others numbers."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        found.add_column(column, justify="left" if i < left else "right")
    for row in rows:
        found.add_row(*(NOTHING if cell is None else cell for cell in row))
    return Group(found, Text(f"{note}\n", style="dim")) if note else found


def facts(rows: Mapping[str, Any]) -> Any:
    """Names and values side by side."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        grid.add_row(name, str(value))
    return grid


def number(value: float | None, digits: int = 3) -> str | None:
    """A number with so many significant digits; None for none."""
    return None if value is None else f"{value:.{digits}g}"


def decimals(scale: float) -> int:
    """How many decimals show a thousandth of a scale."""
    return max(0, 3 - math.floor(math.log10(scale))) if 0 < scale < math.inf else 4


def interval(ends: Sequence[float] | None, places: int | None = None) -> str | None:
    """[low, high]; as many digits as it was given with, if `places` is None."""
    if ends is None:
        return None
    low, high = (f"{x:g}" if places is None else f"{x:.{places}f}" for x in ends)
    return f"[{low}, {high}]"


def pair(uncertainty: Sequence[float | None] | None) -> str | None:
    """Two standard errors; an end that cannot move has none."""
    if uncertainty is None:
        return None
    return " ".join(NOTHING if u is None or not math.isfinite(u) else f"{u:.1g}" for u in uncertainty)


def verdict(good: bool, words: tuple[str, str] = ("met", "missed")) -> Any:  # noqa: FBT001 - the value shown
    """The first word in green, or the second in red."""
    from rich.text import Text

    return Text(words[0], style="green") if good else Text(words[1], style="bold red")


def status(word: str) -> Any:
    """passed, failed, skipped, converged, ... in their colours."""
    from rich.text import Text

    styles = {"passed": "green", "converged": "green", "skipped": "yellow"}
    return Text(word, style=styles.get(word, "bold red"))


def accuracy(rows: Sequence[Mapping[str, Any]], title: str = "Errors in nats") -> Any:
    """Rows of {"where", "n", "rmse", "baseline_rmse", "max"}."""
    columns = ("where", "points", "RMSE", "RMSE of the quadratic baseline", "largest")
    cells = ((r["where"], f"{r['n']:,}", number(r["rmse"]), number(r["baseline_rmse"]), number(r["max"])) for r in rows)
    return table(title, columns, cells)


def failures(learned: Any) -> tuple[str, ...]:
    """What a whole chain did not reach: targets of its preset, and checks of the published folder."""
    missed = [
        f"{t['target']}: {number(t['value'], 4) or 'no answer'}, limit {t['limit']:g}"
        for t in learned.summary["targets"]
        if not t["met"]
    ]
    failed = [f"verify: {row.check}: {row.detail}" for row in learned.verified.rows if row.status == "failed"]
    return (*missed, *failed)
