"""Process one row of a manifest: fetch its video, find and track its objects, return the fields of a result.

It runs in a process of its own, see `backend.batch.isolated`. Whoever writes a manifest also runs it, so paths and
every storage that fsspec knows may be read; http(s) goes through `backend.media.fetch` and its network policy.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from backend.batch.manifest import ManifestRow
from backend.jobs.runner import note_broken_file
from backend.labelstudio.addresses import redact_url
from backend.media.fetch import Fetcher
from backend.media.network_policy import FetchError
from backend.runtime import Runtime
from backend.settings import Settings, load_settings
from refam.pipeline.pipeline import PipelineError
from video.errors import UserError
from video.io.probe import VideoLimits, refuse_picture
from video.io.reader import open_clip

if TYPE_CHECKING:
    from refam.pipeline.types import TrackResult
    from video.io.reader import Clip

_CHUNK_BYTES = 1 << 20

# The settings that a worker needs on any machine of a cluster; no secret is among them.
_WORKER_SETTINGS = {
    "backbone",
    "sam2",
    "device",
    "tracker",
    "features_mb",
    "quality",
    "magnets",
    "blocks",
    "reading",
    "dtype",
    "offload",
    "quantise",
    "free_text",
    "download",
    "offline",
    "data_dir",
    "allowed_hosts",
    "max_media_mb",
    "max_megapixels",
    "max_video_s",
    "fetch_timeout_s",
}


def worker_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that are sent to a worker, as plain data."""
    content = settings.model_dump(mode="json", include=_WORKER_SETTINGS)
    return {**content, "allowed_hosts": ",".join(settings.allowed_hosts)}


class ClipWorker:
    """Processes rows with models that are loaded once.

    Args:
        settings: The content of `worker_settings`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = load_settings(**settings)
        self._runtime = Runtime(self._settings)
        self._runtime.fetch_segmenter()  # of several workers on a machine one fetches, the others wait for it
        self._pipeline = self._runtime.pipeline()
        self._limits = VideoLimits(most_px=self._settings.max_megapixels * 1e6, most_s=self._settings.max_video_s)

    def __call__(self, row: ManifestRow) -> dict[str, Any]:
        """Find and track the objects of a row.

        Words that are not found are a result with the status `nothing`. A file that breaks off is processed up to
        there, and the notes of its objects say so.

        Returns:
            The fields of `backend.batch.results.SCHEMA` that do not come from the manifest.

        Raises:
            ValueError: If the video cannot be used, or the prompts do not fit it.
            VideoError: If the video cannot be fetched.
        """
        timer = StageTimer()
        timer("fetch", 0.0)
        with fetch_video(row.video, self._settings) as path:
            timer("open", 0.0)
            self._limits.check_header(path)
            clip = open_clip(path, partial=True)
            self._limits.check(path.name, clip.size, clip.duration_s)
            targets = row.targets()
            for prompt in (p for target in targets for p in target.prompts):
                if prompt.frame >= len(clip):
                    raise ValueError(f"prompts: there is no frame {prompt.frame}; the video has 0 to {len(clip) - 1}")
            try:
                found = self._settings.quality.run(self._pipeline, clip, targets, progress=timer)
                results, failure = note_broken_file(clip, found), None
            except PipelineError as error:
                results, failure = [], "; ".join(filter(None, (str(error), clip.broken)))
            timer("end", 0.0)
        return {
            "status": "nothing" if failure else "done",
            "error": failure,
            "width": clip.size[0],
            "height": clip.size[1],
            "frames": len(clip),
            "duration_s": clip.duration_s,
            "times_s": clip.times.tolist(),
            "objects": [object_fields(clip, result) for result in results],
            "model_version": self._runtime.model_version,
            "stages_s": timer.seconds,
            "node": socket.gethostname(),
        }


class StageTimer:
    """Measures the seconds of each stage when used as the pipeline's progress callback."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()

    def __call__(self, stage: str, fraction: float) -> None:
        """Add the time since the last call to the stage of that call."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now


def object_fields(clip: Clip, result: TrackResult) -> dict[str, Any]:
    """Return a track as plain data: boxes normalised xyxy, frames 0-based, masks as COCO's compressed RLE."""
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


# --- before any model is loaded ------------------------------------------------------------------------------------


def find_fault(row: ManifestRow) -> str | None:
    """Say why a row cannot be used, where its local file shows that without being decoded.

    Args:
        row: The row; an address is not looked at.

    Returns:
        The sentence that `ClipWorker` would fail with; None if there is nothing to say yet.
    """
    if "://" in row.video:
        return None
    try:
        _require_file(row.video)
        refuse_picture(Path(row.video))
    except UserError as error:
        return str(error)
    return None


# --- fetching ---------------------------------------------------------------------------------------------------------


class VideoError(UserError):
    """The video cannot be fetched. `transient`: a later attempt may succeed."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@contextlib.contextmanager
def fetch_video(video: str, settings: Settings) -> Iterator[Path]:
    """Yield the local file of a path or URL; a downloaded one is deleted when the block ends.

    Raises:
        VideoError: If it is missing, unreadable, larger than max_media_mb, or takes longer than fetch_timeout_s.
    """
    if "://" not in video:
        _require_file(video)
        yield Path(video)
        return
    suffix = Path(redact_url(video)).suffix[:12]
    with tempfile.NamedTemporaryFile(prefix="refam-", suffix=suffix) as file:
        into = cast("BinaryIO", file)
        if video.startswith(("http://", "https://")):
            fetcher = Fetcher(
                allowed_hosts=settings.allowed_hosts,
                max_bytes=int(settings.max_media_mb * 1e6),
                timeout_s=settings.fetch_timeout_s,
            )
            try:
                fetcher.fetch(video, into)
            except FetchError as error:
                raise VideoError(str(error), transient=error.transient) from None
        else:
            _download(video, into, settings)
        file.flush()
        yield Path(file.name)


def _require_file(video: str) -> None:
    try:
        is_folder, is_file = Path(video).is_dir(), Path(video).is_file()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise VideoError(f"{redact_url(video)} cannot be opened: {error.strerror}") from error
    if is_folder:
        raise VideoError(f"{redact_url(video)} is a folder: give a video file; `refam label` takes folders, too")
    if not is_file:
        raise VideoError(f"there is no file {redact_url(video)}")


def _download(video: str, into: BinaryIO, settings: Settings) -> None:
    import fsspec

    most_bytes, deadline, size = settings.max_media_mb * 1e6, time.monotonic() + settings.fetch_timeout_s, 0
    try:
        with fsspec.open(video, "rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > most_bytes:
                    raise VideoError(
                        f"{redact_url(video)} is larger than {settings.max_media_mb:g} MB (REFAM_MAX_MEDIA_MB)"
                    )
                if time.monotonic() > deadline:
                    text = f"{redact_url(video)} took longer than {settings.fetch_timeout_s:g} s"
                    raise VideoError(text, transient=True)
                into.write(chunk)
    except VideoError:
        raise
    except FileNotFoundError:
        raise VideoError(f"there is no {redact_url(video)}") from None
    except PermissionError:
        raise VideoError(f"{redact_url(video)} may not be read: give this machine keys for it") from None
    except Exception as error:  # each storage has errors of its own
        raise VideoError(f"{redact_url(video)}: {type(error).__name__}: {error}", transient=True) from error
    if not size:
        raise VideoError(f"{redact_url(video)} is empty")
