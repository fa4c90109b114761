"""A trained segmenter comes back from its file as it was, and nothing else does."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from ucc.config import ModelParams
from ucc.errors import UserError
from ucc.models import Segmenter, build_segmenter
from ucc.models.store import SegmenterFacts, load_segmenter, save_segmenter

PARAMS = ModelParams(
    backbone="mobilenet_v2", weights="none", output_stride=16, head="separable", head_width=8, dropout=0.1
)
FACTS = SegmenterFacts(
    dataset="streets",
    classes=("road", "sky", "car"),
    colors=((1, 2, 3), (4, 5, 6), (7, 8, 9)),
    model=PARAMS,
    step=42,
    fingerprint="0123456789abcdef",
    manifest="fedcba9876543210",
    params={"train": {"lr": 0.02, "steps": 10}, "views": {"crop": [64, 64]}, "dataset": {"root": None}},
)

ONE_LINE = (
    r"{}\.pt: not a trained segmenter of this version: damaged, or not written by the stage `train` "
    r"\(\w+\)\. Run that stage\.$"
)


@pytest.fixture
def trained() -> Segmenter:
    """A segmenter whose running statistics have moved."""
    segmenter = build_segmenter(PARAMS, num_classes=3, heads=2, seed=3).train()
    with torch.no_grad():
        segmenter(torch.randint(0, 256, (2, 3, 32, 32)))
    return segmenter


def test_weights_statistics_and_facts_come_back_bit_for_bit(tmp_path: Path, trained: Segmenter) -> None:
    save_segmenter(tmp_path / "model.pt", trained, FACTS)
    loaded, facts = load_segmenter(tmp_path / "model.pt")
    assert facts == FACTS
    state, expected = loaded.state_dict(), trained.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())
    assert all(value.device.type == "cpu" for value in state.values())
    assert not any(module.training for module in loaded.modules())


def test_the_same_segmenter_is_the_same_file_whatever_its_name(tmp_path: Path, trained: Segmenter) -> None:
    for name in ("one.pt", "other.pt"):
        save_segmenter(tmp_path / name, trained, FACTS)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


def test_predictions_come_back_bit_for_bit(tmp_path: Path, trained: Segmenter) -> None:
    save_segmenter(tmp_path / "model.pt", trained, FACTS)
    loaded, _ = load_segmenter(tmp_path / "model.pt")
    images = torch.randint(0, 256, (1, 3, 33, 47))
    with torch.no_grad():
        for before, after in zip(trained.eval()(images), loaded(images), strict=True):
            assert torch.equal(before, after)


@pytest.mark.parametrize("heads", [1, 2])
def test_the_number_of_heads_comes_back(tmp_path: Path, heads: int) -> None:
    save_segmenter(tmp_path / "model.pt", build_segmenter(PARAMS, 3, heads, seed=0), FACTS)
    assert len(load_segmenter(tmp_path / "model.pt")[0].heads) == heads


def test_the_start_weights_are_not_needed_again(tmp_path: Path, trained: Segmenter) -> None:
    facts = replace(FACTS, model=replace(PARAMS, weights=str(tmp_path / "deleted.pth")))
    save_segmenter(tmp_path / "model.pt", trained, facts)
    assert load_segmenter(tmp_path / "model.pt")[1] == facts


def test_loading_leaves_the_global_random_state_alone(tmp_path: Path, trained: Segmenter) -> None:
    save_segmenter(tmp_path / "model.pt", trained, FACTS)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    load_segmenter(tmp_path / "model.pt")
    assert torch.equal(torch.rand(2), expected)


def test_a_missing_file_is_named_with_the_stage_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.pt: no such file.*`train`"):
        load_segmenter(tmp_path / "model.pt")


def foreign_contents(trained: Segmenter) -> list[object]:
    facts = {**vars(FACTS), "model": vars(PARAMS)}
    state = trained.state_dict()
    other = build_segmenter(replace(PARAMS, head_width=16), 3, 2, seed=0).state_dict()
    return [
        [1, 2, 3],
        {"weights": torch.rand(3)},
        state,
        {"facts": {"dataset": "streets"}, "heads": 2, "state": state},
        {"facts": facts | {"unknown": 1}, "heads": 2, "state": state},
        {"facts": facts, "heads": 1, "state": state},
        {"facts": facts, "heads": 2, "state": other},
        {"facts": facts | {"classes": ("road", "sky")}, "heads": 2, "state": state},
    ]


def test_foreign_files_are_refused_by_name(tmp_path: Path, trained: Segmenter) -> None:
    for content in foreign_contents(trained):
        torch.save(content, tmp_path / "foreign.pt")
        with pytest.raises(UserError, match=ONE_LINE.format("foreign")):
            load_segmenter(tmp_path / "foreign.pt")


def test_damaged_files_are_refused_by_name(tmp_path: Path, trained: Segmenter) -> None:
    save_segmenter(tmp_path / "model.pt", trained, FACTS)
    whole = (tmp_path / "model.pt").read_bytes()
    for content in (b"", b"text", b"dataset:\n  name: streets\n", whole[: len(whole) // 2]):
        (tmp_path / "model.pt").write_bytes(content)
        with pytest.raises(UserError, match=ONE_LINE.format("model")):
            load_segmenter(tmp_path / "model.pt")


def test_weights_that_have_changed_on_the_disk_are_refused(tmp_path: Path, trained: Segmenter) -> None:
    save_segmenter(tmp_path / "model.pt", trained, FACTS)
    content = bytearray((tmp_path / "model.pt").read_bytes())
    statistics = next(value for name, value in trained.state_dict().items() if name.endswith("running_var"))
    place = content.index(statistics.numpy().tobytes())
    content[place] ^= 1
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.pt: not a trained segmenter of this version: damaged"):
        load_segmenter(tmp_path / "model.pt")


def test_a_file_that_may_not_be_read_is_no_damaged_one(
    tmp_path: Path, trained: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_segmenter(tmp_path / "model.pt", trained, FACTS)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UserError, match=r"model\.pt: cannot be read \(Permission denied\)\.$"):
        load_segmenter(tmp_path / "model.pt")


class Malicious:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (Path("touched"),))  # type: ignore[return-value]


def test_code_inside_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"facts": Malicious()}, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"model\.pt: not a trained segmenter"):
        load_segmenter(tmp_path / "model.pt")
    assert not Path("touched").exists()


def test_a_save_that_fails_leaves_the_old_file(
    tmp_path: Path, trained: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_segmenter(tmp_path / "model.pt", trained, FACTS)
    before = (tmp_path / "model.pt").read_bytes()

    def full_disk(_: object, stream: BinaryIO) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ucc.models.store.torch.save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_segmenter(tmp_path / "model.pt", trained, replace(FACTS, step=43))
    assert (tmp_path / "model.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
