"""The pipeline from a clip and targets to tracks.

plan frames -> ground the words in them -> fuse the heatmaps over time -> find anchors -> track, redetect what was lost
-> reduce to keyframes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from refam.pipeline.anchors import find_anchors
from refam.pipeline.confidence import ScoreModel, load_score_model, raw_score, track_features
from refam.pipeline.doubts import describe_doubts
from refam.pipeline.errors import NotFoundError
from refam.pipeline.instances import find_instances, merge_same_objects
from refam.pipeline.preview import Preview, map_previews_to_clip, preview_results
from refam.pipeline.recovery import Redetector, describe_gaps
from refam.pipeline.roi import (
    RegionOfInterest,
    describe_read_errors,
    link_readable_frames,
    map_results_to_clip,
    map_targets_to_view,
    read_planned_frames,
    whole_times,
)
from refam.pipeline.segments import SegmentTracker
from refam.pipeline.stages import Progress, Stage, ignore_progress
from refam.pipeline.state import ObjectState
from refam.pipeline.tracks import apply_prompt_boxes, empty_track
from refam.pipeline.types import (
    FramePrompt,
    PipelineError,
    PipelineOptions,
    Target,
    TrackResult,
    model_version,
)
from refam.pipeline.word_anchors import measure_word_support
from refam.pipeline.word_grounder import WordGrounder
from video.heatmap_fusion import FusedHeatmaps, contrast_heatmaps, fuse_heatmaps
from video.io.probe import ReadingError
from video.keyframes import make_keyframes
from video.tracking.box_smoothing import remove_outlier_boxes, smooth_boxes
from video.tracking.expected_iou import expect_ious
from video.tracking.propagate import tracker_name
from video.types import Segmenter

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.grounder_group import GrounderGroup
    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip

__all__ = ["FramePrompt", "Pipeline", "PipelineError", "PipelineOptions", "Target", "TrackResult", "run_in_region"]


class Pipeline:
    """Finds and tracks targets in clips. Holds the models; one call of `run` at a time.

    Args:
        segmenter: What outlines objects; it also decides which tracker is used.
        grounder: Loads what grounds words, when words first need it. Without it, targets need prompts.
        options: What may be tuned.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        grounder: Callable[[], Grounder | GrounderGroup] | None = None,
        options: PipelineOptions | None = None,
    ) -> None:
        self._segmenter = segmenter
        self._words = WordGrounder(grounder)
        self._options = options or PipelineOptions()
        self._score_models: dict[str, ScoreModel | None] = {}

    @property
    def segmenter(self) -> Segmenter:
        """What outlines objects."""
        return self._segmenter

    @property
    def made_with(self) -> str:
        """The model version without the package's: backbone, segmenter and tracker."""
        return self._made_with(self._words.name)

    @property
    def model_version(self) -> str:
        """Package version, backbone, segmenter and tracker. The backbone is `-` until words needed one."""
        return model_version(self._words.name, f"{self._segmenter.name}/{tracker_name(self._segmenter)}")

    def _made_with(self, backbone: str) -> str:
        return f"{backbone}/{self._segmenter.name}/{tracker_name(self._segmenter)}"

    def run(
        self,
        clip: Clip,
        targets: Sequence[Target],
        *,
        progress: Progress | None = None,
        cache: StageCache | None = None,
        preview: Preview | None = None,
    ) -> list[TrackResult]:
        """Find and track targets.

        Args:
            clip: The video.
            targets: The objects to find.
            progress: Called with the stage's name and its finished fraction.
            cache: Where finished stages of this clip are stored and looked up.
            preview: Called once before tracking, with what is known by then; see `refam.pipeline.preview`.

        Returns:
            One result per target, in their order; of words that mean several objects ("the two dogs", "every person")
            one for each that was found, numbered from left to right (`TrackResult.instance`). A target that could not
            be found has a track that is visible nowhere, no keyframes, score 0, and a note that says why; so has one
            that means an object of an earlier target. If the clip cannot be read to its end, the results
            hold what is known until there, and say so in `read_errors`.

        Raises:
            PipelineError: If no target could be found, and for a prompt on a frame that the clip does not have.
            ReadingError: If nothing could be read.
        """
        if not targets:
            return []
        progress = progress or ignore_progress
        _check_prompt_frames(clip, targets)
        states = [ObjectState(target, cache=cache) for target in targets]
        self._ground_words(clip, [state for state in states if state.target.words], progress)
        objects: list[ObjectState] = []
        for i, state in enumerate(states):

            def mask_progress(share: float, done: int = i) -> None:
                progress(Stage.MASK, (done + share) / len(states))

            mask_progress(0.0)
            if state.failure is not None:
                objects.append(state)
            elif state.means_several and state.consensus is not None:
                objects += find_instances(clip, state, self._segmenter, options=self._options, progress=mask_progress)
            else:
                find_anchors(clip, state, self._segmenter, options=self._options, progress=mask_progress)
                objects.append(state)
        states = merge_same_objects(objects)
        progress(Stage.MASK, 1.0)
        found = [state for state in states if state.failure is None]
        if not found:
            _raise_read_error(states)
            guess = next((state.guess for state in states if state.guess is not None), None)
            raise NotFoundError("; ".join(map(_describe_failure, states)), guess=guess)
        if preview is not None:
            preview(preview_results(clip, states))
        redetector = Redetector(clip, self._segmenter, self._words)
        tracker = SegmentTracker(
            clip,
            self._segmenter,
            redetector,
            options=self._options,
            progress=lambda fraction: progress(Stage.TRACK, fraction),
        )
        tracker.track(found)
        redetector.note_missed()
        if not any(state.track.visible.any() for state in found if state.track is not None):
            _raise_read_error(found)
        return self._results(clip, states, progress)

    # --- words -> heatmaps -> consensus ----------------------------------------------------------------------------

    def _ground_words(self, clip: Clip, states: list[ObjectState], progress: Progress) -> None:
        """Give each state the fused heatmaps of its words."""
        states = [state for state in states if self._words.check_words(state)]
        if not states:
            return
        progress(Stage.DECODE, 0.0)
        read_errors: list[ReadingError] = []
        try:
            clip, planned, frames = read_planned_frames(
                clip, count=self._options.grounded_frames, read_errors=read_errors
            )
        except ReadingError as error:
            for state in states:
                state.read_errors.append(error)
                state.failure = None if state.target.prompts else str(error)
            return
        progress(Stage.DECODE, 1.0)
        heatmaps = self._words.ground(frames, planned.tolist(), states, progress)
        progress(Stage.CONSENSUS, 0.0)
        links = link_readable_frames(clip, planned, read_errors)
        fused = [fuse_heatmaps(row[: len(links) + 1], links) for row in heatmaps]
        by_model: dict[str, list[tuple[ObjectState, FusedHeatmaps]]] = {}
        for state, consensus in zip(states, fused, strict=True):
            by_model.setdefault(self._words.name_for(state.target.words), []).append((state, consensus))
        for found in by_model.values():  # heatmaps of different models cannot be compared
            contrasted = contrast_heatmaps([consensus.heatmaps for _, consensus in found])
            for (state, consensus), row in zip(found, contrasted, strict=True):
                state.consensus = replace(consensus, heatmaps=tuple(row))
                state.read_errors += read_errors
        progress(Stage.CONSENSUS, 1.0)

    # --- results ---------------------------------------------------------------------------------------------------

    def _results(self, clip: Clip, states: list[ObjectState], progress: Progress) -> list[TrackResult]:
        progress(Stage.KEYFRAMES, 0.0)
        results = []
        for i, state in enumerate(states):
            results.append(self._result(clip, state))
            progress(Stage.KEYFRAMES, (i + 1) / len(states))
        return results

    def _result(self, clip: Clip, state: ObjectState) -> TrackResult:
        read_errors = tuple(dict.fromkeys(map(str, state.read_errors)))
        if state.track is None:
            notes = (state.failure or "", *state.notes)
            nowhere = empty_track(clip, state.target.label)
            return TrackResult(
                state.target, nowhere, (), 0.0, 0, notes, read_errors=read_errors, instance=state.instance
            )
        track = replace(state.track, scores=np.clip(state.track.scores, 0, 1))
        backing, disagreements, word_notes = measure_word_support(state, track)
        features = track_features(state, track, backing=backing)
        score_model = self._score_model(state)
        presence = 1.0 if state.target.prompts else state.presence
        score = presence * (raw_score(features) if score_model is None else score_model(features))
        score = state.limit_score(score)
        keyframe_iou, drawn = self._options.keyframe_iou, {*state.prompt_anchors, *state.prompt_boxes}
        keep = {*drawn, *state.word_anchors}
        boxes = remove_outlier_boxes(track.boxes, track.visible, clip.times, tolerance_iou=keyframe_iou, keep=keep)
        boxes = smooth_boxes(boxes, track.visible, clip.times, keep=keep)
        known = {*state.prompt_anchors, *state.word_anchors}
        scores = expect_ious(track, known=known, tracker=tracker_name(self._segmenter))
        track = apply_prompt_boxes(state, replace(track, boxes=boxes, scores=scores.clip(max=state.max_score)))
        keyframes = make_keyframes(track, clip.times, tolerance_iou=keyframe_iou, must=tuple(state.prompt_anchors))
        sentences = [
            *describe_read_errors(state.read_errors),
            *state.notes,
            *word_notes,
            *describe_gaps(track, clip.times, whole_times=whole_times(clip)),
            *describe_doubts(track, clip.times),
        ]
        return TrackResult(
            state.target,
            track,
            tuple(keyframes),
            score,
            state.anchor_frame,
            tuple(sentences),
            features | {"presence": presence},
            read_errors=read_errors,
            disagreements=tuple(disagreements),
            instance=state.instance,
        )

    def _score_model(self, state: ObjectState) -> ScoreModel | None:
        """Return the score model; None if none was fitted for these models, or a person drew the object."""
        if state.consensus is None or state.prompt_anchors:
            return None
        made_with = self._made_with(self._words.name_for(state.target.words))
        if made_with not in self._score_models:  # read once, so that scores keep their meaning while we serve
            self._score_models[made_with] = load_score_model(made_with, self._options.score_model_dir)
        return self._score_models[made_with]


