"""One job from its media address to a prediction: fetch and open the video, run the pipeline, make regions."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from backend.jobs.models import JobRecord, JobSpec, JobState, Priority
from backend.jobs.worker import JobResult, TransientError
from backend.labelstudio.addresses import redact_url
from backend.labelstudio.editor_events import FrameSpan, mask_frames
from backend.labelstudio.edits import UserEdit
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.regions import Region, build_prediction, mark_preview, object_region_ids
from backend.labelstudio.request import PredictRequest
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count, frame_aspect, pixel_aspect
from backend.media.store import MediaError, MediaStore
from backend.settings import Settings
from refam.pipeline.pipeline import PipelineError
from refam.pipeline.stage_cache import StageCache, hash_file, trim_cache
from refam.pipeline.stages import Stage
from refam.pipeline.types import Target, TrackResult, target_positions
from video.images import encode_jpeg
from video.io.probe import ReadingError, VideoLimits
from video.io.reader import open_sequence
from video.keyframes import KEYFRAME_IOU
from video.types import FeatureSource

if TYPE_CHECKING:
    from backend.jobs.queue import JobQueue
    from refam.pipeline.pipeline import Pipeline
    from video.io.reader import Clip

log = logging.getLogger("refam.jobs")

# Shares of a job's time before any job is done; afterwards see `estimate_stage_shares`.
_SHARES: dict[str, float] = {
    "fetch": 0.05,
    Stage.DECODE: 0.05,
    Stage.GROUND: 0.2,
    Stage.CONSENSUS: 0.03,
    Stage.MASK: 0.05,
    Stage.TRACK: 0.6,
    Stage.KEYFRAMES: 0.02,
}
_RECENT_JOBS = 20  # whose stages are averaged
_PRIOR_S = 20.0  # `_SHARES` weigh as much as a job of so many seconds
_THUMBNAIL_PX = 320  # width
_OUTLINE_RGB = (255, 214, 10)


class JobRunner:
    """Computes jobs with the models of one process (a `JobHandler`).

    Args:
        settings: Limits, the data directory and the quality.
        media: Fetches what jobs name.
        queue: Its finished jobs tell how long stages take.
        pipeline: Returns the pipeline; called when a job needs it, so that models load no earlier.
        keyframe_iou: Returns the IoU that boxes between keyframes must keep.
    """

    def __init__(
        self,
        settings: Settings,
        media: MediaStore,
        queue: JobQueue,
        *,
        pipeline: Callable[[], Pipeline],
        keyframe_iou: Callable[[], float] = lambda: KEYFRAME_IOU,
    ) -> None:
        self._settings, self._queue = settings, queue
        self._pipeline, self._keyframe_iou = pipeline, keyframe_iou
        self._opener = ClipOpener(media, settings)
        self._stages_dir = settings.data_dir / "stages"

    def __call__(self, spec: JobSpec, progress: Callable[[str, float], None]) -> JobResult:
        """Compute a job; see JobHandler."""
        stage_progress = _stage_progress(progress, estimate_stage_shares(self._queue.records()))
        stage_progress("fetch", 0.0)
        try:
            with contextlib.ExitStack() as files:
                clip, content = self._opener.open(spec, files, lambda fraction: stage_progress("fetch", fraction))
                if spec.work.span is not None:
                    return JobResult(self._run_event(spec, spec.work.span, clip, stage_progress))
                cache = StageCache(self._stages_dir, content + self._settings.quality.version_suffix)
                results = note_broken_file(clip, self._track(spec, clip, cache, stage_progress))
                return _make_result(spec, clip, results, self._keyframe_iou())
        except MediaError as error:
            if error.transient:
                raise TransientError(str(error)) from error
            raise
        finally:
            trim_cache(self._stages_dir, most_bytes=int(self._settings.data_mb * 1e6))

    def _track(
        self, spec: JobSpec, clip: Clip, cache: StageCache, progress: Callable[[str, float], None]
    ) -> Sequence[TrackResult]:
        targets = add_user_prompts(spec.work, clip)
        key = (spec.model_version, targets)
        cached = cache.load_results(key, targets)
        if cached is not None:
            return cached
        preview = partial(self._save_preview, spec, clip) if self._wants_preview(spec) else None
        quality = self._settings.quality
        results = quality.run(self._pipeline(), clip, targets, progress=progress, cache=cache, preview=preview)
        if not any(result.read_errors for result in results):  # reading may go well the next time
            cache.save_results(key, results)
        return results

    def _run_event(
        self, spec: JobSpec, span: FrameSpan, clip: Clip, progress: Callable[[str, float], None]
    ) -> dict[str, Any]:
        """Return the masks of an object on the frames of a span; or encode these frames, and return nothing."""
        from refam.pipeline.pipeline import run_in_region
        from refam.pipeline.roi import RegionOfInterest

        pipeline = self._pipeline()
        max_side_px = self._settings.quality.max_side_px
        region = RegionOfInterest(f"{span.first}-{span.last}", max_side_px=max_side_px)
        if span.purpose == "features":
            view = region.view(clip, ())
            if isinstance(pipeline.segmenter, FeatureSource):
                for i in range(len(view)):
                    pipeline.segmenter.features(view.frame(i))  # which keeps them on disk, where tracking finds them
                    progress(Stage.TRACK, (i + 1) / len(view))
            return {"frames": []}
        (result,) = run_in_region(pipeline, clip, spec.work.targets, region, progress=progress)
        return {"frames": mask_frames(result, clip.times, span)}

    def _wants_preview(self, spec: JobSpec) -> bool:
        """Whether somebody who typed waits for an answer that can be shown before there are masks."""
        if not parse_label_config(spec.label_config).control.BOXES_ONLY:
            return False
        record = self._queue.record(spec.id)
        return record is not None and record.urgency >= Priority.INTERACTIVE

    def _save_preview(self, spec: JobSpec, clip: Clip, results: Sequence[TrackResult]) -> None:
        """Keep what is known before tracking, for a request that cannot wait for the end."""
        work = spec.work
        ids = object_region_ids(results, work.region_ids)
        shown = [i for i, result in enumerate(results) if result.visible.any()]
        regions = parse_label_config(spec.label_config).control.regions(
            [results[i] for i in shown], clip, fps=work.fps, region_ids=[ids[i] for i in shown]
        )
        if regions:
            prediction = build_prediction(list(map(mark_preview, regions)), model_version=spec.model_version)
            self._queue.save_preview(spec.id, dict(prediction))


class ClipOpener:
    """Fetches and opens what jobs name, within the limits of the settings."""

    def __init__(self, media: MediaStore, settings: Settings) -> None:
        self._media = media
        self._max_frames = settings.max_frames
        self._limits = VideoLimits(most_px=settings.max_megapixels * 1e6, most_s=settings.max_video_s)

    def open(self, spec: JobSpec, files: contextlib.ExitStack, progress: Callable[[float], None]) -> tuple[Clip, str]:
        """Open a job's video or pictures.

        Args:
            spec: The job.
            files: Keeps the fetched files in the cache until it is closed.
            progress: Called with the fraction that is fetched, in [0, 1].

        Returns:
            The clip, and a hash of its files' content.

        Raises:
            MediaError: It cannot be fetched; this may be transient.
            ClipError, PipelineError: It cannot be read, or is beyond the limits.
        """
        open_media = self._open_pictures if spec.work.frames else self._open_video
        return open_media(spec, files, progress)

    def _open_video(
        self, spec: JobSpec, files: contextlib.ExitStack, progress: Callable[[float], None]
    ) -> tuple[Clip, str]:
        from video.io.reader import open_clip

        path, content = self._fetch(spec.work.video, spec, files)
        progress(1.0)
        self._limits.check_header(path)
        clip = open_clip(path, partial=True)  # the readable part of a broken file is of use; `broken` says so
        self._limits.check(path.name, clip.size, clip.duration_s)
        return clip, content

    def _open_pictures(
        self, spec: JobSpec, files: contextlib.ExitStack, progress: Callable[[float], None]
    ) -> tuple[Clip, str]:
        work = spec.work
        if len(work.frames) > self._max_frames:
            text = f"{work.task} has {len(work.frames)} frames, more than REFAM_MAX_FRAMES={self._max_frames}"
            raise PipelineError(text)
        paths, contents = [], []
        names = [f"frame {number} ({redact_url(address)})" for number, address in enumerate(work.frames)]
        for number, address in enumerate(work.frames):
            try:
                path, content = self._fetch(address, spec, files)
            except MediaError as error:
                raise MediaError(f"{names[number]}: {error}", transient=error.transient) from error
            paths.append(path)
            contents.append(content)
            progress((number + 1) / len(work.frames))
        sequence = open_sequence(paths, names=names, fps=work.fps)
        self._limits.check(names[0], sequence.size, 0.0)  # all have one size, and no duration of their own
        digest = hashlib.sha256(" ".join(contents).encode())
        return cast("Clip", sequence), digest.hexdigest()[:32]  # a sequence has a clip's interface

    def _fetch(self, address: str, spec: JobSpec, files: contextlib.ExitStack) -> tuple[Path, str]:
        path = files.enter_context(self._media.local_file(address, task_id=spec.task_id))
        content = hash_file(path)
        self._media.raise_if_damaged(path, content)
        return path, content


def note_broken_file(clip: Clip, results: Sequence[TrackResult]) -> Sequence[TrackResult]:
    """Add what is wrong with the file to each object's notes: whoever corrects one sees why it ends early."""
    if not (broken := getattr(clip, "broken", "")):  # pictures have none
        return results
    return [r if broken in r.notes else replace(r, notes=(*r.notes, broken)) for r in results]


