"""YOLO's labels for segmentation: a text file for each image, and a data.yaml that names the classes.

Format: docs.ultralytics.com, "Instance Segmentation Datasets": a line for each object, the class and then x y x y ...
as shares of width and height. Labels lie in `labels` where their images lie in `images`, or beside them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ucc.data.annotations.annotated import REMEDY, Annotated, Annotations, Shape, class_label
from ucc.data.annotations.regions import Outlines
from ucc.data.sources.listing import Problems
from ucc.data.sources.matching import IMAGE_SUFFIXES
from ucc.data.sources.tree import files_below
from ucc.errors import UserError

SUFFIX = ".txt"
NAMES_SUFFIXES = (".yaml", ".yml")
BOX = 4  # numbers behind the class: its centre and size
FEWEST = 6  # three points


def read_yolo(path: Path, images: Path) -> Annotations:
    """All images below the folder `images` that have a file of labels.

    Raises:
        UserError: if `path` names no classes, or a file of labels is damaged.
    """
    names = _names(path)
    problems = Problems(images)
    found = []
    for image in files_below(images, problems):
        labels = next(filter(Path.is_file, (labels_of(image), image.with_suffix(SUFFIX))), None)
        if labels is None or image.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        try:
            found.append(_annotated(path, image.relative_to(images).as_posix(), labels, names))
        except UserError as error:
            problems.add(str(error))
    problems.raise_if_any(REMEDY)
    if not found:
        example = images / "x.jpg"
        raise UserError(
            f"{images}: no image has labels; those of {example} would be {labels_of(example)}, or beside it."
        )
    return Annotations(list(dict.fromkeys(names.values())), found)


def labels_of(image: Path) -> Path:
    """The file of an image's labels, which need not be there."""
    parts = list(image.absolute().parent.parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return Path(*parts) / f"{image.stem}{SUFFIX}"


def names_classes(path: Path) -> bool:
    """Whether it looks like a data.yaml."""
    try:
        return bool(_names(path))
    except UserError:
        return False


def has_outline(path: Path) -> bool:
    """Whether a file of labels begins with an object of which more than a box is known."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return len(_numbers(stream.readline(2**16), "")) > 1 + BOX
    except (OSError, ValueError, UserError):
        return False


def _names(path: Path) -> Mapping[int, str]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: no YAML ({' '.join(str(error).split())}).") from error
    given: Any = content.get("names") if isinstance(content, Mapping) else None
    names = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(names, Mapping) or not names or not all(type(n) is int and names[n] is not None for n in names):
        raise UserError(f"{path}: no list `names` of classes, as YOLO's data.yaml has.")
    return {number: class_label(str(names[number]), str(path)) for number in sorted(names)}


def _annotated(source: Path, name: str, path: Path, names: Mapping[int, str]) -> Annotated:
    shapes, boxed = [], False
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from error
    for index, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}: line {index}"
        number, *coordinates = _numbers(line, where)
        if number not in names:
            raise UserError(
                f"{where}: there is no class {number:g}; data.yaml names {min(names)} to {max(names)}: mend one."
            )
        if len(coordinates) == BOX:
            boxed = True
        elif len(coordinates) < FEWEST or len(coordinates) % 2:
            raise UserError(f"{where}: {len(coordinates)} numbers behind the class are no outline; export it again.")
        else:
            shapes.append(Shape(names[int(number)], Outlines([coordinates], relative=True), where))
    return Annotated((name,), str(path), source, shapes=shapes, boxed=boxed)


def _numbers(line: str, where: str) -> list[float]:
    try:
        found = [float(word) for word in line.split()]
    except ValueError as error:
        raise UserError(f"{where}: holds something that is no number; export it again.") from error
    if not all(map(math.isfinite, found)):
        raise UserError(f"{where}: holds a number that is not finite; export it again.")
    return found
