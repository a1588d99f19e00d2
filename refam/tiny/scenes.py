"""Synthetic scenes with ground truth: moving coloured, textured shapes on varied backgrounds.

Units: 64 units are the short side of a full picture, whatever its size in pixels, so "small" and "large" mean the
same in every picture (training also uses smaller extents, such as 48x48 units). x to the right, y down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 35, 35),
    "green": (35, 165, 55),
    "blue": (40, 70, 220),
    "yellow": (240, 220, 40),
    "orange": (245, 140, 25),
    "purple": (130, 40, 170),
    "pink": (250, 130, 190),
    "cyan": (50, 215, 225),
    "white": (248, 248, 248),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
TEXTURES = ("plain", "striped", "dotted")
SIZES = {"small": (6.0, 7.5), "large": (9.5, 12.0)}  # radius, in units
TONES = {"dark": 55.0, "grey": 125.0, "bright": 195.0}
SHORT_SIDE = 64.0
_SUBPIXEL_BITS = 4  # cv2 takes corners at 1/16 pixel


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        colour: One of `COLOURS`.
        shape: One of `SHAPES`.
        texture: One of `TEXTURES`.
        size: One of `SIZES`.
        x: Centre in units.
        y: Centre in units.
        radius: In units.
        velocity: (x, y) in units per frame, for clips.
    """

    colour: str
    shape: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    velocity: tuple[float, float] = (0.0, 0.0)

    def words(self) -> tuple[str, str, str, str]:
        """Return (size, texture, colour, shape): all that words can say of it, other than its place."""
        return self.size, self.texture, self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """Objects on a background; later objects lie over earlier ones.

    Attributes:
        extent: (width, height) in units.
        objects: From the lowest to the topmost.
        tone: Tone of the background, one of `TONES`.
        ground_seed: Seed of the background's pattern.
    """

    extent: tuple[float, float]
    objects: tuple[SceneObject, ...]
    tone: str
    ground_seed: int


@dataclass(frozen=True, eq=False)
class SceneClip:
    """A clip with its ground truth.

    Attributes:
        frames: (N, H, W, 3) uint8 RGB.
        masks: (K, N, H, W) bool, the visible part of each object.
        objects: K objects, as they are in the first frame.
        expressions: K phrases, each true of its object alone in every frame.
        fps: Frames per second.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    objects: tuple[SceneObject, ...]
    expressions: tuple[str, ...]
    fps: float

    def __repr__(self) -> str:
        n, h, w, _ = self.frames.shape
        return f"SceneClip({n} frames of {w}x{h} at {self.fps} fps: {'; '.join(self.expressions)})"


# --- drawing ---------------------------------------------------------------------------------------------------------


def _corners(shape: str, cx: float, cy: float, r: float) -> NDArray[np.float64]:
    """(k, 2) corners of the shapes that are polygons."""
    if shape == "square":
        return np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * 0.88 * r + (cx, cy)
    if shape == "cross":
        b = 0.38
        arm = [(1, b), (b, b), (b, 1), (-b, 1), (-b, b), (-1, b)]
        return np.array(arm + [(-x, -y) for x, y in arm]) * r + (cx, cy)
    n, radius, drop = (3, 1.1, 0.2) if shape == "triangle" else (10, 1.12, 0.0)
    radii = np.full(n, radius * r)
    radii[1::2] *= 1.0 if n == 3 else 0.45
    angle = -np.pi / 2 + 2 * np.pi * np.arange(n) / n
    return np.stack([cx + radii * np.cos(angle), cy + drop * r + radii * np.sin(angle)], 1)


def _mask(shape: str, cx: float, cy: float, r: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w) uint8, 255 inside; cx, cy, r in pixels of a (w, h) canvas."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    one = 1 << _SUBPIXEL_BITS
    if shape in ("circle", "ring"):
        centre = (round(cx * one), round(cy * one))
        cv2.circle(mask, centre, round(r * one), 255, -1, shift=_SUBPIXEL_BITS)
        if shape == "ring":
            cv2.circle(mask, centre, round(r * 0.5 * one), 0, -1, shift=_SUBPIXEL_BITS)
    else:
        cv2.fillPoly(mask, [np.round(_corners(shape, cx, cy, r) * one).astype(np.int32)], 255, shift=_SUBPIXEL_BITS)
    return mask


@lru_cache(maxsize=2)
def _ground(tone: str, seed: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Background (h, w, 3) float32: flat, graded, clouded or chequered, and too grey to have a colour name.

    Cached, because all frames of a clip have the same ground: copy it before drawing on it.
    """
    rng = np.random.default_rng(seed)
    w, h = size
    ground = np.empty((h, w, 3), np.float32)
    ground[:] = TONES[tone] + rng.normal(0, 8) + rng.normal(0, 6, 3)
    kind = rng.integers(4)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / min(w, h)
    if kind == 1:
        a = rng.uniform(0, 2 * np.pi)
        ground += ((np.cos(a) * (x - 0.5) + np.sin(a) * (y - 0.5)) * 50)[..., None]
    elif kind == 2:
        clouds = rng.normal(0, 18, (8, 8)).astype(np.float32)
        ground += np.asarray(cv2.resize(clouds, (w, h), interpolation=cv2.INTER_CUBIC), np.float32)[..., None]
    elif kind == 3:
        cell = rng.integers(8, 17) / 64
        ground += ((np.floor(x / cell) + np.floor(y / cell)) % 2 * 24 - 12)[..., None]
    return ground