def add_user_prompts(work: PredictRequest, clip: Clip) -> tuple[Target, ...]:
    """Return the request's targets, with the boxes and outlines that a person drew as prompts on the clip's frames."""
    n = editor_frame_count(clip.duration_s, work.fps)
    clip_frames = clip_frame_of_editor(clip.times, n, work.fps)
    targets = []
    for target, edits in zip(work.targets, work.edits or ((),) * len(work.targets), strict=True):
        by_frame = {int(clip_frames[edit.frame - 1]): edit for edit in edits if edit.frame <= n}
        prompts = (
            edit.prompt(frame, clip.size, pixel_aspect=pixel_aspect(clip)) for frame, edit in sorted(by_frame.items())
        )
        targets.append(replace(target, prompts=(*target.prompts, *(p for p in prompts if p is not None))))
    return tuple(targets)


def _edits_of(work: PredictRequest, results: Sequence[TrackResult]) -> list[tuple[UserEdit, ...]]:
    """Return for each result the keyframes that a person set. What was drawn on is one object."""
    positions = target_positions(results)
    return [work.edits[i] if work.edits and r.instance == 1 else () for i, r in zip(positions, results, strict=True)]


def estimate_stage_shares(records: Sequence[JobRecord]) -> dict[str, float]:
    """Return each stage's share of a job's time, as measured on the newest finished jobs, weighted by their length.

    Args:
        records: All jobs, the newest first.

    Returns:
        Shares by stage, in order; they sum to 1.
    """
    done = [r.stages_s for r in records if r.state is JobState.DONE and r.stages_s.get(Stage.TRACK)][:_RECENT_JOBS]
    spent = {stage: share * _PRIOR_S + sum(job.get(stage, 0.0) for job in done) for stage, share in _SHARES.items()}
    total = sum(spent.values())
    return {stage: seconds / total for stage, seconds in spent.items()}


