"""Whether nonsense can harm the service: `python benchmarks/serve_fuzz.py [MODEL] [--requests 10000]`.

Sends damaged pictures, forms, inferences and tensors, impossible headers, and bytes that are no HTTP (`nonsense.py`),
prints the statuses by kind, and then asks for what must still work. Status 1 if anything was answered with 500 or more,
503 too, since the queue is longer than there are clients; if the service ended, wrote a traceback, or does not answer
any more. A seed draws the same each time.
"""

import argparse
import random
import socket
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

from clients import BROKEN, Request, ask, resident_mb, started, tensor_request, ucc_serve
from nonsense import ENCODED, IMAGE, KINDS

# Where the service waits for more, which does not come: `--body-seconds` is shorter, its patience for headers longer.
PATIENCE = 5.0
CLIENTS = 8


def main() -> None:
    """Send, count, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path("models/segmenter.onnx"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    drawn = [(draw.__name__, draw(rng)) for draw, _ in zip(cycle(KINDS), range(arguments.requests), strict=False)]
    options = ("--body-seconds", "1", "--queue", str(CLIENTS))
    with tempfile.TemporaryFile("w+") as log:
        with started(ucc_serve(arguments.model, *options), stderr=log) as (process, port):
            begin = resident_mb(port)
            with ThreadPoolExecutor(CLIENTS) as clients:
                statuses = list(clients.map(lambda item: send(port, item[1]), drawn))
            failures = what_fails(process, port)
            print(f"{len(drawn)} requests; memory {begin:.0f} MB before, {resident_mb(port):.0f} MB after")
        log.seek(0)
        written = log.read()
    failures += [f"the log has a traceback:\n{written[-5000:]}"] if "Traceback" in written else []
    counts = Counter(zip((name for name, _ in drawn), statuses, strict=True))
    for kind in dict.fromkeys(name for name, _ in drawn):
        told = {s or "no answer": n for (name, s), n in sorted(counts.items()) if name == kind}
        print(f"{kind:<10} {', '.join(f'{status}: {count}' for status, count in told.items())}")
    bad = {status for status in statuses if status >= 500}
    failures += [f"statuses {sorted(bad)}"] if bad else []
    print("\n".join(f"error: {failure}" for failure in failures) or "nothing failed")
    raise SystemExit(bool(failures))


def send(port: int, content: bytes) -> int:
    """The status of the first answer to some bytes; `BROKEN` if the connection ends or stays silent."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(content)
            answer = b""
            while b"\r\n" not in answer and (more := connection.recv(4096)):
                answer += more
    except OSError:
        return BROKEN
    words = answer.split(maxsplit=2)
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") else BROKEN


def what_fails(process: subprocess.Popen[str], port: int) -> list[str]:
    """What no longer works."""
    if process.poll() is not None:
        return [f"the service ended with {process.returncode}"]
    good = [Request("/segment", encoded) for encoded in ENCODED] + [tensor_request(IMAGE[None])]
    good += [Request("/v2/health/ready", b"", method="GET"), Request("/openapi.json", b"", method="GET")]
    return [f"{request.path} answers {status}" for request in good if (status := ask(port, request)[0]) != 200]


if __name__ == "__main__":
    main()
