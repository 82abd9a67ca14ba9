"""Event models: what they refuse, and that splits keep what they must."""

import numpy as np
import pytest

from dnnlikelihood.discriminants.events import (
    EventModel,
    Events,
    EventWeights,
    Normalisation,
    Process,
    ShiftedSamples,
    feature_array,
)
from dnnlikelihood.discriminants.templates import fill
from dnnlikelihood.errors import ConfigError, ShapeError

NAMES = ("a", "b")


def sample(rng, n=200, expected=10.0, shift=0.0):
    return Events.of(rng.normal(shift, 1, (n, 2)), NAMES, expected=expected)


@pytest.fixture
def parts(rng):
    s, b = sample(rng, 100, 5.0, 1.0), sample(rng, 300, 50.0)
    moved = lambda step: Events(NAMES, b.values + step, b.weights)
    nuisances = (
        ShiftedSamples("own", {"B": (sample(rng, 170, 52.0), sample(rng, 130, 47.0))}),
        ShiftedSamples("same", {"B": (moved(0.1), moved(-0.1))}, same_events=True, constraint=2.0),
        EventWeights("weights", {"B": (np.exp(0.1 * b.values[:, 0]), np.exp(-0.1 * b.values[:, 0]))}),
        Normalisation("norm", {"B": (1.1, 0.9), "S": (1.02, 0.99)}),
    )
    return s, b, nuisances


def model_of(parts):
    s, b, nuisances = parts
    return EventModel((Process("S", s, poi="r"), Process("B", b)), nuisances)


def test_splits_are_disjoint_and_keep_yields(parts):
    model = model_of(parts)
    first, second = model.split(0.4, seed=3)
    for p in model.processes:
        assert first[p.name].total == pytest.approx(p.total)
        assert second[p.name].total == pytest.approx(p.total)
        joined = np.concatenate([first[p.name].events.values, second[p.name].events.values])
        assert sorted(map(tuple, joined)) == sorted(map(tuple, p.events.values))
    own, same, weights, norm = first.nuisances
    assert own.variations["B"][0].weights.sum() == pytest.approx(52.0)
    nominal = first["B"].events
    np.testing.assert_allclose(same.variations["B"][0].values, nominal.values + 0.1)
    np.testing.assert_allclose(weights.variations["B"][0], np.exp(0.1 * nominal.values[:, 0]))
    assert norm.variations == {"B": (1.1, 0.9), "S": (1.02, 0.99)}
    assert same.constraint == 2.0
    (a, b), (c, d) = model.folds(seed=1)
    assert a is d
    assert b is c


def test_templates_of_all_kinds_are_plain_histograms(parts):
    model = model_of(parts)
    bins = lambda x: (x[:, 0] > 0).astype(int)
    t = fill(model, bins, 2)
    b = model["B"].events
    np.testing.assert_allclose(t.nominal[1], np.histogram(b.values[:, 0], [-99, 0, 99], weights=b.weights)[0])
    np.testing.assert_allclose(t.up[3], t.nominal * np.array([[1.02], [1.1]]))
    np.testing.assert_allclose(t.up[:3, 0], np.tile(t.nominal[0], (3, 1)))
    weighted = np.histogram(b.values[:, 0], [-99, 0, 99], weights=b.weights * np.exp(0.1 * b.values[:, 0]))[0]
    np.testing.assert_allclose(t.up[2, 1], weighted)
    np.testing.assert_array_equal(t.shape, [True, True, True, False])


def test_the_fingerprint_sees_every_number(parts):
    model = model_of(parts)
    assert model.fingerprint == model_of(parts).fingerprint
    s, b, nuisances = parts
    changed = Events(b.features, b.values.copy(), b.weights)
    changed.values[7, 1] += 1e-9
    assert model_of((s, changed, nuisances)).fingerprint != model.fingerprint
    assert model.only(["norm"]).fingerprint != model.fingerprint
    assert model.with_pois({"S": "mu"}).pois == ("mu",)


def test_columns_are_matched_by_name(parts, rng):
    s, b, _ = parts
    swapped = Events(("b", "a"), b.values[:, ::-1], b.weights)
    model = EventModel((Process("S", s, poi="r"), Process("B", swapped)))
    np.testing.assert_array_equal(model["B"].events.values, b.values)
    with pytest.raises(ShapeError, match="'a'"):
        feature_array({"b": [1.0], "c": [2.0]}, NAMES)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(b.values[:, ::-1], columns=["b", "a"]).assign(w=b.weights)
    np.testing.assert_array_equal(Events.of(frame, NAMES, weights="w").values, b.values)
    np.testing.assert_array_equal(feature_array(frame, NAMES), b.values)


