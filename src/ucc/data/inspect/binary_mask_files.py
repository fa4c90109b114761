"""Binary masks where masks of all classes are looked for, and the commands that make the latter of them."""

import random
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from ucc.data.annotations.binary_masks import SUFFIXES, KnownImages, read_binary_mask
from ucc.data.annotations.pattern import CLASS, IMAGE, STAR, Pattern
from ucc.data.sources.listing import Problems
from ucc.data.sources.naming import MASK_WORDS, RENDERING_WORDS, split_named, words
from ucc.data.sources.places import folder_names, folders, has_star
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError, some

FOLDER = "index_masks"
UNNAMED = "CLASS"
LOOKED_AT = 300  # names of masks
READ = 10  # of these
NEARLY_ALL = 0.9
MOST_CLASSES = 100
# Below the folder of masks, the likeliest first.
PATTERNS = (
    f"{CLASS}/{IMAGE}",
    *(f"{IMAGE}{mark}{CLASS}" for mark in "_-"),
    *(f"{CLASS}{mark}{IMAGE}" for mark in "_-"),
    *(f"{CLASS}/{IMAGE}{mark}{STAR}" for mark in "_-"),
    f"{IMAGE}/{CLASS}",
)


class Reading(NamedTuple):
    """What the names of binary masks say: the pattern below the folder of masks, and the classes; none if unnamed."""

    pattern: str
    classes: Collection[str]


def binary_masks_hint(root: Path, images: str, masks: str, shaded: bool) -> str:
    """How to draw masks from binary ones, in several lines; nothing if there are none.

    Args:
        root: the folder that is looked at.
        images: the place of the images below it, which may have a star.
        masks: the place where masks were looked for, another one.
        shaded: whether one mask for each image is of use in black and white, since it has shades as it is.
    """
    if Path(images) == Path(masks) or any(mark in str(root) for mark in (IMAGE, CLASS, STAR)):
        return ""
    pictures = [
        path
        for folder in folders(root, masks).values()
        for path in files_below(folder, Problems(root))
        if path.suffix.lower() in SUFFIXES
    ]
    chance = random.Random(0)
    sample = sorted(chance.sample(pictures, min(LOOKED_AT, len(pictures))))
    if not sample or not _are_binary(chance.sample(sample, min(READ, len(sample)))):
        return ""
    readings = _by_folder(root, images, masks) if has_star(masks) else _by_name(root, images, masks, sample, shaded)
    if not readings:
        return ""
    patterns = [_pattern(root / reading.pattern, pictures, bool(reading.classes)) for reading in readings]
    classes = sorted({label for reading in readings for label in reading.classes})
    of_classes = f", of the classes {some(classes)}" if classes else ""
    named = "" if classes else f" with the name of their class in place of {UNNAMED}"
    above, star, within = images.partition(STAR)
    drawn = f"{FOLDER}/{star}{within}" if star else FOLDER
    draw = ["ucc.data.annotations", *patterns, _typed(root / above), _typed(root / FOLDER)]
    look = ["ucc.data.inspect", _typed(root), "--images", images, "--masks", drawn]
    moved = "\nBefore you look, move the binary masks out of the images' folder." if Path(images) == Path() else ""
    return (
        f"There are binary masks, such as {shown(sample[0].relative_to(root))}{of_classes}. To draw the masks that "
        f"training takes, and look at them{named}:\n    {_python(draw)}\n    {_python(look)}{moved}"
    )


def _by_folder(root: Path, images: str, masks: str) -> list[Reading]:
    """x/masks/1.png of x/images/x.png."""
    before, _, after = masks.partition(STAR)
    places = folders(root, images)
    named = sum(
        Path(key).name in {path.stem for path in files_below(folder, Problems(root))} for key, folder in places.items()
    )
    if not has_star(images) or not images.startswith(before + STAR) or named < NEARLY_ALL * len(places):
        return []
    return [Reading(f"{before}{IMAGE}{after}/{STAR}", ())]


def _by_name(root: Path, images: str, masks: str, sample: Sequence[Path], shaded: bool) -> list[Reading]:
    if has_star(images):
        return []
    folder = root / images
    known = KnownImages(folder, files_below(folder, Problems(root), [root / masks]))
    for pattern in (IMAGE, *PATTERNS) if shaded else PATTERNS:
        meant = [known.meant_by_path(Pattern("", root / masks, f"{pattern}.{STAR}").splits(path)) for path in sample]
        labels = [next(iter(splits)).label for splits in meant if len(splits) == 1]
        if len(labels) < NEARLY_ALL * len(sample):
            continue
        if pattern == IMAGE or (shaded and len({*labels}) == 1 and words(labels[0]).intersection(MASK_WORDS)):
            return [Reading(f"{masks}/{pattern.replace(CLASS, labels[0])}", ())]
        if _are_classes(labels, repeated=not pattern.startswith(f"{CLASS}/")):
            return [Reading(f"{masks}/{pattern}", {*labels})]
        if pattern.startswith(IMAGE) and (_are_numbered(labels) or pattern.endswith(f"/{CLASS}")):
            return [Reading(f"{masks}/{pattern.replace(CLASS, STAR)}", ())]
    return _by_split(root, masks, known, sample)


def _by_split(root: Path, masks: str, known: KnownImages, sample: Sequence[Path]) -> list[Reading]:
    """train/cat/x.png of train/x.jpg, where no other split has an x."""
    readings = []
    for split in folder_names(root / masks):
        own = [path for path in sample if path.is_relative_to(root / masks / split)]
        pattern = Pattern("", root / masks / split, f"{CLASS}/{IMAGE}.{STAR}")
        found = [one for path in own for one in pattern.splits(path) if f"{split}/{one.image}" in known.paths]
        if split_named(split) is None or len(found) < len(own) or len(known.names) < len(known.paths):
            return []
        if own:
            readings.append(Reading(f"{masks}/{split}/{CLASS}/{IMAGE}", {one.label for one in found}))
    return readings


def _are_classes(labels: Sequence[str], repeated: bool) -> bool:
    """Whether names may be those of classes, rather than of objects, splits or kinds of pictures."""
    if _are_numbered(labels) or all(split_named(label) for label in labels) or len({*labels}) > MOST_CLASSES:
        return False
    if any(words(label).intersection((*MASK_WORDS, *RENDERING_WORDS)) or label[0].isdigit() for label in labels):
        return False
    # Behind the name of an image each is there for several; names of objects are seldom twice the same.
    return not repeated or 2 * len({*labels}) <= len(labels)


def _are_numbered(labels: Sequence[str]) -> bool:
    """Whether names differ by their numbers alone, as those of objects do, or of people who annotated."""
    return len({re.sub(r"\d+", "", label) for label in labels}) == 1 and any(map(str.isdigit, "".join(labels)))


def _pattern(path: Path, pictures: Sequence[Path], named: bool) -> str:
    suffixes = {picture.suffix for picture in pictures}
    suffix = suffixes.pop() if len(suffixes) == 1 else f".{STAR}"
    text = _typed(path.with_name(f"{path.name}{suffix}"))
    return text if named else f"{UNNAMED}={text}"


def _typed(path: Path) -> str:
    """A path that cannot be taken for an option, or for a class and a pattern."""
    text = path.as_posix()
    return f"./{text}" if not path.is_absolute() and (text.startswith("-") or "=" in text) else text


def _python(module: Sequence[str]) -> str:
    return shlex.join(["python", "-m", *module])


def _are_binary(paths: Sequence[Path]) -> bool:
    try:
        return all(read_binary_mask(path).size for path in paths)
    except UserError:
        return False
