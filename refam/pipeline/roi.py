"""The region of interest: which frames of a video are looked at, and at which size.

A `RegionOfInterest` makes a view of the clip; targets are mapped to the view and results back to the whole clip.
Sentences for people name frames by `frame_of_video`. `VideoPrefix` is the part of a clip before the first frame that
cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.types import FramePrompt, PromptError, Target, TrackResult, target_positions
from video import masks
from video.errors import shorten
from video.heatmap_fusion import MotionLink, link_frames
from video.io.probe import ReadingError
from video.sampling import plan_frames

if TYPE_CHECKING:
    from video.io.reader import Clip, ClipView

Images = NDArray[np.uint8]
_RANGE_END = re.compile(r"(\d+)|(\d+(?:\.\d+)?)s")
MIN_SIDE_PX = 64
_INCOMPLETE = "the object is followed as far as frames could be read: ask again for the rest"


@dataclass(frozen=True)
class RegionOfInterest:
    """The frames of a clip that are looked at, and their size.

    Args:
        frame_range: FROM-TO, both included, each a frame (counted from 0) or seconds ("2.5s"); "" for the whole clip.
        every: Every first, second, ... frame.
        max_side_px: What the longer side of frames is reduced to; None leaves frames as they are.
        range_name: What errors call the range: the command line's option, or Python's argument.

    Raises:
        PromptError: For a range that cannot be read, and for a number that is too small.
    """

    frame_range: str = ""
    every: int = 1
    max_side_px: int | None = None
    range_name: str = field(default="--range", repr=False, compare=False)  # the stored stages do not depend on it

    def __post_init__(self) -> None:
        if self.frame_range:
            _parse_range(self.frame_range, self.range_name)
        if self.every < 1:
            raise PromptError(f"--every {self.every}: every first, second, ... frame: give 1 or more")
        if self.max_side_px is not None and self.max_side_px < MIN_SIDE_PX:
            raise PromptError(
                f"--max-size {self.max_side_px}: nothing is found in frames that small; "
                f"give {MIN_SIDE_PX} or more pixels"
            )

    def view(self, clip: Clip, targets: Sequence[Target]) -> ClipView:
        """Return the view of a clip. It holds every frame with a prompt.

        Raises:
            PromptError: For a prompt outside of the range, and for a range outside of the clip.
        """
        from video.io.reader import make_view

        first, last = self._frame_range(clip)
        prompted = sorted({prompt.frame for target in targets for prompt in target.prompts})
        for frame in prompted:
            if not first <= frame <= last:
                frames = f"{self.range_name} {self.frame_range}" if self.frame_range else "the video"
                raise PromptError(f"frame {frame} was drawn on, and {frames} has the frames {first} to {last}")
        return make_view(clip, first=first, last=last, every=self.every, most_px=self.max_side_px, must=prompted)

    def _frame_range(self, clip: Clip) -> tuple[int, int]:
        if not self.frame_range:
            return 0, len(clip) - 1
        low, high = _parse_range(self.frame_range, self.range_name)
        first = low if isinstance(low, int) else int(np.searchsorted(clip.times, low - 1e-6))
        last = len(clip) - 1 if high is None else high
        last = last if isinstance(last, int) else int(np.searchsorted(clip.times, last + 1e-6)) - 1
        if first >= len(clip):
            raise PromptError(
                f"{self.range_name} {self.frame_range} begins behind the video's end: it has the frames 0 to "
                f"{len(clip) - 1}, the last at {clip.times[-1]:.2f} s"
            )
        last = min(last, len(clip) - 1)  # a time behind the end means the end
        if last < first:
            raise PromptError(
                f"{self.range_name} {self.frame_range}: no frame is shown in that time; the frame after it is {first}"
            )
        return first, last


def _parse_range(text: str, name: str) -> tuple[int | float, int | float | None]:
    """Return the ends of a range: int for frames, float for seconds, None for the clip's end. name: for errors."""
    low, dash, high = (part.strip() for part in text.partition("-"))
    matches = [_RANGE_END.fullmatch(part) if part else None for part in (low, high)]
    if not dash or not (low or high) or (low and matches[0] is None) or (high and matches[1] is None):
        raise PromptError(
            f"{name} {shorten(text)}: give FROM-TO, both frames counted from 0 (100-250) or seconds (4s-12.5s); "
            "one of the two may be left out"
        )
    first, last = (None if m is None else int(m[1]) if m[1] else float(m[2]) for m in matches)
    if first is not None and last is not None and type(first) is not type(last):
        raise PromptError(f"{name} {text}: give both as frames (100-250) or both as seconds (4s-12.5s)")
    if first is not None and last is not None and last < first:
        raise PromptError(f"{name} {text} ends before it begins")
    return first or 0, last


def map_targets_to_view(view: ClipView, targets: Sequence[Target]) -> list[Target]:
    """Return the targets with their prompts on the view's frames, in its size."""
    return [
        replace(target, prompts=tuple(_map_prompt_to_view(view, prompt) for prompt in target.prompts))
        for target in targets
    ]


