"""Pictures of scenes: 64x64 RGB, smooth edges, any background, turned and noisy, never ambiguous.

Things have saturated colours and backgrounds have none (a grey with a faint tint), so that a background can neither
hide a thing nor be taken for one. Size is the radius of the circle around a shape. Outlines are drawn four times as
large and averaged down, which gives the edges their grey levels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aimv2_np.data.world import Scene
from aimv2_np.shapes import NDArray

if TYPE_CHECKING:
    from PIL import Image

SIDE = 64  # pixels
OVERSAMPLING = 4
RADII = {"small": (8.0, 9.5), "large": (12.5, 15.0)}  # pixels
TILT = 0.5  # radians, to either side
RGB = {
    "red": (222, 30, 36),
    "orange": (246, 134, 20),
    "yellow": (248, 224, 42),
    "green": (38, 164, 60),
    "cyan": (62, 208, 222),
    "blue": (36, 72, 214),
    "purple": (132, 48, 180),
    "pink": (250, 136, 192),
}


def _ngon(corners: int, radii: tuple[float, ...] = (1.0,)) -> NDArray:
    angle = 2 * np.pi * np.arange(corners) / corners
    points: NDArray = np.stack([np.sin(angle), -np.cos(angle)], 1) * np.resize(radii, corners)[:, None]
    return points.astype(np.float32)


@np.errstate(all="ignore")
def _heart() -> NDArray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    points: NDArray = np.stack([16 * np.sin(t) ** 3, -y - 2.5], 1)
    points /= np.linalg.norm(points, axis=1).max()
    return points.astype(np.float32)


_ARM, _TIP = 0.33, 0.944  # half the width and the length of a cross's arms; the corners lie on the unit circle
_CROSS = [(_ARM, -_TIP), (_ARM, -_ARM), (_TIP, -_ARM), (_TIP, _ARM), (_ARM, _ARM), (_ARM, _TIP)]

# Each shape in the unit circle: an outline, and for some a second outline that is cut out of the first.
OUTLINES: dict[str, tuple[NDArray, ...]] = {
    "circle": (_ngon(48),),
    "square": (np.array([(1, -1), (1, 1), (-1, 1), (-1, -1)], np.float32) * np.float32(0.5**0.5),),
    "triangle": (_ngon(3),),
    "star": (_ngon(10, (1.0, 0.4)),),
    "heart": (_heart(),),
    "cross": (np.array(_CROSS + [(-x, -y) for x, y in _CROSS], np.float32),),
    "ring": (_ngon(48), 0.6 * _ngon(48)),
    "moon": (_ngon(48), 0.88 * _ngon(48) + np.array([0.52, 0.0], np.float32)),
}


@dataclass(frozen=True)
class Spot:
    """Where a thing goes: centre and radius in pixels, angle in radians."""

    x: float
    y: float
    radius: float
    angle: float


def place_things(scene: Scene, rng: np.random.Generator) -> tuple[Spot, ...]:
    """Spots inside the picture that do not touch and honour the scene's relation.

    Two things lie at least their radii apart along the relation's axis, and off that axis by less than half of it.
    """
    radii = [rng.uniform(*RADII[thing.size or "large"]) for thing in scene.things]
    angles = rng.uniform(-TILT, TILT, len(radii))
    if len(radii) == 1:
        (r,) = radii
        x, y = rng.uniform(r + 1, SIDE - r - 1, 2)
        return (Spot(x, y, r, angles[0]),)
    r0, r1 = radii
    before, after = (r0, r1) if scene.relation in ("above", "left of") else (r1, r0)
    distance = rng.uniform(before + after + 1, SIDE - before - after - 2)
    start = rng.uniform(before + 1, SIDE - after - 1 - distance)
    r = max(radii)
    aside = rng.uniform(r + 1, SIDE - r - 1)
    other = np.clip(aside + rng.uniform(-0.45, 0.45) * distance, r + 1, SIDE - r - 1)
    ends = [(aside, start), (other, start + distance)]
    if scene.relation in ("below", "right of"):
        ends.reverse()
    spots = [(u, v) if scene.relation in ("above", "below") else (v, u) for u, v in ends]
    return tuple(Spot(x, y, r, a) for (x, y), r, a in zip(spots, radii, angles, strict=True))


@np.errstate(all="ignore")
def coverage(shape: str, spot: Spot) -> NDArray:
    """How much of each pixel the shape covers: (64, 64), 0 to 1."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING))
    pen = ImageDraw.Draw(mask)
    c, s = np.cos(spot.angle), np.sin(spot.angle)
    turn = spot.radius * np.array([[c, s], [-s, c]], np.float32)
    for outline, fill in zip(OUTLINES[shape], (255, 0), strict=False):
        # Pillow's coordinates name pixel centres: half an (oversampled) pixel less than lengths from the corner.
        points = (outline @ turn + (spot.x, spot.y)) * OVERSAMPLING - 0.5
        pen.polygon(points.ravel().tolist(), fill=fill)
    return np.asarray(mask.reduce(OVERSAMPLING), np.float32) / 255


