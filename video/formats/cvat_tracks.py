"""Reading a task's frames and its <track>s from CVAT's XML, as CVAT itself interpolates them.

A box's `frame` is a frame of the video file, whatever frames the task began with or left out. Between two boxes CVAT
interpolates the corners linearly and the angle the shorter way round, also towards a box with `outside="1"`, which is
not shown itself. After the last box the object stays to the end of the task. `rotation` is in degrees clockwise about
the box's centre, in pixels.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from video.formats.base import FormatError, ObjectTrack, require_visible, track_from_boxes
from video.formats.values import check_size, parse_count
from video.masks import Box

_STEP = re.compile(r"\s*step\s*=\s*([1-9]\d{0,8})\s*")


@dataclass(frozen=True)
class TrackMeta:
    """What the <meta> of a file says of the video.

    Attributes:
        name: The task's name.
        source: Name of the video file, "" where it is not given.
        size: (width, height) in pixels.
        last_frame: The last frame of the video that the task is about, from 0.
        open_end: Whether frames beyond that are no contradiction: those of a job, for example.
    """

    name: str
    source: str
    size: tuple[int, int]
    last_frame: int
    open_end: bool


def read_meta(root: Element, path: Path) -> TrackMeta:
    """Read the <meta> of a video task or of one of its jobs.

    Args:
        root: The <annotations>.
        path: The file, for errors.

    Raises:
        FormatError: If there is none, or a number is missing or none.
    """
    task, job = root.find("meta/task"), root.find("meta/job")
    meta = task if task is not None else job
    if meta is None and root.find("meta/project") is not None:
        raise FormatError(f"{path} is the export of a project: export each of its tasks by itself in CVAT")
    if meta is None:
        raise FormatError(f"{path} has no <meta><task>: the size of the video is not known")
    sides = (_whole_number(meta, "original_size/width", path), _whole_number(meta, "original_size/height", path))
    size = check_size(sides, str(path))
    count = _whole_number(meta, "size", path)
    start = _whole_number(meta, "start_frame", path, least=0, default=0)
    stop = _whole_number(meta, "stop_frame", path, least=0, default=0)
    frame_filter = meta.findtext("frame_filter") or ""
    step = _STEP.fullmatch(frame_filter)
    if step is None and frame_filter.strip():
        raise FormatError(f"{path}: <frame_filter> must be empty or such as step=5, got {frame_filter!r}")
    stride = int(step.group(1)) if step else 1
    source = meta.findtext("source") or root.findtext("meta/source") or ""
    # A job counts the frames of its task, so that these numbers are too small where the task leaves frames out.
    return TrackMeta(
        name=(meta.findtext("name") or path.stem).strip(),
        source=re.split(r"[\\/]", source.strip())[-1],
        size=size,
        last_frame=max(stop, start + (count - 1) * stride),
        open_end=task is None,
    )


def _whole_number(meta: Element, tag: str, path: Path, *, least: int = 1, default: int | None = None) -> int:
    text = (meta.findtext(tag) or "").strip()
    if not text and default is not None:
        return default
    number = parse_count(text)
    if number is None or number < least:
        wanted = "a whole number" if least == 0 else f"a whole number of {least} or more"
        raise FormatError(f"{path}: <{tag}> must be {wanted}, got {text!r:.80}")
    return number


def last_shown_frame(root: Element) -> int:
    """Return the last frame that a box is shown on, -1 without any."""
    frames = (box.get("frame", "") for box in root.iterfind("track/box") if box.get("outside") != "1")
    return max((number for number in map(parse_count, frames) if number is not None), default=-1)


@dataclass(frozen=True)
class _Key:
    """A box of a track. sides: xyxy in pixels before it is turned; rotation: degrees clockwise about its centre."""

    sides: NDArray[np.float64]
    rotation: float
    outside: bool


def read_track(track: Element, size: tuple[int, int], last_frame: int, where: str) -> ObjectTrack:
    """Return an object on the frames of the video.

    Args:
        track: The <track>.
        size: (width, height) of the video in pixels.
        last_frame: The last frame of the task.
        where: What error messages call the track.

    Returns:
        The object, with the smallest upright boxes around rotated ones.

    Raises:
        FormatError: If it has a shape that is no box, a box that cannot be read or is beyond the last frame, or no
            frame on which it is seen.
    """
    other = next((item.tag for item in track if item.tag not in ("box", "attribute")), None)
    if other is not None:
        raise FormatError(f"{where} has a <{other}>; boxes are read, no other shapes")
    keys: dict[int, _Key] = {}
    for box in track.findall("box"):
        frame, key = _read_box(box, where)
        if not 0 <= frame <= last_frame and not (key.outside and frame > last_frame):
            raise FormatError(f"{where} is on frame {frame}; the video has the frames 0 to {last_frame}")
        if box.get("keyframe", "1") == "1" or key.outside:
            keys[frame] = key
    found: dict[int, Box] = {}
    order = sorted(keys)
    for at, after in itertools.pairwise([*order, last_frame + 1]):
        key, target = keys[at], keys.get(after, keys[at])
        if key.outside:
            continue
        turn = (target.rotation - key.rotation + 180) % 360 - 180
        for frame in range(at, min(after, last_frame + 1)):
            share = (frame - at) / (after - at)
            sides = key.sides + share * (target.sides - key.sides)
            found[frame] = _upright_box(sides, key.rotation + share * turn, size)
    shown = [frame for frame in order if not keys[frame].outside]
    return require_visible(track_from_boxes(track.get("label", "object"), found, keyframes=shown), where)


def _read_box(box: Element, where: str) -> tuple[int, _Key]:
    try:
        frame = int(box.attrib["frame"])
        sides = [float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")]
        rotation = float(box.get("rotation") or 0)
        if not all(math.isfinite(number) for number in (*sides, rotation)):
            raise ValueError
    except (KeyError, ValueError):
        raise FormatError(f"{where}: a box needs the numbers frame, xtl, ytl, xbr and ybr, got {box.attrib}") from None
    return frame, _Key(np.array(sides), rotation, box.get("outside") == "1")


def _upright_box(sides: NDArray[np.float64], rotation: float, size: tuple[int, int]) -> Box:
    """Return the smallest upright box around a rotated one, in fractions of the frame."""
    center, half = (sides[:2] + sides[2:]) / 2, abs(sides[2:] - sides[:2]) / 2
    angle = math.radians(rotation)
    cos, sin = abs(round(math.cos(angle), 12)), abs(round(math.sin(angle), 12))  # a quarter turn has no oblique rest
    reach = np.array([half[0] * cos + half[1] * sin, half[0] * sin + half[1] * cos])
    x0, y0, x1, y1 = (np.concatenate([center - reach, center + reach]) / np.array([*size, *size])).tolist()
    return (x0, y0, x1, y1)
