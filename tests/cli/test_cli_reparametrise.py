"""`dnnlik reparametrise`: new coordinates of a trained surrogate, published with the rest."""

import json

import numpy as np

import dnnlikelihood
from dnnlikelihood import Data, DnnLik

FORMULAS = {"x0": {"u": 1.5, "v": -0.5}, "x1": {"u": 0.5, "v": 2.0}}
MATRIX = np.array([[1.5, -0.5], [0.5, 2.0]])


def test_new_coordinates_are_saved_and_published(run, chain, tmp_path):
    (tmp_path / "new.json").write_text(json.dumps(FORMULAS))
    arguments = (chain / "dnnlik", tmp_path / "new.json", "--data", chain / "data", "--output", tmp_path / "turned")
    found = json.loads(run("reparametrise", *arguments, "--json").stdout)
    assert found["parameters"] == ["u", "v"]
    old, new = DnnLik.load(chain / "dnnlik"), DnnLik.load(tmp_path / "turned" / "dnnlik")
    theta = Data.load(chain / "data").theta("test")[:50]
    phi = np.linalg.solve(MATRIX, theta.T).T
    inside = old.in_domain(theta)
    np.testing.assert_allclose(new.logpdf(phi), old.logpdf(theta), atol=1e-5)
    published = dnnlikelihood.open(tmp_path / "turned" / "model")
    assert published.parameters.names == ("u", "v")
    np.testing.assert_allclose(published.logpdf(phi[inside]), old.logpdf(theta[inside]), atol=1e-5)


def test_bad_formulas_are_refused(run, chain, tmp_path):
    for number, (formulas, message) in enumerate(
        [
            ({"nobody": {"u": 1.0}}, "no parameter 'nobody'"),
            ({"x0": {}}, "finite number"),
            ({"x0": {"u": "much"}}, "finite number"),
            ({"x0": {"u": 1.0}, "x1": {"u": 1.0, "v": 0.0}}, "rank deficient"),
            ([], "formulas are"),
        ]
    ):
        path, out = tmp_path / f"{number}.json", tmp_path / f"out{number}"
        path.write_text(json.dumps(formulas))
        assert message in run("reparametrise", chain / "dnnlik", path, "--output", out, code=2).output
        assert not out.exists()
