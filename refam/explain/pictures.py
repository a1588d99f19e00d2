"""Pictures for a page that stands alone: data URIs, and outlines as vector paths."""

from __future__ import annotations

import base64
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import resize_map

_QUALITY = 88


def _uri(kind: str, ending: str, pixels: NDArray[np.uint8], setting: int) -> str:
    ok, data = cv2.imencode(ending, pixels, [setting, _QUALITY])
    if not ok:
        raise RuntimeError(f"OpenCV could not write a picture of shape {pixels.shape} as {ending}")
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def photo(image: NDArray[np.uint8], *, width: int) -> str:
    """(H, W, 3) uint8 RGB -> a JPEG at most `width` pixels wide."""
    h, w = image.shape[:2]
    if w > width:
        image = np.asarray(cv2.resize(image, (width, round(h * width / w)), interpolation=cv2.INTER_AREA), np.uint8)
    return _uri("jpeg", ".jpg", np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8), cv2.IMWRITE_JPEG_QUALITY)


def ground_of(image: NDArray[np.uint8], *, width: int) -> str:
    """The picture in dim greys, for heat to lie on."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dim = np.clip(18 + 0.52 * grey, 0, 255).astype(np.uint8)
    return photo(np.repeat(dim[..., None], 3, 2), width=width)


@cache
def _scale() -> NDArray[np.float32]:
    """(256, 4) float32 BGRA: nothing, then violet, orange, light yellow; even steps for the eye."""
    ramp = np.linspace(0.28, 1, 256) * 255
    colours = cv2.applyColorMap(ramp.round().astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0].astype(np.float32)
    alpha = 235 * np.clip(np.linspace(0, 1, 256) * 1.6, 0, 1) ** 0.9
    return np.concatenate([colours, alpha[:, None].astype(np.float32)], 1)


def heat(grid: NDArray[np.float32], *, width: int, height: int) -> str:
    """(h, w) float32 in [0, 1] -> a see-through WebP of this size."""
    fine = np.clip(resize_map(grid, (width, height)), 0, 1)
    rgba = _scale()[(fine * 255).round().astype(int)].astype(np.uint8)
    return _uri("webp", ".webp", rgba, cv2.IMWRITE_WEBP_QUALITY)


def outline(mask: NDArray[np.bool_]) -> str:
    """(H, W) bool -> an SVG path in pixels, holes included (fill-rule evenodd); empty for an empty mask."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    parts = []
    for contour in found:
        points = contour[:, 0].astype(float) + 0.5
        if len(points) > 2:
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return "".join(parts)
