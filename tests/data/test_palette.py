import numpy as np

from ucc.data.palette import paint

COLORS = ((10, 20, 30), (200, 100, 0))


def test_every_pixel_gets_the_color_of_its_class() -> None:
    mask = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    painted = paint(mask, COLORS)
    assert painted.dtype == np.uint8
    assert painted.tolist() == [[list(COLORS[value]) for value in row] for row in mask]


def test_the_ignore_index_and_values_without_a_class_get_the_ignore_color() -> None:
    painted = paint(np.array([[255, 2, 1]], np.uint8), COLORS, ignore_color=(1, 2, 3))
    assert painted.tolist() == [[[1, 2, 3], [1, 2, 3], [200, 100, 0]]]
