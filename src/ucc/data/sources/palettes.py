"""Palettes of masks that say something else than the indices into them: one of the two would be taken for the other."""

from collections.abc import Iterable, Sequence

from ucc.data.sources.class_list import ClassList, Color

CONTRADICTION = (
    "the palette shows another class than the index means; set dataset.folder.mask_format to color if the colours are "
    "right, else bring the classes into the palette's order, give each its value, or correct the colours"
)


def contradictions(used: Iterable[int], palette: Sequence[Color], classes: ClassList) -> list[str]:
    """The indices among `used` that mean one class while their colour is that of another, in words.

    Only colours that somebody chose count: not those of a grey ramp, in which index i is (i, i, i), and not those that
    stand earlier in the palette, as where it is filled up with black.
    """
    if all(color == (index, index, index) for index, color in enumerate(palette)):
        return []
    found = []
    for index in used:
        if index >= len(palette) or palette[index] in palette[:index]:
            continue
        meant, shown = classes.class_of_value(index), classes.class_of_color(palette[index])
        if meant is not None and shown is not None and meant != shown:
            found.append(f"{index} is {classes.names[meant]}, its colour {classes.names[shown]}'s")
    return found


def differing(palettes: Sequence[tuple[str, dict[int, Color]]]) -> str | None:
    """The first index that has one colour in one mask and another in another mask, in words.

    Args:
        palettes: of each mask its name and the colours of the indices that it uses.
    """
    seen: dict[int, tuple[str, Color]] = {}
    for name, colors in palettes:
        for index, color in colors.items():
            first, before = seen.setdefault(index, (name, color))
            if before != color:
                return f"{index} is {list(before)} in {first} and {list(color)} in {name}"
    return None
