"""MOTS (https://www.vision.rwth-aachen.de/page/mots) in its text form: `time_frame id class_id height width rle`.

An id is 1000 x class + instance; 10000 is a region to ignore. The layout is MOTSChallenge's: SPLIT/VIDEO/gt/gt.txt with
frames from 1 on, SPLIT/VIDEO/seqinfo.ini, and labels.txt with the names of the classes. Masks do not overlap: where
several claim a pixel, the smallest has it. The frames of a sampled video are renumbered; the seqinfo.ini tells
which of the video's they are, as videoFrames (from 0 on) and videoLength.
"""

from __future__ import annotations

import configparser
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from video import masks
from video.atomic_files import write_text
from video.errors import Skipped, leave_out
from video.formats.base import (
    AnnotatedVideo,
    FormatError,
    even_times,
    make_video,
    number_labels,
    read_text,
    require_masks,
    require_visible,
    safe_name,
    track_from_masks,
)
from video.formats.coco import parse_segmentation
from video.formats.davis import disjoint_masks
from video.formats.frame_numbers import LengthOf, check_frame_count, read_numbers
from video.formats.values import check_size, parse_count
from video.types import DEFAULT_FPS, Rle

IGNORE = 10_000
_PER_CLASS = 1000


def write(splits: Mapping[str, Sequence[AnnotatedVideo]], out: Path) -> list[Path]:
    """Write all files below OUT, and return the main ones.

    Raises:
        FormatError: For objects without masks, and for 1000 objects or more of a class.
        OSError: If a file cannot be written.
    """
    numbers = number_labels(video for videos in splits.values() for video in videos)
    ids: dict[str, list[int]] = {}
    for videos in splits.values():  # before anything is written
        require_masks(videos, "MOTS")
        ids |= {safe_name(video.name, "a video"): _object_ids(video, numbers) for video in videos}
    written = [write_text(out / "labels.txt", "".join(f"{label}\n" for label in numbers))]
    for split, videos in splits.items():
        for video in videos:
            folder = out / split / video.name
            written.append(write_text(folder / "gt" / "gt.txt", "".join(_lines(video, numbers, ids[video.name]))))
            write_text(folder / "seqinfo.ini", _seqinfo(video))
    return written


def image_path(video: AnnotatedVideo, frame: int, split: str) -> str:
    """Return where the image of a frame belongs, relative to OUT."""
    return f"{split}/{video.name}/img1/{int(np.searchsorted(video.frames, frame)) + 1:06d}.jpg"


def _object_ids(video: AnnotatedVideo, numbers: Mapping[str, int]) -> list[int]:
    """Return the id of each object: its class and its number in the class. Raises FormatError if a class is full."""
    count: dict[int, int] = defaultdict(int)
    ids = []
    for one in video.objects:
        kind = numbers[one.label]
        count[kind] += 1
        if count[kind] >= _PER_CLASS:
            raise FormatError(f"{video.name} has {_PER_CLASS} objects {one.label!r} or more; MOTS has room for 999")
        ids.append(kind * _PER_CLASS + count[kind])
    return ids


def _lines(video: AnnotatedVideo, numbers: Mapping[str, int], ids: Sequence[int]) -> list[str]:
    """Return the lines of gt.txt. numbers: of the labels. ids: of the objects."""
    lines = []
    for position, (_, found) in enumerate(disjoint_masks(video), start=1):
        for i in sorted(found):
            if found[i].any():
                rle = masks.encode(found[i])
                kind = numbers[video.objects[i].label]
                w, h = video.size
                lines.append(f"{position} {ids[i]} {kind} {h} {w} {rle.counts.decode('ascii')}\n")
    return lines


def _seqinfo(video: AnnotatedVideo) -> str:
    kept = video.times[video.frames]
    rate = (len(kept) - 1) / float(kept[-1] - kept[0]) if len(kept) > 1 else DEFAULT_FPS
    w, h = video.size
    return (
        f"[Sequence]\nname={video.name}\nimDir=img1\nframeRate={rate:.6g}\nseqLength={len(kept)}\n"
        f"imWidth={w}\nimHeight={h}\nimExt=.jpg\n{_sampling(video)}"
    )


def _sampling(video: AnnotatedVideo) -> str:
    """Return which frames of the video file are kept, and of how many, as lines of a seqinfo.ini; "" for all."""
    if not video.is_sampled:
        return ""
    return f"videoFrames={','.join(map(str, video.frames.tolist()))}\nvideoLength={len(video.times)}\n"


