"""`folder`: a user's own data set, already in the canonical layout."""

import shutil
from dataclasses import replace
from pathlib import Path

from ucc.data.dataset import DESCRIPTION, IMAGE_SUFFIXES, SPLITS, DatasetInfo
from ucc.data.sources.listing import Problems
from ucc.errors import UserError, some
from ucc.files import atomic_folder

REQUIRED_SPLITS = ("train", "val")
LAYOUT = f"""Expected layout:
  {DESCRIPTION}                       name, classes, colors
  images/train, images/val [, images/test]   {", ".join(IMAGE_SUFFIXES)} photographs
  masks/train, masks/val [, masks/test]      .png, one 8-bit channel of class indices, 255 = ignore, same stem as the
                                     image; in train only the images that are labelled need one"""


def prepare_folder(root: Path, target: Path) -> DatasetInfo:
    """Check the folder `root` and copy it to `target`.

    Raises:
        UserError: naming everything that is missing or in the way.
    """
    if target.resolve().is_relative_to(root.resolve()) or root.resolve().is_relative_to(target.resolve()):
        raise UserError(f"dataset.root = {root}: must lie apart from {target}, which is written anew.")
    problems = Problems(root)
    info = _description(root, problems)
    files = [file for split in _splits(root, problems) for file in _split_files(split, problems)]
    problems.raise_if_any(LAYOUT)
    if info is None:
        raise AssertionError("a missing description is a problem")
    with atomic_folder(target) as folder:
        for file in files:
            copy = folder / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        info.write(folder)
    return info


def _description(root: Path, problems: Problems) -> DatasetInfo | None:
    try:
        info = DatasetInfo.read(root)
    except UserError as error:
        problems.add(str(error))
        return None
    return replace(info, provenance={"source": "folder", **info.provenance})


def _splits(root: Path, problems: Problems) -> list[str]:
    """The required splits and whichever others are there."""
    present: set[str] = set()
    for kind in ("images", "masks"):
        if (root / kind).is_dir():
            present |= {entry.name for entry in (root / kind).iterdir() if not entry.name.startswith(".")}
    unknown = sorted(present - set(SPLITS))
    if unknown:
        problems.add(f"images/ and masks/ may hold {', '.join(SPLITS)}, not {some(unknown)}")
    return [split for split in SPLITS if split in present or split in REQUIRED_SPLITS]


def _split_files(split: str, problems: Problems) -> list[Path]:
    images, masks = problems.images(f"images/{split}"), problems.masks(f"masks/{split}")
    without_image = [masks[stem].name for stem in masks if stem not in images]
    if images and without_image:
        problems.add(f"masks/{split}/: no image of the same name for {some(without_image)}")
    without_mask = [images[stem].name for stem in images if stem not in masks]
    if masks and split != "train" and without_mask:
        problems.add(f"masks/{split}/: every image needs a mask, there is none for {some(without_mask)}")
    return [*images.values(), *masks.values()]
