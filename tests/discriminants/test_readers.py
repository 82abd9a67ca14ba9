"""The same events from every kind of file; and the open data of the HiggsML challenge."""

import os
from pathlib import Path

import numpy as np
import pytest

from dnnlikelihood.discriminants.higgsml import COLUMNS, FEATURES, higgsml, higgsml_features
from dnnlikelihood.discriminants.readers import read_columns
from dnnlikelihood.errors import ConfigError, CorruptFile, MissingArtifact, ShapeError
from dnnlikelihood.npzfiles import write_npz


@pytest.fixture
def columns(rng):
    return {"pt": rng.exponential(30, 50), "eta": rng.normal(size=50), "weight": rng.uniform(size=50)}


def written(columns, path):
    if path.suffix == ".npz":
        write_npz(path, columns)
    elif path.suffix == ".root":
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(path) as file:
            file["events"] = columns
    else:
        frame = pytest.importorskip("pandas").DataFrame(columns)
        if path.suffix == ".parquet":
            pytest.importorskip("pyarrow")
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=False, float_format="%.17g")
    return path


@pytest.mark.parametrize("name", ["e.parquet", "e.root", "e.csv", "e.csv.gz", "e.npz"])
def test_every_format_gives_the_same_columns(name, columns, tmp_path):
    path = written(columns, tmp_path / name)
    found = read_columns(path, ["weight", "pt"])
    assert list(found) == ["weight", "pt"]
    for key in found:
        np.testing.assert_array_equal(found[key], columns[key])
    with pytest.raises(ShapeError, match="phi"):
        read_columns(path, ["pt", "phi"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if name[-3:] != "csv" else b"")
    with pytest.raises(CorruptFile):
        read_columns(path, ["pt", "eta", "weight"])


def test_files_that_are_not_there_or_not_known(tmp_path):
    with pytest.raises(MissingArtifact):
        read_columns(tmp_path / "no.parquet", ["pt"])
    (tmp_path / "events.txt").write_text("pt\n1\n")
    with pytest.raises(ConfigError, match="ends in none"):
        read_columns(tmp_path / "events.txt", ["pt"])


@pytest.mark.parametrize("ending", ["parquet", "root", "csv", "npz"])
def test_a_folder_is_no_file_of_events(ending, tmp_path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("uproot")
    (tmp_path / f"events.{ending}").mkdir()
    with pytest.raises(CorruptFile):
        read_columns(tmp_path / f"events.{ending}", ["pt"])


def test_a_root_file_with_two_trees_asks_which(columns, tmp_path):
    uproot = pytest.importorskip("uproot")
    with uproot.recreate(tmp_path / "e.root") as file:
        file["one"], file["two"] = columns, columns
    with pytest.raises(ConfigError, match="one"):
        read_columns(tmp_path / "e.root", ["pt"])
    np.testing.assert_array_equal(read_columns(tmp_path / "e.root", ["pt"], tree="two")["pt"], columns["pt"])


def higgs_file():
    folder = os.environ.get("DNNLIKELIHOOD_DATA")
    if not folder:
        pytest.skip("set DNNLIKELIHOOD_DATA to the folder with discriminants/atlas-higgs-challenge-2014-v2...")
    return Path(folder) / "discriminants" / "atlas-higgs-challenge-2014-v2.first22889.csv.gz"


def test_recomputed_features_are_those_of_the_file():
    path = higgs_file()
    derived = [f"DER_{n}" for n in FEATURES if n not in ("tau_pt", "lep_pt", "met", "jet_num")]
    table = read_columns(path, [*dict.fromkeys((*COLUMNS, *derived))])
    nominal = dict(zip(FEATURES, higgsml_features(table, 1.0).T, strict=True))
    for name in derived:
        stored = table[name]
        defined = stored != -999.0
        difference = np.abs(nominal[name.removeprefix("DER_")] - stored)[defined]
        assert np.quantile(difference, 0.99) < 0.02 * np.std(stored[defined]) + 0.002, name


def test_the_higgs_sample_as_a_model():
    model = higgsml(higgs_file())
    assert model.nuisance_names == ("tau_energy_scale", "background_norm")
    assert 500 < model["signal"].total < 692
    up, down = model.nuisances[0].variations["background"]
    assert up.weights.sum() > model["background"].total > down.weights.sum()
    first, _ = model.folds()[0]
    assert first["background"].total == pytest.approx(model["background"].total)


def test_without_the_folder_it_says_what_is_needed(monkeypatch):
    monkeypatch.delenv("DNNLIKELIHOOD_DATA", raising=False)
    with pytest.raises(MissingArtifact, match="DNNLIKELIHOOD_DATA"):
        higgsml()
