"""Data: rows, splits, labelling that survives a kill, and files that must not be trusted."""

import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from dnnlikelihood import Data, Likelihood, Normal, ParameterSpace, Prior
from dnnlikelihood.data import DataConfig, weights_flat_in_logpdf
from dnnlikelihood.dataset import rows as rows_module
from dnnlikelihood.dataset.hdf5files import open_checked, write_columns
from dnnlikelihood.dataset.rows import Column, row_hashes
from dnnlikelihood.errors import (
    ArtifactExists,
    ConfigError,
    CorruptFile,
    IntegrityError,
    LikelihoodError,
    Locked,
    MissingArtifact,
    ParameterError,
    SafetyError,
    SchemaError,
    ShapeError,
    StaleArtifact,
)
from dnnlikelihood.results import Convergence, Samples
from dnnlikelihood.store import check_manifest

SPACE = ParameterSpace.of("x", "y", poi="x")


def half_plane(theta):
    """Zero for x < 0."""
    return np.where(theta[:, 0] >= 0, -0.5 * (theta**2).sum(axis=1), -np.inf)


def density(**options):
    return Likelihood(half_plane, SPACE, gradient=lambda theta: -theta, **options)


def points(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 2))


def all_rows(data):
    return np.column_stack([data.theta(), data.logpdf(), data.gradient(), data.weights()])


# Rows and splits --------------------------------------------------------------------------------------------------


def test_labels_are_the_density_and_the_outside_is_counted():
    theta = points(1000)
    data = Data.label(density(), theta)
    inside = theta[:, 0] >= 0
    assert len(data) == inside.sum()
    assert data.provenance.excluded == (~inside).sum()
    np.testing.assert_array_equal(data.theta(), theta[inside])
    np.testing.assert_array_equal(data.logpdf(), half_plane(theta[inside]))
    np.testing.assert_array_equal(data.gradient(), -theta[inside])
    (event,) = data.log
    assert event["event"] == "collected"
    assert event["numbers"]["outside_support"] == (~inside).sum()
    assert event["parents"] == [density().fingerprint]


def test_the_deal_is_exact_seeded_and_complete():
    theta = np.abs(points(1000))
    data = Data.label(density(), theta, config=DataConfig(fractions=(0.5, 0.3, 0.2), seed=4))
    assert data.counts == {"train": 500, "validation": 300, "test": 200}
    together = np.vstack([data.theta(s) for s in ("train", "validation", "test")])
    assert np.array_equal(np.sort(together, axis=0), np.sort(theta, axis=0))
    again = Data.label(density(), theta, config=DataConfig(fractions=(0.5, 0.3, 0.2), seed=4))
    other = Data.label(density(), theta, config=DataConfig(fractions=(0.5, 0.3, 0.2), seed=5))
    assert (again.splits() == data.splits()).all()
    assert (other.splits() != data.splits()).any()
    assert again.fingerprint == data.fingerprint != other.fingerprint


def test_a_split_given_row_by_row_is_kept():
    theta = points(50)
    wanted = np.where(np.arange(50) % 2 == 0, "train", "test")
    data = Data.label(density(), theta, split=wanted)
    assert data.splits().tolist() == wanted[theta[:, 0] >= 0].tolist()


def test_equal_rows_are_dealt_to_one_split(caplog):
    theta = np.repeat(np.abs(points(200)), 5, axis=0)
    with caplog.at_level(logging.WARNING):
        data = Data.label(density(), theta)
    assert "800 rows repeat" in caplog.text
    seen = [{tuple(row) for row in data.theta(s)} for s in ("train", "validation", "test")]
    assert len(seen[0] | seen[1] | seen[2]) == sum(len(s) for s in seen)
    assert abs(data.counts["train"] - 800) <= 5
    assert len(Data.label(density(), theta, drop_duplicates=True)) == 200


