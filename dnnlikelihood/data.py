"""`Data`: what a surrogate learns from. Rows of (theta, logpdf, gradient, weight), on disk, split once.

Every row belongs to one of `train`, `validation` and `test`, dealt once and kept in a column. Equal rows go to the same
split, so that a test set never holds what was trained on. Rows where logpdf = -inf are left out and counted, and so are
rows whose label a fit failed to find. Of a density with heads, a row has one logpdf and one gradient for each.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .dataset.assembly import assemble, examine, read_columns
from .dataset.combine import CombineTrees
from .dataset.csvfiles import read_csv, write_csv
from .dataset.derived import Derived, unique
from .dataset.hdf5files import write_columns
from .dataset.labelling import Partial, label, lineage, same_values
from .dataset.provenance import DataConfig, Provenance
from .dataset.rows import Column, finite_points, row_hashes
from .dataset.splitting import Split, first_of_each
from .dataset.table import Rows, Table
from .dataset.weights import weights_flat_in_logpdf, weights_to_low_delta_nll
from .errors import ParameterError, ShapeError, StaleArtifact
from .jsonfiles import fingerprint, validate
from .parameters import ParameterSpace
from .priors import Prior
from .protocols import Kind, LogDensity
from .results import Samples
from .runlog import RunLog
from .store import Artifact, check_file, lock

__all__ = ["Data", "DataConfig", "Provenance", "Rows", "weights_flat_in_logpdf", "weights_to_low_delta_nll"]

HASHED_BYTES = 256 * 1024 * 1024
"""Rows up to this size are hashed when they are loaded, in half a second; for larger ones there is `check_manifest`."""


class Data(Table, Derived, CombineTrees, Artifact):
    """Labelled points of a log-density, split once, larger than memory if need be.

    Made by `label`, `from_samples`, `from_arrays`, `from_combine`, `concatenate` and `load`; kept by `save(folder)`;
    read by split, as arrays (`data.theta("train")`) or in `batches`.

    Attributes:
        parameters: the columns of theta.
        prior: the prior that is inside logpdf.
        density_kind: "likelihood", "posterior" or "profiled", as in LogDensity.
        heads: what the columns of logpdf are, () if it has one.
        provenance: where the rows come from and how they were dealt.
    """

    noun: ClassVar[str] = "data"

    def __init__(self, provenance: Provenance, columns: Mapping[str, Column]) -> None:
        super().__init__(columns, provenance.row_kinds)
        self.provenance = provenance
        self.parameters = provenance.parameters
        self.prior = provenance.prior
        self.density_kind = provenance.density_kind
        self.heads = provenance.heads
        self.log = RunLog()

    # Making ----------------------------------------------------------------------------------------------------------

    @classmethod
    def label(
        cls,
        density: LogDensity,
        theta: Any,
        *,
        folder: str | Path | None = None,
        executor: Executor | None = None,
        progress: bool = True,
        config: DataConfig | None = None,
        parents: Sequence[str] = (),
        **rows: Any,
    ) -> Self:
        """Evaluate a log-density, and its gradient if it has one, at many points.

        Args:
            density: what is to be learned.
            theta: (n, d) points: an array, a memory map, or a mapping from names.
            folder: where the result is saved. Killed at any moment, the same call continues to the same result; once
                finished, it loads it.
            executor: a concurrent.futures.Executor on which batches are evaluated.
            progress: show a bar on a terminal.
            config: the deal and the batch size.
            parents: fingerprints of what the points came from (a sampler), beside that of the density.
            rows: `split`, `kind`, `weights`, `drop_duplicates` as in `from_arrays`.

        Raises:
            LikelihoodError: NaN or +inf; the message names the rows.
            ShapeError: points that do not fit, or fewer than two in the support.
            StaleArtifact, Locked, SaveFailed: a folder that holds something else, is in use, or cannot be written;
                batches that are done are kept.
        """
        config = config or DataConfig()
        theta = finite_points(density.parameters, theta)
        known: dict[str, Any] = {"prior": density.prior, "density_kind": density.kind, "config": config}
        known["heads"] = density.heads
        known["parents"] = tuple(dict.fromkeys([*lineage(density), *parents]))
        run: dict[str, Any] = {"batch_size": config.batch_size, "executor": executor, "progress": progress}
        if folder is None:
            return cls._collect(density, theta, label(density, theta, **run), known | rows)
        return _label_into(cls, Path(folder), density, theta, run, known, rows)

    @classmethod
    def _collect(
        cls, density: LogDensity, theta: np.ndarray, columns: Mapping[str, Column], known: Mapping[str, Any]
    ) -> Self:
        failed = columns["reason"][:].astype(str)
        found = columns["logpdf"], columns.get("gradient")
        return cls.from_arrays(density.parameters, theta, *found, failed=failed, **known)

    @classmethod
    def from_samples(cls, samples: Samples, density: LogDensity | None = None, **options: Any) -> Self:
        """The points of a sampling, each with its label.

        Args:
            samples: chains. Thin them first if points repeat.
            density: what was sampled. It gives gradients, roles, bounds and prior, and is held against the labels of
                the samples. Without it those labels are kept, and of the parameters only the names are known.
            options: as in `label`; without a density as in `from_arrays`.

        Raises:
            StaleArtifact: the samples were drawn from another density.
        """
        if density is None:
            space = ParameterSpace.of(*samples.names)
            return cls.from_arrays(space, samples.theta, samples.flat_logpdf, **options)
        theta = density.parameters.array(samples.theta, samples.names)
        few = np.unique(np.linspace(0, len(theta) - 1, min(len(theta), 100)).astype(int))
        same_values(density.logpdf(theta[few]), samples.flat_logpdf[few], "the samples are of another density")
        return cls.label(density, theta, **options)

    @classmethod
    def from_arrays(
        cls,
        parameters: ParameterSpace,
        theta: Any,
        logpdf: Any,
        gradient: Any = None,
        *,
        prior: Prior | None = None,
        density_kind: Kind = "likelihood",
        heads: Sequence[str] = (),
        failed: Any = None,
        split: Split | Sequence[str] | None = None,
        kind: str = "sample",
        weights: Any = None,
        parents: Sequence[str] = (),
        drop_duplicates: bool = False,
        config: DataConfig | None = None,
    ) -> Self:
        """Points that were labelled elsewhere.

        Args:
            parameters: the columns of theta.
            theta: (n, d), or a mapping from names.
            logpdf: (n,) float64, (n, H) with heads; rows with -inf (in any head) are left out.
            gradient: (n, d), (n, H, d) with heads, or None.
            prior: the prior that is inside logpdf, if any.
            density_kind: what logpdf is.
            heads: what the H columns of logpdf are.
            failed: (n,) of str: why a row is no label, "" where it is one. Such rows are left out and counted.
            split: None to deal by the configuration, one name for all rows, or a name a row.
            kind: where the points come from, in a word ("sample", "profile", ...); kept with every row.
            weights: (n,) > 0; 1 if None.
            parents: fingerprints of what the rows were made from.
            drop_duplicates: keep only the first of equal rows.
            config: how to deal.

        Raises:
            ShapeError: shapes that do not fit, fewer than two rows, one point in two splits.
            LikelihoodError: NaN or +inf among the labels, or finite ones outside the bounds, with their number and
                rows.
            ParameterError: two heads of one name.
        """
        config, prior, heads = config or DataConfig(), prior or Prior({}), tuple(heads)
        columns, hashes, excluded, why = assemble(
            parameters, prior, heads, (theta, logpdf, gradient, weights), failed, split, config
        )
        provenance = Provenance(
            parameters=parameters,
            prior=prior,
            density_kind=density_kind,
            config=config,
            row_kinds=(kind,),
            parents=tuple(parents),
            excluded=excluded,
            heads=heads,
            failed=why,
        )
        data = cls(provenance, columns)
        return data._finish("collected", hashes, drop_duplicates=drop_duplicates)

    @classmethod
    def from_csv(cls, path: str | Path, parameters: ParameterSpace, *, heads: Sequence[str] = (), **known: Any) -> Self:
        """Rows of a table of text; see `dataset.csvfiles` for its columns.

        Args:
            path: the file.
            parameters: whose names are columns of the file.
            heads: of the labels.
            known: further arguments of `from_arrays`: prior, density_kind, kind, parents, ...

        Raises:
            MissingArtifact, SchemaError: no such file, or not such a table; and the errors of `from_arrays`.
        """
        return cls.from_arrays(parameters, **read_csv(Path(path), parameters, heads), heads=heads, **known)

    def to_csv(self, path: str | Path) -> Path:
        """Write all rows as a table of text, which `from_csv` reads back to the last digit."""
        write_csv(Path(path), self.parameters, self.heads, self.batches(None, 4096), [self.splits(), self.kinds()])
        return Path(path)

    @classmethod
    def concatenate(cls, parts: Sequence[Data], *, drop_duplicates: bool = False) -> Self:
        """Several data as one; every row keeps the split it was dealt.

        Args:
            parts: of the same parameters, prior and kind; all with gradients, or all without.
            drop_duplicates: keep only the first of equal rows.

        Raises:
            ParameterError: the parts are not of one density.
            ShapeError: gradients in some only; or one point in two splits, and `drop_duplicates` is False.
        """
        if not parts:
            raise ShapeError("concatenate needs at least one Data")
        first = parts[0]
        for i, part in enumerate(parts):
            if any(getattr(part, a) != getattr(first, a) for a in ("parameters", "prior", "density_kind", "heads")):
                raise ParameterError(
                    f"part {i} has other parameters, priors or kind than part 0, or other heads; they do not mix"
                )
            if part.has_gradient != first.has_gradient:
                raise ShapeError(f"only one of part 0 and part {i} has gradients; label the other one again")
        names = sorted({name for part in parts for name in part.provenance.row_kinds})
        columns = {name: Column.chain([part._columns[name] for part in parts]) for name in first._columns}
        columns["kind"] = Column.of(np.searchsorted(names, np.concatenate([p.kinds() for p in parts])).astype(np.uint8))
        provenance = replace(
            first.provenance,
            row_kinds=tuple(names),
            parents=unique([*(p.fingerprint for p in parts), *(q for p in parts for q in p.parents)]),
            excluded=sum(p.provenance.excluded for p in parts),
            failed=dict(sum((Counter(p.provenance.failed) for p in parts), Counter())),
            request=None,
        )
        data = cls(provenance, columns)
        return data._finish("concatenated", row_hashes(columns["theta"]), drop_duplicates=drop_duplicates)

    def _finish(self, event: str, hashes: np.ndarray, *, drop_duplicates: bool) -> Self:
        """Hold the rows against each other, and record what they are."""
        if drop_duplicates:
            first = first_of_each(hashes)
            self._columns = {name: column.keep(first) for name, column in self._columns.items()}
            hashes = hashes[first]
        if len(self) < 2:
            raise ShapeError(
                f"data need at least 2 rows inside the support, got {len(self)} ({self.provenance.excluded} at -inf"
                + "".join(f", {n} {why}" for why, n in self.provenance.failed.items())
                + ")"
            )
        repeated, warnings = examine(self.parameters, self._columns["theta"], self._split, hashes)
        warnings += [f"{n} rows have no label and are left out: {why}" for why, n in self.provenance.failed.items()]
        left_out = {"outside_support": self.provenance.excluded, "failed": sum(self.provenance.failed.values())}
        numbers = {"rows": len(self), **left_out, "repeated": repeated, **self.counts}
        self.log.record(
            event,
            id=self.fingerprint,
            parents=self.parents,
            seed=self.provenance.config.seed,
            numbers=numbers,
            warnings=warnings,
        )
        return self

    # The artifact ----------------------------------------------------------------------------------------------------

    @property
    def parents(self) -> tuple[str, ...]:
        """Fingerprints of the density and of what the points came from."""
        return self.provenance.parents

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all numbers, the parameters and the parents."""
        content = {name: column.sha256() for name, column in self._columns.items()}
        known = [content, self.parameters.to_json(), self.prior.to_json(), list(self.parents)]
        return fingerprint([*known, list(self.heads)] if self.heads else known)

    def _metadata(self) -> dict[str, Any]:
        numbers = {"rows": len(self), "splits": self.counts, "gradient": self.has_gradient}
        return self.provenance.to_json() | numbers

    def _write(self, folder: Path) -> None:
        write_columns(folder / "rows.h5", self._columns)

    @classmethod
    def _read(cls, folder: Path, metadata: dict[str, Any]) -> Self:
        validate(metadata, "data", str(folder / "metadata.json"))
        provenance = Provenance.from_json(metadata)
        width, gradient = len(provenance.parameters), metadata["gradient"]
        columns = read_columns(
            folder / "rows.h5", width, len(provenance.heads), metadata["rows"], provenance.row_kinds, gradient=gradient
        )
        if (folder / "rows.h5").stat().st_size <= HASHED_BYTES:
            check_file(folder, "rows.h5")
        data = cls(provenance, columns)
        data.__dict__["fingerprint"] = metadata["fingerprint"]
        return data


