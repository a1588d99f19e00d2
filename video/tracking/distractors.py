"""Where a thing is while it touches something of its own colours, as a twin that crosses it.

There neither flow nor a graph cut knows where the one ends. Its shape is known from before, though, and its way: of the
places near to where it should be (`video.tracking.motion`) it is where its shape is filled with its colours and
outlined by
others, as far as an outline is to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, box_of
from video.tracking.motion import ConstantVelocity

_SLACK_PX = 3  # by which an outline may be off
_BAND = 0.15  # of its size: as far around a thing neighbours touch it
_REACH = 0.25  # of its size: as far from where it should be it is looked for
_INERTIA = 0.3  # how much less likely it is at that reach
_LONGEST = 20  # frames after which nothing is known any more of where a thing should be
_LIKE, _LESS = 0.5, 0.05  # of its area: so much of its colours must touch it, and go on to, to be in its way
_FILLED, _OUTLINED = 0.8, 0.6  # of a thing and of its outline, to be sure that it is it that is touched
_TRUST = 0.45  # of a place, below which it is a guess
_WHOLE, _SHRINKING = 0.9, 0.995  # of its area, from which on a thing is whole; and what may be lost in a frame
_PARTED, _PARTED_FRAMES = 0.35, 3  # of the frames of a contact without a touch, after which it is over


@dataclass(frozen=True, eq=False)
class ContactPlace:
    """mask: (h, w) bool, the whole of it there. offset: (x, y) pixels from where it was expected.

    filled: share of it that has its colours, outlined: share of its outline that has others, both in [0, 1].
    crowd: what of its colours touches it there, in parts of its area.
    """

    mask: Mask
    offset: tuple[int, int]
    filled: float
    outlined: float
    crowd: float

    @property
    def trust(self) -> float:
        """In [0, 1]: how well it is told where it is."""
        return self.filled * self.outlined


@dataclass(frozen=True, eq=False)
class ContactTracker:
    """One thing, by itself or in contact. area: pixels of it as it was last seen whole.

    touching: frames since it came into contact, 0 while it is by itself; of these the last ones in a row are free, when
    nothing touched it, or unseen, when too little of it and its outline was to be seen.
    """

    course: ConstantVelocity
    area: float
    touching: int = 0
    free: int = 0
    unseen: int = 0

    @classmethod
    def of(cls, mask: Mask) -> ContactTracker:
        """Of a thing that is known for the first time."""
        return cls(ConstantVelocity(mask), float(mask.sum()))

    def step(self, own: Mask, shift: NDArray[np.float64]) -> tuple[ContactTracker, ContactPlace | None]:
        """A frame on; with its place while it is in contact, empty when nobody can tell any longer where that is.

        own: (h, w) bool, where the frame has its colours. shift: (x, y) pixels, by which flow has moved it: its way as
        long as no other is known.
        """
        course = self.course if self.touching or self.course.steps >= 2 else self.course.going(shift)
        course = course.later()
        alone = ContactTracker(course, self.area)
        expected = course.expected()
        if not self.touching and (course.since > _LONGEST or crowd(own, expected) < _LIKE):
            return alone, None
        found = place(own, expected)
        if found is None:
            return alone, None
        free = self.free + 1 if found.crowd < _LESS else 0
        if self.touching:
            # Where one hides the other nothing touches either for a moment: they part as slowly as they met.
            over = free > 0 and (found.filled < _FILLED or free > max(_PARTED_FRAMES, _PARTED * self.touching))
        else:
            over = found.crowd < _LIKE or found.filled < _FILLED or found.outlined < _OUTLINED
        if over:
            return alone, None
        unseen = self.unseen + 1 if found.trust < _TRUST else 0
        if unseen > _LONGEST:
            found = replace(found, mask=np.zeros_like(own))
        return ContactTracker(course.corrected(found.offset), self.area, self.touching + 1, free, unseen), found

    def seen(self, mask: Mask) -> ContactTracker:
        """With what is seen of it by itself, (h, w) bool; of what is partly hidden the middle is not to be seen."""
        pixels = float(mask.sum())
        area = max(pixels, _SHRINKING * self.area)
        return replace(self, area=area, course=self.course.seen(mask) if pixels >= _WHOLE * area else self.course)


def crowd(own: Mask, mask: Mask) -> float:
    """How much of its own colours touches a thing, in parts of its own area. own, mask: (h, w) bool."""
    beyond = own & ~_grown(mask, _SLACK_PX)
    near = _grown(mask, _SLACK_PX + max(3, round(_BAND * float(np.sqrt(mask.sum()))))) & beyond
    if not near.any():
        return 0.0
    _, labels = cv2.connectedComponents(beyond.astype(np.uint8), connectivity=8)
    return float(np.isin(labels, np.unique(labels[near])).sum() / mask.sum())


def place(own: Mask, expected: Mask) -> ContactPlace | None:
    """Where the thing is. own: (h, w) bool, where the frame has its colours; expected: (h, w) bool, where it should be.

    None where nothing of it is expected within the frame.
    """
    box = box_of(expected)
    if box is None:
        return None
    h, w = expected.shape
    reach = max(4, round(_REACH * float(np.sqrt(expected.sum()))))
    margin = _SLACK_PX + 2
    x0, y0, x1, y1 = (round(c * n) for c, n in zip(box, (w, h, w, h), strict=True))
    shape = np.pad(expected[y0:y1, x0:x1], margin)
    ring = _grown(shape, _SLACK_PX + 1) & ~_grown(shape, _SLACK_PX - 2)
    edge = reach + margin
    framed = cv2.copyMakeBorder(own.astype(np.float32), edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    near = framed[y0 : y1 + 2 * edge, x0 : x1 + 2 * edge]
    filled = cv2.matchTemplate(near, shape.astype(np.float32), cv2.TM_CCORR) / shape.sum()
    outlined = 1 - cv2.matchTemplate(near, ring.astype(np.float32), cv2.TM_CCORR) / ring.sum()
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    likely = filled + outlined - _INERTIA * (right**2 + down**2) / reach**2
    row, column = np.unravel_index(int(likely.argmax()), likely.shape)
    offset = int(column) - reach, int(row) - reach
    how = np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float64)
    mask = cv2.warpAffine(expected.astype(np.uint8), how, (w, h), flags=cv2.INTER_NEAREST) > 0
    if not mask.any():
        return None
    return ContactPlace(mask, offset, float(filled[row, column]), float(outlined[row, column]), crowd(own, mask))


def _grown(mask: Mask, by_px: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1, 2 * by_px + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0, np.bool_)
