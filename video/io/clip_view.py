"""A part of a clip seen as a clip: some of its frames, in a smaller size; and tracks of it brought back to the whole.

What follows objects reads a `ClipView` as it reads a `Clip`. `lifted` then puts its track on the clip's own frames, in
the clip's own size; frames that were left out get what lies between their neighbours, and it is said which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from video import masks
from video.io.decode import Image
from video.io.probe import ReadingError
from video.io.reader import Clip
from video.masks import Mask
from video.types import MaskTrack, Rle


@dataclass(frozen=True, eq=False, repr=False)
class ClipView(Clip):
    """Frames of a clip, ascending, in one size: read as a `Clip` whose frame i is the whole's `frames[i]`.

    frames: (n,) int64, strictly ascending frames of `whole`. size: (width, height) in pixels that pictures are
    brought to as they are decoded. times: the whole clip's own, so that seconds mean the same in both.
    """

    whole: Clip
    frames: NDArray[np.int64]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.frames) != len(self.times) or not 0 <= self.frames[0] <= self.frames[-1] < len(self.whole):
            raise ValueError(f"a view shows frames 0 to {len(self.whole) - 1} of its clip, got {self.frames}")

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Image]]:
        """As `Clip.batches`, in the view's own count and size."""
        wanted = np.unique(np.asarray(range(len(self)) if indices is None else indices, dtype=np.int64))
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise IndexError(f"the view has the frames 0 to {len(self) - 1}; got {wanted[0]} to {wanted[-1]}")
        try:
            for found, images in self.whole.batches(self.frames[wanted], size=size):
                yield np.searchsorted(self.frames, found), self._shrunk(images)
        except ReadingError as error:  # its message names the whole's frame, which is the one people know
            raise ReadingError(str(error), frame=self.row_of(error.frame)) from error

    def _shrunk(self, images: Image) -> Image:
        if self.size == self.whole.size:
            return images
        return np.stack([cv2.resize(image, self.size, interpolation=cv2.INTER_AREA) for image in images])

    @property
    def apart(self) -> int:
        """The usual distance of two of its frames, counted in the whole clip's; 1 where there is but one."""
        return round(float(np.median(np.diff(self.frames)))) if len(self.frames) > 1 else 1

    def row_of(self, frame: int) -> int:
        """The view's frame that shows the clip's frame. Raises ValueError where it is not in the view."""
        row = int(np.searchsorted(self.frames, frame))
        if row == len(self.frames) or self.frames[row] != frame:
            raise ValueError(f"frame {frame} is not in the view")
        return row


def view_of(
    clip: Clip,
    *,
    first: int = 0,
    last: int | None = None,
    every: int = 1,
    most_px: int | None = None,
    must: Sequence[int] = (),
) -> ClipView:
    """Every `every`-th frame from `first` to `last` (both included), beside them `last` itself and all of `must`.

    most_px: the longer side of pictures is brought down to this, never up. Raises ValueError.
    """
    last = len(clip) - 1 if last is None else last
    if not 0 <= first <= last < len(clip):
        raise ValueError(f"frames {first} to {last} are not within the clip's frames 0 to {len(clip) - 1}")
    if every < 1:
        raise ValueError(f"every must be 1 or more, got {every}")
    if any(not first <= frame <= last for frame in must):
        raise ValueError(f"frames {sorted(must)} must lie within {first} to {last}")
    frames = np.unique(np.array([*range(first, last + 1, every), last, *must], np.int64))
    shrink = 1.0 if most_px is None else min(1.0, most_px / max(clip.size))
    w, h = (max(1, round(side * shrink)) for side in clip.size)
    return ClipView(
        path=clip.path,
        size=(w, h),
        times=clip.times[frames],
        duration_s=clip.duration_s,
        rotation=clip.rotation,
        decoder=clip.decoder,
        codec=clip.codec,
        _probe=clip._probe,
        broken=clip.broken,
        whole=clip,
        frames=frames,
    )


def lifted(track: MaskTrack, view: ClipView) -> tuple[MaskTrack, NDArray[np.bool_]]:
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
    boxes = np.array([masks.rle_box(r) or (0.0, 0.0, 0.0, 0.0) for r in rles], np.float64).reshape(-1, 4)
    visible = np.array([masks.area(r) > 0 for r in rles], np.bool_)
    found = MaskTrack(
        label=track.label, size=size, frames=frames, rles=tuple(rles), boxes=boxes, scores=scores, visible=visible
    )
    return found, known[before] != frames


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
