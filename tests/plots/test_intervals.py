"""HPDI summaries: the published intervals of the toy, and their differences to the exact ones."""

import numpy as np
import pytest

from dnnlikelihood import plots
from dnnlikelihood.errors import ShapeError
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.results import Hpdi, Interval

LEVELS = (0.6827, 0.9545, 0.9973)
EXACT = dict(zip(LEVELS, [(-0.1170, 0.5803), (-0.4702, 0.9241), (-0.8216, 1.2559)], strict=True))
PAPER = dict(zip(LEVELS, [(-0.12, 0.58), (-0.47, 0.92), (-0.82, 1.26)], strict=True))


def bars(ax):
    """(low, high) of every horizontal bar."""
    segments = [s for c in ax.containers for line in c[2] for s in line.get_segments()]
    return [(s[0][0], s[1][0]) for s in segments]


def test_intervals_and_their_numbers():
    figure = plots.hpdi_summary({"exact": EXACT, "paper": PAPER}, parameter=Parameter(name="mu", latex=r"\mu"))
    left, right = figure.axes
    assert np.allclose(bars(left), [*EXACT.values(), *PAPER.values()])
    assert left.texts[0].get_text() == "[−0.117, 0.580]"
    assert left.get_xlabel() == r"$\mu$"
    assert [t.get_text() for t in left.get_yticklabels()] == ["68.27 %", "95.45 %", "99.73 %"]
    drawn = [c[0].get_xdata()[0] for c in right.containers]
    assert np.allclose(drawn, np.abs(np.array([*PAPER.values()]) - [*EXACT.values()]).ravel())
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["exact", "paper"]


def test_an_hpdi_brings_its_uncertainty():
    ours = Hpdi(0.6827, (Interval(-0.115, 0.584),), ((0.001, 0.0012),))
    right = plots.hpdi_summary({"exact": {0.6827: EXACT[0.6827]}, "ours": {0.6827: ours}}).axes[1]
    assert np.allclose(bars(right), [(0.002 - 0.001, 0.003), (0.0037 - 0.0012, 0.0049)])


def test_an_edge_in_common_and_a_missing_level():
    above_0 = {"exact": {0.6827: (0, 0.4798), 0.9545: (0, 0.8618)}, "B1": {0.9545: (0, 0.92)}}
    right = plots.hpdi_summary(above_0).axes[1]
    assert np.allclose([c[0].get_xdata()[0] for c in right.containers], 0.92 - 0.8618)
    assert plots.hpdi_summary({"exact": EXACT}).axes


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "at least one entry"),
        ({"exact": {}}, "levels"),
        ({"exact": {0.68: (0, 1)}, "ours": {0.95: (0, 1)}}, "levels"),
        ({"exact": {0.68: (1, 0)}}, "does not ascend"),
        ({"exact": {0.68: (0, 1, 2)}}, "shape"),
        ({"exact": {0.68: (0, np.nan)}}, "not finite"),
        ({"exact": {0.68: Hpdi(0.68, (Interval(0, 1), Interval(2, 3)))}}, "2 intervals"),
    ],
)
def test_intervals_that_are_none(given, match):
    with pytest.raises(ShapeError, match=match):
        plots.hpdi_summary(given)
