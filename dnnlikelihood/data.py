r"""`Data`: what a surrogate learns from. Rows of (theta, logpdf, gradient, weight), on disk, split once.

Every row belongs to one of `train`, `validation` and `test`, dealt once and kept in a column. Equal rows go to the same
split, so that a test set never holds what was trained on. Rows where logpdf = -inf are left out and counted.

Weights that make a sample flat in logpdf (arXiv:1911.03305): with c the number of rows in a row's bin,

    w = max(c, floor)^-power,     scaled to mean 1
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .composition import Composite
from .config import require
from .dataset.hdf5files import check_shapes, open_checked, write_columns
from .dataset.labelling import Partial, label, same_values
from .dataset.provenance import DataConfig, Provenance
from .dataset.rows import Column, checked_column, finite_points, finite_rows, row_hashes
from .dataset.splitting import SPLITS, Split, deal, duplicates, first_of_each, split_codes
from .dataset.table import Rows, Table
from .errors import CorruptFile, ParameterError, ShapeError, StaleArtifact
from .jsonfiles import fingerprint, validate
from .parameters import ParameterSpace
from .priors import Prior
from .protocols import Kind, LogDensity
from .results import Samples
from .runlog import RunLog
from .store import Artifact, lock

__all__ = ["Data", "DataConfig", "Provenance", "Rows", "weights_flat_in_logpdf"]


class Data(Table, Artifact):
    """Labelled points of a log-density, split once, larger than memory if need be.

    Made by `label`, `from_samples`, `from_arrays`, `concatenate` and `load`; kept by `save(folder)`; read by split, as
    arrays (`data.theta("train")`) or in `batches`.

    Attributes:
        parameters: the columns of theta.
        prior: the prior that is inside logpdf.
        density_kind: "likelihood", "posterior" or "profiled", as in LogDensity.
        provenance: where the rows come from and how they were dealt.
    """

    noun: ClassVar[str] = "data"

    def __init__(self, provenance: Provenance, columns: Mapping[str, Column]) -> None:
        super().__init__(columns, provenance.row_kinds)
        self.provenance = provenance
        self.parameters = provenance.parameters
        self.prior = provenance.prior
        self.density_kind = provenance.density_kind
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
        known["parents"] = tuple(dict.fromkeys([*_lineage(density), *parents]))
        run: dict[str, Any] = {"batch_size": config.batch_size, "executor": executor, "progress": progress}
        if folder is None:
            columns = label(density, theta, **run)
            return cls.from_arrays(
                density.parameters, theta, columns["logpdf"], columns.get("gradient"), **known, **rows
            )
        return cls._label_into(Path(folder), density, theta, run, known, rows)

    @classmethod
    def _label_into(
        cls,
        folder: Path,
        density: LogDensity,
        theta: np.ndarray,
        run: dict[str, Any],
        known: dict[str, Any],
        rows: dict[str, Any],
    ) -> Self:
        """Label in `<folder>.partial`, save, clean up, load; each step is skipped if it was done before."""
        request = {
            "density": fingerprint([density.parameters.to_json(), density.prior.to_json(), density.kind]),
            "parents": list(known["parents"]),
            "theta": Column.of(theta).sha256(),
            "config": known["config"].to_json(),
            "rows": {k: np.asarray(v).tolist() for k, v in rows.items()},
        }
        partial = folder.with_name(f"{folder.name}.partial")
        with lock(partial):
            if not folder.exists():
                work = Partial(partial, request, len(density.parameters) if density.has_gradient else 0)
                columns = work.fill(density, theta, **run)
                data = cls.from_arrays(
                    density.parameters, theta, columns["logpdf"], columns.get("gradient"), **known, **rows
                )
                data.provenance = replace(data.provenance, request=fingerprint(request))
                data.log = RunLog([*work.log, *data.log])
                data.save(folder)
            data = cls.load(folder)
            if data.provenance.request != fingerprint(request):
                raise StaleArtifact(f"{folder} holds other data; choose another folder, or remove it")
            if partial.exists():
                shutil.rmtree(partial)
        return data

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
            logpdf: (n,) float64; rows with -inf are left out.
            gradient: (n, d), or None.
            prior: the prior that is inside logpdf, if any.
            density_kind: what logpdf is.
            split: None to deal by the configuration, one name for all rows, or a name a row.
            kind: where the points come from, in a word ("sample", "profile", ...); kept with every row.
            weights: (n,) > 0; 1 if None.
            parents: fingerprints of what the rows were made from.
            drop_duplicates: keep only the first of equal rows.
            config: how to deal.

        Raises:
            ShapeError: shapes that do not fit, fewer than two rows, one point in two splits.
            LikelihoodError: NaN or +inf among the labels, with their number and rows.
        """
        config = config or DataConfig()
        theta = finite_points(parameters, theta)
        n = len(theta)
        columns = {"theta": Column.of(theta), "logpdf": checked_column(logpdf, "logpdf", (n,))}
        columns["weight"] = checked_column(np.ones(n) if weights is None else weights, "weights", (n,))
        if gradient is not None:
            columns["gradient"] = checked_column(gradient, "gradient", theta.shape)
        keep = finite_rows(columns)
        codes = None if split is None else split_codes(split, n)[keep]
        columns = {name: column.keep(keep) for name, column in columns.items()}
        hashes = row_hashes(columns["theta"])
        columns["split"] = Column.of(deal(hashes, config.fractions, config.seed) if codes is None else codes)
        columns["kind"] = Column.of(np.zeros(len(hashes), np.uint8))
        provenance = Provenance(
            parameters=parameters,
            prior=prior or Prior({}),
            density_kind=density_kind,
            config=config,
            row_kinds=(kind,),
            parents=tuple(parents),
            excluded=int(n - keep.sum()),
        )
        data = cls(provenance, columns)
        return data._finish("collected", hashes, drop_duplicates=drop_duplicates)

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
            if (part.parameters, part.prior, part.density_kind) != (first.parameters, first.prior, first.density_kind):
                raise ParameterError(f"part {i} has other parameters, priors or kind than part 0; they do not mix")
            if part.has_gradient != first.has_gradient:
                raise ShapeError(f"only one of part 0 and part {i} has gradients; label the other one again")
        names = sorted({name for part in parts for name in part.provenance.row_kinds})
        columns = {name: Column.chain([part._columns[name] for part in parts]) for name in first._columns}
        columns["kind"] = Column.of(np.searchsorted(names, np.concatenate([p.kinds() for p in parts])).astype(np.uint8))
        provenance = replace(
            first.provenance,
            row_kinds=tuple(names),
            parents=_unique([*(p.fingerprint for p in parts), *(q for p in parts for q in p.parents)]),
            excluded=sum(p.provenance.excluded for p in parts),
            request=None,
        )
        data = cls(provenance, columns)
        return data._finish("concatenated", row_hashes(columns["theta"]), drop_duplicates=drop_duplicates)

    def with_weights(self, weights: Any) -> Data:
        """The same rows with other weights (n,) > 0, in the order of `logpdf()`."""
        column = checked_column(weights, "weights", (len(self),))
        finite_rows({"weight": column})
        provenance = replace(self.provenance, parents=_unique([self.fingerprint, *self.parents]), request=None)
        data = Data(provenance, self._columns | {"weight": column})
        data.log.record("weighted", id=data.fingerprint, parents=data.parents, numbers={"rows": len(self)})
        return data

    def _finish(self, event: str, hashes: np.ndarray, *, drop_duplicates: bool) -> Self:
        """Hold the rows against each other, and record what they are."""
        if drop_duplicates:
            first = first_of_each(hashes)
            self._columns = {name: column.keep(first) for name, column in self._columns.items()}
            hashes = hashes[first]
        if len(self) < 2:
            raise ShapeError(
                f"data need at least 2 rows inside the support, got {len(self)} ({self.provenance.excluded} at -inf)"
            )
        repeated, across = duplicates(hashes, self._split)
        if across:
            raise ShapeError(
                f"{across} points are in more than one split ({repeated} repeated rows in all), so a test would see "
                "what was trained on; pass drop_duplicates=True to keep the first of each"
            )
        warnings = [f"{repeated} rows repeat an earlier one"] if repeated else []
        low, high = self._columns["theta"].extremes()
        constant = [name for name, a, b in zip(self.parameters.names, low, high, strict=True) if a == b]
        if constant:
            warnings.append(f"constant columns {constant[:8]}: nothing can be learned about them")
        numbers = {"rows": len(self), "outside_support": self.provenance.excluded, "repeated": repeated, **self.counts}
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
        return fingerprint([content, self.parameters.to_json(), self.prior.to_json(), list(self.parents)])

    def _metadata(self) -> dict[str, Any]:
        numbers = {"rows": len(self), "splits": self.counts, "gradient": self.has_gradient}
        return self.provenance.to_json() | numbers

    def _write(self, folder: Path) -> None:
        write_columns(folder / "rows.h5", self._columns)

    @classmethod
    def _read(cls, folder: Path, metadata: dict[str, Any]) -> Self:
        validate(metadata, "data", str(folder / "metadata.json"))
        provenance = Provenance.from_json(metadata)
        d = len(provenance.parameters)
        widths = {"theta": d, "logpdf": None, "weight": None, "split": None, "kind": None}
        if metadata["gradient"]:
            widths["gradient"] = d
        file = open_checked(folder / "rows.h5", widths)
        check_shapes(file, widths, metadata["rows"])
        columns = {name: Column.of(file[name]) for name in widths}
        for name, known in (("split", SPLITS), ("kind", provenance.row_kinds)):
            codes = columns[name][:]
            if codes.dtype != np.uint8 or codes.max(initial=0) >= len(known):
                raise CorruptFile(f"{file.filename}: {name} holds other codes than those of {known}; make it again")
        data = cls(provenance, columns)
        data.__dict__["fingerprint"] = metadata["fingerprint"]
        return data


