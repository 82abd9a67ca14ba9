"""The numbers that come over the wire are those of `dnnlikelihood.open`, in both protocols, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

import dnnlikelihood
from dnnlikelihood.jsonfiles import strict_loads

V1, V2 = "/v1/models/gaussian-3:predict", "/v2/models/gaussian-3/infer"
INSIDE, BEYOND_RANGE, FAR = [0.5, -1.0, 0.2], [-2.5, -1.0, 0.2], [2.9, 30.0, 0.0]


@pytest.fixture(scope="module")
def here(gaussian):
    return dnnlikelihood.open(gaussian, outside="nan", threads=1)


@pytest.fixture(scope="module")
def theta(here):
    points = here.reference()["theta"][:40]
    return points[here.support(points)]


def tensor(theta, datatype="FP64", *, flat=True):
    theta = np.asarray(theta, float)
    data = theta.ravel().tolist() if flat else theta.tolist()
    return {"name": "theta", "shape": list(theta.shape), "datatype": datatype, "data": data}


def arrays(answer):
    return {o["name"]: np.array(o["data"], float).reshape(o["shape"]) for o in answer["outputs"]}


def same(found, expected):
    return np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-12, atol=1e-12)


def test_rows(client, here, theta):
    answer = client.good(V1, {"instances": theta.tolist()})
    same(answer["predictions"], here.logpdf(theta))
    same(answer["error"], here.error(theta))
    assert answer["in_domain"] == here.in_domain(theta).tolist()
    assert answer["model_fingerprint"] == here.fingerprint
    named = client.good(V1, {"signature_name": "logpdf", "instances": [{"theta": row} for row in theta.tolist()]})
    assert named == answer


def test_columns(client, here, theta):
    for inputs in (theta.tolist(), {"theta": theta.tolist()}):
        same(client.good(V1, {"inputs": inputs})["outputs"], here.logpdf(theta))


def test_gradients(client, here, theta):
    value, gradient = here.logpdf_and_grad(theta)
    rows = client.good(V1, {"signature_name": "logpdf_and_gradient", "instances": theta.tolist()})["predictions"]
    same([row["logpdf"] for row in rows], value)
    same([row["gradient"] for row in rows], gradient)
    columns = client.good(V1, {"signature_name": "logpdf_and_gradient", "inputs": theta.tolist()})["outputs"]
    same(columns["gradient"], gradient)


def test_errors_and_info(client, here, theta):
    found = client.good(V1, {"signature_name": "error", "inputs": theta.tolist()})["outputs"]
    same(found["error"], here.error(theta))
    same(found["spread"], here.spread(theta))
    assert found["in_domain"] == here.in_domain(theta).tolist()
    info = client.good(V1, {"signature_name": "info", "inputs": {}})["outputs"]
    assert strict_loads(info)["fingerprint"] == here.fingerprint


@pytest.mark.parametrize("flat", [True, False])
def test_tensors(client, here, theta, flat):
    answer = client.good(V2, {"id": "7", "inputs": [tensor(theta, flat=flat)]})
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "gaussian-3", "1")
    assert answer["parameters"] == {"fingerprint": here.fingerprint, "outside_domain": 0}
    assert [o["name"] for o in answer["outputs"]] == ["logpdf", "error", "in_domain", "spread"]
    same(arrays(answer)["logpdf"], here.logpdf(theta))
    same(arrays(answer)["error"], here.error(theta))


def test_tensors_that_are_asked_for(client, here, theta):
    request = {"inputs": [tensor(theta, "FP32")], "outputs": [{"name": "gradient"}, {"name": "logpdf"}]}
    found = arrays(client.good(V2, request))
    assert list(found) == ["gradient", "logpdf"]
    same(found["gradient"], here.logpdf_and_grad(theta)[1])


def test_outside_the_domain_nothing_is_said(client, here):
    """Null, and why; the plain number only for those who ask."""
    points = [INSIDE, FAR, BEYOND_RANGE]
    answer = client.good(V1, {"signature_name": "logpdf_and_gradient", "instances": points})
    assert answer["in_domain"] == [True, False, True]
    assert [row["logpdf"] is None for row in answer["predictions"]] == [False, True, True]
    assert answer["predictions"][1]["gradient"] == [None] * 3
    assert answer["error"][1] is None
    plain = client.good(V1, {"instances": points, "outside": "value"})
    assert plain["predictions"][2] is None, "-inf: outside the support"
    same(plain["predictions"][1], here.guarded("ignore").logpdf(FAR)[0])
    assert plain["in_domain"] == [True, False, True]
    v2 = client.good(V2, {"inputs": [tensor(points)]})
    assert v2["parameters"]["outside_domain"] == 1
    assert np.isnan(arrays(v2)["logpdf"]).tolist() == [False, True, True]
    v2 = client.good(V2, {"inputs": [tensor(points)], "parameters": {"outside": "value"}})
    assert np.isnan(arrays(v2)["logpdf"]).tolist() == [False, False, True]


def test_numbers_that_overflow_are_null(client):
    answer = client.good(V1, {"instances": [[1e300, 1e300, -1e300], INSIDE], "outside": "value"})
    assert answer["predictions"][0] is None
    assert answer["in_domain"] == [False, True]


def test_no_points_and_many(client, here, theta):
    assert client.good(V1, {"instances": []})["predictions"] == []
    assert arrays(client.good(V2, {"inputs": [tensor(np.zeros((0, 3)))]}))["logpdf"].shape == (0,)
    many = np.resize(theta, (5000, 3))
    same(client.good(V1, {"instances": many.tolist()})["predictions"], here.logpdf(many))


def test_two_models_side_by_side(client, models):
    toy = models[1].likelihood
    pairs = toy.reference()
    answer = client.good("/v1/models/toy_lhc/versions/1:predict", {"instances": pairs["theta"].tolist()})
    assert answer["model_fingerprint"] == toy.fingerprint
    same(answer["predictions"], toy.logpdf(pairs["theta"]))
    np.testing.assert_allclose(answer["predictions"], pairs["logpdf"], rtol=0, atol=1e-5)


def test_profiles(client, here):
    """Of a Gaussian: the parabola of the marginal variance; the second time from memory."""
    path = "/models/gaussian-3/profile?parameter=x1&points=21"
    scan = client.good(path)
    assert scan["status"] == ["converged"] * 21
    x = np.array(scan["values"])
    fall = np.array(scan["logpdf"]) - scan["bestfit"]["logpdf"]
    assert np.max(np.abs(fall + 0.5 * (x - scan["bestfit"]["theta"][1]) ** 2 / 0.8)) < 0.1
    # Profiles are computed on the arrays, with their curvature; other float32 sums than those of the graph.
    np.testing.assert_allclose(scan["logpdf"], here.guarded("-inf").logpdf(scan["theta"]), rtol=0, atol=1e-6)
    assert client.good(path) == scan


def test_a_model_with_heads(tmp_path, monkeypatch):
    """Every output of every head, in both protocols, under the heads' names."""
    from serving import running
    from surrogates import headed_ensemble, metadata

    from dnnlikelihood.export.publish import Reference, publish
    from dnnlikelihood.parameters import ParameterSpace
    from dnnlikelihood.runlog import RunLog
    from dnnlikelihood.server import Limits
    from dnnlikelihood.server.listening import load

    monkeypatch.setattr("dnnlikelihood.export.publish.write_saved_model", lambda *_, **__: None)
    ensemble = headed_ensemble("quadratic")
    theta = ensemble.domain.center + 0.3 * np.random.default_rng(4).normal(size=(120, 5))
    value = ensemble.heads_logpdf(theta).mean(axis=1)
    heads = [{"name": head, "definition": f"The number called {head}."} for head in ensemble.heads]
    space = ParameterSpace.of(*"abcde", poi="a")
    about = metadata(name="heads", parameters=space, recipe=None, heads=heads, accuracy=[], coverage=[])
    pairs = Reference(theta=theta, exact=value, logpdf=value)
    folder = publish(ensemble, tmp_path / "heads", metadata=about, reference=pairs, history={}, log=RunLog())
    here = dnnlikelihood.open(folder, threads=1)
    points = theta[:7]
    expected, slopes = here.heads_logpdf_and_grad(points)
    with running(load([folder], Limits())) as client:
        request = {"signature_name": "logpdf_and_gradient", "instances": points.tolist()}
        answer = client.good("/v1/models/heads:predict", request)
        same([row["logpdf"] for row in answer["predictions"]], expected)
        same([row["gradient"] for row in answer["predictions"]], slopes)
        same(answer["error"], here.error(points))
        described = client.good("/v2/models/heads")
        assert described["parameters"]["heads"] == list(here.heads) == ["head_0", "head_1", "head_2"]
        assert {o["name"]: o["shape"] for o in described["outputs"]} == {
            "logpdf": [-1, 3], "error": [-1, 3], "in_domain": [-1], "spread": [-1, 3], "gradient": [-1, 3, 5],
        }  # fmt: skip
        request = {"inputs": [tensor(points)], "outputs": [{"name": "gradient"}, {"name": "logpdf"}]}
        found = arrays(client.good("/v2/models/heads/infer", request))
        same(found["logpdf"], expected)
        same(found["gradient"], slopes)
        far = client.good("/v1/models/heads:predict", {"instances": [[1e3] * 5]})
        assert far["predictions"] == [[None] * 3]
        assert client.get("/models/heads/profile?parameter=a&head=nobody")[0] == 404


def test_a_model_whose_centre_is_a_hole_begins_elsewhere(tmp_path):
    """The page opens at a point with an answer."""
    from serving import running
    from surrogates import gaussian_ensemble, metadata, reference

    from dnnlikelihood.export.publish import publish
    from dnnlikelihood.runlog import RunLog
    from dnnlikelihood.server import Limits
    from dnnlikelihood.server.listening import load

    ensemble = gaussian_ensemble()
    ((output,), centre) = ensemble.outputs, ensemble.domain.center[None]
    limits = 0.99 * ensemble.members_logpdf(centre).std(axis=1)
    holed = replace(ensemble, outputs=(replace(output, calibration=replace(output.calibration, limits=limits)),))
    publish(holed, tmp_path / "m", metadata=metadata(), reference=reference(holed), history={}, log=RunLog())
    with running(load([tmp_path / "m"], Limits())) as client:
        start = client.good("/v2/models/gaussian-3")["parameters"]["start"]
        answer = client.good("/v1/models/gaussian-3:predict", {"instances": [start, centre[0].tolist()]})
    assert answer["in_domain"] == [True, False]