def test_the_same_point_in_two_splits_is_an_error_with_a_remedy():
    theta = np.abs(points(100))
    train, test = Data.label(density(), theta, split="train"), Data.label(density(), theta[:7], split="test")
    with pytest.raises(ShapeError, match=r"7 points are in more than one split .* drop_duplicates=True"):
        Data.concatenate([train, test])
    merged = Data.concatenate([train, test], drop_duplicates=True)
    assert merged.counts == {"train": 100, "validation": 0, "test": 0}


def test_concatenation_keeps_splits_kinds_and_parents():
    first = Data.label(density(), points(300, 1), kind="sample")
    second = Data.label(density(), points(200, 2), kind="profile", split="test")
    both = Data.concatenate([first, second])
    assert both.kinds().tolist() == ["sample"] * len(first) + ["profile"] * len(second)
    assert both.splits().tolist() == first.splits().tolist() + second.splits().tolist()
    np.testing.assert_array_equal(all_rows(both), np.vstack([all_rows(first), all_rows(second)]))
    assert {first.fingerprint, second.fingerprint, density().fingerprint} == set(both.parents)


def test_only_rows_of_one_density_are_concatenated():
    first = Data.label(density(), points(20))
    with pytest.raises(ParameterError, match="part 1 has other parameters, priors or kind"):
        Data.concatenate([first, Data.label(density(prior=Prior({"x": Normal()})), points(20, 1))])
    bare = Data.from_arrays(SPACE, points(20, 3), np.zeros(20))
    with pytest.raises(ShapeError, match="only one of part 0 and part 1 has gradients"):
        Data.concatenate([first, bare])
    with pytest.raises(LikelihoodError, match="no gradients"):
        bare.gradient("train")


def test_samples_become_data_and_are_held_against_the_density():
    chains = np.abs(np.random.default_rng(3).normal(size=(50, 4, 2)))
    verdict = Convergence(np.ones(2), np.ones(2), np.full(2, 200.0), 0.5, converged=True, reasons=())
    samples = Samples(("y", "x"), chains, half_plane(chains.reshape(-1, 2)[:, ::-1]).reshape(50, 4), verdict)
    data = Data.from_samples(samples, density(), parents=["a" * 64])
    np.testing.assert_array_equal(data.theta(), chains.reshape(-1, 2)[:, ::-1])
    assert data.parents == (density().fingerprint, "a" * 64)
    assert Data.from_samples(samples).parameters.names == ("y", "x")
    with pytest.raises(StaleArtifact, match=r"the samples are of another density: logpdf differs by up to 3\.78"):
        Data.from_samples(samples, density(prior=Prior({"x": Normal(0.0, 1.5)})))


def test_batches_cover_a_split_once_and_are_the_same_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "PIECE_BYTES", 8 * 2 * 64)  # pieces of 64 rows, so that pools and remainders occur
    data = Data.label(density(), np.abs(points(3000)))
    data.save(tmp_path / "data")
    loaded = Data.load(tmp_path / "data")
    for seed in (None, 7):
        batches = list(data.batches("train", 100, seed=seed))
        assert [len(b.logpdf) for b in batches] == [100] * 24
        theta = np.vstack([b.theta for b in batches])
        assert np.array_equal(np.sort(theta, axis=0), np.sort(data.theta("train"), axis=0))
        np.testing.assert_array_equal(np.vstack([b.gradient for b in batches]), -theta)
        np.testing.assert_array_equal(np.concatenate([b.logpdf for b in batches]), half_plane(theta))
        for ours, theirs in zip(batches, loaded.batches("train", 100, seed=seed), strict=True):
            np.testing.assert_array_equal(ours.theta, theirs.theta)
    assert [len(b.weight) for b in data.batches("test", 128)] == [128, 128, 44]
    first, second = (next(data.batches("train", 100, seed=s)).theta for s in (1, 2))
    assert not np.array_equal(first, second)


