"""COCO instances (https://cocodataset.org/#format-data), with the members for videos that COCO-VID and TAO add.

These members are `videos`, with the `length` of the video file; `video_id`, `frame_index` (0-based, of the clip) and
`time_s` of each image; and `track_id` of each annotation. Readers without support for videos ignore them. Further
labels and choices of an object are in `attributes` of its annotations, as CVAT writes them. A segmentation is
run-length encoded or polygons. Polygons fit the mask with an IoU of 0.96 or better and have no holes: a slit without
width joins each hole to the outline. Where only boxes are known, `segmentation` is an empty list and `area` is the
box's.
"""

from __future__ import annotations

import operator
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from video import masks
from video.contours import mask_to_polygons
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
from video.formats.coco_ids import (
    Categories,
    group_by_object,
    read_categories,
    read_id,
    read_optional_id,
    require_listed,
)
from video.formats.frame_numbers import numbers_in_names, read_numbers
from video.formats.values import finite_number, get_size, polygons_to_mask, read_times, xywh_box
from video.types import Rle

Shape = Literal["rle", "polygons"]


def write(splits: Mapping[str, Sequence[AnnotatedVideo]], out: Path, *, shape: Shape = "rle") -> list[Path]:
    """Write OUT/annotations/instances_SPLIT.json for each split.

    Args:
        splits: The videos of each split.
        out: The folder.
        shape: How masks are written.

    Returns:
        The files.

    Raises:
        OSError: If a file cannot be written.
    """
    numbers = number_labels(video for videos in splits.values() for video in videos)
    written = []
    for split, videos in splits.items():
        content = coco_header(numbers, "videos", "images", "annotations")
        for video_id, video in enumerate(videos, start=1):
            _add(content, video, video_id, numbers, shape)
        written.append(write_json(out / "annotations" / f"instances_{split}.json", content))
    return written


def image_path(video: AnnotatedVideo, frame: int, split: str) -> str:
    """Return where the image of a frame belongs, relative to OUT."""
    return f"images/{video.picture(frame)}"


def _add(
    content: dict[str, Any], video: AnnotatedVideo, video_id: int, numbers: Mapping[str, int], shape: Shape
) -> None:
    w, h = video.size
    content["videos"].append({"id": video_id, "name": video.name, "width": w, "height": h, "length": len(video.times)})
    image_ids: dict[int, int] = {}
    for frame in video.frames.tolist():
        image_ids[frame] = len(content["images"]) + 1
        content["images"].append(
            {
                "id": image_ids[frame],
                "file_name": video.picture(frame),
                "width": w,
                "height": h,
                "video_id": video_id,
                "frame_index": frame,
                "time_s": round(float(video.times[frame]), 6),
            }
        )
    for track_id, one in enumerate(video.objects, start=1):
        for row, frame in enumerate(one.frames.tolist()):
            segmentation, area = _segmentation(one, row, video.size, shape)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_ids[frame],
                    "category_id": numbers[one.label],
                    "track_id": video_id * 10_000 + track_id,
                    "bbox": box_xywh(one.boxes[row], video.size),
                    "area": area,
                    "iscrowd": 0,
                    "segmentation": segmentation,
                    **attributes_json(one),
                }
            )


def _segmentation(one: ObjectTrack, row: int, size: tuple[int, int], shape: Shape) -> tuple[Any, float]:
    if not one.has_masks:
        _, _, width, height = box_xywh(one.boxes[row], size)
        return [], round(width * height, 3)
    rle = one.rles[row]
    if shape == "rle":
        return rle_json(rle), float(masks.area(rle))
    polygons = mask_to_polygons(masks.decode(rle))
    return [[round(float(v), 2) for v in points.ravel()] for points in polygons], float(masks.area(rle))


def rle_json(rle: Rle) -> dict[str, Any]:
    """Return a mask as COCO's JSON has it: {"size": [height, width], "counts": compressed text}."""
    return {"size": [rle.size[1], rle.size[0]], "counts": rle.counts.decode("ascii")}


