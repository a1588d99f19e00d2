"""Opens videos and image sequences as clips: size, the time of each frame, and pixels in batches of bounded size.

`Clip` is a video file, `FrameSequence` a list of image files with the same interface, and `ClipView` some frames of a
clip at a smaller size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageOps, UnidentifiedImageError

from video.io.containers import webp_canvas
from video.io.decode import DecordFailedError, Image, decord_agrees, read_decord, read_pyav
from video.io.display import display_size
from video.io.probe import ClipError, Probe, ReadingError, probe
from video.io.webp import probe_webp, read_webp
from video.types import DEFAULT_FPS

__all__ = ["Clip", "ClipError", "ReadingError", "open_clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """A video file that was opened and checked. It holds no pixels.

    Args:
        path: The file.
        size: (width, height) in pixels after rotation. Pixels that are not square stay as stored: see `display_size`.
        times: (N,) float64 seconds at which players show each frame, from the start of playing; strictly ascending.
        duration_s: The duration in seconds as browsers report it, which is the container's: a sound track that is
            longer than the video counts, and a container that rounds may end before the last frame's time.
        rotation: The clockwise degrees that are applied to the stored pixels: 0, 90, 180 or 270.
        decoder: The library that reads runs from frame 0 on. Single frames are read by PyAV, those of WebP by Pillow.
        codec: The codec's name.
        broken: What is wrong with a file of which only a part was opened; empty for a whole one.
        pixel_aspect: Width of a pixel divided by its height, after rotation; 1 for square pixels.

    Example:
        >>> clip = open_clip("clip.mp4")
        >>> len(clip), clip.size
        >>> image = clip.frame(0)
        >>> for indices, images in clip.batches([0, 10, 20]):
        ...     ...
    """

    path: Path
    size: tuple[int, int]
    times: NDArray[np.float64]
    duration_s: float
    rotation: int
    decoder: Literal["decord", "pyav", "pillow"]
    codec: str
    _probe: Probe | None = field(repr=False)
    broken: str = field(default="", kw_only=True)
    pixel_aspect: float = field(default=1.0, kw_only=True)

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
    def display_size(self) -> tuple[int, int]:
        """(width, height) in pixels at which players show it; `size` unless its pixels are not square."""
        return display_size(self.size, self.pixel_aspect)

    @property
    def average_fps(self) -> float:
        """Frames per second over the whole clip."""
        if len(self) == 1:
            return 1 / self.duration_s
        return (len(self) - 1) / float(self.times[-1] - self.times[0])

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Image]]:
        """Read the pixels of some frames in batches.

        Args:
            indices: The frames, in any order; all of them by default. Each is read once.
            size: How many frames a batch holds at most. No more than two batches are in memory.

        Yields:
            (b,) int64 indices, ascending, and (b, H, W, 3) uint8 RGB.

        Raises:
            ReadingError: If the file can no longer be read; all frames before that are yielded first.
            IndexError: If there is no such frame.
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
        if self.decoder == "pillow":
            yield from read_webp(self.path, wanted)
            return
        assert self._probe is not None
        given = 0
        if self.decoder == "decord" and len(wanted) > 1 and wanted[-1] == len(wanted) - 1:
            try:
                for index, image in read_decord(self.path, len(wanted), size=size):
                    yield index, image
                    given += 1
            except DecordFailedError:
                # No error is hidden: PyAV reads the same frames, or reports what is wrong with the file.
                pass
        if given < len(wanted):
            yield from read_pyav(self.path, self._probe, wanted[given:])

    def frame(self, i: int) -> Image:
        """Read one frame.

        Args:
            i: The frame's index; negative indices count from the end, as in lists.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        index = i + len(self) if i < 0 else i
        _, images = next(self.batches([index], size=1))
        return images[0]


def open_clip(path: str | Path, *, partial: bool = False) -> Clip:
    """Open and check a video. Every frame is decoded once, without making pixels.

    Args:
        path: The file.
        partial: Whether to open the frames before the place where a file is cut off or damaged; `Clip.broken` then says
            where that is. By default such a file is an error.

    Raises:
        ClipError: If the file is missing, no video, cut off or damaged. The text is written for people.
    """
    path = Path(path)
    is_webp = webp_canvas(path) is not None
    probed = probe_webp(path, partial=partial) if is_webp else probe(path, partial=partial)
    width, height = probed.size
    on_its_side = probed.turn.transpose
    return Clip(
        path=path,
        size=(height, width) if on_its_side else (width, height),
        pixel_aspect=1 / probed.pixel_aspect if on_its_side else probed.pixel_aspect,
        times=probed.times,
        duration_s=probed.duration_s,
        rotation=probed.turn.degrees,
        decoder="pillow" if is_webp else "decord" if decord_agrees(path, probed) else "pyav",
        codec=probed.codec,
        _probe=probed,
        broken=probed.broken,
    )


_ON_ITS_SIDE = {5, 6, 7, 8}  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False)
class FrameSequence:
    """Image files of one size with the interface of `Clip`. It holds no pixels.

    Args:
        paths: The files, in order.
        names: What errors call them.
        size: (width, height) in pixels as browsers show them (with the EXIF orientation applied).
        fps: The assumed frame rate; image files have none.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    size: tuple[int, int]
    fps: float = DEFAULT_FPS

    rotation = 0
    pixel_aspect = 1.0
    decoder: ClassVar[Literal["pillow"]] = "pillow"
    codec = "images"
    broken = ""

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
    def display_size(self) -> tuple[int, int]:
        """(width, height) in pixels at which browsers show it."""
        return self.size

    @property
    def times(self) -> NDArray[np.float64]:
        """(N,) float64 seconds, evenly spaced."""
        return np.arange(len(self)) / self.fps

    @property
    def duration_s(self) -> float:
        """The duration in seconds, including the last frame's."""
        return len(self) / self.fps

    @property
    def average_fps(self) -> float:
        """Frames per second."""
        return self.fps

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Image]]:
        """Read the pixels of some frames in batches; see `Clip.batches`."""
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
        """Read one frame; see `Clip.frame`."""
        _, images = next(self.batches([i + len(self) if i < 0 else i], size=1))
        return images[0]

    def _read(self, i: int) -> Image:
        try:
            with Pictures.open(self.paths[i]) as picture:  # raises for a file that is cut off
                return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except (OSError, SyntaxError, Pictures.DecompressionBombError) as error:
            raise ClipError(f"{self.names[i]}: the picture cannot be read: {error}") from None


