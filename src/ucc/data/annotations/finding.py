"""Which file an annotated image is: paths in annotations are those of another machine, another tool or another day."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ucc.data.annotations.annotated import Annotated
from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import IMAGE_SUFFIXES
from ucc.errors import some


@dataclass
class Found:
    """What became of annotated images.

    Attributes:
        by_file: the annotations of each file that has any; several if several are of it.
        absent: those of no file.
        elsewhere: those of a file that is not below the folder of images.
        moved: what was found by its name alone, in words.
    """

    by_file: dict[Path, list[Annotated]] = field(default_factory=dict)
    absent: list[Annotated] = field(default_factory=list)
    elsewhere: list[Annotated] = field(default_factory=list)
    moved: dict[str, None] = field(default_factory=dict)

    def claim(self, one: Annotated, candidates: Sequence[Path], problems: Problems) -> None:
        """Take the only candidate for its file; several are a problem."""
        if len(candidates) == 1:
            self.by_file.setdefault(candidates[0], []).append(one)
        else:
            problems.add(
                f"{one.names[0]} may be {some(map(str, candidates))}: rename, or leave one in the folder of images"
            )


def find_images(annotated: Sequence[Annotated], files: Sequence[Path], root: Path, problems: Problems) -> Found:
    """The files below `root` that the annotations are of.

    A file whose whole path fits is never taken for another; what is left is found by its bare name. What may be several
    files, or is named as two, is added to `problems`.
    """
    found, rest = Found(), []
    paths = _Index((path.relative_to(root).as_posix(), path) for path in files)
    for one in annotated:
        candidates = _by_path(one, paths, root, problems)
        if _is_elsewhere(one, root):
            found.elsewhere.append(one)
        elif candidates:
            found.claim(one, candidates, problems)
        else:
            rest.append(one)
    _find_by_name(rest, files, root, found, problems)
    return found


def _by_path(one: Annotated, paths: "_Index", root: Path, problems: Problems) -> Sequence[Path]:
    names = [_posix(name) for name in one.names]
    near = [Path(os.path.relpath(one.folder / name, root)).as_posix() for name in names] if one.folder else []
    for group in (near, [PurePosixPath(name).as_posix() for name in names]):
        found = [candidates for name in group if (candidates := paths.find(name))]
        if not found:
            continue
        for others in found[1:]:
            if found[0][0] not in others:
                problems.add(
                    f"{one.where}: says that it is of {found[0][0]}, and has the name of {others[0]}; mend one"
                )
        return found[0]
    return ()


def _find_by_name(
    rest: Sequence[Annotated], files: Sequence[Path], root: Path, found: Found, problems: Problems
) -> None:
    free = _Index((path.name, path) for path in files if path not in found.by_file)
    claimed = _Index((path.name, path) for path in found.by_file)
    sources = {path: {one.source for one in entries} for path, entries in found.by_file.items()}
    taken: dict[Path, Annotated] = {}
    for one in rest:
        bare = [PurePosixPath(_posix(name)).name for name in one.names]
        candidates = _first(free, bare)
        if not candidates:
            _tell_absent(one, _first(claimed, bare), sources, found, problems)
        elif len(candidates) == 1 and taken.setdefault(candidates[0], one).names != one.names:
            problems.add(
                f"{taken[candidates[0]].names[0]} and {one.names[0]}: both would be {candidates[0]}, the only file of "
                "that name; add the other one's"
            )
        else:
            found.claim(one, candidates, problems)
            found.moved[f"{one.names[0]} is {candidates[0].relative_to(root).as_posix()}"] = None


def _tell_absent(
    one: Annotated, claimed: Sequence[Path], sources: Mapping[Path, set[Path]], found: Found, problems: Problems
) -> None:
    """What a file itself tells from another image it means as another; other files may spell paths in their own way."""
    if len(claimed) == 1 and one.source not in sources[claimed[0]]:
        named = found.by_file[claimed[0]][0].names[0]
        problems.add(f"{one.names[0]} of {one.source} may be {claimed[0]}, which others call {named}; give it one name")
    else:
        found.absent.append(one)


def _is_elsewhere(one: Annotated, root: Path) -> bool:
    """Whether the file that it names lies where it is meant from, and that is not below `root`."""
    meant = one.folder / _posix(one.names[0]) if one.folder else None
    if meant is None or not meant.is_file() or not os.path.relpath(meant, root).startswith(".."):
        return False
    return not meant.resolve().is_relative_to(root.resolve())  # another way to the same folder


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
