"""Downloads: resumed, verified, whole or not at all."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from unreliable_web import Web

from ucc.data import fetch as module
from ucc.data.fetch import ATTEMPTS, fetch
from ucc.errors import UserError

BODY = bytes(range(256)) * 4000
MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.tar"


@pytest.mark.parametrize("checksum", [MD5, SHA256, SHA256.replace(SHA256[7:], SHA256[7:].upper())])
def test_a_file_arrives_verified_and_with_a_line_of_progress(
    checksum: str, web: Web, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web.files["file.tar"] = BODY
    fetch(web.url("file.tar"), place, checksum)
    assert place.read_bytes() == BODY
    assert names(place.parent) == ["file.tar"]
    assert "downloading file.tar 1/1 MB" in capsys.readouterr().err


def test_a_file_that_is_there_is_verified_and_not_asked_for_again(web: Web, place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(BODY)
    fetch(web.url("file.tar"), place, SHA256)
    assert web.ranges == []
    place.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"file\.tar: its checksum is sha256:.*Remove it"):
        fetch(web.url("file.tar"), place, SHA256)
    assert place.read_bytes() == b"something else"


def test_a_connection_that_breaks_again_and_again_is_resumed_where_it_broke(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    web.break_after = [100_000] * (ATTEMPTS + 2)
    fetch(web.url("file.tar"), place, MD5)
    assert place.read_bytes() == BODY
    assert web.ranges == ["", *(f"bytes={100_000 * n}-" for n in range(1, ATTEMPTS + 3))]


def test_what_an_earlier_run_left_is_completed(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    place.parent.mkdir()
    place.with_name("file.tar.part").write_bytes(BODY[:70_000])
    fetch(web.url("file.tar"), place, MD5)
    assert web.ranges == ["bytes=70000-"]
    assert place.read_bytes() == BODY


def test_what_an_earlier_run_left_whole_is_taken(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    place.parent.mkdir()
    place.with_name("file.tar.part").write_bytes(BODY)
    fetch(web.url("file.tar"), place, MD5)
    assert web.ranges == [f"bytes={len(BODY)}-"]
    assert names(place.parent) == ["file.tar"]


def test_rubbish_longer_than_the_file_is_replaced(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    place.parent.mkdir()
    place.with_name("file.tar.part").write_bytes(BODY + b"more")
    fetch(web.url("file.tar"), place, MD5)
    assert place.read_bytes() == BODY


def test_a_server_that_ignores_the_range_is_heard_from_the_start(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    web.honours_range = False
    web.break_after = [500_000]
    fetch(web.url("file.tar"), place, MD5)
    assert place.read_bytes() == BODY
    assert web.ranges == ["", "bytes=500000-"]


def test_an_answer_to_another_range_is_not_appended(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    web.shift = -256
    web.break_after = [500_000]
    fetch(web.url("file.tar"), place, MD5)
    assert place.read_bytes() == BODY
    assert web.ranges == ["", "bytes=500000-", ""]


def test_a_server_that_never_gets_further_is_given_up_and_what_came_is_kept(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    web.honours_range = False
    web.break_after = [1000] * 20
    with pytest.raises(UserError, match=r"broke off after 1000 of 1024000 bytes.*file\.tar\.part \(1000 bytes\)"):
        fetch(web.url("file.tar"), place, MD5)
    assert len(web.ranges) == ATTEMPTS
    assert names(place.parent) == ["file.tar.part"]


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_wrong_checksum_removes_what_came_and_names_both(tells_length: bool, web: Web, place: Path) -> None:
    web.files["file.tar"] = b"forged"
    web.tells_length = tells_length
    found = f"md5:{hashlib.md5(b'forged').hexdigest()}"
    with pytest.raises(UserError, match=rf"{web.url('file.tar')}: .*{found}, expected {MD5}"):
        fetch(web.url("file.tar"), place, MD5)
    assert names(place.parent) == []


def test_redirects_are_followed(web: Web, place: Path) -> None:
    web.files["mirror/file"] = BODY
    web.redirects = {"file.tar": "/moved", "moved": web.url("mirror/file")}
    fetch(web.url("file.tar"), place, MD5)
    assert place.read_bytes() == BODY


def test_a_circle_of_redirects_ends(web: Web, place: Path) -> None:
    web.redirects = {"file.tar": "/other", "other": "/file.tar"}
    with pytest.raises(UserError, match=r"file\.tar: the server answers 302"):
        fetch(web.url("file.tar"), place, MD5)
    assert names(place.parent) == []


def test_only_the_web_is_asked(web: Web, place: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(BODY)
    web.redirects["file.tar"] = secret.as_uri()
    web.redirects["ftp.tar"] = "ftp://127.0.0.1/file"
    for url in (secret.as_uri(), "ftp://127.0.0.1/file", web.url("file.tar"), web.url("ftp.tar")):
        with pytest.raises(UserError, match=r"only addresses that begin with http|not allowed"):
            fetch(url, place, MD5)
    assert not place.exists()


@pytest.mark.parametrize("status", [404, 403, 401])
def test_a_refusal_is_told_at_once(status: int, web: Web, place: Path) -> None:
    web.statuses = [status]
    with pytest.raises(UserError, match=rf"file\.tar: the server answers {status}"):
        fetch(web.url("file.tar"), place, MD5)
    assert len(web.ranges) == 1
    assert names(place.parent) == []


def test_a_server_that_is_busy_is_asked_again(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    web.statuses = [503, 429, 500]
    fetch(web.url("file.tar"), place, MD5)
    assert place.read_bytes() == BODY


def test_no_network_is_told_after_some_attempts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=r"file\.tar: no connection.*Run the command again"):
        fetch("http://127.0.0.1:9/file.tar", place, MD5)
    assert names(place.parent) == []


def test_a_server_that_falls_silent_is_not_waited_for(web: Web, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["file.tar"] = BODY
    broken = iter([True])

    def read(response: Any) -> bytes:
        if next(broken, False):
            raise module._BrokenError("the connection broke off (timed out)")
        return response.read1(1000)

    monkeypatch.setattr(module, "_read", read)
    fetch(web.url("file.tar"), place, MD5)
    assert place.read_bytes() == BODY


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_told_with_the_folder(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    place.parent.mkdir()
    place.with_name("file.tar.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=rf"{place.parent}: no space left"):
        fetch(web.url("file.tar"), place, MD5)
    assert not place.exists()


def test_a_checksum_of_another_kind_is_a_mistake_of_the_caller(web: Web, place: Path) -> None:
    web.files["file.tar"] = BODY
    with pytest.raises(ValueError, match="md5: or sha256:"):
        fetch(web.url("file.tar"), place, "sha1:00")
