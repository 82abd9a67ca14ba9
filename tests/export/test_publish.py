"""A published folder from the inside: its files, what it refuses, and what `verify` sees."""

import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
from surrogates import disputed, gaussian_ensemble, metadata, publish_gaussian, random_ensemble, reference

import dnnlikelihood.export.publish as publishing
from dnnlikelihood.errors import ArtifactExists, ConfigError, IntegrityError, SaveFailed, SchemaError, ShapeError
from dnnlikelihood.export.card import card_files
from dnnlikelihood.export.publish import Reference, publish, read_reference, tolerated
from dnnlikelihood.export.verify import verify
from dnnlikelihood.export.verify_file import verify_file
from dnnlikelihood.jsonfiles import pretty, read_json, strict_loads
from dnnlikelihood.npzfiles import write_npz
from dnnlikelihood.parameters import Parameter, ParameterSpace
from dnnlikelihood.priors import Normal, Prior
from dnnlikelihood.runlog import RunLog
from dnnlikelihood.store import _write_manifest


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return publish_gaussian(tmp_path_factory.mktemp("published") / "gaussian-3", keras=True)


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "gaussian-3")


def status(report):
    return {row.check: row.status for row in report.rows}


def test_the_folder(original):
    files = {p.relative_to(original).as_posix() for p in original.rglob("*") if p.is_file()}
    assert files >= {
        "metadata.json", "model.onnx", "model_gradient.onnx", "model.keras", "saved_model/1/saved_model.pb",
        "reference.npz", "history.json", "log.jsonl", "README.md", "CITATION.cff", ".zenodo.json", "hepdata.json",
        "manifest.json",
    }  # fmt: skip
    about = read_json(original / "metadata.json", "published")
    assert about["network"] == {"n_members": 3, "widths": [24, 16], "activations": ["silu"], "n_weights": 1539}
    assert [event["event"] for event in RunLog.read(original / "log.jsonl")] == ["published"]
    assert len(read_reference(original)["theta"]) == 120


def test_verify_passes_on_every_runtime(original):
    report = verify(original, trust=True)
    assert report.passed
    assert set(status(report).values()) == {"passed"}, [r for r in report.rows if r.status != "passed"]
    assert strict_loads(pretty(report.to_json()))["passed"] is True


def test_a_saved_model_is_not_run_without_trust(original):
    row = next(r for r in verify(original).rows if r.check == "saved-model")
    assert row.status == "skipped"
    assert "trust=True" in row.detail


def test_a_model_without_recipe_says_so(tmp_path):
    folder = publish_gaussian(tmp_path / "m", recipe=None)
    report = verify(folder)
    assert report.passed
    assert status(report)["exact"] == status(report)["keras"] == "skipped"


@pytest.mark.parametrize("name", ["model.onnx", "metadata.json", "saved_model/1/saved_model.pb", "README.md"])
def test_an_edited_file(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))
    report = verify(folder, trust=True)
    assert not report.passed
    assert report.rows[0].detail.startswith("IntegrityError")
    assert {row.status for row in report.rows[1:]} == {"skipped"}, "nothing of an edited folder is run"


def test_an_added_file(folder):
    (folder / "saved_model" / "1" / "extra.pb").write_bytes(b"")
    assert status(verify(folder))["hashes"] == "failed"


def spoil(folder, **arrays):
    """Change reference arrays and make the manifest fit again: what a careless author could publish."""
    pairs = {**read_reference(folder), **arrays}
    np.savez(folder / "reference.npz", **pairs)
    _write_manifest(folder)


def test_values_off_by_ten_tolerances_are_caught_on_every_runtime(folder):
    spoil(folder, logpdf=read_reference(folder)["logpdf"] + 1e-4)
    found = status(verify(folder, trust=True))
    runtimes = ("onnxruntime", "onnxruntime-gradient", "numpy", "saved-model", "keras")
    assert {name: found[name] for name in runtimes} == dict.fromkeys(runtimes, "failed")
    assert found["exact"] == found["differences"] == "passed"