def read(path: Path, *, skipped: Skipped = None, length_of: LengthOf | None = None) -> list[AnnotatedVideo]:
    """Read a text file, or a folder of VIDEO/gt/gt.txt or of VIDEO.txt.

    Frames are counted from 0 if a line is of frame 0, else from 1; a line of a region to ignore counts. The names of
    the classes are read from a labels.txt at or above each file; without one they are "class 1" and so on.

    Args:
        path: The file or folder.
        skipped: See `leave_out`.
        length_of: See `check_frame_count`.

    Raises:
        FormatError: If a file is invalid.
    """
    if path.is_file():
        return [_video(path, path.stem if path.name != "gt.txt" else path.parents[1].name, skipped, length_of)]
    deep = sorted(path.rglob("gt/gt.txt"))
    flat = [] if deep else sorted(file for file in path.glob("*.txt") if file.name != "labels.txt")
    if not deep and not flat:
        raise FormatError(f"{path} holds no VIDEO/gt/gt.txt and no VIDEO.txt")
    videos = []
    for file, name in [(file, file.parents[1].name) for file in deep] + [(file, file.stem) for file in flat]:
        with leave_out(skipped):
            videos.append(_video(file, name, skipped, length_of))
    return videos


def _video(file: Path, name: str, skipped: Skipped, length_of: LengthOf | None) -> AnnotatedVideo:
    rows: dict[int, dict[int, Rle]] = defaultdict(dict)
    named: set[int] = set()  # the numbers of all frames with a line, be it only a region to ignore
    size: tuple[int, int] | None = None
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        where = f"{file}, line {number}"
        parts = line.split()
        if not parts:
            continue
        try:
            frame, key, _, h, w = (int(v) for v in parts[:5])
        except ValueError:
            frame = -1
        if len(parts) != 6 or frame < 0:
            raise FormatError(f"{where} is not `frame id class height width rle`: {line!r:.80}")
        size = size or check_size((w, h), where)
        named.add(frame)
        if key != IGNORE:
            rows[key][frame] = parse_segmentation({"size": [h, w], "counts": parts[5]}, size, where)
    if size is None:
        raise FormatError(f"{file} has no line: the size of its frames is not known")
    first = 0 if 0 in named else 1
    labels = _labels(file)
    about, source = _read_sequence_info(file)
    n, fps, is_stated = _length(about, source, max(named) - first + 1)
    check_frame_count(n, str(source if is_stated else file), name, length_of=length_of)
    objects = []
    for key, row in sorted(rows.items()):
        kind = key // _PER_CLASS
        label = labels[kind - 1] if 0 < kind <= len(labels) else f"class {kind}"
        with leave_out(skipped):
            found = track_from_masks(label, {frame - first: rle for frame, rle in row.items()})
            objects.append(require_visible(found, f"{file}: object {key}"))
    names = [f"{name}/img1/{frame + first:06d}.jpg" for frame in range(n)]
    video = make_video(name, size, even_times(n, fps), objects, pictures=names)
    numbers, length = _video_frames(about, n)
    # Frames without an object have no line, also at the end.
    return replace(video, numbers=numbers, length=length, open_end=not is_stated)


def _labels(file: Path) -> list[str]:
    for folder in list(file.parents)[:4]:
        if (folder / "labels.txt").is_file():
            return read_text(folder / "labels.txt").splitlines()
    return []


def _read_sequence_info(file: Path) -> tuple[Mapping[str, str], Path]:
    """Return what the seqinfo.ini of a text file says of the sequence, {} if there is none, and which file that is.

    Raises:
        FormatError: If it cannot be read.
    """
    path = file.parents[1] / "seqinfo.ini" if file.name == "gt.txt" else file.with_suffix(".ini")
    about = configparser.ConfigParser(interpolation=None)
    if path.is_file():
        try:
            about.read_string(read_text(path), str(path))
        except configparser.Error as error:
            raise FormatError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return about["Sequence"] if about.has_section("Sequence") else {}, path


def _video_frames(about: Mapping[str, str], n: int) -> tuple[tuple[int, ...], int]:
    """Return which frames of the video file the n frames are, and of how many; ((), 0) where that is not told."""
    listed = [parse_count(text) for text in about.get("videoFrames", "").split(",")]
    length = parse_count(about.get("videoLength", ""))
    numbers = read_numbers(listed)
    if len(numbers) != n or length is None or length <= numbers[-1]:
        return (), 0
    return numbers, length


def _length(about: Mapping[str, str], path: Path, least: int) -> tuple[int, float, bool]:
    """Return the number of frames, the frame rate, and whether the seqinfo.ini says the number.

    Args:
        about: What the seqinfo.ini says.
        path: That file, for errors.
        least: How many frames the lines are about.

    Raises:
        FormatError: If they are none.
    """
    n = parse_count(about.get("seqLength", str(least)))
    if n is None:
        raise FormatError(f"{path}: seqLength must be a whole number of frames, got {about['seqLength']!r:.80}")
    try:
        fps = float(about.get("frameRate", str(DEFAULT_FPS)))
    except ValueError:
        fps = math.nan
    if not 0 < fps < math.inf:
        raise FormatError(f"{path}: frameRate must be a positive number, got {about['frameRate']!r:.80}")
    return max(n, least), fps, "seqLength" in about
