"""What a video file holds: every frame as players present it, found by decoding the file once without making pixels.

Decoding is needed because packets mislead: an edit list hides some of them, AVI has no presentation times, and damage
within a picture shows only when it is decoded. One pass finds all of it before any work is spent on the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from video.errors import UserError
from video.io.containers import bytes_missing, matroska_breaks_at, webp_canvas
from video.io.display import usable_pixel_aspect
from video.io.file_names import PICTURES

# The formats that may be opened. Playlists (hls, concat, dash, sdp) are not among them: such a "video" names other
# files and addresses, and this process would fetch them.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,mxf,ivf,m4v,h264,hevc,obu,mpegvideo,"
    "mjpeg,nut,wtv,rm,dv,yuv4mpegpipe,apng,mp3,wav,flac,aac,ac3,amr"
)
_BROWSER_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
_SAME_TIME_S = 1e-5  # no video has a hundred thousand frames a second: such timestamps say nothing
_USUAL_FPS, _MAX_ANNOUNCED_FPS = 25.0, 240.0  # FFmpeg "announces" 1000 and more where it knows nothing
_PICTURE = "this is a picture, not a video"
DAMAGE_HINT = "get a whole copy, or re-encode what is left of it"


class ClipError(UserError):
    """A file that cannot be used as a video. The text names the file and is written for people."""


class PictureError(ClipError):
    """A file that is a picture, not a video."""


class ReadingError(ClipError):
    """Frames of a clip that was opened cannot be read.

    Every frame was decoded once when the clip was opened, so the file was intact then: it was changed or removed since,
    or the disk or the network fails. Unlike the damage that `Clip.broken` reports, this may be temporary.

    Args:
        message: The text for people.
        frame: The first of the requested frames that is missing.
    """

    def __init__(self, message: str, *, frame: int) -> None:
        super().__init__(message)
        self.frame = frame


@dataclass(frozen=True)
class DisplayTransform:
    """How players turn the stored pixels before they show them: transpose, then mirror."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn an image, (h, w, 3) uint8 as stored, into the one that is shown, (H, W, 3) uint8, contiguous."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        image = image[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]
        return np.ascontiguousarray(image)

    @property
    def mirrored(self) -> bool:
        """Whether the transform is more than a rotation."""
        return self.transpose ^ self.mirror_x ^ self.mirror_y

    @property
    def degrees(self) -> int:
        """The clockwise rotation in degrees: 0, 90, 180 or 270. A mirrored image is mirrored left to right first."""
        if self.transpose:
            return 90 if self.mirror_x else 270
        return 180 if self.mirror_y else 0


@dataclass(frozen=True, eq=False)
class Probe:
    """The presented frames of one file.

    Args:
        size: (width, height) in pixels as stored, before `turn`.
        turn: How players turn the pixels.
        times: (N,) float64 seconds from the start of playing, strictly ascending.
        duration_s: The duration in seconds, as browsers report it.
        pts: (N,) int64 presentation timestamps in the stream's unit, ascending; None where they do not identify a
            frame.
        keys: (K,) int64, the frames at which decoding can start.
        container: FFmpeg's names of the container format, separated by commas.
        codec: The codec's name.
        n_video_streams: The number of video streams in the file.
        pixel_aspect: Width of a stored pixel divided by its height, before `turn`.
        broken: Why the frames end before the file does, as a sentence; empty for a whole file.
    """

    size: tuple[int, int]
    turn: DisplayTransform
    times: NDArray[np.float64]
    duration_s: float
    pts: NDArray[np.int64] | None
    keys: NDArray[np.int64]
    container: str
    codec: str
    n_video_streams: int
    pixel_aspect: float = 1.0
    broken: str = ""  # what ends the frames before the file's own end; a sentence


def probe(path: Path, *, partial: bool = False) -> Probe:
    """Decode a video file once and report its frames.

    Args:
        path: The file.
        partial: Whether a file that breaks off after at least one frame is accepted; `Probe.broken` then says where and
            why.

    Raises:
        ClipError: If the file is no video, or not a whole one.
    """
    _check_file(path)
    missing = bytes_missing(path)
    with open_container(path) as container:
        stream = video_stream(container, path)
        keys, stamps, size, turn, broken = _decode_all(container, stream, path, missing)
        if broken and not (partial and stamps):
            raise ClipError(f"{path.name}: {broken}; {DAMAGE_HINT}")
        if len(stamps) == 1 and cv2.haveImageReader(str(path)):
            raise PictureError(f"{path.name}: {_PICTURE}")
        times, pts, known = _times(stamps, stream, container)
        return Probe(
            size=size,
            turn=turn,
            times=times,
            duration_s=_duration_s(times, stream, container, known=known),
            pts=pts,
            keys=np.flatnonzero(keys),
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            n_video_streams=len(container.streams.video),
            pixel_aspect=usable_pixel_aspect(float(stream.sample_aspect_ratio or 1)),
            broken=f"the video can be decoded up to {times[-1]:.1f} s: {broken}" if broken else "",
        )


