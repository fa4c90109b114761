"""A user's pictures become the canonical data set: RGB photographs turned upright, masks of class indices."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from ucc.data.dataset import IMAGE_SUFFIXES
from ucc.data.images import write_png
from ucc.data.sources.class_list import KEY, UNKNOWN, ClassList, pack, unpack
from ucc.data.sources.listing import Problems
from ucc.data.sources.pairing import Pair
from ucc.data.sources.palettes import CONTRADICTION, contradictions
from ucc.data.sources.pictures import (
    COLOR_MODES,
    NEARLY_BLACK,
    Header,
    conversions,
    grey_values,
    is_nearly_black,
    load,
    mask_colors,
    mask_values,
    palette,
    photograph,
    reason,
)
from ucc.data.sources.shrink import copy_image, shrink
from ucc.errors import UserError, every, some
from ucc.progress import read_parallel

SHOWN_UNKNOWN = 20  # values or colours without a class that a message names
MOST_UNKNOWN = 1000  # that are counted of one mask: a photograph in place of a mask has many more
TURNED = (
    "mask has the size of the image before its EXIF rotation; turn the mask or remove the tag from the image "
    "(height x width)"
)
UNSURE = (
    "turned upright as EXIF says, with a mask whose size does not tell whether it was drawn so (it is taken as it is; "
    "look at reports/panels)"
)
OTHER_SIZE = "mask of another size than its image, to be drawn at the size of the image (height x width)"

Mask = NDArray[np.uint16] | NDArray[np.uint32]


@dataclass
class Outcome:
    """What came of one pair.

    Attributes:
        faults: a reason, and the file it holds for.
        notes: what was changed in the image.
        brightest: the largest value, of 255, of an image of 16 bits that became nearly black.
        unknown: pixels of each value or colour, as text, that is no class.
        perhaps_values: whether what was taken for colours, and is no class, may be values that were saved as RGB.
    """

    pair: Pair
    faults: list[tuple[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    brightest: int | None = None
    unknown: Counter[str] = field(default_factory=Counter)
    perhaps_values: bool = False


def convert(
    pairs: Sequence[Pair],
    classes: ClassList,
    mask_format: str,
    folder: Path,
    problems: Problems,
    max_side: int | None = None,
) -> None:
    """Write images/<split>/ and masks/<split>/ of the canonical data set into `folder`.

    An upright 8-bit RGB JPEG or PNG is copied as it is, unless it shrinks to `max_side`. Every file is read to its
    end; what is wrong with any is added to `problems`, what was changed to its notes.
    """
    conversion = _Conversion(classes, mask_format, problems.root, folder, max_side)
    outcomes = read_parallel(conversion.convert, pairs, "converting")
    faults: defaultdict[str, list[str]] = defaultdict(list)
    notes: defaultdict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        for why, name in outcome.faults:
            faults[why].append(name)
        for note in outcome.notes:
            notes[note].append(conversion.named(outcome.pair.image))
    for why, names in faults.items():
        problems.add(f"{why}: {every(names)}")
    for note, names in notes.items():
        count = "1 image is" if len(names) == 1 else f"{len(names)} images are"
        problems.note(f"{count} {note}, such as {names[0]}")
    _tell_nearly_black(outcomes, problems)
    _tell_unknown(outcomes, problems)


@dataclass(frozen=True)
class _Conversion:
    classes: ClassList
    mask_format: str
    root: Path
    folder: Path
    max_side: int | None

    def named(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def convert(self, pair: Pair) -> Outcome:
        outcome, image = Outcome(pair), None
        try:
            image = self.image(outcome)
        except UserError as error:
            outcome.faults.append((reason(error, pair.image), self.named(pair.image)))
        if pair.mask is not None:
            try:
                self.mask(outcome, pair.mask, image)
            except UserError as error:
                outcome.faults.append((reason(error, pair.mask), self.named(pair.mask)))
        return outcome

    def image(self, outcome: Outcome) -> Header:
        path, name = outcome.pair.image, outcome.pair.name
        folder = self.folder / "images" / outcome.pair.split
        picture, header = load(path)
        outcome.notes = conversions(header)
        if outcome.notes:
            pixels = photograph(path, picture, header)
            if header.bits == 16 and is_nearly_black(pixels):
                outcome.brightest = int(pixels.max())
            write_png(folder / f"{name}.png", shrink(pixels, self.max_side))
            return header
        # A name that lies about the format must not hide the file from the next stages.
        suffix = path.suffix if path.suffix.lower() in IMAGE_SUFFIXES else f".{header.format.lower()}"
        folder.mkdir(parents=True, exist_ok=True)
        copy_image(path, folder / f"{name}{suffix}", self.max_side)
        return header

    def mask(self, outcome: Outcome, path: Path, image: Header | None) -> None:
        picture, header = load(path)
        if header.pages > 1:
            raise UserError(f"{path}: a mask of several pages or frames; save it as one picture that shows all classes")
        if image is not None and header.size != image.size:
            turned = header.size == image.stored_size
            sizes = "{}x{}, its image {}x{}".format(*header.size, *image.size)
            outcome.faults.append((TURNED if turned else OTHER_SIZE, f"{self.named(path)} is {sizes}"))
            return
        if image is not None and image.orientation != 1 and image.size == image.stored_size:
            outcome.notes = (*outcome.notes, UNSURE)
        place = self.folder / "masks" / outcome.pair.split / f"{outcome.pair.name}.png"
        stored: Mask
        values = self.values(path, picture, header)
        if values is None:
            if self.classes.colorless:
                raise UserError(f"{path}: colour mask, but no color in {KEY} for {every(self.classes.colorless)}")
            stored = pack(mask_colors(path, picture, header))
            indices = self.classes.of_colors(stored)
        else:
            stored = values
            if wrong := contradictions(np.unique(stored).tolist(), palette(picture), self.classes):
                outcome.faults.append((CONTRADICTION, f"{self.named(path)} ({'; '.join(wrong)})"))
                return
            indices = self.classes.of_values(values)
            plain = (header.format, header.mode, header.bits, header.orientation) == ("PNG", "L", 8, 1)
            if plain and self.max_side is None and np.array_equal(stored, indices):
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
                return
        unknown = stored[indices == UNKNOWN]
        if unknown.size:
            outcome.unknown = _counted(unknown, as_colors=values is None)
            outcome.perhaps_values = values is None and not (stored % pack(np.ones(3, np.uint8))).any()
            return
        write_png(place, shrink(indices.astype(np.uint8), self.max_side))

    def values(self, path: Path, picture: PIL.Image.Image, header: Header) -> NDArray[np.uint16] | None:
        """The values of a mask, shape (H, W); None if its colours tell the classes.

        An RGB mask of grey pixels alone holds values where the format says so, or no class has a colour.
        """
        if header.mode not in COLOR_MODES:
            return None if self.mask_format == "color" else mask_values(path, picture, header)
        if self.mask_format == "color" or (self.mask_format == "auto" and not self.classes.without_colors):
            return None
        values = grey_values(mask_colors(path, picture, header))
        if values is None and self.mask_format == "index":
            raise UserError(
                f"{path}: RGB mask where dataset.folder.mask_format is index; set it to auto or color, or save the "
                "mask as a grey or palette picture"
            )
        return values


def _tell_nearly_black(outcomes: Sequence[Outcome], problems: Problems) -> None:
    dark = [outcome for outcome in outcomes if outcome.brightest is not None]
    if dark:
        count = "1 image is" if len(dark) == 1 else f"{len(dark)} images are"
        most = max(outcome.brightest or 0 for outcome in dark)
        problems.note(
            f"{count} nearly black once divided by 257, with 99 in 100 values below {NEARLY_BLACK} of 255 and the "
            f"largest {most}: if only 10 or 12 of the 16 bits are used, scale the values to 0 to 65535 first, such as "
            f"those of {dark[0].pair.image.relative_to(problems.root).as_posix()}"
        )


def _counted(stored: Mask, as_colors: bool) -> Counter[str]:
    found, counts = np.unique(stored, return_counts=True)
    commonest = np.argsort(-counts, kind="stable")[:MOST_UNKNOWN]
    return Counter({str(list(unpack(int(found[i]))) if as_colors else found[i]): int(counts[i]) for i in commonest})


def _tell_unknown(outcomes: Sequence[Outcome], problems: Problems) -> None:
    pixels: Counter[str] = Counter()
    masks: Counter[str] = Counter()
    names = []
    perhaps_values = any(outcome.perhaps_values for outcome in outcomes)
    for outcome in outcomes:
        if outcome.unknown:
            assert outcome.pair.mask is not None
            pixels.update(outcome.unknown)
            masks.update(outcome.unknown.keys())
            names.append(f"{outcome.pair.mask.relative_to(problems.root).as_posix()} ({some(outcome.unknown)})")
    if pixels:
        lines = [f"{what} ({n} pixels in {masks[what]} masks)" for what, n in pixels.most_common(SHOWN_UNKNOWN)]
        hint = "; if grey RGB masks hold values, set dataset.folder.mask_format to index" if perhaps_values else ""
        more = f", and {len(pixels) - SHOWN_UNKNOWN} more" if len(pixels) > SHOWN_UNKNOWN else ""
        problems.add(
            "mask values or colours that are no class, to be added to dataset.folder.classes or dataset.folder.ignore "
            f"or mended in the masks: {', '.join(lines)}{more}{hint}; they are in {every(names)}"
        )