def test_reading_larger_than_memory(tmp_path):
    """100 MB of rows are streamed with less than half of them in memory."""
    script = """
        import resource, sys, numpy as np
        from dnnlikelihood import Data, ParameterSpace
        rng = np.random.default_rng(0)
        n, d = 330_000, 20
        space = ParameterSpace.of(*[f"x{i}" for i in range(d)])
        theta = np.lib.format.open_memmap(sys.argv[1] + "/theta.npy", "w+", float, (n, d))
        for i in range(0, n, 10_000):
            theta[i : i + 10_000] = rng.normal(size=(10_000, d))
        theta.flush()
        theta = np.load(sys.argv[1] + "/theta.npy", mmap_mode="r")
        data = Data.from_arrays(space, theta, np.zeros(n), theta)
        data.save(sys.argv[1] + "/data")
        del data, theta
        data = Data.load(sys.argv[1] + "/data")
        import tracemalloc
        tracemalloc.start()
        rows = sum(len(b.theta) for b in data.batches("test", 1000))
        assert rows == 33_000, rows
        print(tracemalloc.get_traced_memory()[1] / (2 * n * d * 8))
    """
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(out.stdout) < 0.5


def test_hashes_tell_rows_apart():
    grid = np.stack(np.meshgrid(np.arange(200.0), np.arange(200.0)), axis=-1).reshape(-1, 2)
    hashes = row_hashes(Column.of(grid))
    assert len(np.unique(hashes)) == len(grid)
    np.testing.assert_array_equal(row_hashes(Column.of(np.zeros((1, 2)))), row_hashes(Column.of(-np.zeros((1, 2)))))
    assert row_hashes(Column.of(np.array([[1.0, 2.0]]))) != row_hashes(Column.of(np.array([[2.0, 1.0]])))


def test_weights_flat_in_logpdf():
    y = np.concatenate([np.full(90, -10.0), np.full(10, -1.0), [-5.0]])
    w = weights_flat_in_logpdf(y, n_bins=9)
    assert w.mean() == pytest.approx(1.0)
    assert w[:90].sum() == pytest.approx(w[90:100].sum())  # both peaks weigh the same
    assert w[100] / w[0] == pytest.approx(90 / 5)  # a lonely row counts as a bin of five
    np.testing.assert_allclose(weights_flat_in_logpdf(y, power=0.0), 1.0)
    half = weights_flat_in_logpdf(y, n_bins=9, power=0.5)
    assert half[90] / half[0] == pytest.approx(3.0)


def test_other_weights_make_other_data():
    data = Data.label(density(), points(100))
    weighted = data.with_weights(weights_flat_in_logpdf(data.logpdf()))
    assert weighted.parents[0] == data.fingerprint != weighted.fingerprint
    np.testing.assert_array_equal(weighted.splits(), data.splits())
    with pytest.raises(LikelihoodError, match="weight is not finite and > 0 in 1 of"):
        data.with_weights(np.r_[0.0, np.ones(len(data) - 1)])


def test_rows_of_other_kinds_are_other_data(tmp_path):
    data = Data.label(density(), points(100))
    kinds = np.where(data.theta()[:, 0] > 0, "right", "left")
    told = data.with_kinds(kinds)
    assert told.parents[0] == data.fingerprint != told.fingerprint
    told.save(tmp_path / "told")
    for split in (None, "train", "test"):
        found = Data.load(tmp_path / "told").kinds(split)
        np.testing.assert_array_equal(found, np.where(data.theta(split)[:, 0] > 0, "right", "left"))
    with pytest.raises(ShapeError, match=r"kinds have shape \(3,\)"):
        data.with_kinds(["a", "b", "c"])


# Folders ----------------------------------------------------------------------------------------------------------


