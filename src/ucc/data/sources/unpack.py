"""Archives become folders: whole or not at all, and never a file outside."""

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from ucc.errors import UserError
from ucc.files import atomic_folder, explained
from ucc.progress import Progress

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or a tar file, plain or compressed, as `folder`, replacing what was there, whole or not at all.

    Raises:
        UserError: if the archive is damaged or cut off, if something in it would land outside the folder or is
            neither file, folder nor link, or if the disk is full.
    """
    with explained(folder.parent), atomic_folder(folder) as temporary:
        try:
            (_unpack_zip if archive.suffix.lower() == ".zip" else _unpack_tar)(archive, temporary)
        except tarfile.FilterError as error:
            raise _refusal(archive, error.tarinfo.name) from error
        except DAMAGE as error:
            # tarfile tells on further lines what each of its formats finds wrong.
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
            raise UserError(
                f"{archive}: damaged or cut off ({reason}). Remove it and run the command again."
            ) from error


def _unpack_tar(archive: Path, folder: Path) -> None:
    with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:*") as tar:
        progress = Progress(f"unpacking {archive.name}", archive.stat().st_size, "MB", per_unit=10**6)
        for member in tar:
            _check_name(archive, member.name)
            tar.extract(member, folder, filter="data")
            progress.advance(stream.tell() - progress.done)
        # tarfile takes an end of the file, and headers it cannot read, for the end of the archive, which is zeros.
        if tar.fileobj is None:
            raise AssertionError("an open archive has a file")
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends amid its files")


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        progress = Progress(f"unpacking {archive.name}", len(members), "files")
        for member in members:
            _check_name(archive, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            # zipfile would write a link or a device as a file that holds its target.
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refusal(archive, member.filename)
            opened.extract(member, folder)
            progress.advance()


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive:
        raise _refusal(archive, name)


def _refusal(archive: Path, member: str) -> UserError:
    return UserError(
        f"{archive}: not unpacked, since {member!r} in it would be written outside the folder or is no plain file. "
        "Get the archive from its publisher."
    )
