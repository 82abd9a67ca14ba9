"""Questions about signals through `Inference`: answers, their log, and what is refused."""

import numpy as np
import pytest
from counting_experiment import CountingExperiment, Surrogate

from dnnlikelihood import Inference
from dnnlikelihood.errors import DomainError
from dnnlikelihood.statistics.limits import upper_limits
from dnnlikelihood.statistics.signals import along

NUMBERS = [12.0, 9.0], [10.0, 8.0], [2.0, 1.5]
SIGNALS = np.array([[3.0, 2.0], [0.5, 4.0]])


def test_answers_are_those_of_the_statistics():
    density = CountingExperiment(*NUMBERS)
    inference = Inference(density)
    found = inference.upper_limit(SIGNALS)
    np.testing.assert_array_equal(found.observed, upper_limits(along(density, SIGNALS)).observed)
    np.testing.assert_allclose(inference.cls(SIGNALS, found.observed).cls, 0.05, rtol=1e-6)
    assert (inference.discovery(SIGNALS).significance > 0).all()


def test_answers_are_kept_and_survive_saving(tmp_path):
    inference = Inference(Surrogate(*NUMBERS, reach=15.0))
    limits = inference.upper_limit(SIGNALS * [[1.0], [0.1]])
    assert limits.status.tolist() == ["converged", "converged"]
    narrow = Inference(Surrogate(*NUMBERS, reach=5.0))
    assert narrow.upper_limit(SIGNALS).status.tolist() == ["outside", "outside"]
    (question,) = narrow.answers
    answer = narrow.answers[question]
    assert answer["observed"] == [None, None]
    assert answer["warnings"] == ["2 of 2 signals: ['outside']"]
    narrow.save(tmp_path / "answers")
    assert Inference.load(tmp_path / "answers").answers[question]["status"] == ["outside", "outside"]


def test_numbers_from_outside_are_given_when_asked_for():
    used = Inference(Surrogate(*NUMBERS, reach=5.0)).upper_limit(SIGNALS, outside="use")
    assert used.status.tolist() == ["converged"] * 2
    assert not used.in_domain.any()


def test_signals_that_make_no_sense():
    with pytest.raises(DomainError, match="negative"):
        Inference(CountingExperiment(*NUMBERS)).cls([[1.0, -1.0]])
