"""Cut-outs: real objects with a feathered edge, cut out of clips by their masks, to be placed over other pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask

FEATHER_PX = 3  # how far from the edge of a mask pixels may mix object and background
_FEATHER_SIGMA_PX = 0.7
_ERODED_PX = 1.0  # the outermost pixels of a mask hold colours of the background that the object was filmed against
_SMOOTHED_FRAMES = 9  # over which the area of a mask is averaged before the size is evened out


@dataclass(frozen=True, eq=False)
class Layer:
    """One thing on one picture.

    Attributes:
        image: (H, W, 3) float32, its colours.
        alpha: (H, W) float32 in [0, 1], how opaque it is.
    """

    image: NDArray[np.float32]
    alpha: NDArray[np.float32]

    def over(self, background: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the background, (H, W, 3) float32, with this in front of it."""
        return background + self.alpha[..., None] * (self.image - background)

    def place(
        self,
        size: tuple[int, int],
        centre: tuple[float, float],
        *,
        scale: float = 1.0,
        angle_rad: float = 0.0,
    ) -> Layer:
        """Place it in a picture.

        Args:
            size: Width and height of the picture in pixels.
            centre: Where its own centre comes to lie, (x, y) in pixels from the outer edge of the top left pixel.
            scale: By which it is enlarged about its centre.
            angle_rad: By which it is turned about its centre, clockwise.
        """
        h, w = self.alpha.shape
        c, s = scale * math.cos(angle_rad), scale * math.sin(angle_rad)
        # OpenCV counts from the centres of pixels: half a pixel less on both sides
        x, y = centre[0] - 0.5, centre[1] - 0.5
        ox, oy = (w - 1) / 2, (h - 1) / 2
        matrix = np.array([[c, -s, x - c * ox + s * oy], [s, c, y - s * ox - c * oy]])
        flags = cv2.INTER_LINEAR
        image = cv2.warpAffine(self.image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.warpAffine(self.alpha, matrix, size, flags=flags)
        return Layer(np.asarray(image, np.float32), np.asarray(alpha, np.float32))

    def resized(self, factor: float) -> Layer:
        """Return it enlarged or reduced."""
        h, w = self.alpha.shape
        to = (max(1, round(w * factor)), max(1, round(h * factor)))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        return Layer(*(cv2.resize(part, to, interpolation=how).astype(np.float32) for part in (self.image, self.alpha)))


@dataclass(frozen=True, eq=False)
class Cutout:
    """An object that was cut out of a clip.

    Attributes:
        layers: The object on each of its frames, each in an image whose centre is that of the object.
        box: Width and height of the object's box on the first of them, in pixels.
    """

    layers: tuple[Layer, ...]
    box: tuple[int, int]

    @property
    def extent_px(self) -> float:
        """The geometric mean of the width and the height of the box."""
        return math.sqrt(self.box[0] * self.box[1])

    def resized(self, factor: float) -> Cutout:
        """Return it enlarged or reduced."""
        return _measure([layer.resized(factor) for layer in self.layers])


def cut_out(frames: Sequence[NDArray[np.uint8]], truth: Sequence[Mask]) -> Cutout:
    """Cut an object out of a clip.

    Its size is evened out over time, for an object that came nearer to the camera would otherwise grow; what it does
    by itself, such as moving a limb, stays.

    Args:
        frames: (H, W, 3) uint8 RGB each.
        truth: The object's mask on each frame, (H, W) bool. Frames on which it touches the frame's edge, where a part
            of it may be missing, or on which it is not visible are left out.

    Raises:
        ValueError: If no frame is left.
    """
    kept = [(frame, mask) for frame, mask in zip(frames, truth, strict=True) if _is_whole(mask)]
    if not kept:
        raise ValueError("an object can be cut out of frames on whose edge it does not lie: there are none")
    areas = np.array([mask.sum() for _, mask in kept], np.float64)
    padded = np.pad(areas, _SMOOTHED_FRAMES // 2, mode="edge")
    areas = np.convolve(padded, np.full(_SMOOTHED_FRAMES, 1 / _SMOOTHED_FRAMES), mode="valid")
    return _measure(
        [_crop(frame, mask).resized(math.sqrt(areas[0] / a)) for (frame, mask), a in zip(kept, areas, strict=True)]
    )


def _is_whole(mask: Mask) -> bool:
    """Return whether the mask is not empty and does not touch the edge of the frame."""
    return bool(mask.any()) and not (mask[[0, -1]].any() or mask[:, [0, -1]].any())


def _crop(frame: NDArray[np.uint8], mask: Mask) -> Layer:
    """Return the object with a feathered edge, in an image whose centre is the centre of the object's box."""
    ys, xs = np.nonzero(mask)
    pad = FEATHER_PX + 1
    rows, columns = slice(ys.min() - pad, ys.max() + pad + 1), slice(xs.min() - pad, xs.max() + pad + 1)
    wide = ((pad, pad), (pad, pad))
    shifted = [slice(part.start + pad, part.stop + pad) for part in (rows, columns)]
    inside = np.pad(mask, wide)[tuple(shifted)]
    image = np.pad(frame, (*wide, (0, 0)), mode="edge")[tuple(shifted)]
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    core = depth > _ERODED_PX
    if not core.any():
        core = inside
    # pixels outside of the core take the colour of the nearest pixel of the core
    _, nearest = cv2.distanceTransformWithLabels(
        (~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((nearest.max() + 1, 3), np.float32)
    colours[nearest[core]] = image[core]
    filled = np.where(core[..., None], image.astype(np.float32), colours[nearest]).astype(np.float32)
    alpha = cv2.GaussianBlur(inside.astype(np.float32), (2 * FEATHER_PX + 1,) * 2, _FEATHER_SIGMA_PX)
    return Layer(filled, alpha.astype(np.float32))


def _measure(layers: list[Layer]) -> Cutout:
    """Return the layers with the size of the box on the first."""
    opaque = layers[0].alpha >= 0.5
    width, height = (int(np.ptp(np.nonzero(opaque.any(axis))[0])) + 1 for axis in (0, 1))
    return Cutout(tuple(layers), (width, height))
