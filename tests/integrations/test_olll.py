"""The OLLL format: what is written is what the surrogate says, and what is read is refused unless it is harmless."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from olll_files import BACKGROUND, COUNTS, REACH, SIGNAL, described, ensemble, truth, written

from dnnlikelihood.errors import ConfigError, CorruptFile, MissingArtifact, SafetyError, SchemaError, StaleArtifact
from dnnlikelihood.export.olll import HEADS, write_olll
from dnnlikelihood.integrations.olll import check_olll, read_olll

ZERO = np.array([*BACKGROUND[:2], COUNTS[2]])


@pytest.fixture(scope="module")
def run():
    session = onnxruntime.InferenceSession(written())
    return lambda signal: session.run(None, {"features": np.float32(ZERO + np.atleast_2d(signal))})[0].astype(float)


def inside(n, seed=8):
    theta = REACH * np.random.default_rng(seed).uniform(size=(n, 3))
    return theta[ensemble().domain(theta)]


def expected_output(theta):
    e = ensemble()
    members = e.heads_logpdf(theta)
    value, spread = members.mean(axis=1), members.std(axis=1)
    columns = [e.heads.index(h) for h in HEADS]
    null = np.array([o.baseline.constant for o in e.outputs])
    error = np.stack([o.calibration.error(value[:, h], spread[:, h]) for h, o in enumerate(e.outputs)], axis=1)
    return (null - value)[:, columns], error[:, columns] / 1.6448536


def test_the_file_says_what_the_surrogate_says(run):
    theta = inside(300)
    delta, sigma = expected_output(theta)
    found = run(theta)
    np.testing.assert_allclose(found[:, :4], delta, atol=3e-5)
    np.testing.assert_allclose(found[:, 4:], sigma, atol=3e-5)


def test_no_signal_is_exactly_zero(run):
    assert (run(np.zeros(3))[:, :4] == 0).all()


def test_the_surrogate_is_one_of_the_truth(run):
    theta = inside(300)
    exact = truth().heads_logpdf(np.zeros((1, 3))) - truth().heads_logpdf(theta)
    error = run(theta)[:, [1, 0, 3]] - exact[:, [0, 1, 2]]
    assert np.abs(error).mean() < 0.005


def test_two_deltas_are_the_same_head(run):
    found = run(inside(50))
    np.testing.assert_array_equal(found[:, 0], found[:, 2])
    np.testing.assert_array_equal(found[:, 4], found[:, 6])


def test_beyond_the_domain_delta_follows_its_chord_and_sigma_says_so(run):
    direction = np.array(list(SIGNAL.values()))
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if ensemble().domain(middle * direction[None])[0] else (low, middle)
    edge = run(low * direction)[0]
    for factor in (1.5, 4.0, 30.0):
        beyond = run(factor * low * direction)[0]
        np.testing.assert_allclose(beyond[:4], factor * edge[:4], rtol=1e-3)
        np.testing.assert_allclose(beyond[4:], factor * edge[4:] + (factor - 1) * np.abs(edge[:4]), rtol=2e-3)
    step = run(low * (1 + 1e-4) * direction)[0] - run(low * (1 - 1e-4) * direction)[0]
    assert np.abs(step[:4]).max() < 1e-2, "continuous at the edge"
    assert np.isfinite(run(1e6 * direction)).all()


def test_the_convex_truth_lies_above_its_chord(run):
    theta = 3 * inside(50)
    theta = theta[~ensemble().domain(theta)]
    exact = (truth().heads_logpdf(np.zeros((1, 3))) - truth().heads_logpdf(theta))[:, 1]
    assert (run(theta)[:, 0] < exact + 0.05).all()


def test_the_checker_accepts_it(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(written())
    report = check_olll(path)
    assert report.valid, report.problems
    found = read_olll(path)
    assert found.bins == tuple(SIGNAL)
    assert found.yields("bkg_yields") == dict(zip(SIGNAL, ZERO, strict=True))
    assert found.metadata["channels"] == {"SRlow": "SR", "SRhigh": "SR", "CR": "CR"}
    assert found.metadata["nLL_obs_max"][1] < found.metadata["nLL_obs_mu0"]


# What cannot be written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e: replace(e, outputs=(replace(e.outputs[0], name="other"), *e.outputs[1:])), "lacks"),
        (lambda e: replace(e, anchored=False), "anchor"),
        (lambda e: replace(e, features=replace(e.features, shift=np.ones(3))), "anchor"),
        (lambda e: replace(e, domain=replace(e.domain, low=np.ones(3))), "does not fit"),
    ],
    ids=["heads", "no anchor", "anchored elsewhere", "no signal outside"],
)
def test_surrogates_that_the_format_cannot_hold(tmp_path, change, match):
    with pytest.raises(ConfigError, match=match):
        write_olll(change(ensemble()), described(), tmp_path / "a.onnx")


def test_bins_that_do_not_fit(tmp_path):
    with pytest.raises(ConfigError, match="4 bins"):
        write_olll(ensemble(), described(bins=("a-0", "b-0", "c-0", "d-0")), tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match="whole"):
        write_olll(ensemble(), described(observed=np.array([1.0, 2.0, 3.5])), tmp_path / "a.onnx")


@pytest.mark.parametrize("head", sorted(set(HEADS)))
def test_yields_of_other_data(tmp_path, head):
    null = described().null_logpdf
    write_olll(ensemble(), described(null_logpdf={**null, head: null[head] + 5e-4}), tmp_path / "rounded.onnx")
    for value in (null[head] + 2e-3, null[head] - 30, np.nan):
        numbers = f"\\({head}: surrogate {null[head]:.4f}, likelihood {value:.4f}\\)"
        with pytest.raises(StaleArtifact, match=numbers):
            write_olll(ensemble(), described(null_logpdf={**null, head: value}), tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


# What is refused ------------------------------------------------------------------------------------------------------


def changed(**entries):
    """The file with entries replaced, or removed where None."""
    model = onnx.load_model_from_string(written())
    kept = {p.key: p.value for p in model.metadata_props}
    kept |= {k: v if isinstance(v, str) or v is None else json.dumps(v) for k, v in entries.items()}
    del model.metadata_props[:]
    for key, value in kept.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)
    return model


def refused(tmp_path, model, error, match):
    path = tmp_path / "bad.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(error, match=match):
        read_olll(path)
    report = check_olll(path)
    assert not report.valid
    assert bool(report.unsafe) == (error is SafetyError)


@pytest.mark.parametrize("key", ["bkg_yields", "channels", "standardization", "remove_channels", "nLL_obs_mu0"])
def test_python_in_metadata_is_unsafe(tmp_path, key):
    refused(tmp_path, changed(**{key: "__import__('os').system('true')"}), SafetyError, "is not JSON")


def test_python_literals_are_no_json(tmp_path):
    refused(tmp_path, changed(bkg_yields="[('SRlow-0', 10.0)]"), SafetyError, "is not JSON")
    refused(tmp_path, changed(x_min="[NaN, 0, 0]"), SafetyError, "is not JSON")


def test_yaml_tags_construct_nothing(tmp_path):
    tag = "!!python/object/apply:os.system ['true']"
    for text in (tag, f"data: {tag}"):
        refused(
            tmp_path, changed(run_config=text), SafetyError, "'run_config' asks for more than plain data.*os.system"
        )


def bad_bins():
    return [["SRlow-0", 10.0], ["CR-0", 47.0], ["SRhigh-0", 8.0]]


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"bkg_unc": None}, "'bkg_unc' is missing"),
        ({"olll_schema_version": "0.2"}, "olll_schema_version"),
        ({"input_type": "signal_yields"}, "input_type"),
        ({"obs_yields": bad_bins()}, "in order"),
        ({"bkg_unc": [["SRlow-0", -1.0], ["SRhigh-0", 1.0], ["CR-0", 1.0]]}, "bkg_unc"),
        ({"channels": {"SRlow": "SR", "SRhigh": "XR", "CR": "CR"}}, "channels"),
        ({"channels": {"SRlow": "SR", "SRhigh": "SR"}}, "'CR' of a bin"),
        ({"channels": [{"SRlow": None}]}, "cannot evaluate"),
        ({"x_min": [0.0, 0.0]}, "x_min has 2 numbers"),
        ({"y_max": [0.0, 0.0, 0.0]}, "y_max"),
        ({"x_min": [1e9, 0.0, 0.0]}, "x_min exceeds"),
        ({"nLL_exp_mu0": -3.0}, "nLL_exp_mu0"),
        ({"source": {"analysis_id": "x"}}, "source"),
        ({"removeCRsVRs": "0"}, "removeCRsVRs"),
        ({"run_config": "data: 3"}, "run_config"),
        ({"run_config": "data: 2020-99-99"}, "run_config"),
        ({"run_config": "[" * 5000}, "run_config"),
        ({"run_config": "data: {trafos: {fvs_standardized: [exec]}, nLL_trafos: []}"}, "run_config"),
        ({"standardization": {"features_mean": [[0.0] * 3], "features_std": [[0.0] * 3]}}, "standardization"),
    ],
)
def test_bad_entries(tmp_path, entries, match):
    refused(tmp_path, changed(**entries), SchemaError, match)


def test_duplicate_keys(tmp_path):
    model = changed()
    model.metadata_props.add(key="x_min", value="[0, 0, 0]")
    refused(tmp_path, model, SchemaError, "'x_min' occurs 2 times")


def test_other_shapes(tmp_path):
    for place, size in (("input", 4), ("output", 7)):
        model = changed()
        getattr(model.graph, place)[0].type.tensor_type.shape.dim[1].dim_value = size
        refused(tmp_path, model, SchemaError, place)
    model = changed()
    model.graph.input[0].name = "input_1"
    refused(tmp_path, model, SchemaError, "features")


def test_dangerous_graphs(tmp_path):
    model = changed()
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    refused(tmp_path, model, SafetyError, "other files")
    model = changed()
    model.graph.node[0].domain = "com.example"
    refused(tmp_path, model, SafetyError, "not ONNX's own")


def test_stored_values_that_the_network_does_not_give(tmp_path):
    """SModelS would refuse it when it runs; the checker runs it first."""
    path = tmp_path / "a.onnx"
    path.write_bytes(changed(bkg_yields=[["SRlow-0", 19.0], ["SRhigh-0", 16.0], ["CR-0", 47.0]]).SerializeToString())
    assert any("without signal" in text for text in check_olll(path).problems)


def test_no_file_and_no_onnx(tmp_path):
    with pytest.raises(MissingArtifact):
        check_olll(tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises((CorruptFile, SchemaError)):
        read_olll(tmp_path / "text.onnx")
    assert not check_olll(tmp_path / "text.onnx").valid
