"""Refine a mask by points: each point that lies on the wrong side of the outline adds one piece or removes one.

A segmenter's own answer to a mask and points may be any mask at all, half the picture included. Here the answers only
propose pieces: what connected part around the point to add to the mask or to remove from it. So what no point touched
stays, a point off the object never adds, and a point on the object never removes. The pixels that most of the proposed
pieces share make the piece: one answer is often wrong, most of them rarely (`make bench-corrections`). In doubt less is
removed: what is left over takes another point, what is gone leaves little to track.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import MAIN_SHARE, Box, Mask, box_of, components, contains, distance_to, iou, pad_box, pixel_at
from video.types import Prompt, Segmenter

Point = tuple[float, float]
Hint = tuple[Point, bool]  # a point, and whether it is on the object
_BOX_MARGIN = 0.03  # of the box around mask and point
_LEAST_WEIGHT = 1e-6  # of an answer with score 0


@dataclass(frozen=True, eq=False)
class Refinement:
    """A refined mask.

    Attributes:
        mask: (H, W) bool.
        score: In [0, 1]: how far the segmenter's answers agree on the pieces; 1 without a piece.
    """

    mask: Mask
    score: float


@dataclass(frozen=True, eq=False)
class _Piece:
    """What one answer of the segmenter would add or remove.

    Attributes:
        mask: (H, W) bool.
        score: The answer's, in [0, 1].
        is_thing: Whether it answers the point alone: the thing that is there, whatever the mask.
    """

    mask: Mask
    score: float
    is_thing: bool = False


def refine_mask(
    segmenter: Segmenter,
    image: NDArray[np.uint8],
    mask: Mask,
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    frame: int = 0,
) -> Refinement:
    """Move the outline of a mask so that points lie on their right side.

    Args:
        segmenter: What proposes the pieces.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, not empty.
        points: (k, 2) normalised (x, y).
        labels: (k,) 1 for a point on the object, 0 for one off it. Points on their right side change nothing, but no
            piece may put them on the wrong side.
        frame: Passed to the segmenter.

    Returns:
        The mask with the pieces. A point for which no piece is found stays on its wrong side.
    """
    scores = []
    hints = [((float(x), float(y)), bool(label)) for (x, y), label in zip(points, labels, strict=True)]
    for point, is_on in sorted(hints, key=lambda hint: hint[1]):  # what is removed first cannot be added to later
        if contains(mask, point) == is_on:
            continue
        opposite = [other for other, label in hints if label != is_on]
        pieces = [
            piece
            for piece in _propose_pieces(segmenter, image, mask, point, hints, frame)
            if not any(contains(piece.mask, other) for other in opposite)
        ]
        chosen = _vote(pieces, point) if is_on else _choose_removal(pieces, point, _point_away_from(mask, point))
        if chosen is not None:
            mask = mask | chosen.mask if is_on else _remove(mask, chosen.mask, keep=opposite)
            scores.append(chosen.score)
    return Refinement(mask, float(np.mean(scores)) if scores else 1.0)


def distance_in_sizes(mask: Mask, point: Point) -> float:
    """Return how far a normalised (x, y) lies from a mask, in square roots of the mask's area; 0 inside it."""
    return float(distance_to(mask)[pixel_at(mask.shape, point)]) / max(1.0, float(np.sqrt(mask.sum())))


