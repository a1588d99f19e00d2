"""`refam calibrate`: reads a project's corrections, chooses settings by them, keeps what gained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from backend.feedback.calibrate import CalibrationReport, calibrate_settings
from backend.feedback.calibrated import save_calibrated
from backend.feedback.examples import Example, examples
from backend.feedback.project import FeedbackError
from backend.media.store import MediaError
from backend.runtime import Runtime
from backend.settings import Settings
from refam.pipeline.confidence import SCORE_MODELS_FILE, save_score_model
from refam.pipeline.types import model_version
from video.io.probe import ClipError
from video.io.reader import open_clip

if TYPE_CHECKING:
    from video.io.reader import Clip


def calibrate_project(settings: Settings, project: int, *, progress: Callable[[str, float], None]) -> Iterator[str]:
    """Says what it did, sentence by sentence. Raises FeedbackError, and the errors of settings and models."""
    runtime = Runtime(settings)
    known = examples(settings, project)
    with contextlib.ExitStack() as held:
        clips: dict[str, Clip | str] = {}

        def opened(example: Example) -> Clip | str:
            if example.video not in clips:
                try:
                    clips[example.video] = open_clip(held.enter_context(runtime.media.local_file(example.video)))
                except (MediaError, ClipError) as error:
                    clips[example.video] = f"task {example.task} is left out: {error}"
            return clips[example.video]

        usable = []
        for example in known:
            clip = opened(example)
            if isinstance(clip, str):
                yield clip
            else:
                usable.append(example)
        yield f"{len(usable)} corrected object(s) in {len({e.video for e in usable})} video(s)"
        used = runtime.keyframe_iou
        grounder, pipeline = runtime.grounder(), runtime.pipeline()
        report = calibrate_settings(
            grounder, pipeline, usable, lambda e: _clip(opened(e)), keyframe_iou=used, progress=progress
        )
    yield from _said(report)
    if not report.changed:
        yield "nothing gained on videos that it was not chosen by, so nothing was changed"
        return
    magnets = str(grounder.options.magnet_words)
    tuned = report.tuned(runtime.backbone_identity, project=project, magnets=magnets)
    backbone, segmenter = f"{runtime.backbone_identity}+{tuned.version}", runtime.segmenter_choice.version
    if report.need is not None:
        save_score_model(
            replace(report.need, made_with=f"{backbone}/{segmenter}"), settings.data_dir / SCORE_MODELS_FILE
        )
    path = save_calibrated(tuned, settings.data_dir)
    shown = model_version(backbone, segmenter, settings.quality.version_suffix)
    yield f"kept in {path}; start `refam serve` anew, connect and retrieve again: the version is now {shown}"


def _said(report: CalibrationReport) -> Iterator[str]:
    best, index = report.readings[report.reading.best], report.reading.index
    gain = f"{report.reading.gain.value:+.3f} ({report.reading.gain.low:+.3f} to {report.reading.gain.high:+.3f})"
    yield f"reading: {'now' if index else 'stays'} {report.readings[index]}"
    if index or report.reading.best:
        yield f"  best of {len(report.readings)} on all: {best}; choosing gains {gain} of the peaks on held-out videos"
    tolerance = report.tolerances[report.tolerance.index]
    yield f"keyframes: {'now' if report.tolerance.index else 'stay at'} IoU {tolerance}"
    if report.tolerance.best:
        saved = report.tolerance.gain
        tried = report.tolerances[report.tolerance.best]
        yield f"  best on all: {tried}; choosing saves {saved.value:+.2f} strokes an object on held-out videos"
    yield report.why


def _clip(found: Clip | str) -> Clip:
    if isinstance(found, str):
        raise FeedbackError(found)
    return found
