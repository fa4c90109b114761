"""What torch saves, as files: the same bytes for the same content, and an error that says what went wrong."""

from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch


def write_torch(path: Path, content: Any) -> None:
    """Write `content` for `torch.load`; the bytes depend on the content alone, not on the file's name.

    Raises:
        OSError: naming `path`, if the machine refuses: disk full, file too large. torch itself hides the reason.
    """
    with path.open("wb") as stream:
        out = _Stream(stream)
        try:
            torch.save(content, cast(IO[bytes], out))
        except Exception:
            if out.error is None:
                raise
            out.error.filename = str(path)
            raise out.error from None


class _Stream:
    """Passes bytes on and remembers why that failed: torch turns it into a RuntimeError about positions."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._stream.flush()
