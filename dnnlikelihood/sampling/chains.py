"""Chains in blocks: what an engine advances, and where the blocks are kept.

A run is a row of blocks, warm-up first. Each block holds its draws and the complete state of the sampler after them,
so that the next block follows from the last one alone: a run that was killed continues to the bit-identical chain.
On disk a block is one file `blocks/00012.npz`, written beside and renamed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import CorruptFile, SaveFailed
from ..npzfiles import read_npz
from ..parameters import ParameterSpace
from ..store import write_text

__all__ = ["Block", "Blocks", "Draws", "Engine", "State", "join"]

State = dict[str, np.ndarray]
"""Everything the next step depends on; `theta` (n_chains, d) and `logpdf` (n_chains,) among it."""


@dataclass(frozen=True, slots=True)
class Draws:
    """What an engine returns: draws, and the state after them."""

    chain: np.ndarray
    """(n, n_chains, d)."""
    logpdf: np.ndarray
    """(n, n_chains)."""
    acceptance: float
    state: State


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a run; in a warm-up block `draws.chain` is empty."""

    draws: Draws
    drawn: int
    """Kept steps up to and including this block."""
    seconds: float
    """CPU seconds the block took."""


class Engine(Protocol):
    """A way of moving chains; stateless, so that `State` is all there is."""

    windows: tuple[int, ...]
    """Lengths of the warm-up blocks, in steps."""

    def check(self, space: ParameterSpace, theta: np.ndarray) -> None:
        """Refuse starting points that this engine cannot move from."""

    def start(self, theta: np.ndarray, logpdf: np.ndarray) -> State:
        """The state at the starting points (n_chains, d)."""

    def prepare(self, state: State) -> None:
        """Compile what there is to compile."""

    def warm(self, state: State, window: int) -> Draws:
        """Run one warm-up window and adapt; its draws are thrown away."""

    def draw(self, state: State, n: int) -> Draws:
        """Draw n kept steps."""


class Blocks:
    """The blocks of one run, in a folder or, without one, in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._kept: list[Block] = []
        self._count = 0
        if folder is not None:
            while self._path(self._count).exists():
                self._count += 1

    def __len__(self) -> int:
        return len(self._kept) if self.folder is None else self._count

    def __getitem__(self, index: int) -> Block:
        if self.folder is None:
            return self._kept[index]
        return _read(self._path(range(len(self))[index]))

    def __iter__(self) -> Iterator[Block]:
        return (self[i] for i in range(len(self)))

    def _path(self, index: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{index:05d}.npz"

    def append(self, block: Block) -> None:
        """Keep a block; on disk, atomically.

        Raises:
            SaveFailed: the operating system refused; the blocks before it are intact.
        """
        if self.folder is None:
            self._kept.append(block)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaveFailed(f"cannot make {self.folder}: {error}") from error
        buffer = io.BytesIO()
        draws = block.draws
        arrays: dict[str, Any] = {f"state_{name}": value for name, value in draws.state.items()}
        arrays |= {"chain": draws.chain, "logpdf": draws.logpdf, "acceptance": draws.acceptance}
        np.savez(buffer, drawn=block.drawn, seconds=block.seconds, **arrays)
        write_text(self._path(self._count), buffer.getvalue())
        self._count += 1


def _read(path: Path) -> Block:
    mend = "remove it and those after it, then run the sampler again"
    arrays = read_npz(path, mend)
    try:
        state = {name.removeprefix("state_"): v for name, v in arrays.items() if name.startswith("state_")}
        draws = Draws(arrays["chain"], arrays["logpdf"], float(arrays["acceptance"]), state)
        return Block(draws, int(arrays["drawn"]), float(arrays["seconds"]))
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFile(f"{path} is no block of a chain ({error}); {mend}") from error


def join(blocks: Blocks, n_steps: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The first `n_steps` kept steps of a run.

    Returns:
        chains (n_steps, n_chains, d), logpdf (n_steps, n_chains), mean acceptance, CPU seconds (warm-up included).
    """
    shape = blocks[-1].draws.chain.shape
    chains, logpdf = np.empty((n_steps, *shape[1:])), np.empty((n_steps, shape[1]))
    at, accepted, seconds = 0, 0.0, 0.0
    for block in blocks:
        n = min(len(block.draws.chain), n_steps - at)
        chains[at : at + n], logpdf[at : at + n] = block.draws.chain[:n], block.draws.logpdf[:n]
        at, accepted, seconds = at + n, accepted + n * block.draws.acceptance, seconds + block.seconds
        if at == n_steps:
            break
    return chains, logpdf, accepted / n_steps, seconds


def collect(advance: Callable[[State, int], Draws], state: State, n: int, at_most: int) -> Draws:
    """Draw n steps in pieces of at most `at_most`, joined."""
    pieces = []
    for size in [at_most] * (n // at_most) + ([n % at_most] if n % at_most else []):
        pieces.append(advance(state, size))
        state = pieces[-1].state
    weights = [len(p.chain) for p in pieces]
    return Draws(
        np.concatenate([p.chain for p in pieces]),
        np.concatenate([p.logpdf for p in pieces]),
        float(np.average([p.acceptance for p in pieces], weights=weights)),
        state,
    )
