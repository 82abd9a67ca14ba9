"""Effective-theory fits: derivatives, closed forms, files of any order, a search with double minima, bad input."""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import poisson

from dnnlikelihood.errors import ConfigError, LikelihoodError, MissingArtifact, ParameterError, SchemaError, ShapeError
from dnnlikelihood.likelihood import Likelihood
from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sources.eft_counts import EftCounts
from dnnlikelihood.sources.eft_generated import generated
from dnnlikelihood.sources.eft_json import (
    counts_from_json,
    counts_to_json,
    gaussian_from_json,
    gaussian_to_json,
    read_eft,
)
from dnnlikelihood.statistics.counting import log_likelihood_at, maximise_nuisances
from dnnlikelihood.statistics.maximise import maximise

SHARED = os.environ.get("DNNLIKELIHOOD_DATA")
needs_data = pytest.mark.skipif(
    SHARED is None, reason="needs eft/top16_*.json and eft/smefit_top25.json; set DNNLIKELIHOOD_DATA to their folder"
)


def small(seed=0, nuisances=7):
    """A generated search cut down to three coefficients and a few bins."""
    model = generated(seed)
    keep, some = [0, 2, 3], slice(16, 26)
    columns = np.array([0, *(1 + i for i in keep)])
    return replace(
        model,
        coefficients=tuple(model.coefficients[i] for i in keep),
        low=model.low[keep],
        high=model.high[keep],
        bins=model.bins[some],
        observed=model.observed[some],
        rate=model.rate[some],
        structure=model.structure[some][:, :, columns[:, None], columns],
        nuisances=model.nuisances[-nuisances - 14 : -14],
        up=model.up[-nuisances - 14 : -14, some],
        down=model.down[-nuisances - 14 : -14, some],
    )


def points(model, rng, n=30):
    c = rng.uniform(model.low, model.high, (n, len(model.low)))
    return c, rng.normal(size=(n, len(model.nuisances)))


def plain_yields(model, c, t):
    """The formula of the module, one point at a time, with loops."""
    x, out = np.concatenate([[1.0], c]), np.zeros(len(model.bins))
    for b in range(len(model.bins)):
        for p, name in enumerate(model.processes):
            q = x @ model.structure[b, model.signals.index(name)] @ x if name in model.signals else 1.0
            a, d = 0.5 * (model.up + model.down)[:, b, p], 0.5 * (model.up - model.down)[:, b, p]
            out[b] += model.rate[b, p] * q * np.exp((t * a + (np.sqrt(t**2 + 0.09) - 0.3) * d).sum())
    return out


def test_yields_are_the_formula(rng):
    model = small()
    counts = EftCounts(model)
    c, t = points(model, rng, 4)
    expected = counts.expected(counts.hold(c), t)
    np.testing.assert_allclose(expected, [plain_yields(model, *row) for row in zip(c, t, strict=True)], rtol=1e-12)
    traced = Likelihood.from_source("eft", document=model).source.counting.expected(np.concatenate([c, t], axis=1))
    np.testing.assert_allclose(traced, expected, rtol=1e-12)


def test_asymmetric_effects_meet_their_ends(rng):
    model = small()
    one = replace(model, up=np.zeros_like(model.up), down=np.zeros_like(model.down))
    one.up[2], one.down[2] = 0.3, 0.1
    far = np.zeros((2, len(model.nuisances)))
    far[:, 2] = 100.0, -100.0
    counts = EftCounts(one)
    ratio = counts.expected(counts.hold(np.zeros((2, 3))), far) / one.rate.sum(axis=1)
    np.testing.assert_allclose(np.log(ratio[0]) / 100, 0.3 - 0.3 * 0.1 / 100, atol=1e-5)
    np.testing.assert_allclose(np.log(ratio[1]) / -100, 0.1 + 0.3 * 0.1 / 100, atol=1e-5)


