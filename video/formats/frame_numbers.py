"""Which frames of a video file the images of a data set are, where it has not all of them.

Formats list the images of a video. `refam export` adds the number of each in the video file, counted from 0, and how
many frames the file has. Data sets of others may name their images by such numbers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from video.formats.base import AnnotatedVideo, FormatError, ObjectTrack, track_from_boxes
from video.masks import Box

LengthOf = Callable[[str, str], int]
"""Returns the number of frames of the video with a (name, file name); raises UserError where there is none."""
MAX_PICTURES = 100_000
_BELIEVED = 10_000  # frames, for which memory and time are small


def read_numbers(values: Sequence[Any]) -> tuple[int, ...]:
    """Return values as frame numbers; () unless they are whole numbers from 0 on that ascend."""
    whole = all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values)
    return tuple(values) if whole and all(a < b for a, b in itertools.pairwise(values)) else ()


def numbers_in_names(names: Sequence[str]) -> tuple[int, ...]:
    """Return the last number in the name of each image, without its folder; () unless all have one and they ascend."""
    found = [re.findall(r"\d{1,18}", PurePosixPath(name).stem) for name in names]
    return read_numbers([int(digits[-1]) for digits in found]) if all(found) else ()


def check_frame_count(n: int, where: str, name: str, file_name: str = "", *, length_of: LengthOf | None = None) -> None:
    """Check a number of frames that a file only tells, before memory is taken for as many.

    Args:
        n: The number.
        where: What the error's text calls the file.
        name: Name of the video.
        file_name: Name of its file, "" where it is not known.
        length_of: Returns how many frames the video of a name and a file name has. It is asked for large numbers
            only, since that opens the video.

    Raises:
        FormatError: If it is more than the video has, or, without `length_of`, more than a list of pictures can be.
    """
    if length_of is None:
        if n > MAX_PICTURES:
            raise FormatError(f"{where} tells of {n} frames; without --videos, {MAX_PICTURES} at most are read")
    elif n > _BELIEVED and n > (known := length_of(name, file_name)):
        raise FormatError(f"{where} tells of {n} frames, and the video {name} has {known}")


def place_on_video(video: AnnotatedVideo, n_frames: int, file_name: str) -> AnnotatedVideo:
    """Bring annotations to the frames of the video file that they were made on.

    A video with as many frames as the file is returned as it is, and so is a shorter one with an open end. Else the
    numbers of its frames must be known: by the number of frames that it tells of the file, or because they begin at 0,
    leave frames out and reach to the end of the file. Numbers without gaps may as well count images that were extracted
    at another rate.

    Args:
        video: The annotated video.
        n_frames: The number of frames of the file.
        file_name: The file's name, for errors.

    Returns:
        The video with all frames of the file. If they were mapped, objects have boxes only, interpolated between two
        annotated frames in a row; on frames beyond the annotated ones they are not visible.

    Raises:
        FormatError: If the frames cannot be matched.
    """
    n = len(video.times)
    if video.length and video.length != n_frames:
        raise FormatError(
            f"{video.name} was annotated on a video of {video.length} frames, and {file_name} has {n_frames}: "
            "give the video that it was annotated on with --videos"
        )
    if n == n_frames or (n < n_frames and video.open_end):
        return video
    if not _numbers_fit(video, n_frames):
        raise FormatError(
            f"{video.name} has {n} frames annotated, {file_name} has {n_frames}: they cannot be matched, since nothing "
            "says which frames of the video they are; give a video of exactly these frames, or import them as "
            "pictures, without --videos"
        )
    objects = tuple(_place(one, video.numbers) for one in video.objects)
    times, all_frames = np.arange(n_frames, dtype=np.float64), np.arange(n_frames, dtype=np.int64)
    return replace(video, times=times, objects=objects, frames=all_frames, pictures=(), numbers=())


def _numbers_fit(video: AnnotatedVideo, n_frames: int) -> bool:
    numbers = video.numbers
    if not numbers or numbers[-1] >= n_frames:
        return False
    if video.length:
        return True
    gaps = np.diff(numbers)
    return len(gaps) > 0 and numbers[0] == 0 and int(gaps.max()) > 1 and numbers[-1] + int(gaps.max()) >= n_frames


def _place(one: ObjectTrack, numbers: Sequence[int]) -> ObjectTrack:
    """Return an object on other frames: its frame k becomes numbers[k]."""
    rows = one.frames.tolist()
    by_frame: dict[int, Box] = {}
    for row, frame in enumerate(rows):
        start, follows = numbers[frame], row + 1 < len(rows) and rows[row + 1] == frame + 1
        end, after = (numbers[frame + 1], one.boxes[row + 1]) if follows else (start + 1, one.boxes[row])
        for at in range(start, end):
            x0, y0, x1, y1 = (one.boxes[row] + (at - start) / (end - start) * (after - one.boxes[row])).tolist()
            by_frame[at] = (x0, y0, x1, y1)
    placed = track_from_boxes(one.label, by_frame, keyframes=[numbers[k] for k in one.keyframes])
    return replace(placed, attributes=one.attributes)
