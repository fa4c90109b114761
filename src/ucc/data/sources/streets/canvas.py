"""A pinhole camera above flat ground, and the canvas on which its view is painted from far to near.

World coordinates are metres: x to the right of the camera, y above the ground, z ahead. Canvas coordinates
are pixels. Whatever is painted changes colour, class, depth and emitted light of exactly the same pixels, so
the mask is what is visible and nothing else.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

RGB = tuple[int, int, int]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

DARK: RGB = (0, 0, 0)
NEAR = 1.5  # metres; nothing nearer is projected
FAR = 160.0
SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Camera:
    """Looks along the street; `focal`, `horizon` and `vanish_x` are pixels, `height` is metres."""

    focal: float
    horizon: float
    vanish_x: float
    height: float

    def project(self, points: ArrayLike) -> Floats:
        """World points of shape (..., 3) to canvas points of shape (..., 2)."""
        x, y, z = np.moveaxis(np.asarray(points, np.float32), -1, 0)
        z = np.maximum(z, NEAR)
        return np.stack(
            [self.vanish_x + self.focal * x / z, self.horizon + self.focal * (self.height - y) / z], axis=-1
        )

    def scale(self, z: float) -> float:
        """Pixels per metre at depth `z`."""
        return self.focal / max(z, NEAR)


class Canvas:
    """Colour, class, depth (metres) and emitted light of every pixel."""

    def __init__(self, height: int, width: int, label: int) -> None:
        self.image: Bytes = np.zeros((height, width, 3), np.uint8)
        self.mask: Bytes = np.full((height, width), label, np.uint8)
        self.depth: Floats = np.full((height, width), FAR, np.float32)
        self.light: Bytes = np.zeros((height, width, 3), np.uint8)

    def fill(self, points: ArrayLike, color: RGB, label: int, depth: float, light: RGB = DARK) -> None:
        """Paint a polygon of canvas points (N, 2)."""
        corners = [np.round(np.asarray(points, np.float32) * (1 << SUBPIXEL_BITS)).astype(np.int32)]
        cv2.fillPoly(self.image, corners, color, shift=SUBPIXEL_BITS)
        cv2.fillPoly(self.mask, corners, label, shift=SUBPIXEL_BITS)
        cv2.fillPoly(self.depth, corners, depth, shift=SUBPIXEL_BITS)
        cv2.fillPoly(self.light, corners, light, shift=SUBPIXEL_BITS)

    def disc(
        self,
        center: tuple[float, float],
        axes: tuple[float, float],
        color: RGB,
        label: int,
        depth: float,
        light: RGB = DARK,
    ) -> None:
        """Paint an ellipse with half axes in pixels."""
        angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        outline = np.stack([center[0] + axes[0] * np.cos(angles), center[1] + axes[1] * np.sin(angles)], axis=-1)
        self.fill(outline, color, label, depth, light)

    def bar(
        self,
        start: ArrayLike,
        end: ArrayLike,
        width: float,
        color: RGB,
        label: int,
        depth: float,
        light: RGB = DARK,
    ) -> None:
        """Paint a straight bar `width` pixels wide between two canvas points."""
        a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
        along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-6)
        side = np.array([-along[1], along[0]], np.float32) * max(width, 1.0) / 2
        self.fill(np.stack([a + side, b + side, b - side, a - side]), color, label, depth, light)

    def stamp(self, patch: Bytes, shape: NDArray[np.bool_], corner: tuple[int, int], label: int, depth: float) -> None:
        """Paint the pixels of `patch` (h, w, 3) where `shape` (h, w) holds; `corner` (x, y) is its first pixel."""
        left, top = corner
        height, width = self.mask.shape
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + shape.shape[1], width), min(top + shape.shape[0], height)
        if x0 >= x1 or y0 >= y1:
            return
        inner = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        region, where = np.s_[y0:y1, x0:x1], shape[inner]
        self.image[region][where] = patch[inner][where]
        self.mask[region][where] = label
        self.depth[region][where] = depth
        self.light[region][where] = 0

    def wall(self, texture: Bytes, light: Bytes, corners: Floats, depths: tuple[float, float], label: int) -> None:
        """Paint `texture` and its `light`, both (h, w, 3), onto the quadrilateral `corners` (4, 2).

        Corners are in the order of the texture's top left, top right, bottom right, bottom left; `depths` are
        those of its left and right edge, between which inverse depth is linear on the canvas.
        """
        height, width = self.mask.shape
        x0, y0 = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (width, height))
        if x0 >= x1 or y0 >= y1:
            return
        local = corners - np.array([x0, y0], np.float32)
        h, w = texture.shape[:2]
        source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        transform = cv2.getPerspectiveTransform(source, local.astype(np.float32))
        size = (int(x1 - x0), int(y1 - y0))
        inside = np.zeros(size[::-1], np.uint8)
        cv2.fillPoly(inside, [np.round(local * (1 << SUBPIXEL_BITS)).astype(np.int32)], 1, shift=SUBPIXEL_BITS)
        where = inside.astype(bool)
        region = np.s_[y0:y1, x0:x1]
        for layer, pixels in ((self.image, texture), (self.light, light)):
            warped = cv2.warpPerspective(pixels, transform, size, borderMode=cv2.BORDER_REPLICATE)
            layer[region][where] = warped[where]
        self.mask[region][where] = label
        left, right = corners[0, 0], corners[1, 0]
        share = np.clip((np.arange(x0, x1) - left) / (right - left or 1.0), 0, 1)
        depth = 1 / ((1 - share) / depths[0] + share / depths[1])
        self.depth[region][where] = np.broadcast_to(depth.astype(np.float32), where.shape)[where]

    def shade(self, center: tuple[float, float], axes: tuple[float, float], strength: float) -> None:
        """Darken a soft ellipse: a shadow, which changes no class."""
        height, width = self.mask.shape
        x0, x1 = max(int(center[0] - axes[0]), 0), min(int(center[0] + axes[0]) + 1, width)
        y0, y1 = max(int(center[1] - axes[1]), 0), min(int(center[1] + axes[1]) + 1, height)
        if x0 >= x1 or y0 >= y1:
            return
        x = (np.arange(x0, x1, dtype=np.float32) - center[0]) / max(axes[0], 1e-6)
        y = (np.arange(y0, y1, dtype=np.float32)[:, None] - center[1]) / max(axes[1], 1e-6)
        keep = 1 - strength * np.clip(1.5 * (1 - x**2 - y**2), 0, 1)
        region = self.image[y0:y1, x0:x1]
        region[...] = (region * keep[..., None]).astype(np.uint8)


def smooth_noise(rng: np.random.Generator, height: int, width: int, octaves: tuple[int, ...]) -> Floats:
    """Sum of random lattices with cells of `octaves` pixels, coarse ones weighing more, about in -1..1."""
    total: Floats = np.zeros((height, width), np.float32)
    for cell in octaves:
        lattice = rng.random((height // cell + 2, width // cell + 2), dtype=np.float32) * 2 - 1
        total += cv2.resize(lattice, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(cell**0.5)
    return total / np.float32(sum(cell**0.5 for cell in octaves))


def vary(rng: np.random.Generator, color: RGB, spread: float) -> RGB:
    """`color` with a random brightness and a little random hue, `spread` in grey levels."""
    shifted = np.array(color) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return tint(shifted, 1.0)


def tint(color: ArrayLike, factor: float) -> RGB:
    """`color` times `factor`, clipped to bytes."""
    red, green, blue = (int(v) for v in np.clip(np.asarray(color) * factor, 0, 255))
    return red, green, blue
