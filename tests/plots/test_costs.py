"""Costs as drawn: the slowest on top, and by how much the others are faster."""

import pytest

from dnnlikelihood.errors import ShapeError
from dnnlikelihood.plots import speed


def test_bars_are_ordered_and_say_how_much_faster():
    ax = speed({"ours": 2e-3, "pyhf": 0.8, "learned": 4e-6}).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["learned", "ours", "pyhf"]
    assert [bar.get_width() for bar in ax.patches] == [4e-6, 2e-3, 0.8]
    words = [text.get_text() for text in ax.texts]
    assert words == [" 4 µs  (200,000 times faster)", " 2 ms  (400 times faster)", " 800 ms"]
    low, high = ax.get_xlim()
    assert low < 4e-6
    assert high > 0.8
    assert ax.get_xscale() == "log"


@pytest.mark.parametrize("seconds", [{}, {"a": 0.0}, {"a": float("nan")}])
def test_what_is_no_time(seconds):
    with pytest.raises(ShapeError):
        speed(seconds)
