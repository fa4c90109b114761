"""PASCAL VOC 2012 with SBD, in the layout and the file formats in which both are published."""

import hashlib
import shutil
import tarfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.io
import scipy.sparse
from unreliable_web import Web

from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, read_image, read_mask
from ucc.data.sources import prepare_dataset
from ucc.data.sources.voc2012 import CLASSES, Archive, prepare_voc2012
from ucc.data.sources.voc_masks import color_map
from ucc.errors import UserError
from ucc.params import load_params

PRESET = Path(__file__).parents[3] / "presets/voc2012.yaml"
SIZE = (6, 8)
# SBD holds images of VOC's train, of its val, and others; in both of its lists.
TRAIN, VAL = ("2007_000032", "2007_000039"), ("2007_000033", "2007_000042")
SBD_TRAIN, SBD_VAL = ("2007_000032", "2008_000002", "2010_000001"), ("2007_000033", "2008_000008")
ALL_TRAIN = sorted({*TRAIN, *SBD_TRAIN, *SBD_VAL} - {*VAL})
# As in the VOC devkit's documentation.
PALETTE_START = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128))


def voc_mask(index: int) -> Image:
    mask = np.zeros(SIZE, np.uint8)
    mask[1:5, 1:6] = 255
    mask[2:4, 2:5] = index
    return mask


def sbd_mask(index: int) -> Image:
    mask = np.zeros(SIZE, np.uint8)
    mask[1:5, 1:6] = index
    return mask


