"""Which file an annotated image is: paths in annotations are those of another machine, another tool or another day."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ucc.data.dataset import IMAGE_SUFFIXES
from ucc.data.polygons.annotations import Annotated
from ucc.data.sources.listing import Problems
from ucc.errors import some


def find_images(
    annotated: Sequence[Annotated], files: Sequence[Path], root: Path, problems: Problems
) -> tuple[dict[Path, list[Annotated]], list[Annotated], list[str]]:
    """The annotations of each file below `root` that has any, those of no file, and notes.

    A file whose whole path fits is never taken for another; what is left is found by its bare name. A name that may be
    one of several files is added to `problems`.
    """
    paths = _Index((path.relative_to(root).as_posix(), path) for path in files)
    found: defaultdict[Path, list[Annotated]] = defaultdict(list)
    rest = []
    for one in annotated:
        candidates = _first(paths, _whole_paths(one, root))
        _claim(one, candidates, found, problems)
        if not candidates:
            rest.append(one)
    bare = _Index((path.name, path) for path in files if path not in found)
    absent, moved = [], []
    taken: dict[Path, Annotated] = {}
    for one in rest:
        candidates = _first(bare, (PurePosixPath(_posix(name)).name for name in one.names))
        if not candidates:
            absent.append(one)
        elif len(candidates) == 1 and candidates[0] in taken:
            both = f"{taken[candidates[0]].names[0]} and {one.names[0]}"
            problems.add(f"{both}: both would be {candidates[0]}, the only file of that name; add the other's")
        else:
            _claim(one, candidates, found, problems)
            taken |= dict.fromkeys(candidates, one)
            moved.append(f"{one.names[0]} is {candidates[0].relative_to(root).as_posix()}")
    notes = [f"{len(moved)} images found by their names alone: {some(moved)}"] if moved else []
    return found, absent, notes


def _claim(one: Annotated, candidates: Sequence[Path], found: dict[Path, list[Annotated]], problems: Problems) -> None:
    if len(candidates) > 1:
        problems.add(
            f"{one.names[0]} may be {some(map(str, candidates))}: rename, or leave one in the folder of images"
        )
    elif candidates:
        found[candidates[0]].append(one)


def _whole_paths(one: Annotated, root: Path) -> Iterable[str]:
    for name in map(_posix, one.names):
        if one.folder:
            yield Path(os.path.relpath(one.folder / name, root)).as_posix()
        yield PurePosixPath(name).as_posix()


def _posix(name: str) -> str:
    return name.replace("\\", "/")


def _first(index: "_Index", names: Iterable[str]) -> Sequence[Path]:
    return next(filter(None, map(index.find, names)), ())


class _Index:
    """Files by names, in whatever spelling of accents and, where that is not enough, case and percent signs."""

    def __init__(self, named: Iterable[tuple[str, Path]]) -> None:
        self._spelt: defaultdict[str, list[Path]] = defaultdict(list)
        self._folded: defaultdict[str, list[Path]] = defaultdict(list)
        for name, path in named:
            key = unicodedata.normalize("NFC", name)
            # No path ends in a slash: these are the stems.
            for text in (key, f"{PurePosixPath(key).with_suffix('')}/"):
                self._spelt[text].append(path)
                self._folded[text.casefold()].append(path)

    def find(self, name: str) -> Sequence[Path]:
        """Files of that name, or of its stem if it has no suffix of images; none if there are none."""
        for text in (name, unquote(name)):
            key = unicodedata.normalize("NFC", text)
            key += "" if PurePosixPath(key).suffix.lower() in IMAGE_SUFFIXES else "/"
            if found := self._spelt.get(key) or self._folded.get(key.casefold()):
                return found
        return ()