def refuse_picture(path: Path) -> None:
    """Check by the header, without decoding, that a file with a picture's name is not one picture.

    What is moving (GIF, WebP, APNG) and what is no picture at all passes: `probe` says what it is.

    Raises:
        PictureError: If it is one.
    """
    if path.suffix.lower() not in PICTURES:
        return
    try:
        with Image.open(path) as image:
            is_one = getattr(image, "n_frames", 1) == 1
    except (OSError, ValueError, Image.DecompressionBombError):
        return
    if is_one:
        raise PictureError(f"{path.name}: {_PICTURE}")


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a local file and nothing else, as a context manager.

    Raises:
        ClipError: If it is no media file.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        container = av.open(str(path.resolve()), options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        if cv2.haveImageReader(str(path)):
            raise PictureError(f"{path.name}: {_PICTURE}") from error
        raise ClipError(f"{path.name}: {_why_not_opened(path)}") from error
    with container:
        yield container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first video stream of a container that is not cover art, nor one picture beside a longer stream.

    Raises:
        ClipError: If there is none, or no decoder for it.
    """
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = " and ".join(sorted({str(s.type) for s in container.streams})) or "nothing that is known"
        raise ClipError(f"{path.name}: there is no picture in this file, only {kinds}")
    # An AVIF sequence has a picture to show before it is played.
    streams = [s for s in streams if s.frames != 1] or streams
    if streams[0].codec_context is None:
        raise ClipError(f"{path.name}: no decoder here reads this file's pictures; convert it to H.264")
    streams[0].thread_type = "AUTO"
    return streams[0]


def display_transform_of(frame: VideoFrame) -> DisplayTransform:
    """Return the display transform of a frame.

    It is read from the display matrix: 3x3 fixed-point numbers with x' = a x + c y and y' = b x + d y, y downwards.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return DisplayTransform()
    a, b, _, c, d = (int(v) for v in np.frombuffer(matrix, np.int32)[:5])
    if abs(a) >= abs(b):  # players, too, support quarter turns only
        return DisplayTransform(mirror_x=a < 0, mirror_y=d < 0)
    return DisplayTransform(transpose=True, mirror_x=c < 0, mirror_y=b < 0)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ClipError(f"{path}: this is a folder, not a video file")
    if not path.exists():
        raise ClipError(f"{path}: there is no such file")
    if not path.is_file():
        raise ClipError(f"{path}: this is not a regular file")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ClipError(f"{path}: it cannot be read: {error.strerror}") from error
    if path.stat().st_size == 0:
        raise ClipError(f"{path.name}: the file is empty (0 bytes)")


def _why_not_opened(path: Path) -> str:
    if missing := bytes_missing(path):
        return f"the file is cut off: {missing} bytes are missing, among them its index, so no frame can be read"
    return "this is not a video file of a known kind, or its header is damaged; no frame can be read"


def _decode_all(
    container: InputContainer, stream: VideoStream, path: Path, missing: int
) -> tuple[list[bool], list[int | None], tuple[int, int], DisplayTransform, str]:
    """Decode all frames in the order of presentation.

    Returns (whether each is a key frame, their timestamps, the stored size, the display transform, what is broken).
    """
    keys: list[bool] = []
    stamps: list[int | None] = []
    size, turn = (0, 0), DisplayTransform()
    broken = ""
    try:
        for frame in container.decode(stream):
            if not stamps:
                size, turn = (frame.width, frame.height), display_transform_of(frame)
            if frame.is_corrupt:
                broken = f"the picture of frame {len(stamps)} is damaged"
                break
            keys.append(bool(frame.key_frame))
            stamps.append(frame.pts)
    except (av.FFmpegError, OSError) as error:
        broken = f"decoding fails after frame {len(stamps) - 1}" if stamps else "no frame can be decoded"
        broken += f" ({error.strerror or error})"
    if not (broken or missing) and (at := matroska_breaks_at(path)) is not None:
        broken = f"its structure breaks at byte {at}, and frames behind that are lost"
    announced = f" of {stream.frames}" if stream.frames > len(stamps) else ""
    could = f"{len(stamps)}{announced} frames could be read"
    if missing:
        return keys, stamps, size, turn, f"the file is cut off ({missing} bytes are missing): {could}"
    if broken:
        return keys, stamps, size, turn, f"the file is damaged: {broken}; {could}"
    if not stamps:
        raise ClipError(f"{path.name}: the file holds no frame")
    return keys, stamps, size, turn, ""


def _times(
    stamps: list[int | None], stream: VideoStream, container: InputContainer
) -> tuple[NDArray[np.float64], NDArray[np.int64] | None, bool]:
    """Return the times of the frames.

    Returns:
        Seconds from the start of playing; the timestamps if each belongs to one frame; and whether the file says the
        times at all. If not, the frames are spaced evenly.
    """
    unit_s = float(stream.time_base or 0)
    known = [s for s in stamps if s is not None]
    pts = np.array(known, dtype=np.int64)
    all_at_once = len(pts) > 1 and float(np.ptp(pts)) * unit_s < _SAME_TIME_S * (len(pts) - 1)
    if len(known) < len(stamps) or not unit_s or all_at_once:
        return np.arange(len(stamps)) / _announced_fps(stream), None, False
    if not (np.diff(pts) > 0).all():
        # AVI has timestamps in the order of decoding. Frames are decoded in the order of presentation, so the i-th
        # smallest timestamp is the i-th frame's; of two at one time players show the later.
        ordered = np.sort(pts)
        rank = np.arange(len(pts)) - np.searchsorted(ordered, ordered)
        return (ordered - ordered[0]) * unit_s + 1e-6 * rank, None, True
    start_s = (container.start_time or 0) / av.time_base
    if _for_browsers(container):
        # Measured in Chromium: a late first frame stays late and is also shown in the gap before it; only a start
        # before 0 is moved to 0.
        start_s = min(start_s, 0.0)
    return pts * unit_s - min(start_s, pts[0] * unit_s), pts, True


def _duration_s(times: NDArray[np.float64], stream: VideoStream, container: InputContainer, *, known: bool) -> float:
    # What browsers report on loading: the container's duration, even if it is too short or a longer sound track's.
    announced_s = container.duration / av.time_base if container.duration else 0.0
    if announced_s > times[-1]:
        return announced_s
    if announced_s > 0 and known and _for_browsers(container):
        # MP4 announces how long the stream is. Where it begins late, browsers have read to its last frame meanwhile
        # (measured in Chromium: 6.9 for 2 s that begin at 5 s).
        return float(times[-1]) if times[0] > 0 else announced_s
    return float(times[-1]) + _last_frame_s(times, stream)


def _for_browsers(container: InputContainer) -> bool:
    return bool(_BROWSER_CONTAINERS & set(container.format.name.split(",")))


def _last_frame_s(times: NDArray[np.float64], stream: VideoStream) -> float:
    steps = np.diff(times)
    steps = steps[steps > _SAME_TIME_S]  # frames at one time are set apart by less
    return float(np.median(steps)) if len(steps) else 1 / _announced_fps(stream)


def _announced_fps(stream: VideoStream) -> float:
    """Return the frame rate that the header announces, 25 where it announces none or nonsense."""
    rates = (float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate)
    return next((rate for rate in rates if rate <= _MAX_ANNOUNCED_FPS), _USUAL_FPS)


@dataclass(frozen=True)
class VideoLimits:
    """The largest video that is accepted. It is checked by the header before a frame is decoded.

    Args:
        most_px: Pixels of one frame, width times height.
        most_s: Duration in seconds.
    """

    most_px: float
    most_s: float

    def __post_init__(self) -> None:
        if not (self.most_px > 0 and self.most_s > 0):
            raise ValueError(f"limits must be above 0, got {self.most_px} pixels and {self.most_s} s")

    def check_header(self, path: Path) -> None:
        """Check a file by its header, without decoding. A header may understate, so `check` the opened clip as well.

        Raises:
            ClipError: If the header announces too much.
        """
        if (canvas := webp_canvas(path)) is not None:
            self.check(path.name, canvas, 0.0)
            return
        with open_container(path) as container:
            stream = video_stream(container, path)
            self.check(path.name, (stream.width, stream.height), (container.duration or 0) / av.time_base)

    def check(self, name: str, size: tuple[int, int], duration_s: float) -> None:
        """Check a video.

        Args:
            name: The name for the error's text.
            size: (width, height) in pixels.
            duration_s: The duration in seconds.

        Raises:
            ClipError: If it is too large or too long.
        """
        w, h = size
        if w * h > self.most_px:
            raise ClipError(f"{name}: its frames have {w}x{h} pixels, more than {self.most_px / 1e6:g} megapixels")
        if duration_s > self.most_s:
            raise ClipError(f"{name}: it plays {duration_s:.0f} s, longer than {self.most_s:g} s: cut it")
