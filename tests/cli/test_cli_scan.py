"""`dnnlik scan` on a toy with one valley that is known, frozen and profiled."""

import json

import pytest

MODEL = {
    "source": "gaussian",
    "arguments": {"mean": [0.5, -1.0], "covariance": [[1.0, 0.6], [0.6, 1.0]]},
}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "gaussian.json"
    path.write_text(json.dumps(MODEL))
    return path


def first(found, question):
    return found["answers"][question]


def test_profiled_and_frozen_intervals_of_a_gaussian(run, model, tmp_path):
    """Profiled: mean +- sigma. Frozen at the best fit: mean +- sigma sqrt(1 - rho^2)."""
    name = "x0"
    for flag, half in (("--profiled", 1.0), ("--frozen", 0.8)):
        out = tmp_path / flag.strip("-")
        found = json.loads(
            run("scan", model, "--parameter", name, flag, "--range", "-3", "4", "--points", "29",
                "--starts", "8", "--output", out, "--json", "--no-progress").stdout
        )  # fmt: skip
        low, high, *is_open = first(found, f"intervals({name}, {flag.strip('-')})")["intervals"]["0.6827"][0]
        assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)
        assert is_open == [False, False]
        assert (out / "plots" / "scan.png").exists()
        assert (out / "answers.json").exists()


def test_a_multistart_of_a_gaussian(run, model, tmp_path):
    common = ("scan", model, "--parameter", "x0", "--range", "-3", "4", "--points", "15", "--starts", "8")
    found = json.loads(run(*common, "--search", "multistart", "--json", "--no-progress").stdout)
    answer = first(found, "intervals(x0, profiled, multistart)")
    assert answer["search"] == "multistart"
    assert answer["intervals"]["0.6827"][0][:2] == pytest.approx([-0.5, 1.5], abs=1e-3)
    assert "leave --frozen out" in run(*common, "--search", "multistart", "--frozen", code=2).stderr
    assert "'luck'" in run(*common, "--search", "luck", code=2).stderr


def test_two_parameters(run, model, tmp_path):
    out = tmp_path / "two"
    shown = run("scan", model, "--parameter", "x0", "--parameter", "x1", "--range", "-3", "4", "--range", "-4", "2",
                "--points", "15", "--starts", "8", "--output", out, "--no-progress")  # fmt: skip
    assert "225" in shown.stdout


def test_ranges_that_fit_nothing_are_refused(run, model, tmp_path):
    common = ("--output", tmp_path / "no", "--no-progress")
    assert run("scan", model, "--parameter", "x0", "--range", "0", "1", "--range", "0", "1", *common, code=2)
    assert run("scan", model, "--parameter", "nobody", "--range", "0", "1", *common, code=2)
    assert run("scan", model, "--parameter", "x0", "--at", "0", "--range", "0", "1", *common, code=2)


def test_two_densities_beside_each_other(run, model, tmp_path):
    """A Gaussian moved by half a standard deviation, and lowered by nothing else."""
    other = tmp_path / "other.json"
    other.write_text(json.dumps(MODEL | {"arguments": MODEL["arguments"] | {"mean": [1.0, -1.0]}}))
    common = ("--parameter", "x0", "--range", "-3", "5", "--points", "33", "--starts", "8", "--no-progress")
    out = tmp_path / "both"
    found = json.loads(run("scan", model, "--beside", other, *common, "--output", out, "--json").stdout)
    own, beside = (found[k]["intervals(x0, profiled)"]["intervals"]["0.95"][0][:2] for k in ("answers", "beside"))
    assert [b - a for a, b in zip(own, beside, strict=True)] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert (out / "plots" / "scan_unshifted.png").exists()
    assert (out / "beside" / "answers.json").exists()
    shown = run("scan", model, "--beside", other, *common, "--output", tmp_path / "again").stdout
    assert "beside" in shown
    pair = ("--parameter", "x0", "--parameter", "x1", "--range", "-3", "5", "--range", "-4", "3", "--points", "13")
    run("scan", model, "--beside", other, *pair, "--starts", "8", "--output", tmp_path / "plane", "--no-progress")
    assert (tmp_path / "plane" / "plots" / "scan.png").exists()


def test_without_a_folder_answers_are_shown_and_nothing_is_written(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = run(
        "scan", model, "--parameter", "x0", "--profiled", "--starts", "8", "--range", "-3", "4", "--points", "15"
    )
    assert "[-0.5" in shown.stdout
    assert list(tmp_path.iterdir()) == [model]


def test_measurements_of_an_effective_theory_fit(run, tmp_path):
    """y = 1 +- 0.5 for t = c, and for a d that is uncorrelated: the interval is 1 +- 0.5."""
    document = {
        "schema": "eft_gaussian/1", "name": "two", "data": [1.0, 0.0], "standard_model": [0.0, 0.0],
        "coefficients": [{"name": n, "low": -3.0, "high": 4.0} for n in "cd"], "covariance": [[0.25, 0.0], [0.0, 1.0]],
        "linear": {"c": [1.0, 0.0], "d": [0.0, 1.0]}, "quadratic": {},
    }  # fmt: skip
    (tmp_path / "fit.json").write_text(json.dumps(document))
    found = json.loads(run("scan", tmp_path / "fit.json", "--parameter", "c", "--json", "--no-progress").stdout)
    low, high, *_ = first(found, "intervals(c, profiled)")["intervals"]["0.6827"][0]
    assert (low, high) == pytest.approx((0.5, 1.5), abs=1e-3)
    del document["linear"]["d"]
    (tmp_path / "fit.json").write_text(json.dumps(document))
    assert "no prediction depends on" in run("scan", tmp_path / "fit.json", "--parameter", "c", code=2).stderr
