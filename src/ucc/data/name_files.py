"""Files in which annotation tools leave the names of classes beside the masks."""

import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.sources.class_list import Color
from ucc.data.sources.listing import Problems
from ucc.data.sources.places import folder_names, folders
from ucc.data.sources.tree import FORBIDDEN_CATEGORIES, shown
from ucc.errors import UserError, some

PIXEL_VALUES = "_classes.csv"
IGNORED = "__ignore__"  # what belongs to no class, by labelme
LARGEST = 2**20  # bytes
MOST_LINES = 256  # a mask of 8 bits has no more values

_LABEL = re.compile(r"(?P<name>.*?):\s*(?P<red>\d+)\s*,\s*(?P<green>\d+)\s*,\s*(?P<blue>\d+)\s*(:.*)?")
_NUMBERED = re.compile(r"\d+\W")  # 1 cat, 1: cat, 1,cat

Meaning = int | Color  # what stands for a class in a mask
Lines = Iterator[tuple[int, str]]
Pairs = Iterator[tuple[Meaning, str]]


class By(Enum):
    """How a file tells which class a name is of."""

    COLOR = "colour"
    VALUE = "value"
    LINE = "line number"


@dataclass(frozen=True)
class NameFile:
    """What a file says; `names` are of values or colours, mostly one each."""

    place: str
    by: By
    names: Mapping[Meaning, tuple[str, ...]]


def name_files(root: Path, masks: str, problems: Problems) -> Iterator[NameFile]:
    """The files of names in the root, in the folders there, and among the masks, the most explicit first.

    One that cannot be used, or that another of the same name contradicts, is added to `problems` when its turn comes.
    """
    places = dict.fromkeys([root, *(root / name for name in folder_names(root)), *folders(root, masks).values()])
    files = [_files(place) for place in places]
    for file_name, (by, read) in _FORMATS.items():
        found = {}
        for path in (there[file_name] for there in files if file_name in there):
            place = shown(path.relative_to(root))
            try:
                found[place] = _names(path, read)
            except UserError as error:
                problems.add(f"{place}: no names of classes are taken from it: {error}")
        if any(names != next(iter(found.values())) for names in found.values()):
            problems.add(
                f"{some(found)} differ, and no names of classes are taken from them: remove the wrong ones, or name "
                "the classes yourself"
            )
        elif found:
            yield NameFile(next(iter(found)), by, next(iter(found.values())))


def read_pixel_values(path: Path) -> dict[int, str]:
    """The classes by value of a file such as Roboflow's `_classes.csv`, for masks of 8 bits.

    Raises:
        UserError: if it cannot be read, or values and names are not one for one.
    """
    try:
        found = _names(path, _pixel_values)
        if any(not isinstance(value, int) or value > IGNORE_INDEX for value in found):
            raise UserError(f"a value is larger than {IGNORE_INDEX}")
        names = [name for several in found.values() for name in several]
        if len(names) > len(found) or len(set(names)) < len(names):
            raise UserError("a value has several names, or a name several values")
    except UserError as error:
        raise UserError(f"{path}: no list of the classes of masks: {error}. Mend it, or use another folder.") from error
    return dict(zip((value for value in found if isinstance(value, int)), names, strict=True))


def label_problem(name: str) -> str | None:
    """What keeps a name that is not empty from being one of a class in params.yaml and on the screen; else None."""
    if "${" in name or name == "???":  # by which OmegaConf means other keys, and a value to come
        return f"{name} cannot be a name in params.yaml"
    # A name is shown in lines of text; what is not assigned to a character YAML refuses.
    if any(unicodedata.category(character) in (*FORBIDDEN_CATEGORIES, "Cn") for character in name):
        return f"control characters in the name {name!a}"
    return None


def _files(folder: Path) -> dict[str, Path]:
    """The files of names there, by their usual names, whatever the case in which they are written."""
    try:
        # Of two that differ in case alone the one in the usual case counts, which comes last.
        entries = sorted(folder.iterdir(), key=lambda entry: (entry.name == entry.name.lower(), entry.name))
        return {entry.name.lower(): entry for entry in entries if entry.name.lower() in _FORMATS and entry.is_file()}
    except OSError:
        return {}  # a folder that may not be read or is none, which those who list it tell


