"""People on foot and on bicycles, as flat figures that face or pass the camera; a bicycle belongs to its rider."""

from itertools import pairwise

import numpy as np

from ucc.data.sources.streets.canvas import RGB, Camera, Canvas, tint, vary
from ucc.data.sources.streets.labels import PERSON
from ucc.data.sources.streets.style import CLOTHES, SKIN, Weather

Point = tuple[float, float]


class Figure:
    """Places shapes given in metres, (right, up) from a point on the ground, onto the canvas."""

    def __init__(self, canvas: Canvas, camera: Camera, x: float, z: float, size: float) -> None:
        self.canvas, self.z = canvas, z
        foot = camera.project([x, 0.0, z])
        self.foot = float(foot[0]), float(foot[1])
        self.scale = camera.scale(z) * size

    def at(self, point: Point) -> Point:
        """Canvas position of a point."""
        return self.foot[0] + point[0] * self.scale, self.foot[1] - point[1] * self.scale

    def shape(self, points: list[Point], color: RGB) -> None:
        """A filled polygon."""
        self.canvas.fill([self.at(p) for p in points], color, PERSON, self.z)

    def limb(self, start: Point, end: Point, width: float, color: RGB) -> None:
        """A straight bar."""
        self.canvas.bar(self.at(start), self.at(end), width * self.scale, color, PERSON, self.z)

    def ball(self, center: Point, radius: Point, color: RGB) -> None:
        """An ellipse."""
        axes = radius[0] * self.scale, radius[1] * self.scale
        self.canvas.disc(self.at(center), axes, color, PERSON, self.z)


def paint_person(
    canvas: Canvas, camera: Camera, x: float, z: float, weather: Weather, rng: np.random.Generator
) -> None:
    """Paint someone standing or walking, perhaps with a bag, a coat, or an umbrella in the rain."""
    figure = Figure(canvas, camera, x, z, size=rng.uniform(0.78, 1.08))
    canvas.shade(figure.foot, (0.4 * figure.scale, 0.12 * figure.scale), 0.5)
    trousers, coat, skin = _clothes(rng), _clothes(rng), vary(rng, SKIN[rng.integers(len(SKIN))], 8)
    stride, wide = rng.uniform(0.02, 0.3), rng.uniform(0.19, 0.27)
    figure.limb((-0.08, 0.85), (-0.08 - stride, 0.0), 0.15, trousers)
    figure.limb((0.08, 0.85), (0.08 + stride * 0.8, 0.0), 0.15, tint(trousers, 0.85))
    hem = rng.choice([0.55, 0.8, 0.85])
    figure.shape([(-wide * 0.8, hem), (wide * 0.8, hem), (wide, 1.38), (0.1, 1.48), (-0.1, 1.48), (-wide, 1.38)], coat)
    swing = rng.uniform(0.0, 0.22)
    figure.limb((-wide, 1.36), (-wide - swing, 0.82), 0.1, tint(coat, 0.85))
    figure.limb((wide, 1.36), (wide + swing, 0.82), 0.1, tint(coat, 0.9))
    if rng.random() < 0.4:
        side = rng.choice([-1, 1]) * (wide + 0.08)
        figure.shape([(side - 0.14, 0.55), (side + 0.14, 0.55), (side + 0.12, 0.9), (side - 0.12, 0.9)], _clothes(rng))
    _head(figure, (0.0, 1.62), skin, rng)
    if weather.wetness > 0.5 and rng.random() < 0.6:
        cover = _clothes(rng)
        figure.shape([(-0.55, 1.75), (-0.3, 1.98), (0.0, 2.08), (0.3, 1.98), (0.55, 1.75), (0.0, 1.83)], cover)


def paint_cyclist(canvas: Canvas, camera: Camera, x: float, z: float, rng: np.random.Generator) -> None:
    """Paint a rider with a bicycle, seen from the side or from behind."""
    figure = Figure(canvas, camera, x, z, size=rng.uniform(0.92, 1.05))
    canvas.shade(figure.foot, (0.8 * figure.scale, 0.12 * figure.scale), 0.5)
    frame, trousers, shirt = vary(rng, (90, 40, 40), 40), _clothes(rng), _clothes(rng)
    skin = vary(rng, SKIN[rng.integers(len(SKIN))], 8)
    if rng.random() < 0.5:
        facing = float(rng.choice([-1, 1]))
        for hub in (-0.52, 0.52):
            rim = [(hub + 0.34 * float(np.cos(a)), 0.34 + 0.34 * float(np.sin(a))) for a in np.linspace(0, 6.28, 15)]
            for start, end in pairwise(rim):
                figure.limb(start, end, 0.06, (24, 24, 26))
        for start, end in (
            ((-0.52, 0.34), (-0.2, 0.85)),
            ((-0.2, 0.85), (0.05, 0.32)),
            ((0.05, 0.32), (0.45, 0.9)),
            ((-0.2, 0.8), (0.45, 0.85)),
            ((0.45, 0.95), (0.52, 0.34)),
        ):
            figure.limb((start[0] * facing, start[1]), (end[0] * facing, end[1]), 0.07, frame)
        figure.limb((-0.18 * facing, 0.95), (0.1 * facing, 0.62), 0.17, trousers)
        figure.limb((0.1 * facing, 0.62), (0.05 * facing, 0.22), 0.13, trousers)
        figure.limb((-0.18 * facing, 0.95), (0.14 * facing, 1.45), 0.32, shirt)
        figure.limb((0.14 * facing, 1.38), (0.45 * facing, 1.0), 0.1, tint(shirt, 0.85))
        _head(figure, (0.22 * facing, 1.64), skin, rng)
        return
    figure.limb((0.0, 0.0), (0.0, 0.7), 0.09, (24, 24, 26))
    figure.limb((-0.28, 1.0), (0.28, 1.0), 0.06, frame)
    figure.limb((-0.13, 0.95), (-0.14, 0.3), 0.15, trousers)
    figure.limb((0.13, 0.95), (0.14, 0.42), 0.15, tint(trousers, 0.85))
    figure.shape([(-0.2, 0.88), (0.2, 0.88), (0.25, 1.42), (-0.25, 1.42)], shirt)
    figure.limb((-0.24, 1.38), (-0.32, 1.0), 0.1, tint(shirt, 0.85))
    figure.limb((0.24, 1.38), (0.32, 1.0), 0.1, tint(shirt, 0.85))
    _head(figure, (0.0, 1.62), skin, rng)


def _clothes(rng: np.random.Generator) -> RGB:
    return vary(rng, CLOTHES[rng.integers(len(CLOTHES))], 12)


def _head(figure: Figure, center: Point, skin: RGB, rng: np.random.Generator) -> None:
    hair = vary(rng, (60, 44, 34), 20)
    figure.ball(center, (0.12, 0.15), hair)
    if rng.random() < 0.6:
        figure.ball((center[0], center[1] - 0.03), (0.1, 0.11), skin)
