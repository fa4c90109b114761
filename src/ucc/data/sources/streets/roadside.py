"""What stands along the kerb: trees and bushes, lamp posts, traffic signs and traffic lights."""

import cv2
import numpy as np

from ucc.data.sources.streets.canvas import RGB, Camera, Canvas, Floats, tint, vary
from ucc.data.sources.streets.labels import POLE, SIGN, VEGETATION
from ucc.data.sources.streets.style import City, Weather

BARK: RGB = (82, 66, 52)
LAMP: RGB = (255, 224, 168)
SIGNALS: tuple[RGB, ...] = ((230, 40, 30), (236, 170, 40), (40, 200, 110))


def paint_tree(
    canvas: Canvas, camera: Camera, x: float, z: float, city: City, texture: Floats, rng: np.random.Generator
) -> None:
    """Paint a tree of the city's kind; `texture` is smooth noise (h, w) that roughens outline and shading."""
    scale = camera.scale(z)
    foot = camera.project([x, 0.0, z])
    u, v = float(foot[0]), float(foot[1])
    height = rng.uniform(5.5, 10.5) * (0.75 if city.tree == "palm" else 1.0)
    leaf = vary(rng, city.leaves[rng.integers(len(city.leaves))], 10)
    canvas.shade((u, v), (height * 0.3 * scale, height * 0.06 * scale), 0.45)
    bark = vary(rng, BARK, 10)
    trunk = height * (0.85 if city.tree in ("palm", "bare") else 0.5)
    lean = rng.normal(0, 0.03) * trunk * scale
    canvas.bar((u, v), (u + lean, v - trunk * scale), 0.035 * height * scale, bark, VEGETATION, z)
    if city.tree == "palm":
        _fronds(canvas, (u + lean, v - trunk * scale), height * 0.34 * scale, leaf, z, rng)
    elif city.tree == "bare":
        _branches(canvas, (u + lean * 0.5, v - trunk * 0.45 * scale), height * 0.36 * scale, bark, z, rng)
    else:
        width = {"round": 0.75, "conifer": 0.5, "cypress": 0.26}[city.tree] * height * scale
        bottom = {"round": 0.3, "conifer": 0.1, "cypress": 0.08}[city.tree] * height * scale
        _crown(canvas, (u + lean, v - bottom), (width, height * scale - bottom), city.tree, leaf, z, texture, rng)


def paint_bush(
    canvas: Canvas, camera: Camera, x: float, z: float, city: City, texture: Floats, rng: np.random.Generator
) -> None:
    """Paint a bush or a piece of hedge."""
    foot = camera.project([x, 0.0, z])
    scale = camera.scale(z)
    leaf = vary(rng, city.leaves[rng.integers(len(city.leaves))], 12)
    size = rng.uniform(1.2, 3.0) * scale, rng.uniform(0.7, 1.5) * scale
    _crown(canvas, (float(foot[0]), float(foot[1])), size, "round", leaf, z, texture, rng)


def paint_lamp_post(
    canvas: Canvas,
    camera: Camera,
    x: float,
    z: float,
    side: int,
    city: City,
    weather: Weather,
    rng: np.random.Generator,
) -> None:
    """Paint a post whose arm reaches over the road; its head shines at night."""
    height, arm = rng.uniform(5.0, 8.0), rng.uniform(0.6, 2.0)
    color, width = vary(rng, city.pole, 8), rng.uniform(0.18, 0.28) * camera.scale(z)
    foot, top, tip = camera.project([(x, 0, z), (x, height, z), (x - side * arm, height + 0.2, z)])
    canvas.bar(foot, top, width, color, POLE, z)
    canvas.bar(top, tip, width * 0.7, color, POLE, z)
    glow = tint(LAMP, weather.lamps) if weather.lamps > 0.3 else (0, 0, 0)
    size = 0.3 * camera.scale(z)
    canvas.disc((float(tip[0]), float(tip[1])), (size, size * 0.4), tint(color, 1.1), POLE, z, light=glow)


def paint_sign(canvas: Canvas, camera: Camera, x: float, z: float, city: City, rng: np.random.Generator) -> None:
    """Paint a traffic sign on its post: round, triangular, or a board."""
    scale, height = camera.scale(z), rng.uniform(2.2, 3.0)
    foot, top = camera.project([(x, 0, z), (x, height, z)])
    canvas.bar(foot, top, 0.13 * scale, vary(rng, city.pole, 8), POLE, z)
    u, v = float(top[0]), float(top[1])
    color, size = vary(rng, city.sign, 14), rng.uniform(0.42, 0.62) * scale
    kind = rng.choice(["disc", "triangle", "board"])
    if kind == "disc":
        canvas.disc((u, v), (size, size), color, SIGN, z)
        canvas.disc((u, v), (size * 0.62, size * 0.62), (222, 220, 214), SIGN, z)
    elif kind == "triangle":
        for factor, paint in ((1.15, color), (0.65, (226, 222, 210))):
            r = size * factor
            canvas.fill([(u - r, v + r * 0.7), (u + r, v + r * 0.7), (u, v - r)], paint, SIGN, z)
    else:
        wide, high = size * rng.uniform(0.9, 2.4), size * rng.uniform(0.7, 1.2)
        canvas.fill(
            [(u - wide, v - high), (u + wide, v - high), (u + wide, v + high), (u - wide, v + high)],
            color,
            SIGN,
            z,
        )
        for line in (-0.35, 0.3):
            canvas.bar(
                (u - wide * 0.7, v + high * line),
                (u + wide * 0.6, v + high * line),
                high * 0.25,
                (224, 224, 220),
                SIGN,
                z,
            )


