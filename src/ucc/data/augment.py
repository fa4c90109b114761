"""The weak view (geometry) and the strong view (photometry and dropout) of Fig. 2 of the paper.

The only module that knows albumentations.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ucc.config import ViewsParams
from ucc.data.dataset import IGNORE_INDEX

# Importing albumentations would look for a newer version of itself on the network.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A

Pixels = NDArray[np.uint8]
# Padding is ImageNet's mean colour, which normalisation turns into about zero.
PADDING_COLOR = (124, 116, 104)


@dataclass(frozen=True)
class Geometry:
    """Flip, then resize to `size`, then the window of size `crop` whose corner lies at `corner`.

    The corner may be negative and the window may reach beyond the image: what lies outside is padding.
    """

    flip: bool
    size: tuple[int, int]
    corner: tuple[int, int]
    crop: tuple[int, int]

    @classmethod
    def draw(
        cls, shape: tuple[int, int], params: ViewsParams, rng: np.random.Generator, crop_only: bool = False
    ) -> "Geometry":
        """Draw the weak view of an image of `shape` (H, W): flip and scale each with their probability, then crop.

        `crop_only` leaves out flip and scale.
        """
        flips, scales = rng.random(2) < (params.flip_probability, params.scale_probability)
        low, high = params.scale_range
        scale = rng.uniform(low, high) if scales and not crop_only else 1.0
        size = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
        crop = params.crop[0], params.crop[1]
        corner = [
            int(rng.integers(min(0, s - c), max(0, s - c), endpoint=True)) for s, c in zip(size, crop, strict=True)
        ]
        return cls(bool(flips) and not crop_only, size, (corner[0], corner[1]), crop)

    def image(self, pixels: Pixels) -> Pixels:
        """Apply to RGB uint8 (H, W, 3), bilinear."""
        return self._apply(pixels, cv2.INTER_LINEAR, PADDING_COLOR)

    def mask(self, mask: Pixels) -> Pixels:
        """Apply to class indices uint8 (H, W), nearest neighbour; padding is the ignore index."""
        # INTER_NEAREST would shift the mask by half a pixel against the bilinear image.
        return self._apply(mask, cv2.INTER_NEAREST_EXACT, (IGNORE_INDEX,))

    def valid(self) -> Pixels:
        """uint8 (H, W): 1 inside the image, 0 in the padding."""
        return self._window(np.ones(self.size, np.uint8), (0,))

    def _apply(self, pixels: Pixels, interpolation: int, fill: tuple[int, ...]) -> Pixels:
        if self.flip:
            pixels = pixels[:, ::-1]
        if pixels.shape[:2] != self.size:
            resized = cv2.resize(np.ascontiguousarray(pixels), self.size[::-1], interpolation=interpolation)
            pixels = np.asarray(resized, np.uint8)
        return self._window(pixels, fill)

    def _window(self, pixels: Pixels, fill: tuple[int, ...]) -> Pixels:
        (top, left), (height, width) = self.corner, self.crop
        seen = pixels[max(0, top) : top + height, max(0, left) : left + width]
        window = np.empty((height, width, *pixels.shape[2:]), np.uint8)
        window[:] = fill if pixels.ndim == 3 else fill[0]
        window[max(0, -top) :, max(0, -left) :][: seen.shape[0], : seen.shape[1]] = seen
        return window


class StrongView:
    """N operations drawn from the pool of nine, uniformly and with replacement (decision G)."""

    def __init__(self, operations: tuple[int, int], strength: float) -> None:
        """`operations` is the range of N; `strength` in [0, 1] scales every operation's magnitude."""
        self.operations = operations
        self.strength = strength
        self.pool = _pool(strength)

    def __reduce__(self) -> tuple[type["StrongView"], tuple[tuple[int, int], float]]:
        # Closures cannot be pickled; where workers are not forked, each builds its own pool.
        return StrongView, (self.operations, self.strength)

    def __call__(self, image: Pixels, valid: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """RGB uint8 (H, W, 3) and its valid pixels uint8 (H, W) to the same; what drops out becomes 0 in the latter."""
        for index in rng.integers(len(self.pool), size=rng.integers(*self.operations, endpoint=True)):
            image, valid = self.pool[index](image, valid, int(rng.integers(2**31)))
        return image, valid


Operation = Callable[[Pixels, Pixels, int], tuple[Pixels, Pixels]]


def _pool(s: float) -> list[Operation]:
    """The nine operations; ranges at full strength s = 1 in the comments. At s = 0 none changes anything.

    Inversion, without a magnitude, happens with probability s; shuffled channels and equalisation are mixed in.
    """
    if s == 0:
        return [_identity] * 9
    with warnings.catch_warnings():
        # albumentations only warns of an argument that it does not know.
        warnings.simplefilter("error")
        return [
            _blended(A.ChannelShuffle(p=1), s),
            # brightness, contrast, saturation x 0.5..1.5, hue +-90 degrees
            _plain(
                A.ColorJitter(
                    (1 - s / 2, 1 + s / 2),
                    (1 - s / 2, 1 + s / 2),
                    (1 - s / 2, 1 + s / 2),
                    (-s / 4, s / 4),
                    p=1,
                )
            ),
            # never half inverted: that is one grey
            _plain(A.InvertImg(p=s)),
            # 1..3 rectangles with sides of 10..30 % of the image's, grey
            _plain(
                A.CoarseDropout((1, 3), (s * 0.1, s * 0.3), (s * 0.1, s * 0.3), fill=PADDING_COLOR, fill_mask=0, p=1)
            ),
            # quality 20..80
            _plain(A.ImageCompression(quality_range=(round(100 - 80 * s), round(100 - 20 * s)), p=1)),
            # pixels above 0.5..1 of the range are inverted
            _plain(A.Solarize((1 - s / 2, 1.0), p=1)),
            # 1..5 % of the pixels
            _plain(A.SaltAndPepper((s * 0.01, s * 0.05), p=1)),
            # standard deviation 2..10 % of the range
            _plain(A.GaussNoise((s * 0.02, s * 0.1), p=1)),
            _blended(A.Equalize(p=1), s),
        ]


def _plain(transform: A.BasicTransform) -> Operation:
    def apply(image: Pixels, valid: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        # Unseeded, albumentations repeats its draws across workers and epochs.
        transform.set_random_seed(seed)
        result = transform(image=image, mask=valid)
        return result["image"], result["mask"]

    return apply


def _blended(transform: A.BasicTransform, strength: float) -> Operation:
    """An operation without a magnitude of its own: at lower strength it is mixed with its input."""
    plain = _plain(transform)

    def apply(image: Pixels, valid: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        changed, valid = plain(image, valid, seed)
        if strength < 1:
            changed = np.asarray(cv2.addWeighted(changed, strength, image, 1 - strength, 0))
        return changed, valid

    return apply


def _identity(image: Pixels, valid: Pixels, _seed: int) -> tuple[Pixels, Pixels]:
    return image, valid
