"""The whole way in one place: plan, ground, agree, choose, track, find again, and reduce to keyframes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend import __version__
from backend.anchors import Work, anchor_on_prompts, anchor_on_words, support
from backend.lost import Window, gaps_in_words, lost_windows, mask_at, patch, recognise
from backend.remembered import keep_heatmaps, remembered_heatmaps, start_key
from backend.targets import FramePrompt, PipelineError, PipelineOptions, Target, TrackResult
from video import masks
from video.consensus import consensus, link_frames
from video.keyframes import sparse_keyframes
from video.masks import Mask
from video.propagate import Start, propagate_all, tracker_name
from video.sampling import plan_frames
from video.tracking import FlowTrackerOptions
from video.types import Heatmap, MaskTrack, Prompt, Segmenter

if TYPE_CHECKING:
    from backend.jobs.memo import Memo
    from refam.grounder import Grounder
    from video.clip import Clip

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

    @property
    def model_version(self) -> str:
        """Names package version, backbone, segmenter and tracker. The backbone is `-` until words needed one."""
        backbone = self._grounder.name if self._grounder is not None else "-"
        return f"refam-{__version__}/{backbone}/{self._segmenter.name}/{tracker_name(self._segmenter)}"

    def run(
        self,
        clip: Clip,
        targets: Sequence[Target],
        *,
        progress: Progress | None = None,
        memo: Memo | None = None,
    ) -> list[TrackResult]:
        """One result per target, in their order.

        memo: where finished stages of this clip are kept and looked up; computed anew without it.

        A target that could not be found has a track that is visible nowhere, no keyframes, score 0, and a
        note that says why. Raises PipelineError with a sentence for people when that is so of every target,
        and for a prompt on a frame that the clip does not have.
        """
        if not targets:
            return []
        tell = progress or (lambda stage, fraction: None)
        _check_frames(clip, targets)
        works = [Work(target, memo=memo) for target in targets]
        self._listen(clip, [w for w in works if w.target.words], tell)
        tell("mask", 0.0)
        for i, work in enumerate(works):
            if work.why_not is None and work.target.prompts:
                anchor_on_prompts(clip, work, self._segmenter)
            elif work.why_not is None:
                anchor_on_words(clip, work, self._segmenter, least_score=self._options.least_score)
            tell("mask", (i + 1) / len(works))
        alive = [w for w in works if w.why_not is None]
        if not alive:
            raise PipelineError("; ".join(f"{w.target.label}: {w.why_not}" for w in works))
        self._follow(clip, alive, tell)
        return self._results(clip, works, tell)

    # --- words -> heatmaps -> consensus ----------------------------------------------------------------------------

    def _listen(self, clip: Clip, works: list[Work], tell: Progress) -> None:
        works = [w for w in works if self._understood(w)]
        if not works:
            return
        tell("decode", 0.0)
        planned = plan_frames(clip, count=self._options.planned_frames)
        frames = _frames(clip, planned)
        tell("decode", 1.0)
        heatmaps = self._ground(frames, planned.tolist(), works, tell)
        tell("consensus", 0.0)
        links = link_frames(clip, planned)
        for work, found in zip(works, heatmaps, strict=True):
            work.heard = consensus(found, links)
        tell("consensus", 1.0)

    def _understood(self, work: Work) -> bool:
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
        self, frames: list[NDArray[np.uint8]], indices: list[int], works: list[Work], tell: Progress
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

    # --- tracks ----------------------------------------------------------------------------------------------------

    def _follow(self, clip: Clip, works: list[Work], tell: Progress) -> None:
        rounds = self._options.rescues if any(w.heard for w in works) else 0
        share = 0.8 if rounds else 1.0
        tell("track", 0.0)
        self._track(clip, works, lambda f: tell("track", share * f))
        for n in range(rounds):
            found = self._search(clip, works)
            for i, (work, window, frame, mask) in enumerate(found):
                self._track_window(clip, work, window, frame, mask)
                tell("track", share + (1 - share) * (n + (i + 1) / len(found)) / rounds)
            if not found:
                break
        tell("track", 1.0)

    def _track(self, clip: Clip, works: list[Work], tell: Callable[[float], None]) -> None:
        window = (0, len(clip) - 1)
        tracks = self._propagate(clip, [(w, w.anchors) for w in works], window, tell)
        for work, track in zip(works, tracks, strict=True):
            work.track = track

    def _propagate(
        self,
        clip: Clip,
        anchored: Sequence[tuple[Work, dict[int, Mask]]],
        window: tuple[int, int],
        tell: Callable[[float], None] | None = None,
    ) -> list[MaskTrack]:
        """The tracks from these masks, out of the memo where they are known already."""
        starts = [Start(work.target.label, anchors) for work, anchors in anchored]
        memo, options = anchored[0][0].memo, self._tracking()
        key = (__version__, self._segmenter.name, options, window, *map(start_key, starts))
        tracks = memo.tracks(key) if memo else None
        if tracks is None:
            tracks = propagate_all(clip, starts, self._segmenter, window=window, options=options, progress=tell)
            if memo:
                memo.keep_tracks(key, tracks)
        return tracks

    def _tracking(self) -> FlowTrackerOptions:
        # A segmenter that is slow where it runs says how often it wants to be asked.
        return FlowTrackerOptions(refit_every=int(getattr(self._segmenter, "refit_every", 1)))

    def _search(self, clip: Clip, works: list[Work]) -> list[tuple[Work, Window, int, Mask]]:
        """Grounds the words again where their object was lost. One frame and mask for each window that paid off."""
        wanted = [
            (work, window)
            for work in works
            if work.heard is not None and work.track is not None and work.looks is not None
            for window in lost_windows(work.track)
        ]
        found = []
        for work, window in wanted:
            probes = window.probes()
            frames = _frames(clip, probes)
            heatmaps = self._ground(frames, probes, [work], lambda stage, fraction: None)[0]
            best: tuple[float, int, Mask] | None = None
            for image, heatmap in zip(frames, heatmaps, strict=True):
                if heatmap.grid.max() <= 0 or work.looks is None:
                    continue
                taken = [mask_at(o.track, heatmap.frame) for o in works if o is not work and o.track is not None]
                match = recognise(
                    image,
                    heatmap,
                    self._segmenter.segment(image, Prompt(prior=heatmap.grid), frame=heatmap.frame),
                    work.looks,
                    taken=[t for t in taken if t is not None],
                    least_confidence=0.5 * work.confidence,
                )
                if match is not None and (best is None or match[1] > best[0]):
                    best = (match[1], heatmap.frame, match[0])
            if best is not None:
                found.append((work, window, best[1], best[2]))
        return found

    def _track_window(self, clip: Clip, work: Work, window: Window, frame: int, mask: Mask) -> None:
        if work.track is None:
            raise RuntimeError("a window is lost from a track")
        again = self._propagate(clip, [(work, {frame: mask})], (window.first, window.last))[0]
        work.track = patch(work.track, again)

    # --- results ---------------------------------------------------------------------------------------------------

    def _results(self, clip: Clip, works: list[Work], tell: Progress) -> list[TrackResult]:
        tell("keyframes", 0.0)
        results = []
        for i, work in enumerate(works):
            results.append(self._result(clip, work))
            tell("keyframes", (i + 1) / len(works))
        return results

    def _result(self, clip: Clip, work: Work) -> TrackResult:
        if work.track is None:
            return TrackResult(
                work.target, _nowhere(clip, work.target.label), (), 0.0, 0, (work.why_not or "", *work.notes)
            )
        track = replace(work.track, scores=np.clip(work.track.scores, 0, 1))
        followed = float(track.scores[track.visible].mean()) if track.visible.any() else 0.0
        backing, where = support(work, track)
        score = float(np.clip(work.evidence * (0.4 + 0.6 * followed) * (0.5 + 0.5 * backing), 0, 1))
        keyframes = sparse_keyframes(track, clip.times, tolerance_iou=self._options.tolerance_iou)
        notes = [*work.notes, *where, *gaps_in_words(track, clip.times)]
        return TrackResult(work.target, track, tuple(keyframes), score, work.anchor, tuple(notes))


def _check_frames(clip: Clip, targets: Sequence[Target]) -> None:
    for target in targets:
        for prompt in target.prompts:
            if prompt.frame >= len(clip):
                raise PipelineError(
                    f"{target.label}: there is no frame {prompt.frame}; the video has frames 0 to {len(clip) - 1}"
                )


def _frames(clip: Clip, indices: Sequence[int] | NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    return [image for _, images in clip.batches([int(i) for i in indices]) for image in images]


def _nowhere(clip: Clip, label: str) -> MaskTrack:
    n = len(clip)
    return MaskTrack(
        label=label,
        size=clip.size,
        frames=np.arange(n, dtype=np.int64),
        rles=(masks.empty(clip.size),) * n,
        boxes=np.zeros((n, 4)),
        scores=np.zeros(n),
        visible=np.zeros(n, np.bool_),
    )
