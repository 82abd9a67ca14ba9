"""Help, exit codes and errors: nothing is lost, and everything is said in one message."""

import json
import os
import subprocess
import sys

import click
import pytest

from dnnlikelihood.cli import main
from dnnlikelihood.cli.command import new_folder

COMMANDS = (
    *("learn", "sample", "label", "train", "tune", "infer", "agree", "scan", "reparametrise", "limit"),
    *("export", "verify", "card", "header", "serve", "compare", "discriminant"),
)
LOADED = (
    "import sys; sys.argv[0] = 'dnnlik'; import dnnlikelihood.cli as cli\n"
    "try: cli.main()\n"
    "except SystemExit as end: code = end.code\n"
    "heavy = {'tensorflow', 'keras', 'scipy', 'matplotlib', 'numpy', 'h5py', 'rich'} & set(sys.modules)\n"
    "sys.exit(code or (f'loaded {heavy}' if heavy else 0))"
)


def test_every_command_has_help_with_an_example(run):
    assert tuple(main.commands) == COMMANDS
    listed = [line.split()[0] for line in run("--help").stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert tuple(listed) == COMMANDS, "in the order of the chain"
    for name in (*COMMANDS[:-1], "discriminant train", "discriminant compare"):
        text = run(*name.split(), "--help").stdout
        assert f"Example:\n  dnnlik {name} " in text
        assert "--json" in text


def test_help_loads_nothing_heavy():
    for arguments in (["--help"], ["infer", "--help"]):
        done = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_process_ends_with_the_code_and_says_one_thing(tmp_path):
    def code(*arguments):
        command = [sys.executable, "-m", "dnnlikelihood", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        return done.returncode, done.stdout, done.stderr

    short = ("--n-chains", "4", "--n-steps", "8")
    failed, out, err = code("sample", "gaussian", "--output", "s", *short, "--json")
    assert failed == 1
    assert json.loads(out)["passed"] is False
    assert all("not converged" in line for line in err.splitlines()), "no noise of libraries"
    assert code("--version")[0] == 0
    refused, out, err = code("verify", "nowhere")
    assert (refused, out) == (2, "")
    assert err == "Error: nowhere is not a folder; expected a published model\n"
    refused, _, err = code("verify", "nowhere", "--debug")
    assert refused == 2
    assert "Traceback" in err


OUT = ("--output", "{tmp}/new")
BAD = {
    "a scan of a billion": (["infer", "gaussian", "--tmu", "0:1:1000000000000", *OUT], "N in 1 ... 100000"),
    "train on nothing": (["train", "{chain}/nothing", *OUT], "is not a folder"),
    "no command": ([], "Usage"),
    "unknown command": (["frobnicate"], "No such command"),
    "no output": (["sample", "gaussian"], "--output"),
    "unknown source": (["learn", "toy-lhd", *OUT], "no source 'toy-lhd'"),
    "missing folder": (["sample", "runs/nothing", *OUT], "runs/nothing does not exist"),
    "missing recipe": (["sample", "{tmp}/nothing.json", *OUT], "does not exist"),
    "recipe of another kind": (["sample", "{tmp}/list.json", *OUT], "is no recipe"),
    "recipe with a typo": (["sample", "{tmp}/typo.json", *OUT], "unexpected keyword argument 'menu'"),
    "source without its arguments": (["sample", "simplified", *OUT], "missing"),
    "truth is a sampler": (["learn", "{chain}/samples", *OUT], "holds a sampler, not a likelihood"),
    "density is data": (["infer", "{chain}/data", *OUT], "holds a data, which is no log-density"),
    "empty folder": (["infer", "{tmp}/empty", *OUT], "metadata.json does not exist"),
    "samples are a model": (["label", "gaussian", "{chain}/dnnlik", *OUT], "holds a dnnlik, not a sampler"),
    "samples of another likelihood": (["label", "gaussian", "{chain}/samples", *OUT], "are of another density"),
    "samples of another density": (["infer", "gaussian", "--samples", "{chain}/samples", *OUT], "another density"),
    "data are samples": (["train", "{chain}/samples", *OUT], "holds a sampler, not a data"),
    "model is data": (
        ["export", "{chain}/data", "--source", "gaussian", "--name", "a", "--author", "A", *OUT],
        "holds a data, not a dnnlik",
    ),
    "model of other parameters": (
        ["export", "{chain}/dnnlik", "--source", "toy-lhc", "--name", "a", "--author", "A", *OUT],
        "learned over other parameters",
    ),
    "output of compare is something else": (["compare", "--output", "{chain}/data"], "holds no comparison"),
    "author without name": (
        ["export", "{chain}/dnnlik", "--source", "gaussian", "--name", "a", "--author", "<1>", *OUT],
        "is no author",
    ),
    "card of a likelihood": (["card", "{chain}/likelihood"], "schema"),
    "serve nothing": (["serve", "{tmp}/nothing"], "is not a folder"),
    "serve to everybody": (["serve", "{chain}/model", "--host", "0.0.0.0"], "a token is required"),
    "serve by a token that is none": (["serve", "{chain}/model", "--token-file", "{tmp}/list.json"], "visible ASCII"),
    "verify nothing": (["verify", "{tmp}/nothing"], "is not a folder"),
    "verify an empty folder": (["verify", "{tmp}/empty"], "is not a published model"),
    "verify samples": (["verify", "{chain}/samples"], "is not a published model"),
    "verify a text": (["verify", "{tmp}/list.json"], "not an ONNX file"),
    "verify a foreign graph": (["verify", "{tmp}/foreign.onnx"], "is not a published model"),
    "output exists": (["train", "{chain}/data", "--output", "{chain}/dnnlik"], "exists and is not replaced"),
    "output below a file": (["train", "{chain}/data", "--output", "{tmp}/list.json/new"], "no folder that you may"),
    "output of sample is no run": (["sample", "gaussian", "--output", "{tmp}"], "no run of a sampler"),
    "method of another sampler": (["sample", "{chain}/recipe.json", "--output", "{chain}/samples", "--seed", "9"], ""),
    "too few steps": (["sample", "gaussian", "--n-steps", "1", *OUT], "n_steps must be"),
    "unknown method": (["sample", "gaussian", "--method", "gibbs", *OUT], "'gibbs' is not one of"),
    "widths": (["train", "{chain}/data", "--widths", "16x16", *OUT], "write 256,256"),
    "activation": (["train", "{chain}/data", "--activation", "swoosh", *OUT], "'swoosh' is none of"),
    "level": (["infer", "gaussian", "--level", "95", *OUT], "95.0 is not in the range"),
    "scan": (["infer", "gaussian", "--tmu", "0-1", *OUT], "write LOW:HIGH:N"),
    "scan backwards": (["infer", "gaussian", "--tmu", "1:0:5", *OUT], "LOW must be below HIGH"),
    "parameter": (["infer", "gaussian", "--poi", "nu", *OUT], "no parameter 'nu'"),
    "other parameters": (["agree", "unbinned", "{chain}/dnnlik"], "other parameters"),
    "run of no comparison": (["compare", "--only", "B9", *OUT], "no runs ['B9']"),
    "comparison of nothing known": (["compare", "--config", "{tmp}/typo.json", *OUT], "has no fields"),
    "overwrite of something else": (["learn", "gaussian", "--overwrite", "--output", "{chain}"], "nothing was removed"),
    "overwrite of another request": (["learn", "gaussian", "--overwrite", "--output", "{tmp}/api"], "not of `dnnlik"),
    "overwrite through a link": (["learn", "gaussian", "--overwrite", "--output", "{tmp}/link"], "no folder of its"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_and_input_end_with_2_and_lose_nothing(run, chain, tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign.onnx").touch()  # protobuf reads nothing as an empty graph
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "typo.json").write_text('{"source": "gaussian", "arguments": {"menu": [0]}}')
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "request.json").write_text('{"url": "x"}')
    (tmp_path / "link").symlink_to(tmp_path / "api")
    places = [tmp_path, chain]
    before = [_contents(place) for place in places]
    arguments, message = BAD[name]
    result = run(*(a.format(tmp=tmp_path, chain=chain) for a in arguments), code=2)
    assert message in " ".join(result.stderr.split())
    assert not result.stdout
    assert [_contents(place) for place in places] == before


def _contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.endswith(".lock")
    }


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_nobody_may_write_to_is_refused_before_the_work(mode, tmp_path):
    """Root may write everywhere, so a child of the test is nobody."""
    (tmp_path / "closed").mkdir(mode=mode)
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            new_folder(tmp_path / "closed" / "m")
        except click.ClickException as error:
            os._exit(0 if "may write to" in error.format_message() else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_verbose_shows_the_log_on_stderr(run, tmp_path):
    import logging

    result = run("sample", "gaussian", "--output", tmp_path / "s", "--n-chains", 4, "--n-steps", 8, "-v", code=1)
    assert "WARNING" in result.stderr
    assert not logging.getLogger("dnnlikelihood").handlers, "left as it was"
