"""A long batch in pieces that fit into memory, with a progress bar where somebody can see it."""

from __future__ import annotations

from collections.abc import Iterator

from ..progress import progress_bar

__all__ = ["blocks"]


def blocks(n: int, size: int, label: str, *, progress: bool) -> Iterator[slice]:
    """0 ... n in pieces of at most `size`."""
    with progress_bar(label, n, shown=progress and n > size) as advance:
        for i in range(0, n, size):
            yield slice(i, min(i + size, n))
            advance(min(size, n - i))
