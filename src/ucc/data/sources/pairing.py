"""Which mask belongs to which image of a user's folder, and which images are measured on."""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ucc.config import FolderParams
from ucc.data.dataset import DESCRIPTION, NEST, SPLITS
from ucc.data.sources.listing import Problems
from ucc.data.sources.lookalikes import tell_lookalikes
from ucc.data.sources.matching import IMAGE_SUFFIXES, Files, match, shown_in
from ucc.data.sources.naming import split_named
from ucc.data.sources.places import STAR, folders, has_star, part_names, part_of
from ucc.data.sources.tree import LITTER, LONGEST_NAME, shown
from ucc.data.text_list import read_list
from ucc.errors import UserError, every, some

REQUIRED_SPLITS = ("train", "val")
MIN_MASKED = 3  # one to measure on, and the two labelled images that training needs
_COPY = re.compile(r"\.rf\.\w+$")  # what Roboflow puts behind the name of each altered copy of a photograph


@dataclass(frozen=True)
class Pair:
    """An image, its mask if it has one, and the name both get in the canonical data set."""

    name: str
    split: str
    image: Path
    mask: Path | None


def find_pairs(params: FolderParams, problems: Problems) -> list[Pair]:
    """Every image below `problems.root` that can be converted; what does not fit is added to `problems`.

    Images and masks pair by their path below `params.images` and `params.masks`, without the file's suffix and without
    `params.image_suffix` and `params.mask_suffix`. If `params.val` is a share, that share of the pairs is drawn by the
    hashes of their paths, and a new mask may change which; if it is a text file, the images it lists are measured on.
    Beside a folder train, a folder test is a split of its own, without what has no mask there. Other images without
    masks are for training. What folders are called counts in any case, and so do names such as valid or test2017.

    Raises:
        UserError: if `params` make no sense, or the list cannot be read.
    """
    _check(params)
    if params.val is None:
        splits_of_names = _splits(params, problems)
        return [p for split, name in splits_of_names.items() for p in _split_pairs(split, name, params, problems)]
    images, masks = match(params.images, params.masks, params.image_suffix, params.mask_suffix, problems)
    test = _test_split(params, images, masks, problems)
    _tell_lookalikes(params, images, masks, problems)
    masked = sorted((images.keys() & masks.keys()) - test)
    if len(masked) < MIN_MASKED:
        problems.add(f"at least {MIN_MASKED} images with masks are needed, there are {len(masked)}")
    if isinstance(params.val, str):
        val = _listed(params.val, params, images, masks, test, problems)
    else:
        val = draw(masked, params.val)
        if not val and len(masked) >= MIN_MASKED:
            problems.add(
                f"the {len(masked)} images with masks are copies (.rf. in their names) of too few photographs to "
                "measure on any; set dataset.folder.val to a text file that lists images to measure on"
            )
    splits = {key: "val" if key in val else "test" if key in test else "train" for key in images}
    _tell_learned(params, splits, problems)
    return _pairs(images, masks, splits, problems)


def draw(keys: Sequence[str], share: float) -> set[str]:
    """The share of `keys` to measure on: at least one if that leaves two, copies of one photograph together."""
    most = len(keys) - MIN_MASKED + 1
    wanted = min(max(1, round(share * len(keys))), most)
    sources: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        sources[_COPY.sub("", key)].append(key)
    drawn: set[str] = set()
    for source in sorted(sources, key=lambda source: hashlib.sha256(source.encode()).hexdigest()):
        if len(drawn) < wanted and len(drawn) + len(sources[source]) <= most:
            drawn.update(sources[source])
    return drawn


def _tell_lookalikes(params: FolderParams, images: Files, masks: Files, problems: Problems) -> None:
    tell_lookalikes(images, masks, params.mask_suffix, Path(params.images) == Path(params.masks), problems)


def _test_split(params: FolderParams, images: Files, masks: Files, problems: Problems) -> set[str]:
    """The images with masks of a folder test beside train; those without are taken out of `images`."""
    named = {name: split_named(name) for name in sorted({key.partition("/")[0] for key in images if "/" in key})}
    test: set[str] = set()
    if "train" not in named.values():
        return test
    for name in (name for name, split in named.items() if split == "test"):
        found = {key for key in images if key.startswith(f"{name}/")}
        places = part_of(params.images, name), part_of(params.masks, name)
        _leave_out_bare(images, found - masks.keys(), *places, "give the folder another name", problems)
        test |= found & images.keys()
    return test


def _leave_out_bare(
    images: Files, bare: set[str], at_images: str, at_masks: str, otherwise: str, problems: Problems
) -> None:
    """Take images of test without masks out of `images`, where they would be for training."""
    for key in bare:
        del images[key]
    if bare:
        problems.note(
            f"{at_images}/: {len(bare)} images without masks in {at_masks}/ are left out, since what lies there is not "
            f"learned from; to learn from them {otherwise}"
        )


