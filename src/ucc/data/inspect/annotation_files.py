"""Files of annotation tools that hold polygons where masks are looked for, and the command that draws masks of them."""

import os
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ucc.data.annotations.annotated import load_json
from ucc.data.annotations.coco import has_outlines, is_coco
from ucc.data.annotations.labelme import is_labelme
from ucc.data.annotations.yolo import NAMES_SUFFIXES, SUFFIX, has_outline, names_classes
from ucc.data.sources.listing import Problems
from ucc.data.sources.naming import IMAGE_FOLDERS
from ucc.data.sources.places import folder_names, has_star
from ucc.data.sources.tree import files_below, shown
from ucc.errors import UserError, some

LARGEST = 2**30  # bytes; all of COCO's 118 000 images take half of it
MOST = 1000  # files of a kind that are looked at


def annotations_hint(root: Path, images: str | None) -> str:
    """How to draw masks from the polygons below `root`, on lines of their own; nothing if there are none.

    Args:
        root: the folder that is looked at.
        images: the folder of the images below it, if somebody has said which it is.
    """
    files = files_below(root, Problems(root))
    sources = _coco_and_labelme(files) or _yolo(files)
    if not sources:
        return ""
    usual = (name for name in folder_names(root) if name.lower() in IMAGE_FOLDERS)
    folder = root if images and has_star(images) else root / (images or next(usual, "."))
    command = shlex.join(["python", "-m", "ucc.data.annotations", *map(str, (*sources, folder, root / "masks"))])
    names = some(f"{shown(path.relative_to(root))}{'/' * path.is_dir()}" for path in sources)
    return f"\nThere are polygons in {names}. To draw masks of them:\n    {command}"


def _coco_and_labelme(files: Sequence[Path]) -> list[Path]:
    coco: list[Path] = []
    labelme: list[Path] = []
    # Of a folder of labelme's files one is enough.
    unlike = (path for path in files if path.suffix.lower() == ".json" and path.parent not in labelme)
    for path in islice(unlike, MOST):
        try:
            content: Any = load_json(path) if path.stat().st_size <= LARGEST else None
        except (UserError, OSError):
            continue
        if is_coco(content):
            coco += [path] if has_outlines(content) else []
        elif is_labelme(content):
            labelme.append(path.parent)
    # One folder for all of labelme's, since classes are numbered together.
    return [*coco, *([Path(os.path.commonpath(labelme))] if labelme else [])]


def _yolo(files: Sequence[Path]) -> list[Path]:
    if not any(map(has_outline, islice((path for path in files if path.suffix.lower() == SUFFIX), MOST))):
        return []
    return [path for path in files if path.suffix.lower() in NAMES_SUFFIXES and names_classes(path)][:1]
