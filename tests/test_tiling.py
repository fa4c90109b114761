"""Tiles of a large image: they cover it, their scores sum up without a seam, and one tile is the whole image."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, interpolate

from ucc.tiling import ALIGNMENT, STRIDE, blended_rows, segment_tiles, spans, upsample_strips

SIZES = [(1, 1), (5, 31), (64, 64), (65, 97), (96, 200), (133, 259), (300, 70)]


def bounded_network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scores of 3 classes that depend on pixels at most 12 away: means of the channels over 20 pixels."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    height, width = images.shape[1:3]
    padded = torch.nn.functional.pad(pixels, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
    cells = avg_pool2d(padded, STRIDE)
    return (avg_pool2d(torch.nn.functional.pad(cells, (2, 2, 2, 2)), 5, stride=1) / 20).numpy()


def global_network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same, and each class raised by how bright its channel is in all that the network sees."""
    return bounded_network(images) + images.mean(axis=(1, 2), dtype=np.float32)[:, :, np.newaxis, np.newaxis] / 200


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = torch.rand(1, 3, height // 12 + 2, width // 12 + 2, generator=torch.manual_seed(seed))
    smooth = interpolate(noise, size=(height, width), mode="bicubic").clamp(0, 1)[0]
    return (smooth * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def whole_image(image: NDArray[np.uint8], scores: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What the exported graph computes of its logits."""
    probabilities = interpolate(torch.from_numpy(scores), size=image.shape[:2], mode="bilinear").softmax(dim=1)[0]
    return probabilities.argmax(dim=0).to(torch.uint8).numpy(), 1 - probabilities.amax(dim=0).numpy()


@pytest.mark.parametrize(("tile", "overlap"), [(64, 32), (96, 32), (96, 64), (256, 224)])
@pytest.mark.parametrize("length", [1, 33, 64, 65, 97, 128, 129, 1000, 1023])
def test_tiles_cover_an_axis_overlap_enough_and_weigh_1_everywhere(length: int, tile: int, overlap: int) -> None:
    found = spans(length, tile, overlap)
    total = np.zeros(-(-length // STRIDE))
    for span in found:
        total[span.scores] += span.weights
        assert span.start % ALIGNMENT == 0
        assert 0 < span.stop - span.start <= tile
        assert span.weights.min() >= 0
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)
    assert found[0].start == 0
    assert found[-1].stop == length
    for left, right in pairwise(found):
        assert left.stop - right.start >= overlap


def test_an_image_no_longer_than_a_tile_is_one_tile() -> None:
    assert [span[:2] for span in spans(96, 96, 32)] == [(0, 96)]


def test_a_tile_counts_the_less_the_nearer_its_border_with_another_is() -> None:
    first, second = spans(160, 96, 32)
    np.testing.assert_allclose(second.weights[:8], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    np.testing.assert_allclose(first.weights[-8:], second.weights[:8][::-1])
    np.testing.assert_allclose(first.weights[:16], 1)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_one_tile_that_covers_the_image_gives_what_the_whole_image_gives(size: tuple[int, int]) -> None:
    image = picture(*size)
    classes, uncertainty = segment_tiles(image, global_network, 320, 32)
    expected, unsure = whole_image(image, global_network(image[np.newaxis]))
    assert classes.dtype == np.uint8
    assert uncertainty.dtype == np.float32
    np.testing.assert_allclose(uncertainty, unsure, rtol=0, atol=1e-5)
    assert np.mean(classes != expected) < 1e-3


@pytest.mark.parametrize(("tile", "overlap"), [(64, 32), (96, 64)])
def test_scores_that_do_not_depend_on_the_tile_come_out_as_those_of_the_whole_image(tile: int, overlap: int) -> None:
    image = picture(133, 259)

    def local(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ascontiguousarray(images[:, ::STRIDE, ::STRIDE].transpose(0, 3, 1, 2), np.float32)

    rows = np.concatenate(list(blended_rows(image, local, tile, overlap)), axis=1)
    np.testing.assert_allclose(rows, local(image[np.newaxis])[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(9, 13), (64, 96), (133, 259), (1, 1)], ids=str)
@pytest.mark.parametrize("rows_at_a_time", [1, 3, 100])
def test_strips_are_those_of_the_whole_upsampled_at_once(
    size: tuple[int, int], rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ucc.tiling.STRIP_SCORES", 5 * 2 * size[1])
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, -(-size[0] // STRIDE), -(-size[1] // STRIDE))).astype(np.float32)
    parts = (scores[:, top : top + rows_at_a_time] for top in range(0, scores.shape[1], rows_at_a_time))
    strips = list(upsample_strips(parts, *size))
    assert max(strip.shape[1] for strip in strips) <= 5
    expected = interpolate(torch.from_numpy(scores)[None], size=size, mode="bilinear")[0].numpy()
    np.testing.assert_allclose(np.concatenate(strips, axis=1), expected, rtol=0, atol=2e-5)


def mean_iou(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """In points, 0..100."""
    shares = [np.sum((found == c) & (truth == c)) / np.sum((found == c) | (truth == c)) for c in np.unique(truth)]
    return 100 * float(np.mean(shares))


@pytest.mark.parametrize(("tile", "overlap"), [(128, 64), (160, 96), (256, 64)])
def test_a_network_that_sees_no_further_than_a_quarter_of_the_overlap_is_not_changed_by_tiles(
    tile: int, overlap: int
) -> None:
    """Hence neither is the mIoU: not by a tenth of a point, nor at all."""
    image = picture(300, 450)
    expected, unsure = whole_image(image, bounded_network(image[np.newaxis]))
    tiled, uncertainty = segment_tiles(image, bounded_network, tile, overlap)
    np.testing.assert_allclose(uncertainty, unsure, rtol=0, atol=1e-5)
    truth = picture(300, 450, seed=1).argmax(axis=2).astype(np.uint8)
    truth = np.where(picture(300, 450, seed=2)[..., 0] > 100, expected, truth)
    assert 30 < mean_iou(expected, truth) < 95
    assert abs(mean_iou(tiled, truth) - mean_iou(expected, truth)) <= 0.1


def test_scores_go_gradually_from_one_tile_to_the_next() -> None:
    """What each tile's brightness adds would jump at a cut; the blend spreads that over half the overlap."""
    image = picture(96, 400)
    blended = np.concatenate(list(blended_rows(image, global_network, 96, 64)), axis=1)
    raised = blended - bounded_network(image[np.newaxis])[0]
    offsets = [image[:, span.start : span.stop].mean(axis=(0, 1)) / 200 for span in spans(400, 96, 64)]
    steps = [np.abs(left - right).max() for left, right in pairwise(offsets)]
    assert max(steps) > 0.01
    assert np.abs(np.diff(raised, axis=2)).max() < 0.2 * max(steps)
