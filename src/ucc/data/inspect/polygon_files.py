"""Files of annotation tools that hold polygons where masks are looked for, and the command that draws masks of them."""

import json
import os
import shlex
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ucc.data.sources.listing import Problems
from ucc.data.sources.naming import IMAGE_FOLDERS
from ucc.data.sources.places import folder_names
from ucc.data.sources.tree import files_below, shown
from ucc.errors import some

LARGEST = 2**30  # bytes; all of COCO's 118 000 images take half of it
MOST = 100  # files of a kind that are looked at
BOX = 5  # numbers in a line of YOLO's that holds no outline


def polygons_hint(root: Path) -> str:
    """How to draw masks from the polygons below `root`, on lines of their own; nothing if there are none."""
    files = files_below(root, Problems(root))
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in _first(files, ".json"):
        content = _content(path)
        if all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
            found["COCO"].append(path)
        elif isinstance(content.get("shapes"), list):
            found["labelme"].append(path)
    if any(map(_has_outline, _first(files, ".txt"))):
        found["YOLO"] = [path for path in _first(files, ".yaml", ".yml") if "names" in _content(path)][:1]
    sources = {
        "COCO": found["COCO"],
        # One folder, since classes get their values from all files together.
        "labelme": [Path(os.path.commonpath([path.parent for path in found["labelme"]]))] if found["labelme"] else [],
        "YOLO": found["YOLO"],
    }
    commands = "".join(f"\n    {_command(root, paths)}" for paths in sources.values() if paths)
    names = some(shown(path.relative_to(root)) for paths in found.values() for path in paths)
    return f"\nThere are polygons in {names}. To draw masks of them:{commands}" if commands else ""


def _first(files: list[Path], *suffixes: str) -> list[Path]:
    return [path for path in files if path.suffix.lower() in suffixes][:MOST]


def _content(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            return {}
        encoded = path.read_bytes()
        content = json.loads(encoded) if path.suffix.lower() == ".json" else yaml.safe_load(encoded)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _has_outline(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as stream:
            words = stream.readline(2**16).split()
        return len(words) > BOX and bool([float(word) for word in words])
    except (OSError, ValueError):
        return False


def _command(root: Path, sources: list[Path]) -> str:
    images = next((root / name for name in folder_names(root) if name.lower() in IMAGE_FOLDERS), root)
    return shlex.join(["python", "-m", "ucc.data.polygons", *map(str, (*sources, images, root / "masks"))])
