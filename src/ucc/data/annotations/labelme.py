"""labelme's JSON: one file for each image, of its name, beside it or in a folder of the same structure.

Format: github.com/wkentaro/labelme; X-AnyLabeling and others write it, too.
"""

import base64
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import cv2
import numpy as np

from ucc.data.annotations.annotated import (
    REMEDY,
    Annotated,
    Annotations,
    Shape,
    class_label,
    image_size,
    load_json,
    numbers,
    required,
)
from ucc.data.annotations.regions import Bitmap, Outlines, Region
from ucc.data.sources.listing import Problems
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError, some

SUFFIX = ".json"
CIRCLE_POINTS = 72  # 0.1 % of the radius off at most
AREALESS = ("point", "points", "line", "linestrip")


def is_labelme(content: Any) -> bool:
    """Whether it looks like the JSON of one image."""
    return isinstance(content, Mapping) and isinstance(content.get("shapes"), list)


def read_labelme(folder: Path) -> Annotations:
    """All images of which there is such a file in the folder or below.

    Raises:
        UserError: if there is none, or one is damaged.
    """
    images, others = [], []
    left_out: Counter[str] = Counter()
    problems = Problems(folder)
    for path in files_below(folder, problems):
        if path.suffix.lower() != SUFFIX:
            continue
        try:
            content = load_json(path)
            if is_labelme(content):
                images.append(_annotated(folder, path, content, left_out))
            else:
                others.append(shown(path.relative_to(folder)))
        except UserError as error:
            problems.add(str(error))
    problems.raise_if_any(REMEDY)
    if not images:
        raise UserError(
            f"{folder}: no JSON of labelme in it or below; of COCO give the file, of YOLO the data.yaml, of binary "
            "masks a pattern, such as 'masks/{class}/{image}.png'."
        )
    notes = [
        f"{folder}: {count} shapes of kind {kind} have no area and are left out" for kind, count in left_out.items()
    ]
    if others:
        notes.append(f"{folder}: {len(others)} files hold no shapes of labelme and are left out: {some(others)}")
    return Annotations(sorted({shape.label for image in images for shape in image.shapes}), images, notes)


def _annotated(folder: Path, path: Path, content: Mapping[str, Any], left_out: Counter[str]) -> Annotated:
    shapes = []
    for index, shape in enumerate(content["shapes"]):
        where = f"{path}: shape {index} (counted from 0)"
        name = class_label(required(shape, "label", str, where), where)
        kind = shape.get("shape_type") or "polygon"  # as files of before it had a kind mean
        if kind in AREALESS:
            left_out[kind] += 1
        else:
            shapes.append(Shape(name, _region(kind, shape, where), where))
    below = path.relative_to(folder)
    stored = content.get("imagePath")
    named = []
    if isinstance(stored, str) and stored.strip("./\\"):
        # Meant from where the file lies; where that leads nowhere, it was true on another machine, and the name counts.
        meant = os.path.normpath(below.parent / PureWindowsPath(stored).as_posix())
        named = [Path(meant), below.with_name(PureWindowsPath(stored).name)]
    return Annotated(
        names=tuple(name.as_posix() for name in (*named, below.with_suffix(""))),
        where=str(path),
        source=folder,
        folder=folder,
        size=image_size(content, "imageHeight", "imageWidth", str(path)),
        shapes=shapes,
    )


def _region(kind: str, shape: Any, where: str) -> Region:
    points = [numbers(point, where) for point in required(shape, "points", list, where)]
    if any(len(point) != 2 for point in points):
        raise UserError(f"{where}: points are pairs of numbers; save it again.")
    if kind == "mask" and len(points) == 2:
        return _bitmap(shape, points, where)
    if kind == "circle" and len(points) == 2:
        return Outlines([_circle(*points)])
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return Outlines([[left, top, right, top, right, bottom, left, bottom]])
    if kind in ("polygon", "rectangle", "rotation", "oriented_rectangle") and len(points) >= 3:
        return Outlines([[value for point in points for value in point]])
    raise UserError(f"{where}: a {kind} of {len(points)} points cannot be drawn; draw a polygon, or remove it.")


def _circle(centre: list[float], rim: list[float]) -> list[float]:
    radius = math.dist(centre, rim)
    angles = [2 * math.pi * step / CIRCLE_POINTS for step in range(CIRCLE_POINTS)]
    return [value for a in angles for value in (centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a))]


def _bitmap(shape: Any, points: list[list[float]], where: str) -> Region:
    """A picture of the object, stored as text, whose upper left corner is the first point."""
    try:
        encoded = base64.b64decode(required(shape, "mask", str, where), validate=True)
        picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE) if encoded else None
    except (ValueError, cv2.error) as error:
        raise UserError(f"{where}: its mask is damaged; save it again.") from error
    if picture is None:
        raise UserError(f"{where}: its mask is no picture; save it again.")
    return Bitmap(picture > 0, top=int(points[0][1]), left=int(points[0][0]))