def test_what_is_no_sample_is_refused(rng):
    x = rng.normal(size=(5, 2))
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ShapeError, match=r"'b' is nan in event 3"):
        Events.of(broken, NAMES)
    with pytest.raises(ShapeError, match="not finite"):
        Events.of(x, NAMES, weights=[1, 1, np.inf, 1, 1])
    with pytest.raises(ShapeError, match="no events"):
        Process("S", Events.of(x[:0], NAMES), poi="r")
    with pytest.raises(ConfigError, match="must be positive"):
        Process("S", Events.of(x, NAMES, weights=[1, 1, -1, -1, -1]), poi="r")
    with pytest.raises(ShapeError, match="'c'"):
        Events.of({"a": x[:, 0], "b": x[:, 1]}, ("a", "c"))
    with pytest.raises(ShapeError, match="real numbers"):
        Events.of(np.array([["x", "y"]]), NAMES)
    with pytest.raises(ConfigError, match="scaled"):
        Events.of(x, NAMES, expected=-3.0)


def test_what_is_no_nuisance_is_refused(parts, rng):
    s, b, _ = parts
    processes = (Process("S", s, poi="r"), Process("B", b))

    def refused(nuisance, match, kind=ConfigError):
        with pytest.raises(kind, match=match):
            EventModel(processes, (nuisance,))

    refused(ShiftedSamples("n", {"B": (b, b)}), "up = down")
    refused(EventWeights("n", {"B": (np.ones(300), np.ones(300))}), "up = down")
    refused(Normalisation("n", {"B": (1.1, 1.1)}), "up = down")
    refused(Normalisation("n", {"C": (1.1, 0.9)}), r"\['C'\]")
    refused(Normalisation("n", {"B": (1.1, -0.9)}), "positive")
    refused(EventWeights("n", {"B": (np.ones(7), np.zeros(300))}), "one an event", ShapeError)
    refused(EventWeights("n", {"B": (np.ones(300), np.zeros(300))}), "must be positive")
    refused(ShiftedSamples("n", {"B": (sample(rng, 10), b)}, same_events=True), "10 events", ShapeError)
    refused(ShiftedSamples("r", {"B": (sample(rng), b)}), "used twice")
    with pytest.raises(ConfigError, match="missing"):
        ShiftedSamples("n", {"B": (b, None)})
    with pytest.raises(ConfigError, match="no variations"):
        ShiftedSamples("n", {})
    with pytest.raises(ConfigError, match="constraint"):
        Normalisation("n", {"B": (1.1, 0.9)}, constraint=0.0)
    with pytest.raises(ConfigError, match="signal"):
        EventModel((Process("B", b),))


def test_a_model_with_fewer_nuisances_deals_the_same_events(rng):
    """Two folds judge what they have not seen, also when some of the nuisances are left out."""
    s, b = sample(rng, 100), sample(rng, 300)
    shift = lambda name: ShiftedSamples(name, {"B": (sample(rng, 170), sample(rng, 130))})
    model = EventModel((Process("S", s, poi="r"), Process("B", b)), (shift("first"), shift("second")))
    for seen, judged in zip(model.folds(5), model.only(["second"]).folds(5), strict=True):
        for side in (0, 1):
            trained_on = set(seen[0].nuisances[1].variations["B"][side].values[:, 0])
            assert not trained_on & set(judged[1].nuisances[0].variations["B"][side].values[:, 0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Events.of({"a": [1.0, 2.0], "b": [1.0]}, NAMES), "equally many"),
        (lambda: Events.of([[1.0, 2.0], [3.0]], NAMES), "array of real numbers"),
        (lambda: Events.of(np.ones((3, 2)), NAMES, weights=2.0), "one row an event"),
        (lambda: Events.of(np.ones((3, 2)), "ab"), "different names"),
        (lambda: Events.of(np.ones((3, 2)), [0, 1]), "different names"),
        (lambda: Events.of(np.ones((3, 2)), NAMES, expected="50"), "scaled"),
        (lambda: feature_array({"a": ["x"], "b": [1.0]}, NAMES), "real numbers"),
        (lambda: Process("S", np.ones((3, 2)), poi="r"), "Events.of"),
        (lambda: Process("S", Events.of(np.ones((3, 2)), NAMES), poi=1), "poi is 1"),
        (lambda: EventModel((Events.of(np.ones((3, 2)), NAMES),)), "Process and Nuisance"),
        (lambda: Normalisation("n", {"B": (1.1, 0.9)}, constraint="wide"), "constraint is 'wide'"),
        (lambda: Normalisation("n", (1.1, 0.9)), "has no variations"),
    ],
)
def test_values_of_the_wrong_kind_are_named(make, match):
    with pytest.raises((ShapeError, ConfigError), match=match):
        make()