def write_image(path: Path, color: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", SIZE[::-1], color).save(path, quality=95)


def write_palette_png(path: Path, mask: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PIL.Image.fromarray(mask)
    picture.putpalette(np.array(color_map(256), np.uint8).tobytes())
    picture.save(path)


def write_mat(path: Path, mask: Image) -> None:
    """As SBD has them: boundaries are a cell array of 20 sparse matrices."""
    boundaries = np.empty((20, 1), object)
    for index in range(20):
        boundaries[index, 0] = scipy.sparse.csc_matrix(SIZE, dtype=np.float64)
    present = np.array([[mask.max()]], np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = {"Boundaries": boundaries, "Segmentation": mask, "CategoriesPresent": present}
    scipy.io.savemat(path, {"GTcls": struct}, do_compression=True)


def write_list(path: Path, names: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def write_voc(root: Path) -> Path:
    """VOCdevkit in `root`; returns VOC2012. As published, its JPEGImages are more than those with masks."""
    voc = root / "VOCdevkit/VOC2012"
    for name in {*TRAIN, *VAL, *SBD_TRAIN, *SBD_VAL}:
        write_image(voc / "JPEGImages" / f"{name}.jpg", (40, 120, 200))
    for name in (*TRAIN, *VAL):
        write_palette_png(voc / "SegmentationClass" / f"{name}.png", voc_mask(15))
    for split, names in (("train", TRAIN), ("val", VAL), ("trainval", TRAIN + VAL)):
        write_list(voc / "ImageSets/Segmentation" / f"{split}.txt", names)
        write_list(voc / "ImageSets/Main" / f"cat_{split}.txt", tuple(f"{name} -1" for name in names))
    return voc


def write_sbd(root: Path) -> Path:
    """benchmark_RELEASE in `root`; returns its folder dataset."""
    dataset = root / "benchmark_RELEASE/dataset"
    for name in {*SBD_TRAIN, *SBD_VAL}:
        write_mat(dataset / "cls" / f"{name}.mat", sbd_mask(12))
        write_mat(dataset / "inst" / f"{name}.mat", sbd_mask(1))
        write_image(dataset / "img" / f"{name}.jpg", (200, 40, 120))
    write_list(dataset / "train.txt", SBD_TRAIN)
    write_list(dataset / "val.txt", SBD_VAL)
    return dataset


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


def assert_converted(out: Path) -> None:
    for kind in ("images", "masks"):
        assert names(out / kind / "train") == ALL_TRAIN
        assert names(out / kind / "val") == sorted(VAL)
    for mask in sorted(out.glob("masks/*/*.png")):
        expected = voc_mask(15) if mask.stem in TRAIN + VAL else sbd_mask(12)
        assert np.array_equal(read_mask(mask), expected), mask


def prepare(root: Path | None, tmp_path: Path, **archives: Archive) -> DatasetInfo:
    return prepare_voc2012(root, tmp_path / "out", tmp_path / "raw", **archives)


def assert_refused(root: Path, tmp_path: Path, *named: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare(root, tmp_path)
    for text in (*named, "VOCdevkit"):
        assert text in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["", "VOCdevkit", "VOCdevkit/VOC2012", "benchmark_RELEASE"])
def test_the_copies_are_found_from_any_of_their_folders(place: str, tmp_path: Path) -> None:
    write_voc(tmp_path / "my")
    write_sbd(tmp_path / "my")
    assert prepare(tmp_path / "my" / place, tmp_path) == DatasetInfo.read(tmp_path / "out")
    assert_converted(tmp_path / "out")


def test_train_is_voc_and_both_lists_of_sbd_without_val_and_masks_of_voc_win(tmp_path: Path) -> None:
    write_voc(tmp_path / "my")
    write_sbd(tmp_path / "my")
    info = prepare(tmp_path / "my", tmp_path)
    assert ALL_TRAIN == ["2007_000032", "2007_000039", "2008_000002", "2008_000008", "2010_000001"]
    assert_converted(tmp_path / "out")
    assert info.provenance["train_masks"] == {"VOC 2012": 2, "SBD": 3}


def test_there_are_21_classes_in_the_colours_of_the_devkit(tmp_path: Path) -> None:
    write_voc(tmp_path / "my")
    write_sbd(tmp_path / "my")
    info = prepare(tmp_path / "my", tmp_path)
    assert info.classes == CLASSES
    assert info.num_classes == 21
    assert (info.classes[0], info.classes[15], info.classes[20]) == ("background", "person", "tvmonitor")
    assert info.colors[:7] == PALETTE_START
    assert (info.colors[15], info.colors[20]) == ((192, 128, 128), (0, 64, 128))
    assert color_map(256)[255] == (224, 224, 192)


def test_images_are_those_of_voc_or_where_it_has_none_those_of_sbd(tmp_path: Path) -> None:
    voc = write_voc(tmp_path / "my")
    write_sbd(tmp_path / "my")
    (voc / "JPEGImages/2008_000002.jpg").unlink()
    prepare(tmp_path / "my", tmp_path)
    images = tmp_path / "out/images/train"
    assert abs(read_image(images / "2007_000032.jpg").astype(int) - (40, 120, 200)).max() < 8
    assert abs(read_image(images / "2008_000002.jpg").astype(int) - (200, 40, 120)).max() < 8


@pytest.mark.parametrize("place", ["VOCdevkit/VOC2012", "VOCdevkit", "."])
@pytest.mark.parametrize("palette", [True, False])
def test_segmentation_class_aug_replaces_sbd(place: str, palette: bool, tmp_path: Path) -> None:
    write_voc(tmp_path / "my")
    folder = tmp_path / "my" / place / "SegmentationClassAug"
    for name in {*ALL_TRAIN, *VAL}:
        path = folder / f"{name}.png"
        write_palette_png(path, sbd_mask(12))
        if not palette:
            PIL.Image.fromarray(sbd_mask(12)).save(path)
    info = prepare(tmp_path / "my", tmp_path)
    assert_converted(tmp_path / "out")
    assert info.provenance["train_masks"] == {"VOC 2012": 2, "SegmentationClassAug": 3}


def test_voc_alone_is_refused_since_most_training_masks_are_missing(tmp_path: Path) -> None:
    write_voc(tmp_path / "my")
    assert_refused(tmp_path / "my", tmp_path, "neither SBD nor SegmentationClassAug", "benchmark.tgz")


def test_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    assert_refused(tmp_path / "my", tmp_path, "no VOC 2012 here", "SegmentationClassAug")


def test_all_missing_files_are_named_together(tmp_path: Path) -> None:
    voc, sbd = write_voc(tmp_path / "my"), write_sbd(tmp_path / "my")
    for missing in (
        voc / "JPEGImages/2007_000039.jpg",
        voc / "SegmentationClass/2007_000042.png",
        sbd / "cls/2008_000008.mat",
        sbd / "val.txt",
    ):
        missing.unlink()
    write_list(sbd / "train.txt", (*SBD_TRAIN, "2008_000008", "../../elsewhere"))
    assert_refused(
        tmp_path / "my",
        tmp_path,
        "1 missing image(s)",
        "JPEGImages/2007_000039.jpg",
        "2 missing mask(s)",
        "2007_000042.png",
        "2008_000008.mat",
        "val.txt: cannot be read (No such file",
        "not ../../elsewhere",
    )


def test_missing_files_are_all_named_however_many(tmp_path: Path) -> None:
    write_voc(tmp_path / "my")
    sbd = write_sbd(tmp_path / "my")
    names = [f"2011_{index:06d}" for index in range(12)]
    write_list(sbd / "val.txt", (*SBD_VAL, *names))
    files = [f"JPEGImages/{name}.jpg" for name in names] + [f"cls/{name}.mat" for name in names]
    assert_refused(tmp_path / "my", tmp_path, "12 missing image(s)", "12 missing mask(s)", *files)


def test_all_masks_that_are_not_usable_are_named_together(tmp_path: Path) -> None:
    voc, sbd = write_voc(tmp_path / "my"), write_sbd(tmp_path / "my")
    write_palette_png(voc / "SegmentationClass/2007_000032.png", voc_mask(21))
    PIL.Image.fromarray(voc_mask(1)).convert("RGB").save(voc / "SegmentationClass/2007_000039.png")
    cut = (voc / "SegmentationClass/2007_000033.png").read_bytes()[:-40]
    (voc / "SegmentationClass/2007_000033.png").write_bytes(cut)
    (sbd / "cls/2008_000002.mat").write_bytes((sbd / "cls/2008_000002.mat").read_bytes()[:200])
    scipy.io.savemat(sbd / "cls/2008_000008.mat", {"other": 1})
    assert_refused(
        tmp_path / "my",
        tmp_path,
        "5 of 7 masks",
        "2007_000032.png: holds the value 21",
        "2007_000039.png: a mask must be",
        "2007_000033.png: not a PNG",
        "2008_000002.mat: no GTcls.Segmentation",
        "2008_000008.mat: no GTcls.Segmentation",
    )


def test_a_palette_mask_whose_checksum_does_not_fit_is_refused(tmp_path: Path) -> None:
    voc = write_voc(tmp_path / "my")
    write_sbd(tmp_path / "my")
    path = voc / "SegmentationClass/2007_000032.png"
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"IEND") - 5] ^= 1  # of the pixels' checksum
    path.write_bytes(damaged)
    assert_refused(tmp_path / "my", tmp_path, "1 of 7 masks", "2007_000032.png: not a PNG that can be decoded")


def test_a_mat_file_without_a_picture_is_named(tmp_path: Path) -> None:
    write_voc(tmp_path / "my")
    sbd = write_sbd(tmp_path / "my")
    scipy.io.savemat(sbd / "cls/2008_000002.mat", {"GTcls": {"Segmentation": np.zeros((2, 2, 3))}})
    assert_refused(tmp_path / "my", tmp_path, "2008_000002.mat: GTcls.Segmentation is 3-dimensional float64")


def test_other_counts_than_the_published_ones_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc(tmp_path / "my")
    write_sbd(tmp_path / "my")
    prepare(tmp_path / "my", tmp_path)
    assert "warning: 5 train, 2 val images; the published data set has 10582 train, 1449 val" in capsys.readouterr().err


def test_a_copy_within_the_folder_that_is_written_is_left_alone(tmp_path: Path) -> None:
    write_voc(tmp_path / "out")
    write_sbd(tmp_path / "out")
    with pytest.raises(UserError, match="is written anew"):
        prepare(tmp_path / "out", tmp_path)
    assert (tmp_path / "out/VOCdevkit").exists()


@pytest.fixture
def published(web: Web, tmp_path: Path) -> dict[str, Archive]:
    """Both archives on a server of the test's own."""
    write_voc(tmp_path / "pack")
    write_sbd(tmp_path / "pack")
    archives = {}
    for key, name, folder, mode in (
        ("voc", "VOCtrainval_11-May-2012.tar", "VOCdevkit", "w"),
        ("sbd", "benchmark.tgz", "benchmark_RELEASE", "w:gz"),
    ):
        with tarfile.open(tmp_path / name, mode) as tar:
            tar.add(tmp_path / "pack" / folder, arcname=folder)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        web.files[name] = content
        archives[key] = Archive(url=web.url(name), checksum=f"md5:{hashlib.md5(content).hexdigest()}")
    shutil.rmtree(tmp_path / "pack")
    return archives


def test_without_a_root_both_archives_are_downloaded_once(
    web: Web, published: dict[str, Archive], tmp_path: Path
) -> None:
    web.break_after = [20_000, 1_000]
    first = prepare(None, tmp_path, **published)
    assert_converted(tmp_path / "out")
    assert web.ranges[:2] == ["", "bytes=20000-"]
    asked = len(web.ranges)
    assert prepare(None, tmp_path, **published) == first
    assert len(web.ranges) == asked


@pytest.mark.parametrize("placed", ["unpacked", "archive"])
def test_what_was_placed_by_hand_is_not_downloaded(
    placed: str, web: Web, published: dict[str, Archive], tmp_path: Path
) -> None:
    if placed == "unpacked":
        write_voc(tmp_path / "raw/voc2012")
    else:
        (tmp_path / "raw/voc2012").mkdir(parents=True)
        (tmp_path / "raw/voc2012/VOCtrainval_11-May-2012.tar").write_bytes(web.files["VOCtrainval_11-May-2012.tar"])
    prepare(None, tmp_path, **published)
    assert_converted(tmp_path / "out")
    assert len(web.ranges) == 1


def test_a_failed_download_says_where_to_put_the_data(web: Web, published: dict[str, Archive], tmp_path: Path) -> None:
    del web.files["benchmark.tgz"]
    with pytest.raises(UserError) as caught:
        prepare(None, tmp_path, **published)
    for text in ("benchmark.tgz: the server answers 404", str(tmp_path / "raw/voc2012"), "dataset.root"):
        assert text in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_forged_archive_is_removed(web: Web, published: dict[str, Archive], tmp_path: Path) -> None:
    web.files["VOCtrainval_11-May-2012.tar"] += b"x"
    with pytest.raises(UserError, match="expected md5:"):
        prepare(None, tmp_path, **published)
    assert list((tmp_path / "raw/voc2012").iterdir()) == []


def test_an_archive_of_something_else_is_told(web: Web, published: dict[str, Archive], tmp_path: Path) -> None:
    place = tmp_path / "raw/voc2012/VOCtrainval_11-May-2012"
    place.mkdir(parents=True)
    with pytest.raises(UserError, match=f"{place}: is not what"):
        prepare(None, tmp_path, **published)
    assert web.ranges == []


def test_the_name_voc2012_in_the_parameters_leads_here(tmp_path: Path) -> None:
    write_voc(tmp_path / "my")
    write_sbd(tmp_path / "my")
    params = load_params(PRESET, [f"dataset.root={tmp_path / 'my'}"])
    assert prepare_dataset(params.dataset, tmp_path / "out", tmp_path / "raw").name == "voc2012"
