"""Loss curves show the history, number by number."""

import numpy as np
import pytest

from dnnlikelihood import plots
from dnnlikelihood.errors import ShapeError


def curves(ax):
    return [line.get_ydata() for line in ax.lines if len(line.get_ydata())]


def test_the_lines_are_the_history(history):
    members = [history(), history(n=7)]
    value, gradient, rate = plots.loss_curves(members).axes
    for ax, key in ((value, "loss"), (gradient, "gradient_loss")):
        drawn = curves(ax)
        for k, member in enumerate(members):
            assert np.array_equal(drawn[2 * k], member[key])
            assert np.array_equal(drawn[2 * k + 1], member[f"val_{key}"])
        assert ax.get_yscale() == "log"
    assert np.array_equal(curves(rate)[1], members[1]["learning_rate"])
    assert np.array_equal(rate.lines[0].get_xdata(), np.arange(1, 13))
    legend = [t.get_text() for t in value.get_legend().get_texts()]
    assert legend == ["validation", "training", "member 1", "member 2"]


def test_without_gradients_there_is_no_gradient_panel(history):
    assert [ax.get_ylabel() for ax in plots.loss_curves([history(gradient=False)]).axes] == [
        "value loss",
        "learning rate",
    ]
    short = {k: v for k, v in history().items() if "gradient" not in k}
    assert len(plots.loss_curves([short]).axes) == 2


def test_the_right_axis_is_in_nats(history):
    figure = plots.loss_curves([history()], output_scale=6.0)
    figure.draw_without_rendering()
    left = figure.axes[0]
    (right,) = left.child_axes
    assert right.get_ylabel() == "r.m.s. error [nats]"
    assert np.allclose(right.get_ylim(), 6.0 * np.sqrt(left.get_ylim()))


def test_histories_that_are_none(history):
    with pytest.raises(ShapeError, match="nothing was trained"):
        plots.loss_curves([])
    with pytest.raises(ShapeError, match="member 1 has no 'val_loss'"):
        plots.loss_curves([history(), {"loss": [1.0]}])
    with pytest.raises(ShapeError, match="learning_rate of member 0"):
        plots.loss_curves([history() | {"learning_rate": [1.0]}])
    with pytest.raises(ShapeError, match="not finite"):
        plots.loss_curves([history() | {"loss": [float("nan")] * 12}])
    with pytest.raises(ShapeError, match="loss of member 0"):
        plots.loss_curves([{"loss": []}])


def test_accuracy_is_drawn_where_it_was_recorded(history):
    members = [history() | {"val_accuracy": list(np.linspace(0.2, 1.0, 12))} for _ in range(2)]
    accuracy = plots.loss_curves(members).axes[2]
    assert accuracy.get_ylabel() == "accurate"
    np.testing.assert_allclose(accuracy.lines[0].get_ydata()[:-1], members[0]["val_accuracy"][:-1])
    assert accuracy.lines[0].get_ydata()[-1] < 1, "all accurate is drawn on the scale that has no 1"
    assert "99.9 %" in [t.get_text() for t in accuracy.get_yticklabels()]
    assert len(plots.loss_curves([members[0], history()]).axes) == 3, "of one of two: not drawn"