def weights_flat_in_logpdf(logpdf: Any, n_bins: int = 100, power: float = 1.0, floor: int = 5) -> np.ndarray:
    """(n,) weights under which a sample is flat in logpdf; see the top of this module.

    Args:
        logpdf: (n,) finite labels.
        n_bins: bins of equal width between the lowest and the highest label.
        power: 1 for flat, 0 for no weights.
        floor: bins with fewer rows count as if they had this many, so that no row outweighs the rest.
    """
    y = np.asarray(logpdf, float)
    if y.ndim != 1 or len(y) == 0 or not np.isfinite(y).all():
        raise ShapeError(f"weights_flat_in_logpdf needs finite labels of shape (n,), got shape {y.shape}")
    require(n_bins >= 1 and floor >= 1, f"n_bins and floor must be at least 1, got {n_bins} and {floor}")
    counts, edges = np.histogram(y, n_bins)
    c = counts[np.clip(np.searchsorted(edges, y, side="right") - 1, 0, n_bins - 1)]
    w = np.maximum(c, floor) ** -float(power)
    return w / w.mean()


def _lineage(density: LogDensity) -> list[str]:
    """Fingerprints of the artifacts that a density is made of."""
    if isinstance(density, Composite):
        return [f for term in density.terms for f in _lineage(term.density)]
    return [density.fingerprint] if isinstance(density, Artifact) else []


def _unique(fingerprints: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fingerprints))