def _stage_progress(
    progress: Callable[[str, float], None], shares: Mapping[str, float]
) -> Callable[[str, float], None]:
    """Turn the fraction of a stage into the fraction of the whole job."""
    order = list(shares)
    total = sum(shares.values())

    def report(stage: str, fraction: float) -> None:
        if stage in shares:
            before = sum(shares[name] for name in order[: order.index(stage)])
            progress(stage, min(0.99, (before + fraction * shares[stage]) / total))

    return report


def _make_result(spec: JobSpec, clip: Clip, results: Sequence[TrackResult], keyframe_iou: float) -> JobResult:
    config, work = parse_label_config(spec.label_config), spec.work
    made = config.regions(
        results,
        clip,
        fps=work.fps,
        region_ids=object_region_ids(results, work.region_ids),
        edits=_edits_of(work, results),
        keyframe_iou=keyframe_iou,
        labels=work.labels,
    )
    regions = [region for region in made if region["id"] not in work.kept_regions]
    notes = tuple(f"{r.target.words or r.target.label}: {note}" for r in results for note in r.notes)
    for note in notes:
        log.info("%s, %s", spec.work.task, note)
    if made and not regions:
        raise PipelineError("the times were set by hand and stay: delete the region to have them found again")
    if not regions:
        reasons = "; ".join(dict.fromkeys(note for result in results for note in result.notes))
        raise PipelineError(f"nothing was found: {reasons or 'no object fits the words'}")
    prediction = build_prediction(regions, model_version=spec.model_version)
    prediction["result"] += config.control.clear_missing_masks(work.unedited_masks, regions)
    answered = {region["id"] for region in prediction["result"]}
    prediction["result"] += [
        cast("Region", one.emptied)
        for one in work.replaced_regions
        if one.by in answered and one.emptied["id"] not in answered
    ]
    try:
        thumbnail = render_thumbnail(clip, results)
    except ReadingError as error:  # the answer is there; only its picture cannot be made
        log.warning("%s has no picture in the list of jobs: %s", spec.work.task, error)
        thumbnail = None
    return JobResult(dict(prediction), notes, thumbnail)


def render_thumbnail(clip: Clip, results: Sequence[TrackResult]) -> bytes:
    """Return a JPEG, 320 pixels wide, of the frame where the first visible object scores highest, all outlines drawn.

    Raises:
        ReadingError: That frame cannot be read.
    """
    import cv2
    import numpy as np

    from video.io.display import resize_image
    from video.masks import decode

    first = next(r for r in results if r.track.visible.any())
    row = int((first.track.scores * first.track.visible).argmax())
    frame = int(first.track.frames[row])
    image = clip.frame(frame)
    h = max(1, round(_THUMBNAIL_PX / frame_aspect(clip, clip.size)))
    small = resize_image(image, (_THUMBNAIL_PX, h))
    for result in results:
        row = int((result.track.frames == frame).argmax())
        if result.track.visible[row] and result.track.frames[row] == frame:
            mask = cv2.resize(decode(result.track.rles[row]).astype("uint8"), small.shape[1::-1])
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            small = np.asarray(cv2.drawContours(small.copy(), outlines, -1, _OUTLINE_RGB, 2), np.uint8)
    return encode_jpeg(small, quality=80)
