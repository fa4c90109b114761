"""Masks from annotated shapes: all that is wrong is told before anything is written."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.images import Image
from ucc.data.polygons.annotations import Annotations
from ucc.data.polygons.classes import class_values, write_classes
from ucc.data.polygons.coco import read_coco
from ucc.data.polygons.labelme import read_labelme
from ucc.data.polygons.matching import REMEDY, Drawing, match
from ucc.data.polygons.regions import draw
from ucc.data.polygons.yolo import SUFFIXES, read_yolo
from ucc.data.sources.class_list import standard_color
from ucc.data.sources.listing import Problems
from ucc.data.sources.pictures import look, reason
from ucc.data.sources.tree import shown
from ucc.errors import UserError, some
from ucc.files import atomic_path, explained
from ucc.pictures import encode_indexed_png
from ucc.progress import Progress

PALETTE = [standard_color(value) for value in range(256)]


def draw_masks(sources: Sequence[Path], images: Path, masks: Path, ignore_elsewhere: bool, replace: bool) -> list[Path]:
    """Draw the masks and tell on stderr what was drawn; returns those that were there, differ, and were left.

    Args:
        sources: JSON files of COCO, folders of labelme's, data.yaml of YOLO; their classes are numbered together.
        images: the folder of the images.
        masks: the folder for the masks, made if it is missing.
        ignore_elsewhere: pixels in no shape belong to no class, rather than to the background.
        replace: draw over masks that differ, too.

    Raises:
        UserError: if anything is missing or damaged, and then nothing is written; or if something cannot be written.
    """
    found = _together([_read(source, images) for source in sources])
    drawings, notes = match(found, images, masks)
    for note in (*found.notes, *notes):
        print(note, file=sys.stderr)
    values = class_values(masks, found.labels)
    elsewhere = IGNORE_INDEX if ignore_elsewhere else 0
    _check(images, drawings, values, elsewhere)
    with explained(masks):
        masks.mkdir(parents=True, exist_ok=True)
        write_classes(masks, values, with_background=not ignore_elsewhere)
        kept = _write(drawings, values, elsewhere, replace)
    seen = Counter(label for drawing in drawings for label in {shape.label for shape in drawing.annotated.shapes})
    for label in found.labels:
        print(f"{label}: value {values[label]}, in {seen[label]} of {len(drawings)} masks", file=sys.stderr)
    return kept


def _read(source: Path, images: Path) -> Annotations:
    if source.is_dir():
        return read_labelme(source)
    return read_yolo(source, images) if source.suffix.lower() in SUFFIXES else read_coco(source)


def _together(found: Sequence[Annotations]) -> Annotations:
    return Annotations(
        labels=list(dict.fromkeys(label for each in found for label in each.labels)),
        images=[image for each in found for image in each.images],
        notes=[note for each in found for note in each.notes],
    )


def _check(images: Path, drawings: Sequence[Drawing], values: Mapping[str, int], elsewhere: int) -> None:
    """Draw every mask without writing it.

    Raises:
        UserError: that names all that cannot be drawn.
    """
    problems = Problems(images)
    progress = Progress("check shapes", len(drawings))
    for drawing in drawings:
        try:
            _mask(drawing, values, elsewhere)
        except UserError as error:
            problems.add(f"{drawing.annotated.where}: {reason(error, drawing.image)}")
        progress.advance()
    problems.raise_if_any(REMEDY)


def _write(drawings: Sequence[Drawing], values: Mapping[str, int], elsewhere: int, replace: bool) -> list[Path]:
    kept = []
    progress = Progress("draw masks", len(drawings))
    for drawing in drawings:
        path, encoded = drawing.mask, encode_indexed_png(_mask(drawing, values, elsewhere), PALETTE)
        if path.exists() and not replace and path.read_bytes() != encoded:
            kept.append(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(encoded)
        progress.advance()
    return kept


def _mask(drawing: Drawing, values: Mapping[str, int], elsewhere: int) -> Image:
    """Raises `UserError` if the image cannot be read or is of another size than what the shapes were drawn on."""
    header, size = look(drawing.image), drawing.annotated.size
    if size not in (None, header.size, header.stored_size):
        (height, width), (own_height, own_width) = size, header.size
        raise UserError(f"drawn on {width}x{height} pixels, {drawing.image} has {own_width}x{own_height}")
    regions = [(shape.region, values[shape.label]) for shape in drawing.annotated.shapes]
    return draw(regions, size or header.size, elsewhere)


def kept_warning(kept: Sequence[Path]) -> str:
    """What to tell of masks that were left as they are."""
    return f"{some(map(shown, kept))}: left, since they differ from what the shapes give; --replace draws over them."
