"""How fast the service is: `make bench-serve`, or `python benchmarks/serve.py [--seconds 10] [--rounds 3]`.

Starts `ucc serve` with the exported model, with its INT8 twin if there is one, and the same service with plain eager
torch, all with one thread a request and as many requests at once as there are cores. 1, 4 and 16 clients then post
validation pictures, each over one connection, and wait for the class map. The services take turns in short rounds, so
that whatever else the machine does falls on all alike. Prints requests a second, percentiles of the time until an
answer, and the ratio to torch.
"""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from clients import Measured, Request, ask, measure, pictures, started, ucc_serve

QUEUE = "64"


class Key(NamedTuple):
    """What one line of the table is about."""

    clients: int
    service: str


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of each round, for each service and each of --clients"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--pictures", type=Path, default=Path("data/dataset/images/val"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    arguments = parser.parse_args()
    requests = [Request("/segment", encoded) for encoded in pictures(arguments.pictures, 16)]
    commands = {
        "torch, eager": [
            sys.executable,
            Path(__file__).with_name("torch_service.py"),
            arguments.models / "final.pt",
            "--queue",
            QUEUE,
        ],
        "onnxruntime": ucc_serve(arguments.models / "segmenter.onnx", "--queue", QUEUE),
    }
    if (int8 := arguments.models / "int8/segmenter.onnx").is_file():
        commands["onnxruntime, INT8"] = ucc_serve(int8, "--queue", QUEUE)
    found: dict[Key, list[Measured]] = {}
    with ExitStack() as stack:
        ports = {name: stack.enter_context(started(command))[1] for name, command in commands.items()}
        tell_agreement(ports, requests)
        for port in ports.values():
            measure(port, requests, os.cpu_count() or 1, arguments.seconds / 2)  # warm up
        for _ in range(arguments.rounds):
            for clients in arguments.clients:
                for name, port in ports.items():
                    result = measure(port, requests, clients, arguments.seconds)
                    if result.errors:
                        raise SystemExit(f"error: {name} answered {dict(result.statuses)}")
                    found.setdefault(Key(clients, name), []).append(result)
    size = "x".join(map(str, decode(requests[0].body).shape[1::-1]))
    print(f"{len(requests)} pictures, the first of {size} pixels; {os.cpu_count()} cores; {arguments.rounds} rounds")
    print_table(found, "torch, eager")


def tell_agreement(ports: dict[str, int], requests: list[Request]) -> None:
    """Print how far each service's class maps agree with the first one's."""
    maps = {name: [decode(ask(port, request)[1]) for request in requests] for name, port in ports.items()}
    first, *others = maps
    for other in others:
        same = np.mean([np.mean(a == b) for a, b in zip(maps[first], maps[other], strict=True)])
        print(f"{other}: the same class as {first} for {100 * same:.3f} % of the pixels")


def decode(encoded: bytes) -> np.ndarray:
    """A picture's pixels; a class map's as colours."""
    return np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))


def print_table(found: dict[Key, list[Measured]], baseline: str) -> None:
    """One line for each number of clients and each service."""
    print(f"{'clients':>7}  {'service':<18}{'requests/s':>11}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'ratio':>8}")
    rates = {key: sum(len(r.seconds) for r in rs) / sum(r.elapsed for r in rs) for key, rs in found.items()}
    for key, results in sorted(found.items(), key=lambda item: item[0].clients):
        p50, p95, p99 = 1000 * np.percentile([s for r in results for s in r.seconds], (50, 95, 99))
        ratio = rates[key] / rates[Key(key.clients, baseline)]
        print(f"{key.clients:>7}  {key.service:<18}{rates[key]:>11.1f}{p50:>9.1f}{p95:>9.1f}{p99:>9.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
