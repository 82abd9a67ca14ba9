"""Arrays from strangers: nothing larger than the file is read."""

import io
import zipfile

import numpy as np
import pytest

from dnnlikelihood.errors import CorruptFile, SafetyError
from dnnlikelihood.npzfiles import read_npz, write_npz


def archive(path, shape, content, compression=zipfile.ZIP_STORED):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x.npy", head.getvalue() + content)


def test_what_is_written_is_read(tmp_path):
    arrays = {"a/b": np.arange(6.0).reshape(2, 3), "name": np.array("silu"), "none": np.zeros((0, 3))}
    write_npz(tmp_path / "a.npz", arrays)
    found = read_npz(tmp_path / "a.npz")
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_files_that_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    archive(path, (10**14,), bytes(80))
    with pytest.raises(SafetyError, match="declares shape"):
        read_npz(path)
    archive(path, (10**6,), bytes(8 * 10**6), zipfile.ZIP_DEFLATED)
    with pytest.raises(SafetyError, match="compressed"):
        read_npz(path)
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorruptFile, match="allow_pickle"):
        read_npz(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.txt", "hello")
    with pytest.raises(CorruptFile, match="not a readable npz file"):
        read_npz(path)
