"""Types for argparse that subcommands share."""

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = natural(text)
    if not value:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def natural(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number")
    return int(text)
