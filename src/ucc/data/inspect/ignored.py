"""Whether 255 stands for no class, as in most index masks, or for one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ucc.data.dataset import IGNORE_INDEX
from ucc.data.inspect.survey import MaskFacts
from ucc.data.sources.class_list import Color
from ucc.errors import some

MOST_STEPS = 8  # from 0 to 255, in which people draw classes as greys: 32 or more each
MOST_IGNORED = 0.2  # of the pixels: borders, and what was left out, are mostly fewer


def class_reason(pixels: Mapping[int | Color, int]) -> str | None:
    """Why 255 is rather a class of masks with so many pixels of each value; None if it is rather ignored."""
    values = [value for value in pixels if isinstance(value, int)]
    if len(values) == 2:
        return "since there is but one other value"
    if any(_are_steps(values, 255 / count) for count in range(2, MOST_STEPS + 1)):
        return "since all values are even steps from 0 to 255"
    if pixels[IGNORE_INDEX] > MOST_IGNORED * sum(pixels.values()):
        return "since so many pixels are seldom ignored"
    return None


def is_ignored(pixels: Mapping[int | Color, int]) -> bool:
    """Whether 255 is there and is rather ignored."""
    return IGNORE_INDEX in pixels and class_reason(pixels) is None


def ignored_warning(facts: Sequence[MaskFacts], root: Path) -> str | None:
    """What to look at where 255, which is proposed as ignored, may be what other masks call by another value."""
    values = [{meaning for meaning in mask.pixels if isinstance(meaning, int)} for mask in facts]
    alone = [
        mask.path.relative_to(root).as_posix()
        for mask, held in zip(facts, values, strict=True)
        if held and held <= {0, IGNORE_INDEX} and IGNORE_INDEX in held
    ]
    if not alone or class_reason(sum((mask.pixels for mask in facts), Counter())):
        return None
    return (
        f"255 is proposed as ignored, but stands alone or beside 0 only in {some(alone)}: if it is a class there, give "
        "the class one value in all masks"
    )


def _are_steps(values: Sequence[int], step: float) -> bool:
    """Whether all are multiples of the step, each of another one."""
    multiples = [round(value / step) for value in values]
    is_near = all(abs(value - multiple * step) <= 1 for value, multiple in zip(values, multiples, strict=True))
    return is_near and len(set(multiples)) == len(values)
