"""Synthetic clips whose truth is known, in memory, as lossless frames on disk, and as video files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from refam.tiny.scenes import Scene, SceneObject, draw_scene
from video.io.reader import open_sequence

if TYPE_CHECKING:
    from video.io.reader import Clip

RED, BLUE = "the red star", "the blue ring"


class ArrayClip:
    """A clip in memory with the part of `video.io.reader.Clip`'s interface that the pipeline uses.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        fps: Frames per second, used where `times` is not given.
        times: (N,) presentation times in seconds.

    Attributes:
        largest_batch: The most frames that `batches` returned at once.
        frames_read: The indices of the frames that `batches` returned, in order.
    """

    def __init__(
        self,
        frames: NDArray[np.uint8],
        *,
        fps: float = 24.0,
        times: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> None:
        self.frames = frames
        self.size = self.display_size = (frames.shape[2], frames.shape[1])
        self.times = np.arange(len(frames)) / fps if times is None else np.asarray(times)
        self.largest_batch = 0
        self.frames_read: list[int] = []

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, i: int) -> NDArray[np.uint8]:
        """Return frame `i`, (H, W, 3) uint8 RGB."""
        return self.frames[i]

    def batches(
        self, indices: Iterable[int] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Yield (indices, frames) of the wanted frames in ascending order, at most `size` at a time."""
        wanted = np.unique(np.arange(len(self)) if indices is None else np.asarray(list(indices)))
        for first in range(0, len(wanted), size):
            part = wanted[first : first + size]
            self.largest_batch = max(self.largest_batch, len(part))
            self.frames_read += part.tolist()
            yield part, self.frames[part]


def red_star_and_blue_ring(
    n: int = 60, *, size: tuple[int, int] = (480, 270)
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw a red star that moves right and, below it, a blue ring that moves left; `RED` and `BLUE` name them.

    Args:
        n: Number of frames.
        size: (width, height) in pixels.

    Returns:
        The frames (n, H, W, 3) uint8 RGB and the masks (2, n, H, W) bool, the star's first.
    """
    w, h = 64 * size[0] / min(size), 64 * size[1] / min(size)
    star = SceneObject("red", "star", "plain", "large", 0, 0, 11)
    ring = SceneObject("blue", "ring", "plain", "large", 0, 0, 10)
    frames, masks = [], []
    for t in np.linspace(0, 1, n):
        things = (
            replace(star, x=w * (0.15 + 0.70 * t), y=h * (0.30 + 0.06 * np.cos(2 * np.pi * t))),
            replace(ring, x=w * (0.85 - 0.7 * t), y=h * 0.75),
        )
        frame, visible = draw_scene(Scene((w, h), things, "grey", 7), size)
        frames.append(frame)
        masks.append(visible)
    return np.stack(frames), np.stack(masks, axis=1)


@contextmanager
def as_clip(frames: NDArray[np.uint8], *, fps: float) -> Iterator[Clip]:
    """Open frames as a clip of lossless PNG files, which are deleted when the block ends.

    Args:
        frames: (N, H, W, 3) uint8 RGB.
        fps: Frames per second.
    """
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i:05}.png" for i in range(len(frames))]
        for path, frame in zip(paths, frames, strict=True):
            cv2.imwrite(str(path), frame[..., ::-1])
        yield cast("Clip", open_sequence(paths, fps=fps))


def write_video(path: Path, frames: NDArray[np.uint8], *, fps: float) -> Path:
    """Write frames as an H.264 video that browsers can play.

    Args:
        path: The file to write; its suffix names the container, such as `.mp4`.
        frames: (N, H, W, 3) uint8 RGB; H and W even.
        fps: Frames per second.

    Returns:
        The same path.
    """
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"  # the only pixel format that every browser plays
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
