"""All files below a folder, in any depth, and whatever there cannot be used as a file."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from ucc.data.sources.listing import Problems
from ucc.errors import UserError, every

# A file's name becomes a line of the manifest: control characters, line separators and undecodable bytes break it.
FORBIDDEN_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
LONGEST_NAME = 200  # bytes; file systems allow 255, and a temporary name needs some of them
LITTER = ("Thumbs.db", "desktop.ini", "__MACOSX")


def files_below(folder: Path, problems: Problems, leave_out: Collection[Path] = ()) -> list[Path]:
    """Regular files below `folder`, sorted; hidden files and folders do not count, links are followed.

    Links to nowhere, unreadable folders and unusable names are added to `problems`.
    """
    walk = _Walk(leave_out)
    walk.enter(folder, ())
    for what, paths in walk.odd.items():
        problems.add(f"{what}: {every(shown(path.relative_to(problems.root)) for path in paths)}")
    return walk.files


def from_home(path: str) -> Path:
    """A path as it is typed, with ~ and ~name for homes.

    Raises:
        UserError: if nobody has that name.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: there is no such home; write the path without ~.") from error


def shown(path: Path) -> str:
    """A path for a message, on one line whatever it holds."""
    text = path.as_posix()
    return ascii(text) if _unusable(text) else text


class _Walk:
    def __init__(self, leave_out: Collection[Path]) -> None:
        self.leave_out = leave_out
        self.files: list[Path] = []
        self.odd: defaultdict[str, list[Path]] = defaultdict(list)

    def enter(self, folder: Path, above: tuple[Path, ...]) -> None:
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            self.odd[f"folder that cannot be read ({error.strerror}), mend or remove"].append(folder)
            return
        above = (*above, folder.resolve())
        for entry in entries:
            if not entry.name.startswith(".") and entry.name not in LITTER and entry not in self.leave_out:
                try:
                    self.see(entry, above)
                except OSError as error:
                    self.odd[f"cannot be read ({error.strerror}), mend or remove"].append(entry)

    def see(self, entry: Path, above: tuple[Path, ...]) -> None:
        if _unusable(entry.name):
            self.odd["control characters or undecodable bytes in the name, rename"].append(entry)
        elif entry.name != entry.name.strip() or entry.stem != entry.stem.strip():
            # In a list of ids nobody would see it.
            self.odd["space at the beginning or end of the name, rename"].append(entry)
        elif len(entry.name.encode()) > LONGEST_NAME:
            self.odd[f"name longer than {LONGEST_NAME} bytes, shorten"].append(entry)
        elif entry.is_symlink() and not entry.exists():
            self.odd["link to nowhere, mend or remove"].append(entry)
        elif entry.is_dir():
            if entry.resolve() in above:
                self.odd["link to a folder that it lies in, remove"].append(entry)
            else:
                self.enter(entry, above)
        elif entry.is_file():
            self.files.append(entry)
        else:
            self.odd["neither file nor folder, remove"].append(entry)


def _unusable(name: str) -> bool:
    return any(unicodedata.category(character) in FORBIDDEN_CATEGORIES for character in name)
