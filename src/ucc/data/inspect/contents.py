"""What all masks together hold: the values or colours that may be classes, and how often they occur."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ucc.data.inspect.survey import MOST_CLASSES, MaskFacts
from ucc.data.name_files import Meaning
from ucc.data.sources.class_list import Color
from ucc.errors import UserError, some

BLACK = (0, 0, 0)


@dataclass(frozen=True)
class Contents:
    """What a list of classes has to tell apart.

    Attributes:
        masks: what each holds; RGB masks of grey pixels alone as values.
        is_color: whether colours mean the classes, rather than values.
        pixels: number of pixels of each value or colour.
        shown: number of masks that show it.
    """

    masks: tuple[MaskFacts, ...]
    is_color: bool
    pixels: Counter[Meaning]
    shown: Counter[Meaning]

    @property
    def order(self) -> list[Meaning]:
        """Values in ascending order; the commonest colour first."""
        ascending = sorted(self.pixels)
        return sorted(ascending, key=lambda color: -self.pixels[color]) if self.is_color else ascending


def contents(masks: Sequence[MaskFacts]) -> Contents:
    """Count over all masks. RGB masks of grey pixels alone hold values; beside other RGB masks, all mean colours.

    Raises:
        UserError: if there are more values or colours than classes can be, or fewer than two, or masks of 16 bits and
            of colours.
    """
    masks = [_as_values(mask) for mask in masks] if all(map(_is_grey, masks)) else masks
    is_color = any(mask.kind == "RGB" for mask in masks)
    deep = [mask.path.name for mask in masks if any(isinstance(m, int) and m > 255 for m in mask.pixels)]
    if is_color and deep:
        raise UserError(
            f"beside RGB masks there are grey ones with values beyond 255, which are no colours: {some(deep)}. Choose "
            "one kind with --masks FOLDER or --mask-suffix TEXT."
        )
    pixels: Counter[Meaning] = Counter()
    shown: Counter[Meaning] = Counter()
    for mask in masks:
        # Beside RGB masks, the others mean their colours too.
        counted = _colors(mask) if is_color else mask.pixels
        pixels.update(counted)
        shown.update(counted.keys())
    _refuse_blended(masks, pixels)
    if len(pixels) < 2:
        raise UserError(f"all masks hold nothing but {', '.join(map(text, pixels))}: there is nothing to tell apart.")
    return Contents(tuple(masks), is_color, pixels, shown)


def text(meaning: Meaning) -> str:
    """A value or colour as in YAML."""
    return str(list(meaning)) if isinstance(meaning, tuple) else str(meaning)


def _is_grey(mask: MaskFacts) -> bool:
    return all(isinstance(meaning, int) or len(set(meaning)) == 1 for meaning in mask.pixels)


def _as_values(mask: MaskFacts) -> MaskFacts:
    """A mask of grey pixels; in colours that no two people could tell apart, its classes would be drawn for ever."""
    values = {m if isinstance(m, int) else m[0]: count for m, count in mask.pixels.items()}
    return replace(mask, kind="grey" if mask.kind == "RGB" else mask.kind, pixels=Counter(values))


def _colors(mask: MaskFacts) -> Counter[Color]:
    """Pixels of each colour, of a mask of any kind."""
    counts: Counter[Color] = Counter()
    for meaning, count in mask.pixels.items():
        if isinstance(meaning, tuple):
            counts[meaning] += count
        elif mask.kind == "palette":
            counts[mask.colors.get(meaning, BLACK)] += count
        else:
            counts[(meaning, meaning, meaning)] += count
    return counts


def _refuse_blended(masks: Sequence[MaskFacts], pixels: Counter[Meaning]) -> None:
    if len(pixels) <= MOST_CLASSES:
        return
    worst = max(masks, key=lambda mask: mask.distinct)
    total = sum(pixels.values())
    common = ", ".join(f"{text(meaning)} {count / total:.1%}" for meaning, count in pixels.most_common(8))
    raise UserError(
        f"the masks hold more than {MOST_CLASSES} values or colours, {worst.path} alone {worst.distinct}: edges were "
        "smoothed (anti-aliasing, resizing) or a lossy format blended them. Draw or export them again without, as PNG. "
        f"The commonest: {common}."
    )
