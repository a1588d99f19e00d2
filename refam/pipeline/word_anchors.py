"""Anchors on words: the grounded frame whose mask fits the words best.

A mask on one frame may hold a neighbour too, where the two touch; so masks are ranked by how certain the words are on
their frame and by how much heat lies under them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.heatmap_regions import find_instance_regions
from refam.pipeline.candidate_tracks import CandidateTrack, follow_candidates
from refam.pipeline.concepts import ConceptSearch, describe_unasked
from refam.pipeline.roi import frame_of_video
from refam.pipeline.state import GroundedMask, ObjectState
from refam.pipeline.tracks import mask_at
from refam.pipeline.types import PipelineOptions
from video import masks
from video.heatmap_fusion import FusedHeatmaps, anchor_scores
from video.io.probe import ReadingError
from video.tracking.appearance import ColorModel
from video.types import Heatmap, MaskTrack, Rle, Segmenter

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip

_RIVAL_RATIO = 0.7  # of two candidates' ranks: from it on either may be meant
_GROUNDING_SHARE = 0.7  # of the time that anchors on words take; following the candidates takes the rest


def anchor_on_words(
    clip: Clip,
    state: ObjectState,
    segmenter: Segmenter,
    *,
    options: PipelineOptions,
    progress: Callable[[float], object] | None = None,
) -> None:
    """Anchor the object on a grounded mask with enough evidence, of the thing whose track agrees best with the words.

    There is none where the video does not bear out the words. The arguments are those of `find_anchors`.
    """
    if state.consensus is None:
        raise RuntimeError("an anchor on words needs heatmaps")
    if not is_in_clip(clip, state, options=options):
        return
    search = ConceptSearch.of(segmenter, state.target.words, cache=state.cache)

    def report(share: float, *, first: float, last: float) -> None:
        if progress is not None:
            progress(first + (last - first) * share)

    ranked = ground_masks(
        clip,
        state.consensus,
        segmenter,
        search=search,
        read_errors=state.read_errors,
        cache=state.cache,
        progress=functools.partial(report, first=0.0, last=_GROUNDING_SHARE),
    )
    state.notes += search.describe_missed() if search else describe_unasked(segmenter, state.target.words)
    ranked = [one for one in ranked if one.evidence >= options.min_evidence]
    if not ranked:
        state.failure = f"nothing in this video stands out for the words {state.target.words!r}"
        return
    candidates = follow_candidates(
        clip,
        state.consensus.heatmaps,
        ranked,
        segmenter,
        most=options.candidate_tracks,
        cache=state.cache,
        progress=functools.partial(report, first=_GROUNDING_SHARE, last=1.0),
    )
    if candidates:
        meant = candidates[0].grounded
        ranked = [*meant, *(one for one in ranked if all(one is not other for other in meant))]
        _note_rival(clip, state, candidates)
    _anchor_on(clip, state, ranked)


def _anchor_on(clip: Clip, state: ObjectState, ranked: Sequence[GroundedMask]) -> None:
    """Store the first mask as the anchor, with a note if it is in pieces."""
    best = ranked[0]
    state.word_anchors, state.grounded_masks = {best.frame: best.mask}, tuple(ranked)
    state.anchor_frame, state.evidence = best.frame, best.evidence
    state.confidence, state.appearance = best.heatmap.confidence, best.appearance
    count = masks.similar_parts(best.mask)
    if count > 1 and not state.target.prompts:  # which say already what is meant
        state.notes.append(
            f"the mask of frame {frame_of_video(clip, best.frame)} is in {count} pieces: if they are parts of one "
            "thing, a point on it outlines all of it"
        )


def _note_rival(clip: Clip, state: ObjectState, candidates: Sequence[CandidateTrack]) -> None:
    """Say that the words fit another thing nearly as well, if there is one, and lower the object's score."""
    best = candidates[0]
    rival = next((one for one in candidates[1:] if not one.is_part_of(best)), None)
    if rival is None or best.rank <= 0 or rival.rank < _RIVAL_RATIO * best.rank:
        return
    state.rival_ratio = rival.rank / best.rank
    box = masks.box_of(rival.grounded[0].mask)
    if box is not None and not state.target.prompts:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        state.notes.append(
            f"the words fit another thing nearly as well, {x:.0%} from the left and {y:.0%} from the top of frame "
            f"{frame_of_video(clip, rival.grounded[0].frame)}: if that one is meant, put a point on it"
        )


def is_in_clip(clip: Clip, state: ObjectState, *, options: PipelineOptions) -> bool:
    """Return whether the video bears out the words at all; otherwise the state gets a failure that says so.

    Args:
        clip: The video.
        state: The object's, with its heatmaps; gets the probability, where that is known.
        options: Say how likely the object must be.
    """
    judged = presence_in_clip(state.consensus.heatmaps) if state.consensus is not None else None
    if judged is None:
        return True
    state.presence, guess = judged
    if state.presence < options.min_presence:
        state.failure = describe_absence(clip, state.target.words or "", state.presence, guess)
        state.guess = (*guess.peak, frame_of_video(clip, guess.frame))
    return state.failure is None


