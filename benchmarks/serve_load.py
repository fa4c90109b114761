"""Whether the service holds out: `python benchmarks/serve_load.py MODEL [--minutes 10]`.

Clients, twice as many as cores, post pictures of many sizes and kinds, ask for every answer, and send tensors. Every
minute it prints requests, errors and the memory that the service holds. Status 1 if there was any error, or if the last
minutes held more memory than the first third did at most, and a tenth.
"""

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
from clients import Request, measure, resident_mb, started, tensor_request, ucc_serve

ACCEPTED = ("image/png", "image/png;output=overlay", "image/png;output=uncertainty", "application/json")
KINDS = (".jpg", ".png", ".webp", ".bmp")
TOLERATED = 1.1


def main() -> None:
    """Load, watch, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path("models/segmenter.onnx"))
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--largest", type=int, default=640, help="side of the largest pictures in pixels")
    arguments = parser.parse_args()
    requests = draw_requests(200, arguments.largest)
    errors, memory = 0, []
    with started(ucc_serve(arguments.model)) as (process, port):
        print(f"begin: {resident_mb(port):.0f} MB", flush=True)
        for minute in range(1, arguments.minutes + 1):
            result = measure(port, requests, 2 * (os.cpu_count() or 1), 60)
            errors += result.errors
            memory.append(resident_mb(port))
            statuses = dict(sorted(result.statuses.items()))
            print(f"minute {minute}: {len(result.seconds)} requests, {statuses}, {memory[-1]:.0f} MB", flush=True)
            if process.poll() is not None:
                raise SystemExit("error: the service has ended")
    third = max(1, len(memory) // 3)
    grown = min(memory[-third:]) / max(memory[:third])
    print(f"{errors} errors; memory of the last minutes: {grown:.2f} times the most of the first")
    if errors or grown > TOLERATED:
        raise SystemExit(1)


def draw_requests(count: int, largest: int) -> list[Request]:
    """Pictures and tensors of smooth noise, of random sizes, the same each time."""
    rng = np.random.default_rng(0)
    requests = []
    for index in range(count):
        height, width = rng.integers(1, largest + 1, 2)
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
