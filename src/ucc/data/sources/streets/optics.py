"""From painted surfaces to a photograph: light, wet ground, fog, lens and sensor."""

import cv2
import numpy as np

from ucc.data.sources.streets.canvas import Bytes, Camera, Canvas, Floats
from ucc.data.sources.streets.labels import CLASSES, ROAD, SIDEWALK, SKY
from ucc.data.sources.streets.style import Weather

HEADLIGHT_REACH = 11.0  # metres


def illuminate(canvas: Canvas, camera: Camera, weather: Weather, puddles: Floats) -> Floats:
    """Colours (H, W, 3) in 0..255 as they reach the lens; `puddles` is smooth noise over the ground."""
    color = canvas.image.astype(np.float32)
    solid = (canvas.mask != SKY)[..., None]
    ambient = np.array(weather.ambient, np.float32)
    gain = np.broadcast_to(ambient, color.shape)
    if weather.lamps > 0.5:
        height, width = canvas.mask.shape
        beam = np.exp(-canvas.depth / HEADLIGHT_REACH)
        across = (np.arange(width, dtype=np.float32) - camera.vanish_x) / width
        rows = (np.arange(height, dtype=np.float32)[:, None] - camera.horizon) / height
        beam = beam * np.exp(-((across / 0.35) ** 2)) * np.clip(1 + 4 * rows, 0, 1)
        gain = gain + (0.9 * weather.lamps * beam)[..., None] * np.array([1.0, 0.95, 0.8], np.float32)
    color = np.where(solid, color * gain, color)
    emitted = canvas.light.astype(np.float32) * weather.lamps
    color = np.maximum(color, emitted)
    if weather.wetness:
        color = _reflect(color, canvas, camera, weather.wetness, puddles)
    air = np.exp(-weather.fog * canvas.depth)[..., None]
    color = color * air + np.array(weather.skyline, np.float32) * (1 - air)
    if weather.lamps:
        color = color + 0.55 * _glow(emitted)
    return np.asarray(color, np.float32)


def photograph(color: Floats, height: int, width: int, weather: Weather, rng: np.random.Generator) -> Bytes:
    """The sensor's picture (height, width, 3): averaged, unsharp, unevenly exposed and noisy."""
    shot: Floats = np.asarray(cv2.resize(color, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    if weather.wetness > 0.5:
        shot = shot + _rain(height, width, rng)[..., None]
    shot = np.asarray(cv2.GaussianBlur(shot, (0, 0), rng.uniform(0.3, 0.6)), np.float32)
    exposure = np.exp(rng.normal(0, 0.1))
    balance = np.exp(rng.normal(0, 0.03, 3))
    gamma = np.exp(rng.normal(0, 0.07))
    exposed = 255 * np.clip(shot * exposure * balance / 255, 0, 1) ** gamma
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    vignette = 1 - rng.uniform(0, 0.22) * (x**2 + y**2) / 2
    noise = rng.normal(0, weather.noise, (height, width, 1)) + rng.normal(0, weather.noise / 2, shot.shape)
    return np.asarray(np.clip(np.round(exposed * vignette[..., None] + noise), 0, 255).astype(np.uint8))


def majority(mask: Bytes, height: int, width: int) -> Bytes:
    """Mask (height, width) in which each pixel has the class that covers most of it."""
    cover = [
        cv2.resize((mask == label).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        for label in range(len(CLASSES))
    ]
    return np.asarray(np.argmax(cover, axis=0), np.uint8)


def _glow(emitted: Floats) -> Floats:
    """Emitted light spread by lens and air: a narrow and a wide halo, blurred at a quarter of the size."""
    height, width = emitted.shape[:2]
    small = cv2.resize(emitted, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
    halo = cv2.GaussianBlur(small, (0, 0), width / 240) + cv2.GaussianBlur(small, (0, 0), width / 800)
    return np.asarray(cv2.resize(halo, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _reflect(color: Floats, canvas: Canvas, camera: Camera, wetness: float, puddles: Floats) -> Floats:
    """Mirror the scene about the horizon in the wet ground, smeared downwards."""
    height = color.shape[0]
    rows = np.clip(np.round(2 * camera.horizon - np.arange(height)), 0, height - 1).astype(np.intp)
    mirrored = cv2.blur(color[rows], (5, max(height // 12, 3)))
    ground = (canvas.mask == ROAD) | (canvas.mask == SIDEWALK)
    share = wetness * np.clip(0.45 + 0.9 * puddles, 0.12, 0.9) * ground
    wet = color * (1 - share * 0.8)[..., None] + mirrored * (share * 0.7)[..., None]
    return np.asarray(wet, np.float32)


def _rain(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Bright slanting streaks."""
    drops = (rng.random((height, width), dtype=np.float32) < 0.006).astype(np.float32)
    length = 9
    kernel = np.zeros((length, length), np.float32)
    slant = int(rng.integers(-3, 4))
    cv2.line(kernel, (length // 2 - slant, 0), (length // 2 + slant, length - 1), 1.0)
    return np.asarray(cv2.filter2D(drops, -1, kernel) * rng.uniform(14, 34), np.float32)