def presence_in_clip(heatmaps: Sequence[Heatmap]) -> tuple[float, Heatmap] | None:
    """Return how likely a clip shows what was asked for, and the heatmap of the frame that most likely does.

    The probability is the mean of the half of the frames that most likely show it: in the others it may be hidden. (On
    15 drawn clips of seed 7 the AUROC by colours and shapes is then .992, with the maximum .992, with the mean .994; of
    objects that are there none is below .2, of those that are not 91 %, by the maximum 87 %.)

    Returns:
        None where nothing is known of the frames.
    """
    known = [(h.presence.probability, h) for h in heatmaps if h.presence is not None]
    if not known:
        return None
    likeliest = sorted(known, key=lambda pair: -pair[0])[: (len(known) + 1) // 2]
    return float(np.mean([probability for probability, _ in likeliest])), likeliest[0][1]


def describe_absence(clip: Clip, words: str, probability: float, guess: Heatmap) -> str:
    """Say that the words are not borne out, which of them least, and where the nearest guess is.

    Args:
        clip: The video.
        words: What was asked for.
        probability: That the video shows it.
        guess: The heatmap of the frame that most likely shows it.
    """
    x, y = guess.peak
    doubt = f"{guess.presence.weakest!r} fits least; " if guess.presence and len(words.split()) > 1 else ""
    return (
        f"nothing in this video is {words!r}: {doubt}the nearest guess is {x:.0%} from the left and {y:.0%} from the "
        f"top of frame {frame_of_video(clip, guess.frame)} (score {probability:.2f})"
    )


def ground_masks(
    clip: Clip,
    consensus: FusedHeatmaps,
    segmenter: Segmenter,
    *,
    search: ConceptSearch | None = None,
    read_errors: list[ReadingError] | None = None,
    cache: StageCache | None = None,
    progress: Callable[[float], object] | None = None,
) -> list[GroundedMask]:
    """Outline on each grounded frame the instance that the words mean, or what its heatmap as the prompt leads to.

    Args:
        clip: The video.
        consensus: The heatmaps of the grounded frames.
        segmenter: What turns a heatmap into a mask.
        search: Finds instances of what the words name; without it, and where it finds none, the heatmap is the prompt.
        read_errors: Collects the errors of frames that cannot be read; those frames are left out.
        cache: Where the masks are stored and looked up.
        progress: Is called with the share of the frames that are done, in [0, 1].

    Returns:
        One mask for each frame on which one is found, the best anchor first.

    Raises:
        ReadingError: Without `read_errors`, for a frame that cannot be read.
    """
    grounded = []
    certainties = anchor_scores(consensus.heatmaps, consensus.agreement)
    for i, heatmap in enumerate(consensus.heatmaps):
        if progress is not None:
            progress(i / len(consensus.heatmaps))
        if heatmap.grid.max() <= 0:
            continue
        try:
            image = clip.frame(heatmap.frame)
        except ReadingError as error:
            if read_errors is None:
                raise
            read_errors.append(error)
            continue
        instances = search.rank(image, heatmap) if search is not None else []
        if instances:
            mask, score = instances[0].candidate.mask, instances[0].candidate.score
        else:
            outline, score = outline_heatmap(image, heatmap, segmenter, cache=cache)
            mask = masks.decode(outline)
        appearance = ColorModel.of(image, mask)
        if appearance is not None:
            grounded.append(
                GroundedMask(heatmap, mask, appearance, float(certainties[i]), float(consensus.agreement[i]), score)
            )
    return sorted(grounded, key=lambda g: -g.quality)


def outline_heatmap(
    image: NDArray[np.uint8], heatmap: Heatmap, segmenter: Segmenter, *, cache: StageCache | None = None
) -> tuple[Rle, float]:
    """Return the mask that a heatmap leads to, empty if it leads to none, and the segmenter's score of it in [0, 1].

    Args:
        image: (H, W, 3) uint8 RGB.
        heatmap: Where the words point in it.
        segmenter: What turns a heatmap into a mask.
        cache: Where the mask is stored and looked up.
    """
    content = hashlib.sha256(heatmap.grid.tobytes()).hexdigest()
    key = (segmenter.name, heatmap.frame, content, *astuple(heatmap.mask_choice))
    outline = cache.load_mask(key) if cache is not None else None
    if outline is None:
        candidates = segmenter.segment(image, heatmap.to_prompt(), frame=heatmap.frame)
        size = (image.shape[1], image.shape[0])
        outline = (masks.encode(candidates[0].mask), candidates[0].score) if candidates else (masks.empty(size), 0.0)
        if cache is not None:
            cache.save_mask(key, *outline)
    return outline


def measure_word_support(state: ObjectState, track: MaskTrack) -> tuple[float, list[int], list[str]]:
    """Return how far the words support a track.

    Returns:
        The share of the grounded frames with the object visible on which the words point at it, in [0, 1]; the frames
        on which they point elsewhere; sentences for people about these. (1, [], []) if a person drew the object.
    """
    if state.consensus is None or state.target.prompts:
        return 1.0, [], []
    points_at_it: dict[int, bool] = {}
    for heatmap in state.consensus.heatmaps:
        mask = mask_at(track, heatmap.frame)
        if mask is None:
            continue
        box = masks.box_of(mask)
        if box is not None:
            x0, y0, x1, y1 = masks.pad_box(box, 0.1)
            # of several objects the highest mode is on one
            points = _instance_peaks(heatmap) if state.quantity.is_plural else (heatmap.peak,)
            points_at_it[heatmap.frame] = any(x0 <= x <= x1 and y0 <= y <= y1 for x, y in points)
    if not points_at_it:
        return 0.0, [], []
    misses = [frame for frame, hit in points_at_it.items() if not hit]
    notes = [f"in {len(misses)} of {len(points_at_it)} frames looked at, the words point elsewhere"] if misses else []
    return 1 - len(misses) / len(points_at_it), misses, notes


@functools.lru_cache(maxsize=64)  # the objects of one expression share its heatmaps, and a search takes .07 s
def _instance_peaks(heatmap: Heatmap) -> tuple[tuple[float, float], ...]:
    """Return the normalised (x, y) of each mode."""
    return tuple(mode.peak_at(heatmap.grid) for mode in find_instance_regions(heatmap.grid))