def test_save_and_load_is_the_identity(tmp_path):
    data = Data.label(density(prior=Prior({"x": Normal(0.5, 2.0)})), points(500), kind="wide")
    data.save(tmp_path / "data")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "data").iterdir()}
    loaded = Data.load(tmp_path / "data")
    np.testing.assert_array_equal(all_rows(loaded), all_rows(data))
    assert (loaded.parameters, loaded.prior, loaded.density_kind) == (data.parameters, data.prior, "posterior")
    assert loaded.provenance == data.provenance
    assert loaded.fingerprint == data.fingerprint == type(data)(loaded.provenance, loaded._columns).fingerprint
    assert list(loaded.log) == list(data.log)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "data").iterdir()} == before
    check_manifest(tmp_path / "data")
    with pytest.raises(ArtifactExists, match="overwrite=True"):
        data.save(tmp_path / "data")
    loaded.save(tmp_path / "data", overwrite=True)  # onto the file it reads from
    np.testing.assert_array_equal(all_rows(Data.load(tmp_path / "data")), all_rows(data))


def test_the_stored_table_is_flat_and_uncompressed(tmp_path):
    Data.label(density(), points(500)).save(tmp_path / "data")
    with h5py.File(tmp_path / "data" / "rows.h5") as file:
        assert sorted(file) == ["gradient", "kind", "logpdf", "split", "theta", "weight"]
        assert all(file[name].compression is None and file[name].chunks[0] <= 65536 for name in file)
        assert file["theta"].dtype == np.float64


def test_labelling_on_many_threads_gives_the_same(tmp_path):
    config, theta = DataConfig(batch_size=64), points(1000)
    with ThreadPoolExecutor(4) as executor:
        spread = Data.label(density(), theta, config=config, executor=executor, folder=tmp_path / "data")
    assert spread.fingerprint == Data.label(density(), theta, config=config).fingerprint


class Interrupted(RuntimeError):
    pass


def interrupted_after(calls):
    left = [calls]

    def logpdf(theta):
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        return half_plane(theta)

    return Likelihood(logpdf, SPACE, gradient=lambda theta: -theta)


@pytest.fixture
def same_name(monkeypatch):
    """Two callables that are the same function as far as their fingerprint can tell."""
    monkeypatch.setattr(Likelihood, "fingerprint", property(lambda self: "f" * 64))


def test_interrupted_labelling_continues_to_the_same(tmp_path, same_name):
    theta, config = points(1000), DataConfig(batch_size=100)
    whole = Data.label(density(), theta, folder=tmp_path / "whole", config=config)
    folder = tmp_path / "data"
    for done in (3, 2):
        with pytest.raises(Interrupted):
            Data.label(interrupted_after(done + (done == 2)), theta, folder=folder, config=config)
    partial = tmp_path / "data.partial"
    assert (partial / "logpdf.f64").stat().st_size == 500 * 8  # one call of the second run checks the first
    with (partial / "gradient.f64").open("ab") as file:
        file.write(b"torn")
    data = Data.label(density(), theta, folder=folder, config=config)
    assert data.fingerprint == whole.fingerprint
    assert (folder / "rows.h5").read_bytes() == (tmp_path / "whole" / "rows.h5").read_bytes()
    assert not partial.exists()
    assert [e["numbers"].get("from") for e in data.log] == [0, 300, 500, None]
    assert Data.label(interrupted_after(0), theta, folder=folder, config=config).fingerprint == whole.fingerprint


def test_a_labelling_killed_by_the_system_continues_to_the_same(tmp_path):
    script = textwrap.dedent("""
        import sys, time, numpy as np
        from dnnlikelihood import Data, Likelihood, ParameterSpace
        from dnnlikelihood.data import DataConfig

        def logpdf(theta):
            time.sleep(0.01)
            return -0.5 * (theta**2).sum(axis=1)

        theta = np.random.default_rng(0).normal(size=(4000, 2))
        density = Likelihood(logpdf, ParameterSpace.of("x", "y"))
        data = Data.label(density, theta, folder=sys.argv[1], config=DataConfig(batch_size=20))
        print(data.fingerprint)
    """)
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    stored = tmp_path / "data.partial" / "logpdf.f64"
    for rows in (200, 1000):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while not (stored.exists() and stored.stat().st_size >= 8 * rows) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert 8 * rows <= stored.stat().st_size < 8 * 4000
    finished = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    theta = np.random.default_rng(0).normal(size=(4000, 2))
    data = Data.load(tmp_path / "data")
    assert data.fingerprint == finished
    np.testing.assert_array_equal(data.theta(), theta)
    np.testing.assert_array_equal(data.logpdf(), -0.5 * (theta**2).sum(axis=1))


