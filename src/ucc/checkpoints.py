"""The two last checkpoints of a run: each carries its own hash, and the one before stands in for a damaged one.

A checkpoint is a file of torch with one line behind it, which torch does not read:

    ucc checkpoint, step 000000000050, sha256 <64 hex digits of all before this line>

Hash and content come into place in one rename, so that a kill cannot part them.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ucc.errors import UserError
from ucc.files import atomic_path, sha256
from ucc.output import tell
from ucc.torch_files import write_torch

_SEAL = "\nucc checkpoint, step {step:012d}, sha256 {hash}\n"
_PATTERN = re.compile(rb"\nucc checkpoint, step (\d{12}), sha256 ([0-9a-f]{64})\n")
_LENGTH = len(_SEAL.format(step=0, hash="0" * 64))


class _Seal(NamedTuple):
    """What the last line of a file says: after which step it was written, and whether its bytes are still those."""

    step: int | None
    intact: bool


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, which holds its number of steps under `step`; the one at `path` becomes `previous(path)`.

    The new one is whole and on the disk before the old one moves: after a kill at any moment there is a whole one
    under one of the two names.

    Raises:
        OSError: naming `path`, if the machine refuses. Both checkpoints that were there stay as they are.
    """
    with atomic_path(path) as temporary:
        write_torch(temporary, state)
        seal = _SEAL.format(step=state["step"], hash=sha256(temporary)).encode()
        with temporary.open("ab") as out:
            out.write(seal)
            out.flush()
            os.fsync(out.fileno())
        if path.exists():
            path.replace(previous(path))


def mend_checkpoint(path: Path) -> None:
    """Put the newest whole checkpoint at `path`, if there is one, with a warning if a newer one is damaged.

    Where several processes read the same, one alone does this, before the others read.

    Raises:
        UserError: if there are checkpoints and none is whole.
    """
    present = [file for file in (path, previous(path)) if file.is_file()]
    damaged: list[str] = []
    for file in present:
        seal = _read_seal(file)
        if not seal.intact:
            damaged.append(f"{file} (step {seal.step if seal.step is not None else 'unknown'})")
            continue
        if damaged:
            tell(f"warning: {damaged[0]} is damaged; going on from {file} (step {seal.step})")
        if file != path:
            # Also so that the next save does not put a damaged one in the place of the whole one.
            file.replace(path)
        return
    if damaged:
        verb = "is" if len(damaged) == 1 else "are"
        raise UserError(
            f"{' and '.join(damaged)}: the checkpoint {verb} damaged, and there is no other. "
            f"Check the disk, and delete {path.parent} to train anew."
        )


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state that `save_checkpoint` wrote, on the CPU, or None if there is none; `mend_checkpoint` comes first."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _read_seal(path: Path) -> _Seal:
    """The last line of a file, held against the bytes before it."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END) - _LENGTH
        stream.seek(max(0, size))
        found = _PATTERN.fullmatch(stream.read())
    if found is None:
        return _Seal(None, False)
    return _Seal(int(found[1]), _hash(path, size) == found[2].decode())


def _hash(path: Path, length: int) -> str:
    """Hex SHA-256 of the first `length` bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while length > 0 and (block := stream.read(min(length, 1 << 20))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()
