"""The embedded data set: reproducible, long-tailed, varied, exactly labelled."""

from pathlib import Path

import numpy as np
import pytest

from ucc.config import StreetsParams
from ucc.data.dataset import DatasetInfo
from ucc.data.images import Image, read_image, read_mask
from ucc.data.sources.streets import CLASSES, prepare_streets, render_street
from ucc.data.sources.streets.canvas import Camera, Canvas
from ucc.data.sources.streets.labels import BUILDING, CAR, POLE, ROAD, SKY
from ucc.data.sources.streets.optics import majority

HEIGHT, WIDTH = 128, 256


@pytest.fixture(scope="module")
def scenes() -> list[tuple[Image, Image]]:
    return [render_street(0, "train", index, HEIGHT, WIDTH) for index in range(20)]


def streets(train: int, val: int, seed: int = 0) -> StreetsParams:
    return StreetsParams(train_images=train, val_images=val, height=32, width=64, seed=seed)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_draws_the_same_bytes(tmp_path: Path) -> None:
    prepare_streets(streets(3, 2), tmp_path / "a")
    prepare_streets(streets(3, 2), tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_an_image_stays_the_same_when_more_images_are_drawn(tmp_path: Path) -> None:
    prepare_streets(streets(2, 1), tmp_path / "few")
    prepare_streets(streets(4, 3), tmp_path / "many")
    few, many = files(tmp_path / "few"), files(tmp_path / "many")
    assert {name: many[name] for name in few} == few


def test_seed_split_and_index_each_change_the_image() -> None:
    base = render_street(0, "train", 0, 32, 64)[0]
    for other in ((1, "train", 0), (0, "val", 0), (0, "train", 1)):
        assert not np.array_equal(render_street(*other, 32, 64)[0], base)


def test_the_folder_is_the_canonical_layout(tmp_path: Path) -> None:
    info = prepare_streets(streets(3, 2), tmp_path / "set")
    assert DatasetInfo.read(tmp_path / "set") == info
    assert info.provenance["version"] >= 1
    for split, count in (("train", 3), ("val", 2)):
        images = sorted((tmp_path / "set/images" / split).iterdir())
        assert len(images) == count
        for path in images:
            mask = read_mask(tmp_path / "set/masks" / split / path.name)
            assert read_image(path).shape == (*mask.shape, 3) == (32, 64, 3)
            assert mask.max() < info.num_classes


def test_class_shares_are_long_tailed_like_a_street(scenes: list[tuple[Image, Image]]) -> None:
    counts = np.bincount(np.concatenate([mask.ravel() for _, mask in scenes]), minlength=len(CLASSES))
    share = dict(zip(CLASSES, counts / counts.sum(), strict=True))
    assert len(CLASSES) >= 8
    assert all(count > 0 for count in counts)
    assert sum(share[name] for name in ("sky", "building", "road", "vegetation")) > 0.7
    for name in ("person", "pole", "sign"):
        assert share[name] < 0.025
    assert max(share.values()) > 20 * min(share.values())


def test_scenes_differ_in_light_and_colour(scenes: list[tuple[Image, Image]]) -> None:
    means = np.array([image.mean(axis=(0, 1)) for image, _ in scenes])
    assert means.mean(axis=1).std() > 20
    assert (means[:, 0] - means[:, 2]).std() > 8


def test_brightness_alone_does_not_tell_road_from_building(scenes: list[tuple[Image, Image]]) -> None:
    values = {
        label: np.concatenate([image.mean(axis=2)[mask == label] for image, mask in scenes])
        for label in (ROAD, BUILDING)
    }
    histograms = [np.histogram(v, bins=32, range=(0, 255), density=True)[0] for v in values.values()]
    overlap = np.minimum(*histograms).sum() * 255 / 32
    assert overlap > 0.5


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (64, 48), (200, 33), (64, 200)])
def test_any_size_from_32_pixels_up_can_be_drawn(height: int, width: int) -> None:
    image, mask = render_street(5, "val", 7, height, width)
    assert image.shape == (height, width, 3)
    assert mask.shape == (height, width)


def test_what_is_painted_nearer_hides_what_lies_behind_in_image_and_mask_alike() -> None:
    canvas = Canvas(20, 20, SKY)
    canvas.fill([(2, 2), (17, 2), (17, 17), (2, 17)], (10, 20, 30), CAR, 9.0)
    canvas.bar((10, 0), (10, 19), 3, (200, 0, 0), POLE, 4.0)
    for label, color, depth in ((CAR, (10, 20, 30), 9.0), (POLE, (200, 0, 0), 4.0)):
        where = canvas.mask == label
        assert where.any()
        assert (canvas.image[where] == color).all()
        assert (canvas.depth[where] == depth).all()


def test_a_wall_is_painted_within_its_corners_only() -> None:
    canvas = Canvas(40, 40, SKY)
    texture = np.full((8, 8, 3), 77, np.uint8)
    corners = np.array([(10, 5), (30, 12), (30, 25), (10, 35)], np.float32)
    canvas.wall(texture, np.zeros_like(texture), corners, (5.0, 10.0), BUILDING)
    painted = canvas.mask == BUILDING
    assert np.array_equal(painted, (canvas.image == 77).all(axis=2))
    rows, columns = np.nonzero(painted)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 30, 5, 35)
    assert canvas.depth[20, 10] == pytest.approx(5.0)
    assert canvas.depth[20, 20] == pytest.approx(1 / 0.15)


def test_the_camera_puts_far_points_at_the_vanishing_point() -> None:
    camera = Camera(focal=300.0, horizon=60.0, vanish_x=120.0, height=1.5)
    assert camera.project([2.0, 0.0, 1e6]) == pytest.approx([120.0, 60.0], abs=0.01)
    assert camera.project([2.0, 1.5, 10.0]) == pytest.approx([180.0, 60.0])
    assert camera.project([0.0, 0.0, 10.0]) == pytest.approx([120.0, 105.0])


def test_a_pixel_has_the_class_that_covers_most_of_it() -> None:
    fine = np.array([[3, 3, 1, 2], [3, 9, 2, 2]], np.uint8)
    assert majority(fine, 1, 2).tolist() == [[3, 2]]
