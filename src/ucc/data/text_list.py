"""Lists in text files: one entry a line."""

import unicodedata
from pathlib import Path

from ucc.errors import UserError

# In a canonical data set: the ids of val, where a user's folder keeps these images among the others.
VAL_IDS = "val_ids.txt"


def read_list(path: str, key: str) -> list[str]:
    """The entries of a text file in their order; empty lines and those that begin with # do not count.

    They are composed (Unicode NFC), as the names of a canonical data set are, however a file system has them.

    Args:
        path: of the file, relative to the project's root or absolute; `~` is the home folder.
        key: of params.yaml that names the file, for what is said of it.

    Raises:
        UserError: if the file cannot be read as text, or holds no entry.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path} ({key}): cannot be read ({error.strerror}); give a text file, or null.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} ({key}): not UTF-8 text ({error.reason}); save it in that encoding.") from error
    entries = [unicodedata.normalize("NFC", line.strip()) for line in lines]
    entries = [entry for entry in entries if entry and not entry.startswith("#")]
    if not entries:
        raise UserError(f"{path} ({key}): holds no ids; write one a line, or set {key} to null.")
    return entries
