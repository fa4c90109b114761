"""Which class of the masks is called what, by a file of names that lies beside them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.inspect.contents import Contents, text
from ucc.data.inspect.ignored import is_ignored
from ucc.data.inspect.survey import MaskFacts
from ucc.data.name_files import IGNORED, By, Meaning, NameFile, name_files
from ucc.data.sources.class_list import Color
from ucc.data.sources.listing import Problems
from ucc.errors import UserError, some

# With such a name a file agrees that 255 is no class.
VOID_NAMES = ("ignore", "ignored", "void", "unknown", "unlabeled", "unlabelled")


@dataclass(frozen=True)
class ClassNames:
    """Names of values or colours that masks show: no two the same, but for what is `IGNORED`."""

    source: str = ""
    of: Mapping[Meaning, str] = field(default_factory=dict)

    def ignored(self, held: Contents) -> list[Meaning]:
        """What belongs to no class: what is named so, and 255 without a name where it does not look like a class."""
        guessed = [IGNORE_INDEX] if is_ignored(held.pixels) and IGNORE_INDEX not in self.of else []
        return [m for m in held.order if self.of.get(m) == IGNORED or m in guessed]


def class_names(root: Path, masks: str, held: Contents, problems: Problems) -> ClassNames:
    """The names that the first file that fits gives to what masks hold; what it leaves open is added to `problems`."""
    for file in name_files(root, masks, problems):
        try:
            found = _found(file, held)
        except UserError as error:
            problems.note(f"{file.place}: no names of classes are taken from it: {error}")
            continue
        names = _one_each(file, found, held, problems)
        _tell(file, found, names, problems)
        return names
    return ClassNames()


def _found(file: NameFile, held: Contents) -> dict[Meaning, tuple[str, ...]]:
    """All names of what masks show.

    Raises:
        UserError: if the file does not fit.
    """
    if held.is_color and file.by is not By.COLOR:
        raise UserError(f"it goes by {file.by.value}, the masks by colour")
    drawn = _drawn(held.masks)
    found: dict[Meaning, tuple[str, ...]] = {}
    for meaning in held.order:
        keys: Iterable[Meaning] = [meaning]
        if isinstance(meaning, int) and file.by is By.COLOR:
            keys = drawn.get(meaning, []) if drawn else [(meaning, meaning, meaning)]
        names = tuple(dict.fromkeys(name for key in keys for name in file.names.get(key, ())))
        if names:
            found[meaning] = names
    nameless = _nameless(found, held)
    # A list of something else, or colours of other masks, may well fit some of the values.
    is_guess = file.by is By.LINE or (file.by is By.COLOR and not held.is_color and not drawn)
    if is_guess and nameless:
        what = "line" if file.by is By.LINE else "name"
        raise UserError(f"it has no {what} for {some(map(text, nameless))}")
    if not found:
        raise UserError("it names nothing that masks show")
    return found


def _drawn(masks: Iterable[MaskFacts]) -> dict[int, list[Color]]:
    """The colours that palettes give to the values of their masks.

    Only colours that somebody chose count: not those of a grey ramp, and not those that stand earlier in the palette,
    as where it is filled up with black.
    """
    drawn: defaultdict[int, list[Color]] = defaultdict(list)
    for mask in masks:
        if all(color == (index, index, index) for index, color in mask.colors.items()):
            continue
        first = {color: index for index, color in reversed(mask.colors.items())}
        for color, index in first.items():
            if index in mask.pixels:
                drawn[index].append(color)
    return drawn


def _nameless(found: Mapping[Meaning, tuple[str, ...]], held: Contents) -> list[Meaning]:
    return [m for m in held.order if m not in found and not (m == IGNORE_INDEX and is_ignored(held.pixels))]


def _one_each(
    file: NameFile, found: Mapping[Meaning, tuple[str, ...]], held: Contents, problems: Problems
) -> ClassNames:
    """A name of its own for each, as a list of classes needs it."""
    names: dict[Meaning, str] = {}
    for meaning, (name, *others) in found.items():
        if others:
            problems.add(
                f"{file.place}: {text(meaning)} is called {some([name, *others])}: choose a name for it yourself"
            )
        elif name != IGNORED and name in names.values():
            problems.add(f"{file.place}: {name} is the name of two classes: give {text(meaning)} another one yourself")
        elif not (meaning == IGNORE_INDEX and is_ignored(held.pixels) and name.lower() in VOID_NAMES):
            names[meaning] = name
    nameless = _nameless(found, held)
    if nameless:
        problems.add(f"{file.place}: no name for {some(map(text, nameless))}: name what is left yourself")
    if len(held.pixels) - len(ClassNames(file.place, names).ignored(held)) < 2:
        ignored = some(text(meaning) for meaning, name in names.items() if name == IGNORED)
        problems.add(f"{file.place}: without {ignored}, called {IGNORED}, too few classes are left: proposed as one")
        names = {meaning: name for meaning, name in names.items() if name != IGNORED}
    return ClassNames(file.place, names)


def _tell(file: NameFile, found: Mapping[Meaning, tuple[str, ...]], names: ClassNames, problems: Problems) -> None:
    if names.of:
        listed = some(f"{text(meaning)} is {name}" for meaning, name in names.of.items())
        problems.note(f"the names of classes are those of {file.place}, by {file.by.value}: {listed}")
    used = {IGNORED, *(name for given in found.values() for name in given)}
    unused = dict.fromkeys(name for given in file.names.values() for name in given if name not in used)
    if unused:
        problems.note(
            f"{file.place}: {some(unused)} in no mask: not proposed, since the stage validate stops at a class that no "
            "mask shows (validation.severity: classes_in_masks)"
        )
