"""Data of densities with heads: labels of all heads, failed fits left out and counted, files, resumption."""

import numpy as np
import pytest
from profiled_gaussian import ProfiledGaussian

from dnnlikelihood import Data, ParameterSpace, Prior, Uniform
from dnnlikelihood.data import DataConfig, weights_flat_in_logpdf, weights_to_low_delta_nll
from dnnlikelihood.errors import (
    ConfigError,
    IntegrityError,
    LikelihoodError,
    ParameterError,
    SchemaError,
    ShapeError,
    StaleArtifact,
)
from dnnlikelihood.parameters import Parameter

SPACE = ParameterSpace((Parameter(name="x", bounds=(0.0, 2.0)), Parameter(name="y")))


def points(n, seed=0):
    return np.random.default_rng(seed).uniform(-1.5, 1.5, size=(n, 3))


def test_every_head_is_labelled_and_failed_fits_are_left_out_and_counted(caplog):
    density, theta = ProfiledGaussian(fails=1.0), points(500)
    data = Data.label(density, theta)
    good = theta[:, 0] <= 1.0
    np.testing.assert_array_equal(data.theta(), theta[good])
    value, gradient = density.heads_logpdf_and_grad(theta[good])
    np.testing.assert_array_equal(data.logpdf(), value)
    np.testing.assert_array_equal(data.gradient(), gradient)
    assert data.heads == ("observed", "asimov")
    assert data.density_kind == "profiled"
    assert data.provenance.failed == {"not converged": int((~good).sum())}
    assert data.provenance.excluded == 0
    assert list(data.log)[-1]["numbers"]["failed"] == (~good).sum()
    assert f"{(~good).sum()} rows have no label and are left out: not converged" in caplog.text
    assert data.parents == (density.fingerprint,)
    batch = next(data.batches("train", 10))
    assert batch.logpdf.shape == (10, 2)
    assert batch.gradient.shape == (10, 2, 3)


def test_one_head_of_data_is_data_of_that_head():
    density = ProfiledGaussian(fails=1.0)
    data = Data.label(density, points(200))
    one = data.select("asimov")
    assert one.heads == ()
    np.testing.assert_array_equal(one.logpdf("test"), data.logpdf("test")[:, 1])
    np.testing.assert_array_equal(one.gradient("test"), data.gradient("test")[:, 1])
    assert one.splits().tolist() == data.splits().tolist()
    alone = Data.label(density.select("asimov"), points(200))
    np.testing.assert_array_equal(alone.logpdf(), one.logpdf())
    assert alone.parents == (density.fingerprint,)
    with pytest.raises(ParameterError, match=r"no head 'expected'; these data have \['observed', 'asimov'\]"):
        data.select("expected")


def test_folders_keep_heads_and_failures(tmp_path):
    data = Data.label(ProfiledGaussian(fails=1.0), points(300))
    again = Data.load(data.save(tmp_path / "data"))
    assert again.heads == data.heads
    assert again.provenance == data.provenance
    assert again.fingerprint == data.fingerprint
    np.testing.assert_array_equal(again.gradient(), data.gradient())
    both = Data.concatenate([again, Data.label(ProfiledGaussian(fails=0.5), points(300, 1))])
    assert both.provenance.failed["not converged"] > data.provenance.failed["not converged"]
    with pytest.raises(ParameterError, match="or other heads"):
        Data.concatenate([data, data.select("observed")])


class Interrupted(RuntimeError):
    pass


def test_a_labelling_cut_short_continues_to_the_same_rows(tmp_path):
    theta, config = points(1000), DataConfig(batch_size=100)
    whole = Data.label(ProfiledGaussian(fails=1.0), theta, folder=tmp_path / "whole", config=config)
    density, calls = ProfiledGaussian(fails=1.0), [0]
    label = density.label

    def interrupted(points):
        calls[0] += 1
        if calls[0] > 4:
            raise Interrupted
        return label(points)

    density.label = interrupted
    with pytest.raises(Interrupted):
        Data.label(density, theta, folder=tmp_path / "data", config=config)
    partial = tmp_path / "data.partial"
    assert (partial / "logpdf.f64").stat().st_size == 400 * 16
    with (partial / "reason.s32").open("ab") as file:
        file.write(b"not conv")
    with pytest.raises(StaleArtifact, match="another density"):
        Data.label(ProfiledGaussian(fails=0.7), theta, folder=tmp_path / "data", config=config)
    data = Data.label(ProfiledGaussian(fails=1.0), theta, folder=tmp_path / "data", config=config)
    assert data.fingerprint == whole.fingerprint
    assert data.provenance == whole.provenance
    np.testing.assert_array_equal(data.logpdf(), whole.logpdf())


def test_labels_outside_the_declared_bounds_are_refused():
    theta = np.array([[0.1, 0.0], [-0.1, 0.0], [1.0, 5.0]])
    with pytest.raises(LikelihoodError, match=r"outside the declared bounds.* in 1 of 3 rows: \[1\]"):
        Data.from_arrays(SPACE, theta, np.zeros(3))
    with pytest.raises(LikelihoodError, match=r"range of a prior in 2 of 3 rows: \[1, 2\]"):
        Data.from_arrays(SPACE, theta, np.zeros(3), prior=Prior({"y": Uniform(-1.0, 1.0)}))
    data = Data.from_arrays(SPACE, theta, [0.0, -np.inf, 0.0])
    assert (len(data), data.provenance.excluded) == (2, 1)


