"""What makes one city and one weather look unlike another."""

from dataclasses import dataclass

from ucc.data.sources.streets.canvas import RGB


@dataclass(frozen=True)
class City:
    """Architecture, ground, plants and street furniture. Lengths are metres, shares are 0..1."""

    name: str
    walls: tuple[RGB, ...]
    windows: str  # grid, tall, ribbon or glass
    storeys: tuple[int, int]
    roof: RGB | None  # pitched roof of that colour, None for flat ones
    road: RGB
    road_pattern: str  # plain, patched, cobbles or slabs
    paving: RGB
    paving_pattern: str
    marking: RGB
    lot: RGB  # ground beside the street where no building stands
    lot_is_green: bool
    gap_share: float
    tree: str  # round, conifer, cypress, palm or bare
    leaves: tuple[RGB, ...]
    tree_spacing: float
    pole: RGB
    sign: RGB
    bus: RGB


@dataclass(frozen=True)
class Weather:
    """Light and air. Colours multiply what they fall on where they are factors."""

    name: str
    zenith: RGB
    skyline: RGB
    clouds: float
    ambient: tuple[float, float, float]
    sun: float  # depth of cast shadows
    fog: float  # extinction per metre
    wetness: float
    lamps: float  # gain of emitted light
    noise: float  # grey levels
    share: float  # of the scenes


GREY, WHITE, SILVER, BLACK, RED, BLUE = (
    (112, 112, 116),
    (216, 216, 212),
    (160, 162, 166),
    (32, 32, 36),
    (150, 28, 30),
    (36, 62, 122),
)
CAR_PAINTS = (GREY, WHITE, SILVER, BLACK, BLACK, RED, RED, BLUE, BLUE, (70, 84, 70), (150, 130, 96))
CLOTHES = ((30, 32, 40), (92, 88, 80), (36, 58, 130), (170, 40, 42), (206, 200, 186), (200, 120, 40), (40, 120, 110))
SKIN = ((226, 186, 160), (176, 130, 100), (112, 76, 56))

