"""Pieces that part from an object and move away: they were never its own.

What looks like the object and comes out from behind it is taken into its mask while the two touch. Once they are apart
it shows: a piece of one thing stays where it is on it, or comes together with it again, as what is seen on either side
of a pole does. So this is judged afterwards, over the whole track.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from video import masks
from video.io.reader import ClipView
from video.masks import CRUMB_PX, Mask, box_iou, components, decode, distance_to, encode, resize_mask
from video.types import MaskTrack, Rle

_SIDE_PX = 270  # short side at which pieces are compared
_MOST = 8  # parts that are looked at: the largest
_LEAST_ROWS = 5  # that a piece is seen apart
_AWAY = 0.25  # of the object's size (square root of its area): so much the gap has grown
_LESSER = 0.5  # of its area: what is larger is as much the object as the other
_REJOINED = 0.3  # of a piece that is covered by the object a row later
_PIECES = 32  # of a whole frame; crumbs beyond them go with the strangers
_ENDS = 3  # rows whose median is the gap at a piece's beginning and end


@dataclass(eq=False)
class _Piece:
    """One piece while it is apart. size: of the object then, in pixels; gaps: pixels to the object, row by row."""

    last: Mask
    size: float
    rows: list[int] = field(default_factory=list)
    rles: list[Rle] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    own: bool = False  # it has come together with the object again, is no less than it, or was given

    def add(self, row: int, mask: Mask, gap: float) -> None:
        self.last = mask
        self.rows.append(row)
        self.rles.append(encode(mask))
        self.gaps.append(gap)

    def went_away(self) -> bool:
        if self.own or len(self.rows) < _LEAST_ROWS:
            return False
        return float(np.median(self.gaps[-_ENDS:]) - np.median(self.gaps[:_ENDS])) >= _AWAY * self.size


def drop_departed_parts(track: MaskTrack, *, given: Collection[int] = ()) -> MaskTrack:
    """The track without the pieces that went away from its object, from when they were first apart.

    given: frames whose masks are as somebody drew them: a piece that is there is the object's.
    """
    taken: dict[int, list[Rle]] = {}  # coded: a stranger may be there for an hour
    for piece in _strangers(track, given):
        for row, rle in zip(piece.rows, piece.rles, strict=True):
            taken.setdefault(row, []).append(rle)
    if not taken:
        return track
    rles = [
        encode(_without(decode(track.rles[row]), np.logical_or.reduce([decode(rle) for rle in departed])))
        for row, departed in taken.items()
    ]
    return track.replace_rows(list(taken), rles=rles, boxes=[masks.rle_box(rle) or masks.EMPTY_BOX for rle in rles])


def _strangers(track: MaskTrack, given: Collection[int]) -> list[_Piece]:
    """The pieces that went away, in the frame's size or smaller. Holds no others once they are over."""
    w, h = track.size
    scale = min(1.0, _SIDE_PX / min(w, h))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    found: list[_Piece] = []
    apart: list[_Piece] = []
    main: Mask | None = None
    for row, frame in enumerate(track.frames.tolist()):
        mask = resize_mask(decode(track.rles[row]), size) if track.visible[row] else np.zeros(size[::-1], np.bool_)
        parts = components(mask, least_px=CRUMB_PX, most=_MOST)
        main = _successor(main, parts)
        before, apart = apart, []
        if main is not None and len(parts) > 1:
            away = distance_to(main)
            for part in (p for p in parts if p is not main):
                piece = next((p for p in before if p not in apart and (p.last & part).any()), None)
                piece = piece or _Piece(part, float(np.sqrt(main.sum())))
                piece.add(row, part, float(away[part].min()))
                piece.own |= frame in given or bool(part.sum() >= _LESSER * main.sum())
                apart.append(piece)
        for piece in before:
            if piece not in apart:
                piece.own |= main is not None and bool((piece.last & main).sum() >= _REJOINED * piece.last.sum())
                found += [piece] * piece.went_away()
    return found + [piece for piece in apart if piece.went_away()]


def _successor(main: Mask | None, parts: list[Mask]) -> Mask | None:
    """Which of the parts is the object: the one that lies most where it was; the largest where none does."""
    if main is None or not parts:
        return parts[0] if parts else None
    common = [int((main & part).sum()) for part in parts]
    return parts[int(np.argmax(common))] if max(common) else parts[0]


def _without(mask: Mask, strangers: Mask) -> Mask:
    """The mask without its parts that are nearer to strangers, given in a smaller size, than to the object."""
    main, *others = components(mask, most=_PIECES)
    to_them, to_main = (distance_to(m) for m in (resize_mask(strangers, (mask.shape[1], mask.shape[0])), main))
    return np.asarray(
        np.logical_or.reduce([main, *(p for p in others if to_main[p].min() < to_them[p].min())]), np.bool_
    )


