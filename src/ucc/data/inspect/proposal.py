"""From what masks hold to a first list of classes, and the section `dataset` as text."""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.inspect.class_names import VOID_NAMES, ClassNames
from ucc.data.inspect.contents import BLACK, Contents, text
from ucc.data.inspect.ignored import class_reason
from ucc.data.inspect.layout import Layout
from ucc.data.inspect.survey import MaskFacts
from ucc.data.name_files import IGNORED, Meaning
from ucc.data.sources.class_list import Color, standard_color

LARGE = 1024  # pixels of an image's side, beyond which a crop shows little of it


@dataclass(frozen=True)
class ProposedClass:
    """One entry of the list: `value` is None for colour masks."""

    name: str
    color: Color
    value: int | None
    note: str


@dataclass(frozen=True)
class Proposal:
    """What the masks suggest for mask_format, classes and ignore, and what to say beside the last two."""

    mask_format: str
    classes: tuple[ProposedClass, ...]
    ignore: tuple[Meaning, ...]
    classes_note: str
    ignore_note: str


def propose(held: Contents, names: ClassNames) -> Proposal:
    """Index classes by value, colour classes by their share of the pixels.

    Of what has no name, black or 0 is background, and 255 is proposed as ignored where it leaves two other values and
    does not look like a class.
    """
    pixels, shown = held.pixels, held.shown
    total = sum(pixels.values())
    notes = {m: f"{pixels[m] / total:.2%} of the pixels, in {shown[m]} of {len(held.masks)} masks" for m in pixels}
    ignore = names.ignored(held)
    reasons = {m: f"{text(m)} is {IGNORED} in {names.source}" for m in ignore if m in names.of}
    if IGNORE_INDEX in pixels and IGNORE_INDEX not in ignore and len(pixels) > 2:
        reason = class_reason(pixels) or f"since {names.source} names it"
        notes[IGNORE_INDEX] += f"; a class {reason}, else move 255 to ignore"
    order = [m for m in held.order if m not in ignore]
    for meaning in order:
        if names.of.get(meaning, "").lower() in VOID_NAMES and meaning != IGNORE_INDEX:
            notes[meaning] += f"; if that is no class, move {text(meaning)} to ignore"
    colors = _class_colors(order, held.masks)
    called = _complete(order, held, names)
    classes = [
        ProposedClass(called[meaning], colors[index], None if isinstance(meaning, tuple) else meaning, notes[meaning])
        for index, meaning in enumerate(order)
    ]
    return Proposal(
        mask_format="color" if held.is_color else "index",
        classes=tuple(classes),
        ignore=tuple(ignore),
        classes_note=_origin(order, names),
        ignore_note="; ".join(f"{reasons.get(m, f'{text(m)} mostly means no class')}: {notes[m]}" for m in ignore),
    )


def section(root: Path, layout: Layout, proposal: Proposal, longest_side: int) -> str:
    """The section `dataset` of params.yaml, in place of the one there; `longest_side` of all images in pixels."""
    entries = []
    for entry in proposal.classes:
        value = "" if entry.value is None else f", value: {entry.value}"
        entries.append(f"      - {{name: {_plain(entry.name)}, color: {list(entry.color)}{value}}}  # {entry.note}")
    seen = f"  # {proposal.ignore_note}" if proposal.ignore else ""
    is_large = longest_side > LARGE
    large = f"  # images of up to {longest_side} pixels a side: 512 to 1024 to begin with" if is_large else ""
    return "\n".join(
        [
            "dataset:",
            "  name: folder",
            f"  root: {_quoted(root.resolve().as_posix())}",
            f"  max_side: null{large}",
            "  streets: {train_images: 300, val_images: 60, height: 128, width: 256, seed: 0}  # not read",
            "  folder:",
            f"    images: {_quoted(layout.images)}",
            f"    masks: {_quoted(layout.masks)}",
            f"    image_suffix: {_quoted(layout.image_suffix)}",
            f"    mask_suffix: {_quoted(layout.mask_suffix)}",
            f"    val: {'null' if layout.val is None else layout.val}",
            f"    mask_format: {proposal.mask_format}",
            f"    classes:  # {proposal.classes_note}",
            *entries,
            f"    ignore: [{', '.join(map(text, proposal.ignore))}]{seen}",
            "",
        ]
    )


def _complete(order: Sequence[Meaning], held: Contents, names: ClassNames) -> dict[Meaning, str]:
    """A name for each, no two the same."""
    called = {meaning: names.of[meaning] for meaning in order if meaning in names.of}
    background = next((m for m in order if m in (0, BLACK)), max(order, key=lambda m: held.pixels[m]))
    for index, meaning in enumerate(order):
        if meaning not in called:
            numbered = f"class_{index if isinstance(meaning, tuple) else meaning}"
            guessed = ["background"] if meaning == background else []
            wanted = (*guessed, *(numbered + "_" * further for further in range(len(order))))
            called[meaning] = next(name for name in wanted if name not in called.values())
    return called


def _origin(order: Sequence[Meaning], names: ClassNames) -> str:
    """Where the names of the classes come from, and what is left to do."""
    named = [meaning for meaning in order if meaning in names.of]
    if not named:
        return "give them their names"
    return f"names from {names.source}" + ("" if len(named) == len(order) else "; give the others theirs")


def _class_colors(order: Sequence[Meaning], masks: Sequence[MaskFacts]) -> list[Color]:
    """Colours of the masks or their palettes; where these know none, or one twice, standard ones of nothing else."""
    table: dict[int, Color] = {}
    for mask in masks:
        table = mask.colors | table
    known = [m if isinstance(m, tuple) else table.get(m) for m in order]
    taken = {*known, *table.values()}
    free = (color for color in map(standard_color, itertools.count()) if color not in taken)
    return [next(free) if color is None or color in known[:index] else color for index, color in enumerate(known)]


def _plain(name: str) -> str:
    """A name as it is where YAML reads it as that, else in quotes."""
    is_plain = re.fullmatch(r"[^\W\d][\w -]*", name) and yaml.safe_load(f"[{name}]") == [name]
    return name if is_plain else _quoted(name)


def _quoted(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)
