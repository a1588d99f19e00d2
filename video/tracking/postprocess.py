"""What is done with tracks after tracking: removing departed parts, upsampling."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from video import masks
from video.io.reader import ClipView
from video.masks import CRUMB_PX, Mask, components, decode, distance_to, encode, resize_mask
from video.types import MaskTrack, Rle

# --- parts that departed ---------------------------------------------------------------------------------------------

_SIDE_PX = 270  # short side of the frame when parts are compared
_MAX_PARTS = 8  # the largest parts of a mask that are compared
_MAX_FULL_PARTS = 32  # the largest parts of a mask that may stay; smaller ones go with the departed parts
_MIN_ROWS = 5  # for which a part must have been apart
_MIN_DEPARTURE = 0.25  # of the object's size (square root of its area): by so much the gap has grown
_MAX_SHARE = 0.5  # of the object's area: a larger part may be the object itself
_REJOINED_SHARE = 0.3  # of a part that the object covers a row later, from which on it has come back
_END_ROWS = 3  # rows whose median is the gap at the beginning and at the end


@dataclass(eq=False)
class _Part:
    """A part of a mask while it is apart from the object.

    Args:
        last: Its mask on its last row, (h, w) bool.
        object_size: The object's size in pixels when the part separated.
        rows: The rows on which it is apart.
        rles: Its mask on each.
        gaps: Its distance to the object in pixels on each.
        belongs: Whether it is the object's: it came back, is as large as the object, or was drawn by a person.
    """

    last: Mask
    object_size: float
    rows: list[int] = field(default_factory=list)
    rles: list[Rle] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    belongs: bool = False

    def add(self, row: int, mask: Mask, gap: float) -> None:
        self.last = mask
        self.rows.append(row)
        self.rles.append(encode(mask))
        self.gaps.append(gap)

    def has_departed(self) -> bool:
        if self.belongs or len(self.rows) < _MIN_ROWS:
            return False
        growth = float(np.median(self.gaps[-_END_ROWS:]) - np.median(self.gaps[:_END_ROWS]))
        return growth >= _MIN_DEPARTURE * self.object_size


def drop_departed_parts(track: MaskTrack, *, given: Collection[int] = ()) -> MaskTrack:
    """Remove the parts of a track's masks that separate from the object and move away.

    Something that looks like the object and comes out from behind it is taken into its mask while the two touch. A real
    part of the object keeps its place on it, or joins it again, as on both sides of a pole. The difference shows only
    once they are apart, so this is decided afterwards, over the whole track.

    Args:
        track: The track.
        given: Frames whose masks a person drew: parts that are there belong to the object.

    Returns:
        The track without these parts, from the row on which they were first apart.
    """
    departed: dict[int, list[Rle]] = {}  # encoded, since a part may be there for an hour
    for part in _departed_parts(track, given):
        for row, rle in zip(part.rows, part.rles, strict=True):
            departed.setdefault(row, []).append(rle)
    rles = [
        encode(_without(decode(track.rles[row]), np.logical_or.reduce([decode(rle) for rle in parts])))
        for row, parts in departed.items()
    ]
    return track.replace_rows(list(departed), rles=rles, boxes=[masks.rle_box(rle) or masks.EMPTY_BOX for rle in rles])


def _departed_parts(track: MaskTrack, given: Collection[int]) -> list[_Part]:
    """Return the parts that moved away, at the frame's size or smaller. Others are dropped as soon as they end."""
    w, h = track.size
    scale = min(1.0, _SIDE_PX / min(w, h))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    departed: list[_Part] = []
    apart: list[_Part] = []
    main: Mask | None = None
    for row, frame in enumerate(track.frames.tolist()):
        mask = resize_mask(decode(track.rles[row]), size) if track.visible[row] else np.zeros(size[::-1], np.bool_)
        parts = components(mask, least_px=CRUMB_PX, most=_MAX_PARTS)
        main = _main_part(main, parts)
        before, apart = apart, []
        if main is not None and len(parts) > 1:
            distance = distance_to(main)
            for mask in (p for p in parts if p is not main):
                part = next((p for p in before if p not in apart and (p.last & mask).any()), None)
                part = part or _Part(mask, float(np.sqrt(main.sum())))
                part.add(row, mask, float(distance[mask].min()))
                part.belongs |= frame in given or bool(mask.sum() >= _MAX_SHARE * main.sum())
                apart.append(part)
        for part in before:
            if part not in apart:
                part.belongs |= main is not None and bool((part.last & main).sum() >= _REJOINED_SHARE * part.last.sum())
                departed += [part] * part.has_departed()
    return departed + [part for part in apart if part.has_departed()]


