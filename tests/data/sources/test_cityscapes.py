"""Cityscapes in the layout and with the names in which it is published."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, read_image, read_mask, write_png
from ucc.data.sources import prepare_dataset
from ucc.data.sources.cityscapes import prepare_cityscapes
from ucc.errors import UserError
from ucc.params import load_params

PRESET = Path(__file__).parents[3] / "presets/cityscapes.yaml"
STEMS = {
    "train": ("aachen_000000_000019", "aachen_000001_000019", "hamburg_000000_000042"),
    "val": ("frankfurt_000000_000294", "munster_000000_000019"),
    "test": ("berlin_000000_000019",),
}
# Every label id, in order, and the train ids of cityscapesScripts' helpers/labels.py; -1 is 255 in 8 bits.
LABEL_IDS = np.array([[*range(34), 255]], np.uint8)
TRAIN_IDS = [
    *([255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6]),
    *([7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18, 255]),
]


def label_ids(split: str) -> Image:
    return np.zeros_like(LABEL_IDS) if split == "test" else LABEL_IDS


def write_cityscapes(root: Path) -> Path:
    """Both folders in `root`. Polygons and what is made of them beside label ids are absent."""
    for split, stems in STEMS.items():
        for stem in stems:
            city = stem.split("_")[0]
            image = np.full((*LABEL_IDS.shape, 3), (40, 120, 200), np.uint8)
            write_png(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", image)
            write_png(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", label_ids(split))
    return root


def prepare(root: Path | None, tmp_path: Path) -> DatasetInfo:
    return prepare_cityscapes(root, tmp_path / "out", tmp_path / "raw")


def assert_converted(out: Path) -> None:
    assert sorted(p.name for p in (out / "images").iterdir()) == ["train", "val"]
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            assert sorted(p.name for p in (out / kind / split).iterdir()) == [f"{stem}.png" for stem in STEMS[split]]
        for stem in STEMS[split]:
            assert read_mask(out / "masks" / split / f"{stem}.png").tolist() == [TRAIN_IDS]
            assert (read_image(out / "images" / split / f"{stem}.png") == (40, 120, 200)).all()


def assert_refused(root: Path, tmp_path: Path, *named: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare(root, tmp_path)
    for text in named:
        assert text in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["", "cityscapes"])
def test_train_and_val_convert_and_the_dummy_labels_of_test_do_not(place: str, tmp_path: Path) -> None:
    write_cityscapes(tmp_path / "my" / place)
    assert prepare(tmp_path / "my", tmp_path) == DatasetInfo.read(tmp_path / "out")
    assert_converted(tmp_path / "out")


def test_there_are_the_19_classes_of_the_benchmark(tmp_path: Path) -> None:
    info = prepare(write_cityscapes(tmp_path / "my"), tmp_path)
    assert info.num_classes == 19
    assert (info.classes[0], info.colors[0]) == ("road", (128, 64, 128))
    assert (info.classes[18], info.colors[18]) == ("bicycle", (119, 11, 32))
    assert info.classes[6:8] == ("traffic light", "traffic sign")


def test_other_files_of_the_archives_do_not_matter(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "my")
    city = root / "gtFine/train/aachen"
    write_png(city / "aachen_000000_000019_gtFine_instanceIds.png", np.zeros((1, 1), np.uint8))
    write_png(city / "aachen_000000_000019_gtFine_color.png", np.zeros((1, 1, 3), np.uint8))
    (city / "aachen_000000_000019_gtFine_polygons.json").write_text("{}")
    (city / "._aachen_000000_000019_gtFine_labelIds.png").write_text("left by another system")
    shutil.rmtree(root / "leftImg8bit/test")
    shutil.rmtree(root / "gtFine/test")
    (root / "README").touch()
    prepare(root, tmp_path)
    assert_converted(tmp_path / "out")


def test_the_images_are_copies_of_their_own(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "my")
    prepare(root, tmp_path)
    (tmp_path / "out/images/train/aachen_000000_000019.png").write_bytes(b"written in place")
    assert read_image(root / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png").size


def test_all_missing_files_are_named_together(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "my")
    (root / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png").unlink()
    (root / "leftImg8bit/train/hamburg/hamburg_000000_000042_leftImg8bit.png").unlink()
    shutil.rmtree(root / "gtFine/val")
    assert_refused(
        root,
        tmp_path,
        "gtFine/train: 1 missing _gtFine_labelIds.png file(s), for aachen_000001_000019",
        "leftImg8bit/train: 1 missing _leftImg8bit.png file(s), for hamburg_000000_000042",
        "gtFine/val: missing folder",
        "<city>",
    )


def test_missing_files_are_all_named_however_many(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "my")
    names = [f"aachen_{index:06d}_000099" for index in range(12)]
    for name in names:
        write_png(root / f"leftImg8bit/train/aachen/{name}_leftImg8bit.png", LABEL_IDS)
    assert_refused(root, tmp_path, "gtFine/train: 12 missing _gtFine_labelIds.png file(s)", *names)


def test_images_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "my")
    places = [root / f"leftImg8bit/train/aachen/aachen_00000{i}_000019_leftImg8bit.png" for i in range(2)]
    for place in places:
        place.unlink()
        place.symlink_to("nowhere.png")
    named = [f"{place}: cannot be read (No such file or directory)" for place in places]
    assert_refused(root, tmp_path, "2 of 5 images", *named, "Replace these files")


def test_masks_without_label_ids_are_told(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "my")
    for path in root.glob("gtFine/train/*/*.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    assert_refused(root, tmp_path, "gtFine/train: holds no <city>/*_gtFine_labelIds.png")


def test_names_of_another_form_are_told(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "my")
    for name in ("leftImg8bit/train/aachen/a_leftImg8bit.png", "gtFine/train/aachen/a_gtFine_labelIds.png"):
        write_png(root / name, LABEL_IDS)
    assert_refused(root, tmp_path, "leftImg8bit/train: names are as aachen_000000_000019_leftImg8bit.png, not a")


def test_all_masks_that_are_not_usable_are_named_together(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "my")
    aachen, val = root / "gtFine/train/aachen", root / "gtFine/val/munster"
    write_png(aachen / "aachen_000000_000019_gtFine_labelIds.png", np.full((1, 35), 34, np.uint8))
    (aachen / "aachen_000001_000019_gtFine_labelIds.png").write_bytes(b"")
    write_png(val / "munster_000000_000019_gtFine_labelIds.png", np.zeros((1, 35, 3), np.uint8))
    assert_refused(
        root,
        tmp_path,
        "3 of 5 masks",
        "aachen_000000_000019_gtFine_labelIds.png: holds the value 34",
        "aachen_000001_000019_gtFine_labelIds.png: not an image",
        "munster_000000_000019_gtFine_labelIds.png: a mask must be",
    )


def test_other_counts_than_the_published_ones_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(write_cityscapes(tmp_path / "my"), tmp_path)
    said = capsys.readouterr().err
    assert "warning: 3 train, 2 val images; the published data set has 2975 train, 500 val" in said
    assert "converting 5/5 images" in said


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    root = write_cityscapes(tmp_path / "my")
    monkeypatch.setattr(shutil, "copyfile", full)
    assert_refused(root, tmp_path, f"{tmp_path}: no space left")
    assert [p.name for p in tmp_path.iterdir()] == ["my"]


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """The two archives as they are published, in a folder."""
    folder = tmp_path / "packages"
    folder.mkdir()
    write_cityscapes(tmp_path / "pack")
    for part in ("gtFine", "leftImg8bit"):
        with zipfile.ZipFile(folder / f"{part}_trainvaltest.zip", "w") as archive:
            archive.writestr("README", "both archives have one")
            for path in sorted((tmp_path / "pack" / part).rglob("*.png")):
                archive.write(path, path.relative_to(tmp_path / "pack"))
    shutil.rmtree(tmp_path / "pack")
    return folder


def install_downloader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A csDownload that appends what is missing, as the real one does, and whose calls are lines of `calls`."""
    script = tmp_path / "bin/csDownload"
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"packages, calls = pathlib.Path({str(tmp_path / 'packages')!r}), pathlib.Path({str(tmp_path / 'calls')!r})\n"
        "arguments = sys.argv[1:]\n"
        "calls.open('a').write(' '.join(arguments) + '\\n')\n"
        "name, resume = arguments[-1], '--resume' in arguments\n"
        "place = pathlib.Path(arguments[arguments.index('--destination_path') + 1]) / name\n"
        "whole = (packages / name).read_bytes()\n"
        "assert resume or not place.exists()\n"
        "start = place.stat().st_size if resume else 0\n"
        f"{body}\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")


