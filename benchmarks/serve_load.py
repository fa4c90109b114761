"""Whether the service holds out: `python benchmarks/serve_load.py MODEL [--minutes 10]`.

Clients, twice as many as cores, post pictures of many sizes and kinds, some beyond a tile, ask for every answer, and
send tensors. Twice a minute, and at least eight times, it prints requests, errors and the memory that it holds.
Status 1 if there was any error, or if a line through the second half's memory rises, over that half, by more than a
twentieth: the first half may still meet sizes that it has not met before.
"""

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from clients import Request, measure, resident_mb, started, tensor_request, ucc_serve

from ucc.segmenter import TILE

ACCEPTED = ("image/png", "image/png;output=overlay", "image/png;output=uncertainty", "application/json")
KINDS = (".jpg", ".png", ".webp", ".bmp")
TOLERATED = 0.05
BEYOND_TILE = 40  # one picture of so many


def main() -> None:
    """Load, watch, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path("models/segmenter.onnx"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--largest", type=int, default=640, help="side of the largest pictures in pixels")
    arguments = parser.parse_args()
    requests = draw_requests(200, arguments.largest)
    errors, memory = 0, []
    with started(ucc_serve(arguments.model)) as (process, port):
        print(f"begin: {resident_mb(port):.0f} MB", flush=True)
        rounds = max(8, math.ceil(2 * arguments.minutes))
        for index in range(1, rounds + 1):
            result = measure(port, requests, 2 * (os.cpu_count() or 1), 60 * arguments.minutes / rounds)
            errors += result.errors
            memory.append(resident_mb(port))
            told = f"{len(result.seconds)} requests, {dict(sorted(result.statuses.items()))}, {memory[-1]:.0f} MB"
            print(f"minute {arguments.minutes * index / rounds:.1f}: {told}", flush=True)
            if process.poll() is not None:
                raise SystemExit("error: the service has ended")
    grown = growth(memory[rounds // 2 :])
    print(f"{errors} errors; memory of the second half grows by {100 * grown:.1f} %")
    if errors or grown > TOLERATED:
        raise SystemExit(1)


def growth(memory: Sequence[float]) -> float:
    """By what share of their mean the line of least squares through the values rises from the first to the last."""
    slope = np.polyfit(np.arange(len(memory)), memory, 1)[0]
    return float(slope * (len(memory) - 1) / np.mean(memory))


def draw_requests(count: int, largest: int) -> list[Request]:
    """Pictures and tensors of smooth noise, of random sizes, the same each time."""
    rng = np.random.default_rng(0)
    requests = []
    for index in range(count):
        height, width = rng.integers(1, largest + 1, 2)
        if index % BEYOND_TILE == 0:
            width = TILE + height
        small = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
        image = cv2.resize(small, (int(width), int(height)))
        if index % 5 == 4:
            requests.append(tensor_request(image[np.newaxis]))
            continue
        encoded = cv2.imencode(KINDS[index % len(KINDS)], image)[1].tobytes()
        requests.append(Request("/segment", encoded, {"Accept": ACCEPTED[index // 4 % len(ACCEPTED)]}))
    return requests


if __name__ == "__main__":
    main()
