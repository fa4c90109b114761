"""One street scene: what stands where, painted from far to near, lit and photographed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ucc.data.sources.streets.buildings import (
    Building,
    draw_buildings,
    paint_building,
    paint_sky,
    paint_skyline,
)
from ucc.data.sources.streets.canvas import Bytes, Camera, Canvas, Floats, smooth_noise
from ucc.data.sources.streets.ground import LANE, Roofs, Street, draw_street, paint_ground
from ucc.data.sources.streets.labels import SKY
from ucc.data.sources.streets.optics import illuminate, majority, photograph
from ucc.data.sources.streets.people import paint_cyclist, paint_person
from ucc.data.sources.streets.roadside import (
    paint_bush,
    paint_lamp_post,
    paint_sign,
    paint_traffic_light,
    paint_tree,
)
from ucc.data.sources.streets.style import CITIES, WEATHERS, City, Weather
from ucc.data.sources.streets.vehicles import Pose, paint_bus, paint_car

SUPERSAMPLING = 2
OBJECTS_TO = 70.0  # metres; beyond it single objects are smaller than a pixel or two

Painter = tuple[float, Callable[[], None]]


def draw_scene(rng: np.random.Generator, height: int, width: int) -> tuple[Bytes, Bytes]:
    """Image (height, width, 3) and mask (height, width), uint8, of a scene in a random city and weather."""
    city = CITIES[rng.integers(len(CITIES))]
    weather = WEATHERS[rng.choice(len(WEATHERS), p=[weather.share for weather in WEATHERS])]
    scene = _Scene(rng, height * SUPERSAMPLING, width * SUPERSAMPLING, city, weather)
    scene.paint()
    color = illuminate(scene.canvas, scene.camera, weather, scene.texture)
    return photograph(color, height, width, weather, rng), majority(scene.canvas.mask, height, width)


@dataclass(frozen=True)
class _Kerb:
    """One side of the road: `side` -1 left, 1 right; `x` of the kerb, width `walk` of the pavement."""

    side: int
    x: float
    walk: float

    @property
    def lot(self) -> float:
        return self.x + self.side * self.walk


class _Scene:
    def __init__(self, rng: np.random.Generator, height: int, width: int, city: City, weather: Weather) -> None:
        self.rng, self.city, self.weather = rng, city, weather
        self.canvas = Canvas(height, width, SKY)
        self.camera = Camera(
            focal=width * rng.uniform(0.62, 0.9),
            horizon=height * rng.uniform(0.42, 0.56),
            vanish_x=width * rng.uniform(0.28, 0.72),
            height=rng.uniform(1.3, 2.3),
        )
        self.street: Street = draw_street(rng)
        self.texture: Floats = smooth_noise(rng, height, width, (3, 6, 12, 28, 60))
        self.kerbs = (
            _Kerb(-1, self.street.left, self.street.walk_left),
            _Kerb(1, self.street.right, self.street.walk_right),
        )

    def paint(self) -> None:
        rng, canvas, camera, city = self.rng, self.canvas, self.camera, self.city
        paint_sky(canvas, camera, self.weather, rng)
        paint_skyline(canvas, camera, city, rng)
        sides = [draw_buildings(rng, city, kerb.side, kerb.lot, self.street.crossing) for kerb in self.kerbs]
        sun_left = bool(rng.random() < 0.5)
        roofs = Roofs(sun_left, slant=rng.uniform(0.2, 1.1))
        for building in sides[0 if sun_left else 1]:
            roofs.add(building.start, building.end, building.height)
        paint_ground(canvas, camera, self.street, city, roofs, self.weather.sun, rng)
        shaded = 1 - 0.6 * self.weather.sun
        behind = [
            painter
            for kerb, buildings in zip(self.kerbs, sides, strict=True)
            for painter in self._beside(kerb, buildings, shaded if (kerb.side < 0) == sun_left else 1.0)
        ]
        _paint_from_far(behind)
        _paint_from_far([*self._furniture(), *self._vehicles(), *self._people()])

    def _beside(self, kerb: _Kerb, buildings: list[Building], brightness: float) -> list[Painter]:
        """Buildings and, in the gaps between them, trees and bushes."""
        rng, canvas, camera, city = self.rng, self.canvas, self.camera, self.city

        def building_painter(building: Building) -> Painter:
            return building.start, lambda: paint_building(canvas, camera, building, city, brightness, rng)

        painters = [building_painter(b) for b in buildings]
        for _ in range(rng.poisson(26 if city.lot_is_green else 14)):
            z, x = rng.uniform(4, OBJECTS_TO), kerb.lot + kerb.side * rng.uniform(0.8, 14)
            crossed = self.street.crossing is not None and self.street.crossing[0] < z < self.street.crossing[1]
            if crossed or any(b.start - 1 < z < b.end + 1 for b in buildings):
                continue
            paint = paint_tree if rng.random() < 0.6 else paint_bush
            painters.append(self._plant(paint, x, z))
        return painters

    def _plant(self, paint: Callable[..., None], x: float, z: float) -> Painter:
        return z, lambda: paint(self.canvas, self.camera, x, z, self.city, self.texture, self.rng)

    def _furniture(self) -> list[Painter]:
        """Trees, lamp posts, signs and traffic lights along both kerbs."""
        rng, canvas, camera, city = self.rng, self.canvas, self.camera, self.city
        painters: list[Painter] = []

        def lamp(x: float, z: float, side: int) -> Painter:
            return z, lambda: paint_lamp_post(canvas, camera, x, z, side, city, self.weather, rng)

        def sign(x: float, z: float) -> Painter:
            return z, lambda: paint_sign(canvas, camera, x, z, city, rng)

        def signal(x: float, z: float) -> Painter:
            return z, lambda: paint_traffic_light(canvas, camera, x, z, city, rng)

        for kerb in self.kerbs:
            row = kerb.x + kerb.side * 0.5
            if rng.random() < 0.7:
                spacing = city.tree_spacing * rng.uniform(0.8, 1.6)
                for z in np.arange(rng.uniform(4, 4 + spacing), OBJECTS_TO, spacing):
                    if rng.random() < 0.75:
                        painters.append(self._plant(paint_tree, row + kerb.side * 0.4, float(z)))
            if rng.random() < 0.3:
                start = rng.uniform(4, 30)
                for z in np.arange(start, start + rng.uniform(5, 20), 1.1):
                    painters.append(self._plant(paint_bush, kerb.lot - kerb.side * 0.3, float(z)))
            spacing = rng.uniform(14, 28)
            for z in np.arange(rng.uniform(5, 5 + spacing), OBJECTS_TO, spacing):
                painters.append(lamp(row, float(z), kerb.side))
            for _ in range(rng.poisson(1.0)):
                painters.append(sign(row + rng.uniform(-0.2, 0.5) * kerb.side, rng.uniform(5, 15)))
            if self.street.crossing and rng.random() < 0.7:
                painters.append(signal(row, self.street.crossing[0] - rng.uniform(0.5, 2)))
        return painters

    def _vehicles(self) -> list[Painter]:
        """Parked, driving and crossing cars, and now and then a bus."""
        rng, street = self.rng, self.street
        painters: list[Painter] = []
        for kerb in self.kerbs:
            along = 0.0 if kerb.side > 0 else np.pi
            if rng.random() < 0.35:
                z = rng.uniform(6, 20)
                while z < 50:
                    if rng.random() < 0.7 and not self._in_crossing(z, 4):
                        painters.append(self._car(kerb.x - kerb.side * rng.uniform(0.95, 1.2), z, along))
                    z += rng.uniform(5.2, 8.0)
        lane_width = (street.right - street.left) / street.lanes
        for lane in range(street.lanes):
            x = street.left + (lane + 0.5) * lane_width
            along = np.pi if lane < street.lanes // 2 else 0.0
            z = rng.uniform(7, 30)
            while z < OBJECTS_TO:
                if rng.random() < 0.14:
                    painters.append(self._bus(x, max(z, 14.0), along + rng.normal(0, 0.02)))
                elif rng.random() < 0.7:
                    painters.append(self._car(x + rng.normal(0, 0.25), z, along + rng.normal(0, 0.03)))
                z += rng.uniform(12, 45)
        if street.crossing and rng.random() < 0.5:
            side = float(rng.choice([-1, 1]))
            z = sum(street.crossing) / 2 + side * LANE / 2
            painters.append(self._car(rng.uniform(-12, 12), z, side * np.pi / 2))
        return painters

    def _people(self) -> list[Painter]:
        """People on the pavements and on the zebra crossing, cyclists near the kerbs."""
        rng, street = self.rng, self.street
        painters: list[Painter] = []
        for kerb in self.kerbs:
            for _ in range(rng.poisson(1.5)):
                x, z = kerb.x + kerb.side * kerb.walk * rng.uniform(0.25, 0.9), rng.uniform(4.5, 15)
                for _ in range(int(rng.choice([1, 1, 2, 3]))):
                    painters.append(self._person(x + rng.normal(0, 0.35), z + rng.normal(0, 0.3)))
            if rng.random() < 0.35:
                painters.append(self._cyclist(kerb.x - kerb.side * rng.uniform(0.4, 1.2), rng.uniform(5, 16)))
        if street.zebra is not None:
            for _ in range(rng.poisson(1.2)):
                painters.append(self._person(rng.uniform(street.left, street.right), street.zebra + rng.uniform(0, 3)))
        return painters

    def _in_crossing(self, z: float, margin: float) -> bool:
        crossing = self.street.crossing
        return crossing is not None and crossing[0] - margin < z < crossing[1] + margin

    def _car(self, x: float, z: float, heading: float) -> Painter:
        return z, lambda: paint_car(self.canvas, self.camera, Pose(x, z, heading), self.rng)

    def _bus(self, x: float, z: float, heading: float) -> Painter:
        pose = Pose(x, z, heading)
        return z, lambda: paint_bus(self.canvas, self.camera, pose, self.city, self.weather.lamps, self.rng)

    def _person(self, x: float, z: float) -> Painter:
        return z, lambda: paint_person(self.canvas, self.camera, x, z, self.weather, self.rng)

    def _cyclist(self, x: float, z: float) -> Painter:
        return z, lambda: paint_cyclist(self.canvas, self.camera, x, z, self.rng)


def _paint_from_far(painters: list[Painter]) -> None:
    for _, paint in sorted(painters, key=lambda painter: -painter[0]):
        paint()
