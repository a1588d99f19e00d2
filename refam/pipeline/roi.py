"""Which part of a video is looked at, how closely, and what was found there, brought back to the whole video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.types import FramePrompt, PromptError, Target, TrackResult
from video.heatmap_fusion import MotionLink, link_frames
from video.io.probe import ReadingError
from video.sampling import plan_frames

if TYPE_CHECKING:
    from video.io.reader import Clip, ClipView

_END = re.compile(r"(\d+)|(\d+(?:\.\d+)?)s")


@dataclass(frozen=True)
class RegionOfInterest:
    """What is looked at. text: FROM-TO, both included, each a frame (from 0) or seconds ("2.5s"); "" for all."""

    text: str = ""
    every: int = 1
    most_px: int | None = None

    def __post_init__(self) -> None:
        if self.text:
            _ends(self.text)
        if self.every < 1:
            raise PromptError(f"--every {self.every}: every first, second, ... frame: give 1 or more")
        if self.most_px is not None and self.most_px < 64:
            raise PromptError(
                f"--max-size {self.most_px}: nothing is found in frames that small; give 64 or more pixels"
            )

    def view(self, clip: Clip, targets: Sequence[Target]) -> ClipView:
        """That part of the clip; frames that something is drawn on are always in it. Raises PromptError."""
        from video.io.reader import view_of

        first, last = self._frames(clip)
        drawn = sorted({prompt.frame for target in targets for prompt in target.prompts})
        for frame in drawn:
            if not first <= frame <= last:
                raise PromptError(
                    f"frame {frame} was drawn on, and --range {self.text} has the frames {first} to {last}"
                )
        return view_of(clip, first=first, last=last, every=self.every, most_px=self.most_px, must=drawn)

    def _frames(self, clip: Clip) -> tuple[int, int]:
        if not self.text:
            return 0, len(clip) - 1
        import numpy as np

        low, high = _ends(self.text)
        first = low if isinstance(low, int) else int(np.searchsorted(clip.times, low - 1e-6))
        last = len(clip) - 1 if high is None else high
        last = last if isinstance(last, int) else int(np.searchsorted(clip.times, last + 1e-6)) - 1
        if first >= len(clip):
            raise PromptError(
                f"--range {self.text} begins behind the video's end: it has the frames 0 to {len(clip) - 1}, "
                f"the last at {clip.times[-1]:.2f} s"
            )
        last = min(last, len(clip) - 1)  # to a time behind the end is to the end
        if last < first:
            raise PromptError(f"--range {self.text}: no frame is shown in that time; the frame after it is {first}")
        return first, last


def _ends(text: str) -> tuple[int | float, int | float | None]:
    low, dash, high = (piece.strip() for piece in text.partition("-"))
    found = [_END.fullmatch(piece) if piece else None for piece in (low, high)]
    if not dash or not (low or high) or (low and found[0] is None) or (high and found[1] is None):
        raise PromptError(
            f"--range {text}: give FROM-TO, both frames counted from 0 (100-250) or seconds (4s-12.5s); "
            "one of the two may be left out"
        )
    first, last = (None if m is None else int(m[1]) if m[1] else float(m[2]) for m in found)
    if first is not None and last is not None and type(first) is not type(last):
        raise PromptError(f"--range {text}: give both as frames (100-250) or both as seconds (4s-12.5s)")
    if first is not None and last is not None and last < first:
        raise PromptError(f"--range {text} ends before it begins")
    return first or 0, last


def seen_in(view: ClipView, targets: Sequence[Target]) -> list[Target]:
    """The targets with what is drawn on the view's own frames, in its size."""
    return [replace(target, prompts=tuple(_seen(view, prompt) for prompt in target.prompts)) for target in targets]


def _seen(view: ClipView, prompt: FramePrompt) -> FramePrompt:
    from video import masks

    mask = prompt.mask
    if mask is not None and view.size != mask.size:
        mask = masks.encode(masks.resize_mask(masks.decode(mask), view.size))
        if not masks.area(mask):
            raise PromptError(
                f"the mask on frame {prompt.frame} vanishes when frames are reduced to {view.size[0]}x{view.size[1]}; "
                "give a larger --max-size"
            )
    return replace(prompt, frame=view.row_of(prompt.frame), mask=mask)


def brought_back(results: Sequence[TrackResult], view: ClipView, targets: Sequence[Target]) -> list[TrackResult]:
    """What was found in the view, on the whole clip's frames in its size; drawn masks stay to the pixel."""
    return [_back(result, view, target) for result, target in zip(results, targets, strict=True)]


def _back(result: TrackResult, view: ClipView, target: Target) -> TrackResult:
    from video.tracking.postprocess import upsample_track

    track, between = upsample_track(result.track, view)
    rles = list(track.rles)
    for prompt in target.prompts:
        if prompt.mask is not None:
            rles[prompt.frame - int(track.frames[0])] = prompt.mask
    notes = list(result.notes)
    if between.any():
        count = int((between & track.visible).sum())
        notes.append(f"{len(view)} frames were looked at; on {count} between them the mask is interpolated")
    if len(track.frames) < len(view.whole):
        first, last = (float(view.whole.times[f]) for f in (track.frames[0], track.frames[-1]))
        notes.append(f"only {first:.2f} s to {last:.2f} s was looked at")
    if view.whole.broken:
        notes.append(view.whole.broken)
    return replace(
        result,
        target=target,
        track=replace(track, rles=tuple(rles)),
        keyframes=tuple(replace(key, frame=int(view.frames[key.frame])) for key in result.keyframes),
        anchor=int(view.frames[result.anchor]),
        notes=tuple(notes),
        between=tuple(int(f) for f in track.frames[between]),
        elsewhere=tuple(int(view.frames[frame]) for frame in result.elsewhere),
    )


Images = NDArray[np.uint8]
TO_DO = "the object is followed as far as frames could be read: ask again for the rest"


@dataclass(frozen=True, eq=False)
class VideoPrefix:
    """The first n frames of a clip, read as a clip; other than `video.io.reader.ClipView`, of pictures in a row
    too.
    """

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
        """(H, W, 3) uint8 RGB."""
        return self.whole.frame(i)

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Images]]:
        """As `Clip.batches`."""
        return self.whole.batches(range(self.n) if indices is None else indices, size=size)


def planned_frames(
    clip: Clip, *, count: int, stops: list[ReadingError]
) -> tuple[Clip, NDArray[np.int64], list[Images]]:
    """What is planned of the part of the clip that can be read -> that part, (m,) int64 frames of it, their pictures.

    stops: gets what went wrong on the way. Raises ReadingError where not even the first frame can be read.
    """
    part = clip
    while True:  # each round is of fewer frames
        try:
            planned = plan_frames(part, count=count)
            return part, planned, [image for _, images in part.batches(planned) for image in images]
        except ReadingError as error:
            if error.frame == 0:
                raise
            stops.append(error)
            part = cast("Clip", VideoPrefix(clip, error.frame))


def links_between(clip: Clip, planned: NDArray[np.int64], stops: list[ReadingError]) -> list[MotionLink]:
    """The motion between neighbours of `planned`, of as many from the first on as can be read: one less than those."""
    while len(planned) > 1:
        try:
            return link_frames(clip, planned)
        except ReadingError as error:
            stops.append(error)
            planned = planned[planned < error.frame]
    return []


def told(stops: Sequence[ReadingError]) -> list[str]:
    """A sentence for people on each place where reading stopped."""
    return [f"{text}; {TO_DO}" for text in dict.fromkeys(map(str, stops))]
