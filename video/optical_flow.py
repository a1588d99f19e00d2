"""Dense optical flow between frames, how far it can be trusted, and warping by it.

A flow field is (h, w, 2) float32 in pixels of its own grid. `flow(a, b)` is defined on a's pixels: what is at
p in a is at p + flow[p] in b. So a map of b is carried to a by `warp(map_of_b, flow(a, b))`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import resize_map

Field = NDArray[np.float32]

_PRESETS = {
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


class OpticalFlow:
    """DIS optical flow (Kroeger et al. 2016, OpenCV) at a bounded resolution.

    short_side_px: frames are shrunk until their short side is at most this, so the cost does not grow with
    the video. Holds OpenCV's buffers: one object per thread.
    """

    def __init__(self, *, short_side_px: int = 270, preset: str = "medium") -> None:
        if short_side_px < 24:
            raise ValueError(f"short_side_px must be at least 24 for DIS's patches, got {short_side_px}")
        if preset not in _PRESETS:
            raise ValueError(f"preset must be one of {sorted(_PRESETS)}, got {preset!r}")
        self.short_side_px = short_side_px
        self._dis = cv2.DISOpticalFlow.create(_PRESETS[preset])

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB -> (h, w) uint8 grey at the working resolution."""
        return to_grey(image, short_side_px=self.short_side_px)

    def __call__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Field:
        """The flow from a to b, two prepared frames of one shape: (h, w, 2) float32 px."""
        if a.shape != b.shape or a.ndim != 2:
            raise ValueError(f"two prepared (h, w) frames of one shape are needed, got {a.shape} and {b.shape}")
        return np.asarray(self._dis.calc(a, b, None), np.float32)  # type: ignore[call-overload]

    def bidirectional(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[Field, Field, NDArray[np.float32]]:
        """(a to b, b to a, trust on a's pixels in [0, 1])."""
        forward, backward = self(a, b), self(b, a)
        return forward, backward, flow_confidence(forward, backward)


def to_grey(image: NDArray[np.uint8], *, short_side_px: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB -> (h, w) uint8 with min(h, w) <= short_side_px; not enlarged, not under 24 px."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a frame must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    h, w = image.shape[:2]
    scale = min(1.0, short_side_px / min(h, w))
    size = (max(24, round(w * scale)), max(24, round(h * scale)))  # DIS refuses smaller ones
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(grey if size == (w, h) else cv2.resize(grey, size, interpolation=how), np.uint8)


def resize_flow(flow: Field, size: tuple[int, int]) -> Field:
    """The same motion on a grid of another (width, height): positions and lengths are scaled."""
    h, w = flow.shape[:2]
    if (w, h) == size:
        return flow
    return resize_map(flow, size) * np.array([size[0] / w, size[1] / h], np.float32)


def warp(grid: NDArray[Any], flow: Field, *, outside: float = 0.0) -> NDArray[np.float32]:
    """Carries a map of b, (h, w) or (h, w, c), to a by the flow from a to b: out[p] = grid[p + flow[p]].

    The flow is brought to the map's resolution first. Linear between pixels; `outside` beyond the frame.
    """
    h, w = grid.shape[:2]
    flow = resize_flow(flow, (w, h))
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    return np.asarray(
        cv2.remap(
            np.ascontiguousarray(grid, np.float32),
            x + flow[..., 0],
            y + flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=outside,
        ),
        np.float32,
    )


def compose_flows(first: Field, second: Field) -> Field:
    """Flow a to c from a to b and b to c, on a's grid. Beyond the frame the second goes on as at its edge."""
    h, w = first.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    moved = cv2.remap(second, x + first[..., 0], y + first[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(first + moved, np.float32)


def flow_confidence(forward: Field, backward: Field) -> NDArray[np.float32]:
    """(h, w) float32 in [0, 1] on a's pixels: 1 where going to b and back comes home, 0 where it leaves.

    The error allowed grows with the motion, as in Sundaram et al. 2010: 0.5 px + 5 % of the way, and the
    trust is exp(-(error / allowed)^2 / 2), so it fades instead of being cut.
    """
    h, w = forward.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    tx, ty = x + forward[..., 0], y + forward[..., 1]
    home = cv2.remap(backward, tx, ty, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.linalg.norm(forward + home, axis=-1)
    way = np.linalg.norm(forward, axis=-1) + np.linalg.norm(home, axis=-1)
    sure = np.exp(-0.5 * np.square(error / (0.5 + 0.05 * way)))
    inside = (tx >= -0.5) & (tx <= w - 0.5) & (ty >= -0.5) & (ty <= h - 0.5)
    return np.where(inside, sure, 0.0).astype(np.float32)
