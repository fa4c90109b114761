"""Which mask belongs to which image of a user's folder, and which images are measured on."""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ucc.config import FolderParams
from ucc.data.dataset import DESCRIPTION, NEST, SPLITS
from ucc.data.sources.listing import Problems
from ucc.data.sources.tree import LITTER, LONGEST_NAME, files_below, shown
from ucc.data.text_list import read_list
from ucc.errors import UserError, every

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
# What people put behind an image's name to name its mask.
MASK_ENDINGS = ("_mask", "-mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt", "_annotation", ".mask")
REQUIRED_SPLITS = ("train", "val")
VAL_NAMES = ("val", "valid", "validation")  # what others call that split
MIN_MASKED = 3  # one to measure on, and the two labelled images that training needs

Files = dict[str, Path]


@dataclass(frozen=True)
class Pair:
    """An image, its mask if it has one, and the name both get in the canonical data set."""

    name: str
    split: str
    image: Path
    mask: Path | None


def find_pairs(params: FolderParams, problems: Problems) -> list[Pair]:
    """Every image below `problems.root` that can be converted; what does not fit is added to `problems`.

    Images and masks pair by their path below `params.images` and `params.masks`, without the file's suffix and
    with `params.mask_suffix`. If `params.val` is a share, that share of the pairs is drawn by the hashes of their
    paths, and a new mask may change which; if it is a text file, the images it lists are measured on. Beside a folder
    train, a folder test is a split of its own. Images without masks are for training.

    Raises:
        UserError: if `params` make no sense, or the list cannot be read.
    """
    _check(params)
    if params.val is None:
        return [pair for split in _splits(params, problems) for pair in _split_pairs(split, params, problems)]
    images, masks = match(params.images, params.masks, params.mask_suffix, problems)
    test = _test_split(params, images, masks, problems)
    masked = sorted((images.keys() & masks.keys()) - test)
    if len(masked) < MIN_MASKED:
        problems.add(f"at least {MIN_MASKED} images with masks are needed, there are {len(masked)}")
    val = (
        _listed(params.val, images, masks, test, problems) if isinstance(params.val, str) else draw(masked, params.val)
    )
    splits = {key: "val" if key in val else "test" if key in test else "train" for key in images}
    _tell_learned(params, splits, problems)
    return _pairs(images, masks, splits, problems)


def match(images: str, masks: str, mask_suffix: str, problems: Problems, strict: bool = False) -> tuple[Files, Files]:
    """Images and masks of two folders below the root by the path that they share.

    Files of other kinds are a problem if `strict`, else a note.
    """
    root = problems.root
    if Path(images) == Path(masks):
        files = _files(images, (), problems)
        mask_files = [file for file in files if file.stem.endswith(mask_suffix)]
        image_files = [file for file in files if not file.stem.endswith(mask_suffix)]
        _refuse_misnamed_masks(image_files, mask_suffix, problems)
    else:
        image_files = _files(images, (root / masks,), problems)
        mask_files = _files(masks, (root / images,), problems)
    named_images = _by_key(image_files, images, "", IMAGE_SUFFIXES, problems, strict)
    lossy = [f for f in mask_files if f.suffix.lower() in IMAGE_SUFFIXES and f.suffix.lower() not in MASK_SUFFIXES]
    if lossy:
        problems.add(
            "JPEG and WebP change the values they store, so masks are PNG, BMP or TIFF files: draw or export again "
            + every(shown(file.relative_to(root)) for file in lossy)
        )
    rest = [file for file in mask_files if file not in set(lossy)]
    named_masks = _by_key(rest, masks, mask_suffix, MASK_SUFFIXES, problems, strict)
    stray = [shown(named_masks[key].relative_to(root / masks)) for key in named_masks if key not in named_images]
    if named_images and stray:
        hint = "" if len(stray) < len(named_masks) else " (do dataset.folder.images and mask_suffix fit?)"
        problems.add(f"{masks}/: no image of the same name{hint} for {every(stray)}")
    return named_images, named_masks


def _refuse_misnamed_masks(images: Sequence[Path], mask_suffix: str, problems: Problems) -> None:
    """Where masks lie beside images, one that is misnamed would be learned from as a photograph."""
    names = {(file.parent, file.stem.lower()) for file in images}
    misnamed = [
        shown(file.relative_to(problems.root))
        for file in images
        for ending in MASK_ENDINGS
        if file.stem.lower().endswith(ending) and (file.parent, file.stem.lower().removesuffix(ending)) in names
    ]
    if misnamed:
        problems.add(
            f"named like masks of images beside them, but dataset.folder.mask_suffix is {mask_suffix}: rename or move "
            + every(misnamed)
        )


