"""The arrows between the rooms, read from the imports; see the picture in CONTRIBUTING.md."""

import ast
from pathlib import Path

import pytest

import dnnlikelihood

PACKAGE = Path(dnnlikelihood.__file__).parent
FOLDERS = {"dataset", "sources", "sampling", "networks", "statistics", "discriminants", "export", "plots"}
NOUNS = {"likelihood", "profiled", "sampler", "data", "dnnlik", "published", "inference", "discriminant"}
OUTER = {
    "__main__",
    "cli",
    "integrations",
    "server",
    "learn",
    "learn_plots",
    "learn_eft",
    "learn_eft_plots",
    "learn_profiled",
    "learn_workspace",
    "curriculum",
    "active",
    "compare",
    "tune",
}
HEAVY = {"tensorflow", "tensorflow_probability", "keras", "tf_keras", "scipy", "matplotlib", "emcee", "pyhf", "onnx"}
HEAVY |= {"uproot", "onnxruntime", "h5py", "corner", "jsonschema", "rich", "starlette", "uvicorn", "optuna"}
ONLY_IMPORTER = {"keras": "networks", "matplotlib": "plots", "corner": "plots"}
ONLY_IMPORTER |= {"starlette": "server", "uvicorn": "server", "optuna": "tune"}
COMPILED = {"statistics/pseudo_experiments"}
"""What in statistics compiles a source's likelihood: thousands of data sets at once have no other form."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__")


def room_of(path):
    """The folder a module lies in, or its own name at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_typing(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(path, *, when_loaded=False):
    """(room or library, is it of this package) of every import; if `when_loaded`, of those that run on import."""
    found = set()

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if is_typing(child):
                continue
            if when_loaded and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.Import):
                found.update(
                    (alias.name.split(".")[0], alias.name.startswith("dnnlikelihood")) for alias in child.names
                )
            elif isinstance(child, ast.ImportFrom):
                found.update(targets(child))
            visit(child)

    def targets(node):
        if not node.level:
            head, _, rest = node.module.partition(".")
            return {(rest.split(".")[0] if head == "dnnlikelihood" and rest else head, head == "dnnlikelihood")}
        base = path.parent
        for _ in range(node.level - 1):
            base = base.parent
        parts = [*base.relative_to(PACKAGE).parts, *(node.module or "").split(".")]
        parts = [part for part in parts if part]
        return {(parts[0], True)} if parts else {(alias.name, True) for alias in node.names}

    visit(ast.parse(path.read_text("utf-8")))
    return found


def within(path, *, when_loaded=False):
    return {room for room, ours in imports(path, when_loaded=when_loaded) if ours}


def libraries(path, *, when_loaded=False):
    return {room for room, ours in imports(path, when_loaded=when_loaded) if not ours}


every_module = pytest.mark.parametrize("path", MODULES, ids=name_of)


@every_module
def test_a_folder_imports_no_noun(path):
    if room_of(path) in FOLDERS:
        assert not within(path) & (NOUNS | OUTER), f"{name_of(path)} points outwards"


@every_module
def test_nothing_imports_the_outer_rooms(path):
    if room_of(path) not in OUTER:
        assert not within(path) & OUTER


@every_module
def test_the_core_knows_no_folder_when_it_is_imported(path):
    """What is neither noun, folder nor outer room stands below them all."""
    room = room_of(path)
    if room in FOLDERS | NOUNS | OUTER | {"__init__", "__main__"}:
        return
    assert not within(path, when_loaded=True) & (FOLDERS | NOUNS | OUTER)


@every_module
def test_statistics_is_numpy_and_scipy_alone(path):
    if room_of(path) != "statistics":
        return
    assert not within(path) & {"networks", "sampling", "export", "plots"}
    assert not libraries(path) & (HEAVY - {"scipy"})
    if name_of(path) not in COMPILED:
        assert not within(path) & {"tracing", "differentiation", "sources"}


@every_module
def test_heavy_libraries_are_imported_where_they_are_used(path):
    loaded = libraries(path, when_loaded=True)
    heavy = loaded & HEAVY
    allowed = {room for room in heavy if ONLY_IMPORTER.get(room) == room_of(path)}
    assert not heavy - allowed, f"{name_of(path)} loads {sorted(heavy - allowed)} when it is imported"


@every_module
def test_only_one_room_knows_a_library(path):
    for library, room in ONLY_IMPORTER.items():
        if room_of(path) != room:
            assert library not in libraries(path), f"{name_of(path)} imports {library}; only {room}/ does"


@every_module
def test_nothing_unsafe_is_used(path):
    assert not libraries(path) & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"eval", "exec", "print", "__import__"}


@every_module
def test_modules_and_classes_are_small(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 400, "a module over 400 lines wants to be two"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno - node.lineno < 300, f"{node.name} is over 300 lines: a function wants a home"


@every_module
def test_names_say_something(path):
    assert not {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts} & {
        "utils",
        "helpers",
        "misc",
        "common",
    }


def test_the_reader_of_imports_reads(tmp_path, monkeypatch):
    """A negative control: a module that breaks the rules is seen to break them."""
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "plots").mkdir()
    bad = tmp_path / "plots" / "bad.py"
    bad.write_text(
        "import keras.layers\nfrom ..data import Data\nfrom .. import sampler\n"
        "from dnnlikelihood.dnnlik import DnnLik\n"
        "def f():\n    from scipy import stats\n    from . import corner_plot\n"
    )
    assert within(bad) == {"data", "sampler", "dnnlik", "plots"}
    assert libraries(bad) == {"keras", "scipy"}
    assert libraries(bad, when_loaded=True) == {"keras"}
