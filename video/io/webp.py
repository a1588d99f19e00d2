"""Animated WebP, which FFmpeg does not decode, by Pillow. Source of the layout: RFC 9649."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from video.io.containers import bytes_missing
from video.io.probe import DAMAGE_HINT, ClipError, DisplayTransform, Probe

_SHORTEST_S, _USUAL_S = 0.010, 0.100  # browsers show a frame that announces 10 ms or less for 100 ms
_ERRORS = (OSError, EOFError, SyntaxError, ValueError, Pictures.DecompressionBombError)


def probe_webp(path: Path, *, partial: bool = False) -> Probe:
    """Decode an animated WebP once and report its frames; see `video.io.probe.probe`.

    Raises:
        ClipError: If it is damaged.
    """
    durations: list[float] = []
    announced, size, problem = 0, (0, 0), ""
    try:
        with Pictures.open(path) as picture:
            announced, size = int(getattr(picture, "n_frames", 1)), picture.size
            for number in range(announced):
                picture.seek(number)
                picture.load()
                durations.append(_duration_s(picture.info))
    except _ERRORS as error:
        problem = f"decoding fails after frame {len(durations) - 1} ({error})" if durations else str(error)
    missing = bytes_missing(path)
    broken = ""
    if missing or problem:
        what = f"cut off ({missing} bytes are missing)" if missing else f"damaged: {problem}"
        count = f"{len(durations)} of {announced} frames could be read" if durations else "no frame can be read"
        broken = f"the file is {what}: {count}"
        if not (partial and durations):
            raise ClipError(f"{path.name}: {broken}; {DAMAGE_HINT}")
    ends = np.cumsum(durations)
    times = ends - np.array(durations)
    return Probe(
        size=size,
        turn=DisplayTransform(),
        times=times,
        duration_s=float(ends[-1]),
        pts=None,
        keys=np.zeros(1, np.int64),
        container="webp",
        codec="webp",
        n_video_streams=1,
        broken=f"the video can be decoded up to {times[-1]:.1f} s: {broken}" if broken else "",
    )


def read_webp(path: Path, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the index and the image, (H, W, 3) uint8 RGB, of some frames. indices: (n,) int64, ascending.

    Raises:
        ClipError: If the file can no longer be decoded.
    """
    try:
        with Pictures.open(path) as picture:
            for index in indices.tolist():
                picture.seek(index)
                yield index, np.asarray(picture.convert("RGB"), np.uint8)
    except _ERRORS as error:
        raise ClipError(f"{path.name}: decoding fails ({error})") from error


def _duration_s(info: dict[str | tuple[int, int], Any]) -> float:
    announced_s = float(info.get("duration") or 0) / 1000
    return announced_s if announced_s > _SHORTEST_S else _USUAL_S
