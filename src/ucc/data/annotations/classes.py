"""Which value a class has in the masks. `_classes.csv` beside them says so, and keeps it so when classes are added."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.name_files import IGNORED, PIXEL_VALUES, read_pixel_values
from ucc.data.sources.tree import shown
from ucc.errors import UserError, some
from ucc.files import write_csv

BACKGROUND = "background"
_BACKGROUNDS = (BACKGROUND, "_background_")  # the latter is labelme's
_COLUMNS = ("Pixel Value", "Class")


def class_values(folder: Path, labels: Sequence[str], with_background: bool) -> tuple[dict[str, int], dict[int, str]]:
    """The value of each label, and the name of each value: what had one before keeps it.

    A background is 0, and labelme's `__ignore__` 255.

    Raises:
        UserError: if the folder holds a list of classes that cannot be read or gives 0 or 255 another meaning, or there
            are too many.
    """
    listed = list_of_classes(folder)
    names = read_pixel_values(listed) if listed.exists() else {}
    needs_background = with_background or any(label.lower() in _BACKGROUNDS for label in labels)
    if needs_background and names.setdefault(0, BACKGROUND).lower() not in _BACKGROUNDS:
        raise UserError(f"{listed}: 0 is {names[0]}, and not the background; draw into another folder.")
    if names.get(IGNORE_INDEX) in {*labels} - {IGNORED}:
        raise UserError(
            f"{listed}: {names[IGNORE_INDEX]} is {IGNORE_INDEX}, which is no class; draw into another folder."
        )
    values = {name: value for value, name in names.items()}
    free = iter(sorted(set(range(1, IGNORE_INDEX)) - set(names)))
    for label in labels:
        if label.lower() in _BACKGROUNDS:
            values[label] = 0
        elif label == IGNORED:
            values[label] = IGNORE_INDEX
        elif label not in values:
            value = next(free, None)
            if value is None:
                raise UserError(
                    f"{len(labels)} classes: masks have values for {IGNORE_INDEX - 1} beside the background. Draw "
                    "fewer at once, or into another folder."
                )
            values[label], names[value] = value, label
    return values, names


def refuse_nameless(folder: Path, own: Collection[Path], ending: str) -> None:
    """Refuse masks of before, other than the `own`, if no list names their classes: their values may mean anything.

    Raises:
        UserError: naming them.
    """
    if list_of_classes(folder).exists():
        return
    others = [shown(path.relative_to(folder)) for path in sorted(folder.rglob(f"*{ending}")) if path not in own]
    if others:
        raise UserError(
            f"{folder}: holds masks, and no {PIXEL_VALUES} that names their classes: {some(others)}. Draw into another "
            "folder."
        )


def list_of_classes(folder: Path) -> Path:
    """The list there, in whatever case its name is written, or the place for one."""
    there = folder.iterdir() if folder.is_dir() else ()
    return next((path for path in there if path.name.lower() == PIXEL_VALUES), folder / PIXEL_VALUES)


def write_classes(folder: Path, names: Mapping[int, str]) -> None:
    """The list of classes for `python -m ucc.data.inspect`: a row each, by value."""
    if names:
        rows = [dict(zip(_COLUMNS, (value, names[value]), strict=True)) for value in sorted(names)]
        write_csv(list_of_classes(folder), rows, _COLUMNS)
