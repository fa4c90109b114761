"""COCO's JSON: one file for all images, which CVAT, Roboflow, Label Studio and many others export.

Format: cocodataset.org, "Data format", object detection. An object is an outline of polygons, or run lengths.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ucc.data.polygons.annotations import Annotated, Annotations, Shape, entry, load_json, numbers, pixels
from ucc.data.polygons.regions import Outlines, Region, RunLengths, Size
from ucc.errors import UserError

MEMBERS = ("images", "annotations", "categories")
FEWEST_POINTS = 3


def is_coco(content: Any) -> bool:
    """Whether it looks like COCO's JSON."""
    return isinstance(content, Mapping) and all(isinstance(content.get(member), list) for member in MEMBERS)


def read_coco(path: Path) -> Annotations:
    """All images of such a file; categories of one name are one class.

    Raises:
        UserError: if it is none, or damaged.
    """
    content = load_json(path)
    if not is_coco(content):
        raise UserError(f"{path}: no annotations of COCO, which hold lists {', '.join(MEMBERS)}.")
    names = _by_id(path, content["categories"], "category", "name")
    left_out: Counter[str] = Counter()
    shapes: defaultdict[int, list[Shape]] = defaultdict(list)
    boxed = set()
    images = _by_id(path, content["images"], "image", "file_name")
    for index, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotation {index} (counted from 0)"
        image, category = (entry(annotation, key, int, where) for key in ("image_id", "category_id"))
        if image not in images or category not in names:
            raise UserError(f"{where}: there is no image {image} or no category {category}; export it again.")
        segmentation = annotation.get("segmentation")
        if not segmentation:
            boxed.add(image)
        elif (region := _region(segmentation, where)) is not None:
            shapes[image].append(Shape(names[category], region))
        else:
            left_out["outlines of fewer than three points"] += 1
    return Annotations(
        labels=list(dict.fromkeys(names[number] for number in sorted(names))),
        images=[
            Annotated(
                name=images[image["id"]],
                size=pixels(image, "height", "width", f"{path}: image {images[image['id']]}"),
                shapes=shapes[image["id"]],
                where=f"{path}: {images[image['id']]}",
                folder=path.parent,
                boxed=image["id"] in boxed,
            )
            for image in content["images"]
        ],
        notes=[f"{path}: {count} {what} are left out" for what, count in left_out.items()],
    )


def _by_id(path: Path, entries: list[Any], what: str, key: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for index, value in enumerate(entries):
        where = f"{path}: {what} {index} (counted from 0)"
        number = entry(value, "id", int, where)
        if number in found:
            raise UserError(f"{where}: its id {number} is another's, too; export it again.")
        found[number] = entry(value, key, str, where)
    return found


def _region(segmentation: Any, where: str) -> Region | None:
    """Of an annotation; None if no outline has an area."""
    if isinstance(segmentation, Mapping):
        return _run_lengths(segmentation, where)
    if not isinstance(segmentation, list):
        raise UserError(f"{where}: segmentation is neither a list of polygons nor run lengths; export it again.")
    outlines = [numbers(outline, where) for outline in segmentation]
    if any(len(outline) % 2 for outline in outlines):
        raise UserError(f"{where}: an outline has an odd number of coordinates; export it again.")
    outlines = [outline for outline in outlines if len(outline) >= 2 * FEWEST_POINTS]
    return Outlines(outlines) if outlines else None


def _run_lengths(segmentation: Mapping[str, Any], where: str) -> Region:
    size: list[float] = numbers(segmentation.get("size"), where)
    counts = entry(segmentation, "counts", (list, str), where)
    if isinstance(counts, list):
        counts = [int(count) for count in numbers(counts, where)]
    if len(size) != 2:
        raise UserError(f"{where}: run lengths without height and width; export it again.")
    stored: Size = int(size[0]), int(size[1])
    return RunLengths(stored, counts)