WHOLE = "place.open('ab').write(whole[start:])"


def test_without_a_root_csdownload_brings_both_archives_once(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_downloader(tmp_path, monkeypatch, WHOLE)
    first = prepare(None, tmp_path)
    assert_converted(tmp_path / "out")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["gtFine_trainvaltest.zip", "leftImg8bit_trainvaltest.zip"]
    shutil.rmtree(packages)
    assert prepare(None, tmp_path) == first
    assert (tmp_path / "calls").read_text().splitlines() == calls


@pytest.mark.usefixtures("packages")
def test_an_interrupted_download_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_downloader(tmp_path, monkeypatch, "place.open('ab').write(whole[:100])\nsys.exit(1)")
    with pytest.raises(UserError, match=r"csDownload failed for gtFine_trainvaltest\.zip"):
        prepare(None, tmp_path)
    assert not (tmp_path / "raw/cityscapes/gtFine_trainvaltest.zip").exists()
    install_downloader(tmp_path, monkeypatch, WHOLE)
    prepare(None, tmp_path)
    assert_converted(tmp_path / "out")
    resumed = ["--resume" in call for call in (tmp_path / "calls").read_text().splitlines()]
    assert resumed == [False, True, False]


@pytest.mark.usefixtures("packages")
def test_a_whole_archive_that_csdownload_rejects_is_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_downloader(tmp_path, monkeypatch, f"{WHOLE}\nsys.exit('MD5 sum of downloaded file does not match.')")
    with pytest.raises(UserError, match=r"csDownload failed"):
        prepare(None, tmp_path)
    install_downloader(tmp_path, monkeypatch, WHOLE)
    prepare(None, tmp_path)
    assert "--resume" not in (tmp_path / "calls").read_text()


def test_archives_placed_by_hand_need_no_csdownload(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    shutil.copytree(packages, tmp_path / "raw/cityscapes")
    prepare(None, tmp_path)
    assert_converted(tmp_path / "out")


def test_a_truncated_archive_is_told_and_not_taken_for_a_whole_one(packages: Path, tmp_path: Path) -> None:
    shutil.copytree(packages, tmp_path / "raw/cityscapes")
    archive = tmp_path / "raw/cityscapes/leftImg8bit_trainvaltest.zip"
    archive.write_bytes(archive.read_bytes()[:-50])
    for _ in range(2):
        with pytest.raises(UserError, match=r"leftImg8bit_trainvaltest\.zip: damaged or cut off"):
            prepare(None, tmp_path)
    assert not (tmp_path / "out").exists()


def test_without_csdownload_the_message_tells_all_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError) as caught:
        prepare(None, tmp_path)
    for text in ("pip install cityscapesscripts", "login", "dataset.root", str(tmp_path / "raw/cityscapes")):
        assert text in str(caught.value)
    assert "UCC_RUNTIME=host" in str(caught.value)  # nothing can be installed in the container


def test_the_name_cityscapes_in_the_parameters_leads_here(tmp_path: Path) -> None:
    params = load_params(PRESET, [f"dataset.root={write_cityscapes(tmp_path / 'my')}"])
    assert prepare_dataset(params.dataset, tmp_path / "out", tmp_path / "raw").name == "cityscapes"
