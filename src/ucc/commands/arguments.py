"""What subcommands share in reading their arguments: types for argparse, and a check."""

import argparse
import re

from ucc.errors import UserError


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """A whole number of at least 0."""
    return _at_least(0, text)


def add_providers(parser: argparse.ArgumentParser) -> None:
    """`--provider NAME,...`: `options.provider` is what `ucc.Segmenter` takes as `providers`."""
    parser.add_argument(
        "--provider",
        type=lambda text: text.split(","),
        default=["cpu"],
        metavar="NAME,...",
        help="what onnxruntime computes with, the preferred first: cuda, tensorrt, coreml, ... (default: cpu, which "
        "also does what the others cannot)",
    )


def check_model_name(name: str) -> str:
    """The name that a served model is to have: a folder is called so, and it stands in addresses.

    Raises:
        UserError: if it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise UserError(f"--name {name!r}: a model's name is made of letters, digits, '_', '-' and '.'.")
    return name


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, {least} or more")
    return int(text)