def _main_part(before: Mask | None, parts: list[Mask]) -> Mask | None:
    """Return the part that is the object: the one with the largest overlap with the object before, else the largest."""
    if before is None or not parts:
        return parts[0] if parts else None
    overlaps = [int((before & part).sum()) for part in parts]
    return parts[int(np.argmax(overlaps))] if max(overlaps) else parts[0]


def _without(mask: Mask, departed: Mask) -> Mask:
    """Return a mask without the parts that are nearer to the departed ones, at any size, than to the object."""
    main, *others = components(mask, most=_MAX_FULL_PARTS)
    to_departed = distance_to(resize_mask(departed, (mask.shape[1], mask.shape[0])))
    to_main = distance_to(main)
    kept = [main, *(p for p in others if to_main[p].min() < to_departed[p].min())]
    return np.asarray(np.logical_or.reduce(kept), np.bool_)


# --- from a view to the whole clip -----------------------------------------------------------------------------------


def upsample_track(track: MaskTrack, view: ClipView) -> tuple[MaskTrack, NDArray[np.bool_]]:
    """Bring a track of a view to the frames and the size of the whole clip.

    Boxes stay as they are: smoothed, or drawn by a person, they need not be those of the masks. On a frame between two
    on which the object is visible, the box is interpolated linearly in time, and the mask is that of the nearer frame,
    moved and scaled into it. Next to a frame on which the object is not visible, it is not visible either.

    Args:
        track: A track of the view.
        view: Some frames of a clip, perhaps at a smaller size.

    Returns:
        The track on every frame from the view's first to its last, and (n,) bool: which of its rows are interpolated.
    """
    size = view.whole.size
    known = view.frames[track.frames]
    frames = np.arange(known[0], known[-1] + 1)
    before = np.searchsorted(known, frames, side="right") - 1
    rles: list[Rle] = []
    boxes, scores = np.empty((len(frames), 4)), np.empty(len(frames))
    full_size = [rle if size == track.size else _resize(rle, size) for rle in track.rles]
    for row, (frame, a) in enumerate(zip(frames.tolist(), before.tolist(), strict=True)):
        if known[a] == frame:
            rles.append(full_size[a])
            boxes[row], scores[row] = track.boxes[a], track.scores[a]
            continue
        b = a + 1
        t0, t1 = view.times[track.frames[a]], view.times[track.frames[b]]
        share = float((view.whole.times[frame] - t0) / (t1 - t0))
        scores[row] = (1 - share) * track.scores[a] + share * track.scores[b]
        both_visible = track.visible[a] and track.visible[b]
        boxes[row] = (1 - share) * track.boxes[a] + share * track.boxes[b]
        nearer = a if share <= 0.5 else b
        rles.append(_move(full_size[nearer], track.boxes[nearer], boxes[row]) if both_visible else masks.empty(size))
    upsampled = masks.track_from_rles(track.label, frames, rles, scores)
    boxes[~upsampled.visible] = 0.0
    return replace(upsampled, boxes=boxes), known[before] != frames


def _resize(rle: Rle, size: tuple[int, int]) -> Rle:
    """Return a mask at another (width, height), with a smooth edge."""
    if not masks.area(rle):
        return masks.empty(size)
    soft = cv2.resize(masks.decode(rle).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return masks.encode(soft >= 0.5)


def _move(rle: Rle, old: NDArray[np.float64], new: NDArray[np.float64]) -> Rle:
    """Return a mask moved and scaled from one box to another, both normalised xyxy."""
    mask = masks.decode(rle)
    h, w = mask.shape
    scale = (new[2:] - new[:2]) / np.maximum(old[2:] - old[:2], 1e-9)
    shift = (new[:2] - old[:2] * scale) * (w, h) + 0.5 * (scale - 1)  # OpenCV has the centre of pixel (0, 0) at 0
    matrix = np.array([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]])
    moved: Mask = cv2.warpAffine(mask.astype(np.float32), matrix, (w, h), flags=cv2.INTER_LINEAR) >= 0.5
    return masks.encode(moved)