def _names(path: Path, read: Callable[[str], Pairs]) -> dict[Meaning, tuple[str, ...]]:
    found: defaultdict[Meaning, list[str]] = defaultdict(list)
    try:
        for meaning, name in read(_text(path)):
            if name not in found[meaning]:
                found[meaning].append(name)
    except csv.Error as error:
        raise UserError(f"no CSV file ({error})") from error
    if not found:
        raise UserError("it holds none")
    return {meaning: tuple(names) for meaning, names in found.items()}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise UserError(f"it cannot be read ({error.strerror})") from error
    if len(content) > LARGEST:
        raise UserError(f"it is larger than {LARGEST // 2**20} MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("it is not text in UTF-8; save it as such") from error


def _labelmap(text: str) -> Pairs:
    """Lines label:red,green,blue:parts:actions of CVAT."""
    for number, line in _lines(text):
        if not line or line.startswith("#"):
            continue
        found = _LABEL.fullmatch(line)
        if not found:
            raise UserError(f"line {number} is not label:red,green,blue:parts:actions")
        yield _color(number, found["red"], found["green"], found["blue"]), _name(number, found["name"])


def _pixel_values(text: str) -> Pairs:
    """Rows `0, background` of Roboflow; its exports for classification have a file of this name and other columns."""
    for number, (value, name) in _rows(text, ("pixel value", "class")):
        yield _number(number, value, 65535), _name(number, name)


def _color_rows(text: str) -> Pairs:
    for number, (name, *channels) in _rows(text, ("name", "r", "g", "b")):
        yield _color(number, *channels), _name(number, name)


def _by_line(text: str) -> Pairs:
    """The first line is value 0, unless labelme's name for -1 stands there, which masks store as 255."""
    lines = list(_lines(text))
    first = 1
    if lines and lines[0][1] == IGNORED:
        yield IGNORE_INDEX, IGNORED
        first = 2
    if len(lines) >= MOST_LINES + first:
        raise UserError(f"it has more than {MOST_LINES} lines, so that it is no list of classes")
    written = [line for _, line in lines if line]
    if written and all(map(_NUMBERED.match, written)):
        raise UserError("each line begins with a number, and names go by the number of the line: take the numbers out")
    for number, line in lines[first - 1 :]:
        if line:
            yield number - first, _name(number, line)


_FORMATS: dict[str, tuple[By, Callable[[str], Pairs]]] = {
    "labelmap.txt": (By.COLOR, _labelmap),
    PIXEL_VALUES: (By.VALUE, _pixel_values),
    "class_dict.csv": (By.COLOR, _color_rows),
    "class_dict_seg.csv": (By.COLOR, _color_rows),
    "class_names.txt": (By.LINE, _by_line),
    "classes.txt": (By.LINE, _by_line),
    "labels.txt": (By.LINE, _by_line),
}


def _lines(text: str) -> Lines:
    return ((number, line.strip()) for number, line in enumerate(io.StringIO(text, newline=None), start=1))


def _rows(text: str, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """The cells of these columns, row by row, after the number of the line."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    header = [cell.strip().lower() for cell in next(reader, [])]
    if any(header.count(column) != 1 for column in columns):
        raise UserError(f"its first line does not name the columns {', '.join(columns)}")
    for row in reader:
        if len(row) not in (0, len(header)):
            raise UserError(f"line {reader.line_num} has {len(row)} cells, the first line {len(header)}")
        if row:
            yield reader.line_num, [row[header.index(column)] for column in columns]


def _color(line: int, red: str, green: str, blue: str) -> Meaning:
    return _number(line, red, 255), _number(line, green, 255), _number(line, blue, 255)


def _number(line: int, text: str, high: int) -> int:
    digits = text.strip()
    if not re.fullmatch("[0-9]{1,9}", digits) or int(digits) > high:
        raise UserError(f"line {line}: {text!r} is no whole number of 0 to {high}")
    return int(digits)


def _name(line: int, text: str) -> str:
    name = unicodedata.normalize("NFC", text.strip())
    if not name:
        raise UserError(f"line {line} holds no name")
    if problem := label_problem(name):
        raise UserError(f"line {line}: {problem}")
    return name