def parse_segmentation(value: Any, size: tuple[int, int], where: str) -> Rle:
    """Parse a COCO segmentation: polygons, run lengths or compressed run lengths.

    Args:
        value: The JSON value.
        size: (width, height) of the image.
        where: What the error's text calls it.

    Raises:
        FormatError: If it is invalid or of another size.
    """
    from pycocotools import mask as coco

    if isinstance(value, list):
        return masks.encode(polygons_to_mask(value, size, where))
    shape, counts = get_field(value, "size", list, where), get_field(value, "counts", (str, list), where)
    if shape != [size[1], size[0]]:
        raise FormatError(
            f"{where}: the mask's size is {shape!r:.80}, [height, width], but the picture's is {size[::-1]}"
        )
    try:
        if isinstance(counts, list):
            _check_runs(counts, size)
            counts = coco.frPyObjects({"size": size[::-1], "counts": counts}, size[1], size[0])["counts"]
        coded = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
        _check_runs(runs_of(coded), size)
        return Rle(size=size, counts=coded)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{where}: the run-length code cannot be read: {error}") from None


def runs_of(coded: bytes) -> list[int]:
    """Decode COCO's compressed run lengths.

    This is a check: pycocotools reads beyond its memory if they are wrong. Source: rleFrString in COCO's maskApi.c:
    five bits per character from 48 on, the sixth says that more follow, and from the fourth run on the difference to
    the run before the last.

    Raises:
        ValueError: If the text is invalid.
    """
    runs: list[int] = []
    at = 0
    while at < len(coded):
        value, shift, more = 0, 0, True
        while more:
            if at >= len(coded):
                raise ValueError("it ends in the middle of a number")
            bits = coded[at] - 48
            if not 0 <= bits < 64 or shift > 60:
                raise ValueError(f"the character {coded[at : at + 1]!r} does not belong there")
            value |= (bits & 31) << shift
            more, at, shift = bool(bits & 32), at + 1, shift + 5
            if not more and bits & 16:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def _check_runs(runs: Sequence[int], size: tuple[int, int]) -> None:
    if any(type(run) is not int or run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError(f"its runs do not add up to {size[0]} x {size[1]} pixels")


def read(path: Path, *, skipped: Skipped = None) -> list[AnnotatedVideo]:
    """Read an instances file. Images without `video_id` are videos of one frame.

    Annotations that name the same object are one object (see `coco_ids.read_object_id`); one that names none is an
    object by itself. A video that `videos` does not list has the name of the folder of its images.

    Args:
        path: The file.
        skipped: See `leave_out`.

    Raises:
        FormatError: If the file is invalid.
    """
    content = read_json(path)
    categories = read_categories(content, path, skipped=skipped)
    by_image: dict[str, list[Any]] = defaultdict(list)
    for annotation in get_field(content, "annotations", list, str(path)):
        with leave_out(skipped):
            by_image[read_id(annotation, "image_id", f"{path}: an annotation")].append(annotation)
    lengths, titles = {}, {}
    for listed in [] if content.get("videos") is None else get_field(content, "videos", list, str(path)):
        with leave_out(skipped):
            key = read_id(listed, "id", f"{path}: a video")
            lengths[key], titles[key] = listed.get("length"), str(listed.get("name") or key)
    by_video: dict[tuple[str, str], list[Any]] = defaultdict(list)
    incomplete: set[str | None] = set()  # videos that lack an image: the frames behind it would be others
    listed_images = get_field(content, "images", list, str(path))
    with leave_out(skipped):
        require_listed(by_image, listed_images, "image_id", path)
    for image in listed_images:
        where, video = f"{path}: an image", None
        with leave_out(skipped):
            video = read_optional_id(image, "video_id", where) if isinstance(image, Mapping) else None
            name = read_id(image, "id", where)
            by_video[("image", name) if video is None else ("video", video)].append(image)
            continue
        incomplete.add(video)
    folders = {key: _title(images) for (kind, key), images in by_video.items() if kind == "video" and key not in titles}
    titles |= {key: folder for key, folder in folders.items() if folder and list(folders.values()).count(folder) == 1}
    times_seen = Counter(read_id(image, "id", str(path)) for images in by_video.values() for image in images)
    videos = []
    for (kind, key), images in by_video.items():
        title = titles.get(key, key) if kind == "video" else Path(str(images[0].get("file_name", key))).stem
        where = f"{path}: video {title!r}"
        with leave_out(skipped):
            if kind == "video" and key in incomplete:
                raise FormatError(f"{where}: an image of it cannot be read, so its frames are unknown")
            repeated = [key for key in (read_id(image, "id", where) for image in images) if times_seen[key] > 1]
            if repeated:
                raise FormatError(
                    f"{where}: several images have the id {repeated[0]!r}, so nothing says what is on which"
                )
            images = _order_images(images, where)
            read_video = _video(where, title, images, by_image, categories, skipped)
            videos.append(_number_frames(read_video, images, lengths.get(key) if kind == "video" else None))
    return videos


def _number_frames(video: AnnotatedVideo, images: Sequence[Mapping[str, Any]], length: Any) -> AnnotatedVideo:
    """Return the video with the numbers of its images in the video file, where they tell. length: of the JSON."""
    stated = read_numbers([image.get("frame_index") for image in images])
    numbers = stated or read_numbers([im.get("frame_id") for im in images]) or numbers_in_names(video.pictures)
    # COCO itself has no length of videos: of a file of others it may as well be the number of images.
    of_file = stated and isinstance(length, int) and length > stated[-1] and length > len(images)
    return replace(video, numbers=numbers, length=length if of_file else 0)


def _order_images(images: Sequence[Mapping[str, Any]], where: str) -> list[Mapping[str, Any]]:
    """Return the images of a video in the order of their frames, else of the numbers in their names.

    Raises:
        FormatError: If some of them tell their frame and others do not.
    """
    by_name = sorted(images, key=_name_order)
    wrong = None
    for name in ("frame_index", "frame_id"):
        frames = [_frame_number(image.get(name)) for image in by_name]
        numbered = [(frame, image) for frame, image in zip(frames, by_name, strict=True) if frame is not None]
        if len(numbered) == len(images):
            return [image for _, image in sorted(numbered, key=operator.itemgetter(0))]
        if any(image.get(name) is not None for image in images):
            wrong = wrong or (name, by_name[frames.index(None)])
    if wrong is not None:
        name, image = wrong
        raise FormatError(
            f"{where}: {name!r} must be a number in all images or in none, and is {image.get(name)!r:.40} in "
            f"{image.get('file_name')!r:.80}"
        )
    return by_name


def _frame_number(value: Any) -> float | None:
    """Return a number, which may be written as a text; None for all else."""
    try:
        return finite_number(float(value) if isinstance(value, str) else value)
    except ValueError:
        return None


def _name_order(image: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return what orders images by their names, with the numbers in them as such."""
    parts = re.findall(r"\d{1,18}|\D+", str(image.get("file_name")))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _title(images: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the folder that all images of a video are in, which is its name in most data sets; None for several."""
    folders = {str(PurePosixPath(str(image.get("file_name"))).parent) for image in images} - {"."}
    return folders.pop() if len(folders) == 1 else None


def _video(
    where: str,
    title: str,
    images: Sequence[Any],
    by_image: Mapping[str, Sequence[Any]],
    categories: Categories,
    skipped: Skipped,
) -> AnnotatedVideo:
    size = get_size(images[0], where)
    if any((im.get("width"), im.get("height")) != size for im in images):
        raise FormatError(f"{where}: its pictures have several sizes")
    annotations = [
        (frame, annotation)
        for frame, image in enumerate(images)
        for annotation in by_image.get(read_id(image, "id", where), ())
    ]
    rows, notes = group_by_object(annotations, where, is_video=len(images) > 1)
    objects = []
    for name, found in rows.items():
        with leave_out(skipped):
            label = categories.label_of(next(iter(found.values())), f"{where}: {name}")
            if label is None:
                continue
            if (note := _describe_mixture(found, f"{where}: {name}")) is not None:
                notes.append(note)
            objects.append(_object(found, label, size, f"{where}: {name}"))
    pictures = [get_field(im, "file_name", str, where) for im in images]
    given = [image.get("time_s") for image in images]
    times = even_times(len(images)) if all(time is None for time in given) else read_times(given, where)
    return make_video(title, size, times, objects, pictures=pictures, notes=notes)


def _describe_mixture(found: Mapping[int, Any], where: str) -> str | None:
    """Return a sentence about an object with masks on some frames only, whose boxes are read; None for others."""
    with_mask = sum(bool(annotation.get("segmentation")) for annotation in found.values())
    if with_mask in (0, len(found)):
        return None
    return f"{where} has masks on {with_mask} of its {len(found)} frames: it is read as boxes on all of them"


def _object(found: Mapping[int, Any], label: str, size: tuple[int, int], where: str) -> ObjectTrack:
    if all(a.get("segmentation") for a in found.values()):
        rles = {f: parse_segmentation(a["segmentation"], size, where) for f, a in found.items()}
        return require_visible(track_from_masks(label, rles), where)
    boxes = {f: xywh_box(a.get("bbox"), size, where) for f, a in found.items()}
    return require_visible(track_from_boxes(label, boxes), where)
