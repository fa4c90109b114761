"""Images of any size in bounded memory: tiles that overlap, their scores blended before a class is chosen.

A network is run on tiles for its class scores at stride 4 alone. Where tiles overlap, each counts the less the nearer
its own border is, because a network sees nothing beyond it, and not at all in the outer quarter of the overlap. So
scores that depend on pixels at most overlap / 4 away come out exactly as those of the whole image. Scores that depend
on more, as by global pooling, are those of a window of the tile's size; between windows they change gradually.

Blended scores are upsampled, argmaxed and dropped strip by strip: beside the image and what is returned, only one row
of tiles is held.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Pixels a score stands for, by side: the stride of the decoder of DeepLabv3+.
STRIDE = 4
# Tiles begin at multiples of the largest stride of an encoder, so that its pixels of features fall in the same places.
ALIGNMENT = 32
# Bounds the strips in which scores are upsampled: 16 MiB of float32.
STRIP_SCORES = 2**22

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]
# Maps RGB images, uint8 (B, H, W, 3), to class scores, float32 (B, C, ceil(H / 4), ceil(W / 4)).
Network = Callable[[Pixels], Scores]


class Span(NamedTuple):
    """The pixels [start, stop) of one tile along one axis, and the weights of its scores there, (ceil(length / 4),)."""

    start: int
    stop: int
    weights: Scores

    @property
    def scores(self) -> slice:
        """Where its scores lie among those of the image."""
        first = self.start // STRIDE
        return slice(first, first + len(self.weights))


def segment_tiles(image: Pixels, network: Network, tile: int, overlap: int) -> tuple[Pixels, Scores]:
    """Class map, uint8 (H, W), and uncertainty 1 - max_c p_c, float32 (H, W), of one RGB image (H, W, 3).

    With one tile that covers the image this is what the network gives for the whole image, up to rounding.

    Args:
        image: uint8 of any size.
        network: see `Network`.
        tile: largest side of a tile in pixels, a multiple of 32.
        overlap: pixels that neighbours share at least, a multiple of 32 below `tile`.
    """
    return label_rows(blended_rows(image, network, tile, overlap), *image.shape[:2])


def label_rows(finished: Iterator[Scores], height: int, width: int) -> tuple[Pixels, Scores]:
    """Class map and uncertainty, (H, W), as `segment_tiles` gives them, of rows of scores (C, n, ceil(W / 4))."""
    classes = np.empty((height, width), np.uint8)
    uncertainty = np.empty((height, width), np.float32)
    done = 0
    for labels, unsure in label_strips(finished, height, width):
        rows = slice(done, done + len(labels))
        classes[rows], uncertainty[rows] = labels, unsure
        done = rows.stop
    return classes, uncertainty


def label_strips(finished: Iterator[Scores], height: int, width: int) -> Iterator[tuple[Pixels, Scores]]:
    """The same from top to bottom, (m, W) at a time, so that nothing of the image's size is held."""
    for strip in upsample_strips(finished, height, width):
        labels = strip.argmax(axis=0).astype(np.uint8)
        strip -= strip.max(axis=0)
        np.exp(strip, out=strip)
        # The largest probability is exp(0) / sum(exp(score - largest score)).
        yield labels, 1 - 1 / strip.sum(axis=0)


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Tiles along an axis of `length` pixels, evenly spread; the weights of all sum to 1 at each score.

    They overlap by `overlap` pixels or more, and the last may be shorter than `tile` by less than 32.
    """
    step = tile - overlap
    count = 1 if length <= tile else 1 + -(-(length - tile) // step)
    starts = [-(-(length - tile) * index // (max(count - 1, 1) * ALIGNMENT)) * ALIGNMENT for index in range(count)]
    starts[0] = 0
    stops = [min(start + tile, length) for start in starts]
    total = np.zeros(-(-length // STRIDE))
    ramps = []
    for index, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        size = -(-(stop - start) // STRIDE)
        distance = (np.arange(size) + 0.5) * STRIDE / overlap
        ramp = np.ones(size)
        if index > 0:
            ramp = np.minimum(ramp, _taper(distance))
        if index < count - 1:
            ramp = np.minimum(ramp, _taper(distance)[::-1])
        ramps.append(ramp)
        total[start // STRIDE :][:size] += ramp
    return [
        Span(start, stop, (ramp / total[start // STRIDE :][: len(ramp)]).astype(np.float32))
        for start, stop, ramp in zip(starts, stops, ramps, strict=True)
    ]


def _taper(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight by the distance from a tile's border in overlaps: 0 in the first quarter, 1 from the last on."""
    return np.clip(2 * distance - 0.5, 0, 1)


def blended_rows(image: Pixels, network: Network, tile: int, overlap: int) -> Iterator[Scores]:
    """Scores of the image from top to bottom, float32 (C, n, ceil(W / 4)), as many rows at a time as are finished."""
    rows, columns = (spans(length, tile, overlap) for length in image.shape[:2])
    width = -(-image.shape[1] // STRIDE)
    open_rows: Scores | None = None  # scores to which a tile further down may still add
    for index, row in enumerate(rows):
        for column in columns:
            pixels = np.ascontiguousarray(image[np.newaxis, row.start : row.stop, column.start : column.stop])
            scores = network(pixels)[0]
            if open_rows is None:
                open_rows = np.zeros((len(scores), 0, width), np.float32)
            missing = len(row.weights) - open_rows.shape[1]
            if missing > 0:
                open_rows = np.pad(open_rows, ((0, 0), (0, missing), (0, 0)))
            open_rows[:, :, column.scores] += scores * row.weights[:, np.newaxis] * column.weights
        assert open_rows is not None
        after = rows[index + 1].scores.start if index + 1 < len(rows) else row.scores.stop
        finished = after - row.scores.start
        yield open_rows[:, :finished]
        open_rows = open_rows[:, finished:]


def upsample_strips(finished: Iterator[Scores], height: int, width: int) -> Iterator[Scores]:
    """Rows of scores (C, n, ceil(W / 4)) to strips of pixels (C, m, W), bilinearly and in order, H rows in all.

    The same as upsampling the whole at once, half-pixel centres and borders repeated (torch: align_corners=False).
    """
    count = -(-height // STRIDE)
    position = np.maximum((np.arange(height) + 0.5) * (count / height) - 0.5, 0)
    above = np.minimum(position.astype(np.int64), count - 1)
    below = np.minimum(above + 1, count - 1)
    share = (position - above).astype(np.float32)
    first, top = 0, 0  # the score row and the pixel row at which `rows` and what is still to do begin
    rows: Scores | None = None
    for more in finished:
        rows = more if rows is None else np.concatenate([rows, more], axis=1)
        ready = int(np.searchsorted(below, first + rows.shape[1]))
        strip = max(1, STRIP_SCORES // (len(rows) * width))
        while top < ready:
            part = slice(top, min(top + strip, ready))
            weight = share[part, np.newaxis]
            mixed = rows[:, above[part] - first] * (1 - weight) + rows[:, below[part] - first] * weight
            yield np.stack([_stretch(channel, width) for channel in mixed])
            top = part.stop
        keep = int(above[top]) - first if top < height else rows.shape[1]
        rows, first = rows[:, keep:], first + keep


def _stretch(channel: Scores, width: int) -> Scores:
    """Rows (n, w) to (n, width), bilinearly."""
    size = (width, channel.shape[0])
    return np.asarray(cv2.resize(channel, size, interpolation=cv2.INTER_LINEAR), np.float32)
