"""`dnnlik serve` under load: single points, one request in a hundred malformed, every answer held against the file's.

    python benchmarks/serve.py [--model FOLDER] [--seconds 600]         prints; export.py keeps the result

Four clients on keep-alive connections ask as fast as they are answered, so that the server is never idle. Server and
clients share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from report import HERE, Claim, table

import dnnlikelihood

__all__ = ["server_claims"]

SEED = 606_050
"""Used nowhere else."""
CLIENTS, MALFORMED = 4, 0.01
SETTLED = 0.1
"""Share of the run after which memory is measured: by then every code path has run."""
BAD = (
    b"",
    b'{"instances": [[NaN]]}',
    b'{"instances": [[1.0]]}',
    b'{"instances": ' + b"[" * 2000,
    b'{"instances": [], "instances": []}',
    b'{"a": "' + b'\\"' * 5000,
    b'{"signature_name": "none", "instances": []}',
)


@dataclass
class Record:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    malformed: int = 0
    memory: list[float] = field(default_factory=list)
    """Resident MB of the server, one number a second."""


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    return int(head.split(None, 2)[1]), await reader.readexactly(length)


async def client(
    port: int, points: list[bytes], bad: list[bytes], expected: np.ndarray, end: float, seed: int, record: Record
) -> None:
    """Ask until the end; a malformed question has to be refused with 400, any other answered with the right number."""
    rng = np.random.default_rng([SEED, seed])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        i = int(rng.integers(len(points)))
        wrong = bad[int(rng.integers(len(bad)))] if rng.random() < MALFORMED else None
        start = time.perf_counter()
        status, body = await ask(reader, writer, wrong or points[i])
        record.seconds.append(time.perf_counter() - start)
        if wrong is not None:
            record.malformed += 1
            if status != 400:
                record.wrong.append(f"{status} for {wrong[-40:]!r}")
        elif status != 200 or abs(json.loads(body)["predictions"][0] - expected[i]) > 1e-12 * abs(expected[i]):
            record.wrong.append(f"{status} {body[:100]!r}")
    writer.close()


def post(name: str, body: bytes) -> bytes:
    """A prediction request as it goes over the wire."""
    head = f"POST /v1/models/{name}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def resident(pid: int) -> float:
    """MB of memory a process has."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


async def load(
    port: int, pid: int, points: list[bytes], bad: list[bytes], expected: np.ndarray, seconds: float
) -> Record:
    """All clients at once, and the server's memory while they ask."""
    record, end = Record(), time.monotonic() + seconds
    clients = [asyncio.create_task(client(port, points, bad, expected, end, k, record)) for k in range(CLIENTS)]
    while time.monotonic() < end:
        record.memory.append(resident(pid))
        await asyncio.sleep(min(1.0, seconds / 100))
    await asyncio.gather(*clients)
    return record


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measured(folder: Path, seconds: float) -> tuple[Record, float]:
    """The record of a run, and CPU seconds of the server in it."""
    model = dnnlikelihood.open(folder, threads=1)
    name, theta = model.metadata["name"], model.reference()["theta"]
    expected = model.logpdf(theta)
    points = [post(name, json.dumps({"instances": [row]}).encode()) for row in theta.tolist()]
    bad = [post(name, body) for body in BAD]
    command = [sys.executable, "-m", "dnnlikelihood", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = ""
            while not line.startswith("page"):
                line = server.stderr.readline()  # type: ignore[union-attr]
                if not line:
                    raise RuntimeError(f"the server of {folder} ended before it began")
            port, before = int(line.rstrip("/\n").rpartition(":")[2]), cpu_seconds(server.pid)
            record = asyncio.run(load(port, server.pid, points, bad, expected, seconds))
            return record, cpu_seconds(server.pid) - before
        finally:
            server.terminate()


def server_claims(folder: Path, seconds: float) -> list[Claim]:
    """Latency, errors and memory of `dnnlik serve` under load."""
    record, cpu = measured(folder, seconds)
    n = len(record.seconds)
    p50, p99, worst = 1e3 * np.percentile(record.seconds, [50, 99, 100])
    settled = record.memory[int(SETTLED * len(record.memory)) :]
    early, late = (float(np.median(part)) for part in np.array_split(settled, 5)[::4])
    how = (
        f"{n} requests of one point in {seconds:g} s from {CLIENTS} clients, {record.malformed} of them malformed; "
        f"{n / seconds:.0f} a second, {1e3 * cpu / n:.2f} CPU-ms of the server each; median {p50:.1f} ms, "
        f"99 % {p99:.1f} ms, worst {worst:.0f} ms; {early:.1f} MB at the beginning, {late:.1f} MB at the end"
    )
    if record.wrong:
        how += f"; first wrong answer: {record.wrong[0]}"
    rows = (
        ("99th percentile of the answer time", p99, "ms", 20.0),
        ("answers other than the right one", float(len(record.wrong)), "answers", 0.0),
        ("growth of its memory", late - early, "MB", 1.0),
    )
    return [
        Claim(claim=f"Server under load: {what}", value=value, unit=unit, target=target, how=how)
        for what, value, unit, target in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE.parent / "saved_models" / "toy_lhc")
    parser.add_argument("--seconds", type=float, default=600.0)
    arguments = parser.parse_args()
    table(server_claims(arguments.model, arguments.seconds))


if __name__ == "__main__":
    main()
