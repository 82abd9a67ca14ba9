"""The log: one line an event, one schema for all, nothing lost but a torn last line."""

import json
import logging

import pytest

from dnnlikelihood.errors import CorruptFile, SchemaError
from dnnlikelihood.runlog import RunLog, versions

ID, PARENT = "a" * 64, "b" * 64


def test_events_are_appended_as_they_happen(tmp_path):
    path = tmp_path / "log.jsonl"
    log = RunLog.read(path, follow=True)
    log.record("begun", id=ID, parents=[PARENT], seed=3, numbers={"rows": 5})
    assert len(path.read_text().splitlines()) == 1
    with log.timed("done", id=ID) as numbers:
        numbers["loss"] = 0.5
    again = RunLog.read(path, follow=True)
    assert list(again) == list(log)
    assert [e["event"] for e in again] == ["begun", "done"]
    begun, done = again
    assert begun["parents"] == [PARENT]
    assert begun["seed"] == 3
    assert done["numbers"] == {"loss": 0.5}
    assert done["seconds"] >= 0
    assert {"python", "dnnlikelihood", "numpy"} <= set(begun["versions"]) == set(versions())
    again.record("more", id=ID)
    assert RunLog.read(path).text() == path.read_bytes()


def test_reading_alone_never_writes(tmp_path):
    path = tmp_path / "log.jsonl"
    RunLog.read(path).record("elsewhere", id=ID)
    assert not path.exists()


def test_warnings_are_logged(caplog):
    with caplog.at_level(logging.WARNING):
        RunLog().record("trained", id=ID, warnings=["the loss rose"])
    assert "trained: the loss rose" in caplog.text


def test_a_torn_last_line_is_dropped_and_said(tmp_path, caplog):
    path = tmp_path / "log.jsonl"
    log = RunLog(path=path)
    log.record("one", id=ID)
    log.record("two", id=ID)
    whole = path.read_bytes()
    for cut in (1, 2, 30, 100):
        path.write_bytes(whole[:-cut])
        with caplog.at_level(logging.WARNING):
            events = [e["event"] for e in RunLog.read(path)]
        assert events == (["one", "two"] if cut == 1 else ["one"])
    assert "torn" in caplog.text


def test_an_event_after_a_torn_line_is_readable(tmp_path):
    path = tmp_path / "log.jsonl"
    RunLog(path=path).record("one", id=ID)
    with path.open("ab") as file:
        file.write(b'{"schema": "log/1", "id"')
    RunLog.read(path, follow=True).record("two", id=ID)
    assert [e["event"] for e in RunLog.read(path)] == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"schema": "log/2"}, SchemaError),
        ({"id": "x"}, SchemaError),
        ({"mood": "good"}, SchemaError),
        ({"seconds": -1}, SchemaError),
        ({"event": ""}, SchemaError),
    ],
)
def test_lines_that_are_refused(tmp_path, change, error):
    path = tmp_path / "log.jsonl"
    entry = RunLog(path=path).record("one", id=ID)
    path.write_text(json.dumps(entry | change) + "\n")
    with pytest.raises(error, match=r"log\.jsonl:1"):
        RunLog.read(path)


def test_damage_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "log.jsonl"
    log = RunLog(path=path)
    log.record("one", id=ID)
    log.record("two", id=ID)
    first, second = path.read_bytes().splitlines()
    path.write_bytes(first[:-5] + b"\n" + second + b"\n")
    with pytest.raises(CorruptFile, match=r"log\.jsonl:1"):
        RunLog.read(path)


def test_what_cannot_be_logged():
    for fields in ({"id": "short"}, {"id": ID, "numbers": {"x": float("nan")}}, {"id": ID, "parents": ["p"]}):
        log = RunLog()
        with pytest.raises(SchemaError):
            log.record("event", **fields)
        assert len(log) == 0
