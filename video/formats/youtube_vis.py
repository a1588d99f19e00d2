"""YouTube-VIS (https://youtube-vos.org/dataset/vis/): COCO for videos; an annotation is an object on all its frames.

`segmentations`, `bboxes` and `areas` have an entry for each of the video's `file_names`, null where the object is not
visible. Where only boxes are known, the segmentations are all null. `attributes`, as in `video.formats.coco`, hold
further labels and choices. A video of which frames are left out has the members `frame_indices`, the frames of the
video file that its images are, counted from 0, and `video_length`, the number of the file's frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from video import masks
from video.errors import Skipped, leave_out
from video.formats.base import (
    AnnotatedVideo,
    FormatError,
    ObjectTrack,
    attributes_json,
    box_xywh,
    coco_header,
    even_times,
    get_field,
    make_video,
    number_labels,
    read_json,
    require_visible,
    track_from_boxes,
    track_from_masks,
    write_json,
)
from video.formats.coco import parse_segmentation, rle_json
from video.formats.coco_ids import Categories, read_categories, read_id, require_listed
from video.formats.frame_numbers import numbers_in_names, read_numbers
from video.formats.values import get_size, xywh_box


def write(splits: Mapping[str, Sequence[AnnotatedVideo]], out: Path) -> list[Path]:
    """Write OUT/SPLIT/instances.json for each split, and return the files.

    Raises:
        OSError: If a file cannot be written.
    """
    numbers = number_labels(video for videos in splits.values() for video in videos)
    written = []
    for split, videos in splits.items():
        content = coco_header(numbers, "videos", "annotations")
        for video_id, video in enumerate(videos, start=1):
            names = [video.picture(frame) for frame in video.frames.tolist()]
            shape = {"width": video.size[0], "height": video.size[1], "length": len(names)}
            content["videos"].append({"id": video_id, **shape, "file_names": names})
            if video.is_sampled:
                content["videos"][-1] |= {"frame_indices": video.frames.tolist(), "video_length": len(video.times)}
            for one in video.objects:
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "video_id": video_id,
                        "category_id": numbers[one.label],
                        "iscrowd": 0,
                        **shape,
                        **_rows(one, video),
                        **attributes_json(one),
                    }
                )
        written.append(write_json(out / split / "instances.json", content))
    return written


def image_path(video: AnnotatedVideo, frame: int, split: str) -> str:
    """Return where the image of a frame belongs, relative to OUT."""
    return f"{split}/JPEGImages/{video.picture(frame)}"


def _rows(one: ObjectTrack, video: AnnotatedVideo) -> dict[str, list[Any]]:
    row_of = {frame: row for row, frame in enumerate(one.frames.tolist())}
    out: dict[str, list[Any]] = {"segmentations": [], "bboxes": [], "areas": []}
    for frame in video.frames.tolist():
        row = row_of.get(frame)
        rle = one.rles[row] if row is not None and one.has_masks else None
        box = None if row is None else box_xywh(one.boxes[row], video.size)
        out["segmentations"].append(rle_json(rle) if rle else None)
        out["bboxes"].append(box)
        out["areas"].append(None if box is None else masks.area(rle) if rle else round(box[2] * box[3], 3))
    return out


def read(path: Path, *, skipped: Skipped = None) -> list[AnnotatedVideo]:
    """Read an instances file.

    Args:
        path: The file.
        skipped: See `leave_out`.

    Raises:
        FormatError: If the file is invalid, or is one of COCO.
    """
    content = read_json(path)
    _refuse_coco(content, path)
    categories = read_categories(content, path, skipped=skipped)
    objects: dict[str, list[Any]] = {}
    for annotation in get_field(content, "annotations", list, str(path)):
        with leave_out(skipped):
            objects.setdefault(read_id(annotation, "video_id", f"{path}: an annotation"), []).append(annotation)
    videos = []
    listed = get_field(content, "videos", list, str(path))
    with leave_out(skipped):
        require_listed(objects, listed, "video_id", path)
    for video in listed:
        with leave_out(skipped):
            annotations = objects.get(read_id(video, "id", f"{path}: a video"), [])
            videos.append(_video(path, video, annotations, categories, skipped))
    return videos


def _refuse_coco(content: Any, path: Path) -> None:
    """Raise a FormatError for a file of COCO, which lists images; a video of YouTube-VIS has `file_names` instead."""
    if not isinstance(content, Mapping) or not content.get("images"):
        return
    videos = content.get("videos")
    listed = videos if isinstance(videos, list) else []
    if not any(isinstance(video, Mapping) and "file_names" in video for video in listed):
        raise FormatError(
            f"{path} looks like COCO: it lists 'images', and no video has 'file_names'; give coco as the format"
        )


def _video(
    path: Path, video: Any, annotations: Sequence[Any], categories: Categories, skipped: Skipped
) -> AnnotatedVideo:
    where = f"{path}: video {video.get('id')}"
    size = get_size(video, where)
    pictures = get_field(video, "file_names", list, where)
    if not pictures or not all(isinstance(name, str) for name in pictures):
        raise FormatError(f"{where}: file_names must be the names of one picture or more")
    folder = str(Path(pictures[0]).parent)
    title = folder if folder != "." else str(video.get("id"))
    objects = []
    for annotation in annotations:
        one = f"{where}: annotation {annotation.get('id')}"
        with leave_out(skipped):
            if (label := categories.label_of(annotation, one)) is not None:
                objects.append(_object(annotation, label, size, len(pictures), one))
    made = make_video(title, size, even_times(len(pictures)), objects, pictures=pictures)
    stated, length = video.get("frame_indices"), video.get("video_length")
    numbers = read_numbers(stated) if isinstance(stated, list) and len(stated) == len(pictures) else ()
    if numbers and isinstance(length, int) and length > numbers[-1]:
        return replace(made, numbers=numbers, length=length)
    return replace(made, numbers=numbers_in_names(pictures))


def _object(annotation: Any, label: str, size: tuple[int, int], n: int, where: str) -> ObjectTrack:
    rows = get_field({"segmentations": [], **annotation}, "segmentations", (list, type(None)), where) or []
    if any(rows):
        if len(rows) != n:
            raise FormatError(f"{where} has {len(rows)} segmentations, its video {n} frames")
        rles = {f: parse_segmentation(s, size, where) for f, s in enumerate(rows) if s}
        return require_visible(track_from_masks(label, rles), where)
    rows = get_field(annotation, "bboxes", list, where)
    if len(rows) != n:
        raise FormatError(f"{where} has {len(rows)} boxes, its video {n} frames")
    boxes = {f: xywh_box(b, size, where) for f, b in enumerate(rows) if b}
    return require_visible(track_from_boxes(label, boxes), where)
