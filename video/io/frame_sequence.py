"""Image files in order, seen as a clip: the frames of a task that holds a list of pictures instead of a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageOps, UnidentifiedImageError

from video.io.decode import Image
from video.io.probe import ClipError, ReadingError
from video.types import DEFAULT_FPS

_ON_ITS_SIDE = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class FrameSequence:
    """Pictures of one size, opened and checked, without pixels. The same interface as `video.io.reader.Clip`.

    paths: the files, in order. names: what errors call them, as many. size: (width, height) in pixels as browsers
    show them (EXIF orientation applied). fps: the rate that the sequence is thought to run at; it has none itself.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    size: tuple[int, int]
    fps: float = DEFAULT_FPS

    rotation = 0
    decoder = "pillow"
    codec = "images"

    def __post_init__(self) -> None:
        if not self.paths or len(self.paths) != len(self.names):
            raise ClipError(f"a sequence needs frames and a name for each, got {len(self.paths)} and {len(self.names)}")
        if not self.fps > 0:
            raise ClipError(f"a sequence needs a rate above 0, got {self.fps}")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    @property
    def times(self) -> NDArray[np.float64]:
        """(N,) float64 seconds, evenly spaced."""
        return np.arange(len(self)) / self.fps

    @property
    def duration_s(self) -> float:
        """Seconds, the last frame's own time included."""
        return len(self) / self.fps

    @property
    def average_fps(self) -> float:
        """Frames per second."""
        return self.fps

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Image]]:
        """As `Clip.batches`: ((b,) indices, (b, H, W, 3) uint8 RGB), ascending, each frame once. Raises the same."""
        if size < 1:
            raise ValueError(f"a batch holds at least one frame, got size={size}")
        wanted = np.unique(np.asarray(range(len(self)) if indices is None else indices, dtype=np.int64))
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(self):
            bad = int(wanted[0] if wanted[0] < 0 else wanted[-1])
            raise IndexError(f"the sequence has the frames 0 to {len(self) - 1}; frame {bad} was asked for")
        return self._batches(wanted, size)

    def _batches(self, wanted: NDArray[np.int64], size: int) -> Iterator[tuple[NDArray[np.int64], Image]]:
        for start in range(0, len(wanted), size):
            some, images = wanted[start : start + size], []
            try:
                for i in some.tolist():
                    images.append(self._read(i))
            except ClipError as error:
                if images:
                    yield some[: len(images)], np.stack(images)
                frame = int(some[len(images)])
                raise ReadingError(f"{error}; reading stopped at frame {frame}", frame=frame) from error
            yield some, np.stack(images)

    def frame(self, i: int) -> Image:
        """Pixels of frame `i` (0-based, negative from the end as in lists): (H, W, 3) uint8 RGB."""
        _, images = next(self.batches([i + len(self) if i < 0 else i], size=1))
        return images[0]

    def _read(self, i: int) -> Image:
        try:
            with Pictures.open(self.paths[i]) as picture:  # a cut-off file raises, it is never taken for a whole one
                return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except (OSError, SyntaxError, Pictures.DecompressionBombError) as error:
            raise ClipError(f"{self.names[i]}: the picture cannot be read: {error}") from None


def open_sequence(
    paths: Sequence[Path], *, names: Sequence[str] | None = None, fps: float = DEFAULT_FPS
) -> FrameSequence:
    """Opens picture files as a clip; their headers are read, and all must have one size.

    names: what errors call the files; their own names unless given. Raises ClipError: no files, no picture, sizes.
    """
    names = tuple(names or (path.name for path in paths))
    if not paths:
        raise ClipError("the list of frames is empty")
    sizes = [_size_of(path, name) for path, name in zip(paths, names, strict=True)]
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            (w, h), (w0, h0) = size, sizes[0]
            raise ClipError(f"all frames must have one size: {name} is {w}x{h}, but {names[0]} is {w0}x{h0}")
    return FrameSequence(tuple(paths), names, sizes[0], fps)


def _size_of(path: Path, name: str) -> tuple[int, int]:
    try:
        with Pictures.open(path) as picture:
            w, h = picture.size
            return (h, w) if picture.getexif().get(_ORIENTATION) in _ON_ITS_SIDE else (w, h)
    except UnidentifiedImageError:
        raise ClipError(f"{name}: this is no picture (JPEG, PNG, WebP and their like are read)") from None
    except (OSError, Pictures.DecompressionBombError) as error:
        raise ClipError(f"{name}: the picture cannot be read: {error}") from None
