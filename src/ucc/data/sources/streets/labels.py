"""The classes of `streets`, by index, and the colours that stand for them."""

SKY, BUILDING, ROAD, SIDEWALK, VEGETATION, CAR, BUS, PERSON, POLE, SIGN = range(10)

CLASSES = (
    "sky",
    "building",
    "road",
    "sidewalk",
    "vegetation",
    "car",
    "bus",
    "person",
    "pole",
    "sign",
)
COLORS = (
    (70, 130, 180),
    (70, 70, 70),
    (128, 64, 128),
    (244, 35, 232),
    (107, 142, 35),
    (0, 0, 142),
    (0, 110, 100),
    (220, 20, 60),
    (190, 190, 190),
    (220, 220, 0),
)