def open_sequence(
    paths: Sequence[Path], *, names: Sequence[str] | None = None, fps: float = DEFAULT_FPS
) -> FrameSequence:
    """Open image files as a clip. Only their headers are read.

    Args:
        paths: The files, in order.
        names: What errors call them; their own names by default.
        fps: The assumed frame rate.

    Raises:
        ClipError: If there are no files, one is no image, or their sizes differ.
    """
    names = tuple(names or (path.name for path in paths))
    if not paths:
        raise ClipError("the list of frames is empty")
    sizes = [_size_of(path, name) for path, name in zip(paths, names, strict=True)]
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            (w, h), (w0, h0) = size, sizes[0]
            raise ClipError(
                f"all frames must have one size: {name} is {w}x{h}, but {names[0]} is {w0}x{h0}; they are "
                "the frames of one video, so pictures of another size belong in a folder or list of their own"
            )
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


@dataclass(frozen=True, eq=False, repr=False)
class ClipView(Clip):
    """Some frames of a clip at one size, read like a `Clip` whose frame i is the whole clip's `frames[i]`.

    `times` are the whole clip's, so that seconds mean the same in both. `video.tracking.postprocess.upsample_track`
    brings a track of the view back to the whole clip.

    Args:
        whole: The clip.
        frames: (n,) int64, strictly ascending frames of `whole`.
    """

    whole: Clip | FrameSequence
    frames: NDArray[np.int64]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.frames) != len(self.times) or not 0 <= self.frames[0] <= self.frames[-1] < len(self.whole):
            raise ValueError(f"a view shows frames 0 to {len(self.whole) - 1} of its clip, got {self.frames}")

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Image]]:
        """Read frames in batches; see `Clip.batches`. Indices and sizes are the view's."""
        wanted = np.unique(np.asarray(range(len(self)) if indices is None else indices, dtype=np.int64))
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise IndexError(f"the view has the frames 0 to {len(self) - 1}; got {wanted[0]} to {wanted[-1]}")
        try:
            for found, images in self.whole.batches(self.frames[wanted], size=size):
                yield np.searchsorted(self.frames, found), self._resize(images)
        except ReadingError as error:  # its text names the frame of the whole clip, which people know
            raise ReadingError(str(error), frame=self.index_of(error.frame)) from error

    def _resize(self, images: Image) -> Image:
        if self.size == self.whole.size:
            return images
        return np.stack([cv2.resize(image, self.size, interpolation=cv2.INTER_AREA) for image in images])

    @property
    def frame_step(self) -> int:
        """The median distance of two frames of the view, in frames of the whole clip; 1 if there is only one."""
        return round(float(np.median(np.diff(self.frames)))) if len(self.frames) > 1 else 1

    def index_of(self, frame: int) -> int:
        """Return the view's index of a frame of the whole clip.

        Raises:
            ValueError: If the frame is not in the view.
        """
        row = int(np.searchsorted(self.frames, frame))
        if row == len(self.frames) or self.frames[row] != frame:
            raise ValueError(f"frame {frame} is not in the view")
        return row


def make_view(
    clip: Clip,
    *,
    first: int = 0,
    last: int | None = None,
    every: int = 1,
    most_px: int | None = None,
    must: Sequence[int] = (),
) -> ClipView:
    """Make a view of a clip: every n-th frame of a range, and some frames more.

    Args:
        clip: The clip.
        first: The first frame.
        last: The last frame, which is always in the view; the clip's last by default.
        every: The distance of the frames.
        most_px: The longer side of the images is reduced to this, never enlarged.
        must: Further frames within the range.

    Raises:
        ValueError: If a frame is outside the range, the range outside the clip, or `every` below 1.
    """
    last = len(clip) - 1 if last is None else last
    if not 0 <= first <= last < len(clip):
        raise ValueError(f"frames {first} to {last} are not within the clip's frames 0 to {len(clip) - 1}")
    if every < 1:
        raise ValueError(f"every must be 1 or more, got {every}")
    if any(not first <= frame <= last for frame in must):
        raise ValueError(f"frames {sorted(must)} must lie within {first} to {last}")
    frames = np.unique(np.array([*range(first, last + 1, every), last, *must], np.int64))
    shrink = 1.0 if most_px is None else min(1.0, most_px / max(clip.size))
    w, h = (max(1, round(side * shrink)) for side in clip.size)
    return ClipView(
        path=clip.path,
        size=(w, h),
        times=clip.times[frames],
        duration_s=clip.duration_s,
        rotation=clip.rotation,
        decoder=clip.decoder,
        codec=clip.codec,
        _probe=clip._probe,
        broken=clip.broken,
        pixel_aspect=clip.pixel_aspect,
        whole=clip,
        frames=frames,
    )