CITIES = (
    City(
        name="old town",
        walls=((214, 180, 120), (200, 140, 96), (222, 204, 166), (186, 116, 84)),
        windows="tall",
        storeys=(2, 4),
        roof=(150, 78, 54),
        road=(108, 100, 96),
        road_pattern="cobbles",
        paving=(176, 160, 138),
        paving_pattern="cobbles",
        marking=(200, 196, 188),
        lot=(140, 130, 116),
        lot_is_green=False,
        gap_share=0.14,
        tree="cypress",
        leaves=((52, 78, 44), (70, 92, 50)),
        tree_spacing=22.0,
        pole=(52, 52, 50),
        sign=(180, 36, 36),
        bus=(186, 150, 60),
    ),
    City(
        name="concrete",
        walls=((132, 132, 130), (150, 148, 142), (112, 114, 118), (164, 160, 150)),
        windows="ribbon",
        storeys=(3, 8),
        roof=None,
        road=(100, 100, 104),
        road_pattern="patched",
        paving=(160, 158, 152),
        paving_pattern="slabs",
        marking=(214, 214, 214),
        lot=(88, 104, 58),
        lot_is_green=True,
        gap_share=0.34,
        tree="bare",
        leaves=((96, 102, 62), (112, 112, 74)),
        tree_spacing=14.0,
        pole=(128, 130, 130),
        sign=(40, 70, 150),
        bus=(140, 142, 146),
    ),
    City(
        name="garden suburb",
        walls=((150, 76, 58), (168, 92, 66), (196, 182, 160), (126, 66, 54)),
        windows="grid",
        storeys=(1, 3),
        roof=(84, 70, 66),
        road=(96, 96, 98),
        road_pattern="plain",
        paving=(150, 110, 92),
        paving_pattern="cobbles",
        marking=(226, 226, 220),
        lot=(96, 128, 54),
        lot_is_green=True,
        gap_share=0.48,
        tree="round",
        leaves=((178, 96, 36), (150, 66, 34), (188, 142, 52), (90, 112, 44)),
        tree_spacing=9.0,
        pole=(104, 84, 62),
        sign=(212, 172, 36),
        bus=(160, 40, 36),
    ),
    City(
        name="glass towers",
        walls=((118, 146, 172), (146, 166, 182), (92, 112, 132), (166, 178, 184)),
        windows="glass",
        storeys=(5, 13),
        roof=None,
        road=(72, 74, 80),
        road_pattern="plain",
        paving=(168, 168, 170),
        paving_pattern="slabs",
        marking=(226, 200, 70),
        lot=(160, 160, 160),
        lot_is_green=False,
        gap_share=0.2,
        tree="round",
        leaves=((62, 110, 52), (84, 132, 62)),
        tree_spacing=13.0,
        pole=(164, 166, 170),
        sign=(28, 116, 70),
        bus=(66, 116, 160),
    ),
    City(
        name="harbour",
        walls=((222, 222, 216), (186, 206, 218), (206, 214, 210), (228, 212, 190)),
        windows="grid",
        storeys=(2, 4),
        roof=None,
        road=(118, 120, 122),
        road_pattern="slabs",
        paving=(196, 190, 178),
        paving_pattern="slabs",
        marking=(236, 236, 236),
        lot=(180, 174, 160),
        lot_is_green=False,
        gap_share=0.28,
        tree="palm",
        leaves=((72, 108, 58), (98, 122, 66)),
        tree_spacing=12.0,
        pole=(204, 206, 206),
        sign=(200, 60, 40),
        bus=(214, 214, 208),
    ),
    City(
        name="desert",
        walls=((196, 164, 122), (180, 146, 106), (208, 184, 146), (164, 126, 92)),
        windows="tall",
        storeys=(1, 4),
        roof=None,
        road=(128, 116, 102),
        road_pattern="patched",
        paving=(194, 166, 126),
        paving_pattern="plain",
        marking=(206, 196, 170),
        lot=(186, 160, 122),
        lot_is_green=False,
        gap_share=0.32,
        tree="palm",
        leaves=((110, 112, 58), (128, 122, 70)),
        tree_spacing=18.0,
        pole=(120, 96, 72),
        sign=(46, 108, 84),
        bus=(198, 178, 142),
    ),
    City(
        name="northern",
        walls=((132, 44, 40), (204, 186, 90), (70, 92, 104), (168, 168, 158)),
        windows="grid",
        storeys=(2, 4),
        roof=(60, 62, 68),
        road=(86, 88, 94),
        road_pattern="patched",
        paving=(132, 130, 126),
        paving_pattern="plain",
        marking=(204, 206, 208),
        lot=(82, 98, 66),
        lot_is_green=True,
        gap_share=0.42,
        tree="conifer",
        leaves=((34, 58, 46), (46, 70, 52)),
        tree_spacing=10.0,
        pole=(88, 92, 92),
        sign=(210, 196, 50),
        bus=(44, 84, 62),
    ),
)

WEATHERS = (
    Weather("clear", (74, 124, 196), (184, 206, 224), 0.35, (1.08, 1.05, 1.0), 0.45, 0.0008, 0.0, 0.0, 2.0, 0.28),
    Weather("overcast", (178, 184, 192), (214, 216, 218), 0.4, (0.88, 0.9, 0.92), 0.0, 0.002, 0.0, 0.0, 2.5, 0.22),
    Weather("fog", (204, 206, 208), (210, 212, 214), 0.1, (0.86, 0.88, 0.9), 0.0, 0.016, 0.1, 0.15, 2.5, 0.1),
    Weather("rain", (120, 128, 140), (166, 172, 180), 0.5, (0.66, 0.7, 0.76), 0.0, 0.006, 0.5, 0.35, 3.5, 0.14),
    Weather("dusk", (92, 88, 136), (240, 168, 112), 0.5, (0.8, 0.62, 0.56), 0.25, 0.002, 0.0, 0.6, 3.5, 0.14),
    Weather("night", (18, 22, 44), (50, 46, 62), 0.3, (0.44, 0.44, 0.5), 0.0, 0.002, 0.2, 1.0, 5.0, 0.12),
)