def _paint(obj: SceneObject, box: tuple[int, int, int, int], scale: float) -> NDArray[np.float32]:
    """(y1 - y0, x1 - x0, 3) float32 colours of the object in box = (x0, y0, x1, y1), its texture moving with it."""
    colour = np.array(COLOURS[obj.colour], np.float32)
    x0, y0, x1, y1 = box
    if obj.texture == "plain":
        return np.broadcast_to(colour, (y1 - y0, x1 - x0, 3))
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    x, y = x / scale - obj.x, y / scale - obj.y
    is_striped = obj.texture == "striped"
    dark = np.floor((x + y) / 3) % 2 == 1 if is_striped else (x % 5 - 2.5) ** 2 + (y % 5 - 2.5) ** 2 < 2.6
    other = colour + 100 if obj.colour == "black" else colour * 0.45
    return np.where(dark[..., None], other, colour).astype(np.float32)


def draw_scene(
    scene: Scene, size: tuple[int, int], *, supersample: int = 2
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw a scene.

    Args:
        scene: With K objects.
        size: (w, h) in pixels.
        supersample: Draw so many times larger, then shrink.

    Returns:
        The picture (h, w, 3) uint8 RGB, and the visible mask of each object (K, h, w) bool.
    """
    w, h = size
    big = (w * supersample, h * supersample)
    scale = big[1] / scene.extent[1]
    picture = _ground(scene.tone, scene.ground_seed, big).copy()
    masks: list[NDArray[np.uint8]] = []
    for obj in scene.objects:
        mask = _mask(obj.shape, obj.x * scale, obj.y * scale, obj.radius * scale, big)
        x, y, width, height = cv2.boundingRect(mask)
        inside = np.s_[y : y + height, x : x + width]
        paint = _paint(obj, (x, y, x + width, y + height), scale)
        np.copyto(picture[inside], paint, where=mask[inside][..., None] > 0)
        for below in masks:
            below[mask > 0] = 0
        masks.append(mask)
    pixels = np.clip(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), 0, 255).astype(np.uint8)
    visible = np.zeros((len(masks), h, w), bool)
    for k, mask in enumerate(masks):
        visible[k] = cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 127
        visible[:k] &= ~visible[k]  # a pixel that is half covered by two belongs to the upper one
    return pixels, visible


# --- sampling --------------------------------------------------------------------------------------------------------


def random_object(rng: np.random.Generator, extent: tuple[float, float]) -> SceneObject:
    """Sample an object with any attributes, anywhere inside the extent (width, height in units)."""
    size = str(rng.choice(list(SIZES)))
    radius = float(rng.uniform(*SIZES[size]))
    margin = radius + 1
    return SceneObject(
        colour=str(rng.choice(list(COLOURS))),
        shape=str(rng.choice(SHAPES)),
        texture=str(rng.choice(TEXTURES, p=(0.5, 0.25, 0.25))),
        size=size,
        x=float(rng.uniform(margin, extent[0] - margin)),
        y=float(rng.uniform(margin, extent[1] - margin)),
        radius=radius,
    )


ObjectVariation = Callable[[SceneObject, list[SceneObject]], SceneObject]


def random_scene(
    rng: np.random.Generator,
    *,
    extent: tuple[float, float] = (64.0, 64.0),
    count: int = 3,
    vary: ObjectVariation | None = None,
) -> Scene:
    """Sample a scene whose objects hardly overlap.

    Args:
        rng: Source of randomness.
        extent: (width, height) in units.
        count: Number of objects; those for which there is no room are left out.
        vary: Called with each new object and those before it; returns the object to use. It makes look-alikes.
    """
    objects: list[SceneObject] = []
    for _ in range(count):
        candidate = random_object(rng, extent)
        candidate = vary(candidate, objects) if vary else candidate
        for _ in range(60):
            low, high = SIZES[candidate.size]
            radius = (
                float(np.clip(candidate.radius, low, high))
                if low <= candidate.radius <= high
                else float(rng.uniform(low, high))
            )
            x, y = (float(rng.uniform(radius + 1, side - radius - 1)) for side in extent)
            if all(np.hypot(x - t.x, y - t.y) > 0.95 * (radius + t.radius) for t in objects):
                objects.append(replace(candidate, x=x, y=y, radius=radius))
                break
    return Scene(extent, tuple(objects), str(rng.choice(list(TONES))), int(rng.integers(1 << 31)))


def _bounce(position: float, velocity: float, low: float, high: float) -> tuple[float, float]:
    position += velocity
    if not low <= position <= high:
        velocity = -velocity
        position = float(np.clip(position, low, high))
    return position, velocity


def _move(obj: SceneObject, extent: tuple[float, float]) -> SceneObject:
    x, vx = _bounce(obj.x, obj.velocity[0], obj.radius, extent[0] - obj.radius)
    y, vy = _bounce(obj.y, obj.velocity[1], obj.radius, extent[1] - obj.radius)
    return replace(obj, x=x, y=y, velocity=(vx, vy))


def draw_clip(
    seed: int,
    *,
    size: tuple[int, int] = (640, 360),
    n_frames: int = 60,
    fps: float = 24.0,
    count: int = 3,
    speed: float = 0.6,
) -> SceneClip:
    """Draw a clip of objects that move, bounce off the edges and pass over one another.

    No two objects share both colour and shape, so that "the COLOUR SHAPE" means one of them.

    Args:
        seed: Seed of the clip.
        size: (w, h) in pixels.
        n_frames: Number of frames.
        fps: Frames per second.
        count: Number of objects.
        speed: In units per frame.

    Raises:
        ValueError: If there cannot be so many objects that differ.
    """
    if count > len(COLOURS) or count < 1:
        raise ValueError(f"count must be 1..{len(COLOURS)}, got {count}")
    rng = np.random.default_rng(seed)
    extent = (SHORT_SIDE * size[0] / min(size), SHORT_SIDE * size[1] / min(size))

    def distinct(obj: SceneObject, before: list[SceneObject]) -> SceneObject:
        free = [c for c in COLOURS if all((c, obj.shape) != (t.colour, t.shape) for t in before)]
        return obj if obj.colour in free else replace(obj, colour=str(rng.choice(free)))

    scene = random_scene(rng, extent=extent, count=count, vary=distinct)
    while len(scene.objects) < count:
        scene = random_scene(rng, extent=extent, count=count, vary=distinct)
    scene = set_in_motion(scene, rng, speed=speed)
    frames, masks = draw_moving_scene(scene, size, n_frames=n_frames)
    expressions = tuple(f"the {t.colour} {t.shape}" for t in scene.objects)
    objects = tuple(replace(t, velocity=(0.0, 0.0)) for t in scene.objects)
    return SceneClip(frames, masks, objects, expressions, fps)


def set_in_motion(scene: Scene, rng: np.random.Generator, *, speed: float) -> Scene:
    """Return the scene with each object moving at `speed` units per frame, in a direction of its own."""
    angles = rng.uniform(0, 2 * np.pi, len(scene.objects))
    objects = (
        replace(t, velocity=(speed * np.cos(a), speed * np.sin(a))) for t, a in zip(scene.objects, angles, strict=True)
    )
    return replace(scene, objects=tuple(objects))


def draw_moving_scene(
    scene: Scene, size: tuple[int, int], *, n_frames: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw a scene in motion; objects bounce off the edges.

    Args:
        scene: With K objects that have velocities.
        size: (w, h) in pixels.
        n_frames: Number of frames.

    Returns:
        Frames (N, h, w, 3) uint8 RGB, and visible masks (K, N, h, w) bool.
    """
    frames, masks, objects = [], [], scene.objects
    for _ in range(n_frames):
        picture, visible = draw_scene(replace(scene, objects=objects), size)
        frames.append(picture)
        masks.append(visible)
        objects = tuple(_move(t, scene.extent) for t in objects)
    return np.stack(frames), np.stack(masks, 1)
