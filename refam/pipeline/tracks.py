"""Edits of tracks: joining segments, resolving overlaps, and applying the boxes that a person drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from video import masks
from video.masks import Mask
from video.types import MaskTrack, Rle

if TYPE_CHECKING:
    from refam.pipeline.state import ObjectState
    from video.io.reader import Clip

_MIN_REMAINDER = 0.25  # of a mask that gave pixels away: with less left the object is not visible
_MIN_SIDE = 1e-4  # of the frame: no box gets smaller


def empty_track(clip: Clip, label: str) -> MaskTrack:
    """Return a track over the whole clip that is visible nowhere."""
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


def mask_at(track: MaskTrack, frame: int) -> Mask | None:
    """Return the object's mask, (H, W) bool, on a frame of the clip; None where the object is not visible."""
    row = track.row_of(frame)
    return None if row is None or not track.visible[row] else masks.decode(track.rles[row])


def replace_spans(track: MaskTrack, segment: MaskTrack, spans: Sequence[tuple[int, int]]) -> MaskTrack:
    """Return a track with another track's rows on some spans.

    Args:
        track: A track that has a row for each frame from its first on.
        segment: The track that brings the rows.
        spans: First and last frame, both included.
    """
    return track.fill(segment, [f for f in segment.frames.tolist() if any(a <= f <= b for a, b in spans)])


def fill_gaps(track: MaskTrack, recovered: MaskTrack) -> MaskTrack:
    """Return a track with the visible rows of another one where it is not visible itself."""
    return track.fill(recovered, np.intersect1d(track.frames[~track.visible], recovered.frames[recovered.visible]))


def join_tracks(tracks: Sequence[MaskTrack]) -> MaskTrack:
    """Return one track of several objects, as benchmarks take what a plural means: their masks together.

    Args:
        tracks: At least one; all on the same frames.
    """
    first, *others = tracks
    if not others:
        return first
    joined = [
        np.logical_or.reduce([masks.decode(track.rles[row]) for track in tracks]) for row in range(len(first.rles))
    ]
    visible = np.logical_or.reduce([track.visible for track in tracks])
    return replace(
        first,
        rles=tuple(map(masks.encode, joined)),
        boxes=np.array([masks.box_of(mask) or masks.EMPTY_BOX for mask in joined], np.float64),
        scores=np.max([track.scores for track in tracks], axis=0),
        visible=visible,
    )


def resolve_overlaps(states: Sequence[ObjectState]) -> None:
    """Give each pixel that two tracks claim to the one with the higher score; what a person drew keeps its pixels.

    Objects that were tracked together have no such pixels; those that were tracked apart may have.
    """
    for i, a in enumerate(states):
        for b in states[i + 1 :]:
            assert a.track is not None
            assert b.track is not None
            both = np.flatnonzero(a.track.visible & b.track.visible & _boxes_overlap(a.track, b.track))
            reduced: tuple[dict[int, Mask], dict[int, Mask]] = ({}, {})
            for row in both.tolist():
                if (loser := _loser(a, b, row)) is not None:
                    losing, winning = (a.track, b.track) if loser == 0 else (b.track, a.track)
                    reduced[loser][row] = masks.decode(losing.rles[row]) & ~masks.decode(winning.rles[row])
            a.track, b.track = _with_masks(a.track, reduced[0]), _with_masks(b.track, reduced[1])


def _boxes_overlap(a: MaskTrack, b: MaskTrack) -> NDArray[np.bool_]:
    """Return for each row, (n,) bool, whether the two boxes have an area in common."""
    low, high = np.maximum(a.boxes[:, :2], b.boxes[:, :2]), np.minimum(a.boxes[:, 2:], b.boxes[:, 2:])
    return np.asarray((low < high).all(axis=1), np.bool_)


