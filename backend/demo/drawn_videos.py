"""Videos whose truth is known, drawn: for the demo, and for whoever wants to try a command before their own videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.controls.video_rectangle import box_sequence
from refam.evaluation.synthetic import write_video
from refam.tiny.scenes import SceneClip, draw_clip
from video import masks
from video.types import MaskTrack

if TYPE_CHECKING:
    from collections.abc import Iterator

LABEL = "Object"
_RATES = (24.0, 25.0, 30.0)
_TRUTH_IOU = 0.95  # how closely the keyframes of the truth keep it
_GRID = (64, 64)  # of masks that fill the boxes: a track needs some, a sequence goes by its boxes alone
_OURS = ("check", "score", "words")  # what marks a keyframe as an answer; the truth is a person's


@dataclass(frozen=True)
class DrawnVideo:
    """One drawn video. boxes: (K, N, 4) normalised xyxy of each object's visible part, NaN where it is hidden.

    expressions: K phrases, each true of its object alone. times: (N,) seconds.
    """

    path: Path
    expressions: tuple[str, ...]
    boxes: NDArray[np.float64]
    times: NDArray[np.float64]
    fps: float

    @property
    def duration_s(self) -> float:
        """Length in seconds as players tell it."""
        return len(self.times) / self.fps

    def sequence(self, k: int) -> list[dict[str, Any]]:
        """Object k as a person would have drawn it: keyframes on the editor's grid, within IoU 0.95 of the truth."""
        seen = ~np.isnan(self.boxes[k, :, 0])
        boxes = np.where(seen[:, None], self.boxes[k], 0.0)
        rles = tuple(masks.encode(masks.box_mask(tuple(box), _GRID)) for box in boxes)
        track = MaskTrack("", rles[0].size, np.arange(len(seen)), rles, boxes, seen.astype(np.float64), seen)
        items = box_sequence(track, self, fps=self.fps, keyframe_iou=_TRUTH_IOU)
        return [{name: value for name, value in item.items() if name not in _OURS} for item in items]


def draw_videos(folder: Path, scenes: Sequence[tuple[int, float]]) -> Iterator[DrawnVideo]:
    """Draws and writes FOLDER/scene-SEED.mp4, one after the other: (seed, frames per second) each."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, fps in scenes:
        yield _draw_video(folder / f"scene-{seed}.mp4", draw_clip(seed, fps=float(fps)))


def scenes_from(seed: int, count: int) -> list[tuple[int, float]]:
    """So many (seed, frames per second), from this seed on; 24, 25 and 30 frames a second in turn."""
    return [(seed + i, _RATES[i % len(_RATES)]) for i in range(count)]


def task_of(video: DrawnVideo, *, folder_url: str) -> dict[str, Any]:
    """A task's data: the video, the words of its first object, the frame rate."""
    return {"video": f"{folder_url}/{video.path.name}", "prompt": video.expressions[0], "fps": video.fps}


def truth_of(video: DrawnVideo, *, folder_url: str) -> dict[str, Any]:
    """The same task as Label Studio exports it once a person has drawn its object right."""
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
    return {"data": task_of(video, folder_url=folder_url), "annotations": [{"result": [region]}]}


def _draw_video(path: Path, scene: SceneClip) -> DrawnVideo:
    write_video(path, scene.frames, fps=scene.fps)
    hidden = (np.nan,) * 4
    boxes = np.array([[masks.box_of(mask) or hidden for mask in shown] for shown in scene.masks], np.float64)
    return DrawnVideo(path, scene.expressions, boxes, np.arange(len(scene.frames)) / scene.fps, scene.fps)
