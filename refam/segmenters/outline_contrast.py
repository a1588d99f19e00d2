"""How well a mask's outline fits a picture, told from colours alone."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, box_of, pad_box


def edge_contrast(image: NDArray[np.uint8], mask: Mask) -> float:
    """In [0, 1]: how different the colours just inside and just outside the outline are, in CIE Lab."""
    window = _window(mask)
    if window is None:
        return 0.0
    part = mask[window].astype(np.uint8)
    lab = cv2.cvtColor(image[window], cv2.COLOR_RGB2LAB).astype(np.float32)
    kernel = np.ones((5, 5), np.uint8)
    ones = part.astype(np.float32)
    inner = part - np.asarray(cv2.erode(part, kernel), np.uint8)
    outer = np.asarray(cv2.dilate(part, kernel), np.uint8) - part
    if not inner.any() or not outer.any():
        return 0.0
    near_in = _blur(lab * ones[..., None]) / np.maximum(_blur(ones), 1e-3)[..., None]
    near_out = _blur(lab * (1 - ones)[..., None]) / np.maximum(_blur(1 - ones), 1e-3)[..., None]
    rim = np.asarray(inner | outer) > 0
    difference = np.linalg.norm(near_in - near_out, axis=-1)[rim]
    sharp = 1 - np.exp(-difference / 20)
    return float(0.5 * sharp.mean() + 0.5 * np.quantile(sharp, 0.2))  # a leak shows in the weakest stretch


def purity(image: NDArray[np.uint8], mask: Mask) -> float:
    """In [0, 1]: the share of a mask that is not in the colours of what surrounds it."""
    window = _window(mask)
    if window is None:
        return 0.0
    part = mask[window]
    around = cv2.dilate(part.astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool) & ~part
    return 1 - float(like_outside(image[window], part, around)[part].mean())


def like_outside(image: NDArray[np.uint8], inside: Mask, outside: Mask) -> Mask:
    """(h, w) bool: pixels whose colour is more than twice as common in `outside` as in `inside`."""
    if not inside.any() or not outside.any():
        return np.zeros(inside.shape, np.bool_)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    bins, limits = [12, 16, 16], [0, 256, 0, 256, 0, 256]
    shares = []
    for part in (inside, outside):
        counts = np.asarray(cv2.calcHist([lab], [0, 1, 2], part.astype(np.uint8), bins, limits), np.float32)
        spread = [cv2.blur(counts.swapaxes(0, axis), (1, 3)).swapaxes(0, axis) for axis in range(3)]
        counts = np.sum(spread, axis=0) + 1e-9  # neighbouring shades are not another colour
        shares.append(counts / counts.sum())
    ratio = shares[1] / (shares[0] + 1e-6)
    index = lab.astype(np.int32) * np.array(bins) // 256
    return np.asarray(ratio[index[..., 0], index[..., 1], index[..., 2]] > 2.0, np.bool_)


def _window(mask: Mask) -> tuple[slice, slice] | None:
    box = box_of(mask)
    if box is None:
        return None
    h, w = mask.shape
    x0, y0, x1, y1 = pad_box(box, 0.1, least=0.02)
    return slice(int(y0 * h), int(np.ceil(y1 * h))), slice(int(x0 * w), int(np.ceil(x1 * w)))


def _blur(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(grid, (7, 7)), np.float32)
