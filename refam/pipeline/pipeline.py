"""The whole way in one place: plan, ground, agree, choose, track, find again, and reduce to keyframes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.anchors import ObjectState, find_anchors, support
from refam.pipeline.confidence import ScoreModel, need_for, raw_score, signs_of
from refam.pipeline.recovery import Redetector, gaps_in_words
from refam.pipeline.roi import links_between, planned_frames, told
from refam.pipeline.segments import SegmentTracker
from refam.pipeline.stage_cache import keep_heatmaps, remembered_heatmaps
from refam.pipeline.tracks import empty_track, hold_boxes
from refam.pipeline.types import FramePrompt, PipelineError, PipelineOptions, Target, TrackResult, model_version
from video.heatmap_fusion import contrast_heatmaps, fuse_heatmaps
from video.io.probe import ReadingError
from video.keyframes import sparse_keyframes
from video.tracking.postprocess import calibrate_scores, remove_outlier_boxes
from video.tracking.propagate import tracker_name
from video.types import Heatmap, Segmenter

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip

__all__ = ["FramePrompt", "Pipeline", "PipelineError", "PipelineOptions", "Target", "TrackResult"]

Progress = Callable[[str, float], None]
_AT_ONCE = 4  # frames grounded between two signs of progress
STAGES = ("decode", "ground", "consensus", "mask", "track", "keyframes")


class Pipeline:
    """Words and prompts in, tracks out. Holds the models; one call of `run` at a time."""

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        grounder: Callable[[], Grounder] | None = None,
        options: PipelineOptions | None = None,
    ) -> None:
        self._segmenter = segmenter
        self._load_grounder = grounder
        self._options = options or PipelineOptions()
        self._grounder: Grounder | None = None
        self._needs: dict[str, ScoreModel | None] = {}

    @property
    def made_with(self) -> str:
        """The model version without the package's: backbone, segmenter and tracker."""
        return self.model_version.partition("/")[2]

    @property
    def model_version(self) -> str:
        """Names package version, backbone, segmenter and tracker. The backbone is `-` until words needed one."""
        backbone = self._grounder.name if self._grounder is not None else "-"
        return model_version(backbone, f"{self._segmenter.name}/{tracker_name(self._segmenter)}")

    def run(
        self,
        clip: Clip,
        targets: Sequence[Target],
        *,
        progress: Progress | None = None,
        memo: StageCache | None = None,
    ) -> list[TrackResult]:
        """One result per target, in their order.

        memo: where finished stages of this clip are kept and looked up; computed anew without it.

        A target that could not be found has a track that is visible nowhere, no keyframes, score 0, and a
        note that says why. Raises PipelineError with a sentence for people when that is so of every target,
        and for a prompt on a frame that the clip does not have. Where the clip cannot be read any more on the way, what
        is known until then is the result, and its `stopped` says where; ReadingError when that leaves nothing.
        """
        if not targets:
            return []
        tell = progress or (lambda stage, fraction: None)
        _check_frames(clip, targets)
        works = [ObjectState(target, memo=memo) for target in targets]
        self._listen(clip, [w for w in works if w.target.words], tell)
        tell("mask", 0.0)
        for i, work in enumerate(works):
            if work.why_not is None:
                find_anchors(clip, work, self._segmenter, least_score=self._options.least_score)
            tell("mask", (i + 1) / len(works))
        alive = [w for w in works if w.why_not is None]
        if not alive:
            _check_read(works)
            raise PipelineError("; ".join(f"{w.target.label}: {w.why_not}" for w in works))
        searcher = Redetector(clip, self._segmenter, self._again)
        follower = SegmentTracker(
            clip, self._segmenter, searcher, options=self._options, tell=lambda fraction: tell("track", fraction)
        )
        follower.follow(alive)
        if not any(w.track.visible.any() for w in alive if w.track is not None):
            _check_read(alive)
        return self._results(clip, works, tell)

    # --- words -> heatmaps -> consensus ----------------------------------------------------------------------------

    def _listen(self, clip: Clip, works: list[ObjectState], tell: Progress) -> None:
        works = [w for w in works if self._understood(w)]
        if not works:
            return
        tell("decode", 0.0)
        stops: list[ReadingError] = []
        try:
            clip, planned, frames = planned_frames(clip, count=self._options.planned_frames, stops=stops)
        except ReadingError as error:
            for work in works:
                work.stops.append(error)
                work.why_not = None if work.target.prompts else str(error)
            return
        tell("decode", 1.0)
        heatmaps = self._ground(frames, planned.tolist(), works, tell)
        tell("consensus", 0.0)
        links = links_between(clip, planned, stops)
        agreed = [fuse_heatmaps(found[: len(links) + 1], links) for found in heatmaps]
        for work, one, maps in zip(works, agreed, contrast_heatmaps([a.heatmaps for a in agreed]), strict=True):
            work.heard = replace(one, heatmaps=tuple(maps))
            work.stops += stops
        tell("consensus", 1.0)

    def _understood(self, work: ObjectState) -> bool:
        """Whether the words can be read at all; notes the ones that the model does not know."""
        words = work.target.words or ""
        try:
            unknown = self._words_model().unknown_words(words)
        except ValueError as error:  # GroundingError: the sentence is the answer
            if not work.target.prompts:
                work.why_not = str(error)
            else:
                work.notes.append(f"the words were not used: {error}")
            return False
        work.notes += [f"the model does not know the word {word!r}" for word in unknown]
        return True

    def _words_model(self) -> Grounder:
        if self._grounder is None:
            if self._load_grounder is None:
                raise PipelineError("this pipeline was made without a model for words: give a point or a box")
            self._grounder = self._load_grounder()
        return self._grounder

    def _ground(
        self, frames: list[NDArray[np.uint8]], indices: list[int], works: list[ObjectState], tell: Progress
    ) -> list[list[Heatmap]]:
        """[work][frame]. A few frames at a time, so that progress can be told and memory stays bounded."""
        model = self._words_model()
        found: list[list[Heatmap]] = [[] for _ in works]
        tell("ground", 0.0)
        for first in range(0, len(frames), _AT_ONCE):
            part, some = frames[first : first + _AT_ONCE], indices[first : first + _AT_ONCE]
            kept = [remembered_heatmaps(work, model, some) for work in works]
            missing = [work for work, have in zip(works, kept, strict=True) if have is None]
            new = iter(model.ground(part, [w.target.words or "" for w in missing], indices=some) if missing else [])
            for work, have, row in zip(works, kept, found, strict=True):
                row += have if have is not None else keep_heatmaps(work, model, some, next(new))
                work.notes += [n for n in getattr(model, "notes", ()) if n not in work.notes]
            tell("ground", min(1.0, (first + _AT_ONCE) / len(frames)))
        return found

    def _again(self, frames: list[NDArray[np.uint8]], indices: list[int], work: ObjectState) -> list[Heatmap]:
        """The words of one target on further frames."""
        return self._ground(frames, indices, [work], lambda stage, fraction: None)[0]

    # --- results ---------------------------------------------------------------------------------------------------

    def _results(self, clip: Clip, works: list[ObjectState], tell: Progress) -> list[TrackResult]:
        tell("keyframes", 0.0)
        results = []
        for i, work in enumerate(works):
            results.append(self._result(clip, work))
            tell("keyframes", (i + 1) / len(works))
        return results

    def _result(self, clip: Clip, work: ObjectState) -> TrackResult:
        stopped = tuple(dict.fromkeys(map(str, work.stops)))
        if work.track is None:
            reasons = (work.why_not or "", *work.notes)
            return TrackResult(work.target, empty_track(clip, work.target.label), (), 0.0, 0, reasons, stopped=stopped)
        track = replace(work.track, scores=np.clip(work.track.scores, 0, 1))
        backing, elsewhere, where = support(work, track)
        signs = signs_of(work, track, backing=backing)
        need = self._need(work)
        score = raw_score(signs) if need is None else need(signs)
        tolerance, drawn = self._options.tolerance_iou, {*work.drawn, *work.boxes}
        calm = remove_outlier_boxes(
            track.boxes, track.visible, clip.times, tolerance_iou=tolerance, keep={*drawn, *work.anchors}
        )
        meant = calibrate_scores(track.scores, tracker_name(self._segmenter))
        track = hold_boxes(work, replace(track, boxes=calm, scores=meant))
        keyframes = sparse_keyframes(track, clip.times, tolerance_iou=tolerance, must=tuple(work.drawn))
        notes = [*told(work.stops), *work.notes, *where, *gaps_in_words(track, clip.times)]
        return TrackResult(
            work.target,
            track,
            tuple(keyframes),
            score,
            work.anchor,
            tuple(notes),
            signs,
            stopped=stopped,
            elsewhere=tuple(elsewhere),
        )

    def _need(self, work: ObjectState) -> ScoreModel | None:
        """What makes a calibrated score; None where none was fitted for these models, or a person drew the object."""
        if work.heard is None or work.drawn:
            return None
        if self.made_with not in self._needs:  # read once: what a score means must not change while we serve
            self._needs[self.made_with] = need_for(self.made_with, self._options.needs)
        return self._needs[self.made_with]


def _check_frames(clip: Clip, targets: Sequence[Target]) -> None:
    for target in targets:
        for prompt in target.prompts:
            if prompt.frame >= len(clip):
                raise PipelineError(
                    f"{target.label}: there is no frame {prompt.frame}; the video has frames 0 to {len(clip) - 1}"
                )


def _check_read(works: Sequence[ObjectState]) -> None:
    """Raises what went wrong with reading: of nothing that could be read, nothing is said."""
    for work in works:
        if work.stops:
            raise work.stops[0]
