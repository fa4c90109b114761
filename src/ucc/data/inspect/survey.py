"""Counting what the pictures of a folder are, and what its masks hold."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ucc.data.sources.class_list import Color, pack, unpack
from ucc.data.sources.listing import Problems
from ucc.data.sources.palettes import differing
from ucc.data.sources.pictures import (
    COLOR_MODES,
    Header,
    conversions,
    load,
    look,
    mask_colors,
    mask_values,
    palette,
    reason,
)
from ucc.errors import UserError, some
from ucc.progress import read_parallel

FEWEST_FRAMES = 4  # in a sequence
NOISE = 8  # grey levels by which a lossy format mostly changes a value
MOST_CLASSES = 254  # that a proposal holds: a mask with more values or colours was blended or compressed

Result = TypeVar("Result")


@dataclass(frozen=True)
class MaskFacts:
    """What one mask holds.

    Attributes:
        kind: grey, palette or RGB.
        pixels: number of pixels of each value, or of each colour of an RGB mask; the commonest if there are many.
        distinct: how many values or colours there are.
        colors: colour of each value that the palette knows.
        smoothed: whether most values of a grey mask stand where one goes over into another, as drawn edges never do.
        lossy: whether values of a grey mask are scattered around commoner ones, as a lossy format leaves them.
    """

    path: Path
    kind: str
    size: tuple[int, int]
    pixels: Counter[int | Color]
    distinct: int
    colors: dict[int, Color] = field(default_factory=dict)
    smoothed: bool = False
    lossy: bool = False


def image_headers(images: Iterable[Path], problems: Problems) -> dict[Path, Header]:
    """Headers of the images; those that cannot be read are added to `problems`."""
    return dict(_readable(look, list(images), "looking at", problems))


def mask_facts(masks: Iterable[Path], problems: Problems) -> list[MaskFacts]:
    """Contents of the masks; those that cannot be read are added to `problems`."""
    return [facts for _, facts in _readable(_mask_facts, list(masks), "counting pixels of", problems)]


def describe(headers: dict[Path, Header], root: Path) -> list[str]:
    """Formats, sizes and conversions of images, one line each."""
    formats = Counter(header.format for header in headers.values())
    sizes = sorted((header.size for header in headers.values()), key=lambda size: size[0] * size[1])
    span = ["{}x{}".format(*size) for size in dict.fromkeys((sizes[0], sizes[-1]))] if sizes else []
    lines = [f"formats: {_listed(formats)}; {' to '.join(span)} pixels (height x width)"]
    changed: defaultdict[str, list[Path]] = defaultdict(list)
    for path, header in headers.items():
        for words in conversions(header):
            changed[words].append(path.relative_to(root))
    return lines + [f"{len(paths)} {words}, such as {paths[0].as_posix()}" for words, paths in changed.items()]


def describe_masks(facts: Sequence[MaskFacts]) -> str:
    """Kinds of masks in one line."""
    return f"{len(facts)} masks: {_listed(Counter(mask.kind for mask in facts))}"


def describe_sequences(keys: Iterable[str]) -> list[str]:
    """A line on what to do if images, by their paths without suffix, are numbered within several sequences."""
    sequences: defaultdict[str, list[int]] = defaultdict(list)
    for key in keys:
        number = re.search(r"\d+$", key)
        sequences[key[: number.start()] if number else key].append(int(number[0]) if number else 0)
    frames = {
        name: numbers
        for name, numbers in sequences.items()
        if len(numbers) >= FEWEST_FRAMES and max(numbers) - min(numbers) < 2 * len(numbers)
    }
    if len(frames) < 2 or 2 * sum(map(len, frames.values())) < sum(map(len, sequences.values())):
        return []
    return [
        f"{len(frames)} sequences, to go by the names, such as {min(frames)}*: if these are frames or slices of one "
        "scene or patient, a share for val is drawn from all of them and flatters; list the images of whole ones in a "
        "text file, val: mine.txt"
    ]


def palette_warning(facts: Sequence[MaskFacts], root: Path) -> str | None:
    """What to look at if an index has other colours in some masks than in others; None if it has not."""
    used = [
        (mask.path.relative_to(root).as_posix(), {i: color for i, color in mask.colors.items() if i in mask.pixels})
        for mask in facts
    ]
    found = differing(used)
    return found and (
        f"the palettes differ: {found}. If the colours tell the classes, set dataset.folder.mask_format to color"
    )


def smoothed_warning(facts: Sequence[MaskFacts], root: Path) -> str | None:
    """What to do about grey masks whose edges were smoothed: each grey level there would be a class."""
    smoothed = [mask.path.relative_to(root).as_posix() for mask in facts if mask.smoothed]
    return (
        f"smoothed edges (anti-aliasing, resizing), whose grey levels would be classes: {some(smoothed)}; draw or "
        "export such masks again without, as PNG, then inspect them anew"
        if smoothed
        else None
    )


def lossy_warning(facts: Sequence[MaskFacts], root: Path) -> str | None:
    """What to do about masks that were JPEGs once: each grey level that this made of a value would be a class."""
    lossy = [mask.path.relative_to(root).as_posix() for mask in facts if mask.lossy]
    return (
        f"values scattered around much commoner ones, as a lossy format (JPEG) leaves them, would be classes: "
        f"{some(lossy)}; export such masks anew as PNG from what they were drawn in, or set each pixel to the nearest "
        "class, then inspect them anew"
        if lossy
        else None
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _readable(
    read: Callable[[Path], Result], paths: Sequence[Path], label: str, problems: Problems
) -> list[tuple[Path, Result]]:
    def attempt(path: Path) -> Result | UserError:
        try:
            return read(path)
        except UserError as error:
            return error

    found: list[tuple[Path, Result]] = []
    faults: defaultdict[str, list[str]] = defaultdict(list)
    for path, result in zip(paths, read_parallel(attempt, paths, label), strict=True):
        if isinstance(result, UserError):
            faults[reason(result, path)].append(path.relative_to(problems.root).as_posix())
        else:
            found.append((path, result))
    for why, names in faults.items():
        problems.add(f"{why}: {some(names)}")
    return found


def _mask_facts(path: Path) -> MaskFacts:
    picture, header = load(path)
    is_color = header.mode in COLOR_MODES
    is_grey = not is_color and header.mode != "P"
    stored = pack(mask_colors(path, picture, header)) if is_color else mask_values(path, picture, header)
    found, counts = np.unique(stored, return_counts=True)
    commonest = np.argsort(-counts, kind="stable")[: MOST_CLASSES + 1]
    pixels = {int(found[i]): int(counts[i]) for i in commonest}
    return MaskFacts(
        path=path,
        kind="RGB" if is_color else "palette" if header.mode == "P" else "grey",
        size=header.size,
        pixels=Counter({unpack(number): count for number, count in pixels.items()}) if is_color else Counter(pixels),
        distinct=len(found),
        colors=dict(enumerate(palette(picture))),
        smoothed=is_grey and _smoothed(stored),
        lossy=is_grey and _lossy(stored),
    )


def _smoothed(values: NDArray[np.uint16] | NDArray[np.uint32]) -> bool:
    """Whether most values, and no fewer than three, stand mostly between a smaller and a larger neighbour."""
    signed, between = values.astype(np.int32), np.zeros(values.shape, bool)
    for axis in (0, 1):
        step = np.sign(np.diff(signed, axis=axis))
        same = step.take(range(1, step.shape[axis]), axis) * step.take(range(step.shape[axis] - 1), axis) > 0
        inner = np.s_[1:-1] if axis == 0 else np.s_[:, 1:-1]
        between[inner] |= same
    found, index = np.unique(values, return_inverse=True)
    mostly = np.bincount(index.ravel(), weights=between.ravel()) > 0.5 * np.bincount(index.ravel())
    return bool(mostly.sum() >= 3 and 2 * mostly.sum() > len(found))


def _lossy(values: NDArray[np.uint16] | NDArray[np.uint32]) -> bool:
    """Whether at least three values, around two others that are much commoner and further apart, are single pixels."""
    signed, alike = values.astype(np.int32), np.zeros(values.shape, np.uint8)
    for axis in (0, 1):
        same = np.diff(signed, axis=axis) == 0
        before, after = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        alike[before] += same
        alike[after] += same
    found, index, counts = np.unique(signed, return_inverse=True, return_counts=True)
    if len(found) > MOST_CLASSES:
        return False  # refused in any case
    scattered = np.bincount(index.ravel(), weights=alike.ravel()) < 1.5 * counts
    near = np.abs(found[:, None] - found) <= NOISE
    commonest = np.where(near, counts, 0).argmax(axis=1)
    noise = scattered & (counts[commonest] >= 10 * counts)
    around = found[commonest[noise]]
    return bool(noise.sum() >= 3 and np.ptp(around) > 2 * NOISE)
