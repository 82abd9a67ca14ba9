"""One progress bar for all long work: on a terminal only, on stderr, gone when done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(label: str, total: int, *, shown: bool = True, done: int = 0) -> Iterator[Callable[..., None]]:
    """Yield `advance(count=1, note="")`; a bar with the remaining time is drawn if `shown` and stderr is a terminal.

    >>> with progress_bar("counting", 3) as advance:
    ...     for _ in range(3):
    ...         advance()
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda count=1, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")
        yield lambda count=1, note="": bar.update(task, advance=count, note=note)