def test_a_folder_begun_with_something_else_is_refused(tmp_path, same_name):
    theta, config = points(1000), DataConfig(batch_size=100)
    with pytest.raises(Interrupted):
        Data.label(interrupted_after(3), theta, folder=tmp_path / "data", config=config)
    with pytest.raises(StaleArtifact, match="begun with another theta"):
        Data.label(density(), theta + 1e-9, folder=tmp_path / "data", config=config)
    with pytest.raises(StaleArtifact, match="begun with another config"):
        Data.label(density(), theta, folder=tmp_path / "data", config=config.replace(seed=2))
    shifted = Likelihood(lambda theta: half_plane(theta) + 0.01, SPACE, gradient=lambda theta: -theta)
    with pytest.raises(StaleArtifact, match=r"another density: logpdf differs by up to 0\.01"):
        Data.label(shifted, theta, folder=tmp_path / "data", config=config)
    Data.label(density(), theta, folder=tmp_path / "data", config=config)
    with pytest.raises(StaleArtifact, match="holds other data"):
        Data.label(density(), theta[:500], folder=tmp_path / "data", config=config)


def test_two_at_work_in_one_folder(tmp_path):
    begun, finish = threading.Event(), threading.Event()

    def slow(theta):
        begun.set()
        finish.wait(30)
        return half_plane(theta)

    likelihood = Likelihood(slow, SPACE)
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(Data.label, likelihood, points(100), folder=tmp_path / "data")
        assert begun.wait(30)
        with pytest.raises(Locked, match="another process is working in"):
            Data.label(likelihood, points(100), folder=tmp_path / "data")
        finish.set()
        assert len(first.result()) > 0


# Bad input --------------------------------------------------------------------------------------------------------

