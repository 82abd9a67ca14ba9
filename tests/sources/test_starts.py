"""Which maxima count and from where they are found: held against scans of the only nuisance of a search of two bins."""

import numpy as np
import pytest

pytest.importorskip("pyhf", reason="needs pip install 'dnnlikelihood[histfactory]'")
from workspaces import two_sided_workspace

from dnnlikelihood.profiled import ProfiledLikelihood
from dnnlikelihood.sources.profiled import Starts, profile_from
from dnnlikelihood.sources.starts import CLOSE, cover, find_starts, lead_first
from dnnlikelihood.statistics.counting import log_likelihood_at, maximise_nuisances

LEFT, RIGHT = np.linspace(-5.0, 0.0, 20_001), np.linspace(0.0, 5.0, 20_001)
LOST = np.array([[25.0, 0.0]])
"""A signal whose fit prefers, if it may, fourteen background events fewer than none."""


@pytest.fixture(scope="module")
def likelihood():
    """One nuisance takes away two events of ten on the one side, and eight a standard deviation on the other."""
    falls = {"hi_data": [2.0, 30.0], "lo_data": [8.0, 30.0]}
    background = {
        "name": "background",
        "data": [10.0, 30.0],
        "modifiers": [{"name": "tune", "type": "histosys", "data": falls}],
    }
    return ProfiledLikelihood.from_workspace(
        {
            "channels": [{"name": "SR", "samples": [background]}],
            "observations": [{"name": "SR", "data": [10.0, 30.0]}],
            "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
            "version": "1.0.0",
        }
    )


def highest(likelihood, signal, nuisance):
    """The highest log L of a scan, and where."""
    values = log_likelihood_at(
        likelihood.source.model,
        np.repeat(signal, len(nuisance), axis=0),
        nuisance[:, None],
        likelihood.source.data["observed"],
    )
    return values.max(), nuisance[values.argmax()]


def test_a_maximum_with_negative_background_is_not_looked_for(likelihood):
    """Here it lies 7 nats higher than the one that makes sense."""
    source = likelihood.source
    sound, at = highest(likelihood, LOST, LEFT)
    senseless, there = highest(likelihood, LOST, RIGHT)
    assert senseless > sound + 5.0
    assert 10.0 + 2.0 * at > 0 > 10.0 - 8.0 * there
    fit = profile_from(source.model, LOST, source.data["observed"], Starts.always(np.array([[-1.0], [2.0]])))
    assert fit.value[0] == pytest.approx(sound, abs=1e-6)
    assert fit.nu[0, 0] == pytest.approx(at, abs=1e-3)


def test_it_counts_where_the_first_start_leads(likelihood):
    """So that log L is never below what a fit from the background's own maximum finds, as pyhf's does."""
    source = likelihood.source
    fit = profile_from(source.model, LOST, source.data["observed"], Starts.always(np.array([[2.0], [-1.0]])))
    assert fit.converged.all()
    assert fit.value[0] == pytest.approx(highest(likelihood, LOST, RIGHT)[0], abs=1e-6)


def test_without_that_rule_the_higher_one_is_found(likelihood):
    """The negative control: a fit alone knows no rule."""
    seen = likelihood.source.data["observed"]
    fit = maximise_nuisances(likelihood.source.model, LOST, seen, start=np.array([2.0]))
    assert fit.converged.all()
    assert fit.value[0] == pytest.approx(highest(likelihood, LOST, RIGHT)[0], abs=1e-6)


def test_a_negative_background_is_no_label(likelihood):
    """`fit` answers and says so; `label` refuses, so that no surrogate learns it."""
    signals = np.array([[0.0, 0.0], [25.0, 0.0]])
    fit, labels = likelihood.fit(signals), likelihood.label(signals)
    assert fit.converged.all()
    background = likelihood.source.model.expected(np.zeros((2, 2)), fit.nu[:, 0])
    assert (background[:, 0] < 0).tolist() == [False, True]
    assert fit.sensible.tolist() == [[True] * 3, [False] * 3]
    assert labels.ok.tolist() == [True, False]
    assert labels.reason.tolist() == ["", "negative background"]


def test_fits_that_cannot_begin_where_they_should_begin_on_the_way_there(likelihood):
    """Where the signal takes away more than the start leaves; not at all where the model's own leaves too little."""
    model, seen = likelihood.source.model, likelihood.source.data["observed"]
    less, start = np.array([[-5.0, 0.0]]), np.array([2.0])
    assert model.expected(less, start[None])[0, 0] < 0 < model.expected(less, model.start[None])[0, 0]
    fit = maximise_nuisances(model, less, seen, start=start)
    assert fit.converged.all()
    assert fit.value[0] == pytest.approx(highest(likelihood, less, np.linspace(-5.0, 0.6, 20_001))[0], abs=1e-5)
    assert maximise_nuisances(model, np.array([[-11.0, 0.0]]), seen, start=start).status.tolist() == ["outside"]


