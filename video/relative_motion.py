"""How far each pixel of a frame moves against the background, over the frames around it.

The background's motion is the camera's. It is fitted as one affine map by RANSAC (Fischler & Bolles 1981) and
subtracted, so that what stands still in the world has a displacement of about 0 under a panning, turning or zooming
camera. Parallax remains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from video.io.probe import ReadingError
from video.io.reader import FrameSequence
from video.masks import Mask
from video.optical_flow import Field, OpticalFlow, compose_flows, flow_confidence
from video.shots import FrameSignature

if TYPE_CHECKING:
    from video.io.reader import Clip

SURE = 0.5  # of `flow_confidence`, from which on a pixel's displacement is used
_MOST_SAMPLES = 2000  # pixels of the background that the camera's motion is fitted to
_LEAST_SAMPLES = 50
_INLIER_PX = 1.0


@dataclass(frozen=True, eq=False)
class Displacement:
    """Where the pixels of one frame are in another one.

    Attributes:
        offset: The other frame's index minus this frame's; never 0.
        field: (h, w, 2) float32 in pixels of this grid, as optical flow.
        confidence: (h, w) float32 in [0, 1]; 0 for what leaves the frame.
    """

    offset: int
    field: Field
    confidence: NDArray[np.float32]


def displacements_around(
    clip: Clip, frame: int, *, most_frames: int = 6, most_s: float = 0.5, short_side_px: int = 270
) -> list[Displacement]:
    """Compute where a frame's pixels are in the frames before and after it.

    Args:
        clip: The video. A sequence of separate pictures has no motion, so nothing is computed for it.
        frame: The frame's index.
        most_frames: How many frames before it, and how many after it, are read at most.
        most_s: Frames farther away in time than this are not read.
        short_side_px: See `OpticalFlow`.

    Returns:
        One displacement for each frame that was read. Each direction ends at the clip's end, at a cut and at a frame
        that cannot be read.
    """
    if isinstance(clip, FrameSequence):
        return []
    first, last = max(0, frame - most_frames), min(len(clip) - 1, frame + most_frames)
    distances_s = np.abs(np.asarray(clip.times[first : last + 1]) - clip.times[frame])
    near = first + np.flatnonzero(distances_s <= most_s)
    images = _read_connected(clip, near[near >= frame], 1)
    if frame not in images:
        return []
    images.update(_read_connected(clip, near[near < frame], -1))
    optical_flow = OpticalFlow(short_side_px=short_side_px)
    return [*_follow(images, frame, -1, optical_flow), *_follow(images, frame, 1, optical_flow)]


def _read_connected(clip: Clip, frames: NDArray[np.int64], direction: int) -> dict[int, NDArray[np.uint8]]:
    """Read successive frames, (H, W, 3) uint8 RGB each, up to one that cannot be read.

    Args:
        clip: The video.
        frames: Ascending.
        direction: 1 if the first one counts and those after it, -1 if the last one and those before it.
    """
    images: dict[int, NDArray[np.uint8]] = {}
    while len(frames):
        try:
            for indices, batch in clip.batches(frames):
                images.update(zip(indices.tolist(), batch, strict=True))
            break
        except ReadingError as error:  # reported by whatever needs this frame itself
            if direction > 0:
                break
            images, frames = {}, frames[frames > error.frame]
    return images


def _follow(
    images: dict[int, NDArray[np.uint8]], frame: int, direction: int, optical_flow: OpticalFlow
) -> list[Displacement]:
    """Compute the displacements in one direction of time, by composing the flows of neighbouring frames."""
    found: list[Displacement] = []
    there = back = None
    last, last_signature = optical_flow.prepare(images[frame]), FrameSignature.of(images[frame])
    while (frame := frame + direction) in images:
        now, signature = optical_flow.prepare(images[frame]), FrameSignature.of(images[frame])
        if signature.differs(last_signature):
            break
        onward, homeward = optical_flow(last, now), optical_flow(now, last)
        there = onward if there is None else compose_flows(there, onward)
        back = homeward if back is None else compose_flows(homeward, back)
        offset = direction * (len(found) + 1)
        found.append(Displacement(offset, there, flow_confidence(there, back)))
        last, last_signature = now, signature
    return found


def subtract_camera_motion(displacement: Displacement, background: Mask) -> Field | None:
    """Return the displacement of each pixel against the background.

    Args:
        displacement: From optical flow.
        background: (h, w) bool on its grid: where the background is looked for. Up to a half of it may move by itself.

    Returns:
        (h, w, 2) float32 in pixels; None if too little of the background is known.
    """
    rows, columns = np.nonzero(background & (displacement.confidence >= SURE))
    if len(rows) < _LEAST_SAMPLES:
        return None
    some = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_SAMPLES)).astype(int)
    rows, columns = rows[some], columns[some]
    here = np.stack([columns, rows], axis=1).astype(np.float32)
    there = here + displacement.field[rows, columns]
    affine, _ = cv2.estimateAffine2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=_INLIER_PX)
    if affine is None:
        return None
    h, w = background.shape
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    camera = np.stack([x, y, np.ones_like(x)], axis=-1) @ affine.T - np.stack([x, y], axis=-1)
    return np.asarray(displacement.field - camera, np.float32)