def _propose_pieces(
    segmenter: Segmenter, image: NDArray[np.uint8], mask: Mask, point: Point, hints: Sequence[Hint], frame: int
) -> Iterator[_Piece]:
    """Yield what the segmenter would add to a mask at a point on the object, or remove at one off it.

    It is asked for the thing under the point alone, for the object by all points, and for the object by all points
    together with the mask and the box.
    """
    is_on = (point, True) in hints
    # Points that other pieces answer would mix with this one's: of those on their wrong side only this one counts.
    known = [(other, label) for other, label in hints if other == point or contains(mask, other) == label]
    if not any(label for other, label in known if other != point):
        known.append((_point_away_from(mask, point), True))
    thing = Prompt(points=np.array([point]), labels=np.ones(1, np.int64))
    whole = Prompt(points=np.array([p for p, _ in known]), labels=np.array([label for _, label in known], np.int64))
    refining = replace(whole, prior=mask.astype(np.float32), box=_box_around(mask, point))
    for prompt in (thing, whole, refining):
        for candidate in segmenter.segment(image, prompt, frame=frame):
            if is_on:
                change = candidate.mask & ~mask
            else:
                change = mask & (candidate.mask if prompt is thing else ~candidate.mask)
            piece = _part_at(np.asarray(change, np.bool_), point)
            if piece is not None:
                yield _Piece(piece, candidate.score, prompt is thing)


def _vote(pieces: Sequence[_Piece], point: Point) -> _Piece | None:
    """Return what most pieces share, weighted by their scores, around a point that all hold; None without pieces.

    Its score is the mean IoU of the pieces with it, weighted in the same way.
    """
    if not pieces:
        return None
    weights = [max(piece.score, _LEAST_WEIGHT) for piece in pieces]
    share = np.average([piece.mask for piece in pieces], axis=0, weights=weights)
    common = _part_at(np.asarray(share >= 0.5, np.bool_), point)
    assert common is not None  # every piece holds the point
    return _Piece(common, float(np.average([iou(common, piece.mask) for piece in pieces], weights=weights)))


def _choose_removal(pieces: Sequence[_Piece], point: Point, away: Point) -> _Piece | None:
    """Return what to remove around a point; None without pieces.

    Pieces that reach as far as a point away from it are left out, if there are others: they are the object itself, as
    a point on its hair outlines all of the person. What most of the others share is no more than the thing under the
    point.
    """
    near = [piece for piece in pieces if not contains(piece.mask, away)] or pieces
    votes = [_vote(near, point), _vote([piece for piece in near if piece.is_thing], point)]
    return min((vote for vote in votes if vote is not None), key=lambda vote: vote.mask.sum(), default=None)


def _remove(mask: Mask, piece: Mask, *, keep: Sequence[Point]) -> Mask:
    """Return a mask without a piece and without the slivers that this leaves.

    What the piece does not touch stays, and so does a sliver that holds one of the points to keep.
    """
    parts = components(mask & ~piece)
    touched = np.logical_or.reduce([part for part in components(mask) if (part & piece).any()])
    least = MAIN_SHARE * parts[0].sum() if parts else 0
    kept = [
        part
        for part in parts
        if part.sum() >= least or not (part & touched).any() or any(contains(part, point) for point in keep)
    ]
    return np.asarray(np.logical_or.reduce(kept) if kept else np.zeros_like(mask), np.bool_)


def _point_away_from(mask: Mask, point: Point) -> Point:
    """Return the pixel of a mask, as normalised (x, y), that lies both deep in the mask and far from a point."""
    h, w = mask.shape
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.mgrid[0:h, 0:w] + 0.5
    best = int((depth * np.hypot(x - point[0] * w, y - point[1] * h)).argmax())
    return (best % w + 0.5) / w, (best // w + 0.5) / h


def _box_around(mask: Mask, point: Point) -> Box | None:
    """Return the box, normalised xyxy, of a mask and a point; None for an empty mask."""
    box = box_of(mask)
    if box is None:
        return None
    (x, y), (x0, y0, x1, y1) = point, box
    return pad_box((min(x0, x), min(y0, y), max(x1, x), max(y1, y)), _BOX_MARGIN)


def _part_at(mask: Mask, point: Point) -> Mask | None:
    """Return the 8-connected part of a mask that holds a normalised (x, y); None if the point is not in the mask."""
    if not contains(mask, point):
        return None
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    return np.asarray(labels == labels[pixel_at(mask.shape, point)], np.bool_)
