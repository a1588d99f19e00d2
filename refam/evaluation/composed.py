"""Composed clips: the cut-out of a real object moves over another real background, and its mask is known exactly.

How fast it moves, how much of it is hidden, and what else makes tracking hard are parameters of `Composition`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from refam.evaluation.cutouts import FEATHER_PX, Cutout, Layer
from refam.evaluation.synthetic import ArrayClip
from video.masks import Mask

_RAMP_FRAMES = 4  # frames in which an object is covered or leaves the picture, and as many in which it comes back
_EXPOSURE_STEP_PX = 2  # between the places whose mean is the picture that a moving object leaves
_ELLIPSE_STEPS = 20_000  # points of its path at which an object may be


@dataclass(frozen=True)
class Composition:
    """How an object moves, and what makes it hard to track. What is not given is left out.

    The object follows an ellipse that fits into the picture. "Widths" are those of its box on the first frame.

    Args:
        frames: Frames of the clip.
        size: Width and height of the picture in pixels.
        object_size: The geometric mean of the object's width and height, as a share of that of the picture.
        speed: Distance between two frames in widths.
        jump: Distance in widths by which the object is displaced at once in the middle of the clip.
        scale: Its size on the last frame, relative to the first; it changes by the same factor on each frame.
        rotation_deg: Its angle on the last frame, clockwise, relative to the first.
        animated: Play the object's own frames, forward and back; without, its first frame stays.
        exposure: Share of the time between two frames for which the shutter is open, which blurs what moves.
        defocus_px: Standard deviation of the blur in the middle of the clip; it grows and shrinks evenly.
        shake_px: Standard deviation of the camera's position in x and in y, in pixels.
        look_alike: A second copy of the object: "beside" it, always at the opposite point of the ellipse, or "crossing"
            behind it, from one side to the other.
        occluder: What passes in front of the object: a "bar" of the picture's height, or another "object".
        covered: Share of the object that the occluder hides at its worst, in the middle of the clip.
        covered_frames: Share of the frames on which it hides so much.
        outside_frames: Share of the frames, in the middle of the clip, on which the object is outside of the picture.
        seed: Decides where and in which direction the object starts, from which side an occluder comes, and how the
            camera shakes.

    Raises:
        ValueError: For a value that is out of range.
    """

    frames: int = 30
    size: tuple[int, int] = (640, 360)
    object_size: float = 0.3
    speed: float = 0.0
    jump: float = 0.0
    scale: float = 1.0
    rotation_deg: float = 0.0
    animated: bool = True
    exposure: float = 0.0
    defocus_px: float = 0.0
    shake_px: float = 0.0
    look_alike: Literal["beside", "crossing"] | None = None
    occluder: Literal["bar", "object"] | None = None
    covered: float = 1.0
    covered_frames: float = 0.2
    outside_frames: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("frames", "object_size", "scale"):
            if getattr(self, name) <= 0:
                raise ValueError(f"Composition.{name} must be more than 0, got {getattr(self, name)}")
        for name in ("speed", "jump", "defocus_px", "shake_px"):
            if getattr(self, name) < 0:
                raise ValueError(f"Composition.{name} must be 0 or more, got {getattr(self, name)}")
        for name in ("exposure", "covered", "covered_frames", "outside_frames"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Composition.{name} is a share in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class ComposedClip:
    """A composed clip with its truth.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        truth: (T, H, W) bool, the visible part of the object.
        share: (T,) float64, the share of the object that is visible; 0 where it is outside of the picture.
    """

    frames: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    share: NDArray[np.float64]

    @property
    def clip(self) -> ArrayClip:
        """The frames as a clip that trackers and the pipeline take."""
        return ArrayClip(self.frames)


def compose(
    cutout: Cutout,
    background: Sequence[NDArray[np.uint8]],
    composition: Composition,
    *,
    occluder: Cutout | None = None,
    texture: NDArray[np.uint8] | None = None,
) -> ComposedClip:
    """Compose a clip. The same arguments always give the same pixels.

    Args:
        cutout: The object.
        background: (H, W, 3) uint8 RGB each, of any one size; they fill the picture and are played forward and back
            behind the object. A single one stays as it is.
        composition: How the object moves, and what makes it hard to track.
        occluder: What passes in front of it if that is an "object".
        texture: (H, W, 3) uint8 RGB, what a "bar" is painted with.

    Raises:
        ValueError: If the occluder or its texture is missing, or if the object has no room to move as it should.
    """
    if composition.occluder == "object" and occluder is None:
        raise ValueError("an occluder of kind 'object' needs the cut-out that passes in front: give occluder")
    if composition.occluder == "bar" and texture is None:
        raise ValueError("an occluder of kind 'bar' needs the image that it is painted with: give texture")
    return _Composer(cutout, background, composition, occluder, texture).run()


class _Composer:
    """Composes one clip; holds what its frames have in common."""

    def __init__(
        self,
        cutout: Cutout,
        background: Sequence[NDArray[np.uint8]],
        composition: Composition,
        occluder: Cutout | None,
        texture: NDArray[np.uint8] | None,
    ) -> None:
        self._composition = composition
        random = np.random.default_rng(composition.seed)
        w, h = composition.size
        self._cutout = cutout.resized(composition.object_size * math.sqrt(w * h) / cutout.extent_px)
        self._background = background
        self._first_background = int(random.integers(len(background)))
        self._shake = _camera_shake(random, composition.frames, composition.shake_px)
        self._margin_px = math.ceil(np.abs(self._shake).max()) + 1 if composition.shake_px else 0
        self._side = int(random.choice((-1, 1)))  # from where occluders and look-alikes come, where the object leaves
        self._radii, self._angles = self._path(random)
        self._things = [self._render(i, (0.0, 0.0)) for i in range(composition.frames)]
        self._occluder = self._prepare_occluder(occluder, texture)

    def run(self) -> ComposedClip:
        composition = self._composition
        frames, truth, share = [], [], []
        for i, inside in enumerate(self._things):
            picture = self._background_at(i)
            if composition.look_alike:
                picture = self._render(i, self._look_alike_offset(i)).over(picture)
            outside_px = self._outside_offset(i)
            thing = self._render(i, (outside_px, 0.0)) if outside_px else inside
            picture, visible = thing.over(picture), thing.alpha
            if self._occluder:
                covering = self._cover(i, thing.alpha >= 0.5)
                picture, visible = covering.over(picture), visible * (1 - covering.alpha)
            if sigma := composition.defocus_px * _rise_and_fall(i, composition.frames):
                picture = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32)
            frames.append(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
            truth.append(visible >= 0.5)
            # an object that is animated may reach over the edge of the picture, and be seen more of elsewhere
            share.append(min(1.0, truth[-1].sum() / max(1, (inside.alpha >= 0.5).sum())))
        return ComposedClip(np.stack(frames), np.stack(truth), np.array(share, np.float64))

    def _path(self, random: np.random.Generator) -> tuple[tuple[float, float], list[float]]:
        """Return the radii of the ellipse in pixels, and the angle of each frame on it."""
        composition = self._composition
        rx, ry = (
            max(0.0, (side - 2 * self._margin_px - extent * max(1.0, composition.scale)) / 2)
            for side, extent in zip(composition.size, self._cutout.box, strict=True)
        )
        around = np.linspace(0, 2 * math.pi, _ELLIPSE_STEPS, endpoint=False)
        around = random.uniform(0, 2 * math.pi) + around * int(random.choice((-1, 1)))
        points = np.stack([rx * np.cos(around), ry * np.sin(around)], axis=1)
        k, angles = 0, [float(around[0])]
        for i in range(1, composition.frames):
            widths = composition.jump if composition.jump and i == composition.frames // 2 else composition.speed
            k = self._advance(points, k, widths * self._cutout.box[0])
            angles.append(float(around[k]))
        return (rx, ry), angles

    def _advance(self, points: NDArray[np.float64], k: int, step_px: float) -> int:
        """Return the index of the first point after point k whose distance from it is at least `step_px`."""
        far = np.hypot(*(np.roll(points, -k, axis=0) - points[k]).T) >= step_px
        if not far.any():
            width, height = self._composition.size
            raise ValueError(
                f"an object of {self._cutout.box[0]}x{self._cutout.box[1]} pixels has no room to move by "
                f"{step_px:.0f} pixels at once in a picture of {width}x{height}: make it smaller (object_size), or its "
                "speed or jump"
            )
        return (k + int(far.argmax())) % len(points)

    def _centre(self, angle: float) -> NDArray[np.float64]:
        """Return the point of the ellipse at an angle, (x, y) in pixels."""
        w, h = self._composition.size
        return np.array([w / 2 + self._radii[0] * math.cos(angle), h / 2 + self._radii[1] * math.sin(angle)])

    def _render(self, i: int, offset: tuple[float, float]) -> Layer:
        """Return the object on frame i in the picture's size, displaced by so many pixels in x and y."""
        composition = self._composition
        layer = self._cutout.layers[_back_and_forth(i, len(self._cutout.layers)) if composition.animated else 0]
        centre = self._centre(self._angles[i]) + offset + self._shake[i]
        done = i / max(1, composition.frames - 1)
        scale, angle = composition.scale**done, math.radians(composition.rotation_deg) * done
        before, after = (self._centre(self._angles[max(0, i - 1)]), self._centre(self._angles[i]))
        path = (after - before) * composition.exposure
        n = max(1, math.ceil(np.hypot(*path) / _EXPOSURE_STEP_PX))
        placed = [
            layer.place(composition.size, tuple(centre - path * k / n), scale=scale, angle_rad=angle) for k in range(n)
        ]
        if n == 1:
            return placed[0]
        alpha: NDArray[np.float32] = np.mean([one.alpha for one in placed], axis=0, dtype=np.float32)
        colour: NDArray[np.float32] = np.mean(
            [one.alpha[..., None] * one.image for one in placed], axis=0, dtype=np.float32
        )
        colour /= np.maximum(alpha, 1e-6)[..., None]
        return Layer(colour, alpha)

    def _background_at(self, i: int) -> NDArray[np.float32]:
        """Return the background of frame i, (H, W, 3) float32: it fills the picture and moves with the camera."""
        w, h = self._composition.size
        image = self._background[_back_and_forth(self._first_background + i, len(self._background))]
        image = _fill(image, (w + 2 * self._margin_px, h + 2 * self._margin_px))
        shift = np.array([[1, 0, 0], [0, 1, 0]], np.float64)
        shift[:, 2] = self._shake[i] - self._margin_px
        return cv2.warpAffine(image, shift, (w, h), flags=cv2.INTER_LINEAR).astype(np.float32)

    def _look_alike_offset(self, i: int) -> tuple[float, float]:
        """Return by how many pixels the look-alike is displaced from the object on frame i."""
        if self._composition.look_alike == "beside":
            x, y = self._centre(self._angles[i] + math.pi) - self._centre(self._angles[i])
            return float(x), float(y)
        middle = (self._composition.frames - 1) / 2
        return self._side * 2 * self._cutout.box[0] * (middle - i) / max(1.0, middle), 0.0

    def _outside_offset(self, i: int) -> float:
        """Return by how many pixels the object is displaced in x on frame i because it leaves the picture."""
        composition = self._composition
        amount = _ramp(i, composition.frames, composition.outside_frames) if composition.outside_frames else 0.0
        if amount <= 0:
            return 0.0
        columns = np.nonzero((self._things[i].alpha > 0).any(axis=0))[0]
        far = composition.size[0] - columns[0] if self._side > 0 else -(columns[-1] + 1)
        # whole pixels, one more than needed where it is outside: its last column, which is half transparent, is too
        return float(far + self._side if amount >= 1 else round(far * amount))

    def _prepare_occluder(self, occluder: Cutout | None, texture: NDArray[np.uint8] | None) -> Layer | None:
        """Return what passes in front of the object, large enough to cover as much of it as it should."""
        composition = self._composition
        if composition.occluder is None:
            return None
        masks = [thing.alpha >= 0.5 for thing in self._things]
        if composition.occluder == "bar":
            assert texture is not None
            extent = max(int(np.ptp(np.nonzero(mask.any(axis=0))[0])) + 1 for mask in masks)
            size = (2 * math.ceil(extent / 2 + FEATHER_PX), 2 * composition.size[1])
            return Layer(_fill(texture, size).astype(np.float32), np.ones(size[::-1], np.float32))
        assert occluder is not None
        factor = self._cutout.extent_px / occluder.extent_px
        for _ in range(20):
            layer = occluder.layers[0].resized(factor)
            if all(
                self._hidden_px(layer, mask, _box_centre(mask)) >= composition.covered * mask.sum() for mask in masks
            ):
                return layer
            factor *= 1.15
        raise ValueError("the occluder cannot cover so much of the object: give another one, or a smaller share")

    def _cover(self, i: int, mask: Mask) -> Layer:
        """Return the occluder on frame i, where it hides as much of the object as it should.

        An occluder that hides all of the object passes on; one that hides a part of it goes back.
        """
        composition, occluder = self._composition, self._occluder
        assert occluder is not None
        passed_on = composition.covered == 1 and 2 * i > composition.frames - 1
        outward = np.array([-self._side if passed_on else self._side, 0])
        centre = _box_centre(mask)
        touching = math.ceil((np.ptp(np.nonzero(mask.any(axis=0))[0]) + 1 + occluder.alpha.shape[1]) / 2) + 1
        amount = _ramp(i, composition.frames, composition.covered_frames)
        away = touching - min(0.0, amount) * self._cutout.box[0]
        if amount > 0:
            wanted = amount * composition.covered * mask.sum()
            # the hidden area grows while the occluder comes nearer: bisect for the farthest place that hides enough
            near, far = 0, touching
            while far - near > 1:
                middle = (near + far) // 2
                if self._hidden_px(occluder, mask, centre + middle * outward) >= wanted:
                    near = middle
                else:
                    far = middle
            away = near
        return self._place_occluder(occluder, centre + away * outward)

    def _hidden_px(self, occluder: Layer, mask: Mask, centre: NDArray[np.float64]) -> int:
        """Return how many pixels of a mask the occluder hides from a place, (x, y) in pixels."""
        return int((mask & (self._place_occluder(occluder, centre).alpha > 0.5)).sum())

    def _place_occluder(self, occluder: Layer, centre: NDArray[np.float64]) -> Layer:
        """Return the occluder in the picture, at whole pixels, so that the edge of a bar is sharp."""
        x, y = np.floor(centre + 0.5)
        return occluder.place(self._composition.size, (float(x), float(y)))


