"""A surrogate's false valleys are found all over the box, labelled, and bridged to the true ones."""

from types import SimpleNamespace

import numpy as np
import pytest

from dnnlikelihood import Likelihood, ParameterSpace, Prior
from dnnlikelihood.active import ActiveConfig, _Rounds, frozen
from dnnlikelihood.data import Data
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.protocols import LogDensity

TRUE, FALSE, CENTER = np.array([-3.0, 0.0]), np.array([6.0, 6.0]), np.array([1.0, 4.0])


class Hills(LogDensity):
    """log sum_k exp(h_k - |theta - c_k|^2 / 2 w_k^2) - |theta|^2 / 200, in two dimensions."""

    kind = "profiled"
    heads = ()

    def __init__(self, centres, heights, widths):
        self.parameters = ParameterSpace(tuple(Parameter(name=n, role="poi", bounds=(-10.0, 10.0)) for n in "ab"))
        self.prior, self.fingerprint = Prior({}), "7" * 64
        self.centres, self.heights, self.widths = np.array(centres), np.array(heights), np.array(widths)

    def _logpdf_and_grad(self, theta):
        r = theta[:, None] - self.centres
        each = self.heights - (r**2).sum(axis=2) / (2 * self.widths**2)
        value = np.logaddexp.reduce(each, axis=1)
        share = np.exp(each - value[:, None])
        grad = -(share[:, :, None] * r / self.widths[:, None] ** 2).sum(axis=1)
        return value - (theta**2).sum(axis=1) / 200, grad - theta / 100

    def _logpdf(self, theta):
        return self._logpdf_and_grad(theta)[0]

    def members_logpdf(self, theta):
        return self._logpdf(theta)[:, None]

    def member(self, k):
        return self

    @property
    def ensemble(self):
        return SimpleNamespace(members=(self,), hull=SimpleNamespace(center=CENTER))


class Two(Hills):
    """The mean of two Hills, which ends where they differ by more than a nat, as a guarded ensemble does."""

    def __init__(self, a, b):
        super().__init__(a.centres, a.heights, a.widths)
        self.members = a, b

    def _logpdf_and_grad(self, theta):
        (a, slope), (b, other) = (m._logpdf_and_grad(theta) for m in self.members)
        agree = np.abs(a - b) < 1
        return np.where(agree, (a + b) / 2, -np.inf), np.where(agree[:, None], (slope + other) / 2, 0.0)

    def member(self, k):
        return self.members[k]

    @property
    def ensemble(self):
        return SimpleNamespace(members=self.members, hull=SimpleNamespace(center=CENTER))


@pytest.fixture
def rounds():
    config = ActiveConfig(n_minimisers=200)
    rounds = _Rounds(Hills([TRUE], [0.0], [1.0]), config, None, None, progress=False)
    rounds.data = labelled(rounds, np.linspace(rounds.valleys.theta[0], [0.0, 0.0], 50), ("train", "validation"))
    return rounds


def labelled(rounds, theta, splits=("train",)):
    return Data.label(rounds.truth, theta, split=np.resize(splits, len(theta)), progress=False)


def test_a_false_valley_is_found_and_bridged(rounds):
    model = Hills([TRUE, FALSE], [0.0, -1.0], [1.0, 0.5])
    own = rounds._own_valleys(model, 1)
    assert np.abs(own - FALSE).max(axis=1).min() < 0.1
    assert np.abs(own - TRUE).max(axis=1).min() < 0.1
    bridges = rounds._bridges(model, labelled(rounds, own), np.random.default_rng(0))
    assert len(bridges) == 100
    along = (bridges - TRUE) @ (FALSE - TRUE) / ((FALSE - TRUE) ** 2).sum()
    assert along.min() < 0.1
    assert along.max() > 0.9
    np.testing.assert_allclose(bridges, TRUE + along[:, None] * (FALSE - TRUE), atol=0.1)


def test_a_false_valley_that_the_guard_refuses_is_found_all_the_same(rounds):
    """It hides nothing: the truth is asked there too, lest a deeper minimum be missed."""
    one = Hills([TRUE], [0.0], [1.0])
    pair = Two(one, Hills([TRUE, FALSE], [0.0, -1.0], [1.0, 0.5]))
    assert np.isneginf(pair.logpdf(FALSE)).all()
    assert np.abs(rounds._own_valleys(pair, 1) - FALSE).max(axis=1).min() < 0.1


def test_a_false_valley_between_the_training_points_is_found_however_narrow(rounds):
    """As published networks had one, where the mean of several valleys lies and no sample ever came."""
    model = Hills([TRUE, CENTER + 0.03], [0.0, 90.0], [1.0, 0.05])
    own = rounds._own_valleys(model, 1)
    assert np.abs(own - CENTER).max(axis=1).min() < 0.1
    assert np.abs(own - TRUE).max(axis=1).min() < 0.1, "so far above, it does not hide the others"


def test_what_the_truth_has_too_needs_no_bridge(rounds):
    own = np.repeat(rounds._own_valleys(rounds.truth, 1), 2, axis=0)
    assert len(rounds._bridges(rounds.truth, labelled(rounds, own), np.random.default_rng(0))) == 0


def test_frozen_questions_leave_all_but_two_parameters_at_zero_or_in_a_valley():
    space = ParameterSpace(tuple(Parameter(name=n, role="poi", bounds=(-4.0, 4.0)) for n in "abcdefgh"))
    center = np.linspace(0.3, 1.0, 8)

    def value(theta):
        return -0.5 * ((theta - center) ** 2).sum(axis=1)

    hill = Likelihood(value, space, gradient=lambda theta: center - theta)
    known = center + np.random.default_rng(1).normal(size=(500, 8))
    points = frozen(hill, known, center[None], 1000, np.random.default_rng(2), reach=6.0)
    at_zero, in_valley = ((points != rest).sum(axis=1) for rest in (0.0, center))
    assert np.minimum(at_zero, in_valley).max() == 2
    assert (at_zero <= 2).sum() == pytest.approx(len(points) / 2, rel=0.2)
    assert len(points) > 800
    assert value(points).min() > value(known).max() - 6
    assert np.ptp(points, axis=0).min() > 4, "each parameter is asked across where good points have been"


def test_a_lone_valley_is_asked_with_its_surroundings(rounds):
    """Most likelihoods have one minimum; a single row would be no data."""
    rounds.config = rounds.config.replace(n_posterior=100, n_minimisers=20, n_starts=10)
    asked = rounds._questions(rounds.truth, 1, np.random.default_rng(3))
    own = asked["valleys"]
    np.testing.assert_allclose(own[0], rounds.valleys.theta[0], atol=1e-3)
    assert len(labelled(rounds, own)) > 2
    assert 0 < np.abs(own[1:] - own[0]).max() < 0.5
    assert set(asked) == {"posterior", "tempered", "minimisers", "neighbours", "frozen", "valleys"}


def test_what_was_asked_stays_when_chains_end_elsewhere(tmp_path):
    """Other threads round otherwise; a round that is continued then draws other points, and keeps those labelled."""
    rounds = _Rounds(Hills([TRUE], [0.0], [1.0]), ActiveConfig(), tmp_path, None, progress=False)
    first = np.random.default_rng(1).uniform(-5, 5, (40, 2))
    label = rounds.label("rows_posterior_1", first, "posterior", 1)
    again = rounds.label("rows_posterior_1", first[:30] + 1e-9, "posterior", 1)
    assert again.fingerprint == label.fingerprint
    np.testing.assert_array_equal(again.theta(), label.theta())
