"""Archives: whole or not at all, and never a file outside their folder."""

import errno
import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from ucc.data.sources.unpack import unpack
from ucc.errors import UserError

FILES = {"data/a.txt": b"first" * 5000, "data/deep/b.bin": bytes(range(256)) * 100}


def write_tar(path: Path, members: list[tarfile.TarInfo] | None = None) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members or []:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def write_zip(path: Path, members: list[zipfile.ZipInfo] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
        for member in members or []:
            archive.writestr(member, b"x")
    return path


def write(path: Path) -> Path:
    return write_zip(path) if path.suffix == ".zip" else write_tar(path)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def assert_refused(archive: Path, tmp_path: Path, message: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        unpack(archive, tmp_path / "out")
    assert str(archive) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
def test_all_files_come_out_and_replace_what_was_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/stale").touch()
    unpack(write(tmp_path / name), tmp_path / "out")
    found = {
        p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in tmp_path.glob("out/**/*") if p.is_file()
    }
    assert found == FILES


@pytest.mark.parametrize("outside", ["../evil", "data/../../evil", "/evil", "..\\evil", "C:\\evil"])
def test_names_outside_are_refused(outside: str, tmp_path: Path) -> None:
    assert_refused(write_tar(tmp_path / "a.tar", [tarfile.TarInfo(outside)]), tmp_path, "not unpacked.*evil")
    assert_refused(write_zip(tmp_path / "a.zip", [zipfile.ZipInfo(outside)]), tmp_path, "not unpacked.*evil")


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, "../../elsewhere"),
        special("link", tarfile.SYMTYPE, "/etc"),
        special("link", tarfile.LNKTYPE, "../elsewhere"),
        special("pipe", tarfile.FIFOTYPE),
        special("disk", tarfile.BLKTYPE),
    ],
    ids=["up", "absolute", "hard", "pipe", "device"],
)
def test_links_that_lead_outside_and_devices_are_refused(member: tarfile.TarInfo, tmp_path: Path) -> None:
    assert_refused(write_tar(tmp_path / "a.tar", [member]), tmp_path, f"not unpacked.*{member.name}")


def test_a_file_through_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    through = tarfile.TarInfo("link/evil")
    archive = write_tar(tmp_path / "a.tar", [special("link", tarfile.SYMTYPE, str(tmp_path / "elsewhere")), through])
    assert_refused(archive, tmp_path, "not unpacked")


def test_a_link_in_a_zip_file_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert_refused(write_zip(tmp_path / "a.zip", [link]), tmp_path, "not unpacked.*link")


def test_a_link_within_the_archive_is_kept(tmp_path: Path) -> None:
    unpack(write_tar(tmp_path / "a.tar", [special("data/link", tarfile.SYMTYPE, "a.txt")]), tmp_path / "out")
    assert (tmp_path / "out/data/link").read_bytes() == FILES["data/a.txt"]


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_an_archive_that_was_cut_off_is_told(name: str, share: float, tmp_path: Path) -> None:
    archive = write(tmp_path / name)
    whole = archive.read_bytes()
    # The zeros at the end of a tar file carry nothing.
    archive.write_bytes(whole[: int(share * len(whole.rstrip(b"\0")))])
    assert_refused(archive, tmp_path, "damaged or cut off.*Remove it")


def test_a_tar_file_cut_off_between_two_files_is_told(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar")
    with tarfile.open(archive) as tar:
        second = tar.getmembers()[1].offset
    for end in (second, second + 100):
        archive.write_bytes(archive.read_bytes()[:end])
        assert_refused(archive, tmp_path, "damaged or cut off")


@pytest.mark.parametrize("name", ["a.tgz", "a.zip"])
def test_changed_bytes_are_told(name: str, tmp_path: Path) -> None:
    archive = write(tmp_path / name)
    content = bytearray(archive.read_bytes())
    for place in range(60, 80):
        content[place] ^= 0xFF
    archive.write_bytes(content)
    assert_refused(archive, tmp_path, "damaged or cut off")


def test_a_page_in_place_of_an_archive_is_told(tmp_path: Path) -> None:
    for name in ("a.tar", "a.tgz", "a.zip"):
        (tmp_path / name).write_text("<html>please log in</html>")
        assert_refused(tmp_path / name, tmp_path, "damaged or cut off")


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_a_full_disk_is_told_and_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = write(tmp_path / name)
    monkeypatch.setattr(tarfile, "copyfileobj", full)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=rf"{tmp_path}: no space left"):
        unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [name]
