"""Which file an annotated image is, and where its mask goes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ucc.data.dataset import IMAGE_SUFFIXES
from ucc.data.polygons.annotations import Annotated, Annotations
from ucc.data.sources.listing import Problems
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError, some

BESIDE = "_mask"  # what a mask's name has beyond that of the image that it lies beside
REMEDY = "Nothing was drawn. Mend these, then draw again."

Files = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Drawing:
    """An image with shapes, its file, and the file for its mask."""

    annotated: Annotated
    image: Path
    mask: Path


def match(found: Annotations, images: Path, masks: Path) -> tuple[list[Drawing], list[str]]:
    """The images that get masks, and notes on those that do not.

    Raises:
        UserError: if images cannot be listed, entries may be several images or are of one, or nothing is to be drawn.
    """
    if not images.is_dir():
        raise UserError(f"{images}: no such folder of images.")
    problems = Problems(images)
    own, of_images = masks.resolve(), images.resolve()
    beside = own == of_images
    within = [images / own.relative_to(of_images)] if not beside and own.is_relative_to(of_images) else []
    files = _images(images, within, beside, problems)
    drawings: dict[Path, Drawing] = {}
    absent, empty, boxed = list[str](), list[str](), list[str]()
    for annotated in found.images:
        candidates = _candidates(annotated, images, files)
        if not candidates:
            absent.append(annotated.name)
        elif len(candidates) > 1:
            problems.add(
                f"{annotated.name} may be {some(map(str, candidates))}: name the folder of the one that is meant"
            )
        elif annotated.boxed:
            boxed.append(annotated.name)
        elif not annotated.shapes:
            empty.append(annotated.name)
        else:
            (image,) = candidates
            mask = (masks / image.relative_to(images)).with_name(f"{image.stem}{BESIDE if beside else ''}.png")
            if mask in drawings:
                problems.add(
                    f"{drawings[mask].annotated.name} and {annotated.name} would have one mask, {mask}; rename one"
                )
            drawings[mask] = Drawing(annotated, image, mask)
    problems.raise_if_any(REMEDY)
    left_out = {
        f"not in {images} and left out": absent,
        "of objects of which only a box is known, so without a mask": boxed,
        "without shapes, so without a mask: they are unlabelled": empty,
    }
    notes = [f"{len(names)} images {what} ({_few(names)})" for what, names in left_out.items() if names]
    if not drawings:
        raise UserError(f"no image has shapes to draw{''.join(f'; {note}' for note in notes)}.")
    return list(drawings.values()), notes


def _few(names: Sequence[str]) -> str:
    return some(shown(Path(name)) for name in names)


def _images(folder: Path, leave_out: Sequence[Path], beside: bool, problems: Problems) -> Files:
    """Images in a folder and below by their paths there and by their names alone, with suffix and without."""
    found: dict[str, list[Path]] = {}
    for path in files_below(folder, problems, leave_out):
        if path.suffix.lower() in IMAGE_SUFFIXES and not (beside and path.stem.endswith(BESIDE)):
            below = PurePosixPath(path.relative_to(folder).as_posix())
            for key in (below, below.with_suffix("")):
                for name in (key.as_posix(), f"*/{key.name}"):
                    found.setdefault(name, []).append(path)
    problems.raise_if_any(REMEDY)
    return found


def _candidates(annotated: Annotated, images: Path, files: Files) -> Sequence[Path]:
    """The files that may be meant: whoever annotated them may have had them in another folder."""
    path = PurePosixPath(annotated.name.replace("\\", "/"))
    near: Sequence[Path] = []
    if annotated.folder:
        near = files.get(Path(os.path.relpath(annotated.folder / path, images)).as_posix()) or []
    return near or files.get(path.as_posix()) or files.get(f"*/{path.name}") or []