def test_what_a_large_last_bias_takes_away_is_lost_to_rounding():
    """A last sum of 4000 units of 0.01 nats leaves its residual to sixteen roundings of 40 nats, not of one."""
    ensemble = gaussian_ensemble()
    pairs = reference(ensemble)
    theta, logpdf = pairs.theta[:3], pairs.logpdf[:3]
    np.testing.assert_allclose(tolerated(ensemble, theta, logpdf), 1e-5)
    member = ensemble.members[0]
    last = dataclasses.replace(member.layers[-1], bias=member.layers[-1].bias + 4000.0)
    large = dataclasses.replace(member, layers=(*member.layers[:-1], last))
    ensemble = dataclasses.replace(ensemble, members=(large, *ensemble.members[1:]))
    np.testing.assert_allclose(tolerated(ensemble, theta, logpdf), 4e-5, rtol=0.01)


def test_a_wrong_gradient_is_caught(folder):
    gradient = read_reference(folder)["gradient"]
    spoil(folder, gradient=gradient + 1e-2)
    found = status(verify(folder, trust=True))
    assert found["onnxruntime-gradient"] == found["differences"] == found["saved-model"] == "failed"
    assert found["onnxruntime"] == "passed"


def test_a_wrong_domain_flag_is_caught(folder):
    spoil(folder, in_domain=~read_reference(folder)["in_domain"])
    assert status(verify(folder))["onnxruntime"] == "failed"


@pytest.mark.parametrize("kept", [0, 1], ids=["box-and-ellipsoid", "agreement"])
def test_a_guard_that_refuses_too_little_is_caught(tmp_path, kept):
    """All reference points lie in the domain, as those of published models do: the guard is tried beyond."""
    ensemble, folder = disputed(gaussian_ensemble()), tmp_path / "gaussian-3"
    pairs = reference(ensemble, 200)
    inside = Reference(**{k: v[ensemble.in_domain(pairs.theta)] for k, v in dataclasses.asdict(pairs).items()})
    publish(ensemble, folder, metadata=metadata(), reference=inside, history=[], log=RunLog())
    assert verify(folder).passed
    path = folder / "model.onnx"
    graph = onnx.load(path)
    guard = next(node for node in graph.graph.node if "in_domain" in node.output)
    guard.input[1 - kept] = guard.input[kept]
    path.write_bytes(graph.SerializeToString())
    _write_manifest(folder)
    found = status(verify(folder))
    assert (found["onnxruntime"], found["onnxruntime-gradient"]) == ("failed", "passed")
    assert status(verify_file(path))["onnxruntime"] == "failed"


def test_an_exact_value_that_the_source_does_not_give_is_caught(folder):
    spoil(folder, exact=read_reference(folder)["exact"] + 1e-6)
    assert status(verify(folder))["exact"] == "failed"


def test_the_reference_grants_what_the_rule_grants(folder):
    """1e-5 nats, or of the networks' part of logpdf where that is more; wider tolerances are caught."""
    pairs, ensemble = read_reference(folder), gaussian_ensemble()
    residual = pairs["logpdf"] - ensemble.baseline_logpdf(pairs["theta"])[:, 0]
    np.testing.assert_allclose(pairs["tolerance"], 1e-5 * np.maximum(1.0, np.abs(residual)), rtol=1e-12)
    spoil(folder, tolerance=100 * pairs["tolerance"])
    assert status(verify(folder))["graphs"] == "failed"


def test_folders_from_before_the_tolerances_are_read(folder):
    pairs = read_reference(folder)
    del pairs["tolerance"]
    write_npz(folder / "reference.npz", pairs)
    _write_manifest(folder)
    assert verify(folder).passed


def test_graphs_of_two_models_are_caught(folder, tmp_path):
    other = publish_gaussian(tmp_path / "other", description="Another one.")
    shutil.copyfile(other / "model_gradient.onnx", folder / "model_gradient.onnx")
    _write_manifest(folder)
    assert status(verify(folder))["graphs"] == "failed"