def _map_prompt_to_view(view: ClipView, prompt: FramePrompt) -> FramePrompt:
    mask = prompt.mask
    if mask is not None and view.size != mask.size:
        mask = masks.encode(masks.resize_mask(masks.decode(mask), view.size))
        if not masks.area(mask):
            raise PromptError(
                f"the mask on frame {prompt.frame} vanishes when frames are reduced to {view.size[0]}x{view.size[1]}; "
                "give a larger --max-size"
            )
    return replace(prompt, frame=view.index_of(prompt.frame), mask=mask)


def map_results_to_clip(results: Sequence[TrackResult], view: ClipView, targets: Sequence[Target]) -> list[TrackResult]:
    """Return the results on the whole clip's frames, in its size; drawn masks stay as they are to the pixel."""
    positions = target_positions(results)
    return [_map_result_to_clip(result, view, targets[i]) for i, result in zip(positions, results, strict=True)]


def _map_result_to_clip(result: TrackResult, view: ClipView, target: Target) -> TrackResult:
    from video.tracking.postprocess import upsample_track

    track, interpolated = upsample_track(result.track, view)
    first_frame = int(track.frames[0])
    drawn = {prompt.frame: prompt.mask for prompt in target.prompts if prompt.mask is not None}
    track = track.replace_rows([frame - first_frame for frame in drawn], rles=list(drawn.values()))
    outlined = {p.frame: masks.rle_box(p.mask) for p in target.prompts if p.mask is not None and p.box is None}
    boxed = {frame - first_frame: box for frame, box in outlined.items() if box is not None}
    track = track.replace_rows(list(boxed), boxes=list(boxed.values()) or None)
    notes = list(result.notes)
    if interpolated.any():
        count = int((interpolated & track.visible).sum())
        notes.append(f"{len(view)} frames were looked at; on {count} between them the mask is interpolated")
    if len(track.frames) < len(view.whole):
        first, last = (float(view.whole.times[f]) for f in (track.frames[0], track.frames[-1]))
        notes.append(f"only {first:.2f} s to {last:.2f} s was looked at")
    if view.whole.broken:
        notes.append(view.whole.broken)
    return replace(
        result,
        target=target,
        track=track,
        keyframes=tuple(replace(key, frame=int(view.frames[key.frame])) for key in result.keyframes),
        anchor_frame=int(view.frames[result.anchor_frame]),
        notes=tuple(notes),
        interpolated=tuple(int(f) for f in track.frames[interpolated]),
        disagreements=tuple(int(view.frames[frame]) for frame in result.disagreements),
    )


def frame_of_video(clip: Clip, frame: int) -> int:
    """Return which frame of the video a frame of a clip is: the number that people know."""
    from video.io.reader import ClipView

    return int(clip.frames[frame]) if isinstance(clip, ClipView) else frame


def whole_times(clip: Clip) -> NDArray[np.float64] | None:
    """Return the seconds of the frames of the video that a view is a part of; None for a whole video."""
    from video.io.reader import ClipView

    return clip.whole.times if isinstance(clip, ClipView) else None


@dataclass(frozen=True, eq=False)
class VideoPrefix:
    """The first n frames of a clip, with the interface of a clip. The clip may be a sequence of pictures."""

    whole: Clip
    n: int

    def __len__(self) -> int:
        return self.n

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.whole.size

    @property
    def times(self) -> NDArray[np.float64]:
        """(n,) float64 seconds."""
        return self.whole.times[: self.n]

    def frame(self, i: int) -> Images:
        """Return a frame, (H, W, 3) uint8 RGB."""
        return self.whole.frame(i)

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Images]]:
        """Yield batches of frames, as `Clip.batches` does."""
        return self.whole.batches(range(self.n) if indices is None else indices, size=size)


def read_planned_frames(
    clip: Clip, *, count: int, read_errors: list[ReadingError]
) -> tuple[Clip, NDArray[np.int64], list[Images]]:
    """Plan which frames to ground, and read them; of a clip that cannot be read to its end, of the part before.

    Args:
        clip: The video.
        count: How many frames to plan.
        read_errors: Collects the errors on the way.

    Returns:
        The part of the clip that can be read; the planned frames, (m,) int64; their images, (H, W, 3) uint8 RGB.

    Raises:
        ReadingError: If not even the first frame can be read.
    """
    part = clip
    while True:  # each round has fewer frames
        try:
            planned = plan_frames(part, count=count)
            return part, planned, [image for _, images in part.batches(planned) for image in images]
        except ReadingError as error:
            if error.frame == 0:
                raise
            read_errors.append(error)
            part = cast("Clip", VideoPrefix(clip, error.frame))


def link_readable_frames(clip: Clip, planned: NDArray[np.int64], read_errors: list[ReadingError]) -> list[MotionLink]:
    """Return the motion between neighbouring planned frames, up to the first frame that cannot be read.

    read_errors collects the errors on the way.
    """
    while len(planned) > 1:
        try:
            return link_frames(clip, planned)
        except ReadingError as error:
            read_errors.append(error)
            planned = planned[planned < error.frame]
    return []


def describe_read_errors(read_errors: Sequence[ReadingError]) -> list[str]:
    """Return a sentence for people on each place where reading failed."""
    return [f"{text}; {_INCOMPLETE}" for text in dict.fromkeys(map(str, read_errors))]
