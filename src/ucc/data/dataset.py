"""The canonical data set on disk, the one layout that every stage after `download` knows.

images/<split>/*.jpg|jpeg|png     photographs, split is train, val or test
masks/<split>/*.png               uint8 class indices, same stem as the image; optional for train
dataset.yaml                      name, classes, colours, ignore index, provenance
val_ids.txt                       ids of val, of a folder that keeps these among its other images, for `ucc rank`
"""

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from ucc.errors import UserError
from ucc.files import write_text

IGNORE_INDEX = 255
SPLITS = ("train", "val", "test")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
DESCRIPTION = "dataset.yaml"
NEST = "__"  # stands for the slash in the flat names of files in nested folders
DRAWN = "drawn by ucc.data.sources.streets"  # the source, as provenance has it, of a data set without files of a user


@dataclass(frozen=True)
class DatasetInfo:
    """What dataset.yaml says: class names and RGB colours in index order, and where the data came from."""

    name: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    ignore_index: int = IGNORE_INDEX

    @property
    def num_classes(self) -> int:
        """Number of classes, without the ignore index."""
        return len(self.classes)

    def write(self, folder: Path) -> None:
        """Write dataset.yaml into `folder`."""
        values = asdict(self) | {
            "classes": list(self.classes),
            "colors": [list(color) for color in self.colors],
            "provenance": dict(self.provenance),
        }
        write_text(folder / DESCRIPTION, yaml.safe_dump(values, sort_keys=False, default_flow_style=None))

    @classmethod
    def read(cls, folder: Path) -> "DatasetInfo":
        """Read and check dataset.yaml of `folder`.

        Raises:
            UserError: if the file is missing or incomplete, naming the key.
        """
        path = folder / DESCRIPTION
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}). It lists the classes, for example:\n"
                "name: mine\nclasses: [background, cat]\ncolors: [[0, 0, 0], [220, 20, 60]]"
            ) from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text ({error.reason}); save it in that encoding.") from error
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
        return cls._from_values(values, path)

    @classmethod
    def _from_values(cls, values: Any, path: Path) -> "DatasetInfo":
        if not isinstance(values, dict):
            raise UserError(f"{path}: must hold the keys name, classes and colors.")
        missing = [key for key in ("name", "classes", "colors") if key not in values]
        if missing:
            raise UserError(f"{path}: missing key(s) {', '.join(missing)}.")
        known = [key.name for key in fields(cls)]
        for key in map(str, values):
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known keys are {', '.join(known)}."
                raise UserError(f"{path}: unknown key {key}; {hint}")
        classes, colors = values["classes"], values["colors"]
        if not isinstance(classes, list) or not 2 <= len(classes) <= IGNORE_INDEX:
            raise UserError(
                f"{path}: classes must be a list of 2 to {IGNORE_INDEX} names, in the order of the mask values."
            )
        for index, name in enumerate(classes):
            if problem := name_problem(name):
                raise UserError(f"{path}: classes[{index}] = {name!r}: {problem}.")
        if again := sorted({name for name, count in Counter(map(str, classes)).items() if count > 1}):
            raise UserError(f"{path}: classes holds a name twice: {', '.join(again)}; name each class once.")
        if not isinstance(colors, list) or len(colors) != len(classes) or not all(map(_is_color, colors)):
            raise UserError(
                f"{path}: colors must be a list of {len(classes)} triples [red, green, blue] of 0..255, one a class."
            )
        twice = [color for index, color in enumerate(colors) if color in colors[:index]]
        if twice:
            raise UserError(f"{path}: colors holds {twice[0]} twice; give each class a colour of its own.")
        if values.get("ignore_index", IGNORE_INDEX) != IGNORE_INDEX:
            raise UserError(
                f"{path}: ignore_index must be {IGNORE_INDEX}; write unlabelled pixels of the masks as {IGNORE_INDEX}."
            )
        provenance = values.get("provenance") or {}
        if not isinstance(provenance, dict):
            raise UserError(f"{path}: provenance must be a mapping, such as {{source: where the images came from}}.")
        return cls(
            name=str(values["name"]),
            classes=tuple(map(str, classes)),
            colors=tuple((r, g, b) for r, g, b in colors),
            provenance=provenance,
        )


def name_problem(name: Any) -> str | None:
    """What keeps a value of a YAML file from being the name of a class, None if nothing does."""
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        return "name must be text; quote words that YAML takes for true or false, such as no and on"
    return None


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value)
