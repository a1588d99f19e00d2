"""One row from its video to a result. It runs in a process of its own (`backend.batch.isolated`)."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.batch.fetch import fetched
from backend.batch.rows import ManifestRow
from backend.jobs.runner import note_broken_file
from backend.runtime import Runtime
from backend.settings import Settings, load_settings
from refam.pipeline.pipeline import PipelineError
from video.io.probe import VideoLimits
from video.io.reader import open_clip

if TYPE_CHECKING:
    from refam.pipeline.types import TrackResult
    from video.io.reader import Clip

# What a worker needs to know, on whatever machine of a cluster it runs; no secret is among it.
_TAKEN_ALONG = {
    "backbone",
    "sam2",
    "device",
    "tracker",
    "features_mb",
    "quality",
    "magnets",
    "dtype",
    "offload",
    "quantise",
    "free_text",
    "download",
    "data_dir",
    "allowed_hosts",
    "max_media_mb",
    "max_megapixels",
    "max_video_s",
    "fetch_timeout_s",
}


def taken_along(settings: Settings) -> dict[str, Any]:
    """The settings that a worker is given, as plain data."""
    content = settings.model_dump(mode="json", include=_TAKEN_ALONG)
    return {**content, "allowed_hosts": ",".join(settings.allowed_hosts)}


class ClipWorker:
    """The models of one process, loaded once, and what is done with each row. settings: of `taken_along`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = load_settings(**settings)
        self._runtime = Runtime(self._settings)
        self._pipeline = self._runtime.pipeline()
        self._limits = VideoLimits(most_px=self._settings.max_megapixels * 1e6, most_s=self._settings.max_video_s)

    def __call__(self, row: ManifestRow) -> dict[str, Any]:
        """The fields of a result that the work decides: see `backend.batch.sink.SCHEMA`.

        Words that are not found are a result (`nothing`). A video that breaks off is taken up to there, which the notes
        of its objects say. ValueError and its kin mean a video that cannot be used.
        """
        stages = Stopwatch()
        stages("fetch", 0.0)
        with fetched(row.video, self._settings) as path:
            stages("open", 0.0)
            self._limits.check_header(path)
            clip = open_clip(path, partial=True)
            self._limits.check(path.name, clip.size, clip.duration_s)
            targets = row.targets()
            for prompt in (p for target in targets for p in target.prompts):
                if prompt.frame >= len(clip):
                    raise ValueError(f"prompts: there is no frame {prompt.frame}; the video has 0 to {len(clip) - 1}")
            try:
                found = self._settings.quality.run(self._pipeline, clip, targets, progress=stages)
                results, why_not = note_broken_file(clip, found), None
            except PipelineError as error:
                results, why_not = [], "; ".join(filter(None, (str(error), clip.broken)))
            stages("end", 0.0)
        return {
            "status": "nothing" if why_not else "done",
            "error": why_not,
            "width": clip.size[0],
            "height": clip.size[1],
            "frames": len(clip),
            "duration_s": clip.duration_s,
            "times_s": clip.times.tolist(),
            "objects": [object_of(clip, result) for result in results],
            "model_version": self._runtime.model_version,
            "stages_s": stages.seconds,
            "node": socket.gethostname(),
        }


class Stopwatch:
    """Seconds of each stage, from what the pipeline tells as its progress."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()

    def __call__(self, stage: str, fraction: float) -> None:
        """The time since the last call was spent in the stage that was told then."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now


def object_of(clip: Clip, result: TrackResult) -> dict[str, Any]:
    """A result as plain data: boxes are normalised xyxy, frames 0-based, masks COCO's compressed run-length codes."""
    track = replace(
        result.track, boxes=np.round(result.track.boxes, 6), scores=np.round(result.track.scores, 4)
    ).to_dict()
    return {
        "label": result.target.label,
        "words": result.target.words,
        "score": float(result.score),
        "anchor": int(result.anchor_frame),
        "notes": list(result.notes),
        "keyframes": [
            {
                "frame": int(key.frame),
                "time_s": float(clip.times[key.frame]),
                "box": [float(c) for c in key.box],
                "enabled": bool(key.enabled),
                "score": float(key.score),
            }
            for key in result.keyframes
        ],
        **{column: track[column] for column in ("frames", "boxes", "scores", "visible", "rles")},
    }
