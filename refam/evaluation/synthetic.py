"""Frames that were drawn, as a clip that the pipeline can open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from video.io.frame_sequence import open_sequence

if TYPE_CHECKING:
    from video.io.reader import Clip


@contextmanager
def as_clip(frames: NDArray[np.uint8], *, fps: float) -> Iterator[Clip]:
    """frames: (N, H, W, 3) uint8 RGB. Kept as files without loss until the block ends."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i:05}.png" for i in range(len(frames))]
        for path, frame in zip(paths, frames, strict=True):
            cv2.imwrite(str(path), frame[..., ::-1])
        yield cast("Clip", open_sequence(paths, fps=fps))
