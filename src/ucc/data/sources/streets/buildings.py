"""Sky, the distant skyline, and buildings that recede towards the vanishing point."""

from dataclasses import dataclass

import cv2
import numpy as np

from ucc.data.sources.streets.canvas import (
    FAR,
    NEAR,
    RGB,
    Bytes,
    Camera,
    Canvas,
    Floats,
    smooth_noise,
    tint,
    vary,
)
from ucc.data.sources.streets.labels import BUILDING, SKY, VEGETATION
from ucc.data.sources.streets.style import City, Weather

STOREY = 3.2
TEXELS = 8  # texture pixels per metre of a near wall; far ones have half of it
GLASS: RGB = (52, 62, 72)
LIT: RGB = (255, 206, 130)
WINDOWS = {  # metres from one to the next, share of that which is pane, share of the storey which is pane
    "grid": (2.6, 0.46, 0.46),
    "tall": (2.3, 0.38, 0.64),
    "ribbon": (3.4, 0.9, 0.4),
    "glass": (1.7, 0.88, 0.84),
}


@dataclass(frozen=True)
class Building:
    """A box beside the street: front at `x` from depth `start` to `end`; `side` is -1 left, 1 right."""

    side: int
    x: float
    start: float
    end: float
    height: float
    wall: RGB


def draw_buildings(
    rng: np.random.Generator, city: City, side: int, x: float, gap: tuple[float, float] | None
) -> list[Building]:
    """Buildings along one side, near to far, with the city's gaps and none within `gap`."""
    buildings: list[Building] = []
    z = -rng.uniform(0, 12)
    while z < FAR * 0.8:
        end = z + rng.uniform(7, 24)
        across = gap is not None and z < gap[1] and end > gap[0]
        if across and gap is not None:
            end = max(gap[0], z)
        if end - z > 4 and end > NEAR + 1 and rng.random() > city.gap_share:
            wall = vary(rng, city.walls[rng.integers(len(city.walls))], 14)
            height = STOREY * rng.integers(city.storeys[0], city.storeys[1] + 1) + rng.uniform(0.3, 1.2)
            buildings.append(Building(side, x + side * rng.uniform(0, 0.8), max(z, NEAR), end, height, wall))
        z = gap[1] if across and gap is not None else end + (rng.uniform(1, 5) if rng.random() < 0.15 else 0.0)
    return buildings


def paint_building(
    canvas: Canvas,
    camera: Camera,
    building: Building,
    city: City,
    brightness: float,
    rng: np.random.Generator,
) -> None:
    """Paint gable and front; `brightness` of the front tells on which side the sun is."""
    b = building
    gable_far = b.x + b.side * 14
    ends = (b.x, gable_far) if b.side > 0 else (gable_far, b.x)
    gable = _box_face(camera, (ends[0], b.start), (ends[1], b.start), b.height)
    texels = TEXELS if b.start < 25 else TEXELS // 2
    texture, light = _facade(rng, city, tint(b.wall, 0.78), 14.0, b.height, texels, blind=rng.random() < 0.5)
    canvas.wall(texture, light, gable, (b.start, b.start), BUILDING)

    near_far = (b.end, b.start) if b.side > 0 else (b.start, b.end)
    front = _box_face(camera, (b.x, near_far[0]), (b.x, near_far[1]), b.height)
    texture, light = _facade(rng, city, tint(b.wall, brightness), b.end - b.start, b.height, texels, blind=False)
    canvas.wall(texture, light, front, near_far, BUILDING)
    if city.roof is not None:
        ridge = (b.x + b.side * 3.5, b.height + 2.6)
        roof = camera.project(
            [
                (b.x, b.height, b.start),
                (b.x, b.height, b.end),
                (ridge[0], ridge[1], b.end),
                (ridge[0], ridge[1], b.start),
            ]
        )
        canvas.fill(roof, tint(vary(rng, city.roof, 8), brightness), BUILDING, b.start)
        gable_top = camera.project(
            [(b.x, b.height, b.start), (ridge[0], ridge[1], b.start), (b.x + b.side * 7, b.height, b.start)]
        )
        canvas.fill(gable_top, tint(b.wall, 0.74), BUILDING, b.start)


def paint_sky(canvas: Canvas, camera: Camera, weather: Weather, rng: np.random.Generator) -> None:
    """Paint the whole canvas as sky: a vertical gradient and clouds that shrink towards the horizon."""
    height, width = canvas.mask.shape
    up = np.clip(1 - np.arange(height, dtype=np.float32) / max(camera.horizon, 1), 0, 1)[:, None, None] ** 0.7
    gradient = np.array(weather.zenith, np.float32) * up + np.array(weather.skyline, np.float32) * (1 - up)
    color = np.broadcast_to(gradient, (height, width, 3))
    clouds = smooth_noise(rng, height, width, (12, 32, 80, 160))
    stretch = np.linspace(0, 1, height, dtype=np.float32) ** 0.6 * (height - 1)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), stretch)
    clouds = np.asarray(cv2.remap(clouds, columns, rows, cv2.INTER_LINEAR), np.float32)
    cover = np.clip((clouds + rng.uniform(-0.2, 0.3)) * 2.2, 0, 1)[..., None] * weather.clouds
    white = np.array(weather.skyline, np.float32) * rng.uniform(0.85, 1.15)
    canvas.image[...] = np.clip(color + (white - color) * cover, 0, 255).astype(np.uint8)
    canvas.mask[...] = SKY


