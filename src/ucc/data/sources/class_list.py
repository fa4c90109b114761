"""The classes of a user's masks: which value or colour is which class, and what belongs to none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ucc.data.dataset import IGNORE_INDEX, DatasetInfo, name_problem
from ucc.data.images import Image
from ucc.errors import UserError

UNKNOWN = 256  # stands for a value or a colour that is neither a class nor ignored
KEYS = ("name", "color", "value")
KEY = "dataset.folder.classes"

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassList:
    """Names, colours and mask values in the order of the class indices.

    Attributes:
        colorless: the classes whose colour was not given, so that no colour mask can mean them.
        ignored_values: mask values of no class.
        ignored_colors: mask colours of no class.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    values: tuple[int, ...]
    colorless: tuple[str, ...] = ()
    ignored_values: tuple[int, ...] = ()
    ignored_colors: tuple[Color, ...] = ()

    @property
    def without_colors(self) -> bool:
        """Whether no class has a given colour, so that only values can tell them."""
        return len(self.colorless) == len(self.names)

    def of_values(self, values: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Class index, ignore index or `UNKNOWN` of each value, same shape."""
        return self._by_value[values]

    def of_colors(self, packed: NDArray[np.uint32]) -> NDArray[np.uint16]:
        """Class index, ignore index or `UNKNOWN` of each colour, as `pack` has it, of shape (H, W), same shape."""
        classes = np.empty(packed.shape, np.uint16)
        # A row at a time: numpy looks up by copies of 8 bytes a pixel.
        for row, numbers in zip(classes, packed, strict=True):
            row[:] = self._by_color[numbers]
        return classes

    def class_of_value(self, value: int) -> int | None:
        """The class index that a mask value means, if any."""
        return self.values.index(value) if value in self.values else None

    def class_of_color(self, color: Color) -> int | None:
        """The class index whose given colour this is, if any."""
        named = zip(self.names, self.colors, strict=True)
        return next((i for i, (name, own) in enumerate(named) if own == color and name not in self.colorless), None)

    @cached_property
    def _by_value(self) -> NDArray[np.uint16]:
        table = np.full(2**16, UNKNOWN, np.uint16)
        table[list(self.ignored_values)] = IGNORE_INDEX
        table[list(self.values)] = np.arange(len(self.values))  # last: a class may have the value 255
        return table

    @cached_property
    def _by_color(self) -> NDArray[np.uint16]:
        table = np.full(2**24, UNKNOWN, np.uint16)
        for color in self.ignored_colors:
            table[pack(np.array(color, np.uint8))] = IGNORE_INDEX
        for index, (name, color) in enumerate(zip(self.names, self.colors, strict=True)):
            if name not in self.colorless:
                table[pack(np.array(color, np.uint8))] = index
        return table


def pack(colors: Image) -> NDArray[np.uint32]:
    """RGB uint8 of shape (..., 3) as one number each, shape (...)."""
    # In place: temporaries of a picture of 100 megapixels are 400 MB each.
    packed = colors[..., 0].astype(np.uint32)
    for channel in (1, 2):
        packed <<= 8
        packed |= colors[..., channel]
    return packed


def unpack(number: int) -> Color:
    """The colour that `pack` made a number of."""
    return number >> 16, number >> 8 & 255, number & 255


def classes_of(info: DatasetInfo, ignore: Any) -> ClassList:
    """The classes of a dataset.yaml: mask values are class indices, 255 belongs to none.

    Raises:
        UserError: if `ignore` is no list of values and colours, or holds one of a class.
    """
    values, colors = _ignored(ignore)
    classes = ClassList(
        names=info.classes,
        colors=info.colors,
        values=tuple(range(info.num_classes)),
        ignored_values=(*values, IGNORE_INDEX),
        ignored_colors=colors,
    )
    _refuse_ignored(classes)
    return classes


def read_classes(entries: Any, ignore: Any) -> ClassList:
    """Check and complete the list `dataset.folder.classes`.

    A class without `value` has its position in the list. One without `color` is painted in the first free colour
    of `standard_color`.

    Raises:
        UserError: naming the entry and what is allowed.
    """
    if not isinstance(entries, list) or not 2 <= len(entries) <= IGNORE_INDEX:
        raise UserError(f"{KEY}: must be a list of 2 to {IGNORE_INDEX} entries {{name: cat, color: [220, 20, 60]}}.")
    for index, entry in enumerate(entries):
        problem = _problem(entry)
        if problem:
            raise UserError(f"{KEY}[{index}] = {entry!r}: {problem}.")
    names = tuple(str(entry["name"]) for entry in entries)
    values = tuple(index if entry.get("value") is None else entry["value"] for index, entry in enumerate(entries))
    given = [tuple(entry["color"]) if entry.get("color") is not None else None for entry in entries]
    for what, items in (("name", names), ("value", values), ("color", [color for color in given if color])):
        _refuse_twice(what, items)
    ignored_values, ignored_colors = _ignored(ignore)
    classes = ClassList(
        names=names,
        colors=_completed(given),
        values=values,
        colorless=tuple(name for name, color in zip(names, given, strict=True) if color is None),
        ignored_values=ignored_values,
        ignored_colors=ignored_colors,
    )
    _refuse_ignored(classes)
    return classes


def standard_color(index: int) -> Color:
    """The colour of a class index by the rule of PASCAL VOC: its octal digits' bits go to red, green and blue."""
    channels = [0, 0, 0]
    for position in range(7, -1, -1):
        channels = [channel | (index >> bit & 1) << position for bit, channel in enumerate(channels)]
        index >>= 3
    return channels[0], channels[1], channels[2]


def _completed(given: Sequence[Any]) -> tuple[Color, ...]:
    taken = {color for color in given if color}
    free = (color for color in map(standard_color, range(2 * IGNORE_INDEX)) if color not in taken)
    return tuple(color or next(free) for color in given)


def _problem(entry: Any) -> str | None:
    if not isinstance(entry, Mapping):
        return "must be an entry such as {name: cat, color: [220, 20, 60], value: 1}"
    unknown = [str(key) for key in entry if key not in KEYS]
    if unknown:
        return f"unknown key {', '.join(unknown)}; known keys are {', '.join(KEYS)}"
    name, color, value = (entry.get(key) for key in KEYS)
    if problem := name_problem(name):
        return problem
    if color is not None and not _is_color(color):
        return "color must be [red, green, blue] of 0 to 255"
    if value is not None and not _is_value(value):
        return "value must be a whole number of 0 to 65535"
    return None


def _refuse_twice(what: str, items: Sequence[Any]) -> None:
    twice = sorted({str(list(i) if isinstance(i, tuple) else i) for i in items if list(items).count(i) > 1})
    if twice:
        hint = "; a class without value has its position in the list, from 0" if what == "value" else ""
        raise UserError(f"{KEY}: two classes have the {what} {', '.join(twice)}{hint}.")


def _refuse_ignored(classes: ClassList) -> None:
    """Refuse what is both a class and ignored, but 255: it stands in `ignore` unless somebody took it out."""
    both: list[tuple[int | list[int], int | None]] = [
        *((value, classes.class_of_value(value)) for value in classes.ignored_values if value != IGNORE_INDEX),
        *((list(color), classes.class_of_color(color)) for color in classes.ignored_colors),
    ]
    found = [f"{what} is class {classes.names[index]}" for what, index in both if index is not None]
    if found:
        raise UserError(f"dataset.folder.ignore: {', '.join(found)}; take it out of the classes or out of ignore.")


def _ignored(ignore: Any) -> tuple[tuple[int, ...], tuple[Color, ...]]:
    items = ignore if isinstance(ignore, list) else [] if ignore is None else [ignore]
    for item in items:
        if not _is_value(item) and not _is_color(item):
            raise UserError(f"dataset.folder.ignore = {ignore!r}: must be a list of mask values and colours [r, g, b].")
    return (
        tuple(item for item in items if _is_value(item)),
        tuple((item[0], item[1], item[2]) for item in items if _is_color(item)),
    )


def _is_value(value: Any, high: int = 65535) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= high


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_value(v, 255) for v in value)
