"""Tracks -> what Label Studio stores and draws: one region per object, of boxes or (see `outline_regions`) outlines.

How Label Studio 1.23 reads a sequence was measured: frames are 1-based on the editor's own grid (not the
clip's, see `backend.labelstudio.timeline`); between keyframes it interpolates by frame number; `rotation` must stand on
every keyframe or interpolated boxes become NaN; a keyframe with `enabled` false is drawn itself and hides
from the next frame on, and without one the last box stays for ever. It validates nothing, so what is written
here must be right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.edits import UserEdit, UserKeyframe, UserOutline, apply_user_keyframes, keyframe_checksum
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.timeline import TimedClip, editor_frame_count, round_score, track_on_timeline
from backend.labelstudio.vector_regions import vector_sequence
from video.keyframes import fewest_keyframes
from video.types import MaskTrack

if TYPE_CHECKING:
    from refam.pipeline.pipeline import TrackResult

Region = dict[str, Any]
KEYFRAME_IOU = 0.9  # how well the interpolated boxes must keep the track's


def regions_of(
    results: Sequence[TrackResult],
    clip: TimedClip,
    config: LabelConfig,
    *,
    fps: float,
    region_ids: Sequence[str],
    fixed: Sequence[Sequence[UserEdit]] = (),
    keyframe_iou: float = KEYFRAME_IOU,
) -> list[Region]:
    """One region for each result that is visible somewhere, in order.

    fixed: for each result the keyframes that a person has set; they come back exactly as they are.

    fps: of the editor's grid (`LabelConfig.fps`). region_ids: one per result; the editor replaces a region
    that has the same id. A result's `target.label` must be what the config's labels give as result (its
    alias, where it has one).
    """
    if len(region_ids) != len(results):
        raise ValueError(f"{len(results)} results need as many region ids, got {len(region_ids)}")
    regions = []
    for i, (result, region_id) in enumerate(zip(results, region_ids, strict=True)):
        known, words, notes = fixed[i] if fixed else (), result.target.words, list(result.notes)
        if config.outline:
            outlines = [f for f in known if isinstance(f, UserOutline)]
            sequence, said = vector_sequence(result.track, clip, config.outline, fps=fps, fixed=outlines, words=words)
            notes += said
        else:
            boxes = [f for f in known if isinstance(f, UserKeyframe)]
            sequence = box_sequence(result.track, clip, fps=fps, fixed=boxes, words=words, keyframe_iou=keyframe_iou)
        if not sequence:
            continue
        value: dict[str, Any] = {
            "framesCount": editor_frame_count(clip.duration_s, fps),
            "duration": round(float(clip.duration_s), 6),
            "sequence": sequence,
        }
        if config.labels or config.labels_field:  # a label that no <Labels> offers would be drawn as "Empty"
            value["labels"] = [result.target.label]
            if config.outline and config.outline.own_labels:
                value[config.outline.kind] = value["labels"]
        region: Region = {
            "id": region_id,
            "from_name": config.box,
            "to_name": config.video,
            "type": config.outline.kind if config.outline else "videorectangle",
            "origin": "prediction",
            "score": round_score(result.score),
            "value": value,
        }
        if notes:  # the editor shows this text when the region is selected (measured)
            region["meta"] = {"text": ["; ".join(notes)]}
        regions.append(region)
    return regions


def box_sequence(
    track: MaskTrack,
    clip: TimedClip,
    *,
    fps: float,
    fixed: Sequence[UserKeyframe] = (),
    words: str | None = None,
    keyframe_iou: float = KEYFRAME_IOU,
) -> list[dict[str, Any]]:
    """The fewest keyframes whose interpolation on the editor's grid keeps the track's boxes; [] if never
    visible.

    Every editor frame takes the box of the clip frame that it shows, then keyframes are chosen on that grid:
    choosing them among the clip's frames would be off by up to a frame's motion wherever the two rates
    differ. Each keyframe carries its score, its check (see backend.labelstudio.edits) and the words it was found with.
    """
    rows, visible = track_on_timeline(track, clip, fps)
    scores = track.scores[rows]
    boxes, visible, kept = apply_user_keyframes(track.boxes[rows], visible, fixed)
    sequence = []
    steps = np.arange(len(rows))
    chosen = fewest_keyframes(boxes, visible, positions=steps, tolerance_iou=keyframe_iou, must=sorted(kept))
    for row, enabled in chosen:
        item = {
            "frame": row + 1,
            "time": round(row / fps, 6),
            "enabled": enabled,
            **_percent(boxes[row]),
            "rotation": 0,
            "score": round_score(scores[row]),
            **({"words": words} if words else {}),
        }
        if row in kept:  # a person's: to the last digit, and without a check, so that it is known again
            drawn = kept[row]
            item |= {"x": drawn.x, "y": drawn.y, "width": drawn.width, "height": drawn.height}
            item |= {"rotation": drawn.rotation}
        else:
            item["check"] = keyframe_checksum(item)
        sequence.append(item)
    return sequence


def build_prediction(regions: Sequence[Region], *, model_version: str) -> dict[str, Any]:
    """A prediction as Label Studio stores it, as sure as its least sure object.

    Raises ValueError without regions: Label Studio stores an empty prediction, and at the same model version
    that blocks the next run.
    """
    if not regions:
        raise ValueError("a prediction without regions would be stored as empty and block the next run")
    return {
        "result": list(regions),
        "score": min(r["score"] for r in regions),
        "model_version": model_version,
    }


def region_id_for(task: Mapping[str, Any] | str, position: int) -> str:
    """A stable id for object number `position` of a task, so that another answer replaces the region."""
    key = task if isinstance(task, str) else f"task {task.get('id')}"
    return "refam-" + hashlib.sha256(f"{key} object {position}".encode()).hexdigest()[:10]


def build_label_config(labels: Sequence[str]) -> str:
    """A label config for `importable_task`: words above the video, these labels, boxes, rate `$fps`."""
    choices = "\n".join(f"    <Label value={quoteattr(label)}/>" for label in dict.fromkeys(labels))
    return f"""<View>
  <TextArea name="words" toName="video" value="$prompt" editable="true" maxSubmissions="1"
            placeholder="What to find, for example: the red star"/>
  <Labels name="labels" toName="video">
{choices}
  </Labels>
  <Video name="video" value="$video" frameRate="$fps"/>
  <VideoRectangle name="box" toName="video"/>
</View>
"""


def importable_task(
    results: Sequence[TrackResult], clip: TimedClip, *, video: str, words: str, fps: float, model_version: str
) -> tuple[dict[str, Any], str]:
    """A task with its prediction, ready to import, and the label config that fits it.

    video: the address that Label Studio will have for the clip, such as `/data/local-files/?d=clips/a.mp4`.
    fps: the editor's frame rate for this task; kept in the task as `$fps`. Raises ValueError if nothing is
    visible.
    """
    xml = build_label_config([r.target.label for r in results])
    ids = [region_id_for(video, position) for position in range(len(results))]
    regions = regions_of(results, clip, parse_label_config(xml), fps=fps, region_ids=ids)
    prediction = build_prediction(regions, model_version=model_version)
    return {"data": {"video": video, "prompt": words, "fps": fps}, "predictions": [prediction]}, xml


def _percent(box: NDArray[np.float64]) -> dict[str, float]:
    x0, y0, x1, y1 = (float(c) * 100 for c in box)
    sides = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
    return {name: round(value, 4) for name, value in sides.items()}