def paint_skyline(canvas: Canvas, camera: Camera, city: City, rng: np.random.Generator) -> None:
    """Close the view at the end of the street with far houses, woods or nothing."""
    width = canvas.mask.shape[1]
    kind = rng.choice(["houses", "woods", "both", "open"], p=[0.35, 0.3, 0.25, 0.1])
    base = camera.horizon + 2
    if kind in ("woods", "both"):
        profile = smooth_noise(rng, 1, width, (8, 24, 90))[0] * 0.5 + 1.0
        top = base - profile * camera.scale(FAR) * rng.uniform(8, 16)
        outline = [(0, base), *zip(range(width), top.tolist(), strict=True), (width, base)]
        canvas.fill(outline, vary(rng, city.leaves[0], 8), VEGETATION, FAR)
    if kind in ("houses", "both"):
        x = 0.0
        while x < width:
            span = camera.scale(FAR) * rng.uniform(10, 30)
            if rng.random() < 0.8:
                top = base - camera.scale(FAR) * STOREY * rng.uniform(city.storeys[0] + 1, city.storeys[1] + 3)
                wall = vary(rng, city.walls[rng.integers(len(city.walls))], 12)
                canvas.fill([(x, base), (x, top), (x + span, top), (x + span, base)], wall, BUILDING, FAR)
            x += span


def _box_face(camera: Camera, left: tuple[float, float], right: tuple[float, float], height: float) -> Floats:
    """Corners of an upright wall between two ground points (x, z), in the order that `Canvas.wall` wants."""
    (x0, z0), (x1, z1) = left, right
    return camera.project([(x0, height, z0), (x1, height, z1), (x1, 0, z1), (x0, 0, z0)])


def _facade(
    rng: np.random.Generator, city: City, wall: RGB, length: float, height: float, texels: int, blind: bool
) -> tuple[Bytes, Bytes]:
    """Texture of a wall and of the light from its windows, both (h, w, 3), `texels` a metre."""
    h, w = max(int(height * texels), 8), max(int(length * texels), 8)
    texture = np.empty((h, w, 3), np.float32)
    texture[...] = wall
    texture *= 1 + 0.13 * smooth_noise(rng, h, w, (2, 8, 32))[..., None]
    light = np.zeros((h, w, 3), np.uint8)
    if not blind:
        _windows(rng, city, texture, light, texels)
        _ground_floor(rng, wall, texture, light, texels)
    texture[: max(texels // 3, 1)] *= 0.7
    return np.clip(texture, 0, 255).astype(np.uint8), light


def _windows(rng: np.random.Generator, city: City, texture: Floats, light: Bytes, texels: int) -> None:
    """Panes on a lattice of storeys and columns, each with its own brightness, some of them lit."""
    h, w = texture.shape[:2]
    pitch, share, tall = WINDOWS[city.windows]
    column = np.arange(w) / (pitch * texels * rng.uniform(0.85, 1.2)) + rng.random()
    level = (h - 1 - np.arange(h)) / (STOREY * texels)
    across, up = np.abs(column % 1 - 0.5), np.abs(level % 1 - 0.5)
    upstairs = level >= 1
    trim = np.outer((up < tall / 2 + 0.04) & upstairs, across < share / 2 + 0.04)
    pane = np.outer((up < tall / 2) & upstairs, across < share / 2)
    texture[trim] *= rng.uniform(0.75, 1.35)

    glass = np.array(GLASS, np.float32) * rng.uniform(0.7, 1.7)
    if city.windows == "glass":
        glass = glass * 0.3 + texture[0, 0] * rng.uniform(0.7, 1.1)
    lattice = np.ix_(level.astype(int), column.astype(int))
    cells = (int(level[0]) + 1, int(column[-1]) + 1)
    brightness = rng.uniform(0.6, 1.4, cells)[lattice] * (0.8 + 0.4 * (level % 1))[:, None]
    texture[pane] = glass * brightness[pane][:, None]
    lit = np.where(rng.random(cells) < rng.uniform(0.1, 0.5), rng.uniform(0.4, 1.0, cells), 0)[lattice]
    light[pane] = (np.array(LIT) * lit[pane][:, None]).astype(np.uint8)


def _ground_floor(rng: np.random.Generator, wall: RGB, texture: Floats, light: Bytes, texels: int) -> None:
    """Shops or doors, with awnings and boards of any colour: much that only looks like signs and cars."""
    h, w = texture.shape[:2]
    top, left = h - int(2.7 * texels), int(rng.uniform(0.3, 1.5) * texels)
    while left < w - texels:
        right = min(left + int(rng.uniform(1.0, 4.5) * texels), w - 2)
        if top > texels // 3 and rng.random() < 0.75:
            texture[top : h - texels // 3, left:right] = np.array(GLASS) * rng.uniform(0.5, 1.5)
            texture[h - texels // 2 - 1 : h - texels // 3, left:right] = np.array(wall) * 0.6
            if rng.random() < 0.5:
                texture[top - texels // 3 : top + texels // 3, left:right] = rng.uniform(30, 220, 3)
            if rng.random() < 0.5:
                light[top : h - texels // 3, left:right] = tint(LIT, rng.uniform(0.5, 1.0))
        left = right + int(rng.uniform(0.4, 1.6) * texels)