def draw(keys: Sequence[str], share: float) -> set[str]:
    """The share of `keys` to measure on: at least one, and two are left."""
    ranked = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    return set(ranked[: max(0, min(max(1, round(share * len(keys))), len(keys) - MIN_MASKED + 1))])


def _test_split(params: FolderParams, images: Files, masks: Files, problems: Problems) -> set[str]:
    """The images with masks of a folder test beside train; those without are taken out of `images`."""
    if not (problems.root / params.images / "train").is_dir():
        return set()
    test = {key for key in images if key.startswith("test/")}
    bare = test - masks.keys()
    for key in bare:
        del images[key]
    if bare:
        problems.note(
            f"{params.images}/test/: {len(bare)} images without masks in {params.masks}/test/ are left out, since what "
            "lies there is not learned from; to learn from them give the folder another name"
        )
    return test - bare


def _tell_learned(params: FolderParams, splits: Mapping[str, str], problems: Problems) -> None:
    """Say which folders that are named like splits are learned from, since they may have been meant otherwise."""
    learned = {key.partition("/")[0] for key, split in splits.items() if split == "train" and "/" in key}
    for name in sorted(learned & {"test", *VAL_NAMES}):
        problems.note(
            f"{params.images}/{name}/ is learned from, too, since dataset.folder.val says what is measured on; to have "
            "folders decide, name them train, val and test and set dataset.folder.val to null"
        )


def _listed(path: str, images: Files, masks: Files, test: set[str], problems: Problems) -> set[str]:
    """The images of a list, whose lines are their paths or, as `ucc rank` writes them, their ids."""
    keys = {key.replace("/", NEST): key for key in images} | {key: key for key in images}
    lines = {line: _keys_of(line, keys) for line in read_list(path, "dataset.folder.val")}
    unknown = [line for line, meant in lines.items() if not meant]
    if unknown:
        problems.add(f"{path} (dataset.folder.val): no such image: {every(unknown)}")
    either = [f"{line} ({' or '.join(sorted(meant))})" for line, meant in lines.items() if len(meant) > 1]
    if either:
        problems.add(f"{path} (dataset.folder.val): may mean two images, rename one of each: {every(either)}")
    found = {key for meant in lines.values() for key in meant}
    bare = sorted(found - masks.keys())
    if bare:
        problems.add(f"{path} (dataset.folder.val): without a mask, draw it or take the line out: {every(bare)}")
    left = len((images.keys() & masks.keys()) - test - found)
    if left < MIN_MASKED - 1:
        problems.add(f"{path} (dataset.folder.val): leaves {left} images with masks to learn from, of at least two")
    return found


def _keys_of(line: str, keys: Mapping[str, str]) -> set[str]:
    """What a line means as a path and what it means as the id of an image that is measured on; mostly one of them."""
    name = PurePosixPath(line)
    bare = name.with_suffix("") if name.suffix.lower() in IMAGE_SUFFIXES else name
    spelled = [path.as_posix() for path in (name, bare)]
    readings = (spelled, [text.removeprefix("val/") for text in spelled])
    return {next(keys[text] for text in reading if text in keys) for reading in readings if keys.keys() & reading}


def _check(params: FolderParams) -> None:
    val = params.val
    is_share = isinstance(val, int | float) and not isinstance(val, bool) and 0 < val < 1
    if not (val is None or is_share or (isinstance(val, str) and _as_number(val) is None)):
        raise UserError(
            f"dataset.folder.val = {val!r}: must be a share above 0 and below 1, such as 0.2, a text file that lists "
            "the images to measure on, or null."
        )
    for key, value in (("images", params.images), ("masks", params.masks)):
        if Path(value).is_absolute() or ".." in Path(value).parts:
            raise UserError(f"dataset.folder.{key} = {value}: must be a folder below dataset.root, or '.' for itself.")
    if Path(params.images) == Path(params.masks) and not params.mask_suffix:
        raise UserError(
            f"dataset.folder.images and masks are both {params.images}: set dataset.folder.mask_suffix to what tells a "
            "mask from its image, such as _mask."
        )


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _splits(params: FolderParams, problems: Problems) -> list[str]:
    """The required splits and whichever others are there."""
    root = problems.root
    own = {root / params.images, root / params.masks, root / DESCRIPTION}
    present: set[str] = set()
    for folder in dict.fromkeys((root / params.images, root / params.masks)):
        try:
            if folder.is_dir():
                names = {e.name for e in folder.iterdir() if not e.name.startswith(".") and e not in own}
                present |= names.difference(LITTER)
        except OSError as error:
            problems.add(f"{folder.relative_to(root).as_posix()}/: cannot be read ({error.strerror})")
    unknown = sorted(present - set(SPLITS))
    if unknown:
        misnamed = [name for name in unknown if name in VAL_NAMES]
        remedy = "set dataset.folder.val to a share, such as 0.2, to have val drawn"
        problems.add(
            f"{params.images}/ and {params.masks}/ may hold {', '.join(SPLITS)}, not {every(unknown)}; "
            + (f"rename {misnamed[0]} to val" if misnamed else remedy)
        )
    return [split for split in SPLITS if split in present or split in REQUIRED_SPLITS]


