"""The toy search against its published numbers and against a second implementation, written from the formulas."""

import json
from importlib import resources

import numpy as np
import pytest
from contracts import toy
from scipy.special import gammaln

from dnnlikelihood import Likelihood
from dnnlikelihood.errors import ConfigError

GLOBALS = ("ISR", "JES", "LV", "CR")


def table(package, name):
    return json.loads(resources.files(package).joinpath(name).read_text("utf-8"))


@pytest.fixture(scope="module")
def reference():
    return table("dnnlikelihood.reference", "toy_lhc.json")


def shape_factor(d, up, down):
    """P(d) of arXiv:1809.05548, piece by piece."""
    if d > 1:
        return ((3 * up + down) / 2 - 2) * d - (up + down) / 2 + 2
    if d < -1:
        return (2 - (3 * down + up) / 2) * d - (up + down) / 2 + 2
    return d * (d - 1) / 2 * down - (d - 1) * (d + 1) + d * (d + 1) / 2 * up


def plain_logprob(theta, mu_range=5.0):
    """One point at a time, bin by bin, in plain Python and NumPy."""
    t = table("dnnlikelihood.sources", "toy_lhc.json")
    mu, local, d = theta[0], theta[1:91], dict(zip(GLOBALS, theta[91:], strict=True))
    if not -1 <= mu <= 5:
        return -np.inf
    total = 0.0
    for c in range(3):
        bins = range(30 * c, 30 * (c + 1))
        yields = t["background_category_totals"][c]
        for k in GLOBALS:
            up, down = t["norm"][k]["up"][c], t["norm"][k]["down"][c]
            yields *= (1 + up) ** d[k] if d[k] >= 0 else (1 + down) ** (-d[k])
        shapes = {}
        for i in bins:
            shapes[i] = t["background"][i] / t["background_category_totals"][c]
            for k in ("ISR", "JES"):
                shapes[i] *= shape_factor(d[k], t["shape"][k]["up"][i], t["shape"][k]["down"][i])
        norm = sum(shapes.values())
        for i in bins:
            nu = mu * t["signal"][i] + yields * shapes[i] / norm * (1 + t["eps_mc_stat"][i]) ** local[i]
            if nu < 0:
                return -np.inf
            total += t["observed"][i] * np.log(nu) - nu - gammaln(t["observed"][i] + 1)
    return total - 0.5 * np.sum(theta[1:] ** 2) - 47 * np.log(2 * np.pi) - np.log(mu_range)


def test_spot_checks(reference):
    spot = reference["spot_checks"]["theta=0"]
    zero = np.zeros(95)
    assert toy().logpdf(zero)[0] == pytest.approx(spot["logprob"], abs=1e-10)
    prior = toy().prior.logpdf(toy().parameters, zero[None])[0]
    assert prior == pytest.approx(spot["logprior"], abs=1e-10)
    assert toy().logpdf(zero)[0] - prior == pytest.approx(spot["loglik"], abs=1e-10)
    normalised = toy("normalised").logpdf(zero)[0]
    assert normalised == pytest.approx(spot["logprob"] + np.log(5 / 6), abs=1e-10)


def test_global_maximum(reference):
    best = reference["global_max"]
    value, grad = toy().logpdf_and_grad(np.array(best["theta_hat"]))
    assert value[0] == pytest.approx(best["logprob"], abs=1e-9)
    assert np.abs(grad).max() < 1e-4


def test_a_second_implementation_agrees():
    rng = np.random.default_rng(95)
    theta = np.column_stack([rng.uniform(-1.2, 5.2, 500), rng.normal(size=(500, 90)), 2 * rng.normal(size=(500, 4))])
    theta[:100, 0] = rng.uniform(-1.0, -0.5, 100)
    theta[:20, 91:] = 0.0
    expected = np.array([plain_logprob(row) for row in theta])
    value = toy().logpdf(theta)
    assert (np.abs(theta[:, 91]) > 1).sum() > 100
    possible = np.isfinite(expected)
    assert (~possible & (np.abs(theta[:, 0] - 2) <= 3)).sum() > 20  # negative counts, not only mu out of range
    assert possible.sum() > 300
    np.testing.assert_array_equal(np.isfinite(value), possible)
    np.testing.assert_allclose(
        value[possible], expected[possible], rtol=0, atol=1e-10 * np.abs(expected[possible]).max()
    )
    normalised = np.array([plain_logprob(row, 6.0) for row in theta[:50]])
    ours, inside = toy("normalised").logpdf(theta[:50]), np.isfinite(normalised)
    np.testing.assert_allclose(ours[inside], normalised[inside], rtol=1e-12)


def test_the_density_is_continuous_and_bent_at_the_kinks_alone():
    space = toy().parameters
    kinks = dict(space.kinks)
    assert {space.names[i] for i in kinks} == {f"delta_{k}" for k in GLOBALS}
    for i in (0, 1, 50, 90, *kinks):
        beside = np.full((2, 95), 0.4)
        beside[:, i] = -1e-9, 1e-9
        value, grad = toy().logpdf_and_grad(beside)
        assert value[0] == pytest.approx(value[1], abs=1e-6)
        assert (abs(grad[0, i] - grad[1, i]) > 1e-5) == (i in kinks)


def test_pseudo_data_have_the_expected_counts():
    counting = toy().source.counting
    nu = np.asarray(counting.expected(np.zeros((1, 95))))[0]
    t = table("dnnlikelihood.sources", "toy_lhc.json")
    assert np.add.reduceat(nu, [0, 30, 60]) == pytest.approx(t["background_category_totals"])
    assert counting.observed.sum() == 1335


def test_the_recipe_is_saved(tmp_path):
    toy("normalised").save(tmp_path / "toy")
    loaded = Likelihood.load(tmp_path / "toy")
    assert loaded.fingerprint == toy("normalised").fingerprint != toy().fingerprint
    assert loaded.logpdf(np.zeros(95)) == toy("normalised").logpdf(np.zeros(95))


def test_unknown_prior():
    with pytest.raises(ConfigError, match="neither 'original' nor 'normalised'"):
        Likelihood.from_source("toy_lhc", prior="flat")
