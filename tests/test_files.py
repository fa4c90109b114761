"""Files are whole or absent, whatever happens while they are written."""

import csv
import hashlib
import json
import math
import os
import signal
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ucc import files
from ucc.files import atomic_folder, atomic_path, sha256, sweep, write_csv, write_json, write_text


@pytest.fixture
def umask(monkeypatch: pytest.MonkeyPatch) -> int:
    """A user's umask, as it was found when `ucc.files` was imported."""
    monkeypatch.setattr(files, "UMASK", 0o027)
    return 0o027


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_appears_under_its_name_when_the_block_has_ended(tmp_path: Path) -> None:
    target = tmp_path / "made" / "on the way" / "out.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(target.parent) == ["out.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:  # noqa: PT012 - the block is what is tested
        temporary.write_text("half of the n")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_an_exception_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "out.txt") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert names(tmp_path) == []


def test_a_reader_that_has_the_old_file_open_keeps_reading_it(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with target.open() as reader:
        write_text(target, "new")
        assert reader.read() == "old"
    assert target.read_text() == "new"


def test_results_have_the_permissions_that_the_user_asks_for(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "out.txt", "text")
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "inside.txt").write_text("text")
    assert mode(tmp_path / "out.txt") == 0o666 & ~umask
    assert mode(tmp_path / "out") == 0o777 & ~umask


def test_writing_does_not_touch_the_umask_that_other_threads_make_their_files_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "umask")
    write_text(tmp_path / "out.txt", "text")
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "part.txt").touch()
    assert mode(tmp_path / "out.txt") == mode(tmp_path / "out/part.txt")


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "made" / "out"
    for name in ("first.txt", "second.txt"):
        with atomic_folder(target) as temporary:
            assert names(temporary) == []
            (temporary / name).write_text(name)
    assert names(target) == ["second.txt"]
    assert names(target.parent) == ["out"]


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with atomic_path(tmp_path / "out.txt"), atomic_folder(tmp_path / "out") as folder:
            (folder / "half.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    left = names(tmp_path)
    assert len(left) == 2
    with atomic_path(tmp_path / "mine.txt") as file, atomic_folder(tmp_path / "mine") as folder:
        sweep(tmp_path)
        assert sorted(path.name for path in (file, folder)) == names(tmp_path)
        assert not set(left) & {file.name, folder.name}
    (tmp_path / ".hidden").write_text("of the user")
    sweep(tmp_path)
    assert names(tmp_path) == [".hidden", "mine", "mine.txt"]
    sweep(tmp_path / "no such folder")


@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_folder_that_must_not_be_written_to_is_told_by_the_name_of_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    def denied(*_: object, dir: Path, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(dir / ".out.partial.x7"))

    monkeypatch.setattr("tempfile.mkstemp", denied)
    monkeypatch.setattr("tempfile.mkdtemp", denied)
    with pytest.raises(PermissionError) as caught, atomic(tmp_path / "out"):
        pass
    assert caught.value.filename == str(tmp_path / "out")


def test_a_folder_that_stands_aside_is_not_swept_while_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def swept(source: Path, target: Path) -> Path:
        sweep(tmp_path)
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", swept)
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "part.txt").write_text(content)
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/part.txt").read_text() == "new"


def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:  # noqa: PT012
        (temporary / "new.txt").write_text("half")
        raise RuntimeError
    assert names(target) == ["old.txt"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_numbers_that_other_readers_cannot_parse(tmp_path: Path, value: float) -> None:
    target = tmp_path / "metrics.json"
    write_json(target, {"miou": 50.0})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(target, {"miou": 51.0, "classes": [value]})
    assert json.loads(target.read_text()) == {"miou": 50.0}
    assert names(tmp_path) == ["metrics.json"]


def test_json_comes_back_as_it_was_written_one_value_a_line(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": {"é": "ü"}}
    write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert text.endswith("}\n")
    assert '  "b": [\n' in text


def test_text_is_written_as_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "text.txt", "σ̂ → λ\n")
    assert (tmp_path / "text.txt").read_bytes() == "σ̂ → λ\n".encode()


def test_tables_have_their_header_and_empty_cells_for_what_is_missing(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None, "note": "a, b"}]
    write_csv(tmp_path / "t.csv", rows, ["step", "loss", "note"])
    assert (tmp_path / "t.csv").read_bytes() == b'step,loss,note\n1,0.5,\n2,,"a, b"\n'
    with (tmp_path / "t.csv").open(newline="") as stream:
        assert [row["note"] for row in csv.DictReader(stream)] == ["", "a, b"]


def test_a_cell_without_a_column_is_refused_and_the_old_table_stays(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"step": 1}], ["step"])
    with pytest.raises(ValueError, match="los"):
        write_csv(tmp_path / "t.csv", [{"step": 2, "los": 0.5}], ["step"])
    assert (tmp_path / "t.csv").read_text() == "step\n1\n"
    assert names(tmp_path) == ["t.csv"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\x00\xff" * 100_000)
    assert sha256(tmp_path / "data") == hashlib.sha256(b"\x00\xff" * 100_000).hexdigest()
