"""Which images get masks, and where these go."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import PIL.Image

from ucc.data.annotations.annotated import REMEDY, Annotated, Annotations
from ucc.data.annotations.finding import Found, find_images
from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import IMAGE_SUFFIXES
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError, some

MASK_MODES = ("P", "L", "1")


@dataclass(frozen=True)
class Drawing:
    """An annotated image, its file, and the file for its mask."""

    annotated: Annotated
    image: Path
    mask: Path


def mask_ending(images: Path, masks: Path) -> str:
    """What the names of masks have in place of the images' suffix: something of their own where both lie together."""
    return "_mask.png" if masks.resolve() == images.resolve() else ".png"


def match(found: Annotations, images: Path, masks: Path, empty_as_background: bool) -> tuple[list[Drawing], list[str]]:
    """The images that get masks, and notes on those that do not.

    Raises:
        UserError: if images cannot be listed, it is not clear which is meant, a mask would take the place of something
            else, or nothing is to be drawn.
    """
    problems = Problems(images)
    own, of_images = masks.resolve(), images.resolve()
    beside = own == of_images
    within = [images / own.relative_to(of_images)] if not beside and own.is_relative_to(of_images) else []
    ending = mask_ending(images, masks)
    listed = [
        path
        for path in files_below(images, problems, within)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.resolve() not in found.pictures
    ]
    files = find_images(found.images, listed, images, problems)
    drawings: list[Drawing] = []
    empty: list[Drawing] = []
    boxed: list[Drawing] = []
    for image, entries in files.by_file.items():
        mask = (masks / image.relative_to(images)).with_name(f"{image.stem}{ending}")
        one = Drawing(_merged(entries, problems), image, mask)
        without = empty if not one.annotated.shapes and not empty_as_background else drawings
        (boxed if one.annotated.boxed else without).append(one)
    _check_places(drawings, files.by_file.keys() if beside else (), problems)
    problems.raise_if_any(REMEDY)
    notes = _notes(images, files, empty, boxed)
    if not drawings:
        raise UserError(f"no image has shapes to draw{''.join(f'; {note}' for note in notes)}.")
    return drawings, notes


def _notes(images: Path, files: Found, empty: Sequence[Drawing], boxed: Sequence[Drawing]) -> list[str]:
    several = [image.name for image, entries in files.by_file.items() if len(entries) > 1]
    stale = [drawing.mask.name for drawing in (*empty, *boxed) if drawing.mask.exists()]
    told = {
        f"not in {images} and left out": _names(files.absent),
        f"beside their annotations and not in {images}, so left out": _names(files.elsewhere),
        "found by their names alone": list(files.moved),
        "annotated several times, and drawn together": several,
        "with objects of which no outline is known, so without a mask": _names(one.annotated for one in boxed),
        "without shapes, so unlabelled (if they show nothing, --empty-as-background)": _names(
            one.annotated for one in empty
        ),
        "unlabelled now, with a mask of before, which is still there": stale,
    }
    return [f"{len(names)} images {what}: {some(names)}" for what, names in told.items() if names]


def _names(annotated: Iterable[Annotated]) -> list[str]:
    return [shown(Path(one.names[0])) for one in annotated]


def _merged(entries: Sequence[Annotated], problems: Problems) -> Annotated:
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
        elif drawing.mask in photographs or not _may_be_mask(drawing.mask):
            problems.add(f"{drawing.mask}: not drawn here, and in the way of a mask; give another folder for the masks")
        taken[drawing.mask] = drawing.image


def _may_be_mask(path: Path) -> bool:
    try:
        with PIL.Image.open(path) as picture:
            return picture.mode in MASK_MODES
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return True  # whoever writes there tells
    except Exception:  # whatever it is, and however damaged
        return False
