"""What was found, for people to look at: an overlay video that browsers play, and a contact sheet."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from video.clip import Clip
from video.masks import decode
from video.types import MaskTrack

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

_TICK = Fraction(1, 90_000)  # fine enough for every usual rate and for variable ones
_FILL = 0.45  # how much of the object's colour covers the picture
_GOLDEN_TURN = 0.618034  # successive hues far apart, however many objects there are


def colours(n: int) -> list[Colour]:
    """`n` RGB colours, each far in hue from those before it and bright enough for every ground."""
    hues = [(0.33 + i * _GOLDEN_TURN) % 1 for i in range(n)]
    return [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(h, 0.9, 1.0)) for h in hues]  # type: ignore[misc]


def draw(image: Image, tracks: Sequence[MaskTrack], frame: int) -> Image:
    """A copy of (H, W, 3) RGB with every object that is visible on clip frame `frame` drawn into it."""
    out = image.copy()
    for track, colour in zip(tracks, colours(len(tracks)), strict=True):
        if (track.size[1], track.size[0]) != image.shape[:2]:
            raise ValueError(f"{track.label!r} has masks of {track.size}, the frame is {image.shape[1::-1]}")
        row = int(np.searchsorted(track.frames, frame))
        if row < len(track.frames) and track.frames[row] == frame and track.visible[row]:
            _draw_object(out, decode(track.rles[row]), track.label, float(track.scores[row]), colour)
    return out


def write_overlay(clip: Clip, tracks: Sequence[MaskTrack], path: str | Path, *, most_px: int = 1280) -> Path:
    """An H.264 MP4 that browsers play, every frame at the clip's own time.

    most_px: the longer side is reduced to this. Sizes are made even (H.264 stores colour at half size). Written
    beside `path` and renamed at the end, so that a file which is there is whole. Raises ClipError.
    """
    path = Path(path)
    size = _even_size(clip.size, most_px)
    ticks = np.round(clip.times / float(_TICK)).astype(np.int64)
    ends = np.append(ticks[1:], max(round(clip.duration_s / _TICK), ticks[-1] + round(1 / clip.average_fps / _TICK)))
    part = path.with_name(f".{path.stem}.part.mp4")
    try:
        with av.open(str(part), "w", options={"movflags": "+faststart"}) as container:
            rate = Fraction(clip.average_fps).limit_denominator(1001)
            stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "20"})
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = _TICK
            for i, image in _drawn(clip, tracks):
                picture = av.VideoFrame.from_ndarray(_fit(image, size), format="rgb24")
                picture.pts, picture.time_base = int(ticks[i]), _TICK
                picture.duration = int(ends[i] - ticks[i])
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def contact_sheet(
    clip: Clip,
    tracks: Sequence[MaskTrack] = (),
    *,
    frames: Sequence[int] | None = None,
    columns: int = 4,
    cell_px: int = 320,
) -> Image:
    """Frames of the clip in a grid, each with its number and time: (H, W, 3) uint8 RGB.

    frames: which (twelve over the clip's length unless given). cell_px: the width of one picture.
    """
    if columns < 1 or cell_px < 16:
        raise ValueError(f"a sheet needs a column and cells of 16 pixels, got columns={columns}, cell_px={cell_px}")
    chosen = np.unique(np.linspace(0, len(clip) - 1, min(12, len(clip))).round() if frames is None else frames)
    if not len(chosen):
        raise ValueError("a sheet needs at least one frame")
    w, h = clip.size
    cell = (cell_px, max(1, round(cell_px * h / w)))
    rows = -(-len(chosen) // columns)
    sheet = np.full((rows * cell[1], min(columns, len(chosen)) * cell[0], 3), 32, np.uint8)
    for position, (i, image) in enumerate(_drawn(clip, tracks, chosen.astype(np.int64).tolist())):
        y, x = (position // columns) * cell[1], (position % columns) * cell[0]
        small = _resize(image, cell)
        _write(small, f"{i}  {clip.times[i]:.2f} s", (6, cell[1] - 8), 0.45, (255, 255, 255))
        sheet[y : y + cell[1], x : x + cell[0]] = small
    return sheet


def _drawn(clip: Clip, tracks: Sequence[MaskTrack], frames: Sequence[int] | None = None) -> Iterator[tuple[int, Image]]:
    for indices, images in clip.batches(frames, size=8):
        for i, image in zip(indices.tolist(), images, strict=True):
            yield i, draw(image, tracks, i)


def _draw_object(image: Image, mask: NDArray[np.bool_], label: str, score: float, colour: Colour) -> None:
    image[mask] = (image[mask] * (1 - _FILL) + np.array(colour) * _FILL).astype(np.uint8)
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not outline:
        return
    scale = max(image.shape[:2]) / 1280
    thick = max(1, round(2 * scale))
    # A dark line below the bright one: one of the two is seen on any ground.
    cv2.drawContours(image, outline, -1, (0, 0, 0), thick + 2)
    cv2.drawContours(image, outline, -1, colour, thick)
    left, top, width, _ = cv2.boundingRect(np.concatenate(outline))
    text, font = f"{label} {score:.2f}", max(0.4, 0.7 * scale)
    (text_w, text_h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, font, 1)
    x = int(np.clip(left + width / 2 - text_w / 2, 2, max(2, image.shape[1] - text_w - 2)))
    _write(image, text, (x, max(text_h + 2, top - 6)), font, colour)


def _write(image: Image, text: str, at: tuple[int, int], font: float, colour: Colour) -> None:
    for ink, thick in (((0, 0, 0), 3), (colour, 1)):
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, font, ink, thick, cv2.LINE_AA)


def _even_size(size: tuple[int, int], most_px: int) -> tuple[int, int]:
    """The size of the overlay: no side over `most_px`, both even, at least 2."""
    if most_px < 16:
        raise ValueError(f"most_px must be at least 16, got {most_px}")
    shrink = min(1.0, most_px / max(size))
    w, h = (max(1, round(side * shrink)) for side in size)
    return w + w % 2, h + h % 2


def _fit(image: Image, size: tuple[int, int]) -> Image:
    """Reduced to the overlay's size; where that only differs by being even, padded by repeating the edge."""
    h, w = image.shape[:2]
    if 0 <= size[0] - w <= 1 and 0 <= size[1] - h <= 1:
        return np.pad(image, ((0, size[1] - h), (0, size[0] - w), (0, 0)), mode="edge")
    return _resize(image, size)


def _resize(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
