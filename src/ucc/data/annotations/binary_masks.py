"""Binary masks: a picture for each class or object of an image, black where it is not."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from ucc.data.annotations.annotated import REMEDY, Annotated, Annotations, Shape, class_label
from ucc.data.annotations.pattern import Pattern, Split
from ucc.data.annotations.regions import Bitmap, Runs, Size
from ucc.data.images import Image
from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import IMAGE_SUFFIXES, MASK_SUFFIXES
from ucc.data.sources.pictures import MASK_FORMATS, NUMBER_MODES, load, look, mask_colors, mask_values, reason
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError, some

SUFFIXES = {*IMAGE_SUFFIXES, *MASK_SUFFIXES}
LOSSY = ("JPEG", "WEBP")
WHITE = 255
# Smoothing and JPEG leave shades between along edges, never over an area, and with black or white beside them.
DARK, LIGHT = 40, 216
WIDEST_EDGE = 4  # pixels
MOST_APART = 0.2  # of these shades, as where lines of smoothed masks cross; a class that is thin has more
COLORED = 64  # between the channels of a pixel


@dataclass(frozen=True)
class BinaryMask:
    """A picture of one class or object, read when it is drawn: all of them may not fit in memory."""

    path: Path

    def runs(self, size: Size) -> Runs:
        """Raises `UserError` if the picture is no binary mask, or of another size."""
        try:
            pixels = read_binary_mask(self.path)
        except UserError as error:
            raise UserError(reason(error, self.path)) from error
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
    if "A" in picture.getbands() and picture.getchannel("A").getextrema() != (255, 255):
        raise UserError(f"{path}: is transparent in parts; save it in black and white")
    if header.pages > 1:
        raise UserError(f"{path}: holds {header.pages} pictures; save each as a file of its own")
    lossy = header.format in LOSSY
    values: NDArray[np.int32] | NDArray[np.uint16]
    if lossy:
        values = _shades(mask_colors(path, picture, header))
    elif header.bits > 8 or header.mode in (*NUMBER_MODES, "1", "L", "LA"):
        values = mask_values(path, picture, header)
    else:
        values = _numbered(mask_colors(path, picture, header))
    inside: NDArray[np.bool_] = values > 0
    is_plain = not inside.any() or np.count_nonzero(inside) == np.count_nonzero(values == values.max())
    # Indices of one colour may be classes all the same.
    hides = header.mode == "P" and len(np.unique(np.array(picture))) > len(np.unique(values))
    if is_plain and not lossy and not hides:
        return inside
    if values.max() <= WHITE and not hides and _is_smoothed(values.astype(np.uint8), lossy):
        return values >= (DARK + LIGHT) // 2
    raise UserError(
        f"{path}: shows more than black and one value or colour, which is what a mask of one class or object has; save "
        "it so, as PNG. A mask of several classes is of use as it is"
    )


def _numbered(colors: Image) -> NDArray[np.int32]:
    """One number for each colour of (H, W, 3): the shade of a grey one, of any other a larger one."""
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return np.where((red == green) & (green == blue), red, (red << 16) + (green << 8) + blue + WHITE + 1)


def _shades(colors: Image) -> NDArray[np.int32]:
    """The shade of each colour that is nearly grey, as in a lossy mask; of any other a number larger than white.

    Of three channels the one that is the farthest from black or white.
    """
    darkest, lightest = colors.min(axis=2).astype(np.int32), colors.max(axis=2).astype(np.int32)
    nearly_grey = np.where(darkest > WHITE - lightest, darkest, lightest)
    return np.where(lightest - darkest < COLORED, nearly_grey, WHITE + 1)


def _is_smoothed(values: NDArray[np.uint8], lossy: bool) -> bool:
    """Whether shades (H, W) are those of edges between black and white."""
    brightest = int(values.max())
    if brightest < LIGHT:
        return brightest == 0
    window = np.ones((WIDEST_EDGE + 1, WIDEST_EDGE + 1), np.uint8)
    between = ((values >= DARK) & (values < LIGHT)).astype(np.uint8)
    if cv2.erode(between, window).any():
        return False
    if lossy:
        return True
    lightest, darkest = cv2.dilate(values, window), cv2.erode(values, window)
    apart = between & ((lightest < LIGHT) | (darkest >= DARK))
    near = np.ones((3, 3), np.uint8)
    flat = (cv2.erode(values, near) == cv2.dilate(values, near)) & (values > 0) & (values < brightest)
    return not flat.any() and bool(np.count_nonzero(apart) <= MOST_APART * np.count_nonzero(between))


def read_binary_masks(patterns: Sequence[Pattern], images: Path, masks: Path) -> Annotations:
    """What the patterns find of the images below the folder `images`, several pictures of an image together.

    Nothing in the folder `masks` counts: masks are drawn there.

    Raises:
        UserError: if nothing fits a pattern, it is not clear which image a picture is of, or one cannot be read.
    """
    problems = Problems(images)
    known = KnownImages(images, files_below(images, problems))
    of_images: defaultdict[str, list[tuple[Shape, Size]]] = defaultdict(list)
    pictures: dict[Path, str] = {}
    for pattern in patterns:
        found = _fitting(pattern, known, masks, problems)
        for path, split in sorted(found.items(), key=lambda item: (item[1].label, item[0])):
            try:
                label, size = class_label(split.label, str(path)), look(path, MASK_FORMATS).size
            except UserError as error:
                problems.add(str(error))
                continue
            if pictures.setdefault(path.resolve(), label) != label:
                problems.add(f"{path}: fits patterns of {pictures[path.resolve()]} and of {label}; narrow one")
            of_images[split.image].append((Shape(label, BinaryMask(path), str(path)), size))
    annotated = [_annotated(image, own, images, problems) for image, own in sorted(of_images.items())]
    problems.raise_if_any(REMEDY)
    labels = list(dict.fromkeys(pictures.values()))
    notes = [*_absent(labels, annotated), *_among_images(pictures, known)]
    return Annotations(labels, annotated, notes, frozenset(pictures))


def _annotated(image: str, own: Sequence[tuple[Shape, Size]], source: Path, problems: Problems) -> Annotated:
    first, size = own[0]
    other = next((shape.where for shape, its_size in own if its_size != size), None)
    if other:
        problems.add(f"{first.where} and {other}: of one image, in two sizes; save all in the image's")
    return Annotated((image,), where=first.where, source=source, size=size, shapes=[shape for shape, _ in own])


def _absent(labels: Sequence[str], annotated: Sequence[Annotated]) -> Iterator[str]:
    counts = Counter(label for image in annotated for label in {shape.label for shape in image.shapes})
    for label in labels:
        if counts[label] < len(annotated):
            yield (
                f"{label}: {len(annotated) - counts[label]} of {len(annotated)} images with masks have none of it, and "
                "are taken not to show it"
            )


def _among_images(pictures: Iterable[Path], known: "KnownImages") -> Iterator[str]:
    among = sum(path.is_relative_to(known.folder) for path in pictures)
    if among:
        yield (
            f"{among} binary masks lie below {known.folder}, and count as images where that is the folder of images: "
            "name the images' own folder to `inspect`, or move them elsewhere"
        )


class KnownImages:
    """The pictures in a folder by their paths without suffix, and by their bare names."""

    def __init__(self, folder: Path, files: Iterable[Path]) -> None:
        self.folder = folder.resolve()
        below = [path.relative_to(folder).with_suffix("") for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        self.paths = {unicodedata.normalize("NFC", path.as_posix()) for path in below}
        self.names = {unicodedata.normalize("NFC", path.name) for path in below}

    def meant(self, splits: Collection[Split]) -> set[Split]:
        """Those of a known image, by its path if any is."""
        return self.meant_by_path(splits) or {
            split for split in splits if PurePosixPath(split.image).name in self.names
        }

    def meant_by_path(self, splits: Collection[Split]) -> set[Split]:
        """Those of a known image by its path."""
        return {split for split in splits if split.image in self.paths}

    def may_be(self, path: Path) -> bool:
        """Whether a picture of no known image may be an image itself."""
        return path.suffix.lower() in IMAGE_SUFFIXES and path.resolve().is_relative_to(self.folder)


def _fitting(pattern: Pattern, known: KnownImages, masks: Path, problems: Problems) -> dict[Path, Split]:
    """The pictures whose paths fit, and what these say; what may mean several things is added to `problems`."""
    root, drawn = pattern.root.resolve(), masks.resolve()
    if not root.is_dir() or root == drawn:
        is_wrong = "holds binary masks; give another folder for the masks" if root.is_dir() else "no such folder"
        problems.add(f"{pattern.root}: {is_wrong}")
        return {}
    own = Problems(pattern.root)
    leave_out = [pattern.root / drawn.relative_to(root)] if drawn.is_relative_to(root) else []
    pictures = [path for path in files_below(pattern.root, own, leave_out) if path.suffix.lower() in SUFFIXES]
    found = {}
    for path in pictures:
        splits = pattern.splits(path)
        meant = known.meant(splits)
        if len(meant) > 1:
            readings = some(sorted(f"{split.label} of {split.image}" for split in meant))
            problems.add(f"{path}: may be {readings}; give a pattern for each class (cat={{image}}_cat.png), or rename")
        elif meant or (splits and not known.may_be(path)):
            found[path] = max(meant or splits)
    if not found:
        there = some(shown(path.relative_to(pattern.root)) for path in pictures)
        problems.add(f"{pattern}: fits no picture; in {pattern.root} there are {there or 'none'}")
    problems.found += [f"{pattern.root}: {problem}" for problem in own.found]
    return found
