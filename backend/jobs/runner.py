"""One job from its address to a prediction: fetch, look whether it is known, else run the pipeline."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backend.jobs.clip_opener import ClipOpener
from backend.jobs.models import JobRecord, JobSpec, JobState
from backend.jobs.worker import JobResult, TransientError
from backend.labelstudio.controls.base import KEYFRAME_IOU
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.regions import build_prediction
from backend.labelstudio.request import PredictRequest
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count
from backend.media.store import MediaError, MediaStore
from backend.settings import Settings
from refam.pipeline.pipeline import PipelineError
from refam.pipeline.stage_cache import StageCache, trim_cache
from refam.pipeline.stages import Stage
from refam.pipeline.types import Target, TrackResult
from video.io.probe import ReadingError

if TYPE_CHECKING:
    from backend.jobs.queue import JobQueue
    from refam.pipeline.pipeline import Pipeline
    from video.io.reader import Clip

log = logging.getLogger("refam.jobs")

# Shares of a job's time before any job has told; afterwards what the last jobs took (`shares_of`).
_SHARES: dict[str, float] = {
    "fetch": 0.05,
    Stage.DECODE: 0.05,
    Stage.GROUND: 0.2,
    Stage.CONSENSUS: 0.03,
    Stage.MASK: 0.05,
    Stage.TRACK: 0.6,
    Stage.KEYFRAMES: 0.02,
}
_LEARN_FROM = 20  # jobs
_PRIOR_S = 20.0  # the guess above counts like a job of so many seconds
_THUMBNAIL_PX = 320  # width


class JobRunner:
    """Does jobs with the models of one process."""

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
        self._memory = settings.data_dir / "stages"

    def __call__(self, spec: JobSpec, tell: Callable[[str, float], None]) -> JobResult:
        """Raises ValueError with a sentence for people, or TransientError for what may heal."""
        course = _course(tell, shares_of(self._queue.records()))
        course("fetch", 0.0)
        try:
            with contextlib.ExitStack() as held:
                clip, content = self._opener.open(spec, held, lambda fraction: course("fetch", fraction))
                cache = StageCache(self._memory, content + self._settings.quality.version_suffix)
                results = with_breakage(clip, self._results(spec, clip, cache, course))
                return _done(spec, clip, results, self._keyframe_iou())
        except MediaError as error:
            if error.transient:
                raise TransientError(str(error)) from error
            raise
        finally:
            trim_cache(self._memory, most_bytes=int(self._settings.data_mb * 1e6))

    def _results(
        self, spec: JobSpec, clip: Clip, cache: StageCache, tell: Callable[[str, float], None]
    ) -> Sequence[TrackResult]:
        targets = prompted(spec.work, clip)
        key = (spec.model_version, targets)
        known = cache.load_results(key, targets)
        if known is not None:
            return known
        quality = self._settings.quality
        results = quality.run(self._pipeline(), clip, targets, progress=tell, cache=cache)
        if not any(result.read_errors for result in results):  # reading may go well the next time
            cache.save_results(key, results)
        return results


def with_breakage(clip: Clip, results: Sequence[TrackResult]) -> Sequence[TrackResult]:
    """What is wrong with the file is told with each object: whoever corrects one sees why it ends early."""
    if not (broken := getattr(clip, "broken", "")):  # pictures have none
        return results
    return [r if broken in r.notes else replace(r, notes=(*r.notes, broken)) for r in results]


def prompted(work: PredictRequest, clip: Clip) -> tuple[Target, ...]:
    """The targets, each held to the boxes or outlines that a person has fixed too, on the clip's own frames."""
    n = editor_frame_count(clip.duration_s, work.fps)
    shown = clip_frame_of_editor(clip.times, n, work.fps)
    targets = []
    for target, edits in zip(work.targets, work.edits or ((),) * len(work.targets), strict=True):
        by_frame = {int(shown[edit.frame - 1]): edit for edit in edits if edit.frame <= n}
        prompts = (edit.prompt(frame, clip.size) for frame, edit in sorted(by_frame.items()))
        targets.append(replace(target, prompts=(*target.prompts, *(p for p in prompts if p is not None))))
    return tuple(targets)


def shares_of(runs: Sequence[JobRecord]) -> dict[str, float]:
    """Each stage's share of a job's time, as the last finished jobs took it; a few short ones do not weigh much."""
    done = [run.stages_s for run in runs if run.state is JobState.DONE and run.stages_s.get(Stage.TRACK)][:_LEARN_FROM]
    spent = {stage: share * _PRIOR_S + sum(job.get(stage, 0.0) for job in done) for stage, share in _SHARES.items()}
    total = sum(spent.values())
    return {stage: seconds / total for stage, seconds in spent.items()}


def _course(tell: Callable[[str, float], None], shares: Mapping[str, float]) -> Callable[[str, float], None]:
    """From a stage's own fraction to the fraction of the whole job."""
    order = list(shares)
    total = sum(shares.values())

    def told(stage: str, fraction: float) -> None:
        if stage in shares:
            before = sum(shares[name] for name in order[: order.index(stage)])
            tell(stage, min(0.99, (before + fraction * shares[stage]) / total))

    return told


def _done(spec: JobSpec, clip: Clip, results: Sequence[TrackResult], keyframe_iou: float) -> JobResult:
    control = parse_label_config(spec.label_config).control
    work = spec.work
    regions = control.regions(
        results, clip, fps=work.fps, region_ids=work.region_ids, edits=work.edits, keyframe_iou=keyframe_iou
    )
    notes = tuple(f"{r.target.words or r.target.label}: {note}" for r in results for note in r.notes)
    for note in notes:
        log.info("%s, %s", spec.work.task, note)
    if not regions:
        said = "; ".join(dict.fromkeys(note for result in results for note in result.notes))
        raise PipelineError(f"nothing was found: {said or 'no object fits the words'}")
    prediction = build_prediction(regions, model_version=spec.model_version)
    prediction["result"] += control.clear_missing_masks(work.unedited_masks, regions)
    try:
        thumbnail = thumbnail_of(clip, results)
    except ReadingError as error:  # the answer is there; only its picture cannot be made
        log.warning("%s has no picture in the list of jobs: %s", spec.work.task, error)
        thumbnail = None
    return JobResult(dict(prediction), notes, thumbnail)


def thumbnail_of(clip: Clip, results: Sequence[TrackResult]) -> bytes:
    """A JPEG, 320 pixels wide, of the frame on which the first object that was found is surest, all boxes drawn."""
    import cv2

    from video.masks import decode

    found = next(r for r in results if r.track.visible.any())
    row = int((found.track.scores * found.track.visible).argmax())
    frame = int(found.track.frames[row])
    image = clip.frame(frame)
    scale = _THUMBNAIL_PX / image.shape[1]
    small = cv2.resize(image, (_THUMBNAIL_PX, max(1, round(image.shape[0] * scale))), interpolation=cv2.INTER_AREA)
    for result in results:
        at = int((result.track.frames == frame).argmax())
        if result.track.visible[at] and result.track.frames[at] == frame:
            mask = cv2.resize(decode(result.track.rles[at]).astype("uint8"), small.shape[1::-1])
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            small = cv2.drawContours(small.copy(), outlines, -1, (255, 214, 10), 2)
    ok, coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not ok:
        raise RuntimeError("OpenCV could not write a JPEG")
    return bytes(coded.tobytes())
