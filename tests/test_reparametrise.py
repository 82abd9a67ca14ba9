"""A DnnLik in new parameters: a linear layer in front, exact, exported with the rest."""

import numpy as np
import pytest
from surrogates import headed_ensemble

import dnnlikelihood
from dnnlikelihood import DnnLik, Normal, ParameterSpace, Prior
from dnnlikelihood.composition import Composite
from dnnlikelihood.dnnlik import DnnLikConfig
from dnnlikelihood.errors import ShapeError
from dnnlikelihood.export.verify import verify
from dnnlikelihood.parameters import Parameter


def surrogate(d=16, prior=None, bounds=(-np.inf, np.inf), **form):
    ensemble = headed_ensemble("counting", d=d, **form)
    space = ParameterSpace(tuple(Parameter(name=f"x{i}", role="poi", bounds=bounds) for i in range(d)))
    return DnnLik(ensemble, space, prior or Prior({}), "profiled", DnnLikConfig())


def inside(model, n, seed=3):
    """Points of the domain, and some outside."""
    domain = model.ensemble.domain
    return domain.center + 0.3 * np.random.default_rng(seed).normal(size=(n, len(domain.center)))


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def ctw_ctz(d=16):
    """theta = M phi with phi = (x0 ... x8, ctW, ctZ, x11 ...), ctW = sqrt(3) x9 + x10 and ctZ = -2 x9."""
    forward = np.eye(d)
    forward[9, 9], forward[9, 10] = np.sqrt(3.0), 1.0
    forward[10, 9], forward[10, 10] = -2.0, 0.0
    names = [f"x{i}" for i in range(d)]
    names[9:11] = ["ctW", "ctZ"]
    return np.linalg.inv(forward), names


@pytest.mark.parametrize("case", ["rotation", "ctW and ctZ"])
def test_sixteen_coordinates_to_float_precision(case):
    model = surrogate()
    matrix, names = (rotation(16), [f"y{i}" for i in range(16)]) if case == "rotation" else ctw_ctz()
    turned, theta = model.reparametrise(matrix, names), inside(model, 200)
    phi = np.linalg.solve(matrix, theta.T).T
    assert isinstance(turned, DnnLik)
    assert turned.parameters.names == tuple(names)
    assert (turned.kind, turned.heads) == ("profiled", model.heads)
    np.testing.assert_array_equal(turned.in_domain(phi), model.in_domain(theta))
    assert turned.in_domain(phi).any()
    value, gradient = model.heads_logpdf_and_grad(theta)
    new_value, new_gradient = turned.heads_logpdf_and_grad(phi)
    scale = np.maximum(1.0, np.abs(value[np.isfinite(value)]).max())
    np.testing.assert_allclose(new_value, value, atol=1e-5 * scale)
    np.testing.assert_allclose(new_gradient, gradient @ matrix, atol=1e-5 * max(1.0, np.abs(gradient).max()))
    exact = turned.ensemble.heads_logpdf(phi, np.float64)
    np.testing.assert_allclose(exact, model.ensemble.heads_logpdf(theta, np.float64), atol=1e-10 * scale)
    general = Composite.reparametrise(model.select(model.heads[0]), matrix, names)
    np.testing.assert_allclose(general.logpdf(phi), turned.logpdf(phi), atol=1e-5 * scale)
    if case != "rotation":
        np.testing.assert_allclose(phi[:, 9], np.sqrt(3.0) * theta[:, 9] + theta[:, 10])
        np.testing.assert_allclose(phi[:, 10], -2.0 * theta[:, 9])
        assert turned.parameters["x0"] == model.parameters["x0"]


def test_twice_is_the_product_and_back_is_where_it_began():
    model, first, second = surrogate(5), rotation(5, 1), rotation(5, 2)
    names = [f"y{i}" for i in range(5)]
    theta = inside(model, 50)
    twice = model.reparametrise(first, names).reparametrise(second, names)
    np.testing.assert_allclose(twice.ensemble.matrix, first @ second)
    back = twice.reparametrise(np.linalg.inv(first @ second), names)
    np.testing.assert_allclose(back.heads_logpdf(theta), model.heads_logpdf(theta), atol=1e-4)


def test_the_hull_holds_the_domain_and_its_ellipsoid_is_the_same():
    model = surrogate(5)
    for columns in (5, 3):
        matrix = rotation(5, 3)[:, :columns]
        turned = model.reparametrise(matrix, [f"y{i}" for i in range(columns)])
        hull = turned.ensemble.hull
        phi = hull.center + (hull.high - hull.low) * np.random.default_rng(0).uniform(-0.6, 0.6, (20_000, columns))
        theta = phi @ matrix.T
        ellipsoid = model.ensemble.domain.distance(theta) <= model.ensemble.domain.radius
        np.testing.assert_array_equal(hull.distance(phi) <= hull.radius, ellipsoid)
        held = turned.in_domain(phi)
        assert held.any()
        assert hull(phi)[held].all()


def test_bounds_of_old_parameters_stay_where_they_are():
    model = surrogate(5, bounds=(-0.2, 0.3))
    matrix = rotation(5, 4)
    turned = model.reparametrise(matrix, [f"y{i}" for i in range(5)])
    phi = inside(model, 500) @ matrix
    beyond = (np.abs(phi @ matrix.T - 0.05) > 0.25).any(axis=1)
    assert beyond.any()
    assert np.isneginf(turned.logpdf(phi)[beyond]).all()


def test_priors_that_no_file_can_tell_stay_in_memory():
    """A normal prior of one old parameter is a correlated one of the new."""
    model = surrogate(5, prior=Prior({"x1": Normal(0.0, 1.0)}))
    names = [f"y{i}" for i in range(5)]
    assert isinstance(model.reparametrise(rotation(5), names), Composite)
    swapped = np.eye(5)
    swapped[0, 3] = 0.5
    kept = model.reparametrise(swapped, ["a", "x1", "c", "d", "e"])
    assert isinstance(kept, DnnLik)
    assert kept.prior.terms == {"x1": Normal(0.0, 1.0)}
    with pytest.raises(ShapeError, match="rank deficient"):
        model.reparametrise(np.ones((5, 5)), names)


def test_the_exported_files_take_the_new_parameters(tmp_path):
    """Random networks, so that the exact value is that of the networks; every runtime agrees with it."""
    model = surrogate(5, n_heads=2, anchored=False)
    matrix = rotation(5, 5)
    turned = model.reparametrise(matrix, [f"y{i}" for i in range(5)])
    phi = inside(model, 400) @ matrix
    phi = phi[turned.in_domain(phi)][:150]
    exact = turned.ensemble.heads_logpdf(phi, np.float64).mean(axis=1)
    folder = turned.export(
        tmp_path / "turned",
        name="turned",
        description="x",
        definition="x",
        command="x",
        points=(phi, exact),
        heads=[{"name": head, "definition": "x"} for head in model.heads],
    )
    report = verify(folder, trust=True)
    assert report.passed, [(r.check, r.detail) for r in report.rows if r.status == "failed"]
    assert not {r.check for r in report.rows if r.status == "skipped"} - {"exact"}
    published = dnnlikelihood.open(folder, outside="-inf")
    np.testing.assert_allclose(published.heads_logpdf(phi), turned.heads_logpdf(phi), atol=1e-3)
    wide = 3 * phi
    np.testing.assert_array_equal(published.in_domain(wide), turned.in_domain(wide))
    again = DnnLik.load(turned.save(tmp_path / "dnnlik"))
    np.testing.assert_array_equal(again.heads_logpdf(phi), turned.heads_logpdf(phi))
