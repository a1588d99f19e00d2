"""Decodes the pixels of chosen frames, in order, with decord or PyAV.

Measured with numbered frames: decord is correct when it reads a file from its first frame on. When it has to seek it
silently returns wrong frames (open GOPs, HEVC, intra refresh), as it does for MPEG-TS. So decord reads runs that begin
at frame 0, and PyAV, which reports the timestamp of each frame, reads everything else. While decord waits for a frame,
it decodes packet after packet without a limit on its memory (2.4 GB for 40 s of 1920x1080, see `make bench-scale`), so
PyAV also reads long clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from video.io.probe import ClipError, Probe, open_container, video_stream

Image = NDArray[np.uint8]

_DECORD_CONTAINERS = {"mov", "mp4", "matroska", "webm", "avi"}
_SAME_TIME_S = 2e-3  # decord keeps times as float32
_SAME_IMAGE = 6.0  # mean difference, of 255: decoders round colours differently
_DECORD_BYTES = 1 << 30  # of a whole clip's pixels, which decord may hold at worst
_MIN_SEEK = 12  # frames; decoding on is cheaper than a shorter seek


class DecordFailedError(Exception):
    """decord failed in the middle of a file."""


def decord_agrees(path: Path, probed: Probe) -> bool:
    """Return whether decord sees the same frames, times and first image as the probe.

    Files that are broken, or could take more than a GiB of memory through decord, count as disagreement without a try.
    """
    width, height = probed.size
    if 3 * width * height * len(probed.times) > _DECORD_BYTES:
        return False
    if probed.turn.mirrored or probed.n_video_streams != 1 or probed.broken:
        return False
    if not _DECORD_CONTAINERS & set(probed.container.split(",")):
        return False
    try:
        reader = _open_decord(path)
        if len(reader) != len(probed.times):
            return False
        times = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0].astype(np.float64)
        first = reader[0].asnumpy()
    except Exception:  # decord's error derives from Exception directly and has a private name
        return False
    # Where decord starts before 0 it does not know the file's edit list.
    steps_differ_s = np.abs(times - times[0] - (probed.times - probed.times[0]))
    if steps_differ_s.max() > _SAME_TIME_S or times[0] < -_SAME_TIME_S:
        return False
    _, truth = next(read_pyav(path, probed, np.zeros(1, np.int64)))
    return first.shape == truth.shape and float(np.abs(first.astype(int) - truth).mean()) < _SAME_IMAGE


def read_decord(path: Path, n: int, *, size: int) -> Iterator[tuple[int, Image]]:
    """Yield the index and the image, (H, W, 3) uint8 RGB, of the frames 0 to n - 1, decoded `size` at a time.

    Raises:
        DecordFailedError: If decord fails. The frames yielded before are correct.
    """
    reader = _open_decord(path)
    for begin in range(0, n, size):
        indices = list(range(begin, min(begin + size, n)))
        try:
            images = reader.get_batch(indices).asnumpy()
        except Exception as error:
            raise DecordFailedError(str(error)) from error
        yield from zip(indices, images, strict=True)


def read_pyav(path: Path, probed: Probe, indices: NDArray[np.int64]) -> Iterator[tuple[int, Image]]:
    """Yield the index and the image, (H, W, 3) uint8 RGB, of some frames.

    Args:
        path: The file.
        probed: Its probe.
        indices: (n,) int64, ascending. Seeks are made where they save work and the timestamps allow it.

    Raises:
        ClipError: If the file can no longer be decoded.
    """
    start = 0
    if probed.pts is not None:
        try:
            for index, image in _read_seeking(path, probed, indices):
                yield index, image
                start += 1
        except _SeekError:  # the file's index is wrong: decode from the beginning without seeking
            pass
        else:
            return
    yield from _read_sequentially(path, probed, indices[start:])


class _SeekError(Exception):
    pass


def _read_seeking(path: Path, probed: Probe, indices: NDArray[np.int64]) -> Iterator[tuple[int, Image]]:
    assert probed.pts is not None
    with open_container(path) as container:
        stream = video_stream(container, path)
        frames, next_frame = container.decode(stream), 0
        for index in indices.tolist():
            key = int(probed.keys[np.searchsorted(probed.keys, index, side="right") - 1]) if len(probed.keys) else 0
            if key - next_frame >= _MIN_SEEK:
                container.seek(int(probed.pts[key]), stream=stream)
                frames = container.decode(stream)
            stamp = probed.pts[index]
            try:
                frame = next(f for f in frames if f.pts is not None and f.pts >= stamp)
            except (StopIteration, av.FFmpegError) as error:
                raise _SeekError from error
            if frame.pts != stamp or frame.is_corrupt:
                raise _SeekError
            yield index, _pixels(frame, probed)
            next_frame = index + 1


def _read_sequentially(path: Path, probed: Probe, indices: NDArray[np.int64]) -> Iterator[tuple[int, Image]]:
    wanted = set(indices.tolist())
    last = max(wanted, default=-1)
    decoded = 0
    with open_container(path) as container:
        stream = video_stream(container, path)
        try:
            for decoded, frame in enumerate(container.decode(stream), start=1):
                if decoded - 1 in wanted:
                    yield decoded - 1, _pixels(frame, probed)
                if decoded - 1 == last:
                    return
        except av.FFmpegError as error:
            raise ClipError(f"{path.name}: decoding fails after frame {decoded - 1} ({error})") from error
    if decoded <= last:
        raise ClipError(f"{path.name}: it had {len(probed.times)} frames when opened, and now only {decoded}")


def _pixels(frame: av.VideoFrame, probed: Probe) -> Image:
    width, height = probed.size
    if (frame.width, frame.height) != probed.size:  # a stream may change its size; the clip has one
        frame = frame.reformat(width=width, height=height, format="rgb24")
    return probed.turn.apply(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))


def _open_decord(path: Path) -> Any:
    try:
        import decord
    except ImportError as error:  # there are no wheels for arm: PyAV reads everything there
        raise DecordFailedError("decord is not installed") from error
    decord.logging.set_level(decord.logging.QUIET)
    # With more threads it breaks on VP9, and the order of its errors is by chance.
    return decord.VideoReader(str(path.resolve()), num_threads=1)
