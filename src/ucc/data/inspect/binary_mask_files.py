"""Binary masks where masks of all classes are looked for, and the commands that make the latter of them."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, permutations
from pathlib import Path
from typing import NamedTuple

from ucc.data.annotations.binary_masks import SUFFIXES, KnownImages, read_binary_mask
from ucc.data.annotations.pattern import CLASS, IMAGE, Pattern, Split
from ucc.data.sources.listing import Problems
from ucc.data.sources.naming import IMAGE_FOLDERS, MASK_FOLDERS
from ucc.data.sources.places import folder_names, has_star
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError

ROOT = "."
FOLDER = "index_masks"
UNNAMED = "CLASS"
READ = 10  # pictures that are looked into, from all over the list
MOST = 5000  # files that are looked at
MOST_FOLDERS = 4  # of one image, beside each other


class Place(NamedTuple):
    """Where binary masks may lie; the folders of images, and of masks drawn of them, as `inspect` is told them."""

    pattern: str
    images: str
    masks: str = FOLDER


def binary_masks_hint(root: Path) -> str:
    """How to draw masks from the binary masks below `root`, on lines of their own; nothing if there are none."""
    files = list(islice((path for path in files_below(root, Problems(root)) if path.suffix.lower() in SUFFIXES), MOST))
    found = ((place, _fitting(root, place, files)) for place in _places(root, files))
    place, fitting = max(found, key=lambda both: len(both[1]), default=(None, {}))
    if place is None or not _are_binary(sorted(fitting)):
        return ""
    draw = ["ucc.data.annotations", _absolute(root, place.pattern), *map(str, _folders(root, place))]
    look = ["ucc.data.inspect", str(root), "--images", place.images, "--masks", place.masks]
    unnamed = f", with the name of the class in place of {UNNAMED}" if UNNAMED in place.pattern else ""
    moved = "" if place.images != ROOT else "Move the binary masks elsewhere then, where they count as no images. "
    return (
        f"\nThere are binary masks, such as {shown(min(fitting).relative_to(root))}. To draw masks of all classes from "
        f"them{unnamed}:\n    {_python(draw)}\n{moved}To look at these:\n    {_python(look)}"
    )


def _python(module: Sequence[str]) -> str:
    return shlex.join(["python", "-m", *module])


def _folders(root: Path, place: Place) -> tuple[Path, Path]:
    return root if has_star(place.images) else root / place.images, root / FOLDER


def _places(root: Path, files: Sequence[Path]) -> Iterator[Place]:
    names = folder_names(root)
    images = next((name for name in names if name.lower() in IMAGE_FOLDERS), ROOT)
    suffixes = sorted({path.suffix for path in files})
    for suffix in suffixes:
        for masks in (name for name in names if name.lower() in MASK_FOLDERS):
            for ending in (f"{CLASS}/{IMAGE}", f"{IMAGE}_{CLASS}", f"{IMAGE}-{CLASS}"):
                yield Place(f"{masks}/{ending}{suffix}", images)
            yield Place(f"{UNNAMED}={masks}/{IMAGE}/*{suffix}", images)
        for ending in (f"{IMAGE}_{CLASS}_mask", f"{IMAGE}_mask_{CLASS}"):
            yield Place(f"{ending}{suffix}", images)
        inside = Counter(path.relative_to(root).parts[1] for path in files if len(path.relative_to(root).parts) == 3)
        usual = [name for name, _ in inside.most_common(MOST_FOLDERS)]
        for masks, other in permutations(usual, 2):
            if masks.lower() not in MASK_FOLDERS:
                continue
            yield Place(f"{UNNAMED}={IMAGE}/{masks}/*{suffix}", f"*/{other}", f"{FOLDER}/*/{other}")


def _absolute(root: Path, pattern: str) -> str:
    label, equals, path = pattern.rpartition("=")
    return f"{label}{equals}{(root / path).as_posix()}"


def _fitting(root: Path, place: Place, files: Sequence[Path]) -> dict[Path, Split]:
    pattern = Pattern.parse(_absolute(root, place.pattern))
    fits = {path: splits for path in files if (splits := pattern.splits(path))}
    known = KnownImages(root, [path for path in files if path not in fits])
    meant = {path: known.meant(splits) for path, splits in fits.items()}
    return {path: next(iter(splits)) for path, splits in meant.items() if len(splits) == 1}


def _are_binary(paths: Sequence[Path]) -> bool:
    try:
        return bool(paths) and all(read_binary_mask(path).size for path in paths[:: max(1, len(paths) // READ)])
    except UserError:
        return False
