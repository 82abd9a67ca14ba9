"""JSON: canonical out, strict in."""

import math
import time

import numpy as np
import pytest

from dnnlikelihood.errors import CorruptFile, MissingArtifact, SchemaError
from dnnlikelihood.jsonfiles import canonical, fingerprint, pretty, read_json, strict_loads, validate

MANIFEST = {"schema": "manifest/1", "files": {"a": {"sha256": "0" * 64, "bytes": 1}}}

BAD = {
    "NaN": ('{"a": NaN}', SchemaError, "NaN is not JSON"),
    "Infinity": ("[Infinity]", SchemaError, "Infinity is not JSON"),
    "-Infinity": ("[-Infinity]", SchemaError, "-Infinity is not JSON"),
    "overflow": ("[1e999]", SchemaError, "1e999 is too large"),
    "duplicate keys": ('{"a": 1, "b": {"c": 1, "c": 2}}', SchemaError, r"duplicate keys \['c'\]"),
    "deep": ("[" * 200_000 + "]" * 200_000, SchemaError, "nested 200000 deep"),
    "digits": ("[" + "9" * 5000 + "]", SchemaError, "an integer of 5000 digits"),
    "not UTF-8": (b'{"a": "\xff"}', CorruptFile, "not UTF-8"),
    "torn": ('{"a": [1, 2', CorruptFile, "not JSON"),
    "empty": ("", CorruptFile, "not JSON"),
    "Python": ("__import__('os')", CorruptFile, "not JSON"),
    "an open string of quotes": ('["' + '\\"' * 2_000_000, CorruptFile, "not JSON"),
    "a million duplicates": ("{" + '"a":1,' * 1_000_000 + '"a":1}', SchemaError, r"duplicate keys \['a'\]"),
    "two documents": ("{} {}", CorruptFile, "not JSON"),
    "huge": (" " * (64 * 1024 * 1024 + 1), SchemaError, "more than the 67108864"),
}


@pytest.mark.parametrize("case", BAD)
def test_documents_that_are_refused(case):
    text, error, message = BAD[case]
    start = time.process_time()
    with pytest.raises(error, match=message) as caught:
        strict_loads(text, "settings.json")
    assert "settings.json" in str(caught.value)
    assert time.process_time() - start < 5, "linear in the length, whatever stands in it"


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, np.float64(np.nan), [1, [np.inf]], np.array([np.nan])]
)
def test_numbers_that_are_not_written(value):
    for write in (canonical, pretty, fingerprint):
        with pytest.raises(SchemaError, match="write null"):
            write({"a": value})


def test_round_trip_and_order():
    value = {"b": [1, 2.5, None, True], "a": {"é": "µ", "x": 1e-300}}
    assert strict_loads(canonical(value)) == strict_loads(pretty(value)) == value
    assert canonical({"b": 1, "a": np.int64(2), "c": (1, np.float64(0.1))}) == b'{"a":2,"b":1,"c":[1,0.1]}'
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 1})
    assert strict_loads("[" * 100 + "]" * 100)


def test_every_float_survives(rng):
    numbers = np.frombuffer(rng.bytes(8 * 2000), float)
    numbers = numbers[np.isfinite(numbers)].tolist()
    assert strict_loads(canonical(numbers)) == numbers


def test_brackets_in_strings_are_no_nesting():
    assert strict_loads(canonical({"latex": "[" * 500})) == {"latex": "[" * 500}


def test_reading_a_file(tmp_path):
    path = tmp_path / "manifest.json"
    with pytest.raises(MissingArtifact, match=r"manifest\.json does not exist"):
        read_json(path)
    path.write_text(pretty(MANIFEST))
    assert read_json(path, "manifest") == MANIFEST


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "manifest/2"}, "written as manifest/2, this version reads manifest/1; upgrade"),
        ({"schema": "other/1"}, "schema"),
        ({"extra": 1}, "extra"),
        ({"files": {"a": {"sha256": "0" * 63, "bytes": 1}}}, "files/a/sha256"),
        ({"files": {"a": {"sha256": "0" * 64, "bytes": -1}}}, "files/a/bytes"),
        ({"files": []}, "files"),
    ],
)
def test_documents_against_their_schema(change, message):
    with pytest.raises(SchemaError, match=message):
        validate(MANIFEST | change, "manifest", "manifest.json")
