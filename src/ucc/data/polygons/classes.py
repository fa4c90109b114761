"""Which value a class has in the masks. `_classes.csv` beside them says so, and keeps it so when classes are added."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.inspect.name_files import IGNORED, PIXEL_VALUES, read_pixel_values
from ucc.errors import UserError
from ucc.files import write_csv

BACKGROUND = "background"
_BACKGROUNDS = (BACKGROUND, "_background_")  # the latter is labelme's


def class_values(folder: Path, labels: Sequence[str]) -> dict[str, int]:
    """The value of each label: 0 for a background, 255 for labelme's `__ignore__`, as before what had one before.

    Raises:
        UserError: if the folder holds a list of classes that cannot be read, or there are too many.
    """
    listed = folder / PIXEL_VALUES
    before = read_pixel_values(listed) if listed.exists() else {}
    values = {name: value for value, name in before.items()}
    free = iter(sorted(set(range(1, IGNORE_INDEX)) - set(before)))
    for label in labels:
        if label in values:
            continue
        if label.lower() in _BACKGROUNDS:
            values[label] = 0
        elif label == IGNORED:
            values[label] = IGNORE_INDEX
        else:
            value = next(free, None)
            if value is None:
                raise UserError(
                    f"{len(labels)} classes: a mask has values for {IGNORE_INDEX - 1} beside the background."
                )
            values[label] = value
    return values


def write_classes(folder: Path, values: Mapping[str, int], with_background: bool) -> None:
    """The list of classes for `python -m ucc.data.inspect`: a row each, by value."""
    names = {value: label for label, value in values.items() if value not in (0, IGNORE_INDEX)}
    if with_background or 0 in values.values():
        names[0] = BACKGROUND
    rows = [{"Pixel Value": value, "Class": names[value]} for value in sorted(names)]
    write_csv(folder / PIXEL_VALUES, rows, ["Pixel Value", "Class"])
