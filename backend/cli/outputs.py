"""The files that `refam label` writes. Masks stay run-length codes until each is written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from backend.cli.result_folder import OutputError, refuse_overwriting, replace_results
from backend.cli.written_files import check_written, write_record
from backend.labelstudio.edits import drawn_keyframes
from backend.labelstudio.import_tasks import importable_picture_task, importable_task
from backend.labelstudio.timeline import editor_frame_count
from refam.pipeline.types import FramePrompt, Target, TrackResult
from video.formats.coco import rle_json
from video.io.folder import list_pictures
from video.io.reader import Clip
from video.masks import decode
from video.types import MaskTrack
from video.visualize.overlay import write_overlay
from video.visualize.review_sheet import ReviewFrame, frames_to_review, write_sheet

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache

FORMAT = 1  # of tracks.json
_LOW_SCORE = 0.5  # of an object: under it the track more likely needs correction than not
_LOW_SCORE_WEIGHT = 2.0  # more urgent than any single frame
_STAGES = ".unfinished"  # the folder of finished stages


@dataclass(frozen=True)
class Outputs:
    """The paths of the output files, the frames that were looked at, and those that a person should look at."""

    masks: Path
    tracks: Path
    task: Path
    config: Path
    overlay: Path
    sheet: Path  # written only if frames need review
    preview: Path  # written only with --preview
    frames: range = range(0)
    review: tuple[ReviewFrame, ...] = ()
    replaced: str = ""  # whose results were there; empty if there were none, or of the same question


def output_paths(out: Path) -> Outputs:
    """Return the paths in the output folder, which need not exist."""
    return Outputs(
        masks=out / "masks",
        tracks=out / "tracks.json",
        task=out / "label_studio.json",
        config=out / "label_config.xml",
        overlay=out / "overlay.mp4",
        sheet=out / "needs_a_look.jpg",
        preview=out / "preview.png",
    )


def check_outputs(out: Path, inputs: Iterable[Path]) -> frozenset[str]:
    """Check that a run may write to the output folder.

    Returns:
        What earlier runs wrote, for `write_record`.

    Raises:
        OutputError: If an input is in the way, or a file that no run wrote or that was changed since.
    """
    paths = output_paths(out)
    files = (paths.tracks, paths.task, paths.config, paths.overlay, paths.sheet, paths.preview)
    refuse_overwriting((paths.masks, *files), inputs)
    # The masks folder is replaced as a whole, or the last masks of a longer clip would stay.
    return check_written(out, files, [paths.masks])


@contextmanager
def preview_folder(out: Path, inputs: Iterable[Path]) -> Iterator[Path]:
    """Yield a folder to write the preview into; it gets its place in OUT, and the results there stay."""
    there = check_outputs(out, inputs)
    with replace_results(out, inputs=inputs) as part:
        yield part
        write_record(part, there)


def stage_cache(out: Path, clip: Clip, options: object, *, again: bool) -> StageCache:
    """Return the cache of finished stages, from which a run that was stopped continues.

    Args:
        out: The output folder.
        clip: The video; the content of its file, or of its pictures, is part of the key.
        options: Everything else that the stages depend on.
        again: Whether to delete the stages of an earlier run.
    """
    from refam.pipeline.stage_cache import StageCache, hash_file

    if again:
        delete_stages(out)
    files = list_pictures(clip.path) if clip.path.is_dir() else [clip.path]
    return StageCache(out / _STAGES, f"{' '.join(map(hash_file, files))} {options!r}")


def delete_stages(out: Path) -> None:
    """Delete the finished stages, once their results are written."""
    shutil.rmtree(out / _STAGES, ignore_errors=True)


@dataclass(frozen=True)
class TaskAddress:
    """How a task names its video.

    Attributes:
        name: The video's name, for tracks.json.
        video: The address of the video file; of a folder of pictures, the folder's.
        fps: The rate of the editor's frame grid.
        fetched: Whether the file is a copy of what the address names, and may be deleted.
    """

    name: str
    video: str
    fps: float
    fetched: bool = False


def write_outputs(
    out: Path,
    clip: Clip,
    results: Sequence[TrackResult],
    *,
    model_version: str,
    address: TaskAddress,
    frames: range,
    progress: Callable[[str, float], None],
    inputs: Iterable[Path] = (),
    keep_preview: bool = False,
) -> Outputs:
    """Write every file; until all are written, the folder keeps what it holds. Hold the folder (`hold_folder`).

    Args:
        out: The output folder.
        clip: The clip.
        results: One track for each object.
        model_version: The models that made them.
        address: How the task names the video.
        frames: The frames that were looked at, of which masks and the overlay are written.
        progress: Called with the name of a step and the share of it that is done.
        inputs: What was read, which is not written over.
        keep_preview: Whether the preview is of this run; that of an earlier run is deleted with its results.

    Raises:
        OutputError: If no object is visible, or the folder cannot be used.
        ClipError: If a frame cannot be read.
    """
    paths, there = output_paths(out), check_outputs(out, inputs)
    if not any(r.track.visible.any() for r in results):
        raise OutputError("no object is visible in any frame, so there is nothing to write")
    task, config = _make_task(clip, results, address, model_version)
    near = None if address.fetched else out
    content = tracks_json(clip, results, name=address.name, model_version=model_version, near=near)
    replaced = _other_question(paths.tracks, content)
    tracks = [r.track for r in results]
    review = frames_to_review(
        tracks, clip.times, elsewhere=[r.disagreements for r in results], others=_first_masks_to_review(results)
    )
    optional = [paths.sheet.name] if keep_preview else [paths.sheet.name, paths.preview.name]
    with replace_results(out, inputs=inputs, whole=[paths.masks.name], optional=optional) as part:
        new = output_paths(part)
        _write_json(new.tracks, content)
        _write_json(new.task, [task])
        new.config.write_text(config, encoding="utf-8")
        _write_masks(new.masks, clip, tracks, frames, progress)
        progress("overlay", 0.0)
        keyframes = [[key.frame for key in r.keyframes] for r in results]
        write_overlay(clip, tracks, new.overlay, keyframes=keyframes, frames=frames)
        if review:
            write_sheet(clip, tracks, review, new.sheet)
        write_record(part, there)
    progress("overlay", 1.0)
    return replace(paths, frames=frames, review=tuple(review), replaced=replaced)


def _first_masks_to_review(results: Sequence[TrackResult]) -> list[ReviewFrame]:
    """Return the frame from which each object with a low score was tracked: if that mask is wrong, all are."""
    return [
        ReviewFrame(
            r.anchor_frame, k, f"low score {r.score:.2f}: look at the mask that tracking began from", _LOW_SCORE_WEIGHT
        )
        for k, r in enumerate(results)
        if r.score < _LOW_SCORE and r.track.visible.any()
    ]


def other_results(out: Path, clip: Clip, results: Sequence[TrackResult], *, name: str, fetched: bool = False) -> str:
    """Return the video and objects whose results are in the output folder; "" if there are none but of these objects.

    Args:
        out: The output folder.
        clip: The clip.
        results: One for each object that is asked for.
        name: The video's name.
        fetched: See `TaskAddress`.
    """
    tracks = output_paths(out).tracks
    if not tracks.exists():
        return ""
    near = None if fetched else out
    return _other_question(tracks, tracks_json(clip, results, name=name, model_version="", near=near))


def _other_question(path: Path, new: Mapping[str, Any]) -> str:
    """Return the video and objects of a tracks.json; "" if there is none, or if it answers the question of `new`."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))  # as a run wrote it: `check_outputs` has been there
    except FileNotFoundError:
        return ""
    if _question(old) == _question(new):
        return ""
    return f"{old['video']['name']}: {', '.join(one['label'] for one in old['objects'])}"


