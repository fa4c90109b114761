"""The contact sheet holds images of any size, and its texts do not run into each other."""

import numpy as np
import pytest

from ucc.commands.contact_sheet import BOX, LINE, MARGIN, draw_sheet, make_entry
from ucc.ranking import Opinion

COLORS = ((200, 10, 20), (30, 210, 40))


def opinion(height: int, width: int) -> Opinion:
    return Opinion(np.zeros((height, width), np.uint8), np.full((height, width), 0.5, np.float32), None)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (30, 40), (600, 800), (333, 777)])
def test_tiles_keep_the_shape_of_the_image_and_fit_the_box(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    entry = make_entry(image, opinion(*size), COLORS, "1", "")
    (shape,) = {tile.shape for tile in entry.tiles}
    factor = min(BOX[0] / size[0], BOX[1] / size[1])
    assert shape == (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)), 3)
    assert shape[0] <= BOX[0]
    assert shape[1] <= BOX[1]


def test_uncertainty_has_one_scale_for_all_images() -> None:
    """Half is all that two classes can be uncertain: the brightest colour, though the image knows no other value."""
    image = np.zeros((9, 9, 3), np.uint8)
    brightest = make_entry(image, opinion(9, 9), COLORS, "", "").tiles[2]
    darker = make_entry(image, opinion(9, 9)._replace(uncertainty=np.full((9, 9), 0.1, np.float32)), COLORS, "", "")
    assert brightest.sum() > darker.tiles[2].sum()


@pytest.mark.parametrize("name", ["a" * 300, "train/" + "strasse_" * 20, "größe_" * 50, "", "."])
def test_a_long_name_loses_its_beginning_and_leaves_room_for_the_facts(name: str) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    facts = "score 0.50, uncertainty 0.123, disagreement 0.045"
    titled, plain = (draw_sheet([make_entry(image, opinion(60, 80), COLORS, text, facts)]) for text in (name, ""))
    assert titled.shape == plain.shape
    line = slice(MARGIN, MARGIN + LINE)
    inked = np.flatnonzero((plain[line] < 255).any(axis=(0, 2)))
    start = inked[inked > MARGIN][0]
    np.testing.assert_array_equal(titled[line, start - MARGIN // 2 :], plain[line, start - MARGIN // 2 :])
    assert (titled[line, :start] < 255).any() == (len(name) > 0)


def test_entries_fill_the_sheet_row_by_row() -> None:
    size = BOX
    entries = [
        make_entry(np.full((*size, 3), 40 * number, np.uint8), opinion(*size), COLORS, str(number), "")
        for number in range(1, 6)
    ]
    sheet = draw_sheet(entries)
    pitch = LINE + BOX[0] + MARGIN
    right = (sheet.shape[1] - MARGIN) // 2 + MARGIN
    for index in range(5):
        row, column = MARGIN + LINE + index // 2 * pitch + 9, (MARGIN, right)[index % 2] + 9
        assert sheet[row, column].tolist() == [40 * (index + 1)] * 3
    assert (sheet[MARGIN + 2 * pitch :, right:] == 255).all()