def remove_outlier_boxes(
    boxes: NDArray[np.float64],
    visible: NDArray[np.bool_],
    times: NDArray[np.float64],
    *,
    tolerance_iou: float = 0.9,
    keep: Collection[int] = (),
) -> NDArray[np.float64]:
    """The boxes (n, 4) xyxy with those of single frames that everything around them contradicts put between the
    neighbours; all others are the same to the bit.

    visible: (n,) bool. times: (n,) seconds, strictly ascending. keep: rows that are never changed.

    A box is contradicted where it is further than the tolerance (IoU) from what lies between its two neighbours, from
    where the two frames before were going and from where the two behind came from, while these three agree. So what
    turns about, begins or stops to move stays as it is, and so do the first and last two frames of each appearance.
    """
    n = len(boxes)
    if boxes.shape != (n, 4) or visible.shape != (n,) or times.shape != (n,):
        raise ValueError(f"(n, 4), (n,) and (n,) are needed, got {boxes.shape}, {visible.shape}, {times.shape}")
    out = boxes.copy()
    if n < 5:
        return out
    i = np.arange(2, n - 2)
    before = _on_line(boxes, times, i, -2, -1)
    behind = _on_line(boxes, times, i, 1, 2)
    between = _on_line(boxes, times, i, -1, 1)
    here = boxes[2:-2]
    seen = np.all([visible[i + k] for k in range(-2, 3)], axis=0)
    apart = np.all([box_iou(here, said) < tolerance_iou for said in (before, behind, between)], axis=0)
    agreed = (box_iou(before, between) >= tolerance_iou) & (box_iou(behind, between) >= tolerance_iou)
    jumps = seen & apart & agreed & ~np.isin(i, list(keep))
    out[2:-2][jumps] = between[jumps]
    return out


def _on_line(
    boxes: NDArray[np.float64], times: NDArray[np.float64], i: NDArray[np.int64], a: int, b: int
) -> NDArray[np.float64]:
    """(len(i), 4): where rows i would be on the straight line through rows i + a and i + b."""
    share = ((times[i] - times[i + a]) / (times[i + b] - times[i + a]))[:, None]
    line = boxes[i + a] + share * (boxes[i + b] - boxes[i + a])
    return np.concatenate([line[:, :2], np.maximum(line[:, 2:], line[:, :2])], 1)


# Weight and bias by tracker, as `make bench-track ARGS=--score` fits them; Platt's form, see
# `refam.calibration.fit_logistic`.
_FITTED = {"memory": (0.432, 0.798)}
_EDGE = 0.01  # scores nearer to 0 or 1 are not told apart


def calibrate_scores(scores: NDArray[np.float64], tracker: str) -> NDArray[np.float64]:
    """(n,) scores of `Observation` -> (n,) in [0, 1]. Of a tracker that nothing was fitted for they stay as they are.

    0, which is nothing, and 1, which is a mask that was given, stay too.
    """
    if tracker not in _FITTED:
        return scores
    return np.where((scores > 0) & (scores < 1), told(scores, *_FITTED[tracker]), scores)


def told(scores: NDArray[np.float64], weight: float, bias: float) -> NDArray[np.float64]:
    """expit(weight * logit(score) + bias)."""
    return np.asarray(expit(weight * logit(np.clip(scores, _EDGE, 1 - _EDGE)) + bias))


def upsample_track(track: MaskTrack, view: ClipView) -> tuple[MaskTrack, NDArray[np.bool_]]:
    """The view's track on every frame of the clip from the view's first to its last, and which rows lie between.

    Of a frame between two on which the object is seen the box is linear in time and the mask that of the nearer
    one, moved and stretched into it. Next to a frame on which it is not seen it is not seen: a gap is no guess.
    """
    size = view.whole.size
    known = view.frames[track.frames]
    frames = np.arange(known[0], known[-1] + 1)
    before = np.searchsorted(known, frames, side="right") - 1
    rles: list[Rle] = []
    scores = np.empty(len(frames))
    full = [rle if size == track.size else _resized(rle, size) for rle in track.rles]
    for row, (frame, a) in enumerate(zip(frames.tolist(), before.tolist(), strict=True)):
        if known[a] == frame:
            rles.append(full[a])
            scores[row] = track.scores[a]
            continue
        b = a + 1
        t0, t1 = view.times[track.frames[a]], view.times[track.frames[b]]
        share = float((view.whole.times[frame] - t0) / (t1 - t0))
        scores[row] = (1 - share) * track.scores[a] + share * track.scores[b]
        seen = track.visible[a] and track.visible[b]
        box = (1 - share) * track.boxes[a] + share * track.boxes[b]
        nearer = a if share <= 0.5 else b
        rles.append(_moved(full[nearer], track.boxes[nearer], box) if seen else masks.empty(size))
    return masks.track_from_rles(track.label, frames, rles, scores), known[before] != frames


def _resized(rle: Rle, size: tuple[int, int]) -> Rle:
    """A mask in another (width, height); its edge runs where a smooth one would."""
    if not masks.area(rle):
        return masks.empty(size)
    soft = cv2.resize(masks.decode(rle).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return masks.encode(soft >= 0.5)


def _moved(rle: Rle, at: NDArray[np.float64], to: NDArray[np.float64]) -> Rle:
    """The mask whose box is `at` in the box `to`, both xyxy in fractions of the frame."""
    mask = masks.decode(rle)
    h, w = mask.shape
    scale = (to[2:] - to[:2]) / np.maximum(at[2:] - at[:2], 1e-9)
    shift = (to[:2] - at[:2] * scale) * (w, h) + 0.5 * (scale - 1)  # pixel centres lie at half numbers
    matrix = np.array([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]])
    moved: Mask = cv2.warpAffine(mask.astype(np.float32), matrix, (w, h), flags=cv2.INTER_LINEAR) >= 0.5
    return masks.encode(moved)
