"""Draws tracks into images and writes an overlay video that browsers play."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from video.atomic_files import write_beside
from video.io.display import resize_image
from video.io.reader import Clip
from video.masks import decode
from video.types import MaskTrack
from video.visualize.text import Colour, Image, object_colors, paste, render_text
from video.visualize.track_timeline import TrackTimeline

_TICK = Fraction(1, 90_000)  # fine enough for every usual rate and for variable ones
# Without these parameters x264 leaves small changes out, such as the last digit of a frame's number from 8 to 9.
_ENCODER = {"preset": "veryfast", "crf": "20", "x264-params": "no-fast-pskip=1:no-dct-decimate=1"}
_FILL = 0.25  # opacity of the object's colour: what is under it stays readable
_OWN_COLOUR = 60.0  # distance in RGB under which a thing has the colour that its mask is drawn in
_OWN_FILL = 0.4  # of such a thing, which is filled with white or black instead


def draw_tracks(image: Image, tracks: Sequence[MaskTrack], frame: int) -> Image:
    """Return a copy of an image with every object that is visible on a frame drawn into it.

    Args:
        image: (H, W, 3) uint8 RGB. It may be smaller than the tracks' masks, and have square pixels where the clip's
            are not: one side only may be larger than the masks'.
        tracks: The tracks.
        frame: The frame's index in the clip.

    Raises:
        ValueError: If both sides of the image are larger than the masks'.
    """
    out = image.copy()
    h, w = image.shape[:2]
    for track, colour in zip(tracks, object_colors(len(tracks)), strict=True):
        if w > track.size[0] and h > track.size[1]:
            raise ValueError(f"{track.label!r} has masks of {track.size}, the frame is {(w, h)}")
        row = int(np.searchsorted(track.frames, frame))
        if row < len(track.frames) and track.frames[row] == frame and track.visible[row]:
            mask = decode(track.rles[row]).astype(np.uint8)
            if track.size != (w, h):
                mask = np.asarray(cv2.resize(mask, (w, h), interpolation=cv2.INTER_NEAREST), np.uint8)
            _draw_object(out, mask, track.label, float(track.scores[row]), colour)
    return out


def draw_frame(clip: Clip, tracks: Sequence[MaskTrack], frame: int, *, most_px: int = 1280) -> Image:
    """Return one frame of a clip in the shape that players show, with the tracks drawn into it.

    Args:
        clip: The video.
        tracks: The tracks.
        frame: The frame's index in the clip.
        most_px: The longer side is reduced to this.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ClipError: If the frame cannot be read.
    """
    return draw_tracks(resize_image(clip.frame(frame), _bounded_size(clip.display_size, most_px)), tracks, frame)


def write_overlay(
    clip: Clip,
    tracks: Sequence[MaskTrack],
    path: str | Path,
    *,
    keyframes: Sequence[Sequence[int]] = (),
    most_px: int = 1280,
    frames: range | None = None,
) -> Path:
    """Write a video with the tracks drawn into it and a timeline of the objects below.

    It has square pixels and the shape in which players show the clip. Every frame has the clip's own time; of a part
    of the clip, the time since the part's first frame. The file is written under another name and renamed at the end,
    so that a file at `path` is always whole.

    Args:
        clip: The video.
        tracks: The tracks.
        path: The MP4 to write (H.264, playable in browsers).
        keyframes: For each track the frames of its keyframes, shown in the timeline.
        most_px: The longer side is reduced to this. Sizes are made even, because H.264 stores colour at half size.
        frames: The frames of the clip to write, step 1; all of them by default.

    Returns:
        The path.

    Raises:
        ClipError: If the clip cannot be read.
    """
    path = Path(path)
    shape = _bounded_size(clip.display_size, most_px)
    size = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
    frames = range(len(clip)) if frames is None else frames
    ticks = _ascending(np.round(clip.times / float(_TICK)).astype(np.int64))
    ends = np.append(ticks[1:], max(round(clip.duration_s / _TICK), ticks[-1] + round(1 / clip.average_fps / _TICK)))
    end_s = float(ends[frames[-1]] * _TICK)
    timeline = None
    if tracks:
        timeline = TrackTimeline(tracks, clip.times, keyframes=keyframes, end_s=end_s, size=size, frames=frames)
    first_tick = int(ticks[frames[0]]) if frames[0] else 0
    with (
        write_beside(path) as part,
        av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        rate = Fraction(clip.average_fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=_ENCODER)
        stream.width, stream.height = size[0], size[1] + (timeline.height if timeline else 0)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TICK
        for i, image in _read_frames(clip, frames):
            # Tracks are drawn after resizing, which keeps lines and letters sharp.
            drawn = _pad(draw_tracks(resize_image(image, shape), tracks, i), size)
            full_image = np.concatenate([drawn, timeline.render(i)]) if timeline else drawn
            picture = av.VideoFrame.from_ndarray(full_image, format="rgb24")
            picture.pts, picture.time_base = int(ticks[i]) - first_tick, _TICK
            picture.duration = int(ends[i] - ticks[i])
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def _ascending(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return times, (n,), each later than the one before by a tick at least: files may have two frames at one time."""
    steps = np.arange(len(ticks))
    return np.maximum.accumulate(ticks - steps) + steps


def _read_frames(clip: Clip, frames: range) -> Iterator[tuple[int, Image]]:
    for indices, images in clip.batches(frames, size=8):
        yield from zip(indices.tolist(), images, strict=True)


def _draw_object(image: Image, mask: NDArray[np.uint8], label: str, score: float, colour: Colour) -> None:
    outline, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not outline:
        return
    left, top, width, height = cv2.boundingRect(np.concatenate(outline))
    # Only within the object's box: blending a whole frame of 720p would take most of the time.
    region = image[top : top + height, left : left + width]
    inside = mask[top : top + height, left : left + width]
    mean = np.asarray(cv2.mean(region, inside))[:3]
    fill, opacity = colour, _FILL
    if np.linalg.norm(mean - colour) < _OWN_COLOUR:
        fill, opacity = ((255, 255, 255) if mean.mean() < 170 else (0, 0, 0)), _OWN_FILL
    filled = cv2.addWeighted(region, 1 - opacity, np.full_like(region, fill), opacity, 0)
    cv2.copyTo(filled, inside, region)
    thick = max(2, round(2 * max(image.shape[:2]) / 1280))
    # A dark line below a bright one, so that one of them is visible on any background. The bright one is at least as
    # wide, or its colour could not be recognised on a small image.
    cv2.drawContours(image, outline, -1, (0, 0, 0), thick + 2)
    cv2.drawContours(image, outline, -1, colour, thick)
    text = render_text(f"{label}  {score:.2f}", max(9, round(20 * max(image.shape[:2]) / 1280)), swatch=colour)
    paste(image, text, round(left + width / 2 - text.shape[1] / 2), top - text.shape[0] - thick - 2)


def _bounded_size(size: tuple[int, int], most_px: int) -> tuple[int, int]:
    """Return a size of the same shape with no side over `most_px`."""
    if most_px < 16:
        raise ValueError(f"most_px must be at least 16, got {most_px}")
    shrink = min(1.0, most_px / max(size))
    w, h = (max(1, round(side * shrink)) for side in size)
    return w, h


def _pad(image: Image, size: tuple[int, int]) -> Image:
    """Return an image of this size, by repeating its right and lower edge."""
    h, w = image.shape[:2]
    return np.pad(image, ((0, size[1] - h), (0, size[0] - w), (0, 0)), mode="edge")