def _loser(a: ObjectState, b: ObjectState, row: int) -> int | None:
    """Return which of two objects gives up what both claim on a frame: 0, 1, or None if there is no such pixel."""
    assert a.track is not None
    assert b.track is not None
    drawn = row in a.prompt_anchors, row in b.prompt_anchors
    if all(drawn) or float(coco.iou([_to_coco(a.track.rles[row])], [_to_coco(b.track.rles[row])], [0])[0, 0]) == 0:
        return None
    if any(drawn):
        return 0 if drawn[1] else 1
    return 1 if a.track.scores[row] >= b.track.scores[row] else 0


def _with_masks(track: MaskTrack, smaller: Mapping[int, Mask]) -> MaskTrack:
    """Return the track with smaller masks on these rows; where too little is left the object is not visible."""
    if not smaller:
        return track
    rows = list(smaller)
    enough = [bool(smaller[row].sum() >= _MIN_REMAINDER * masks.area(track.rles[row])) for row in rows]
    left = [smaller[row] if keep else np.zeros_like(smaller[row]) for row, keep in zip(rows, enough, strict=True)]
    return track.replace_rows(
        rows,
        rles=[masks.encode(mask) for mask in left],
        boxes=[masks.box_of(mask) or masks.EMPTY_BOX for mask in left],
        scores=np.where(enough, track.scores[rows], 0.0),
        visible=track.visible[rows] & enough,
    )


def _to_coco(rle: Rle) -> dict[str, object]:
    return {"size": [rle.size[1], rle.size[0]], "counts": rle.counts}


def apply_prompt_boxes(state: ObjectState, track: MaskTrack) -> MaskTrack:
    """Return the track with the boxes that a person drew, and the boxes between them changed accordingly.

    The masks stay: a drawn box says what the box is to hold (a hat that counts), not where the outline runs. So the
    change also applies to the frames of the words' anchors, up to the next frame that a person drew on.
    """
    if not state.prompt_boxes:
        return track
    known = {frame: track.boxes[frame] for frame in state.prompt_anchors if track.visible[frame]}
    drawn = {frame: np.array(box, np.float64) for frame, box in state.prompt_boxes.items()}
    return replace(track, boxes=spread_box_edits(track.boxes, track.visible, known | drawn))


def spread_box_edits(
    boxes: NDArray[np.float64], visible: NDArray[np.bool_], drawn: Mapping[int, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Spread the changes that a person made to some boxes over all others.

    Between two drawn boxes the change is interpolated; before the first and after the last it stays the same.

    Args:
        boxes: (n, 4) x0, y0, x1, y1 as fractions of the frame.
        visible: (n,) whether the object is visible. Rows without it keep their boxes.
        drawn: Drawn boxes, (4,), by row.

    Returns:
        (n, 4) boxes that are the drawn ones on their rows.
    """
    known = sorted(row for row in drawn if visible[row])
    if not known:
        return boxes.copy()
    differences = np.array([_to_params(drawn[row]) - _to_params(boxes[row]) for row in known])
    change = np.stack([np.interp(np.arange(len(boxes)), known, column) for column in differences.T], 1)
    moved = _from_params(_to_params(boxes) + change)
    out = np.where(visible[:, None], moved, boxes)
    for row in known:
        out[row] = drawn[row]
    return out


def _to_params(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return centres and logarithms of sides of boxes, (..., 4): these can be subtracted and interpolated."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) / 2, np.log(np.maximum(high - low, _MIN_SIDE))], axis=-1)


def _from_params(params: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the boxes, (n, 4), of centres and logarithms of sides, (n, 4), clipped to the frame."""
    half = np.exp(params[:, 2:]) / 2
    boxes = np.concatenate([params[:, :2] - half, params[:, :2] + half], 1).clip(0, 1)
    # A box that was pushed out of the frame keeps a sliver at its edge.
    low = np.minimum(boxes[:, :2], 1 - _MIN_SIDE)
    return np.concatenate([low, np.maximum(boxes[:, 2:], low + _MIN_SIDE)], 1)
