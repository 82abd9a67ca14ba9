"""The notebooks: what is stored in them is clean, and executing them again confirms every number they assert.

`python tests/test_notebooks.py` executes them and stores the new outputs.
"""

import ast
import base64
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 1_500_000
LAST_WORDS = "every number holds\n"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# A path from a root that exists on the machine of whoever executed it, or the home of a user elsewhere.
ABSOLUTE = re.compile(r"(?<![\w.:/~-])/(?:tmp|home|root|usr|var|work|opt|mnt|Users|private)/|\b[A-Z]:\\\\")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def executed(path, folder):
    """The notebook with the outputs of a new kernel that works in `folder`, without times and paths of kernels."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, 4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def kinds(notebook):
    """What every code cell shows: names of streams, and MIME types."""
    return [[o.get("name") or sorted(o.get("data", [o.output_type])) for o in cell.outputs] for cell in code(notebook)]


def texts(notebook):
    """Everything a reader sees that is not a picture."""
    for output in outputs(notebook):
        yield output.get("text", "")
        yield output.get("data", {}).get("text/plain", "")


def assert_clean(notebook):
    """No errors, no noise, no paths; and the last cell went through all its asserts."""
    assert {o.output_type for o in outputs(notebook)} <= {"stream", "display_data", "execute_result"}
    assert [o.text for o in outputs(notebook) if o.get("name") == "stderr"] == []
    shown = "\n".join(texts(notebook))
    assert "Traceback" not in shown
    assert not ABSOLUTE.search(shown)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    last = code(notebook)[-1]
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(last.source))) >= 10
    assert last.outputs[-1].text == LAST_WORDS


def test_the_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_toy_lhc_full_likelihood",
        "02_sampling_and_convergence",
        "03_profiled_atlas_search",
        "04_spey_and_smodels",
        "05_eft_sixteen_coefficients",
        "06_systematic_aware_training",
        "07_export_to_cpp_and_tf_serving",
        "08_discriminant_diagnostics",
    ]


@each
def test_what_is_stored_is_complete_and_clean(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert path.stat().st_size < MAX_BYTES
    assert_clean(notebook)
    pictures = [base64.b64decode(o.data["image/png"]) for o in outputs(notebook) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 6
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert notebook.metadata == METADATA
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert not ABSOLUTE.search("\n".join(cell.source for cell in notebook.cells))


def test_paths_and_noise_are_found():
    """The controls of `assert_clean`: each spoiled output is refused."""
    good = nbformat.read(NOTEBOOKS[0], 4)
    first = code(good)[0].outputs
    spoiled = (
        nbformat.v4.new_output("stream", name="stderr", text="a warning"),
        nbformat.v4.new_output("stream", name="stdout", text="written to /tmp/abc"),
        nbformat.v4.new_output("stream", name="stdout", text="Traceback (most recent call last)"),
        nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[]),
    )
    assert_clean(good)
    for output in spoiled:
        first.append(output)
        with pytest.raises(AssertionError):
            assert_clean(good)
        first.pop()
    code(good)[-1].outputs[-1].text = ""
    with pytest.raises(AssertionError):
        assert_clean(good)


@pytest.mark.notebook
@each
def test_executed_again_every_number_holds(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    before = set(FOLDER.rglob("*"))
    work = tmp_path / "work"
    work.mkdir()
    notebook = executed(path, work)
    assert_clean(notebook)
    assert kinds(notebook) == kinds(nbformat.read(path, 4))
    assert list(work.iterdir()) == []
    assert set(FOLDER.rglob("*")) == before


if __name__ == "__main__":
    for name in map(Path, sys.argv[1:] or NOTEBOOKS):
        with tempfile.TemporaryDirectory() as scratch:
            nbformat.write(executed(name, scratch), name)