BAD_ROWS = {
    "empty": ((np.empty((0, 2)), np.empty(0)), ShapeError, "at least 2 rows inside the support, got 0"),
    "one row": ((points(1), np.zeros(1)), ShapeError, "at least 2 rows inside the support, got 1"),
    "all outside": ((points(3), np.full(3, -np.inf)), ShapeError, r"got 0 \(3 at -inf\)"),
    "NaN": ((points(4), [0, np.nan, 0, np.nan]), LikelihoodError, r"NaN or \+inf in 2 of 4 rows: \[1, 3\]"),
    "+inf": ((points(4), [0, 0, np.inf, 0]), LikelihoodError, r"NaN or \+inf in 1 of 4 rows: \[2\]"),
    "NaN gradient": ((points(3), np.zeros(3), [[0, 0], [0, np.nan], [0, 0]]), LikelihoodError, r"gradient .*: \[1\]"),
    "too few labels": ((points(4), np.zeros(3)), ShapeError, r"logpdf has shape \(3,\), expected \(4,\)"),
    "gradient of another shape": ((points(4), np.zeros(4), np.zeros((4, 3))), ShapeError, r"expected \(4, 2\)"),
    "columns": ((np.zeros((4, 3)), np.zeros(4)), ShapeError, r"expected \(n, 2\) with columns x, y"),
    "text": ((points(2), ["a", "b"]), ShapeError, "logpdf must be real numbers"),
    "complex": ((points(2), np.zeros(2) + 1j), ShapeError, "logpdf must be real numbers"),
    "infinite point": (([[0, 1], [np.inf, 0]], np.zeros(2)), ShapeError, r"theta\[1\] is inf for 'x'"),
    "point without a square": (([[0, 1], [0, -1e200]], np.zeros(2)), ShapeError, r"theta\[1\] is -1e\+200 for 'y'"),
    "NaN point": (([[0, 1], [0, np.nan]], np.zeros(2)), ShapeError, r"theta\[1\] is nan for 'y'"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_rows_that_are_refused(case):
    arguments, error, message = BAD_ROWS[case]
    with pytest.raises(error, match=message):
        Data.from_arrays(SPACE, *arguments)


def test_a_density_that_gives_nan_is_refused_by_row():
    broken = Likelihood(lambda theta: np.where(theta[:, 0] > 2.9, np.nan, 0.0), SPACE)
    with pytest.raises(LikelihoodError, match=r"labelling rows \d+ to \d+: logpdf is nan at point"):
        Data.label(broken, points(20000), config=DataConfig(batch_size=1000))


BAD_CONFIGS = {
    "sum": ({"fractions": (0.8, 0.1, 0.2)}, r"fractions .* sum to 1"),
    "negative": ({"fractions": (1.2, -0.1, -0.1)}, "fractions"),
    "two": ({"fractions": (0.5, 0.5)}, "three numbers"),
    "seed": ({"seed": -1}, "seed must be an integer >= 0"),
    "batch size": ({"batch_size": 0}, "batch_size must be an integer >= 1"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_configurations_that_are_refused(case):
    arguments, message = BAD_CONFIGS[case]
    with pytest.raises(ConfigError, match=message):
        DataConfig(**arguments)


def test_splits_that_are_refused():
    with pytest.raises(ConfigError, match=r"no split \['training'\]; there are \['train', 'validation', 'test'\]"):
        Data.label(density(), points(10), split="training")
    with pytest.raises(ShapeError, match=r"split has shape \(3,\) for 10 rows"):
        Data.label(density(), points(10), split=["train"] * 3)
    with pytest.raises(ConfigError, match="no split"):
        Data.label(density(), points(10)).theta("dev")
    with pytest.raises(ConfigError, match="size must be at least 1"):
        next(Data.label(density(), points(10)).batches("train", 0))


def test_a_constant_column_is_kept_and_said(caplog):
    theta = np.abs(points(20))
    theta[:, 1] = 0.3
    with caplog.at_level(logging.WARNING):
        data = Data.label(density(), theta)
    assert "constant columns ['y']" in caplog.text
    assert "constant columns ['y']" in list(data.log)[-1]["warnings"][0]


def rewrite(name, **changes):
    """Damage to one field of a JSON file of the folder."""

    def damage(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def truncate(folder):
    os.truncate(folder / "rows.h5", (folder / "rows.h5").stat().st_size // 2)


def without_logpdf(folder):
    with h5py.File(folder / "rows.h5", "a") as file:
        del file["logpdf"]


def foreign_codes(folder):
    with h5py.File(folder / "rows.h5", "a") as file:
        file["split"][3] = 7


BAD_FOLDERS = {
    "codes of no split": (foreign_codes, CorruptFile, "split holds other codes"),
    "truncated": (truncate, CorruptFile, "truncated, or not HDF5"),
    "text": (lambda f: (f / "rows.h5").write_text("theta"), CorruptFile, "truncated, or not HDF5"),
    "absent": (lambda f: (f / "rows.h5").unlink(), MissingArtifact, "does not exist"),
    "dataset missing": (without_logpdf, CorruptFile, r"datasets \['logpdf'\] are missing"),
    "other length": (rewrite("metadata.json", rows=12), CorruptFile, "do not belong together"),
    "other noun": (rewrite("metadata.json", noun="dnnlik"), SchemaError, "holds a dnnlik, not a data"),
    "newer": (rewrite("metadata.json", schema="data/2"), SchemaError, "upgrade dnnlikelihood"),
    "unknown field": (rewrite("metadata.json", gradients=True), SchemaError, "gradients"),
    "unknown setting": (rewrite("metadata.json", config={"fraction": 1}), ConfigError, "no fields"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_folders_that_are_refused(case, tmp_path):
    damage, error, message = BAD_FOLDERS[case]
    Data.label(density(), points(100)).save(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(error, match=message):
        Data.load(tmp_path / "data")


def test_an_edited_number_is_found_by_the_manifest(tmp_path):
    Data.label(density(), points(100)).save(tmp_path / "data")
    with h5py.File(tmp_path / "data" / "rows.h5", "a") as file:
        file["logpdf"][3] += 1e-9
    with pytest.raises(IntegrityError, match=r"rows\.h5 is not the file that was saved"):
        check_manifest(tmp_path / "data")


# Files not to be trusted ------------------------------------------------------------------------------------------


def external_storage(file):
    file.create_dataset("x", (100,), "u1", external=[("/etc/passwd", 0, 100)])


def virtual(file):
    layout = h5py.VirtualLayout((10,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (10,))
    file.create_virtual_dataset("x", layout)


def external_link(file):
    file["x"] = h5py.ExternalLink("other.h5", "/x")


def soft_link(file):
    file["y"] = np.zeros(3)
    file["x"] = h5py.SoftLink("/y")


def link_in_a_group(file):
    file.create_group("inner")["x"] = h5py.ExternalLink("other.h5", "/x")


def loop(file):
    group = file.create_group("inner")
    group["again"] = file["/"]


HOSTILE = {
    "external storage": (external_storage, "in other files of the machine"),
    "virtual dataset": (virtual, "in other files of the machine"),
    "external link": (external_link, "is a link"),
    "soft link": (soft_link, "is a link"),
    "link in a group": (link_in_a_group, "is a link"),
    "groups in a circle": (loop, "neither a dataset nor a plain group"),
    "terabytes": (lambda f: f.create_dataset("x", (500_000_000_000,), "f8", chunks=(1024,)), "declares 4000000000000"),
    "strings": (lambda f: f.create_dataset("x", data=["a", "b"]), "has type object"),
    "references": (lambda f: f.create_dataset("x", (2,), h5py.ref_dtype), "has type object"),
    "records": (lambda f: f.create_dataset("x", (2,), [("a", "f8")]), "has type"),
    "compressed": (lambda f: f.create_dataset("x", (10**6,), "f8", compression="gzip"), "compressed or filtered"),
    "a named type": (lambda f: f.__setitem__("x", np.dtype("f8")), "neither a dataset nor a plain group"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_unread(case, tmp_path):
    make, message = HOSTILE[case]
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        make(file)
    assert (tmp_path / "bad.h5").stat().st_size < 20_000
    with pytest.raises(SafetyError, match=message):
        open_checked(tmp_path / "bad.h5")


def test_numbers_that_were_never_written_are_refused(tmp_path):
    with h5py.File(tmp_path / "holes.h5", "w") as file:
        file["filling"] = np.zeros(10_000)
        file.create_dataset("x", (1000,), "f8", chunks=(100,))
    with pytest.raises(CorruptFile, match="not all written"):
        open_checked(tmp_path / "holes.h5")


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "rows.h5"
    write_columns(path, {"x": Column.of(np.arange(1000.0)), "y": Column.of(np.ones((1000, 3)))})
    whole = path.read_bytes()
    with open_checked(path, ["x", "y"]) as file:
        np.testing.assert_array_equal(file["x"][:], np.arange(1000.0))
    for size in np.linspace(1, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptFile):
            open_checked(path, ["x", "y"])


def test_swapped_names_do_not_load(tmp_path):
    """Valid JSON, valid names, another meaning: only the hash can tell."""
    from dnnlikelihood.errors import IntegrityError

    density = Likelihood.from_source("gaussian", mean=[0.0, 1.0])
    folder = Data.label(density, np.random.default_rng(0).normal(size=(20, 2)), progress=False).save(tmp_path / "d")
    path = folder / "metadata.json"
    text = path.read_text("utf-8").replace('"x0"', '"?"').replace('"x1"', '"x0"').replace('"?"', '"x1"')
    path.write_text(text, "utf-8")
    with pytest.raises(IntegrityError, match=r"metadata\.json is not the file"):
        Data.load(folder)