def _split_pairs(split: str, params: FolderParams, problems: Problems) -> list[Pair]:
    at_images, at_masks = ((Path(folder) / split).as_posix() for folder in (params.images, params.masks))
    images, masks = match(at_images, at_masks, params.mask_suffix, problems, strict=True)
    base = problems.root / at_images
    without_mask = [shown(images[key].relative_to(base)) for key in images if key not in masks]
    if (masks or at_images == at_masks) and split != "train" and without_mask:
        problems.add(f"{at_masks}/: every image needs a mask, there is none for {every(without_mask)}")
    return _pairs(images, masks, dict.fromkeys(images, split), problems)


def _pairs(images: Files, masks: Files, splits: dict[str, str], problems: Problems) -> list[Pair]:
    """Pairs under flat names, on which no two may agree; without those that have no such name."""
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for key in images:
        by_name[key.replace("/", NEST)].append(images[key].relative_to(problems.root))
    for name, paths in by_name.items():
        if len(paths) > 1:
            problems.add(f"{every(map(shown, paths))} would all be named {name}; rename all but one")
    long = [shown(paths[0]) for name, paths in by_name.items() if len(name.encode()) > LONGEST_NAME]
    if long:
        problems.add(f"folders and name together longer than {LONGEST_NAME} bytes, shorten: {every(long)}")
    named = [(key.replace("/", NEST), key) for key in images]
    usable = [(name, key) for name, key in named if len(by_name[name]) == 1 and len(name.encode()) <= LONGEST_NAME]
    return [Pair(name, splits[key], images[key], masks.get(key)) for name, key in usable]


def _files(folder: str, leave_out: Collection[Path], problems: Problems) -> list[Path]:
    path = problems.root / folder
    try:
        if path.is_dir():
            files = files_below(path, problems, leave_out)
            if not files:
                problems.add(f"{folder}/: holds no files")
            return files
    except OSError as error:
        problems.add(f"{folder}/: cannot be read ({error.strerror})")
        return []
    problems.add(f"{folder}/: missing folder")
    return []


def _by_key(
    files: Sequence[Path], folder: str, ending: str, suffixes: Sequence[str], problems: Problems, strict: bool
) -> Files:
    """Files by their path below `folder` without suffix and `ending`; those that do not fit are told."""
    base = problems.root / folder
    foreign = [shown(f.relative_to(base)) for f in files if f.suffix.lower() not in suffixes and f.name != DESCRIPTION]
    if foreign and strict:
        problems.add(f"{folder}/: only {', '.join(suffixes)} files belong here, not {every(foreign)}")
    elif foreign:
        problems.note(f"{folder}/: left out, since not {', '.join(suffixes)}: {every(foreign)}")
    pictures = [file for file in files if file.suffix.lower() in suffixes]
    unended = [shown(file.relative_to(base)) for file in pictures if not file.stem.endswith(ending)]
    if unended:
        problems.add(f"{folder}/: names must end in dataset.folder.mask_suffix = {ending}, unlike {every(unended)}")
    found: Files = {}
    for file in pictures:
        if not file.stem.endswith(ending):
            continue
        path = file.relative_to(base)
        key = (path.parent / file.stem.removesuffix(ending)).as_posix()
        # One name, two spellings: file systems differ in how they compose accents.
        key = unicodedata.normalize("NFC", key)
        if key in found:
            same = f"{found[key].relative_to(base)} and {path}"
            problems.add(f"{folder}/: {same} share the name {key}; rename one of them")
        found.setdefault(key, file)
    if files and not found:
        problems.add(f"{folder}/: holds no {', '.join(suffixes)} file")
    return found
