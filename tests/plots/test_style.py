"""What all figures share: style, files, labels, and what importing them costs."""

import json
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from dnnlikelihood import plots
from dnnlikelihood.errors import ConfigError, ParameterError, SaveFailed, ShapeError
from dnnlikelihood.parameters import Parameter
from dnnlikelihood.plots import style
from dnnlikelihood.plots.arrays import finite, real


@pytest.fixture
def figure(rng):
    return plots.logpdf_distributions({"S1": rng.normal(size=500)})


def test_saved_twice_is_the_same_bytes(tmp_path, rng):
    values = rng.normal(size=500)
    first = plots.save(plots.logpdf_distributions({"S1": values}), tmp_path / "a", "logpdf")
    second = plots.save(plots.logpdf_distributions({"S1": values}), tmp_path / "b" / "c", "logpdf")
    assert [p.name for p in first] == ["logpdf.png", "logpdf.pdf"]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    assert first[0].read_bytes().startswith(b"\x89PNG")
    assert first[1].read_bytes().startswith(b"%PDF")
    other = plots.save(plots.logpdf_distributions({"S1": values + 1}), tmp_path / "b", "logpdf")
    assert other[0].read_bytes() != first[0].read_bytes()


def test_files_carry_no_date_and_no_version(tmp_path, figure):
    png, pdf = plots.save(figure, tmp_path, "figure")
    assert b"CreationDate" not in pdf.read_bytes()
    for path in (png, pdf):
        assert mpl.__version__.encode() not in path.read_bytes()


def test_saving_replaces_an_older_file(tmp_path, figure):
    (tmp_path / "figure.png").write_text("old")
    plots.save(figure, tmp_path, "figure")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figure.pdf", "figure.png"]


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden"])
def test_a_name_that_is_no_file_name(tmp_path, figure, name):
    with pytest.raises(ConfigError, match="plain file name"):
        plots.save(figure, tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path, figure):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SaveFailed, match="taken"):
        plots.save(figure, tmp_path / "taken", "figure")


def test_the_style_stays_inside(rng):
    before = dict(mpl.rcParams)
    plots.logpdf_distributions({"S1": rng.normal(size=50)})
    assert dict(mpl.rcParams) == before


def test_the_users_settings_do_not_reach_in(tmp_path, rng):
    values = rng.normal(size=50)
    plain = plots.save(plots.logpdf_distributions({"S1": values}), tmp_path, "plain")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        loud = plots.save(plots.logpdf_distributions({"S1": values}), tmp_path, "loud")
    assert plain[0].read_bytes() == loud[0].read_bytes()


def test_a_notebook_shows_the_figure_without_pyplot(figure):
    from IPython.core.formatters import DisplayFormatter

    shown, _ = DisplayFormatter().format(figure)
    assert shown["image/png"].startswith(b"\x89PNG")
    assert isinstance(figure, Figure)


def test_labels(space):
    assert style.label(space["mu"]) == r"$\mu$"
    assert style.label(space["m_jet"]) == "m jet [GeV]"
    assert style.label(space["m_jet"], unit=False) == "m jet"
    assert style.label(Parameter(name="c_HW", latex=r"\notacommand{c}")) == "c HW"


def test_selection(space):
    columns, chosen = style.select(space, ["delta", "mu"])
    assert columns == [2, 0]
    assert [p.name for p in chosen] == ["delta", "mu"]
    assert style.select(space, None)[0] == [0, 1, 2]
    assert style.select(space, "mu")[0] == [0]
    with pytest.raises(ShapeError, match="empty"):
        style.select(space, [])
    with pytest.raises(ParameterError, match="no parameter 'nu'"):
        style.select(space, ["nu"])


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(-0.117, 0.5803, "[−0.117, 0.580]"), (-1.04, 1.4, "[−1.04, 1.40]"), (90, 200, "[90, 200]")],
)
def test_brackets(low, high, text):
    assert style.bracket(low, high) == text


def test_more_colours_than_the_palette():
    assert style.colours(2) == [style.TRUTH, style.SURROGATE]
    assert len({tuple(c) for c in style.colours(30)}) == 30


@pytest.mark.parametrize("bad", [[], [[1.0]], ["a"], None, [1 + 2j], [[1.0], [1.0, 2.0]]])
def test_no_numbers(bad):
    with pytest.raises(ShapeError, match="x"):
        real("x", bad, None)


def test_not_finite_is_located():
    with pytest.raises(ShapeError, match=r"2 values that are not finite, the first at \(1,\)"):
        finite("x", [0.0, np.nan, np.inf], None)
    assert finite("x", [1, 2], 2).dtype == np.float64


def _loaded(code):
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return set(json.loads(out.stdout.splitlines()[-1]))


def test_importing_the_package_loads_no_matplotlib():
    assert not _loaded("import dnnlikelihood, dnnlikelihood.inference, dnnlikelihood.plots") & {"matplotlib"}


def test_a_figure_needs_neither_pyplot_nor_tensorflow():
    code = "from dnnlikelihood import plots; plots.tmu((range(3), range(3)), {'a': (range(3), range(3))})"
    assert "tensorflow" not in _loaded(code)
    assert "pyplot" not in _loaded(
        code + "\nimport sys; sys.modules['pyplot'] = 1 if 'matplotlib.pyplot' in sys.modules else None"
        "\nif sys.modules['pyplot'] is None: del sys.modules['pyplot']"
    )


def test_every_public_function_is_there_and_documented():
    for name in plots.__all__:
        function = getattr(plots, name)
        assert callable(function)
        assert function.__doc__
        assert name in dir(plots)
    with pytest.raises(AttributeError, match="nothing"):
        plots.nothing  # noqa: B018


def test_the_surrogate_keeps_its_colour():
    hues = style.against_exact(["paper", "surrogate", "F1", "F2", "F3", "samples"])
    assert hues[1] == style.SURROGATE
    assert len(set(hues)) == 6
