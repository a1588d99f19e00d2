"""Annotated videos -> tasks for Label Studio with predictions, and the label config that fits them.

With the video files at hand: boxes on video, on the editor's grid. Without: lists of pictures, with masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from backend.labelstudio.export_sources import VideoFolder
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.mask_regions import mask_regions_of
from backend.labelstudio.picture_tasks import MaskTag, build_mask_label_config
from backend.labelstudio.regions import build_label_config, build_prediction, importable_task, region_id_for
from refam.pipeline.types import FramePrompt, Target, TrackResult
from video import masks
from video.formats.base import AnnotatedVideo, FormatError, ObjectTrack
from video.io.reader import open_clip
from video.types import MaskTrack


def video_tasks(
    videos: Sequence[AnnotatedVideo], files: VideoFolder, *, url: str, version: str
) -> tuple[list[dict[str, Any]], str]:
    """Tasks with boxes on video. url: of the folder that the videos are served from. Raises FormatError, ClipError.

    A format's frame k has to be the video's frame k.
    """
    tasks = []
    for video in videos:
        path = _file_of(video, files)
        clip = open_clip(path)
        if len(clip) != len(video.times):
            raise FormatError(
                f"{video.name} has {len(video.times)} frames annotated, {path.name} has {len(clip)}: "
                "they cannot be matched; import them as pictures, without --videos"
            )
        results = [_result(one, video) for one in video.objects]
        if results:
            fps, address = max(1.0, clip.average_fps), f"{url.rstrip('/')}/{quote(path.name)}"
            task, _ = importable_task(results, clip, video=address, words="", fps=fps, model_version=version)
            tasks.append(task)
    return tasks, build_label_config(_labels(videos))


def picture_tasks(
    videos: Sequence[AnnotatedVideo], *, url: str, version: str, shape: MaskTag
) -> tuple[list[dict[str, Any]], str]:
    """Tasks with masks on lists of pictures. url: of the folder that the pictures are served from.

    Raises FormatError where there are boxes alone.
    """
    xml = build_mask_label_config(_labels(videos), shape)
    config = parse_label_config(xml)
    tasks = []
    for video in videos:
        boxed = next((one.label for one in video.objects if not one.has_masks), None)
        if boxed is not None:
            raise FormatError(f"{video.name}: {boxed!r} has boxes and no masks; give --videos for boxes on video")
        results = [_result(one, video) for one in video.objects]
        ids = [region_id_for(f"{video.name}", position) for position in range(len(results))]
        regions = mask_regions_of(results, config, region_ids=ids)
        names = [video.picture(frame) for frame in range(len(video.times))]
        data = {
            "frames": [f"{url.rstrip('/')}/{quote(name)}" for name in names],
            "times_s": [round(float(t), 6) for t in video.times],
            "prompt": "",
        }
        if regions:
            tasks.append({"data": data, "predictions": [build_prediction(regions, model_version=version)]})
    return tasks, xml


def _file_of(video: AnnotatedVideo, files: VideoFolder) -> Any:
    """By the name with an ending, or any of the usual endings."""
    for ending in ("", ".mp4", ".webm", ".mov", ".mkv", ".avi"):
        try:
            return files.find(video.name + ending)
        except FormatError as error:
            last = error
    raise FormatError(f"{video.name}: {last} (nor with .mp4, .webm, .mov, .mkv or .avi)")


def _labels(videos: Sequence[AnnotatedVideo]) -> list[str]:
    return sorted({one.label for video in videos for one in video.objects})


def _result(one: ObjectTrack, video: AnnotatedVideo) -> TrackResult:
    """As if it had been tracked: hidden where the object is not, as sure as can be where it is."""
    n = len(video.times)
    boxes, visible = np.zeros((n, 4)), np.zeros(n, np.bool_)
    boxes[one.frames], visible[one.frames] = one.boxes, True
    rles = [masks.empty(video.size)] * n
    for row, frame in enumerate(one.frames.tolist()):
        box = one.boxes[row]
        rles[frame] = (
            one.rles[row]
            if one.has_masks
            else masks.encode(masks.box_mask((box[0], box[1], box[2], box[3]), video.size))
        )
    track = MaskTrack(one.label, video.size, np.arange(n), tuple(rles), boxes, visible.astype(float), visible)
    first = int(one.frames[0])
    box = one.boxes[0].tolist()
    told = FramePrompt(first, box=(box[0], box[1], box[2], box[3]))
    return TrackResult(Target(one.label, prompts=(told,)), track, (), 1.0, first, ())