def _tell_learned(params: FolderParams, splits: Mapping[str, str], problems: Problems) -> None:
    """Say which folders that are named like splits are learned from, since they may have been meant otherwise."""
    learned = {key.partition("/")[0] for key, split in splits.items() if split == "train" and "/" in key}
    for name in sorted(name for name in learned if split_named(name) in ("val", "test")):
        problems.note(
            f"{part_of(params.images, name)}/ is learned from, too, since dataset.folder.val says what is measured on; "
            "to have folders decide, name them train, val and test and set dataset.folder.val to null"
        )


def _listed(
    path: str, params: FolderParams, images: Files, masks: Files, test: set[str], problems: Problems
) -> set[str]:
    """The images of a list, whose lines are their paths or, as `ucc rank` writes them, their ids.

    Below a star these are their paths from the root, too, since the others lead to no file.
    """
    paths = {file.relative_to(problems.root).with_suffix("").as_posix(): key for key, file in images.items()}
    from_root = {unicodedata.normalize("NFC", name): key for name, key in paths.items()}
    keys = from_root if has_star(params.images) else {}
    keys |= {f"{key}{params.image_suffix}": key for key in images}
    keys |= {key.replace("/", NEST): key for key in images} | {key: key for key in images}
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
        if any(STAR in part and part != STAR for part in Path(value).parts):
            raise UserError(f"dataset.folder.{key} = {value}: a star stands for a whole name, as in */images.")
    if Path(params.images) == Path(params.masks) and params.image_suffix == params.mask_suffix:
        raise UserError(
            f"dataset.folder.images and masks are both {params.images}: set dataset.folder.mask_suffix to what tells a "
            "mask from its image, such as _mask."
        )


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _splits(params: FolderParams, problems: Problems) -> dict[str, str]:
    """What the folder of each split is called: of the required ones and whichever others are there."""
    present: set[str] = set()
    for place in dict.fromkeys((Path(params.images).as_posix(), Path(params.masks).as_posix())):
        present |= _names_in(place, params, problems)
    by_split: defaultdict[str | None, list[str]] = defaultdict(list)
    for name in sorted(present, key=lambda name: (name not in SPLITS, name)):
        by_split[split_named(name)].append(name)
    unknown = by_split.pop(None, [])
    where = f"{params.images}/ and {params.masks}/"
    if unknown:
        problems.add(
            f"{where} may hold {', '.join(SPLITS)}, not {every(unknown)}; set dataset.folder.val to a share, such as "
            "0.2, to have val drawn"
        )
    for split, (first, *others) in by_split.items():
        if others:
            problems.add(
                f"{where} may hold one folder for {split}, not {every(others)} beside {first}; merge or rename"
            )
    found = {split: names[0] for split, names in by_split.items()}
    return {split: found.get(split, split) for split in SPLITS if split in found or split in REQUIRED_SPLITS}


def _names_in(place: str, params: FolderParams, problems: Problems) -> set[str]:
    """What lies where the folders of the splits are; files that cannot have been meant for one are a note."""
    root = problems.root
    if has_star(place):
        return set(part_names(root, place))
    folder = root / place
    own = {*folders(root, params.images).values(), *folders(root, params.masks).values(), root / DESCRIPTION}
    try:
        entries = [e for e in sorted(folder.iterdir()) if not e.name.startswith(".") and e not in own]
    except OSError as error:
        if folder.is_dir():
            problems.add(f"{place}/: cannot be read ({error.strerror})")
        return set()
    entries = [entry for entry in entries if entry.name not in LITTER]
    foreign = [entry for entry in entries if not entry.is_dir() and entry.suffix.lower() not in IMAGE_SUFFIXES]
    if foreign:
        problems.note(f"{place}/: left out, since no folder of a split: {some(shown(Path(e.name)) for e in foreign)}")
    return {entry.name for entry in entries if entry not in foreign}


def _split_pairs(split: str, name: str, params: FolderParams, problems: Problems) -> list[Pair]:
    at_images, at_masks = (part_of(place, name) for place in (params.images, params.masks))
    if split == "test" and not any(folder.is_dir() for folder in folders(problems.root, at_masks).values()):
        problems.note(
            f"{at_images}/: left out, since {at_masks}/ is missing and what lies there is not learned from; to learn "
            "from it move it to train"
        )
        return []
    images, masks = match(at_images, at_masks, params.image_suffix, params.mask_suffix, problems)
    bare = images.keys() - masks.keys()
    if split == "test":
        _leave_out_bare(images, bare, at_images, at_masks, "move them to train", problems)
    elif split == "val" and bare and (masks or at_images == at_masks):
        names = every(shown_in(at_images, images[key], problems.root) for key in images if key in bare)
        problems.add(f"{at_masks}/: every image needs a mask, there is none for {names}")
    _tell_lookalikes(params, images, masks, problems)
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
