"""Randomness as a function of its key."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucc.seeding import generator, seed

keys = st.lists(st.integers(0, 2**31) | st.text(min_size=1, max_size=8), max_size=5).map(tuple)


@given(keys, keys)
def test_equal_keys_give_equal_draws_and_different_keys_different_ones(
    first: tuple[int | str, ...], second: tuple[int | str, ...]
) -> None:
    same = generator(*first).random(4).tolist() == generator(*second).random(4).tolist()
    assert same == (first == second)
    assert (seed(*first) == seed(*second)) == (first == second)


@pytest.mark.parametrize(
    ("first", "second"),
    [((1,), (1, 0)), ((), (0,)), ((1, 2), (2, 1)), (("a", "b"), ("ab",)), (("a", "b"), ("b", "a")), ((12,), ("12",))],
)
def test_length_order_and_kind_of_the_parts_of_a_key_matter(
    first: tuple[int | str, ...], second: tuple[int | str, ...]
) -> None:
    assert seed(*first) != seed(*second)
    assert generator(*first).random() != generator(*second).random()


def test_what_was_drawn_before_does_not_matter() -> None:
    expected = generator(7, "paste", 3).random(2)
    generator(7, "paste", 2).random(100)
    np.random.default_rng().random(5)
    np.testing.assert_array_equal(generator(7, "paste", 3).random(2), expected)


@given(keys)
def test_a_seed_fits_libraries_that_take_a_signed_64_bit_integer(key: tuple[int | str, ...]) -> None:
    assert 0 <= seed(*key) < 2**63


def test_seeds_use_all_of_their_63_bits() -> None:
    seen = 0
    for index in range(200):
        seen |= seed("bits", index)
    assert seen == 2**63 - 1


def test_another_process_with_another_hash_seed_draws_the_same() -> None:
    program = "from ucc.seeding import generator, seed; print(seed(3, 'head', 1), generator('x', 2).integers(2**60))"
    environment = {"PYTHONHASHSEED": "123", "PYTHONPATH": ":".join(sys.path)}
    out = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.split() == [str(seed(3, "head", 1)), str(generator("x", 2).integers(2**60))]


def test_a_negative_part_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        generator(-1)
