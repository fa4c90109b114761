"""The part of the training images on which values are chosen."""

from dataclasses import replace

import pytest

from ucc.data.holdout import hold_out
from ucc.data.manifest import Sample
from ucc.errors import UserError


def _samples(*names: str) -> dict[str, Sample]:
    return {
        f"train/{name}": Sample(f"train/{name}", f"images/train/{name}.png", f"masks/train/{name}.png", "train")
        for name in names
    }


def test_the_end_of_every_sequence_is_held_out() -> None:
    frames = [f"{sequence}_f{frame:05d}" for sequence in ("0006R0", "Seq05VD") for frame in range(900, 1200, 30)]
    train, held = hold_out(_samples(*frames), 0.2)
    assert [id_.removeprefix("train/") for id_ in held] == [
        "0006R0_f01140",
        "0006R0_f01170",
        "Seq05VD_f01140",
        "Seq05VD_f01170",
    ]
    assert sorted([*train, *held]) == sorted(_samples(*frames))


def test_letters_of_any_alphabet_tell_sequences_apart() -> None:
    frames = [f"{sequence}_{frame:03d}" for sequence in ("вокзал", "мост", "広場", "Straße_é") for frame in range(5)]
    _, held = hold_out(_samples(*frames), 0.2)
    assert sorted(held) == sorted(f"train/{sequence}_004" for sequence in ("вокзал", "мост", "広場", "Straße_é"))


def test_names_without_letters_are_one_sequence() -> None:
    _, held = hold_out(_samples(*(f"2007_{index:06d}" for index in range(10))), 0.3)
    assert list(held) == [f"train/2007_{index:06d}" for index in (7, 8, 9)]


def test_holding_out_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match=r"partition\.tuning_share = 0\.2 holds out none of 2 training images in 2"):
        hold_out(_samples("a_0", "b_0"), 0.2)


def test_an_image_held_out_without_a_mask_is_an_error() -> None:
    samples = _samples("00", "01", "02", "03")
    samples["train/03"] = replace(samples["train/03"], mask="")
    with pytest.raises(UserError, match=r"1 training images without a mask, such as train/03"):
        hold_out(samples, 0.25)


def test_numbers_in_several_parts_belong_to_one_sequence() -> None:
    names = [f"{city}_{number:06d}_000019" for city in ("aachen", "ulm") for number in range(5)]
    _, held = hold_out(_samples(*names), 0.2)
    assert sorted(held) == ["train/aachen_000004_000019", "train/ulm_000004_000019"]


def test_the_end_of_a_sequence_is_that_of_its_names_in_whatever_order_they_come() -> None:
    _, held = hold_out(_samples(*(f"a_{index}" for index in (3, 4, 0, 2, 1))), 0.2)
    assert list(held) == ["train/a_4"]
