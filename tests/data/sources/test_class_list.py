"""The list of classes: what it may say, and what follows where it says nothing."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from ucc.data.dataset import DatasetInfo
from ucc.data.sources.class_list import UNKNOWN, classes_of, pack, read_classes, standard_color, unpack
from ucc.errors import UserError

TWO: list[Any] = [{"name": "ground", "color": [1, 2, 3]}, {"name": "cat"}]


def test_a_class_without_a_value_has_its_position() -> None:
    assert read_classes(TWO, []).values == (0, 1)


def test_a_class_without_a_colour_gets_one_that_is_free() -> None:
    classes = read_classes([{"name": "a", "color": [128, 0, 0]}, {"name": "b"}, {"name": "c"}], [])
    assert classes.colors == ((128, 0, 0), (0, 0, 0), (0, 128, 0))
    assert classes.colorless == ("b", "c")


def test_the_standard_colours_are_those_of_voc_and_all_differ() -> None:
    assert [standard_color(i) for i in (0, 1, 2, 3, 4, 8, 20)] == [
        *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (64, 0, 0), (0, 64, 128)),
    ]
    assert len({standard_color(i) for i in range(255)}) == 255


def test_colours_pack_and_unpack() -> None:
    assert unpack(int(pack(np.array([1, 200, 3], np.uint8)))) == (1, 200, 3)


def test_the_classes_of_a_large_mask_take_little_more_memory_than_they_hold() -> None:
    classes, colors = read_classes(TWO, []), np.zeros((1000, 1000, 3), np.uint8)
    classes.of_colors(pack(colors[:1]))  # the table of all colours is made once
    tracemalloc.start()
    found = classes.of_colors(pack(colors))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (1000, 1000)
    assert peak < 7 * found.size  # 4 bytes a colour, 2 a class


def test_values_and_colours_are_classes_ignored_or_unknown() -> None:
    classes = read_classes([*TWO, {"name": "dog", "value": 255, "color": [7, 7, 7]}], [9, 255, [5, 5, 5]])
    np.testing.assert_array_equal(
        classes.of_values(np.array([[0, 1, 255, 9, 2, 65535]], np.uint16)), [[0, 1, 2, 255, UNKNOWN, UNKNOWN]]
    )
    colors = np.array([[[1, 2, 3], [7, 7, 7], [5, 5, 5], [0, 0, 0], [128, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(classes.of_colors(pack(colors)), [[0, 2, 255, UNKNOWN, UNKNOWN]])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("cat", "must be a list of 2 to 255 entries"),
        ([], "must be a list of 2"),
        ([{"name": "cat"}], "must be a list of 2"),
        ([{"name": f"c{i}"} for i in range(256)], "must be a list of 2"),
        ([*TWO, "dog"], r"classes\[2\] = 'dog': must be an entry such as"),
        ([*TWO, {"color": [0, 0, 0]}], "name must be text"),
        ([*TWO, {"name": False}], "quote words that YAML takes for true or false"),
        ([*TWO, {"name": " "}], "name must be text"),
        ([*TWO, {"name": "dog", "colour": [0, 0, 0]}], "unknown key colour; known keys are name, color, value"),
        ([*TWO, {"name": "dog", "color": [0, 0]}], "color must be"),
        ([*TWO, {"name": "dog", "color": [0, 0, 256]}], "color must be"),
        ([*TWO, {"name": "dog", "color": "#ff0000"}], "color must be"),
        ([*TWO, {"name": "dog", "value": -1}], "value must be"),
        ([*TWO, {"name": "dog", "value": 70000}], "value must be"),
        ([*TWO, {"name": "dog", "value": True}], "value must be"),
        ([*TWO, {"name": "cat"}], "two classes have the name cat"),
        ([*TWO, {"name": "dog", "value": 1}], "two classes have the value 1; a class without value has its position"),
        ([*TWO, {"name": "dog", "color": [1, 2, 3]}], r"two classes have the color \[1, 2, 3\]"),
    ],
)
def test_an_impossible_list_is_refused(entries: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_classes(entries, [])


@pytest.mark.parametrize("ignore", ["white", [-1], [[1, 2]], [70000], [[1, 2, 300]], [True]])
def test_an_impossible_ignore_is_refused(ignore: Any) -> None:
    with pytest.raises(UserError, match=r"dataset\.folder\.ignore"):
        read_classes(TWO, ignore)


@pytest.mark.parametrize(("ignore", "expected"), [(None, ()), ([], ()), (7, (7,))])
def test_ignore_may_be_empty_or_one_value(ignore: Any, expected: tuple[int, ...]) -> None:
    assert read_classes(TWO, ignore).ignored_values == expected


def test_what_is_a_class_cannot_be_ignored_as_well() -> None:
    with pytest.raises(UserError, match=r"ignore: 1 is class cat, \[1, 2, 3\] is class ground; take it out"):
        read_classes(TWO, [1, 9, [1, 2, 3], [4, 4, 4]])
    with pytest.raises(UserError, match=r"ignore: 1 is class b, \[9, 9, 9\] is class b"):
        classes_of(DatasetInfo("mine", ("a", "b"), ((0, 0, 0), (9, 9, 9))), [1, [9, 9, 9]])
    # The colour of a class without a given one is nobody's choice.
    assert read_classes(TWO, [[0, 0, 0]]).ignored_colors == ((0, 0, 0),)