def run_in_region(
    pipeline: Pipeline,
    clip: Clip,
    targets: Sequence[Target],
    region: RegionOfInterest,
    *,
    progress: Progress | None = None,
    cache: StageCache | None = None,
    preview: Preview | None = None,
) -> list[TrackResult]:
    """Run the pipeline on a region of interest.

    Args:
        pipeline: The pipeline.
        clip: The whole video.
        targets: The objects to find; prompts on the whole clip's frames.
        region: The frames to look at, and their size.
        progress: Called with the stage's name and its finished fraction.
        cache: Where finished stages of this region of this clip are stored and looked up.
        preview: See `Pipeline.run`; on the region's frames of the whole clip, in its size.

    Returns:
        The results, see `Pipeline.run`, on the whole clip's frames and in its size.

    Raises:
        PromptError: For a region or a prompt that does not fit the clip.
        PipelineError: If no target could be found.
        ReadingError: If nothing could be read.
    """
    view = region.view(clip, targets)
    early = None if preview is None else lambda previews: preview(map_previews_to_clip(previews, view))
    results = pipeline.run(view, map_targets_to_view(view, targets), progress=progress, cache=cache, preview=early)
    return map_results_to_clip(results, view, targets)


def _check_prompt_frames(clip: Clip, targets: Sequence[Target]) -> None:
    """Raise PipelineError for a prompt on a frame that the clip does not have."""
    for target in targets:
        for prompt in target.prompts:
            if prompt.frame >= len(clip):
                raise PipelineError(
                    f"{target.label}: there is no frame {prompt.frame}; the video has frames 0 to {len(clip) - 1}"
                )


def _describe_failure(state: ObjectState) -> str:
    """Say of an object why it was not found, and what is to be known of how its words were read."""
    return f"{state.target.label}: {'; '.join([state.failure or '', *state.notes])}"


def _raise_read_error(states: Sequence[ObjectState]) -> None:
    """Raise the first reading error, if there is one: it explains why nothing was found."""
    for state in states:
        if state.read_errors:
            raise state.read_errors[0]
