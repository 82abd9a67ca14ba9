"""What people read: digits that mean something, the paper only where it said something, failures in words."""

from rich.console import Console

from dnnlikelihood.cli import tables
from dnnlikelihood.cli.learn import _hpdi, _remove_run, _tmu

HPDI = {
    "poi": "mu", "lower": None, "level": 0.6827, "exact": [-0.117, 0.5803], "exact_is": "integrated",
    "paper": [-0.12, 0.58], "ours": [-0.1202, 0.5792], "uncertainty": [0.002, None],
}  # fmt: skip
TMU = {"mu": 0.0, "exact": 0.0012, "paper": -0.0027, "ours": -1e-9, "status": ["converged", "stalled"]}


def shown(part):
    console = Console(width=120, markup=False)
    with console.capture() as captured:
        console.print(part)
    return captured.get()


def test_an_interval_stands_beside_the_exact_one_with_its_error():
    text = shown(_hpdi({"hpdi": [HPDI, HPDI | {"lower": 0.0, "exact": [0.0, 0.4798]}], "ess": 99_943.2}))
    (row,) = [line for line in text.splitlines() if line.startswith(" 68.27 %  ")]
    for interval in ("[-0.1170, 0.5803]", "[-0.12, 0.58]", "[-0.1202, 0.5792]"):
        assert interval in row
    assert "0.002 –" in row, "an edge at a hard end has no error"
    assert row.rstrip().endswith("0.0032"), "the worse edge"
    assert "given mu > 0" in text
    assert "99,943 effective samples" in text


def test_no_column_for_a_paper_that_says_nothing_and_no_integral_where_there_is_none():
    text = shown(_hpdi({"hpdi": [HPDI | {"paper": None, "exact_is": "samples of the truth"}], "ess": 1000.0}))
    assert "paper" not in text
    assert "truth, sampled" in text


def test_a_fit_that_stalled_is_not_called_converged():
    text = shown(_tmu({"hpdi": [HPDI], "tmu": [TMU]}))
    assert "stalled" in text
    assert "-0.0000" not in text
    assert "-0.0012" in text, "the difference"


def test_brackets_are_text():
    assert "[x0] [/bold]" in shown(tables.table("t", ("a",), [("[x0] [/bold]",)]))


def test_digits_follow_the_scale():
    assert [tables.decimals(x) for x in (0.7, 7.0, 7000.0, 7e-5, 0.0)] == [4, 3, 0, 8, 4]


def test_overwriting_removes_a_run_and_an_absent_one_is_no_error(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "request.json").write_text('{"likelihood": {}, "config": {}}')
    (tmp_path / "run" / "plots").mkdir()
    _remove_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    _remove_run(tmp_path / "run")
