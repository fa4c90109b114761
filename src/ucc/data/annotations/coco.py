"""COCO's JSON: one file for all images, which CVAT, Roboflow, Label Studio and many others export.

Format: cocodataset.org, "Data format", object detection. An object is an outline of polygons, or run lengths.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from ucc.data.annotations.annotated import (
    Annotated,
    Annotations,
    Shape,
    class_label,
    identifier,
    image_size,
    load_json,
    numbers,
    required,
    whole_numbers,
)
from ucc.data.annotations.regions import Outlines, Region, RunLengths
from ucc.errors import UserError

MEMBERS = ("images", "annotations", "categories")
FEWEST_POINTS = 3


def is_coco(content: Any) -> bool:
    """Whether it looks like COCO's JSON."""
    return isinstance(content, Mapping) and all(isinstance(content.get(member), list) for member in MEMBERS)


def has_outlines(content: Mapping[str, Any]) -> bool:
    """Whether any object of such content has more than a box."""
    return any(isinstance(one, Mapping) and one.get("segmentation") for one in content["annotations"])


def read_coco(path: Path) -> Annotations:
    """All images of such a file; categories of one name are one class.

    Raises:
        UserError: if it is none, or damaged.
    """
    content = load_json(path)
    if not is_coco(content):
        raise UserError(
            f"{path}: no annotations of COCO, which hold lists {', '.join(MEMBERS)}; of labelme's give the folder."
        )
    categories = _by_id(path, content["categories"], "category")
    names = {
        number: class_label(required(one, "name", str, where), where) for number, (one, where) in categories.items()
    }
    images = _by_id(path, content["images"], "image")
    shapes: defaultdict[Hashable, list[Shape]] = defaultdict(list)
    boxed, short = set(), 0
    for index, annotation in enumerate(content["annotations"]):
        where = _counted(path, "annotation", index)
        image, category = (identifier(annotation, key, where) for key in ("image_id", "category_id"))
        for number, known, what in ((image, images, "image"), (category, names, "category")):
            if number not in known:
                raise UserError(f"{where}: there is no {what} {number}; export it again.")
        region, left_out = _region(annotation.get("segmentation") or [], where)
        short += left_out
        if region is None:
            boxed.add(image)
        else:
            shapes[image].append(Shape(names[category], region, where))
    notes = [f"{path}: {short} outlines of fewer than three points are left out"] if short else []
    annotated = [
        Annotated(
            names=(required(image, "file_name", str, where),),
            where=where,
            source=path,
            size=image_size(image, "height", "width", where),
            shapes=shapes[number],
            folder=path.parent,
            boxed=number in boxed,
        )
        for number, (image, where) in images.items()
    ]
    ordered = sorted(names, key=lambda number: (isinstance(number, str), number))
    return Annotations(list(dict.fromkeys(names[number] for number in ordered)), annotated, notes)


def _counted(path: Path, what: str, index: int) -> str:
    return f"{path}: {what} {index} (counted from 0)"


def _by_id(path: Path, entries: list[Any], what: str) -> dict[Hashable, tuple[Any, str]]:
    """The entries and where they stand."""
    found: dict[Hashable, tuple[Any, str]] = {}
    for index, value in enumerate(entries):
        where = _counted(path, what, index)
        number = identifier(value, "id", where)
        if number in found:
            raise UserError(f"{where}: its id {number} is another's, too; export it again.")
        found[number] = value, where
    return found


def _region(segmentation: Any, where: str) -> tuple[Region | None, int]:
    """Of an annotation, None if no outline has an area; and how many outlines have none."""
    if isinstance(segmentation, Mapping):
        return _run_lengths(segmentation, where), 0
    if not isinstance(segmentation, list):
        raise UserError(f"{where}: segmentation is neither a list of polygons nor run lengths; export it again.")
    is_flat = bool(segmentation) and not isinstance(segmentation[0], list)
    outlines = [numbers(outline, where) for outline in ([segmentation] if is_flat else segmentation)]
    if any(len(outline) % 2 for outline in outlines):
        raise UserError(f"{where}: an outline has an odd number of coordinates; export it again.")
    drawn = [outline for outline in outlines if len(outline) >= 2 * FEWEST_POINTS]
    return (Outlines(drawn) if drawn else None), len(outlines) - len(drawn)


def _run_lengths(segmentation: Mapping[str, Any], where: str) -> Region:
    size = whole_numbers(segmentation.get("size"), where)
    counts = required(segmentation, "counts", (list, str), where)
    if len(size) != 2:
        raise UserError(f"{where}: run lengths without height and width; export it again.")
    return RunLengths((size[0], size[1]), counts if isinstance(counts, str) else whole_numbers(counts, where))
