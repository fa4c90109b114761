"""JSON files of annotation tools, where there are polygons rather than masks, and the command that draws these."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ucc.data.dataset import IMAGE_SUFFIXES
from ucc.data.sources.listing import Problems
from ucc.data.sources.naming import IMAGE_FOLDERS, split_named
from ucc.data.sources.places import folder_names
from ucc.data.sources.tree import files_below, shown
from ucc.errors import some

LARGEST = 2**30  # bytes; all of COCO's 118 000 images take half of it
MOST = 100  # files that are looked at


def polygons_hint(root: Path) -> str:
    """How to draw masks from the JSON files below `root`, on lines of their own; nothing if none holds polygons."""
    files = [path for path in files_below(root, Problems(root)) if path.suffix.lower() == ".json"]
    found: dict[Path, str] = {}
    for path in files[:MOST]:
        content, name = _content(path), shown(path.relative_to(root))
        if all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
            found[path] = name
        elif isinstance(content.get("shapes"), list):
            found.setdefault(path.parent, name)
    commands = "".join(f"\n    {_command(root, source)}" for source in found)
    return f"\nThere are polygons in {some(found.values())}. To draw masks of such:{commands}" if found else ""


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _command(root: Path, source: Path) -> str:
    beside = source if source.is_dir() else source.parent
    names = folder_names(root)
    likely = [name for name in names if not source.is_dir() and name in source.stem]
    usual = [name for name in names if name.lower() in IMAGE_FOLDERS]
    folder = next((p for p in (beside, *(root / name for name in (*likely, *usual, *names))) if _holds_images(p)), root)
    # Beside its images a mask is found in whichever split these are.
    masks = folder if split_named(folder.name) else folder.with_name("masks") if folder != root else root / "masks"
    return shlex.join(["python", "-m", "ucc.data.polygons", *map(str, (source, folder, masks))])


def _holds_images(folder: Path) -> bool:
    return folder.is_dir() and any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in folder.iterdir())
