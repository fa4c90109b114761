"""Guessing where a folder keeps its images and masks."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import IMAGE_SUFFIXES, MASK_SUFFIXES
from ucc.data.sources.naming import MASK_ENDINGS
from ucc.data.sources.pairing import REQUIRED_SPLITS
from ucc.data.sources.tree import files_below
from ucc.errors import UserError

# Names in use, in order of preference, whatever their case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "jpegimages", "rgb", "inputs")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "segmentations"),
    *("segmentation", "ground_truth", "groundtruth", "gt", "targets"),
)
VAL_SHARE = 0.2


@dataclass(frozen=True)
class Layout:
    """The keys of the section dataset.folder that say where files lie."""

    images: str
    masks: str
    mask_suffix: str
    val: float | None


def guess_layout(root: Path, images: str | None, masks: str | None, mask_suffix: str | None) -> Layout:
    """Complete what is given by what the folder `root` looks like.

    Raises:
        UserError: if the folder cannot be read, no masks are to be seen, or a folder that is given lies elsewhere.
    """
    try:
        folders = {entry.name.lower(): entry.name for entry in sorted(root.iterdir()) if entry.is_dir()}
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror}).") from error
    masks = masks or next((folders[name] for name in MASK_FOLDERS if name in folders), None)
    if masks is None:
        images = masks = images or "."
    images = images or next((folders[name] for name in IMAGE_FOLDERS if name in folders), _only_other(root, masks))
    for option, folder in (("--images", images), ("--masks", masks)):
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise UserError(f"{option} {folder}: must be a folder below {root}, or '.' for itself.")
        if not (root / folder).is_dir():
            raise UserError(f"{root / folder}: no such folder.")
    if mask_suffix is None:
        mask_suffix = _ending(root, images, masks)
    split = all((root / folder / name).is_dir() for folder in (images, masks) for name in REQUIRED_SPLITS)
    return Layout(images, masks, mask_suffix, None if split else VAL_SHARE)


def _only_other(root: Path, masks: str) -> str:
    """The one folder beside that of the masks, if all pictures are in the two; else the root itself."""
    visible = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
    others = [entry.name for entry in visible if entry.is_dir() and not Path(masks).is_relative_to(entry.name)]
    pictures = any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in visible)
    return others[0] if len(others) == 1 and masks != "." and not pictures else "."


def _ending(root: Path, images: str, masks: str) -> str:
    if Path(images) == Path(masks):
        stems = _stems(root / images, (), IMAGE_SUFFIXES)
        found = Counter(e for stem in stems for e in MASK_ENDINGS if stem.endswith(e) and stem.removesuffix(e) in stems)
        if not found:
            raise UserError(
                f"{root / masks}: no masks to be seen, neither in a folder such as masks or labels nor beside the "
                "images as NAME_mask.png. Name them with --masks FOLDER or --mask-suffix TEXT."
            )
        return found.most_common(1)[0][0]
    stems = _stems(root / images, (root / masks,), IMAGE_SUFFIXES)
    endings = Counter(_beyond(stem, stems) for stem in _stems(root / masks, (root / images,), MASK_SUFFIXES))
    del endings[None]
    return str(endings.most_common(1)[0][0]) if endings else ""


def _beyond(stem: str, images: set[str]) -> str | None:
    """What `stem` has beyond the longest name of an image that it begins with."""
    return next((stem[end:] for end in range(len(stem), 0, -1) if stem[:end] in images), None)


def _stems(folder: Path, leave_out: Iterable[Path], suffixes: Iterable[str]) -> set[str]:
    """Paths of pictures below `folder` without their suffix."""
    files = files_below(folder, Problems(folder), tuple(leave_out))
    return {
        (file.relative_to(folder).parent / file.stem).as_posix() for file in files if file.suffix.lower() in suffixes
    }
