"""Small images with the files of annotation tools beside them, and the masks that are expected of them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from tiny import REPOSITORY

from ucc.data.images import write_png

HEIGHT, WIDTH = 12, 16
Arguments = tuple[str, str, str]


def write_photo(path: Path, shade: int = 0) -> None:
    """A picture of HEIGHT x WIDTH."""
    write_png(path, np.full((HEIGHT, WIDTH, 3), shade, np.uint8))


def square(left: float, top: float, side: float) -> list[float]:
    """The outline of one, x, y, x, y, ..."""
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def corners(left: float, top: float, side: float) -> list[list[float]]:
    """The same as pairs."""
    flat = square(left, top, side)
    return [list(pair) for pair in zip(flat[0::2], flat[1::2], strict=True)]


def coco(*annotations: dict[str, Any], images: int = 2) -> dict[str, Any]:
    """Content of a file of COCO; an annotation is of a cat on the first image where it does not say otherwise."""
    return {
        "images": [{"id": 10 + i, "file_name": f"x{i}.png", "height": HEIGHT, "width": WIDTH} for i in range(images)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [{"image_id": 10, "category_id": 7, **annotation} for annotation in annotations],
    }


def write_coco(root: Path, content: Any, images: int = 2) -> Arguments:
    """The file and its images; the arguments of the command."""
    for index in range(images):
        write_photo(root / f"images/x{index}.png", index)
    root.mkdir(parents=True, exist_ok=True)
    (root / "coco.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return str(root / "coco.json"), str(root / "images"), str(root / "masks")


def write_labelme(root: Path, name: str, *shapes: Any, **further: Any) -> Arguments:
    """One image and its file; the arguments of the command."""
    write_photo(root / f"{name}.png")
    content = {"imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes, "imageData": None, **further}
    (root / f"{name}.json").write_text(json.dumps(content))
    return str(root), str(root), str(root / "masks")


def write_yolo(root: Path, text: str, names: str = "names: [dog, cat]") -> Arguments:
    """Two images, of which the second shows nothing; the arguments of the command."""
    for name, labels in (("x", text), ("y", "")):
        write_photo(root / f"train/images/{name}.png")
        (root / "train/labels").mkdir(parents=True, exist_ok=True)
        (root / f"train/labels/{name}.txt").write_text(labels)
    (root / "data.yaml").write_text(f"train: ../train/images\nnc: 2\n{names}\n")
    return str(root / "data.yaml"), str(root), str(root / "masks")


def read(path: Path) -> NDArray[np.int64]:
    """The values of a mask."""
    return np.array(PIL.Image.open(path)).astype(np.int64)


def expected(*squares: tuple[int, int, int, int], elsewhere: int = 0) -> NDArray[np.int64]:
    """Squares of left, top, side and value, the later ones on top."""
    mask = np.full((HEIGHT, WIDTH), elsewhere)
    for left, top, side, value in squares:
        mask[top : top + side, left : left + side] = value
    return mask


def command(*arguments: str, restricted: bool = False) -> subprocess.CompletedProcess[str]:
    """The command; `restricted` as somebody to whom permissions apply: root without two of its capabilities."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    argv = [sys.executable, "-m", "ucc.data.annotations", *arguments]
    if restricted and os.geteuid() == 0:
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *argv]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
