"""`refam calibrate`: choose the method's own settings by a project's corrections, and save what gains."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import exit_code, one_line_errors, steps
from backend.cli.console import out as stdout
from video.errors import UserError

if TYPE_CHECKING:
    from backend.feedback.calibrate import CalibrationReport
    from backend.feedback.project import CorrectedObject
    from backend.settings import Settings
    from refam.grounder import Grounder
    from refam.grounder_group import GrounderGroup
    from video.io.reader import Clip


@dataclass
class TaskTally:
    """The tasks that settings are chosen by, and a sentence for each that cannot be used."""

    used: set[int] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)


def calibrate(
    *,
    project: Annotated[int | None, typer.Option(min=1, help="The project whose annotations are learnt from.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Go back to the settings that ship.")] = False,
) -> None:
    """Choose the method's own settings by what people corrected; no weights are trained.

    Blocks, noise level and magnets, the keyframes' tolerance and the meaning of the score, each by cross-validation
    over videos: what does not gain on videos that it was not chosen by stays as it is. The model version changes with
    the settings, so retrieving predictions again shows the gain. A task whose annotation is malformed or whose video is
    missing costs only itself; the exit code is 3 then.
    """
    if project is None and not forget:
        raise typer.BadParameter("name the project to learn from", param_hint="--project")
    tally = TaskTally()
    with one_line_errors(), steps() as step:
        from backend.feedback.calibrated_settings import FILE_NAME
        from backend.settings import load_settings
        from refam.pipeline.confidence import SCORE_MODELS_FILE

        settings = load_settings()
        if forget:
            for name in (FILE_NAME, SCORE_MODELS_FILE):
                (settings.data_dir / name).unlink(missing_ok=True)
            stdout.print("the settings that ship are used from the next start on")
            raise typer.Exit(0)
        assert project is not None
        try:
            for sentence in calibrate_project(settings, project, tally, progress=step):
                stdout.print(sentence, markup=False, soft_wrap=True)
        except UserError:
            exit_code(tally.left_out, done=0, of="tasks")  # says why there may be too few
            raise
    raise typer.Exit(exit_code(tally.left_out, done=len(tally.used), of="tasks"))


def calibrate_project(
    settings: Settings, project: int, tally: TaskTally, *, progress: Callable[[str, float], None]
) -> Iterator[str]:
    """Read a project's corrections, choose settings by them, and save those that gain.

    Args:
        settings: The data directory, the models, and how to reach Label Studio.
        project: The project's number.
        tally: Gets the tasks that are used and those that are left out.
        progress: Called with the stage and how much of it is done.

    Yields:
        Sentences that say what was done.

    Raises:
        FeedbackError: If the project cannot be read or its corrections are not enough; settings and models raise
            errors of their own.
    """
    from backend.feedback.project import read_corrected_objects

    corrected = read_corrected_objects(settings, project, skipped=tally.left_out)  # before the models are imported
    from backend.feedback.calibrate import calibrate_settings
    from backend.feedback.calibrated_settings import save_calibrated
    from backend.media.store import MediaError
    from backend.runtime import Runtime
    from refam.pipeline.confidence import SCORE_MODELS_FILE, save_score_model
    from refam.pipeline.types import model_version
    from video.io.probe import ClipError
    from video.io.reader import open_clip

    runtime = Runtime(settings)
    with contextlib.ExitStack() as files:
        clips: dict[str, Clip] = {}
        errors: dict[str, UserError] = {}
        usable: list[CorrectedObject] = []
        for item in corrected:
            if item.video not in clips and item.video not in errors:
                try:
                    clip = open_clip(files.enter_context(runtime.media.local_file(item.video, task_id=item.task)))
                    clip.frame(len(clip) - 1)
                    clips[item.video] = clip
                except (MediaError, ClipError) as error:
                    errors[item.video] = error
            if item.video not in errors:
                usable.append(item)
            elif (text := f"task {item.task}: {errors[item.video]}") not in tally.left_out:
                tally.left_out.append(text)
        tally.used |= {item.task for item in usable}
        yield f"{len(usable)} corrected object(s) in {len({item.video for item in usable})} video(s)"
        keyframe_iou = runtime.keyframe_iou
        grounder, usable, others = _choose_grounder(runtime.grounder(), usable)
        if others:
            yield f"{others} object(s) are left out: their words are read by another model than {grounder.name}"
        backbone_identity, pipeline = grounder.name.partition("+")[0], runtime.pipeline()
        report = calibrate_settings(
            grounder, pipeline, usable, lambda item: clips[item.video], keyframe_iou=keyframe_iou, progress=progress
        )
    yield from _describe(report)
    if not report.changed:
        yield "nothing gained on videos that it was not chosen by, so nothing was changed"
        return
    magnets, reading = str(grounder.options.magnet_words), settings.reading_options().version_suffix
    calibrated = report.to_settings(backbone_identity, project=project, magnets=magnets)
    segmenter = runtime.segmenter_choice.version
    if report.score_model is not None:
        model = replace(report.score_model, made_with=f"{backbone_identity}{reading}+{calibrated.version}/{segmenter}")
        save_score_model(model, settings.data_dir / SCORE_MODELS_FILE)
    path = save_calibrated(calibrated, settings.data_dir)
    backbone = f"{runtime.backbone_identity}{reading}+{calibrated.version}"
    version = model_version(backbone, segmenter, settings.quality.version_suffix)
    yield f"kept in {path}; start `refam serve` anew, connect and retrieve again: the version is now {version}"


def _choose_grounder(
    grounder: Grounder | GrounderGroup, corrected: Sequence[CorrectedObject]
) -> tuple[Grounder, list[CorrectedObject], int]:
    """Of a group, choose the member that reads most objects' words; return it, those objects, and how many others."""
    from backend.feedback.project import FeedbackError
    from refam.text.expression import ExpressionError

    readers: list[Grounder | None] = []
    for item in corrected:
        try:
            readers.append(grounder.for_words(item.words))
        except ExpressionError:  # words that no member knows
            readers.append(None)
    known = [reader for reader in readers if reader is not None]
    if not known:
        raise FeedbackError("no corrected object has words that the models in use know")
    chosen = max(known, key=lambda reader: sum(other is reader for other in known))
    usable = [item for item, reader in zip(corrected, readers, strict=True) if reader is chosen]
    return chosen, usable, len(corrected) - len(usable)


def _describe(report: CalibrationReport) -> Iterator[str]:
    best, index = report.readings[report.reading.best], report.reading.index
    gain = f"{report.reading.gain.value:+.3f} ({report.reading.gain.low:+.3f} to {report.reading.gain.high:+.3f})"
    yield f"reading: {'now' if index else 'stays'} {report.readings[index]}"
    if index or report.reading.best:
        yield f"  best of {len(report.readings)} on all: {best}; choosing gains {gain} of the peaks on held-out videos"
    tolerance = report.tolerances[report.tolerance.index]
    yield f"keyframes: {'now' if report.tolerance.index else 'stay at'} IoU {tolerance}"
    if report.tolerance.best:
        saved = report.tolerance.gain
        best_tolerance = report.tolerances[report.tolerance.best]
        yield f"  best on all: {best_tolerance}; choosing saves {saved.value:+.2f} strokes an object on held-out videos"
    yield report.score_outcome
