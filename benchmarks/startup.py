"""What garbage collection costs at the start of a stage: `python benchmarks/startup.py [--runs 5]`.

Starts Python as often as told, in turn as it comes and as `ucc.startup` sets it, imports what a stage imports, ends it,
and prints seconds of processor time, the smallest of each, and their ratio.
"""

import argparse
import os
import subprocess
import sys

MODULES = ("ucc.training", "ucc.evaluation", "ucc.export", "ucc.data.validation.run")
USUAL = "import {module}"
TUNED = "from ucc.startup import imports_are_done; import {module}; imports_are_done()"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    print(f"{'':24} {'usual':>7} {'tuned':>7} {'ratio':>6}")
    for module in MODULES:
        pairs = [[processor_seconds(code.format(module=module)) for code in (USUAL, TUNED)] for _ in range(runs)]
        usual, tuned = map(min, zip(*pairs, strict=True))
        print(f"{module:24} {usual:6.2f}s {tuned:6.2f}s {tuned / usual:6.2f}")


def processor_seconds(code: str) -> float:
    """Processor time of a Python that runs `code`, in seconds."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


if __name__ == "__main__":
    main()
