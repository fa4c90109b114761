"""Cars and buses: boxes turned about the vertical, seen by the camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ucc.data.sources.streets.canvas import DARK, RGB, Camera, Canvas, Floats, tint, vary
from ucc.data.sources.streets.labels import BUS, CAR
from ucc.data.sources.streets.style import CAR_PAINTS, City

TYRE: RGB = (26, 26, 28)
PANE: RGB = (40, 48, 56)
TAIL: RGB = (190, 24, 20)
HEAD: RGB = (236, 232, 214)


@dataclass(frozen=True)
class Pose:
    """Where a vehicle stands: centre on the ground, heading in radians (0 drives away from the camera)."""

    x: float
    z: float
    heading: float

    def place(self, points: ArrayLike) -> Floats:
        """Vehicle coordinates (right, up, forward) of shape (..., 3) to world coordinates."""
        right, up, forward = np.moveaxis(np.asarray(points, np.float32), -1, 0)
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        return np.stack([self.x + right * cos + forward * sin, up, self.z - right * sin + forward * cos], axis=-1)


@dataclass(frozen=True)
class Face:
    """One visible side of a box: its bottom left, bottom right, top right and top left corner in the world."""

    name: str
    corners: Floats

    def spot(self, camera: Camera, across: tuple[float, float], up: tuple[float, float]) -> Floats:
        """Canvas corners of the part between two shares of its width and of its height."""
        low, high = self.corners[:2], self.corners[[3, 2]]

        def at(s: float, t: float) -> Floats:
            foot, head = low[0] + s * (low[1] - low[0]), high[0] + s * (high[1] - high[0])
            point: Floats = foot + t * (head - foot)
            return point

        corners = [at(across[0], up[0]), at(across[1], up[0]), at(across[1], up[1]), at(across[0], up[1])]
        return camera.project(np.stack(corners))


BOX_FACES = {
    "back": ((-1, 0), (1, 0)),
    "right": ((1, 0), (1, 1)),
    "front": ((1, 1), (-1, 1)),
    "left": ((-1, 1), (-1, 0)),
}


def visible_faces(
    pose: Pose, width: float, length: tuple[float, float], up: tuple[float, float], taper: float
) -> list[Face]:
    """Sides of a box that face the camera, far ones first; the top is smaller by `taper` metres an edge."""

    def corner(side: int, end: int, level: int) -> tuple[float, float, float]:
        inset = taper * level
        forward = length[end] + (inset if end == 0 else -inset)
        return side * (width / 2 - inset * 0.4), up[level], forward

    faces = []
    for name, (first, second) in BOX_FACES.items():
        corners = pose.place([corner(*first, 0), corner(*second, 0), corner(*second, 1), corner(*first, 1)])
        (ax, _, az), (bx, _, bz) = corners[0], corners[1]
        if ax * bz - az * bx >= 0:
            continue
        faces.append(Face(name, corners))
    return sorted(faces, key=lambda face: -float(face.corners[:, 2].mean()))


def paint_car(canvas: Canvas, camera: Camera, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a car about 4.3 m long, one of several shapes."""
    paint = vary(rng, CAR_PAINTS[rng.integers(len(CAR_PAINTS))], 10)
    width, half = rng.uniform(1.65, 1.9), rng.uniform(1.9, 2.3)
    waist, roof = rng.uniform(0.85, 1.0), rng.uniform(1.4, 1.85)
    cabin = (-half + rng.uniform(0.05, 0.7), half - rng.uniform(0.9, 1.3))
    _shadow(canvas, camera, pose, width, half)
    _wheels(canvas, camera, pose, width, half, 0.32, CAR)
    body = visible_faces(pose, width, (-half, half), (0.24, waist), 0.03)
    top = [(side * width / 2, waist, end * half) for side, end in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    canvas.fill(camera.project(pose.place(top)), tint(paint, 1.15), CAR, pose.z)
    for face in body:
        canvas.fill(camera.project(face.corners), tint(paint, _brightness(face)), CAR, pose.z)
        canvas.fill(face.spot(camera, (0, 1), (0, 0.18)), TYRE, CAR, pose.z)
        _lamps(canvas, camera, face, pose.z, CAR)
    for face in visible_faces(pose, width * 0.94, cabin, (waist, roof), 0.28):
        canvas.fill(camera.project(face.corners), tint(paint, _brightness(face)), CAR, pose.z)
        panes = ((0.08, 0.5), (0.54, 0.92)) if face.name in ("left", "right") else ((0.08, 0.92),)
        for pane in panes:
            canvas.fill(face.spot(camera, pane, (0.12, 0.88)), tint(PANE, rng.uniform(0.7, 1.9)), CAR, pose.z)
    _wheels(canvas, camera, pose, width, half, 0.32, CAR, near_side=True)


def paint_bus(canvas: Canvas, camera: Camera, pose: Pose, city: City, lamps: float, rng: np.random.Generator) -> None:
    """Paint a bus or a van in the city's colours."""
    paint = vary(rng, city.bus, 12)
    long_bus = rng.random() < 0.75
    width, half, roof = (2.5, rng.uniform(4.5, 6.0), 3.1) if long_bus else (2.1, 2.8, 2.5)
    _shadow(canvas, camera, pose, width, half)
    for face in visible_faces(pose, width, (-half, half), (0.3, roof), 0.04):
        canvas.fill(camera.project(face.corners), tint(paint, _brightness(face)), BUS, pose.z)
        canvas.fill(face.spot(camera, (0, 1), (0, 0.06)), TYRE, BUS, pose.z)
        canvas.fill(face.spot(camera, (0, 1), (0.32, 0.38)), tint(paint, 0.6), BUS, pose.z)
        columns = 6 if face.name in ("left", "right") else 1
        lit = lamps > 0.3 and long_bus and face.name in ("left", "right")
        light = tint((255, 226, 170), 0.8) if lit else DARK
        for column in range(columns if long_bus else 1):
            edge = (column + 0.08) / columns, (column + 0.92) / columns
            canvas.fill(face.spot(camera, edge, (0.46, 0.88)), PANE, BUS, pose.z, light)
        _lamps(canvas, camera, face, pose.z, BUS, level=(0.1, 0.18))
    _wheels(canvas, camera, pose, width, half, 0.46, BUS, near_side=True)


def _brightness(face: Face) -> float:
    return 0.82 if face.name in ("left", "right") else 1.0


def _shadow(canvas: Canvas, camera: Camera, pose: Pose, width: float, half: float) -> None:
    outline = camera.project(
        pose.place([(s * width / 2, 0, e * half) for s, e in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    )
    low, high = outline.min(axis=0), outline.max(axis=0)
    center = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
    canvas.shade(center, (float(high[0] - low[0]) * 0.62, max(float(high[1] - low[1]) * 0.8, 2.0)), 0.7)


def _lamps(
    canvas: Canvas, camera: Camera, face: Face, z: float, label: int, level: tuple[float, float] = (0.55, 0.8)
) -> None:
    if face.name not in ("front", "back"):
        return
    color = HEAD if face.name == "front" else TAIL
    for side in ((0.04, 0.2), (0.8, 0.96)):
        canvas.fill(face.spot(camera, side, level), color, label, z, light=tint(color, 1.3))
    canvas.fill(face.spot(camera, (0.38, 0.62), (0.28, 0.45)), (206, 206, 196), label, z)


def _wheels(
    canvas: Canvas,
    camera: Camera,
    pose: Pose,
    width: float,
    half: float,
    radius: float,
    label: int,
    near_side: bool = False,
) -> None:
    """Paint the wheels of both sides, or only of the side that faces the camera, as discs standing in it."""
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    for side in (-1, 1):
        outward = pose.place([(side, 0, 0), (0, 0, 0)])
        normal = outward[0] - outward[1]
        if near_side and float(normal[0] * (pose.x + normal[0]) + normal[2] * (pose.z + normal[2])) > 0:
            continue
        for axle in (-half * 0.62, half * 0.62):
            for size, color in ((radius, TYRE), (radius * 0.5, (120, 122, 126))):
                rim = [(side * width / 2, radius + size * np.sin(a), axle + size * np.cos(a)) for a in angles]
                canvas.fill(camera.project(pose.place(rim)), color, label, pose.z)