def paint_traffic_light(
    canvas: Canvas, camera: Camera, x: float, z: float, city: City, rng: np.random.Generator
) -> None:
    """Paint a traffic light; its case counts as a sign, its post as a pole."""
    scale, height = camera.scale(z), rng.uniform(2.8, 3.6)
    foot, top = camera.project([(x, 0, z), (x, height, z)])
    canvas.bar(foot, top, 0.16 * scale, vary(rng, city.pole, 8), POLE, z)
    u, v = float(top[0]), float(top[1])
    wide, high = 0.2 * scale, 0.52 * scale
    canvas.fill(
        [(u - wide, v - high), (u + wide, v - high), (u + wide, v + high), (u - wide, v + high)],
        (30, 32, 32),
        SIGN,
        z,
    )
    shown = int(rng.integers(3))
    for i, color in enumerate(SIGNALS):
        light = color if i == shown else (0, 0, 0)
        center = (u, v + (i - 1) * high * 0.62)
        canvas.disc(center, (wide * 0.65, wide * 0.65), color if i == shown else tint(color, 0.22), SIGN, z, light)


def _crown(
    canvas: Canvas,
    foot: tuple[float, float],
    size: tuple[float, float],
    kind: str,
    leaf: RGB,
    z: float,
    texture: Floats,
    rng: np.random.Generator,
) -> None:
    """Leaves whose outline is an ellipse, a cone or a spindle, roughened by noise and lit from above."""
    limit = canvas.mask.shape
    w, h = (int(np.clip(s, 3, 2 * max(limit))) for s in size)
    crop = min(*texture.shape, 96 + int(rng.integers(64)))
    top, left = rng.integers(0, texture.shape[0] - crop + 1), rng.integers(0, texture.shape[1] - crop + 1)
    noise = cv2.resize(texture[top : top + crop, left : left + crop], (w, h), interpolation=cv2.INTER_LINEAR)
    up = np.linspace(1, 0, h, dtype=np.float32)[:, None]
    across = np.abs(np.linspace(-1, 1, w, dtype=np.float32))
    if kind == "conifer":
        inside = (1 - up) * (0.85 + 0.15 * np.sin(up * 28)) - across
    elif kind == "cypress":
        inside = np.sin(np.pi * (0.05 + 0.9 * up)) ** 0.6 - across
    else:
        inside = 1 - across**2 - (2 * up - 1) ** 2
    shape = inside + noise * 0.75 > 0.12
    shading = 0.62 + 0.42 * up + 0.55 * noise
    patch = np.clip(np.array(leaf, np.float32) * shading[..., None], 0, 255).astype(np.uint8)
    canvas.stamp(patch, shape, (int(foot[0] - w / 2), int(foot[1] - h)), VEGETATION, z)


def _fronds(
    canvas: Canvas, top: tuple[float, float], length: float, leaf: RGB, z: float, rng: np.random.Generator
) -> None:
    for angle in np.linspace(0.1, np.pi - 0.1, 9) + rng.normal(0, 0.12, 9):
        reach = length * rng.uniform(0.8, 1.1)
        out = np.array([np.cos(angle), -np.sin(angle) * 0.7]) * reach
        drop = np.array([0.0, 0.45 * reach])
        base = np.array(top)
        bend, tip = base + out * 0.6, base + out + drop
        thick = np.array([0.0, 0.16 * reach])
        canvas.fill([base, bend - thick, tip, bend + thick], vary(rng, leaf, 10), VEGETATION, z)


def _branches(
    canvas: Canvas, base: tuple[float, float], length: float, bark: RGB, z: float, rng: np.random.Generator
) -> None:
    """A leafless crown: bars that fork three times."""
    stack = [(np.array(base), -np.pi / 2 + rng.normal(0, 0.1), length, 3)]
    while stack:
        start, angle, reach, forks = stack.pop()
        end = start + reach * np.array([np.cos(angle), np.sin(angle)])
        canvas.bar(start, end, reach * 0.1, bark, VEGETATION, z)
        if forks:
            for turn in (-0.55, 0.05, 0.6):
                stack.append((end, angle + turn + rng.normal(0, 0.12), reach * rng.uniform(0.55, 0.75), forks - 1))
