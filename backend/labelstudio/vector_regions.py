"""Tracks -> outlines on video: keyframes of vertices that the editor interpolates one by one (`<VideoVector>`).

Written after Label Studio's documentation of the tag and the source of its editor: between two keyframes each vertex
goes linearly to the one of the same id; one that the next keyframe has not stays where it is; frames and `enabled` are
those of boxes. Label Studio 1.23's own package has no such tag (Enterprise and Starter Cloud have), so this was not
seen in an editor.

An outline is one closed line, so it goes round the object's largest part, and over its holes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.edits import UserOutline, apply_visibility_edits, keyframe_checksum
from backend.labelstudio.label_config import OutlineControl
from backend.labelstudio.timeline import TimedClip, round_score, track_on_timeline
from video.contours import Points, contour_of, fewest_outlines, moved_outline, outline_of, vertices_needed
from video.keyframes import spans
from video.masks import decode
from video.types import MaskTrack

# Boxes keep .9. An outline of a walking animal would have a keyframe on every other frame then.
OUTLINE_IOU = 0.85
_LOOKED_AT = 8  # contours, to find how many vertices the object needs
_PARTS = 0.95  # share of the mask below which the largest part is not all of the object


@dataclass(frozen=True, eq=False)
class _Piece:
    """Editor frames first, first + 1, ... whose outlines (n, k, 2) in pixels have the same vertices."""

    first: int
    ids: tuple[str, ...]
    outlines: NDArray[np.float64]


def vector_sequence(
    track: MaskTrack,
    clip: TimedClip,
    control: OutlineControl,
    *,
    fps: float,
    fixed: Sequence[UserOutline] = (),
    words: str | None = None,
    tolerance_iou: float = OUTLINE_IOU,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The keyframes, as few as keep every frame's outline within tolerance_iou of the one followed; and notes.

    fixed: keyframes that a person set: they come back to the last digit, and the vertices that they have are those of
    the frames up to the next one (of all frames before it, for the first). [] where the object is never visible.
    """
    rows, visible = track_on_timeline(track, clip, fps)
    n = len(rows)
    pins = {f.frame - 1: f for f in fixed if f.frame <= n}
    contours = _Contours(track, rows)
    visible = apply_visibility_edits(
        np.array([v and contours.there(i) for i, v in enumerate(visible)], np.bool_), pins.values()
    )
    pins = {row: f for row, f in pins.items() if visible[row]}
    drawn = {row: f.points * track.size for row, f in pins.items() if len(f.vertices) >= 3 and f.mask(track.size).any()}
    known = visible & np.array([contours.there(i) or i in drawn for i in range(n)])
    if not visible.any():
        return [], []
    ids = pins[min(drawn)].ids if drawn else _ids(contours, np.flatnonzero(known), control)
    enabled = {last: False for _, last in spans(visible)}
    items: dict[int, dict[str, Any]] = {}
    for first, last in spans(known):
        for piece in _pieces(first, last, contours, {r: (pins[r].ids, p) for r, p in drawn.items()}, ids):
            must = [row - piece.first for row in drawn if 0 <= row - piece.first < len(piece.outlines)]
            for i in fewest_outlines(piece.outlines, tolerance_iou=tolerance_iou, must=must):
                items[piece.first + i] = {"vertices": _vertices(piece.outlines[i] / track.size, piece.ids)}
    for row, pin in pins.items():
        items[row] = {"vertices": [dict(vertex) for vertex in pin.vertices]}
    sequence = []
    for row in sorted(items):
        closed = pins[row].closed if row in pins else True
        score = round_score(track.scores[rows[row]]) if rows[row] >= 0 else 0.0
        item: dict[str, Any] = {"frame": row + 1, "time": round(row / fps, 6), "closed": closed}
        item |= {"enabled": enabled.get(row, True), **items[row], "score": score, **({"words": words} if words else {})}
        if row not in pins:
            item["check"] = keyframe_checksum(item)
        sequence.append(item)
    parts = sum(contours.in_parts(int(row)) for row in np.flatnonzero(known))
    said = [f"on {parts} frames the object is in several parts; the outline goes round the largest"] if parts else []
    return sequence, said


class _Contours:
    """Of a track, by editor frame; those of frames that show the same picture are found once."""

    def __init__(self, track: MaskTrack, rows: NDArray[np.int64]) -> None:
        self._rows = rows
        self._of = {int(r): contour_of(decode(track.rles[r])) for r in np.unique(rows[rows >= 0]) if track.visible[r]}

    def there(self, row: int) -> bool:
        found = self._of.get(int(self._rows[row]))
        return found is not None and len(found[0]) > 0

    def at(self, row: int) -> Points:
        return self._of[int(self._rows[row])][0]

    def in_parts(self, row: int) -> bool:
        return self.there(row) and self._of[int(self._rows[row])][1] < _PARTS


