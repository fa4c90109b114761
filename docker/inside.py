"""Runs in the container, between tini and the command: ends the command when docker's client is gone.

docker/run leaves standard input open and writes nothing to it; its end means that the client died. The command then
gets SIGTERM, upon which training writes its checkpoint, and SIGKILL if it does not end. Signals are handed on.
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
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: process.send_signal(received))
    threading.Thread(target=end_with_client, args=(process,), daemon=True).start()
    status = process.wait()
    return status if status >= 0 else 128 - status


def end_with_client(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of standard input, then end the command."""
    while os.read(0, 4096):
        pass
    process.terminate()
    try:
        process.wait(timeout=float(os.environ.get("UCC_SECONDS_TO_STOP", "120")))
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
