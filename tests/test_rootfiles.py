"""Combine's trees: what was written comes back, bad rows are counted, what is missing is named."""

import logging

import numpy as np
import pytest

from dnnlikelihood.data import Data
from dnnlikelihood.errors import CorruptFile, LikelihoodError, MissingArtifact, ParameterError, ShapeError
from dnnlikelihood.parameters import Parameter, ParameterSpace
from dnnlikelihood.rootfiles import read_combine, write_combine

uproot = pytest.importorskip("uproot")
NAMES = ("ctW", "ctZ", "ctp")


@pytest.fixture
def scan(rng):
    theta = rng.normal(size=(2000, 3)).astype(np.float32).astype(float)
    delta = (theta @ [1.0, 0.5, 2.0]) ** 2 - 3.0
    return theta, delta


def test_a_scan_comes_back(tmp_path, scan):
    theta, delta = scan
    back = read_combine(write_combine(tmp_path / "scan.root", NAMES, theta, delta))
    assert back.names == NAMES
    np.testing.assert_array_equal(back.theta, theta)
    np.testing.assert_allclose(back.delta_nll, delta - delta.min(), atol=1e-5)
    np.testing.assert_allclose(back.shift, delta.min(), rtol=1e-6)
    assert np.flatnonzero(back.bestfit).tolist() == [delta.argmin()]
    assert (back.not_finite, back.failed) == (0, 0)


def test_the_tree_is_the_one_combine_writes(tmp_path, scan):
    theta, delta = scan
    with uproot.open(write_combine(tmp_path / "scan.root", NAMES, theta, delta - delta.min())) as file:
        tree = file["limit"]
        assert {"limit", "mh", "iToy", "iSeed", "quantileExpected", "deltaNLL", *NAMES} <= set(tree.keys())
        assert tree["deltaNLL"].typename == "float"
        quantile, two_dnll = tree["quantileExpected"].array(library="np"), 2 * tree["deltaNLL"].array(library="np")
    from scipy.stats import chi2

    np.testing.assert_allclose(quantile[quantile >= 0], chi2.sf(two_dnll, 3)[quantile >= 0], rtol=1e-4, atol=1e-7)


def test_small_steps_give_the_same(tmp_path, scan):
    path = write_combine(tmp_path / "scan.root", NAMES, *scan)
    whole, pieces = read_combine(path), read_combine(path, step="2 kB")
    np.testing.assert_array_equal(whole.theta, pieces.theta)
    np.testing.assert_array_equal(whole.delta_nll, pieces.delta_nll)


def broken(path, theta, delta, **changes):
    """A tree whose branches may be anything."""
    columns = dict(zip(NAMES, theta.T, strict=True)) | {"deltaNLL": delta, "quantileExpected": np.zeros(len(delta))}
    with uproot.recreate(path) as file:
        file["limit"] = {k: np.asarray(v, np.float32) for k, v in (columns | changes).items() if v is not None}
    return path


def test_bad_rows_are_kept_out_and_counted(tmp_path, scan, caplog):
    theta, delta = (a.copy() for a in scan)
    theta[7, 1], delta[8], delta[9], delta[11:14] = np.nan, np.nan, np.inf, 9990.0
    with caplog.at_level(logging.WARNING):
        data = Data.from_combine(broken(tmp_path / "a.root", theta, delta))
    assert "3 rows that are not finite and 3 failed fits" in caplog.text
    assert len(data) == 1994
    assert data.provenance.failed == {"not finite": 3, "fit failed": 3}
    assert list(data.log)[-1]["numbers"]["shift"] == pytest.approx(np.nanmin(delta), abs=1e-5)
    assert data.density_kind == "profiled"
    assert data.parameters.pois == NAMES
    assert data.logpdf().max() == 0.0


def test_files_of_many_jobs_repeat_the_best_fit(tmp_path, scan):
    theta, delta = scan
    first = write_combine(tmp_path / "1.root", NAMES, theta[:1000], delta[:1000])
    again = np.concatenate([theta[:1], theta[1000:]])
    second = write_combine(tmp_path / "2.root", NAMES, again, np.concatenate([delta[:1], delta[1000:]]))
    assert len(Data.from_combine([first, second])) == 2000


def test_data_there_and_back(tmp_path, scan):
    data = Data.from_arrays(ParameterSpace.of(*NAMES, poi=NAMES), scan[0], -scan[1], density_kind="profiled")
    back = Data.from_combine(data.to_combine(tmp_path / "scan.root"), data.parameters)
    np.testing.assert_array_equal(np.sort(back.theta(), axis=0), np.sort(data.theta(), axis=0))
    back.save(tmp_path / "data")
    loaded = Data.load(tmp_path / "data")
    assert loaded.fingerprint == back.fingerprint


def test_parameters_are_matched_by_name(tmp_path, scan):
    path = write_combine(tmp_path / "scan.root", NAMES, *scan)
    np.testing.assert_array_equal(read_combine(path, ["ctp", "ctW"]).theta, scan[0][:, [2, 0]])


def test_missing_branches_are_named(tmp_path, scan):
    with pytest.raises(CorruptFile, match="deltaNLL"):
        read_combine(broken(tmp_path / "a.root", *scan, deltaNLL=None))
    with pytest.raises(CorruptFile, match="cpQM"):
        read_combine(broken(tmp_path / "b.root", *scan), ["ctW", "cpQM"])
    with pytest.raises(CorruptFile, match="quantileExpected"):
        read_combine(broken(tmp_path / "c.root", *scan, quantileExpected=None))


def test_what_is_no_scan_is_refused(tmp_path, scan):
    with pytest.raises(MissingArtifact):
        read_combine(tmp_path / "nothing.root")
    (tmp_path / "text.root").write_text("no tree here")
    with pytest.raises(CorruptFile, match=r"text\.root"):
        read_combine(tmp_path / "text.root")
    with uproot.recreate(tmp_path / "other.root") as file:
        file["tree"] = {"x": np.zeros(3)}
    with pytest.raises(CorruptFile, match="limit"):
        read_combine(tmp_path / "other.root")
    with uproot.recreate(tmp_path / "note.root") as file:
        file["limit"] = "a string, no tree"
    with pytest.raises(CorruptFile, match="TObjString"):
        read_combine(tmp_path / "note.root")
    with pytest.raises(ShapeError, match="no usable row"):
        read_combine(broken(tmp_path / "failed.root", scan[0], np.full(2000, 9990.0)))
    with pytest.raises(ParameterError, match="deltaNLL"):
        write_combine(tmp_path / "x.root", ("deltaNLL", "b", "c"), *scan)
    bounded = ParameterSpace(tuple(Parameter(name=n, role="poi", bounds=(-1, 1)) for n in NAMES))
    with pytest.raises(LikelihoodError, match="bounds"):
        Data.from_combine(write_combine(tmp_path / "scan.root", NAMES, *scan), bounded)
