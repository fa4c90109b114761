"""The ground: road with markings, pavements, lots, and the shadows that buildings cast on it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ucc.data.sources.streets.canvas import FAR, Camera, Canvas, Floats, smooth_noise
from ucc.data.sources.streets.labels import ROAD, SIDEWALK, VEGETATION
from ucc.data.sources.streets.style import City

LANE = 3.2
KERB = 0.18
TILE = 512  # pixels of the noise tile that textures the ground
TILE_SCALE = 24.0  # its pixels per metre


@dataclass(frozen=True)
class Street:
    """Cross-section of the street, metres from the camera; `crossing` is the depth range of a side street."""

    left: float
    right: float
    walk_left: float
    walk_right: float
    lanes: int
    crossing: tuple[float, float] | None
    zebra: float | None

    @property
    def lot_left(self) -> float:
        """Where the left pavement ends."""
        return self.left - self.walk_left

    @property
    def lot_right(self) -> float:
        """Where the right pavement ends."""
        return self.right + self.walk_right


def draw_street(rng: np.random.Generator) -> Street:
    """A random street; the camera stands in a lane, or sometimes near a kerb."""
    lanes = int(rng.choice([2, 2, 3, 4]))
    width = lanes * LANE + rng.uniform(0.0, 2.5)
    position = rng.uniform(0.05, 0.95)
    left = -width * position
    crossing = None
    if rng.random() < 0.4:
        start = rng.uniform(12, 40)
        crossing = (start, start + rng.uniform(7, 12))
    zebra = None
    if rng.random() < 0.35:
        zebra = crossing[0] - 4.5 if crossing else rng.uniform(7, 25)
    return Street(left, left + width, rng.uniform(1.6, 4.5), rng.uniform(1.6, 4.5), lanes, crossing, zebra)


def paint_ground(
    canvas: Canvas,
    camera: Camera,
    street: Street,
    city: City,
    roofs: "Roofs",
    sun: float,
    rng: np.random.Generator,
) -> None:
    """Paint everything below the horizon, in perspective."""
    height, width = canvas.mask.shape
    top = max(int(np.floor(camera.horizon)) + 1, 0)
    rows = np.arange(top, height, dtype=np.float32)[:, None]
    z = np.broadcast_to(camera.focal * camera.height / np.maximum(rows - camera.horizon, 0.25), (height - top, width))
    z = np.minimum(z, FAR).astype(np.float32)
    x = ((np.arange(width, dtype=np.float32) - camera.vanish_x) * z / camera.focal).astype(np.float32)

    road = (x > street.left) & (x < street.right)
    if street.crossing:
        road |= (z > street.crossing[0]) & (z < street.crossing[1])
    walk = ~road & (x > street.lot_left) & (x < street.lot_right)
    lot = ~road & ~walk

    tile = smooth_noise(rng, TILE, TILE, (2, 4, 16, 64, 128))
    grain = _sample(tile, x, z)
    color = np.empty((*z.shape, 3), np.float32)
    for area, base, pattern in (
        (road, city.road, city.road_pattern),
        (walk, city.paving, city.paving_pattern),
        (lot, city.lot, "plain"),
    ):
        color[area] = np.array(base, np.float32)
        color[area] *= (1 + _pattern(pattern, x, z, tile) + 0.22 * grain)[area][:, None]
    kerb = walk & ((np.abs(x - street.left) < KERB) | (np.abs(x - street.right) < KERB))
    color[kerb] *= 1.14
    marked = road & _markings(street, x, z) & (grain > -0.55)
    color[marked] = 0.25 * color[marked] + 0.75 * np.array(city.marking, np.float32)
    gutter = road & ((np.abs(x - street.left) < 0.3) | (np.abs(x - street.right) < 0.3))
    color[gutter] *= 0.86
    if sun:
        color *= (1 - sun * roofs.shadow(x, z, street))[..., None]

    canvas.image[top:] = np.clip(color, 0, 255).astype(np.uint8)
    canvas.depth[top:] = z
    canvas.mask[top:] = np.where(road, ROAD, np.where(walk, SIDEWALK, VEGETATION if city.lot_is_green else SIDEWALK))


class Roofs:
    """Height of the roof line along the side that the sun comes from, for the shadow on the ground."""

    STEP = 0.5  # metres

    def __init__(self, from_left: bool, slant: float) -> None:
        self.from_left = from_left
        self.slant = slant
        self.heights: Floats = np.zeros(int(FAR / self.STEP) + 2, np.float32)

    def add(self, start: float, end: float, height: float) -> None:
        """A building between two depths."""
        first, last = (int(np.clip(v, 0, FAR) / self.STEP) for v in (start, end))
        self.heights[first : last + 1] = height

    def shadow(self, x: Floats, z: Floats, street: Street) -> Floats:
        """1 where the ground lies in shadow, 0 elsewhere, with an edge of about 0.3 m."""
        reach = self.slant * self.heights[(z / self.STEP).astype(np.int64)]
        distance = x - street.lot_left if self.from_left else street.lot_right - x
        shadow: Floats = np.clip((reach - distance) / 0.3, 0, 1).astype(np.float32)
        return shadow


def _sample(tile: Floats, x: Floats, z: Floats) -> Floats:
    """The noise tile laid over the ground; it fades where its grain is finer than a pixel."""
    sampled = cv2.remap(tile, x * TILE_SCALE, z * TILE_SCALE, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    fade: Floats = (sampled * np.clip(14 / z, 0.25, 1)).astype(np.float32)
    return fade


def _pattern(pattern: str, x: Floats, z: Floats, tile: Floats) -> Floats:
    """Relative brightness of the surface, fading with distance."""
    near = np.clip(1.6 - z / 18, 0, 1)
    if pattern == "patched":
        coarse = cv2.remap(tile, x * 2.5, z * 1.5, cv2.INTER_NEAREST, borderMode=cv2.BORDER_WRAP)
        return np.asarray(np.where(coarse > 0.28, -0.2, np.where(coarse < -0.32, 0.14, 0.0)), np.float32)
    if pattern == "plain":
        return np.zeros_like(x)
    size = 0.45 if pattern == "cobbles" else 1.6
    row = np.floor(z / size)
    column = x / size + 0.5 * (row % 2)
    joint = (np.abs(column - np.round(column)) < 0.07) | (np.abs(z / size - np.round(z / size)) < 0.07)
    shade = cv2.remap(
        tile, np.floor(column).astype(np.float32) * 7, row.astype(np.float32) * 11, cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    return np.asarray(near * (0.28 * shade - 0.3 * joint), np.float32)


def _markings(street: Street, x: Floats, z: Floats) -> NDArray[np.bool_]:
    """Lane lines, edge lines and the zebra crossing."""
    lane = (street.right - street.left) / street.lanes
    across = (x - street.left) / lane
    nearest = np.round(across)
    line = (np.abs(across - nearest) * lane < 0.09) & (nearest >= 1) & (nearest <= street.lanes - 1)
    marked = line & ((z % 9.0 < 4.0) | (nearest == street.lanes // 2) & (street.lanes == 4))
    if street.crossing:
        marked &= (z < street.crossing[0]) | (z > street.crossing[1])
    if street.zebra is not None:
        marked |= (np.abs(z - street.zebra - 1.5) < 1.5) & ((x - street.left) % 1.0 < 0.5)
    inside = (x > street.left) & (x < street.right)
    return np.asarray(marked & inside & (z < 70))
