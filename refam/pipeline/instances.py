"""One phrase, several objects: the masks of "the two dogs" or of "every person" on the frame that shows most of them.

Every mode of a heatmap is segmented by itself. A mask is an object of its own if it is neither a part of another one
nor a group of several, and if the words bear it out: by its heat, and by the attention at its mode where that can be
judged (`refam.presence`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from refam.heatmap_regions import find_instance_regions
from refam.pipeline.concepts import ConceptSearch, RankedInstance, describe_unasked
from refam.pipeline.state import GroundedMask, ObjectState, combine_evidence, mean_heat
from refam.pipeline.types import PipelineOptions
from refam.pipeline.word_anchors import is_in_clip, outline_heatmap
from video import masks
from video.heatmap_fusion import anchor_scores
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.appearance import ColorModel
from video.types import Heatmap, MaskChoice, Segmenter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip

MOST_INSTANCES = 12  # that are tracked for one expression
_MOST_MODES = 2 * MOST_INSTANCES  # that are segmented on one frame: with SAM2 on a CPU each takes about a second
# Chosen on 34 drawn scenes of 1 to 5 objects that the words fit and 3 others (GrabCut), and on 39 photographs of COCO
# (SAM2-tiny), those with an earlier model. Precision and recall of instances at IoU .5 are .90 and .86 on the drawn
# scenes; on the photographs, of objects of 1 % of the picture or more, they were .66 and .39 when chosen. Without the
# probabilities of the modes they are .71 and .91, and were .66 and .40; without the least area .84 and .87, and .51
# and .40.
_MIN_HEAT = 0.3  # mean heat under a mask, of the highest
_MIN_AREA = 0.15  # of the largest mask: what is smaller is a speck
_MIN_PROBABILITY = 0.1  # of a mode, where it is known
_MAX_IOU = 0.5  # of two objects' masks
_CONTAINED = 0.8  # of a mask's area inside another one: it is a part of that one, or that one is a group
_GROUP_COVER = 0.5  # of a mask's area that several others inside it cover: from it on it is a group of them
_SAME_OBJECT_IOU = 0.8  # of the masks of two expressions on one frame: from it on they mean one object


@dataclass(frozen=True, eq=False)
class Instance:
    """One of the objects that an expression means, on one frame.

    Attributes:
        mask: (H, W) bool.
        score: The segmenter's, in [0, 1].
        heat: Mean heat under the mask, in [0, 1].
        certainty: That the words mean it, in [0, 1].
    """

    mask: Mask
    score: float
    heat: float
    certainty: float


def propose_instances(
    image: NDArray[np.uint8],
    heatmap: Heatmap,
    segmenter: Segmenter,
    *,
    search: ConceptSearch | None = None,
    cache: StageCache | None = None,
) -> list[Instance]:
    """Outline every object that the words mean in an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        heatmap: Where the words point in it.
        segmenter: What outlines each mode.
        search: Finds instances of what the words name; without it, and where it finds none, modes are outlined.
        cache: Where outlines are stored and looked up.

    Returns:
        The objects, the one that fits the words best first; none overlaps another one by much.
    """
    ranked = search.rank(image, heatmap) if search is not None else []
    if ranked:
        return [_of_concept(one, heatmap) for one in ranked[:_MOST_MODES]]
    found = []
    bias = heatmap.mask_choice.whole_bias
    for region in find_instance_regions(heatmap.grid)[:_MOST_MODES]:
        inside = [m.probability for m in heatmap.modes if masks.contains(region.basin, (m.x, m.y))]
        if inside and max(inside) < _MIN_PROBABILITY:
            continue
        alone = replace(heatmap, grid=region.heat(heatmap.grid), mask_choice=MaskChoice(bias))
        outline, score = outline_heatmap(image, alone, segmenter, cache=cache)
        mask = masks.decode(outline)
        if mask.any():
            certainty = max(inside) if inside else heatmap.certainty
            found.append(Instance(mask, score, mean_heat(heatmap.grid, mask), certainty))
    return select_instances(found)


def _of_concept(one: RankedInstance, heatmap: Heatmap) -> Instance:
    mask = one.candidate.mask
    known = [mode.probability for mode in heatmap.modes if masks.contains(mask, (mode.x, mode.y))]
    certainty = max(known, default=heatmap.certainty)
    return Instance(mask, one.candidate.score * one.fit, mean_heat(heatmap.grid, mask), certainty)


def select_instances(found: Sequence[Instance]) -> list[Instance]:
    """Return the masks that are objects of their own: no duplicates, groups, parts, specks, or masks with little heat.

    Args:
        found: One mask for each mode.

    Returns:
        The objects, the hottest first.
    """
    distinct: list[Instance] = []
    for one in sorted(found, key=lambda one: -one.heat):
        if all(masks.iou(one.mask, other.mask) <= _MAX_IOU for other in distinct):
            distinct.append(one)
    single = [one for one in distinct if not _is_group(one.mask, [o.mask for o in distinct if o is not one])]
    whole = [one for one in single if not any(_is_part(one.mask, o.mask) for o in single if o is not one)]
    if not whole:
        return []
    hottest, largest = max(one.heat for one in whole), max(int(one.mask.sum()) for one in whole)
    return [one for one in whole if one.heat >= _MIN_HEAT * hottest and one.mask.sum() >= _MIN_AREA * largest]


def _is_part(mask: Mask, other: Mask) -> bool:
    """Whether a mask lies inside a larger one."""
    area = int(mask.sum())
    return area < int(other.sum()) and int((mask & other).sum()) > _CONTAINED * area


def _is_group(mask: Mask, others: Sequence[Mask]) -> bool:
    """Whether a mask holds several others, which cover much of it."""
    inside = [other for other in others if _is_part(other, mask)]
    inside = [one for one in inside if not any(_is_part(one, other) for other in inside if other is not one)]
    return len(inside) > 1 and int(np.logical_or.reduce(inside).sum()) > _GROUP_COVER * int(mask.sum())


def find_instances(
    clip: Clip,
    state: ObjectState,
    segmenter: Segmenter,
    *,
    options: PipelineOptions,
    progress: Callable[[float], object] | None = None,
) -> list[ObjectState]:
    """Find the objects that the words of a target mean, on the grounded frame that shows most of them.

    Args:
        clip: The video.
        state: The target's, with its heatmaps; gets a failure if there are none.
        segmenter: What outlines objects.
        options: Say how much evidence words need.
        progress: Is called with the share of the grounded frames that are done, in [0, 1].

    Returns:
        One state for each object, from left to right, with its anchor; the target's own, with its failure, if there is
        none. No object is better than the least bad guess: there may be fewer than the words count.
    """
    if state.consensus is None:
        raise RuntimeError("objects that words mean need heatmaps")
    if not is_in_clip(clip, state, options=options):
        return [state]
    limit = min(state.quantity.most or MOST_INSTANCES, MOST_INSTANCES)
    search = ConceptSearch.of(segmenter, state.target.words, cache=state.cache)
    certainties = anchor_scores(state.consensus.heatmaps, state.consensus.agreement)
    best: tuple[tuple[int, float], list[ObjectState]] | None = None
    seen = 0
    for i, heatmap in enumerate(state.consensus.heatmaps):
        if progress is not None:
            progress(i / len(state.consensus.heatmaps))
        try:
            image = clip.frame(heatmap.frame)
        except ReadingError as error:
            state.read_errors.append(error)
            continue
        agreement = float(state.consensus.agreement[i])
        objects = [
            _state_of(state, image, heatmap, one, agreement=agreement, certainty=float(certainties[i]))
            for one in propose_instances(image, heatmap, segmenter, search=search, cache=state.cache)
        ]
        enough = [one for one in objects if one is not None and one.evidence >= options.min_evidence]
        seen = max(seen, len(enough))
        enough = sorted(enough, key=lambda one: -one.evidence)[:limit]
        rank = (len(enough), sum(one.evidence for one in enough))
        if enough and (best is None or rank > best[0]):
            best = (rank, enough)
    state.notes += search.describe_missed() if search else describe_unasked(segmenter, state.target.words)
    if best is None:
        reason = str(state.read_errors[0]) if state.read_errors else None
        state.failure = reason or f"nothing in this video stands out for the words {state.target.words!r}"
        return [state]
    return _in_order(best[1], state.notes + _describe_count(state, len(best[1]), seen))


def _state_of(
    state: ObjectState, image: NDArray[np.uint8], heatmap: Heatmap, one: Instance, *, agreement: float, certainty: float
) -> ObjectState | None:
    """Return the state of one object, whose track is to start from its mask; None if too little of it can be seen."""
    appearance = ColorModel.of(image, one.mask)
    if appearance is None:
        return None
    return replace(
        state,
        word_anchors={heatmap.frame: one.mask},
        anchor_frame=heatmap.frame,
        evidence=combine_evidence(one.certainty, agreement, one.score),
        confidence=heatmap.confidence,
        appearance=appearance,
        notes=[],
        read_errors=list(state.read_errors),
        grounded_masks=(GroundedMask(heatmap, one.mask, appearance, certainty, agreement, one.score),),
    )


def _in_order(objects: Sequence[ObjectState], notes: Sequence[str]) -> list[ObjectState]:
    """Number objects from left to right. The notes on all of them go to the first."""

    def left(state: ObjectState) -> float:
        box = masks.box_of(state.word_anchors[state.anchor_frame])
        return 0.0 if box is None else (box[0] + box[2]) / 2

    ordered = sorted(objects, key=left)
    for number, state in enumerate(ordered, 1):
        state.instance = number
    ordered[0].notes += notes
    return ordered


def _describe_count(state: ObjectState, found: int, seen: int) -> list[str]:
    """Say that fewer objects were found than the words count, or that there are more than are tracked."""
    least = state.quantity.least
    if found < least:
        bound = "" if state.quantity.most == least else "at least "
        return [f"the words name {bound}{least}, and {found} {'was' if found == 1 else 'were'} found"]
    if seen > found:
        return [f"there may be {seen}, of which the {found} likeliest are marked"]
    return []


def merge_same_objects(states: Sequence[ObjectState]) -> list[ObjectState]:
    """Leave an object that several expressions mean to the first of them, and say so in the notes of the others.

    Args:
        states: The objects that were found and those that were not, in the order of their targets.

    Returns:
        The states without the objects that an earlier target has, unless a target would have none left: its state then
        has a failure.
    """
    kept: list[ObjectState] = []
    for target in dict.fromkeys(id(state.target) for state in states):
        own = [state for state in states if id(state.target) == target]
        owners = [next((other for other in kept if _is_same_object(other, state)), None) for state in own]
        rest = [state for state, owner in zip(own, owners, strict=True) if owner is None]
        names = dict.fromkeys(f"{o.target.words or o.target.label!r}" for o in owners if o is not None)
        taken = len(own) - len(rest)
        if taken and rest:
            notes = [note for state in own for note in state.notes]
            for state in rest:
                state.notes = []
            what = f"{taken} more {'is' if taken == 1 else 'are'}"
            rest = _in_order(rest, [*notes, f"{what} marked as {' and '.join(names)} already"])
        elif taken:
            own[0].failure = f"these words lead to the same object as {' and '.join(names)}, which is marked already"
            rest = own[:1]
        kept += rest
    return kept


def _is_same_object(first: ObjectState, second: ObjectState) -> bool:
    """Whether the masks of two objects are the same on the frames from which either is to be tracked."""
    if first.failure is not None or second.failure is not None or second.target.prompts:
        return False
    frames = {*first.word_anchors, *first.prompt_anchors, *second.word_anchors}
    a, b = _known_masks(first), _known_masks(second)
    ious = [masks.iou(a[frame], b[frame]) for frame in frames if frame in a and frame in b]
    return bool(ious) and min(ious) >= _SAME_OBJECT_IOU


def _known_masks(state: ObjectState) -> dict[int, Mask]:
    return {**{one.frame: one.mask for one in state.grounded_masks}, **state.word_anchors, **state.prompt_anchors}
