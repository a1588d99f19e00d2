"""Rows of tracks: put into one another, kept apart, and their boxes held to what a person drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from video import masks
from video.masks import Mask, decode
from video.types import MaskTrack, Rle

if TYPE_CHECKING:
    from refam.pipeline.anchors import ObjectState
    from video.io.reader import Clip

_LEAST_LEFT = 0.25  # of a mask, once what others hold more surely is taken away; less is no sight of the object

_LEAST = 1e-4  # of the frame: no box gets smaller


def empty_track(clip: Clip, label: str) -> MaskTrack:
    """A track over the whole clip that is visible nowhere."""
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


def splice(track: MaskTrack, piece: MaskTrack, spans: Sequence[tuple[int, int]]) -> MaskTrack:
    """The track, of every frame from its first on, with the piece's rows on these spans, both ends included."""
    rles, boxes = list(track.rles), track.boxes.copy()
    scores, visible = track.scores.copy(), track.visible.copy()
    first = int(track.frames[0])
    for row, frame in enumerate(piece.frames.tolist()):
        if any(a <= frame <= b for a, b in spans):
            at = frame - first
            rles[at], boxes[at] = piece.rles[row], piece.boxes[row]
            scores[at], visible[at] = piece.scores[row], piece.visible[row]
    return replace(track, rles=tuple(rles), boxes=boxes, scores=scores, visible=visible)


def resolve_overlaps(works: Sequence[ObjectState]) -> None:
    """A pixel that two objects claim goes to the surer one; what a person drew gives nothing away.

    Objects that were followed together have no such pixels; those that were not may have.
    """
    for i, a in enumerate(works):
        for b in works[i + 1 :]:
            assert a.track is not None
            assert b.track is not None
            both = np.flatnonzero(a.track.visible & b.track.visible & _boxes_meet(a.track, b.track))
            less: tuple[dict[int, Mask], dict[int, Mask]] = ({}, {})
            for row in both.tolist():
                if (loser := _loser(a, b, row)) is not None:
                    one, other = (a.track, b.track) if loser == 0 else (b.track, a.track)
                    less[loser][row] = masks.decode(one.rles[row]) & ~masks.decode(other.rles[row])
            a.track, b.track = _with_masks(a.track, less[0]), _with_masks(b.track, less[1])


def _boxes_meet(a: MaskTrack, b: MaskTrack) -> NDArray[np.bool_]:
    low, high = np.maximum(a.boxes[:, :2], b.boxes[:, :2]), np.minimum(a.boxes[:, 2:], b.boxes[:, 2:])
    return np.asarray((low < high).all(axis=1), np.bool_)


def _loser(a: ObjectState, b: ObjectState, row: int) -> int | None:
    """Which of the two gives up what both claim on a frame: 0, 1, or None where nothing is to be given up."""
    assert a.track is not None
    assert b.track is not None
    drawn = row in a.drawn, row in b.drawn
    if all(drawn) or float(coco.iou([_coco(a.track.rles[row])], [_coco(b.track.rles[row])], [0])[0, 0]) == 0:
        return None
    if any(drawn):
        return 0 if drawn[1] else 1
    return 1 if a.track.scores[row] >= b.track.scores[row] else 0


def _with_masks(track: MaskTrack, less: Mapping[int, Mask]) -> MaskTrack:
    """The track with smaller masks on these rows; one that loses too much is not seen there."""
    if not less:
        return track
    rles, boxes = list(track.rles), track.boxes.copy()
    scores, visible = track.scores.copy(), track.visible.copy()
    for row, mask in less.items():
        if mask.sum() < _LEAST_LEFT * masks.area(track.rles[row]):
            mask, scores[row], visible[row] = np.zeros_like(mask), 0.0, False
        rles[row], boxes[row] = masks.encode(mask), masks.box_of(mask) or (0.0, 0.0, 0.0, 0.0)
    return replace(track, rles=tuple(rles), boxes=boxes, scores=scores, visible=visible)


def _coco(rle: Rle) -> dict[str, object]:
    return {"size": [rle.size[1], rle.size[0]], "counts": rle.counts}


def hold_boxes(work: ObjectState, track: MaskTrack) -> MaskTrack:
    """The track of the whole clip with the boxes that were drawn; what they differ by goes over to their neighbours.

    The masks stay: a box that a person drew says what the box is to hold (a hat that counts), not where the outline
    runs. So the difference goes past the words' own masks, up to the next frame that a person drew on.
    """
    if not work.boxes:
        return track
    known = {f: track.boxes[f] for f in work.drawn if track.visible[f]}
    drawn = {f: np.array(box, np.float64) for f, box in work.boxes.items()}
    return replace(track, boxes=spread_box_edits(track.boxes, track.visible, known | drawn))


def spread_box_edits(
    boxes: NDArray[np.float64], visible: NDArray[np.bool_], drawn: Mapping[int, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Boxes (n, 4) normalised xyxy by row that are those drawn on their rows, and follow their difference elsewhere.

    Between two drawn boxes the difference goes over from the one to the other, before the first and after the last it
    stays. Rows that are not visible keep what they have.
    """
    known = sorted(row for row in drawn if visible[row])
    if not known:
        return boxes.copy()
    differences = np.array([_params(drawn[row]) - _params(boxes[row]) for row in known])
    change = np.stack([np.interp(np.arange(len(boxes)), known, column) for column in differences.T], 1)
    moved = _from_params(np.stack([_params(box) for box in boxes]) + change)
    out = np.where(visible[:, None], moved, boxes)
    for row in known:
        out[row] = drawn[row]
    return out


def _params(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre and the logarithm of the sides: what differences can be taken and interpolated of."""
    sides = np.maximum(box[2:] - box[:2], _LEAST)
    return np.concatenate([(box[:2] + box[2:]) / 2, np.log(sides)])


def _from_params(params: NDArray[np.float64]) -> NDArray[np.float64]:
    half = np.exp(params[:, 2:]) / 2
    boxes = np.concatenate([params[:, :2] - half, params[:, :2] + half], 1).clip(0, 1)
    # A box that was pushed out of the frame keeps a sliver at its edge.
    low = np.minimum(boxes[:, :2], 1 - _LEAST)
    return np.concatenate([low, np.maximum(boxes[:, 2:], low + _LEAST)], 1)


def patch(track: MaskTrack, found: MaskTrack) -> MaskTrack:
    """The track with the rows that a search of one window brought to light; what was visible before stays."""
    row_of = {int(f): i for i, f in enumerate(found.frames)}
    rles, boxes = list(track.rles), track.boxes.copy()
    scores, visible = track.scores.copy(), track.visible.copy()
    for i, frame in enumerate(track.frames.tolist()):
        j = row_of.get(frame)
        if j is not None and not visible[i] and found.visible[j]:
            rles[i], boxes[i], scores[i], visible[i] = found.rles[j], found.boxes[j], found.scores[j], True
    return replace(track, rles=tuple(rles), boxes=boxes, scores=scores, visible=visible)


def mask_at(track: MaskTrack, frame: int) -> Mask | None:
    """The object's mask on a clip frame, or None where it is not visible."""
    at = int(np.searchsorted(track.frames, frame))
    if at == len(track.frames) or track.frames[at] != frame or not track.visible[at]:
        return None
    return decode(track.rles[at])
