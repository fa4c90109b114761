"""From what masks hold to a first list of classes, and the section `dataset` as text."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.inspect.ignored import class_reason
from ucc.data.inspect.layout import Layout
from ucc.data.inspect.survey import MOST_CLASSES, MaskFacts
from ucc.data.sources.class_list import Color, standard_color
from ucc.errors import UserError, some

BLACK = (0, 0, 0)
Meaning = int | Color  # what stands for a class in a mask


@dataclass(frozen=True)
class ProposedClass:
    """One entry of the list: `value` is None for colour masks."""

    name: str
    color: Color
    value: int | None
    note: str


@dataclass(frozen=True)
class Proposal:
    """What the masks suggest for mask_format, classes and ignore."""

    mask_format: str
    classes: tuple[ProposedClass, ...]
    ignored: str | None

    @property
    def ignore(self) -> list[int]:
        """The key `ignore`."""
        return [IGNORE_INDEX] if self.ignored else []


def propose(masks: Sequence[MaskFacts]) -> Proposal:
    """Index classes by value, colour classes by their share of the pixels; black or 0 is background.

    255 is proposed as ignored where it leaves two other values and does not look like a class. RGB masks of grey pixels
    alone hold values.

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
        raise UserError(f"all masks hold nothing but {', '.join(map(_text, pixels))}: there is nothing to tell apart.")
    total = sum(pixels.values())
    notes = {m: f"{pixels[m] / total:.2%} of the pixels, in {shown[m]} of {len(masks)} masks" for m in pixels}
    ignored = None
    if not is_color and IGNORE_INDEX in pixels:
        reason = class_reason(pixels)
        if reason is None:
            ignored = f"255 mostly means no class: {notes[IGNORE_INDEX]}"
        elif len(pixels) > 2:
            notes[IGNORE_INDEX] += f"; a class {reason}, else move 255 to ignore"
    order = sorted(m for m in pixels if not (ignored and m == IGNORE_INDEX))
    if is_color:
        order.sort(key=lambda color: -pixels[color])
    background = next((m for m in order if m in (0, BLACK)), max(order, key=lambda m: pixels[m]))
    colors = _class_colors(order, masks)
    classes = [
        ProposedClass(
            "background" if meaning == background else f"class_{index if isinstance(meaning, tuple) else meaning}",
            colors[index],
            None if isinstance(meaning, tuple) else meaning,
            notes[meaning],
        )
        for index, meaning in enumerate(order)
    ]
    return Proposal("color" if is_color else "index", tuple(classes), ignored)


def section(root: Path, layout: Layout, proposal: Proposal) -> str:
    """The section `dataset` of params.yaml, to replace the one that is there."""
    entries = []
    for entry in proposal.classes:
        value = "" if entry.value is None else f", value: {entry.value}"
        entries.append(f"      - {{name: {entry.name}, color: {list(entry.color)}{value}}}  # {entry.note}")
    seen = f"  # {proposal.ignored}" if proposal.ignored else ""
    return "\n".join(
        [
            "dataset:",
            "  name: folder",
            f"  root: {_quoted(root.resolve().as_posix())}",
            "  max_side: null",
            "  streets: {train_images: 300, val_images: 60, height: 128, width: 256, seed: 0}  # not read",
            "  folder:",
            f"    images: {_quoted(layout.images)}",
            f"    masks: {_quoted(layout.masks)}",
            f"    image_suffix: {_quoted(layout.image_suffix)}",
            f"    mask_suffix: {_quoted(layout.mask_suffix)}",
            f"    val: {'null' if layout.val is None else layout.val}",
            f"    mask_format: {proposal.mask_format}",
            "    classes:  # give them their names",
            *entries,
            f"    ignore: {proposal.ignore}{seen}",
            "",
        ]
    )


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


def _class_colors(order: Sequence[Meaning], masks: Sequence[MaskFacts]) -> list[Color]:
    """Colours of the masks or their palettes; where these know none, or one twice, standard ones of nothing else."""
    table: dict[int, Color] = {}
    for mask in masks:
        table = mask.colors | table
    known = [m if isinstance(m, tuple) else table.get(m) for m in order]
    taken = {*known, *table.values()}
    free = (color for color in map(standard_color, itertools.count()) if color not in taken)
    return [next(free) if color is None or color in known[:index] else color for index, color in enumerate(known)]


def _refuse_blended(masks: Sequence[MaskFacts], pixels: Counter[Meaning]) -> None:
    if len(pixels) <= MOST_CLASSES:
        return
    worst = max(masks, key=lambda mask: mask.distinct)
    total = sum(pixels.values())
    common = ", ".join(f"{_text(meaning)} {count / total:.1%}" for meaning, count in pixels.most_common(8))
    raise UserError(
        f"the masks hold more than {MOST_CLASSES} values or colours, {worst.path} alone {worst.distinct}: edges were "
        "smoothed (anti-aliasing, resizing) or a lossy format blended them. Draw or export them again without, as PNG. "
        f"The commonest: {common}."
    )


def _text(meaning: Meaning) -> str:
    return str(list(meaning)) if isinstance(meaning, tuple) else str(meaning)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
