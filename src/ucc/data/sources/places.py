"""Where images or masks lie: a folder below the root, or all that fit a pattern, such as */images.

A star stands for one folder. What lies in these is named as if they lay in one: train/images/cat.jpg, of */images, is
train/cat.
"""

from collections.abc import Sequence
from pathlib import Path

from ucc.data.sources.tree import LITTER

STAR = "*"


def folders(root: Path, place: str) -> dict[str, Path]:
    """The folders that a place is, by what its stars stand for; of a place without any the one, be it there or not."""
    found = {"": root}
    for part in Path(place).parts:
        if part == STAR:
            # A folder that cannot be read stays, under a name that is none, so that its reader tells of it.
            inside = [(key, path, name) for key, path in found.items() for name in folder_names(path, [STAR])]
            found = {f"{key}/{name}".lstrip("/"): path / name for key, path, name in inside}
        else:
            found = {key: path / part for key, path in found.items()}
    return {key: path for key, path in found.items() if _may_be_read(path)} if has_star(place) else found


def part_of(place: str, name: str) -> str:
    """The place of what is named name/... in `place`: masks/train of masks, train/masks of */masks."""
    parts = list(Path(place).parts)
    if STAR not in parts:
        return Path(place, name).as_posix()
    parts[parts.index(STAR)] = name
    return Path(*parts).as_posix()


def part_names(root: Path, place: str) -> list[str]:
    """The names for which there is a `part_of` this place."""
    if has_star(place):
        return sorted({key.partition("/")[0] for key in folders(root, place)})
    return folder_names(root / place)


def has_star(place: str) -> bool:
    """Whether it is a pattern."""
    return STAR in Path(place).parts


def folder_names(folder: Path, unreadable: Sequence[str] = ()) -> list[str]:
    """Names of the folders in a folder, without hidden ones; `unreadable` if it cannot be read."""
    try:
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        return [e.name for e in entries if not e.name.startswith(".") and e.name not in LITTER and e.is_dir()]
    except OSError:
        return list(unreadable)


def _may_be_read(folder: Path) -> bool:
    try:
        return folder.is_dir() or STAR in folder.parts
    except OSError:
        return True