def _box_centre(mask: Mask) -> NDArray[np.float64]:
    """Return the centre of a mask's box, (x, y) in pixels; the picture's centre if the mask is empty."""
    if not mask.any():
        return np.array(mask.shape[::-1]) / 2
    ends = (np.nonzero(mask.any(axis=axis))[0][[0, -1]] for axis in (0, 1))
    return np.array([(first + last + 1) / 2 for first, last in ends])


def _back_and_forth(i: int, n: int) -> int:
    """Return which of n frames is played at step i, if they are played forward and then backward."""
    k = i % max(1, 2 * n - 2)
    return k if k < n else 2 * n - 2 - k


def _ramp(i: int, frames: int, share: float) -> float:
    """Return 1 on a share of the frames in the middle, falling on both sides to 0 within a few frames, and below."""
    n = round(share * frames)
    first = (frames - n) // 2
    return 1 - max(0, first - i, i - (first + n - 1)) / (_RAMP_FRAMES + 1)


def _rise_and_fall(i: int, frames: int) -> float:
    """Return a number that grows evenly to 1 in the middle of the frames, and falls again."""
    middle = (frames - 1) / 2
    return 1 - abs(i - middle) / (middle + 1)


def _camera_shake(random: np.random.Generator, frames: int, sigma_px: float) -> NDArray[np.float64]:
    """Return the position of a camera held by hand on each frame, (frames, 2) in pixels."""
    noise = random.standard_normal((frames + 2, 2))
    smooth = noise[:-2] + 2 * noise[1:-1] + noise[2:]
    return smooth * sigma_px / math.sqrt(6)  # the variance of the sum is 1 + 4 + 1


def _fill(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the middle of an image, enlarged or reduced so that it fills a picture of this width and height."""
    h, w = image.shape[:2]
    factor = max(size[0] / w, size[1] / h)
    wide, high = max(size[0], round(w * factor)), max(size[1], round(h * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    x, y = (wide - size[0]) // 2, (high - size[1]) // 2
    resized = np.asarray(cv2.resize(image, (wide, high), interpolation=how), np.uint8)
    return resized[y : y + size[1], x : x + size[0]]
