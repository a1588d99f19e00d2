"""Pieces that part from an object and move away: they were never its own.

What looks like the object and comes out from behind it is taken into its mask while the two touch. Once they are apart
it shows: a piece of one thing stays where it is on it, or comes together with it again, as what is seen on either side
of a pole does. So this is judged afterwards, over the whole track.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np

from video.masks import CRUMB_PX, Mask, box_of, components, decode, distance_to, encode, resize_mask
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
    rles, boxes = list(track.rles), track.boxes.copy()
    for row, strangers in taken.items():
        left = _without(decode(rles[row]), np.logical_or.reduce([decode(rle) for rle in strangers]))
        rles[row], boxes[row] = encode(left), box_of(left)
    return replace(track, rles=tuple(rles), boxes=boxes)


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
