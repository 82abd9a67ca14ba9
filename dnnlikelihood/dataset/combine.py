"""What `Data` knows of the ROOT trees of CMS's Combine; see `rootfiles`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..errors import ParameterError
from ..parameters import ParameterSpace
from ..rootfiles import read_combine, write_combine

__all__ = ["CombineTrees"]


class CombineTrees:
    """Reading and writing scans of a profiled likelihood as Combine's `limit` trees."""

    @classmethod
    def from_combine(
        cls,
        files: str | Path | Sequence[str | Path],
        parameters: ParameterSpace | Sequence[str] | None = None,
        *,
        max_delta_nll: float = np.inf,
        progress: bool = True,
        **known: Any,
    ) -> Self:
        """The points of Combine outputs, logpdf = -(deltaNLL - the lowest one); the shift is in the log.

        Rows that are not finite and failed fits are left out and counted (`provenance.failed`); of equal points the
        first is kept, as every job repeats the best fit.

        Args:
            files: ROOT files of jobs on the same workspace.
            parameters: their space, or names; matched by name. All branches that are no bookkeeping if None.
            max_delta_nll: rows above are left out.
            progress: show a bar on a terminal.
            known: further arguments of `from_arrays`: config, kind, weights, ...

        Raises:
            MissingArtifact, CorruptFile: no such file, or without such a tree or branches (which are named).
            ShapeError: fewer than two usable rows; LikelihoodError: rows outside the bounds of the parameters.
        """
        names = parameters.names if isinstance(parameters, ParameterSpace) else parameters
        scan = read_combine(files, names, max_delta_nll=max_delta_nll, progress=progress)
        space = parameters if isinstance(parameters, ParameterSpace) else ParameterSpace.of(*scan.names, poi=scan.names)
        made: Any = cls
        known = {"density_kind": "profiled", "kind": "combine", "drop_duplicates": True} | known
        data = made.from_arrays(space, scan.theta, -scan.delta_nll, **known)
        out = {"not finite": scan.not_finite, "fit failed": scan.failed}
        data.provenance = replace(data.provenance, failed={why: n for why, n in out.items() if n})
        data.log.record(
            "read from Combine",
            id=data.fingerprint,
            parents=data.parents,
            numbers={"shift": scan.shift, "best_fits": int(scan.bestfit.sum()), **out},
        )
        return data

    def to_combine(self, path: str | Path) -> Path:
        """Write all rows as a `limit` tree, deltaNLL relative to the highest logpdf, in single precision.

        Raises:
            ParameterError: several heads, which a tree has no room for.
        """
        data: Any = self
        if data.heads:
            raise ParameterError(f"a tree holds one likelihood, these data have the heads {list(data.heads)}")
        logpdf = data.logpdf()
        return write_combine(path, data.parameters.names, data.theta(), logpdf.max() - logpdf)
