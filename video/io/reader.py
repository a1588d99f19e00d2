"""A video file as the rest of the code sees it: how large, when each frame is shown, and pixels in bounded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from video.io.decode import DecordFailedError, Image, decord_agrees, read_decord, read_pyav
from video.io.probe import ClipError, Probe, ReadingError, probe

__all__ = ["Clip", "ClipError", "ReadingError", "open_clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """One video, opened and checked, without pixels.

    size: (width, height) in pixels as players show it, after rotation. (Pixels that are not square are left as
    they are stored: in fractions of the frame that changes nothing.)
    times: (N,) float64 seconds at which players show each frame, from the start of playing; strictly ascending.
    duration_s: as browsers tell it on loading the file, which is the container's word: a sound track that is
    longer than the picture counts, and a container that rounds may end before the last frame's time.
    rotation: the clockwise degrees that are applied to the stored pixels: 0, 90, 180 or 270.
    decoder: which library reads the runs from frame 0 on; single frames always come through PyAV.
    broken: what is wrong with a file of which a part was opened, "" for a whole one.
    """

    path: Path
    size: tuple[int, int]
    times: NDArray[np.float64]
    duration_s: float
    rotation: int
    decoder: Literal["decord", "pyav"]
    codec: str
    _probe: Probe = field(repr=False)
    broken: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if self.times.ndim != 1 or not len(self.times) or not (np.diff(self.times) > 0).all():
            raise ClipError(f"{self.path.name}: the times of its frames do not ascend")
        if min(self.size) < 1:
            raise ClipError(f"{self.path.name}: its picture has the size {self.size}")
        self.times.setflags(write=False)

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        w, h = self.size
        return (
            f"Clip({self.path.name!r}, {w}x{h}, {len(self)} frames in {self.duration_s:.3f} s, "
            f"{self.codec} by {self.decoder}, rotation {self.rotation})"
        )

    @property
    def average_fps(self) -> float:
        """Frames per second over the whole clip."""
        if len(self) == 1:
            return 1 / self.duration_s
        return (len(self) - 1) / float(self.times[-1] - self.times[0])

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Image]]:
        """Pixels of the frames `indices` (all of them unless given), at most `size` frames at a time.

        Yields ((b,) int64 indices, (b, H, W, 3) uint8 RGB), ascending whatever the order asked for, each frame
        once. No more than two batches are in memory. Raises ReadingError where the file can no longer be read, once
        all frames before that are given; IndexError (no such frame).
        """
        if size < 1:
            raise ValueError(f"a batch holds at least one frame, got size={size}")
        wanted = np.unique(np.asarray(range(len(self)) if indices is None else indices, dtype=np.int64))
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(self):
            bad = int(wanted[0] if wanted[0] < 0 else wanted[-1])
            raise IndexError(f"{self.path.name} has the frames 0 to {len(self) - 1}; frame {bad} was asked for")
        return self._batches(wanted, size)

    def _batches(self, wanted: NDArray[np.int64], size: int) -> Iterator[tuple[NDArray[np.int64], Image]]:
        batch: list[Image] = []
        first = 0
        try:
            for index, image in self._frames(wanted, size):
                batch.append(image)
                if len(batch) == size or index == wanted[-1]:
                    yield wanted[first : first + len(batch)], np.stack(batch)
                    first += len(batch)
                    batch = []
        except ClipError as error:
            if batch:
                yield wanted[first : first + len(batch)], np.stack(batch)
            frame = int(wanted[first + len(batch)])
            text = f"{error}; reading stopped at frame {frame} ({self.times[frame]:.2f} s)"
            raise ReadingError(text, frame=frame) from error

    def _frames(self, wanted: NDArray[np.int64], size: int) -> Iterator[tuple[int, Image]]:
        given = 0
        if self.decoder == "decord" and len(wanted) > 1 and wanted[-1] == len(wanted) - 1:
            try:
                for index, image in read_decord(self.path, len(wanted), size=size):
                    yield index, image
                    given += 1
            except DecordFailedError:
                # Not hidden: PyAV gives the very frames decord could not, or says what is wrong with the file.
                pass
        if given < len(wanted):
            yield from read_pyav(self.path, self._probe, wanted[given:])

    def frame(self, i: int) -> Image:
        """Pixels of frame `i` (0-based, negative from the end as in lists): (H, W, 3) uint8 RGB."""
        index = i + len(self) if i < 0 else i
        _, images = next(self.batches([index], size=1))
        return images[0]


def open_clip(path: str | Path, *, partial: bool = False) -> Clip:
    """Opens and checks a video: every frame is decoded once, without making pixels.

    partial: of a file that is cut off or damaged on the way, the frames before that are opened, and `broken` says
    up to where; without it a part of a video is never taken for the whole. Raises ClipError, a sentence for people,
    when the file is missing, no video, cut off or damaged.
    """
    path = Path(path)
    probed = probe(path, partial=partial)
    width, height = probed.size
    return Clip(
        path=path,
        size=(height, width) if probed.turn.transpose else (width, height),
        times=probed.times,
        duration_s=probed.duration_s,
        rotation=probed.turn.degrees,
        decoder="decord" if decord_agrees(path, probed) else "pyav",
        codec=probed.codec,
        _probe=probed,
        broken=probed.broken,
    )