def test_too_few_reference_points(folder):
    spoil(folder, **{name: array[:50] for name, array in read_reference(folder).items()})
    assert status(verify(folder))["reference"] == "failed"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": "a name/with a slash"}, "name"),
        ({"authors": []}, "authors"),
        ({"authors": [{"name": "N", "orcid": "1234"}]}, "orcid"),
        ({"licence": ""}, "licence"),
        ({"data": "imagined"}, "data"),
        ({"accuracy": [{"where": "bulk", "n": 1, "rmse": float("nan"), "baseline_rmse": 1, "max": 1}]}, "JSON"),
        ({"accuracy": [{"where": "bulk", "error": 1}]}, "accuracy"),
        ({"source_fingerprint": "abc"}, "fingerprint"),
        ({"limits": [1]}, "limits"),
    ],
)
def test_metadata_that_cannot_be_published(tmp_path, change, match):
    with pytest.raises(SchemaError, match=match):
        publish_gaussian(tmp_path / "m", **change)
    assert not (tmp_path / "m").exists()


def test_parameters_of_another_model(tmp_path):
    with pytest.raises(ShapeError, match="2 parameters"):
        publish_gaussian(tmp_path / "m", parameters=ParameterSpace.of("a", "b"))


def attempt(folder, given):
    publish(gaussian_ensemble(), folder, metadata=metadata(), reference=given, history={}, log=RunLog())


def test_references_that_cannot_be_published(tmp_path):
    good = reference(gaussian_ensemble())
    cases = [
        (Reference(theta=good.theta[:9], exact=good.exact[:9], logpdf=good.logpdf[:9]), ConfigError),
        (dataclasses.replace(good, exact=good.exact[:-1]), ShapeError),
        (dataclasses.replace(good, exact=np.where(good.exact < -1, -np.inf, good.exact)), ConfigError),
        (dataclasses.replace(good, logpdf=good.logpdf + 1e-3), IntegrityError),
    ]
    for given, error in cases:
        with pytest.raises(error):
            attempt(tmp_path / "m", given)
        assert not (tmp_path / "m").exists()


def test_an_existing_folder_survives(folder, monkeypatch):
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(ArtifactExists):
        publish_gaussian(folder)

    def full_disk(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing, "write_saved_model", full_disk)
    with pytest.raises(SaveFailed, match="No space left"):
        publish(gaussian_ensemble(), folder, metadata=metadata(), reference=reference(gaussian_ensemble()), history={},
                log=RunLog(), overwrite=True)  # fmt: skip
    assert (folder / "manifest.json").read_bytes() == before
    assert [p for p in folder.parent.iterdir() if p != folder and p.is_dir()] == []
    assert verify(folder).passed


def test_fingerprint_names_the_weights_and_the_words(tmp_path):
    a, b = gaussian_ensemble(), random_ensemble(d=3, kinks=0, seed=5)
    prints = {
        metadata().document(a)["fingerprint"],
        metadata().document(b)["fingerprint"],
        metadata(limits=["None."]).document(a)["fingerprint"],
    }
    assert len(prints) == 3
    assert metadata().document(a)["fingerprint"] in prints


def test_below_ten_megabytes(tmp_path):
    """The size of a published toy: 95 parameters, 4 kinks, 5 members of 99-256-256-1."""
    ensemble = random_ensemble(d=95, kinks=4, members=5, widths=(256, 256))
    theta = np.random.default_rng(0).normal(size=(200, 95))
    value = ensemble.members_logpdf(theta).mean(axis=1)

    def write_keras(path):
        from dnnlikelihood.networks.build import ensemble_model

        ensemble_model(ensemble).save(path)

    space = ParameterSpace(tuple(Parameter(name=f"p{i}", role="poi" if i == 0 else "nuisance") for i in range(95)))
    folder = publish(
        ensemble,
        tmp_path / "toy",
        metadata=metadata(parameters=space, recipe=None, prior=Prior({f"p{i}": Normal() for i in range(1, 95)})),
        reference=Reference(theta=theta, exact=value, logpdf=value),
        history={},
        log=RunLog(),
        keras_writer=write_keras,
    )
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    assert sum(sizes.values()) < 9e6, sizes
    report = verify(folder, trust=True)
    assert report.passed, report.rows
    assert "`p1` … `p94`" in (folder / "README.md").read_text("utf-8")


