"""Runs in the container, between tini and the command: ends the command when docker's client is gone.

docker/run leaves standard input open and writes nothing to it; its end means that the client died. The command then
gets SIGTERM, upon which training writes its checkpoint, and SIGKILL if it does not end. Signals are handed on; after
one the client's end is no second request, which would stop training at once.
"""

import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Run the command; its exit status, 128 + n after signal n, as a shell has it."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    asked = threading.Event()

    def hand_on(number: int, _: object) -> None:
        asked.set()
        process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, hand_on)
    threading.Thread(target=end_with_client, args=(process, asked), daemon=True).start()
    status = process.wait()
    return status if status >= 0 else 128 - status


def end_with_client(process: subprocess.Popen[bytes], asked: threading.Event) -> None:
    """Wait for the end of standard input, then end the command, unless it was `asked` to end already."""
    while os.read(0, 4096):
        pass
    if not asked.is_set():
        process.terminate()
    try:
        process.wait(timeout=float(os.environ.get("UCC_SECONDS_TO_STOP", "120")))
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
