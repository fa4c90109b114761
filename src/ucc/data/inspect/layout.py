"""Guessing where a folder keeps its images and masks."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import IMAGE_SUFFIXES, MASK_SUFFIXES, files_of, match
from ucc.data.sources.naming import (
    IMAGE_FOLDERS,
    MASK_ENDINGS,
    MASK_FOLDERS,
    MASK_WORDS,
    MIN_REPEATED,
    RENDERING_WORDS,
    beyond,
    split_named,
    words,
)
from ucc.data.sources.pairing import REQUIRED_SPLITS
from ucc.data.sources.places import STAR, folder_names, folders
from ucc.data.sources.tree import files_below
from ucc.errors import UserError, some

VAL_SHARE = 0.2
DEEPEST = 3  # folders below the root in which masks are looked for
MOST_ENDINGS = 10  # of images that are compared, the commonest


class NoMasksError(UserError):
    """There are no masks that belong to images, or they are elsewhere."""


@dataclass(frozen=True)
class Layout:
    """The keys of the section dataset.folder that say where files lie."""

    images: str
    masks: str
    image_suffix: str
    mask_suffix: str
    val: float | None

    @property
    def beside(self) -> bool:
        """Whether masks lie beside their images."""
        return Path(self.images) == Path(self.masks)


def guess_layout(
    root: Path, images: str | None, masks: str | None, image_suffix: str | None, mask_suffix: str | None
) -> Layout:
    """Complete what is given by what the folder `root` looks like.

    Raises:
        NoMasksError: if none are to be seen.
        UserError: if the folder cannot be read, or a folder that is given lies elsewhere.
    """
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror}).") from error
    if masks is None:
        masks = _named(root, MASK_FOLDERS, MASK_SUFFIXES)
        # As in COCO: polygons, and no masks.
        if masks and not _holds(root / masks, MASK_SUFFIXES) and _holds(root / masks, [".json"]):
            masks = None
    if masks is None and images is None:
        images, masks = _below_splits(root) or (".", ".")
    masks = masks or images or "."
    images = images or _named(root, IMAGE_FOLDERS, IMAGE_SUFFIXES) or _only_other(root, masks)
    for option, place in (("--images", images), ("--masks", masks)):
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise UserError(f"{option} {place}: must be a folder below {root}, or '.' for itself.")
        if not any(folder.is_dir() for folder in folders(root, place).values()):
            raise UserError(f"{root / place}: no such folder.")
    if image_suffix is None:
        image_suffix = _image_ending(root, images, masks, mask_suffix)
    if mask_suffix is None:
        mask_suffix = _mask_ending(root, images, masks, image_suffix)
    named_images, named_masks = match(images, masks, image_suffix, mask_suffix, Problems(root))
    splits = {split_named(key.partition("/")[0]) for key in named_images.keys() & named_masks.keys() if "/" in key}
    return Layout(images, masks, image_suffix, mask_suffix, None if splits.issuperset(REQUIRED_SPLITS) else VAL_SHARE)


def alternatives(root: Path, layout: Layout) -> list[str]:
    """What else might be the masks, in a line each: other endings, and other folders whose pictures pair."""
    images = _shared(_stems(root, layout.images, layout.masks, IMAGE_SUFFIXES), layout.image_suffix)
    found = []
    if not layout.beside:
        endings = _endings(images, _stems(root, layout.masks, layout.images, MASK_SUFFIXES))
        if len(endings) > 1:
            listed = some(f"{ending or 'nothing'} ({endings[ending]})" for ending in _ranked(endings))
            taken = layout.mask_suffix or "nothing"
            found.append(
                f"names of masks have beyond those of images: {listed}; taken is {taken}, for others give --mask-suffix"
            )
    for place in _neighbours(root, layout):
        pairing = _endings(images, _stems(root, place, layout.images, MASK_SUFFIXES)).total()
        if pairing:
            found.append(
                f"{place}/ holds {pairing} pictures named like images, too: if these are the masks, give --masks "
                f"{place}"
            )
    return found


def perhaps(root: Path, masks: str) -> str:
    """A hint at folders further down that are named like ones of masks, other than `masks`; nothing if none is."""
    seen = [place for place in _mask_folders(root, root) if place != masks]
    if not seen:
        return ""
    return (
        f" Perhaps they lie in {some(f'{place}/' for place in seen)}: inspect the folder above, or give the places of "
        'several with a star, as in --images "*/images" --masks "*/masks".'
    )


def _named(folder: Path, names: Iterable[str], suffixes: Sequence[str]) -> str | None:
    """The first folder of such a name that holds a file of `suffixes`; if none does, the first."""
    own = {name.lower(): name for name in folder_names(folder)}
    present = [own[name] for name in names if name in own]
    return next((name for name in present if _holds(folder / name, suffixes)), present[0] if present else None)


def _holds(folder: Path, suffixes: Sequence[str]) -> bool:
    return any(file.suffix.lower() in suffixes for file in files_below(folder, Problems(folder)))


def _below_splits(root: Path) -> tuple[str, str] | None:
    """Places of images and masks that lie in a folder train, or in several of any name: train/images, train/masks."""
    found: Counter[tuple[str, str]] = Counter()
    for name in folder_names(root):
        masks = _named(root / name, MASK_FOLDERS, MASK_SUFFIXES)
        images = _named(root / name, IMAGE_FOLDERS, IMAGE_SUFFIXES)
        if images and masks:
            found[images, masks] += 2 if split_named(name) == "train" else 1
    ((images, masks), count) = max(found.items(), key=lambda item: item[1], default=(("", ""), 0))
    return (f"{STAR}/{images}", f"{STAR}/{masks}") if count > 1 else None


def _only_other(root: Path, masks: str) -> str:
    """The one folder beside that of the masks, if all pictures are in the two; else the root itself.

    So it is, too, where masks are in a folder of that name: masks/train/x.png is of train/x.jpg.
    """
    others = [name for name in folder_names(root) if not Path(masks).is_relative_to(name)]
    pictures = any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in root.iterdir() if entry.name[0] != ".")
    if len(others) != 1 or masks == "." or pictures or others[0] in folder_names(root / masks):
        return "."
    return others[0]


def _image_ending(root: Path, images: str, masks: str, mask_suffix: str | None) -> str:
    """What the names of images have beyond those of masks: nothing if any mask is named like an image, or more.

    Where `mask_suffix` is given, masks are what ends in it, and named like an image without it.
    """
    if Path(images) == Path(masks):
        stems = _stems(root, images, None, IMAGE_SUFFIXES)
        of_masks = {stem for stem in stems if stem.endswith(mask_suffix or MASK_ENDINGS)}
        of_images = sorted(stems - of_masks)
    else:
        of_masks = _stems(root, masks, images, MASK_SUFFIXES)
        of_images = sorted(_stems(root, images, masks, IMAGE_SUFFIXES))
    if mask_suffix is not None:
        of_masks = _shared(of_masks, mask_suffix)

    def pairs(ending: str) -> int:
        endings = _endings(_shared(of_images, ending), of_masks)
        return max(endings.values(), default=0) if mask_suffix is None else endings[""]

    if pairs(""):
        return ""
    beginnings = {stem[:end] for stem in of_masks for end in _marks(stem)}
    shared = (next((end for end in _marks(stem) if stem[:end] in beginnings), None) for stem in of_images)
    found = Counter(stem[end:] for stem, end in zip(of_images, shared, strict=True) if end is not None)
    # A number, or another word on each, is no ending, but what tells them apart.
    likely = [ending for ending, count in found.most_common(MOST_ENDINGS) if count >= MIN_REPEATED and words(ending)]
    return max(likely, key=lambda ending: (pairs(ending), -len(ending), ending), default="")


def _marks(stem: str) -> list[int]:
    """Where an ending may begin, the shortest first: at the end of the name, or with a mark that sets it off."""
    start = stem.rfind("/") + 1
    return [len(stem), *(at for at in range(len(stem) - 1, start, -1) if stem[at] in "_.-")]


def _shared(stems: Collection[str], image_suffix: str) -> set[str]:
    """What the names that end in `image_suffix` share with those of their masks."""
    return {stem.removesuffix(image_suffix) for stem in stems if stem.endswith(image_suffix)}


def _mask_ending(root: Path, images: str, masks: str, image_suffix: str) -> str:
    if Path(images) == Path(masks):
        stems = _stems(root, images, None, IMAGE_SUFFIXES)
        shared = _shared(stems, image_suffix)
        found = Counter(
            e for stem in stems for e in MASK_ENDINGS if stem.endswith(e) and stem.removesuffix(e) in shared
        )
        if not found:
            hint = perhaps(root, masks) if images == "." else ""
            alone = sorted(stem for stem in stems if stem.endswith(MASK_ENDINGS))
            if alone:
                hint += f" Named like masks, but without an image of the bare name: {some(alone)}."
            raise NoMasksError(
                f"{root / masks}: no masks to be seen, neither in a folder such as masks or labels nor beside the "
                f"images as NAME_mask.png.{hint} Name them with --masks FOLDER or --mask-suffix TEXT."
            )
        return _ranked(found)[0]
    shared = _shared(_stems(root, images, masks, IMAGE_SUFFIXES), image_suffix)
    endings = _endings(shared, _stems(root, masks, images, MASK_SUFFIXES))
    return _ranked(endings)[0] if endings else ""


def _endings(images: Collection[str], masks: Collection[str]) -> Counter[str]:
    """What the names of masks have beyond those of images, and how often."""
    found = (beyond(mask, images) for mask in masks)
    return Counter(both[1] for both in found if both and "/" not in both[1])  # x/1 is no mask of x


def _ranked(endings: Mapping[str, int]) -> list[str]:
    """The commonest first; of equally common ones, classes before their colours or instances."""
    return sorted(endings, key=lambda text: (-endings[text], bool(words(text) & {*RENDERING_WORDS}), text))


def _neighbours(root: Path, layout: Layout) -> Iterator[str]:
    """Folders beside and below that of the masks."""
    if layout.beside:
        return
    for above in (Path(layout.masks).parent, Path(layout.masks)):
        inside = {name for folder in folders(root, above.as_posix()).values() for name in folder_names(folder)}
        for name in sorted(inside):
            place = (above / name).as_posix()
            ways = [Path(layout.images), Path(layout.masks)]
            if not any(way.is_relative_to(place) for way in ways) and split_named(name) is None:
                yield place


def _mask_folders(folder: Path, root: Path) -> Iterator[str]:
    """Folders a few levels below that are named like ones of masks, hold pictures and no such folder."""
    for name in folder_names(folder):
        path = folder / name
        deeper = list(_mask_folders(path, root)) if len(path.relative_to(root).parts) < DEEPEST else []
        yield from deeper
        if not deeper and words(name) & {*MASK_WORDS, "ground", "manual"} and _holds(path, IMAGE_SUFFIXES):
            yield path.relative_to(root).as_posix()


def _stems(root: Path, place: str, leave_out: str | None, suffixes: Iterable[str]) -> set[str]:
    """Paths of the pictures of a place without their suffix, in one spelling of accents."""
    left = folders(root, leave_out).values() if leave_out else ()
    files = files_of(place, tuple(left), Problems(root))
    pictures = [path.with_name(file.stem) for file, path in files.items() if file.suffix.lower() in suffixes]
    return {unicodedata.normalize("NFC", path.as_posix()) for path in pictures}