def test_derivatives_are_those_of_the_yields(rng):
    model = generated(4)
    counts = EftCounts(model)
    c, t = points(model, rng, 3)
    held, weights, h = counts.hold(c), rng.normal(size=(3, 40)), 1e-5
    by_t, by_c = counts.jacobian(held, t)[1], counts.inputs_jacobian(c, t)
    bent, (both, mixed) = counts.curvature(held, t, weights), counts.inputs_curvature(c, t, weights)

    def sum_of(jacobian):
        return np.einsum("nb,nbk->nk", weights, jacobian)

    for k in (0, 20, 30, 59):
        d = h * (np.arange(60) == k)
        up, down = counts.expected(held, t + d), counts.expected(held, t - d)
        np.testing.assert_allclose(by_t[:, :, k], (up - down) / (2 * h), rtol=1e-5, atol=1e-5)
        up, down = (sum_of(counts.jacobian(held, t + s * d)[1]) for s in (1, -1))
        np.testing.assert_allclose(bent[:, k], (up - down) / (2 * h), rtol=1e-4, atol=1e-3)
        up, down = (sum_of(counts.inputs_jacobian(c, t + s * d)) for s in (1, -1))
        np.testing.assert_allclose(mixed[:, :, k], (up - down) / (2 * h), rtol=1e-4, atol=1e-3)
    for i in (0, 4, 15):
        d = h * (np.arange(16) == i)
        up, down = (counts.expected(counts.hold(c + s * d), t) for s in (1, -1))
        np.testing.assert_allclose(by_c[:, :, i], (up - down) / (2 * h), rtol=1e-5, atol=1e-4)
        up, down = (sum_of(counts.inputs_jacobian(c + s * d, t)) for s in (1, -1))
        np.testing.assert_allclose(both[:, i], (up - down) / (2 * h), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kept", [3, 1, 0])
def test_experiments_of_symmetric_effects_or_none(rng, kept):
    """Most fits have no asymmetric effect; one without nuisances is a plain Poisson likelihood."""
    model = small()
    model = replace(model, nuisances=model.nuisances[:kept], up=model.up[:kept], down=model.up[:kept])
    profiled, c = ProfiledLikelihood.from_eft(model), 0.5 * points(model, rng, 3)[0]
    value, _, hess = profiled.logpdf_grad_hess(c)
    for i in range(3):
        step = 1e-3 * (model.high - model.low) * (np.arange(3) == i)
        up, down = (profiled.logpdf_and_grad(c + s * step)[1] for s in (1, -1))
        np.testing.assert_allclose(hess[:, i], (up - down) / (2 * step[i]), rtol=2e-3, atol=2e-4)
    if not kept:
        expected = np.array([plain_yields(model, row, np.zeros(0)) for row in c])
        np.testing.assert_allclose(value, poisson.logpmf(model.observed, expected).sum(axis=1), rtol=1e-12)


def test_the_profiled_likelihood_is_the_maximum_of_the_full_one(rng):
    model = small()
    full, profiled = Likelihood.from_source("eft", document=model), ProfiledLikelihood.from_eft(model)
    c = points(model, rng, 5)[0]
    fit = profiled.fit(c)
    at = np.concatenate([c, fit.nu[:, 0]], axis=1)
    value, grad = full.logpdf_and_grad(at)
    np.testing.assert_allclose(value, profiled.logpdf(c), atol=1e-9)
    np.testing.assert_allclose(grad[:, 3:], 0, atol=1e-4)
    np.testing.assert_allclose(grad[:, :3], fit.gradient[:, 0], atol=1e-5)
    moved = at.copy()
    moved[:, 3:] += 0.05 * rng.normal(size=(5, 7))
    assert (full.logpdf(moved) < value).all()
    assert profiled.parameters.pois == model.coefficients
    np.testing.assert_array_equal(fit.pull[:, 0], fit.nu[:, 0])


def test_hessians_of_the_profiled_likelihood(rng):
    profiled = ProfiledLikelihood.from_eft(small())
    c = 0.5 * points(small(), rng, 4)[0]
    value, grad, hess = profiled.logpdf_grad_hess(c)
    d = 1e-3 * (profiled.parameters.upper - profiled.parameters.lower)
    for i in range(3):
        step = d * (np.arange(3) == i)
        up, down = (profiled.logpdf_and_grad(c + s * step)[1] for s in (1, -1))
        np.testing.assert_allclose(hess[:, i], (up - down) / (2 * d[i]), rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(value, profiled.logpdf(c), atol=1e-9)
    assert grad.shape == (4, 3)


def test_the_generated_search_has_double_minima():
    profiled = ProfiledLikelihood.from_eft()
    space = profiled.parameters
    for name in ("ctp", "cpQM", "cpQ3", "cpt", "ctG"):
        i = space.index(name)
        scan = np.zeros((81, 16))
        scan[:, i] = np.linspace(space.lower[i], space.upper[i], 81)
        nll = -profiled.logpdf(scan)
        inner = 1 + np.flatnonzero((nll[1:-1] < nll[:-2]) & (nll[1:-1] < nll[2:]))
        assert len(inner) == 2, name
        assert np.ptp(nll[inner]) < 2.0
        assert nll[inner[0] : inner[1]].max() > nll[inner].max() + 0.3


def test_every_fit_is_counted(rng):
    profiled = ProfiledLikelihood.from_eft(small())
    c = 0.5 * points(small(), rng, 5)[0]
    assert profiled.support(c).all()
    assert not profiled.support(100 * np.abs(c)).any()
    assert profiled.n_fits == 0, "where there is something to fit is known without a fit"
    profiled.logpdf_and_grad(c)
    profiled.logpdf_grad_hess(c[:2])
    profiled.label(np.concatenate([c[:3], 100 * np.abs(c[3:])]))
    assert profiled.n_fits == 5 + 2 + 3


def test_a_seed_is_a_recipe(tmp_path):
    one, again, other = (ProfiledLikelihood.from_eft(seed=s) for s in (5, 5, 6))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    one.save(tmp_path / "one")
    c = np.full((1, 16), 0.1)
    assert ProfiledLikelihood.load(tmp_path / "one").logpdf(c) == one.logpdf(c) != other.logpdf(c)
    full = Likelihood.from_source("eft", seed=5)
    full.save(tmp_path / "full")
    assert Likelihood.load(tmp_path / "full").fingerprint == full.fingerprint
    model = generated(5)
    for truth in (model.observed, model.rate):
        assert (truth >= 0).all()
    assert len(model.nuisances) == 60


def test_files_hold_everything_in_any_order(tmp_path, rng):
    model = small()
    document = counts_to_json(model)
    back = counts_from_json(document)
    c, t = points(model, rng, 3)
    expected = EftCounts(model).expected(EftCounts(model).hold(c), t)
    order = [2, 0, 1]
    for key in ("coefficients", "processes", "nuisances"):
        document[key] = document[key][::-1] if key != "coefficients" else [document[key][i] for i in order]
    (tmp_path / "fit.json").write_text(json.dumps(document))
    shuffled = read_eft(tmp_path / "fit.json")
    assert shuffled.coefficients == tuple(model.coefficients[i] for i in order)
    for other, columns in ((back, [0, 1, 2]), (shuffled, order)):
        counts = EftCounts(other)
        nuisances = [model.nuisances.index(name) for name in other.nuisances]
        found = counts.expected(counts.hold(c[:, columns]), t[:, nuisances])
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def change(document, *path, value):
    inner = document = copy.deepcopy(document)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


def test_bad_counts_are_refused():
    good = counts_to_json(small())
    signal = next(i for i, p in enumerate(good["processes"]) if "structure" in p)
    upper = good["processes"][signal]["structure"]["upper"]
    at = ("processes", signal, "structure")
    not_positive = copy.deepcopy(upper)
    not_positive[3][0], not_positive[3][1] = 1.0, 50.0
    for error, match, document in (
        (ShapeError, "bin 3", change(good, *at, "upper", 3, value=upper[3][:-1])),
        (ShapeError, "bins", change(good, *at, "upper", value=upper[:-1])),
        (LikelihoodError, "positive semi-definite", change(good, *at, "upper", value=not_positive)),
        (ParameterError, "cHW", change(good, *at, "coefficients", 0, value="cHW")),
        (ShapeError, "rate", change(good, "processes", 0, "rate", value=[1.0])),
        (LikelihoodError, "rates", change(good, "processes", 0, "rate", 2, value=-1.0)),
        (LikelihoodError, "observed", change(good, "bins", 2, "observed", value=-4)),
        (ParameterError, "ctW", change(good, "coefficients", 1, "name", value="ctW")),
        (ParameterError, "low < high", change(good, "coefficients", 0, "low", value=99.0)),
        (ParameterError, "nobody", change(good, "nuisances", 0, "effects", value={"nobody": {"up": [0.1] * 10}})),
        (SchemaError, "extra", good | {"extra": 1}),
        (SchemaError, "upgrade", good | {"schema": "eft_counts/2"}),
    ):
        with pytest.raises(error, match=match):
            counts_from_json(document)
    model = small()
    others = np.arange(4) != 2
    alone = model.structure * others * others[:, None]
    with pytest.raises(ParameterError, match=rf"no yield depends on.*{model.coefficients[1]}.*leave"):
        replace(model, structure=alone)
    with pytest.raises(LikelihoodError, match="nothing is expected"):
        replace(model, rate=model.rate * (np.arange(10) != 4)[:, None])


def test_a_yield_that_turns_negative_inside_the_box_is_refused_by_name():
    model = small()
    structure = model.structure.copy()
    slope = 2.0 / model.high[1]
    structure[4, 0] = 0.0
    structure[4, 0, 0] = structure[4, 0, :, 0] = [1.0, 0.0, -slope, 0.0]
    at = np.array([1.0, 0.0, model.high[1], 0.0])
    assert at @ structure[4, 0] @ at < 0 < at @ model.structure[4, 0] @ at
    with pytest.raises(LikelihoodError, match=f"{model.signals[0]}.*{model.bins[4]}.*negative for"):
        replace(model, structure=structure)


def test_boxes_and_seeds_are_checked(tmp_path, rng):
    (tmp_path / "fit.json").write_text(json.dumps(counts_to_json(small())))
    (tmp_path / "measurements.json").write_text(json.dumps(gaussian_document(rng)))
    for file, name in (("fit.json", "ctp"), ("measurements.json", "b")):
        with pytest.raises(ParameterError, match="cHW"):
            read_eft(tmp_path / file, {"cHW": (-1, 1)})
        with pytest.raises(ParameterError, match="low < high"):
            read_eft(tmp_path / file, {name: (1, -1)})
        before, after = read_eft(tmp_path / file), read_eft(tmp_path / file, {name: (-0.5, 1)})
        assert (after.low[1], after.high[1]) == (-0.5, 1.0)
        np.testing.assert_array_equal(after.low[[0, 2]], before.low[[0, 2]])
    with pytest.raises(ConfigError, match="seed"):
        ProfiledLikelihood.from_eft(small(), seed=3)
    with pytest.raises(MissingArtifact):
        read_eft(tmp_path / "nothing.json")


def gaussian_document(rng, n=9):
    names = ["a", "b", "c"]
    root = rng.normal(size=(n, n))
    pairs = ["a*a", "b*a", "c*b", "c*c"]
    return {
        "schema": "eft_gaussian/1",
        "name": "measurements",
        "coefficients": [{"name": name, "low": -2.0, "high": 3.0} for name in names],
        "data": rng.normal(size=n).tolist(),
        "covariance": (root @ root.T + np.eye(n)).tolist(),
        "standard_model": rng.normal(size=n).tolist(),
        "linear": {name: rng.normal(size=n).tolist() for name in names},
        "quadratic": {pair: rng.normal(size=n).tolist() for pair in pairs},
    }


def test_gaussian_is_half_of_chi_squared(rng):
    document = gaussian_document(rng)
    c = rng.uniform(-2, 3, (6, 3))
    likelihood = Likelihood.from_source("eft_gaussian", document=document)
    column = {name: c[:, i] for i, name in enumerate("abc")}
    t = np.array(document["standard_model"]) + sum(np.outer(column[k], v) for k, v in document["linear"].items())
    t = t + sum(np.outer(column[k[0]] * column[k[2]], v) for k, v in document["quadratic"].items())
    r = np.array(document["data"]) - t
    chi2 = np.einsum("ni,ij,nj->n", r, np.linalg.inv(document["covariance"]), r)
    np.testing.assert_allclose(likelihood.logpdf(c), -0.5 * chi2, rtol=1e-9)
    again = gaussian_from_json(gaussian_to_json(gaussian_from_json(document)))
    np.testing.assert_allclose(again.table, gaussian_from_json(document).table, rtol=1e-10, atol=1e-12)
    swapped = document | {"coefficients": document["coefficients"][::-1]}
    np.testing.assert_allclose(
        Likelihood.from_source("eft_gaussian", document=swapped).logpdf(c[:, ::-1]), -0.5 * chi2, rtol=1e-9
    )


def test_bad_measurements_are_refused(rng):
    good = gaussian_document(rng)
    for error, match, document in (
        (ShapeError, "linear", change(good, "linear", "a", value=[1.0])),
        (ParameterError, "'d'", change(good, "linear", "d", value=[1.0] * 9)),
        (ParameterError, "two coefficients", change(good, "quadratic", "a*b*c", value=[1.0] * 9)),
        (LikelihoodError, "symmetric", change(good, "covariance", 0, 1, value=77.0)),
        (LikelihoodError, "positive definite", change(good, "covariance", 0, 0, value=-1.0)),
        (SchemaError, "covariance", {k: v for k, v in good.items() if k != "covariance"}),
    ):
        with pytest.raises(error, match=match):
            gaussian_from_json(document)


@pytest.fixture(scope="module")
def reference():
    return json.loads((Path(SHARED) / "eft" / "top16_reference.json").read_text())


@pytest.fixture(scope="module")
def top16(reference):
    model = read_eft(Path(SHARED) / "eft" / "top16_semireal.json", reference["box"])
    profiled = ProfiledLikelihood.from_eft(model)
    c = np.zeros((1, 16))
    fit = profiled.fit(c)
    profiled.saturated = float(fit.value[0, 0] - log_likelihood_at(profiled.source.model, c, fit.nu[:, 0])[0])
    return profiled


@needs_data
def test_top16_spot_checks(top16, reference):
    assert list(top16.parameters.names) == reference["wc_order"]
    spots = reference["spot_checks"]
    value, grad = top16.logpdf_and_grad([s["c"] for s in spots])
    np.testing.assert_allclose(top16.saturated - value, [s["nll"] for s in spots], atol=1e-6)
    np.testing.assert_allclose(-grad, [s["gradient"] for s in spots], atol=1e-5)


@needs_data
def test_top16_minima(top16, reference, rng):
    low, high = top16.parameters.lower, top16.parameters.upper
    starts = rng.uniform(0.7 * low, 0.7 * high, (24, 16))
    fit = maximise(lambda theta, rows: top16.logpdf_grad_hess(theta), starts, low, high)
    assert (fit.status == "converged").mean() > 0.9
    nll = top16.saturated - fit.value
    for known in reference["minima"]:
        assert np.abs(nll - known["nll"]).min() < 2e-6
    assert nll.min() > reference["minima"][0]["nll"] - 1e-5


@needs_data
def test_top16_maxima_beyond_a_cusp_are_found(top16):
    rng = np.random.default_rng(6)
    low, high, model = top16.parameters.lower, top16.parameters.upper, top16.source.model
    c = rng.uniform(0, 1, (8000, 1)) * rng.uniform(low, high, (8000, 16))
    c = c[[1775, 2535, 4269, 7612, *range(60)]]
    one = maximise_nuisances(model, c, gradient=False).value
    best = one.copy()
    for _ in range(6):
        best = np.maximum(best, maximise_nuisances(model, c, start=rng.normal(size=(64, 77)), gradient=False).value)
    assert (best[:4] > one[:4] + 0.01).all(), "these four have a second, higher maximum"
    assert (top16.logpdf(c) - top16.saturated > best - 1e-8).all()


@needs_data
def test_top16_frozen_curves(top16, reference):
    curves, space = reference["frozen"], top16.parameters
    wide = read_eft(Path(SHARED) / "eft" / "top16_semireal.json", dict.fromkeys(space.names, (-80.0, 80.0)))
    profiled = ProfiledLikelihood.from_eft(wide)
    for name, curve in curves.items():
        line = np.zeros((len(curve["x"]), 16))
        line[:, space.index(name)] = curve["x"]
        two_nll = 2 * (top16.saturated - profiled.logpdf(line))
        np.testing.assert_allclose(two_nll - 2 * curve["min_nll"], curve["two_dnll"], atol=3e-5)
        for level in (1, 4):
            edges = np.array(curve[f"edges_2dnll_{level}"])
            line = np.zeros((len(edges), 16))
            line[:, space.index(name)] = edges
            value, grad = profiled.logpdf_and_grad(line)
            miss = (2 * (top16.saturated - value) - 2 * curve["min_nll"] - level) / (
                2 * np.abs(grad[:, space.index(name)])
            )
            assert np.abs(miss).max() < 2e-4, (name, level)


@needs_data
def test_files_without_ranges_ask_for_them(reference):
    with pytest.raises(ConfigError, match="ctW"):
        read_eft(Path(SHARED) / "eft" / "top16_semireal.json")


@needs_data
def test_smefit_minima(rng):
    path = Path(SHARED) / "eft" / "smefit_top25.json"
    likelihood = Likelihood.from_source("eft_gaussian", document=str(path))
    assert likelihood.logpdf(np.zeros((1, 25)))[0] == pytest.approx(-111.349, abs=1e-3)
    low, high = likelihood.parameters.lower, likelihood.parameters.upper
    starts = 0.3 * rng.uniform(low, high, (12, 25))
    nll = -maximise(lambda theta, rows: likelihood.logpdf_grad_hess(theta), starts, low, high).value
    assert nll.min() == pytest.approx(104.151, abs=1e-3)
    assert np.abs(nll - 104.262).min() < 1e-3
