"""From what masks hold to a first list of classes, and the section `dataset` as text."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.inspect.contents import BLACK, Contents, Meaning
from ucc.data.inspect.ignored import class_reason
from ucc.data.inspect.layout import Layout
from ucc.data.inspect.survey import MaskFacts
from ucc.data.sources.class_list import Color, standard_color


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


def propose(held: Contents) -> Proposal:
    """Index classes by value, colour classes by their share of the pixels; black or 0 is background.

    255 is proposed as ignored where it leaves two other values and does not look like a class.
    """
    pixels, shown = held.pixels, held.shown
    total = sum(pixels.values())
    notes = {m: f"{pixels[m] / total:.2%} of the pixels, in {shown[m]} of {len(held.masks)} masks" for m in pixels}
    ignored = None
    if not held.is_color and IGNORE_INDEX in pixels:
        reason = class_reason(pixels)
        if reason is None:
            ignored = f"255 mostly means no class: {notes[IGNORE_INDEX]}"
        elif len(pixels) > 2:
            notes[IGNORE_INDEX] += f"; a class {reason}, else move 255 to ignore"
    order = [m for m in held.order if not (ignored and m == IGNORE_INDEX)]
    background = next((m for m in order if m in (0, BLACK)), max(order, key=lambda m: pixels[m]))
    colors = _class_colors(order, held.masks)
    classes = [
        ProposedClass(
            "background" if meaning == background else f"class_{index if isinstance(meaning, tuple) else meaning}",
            colors[index],
            None if isinstance(meaning, tuple) else meaning,
            notes[meaning],
        )
        for index, meaning in enumerate(order)
    ]
    return Proposal("color" if held.is_color else "index", tuple(classes), ignored)


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


def _class_colors(order: Sequence[Meaning], masks: Sequence[MaskFacts]) -> list[Color]:
    """Colours of the masks or their palettes; where these know none, or one twice, standard ones of nothing else."""
    table: dict[int, Color] = {}
    for mask in masks:
        table = mask.colors | table
    known = [m if isinstance(m, tuple) else table.get(m) for m in order]
    taken = {*known, *table.values()}
    free = (color for color in map(standard_color, itertools.count()) if color not in taken)
    return [next(free) if color is None or color in known[:index] else color for index, color in enumerate(known)]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
