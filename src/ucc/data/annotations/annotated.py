"""What the readers of annotation formats have in common: what they give, and how they look at foreign values."""

import json
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ucc.data.annotations.regions import Region, Size
from ucc.data.name_files import label_problem
from ucc.errors import UserError

REMEDY = "Nothing was drawn. Mend these, then draw again."


@dataclass(frozen=True)
class Shape:
    """A region of a class; `where` it is annotated, for messages."""

    label: str
    region: Region
    where: str


@dataclass(frozen=True)
class Annotated:
    """An image and its shapes.

    Attributes:
        names: what the image may be called, the likeliest first, as paths below the folder of images, with their
            suffix or without.
        where: the annotations, for messages.
        source: the file or folder that was given, and that holds them.
        size: height and width of what the shapes were drawn on; None if the file does not say.
        shapes: none if nobody has drawn any.
        folder: where names may be meant from, beside the folder of images.
        boxed: whether there are objects of which no outline is known, so that no mask can be made.
    """

    names: tuple[str, ...]
    where: str
    source: Path
    size: Size | None = None
    shapes: Sequence[Shape] = ()
    folder: Path | None = None
    boxed: bool = False


@dataclass(frozen=True)
class Annotations:
    """All images of annotation files or folders.

    Attributes:
        labels: the classes, in the order in which they get their values.
        notes: what was left out, in words.
        pictures: files, resolved, that are annotations themselves, and no images wherever they lie.
    """

    labels: Sequence[str]
    images: Sequence[Annotated]
    notes: Sequence[str] = ()
    pictures: frozenset[Path] = frozenset()


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


def required(value: Any, key: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """The value of a key of a JSON object, which must be there and of such a type.

    Raises:
        UserError: naming the place.
    """
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, kinds) or isinstance(found, bool):
        raise UserError(f"{where}: {key} is missing or not what it should be; export it again.")
    return found


def identifier(value: Any, key: str, where: str) -> Hashable:
    """A number or text by which others refer to it; 1.0 is 1.

    Raises:
        UserError: naming the place.
    """
    found: Hashable = required(value, key, (int, float, str), where)
    return found


def class_label(name: str, where: str) -> str:
    """The name of a class, in one spelling.

    Raises:
        UserError: if it cannot be one.
    """
    text = unicodedata.normalize("NFC", name.strip())
    problem = label_problem(text) if text else "the name of a class is empty"
    if problem:
        raise UserError(f"{where}: {problem}; rename it.")
    return text


def numbers(values: Any, where: str) -> list[float]:
    """A list of finite numbers.

    Raises:
        UserError: naming the place.
    """
    if not isinstance(values, list) or not all(map(_is_number, values)):
        raise UserError(f"{where}: no list of numbers where one belongs; export it again.")
    return [float(value) for value in values]


def whole_numbers(values: Any, where: str) -> list[int]:
    """A list of whole numbers.

    Raises:
        UserError: naming the place.
    """
    found = numbers(values, where)
    if any(value != int(value) for value in found):
        raise UserError(f"{where}: a number of pixels that is not whole; export it again.")
    return [int(value) for value in found]


def image_size(value: Any, height: str, width: str, where: str) -> Size | None:
    """Height and width of an image, stored under these keys; None if they are not.

    Raises:
        UserError: naming the place.
    """
    stored = [value.get(key) for key in (height, width)]
    if None in stored:
        return None
    size = whole_numbers(stored, f"{where}: {height} and {width}")
    if min(size) <= 0:
        raise UserError(f"{where}: {height} {size[0]} and {width} {size[1]} are no size of an image.")
    return size[0], size[1]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return bool(abs(value) < 1e300)  # neither NaN nor infinite, nor an integer beyond what a float can be
