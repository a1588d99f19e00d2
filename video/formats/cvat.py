"""CVAT for video 1.1 (https://docs.cvat.ai/docs/other/xml_format): an object is a <track> of <box>es.

A box with `outside="1"` ends the object's appearance. Of the others those with `keyframe="1"` are read, and what is
between them is interpolated (see `cvat_tracks`). All frames are written; the keyframes among them are the fewest that
keep each box at an IoU of 0.9, so that few have to be checked in CVAT. Further labels and choices are written as
attributes. Masks are not written, since the format's tracks have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, SubElement, indent, tostring

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from video.atomic_files import write_text
from video.errors import Skipped, leave_out
from video.formats.base import AnnotatedVideo, FormatError, ObjectTrack, even_times, make_video, safe_name
from video.formats.cvat_tracks import last_shown_frame, read_meta, read_track
from video.formats.frame_numbers import LengthOf, check_frame_count
from video.keyframes import KEYFRAME_IOU, select_keyframes


def write(splits: Mapping[str, Sequence[AnnotatedVideo]], out: Path) -> list[Path]:
    """Write OUT/SPLIT/VIDEO.xml for each video, and return the files. Frames keep the numbers of the video file.

    Raises:
        OSError: If a file cannot be written.
    """
    written = []
    for split, videos in splits.items():
        for video in videos:
            path = out / split / f"{safe_name(video.name, 'a video')}.xml"
            written.append(write_text(path, '<?xml version="1.0" encoding="utf-8"?>\n' + _document(video)))
    return written


def _document(video: AnnotatedVideo) -> str:
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    first, last, step = int(video.frames[0]), int(video.frames[-1]), _step(video.frames)
    meta = {"name": video.name, "size": str((last - first) // step + 1), "mode": "interpolation"}
    meta |= {"start_frame": str(first), "stop_frame": str(last), "frame_filter": f"step={step}" if step > 1 else ""}
    for tag, text in meta.items():
        SubElement(task, tag).text = text
    labels = SubElement(task, "labels")
    for name in sorted({one.label for one in video.objects}):
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        attributes = SubElement(label, "attributes")
        for question in sorted({question for one in video.objects if one.label == name for question in one.attributes}):
            attribute = SubElement(attributes, "attribute")
            texts = {"name": question, "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
            for tag, text in texts.items():
                SubElement(attribute, tag).text = text
    shape = SubElement(task, "original_size")
    SubElement(shape, "width").text, SubElement(shape, "height").text = str(video.size[0]), str(video.size[1])
    for number, one in enumerate(video.objects):
        track = SubElement(root, "track", id=str(number), label=one.label, source="auto")
        _boxes(track, one, video)
        for box in track:
            for question, values in one.attributes.items():
                SubElement(box, "attribute", name=question).text = ", ".join(values)
    indent(root, "  ")
    return tostring(root, encoding="unicode") + "\n"


def _step(frames: NDArray[np.int64]) -> int:
    """Return the distance between frames in a row, 1 if it is not the same everywhere: then they are in one task."""
    gaps = np.unique(np.diff(frames))
    return int(gaps[0]) if len(gaps) == 1 else 1


def _boxes(track: Element, one: ObjectTrack, video: AnnotatedVideo) -> None:
    n = len(video.frames)
    boxes, visible = np.zeros((n, 4)), np.zeros(n, np.bool_)
    rows = np.searchsorted(video.frames, one.frames)
    boxes[rows], visible[rows] = one.boxes, True
    must = [int(np.searchsorted(video.frames, k)) for k in one.keyframes]
    chosen = select_keyframes(boxes, visible, positions=video.frames, tolerance_iou=KEYFRAME_IOU, must=must)
    keys = {row for row, _ in chosen}
    for row in np.flatnonzero(visible).tolist():
        frame = int(video.frames[row])
        _box(track, frame, boxes[row], video.size, outside=False, key=row in keys)
        if row + 1 < n and not visible[row + 1]:
            _box(track, int(video.frames[row + 1]), boxes[row], video.size, outside=True, key=True)


def _box(
    track: Element, frame: int, box: np.ndarray[tuple[int], np.dtype[np.float64]], size: tuple[int, int], *,
    outside: bool, key: bool,
) -> None:  # fmt: skip
    x0, y0, x1, y1 = (box * np.array([*size, *size])).tolist()
    sides = {"xtl": f"{x0:.2f}", "ytl": f"{y0:.2f}", "xbr": f"{x1:.2f}", "ybr": f"{y1:.2f}"}
    flags = {"outside": str(int(outside)), "occluded": "0", "keyframe": str(int(key))}
    SubElement(track, "box", {"frame": str(frame), **flags, **sides, "z_order": "0"})


def read(path: Path, *, skipped: Skipped = None, length_of: LengthOf | None = None) -> list[AnnotatedVideo]:
    """Read a video task's annotations.xml, or a folder of such files.

    A track that cannot be read, such as one of polygons, is left out, and `skipped` or else a note of the video says
    so. A task may be about a part of the video only, and nothing is known of the frames beyond it.

    Args:
        path: The file or folder.
        skipped: See `leave_out`.
        length_of: See `check_frame_count`.

    Raises:
        FormatError: If a file is invalid.
    """
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"{path} holds no XML file")
    videos = []
    for file in files:
        with leave_out(skipped):
            videos.append(_video(file, skipped, length_of))
    return videos


def _video(path: Path, skipped: Skipped, length_of: LengthOf | None) -> AnnotatedVideo:
    try:
        root = fromstring(path.read_text(encoding="utf-8"))
    except (ParseError, DefusedXmlException, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is not XML that can be read: {error}") from None
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from None
    if root.tag != "annotations" or root.find("image") is not None:
        raise FormatError(f"{path} is not CVAT for video: export the task as `CVAT for video 1.1`")
    meta = read_meta(root, path)
    last_frame = max(meta.last_frame, last_shown_frame(root)) if meta.open_end else meta.last_frame
    check_frame_count(last_frame + 1, str(path), meta.name, meta.source, length_of=length_of)
    objects: list[ObjectTrack] = []
    notes: list[str] = []
    for track in root.findall("track"):
        where = f"{path}: track {track.get('id')} ({track.get('label')!r})"
        try:
            objects.append(read_track(track, meta.size, last_frame, where))
        except FormatError as error:
            (notes if skipped is None else skipped).append(f"{error}: the track is left out")
    video = make_video(meta.name, meta.size, even_times(last_frame + 1), objects, notes=notes)
    return replace(video, file_name=meta.source, open_end=True)
