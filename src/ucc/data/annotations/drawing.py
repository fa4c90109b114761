"""Masks from annotated shapes: all that is wrong is told before anything is written."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageOps

from ucc.data.annotations.annotated import REMEDY, Annotations
from ucc.data.annotations.binary_masks import SUFFIXES, read_binary_masks
from ucc.data.annotations.classes import class_values, refuse_nameless, write_classes
from ucc.data.annotations.coco import read_coco
from ucc.data.annotations.labelme import read_labelme
from ucc.data.annotations.matching import Drawing, mask_ending, match
from ucc.data.annotations.pattern import Pattern
from ucc.data.annotations.regions import draw
from ucc.data.annotations.yolo import NAMES_SUFFIXES, read_yolo
from ucc.data.dataset import IGNORE_INDEX
from ucc.data.images import Image
from ucc.data.sources.class_list import standard_color
from ucc.data.sources.listing import Problems
from ucc.data.sources.pictures import ORIENTATION, look
from ucc.errors import UserError, every
from ucc.files import atomic_path, explained
from ucc.pictures import encode_indexed_png
from ucc.progress import Progress

PALETTE = [standard_color(value) for value in range(256)]


def draw_masks(
    sources: Sequence[Path | Pattern],
    images: Path,
    masks: Path,
    *,
    ignore_elsewhere: bool = False,
    empty_as_background: bool = False,
    replace: bool = False,
) -> None:
    """Draw the masks, and tell on stderr what was drawn and what not.

    Args:
        sources: JSON files of COCO, folders of labelme's, data.yaml of YOLO, patterns of binary masks; their classes
            are numbered together.
        images: the folder of the images.
        masks: the folder for the masks, made if it is missing.
        ignore_elsewhere: pixels in no shape belong to no class, rather than to the background.
        empty_as_background: annotated images without shapes get a mask, too.
        replace: draw over masks that differ from what the shapes give.

    Raises:
        UserError: if anything is missing, damaged or in the way, and then nothing is written; or if it cannot be.
    """
    if not images.is_dir():
        raise UserError(f"{images}: no such folder of images.")
    if masks.exists() and not masks.is_dir():
        raise UserError(f"{masks}: no folder; the last argument is the folder for the masks.")
    found = _read(sources, images, masks)
    drawings, notes = match(found, images, masks, empty_as_background)
    for note in (*found.notes, *notes):
        print(note, file=sys.stderr)
    refuse_nameless(masks, {drawing.mask for drawing in drawings}, mask_ending(images, masks))
    values, names = class_values(masks, found.labels, with_background=not ignore_elsewhere)
    elsewhere = IGNORE_INDEX if ignore_elsewhere else 0
    _check(images, drawings, values, elsewhere, replace)
    with explained(masks):
        masks.mkdir(parents=True, exist_ok=True)
        write_classes(masks, names)
        seen = _write(drawings, values, elsewhere)
    drawn = {shape.label for drawing in drawings for shape in drawing.annotated.shapes}
    for label in found.labels:
        covered = ", since others cover it or it is empty" if label in drawn and not seen[values[label]] else ""
        print(
            f"{label}: value {values[label]}, in {seen[values[label]]} of {len(drawings)} masks{covered}",
            file=sys.stderr,
        )


def _read(sources: Sequence[Path | Pattern], images: Path, masks: Path) -> Annotations:
    patterns = [source for source in sources if isinstance(source, Pattern)]
    found = [_read_file(source, images) for source in sources if isinstance(source, Path)]
    if patterns:
        found.append(read_binary_masks(patterns, images, masks))
    return Annotations(
        labels=list(dict.fromkeys(label for each in found for label in each.labels)),
        images=[image for each in found for image in each.images],
        notes=[note for each in found for note in each.notes],
        pictures=frozenset().union(*(each.pictures for each in found)),
    )


def _read_file(source: Path, images: Path) -> Annotations:
    if source.is_dir():
        return read_labelme(source)
    if source.suffix.lower() in SUFFIXES:
        raise UserError(
            f"{source}: a picture; of binary masks give a pattern, such as 'masks/{{class}}/{{image}}.png'."
        )
    return read_yolo(source, images) if source.suffix.lower() in NAMES_SUFFIXES else read_coco(source)


def _check(images: Path, drawings: Sequence[Drawing], values: Mapping[str, int], elsewhere: int, replace: bool) -> None:
    """Draw every mask without writing it.

    Raises:
        UserError: that names all that cannot be drawn, or that is there already and differs.
    """
    problems = Problems(images)
    differing = []
    progress = Progress("check shapes", len(drawings))
    for drawing in drawings:
        try:
            mask = _mask(drawing, values, elsewhere)
            if not replace and drawing.mask.exists() and not _holds(drawing.mask, mask):
                differing.append(str(drawing.mask))
        except (UserError, OSError) as error:
            problems.add(str(error))
        progress.advance()
    if differing:
        problems.add(f"differ from what the shapes give, and --replace draws over them: {every(differing)}")
    problems.raise_if_any(REMEDY)


def _write(drawings: Sequence[Drawing], values: Mapping[str, int], elsewhere: int) -> Counter[int]:
    """Write the masks; returns in how many of them each value is."""
    seen: Counter[int] = Counter()
    progress = Progress("draw masks", len(drawings))
    for drawing in drawings:
        mask = _mask(drawing, values, elsewhere)
        drawing.mask.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(drawing.mask) as temporary:
            temporary.write_bytes(encode_indexed_png(mask, PALETTE))
        seen.update(np.unique(mask).tolist())
        progress.advance()
    return seen


def _holds(path: Path, mask: Image) -> bool:
    with PIL.Image.open(path) as picture:
        return np.array_equal(np.array(picture), mask)


def _mask(drawing: Drawing, values: Mapping[str, int], elsewhere: int) -> Image:
    """The mask, upright as the image is in use.

    Raises:
        UserError: if the image cannot be read, is of another size than what the shapes were drawn on, or one of them
            does not belong into it.
    """
    header, annotated = look(drawing.image), drawing.annotated
    size = annotated.size or header.size
    if size not in (header.size, header.stored_size):
        (height, width), (own_height, own_width) = size, header.size
        raise UserError(
            f"{annotated.where}: drawn on {width}x{height} pixels, {drawing.image} has {own_width}x{own_height}; take "
            "the images as they were annotated"
        )
    regions = []
    for shape in annotated.shapes:
        try:
            regions.append((shape.region.runs(size), values[shape.label]))
        except UserError as error:
            raise UserError(f"{shape.where}, on {drawing.image}: {error}") from error
    mask = draw(regions, size, elsewhere)
    return mask if size == header.size else _upright(mask, header.orientation)


def _upright(mask: Image, orientation: int) -> Image:
    picture = PIL.Image.fromarray(mask)
    picture.getexif()[ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(picture))