def _question(content: Mapping[str, Any]) -> object:
    """Return what a tracks.json says of what was asked for: the video, and the words and drawings of each object."""
    video = content["video"]
    first = [one for one in content["objects"] if one.get("instance", 1) == 1]
    asked = [(one["label"], one["words"], one.get("prompts")) for one in first]
    return json.dumps([video["name"], video.get("path"), asked])


def _make_task(
    clip: Clip, results: Sequence[TrackResult], address: TaskAddress, model_version: str
) -> tuple[dict[str, Any], str]:
    """Return the task with its prediction, and the label config."""
    words = "; ".join(_task_words(r.target) for r in results if r.target.words and r.instance == 1)
    if clip.path.is_dir():
        names = [path.name for path in list_pictures(clip.path)]
        return importable_picture_task(
            results, clip, folder=address.video, names=names, words=words, model_version=model_version
        )
    n = editor_frame_count(clip.duration_s, address.fps)
    return importable_task(
        results,
        clip,
        video=address.video,
        words=words,
        fps=address.fps,
        model_version=model_version,
        edits=[drawn_keyframes(result.target, clip.times, n, address.fps) for result in results],
    )


def _task_words(target: Target) -> str:
    """Return the words as an annotator would type them, with the label before a colon if it is another."""
    assert target.words is not None
    return target.words if target.label == target.words else f"{target.label}: {target.words}"


