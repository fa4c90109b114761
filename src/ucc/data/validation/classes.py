"""How the classes are spread over the subsets that have masks."""

from collections.abc import Sequence

import pandas as pd

from ucc.data.validation.facts import MASKED_SUBSETS, pixel_columns
from ucc.data.validation.picture import DIGITS


def class_table(facts: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """One row a class, in the order of `names`.

    Columns:
        id: the name.
        <subset>_images: how many of its masks show the class.
        <subset>_share: its share of the subset's pixels that are not ignored, 0..1.
        images: how many masks of all subsets show it.
    """
    pixels = facts[pixel_columns(len(names))].fillna(0).astype("int64").set_axis(list(names), axis="columns")
    table = pd.DataFrame({"id": list(names)})
    for subset in MASKED_SUBSETS:
        own = pixels[facts["subset"] == subset]
        total = own.sum().to_numpy()
        table[f"{subset}_images"] = (own > 0).sum().to_numpy()
        table[f"{subset}_share"] = (total / max(int(total.sum()), 1)).round(DIGITS)
    return table.assign(images=table[[f"{subset}_images" for subset in MASKED_SUBSETS]].sum(axis="columns"))
