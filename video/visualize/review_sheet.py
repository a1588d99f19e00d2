"""A sheet of the frames to review first: low scores, edges of gaps, sudden changes, disagreement with the words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from video.images import encode_jpeg
from video.io.display import resize_image
from video.io.reader import Clip
from video.keyframes import find_runs
from video.tracking.expected_iou import DOUBTFUL_IOU
from video.types import MaskTrack
from video.visualize.overlay import draw_tracks
from video.visualize.text import FAINT, INK, Image, object_colors, paste, render_text, truncate_text

_AREA_RATIO = 1.6  # of the boxes on two neighbouring frames
_JUMP = 0.5  # of the box's diagonal, between two neighbouring frames
_MIN_DISTANCE = 0.04  # of the longest track's length, between two tiles of one object
_TILE_PX, _TEXT_PX, _COLUMNS, _GAP_PX = 400, 16, 3, 10
_CARD, _PAGE = (255, 255, 255), 236


@dataclass(frozen=True)
class ReviewFrame:
    """A frame to review.

    Args:
        frame: The frame's index in the clip.
        track: The index of the track.
        why: The reason, for people.
        weight: The urgency; higher is more urgent.
        span: The first and the last frame that the reason is about, of which `frame` is one; `frame` by default.
    """

    frame: int
    track: int
    why: str
    weight: float
    span: tuple[int, int] | None = None

    @property
    def named(self) -> range:
        """All frames that the reason is about."""
        first, last = self.span or (self.frame, self.frame)
        return range(first, last + 1)


def frames_to_review(
    tracks: Sequence[MaskTrack],
    times: NDArray[np.float64],
    *,
    elsewhere: Sequence[Sequence[int]] = (),
    others: Sequence[ReviewFrame] = (),
    most: int = 12,
) -> list[ReviewFrame]:
    """Choose the frames to review: the most urgent ones, at some distance from each other for each object.

    Args:
        tracks: The tracks.
        times: (N,) seconds of the clip's frames.
        elsewhere: For each track the frames on which the words point elsewhere.
        others: Frames to review for another reason, which the tracks do not show.
        most: How many frames at most.

    Returns:
        The frames, in order of time.
    """
    found = [item for k, track in enumerate(tracks) for item in _items_of_track(k, track, times)]
    found += [ReviewFrame(f, k, "the words point elsewhere", 1.2) for k, frames in enumerate(elsewhere) for f in frames]
    found += others
    found.sort(key=lambda item: (-item.weight, item.frame))
    min_distance = max(3, round(_MIN_DISTANCE * max((len(track.frames) for track in tracks), default=0)))
    chosen: list[ReviewFrame] = []
    for item in found:
        near = [i for i, c in enumerate(chosen) if c.track == item.track and abs(c.frame - item.frame) < min_distance]
        same = [i for i in near if chosen[i].frame == item.frame]
        # A stretch of frames that the tiles beside it do not name is shown all the same.
        is_new = len(item.named) > 1 and not any(item.frame in chosen[i].named for i in near)
        if same:
            chosen[same[0]] = _join(chosen[same[0]], item)
        elif (is_new or not near) and len(chosen) < most:
            chosen.append(item)
    return sorted(chosen, key=lambda x: (x.frame, x.track))


def write_sheet(clip: Clip, tracks: Sequence[MaskTrack], items: Sequence[ReviewFrame], path: str | Path) -> Path:
    """Write a JPEG with a tile for each frame to review.

    Args:
        clip: The video.
        tracks: The tracks.
        items: The frames.
        path: The file to write.

    Raises:
        ValueError: If there are no frames.
        ClipError: If the clip cannot be read.
        OSError: If the file cannot be written.
    """
    if not items:
        raise ValueError("a sheet needs at least one frame to look at")
    pictures: dict[int, Image] = {}
    w, h = clip.display_size
    size = (_TILE_PX, max(1, round(_TILE_PX * h / w)))
    drawn_size = size if w > _TILE_PX else (w, h)
    for indices, images in clip.batches(sorted({item.frame for item in items}), size=4):
        for i, image in zip(indices.tolist(), images, strict=True):
            pictures[i] = resize_image(image, drawn_size)
    tiles = [
        _tile(resize_image(draw_tracks(pictures[item.frame], tracks, item.frame), size), clip, tracks, item)
        for item in items
    ]
    height, width = tiles[0].shape[:2]
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + _GAP_PX) + _GAP_PX, columns * (width + _GAP_PX) + _GAP_PX, 3), _PAGE, np.uint8)
    for i, tile in enumerate(tiles):
        paste(sheet, tile, _GAP_PX + i % columns * (width + _GAP_PX), _GAP_PX + i // columns * (height + _GAP_PX))
    Path(path).write_bytes(encode_jpeg(sheet, quality=85))
    return Path(path)


def _items_of_track(k: int, track: MaskTrack, times: NDArray[np.float64]) -> list[ReviewFrame]:
    rows = np.flatnonzero(track.visible)
    frames, boxes = track.frames[rows], track.boxes[rows]
    sides = boxes[:, 2:] - boxes[:, :2]
    items: list[ReviewFrame] = []
    for first, last in find_runs(track.visible & (track.scores < DOUBTFUL_IOU)):
        span = int(track.frames[first]), int(track.frames[last])
        where = f" from frame {span[0]} to {span[1]}" if last > first else ""
        for row in range(first, last + 1):
            score = float(track.scores[row])
            why = f"unsure{where}: score {math.floor(100 * score + 1e-6) / 100:.2f}"  # not rounded up to the limit
            items.append(ReviewFrame(int(track.frames[row]), k, why, 1.0 + DOUBTFUL_IOU - score, span))
    for i in range(1, len(frames)):
        before, frame = int(frames[i - 1]), int(frames[i])
        if frame - before > 1:
            gap_s = times[frame] - times[before]
            gone = f"last seen here, then gone for {gap_s:.2f} s"
            items.append(ReviewFrame(before, k, gone, 0.9, (before, frame - 1)))
            items.append(ReviewFrame(frame, k, f"seen again after {gap_s:.2f} s", 1.0))
            continue
        ratio = float(np.prod(sides[i]) / max(np.prod(sides[i - 1]), 1e-9))
        change = max(ratio, 1 / max(ratio, 1e-9))
        moved = float(np.linalg.norm((boxes[i] - boxes[i - 1]).reshape(2, 2).mean(axis=0)))
        jump = moved / max(float(np.linalg.norm(sides[i - 1])), 1e-9)
        if change > _AREA_RATIO:
            word = "larger" if ratio > 1 else "smaller"
            items.append(ReviewFrame(frame, k, f"suddenly {change:.1f} times {word}", min(1.4, 0.5 + change / 5)))
        if jump > _JUMP:
            items.append(ReviewFrame(frame, k, f"jumped by {jump:.1f} of its size", min(1.4, 0.6 + jump / 3)))
    if len(rows) and rows[-1] < len(track.frames) - 1:
        span = int(frames[-1]), int(track.frames[-1])
        items.append(ReviewFrame(span[0], k, "last seen here, then gone to the end", 0.9, span))
    return items


def _join(one: ReviewFrame, other: ReviewFrame) -> ReviewFrame:
    """Return one tile of two reasons for a frame."""
    first, last = min(one.named[0], other.named[0]), max(one.named[-1], other.named[-1])
    return replace(one, why=f"{one.why}; {other.why}", span=(first, last))


def _tile(picture: Image, clip: Clip, tracks: Sequence[MaskTrack], item: ReviewFrame) -> Image:
    colour = object_colors(len(tracks))[item.track]
    line = _TEXT_PX + 2 * (_TEXT_PX // 4)
    tile = np.full((picture.shape[0] + 2 * line + 8, picture.shape[1], 3), _CARD, np.uint8)
    tile[:4] = colour
    time = render_text(f"{clip.times[item.frame]:.2f} s, frame {item.frame}", _TEXT_PX, paper=_CARD, ink=FAINT)
    width_px = picture.shape[1] - time.shape[1] - 2 * _TEXT_PX
    name = truncate_text(tracks[item.track].label, _TEXT_PX, width_px - _TEXT_PX)
    paste(tile[4:], render_text(name, _TEXT_PX, swatch=colour, paper=_CARD), 0, 0)
    paste(tile[4:], time, tile.shape[1], 0)
    why = truncate_text(item.why, _TEXT_PX, picture.shape[1] - _TEXT_PX)
    paste(tile[4 + line :], render_text(why, _TEXT_PX, paper=_CARD, ink=INK), 0, 0)
    tile[8 + 2 * line :] = picture
    return tile