def tracks_json(
    clip: Clip, results: Sequence[TrackResult], *, model_version: str, name: str | None = None, near: Path | None = None
) -> dict[str, Any]:
    """Return the content of tracks.json: boxes normalised xyxy, frames 0-based, masks as COCO RLE.

    Args:
        clip: The clip.
        results: One track for each object.
        model_version: The models that made them.
        name: The video's name; its file's unless given.
        near: The folder of the tracks.json, from which it tells the video's path; None to leave that out.
    """
    path = {} if near is None else {"path": _path_from(near, clip.path)}
    return {
        "format": FORMAT,
        "model_version": model_version,
        "video": {
            "name": name or clip.path.name,
            **path,
            "width": clip.size[0],
            "height": clip.size[1],
            "frames": len(clip),
            "duration_s": round(clip.duration_s, 6),
            "average_fps": round(clip.average_fps, 6),
            "rotation": clip.rotation,
            "times_s": [round(float(time), 6) for time in clip.times],
        },
        "objects": [_object_json(k, clip, r) for k, r in enumerate(results)],
    }


def _path_from(folder: Path, file: Path) -> str:
    """Return a file's path relative to a folder, with slashes; the absolute path where there is no relative one."""
    try:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return file.resolve().as_posix()


def visible_spans_s(track: MaskTrack, clip: Clip) -> list[tuple[float, float]]:
    """Return the spans in which the object is visible: (first, last) presentation time in seconds of their frames."""
    visible = np.zeros(len(clip) + 2, bool)
    visible[track.frames[track.visible] + 1] = True
    edges = np.flatnonzero(np.diff(visible))
    return [(float(clip.times[a]), float(clip.times[b - 1])) for a, b in edges.reshape(-1, 2)]


def _object_json(k: int, clip: Clip, result: TrackResult) -> dict[str, Any]:
    track, between = result.track.to_dict(), set(result.interpolated)
    mask_size = [result.track.size[1], result.track.size[0]]
    return {
        "object": k,
        "label": result.target.label,
        "words": result.target.words,
        "instance": result.instance,
        "prompts": [_prompt_json(prompt) for prompt in result.target.prompts],
        "score": round(result.score, 4),
        "anchor": result.anchor_frame,
        "notes": list(result.notes),
        "seen_s": [[round(a, 6), round(b, 6)] for a, b in visible_spans_s(result.track, clip)],
        "keyframes": [
            {
                "frame": key.frame,
                "time_s": round(float(clip.times[key.frame]), 6),
                "box": [round(float(c), 6) for c in key.box],
                "enabled": bool(key.enabled),
                "score": round(float(key.score), 4),
            }
            for key in result.keyframes
        ],
        "frames": [
            {
                "frame": frame,
                "time_s": round(float(clip.times[frame]), 6),
                "visible": visible,
                "interpolated": frame in between,
                "score": round(score, 4),
                "box": [round(c, 6) for c in box],
                "mask": {"size": mask_size, "counts": counts},
            }
            for frame, visible, score, box, counts in zip(
                *(track[name] for name in ("frames", "visible", "scores", "boxes", "rles")), strict=True
            )
        ],
    }


def _prompt_json(prompt: FramePrompt) -> dict[str, Any]:
    """Return what a person drew on a frame; points and boxes as fractions of it, masks as COCO RLE."""
    return {
        "frame": int(prompt.frame),
        "points": [[round(float(c), 6) for c in point] for point in prompt.points],
        "labels": list(prompt.labels),
        "box": None if prompt.box is None else [round(float(c), 6) for c in prompt.box],
        "mask": None if prompt.mask is None else rle_json(prompt.mask),
    }


def _write_masks(
    folder: Path, clip: Clip, tracks: Sequence[MaskTrack], frames: range, progress: Callable[[str, float], None]
) -> None:
    """Write a mask for each object and each of these frames."""
    empty = _png(np.zeros((clip.size[1], clip.size[0]), np.bool_))
    for k, track in enumerate(tracks):
        (folder / str(k)).mkdir(parents=True)
        row_of = {int(frame): row for row, frame in enumerate(track.frames) if track.visible[row]}
        for n, frame in enumerate(frames):
            row = row_of.get(frame)
            data = empty if row is None else _png(decode(track.rles[row]))
            (folder / str(k) / f"{frame:05d}.png").write_bytes(data)
            progress("masks", (k + (n + 1) / len(frames)) / len(tracks))


def _png(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> bytes:
    """Encode a mask (H, W) bool as an 8-bit grey PNG of 0 and 255."""
    ok, data = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    if not ok:
        raise OutputError(f"a mask of {mask.shape} could not be written as PNG")
    return data.tobytes()


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