_Y: NDArray
_X: NDArray
_Y, _X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE


def _gradient(rng: np.random.Generator) -> NDArray:
    angle = rng.uniform(0, 2 * np.pi)
    slope: NDArray = 0.5 + 0.7 * ((_X - 0.5) * np.cos(angle) + (_Y - 0.5) * np.sin(angle))
    return slope


def _stripes(rng: np.random.Generator) -> NDArray:
    angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 9)
    across = _X * np.cos(angle) + _Y * np.sin(angle)
    stripes: NDArray = 0.5 + 0.5 * np.sin(2 * np.pi * waves * across + rng.uniform(0, 6))
    return stripes


def _checks(rng: np.random.Generator) -> NDArray:
    tiles = rng.uniform(2, 9)
    column, row = np.floor(_X * tiles + rng.random()), np.floor(_Y * tiles + rng.random())
    checks: NDArray = (column + row) % 2
    return checks


def _clouds(rng: np.random.Generator) -> NDArray:
    from PIL import Image

    cells = int(rng.integers(3, 12))
    puffs = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(puffs.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32) / 255


def _plain(rng: np.random.Generator) -> NDArray:
    return np.zeros_like(_X)


BACKGROUNDS: tuple[Callable[[np.random.Generator], NDArray], ...] = (_plain, _gradient, _stripes, _checks, _clouds)


def background(rng: np.random.Generator) -> NDArray:
    """Two greys with a faint tint, mixed by a pattern: (64, 64, 3), 0 to 255."""
    pattern = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))](rng)
    grey = rng.uniform(25, 225)
    other = np.clip(grey + rng.uniform(-60, 60), 15, 240)
    one, two = grey + rng.uniform(-10, 10, 3), other + rng.uniform(-10, 10, 3)
    mixed: NDArray = one + pattern[..., None] * (two - one)
    return mixed.astype(np.float32)


def draw(scene: Scene, rng: np.random.Generator) -> "Image.Image":
    """A 64x64 RGB picture of a complete scene. Place, angle, background, light and noise come from `rng`."""
    from PIL import Image

    if any(None in vars(thing).values() for thing in scene.things):
        raise ValueError(f"{scene} leaves attributes unsaid; a picture needs shape, color and size of every thing.")
    canvas = background(rng)
    for thing, spot in zip(scene.things, place_things(scene, rng), strict=True):
        color = np.array(RGB[str(thing.color)], np.float32) + rng.uniform(-12, 12, 3).astype(np.float32)
        canvas += coverage(str(thing.shape), spot)[..., None] * (color - canvas)
    canvas *= np.float32(rng.uniform(0.8, 1.1))
    canvas += np.float32(rng.uniform(0, 10)) * rng.standard_normal(canvas.shape, np.float32)
    return Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
