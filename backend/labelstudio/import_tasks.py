"""Making tasks with predictions that Label Studio can import, and label configs that fit them.

With the video files at hand the tasks have boxes on video, on the editor's timeline. Without them they are lists of
pictures with masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.addresses import address_in, is_absolute, leaves_folder, redact_url
from backend.labelstudio.controls.image_masks import MaskControl
from backend.labelstudio.edits import UserKeyframe
from backend.labelstudio.export_sources import SeveralFilesError, VideoFolder
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.picture_tasks import MaskTag, build_mask_label_config
from backend.labelstudio.regions import build_prediction, object_region_ids, region_id_for
from backend.labelstudio.timeline import TimedClip, rate_for_task
from refam.pipeline.types import FramePrompt, Target, TrackResult
from video import masks
from video.errors import Skipped, leave_out
from video.formats.base import AnnotatedVideo, FormatError, ObjectTrack
from video.formats.frame_numbers import place_on_video
from video.io.reader import open_clip
from video.types import MaskTrack

_ENDINGS = ("", ".mp4", ".webm", ".mov", ".mkv", ".avi", ".y4m", ".gif", ".webp")


def build_label_config(labels: Sequence[str], *, jobs_page: str | None = None) -> str:
    """Return a label config for `importable_task`: words above the video, these labels, boxes, frame rate `$fps`.

    The video is 420 pixels high (Label Studio's default is 600), so that a screen of 1440x900 shows the timeline too.

    Args:
        labels: The labels to choose from.
        jobs_page: Address of the backend's list of jobs, to be shown above the words: the editor itself says neither
            why words find nothing nor how far a job is.
    """
    choices = "\n".join(f"    <Label value={quoteattr(label)}/>" for label in dict.fromkeys(labels))
    hint = f"Nothing found, or not yet? {jobs_page} says why and how far it is." if jobs_page else ""
    header = f'  <Header value={quoteattr(hint)} size="6"/>\n' if hint else ""
    return f"""<View>
{header}  <TextArea name="words" toName="video" value="$prompt" editable="true" maxSubmissions="1"
            placeholder="What to find, for example: the red star"/>
  <Labels name="labels" toName="video">
{choices}
  </Labels>
  <Video name="video" value="$video" frameRate="$fps" height="420"/>
  <VideoRectangle name="box" toName="video"/>
</View>
"""


def importable_task(
    results: Sequence[TrackResult],
    clip: TimedClip,
    *,
    video: str,
    words: str,
    fps: float,
    model_version: str,
    edits: Sequence[Sequence[UserKeyframe]] = (),
) -> tuple[dict[str, Any], str]:
    """Return a task with its prediction, ready to import, and the label config that fits it.

    Args:
        results: The tracked objects.
        clip: The clip's presentation times and duration.
        video: The address that Label Studio will have for the clip, such as `/data/local-files/?d=clips/a.mp4`.
        words: What was looked for; the task's `$prompt`.
        fps: Frame rate of the editor's timeline for this task; the task's `$fps`.
        model_version: The prediction's model version.
        edits: For each object the boxes that a person drew (`drawn_keyframes`); they are kept to the last digit.

    Raises:
        ValueError: If no object is visible.
    """
    xml = build_label_config([r.target.label for r in results])
    ids = object_region_ids(results, [region_id_for(video, position) for position in range(len(results))])
    regions = parse_label_config(xml).control.regions(results, clip, fps=fps, region_ids=ids, edits=edits)
    prediction = build_prediction(regions, model_version=model_version)
    return {"data": {"video": video, "prompt": words, "fps": fps}, "predictions": [prediction]}, xml


def importable_picture_task(
    results: Sequence[TrackResult],
    clip: TimedClip,
    *,
    folder: str,
    names: Sequence[str],
    words: str,
    model_version: str,
) -> tuple[dict[str, Any], str]:
    """Return a task that shows a list of pictures, with masks as its prediction, and the label config that fits it.

    Args:
        results: The tracked objects.
        clip: The clip that the pictures are.
        folder: The address that Label Studio will have for the folder of the pictures.
        names: The files' names, in the order of the frames.
        words: What was looked for; the task's `$prompt`.
        model_version: The prediction's model version.
    """
    xml = build_mask_label_config([r.target.label for r in results], "brush")
    control = parse_label_config(xml).control
    assert isinstance(control, MaskControl)
    ids = object_region_ids(results, [region_id_for(folder, position) for position in range(len(results))])
    prediction = build_prediction(control.regions(results, region_ids=ids), model_version=model_version)
    return {"data": _picture_data(folder, names, clip.times, words), "predictions": [prediction]}, xml


def _picture_data(folder: str, names: Sequence[str], times: NDArray[np.float64], words: str) -> dict[str, Any]:
    return {
        "frames": [address_in(folder, name) for name in names],
        "times_s": [round(float(t), 6) for t in times],
        "prompt": words,
    }


def video_tasks(
    videos: Sequence[AnnotatedVideo], files: VideoFolder, *, url: str, version: str, skipped: Skipped = None
) -> tuple[list[dict[str, Any]], str]:
    """Return tasks with boxes on video, and their label config.

    Args:
        videos: The annotated videos; see `place_on_video` for those that have not all frames of the file.
        files: The folder of video files.
        url: Address of the folder that the videos are served from.
        version: The predictions' model version.
        skipped: See `leave_out`.

    Raises:
        FormatError: If a video file is missing, or the frames cannot be matched with it.
        ClipError: If a video file cannot be opened.
    """
    tasks = []
    for video in videos:
        with leave_out(skipped):
            path = _find_file(video.name, video.file_name, files, pictures=video.pictures)
            clip = open_clip(path)
            placed = place_on_video(video, len(clip), path.name)
            results = [_result_of(one, placed) for one in placed.objects]
            if results:
                fps, address = rate_for_task(clip), address_in(url, files.inside(path))
                task, _ = importable_task(results, clip, video=address, words="", fps=fps, model_version=version)
                tasks.append(task)
    return tasks, build_label_config(_labels(videos))


def picture_tasks(
    videos: Sequence[AnnotatedVideo], *, url: str, version: str, shape: MaskTag, skipped: Skipped = None
) -> tuple[list[dict[str, Any]], str]:
    """Return tasks with masks on lists of pictures, and their label config.

    Args:
        videos: The annotated videos, with masks.
        url: Address of the folder that the pictures are served from.
        version: The predictions' model version.
        shape: How the editor keeps masks.
        skipped: See `leave_out`.

    Raises:
        FormatError: If an object has boxes alone, or no address can be made of the name of a picture.
    """
    xml = build_mask_label_config(_labels(videos), shape)
    control = parse_label_config(xml).control
    assert isinstance(control, MaskControl)
    tasks = []
    for video in videos:
        with leave_out(skipped):
            _check_characters(video.name)
            boxed = next((one.label for one in video.objects if not one.has_masks), None)
            if boxed is not None:
                raise FormatError(f"{video.name}: {boxed!r} has boxes and no masks; give --videos for boxes on video")
            results = [_result_of(one, video) for one in video.objects]
            ids = [region_id_for(f"{video.name}", position) for position in range(len(results))]
            regions = control.regions(results, region_ids=ids)
            names = [_check_path(video.picture(frame), video.name) for frame in range(len(video.times))]
            data = _picture_data(url, names, video.times, "")
            if regions:
                tasks.append({"data": data, "predictions": [build_prediction(regions, model_version=version)]})
    return tasks, xml


def describe_shared_pictures(videos: Sequence[AnnotatedVideo]) -> str | None:
    """Return a sentence about pictures that several frames name, and so all show; None if there are none."""
    counts = Counter(video.picture(frame) for video in videos for frame in range(len(video.times)))
    shared = {name: count for name, count in counts.items() if count > 1}
    if not shared:
        return None
    name, count = next(iter(shared.items()))
    others = f", and {len(shared) - 1} other picture(s) by several" if len(shared) > 1 else ""
    return f"{name!r:.80} is named by {count} frames{others}: the tasks show the same picture for each of them"


def _check_path(path: str, video: str) -> str:
    """Return the path of a picture in the folder that is served. video: what the error's text calls its video.

    Raises:
        FormatError: If it is an address, is absolute or leads out of the folder, which the service refuses too, or has
            half a character.
    """
    _refuse_address(path, video)
    if is_absolute(_check_characters(path)):
        raise FormatError(f"{video}: the file name {path!r:.80} begins at the root of a disk; name files below --url")
    if leaves_folder(path):
        raise FormatError(f"{video}: the file name {path!r:.80} leaves its folder ('..'); name files below --url")
    return path


def _check_characters(name: str) -> str:
    """Return the name of a file or video if addresses can hold it.

    Raises:
        FormatError: If it has half a character, as of the JSON escape "\\ud800".
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        half = name[error.start]
        raise FormatError(f"the name {name!r:.80} has the character {half!r}, which no address can hold") from None
    return name


def video_length(name: str, file_name: str, files: VideoFolder) -> int:
    """Return how many frames the file of a video has.

    Args:
        name: The video's name.
        file_name: The file's name, "" where it is not known.
        files: The folder of video files.

    Raises:
        FormatError: If there is no such file.
        ClipError: If it cannot be opened.
    """
    return len(open_clip(_find_file(name, file_name, files)))


def _find_file(video: str, file_name: str, files: VideoFolder, *, pictures: Sequence[str] = ()) -> Path:
    """Find a video's file: by the file's name if that is known, else by the video's name with any usual ending.

    Args:
        video: The video's name.
        file_name: The file's name, "" where it is not known.
        files: The folder of video files.
        pictures: Names of its pictures, for the error's text.

    Raises:
        FormatError: If there is no such file, or several, or the video's name has half a character.
    """
    _check_characters(video)
    _refuse_address(file_name, video)
    names = [name for name in (file_name, *(video + ending for ending in _ENDINGS)) if name]
    for name in names:
        try:
            return files.find(quote(name))
        except SeveralFilesError:
            raise
        except FormatError:
            continue  # the error below names all that were looked for
    missing = files.describe_missing(PurePosixPath(names[0]).name)
    also = ", ".join(video + ending for ending in _ENDINGS[not file_name :])
    seen = f"; the first of its pictures is {pictures[0]}" if pictures else ""
    raise FormatError(f"{video}: {missing}, nor {also}{seen}")


def _refuse_address(name: str, video: str) -> None:
    """Raise FormatError if a file is named by an address, for the files of tasks are in one folder."""
    if "://" in name:
        raise FormatError(
            f"{video}: its file is named {redact_url(name)!r}, which is an address; write the file's path in its "
            "folder, and give the folder's address as --url"
        )


def _labels(videos: Sequence[AnnotatedVideo]) -> list[str]:
    return sorted({one.label for video in videos for one in video.objects})


def _result_of(one: ObjectTrack, video: AnnotatedVideo) -> TrackResult:
    """Return an annotated object as if it had been tracked: hidden where it is not annotated, score 1 where it is."""
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
    prompt = FramePrompt(first, box=(box[0], box[1], box[2], box[3]))
    return TrackResult(Target(one.label, prompts=(prompt,)), track, (), 1.0, first, ())