def _label_into(
    noun: type[Data],
    folder: Path,
    density: LogDensity,
    theta: np.ndarray,
    run: dict[str, Any],
    known: dict[str, Any],
    rows: dict[str, Any],
) -> Any:
    """Label in `<folder>.partial`, save, clean up, load; each step is skipped if it was done before."""
    request = {
        "density": fingerprint([density.parameters.to_json(), density.prior.to_json(), density.kind]),
        "parents": list(known["parents"]),
        "theta": Column.of(theta).sha256(),
        "config": known["config"].to_json(),
        "rows": {k: np.asarray(v).tolist() for k, v in rows.items()},
        **({"heads": list(density.heads)} if density.heads else {}),
    }
    partial = folder.with_name(f"{folder.name}.partial")
    with lock(partial):
        if not folder.exists():
            work = Partial(partial, request, density)
            data = noun._collect(density, theta, work.fill(density, theta, **run), known | rows)
            data.provenance = replace(data.provenance, request=fingerprint(request))
            data.log = RunLog([*work.log, *data.log])
            data.save(folder)
        data = noun.load(folder)
        if data.provenance.request != fingerprint(request):
            raise StaleArtifact(f"{folder} holds other data; choose another folder, or remove it")
        if partial.exists():
            shutil.rmtree(partial)
    return data
