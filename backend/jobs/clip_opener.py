"""What a job looks at: its video or its pictures, fetched, within the limits, and opened."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from backend.jobs.models import JobSpec
from backend.media.network_policy import redact_url
from backend.media.store import MediaError, MediaStore
from backend.settings import Settings
from refam.pipeline.pipeline import PipelineError
from refam.pipeline.stage_cache import hash_file
from video.io.probe import VideoLimits
from video.io.reader import open_sequence

if TYPE_CHECKING:
    from video.io.reader import Clip


class ClipOpener:
    """Opens what jobs name. Raises MediaError (it may heal), ClipError or PipelineError."""

    def __init__(self, media: MediaStore, settings: Settings) -> None:
        self._media = media
        self._most_frames = settings.max_frames
        self._limits = VideoLimits(most_px=settings.max_megapixels * 1e6, most_s=settings.max_video_s)

    def open(self, spec: JobSpec, held: contextlib.ExitStack, tell: Callable[[float], None]) -> tuple[Clip, str]:
        """The task's video or pictures, kept until `held` ends, and a hash of what they hold."""
        return self._pictures(spec, held, tell) if spec.work.frames else self._video(spec, held, tell)

    def _video(self, spec: JobSpec, held: contextlib.ExitStack, tell: Callable[[float], None]) -> tuple[Clip, str]:
        from video.io.reader import open_clip

        path, content = self._fetched(spec.work.video, spec, held)
        tell(1.0)
        self._limits.check_header(path)
        clip = open_clip(path, partial=True)  # what is left of a broken file is of use, and `broken` is told
        self._limits.check(path.name, clip.size, clip.duration_s)
        return clip, content

    def _pictures(self, spec: JobSpec, held: contextlib.ExitStack, tell: Callable[[float], None]) -> tuple[Clip, str]:
        work = spec.work
        if len(work.frames) > self._most_frames:
            text = f"{work.task} has {len(work.frames)} frames, more than REFAM_MAX_FRAMES={self._most_frames}"
            raise PipelineError(text)
        paths, contents = [], []
        names = [f"frame {number} ({redact_url(address)})" for number, address in enumerate(work.frames)]
        for number, address in enumerate(work.frames):
            try:
                path, content = self._fetched(address, spec, held)
            except MediaError as error:
                raise MediaError(f"{names[number]}: {error}", transient=error.transient) from error
            paths.append(path)
            contents.append(content)
            tell((number + 1) / len(work.frames))
        sequence = open_sequence(paths, names=names, fps=work.fps)
        self._limits.check(names[0], sequence.size, 0.0)  # they have one size, and no time of their own
        whole = hashlib.sha256(" ".join(contents).encode())
        return cast("Clip", sequence), whole.hexdigest()[:32]  # the same interface

    def _fetched(self, address: str, spec: JobSpec, held: contextlib.ExitStack) -> tuple[Path, str]:
        path = held.enter_context(self._media.local_file(address, task_id=spec.task_id))
        content = hash_file(path)
        self._media.raise_if_damaged(path, content)
        return path, content