def _ids(contours: _Contours, rows: NDArray[np.int64], control: OutlineControl) -> tuple[str, ...]:
    some = rows[np.unique(np.linspace(0, len(rows) - 1, _LOOKED_AT).astype(int))]
    count = vertices_needed([contours.at(int(row)) for row in some], least=control.least, most=control.most)
    return tuple(f"p{i}" for i in range(count))


def _pieces(
    first: int,
    last: int,
    contours: _Contours,
    drawn: dict[int, tuple[tuple[str, ...], Points]],
    ids: tuple[str, ...],
) -> Iterator[_Piece]:
    """One run of frames in pieces of the same vertices. drawn: what a person drew, by row: ids and (k, 2) in pixels."""
    within = sorted(row for row in drawn if first <= row <= last)
    if not within:
        largest = max(range(first, last + 1), key=lambda row: float(np.ptp(contours.at(row), axis=0).prod()))
        start = outline_of(contours.at(largest), len(ids))
        yield _Piece(first, ids, _both_ways(start, largest, first, last, contours))
        return
    begin, of = first, drawn[within[0]][0]
    outlines: list[NDArray[np.float64]] = []
    for k, row in enumerate(within):
        own, points = drawn[row]
        if own != of:  # other vertices from here on
            yield _Piece(begin, of, np.concatenate(outlines))
            begin, outlines, of = row, [], own
        same_before = k > 0 and drawn[within[k - 1]][0] == own
        same_after = k + 1 < len(within) and drawn[within[k + 1]][0] == own
        # Frames between two drawings of the same vertices go with the nearer one.
        a = first if k == 0 else (within[k - 1] + row) // 2 + 1 if same_before else row
        b = last if k + 1 == len(within) else (row + within[k + 1]) // 2 if same_after else within[k + 1] - 1
        outlines.append(_both_ways(points, row, a, b, contours))
    yield _Piece(begin, of, np.concatenate(outlines))


def _both_ways(start: Points, at: int, first: int, last: int, contours: _Contours) -> NDArray[np.float64]:
    """(last - first + 1, k, 2): the outline that is `start` on frame `at`, followed to both ends."""
    found = {at: start}
    for row, step in [(r, -1) for r in range(at + 1, last + 1)] + [(r, 1) for r in range(at - 1, first - 1, -1)]:
        before = found[row + step]
        same = row + step != at and contours.at(row) is contours.at(row + step)
        found[row] = before if same else moved_outline(before, contours.at(row))
    return np.stack([found[row] for row in range(first, last + 1)])


def _vertices(points: Points, ids: Sequence[str]) -> list[dict[str, Any]]:
    """points: (k, 2) in fractions of the frame."""
    before = [None, *ids[:-1]]
    return [
        {"id": i, "x": round(float(x) * 100, 4), "y": round(float(y) * 100, 4), "prevPointId": b, "isBezier": False}
        for i, b, (x, y) in zip(ids, before, points, strict=True)
    ]


class VectorKeyframes:
    """Keyframes of one region. Those that cannot be read are left out."""

    def __init__(self, sequence: Sequence[Any]) -> None:
        items = [i for i in sequence if isinstance(i, Mapping) and isinstance(i.get("frame"), int)]
        self._keys = sorted((i for i in items if is_vertex_list(i.get("vertices"))), key=lambda i: int(i["frame"]))
        self._at = np.array([i["frame"] for i in self._keys], np.int64)

    @property
    def frames(self) -> list[int]:
        """Of the editor, 1-based, that keyframes are on."""
        return self._at.tolist()

    def shown(self, frame: float) -> bool:
        """Whether anything is drawn there. frame: of the editor, 1-based; between two it is as on the earlier one."""
        before = int(np.searchsorted(self._at, int(frame), side="right")) - 1
        if before < 0:
            return False
        return bool(self._keys[before].get("enabled", True)) or int(self._at[before]) == int(frame)

    def points(self, frame: float) -> NDArray[np.float64]:
        """(n, 2) xy in fractions of the frame, whether shown or not; none before the first keyframe."""
        before = int(np.searchsorted(self._at, frame, side="right")) - 1
        if before < 0:
            return np.empty((0, 2))
        here = _by_id(self._keys[before])
        if before + 1 < len(self._keys):
            there = _by_id(self._keys[before + 1])
            share = (frame - self._at[before]) / (self._at[before + 1] - self._at[before])
            here = {i: p + share * (there[i] - p) if i in there else p for i, p in here.items()}
        return np.array(list(here.values()), np.float64).reshape(-1, 2) / 100


def _by_id(item: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    return {str(v.get("id", i)): np.array([v["x"], v["y"]], np.float64) for i, v in enumerate(item["vertices"])}


def is_vertex_list(vertices: Any) -> bool:
    """Whether this is the list of vertices of a keyframe."""
    return isinstance(vertices, list) and all(
        isinstance(v, Mapping) and all(isinstance(v.get(c), int | float) for c in "xy") for v in vertices
    )
