"""A run can always go on: from its last checkpoint, or from the one before if that is damaged or was never finished."""

import errno
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ucc.torch_files
from ucc.checkpoints import mend_checkpoint, previous, read_checkpoint, save_checkpoint
from ucc.errors import UserError


def state(step: int, size: int = 1000) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((size,), float(step))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a run that has two checkpoints, of steps 2 and 4, keeps the newest."""
    place = tmp_path / "run/checkpoint.pt"
    for step in (2, 4):
        save_checkpoint(place, state(step))
    return place


def loaded_step(path: Path) -> int:
    mend_checkpoint(path)
    found = read_checkpoint(path)
    assert found is not None
    assert torch.equal(found["weights"], state(found["step"])["weights"])
    return int(found["step"])


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    mend_checkpoint(tmp_path / "checkpoint.pt")
    assert read_checkpoint(tmp_path / "checkpoint.pt") is None


def test_the_two_last_checkpoints_are_kept_and_the_last_comes_back(path: Path) -> None:
    save_checkpoint(path, state(6))
    assert loaded_step(path) == 6
    assert names(path) == ["checkpoint.previous.pt", "checkpoint.pt"]
    assert torch.load(previous(path), weights_only=True)["step"] == 4


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    torch.save(state(9), path)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, foreign])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before_with_a_warning(
    path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(path)
    assert loaded_step(path) == 2
    said = capsys.readouterr().out
    step = "4" if damage is flip_a_bit else "unknown"
    assert said == f"warning: {path} (step {step}) is damaged; going on from {previous(path)} (step 2)\n"
    # From here on as if the damaged one had never been: the next save keeps the whole one.
    save_checkpoint(path, state(4))
    truncate(path)
    assert loaded_step(path) == 2


def test_two_damaged_checkpoints_are_named_with_a_remedy(path: Path) -> None:
    flip_a_bit(path)
    empty(previous(path))
    both = r"checkpoint\.pt \(step 4\) and .*checkpoint\.previous\.pt \(step unknown\): .* are damaged"
    with pytest.raises(UserError, match=rf"{both}.*delete .*run to train anew"):
        mend_checkpoint(path)


@pytest.mark.parametrize("call", ["torch.save", "os.fsync", "Path.replace 1", "Path.replace 2"])
def test_a_kill_at_any_moment_of_saving_leaves_a_whole_checkpoint(path: Path, call: str) -> None:
    """A child process kills itself where the call would begin."""
    name, _, count = call.partition(" ")
    child = os.fork()
    if child == 0:
        remaining = [int(count or 1)]

        def die(original: Callable[..., Any]) -> Callable[..., Any]:
            def replacement(*args: Any, **options: Any) -> Any:
                remaining[0] -= 1
                if remaining[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **options)

            return replacement

        owner, attribute = {"torch": torch, "os": os, "Path": Path}[name.split(".")[0]], name.split(".")[1]
        setattr(owner, attribute, die(getattr(owner, attribute)))
        save_checkpoint(path, state(6))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert loaded_step(path) == 4
    save_checkpoint(path, state(6))
    assert loaded_step(path) == 6


def test_an_interrupted_write_leaves_the_checkpoints_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(target: Path, content: object) -> None:  # noqa: ARG001
        target.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr("ucc.checkpoints.write_torch", half)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, state(6))
    assert loaded_step(path) == 4
    assert names(path) == ["checkpoint.previous.pt", "checkpoint.pt"]


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """No file may become larger, in bytes: what a full disk does to a program, without a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_the_system_refuses_names_the_checkpoint_and_keeps_those_before(
    path: Path, file_size_limit: int
) -> None:
    with pytest.raises(OSError, match="File too large") as refused:
        save_checkpoint(path, state(6, size=file_size_limit))
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(path))
    assert loaded_step(path) == 4
    assert names(path) == ["checkpoint.previous.pt", "checkpoint.pt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("size", [100_000, 2_000_000], ids=["at the end", "in the middle"])
def test_a_full_disk_keeps_the_checkpoints_and_is_told_with_the_file(small_disk: Path, size: int) -> None:
    path = small_disk / "checkpoint.pt"
    for step in (2, 4):
        save_checkpoint(path, state(step, size=80_000))
    with pytest.raises(OSError, match="No space left on device") as refused:
        save_checkpoint(path, state(6, size=size))
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(path))
    mend_checkpoint(path)
    found = read_checkpoint(path)
    assert found is not None
    assert found["step"] == 4
    assert names(path) == ["checkpoint.previous.pt", "checkpoint.pt"]


def test_what_torch_writes_depends_on_the_content_alone(tmp_path: Path) -> None:
    for name in ("a.pt", "another.bin"):
        ucc.torch_files.write_torch(tmp_path / name, state(3))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another.bin").read_bytes()


def test_what_torch_cannot_write_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="lambda"):
        ucc.torch_files.write_torch(tmp_path / "a.pt", {"f": lambda: None})


def test_the_new_checkpoint_is_on_the_disk_before_the_old_one_moves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def noting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: (calls.append(name), original(*arguments))[1]

    monkeypatch.setattr(os, "fsync", noting("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", noting("replace", Path.replace))
    save_checkpoint(path, state(6))
    assert calls[:2] == ["fsync", "replace"]


def test_a_checkpoint_of_many_blocks_is_whole_or_not(path: Path) -> None:
    save_checkpoint(path, state(6, size=10**6))
    mend_checkpoint(path)
    assert torch.load(path, weights_only=True)["step"] == 6
    content = bytearray(path.read_bytes())
    content[-len(content) // 4] ^= 1  # beyond the first megabyte
    path.write_bytes(content)
    mend_checkpoint(path)
    assert torch.load(path, weights_only=True)["step"] == 4
