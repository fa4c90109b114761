"""Services started for a benchmark, and clients that ask them: threads, each with one connection that it keeps."""

import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

SOURCE = Path(__file__).parents[1] / "src"
TIMEOUT = 120.0
INFER = "/v2/models/segmenter/infer"
# Statuses beyond those of HTTP: the connection broke, or there was no answer in time.
BROKEN = 0


class Request(NamedTuple):
    """One request, as a client sends it."""

    path: str
    body: bytes
    headers: Mapping[str, str] = {}
    method: str = "POST"


class Measured(NamedTuple):
    """What a number of clients met: seconds until each good answer, all statuses, and how long it all took."""

    seconds: list[float]
    statuses: Counter[int]
    elapsed: float

    @property
    def errors(self) -> int:
        """Answers other than 200, and none."""
        return sum(count for status, count in self.statuses.items() if status != 200)


@contextmanager
def started(
    command: Sequence[str | Path], stderr: IO[str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A service's process and its port, which its first line of output names; ended with the block."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http://" not in line:
            raise SystemExit(f"error: {' '.join(map(str, command))} did not start")
        yield process, int(line.split("http://")[1].split()[0].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def ucc_serve(model: Path, *options: str) -> list[str | Path]:
    """The command that serves a model on any free port."""
    return [sys.executable, "-m", "ucc", "serve", model, "--port", "0", *options]


def ask(port: int, request: Request) -> tuple[int, bytes]:
    """Status and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        return _exchange(connection, request)
    finally:
        connection.close()


def measure(port: int, requests: Sequence[Request], clients: int, seconds: float) -> Measured:
    """Let `clients` threads ask for `seconds`, each through `requests` from a place of its own on."""
    found: list[tuple[int, float]] = []
    end = time.perf_counter() + seconds

    def work(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        for index in itertools.count(first):
            begin = time.perf_counter()
            if begin >= end:
                break
            try:
                status, _ = _exchange(connection, requests[index % len(requests)])
            except (OSError, http.client.HTTPException):
                status = BROKEN
                connection.close()
            found.append((status, time.perf_counter() - begin))
        connection.close()

    threads = [threading.Thread(target=work, args=(i * len(requests) // clients,)) for i in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - begin
    return Measured([spent for status, spent in found if status == 200], Counter(s for s, _ in found), elapsed)


def resident_mb(port: int) -> float:
    """Memory that a service holds, by its own metrics."""
    _, page = ask(port, Request("/metrics", b"", method="GET"))
    found = re.search(r"^process_resident_memory_bytes (\S+)$", page.decode(), re.MULTILINE)
    if found is None:
        raise SystemExit("error: /metrics tells no memory; this needs Linux")
    return float(found.group(1)) / 1e6


def tensor_request(images: np.ndarray) -> Request:
    """An inference with binary tensors."""
    parameters = {"binary_data_size": images.nbytes}
    tensor = {"name": "image", "datatype": "UINT8", "shape": images.shape, "parameters": parameters}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return Request(INFER, text + images.tobytes(), {"Inference-Header-Content-Length": str(len(text))})


def pictures(folder: Path, most: int) -> list[bytes]:
    """Up to `most` encoded images of a folder, spread evenly."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if not files:
        raise SystemExit(f"error: {folder}: no pictures. `make repro` makes some, or name a folder with --pictures.")
    return [file.read_bytes() for file in files[:: max(1, len(files) // most)][:most]]


def _exchange(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    connection.request(request.method, request.path, request.body or None, dict(request.headers))
    answer = connection.getresponse()
    return answer.status, answer.read()
