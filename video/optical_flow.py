"""Dense optical flow between frames, its confidence, and warping by it.

A flow field is (h, w, 2) float32 in pixels of its own grid. `flow(a, b)` is defined on a's pixels: what is at p in a is
at p + flow[p] in b. So `warp(map_of_b, flow(a, b))` carries a map of b to a.
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
    """DIS optical flow at a bounded resolution.

    Source: Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search"; the implementation is OpenCV's. It
    holds OpenCV's buffers, so use one object per thread.

    Args:
        short_side_px: The short side to which frames are reduced, so that the cost does not grow with the video.
        preset: "fast" or "medium".

    Raises:
        ValueError: For a side below 24 px or an unknown preset.
    """

    def __init__(self, *, short_side_px: int = 270, preset: str = "medium") -> None:
        if short_side_px < 24:
            raise ValueError(f"short_side_px must be at least 24 for DIS's patches, got {short_side_px}")
        if preset not in _PRESETS:
            raise ValueError(f"preset must be one of {sorted(_PRESETS)}, got {preset!r}")
        self.short_side_px = short_side_px
        self._dis = cv2.DISOpticalFlow.create(_PRESETS[preset])

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn an image, (H, W, 3) uint8 RGB, into the grey (h, w) uint8 at the working resolution that flow needs."""
        return to_grey(image, short_side_px=self.short_side_px)

    def __call__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Field:
        """Compute the flow from a to b, two prepared images of one shape: (h, w, 2) float32 in pixels."""
        if a.shape != b.shape or a.ndim != 2:
            raise ValueError(f"two prepared (h, w) frames of one shape are needed, got {a.shape} and {b.shape}")
        return np.asarray(self._dis.calc(a, b, None), np.float32)  # type: ignore[call-overload]

    def bidirectional(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[Field, Field, NDArray[np.float32]]:
        """Compute the flow in both directions between two prepared images.

        Returns:
            The flow from a to b, the flow from b to a, and the confidence of the first on a's pixels, (h, w) in [0, 1].
        """
        forward, backward = self(a, b), self(b, a)
        return forward, backward, flow_confidence(forward, backward)


def to_grey(image: NDArray[np.uint8], *, short_side_px: int) -> NDArray[np.uint8]:
    """Turn an image into grey at a bounded resolution.

    Args:
        image: (H, W, 3) uint8 RGB.
        short_side_px: The short side is reduced to this; smaller images stay as they are, down to 24 px.

    Returns:
        (h, w) uint8.

    Raises:
        ValueError: For an image of another shape or dtype.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a frame must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    h, w = image.shape[:2]
    scale = min(1.0, short_side_px / min(h, w))
    size = (max(24, round(w * scale)), max(24, round(h * scale)))  # DIS refuses smaller ones
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(grey if size == (w, h) else cv2.resize(grey, size, interpolation=how), np.uint8)


def resize_flow(flow: Field, size: tuple[int, int]) -> Field:
    """Return the same motion on a grid of another (width, height): positions and lengths are scaled."""
    h, w = flow.shape[:2]
    if (w, h) == size:
        return flow
    return resize_map(flow, size) * np.array([size[0] / w, size[1] / h], np.float32)


def warp(grid: NDArray[Any], flow: Field, *, outside: float = 0.0) -> NDArray[np.float32]:
    """Carry a map of b to a by the flow from a to b: out[p] = grid[p + flow[p]].

    Args:
        grid: (h, w) or (h, w, c), the map of b.
        flow: (h', w', 2) float32; it is resized to the map first.
        outside: The value beyond the frame.

    Returns:
        The map of a, float32, interpolated linearly between pixels.
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
    """Return the flow from a to c from those from a to b and from b to c, on a's grid.

    Beyond the frame the second flow continues as at the frame's edge.
    """
    h, w = first.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    moved = cv2.remap(second, x + first[..., 0], y + first[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(first + moved, np.float32)


def flow_confidence(forward: Field, backward: Field) -> NDArray[np.float32]:
    """Return how far a flow can be trusted, by its consistency with the flow back.

    The allowed error grows with the motion, as in Sundaram et al. 2010 ("Dense Point Trajectories by GPU-Accelerated
    Large Displacement Optical Flow"): 0.5 px + 5 % of the length. The confidence is exp(-(error / allowed)^2 / 2), so
    that it fades instead of being cut off.

    Args:
        forward: The flow from a to b.
        backward: The flow from b to a.

    Returns:
        (h, w) float32 in [0, 1] on a's pixels: 1 where going to b and back returns to the same place, 0 outside the
        frame.
    """
    h, w = forward.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    tx, ty = x + forward[..., 0], y + forward[..., 1]
    home = cv2.remap(backward, tx, ty, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.linalg.norm(forward + home, axis=-1)
    length = np.linalg.norm(forward, axis=-1) + np.linalg.norm(home, axis=-1)
    confidence = np.exp(-0.5 * np.square(error / (0.5 + 0.05 * length)))
    inside = (tx >= -0.5) & (tx <= w - 0.5) & (ty >= -0.5) & (ty <= h - 0.5)
    return np.where(inside, confidence, 0.0).astype(np.float32)