def test_arrays_with_heads_are_checked():
    theta = np.ones((4, 2))
    theta[:, 1] = range(4)
    heads = ("a", "b")
    with pytest.raises(ShapeError, match=r"logpdf has shape \(4,\), expected \(4, 2\)"):
        Data.from_arrays(SPACE, theta, np.zeros(4), heads=heads)
    with pytest.raises(ShapeError, match=r"gradient has shape \(4, 2\), expected \(4, 2, 2\)"):
        Data.from_arrays(SPACE, theta, np.zeros((4, 2)), np.zeros((4, 2)), heads=heads)
    with pytest.raises(ParameterError, match="each its own"):
        Data.from_arrays(SPACE, theta, np.zeros((4, 2)), heads=("a", "a"))
    with pytest.raises(LikelihoodError, match=r"NaN or \+inf in 1 of 4 rows: \[2\]"):
        Data.from_arrays(SPACE, theta, [[0, 0], [0, 0], [0, np.nan], [0, 0]], heads=heads)
    with pytest.raises(ShapeError, match=r"failed has shape \(1,\), expected \(4,\)"):
        Data.from_arrays(SPACE, theta, np.zeros((4, 2)), heads=heads, failed=["no"])
    with pytest.raises(ShapeError, match=r"got 1 \(1 at -inf, 2 diverged\)"):
        Data.from_arrays(
            SPACE, theta, [[0, 0], [0, -np.inf], [np.nan, 0], [0, 0]], heads=heads, failed=["", "", *["diverged"] * 2]
        )


def test_tables_of_text_give_the_numbers_back(tmp_path):
    data = Data.label(ProfiledGaussian(fails=1.0), points(200), kind="design")
    path = data.to_csv(tmp_path / "rows.csv")
    first = path.read_text().splitlines()[0].split(",")
    assert first[:5] == ["c0", "c1", "c2", "logpdf:observed", "logpdf:asimov"]
    again = Data.from_csv(path, data.parameters, density_kind="profiled", heads=data.heads)
    for name in ("theta", "logpdf", "gradient", "weights", "splits"):
        np.testing.assert_array_equal(getattr(again, name)(), getattr(data, name)())
    plain = Data.from_arrays(SPACE, np.ones((3, 2)) * [[1], [1.5], [0.3]], [0.1, 1 / 3, -1e-300])
    again = Data.from_csv(plain.to_csv(tmp_path / "plain.csv"), SPACE)
    np.testing.assert_array_equal(again.logpdf(), plain.logpdf())
    assert not again.has_gradient


BAD_TABLES = {
    "no labels": ("x,y\n1,2\n", SchemaError, r"columns \['logpdf'\] are missing"),
    "half a gradient": ("x,y,logpdf,gradient:x\n1,2,3,4\n", SchemaError, r"columns \['gradient:y'\] are missing"),
    "a column of no meaning": ("x,y,logpdf,z\n1,2,3,4\n", SchemaError, r"unknown columns \['z'\]"),
    "twice the same": ("x,y,logpdf,x\n1,2,3,4\n", SchemaError, "twice"),
    "text": ("x,y,logpdf\n1,2,3\n1,two,3\n", SchemaError, "two"),
    "a short line": ("x,y,logpdf\n1,2,3\n1,2\n", SchemaError, "line|row|columns"),
    "empty": ("", SchemaError, "no header"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_tables_that_are_refused(case, tmp_path):
    text, error, message = BAD_TABLES[case]
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(error, match=message):
        Data.from_csv(tmp_path / "t.csv", SPACE)


def test_edited_rows_do_not_load(tmp_path):
    import h5py

    folder = Data.label(ProfiledGaussian(), points(50)).save(tmp_path / "data")
    with h5py.File(folder / "rows.h5", "a") as file:
        file["logpdf"][3, 1] += 1e-9
    with pytest.raises(IntegrityError, match=r"rows\.h5 is not the file that was saved"):
        Data.load(folder)


def test_weights_to_low_delta_nll():
    logpdf = np.array([-5.0, -6.0, -15.0, -500.0])
    w = weights_to_low_delta_nll(logpdf, scale=10.0, floor=0.1)
    np.testing.assert_allclose(w / w[0], [1.0, np.exp(-0.1), np.exp(-1.0), 0.1])
    assert w.mean() == pytest.approx(1.0)
    heads = np.column_stack([logpdf, logpdf[::-1]])
    np.testing.assert_array_equal(weights_to_low_delta_nll(heads, 10.0, 0.1), w)
    np.testing.assert_array_equal(weights_flat_in_logpdf(heads), weights_flat_in_logpdf(logpdf))
    with pytest.raises(ConfigError, match="scale must be > 0"):
        weights_to_low_delta_nll(logpdf, scale=0.0)
