"""Binary masks: a picture for each class or object of an image, black where it is not."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ucc.data.annotations.annotated import REMEDY, Annotated, Annotations, Shape, class_label
from ucc.data.annotations.pattern import Pattern, Split
from ucc.data.annotations.regions import Bitmap, Runs, Size
from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import IMAGE_SUFFIXES, MASK_SUFFIXES
from ucc.data.sources.pictures import MASK_FORMATS, NUMBER_MODES, load, look, mask_colors, mask_values
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError, some

SUFFIXES = {*IMAGE_SUFFIXES, *MASK_SUFFIXES}
LOSSY = ("JPEG", "WEBP")
# Of 255: what is between is neither black nor white. Edges are, where masks were smoothed or stored as JPEG.
DARK, LIGHT = 64, 192
MOST_BETWEEN = 0.25


@dataclass(frozen=True)
class BinaryMask:
    """A picture of one class or object, read when it is drawn: all of them may not fit in memory."""

    path: Path

    def runs(self, size: Size) -> Runs:
        """Raises `UserError` if the picture is no binary mask, or of another size."""
        pixels = read_binary_mask(self.path)
        if pixels.shape != size:
            (height, width), (own_height, own_width) = size, pixels.shape
            raise UserError(f"a mask of {own_width}x{own_height} pixels, where {width}x{height} belong")
        return Bitmap(pixels, top=0, left=0).runs(size)


def read_binary_mask(path: Path) -> NDArray[np.bool_]:
    """Which pixels belong to the class or object, (H, W): all but black ones, or where a mask has shades, light ones.

    Raises:
        UserError: if the file cannot be read, or holds more than one class or object, or a photograph.
    """
    picture, header = load(path)
    if "A" in picture.getbands() and np.array(picture.getchannel("A")).min() < 255:
        raise UserError(f"{path}: is transparent in parts; save it in black and white")
    deep = header.bits > 8 or header.mode in NUMBER_MODES
    values = mask_values(path, picture, header) if deep else mask_colors(path, picture, header).max(axis=2)
    levels = np.unique(values)
    lossy = header.format in LOSSY
    if not lossy and np.count_nonzero(levels) < 2 and (len(levels) == 1 or levels[0] == 0):
        return values > 0
    between = np.mean((values >= DARK) & (values < LIGHT))
    if deep or between > MOST_BETWEEN or not (lossy or levels[-1] >= LIGHT):
        raise UserError(
            f"{path}: a mask of one class or object has one value beside black, this one has "
            f"{some(str(level) for level in levels[levels > 0])}; is it a mask, and of one class?"
        )
    return values >= (DARK + LIGHT) // 2


def read_binary_masks(patterns: Sequence[Pattern], images: Path, masks: Path) -> Annotations:
    """What the patterns find of the images below the folder `images`, several pictures of an image together.

    Nothing in the folder `masks` counts, unless a pattern is of paths there.

    Raises:
        UserError: if nothing fits a pattern, it is not clear which image a picture is of, or one cannot be read.
    """
    problems = Problems(images)
    known = KnownImages(images, files_below(images, problems))
    labels: dict[str, None] = {}
    of_images: defaultdict[str, list[tuple[Shape, Size]]] = defaultdict(list)
    pictures: dict[Path, str] = {}
    for pattern in patterns:
        found = _fitting(pattern, known, masks, problems)
        if not found:
            problems.add(f"{pattern}: no picture fits")
        for path, split in sorted(found.items(), key=lambda item: (item[1].label, item[0])):
            try:
                label, size = class_label(split.label, str(path)), look(path, MASK_FORMATS).size
            except UserError as error:
                problems.add(str(error))
                continue
            if pictures.setdefault(path.resolve(), label) != label:
                problems.add(f"{path}: fits patterns of {pictures[path.resolve()]} and of {label}")
            labels[label] = None
            of_images[split.image].append((Shape(label, BinaryMask(path), str(path)), size))
    annotated = [_annotated(image, own, images, problems) for image, own in sorted(of_images.items())]
    problems.raise_if_any(REMEDY)
    among = [path for path in pictures if path.is_relative_to(known.folder)]
    notes = [
        f"{len(among)} binary masks lie below {images}, and count as images where that is the folder of images: name "
        "the images' own folder to `inspect`, or move them elsewhere"
    ]
    return Annotations(list(labels), annotated, notes if among else (), frozenset(pictures))


def _annotated(image: str, own: Sequence[tuple[Shape, Size]], source: Path, problems: Problems) -> Annotated:
    first, size = own[0]
    other = next((shape.where for shape, its_size in own if its_size != size), None)
    if other:
        problems.add(f"{first.where} and {other}: of one image, in two sizes")
    return Annotated((image,), where=first.where, source=source, size=size, shapes=[shape for shape, _ in own])


class KnownImages:
    """The pictures in a folder by their paths without suffix, and by their bare names."""

    def __init__(self, folder: Path, files: Iterable[Path]) -> None:
        self.folder = folder.resolve()
        below = [path.relative_to(folder).with_suffix("") for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        self.paths = {unicodedata.normalize("NFC", path.as_posix()) for path in below}
        self.names = {unicodedata.normalize("NFC", path.name) for path in below}

    def meant(self, splits: Collection[Split]) -> set[Split]:
        """Those of a known image, by its path if any is."""
        by_path = {split for split in splits if split.image in self.paths}
        return by_path or {split for split in splits if PurePosixPath(split.image).name in self.names}

    def may_be(self, path: Path) -> bool:
        """Whether a picture of no known image may be an image itself."""
        return path.suffix.lower() in IMAGE_SUFFIXES and path.resolve().is_relative_to(self.folder)


def _fitting(pattern: Pattern, known: KnownImages, masks: Path, problems: Problems) -> dict[Path, Split]:
    """The pictures whose paths fit, and what these say; what may mean several things is added to `problems`."""
    own, root = Problems(pattern.root), pattern.root.resolve()
    drawn = masks.resolve()
    leave_out = [pattern.root / drawn.relative_to(root)] if drawn != root and drawn.is_relative_to(root) else []
    found = {}
    for path in files_below(pattern.root, own, leave_out):
        splits = pattern.splits(path) if path.suffix.lower() in SUFFIXES else frozenset()
        meant = known.meant(splits)
        if len(meant) > 1:
            readings = some(sorted(f"{split.label} of {split.image}" for split in meant))
            problems.add(f"{path}: may be {readings}; give a pattern for each class, as in cat={{image}}_cat.png")
        elif meant or (splits and not known.may_be(path)):
            found[path] = max(meant or splits, key=lambda split: len(split.image))
    problems.found += [f"{shown(pattern.root)}: {problem}" for problem in own.found]
    return found
