"""Synthetic videos whose truth is known, for the demo and for `refam draw`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.addresses import address_in
from backend.labelstudio.controls.video_rectangle import box_sequence
from refam.evaluation.synthetic import write_video
from refam.tiny.scenes import SceneClip, draw_clip
from video import masks
from video.types import MaskTrack

if TYPE_CHECKING:
    from collections.abc import Iterator

LABEL = "Object"
_RATES = (24.0, 25.0, 30.0)
_TRUTH_IOU = 0.95  # that the keyframes of the truth keep
_GRID = (64, 64)  # size of the masks, which a track needs; keyframes depend on its boxes alone
_PREDICTED_FIELDS = ("check", "score", "words")  # of predicted keyframes, which a person's do not have


@dataclass(frozen=True)
class SyntheticVideo:
    """One synthetic video of K objects and N frames.

    Attributes:
        path: The file.
        expressions: K phrases, each true of its object alone.
        boxes: (K, N, 4) normalised xyxy of each object's visible part, NaN where it is hidden.
        times: (N,) presentation times in seconds.
        fps: Frames per second.
    """

    path: Path
    expressions: tuple[str, ...]
    boxes: NDArray[np.float64]
    times: NDArray[np.float64]
    fps: float

    @property
    def duration_s(self) -> float:
        """Duration in seconds, as players show it."""
        return len(self.times) / self.fps

    def sequence(self, k: int) -> list[dict[str, Any]]:
        """Return the keyframes of object k as a person would set them: on the editor's grid, within IoU 0.95."""
        visible = ~np.isnan(self.boxes[k, :, 0])
        boxes = np.where(visible[:, None], self.boxes[k], 0.0)
        rles = tuple(masks.encode(masks.box_mask(tuple(box), _GRID)) for box in boxes)
        track = MaskTrack("", rles[0].size, np.arange(len(visible)), rles, boxes, visible.astype(np.float64), visible)
        items = box_sequence(track, self, fps=self.fps, keyframe_iou=_TRUTH_IOU)
        return [{name: value for name, value in item.items() if name not in _PREDICTED_FIELDS} for item in items]


def draw_videos(folder: Path, scenes: Sequence[tuple[int, float]]) -> Iterator[SyntheticVideo]:
    """Draw FOLDER/scene-SEED.mp4 for each (seed, frames per second), and yield them one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, fps in scenes:
        yield _draw_video(folder / f"scene-{seed}.mp4", draw_clip(seed, fps=float(fps)))


def list_scenes(seed: int, count: int) -> list[tuple[int, float]]:
    """Return `count` pairs (seed, frames per second): consecutive seeds with 24, 25 and 30 frames a second in turn."""
    return [(seed + i, _RATES[i % len(_RATES)]) for i in range(count)]


def task_data(video: SyntheticVideo, *, folder_url: str) -> dict[str, Any]:
    """Return a task's data: the video, the words of its first object, the frame rate."""
    return {"video": address_in(folder_url, video.path.name), "prompt": video.expressions[0], "fps": video.fps}


def truth_task(video: SyntheticVideo, *, folder_url: str) -> dict[str, Any]:
    """Return the task as Label Studio exports it once a person has annotated its first object."""
    region = {
        "id": f"{video.path.stem}-0",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "origin": "manual",
        "value": {
            "framesCount": len(video.times),
            "duration": round(video.duration_s, 6),
            "sequence": video.sequence(0),
            "labels": [LABEL],
        },
    }
    return {"data": task_data(video, folder_url=folder_url), "annotations": [{"result": [region]}]}


def _draw_video(path: Path, scene: SceneClip) -> SyntheticVideo:
    write_video(path, scene.frames, fps=scene.fps)
    hidden = (np.nan,) * 4
    boxes = np.array([[masks.box_of(mask) or hidden for mask in shown] for shown in scene.masks], np.float64)
    return SyntheticVideo(path, scene.expressions, boxes, np.arange(len(scene.frames)) / scene.fps, scene.fps)