def test_the_card_says_what_counts(original):
    card = (original / "README.md").read_text("utf-8")
    for text in (
        "gaussian-3", "`x0`", "RMSE of the baseline alone", "0.02", "dnnlikelihood.open", "onnxruntime",
        "tensorflow_model_server", "CC-BY-4.0", "Not for use outside", "dnnlik learn gaussian", "arXiv:1911.03305",
        "90 % band",
    ):  # fmt: skip
        assert text in card, text


def test_the_snippets_of_the_card_run(original, monkeypatch):
    import re

    monkeypatch.chdir(original.parent)
    theta = reference(gaussian_ensemble()).theta[:5]
    python, ort = re.findall(r"```python\n(.*?)```", (original / "README.md").read_text("utf-8"), re.DOTALL)
    names = {"theta": theta}
    exec(python, names)
    monkeypatch.chdir(original)
    exec(ort, names)
    assert np.allclose(names["value"], names["logpdf"])
    assert np.allclose(names["half_width"], names["error"])


def test_archives(original):
    files = card_files(read_json(original / "metadata.json"), ["plots/a_plot.png"])
    zenodo = json.loads(files[".zenodo.json"])
    assert zenodo["creators"][0]["name"] == "Gauss, Carl Friedrich"
    assert {r["identifier"] for r in zenodo["related_identifiers"]} == {"arXiv:1911.03305", "10.1000/xyz"}
    resource = json.loads(files["hepdata.json"])["additional_resources"][0]
    assert {key: type(value) for key, value in resource.items()} == {
        "location": str, "description": str, "type": str, "license": dict,
    }, "what HEPData's schema 1.1.1 of additional resources knows"  # fmt: skip
    assert resource["license"] == {"name": "CC-BY-4.0", "url": "https://spdx.org/licenses/CC-BY-4.0.html"}
    assert len(resource["location"]) <= 256
    assert "![a plot](plots/a_plot.png)" in files["README.md"]
    lines = files["CITATION.cff"].splitlines()
    assert lines[0] == "cff-version: 1.2.0"
    assert '    orcid: "https://orcid.org/0000-0000-0000-0000"' in lines
    assert {line.partition(":")[0] for line in lines if not line.startswith(" ")} == {
        "cff-version", "message", "type", "title", "license", "authors", "identifiers",
    }  # fmt: skip


def test_what_all_heads_share_is_said_once(original):
    document = dict(read_json(original / "metadata.json"))
    many = [f"nuisance_{i}" for i in range(40)]
    heads = [
        {"name": name, "data": "asimov", "definition": "of the data", "profiled": many, "offset": "none"}
        for name in ("observed", "expected")
    ]
    document["output"] = {**document["output"], "profiled": many, "offset": "none", "heads": heads}
    card = card_files(document)["README.md"]
    assert "Profiled over: 40 nuisance parameters." in card
    assert card.count("nuisance_17") == 1
    assert "| head | data | what it is |\n" in card
    heads[1] = {**heads[1], "profiled": ["lumi"]}
    card = card_files(document)["README.md"]
    assert "| `expected` | asimov | of the data | lumi |" in card


def test_plots_travel(tmp_path):
    (tmp_path / "loss_curve.png").write_bytes(b"\x89PNG")
    ensemble = gaussian_ensemble()
    folder = publish(ensemble, tmp_path / "m", metadata=metadata(), reference=reference(ensemble), history={},
                     log=RunLog(), plots=[tmp_path / "loss_curve.png"])  # fmt: skip
    assert (folder / "plots" / "loss_curve.png").exists()
    assert "plots/loss_curve.png" in (folder / "README.md").read_text("utf-8")
