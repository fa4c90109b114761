"""Which images get masks, and where these go."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import PIL.Image

from ucc.data.dataset import IMAGE_SUFFIXES
from ucc.data.polygons.annotations import Annotated, Annotations
from ucc.data.polygons.finding import find_images
from ucc.data.sources.listing import Problems
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError, some

BESIDE = "_mask"  # what a mask's name has beyond that of the image that it lies beside
REMEDY = "Nothing was drawn. Mend these, then draw again."
PHOTO_MODES = ("RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True)
class Drawing:
    """An annotated image, its file, and the file for its mask."""

    annotated: Annotated
    image: Path
    mask: Path


def match(found: Annotations, images: Path, masks: Path, empty_as_background: bool) -> tuple[list[Drawing], list[str]]:
    """The images that get masks, and notes on those that do not.

    Raises:
        UserError: if images cannot be listed, it is not clear which is meant, a mask would take the place of a
            photograph, or nothing is to be drawn.
    """
    if not images.is_dir():
        raise UserError(f"{images}: no such folder of images.")
    problems = Problems(images)
    own, of_images = masks.resolve(), images.resolve()
    beside = own == of_images
    within = [images / own.relative_to(of_images)] if not beside and own.is_relative_to(of_images) else []
    listed = [path for path in files_below(images, problems, within) if path.suffix.lower() in IMAGE_SUFFIXES]
    by_file, absent, notes = find_images(found.images, listed, images, problems)
    drawings, empty, boxed = [], [], []
    for image, entries in by_file.items():
        one = _together(entries, problems)
        if one.boxed:
            boxed.append(one)
        elif not one.shapes and not empty_as_background:
            empty.append(one)
        else:
            mask = (masks / image.relative_to(images)).with_name(f"{image.stem}{BESIDE if beside else ''}.png")
            drawings.append(Drawing(one, image, mask))
    _check_places(drawings, by_file.keys() if beside else (), problems)
    problems.raise_if_any(REMEDY)
    notes += _left_out(
        {
            f"not in {images} and left out": absent,
            "of objects of which only a box is known, so without a mask": boxed,
            "without shapes, so unlabelled (if they show nothing, --empty-as-background)": empty,
        }
    )
    if not drawings:
        raise UserError(f"no image has shapes to draw{''.join(f'; {note}' for note in notes)}.")
    return drawings, notes


def _together(entries: Sequence[Annotated], problems: Problems) -> Annotated:
    """All that is annotated on one image."""
    sizes = {one.size for one in entries} - {None}
    if len(sizes) > 1:
        problems.add(f"{' and '.join(one.where for one in entries)}: one image, in two sizes")
    return replace(
        entries[0],
        size=next(iter(sizes), None),
        shapes=[shape for one in entries for shape in one.shapes],
        boxed=any(one.boxed for one in entries),
    )


def _check_places(drawings: Sequence[Drawing], photographs: Collection[Path], problems: Problems) -> None:
    taken: dict[Path, Path] = {}
    for drawing in drawings:
        if drawing.mask in taken:
            problems.add(f"{taken[drawing.mask]} and {drawing.image} would have one mask, {drawing.mask}; rename one")
        elif drawing.mask in photographs or _is_photograph(drawing.mask):
            problems.add(f"{drawing.mask}: no mask, and one would be drawn over it; give another folder for the masks")
        taken[drawing.mask] = drawing.image


def _is_photograph(path: Path) -> bool:
    try:
        with PIL.Image.open(path) as picture:
            return picture.mode in PHOTO_MODES
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False  # whoever writes there tells
    except Exception:  # whatever it is, and however damaged: nothing that was drawn here
        return True


def _left_out(images: dict[str, list[Annotated]]) -> list[str]:
    return [
        f"{len(found)} images {what}: {some(shown(Path(one.names[0])) for one in found)}"
        for what, found in images.items()
        if found
    ]
