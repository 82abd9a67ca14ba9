"""Folders: atomic, locked, checked; what stood there before survives every failure."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from dnnlikelihood import Likelihood
from dnnlikelihood.errors import (
    ArtifactExists,
    IntegrityError,
    Locked,
    MissingArtifact,
    SafetyError,
    SaveFailed,
    SchemaError,
)
from dnnlikelihood.store import check_manifest, lock, write_text, writing


def gaussian(mean=0.0):
    return Likelihood.from_source("gaussian", mean=[mean])


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def leftovers(parent):
    return [p.name for p in parent.iterdir() if not p.name.endswith(".lock") and p.name.startswith(".")]


def test_a_saved_artifact_describes_itself(tmp_path):
    folder = gaussian().save(tmp_path / "with spaces" / "µ")
    assert check_manifest(folder) == ["log.jsonl", "metadata.json"]
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["noun"] == "likelihood"
    assert metadata["fingerprint"] == gaussian().fingerprint
    assert metadata["parameters"][0]["name"] == "x0"
    assert leftovers(folder.parent) == []


def test_overwriting_needs_to_be_allowed(tmp_path):
    gaussian().save(tmp_path / "g")
    before = contents(tmp_path / "g")
    with pytest.raises(ArtifactExists, match="pass overwrite=True"):
        gaussian(1.0).save(tmp_path / "g")
    assert contents(tmp_path / "g") == before
    gaussian(1.0).save(tmp_path / "g", overwrite=True)
    assert Likelihood.load(tmp_path / "g").fingerprint == gaussian(1.0).fingerprint
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_error_while_writing_leaves_the_old_folder(tmp_path, error):
    gaussian().save(tmp_path / "g")
    before = contents(tmp_path / "g")

    def write():
        with writing(tmp_path / "g", overwrite=True) as folder:
            (folder / "half").write_text("written")
            raise error

    with pytest.raises(SaveFailed if isinstance(error, OSError) else type(error)):
        write()
    assert contents(tmp_path / "g") == before
    assert leftovers(tmp_path) == []


def limited(tmp_path, limit, statement):
    """Run a statement in a process that may write no file longer than `limit` bytes: a full disk."""
    script = f"""
        import resource, signal, sys, pathlib, numpy as np
        from dnnlikelihood import Data, Likelihood, ParameterSpace
        from dnnlikelihood.errors import SaveFailed
        from dnnlikelihood.store import write_text
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = pathlib.Path(sys.argv[1])
        data = Data.from_arrays(ParameterSpace.of("x"), np.arange(20_000.0)[:, None], np.zeros(20_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            {statement}
        except SaveFailed as error:
            print("refused:", error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_full_disk_leaves_the_old_artifact(tmp_path):
    assert limited(tmp_path, 10**8, 'data.save(folder / "data")') == ""
    before = contents(tmp_path / "data")
    out = limited(tmp_path, 50_000, 'data.save(folder / "data", overwrite=True)')
    assert out.startswith("refused:")
    assert "what stood there before is untouched" in out
    assert contents(tmp_path / "data") == before
    check_manifest(tmp_path / "data")
    assert leftovers(tmp_path) == []


def test_a_full_disk_leaves_the_old_text(tmp_path):
    write_text(tmp_path / "notes.json", "old")
    out = limited(tmp_path, 1000, 'write_text(folder / "notes.json", "x" * 5000)')
    assert "refused: could not write" in out
    assert contents(tmp_path) == {"notes.json": b"old"}


def test_a_full_disk_while_labelling_keeps_what_is_done(tmp_path):
    label = (
        'Data.label(Likelihood(lambda t: -t[:, 0] ** 2, ParameterSpace.of("x")), '
        'np.arange(30_000.0)[:, None], folder=folder / "labels")'
    )
    out = limited(tmp_path, 70_000, label)
    assert "it continues from there" in out
    assert (tmp_path / "labels.partial" / "logpdf.f64").stat().st_size >= 8 * 8192
    assert limited(tmp_path, 10**8, label) == ""
    check_manifest(tmp_path / "labels")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(SaveFailed, match="choose a folder you may write to"):
        gaussian().save(tmp_path / "closed" / "g")


@pytest.mark.parametrize("folder", ["/proc/nothing/g", "file/g"])
def test_folders_that_cannot_be_written(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SaveFailed, match="choose a folder you may write to"):
        gaussian().save(folder)


def test_two_processes_in_one_folder(tmp_path):
    script = """
        import sys, pathlib
        from dnnlikelihood.store import lock
        with lock(pathlib.Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.readline()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "g")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Locked, match="another process is working in"):
            gaussian().save(tmp_path / "g")
        assert not (tmp_path / "g").exists()
        other.kill()
        other.wait()
    gaussian().save(tmp_path / "g")  # a dead process holds nothing
    with lock(tmp_path / "h"):
        pass


def edit(folder):
    (folder / "metadata.json").write_text((folder / "metadata.json").read_text().replace("0.0", "1.0"))


def manifest_with(folder, name):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    document["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    path.write_text(json.dumps(document))


def link(folder):
    text = (folder / "metadata.json").read_bytes()
    (folder.parent / "elsewhere.json").write_bytes(text)
    (folder / "metadata.json").unlink()
    (folder / "metadata.json").symlink_to(folder.parent / "elsewhere.json")


DAMAGE = {
    "an edited file": (edit, IntegrityError, r"metadata\.json is not the file that was saved"),
    "a file removed": (lambda f: (f / "log.jsonl").unlink(), MissingArtifact, r"log\.jsonl is in the manifest"),
    "a file added": (lambda f: (f / "model.py").write_text("import os"), IntegrityError, r"not saved .*'model\.py'"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), MissingArtifact, r"manifest\.json does not exist"),
    "a name above": (lambda f: manifest_with(f, "../../etc/passwd"), SafetyError, "leaves the folder"),
    "an absolute name": (lambda f: manifest_with(f, "/etc/passwd"), SafetyError, "leaves the folder"),
    "a link": (link, SafetyError, "leaves the folder"),
    "no manifest at all": (lambda f: (f / "manifest.json").write_text("[]"), SchemaError, "manifest"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found(tmp_path, case):
    damage, error, message = DAMAGE[case]
    folder = gaussian().save(tmp_path / "g")
    damage(folder)
    with pytest.raises(error, match=message):
        check_manifest(folder)