def test_starts_reach_what_a_scan_finds():
    """Of signals unlike the trial ones, by a model that does not say where its other sides are."""
    likelihood = ProfiledLikelihood.from_workspace(two_sided_workspace())
    model, seen = _OneSided(likelihood.source.model), likelihood.source.data["observed"]
    rng = np.random.default_rng(5)
    trial = np.concatenate([np.zeros((1, 2)), rng.uniform(0.0, 8.0, (40, 2))])
    starts = find_starts(model, trial, {"observed": seen})["observed"]
    signals = rng.uniform(0.0, 6.0, (60, 2))
    grid = np.linspace(-5.0, 5.0, 20_001)
    scanned = np.array([highest(likelihood, signal[None], grid)[0] for signal in signals])
    fit, first = (profile_from(model, signals, seen, s, gradient=False) for s in (starts, Starts.always(starts.nu[:1])))
    assert (fit.value > scanned - CLOSE).all()
    assert np.isclose(fit.value, scanned, rtol=0, atol=1e-5).mean() > 0.9
    assert (first.value < scanned - 5 * CLOSE).any()


def test_the_first_signal_ends_where_others_show_a_higher_maximum():
    likelihood = ProfiledLikelihood.from_workspace(two_sided_workspace())
    model, seen = _OneSided(likelihood.source.model), likelihood.source.data["observed"].each(2)
    signals = np.array([[0.0, 0.0], [4.0, 0.0]])
    left, right = (highest(likelihood, signals[:1], side) for side in (LEFT, RIGHT))
    assert right[0] > left[0] + 0.1
    top = maximise_nuisances(model, signals, seen, start=np.array([[left[1]], [right[1]]]), gradient=False)
    assert top.value[0] == pytest.approx(left[0], abs=1e-6)
    lead_first(model, signals, seen, top)
    assert top.value[0] == pytest.approx(right[0], abs=1e-6)


def test_a_start_that_cheap_signals_need_is_tried_by_all():
    """One side is better without signal, the other with some that cost less than none."""
    likelihood = ProfiledLikelihood.from_workspace(two_sided_workspace())
    model, seen = _OneSided(likelihood.source.model), likelihood.source.data["observed"].each(3)
    signals = np.array([[0.0, 0.0], [3.0, 3.0], [2.0, 4.0]])
    begin = np.array([[0.9], [-0.6], [-0.6]])
    top = maximise_nuisances(model, signals, seen, start=begin, gradient=False)
    assert (top.value[1:] > top.value[0]).all()
    assert cover(model, signals, seen, top).cost.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_starts_are_tried_from_their_cost_on(likelihood):
    """What only the second start finds is found for signals that cost so much, and not for those that cost less."""
    model, seen, signal = likelihood.source.model, likelihood.source.data["observed"], np.array([[4.0, 0.0]])
    left, right = (highest(likelihood, signal, side)[0] for side in (LEFT, RIGHT))
    assert right > left + 0.1
    for least, value in ((-left - 0.01, right), (-left + 0.01, left)):
        starts = Starts(np.array([[-1.0], [1.0]]), np.array([[0.0, 0.0], [least, least]]))
        fit = profile_from(_OneSided(model), signal, seen, starts, gradient=False)
        assert fit.value[0] == pytest.approx(value, abs=1e-6)


def test_what_only_negative_signals_need_others_do_not_try():
    """The second start is for signals that take away, and has no cost for others unless there were none to ask."""
    likelihood = ProfiledLikelihood.from_workspace(two_sided_workspace())
    model, seen = _OneSided(likelihood.source.model), likelihood.source.data["observed"]
    right, left = [[0.0, 0.0], [2.0, 0.0], [5.0, 0.0]], [[-6.0, 4.0], [-4.0, 5.0]]
    signals, begin = np.array(right + left), np.array([[0.9]] * 3 + [[-0.6]] * 2)
    top = maximise_nuisances(model, signals, seen, start=begin, gradient=False)
    starts = cover(model, signals, seen.each(5), top)
    assert len(starts.nu) == 2
    assert starts.cost[1, 0] == np.inf
    assert starts.cost[1, 1] < -top.value[3:].max()
    np.testing.assert_allclose(profile_from(model, signals, seen, starts).value, top.value, atol=1e-9)
    other = np.array([[0.0, 8.0]])
    missed = profile_from(model, other, seen, starts).value[0]
    assert missed == pytest.approx(highest(likelihood, other, RIGHT)[0], abs=1e-6)

    some = [0, 3, 4]
    unasked = cover(model, signals[some], seen.each(3), top.rows(some))
    assert np.isfinite(unasked.cost).all()
    found = profile_from(model, other, seen, unasked).value[0]
    assert found == pytest.approx(highest(likelihood, other, LEFT)[0], abs=1e-6)
    assert found > missed + 0.5


class _OneSided:
    """A model that does not say where its other sides are."""

    def __init__(self, model):
        for name in ("observation", "constraints", "start", "lower", "upper", "hold", "expected", "jacobian"):
            setattr(self, name, getattr(model, name))
        self.inputs_jacobian, self.sensible = model.inputs_jacobian, model.sensible
