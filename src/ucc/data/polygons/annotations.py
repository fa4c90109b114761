"""What the readers of annotation formats have in common: what they give, and how they look at foreign JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ucc.data.polygons.regions import Region, Size
from ucc.errors import UserError


@dataclass(frozen=True)
class Shape:
    """A region of a class."""

    label: str
    region: Region


@dataclass(frozen=True)
class Annotated:
    """An image and its shapes.

    Attributes:
        name: of the image, as a path below the folder of images; without the suffix if the format does not store it.
        size: height and width of what the shapes were drawn on; None if the file does not say.
        shapes: none if nobody has drawn any.
        where: the annotations, for messages.
        folder: where they lie, if names of images may be meant from there.
        boxed: whether there are objects of which only a box is known, so that no mask can be made.
    """

    name: str
    size: Size | None
    shapes: Sequence[Shape]
    where: str
    folder: Path | None = None
    boxed: bool = False


@dataclass(frozen=True)
class Annotations:
    """All images of annotation files or folders.

    Attributes:
        labels: the classes, in the order in which they get their values.
        notes: what was left out, in words.
    """

    labels: Sequence[str]
    images: Sequence[Annotated]
    notes: Sequence[str]


def load_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: if it cannot be read or is none.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: no JSON ({error}); export it again.") from error


def entry(value: Any, key: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """The value of a key of a JSON object, which must be there and of such a type.

    Raises:
        UserError: naming the place.
    """
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, kinds) or isinstance(found, bool):
        raise UserError(f"{where}: {key} is missing or not what it should be; export it again.")
    return found


def numbers(values: Any, where: str) -> list[float]:
    """A list of finite numbers.

    Raises:
        UserError: naming the place.
    """
    if not isinstance(values, list) or not all(map(_is_number, values)):
        raise UserError(f"{where}: coordinates that are no list of numbers; export it again.")
    return [float(value) for value in values]


def pixels(value: Any, height: str, width: str, where: str) -> Size:
    """Height and width of an image, stored under these keys.

    Raises:
        UserError: naming the place.
    """
    sizes = tuple(entry(value, key, (int, float), where) for key in (height, width))
    if not all(_is_number(size) and size == int(size) and size > 0 for size in sizes):
        raise UserError(f"{where}: {height} {sizes[0]} and {width} {sizes[1]} are no size of an image.")
    return int(sizes[0]), int(sizes[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
